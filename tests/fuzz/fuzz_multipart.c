/*
 * A form as anybody may send it: read whole and in pieces it says the same.
 * The first byte is the size of the pieces.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/multipart.h>
#include <kombi/str.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum kb_err
on_part(void *arg, const struct kb_multipart_part *p)
{
	struct kb_buf *b = arg;

	if (strlen(p->name) > KB_MULTIPART_NAME_MAX ||
	    kb_has_control(p->name, strlen(p->name)))
		abort();
	kb_buf_addf(b, "[%s|%s|%s]", p->name, p->filename ? p->filename : "-",
	    p->type ? p->type : "-");
	return KB_OK;
}

static enum kb_err
on_data(void *arg, const char *data, size_t len)
{
	kb_buf_add(arg, data, len);
	return KB_OK;
}

static enum kb_err
on_end(void *arg)
{
	kb_buf_addc(arg, ';');
	return KB_OK;
}

static enum kb_err
hear(struct kb_arena *a, const char *data, size_t size, size_t step,
    struct kb_buf *out)
{
	struct kb_multipart_conf conf = { on_part, on_data, on_end, out, 0 };
	struct kb_multipart *m = kb_multipart_new(a, "b", &conf);
	enum kb_err err = KB_OK;

	kb_buf_init(out, 1u << 24);
	for (size_t at = 0; !err && at < size; at += step)
		err = kb_multipart_feed(
		    m, data + at, size - at < step ? size - at : step);
	return err ? err : kb_multipart_finish(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_buf whole, torn;
	const char *boundary;
	enum kb_err err;

	if (size > 1) {
		err = hear(a, (const char *)data + 1, size - 1, size, &whole);
		if (hear(a, (const char *)data + 1, size - 1,
			(size_t)data[0] + 1, &torn) != err ||
		    (err == KB_OK &&
			(whole.len != torn.len ||
			    strcmp(kb_buf_str(&whole), kb_buf_str(&torn)) !=
				0)))
			abort();
		kb_buf_free(&whole);
		kb_buf_free(&torn);
		(void)kb_multipart_boundary(
		    a, kb_strndup(a, (const char *)data, size), &boundary);
	}
	kb_arena_free(a);
	return 0;
}
