/*
 * libkombi's parser for the differential test: reads streams from standard
 * input (4 bytes length, little endian; 1 byte: 0 requests, 1 responses to
 * GET; the bytes) and prints a line of JSON for each: every message that was
 * read to its end, and why there were no more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/http1.h>

#define LARGEST (1U << 24)

static void
print_text(const char *s, size_t len)
{
	putchar('"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void
print_slice(struct kb_slice s)
{
	print_text(s.ptr, s.len);
}

static void
print_head(const struct kb_http1_head *h, const char *buf, bool keep)
{
	fputs("{\"start\":", stdout);
	if (h->response)
		printf("[%u", h->status);
	else {
		putchar('[');
		print_text(buf + h->start, h->method_len);
		putchar(',');
		print_text(buf + h->target, h->target_len);
	}
	printf("],\"minor\":%u,\"keep\":%s,\"fields\":[", h->minor,
	    keep ? "true" : "false");
	for (unsigned i = 0; i < h->n_fields; i++) {
		fputs(i ? ",[" : "[", stdout);
		print_slice(kb_http1_name(&h->fields[i], buf));
		putchar(',');
		print_slice(kb_http1_value(&h->fields[i], buf));
		putchar(']');
	}
	fputs("],\"body\":", stdout);
}

/* Reads the body after `h`. NULL: to its end, `in` behind it; else why not. */
static const char *
read_body(struct kb_http1_body *b, struct kb_slice *in, struct kb_buf *body)
{
	struct kb_slice data;

	while (in->len > 0 && !b->ended) {
		if (!kb_http1_body_next(b, in, &data, &kb_http1_default_limits))
			return "bad chunk";
		kb_buf_add(body, data.ptr, data.len);
	}
	return b->ended || b->kind == KB_BODY_UNTIL_CLOSE ? NULL : "more";
}

/* After these the rest of the stream is no HTTP. */
static bool
changes_protocol(const struct kb_http1_head *h)
{
	return h->response ? h->status == 101
			   : h->upgrade || h->method == KB_M_CONNECT;
}

/* One message; NULL: printed, and another may follow. */
static const char *
read_message(struct kb_slice *in, bool response, bool first)
{
	struct kb_http1_head h;
	struct kb_http1_body b;
	struct kb_buf body;
	enum kb_err err;
	const char *why, *buf = in->ptr;
	bool keep;

	if (in->len == 0)
		return "end";
	kb_http1_head_init(&h, response);
	switch (kb_http1_parse(
	    &h, buf, in->len, &kb_http1_default_limits, &err, &why)) {
	case KB_HTTP1_MORE: return "more";
	case KB_HTTP1_BAD: return why;
	case KB_HTTP1_DONE: break;
	}
	in->ptr += h.done;
	in->len -= h.done;
	if (response)
		kb_http1_body_response(&b, &h, KB_M_GET);
	else
		kb_http1_body_request(&b, &h);
	keep = h.keep_alive && b.kind != KB_BODY_UNTIL_CLOSE;
	kb_buf_init(&body, LARGEST);
	why = read_body(&b, in, &body);
	if (why == NULL) {
		if (!first)
			putchar(',');
		print_head(&h, buf, keep);
		print_text(body.ptr, body.len);
		putchar('}');
		if (changes_protocol(&h))
			why = "upgrade";
		else if (!keep && h.status / 100 != 1)
			why = "closed";
	}
	kb_buf_free(&body);
	return why;
}

static void
read_stream(struct kb_slice in, bool response)
{
	const char *why;
	bool first = true;

	fputs("{\"messages\":[", stdout);
	while ((why = read_message(&in, response, first)) == NULL)
		first = false;
	fputs("],\"end\":", stdout);
	print_text(why, strlen(why));
	fputs("}\n", stdout);
}

int
main(void)
{
	unsigned char head[5];

	while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		size_t len = head[0] | (size_t)head[1] << 8 |
		    (size_t)head[2] << 16 | (size_t)head[3] << 24;
		char *bytes;

		if (len > LARGEST)
			return 2;
		/* Of exactly this size, so that a sanitizer sees its end. */
		bytes = malloc(len ? len : 1);
		if (bytes == NULL || fread(bytes, 1, len, stdin) != len)
			return 2;
		read_stream((struct kb_slice) { bytes, len }, head[4] != 0);
		free(bytes);
		fflush(stdout);
	}
	return 0;
}
