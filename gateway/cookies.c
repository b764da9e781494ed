/*
 * The Cookie field taken apart (RFC 6265 4.2.1, read as 5.4 lets servers):
 * pairs by ';', the name up to the first '=', exact names.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static bool
next_pair(struct kb_slice *rest, struct kb_slice *name, struct kb_slice *value)
{
	struct kb_slice part;

	while (kb_slice_next(rest, ';', &part)) {
		const char *equals = part.len ? memchr(part.ptr, '=', part.len)
					      : NULL;

		if (equals == NULL)
			continue;
		*name = kb_slice_trim((struct kb_slice) {
		    part.ptr, (size_t)(equals - part.ptr) });
		*value = kb_slice_trim((struct kb_slice) {
		    equals + 1, part.len - (size_t)(equals + 1 - part.ptr) });
		if (name->len)
			return true;
	}
	return false;
}

enum cookie_found
cookie_find(struct kb_slice field, const char *name, struct kb_slice *value)
{
	enum cookie_found found = COOKIE_NONE;
	struct kb_slice key, text;

	while (next_pair(&field, &key, &text)) {
		if (!kb_slice_eq(key, name))
			continue;
		if (found != COOKIE_NONE)
			return COOKIE_SEVERAL;
		found = COOKIE_ONE;
		*value = text;
	}
	return found;
}

static bool
begins_with_one(struct kb_slice name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(names[i]);

		if (name.len >= len && memcmp(name.ptr, names[i], len) == 0)
			return true;
	}
	return false;
}

char *
cookie_without(struct kb_arena *a, struct kb_slice field,
    const char *const *names, size_t n)
{
	/* A blank more for each ';', which may stand side by side. */
	char *out = kb_arena_alloc(a, 2 * field.len + 1);
	struct kb_slice part;
	size_t len = 0;

	while (kb_slice_next(&field, ';', &part)) {
		part = kb_slice_trim(part);
		if (part.len == 0 || begins_with_one(part, names, n))
			continue;
		if (len) {
			out[len++] = ';';
			out[len++] = ' ';
		}
		memcpy(out + len, part.ptr, part.len);
		len += part.len;
	}
	return len ? out : NULL;
}

enum cookie_found
exchange_cookie(
    const struct exchange *x, const char *name, struct kb_slice *value)
{
	const struct kb_http1_head *h = exchange_head(x);
	enum cookie_found found = COOKIE_NONE;

	for (unsigned i = 0; i < h->n_fields; i++) {
		struct kb_slice field, text;
		enum cookie_found here;

		if (h->fields[i].id != KB_H_COOKIE)
			continue;
		field = kb_http1_value(&h->fields[i], exchange_bytes(x));
		here = cookie_find(field, name, &text);
		if (here == COOKIE_NONE)
			continue;
		if (here == COOKIE_SEVERAL || found != COOKIE_NONE)
			return COOKIE_SEVERAL;
		found = COOKIE_ONE;
		*value = text;
	}
	return found;
}

void
exchange_hide_cookies(struct exchange *x, const char *const *names, size_t n)
{
	struct rewrite *r = exchange_rewrite(x);
	size_t kept = 0;

	for (size_t i = 0; i < r->fields.n; i++) {
		struct line f = r->fields.v[i];

		if (kb_slice_eqi(f.name, "cookie")) {
			char *rest = cookie_without(
			    exchange_arena(x), f.value, names, n);

			if (rest == NULL)
				continue;
			f.value = kb_slice_of(rest);
		}
		r->fields.v[kept++] = f;
	}
	r->fields.n = kept;
}
