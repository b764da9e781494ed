/*
 * Claims of a logout token as an issuer may send them: whatever they are,
 * only those with the event and a subject or session end one. And return
 * URLs: what is let through stays at our own origin or at an allowed one.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_url(const char *url)
{
	static const char *const list[] = { "https://app.test/in" };
	const struct strs allowed = { .v = list, .n = 1 };

	if (!return_url_ok(&allowed, url))
		return;
	if (url[0] == '/' && (url[1] == '/' || strchr(url, '\\')))
		abort();
	if (url[0] != '/' && strcmp(url, "https://app.test/in") != 0 &&
	    !kb_str_starts(url, "https://app.test/in/") &&
	    !kb_str_starts(url, "https://app.test/in?"))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	const struct kb_json *j;
	struct logout_token t;
	const char *why;

	check_url(kb_strndup(a, (const char *)data, size));
	if (kb_json_parse(a, (const char *)data, size, &j, &why) == KB_OK &&
	    logout_claims(j, &t) == KB_OK &&
	    (t.jti == NULL || (t.sub == NULL && t.sid == NULL) ||
		kb_json_get(j, "nonce") || t.why))
		abort();
	kb_arena_free(a);
	return 0;
}
