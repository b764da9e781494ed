#include <kombi/multipart.h>

#include <string.h>

#include <kombi/str.h>

enum state { BODY, AFTER, HEADER, EPILOGUE };

struct kb_multipart {
	struct kb_arena *arena;
	struct kb_multipart_conf conf;
	char delimiter[4 + 70 + 1]; /* CRLF "--" boundary */
	size_t delimiter_len;
	size_t matched; /* of the delimiter, at the end of what came */
	enum state state;
	bool in_part; /* false: the preamble */
	size_t parts;
	char after[2]; /* what stands behind a delimiter */
	size_t n_after;
	char header[KB_MULTIPART_HEADER_MAX + 1];
	size_t header_len;
	enum kb_err err; /* sticky */
};

/* ---- parameters of a header
 * ----------------------------------------------------- */

static bool
is_token(char c)
{
	return c > ' ' && c < 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static void
skip_blanks(const char **p)
{
	while (**p == ' ' || **p == '\t')
		(*p)++;
}

/* A backslash escapes a quote or itself only: old browsers send paths. */
static bool
read_quoted(struct kb_arena *a, const char **p, const char **value)
{
	const char *s = *p + 1;
	char *out = kb_arena_alloc(a, strlen(s) + 1);
	size_t n = 0;

	for (; *s != '"'; s++) {
		if (*s == '\\' && (s[1] == '"' || s[1] == '\\'))
			s++;
		if (*s == '\0')
			return false;
		out[n++] = *s;
	}
	*p = s + 1;
	*value = out;
	return true;
}

/* "; name=value" or "; name="value"": 1 when there was one, 0 at the end. */
static int
next_param(
    struct kb_arena *a, const char **p, const char **name, const char **value)
{
	const char *start;

	skip_blanks(p);
	if (**p == '\0')
		return 0;
	if (*(*p)++ != ';')
		return -1;
	skip_blanks(p);
	for (start = *p; is_token(**p); (*p)++)
		;
	if (*p == start || **p != '=')
		return -1;
	*name = kb_str_lower(a, kb_strndup(a, start, (size_t)(*p - start)));
	(*p)++;
	if (**p == '"')
		return read_quoted(a, p, value) ? 1 : -1;
	for (start = *p; is_token(**p); (*p)++)
		;
	*value = kb_strndup(a, start, (size_t)(*p - start));
	return *p == start ? -1 : 1;
}

static bool
starts_with_word(const char **p, const char *word)
{
	struct kb_slice s = { *p, strnlen(*p, strlen(word)) };

	if (!kb_slice_eqi(s, word) || is_token((*p)[s.len]))
		return false;
	*p += s.len;
	return true;
}

static bool
boundary_ok(const char *b)
{
	size_t len = strlen(b);

	return len >= 1 && len <= 70 && b[len - 1] != ' ' &&
	    strspn(b,
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"'()+_,-./:=? ") == len;
}

bool
kb_multipart_boundary(
    struct kb_arena *a, const char *content_type, const char **boundary)
{
	const char *p = content_type, *name, *value;
	int more;

	*boundary = NULL;
	if (p == NULL || !starts_with_word(&p, "multipart/form-data"))
		return false;
	while ((more = next_param(a, &p, &name, &value)) > 0) {
		if (strcmp(name, "boundary") != 0)
			continue;
		if (*boundary != NULL)
			return false;
		*boundary = value;
	}
	return more == 0 && *boundary != NULL && boundary_ok(*boundary);
}

/* ---- a part's header
 * ------------------------------------------------------------ */

static enum kb_err
set_once(const char **at, const char *value, size_t most)
{
	if (*at != NULL || kb_has_control(value, strlen(value)) ||
	    !kb_utf8_valid(value, strlen(value)))
		return KB_MALFORMED;
	if (strlen(value) > most)
		return KB_TOO_LARGE;
	*at = value;
	return KB_OK;
}

/* filename* is not for forms (RFC 7578 4.2) and is passed over. */
static enum kb_err
read_disposition(
    struct kb_arena *a, const char *p, struct kb_multipart_part *part)
{
	const char *name, *value;
	enum kb_err err = KB_OK;
	int more = 0;

	if (part->name != NULL || !starts_with_word(&p, "form-data"))
		return KB_MALFORMED;
	while (!err && (more = next_param(a, &p, &name, &value)) > 0) {
		if (strcmp(name, "name") == 0)
			err = set_once(
			    &part->name, value, KB_MULTIPART_NAME_MAX);
		else if (strcmp(name, "filename") == 0)
			err = set_once(
			    &part->filename, value, KB_MULTIPART_FILENAME_MAX);
	}
	if (!err && more < 0)
		err = KB_MALFORMED;
	return err;
}

static enum kb_err
read_line(struct kb_multipart *m, char *line, struct kb_multipart_part *part)
{
	char *colon = strchr(line, ':'), *value;
	struct kb_slice name;

	if (colon == NULL || colon == line)
		return KB_MALFORMED;
	name = (struct kb_slice) { line, (size_t)(colon - line) };
	for (size_t i = 0; i < name.len; i++)
		if (!is_token(name.ptr[i]))
			return KB_MALFORMED;
	value = kb_slice_dup(m->arena, kb_slice_trim(kb_slice_of(colon + 1)));
	if (kb_slice_eqi(name, "Content-Disposition"))
		return read_disposition(m->arena, value, part);
	if (kb_slice_eqi(name, "Content-Type"))
		return set_once(&part->type, value, KB_MULTIPART_FILENAME_MAX);
	return KB_OK;
}

static enum kb_err
header_done(struct kb_multipart *m)
{
	struct kb_multipart_part part = { NULL, NULL, NULL };
	char *line = m->header, *end;
	enum kb_err err = KB_OK;

	m->header[m->header_len] = '\0';
	if (strlen(m->header) != m->header_len)
		return KB_MALFORMED;
	for (; !err && (end = strstr(line, "\r\n")) != line; line = end + 2) {
		*end = '\0';
		if (strpbrk(line, "\r\n") != NULL)
			return KB_MALFORMED;
		err = read_line(m, line, &part);
	}
	if (!err && part.name == NULL)
		err = KB_MALFORMED;
	if (!err && ++m->parts > m->conf.max_parts)
		err = KB_TOO_LARGE;
	m->in_part = true;
	m->matched = 0;
	m->state = BODY;
	return err ? err : m->conf.part(m->conf.arg, &part);
}

static bool
header_is_whole(const struct kb_multipart *m)
{
	const char *end = m->header + m->header_len;

	return (m->header_len == 2 && memcmp(m->header, "\r\n", 2) == 0) ||
	    (m->header_len >= 4 && memcmp(end - 4, "\r\n\r\n", 4) == 0);
}

/* ---- bytes
 * --------------------------------------------------------------------- */

static enum kb_err
tell(struct kb_multipart *m, const char *data, size_t len)
{
	if (!m->in_part || len == 0)
		return KB_OK;
	return m->conf.data(m->conf.arg, data, len);
}

static enum kb_err
delimiter_seen(struct kb_multipart *m)
{
	bool was_in_part = m->in_part;

	m->in_part = false;
	m->state = AFTER;
	m->n_after = 0;
	return was_in_part ? m->conf.end(m->conf.arg) : KB_OK;
}

/* Up to a delimiter. It holds CR at its start alone, so after a mismatch
 * nothing but the byte at hand can begin another one. */
static enum kb_err
take_body(struct kb_multipart *m, const char **p, const char *end)
{
	enum kb_err err = KB_OK;

	while (!err && *p < end && m->state == BODY) {
		const char *cr;

		if (m->matched == 0) {
			cr = memchr(*p, '\r', (size_t)(end - *p));
			cr = cr ? cr : end;
			err = tell(m, *p, (size_t)(cr - *p));
			m->matched = cr < end;
			*p = cr < end ? cr + 1 : end;
		} else if (**p == m->delimiter[m->matched]) {
			(*p)++;
			if (++m->matched == m->delimiter_len)
				err = delimiter_seen(m);
		} else {
			err = tell(m, m->delimiter, m->matched);
			m->matched = 0;
		}
	}
	return err;
}

static enum kb_err
take_after(struct kb_multipart *m, char c)
{
	m->after[m->n_after++] = c;
	if (m->n_after < 2)
		return KB_OK;
	if (memcmp(m->after, "--", 2) == 0) {
		m->state = EPILOGUE;
		return KB_OK;
	}
	m->header_len = 0;
	m->state = HEADER;
	return memcmp(m->after, "\r\n", 2) == 0 ? KB_OK : KB_MALFORMED;
}

static enum kb_err
take_header(struct kb_multipart *m, char c)
{
	if (m->header_len == KB_MULTIPART_HEADER_MAX)
		return KB_TOO_LARGE;
	m->header[m->header_len++] = c;
	return c == '\n' && header_is_whole(m) ? header_done(m) : KB_OK;
}

struct kb_multipart *
kb_multipart_new(struct kb_arena *a, const char *boundary,
    const struct kb_multipart_conf *conf)
{
	struct kb_multipart *m = kb_new(a, struct kb_multipart);

	m->arena = a;
	m->conf = *conf;
	if (m->conf.max_parts == 0)
		m->conf.max_parts = 1000;
	memcpy(m->delimiter, "\r\n--", 4);
	m->delimiter_len = 4 + strnlen(boundary, 70);
	memcpy(m->delimiter + 4, boundary, m->delimiter_len - 4);
	m->matched = 2; /* the first one may stand at the very start */
	return m;
}

enum kb_err
kb_multipart_feed(struct kb_multipart *m, const char *data, size_t len)
{
	const char *p = data, *end = data + len;

	while (!m->err && p < end && m->state != EPILOGUE) {
		if (m->state == BODY)
			m->err = take_body(m, &p, end);
		else if (m->state == AFTER)
			m->err = take_after(m, *p++);
		else
			m->err = take_header(m, *p++);
	}
	return m->err;
}

enum kb_err
kb_multipart_finish(struct kb_multipart *m)
{
	if (!m->err && m->state != EPILOGUE)
		m->err = KB_MALFORMED;
	return m->err;
}
