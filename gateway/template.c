/*
 * Templates $(…): text with values of the request put in. Kong runs Lua
 * there; this reads the forms that files use and refuses all others at load.
 */
#include <string.h>
#include <strings.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

enum { PIECES_MAX = 16, VALUE_MAX = 4096 };

/* ---- parsing ------------------------------------------------------------- */

struct parser {
	struct problems *p;
	struct kb_arena *a;
	unsigned line;
	const char *what, *text, *at;
	struct piece *v;
	size_t n;
};

static const struct {
	const char *name;
	enum source from;
} sources[] = {
	{ "headers", FROM_HEADERS },
	{ "query_params", FROM_QUERY },
	{ "uri_captures", FROM_CAPTURES },
	{ "jwt_claims", FROM_CLAIMS },
	{ "consumer", FROM_CONSUMER },
};

static bool
complain(struct parser *s, const char *why)
{
	problem(s->p, s->line, "%s \"%s\": %s", s->what, s->text, why);
	return false;
}

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static void
skip_blanks(struct parser *s)
{
	while (*s->at == ' ')
		s->at++;
}

static bool
word(struct parser *s, const char **out)
{
	const char *begin = s->at;

	while (is_word(*s->at))
		s->at++;
	*out = kb_strndup(s->a, begin, (size_t)(s->at - begin));
	return s->at > begin;
}

static bool
quoted(struct parser *s, const char **out)
{
	char quote = *s->at;
	const char *begin = s->at + 1, *end;

	if (quote != '"' && quote != '\'')
		return false;
	end = strchr(begin, quote);
	if (end == NULL || memchr(begin, '\\', (size_t)(end - begin)))
		return false;
	*out = kb_strndup(s->a, begin, (size_t)(end - begin));
	s->at = end + 1;
	return true;
}

/* .name  ."na me"  ["name"]  ['name']  [1] */
static bool
member(struct parser *s, const char **out)
{
	bool fine;

	if (*s->at == '.') {
		s->at++;
		return quoted(s, out) || word(s, out);
	}
	if (*s->at != '[')
		return false;
	s->at++;
	skip_blanks(s);
	fine = quoted(s, out) || word(s, out);
	skip_blanks(s);
	if (!fine || *s->at != ']')
		return false;
	s->at++;
	return true;
}

static bool
may_read(struct parser *s, const struct piece *piece)
{
	static const char *const consumer[] = { "username", "custom_id", "id" };

	if (piece->from == FROM_HEADERS &&
	    strcasecmp(piece->name, "host") != 0 &&
	    (kb_header_is_owned(piece->name, strlen(piece->name)) ||
		strcasecmp(piece->name, "authorization") == 0))
		return complain(s,
		    "this header belongs to the gateway and cannot be read; "
		    "use jwt_claims");
	for (size_t i = 0; i < KB_COUNT(consumer); i++)
		if (kb_str_eq(piece->name, consumer[i]))
			return true;
	if (piece->from == FROM_CONSUMER)
		return complain(
		    s, "of a consumer there are: username, custom_id, id");
	return true;
}

static bool
reference(struct parser *s, struct piece *piece)
{
	const char *name;

	if (!word(s, &name))
		return complain(s, "the expression is not understood");
	for (size_t i = 0; i < KB_COUNT(sources); i++)
		if (kb_str_eq(sources[i].name, name))
			piece->from = sources[i].from;
	if (piece->from == FROM_TEXT)
		return complain(s,
		    "an expression begins with one of: headers, query_params, "
		    "uri_captures, jwt_claims, consumer");
	if (!member(s, &piece->name))
		return complain(s,
		    "a member is written .name, .\"name\", [\"name\"] or "
		    "[number]");
	return may_read(s, piece);
}

/* What stands between "$(" and ")". */
static bool
expression(struct parser *s, struct piece *piece)
{
	skip_blanks(s);
	if (!quoted(s, &piece->name) && !reference(s, piece))
		return false;
	skip_blanks(s);
	if (strncmp(s->at, "or ", 3) == 0) {
		s->at += 3;
		skip_blanks(s);
		if (!quoted(s, &piece->fallback))
			return complain(
			    s, "after \"or\" there must be a 'text'");
		skip_blanks(s);
	}
	if (*s->at != ')')
		return complain(s,
		    "only $(source.name) and $(source.name or 'text') are "
		    "understood");
	s->at++;
	return true;
}

static bool
pieces(struct parser *s)
{
	while (*s->at) {
		const char *dollar = strstr(s->at, "$(");
		size_t n = dollar ? (size_t)(dollar - s->at) : strlen(s->at);

		if (s->n + 2 > PIECES_MAX)
			return complain(s, "too many expressions");
		if (n)
			s->v[s->n++] = (struct piece) {
				.name = kb_strndup(s->a, s->at, n),
			};
		s->at += n;
		if (dollar == NULL)
			break;
		s->at += 2;
		if (!expression(s, &s->v[s->n++]))
			return false;
	}
	return true;
}

bool
template_parse(struct problems *p, unsigned line, const char *what,
    const char *text, struct template *out)
{
	struct kb_arena *a = problems_arena(p);
	struct parser s = {
		.p = p,
		.a = a,
		.line = line,
		.what = what,
		.text = text,
		.at = text,
		.v = kb_new_array(a, PIECES_MAX, struct piece),
	};

	if (!pieces(&s))
		return false;
	*out = (struct template) { .v = s.v, .n = s.n };
	out->only_claims = s.n > 0;
	for (size_t i = 0; i < s.n; i++) {
		out->claims |= s.v[i].from == FROM_CLAIMS;
		out->only_claims &= s.v[i].from == FROM_CLAIMS;
	}
	return true;
}

void
template_plain(struct kb_arena *a, const char *text, struct template *out)
{
	struct piece *piece = kb_new(a, struct piece);

	piece->name = text;
	*out = (struct template) { .v = piece, .n = 1 };
}

/* ---- values -------------------------------------------------------------- */

void
originals_take(struct exchange *x, struct originals *out)
{
	struct rewrite *r = exchange_rewrite(x);
	struct kb_arena *a = exchange_arena(x);

	*out = (struct originals) { .x = x };
	out->fields.arena = out->query.arena = a;
	for (size_t i = 0; i < r->fields.n; i++)
		lines_add(
		    &out->fields, r->fields.v[i].name, r->fields.v[i].value);
	if (r->query.ptr)
		form_split(&out->query, r->query);
}

/* Lua's headers table takes '_' for '-'. */
static bool
is_header(struct kb_slice name, const char *want)
{
	if (name.len != strlen(want))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = want[i] == '_' ? '-' : want[i];

		if (strncasecmp(&name.ptr[i], &c, 1) != 0)
			return false;
	}
	return true;
}

static const char *
header_value(const struct originals *o, const char *name)
{
	struct kb_arena *a = exchange_arena(o->x);

	if (strcasecmp(name, "host") == 0)
		return kb_slice_dup(a, exchange_header(o->x, "Host"));
	for (size_t i = 0; i < o->fields.n; i++)
		if (is_header(o->fields.v[i].name, name))
			return kb_slice_dup(a, o->fields.v[i].value);
	return NULL;
}

/* NULL when it is no clean text. */
static const char *
decoded(struct kb_arena *a, struct kb_slice raw)
{
	char *spaced = kb_slice_dup(a, raw), *text = NULL;

	for (char *c = spaced; *c; c++)
		if (*c == '+')
			*c = ' ';
	if (!kb_percent_decode(a, kb_slice_of(spaced), &text))
		return NULL;
	return text;
}

static const char *
query_value(const struct originals *o, const char *name)
{
	struct kb_slice value;

	for (size_t i = 0; i < o->query.n; i++) {
		if (!kb_slice_eq(o->query.v[i].name, name))
			continue;
		value = o->query.v[i].value;
		if (value.len == 0)
			return "";
		value.ptr++;
		value.len--;
		return decoded(exchange_arena(o->x), value);
	}
	return NULL;
}

static bool
all_scalar(const struct kb_json *array)
{
	const struct kb_json *j = kb_json_first(array);

	for (; j != NULL; j = kb_json_after(j))
		if (kb_json_kind(j) >= KB_JSON_ARRAY)
			return false;
	return true;
}

static const char *
claim_text(struct kb_arena *a, const struct kb_json *j)
{
	struct kb_buf b;
	const char *text;

	if (j == NULL || kb_json_kind(j) == KB_JSON_NULL)
		return NULL;
	if (kb_json_kind(j) == KB_JSON_STRING)
		return kb_json_text(j);
	if (kb_json_kind(j) != KB_JSON_ARRAY || !all_scalar(j))
		return kb_json_print(a, j);
	kb_buf_init(&b, VALUE_MAX + 1);
	for (const struct kb_json *e = kb_json_first(j); e != NULL;
	     e = kb_json_after(e)) {
		if (e != kb_json_first(j))
			kb_buf_addc(&b, ',');
		text = claim_text(a, e);
		kb_buf_adds(&b, text ? text : "");
	}
	text = kb_buf_failed(&b) ? NULL : kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

static const char *
consumer_value(const struct originals *o, const char *name)
{
	const struct consumer *c = exchange_consumer(o->x);

	if (c == NULL)
		return NULL;
	if (kb_str_eq(name, "username"))
		return c->username;
	return kb_str_eq(name, "custom_id") ? c->custom_id : c->id;
}

static const char *
piece_value(const struct piece *piece, const struct originals *o)
{
	struct kb_arena *a = exchange_arena(o->x);
	const char *text = NULL;

	switch (piece->from) {
	case FROM_TEXT: return piece->name;
	case FROM_HEADERS: text = header_value(o, piece->name); break;
	case FROM_QUERY: text = query_value(o, piece->name); break;
	case FROM_CAPTURES:
		text = kb_slice_dup(a, exchange_capture(o->x, piece->name));
		break;
	case FROM_CLAIMS:
		text = claim_text(
		    a, kb_json_get(exchange_claims(o->x), piece->name));
		break;
	case FROM_CONSUMER: text = consumer_value(o, piece->name); break;
	}
	if (text != NULL &&
	    (strlen(text) > VALUE_MAX || kb_has_control(text, strlen(text))))
		text = NULL;
	return text != NULL ? text : piece->fallback;
}

const char *
template_value(
    const struct template *t, const struct originals *o, bool *absent)
{
	const char *text, *all;
	struct kb_buf b;

	*absent = false;
	if (t->n == 1 && t->v[0].from == FROM_TEXT)
		return t->v[0].name;
	kb_buf_init(&b, PIECES_MAX * (VALUE_MAX + 1));
	for (size_t i = 0; i < t->n; i++) {
		text = piece_value(&t->v[i], o);
		if (text == NULL && t->v[i].from >= FROM_CLAIMS)
			*absent = true;
		kb_buf_adds(&b, text ? text : "");
	}
	all = kb_strdup(exchange_arena(o->x), kb_buf_str(&b));
	kb_buf_free(&b);
	return all;
}

/* A client's value must not walk to another place. */
static bool
has_dot_segment(const char *path)
{
	struct kb_slice rest = kb_slice_of(path), part;

	while (kb_slice_next(&rest, '/', &part))
		if (kb_slice_eq(part, ".") || kb_slice_eq(part, ".."))
			return true;
	return false;
}

const char *
template_path(const struct template *t, const struct originals *o)
{
	const char *all = NULL, *text;
	struct kb_buf b;

	kb_buf_init(&b, 8192);
	for (size_t i = 0; i < t->n; i++) {
		text = piece_value(&t->v[i], o);
		if (t->v[i].from == FROM_TEXT)
			kb_buf_adds(&b, text);
		else
			kb_percent_encode(&b, text ? text : "",
			    t->v[i].from == FROM_CAPTURES ? "/" : "");
	}
	if (!kb_buf_failed(&b) && !has_dot_segment(kb_buf_str(&b)))
		all = kb_strdup(exchange_arena(o->x), kb_buf_str(&b));
	kb_buf_free(&b);
	return all;
}
