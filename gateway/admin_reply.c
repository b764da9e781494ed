/*
 * Answers of the Admin API: Kong's error forms and status codes.
 */
#include <string.h>

#include <kombi/str.h>

#include "admin_api.h"

static const char json_line[] = "Content-Type: application/json; "
				"charset=utf-8\r\n";

void
admin_json(struct admin_call *c, int status, const struct kb_buf *text)
{
	c->over = true;
	kb_ex_answer(c->ex, status, json_line, sizeof(json_line) - 1,
	    kb_buf_str(text), text->len);
}

void
admin_empty(struct admin_call *c, int status)
{
	c->over = true;
	kb_ex_answer(c->ex, status, "", 0, NULL, 0);
}

static void
say(struct admin_call *c, int status, const char *message, const char *line)
{
	struct kb_jsonw w;
	struct kb_buf b, lines;

	kb_buf_init(&b, 1 << 16);
	kb_buf_init(&lines, 1 << 10);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "message", message);
	kb_w_object_end(&w);
	kb_buf_addf(&lines, "%s%s", json_line, line);
	c->over = true;
	kb_ex_answer(
	    c->ex, status, kb_buf_str(&lines), lines.len, b.ptr, b.len);
	kb_buf_free(&b);
	kb_buf_free(&lines);
}

void
admin_message(struct admin_call *c, int status, const char *message)
{
	say(c, status, message, "");
}

void
admin_not_found(struct admin_call *c)
{
	say(c, 404, "Not found", "");
}

void
admin_not_allowed(struct admin_call *c, const char *allow)
{
	say(c, 405, "Method not allowed",
	    kb_sprintf(c->a, "Allow: %s\r\n", allow));
}

/* ---- errors of Kong's database ------------------------------------------- */

static const struct {
	enum admin_code code;
	int status;
	const char *name;
} codes[] = {
	{ ADMIN_PRIMARY_KEY, 400, "invalid primary key" },
	{ ADMIN_SCHEMA, 400, "schema violation" },
	{ ADMIN_PRIMARY_TAKEN, 409, "primary key violation" },
	{ ADMIN_FOREIGN, 400, "foreign key violation" },
	{ ADMIN_UNIQUE, 409, "unique constraint violation" },
	{ ADMIN_OFFSET, 400, "invalid offset" },
	{ ADMIN_SIZE, 400, "invalid size" },
	{ ADMIN_DECLARATIVE, 400, "invalid declarative configuration" },
};

/* Up to its "fields". Returns the status. */
static int
begin(struct kb_jsonw *w, enum admin_code code, const char *message)
{
	size_t i = 0;

	while (codes[i].code != code)
		i++;
	kb_w_object(w, NULL);
	kb_w_int(w, "code", code);
	kb_w_str(w, "name", codes[i].name);
	kb_w_str(w, "message", message);
	return codes[i].status;
}

void
admin_refuse(struct admin_call *c, enum admin_code code, const char *field,
    const char *message)
{
	struct kb_jsonw w;
	struct kb_buf b;
	int status;

	kb_buf_init(&b, 1 << 16);
	kb_w_init(&w, &b);
	status = begin(&w, code, message);
	kb_w_object(&w, "fields");
	if (field != NULL)
		kb_w_str(&w, field, message);
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	admin_json(c, status, &b);
	kb_buf_free(&b);
}

static enum admin_code
code_of(const struct problems *p)
{
	enum admin_code code = ADMIN_SCHEMA;

	for (size_t i = 0; i < p->n; i++) {
		if (!p->v[i].error)
			continue;
		if (p->v[i].about == ABOUT_SCHEMA)
			return ADMIN_SCHEMA;
		code = p->v[i].about == ABOUT_UNIQUE ? ADMIN_UNIQUE
						     : ADMIN_FOREIGN;
	}
	return code;
}

static bool
is_first_of_field(const struct problems *p, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (p->v[j].error && kb_str_eq(p->v[j].field, p->v[i].field))
			return false;
	return true;
}

/* {"host":"…","@entity":["…"]}: one text a field, the rest in a list. */
static void
write_fields(struct kb_jsonw *w, const struct problems *p)
{
	bool more = false;

	kb_w_object(w, "fields");
	for (size_t i = 0; i < p->n; i++) {
		if (!p->v[i].error)
			continue;
		if (p->v[i].field != NULL && is_first_of_field(p, i))
			kb_w_str(w, p->v[i].field, p->v[i].text);
		else
			more = true;
	}
	if (more)
		kb_w_array(w, "@entity");
	for (size_t i = 0; more && i < p->n; i++)
		if (p->v[i].error &&
		    (p->v[i].field == NULL || !is_first_of_field(p, i)))
			kb_w_str(w, NULL, p->v[i].text);
	if (more)
		kb_w_array_end(w);
	kb_w_object_end(w);
}

static const char *
message_of(struct admin_call *c, const struct problems *p, const char *kind)
{
	const char *first = "";
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].error && n++ == 0)
			first = p->v[i].text;
	if (n > 1)
		return kb_sprintf(c->a, "%zu %ss (%s; …)", n, kind, first);
	return kb_sprintf(c->a, "%s (%s)", kind, first);
}

void
admin_problems(struct admin_call *c, const struct problems *p)
{
	enum admin_code code = code_of(p);
	struct kb_jsonw w;
	struct kb_buf b;
	int status;

	kb_buf_init(&b, 1 << 20);
	kb_w_init(&w, &b);
	status = begin(&w, code,
	    message_of(c, p,
		code == ADMIN_SCHEMA       ? "schema violation"
		    : code == ADMIN_UNIQUE ? "unique violation"
					   : "foreign key violation"));
	write_fields(&w, p);
	kb_w_object_end(&w);
	admin_json(c, status, &b);
	kb_buf_free(&b);
}
