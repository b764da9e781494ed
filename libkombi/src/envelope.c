/*
 * {"error":{…}} and the header lines that go with it.
 */
#include <kombi/json.h>
#include <kombi/time.h>

#include "envelope.h"

const char kb_security_lines[] = "X-Content-Type-Options: nosniff\r\n"
				 "X-Frame-Options: DENY\r\n"
				 "Content-Security-Policy: default-src 'none'; "
				 "frame-ancestors 'none'\r\n"
				 "Referrer-Policy: no-referrer\r\n";

void
kb_envelope_error(struct kb_buf *b, enum kb_err err, const char *message,
    const char *details, const char *request_id)
{
	char now[KB_RFC3339_SIZE];
	struct kb_jsonw w;

	kb_rfc3339(kb_wall_ms(), now);
	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_object(&w, "error");
	kb_w_str(&w, "code", kb_err_code(err));
	kb_w_str(&w, "message", message ? message : kb_err_text(err));
	if (details != NULL)
		kb_w_raw(&w, "details", details);
	kb_w_str(&w, "requestId", request_id);
	kb_w_str(&w, "timestamp", now);
	kb_w_object_end(&w);
	kb_w_object_end(&w);
}

const char *
kb_envelope_lines(enum kb_err err)
{
	if (kb_err_status(err) == 401)
		return "WWW-Authenticate: Bearer\r\n";
	return "";
}
