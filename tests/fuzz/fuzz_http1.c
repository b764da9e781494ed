/*
 * Heads, in one piece and in two: the same outcome, and everything that is
 * noted lies inside the head.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/http1.h>

static const char *
copy(const uint8_t *data, size_t len)
{
	char *p = malloc(len ? len : 1);

	if (!p)
		abort();
	memcpy(p, data, len);
	return p;
}

static void
check(int ok)
{
	if (!ok)
		abort();
}

static void
check_same(const struct kb_http1_field *a, const struct kb_http1_field *b)
{
	check(a->name == b->name && a->name_len == b->name_len);
	check(a->value == b->value && a->value_len == b->value_len);
	check(a->id == b->id);
}

/* Offsets and names of a head that was taken. */
static void
check_head(const struct kb_http1_head *h, const char *buf, size_t len)
{
	check(h->done >= 4 && h->done <= len);
	check(memcmp(buf + h->done - 4, "\r\n\r\n", 4) == 0);
	check(!(h->has_length && h->chunked));
	check(h->response || h->minor == 0 || h->host >= 0);
	check(h->response || h->target + h->target_len <= h->done);
	for (unsigned i = 0; i < h->n_fields; i++) {
		struct kb_slice n = kb_http1_name(&h->fields[i], buf);
		struct kb_slice v = kb_http1_value(&h->fields[i], buf);

		check(n.len > 0 && n.ptr + n.len < buf + h->done);
		check(v.ptr + v.len <= buf + h->done - 2);
		check(!memchr(v.ptr, '\r', v.len));
		check(!memchr(v.ptr, '\n', v.len));
		check(kb_header_id(n.ptr, n.len) == h->fields[i].id);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_http1_head whole, split;
	enum kb_http1_result a, b = KB_HTTP1_MORE;
	enum kb_err err_a = KB_OK, err_b = KB_OK;
	const char *why, *one, *two;
	size_t cut;
	bool response;

	if (size < 3)
		return 0;
	response = data[0] & 1;
	cut = (size_t)(data[1] | data[2] << 8);
	data += 3;
	size -= 3;
	cut = size ? cut % (size + 1) : 0;
	one = copy(data, cut);
	two = copy(data, size);
	kb_http1_head_init(&whole, response);
	kb_http1_head_init(&split, response);
	a = kb_http1_parse(
	    &whole, two, size, &kb_http1_default_limits, &err_a, &why);
	b = kb_http1_parse(
	    &split, one, cut, &kb_http1_default_limits, &err_b, &why);
	if (b == KB_HTTP1_MORE)
		b = kb_http1_parse(
		    &split, two, size, &kb_http1_default_limits, &err_b, &why);
	check(a == b && err_a == err_b);
	if (a == KB_HTTP1_DONE) {
		check_head(&whole, two, size);
		check(whole.done == split.done);
		check(whole.n_fields == split.n_fields);
		for (unsigned i = 0; i < whole.n_fields; i++)
			check_same(&whole.fields[i], &split.fields[i]);
	}
	free((void *)(uintptr_t)one);
	free((void *)(uintptr_t)two);
	return 0;
}
