/*
 * What a browser tells about the page that makes it ask (Origin, RFC 6454;
 * Fetch Metadata), and where it may be sent afterwards.
 */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "inside.h"

enum { URL_MAX = 2000 };

bool
exchange_is_https(const struct exchange *x)
{
	return forwarded_https(x);
}

static bool
accepts_html(const struct exchange *x)
{
	struct kb_slice rest = exchange_header(x, "Accept"), part, type;

	while (kb_slice_next(&rest, ',', &part))
		if (kb_slice_next(&part, ';', &type) &&
		    kb_slice_eqi(kb_slice_trim(type), "text/html"))
			return true;
	return false;
}

bool
exchange_is_navigation(const struct exchange *x)
{
	struct kb_slice mode = exchange_header(x, "Sec-Fetch-Mode");

	if (exchange_method(x) != KB_M_GET ||
	    exchange_header(x, "X-Requested-With").ptr != NULL)
		return false;
	if (mode.ptr != NULL)
		return kb_slice_eq(mode, "navigate");
	return accepts_html(x);
}

/* ---- the page that asks -------------------------------------------------- */

static bool
is_own_origin(const struct exchange *x, struct kb_slice origin)
{
	const char *scheme = exchange_is_https(x) ? "https://" : "http://";
	struct kb_slice host = kb_http1_get(
	    exchange_head(x), exchange_bytes(x), KB_H_HOST);
	size_t n = strlen(scheme);

	return host.len && origin.len == n + host.len &&
	    memcmp(origin.ptr, scheme, n) == 0 &&
	    strncasecmp(origin.ptr + n, host.ptr, host.len) == 0;
}

bool
exchange_is_ours(const struct exchange *x, const struct strs *trusted)
{
	const struct kb_http1_head *h = exchange_head(x);
	const char *bytes = exchange_bytes(x);
	struct kb_slice origin = kb_http1_get(h, bytes, KB_H_ORIGIN);
	enum kb_method m = exchange_method(x);

	if ((m == KB_M_GET || m == KB_M_HEAD || m == KB_M_OPTIONS) &&
	    !h->upgrade)
		return true;
	if (origin.ptr == NULL)
		return kb_slice_eq(
		    exchange_header(x, "Sec-Fetch-Site"), "same-origin");
	if (kb_http1_count(h, KB_H_ORIGIN) != 1)
		return false;
	if (is_own_origin(x, origin))
		return true;
	for (size_t i = 0; i < trusted->n; i++)
		if (kb_slice_eq(origin, trusted->v[i]))
			return true;
	return false;
}

/* ---- where it may go ----------------------------------------------------- */

/* Length of "https://authority", 0 if it does not begin like that. */
static size_t
origin_length(const char *url)
{
	size_t n = kb_str_starts(url, "https://") ? 8
	    : kb_str_starts(url, "http://")       ? 7
						  : 0;

	if (n == 0 || url[n] == '\0')
		return 0;
	return n + strcspn(url + n, "/?#\\");
}

static bool
is_loopback(const char *origin, size_t len)
{
	static const char *const hosts[] = { "http://127.0.0.1",
		"http://localhost", "http://[::1]" };

	for (size_t i = 0; i < KB_COUNT(hosts); i++) {
		size_t n = strlen(hosts[i]);

		if (len >= n && memcmp(origin, hosts[i], n) == 0 &&
		    (len == n || origin[n] == ':'))
			return true;
	}
	return false;
}

/* A path in normal form, with or without a query. */
static bool
is_normal(const char *path)
{
	struct kb_slice query, authority;
	struct kb_buf out;
	size_t n = strcspn(path, "?");
	bool fine;

	kb_buf_init(&out, 4 * URL_MAX);
	fine = path[0] == '/' &&
	    kb_http_path(kb_slice_of(path), &out, &query, &authority) ==
		KB_OK &&
	    authority.ptr == NULL && out.len == n &&
	    memcmp(out.ptr, path, n) == 0;
	kb_buf_free(&out);
	return fine;
}

static bool
is_plain(const char *url)
{
	size_t n = strlen(url);

	if (n == 0 || n > URL_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (url[i] <= ' ' || url[i] >= 0x7f || strchr("\\\"<>", url[i]))
			return false;
	return true;
}

const char *
return_entry_problem(const char *entry)
{
	size_t n = origin_length(entry);
	size_t scheme = kb_str_starts(entry, "https://") ? 8 : 7;

	if (n == 0 || !is_plain(entry))
		return "must be an absolute URL, https://host/prefix";
	if (scheme == 7 && !is_loopback(entry, n))
		return "must be https (http is for loopback addresses)";
	if (!kb_http_host_ok((struct kb_slice) { entry + scheme, n - scheme }))
		return "has a host that is none";
	for (size_t i = 0; i < n; i++)
		if (entry[i] >= 'A' && entry[i] <= 'Z')
			return "must have its host in lower case, as browsers "
			       "send it";
	if (entry[n] != '\0' && (strchr(entry, '?') || !is_normal(entry + n)))
		return "has a path that is not in normal form, or a query";
	return NULL;
}

/* Below an entry's path by whole segments. */
static bool
is_below(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	while (n && prefix[n - 1] == '/')
		n--;
	return strncmp(path, prefix, n) == 0 && strchr("/?", path[n]) != NULL;
}

bool
return_url_ok(const struct strs *allowed, const char *url)
{
	size_t n;
	const char *path;

	if (!is_plain(url))
		return false;
	if (url[0] == '/')
		return is_normal(url);
	n = origin_length(url);
	if (n == 0)
		return false;
	path = url[n] ? url + n : "/";
	if (!is_normal(path))
		return false;
	for (size_t i = 0; i < allowed->n; i++) {
		const char *entry = allowed->v[i];

		if (origin_length(entry) == n && memcmp(entry, url, n) == 0 &&
		    is_below(path, entry + n))
			return true;
	}
	return false;
}

/* "a+b" is "a b" in a query (HTML forms). */
static char *
form_value(struct kb_arena *a, struct kb_slice text)
{
	char *copy = kb_slice_dup(a, text), *out;

	for (char *c = copy; *c; c++)
		if (*c == '+')
			*c = ' ';
	if (!kb_percent_decode(a, kb_slice_of(copy), &out))
		return NULL;
	return out;
}

char *
exchange_query_arg(struct exchange *x, const char *name)
{
	struct lines args = { .arena = exchange_arena(x) };
	char *found = NULL;

	form_split(&args, exchange_query(x));
	for (size_t i = 0; i < args.n; i++) {
		struct kb_slice value = args.v[i].value;

		if (!kb_slice_eq(args.v[i].name, name))
			continue;
		if (found != NULL || value.len < 1)
			return NULL;
		found = form_value(exchange_arena(x),
		    (struct kb_slice) { value.ptr + 1, value.len - 1 });
		if (found == NULL)
			return NULL;
	}
	return found;
}
