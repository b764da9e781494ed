/*
 * The configuration as a whole: POST /config (all or nothing), GET /config.
 */
#include <string.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "admin_api.h"
#include "config_state.h"
#include "document_inside.h"

enum { NODES_MAX = 1000000, FILE_MAX = 16 << 20 };

/* ---- a declarative file -------------------------------------------------- */

static void
write_config(struct kb_jsonw *w, const struct entity *e,
    const struct kb_yaml *config, bool secrets)
{
	const struct plugin *p = plugin_find(entity_text(e, "name"));

	kb_w_object(w, "config");
	for (const struct kb_yaml *y = config->first; y != NULL; y = y->next) {
		const struct field *f = p->fields;

		while (f->kind != FIELD_END && !kb_str_eq(f->name, y->key))
			f++;
		if (!secrets && f->kind != FIELD_END && view_is_secret(f))
			kb_w_str(w, y->key, view_mask);
		else
			view_tree(w, y->key, y, !secrets);
	}
	kb_w_object_end(w);
}

static void
write_entity(struct kb_jsonw *w, const struct entity *e, bool secrets)
{
	const char *secret = kind_infos[e->kind].secret;

	kb_w_object(w, NULL);
	for (const struct kb_yaml *y = e->y->first; y != NULL; y = y->next) {
		if (kb_str_eq(y->key, "created_at") ||
		    kb_str_eq(y->key, "updated_at"))
			continue;
		if (e->kind == KIND_PLUGIN && kb_str_eq(y->key, "config") &&
		    y->kind == KB_YAML_MAPPING)
			write_config(w, e, y, secrets);
		else if (e->kind == KIND_BASICAUTH &&
		    kb_str_eq(y->key, "password"))
			kb_w_str(w, y->key, y->text); /* it is hashed */
		else
			view_tree(w, y->key, y, !secrets);
	}
	if (e->secret != NULL)
		kb_w_str(w, secret, secrets ? e->secret : view_mask);
	kb_w_int(w, "created_at", e->created_s);
	kb_w_int(w, "updated_at", e->updated_s);
	kb_w_object_end(w);
}

void
config_text(struct kb_buf *out, const struct document *d, bool secrets)
{
	struct kb_jsonw w;

	kb_w_init(&w, out);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "_format_version", "3.0");
	kb_w_bool(&w, "_transform", false);
	for (int k = 0; k < KINDS; k++) {
		if (d->of[k].n == 0)
			continue;
		kb_w_array(&w, kind_infos[k].file);
		for (size_t i = 0; i < d->of[k].n; i++)
			write_entity(&w, d->of[k].v[i], secrets);
		kb_w_array_end(&w);
	}
	kb_w_object_end(&w);
}

static void
get(struct admin_call *c)
{
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	config_text(&b, admin_document(c), false);
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}

/* ---- POST: the body ------------------------------------------------------ */

struct posted {
	struct admin_call *c;
	struct problems p;
	struct kb_yaml *tree;
	bool check_hash, flatten;
};

static bool
is_asked(struct admin_call *c, struct kb_slice form, const char *name)
{
	const char *v = form_value(c->a, kb_ex_query(c->ex), name);

	if (v == NULL && form.ptr != NULL)
		v = form_value(c->a, form, name);
	return kb_str_eq(v, "1") || kb_str_eq(v, "true");
}

static const char *
read_text(struct posted *in, const char *text, size_t len)
{
	const struct kb_yaml_limits limits = {
		.text = FILE_MAX,
		.nodes = NODES_MAX,
	};
	const char *why = NULL;

	if (kb_yaml_parse_within(in->p.arena, (struct kb_slice) { text, len },
		&limits, &in->tree, &why) != KB_OK)
		return why;
	return NULL;
}

/* The file itself, or {"config": "its text"}. */
static const char *
read_json(struct posted *in, struct kb_slice body)
{
	const struct kb_yaml *config;
	const char *why = NULL;

	if (tree_of_json(in->p.arena, body, &in->tree, &why) != KB_OK)
		return why;
	config = kb_yaml_get(in->tree, "config");
	if (config == NULL || config->kind != KB_YAML_SCALAR)
		return NULL;
	return read_text(in, config->text, strlen(config->text));
}

static const char *
read_posted(struct posted *in)
{
	struct admin_call *c = in->c;
	struct kb_slice body = { kb_buf_str(&c->body), c->body.len };
	struct kb_slice type = kb_http1_get(
	    kb_ex_head(c->ex), kb_ex_bytes(c->ex), KB_H_CONTENT_TYPE);
	enum body_type kind = body_type_of(type, body);
	struct kb_slice form = kind == BODY_FORM
	    ? body
	    : (struct kb_slice) { NULL, 0 };
	const char *text;

	in->check_hash = is_asked(c, form, "check_hash");
	in->flatten = is_asked(c, form, "flatten_errors");
	if (kind == BODY_JSON)
		return read_json(in, body);
	if (kind == BODY_YAML || kind == BODY_OTHER)
		return read_text(in, body.ptr, body.len);
	text = form_value(in->p.arena, form, "config");
	if (text == NULL)
		return "expected a declarative configuration, or a form with "
		       "\"config\"";
	return read_text(in, text, strlen(text));
}

/* ---- POST: what is wrong ------------------------------------------------- */

static void
write_error(struct kb_jsonw *w, const struct problem *p)
{
	kb_w_object(w, NULL);
	kb_w_str(w, "type", p->field ? "field" : "entity");
	kb_w_opt(w, "field", p->field);
	kb_w_str(w, "message", p->text);
	if (p->line)
		kb_w_int(w, "line", p->line);
	kb_w_object_end(w);
}

static void
write_tags(struct kb_jsonw *w, const struct entity *e)
{
	const struct kb_yaml *tags = kb_yaml_get(e->y, "tags");

	if (tags == NULL || tags->kind != KB_YAML_SEQUENCE)
		return;
	kb_w_array(w, "entity_tags");
	for (const struct kb_yaml *y = tags->first; y != NULL; y = y->next)
		if (y->kind == KB_YAML_SCALAR)
			kb_w_str(w, NULL, y->text);
	kb_w_array_end(w);
}

/* All that is wrong with the entity of the problem `i`, the first of its. */
static void
write_entity_errors(struct kb_jsonw *w, const struct problems *p, size_t i)
{
	const struct entity *e = p->v[i].entity;

	kb_w_object(w, NULL);
	kb_w_str(w, "entity_type", kind_infos[e->kind].singular);
	kb_w_opt(w, "entity_name",
	    e->kind == KIND_PLUGIN ? entity_text(e, "name") : e->name);
	kb_w_opt(w, "entity_id", e->id);
	write_tags(w, e);
	kb_w_array(w, "errors");
	for (size_t j = i; j < p->n; j++)
		if (p->v[j].error && p->v[j].entity == e)
			write_error(w, &p->v[j]);
	kb_w_array_end(w);
	kb_w_object_end(w);
}

static bool
is_first(const struct problems *p, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (p->v[j].error && p->v[j].entity == p->v[i].entity)
			return false;
	return true;
}

static void
write_flattened(struct kb_jsonw *w, const struct problems *p)
{
	kb_w_array(w, "flattened_errors");
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].error && p->v[i].entity && is_first(p, i))
			write_entity_errors(w, p, i);
	kb_w_array_end(w);
}

static void
write_rest(struct kb_jsonw *w, const struct problems *p, bool flattened)
{
	kb_w_object(w, "fields");
	kb_w_array(w, "@entity");
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].error && !(flattened && p->v[i].entity))
			kb_w_str(w, NULL, p->v[i].text);
	kb_w_array_end(w);
	kb_w_object_end(w);
}

static void
refuse(struct posted *in)
{
	const struct problems *p = &in->p;
	const char *first = "";
	struct kb_jsonw w;
	struct kb_buf b;

	for (size_t i = p->n; i-- > 0;)
		if (p->v[i].error)
			first = p->v[i].text;
	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_int(&w, "code", ADMIN_DECLARATIVE);
	kb_w_str(&w, "name", "invalid declarative configuration");
	kb_w_str(&w, "message",
	    kb_sprintf(in->c->a, "declarative config is invalid: %s%s", first,
		p->errors > 1 ? " (and more)" : ""));
	write_rest(&w, p, in->flatten);
	if (in->flatten)
		write_flattened(&w, p);
	kb_w_object_end(&w);
	admin_json(in->c, 400, &b);
	kb_buf_free(&b);
}

/* ---- POST: into use ------------------------------------------------------ */

static void
answer(struct admin_call *c)
{
	const struct document *d = admin_document(c);
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "configuration_hash", c->g->snapshot->hash);
	for (int k = 0; k < KINDS; k++) {
		if (d->of[k].n == 0)
			continue;
		kb_w_object(&w, kind_infos[k].file);
		for (size_t i = 0; i < d->of[k].n; i++) {
			const struct entity *e = d->of[k].v[i];

			kb_w_object(&w, e->id);
			kb_w_str(&w, "id", e->id);
			if (kind_infos[k].key)
				kb_w_opt(&w, kind_infos[k].key, e->name);
			kb_w_object_end(&w);
		}
		kb_w_object_end(&w);
	}
	kb_w_object_end(&w);
	admin_json(c, 201, &b);
	kb_buf_free(&b);
}

/* What was given out with masks can be given back, where the same entity is
 * still there. */
static void
unmask(struct posted *in, struct document *d)
{
	const struct document *now = admin_document(in->c);

	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < d->of[k].n; i++) {
			struct entity *e = d->of[k].v[i];
			const struct entity *old = document_find(
			    now, e->kind, e->id);

			in->p.entity = e;
			edit_unmask(&in->p, e->y, old ? old->y : NULL);
			if (!kb_str_eq(e->secret, view_mask))
				continue;
			if (old != NULL && old->secret != NULL)
				e->secret = secret_keep(d->arena, old->secret);
			else
				problem(&in->p, e->line,
				    "%s: %s stands for nothing here",
				    kind_infos[k].secret, view_mask);
		}
	in->p.entity = NULL;
}

static struct snapshot *
link_posted(struct posted *in)
{
	struct document *d;

	if (in->tree->kind != KB_YAML_MAPPING) {
		problem(&in->p, 0, "the file must be a mapping");
		return NULL;
	}
	verifiers_begin();
	d = document_read(&in->p, in->tree);
	unmask(in, d);
	return document_link(&in->p, d);
}

static void
adopt(struct posted *in, struct snapshot *s)
{
	struct admin_call *c = in->c;
	const char *why;

	if (in->check_hash && kb_str_eq(s->hash, c->g->snapshot->hash)) {
		kb_arena_free(in->p.arena);
		admin_empty(c, 304);
		return;
	}
	if (!tls_load(c->g, s)) {
		admin_refuse(c, ADMIN_DECLARATIVE, "certificates",
		    "the certificates cannot be used: the log says why");
		kb_arena_free(in->p.arena);
		return;
	}
	if (!state_save(c->g, s->document, &why)) {
		(void)!tls_load(c->g, c->g->snapshot);
		kb_error(NULL, "configuration refused: it cannot be kept",
		    KB_S("file", c->g->config->config_state),
		    KB_S("reason", why));
		admin_message(c, 500, "The configuration cannot be kept");
		kb_arena_free(in->p.arena);
		return;
	}
	gateway_adopt(c->g, s);
	reload_count(true);
	kb_info(NULL, "configuration posted", KB_N("services", s->n_services),
	    KB_N("routes", s->n_routes), KB_S("client", kb_ex_peer_text(c->ex)),
	    KB_S("hash", s->hash));
	answer(c);
}

static void
post(struct admin_call *c)
{
	struct posted in = {
		.c = c,
		.p = { .arena = kb_arena_new(64 * 1024),
		    .file = "request",
		    .defaults = gateway_defaults_of(c->g) },
	};
	const char *why = read_posted(&in);
	struct snapshot *s = NULL;

	if (why != NULL)
		problem(&in.p, 0, "%s", why);
	else if (!edit_texts_are_literal(c, in.tree)) {
		kb_arena_free(in.p.arena);
		return;
	} else
		s = link_posted(&in);
	if (s != NULL && !problems_any(&in.p)) {
		adopt(&in, s);
		return;
	}
	reload_count(false);
	kb_warn(NULL, "a posted configuration was refused, the old one stays",
	    KB_N("problems", in.p.errors),
	    KB_S("client", kb_ex_peer_text(c->ex)));
	refuse(&in);
	kb_arena_free(in.p.arena);
}

void
admin_config(struct admin_call *c)
{
	switch (c->method) {
	case KB_M_GET:
	case KB_M_HEAD: get(c); break;
	case KB_M_POST:
	case KB_M_PUT: post(c); break;
	default: admin_not_allowed(c, "GET, HEAD, POST, PUT"); break;
	}
}
