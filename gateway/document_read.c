/*
 * What was written nested, by names and in any order becomes flat entities
 * that refer by ids. First all entities are collected, then, kind by kind,
 * their references are resolved, so that an id can be made of a parent's.
 */
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "document_inside.h"
#include "inside.h"

struct pending {
	struct entity *e;
	struct entity *parent; /* it stands below that one, or NULL */
	struct pending *next;
};

struct queue {
	struct pending *first, **last;
};

struct reader {
	struct problems *p;
	struct document *d;
	struct kb_arena *a;
	struct queue of[KINDS];
	struct kb_yaml *plugin_configs; /* or NULL */
	struct kb_yaml *members;        /* lists of consumers, key: group */
	bool regex_unmarked;            /* before 3.0 paths had no "~" */
};

/* Lists below an entity that are entities of their own. */
static const struct {
	enum kind parent;
	const char *member;
	enum kind kind;
} children[] = {
	{ KIND_SERVICE, "routes", KIND_ROUTE },
	{ KIND_SERVICE, "plugins", KIND_PLUGIN },
	{ KIND_ROUTE, "plugins", KIND_PLUGIN },
	{ KIND_UPSTREAM, "targets", KIND_TARGET },
	{ KIND_CERTIFICATE, "snis", KIND_SNI },
	{ KIND_CONSUMER_GROUP, "plugins", KIND_PLUGIN },
	{ KIND_CONSUMER, "jwt_secrets", KIND_JWT_SECRET },
	{ KIND_CONSUMER, "keyauth_credentials", KIND_KEYAUTH },
	{ KIND_CONSUMER, "basicauth_credentials", KIND_BASICAUTH },
	{ KIND_CONSUMER, "acls", KIND_ACL },
	{ KIND_CONSUMER, "plugins", KIND_PLUGIN },
};

/* "route r", "plugin cors": how messages call it. */
static const char *
label_of(struct reader *r, const struct entity *e)
{
	const char *what = kind_infos[e->kind].singular, *name = e->name;

	if (e->kind == KIND_PLUGIN)
		name = entity_text(e, "name");
	if (e->kind == KIND_KEYAUTH || e->kind == KIND_JWT_SECRET)
		name = NULL;
	return name ? kb_sprintf(r->a, "%s %s", what, name) : what;
}

/* ---- collecting ---------------------------------------------------------- */

static void collect(
    struct reader *r, enum kind kind, struct kb_yaml *y, struct entity *parent);

static void
collect_list(struct reader *r, enum kind kind, struct kb_yaml *list,
    struct entity *parent)
{
	struct kb_yaml *next;
	const char *what = list->key;

	if (kb_yaml_is_null(list))
		return;
	if (list->kind != KB_YAML_SEQUENCE) {
		problem(r->p, list->line, "%s must be a list", what);
		return;
	}
	for (struct kb_yaml *y = list->first; y != NULL; y = next) {
		next = y->next;
		y->next = NULL;
		if (kind == KIND_SNI && y->kind == KB_YAML_SCALAR) {
			struct kb_yaml *map = kb_yaml_new(
			    r->a, KB_YAML_MAPPING);

			map->line = y->line;
			kb_yaml_set(map, "name", y);
			y = map;
		}
		if (y->kind != KB_YAML_MAPPING)
			problem(r->p, y->line, "%s: an entry must be a mapping",
			    what);
		else
			collect(r, kind, y, parent);
	}
}

/* decK's shared configurations: what the plugin itself says comes first. */
static void
merge_shared(struct reader *r, struct kb_yaml *plugin)
{
	struct kb_yaml *use = kb_yaml_member(plugin, "_config"), *config,
		       *shared;

	if (use == NULL)
		return;
	kb_yaml_unset(plugin, "_config");
	shared = r->plugin_configs && use->kind == KB_YAML_SCALAR
	    ? kb_yaml_member(r->plugin_configs, use->text)
	    : NULL;
	if (shared == NULL || shared->kind != KB_YAML_MAPPING) {
		problem(r->p, use->line,
		    "plugin: _config \"%s\" is not one of _plugin_configs",
		    use->text ? use->text : "");
		return;
	}
	config = kb_yaml_member(plugin, "config");
	if (config == NULL || kb_yaml_is_null(config)) {
		config = kb_yaml_new(r->a, KB_YAML_MAPPING);
		config->line = use->line;
		kb_yaml_set(plugin, "config", config);
	}
	for (struct kb_yaml *y = shared->first; y != NULL; y = y->next)
		if (kb_yaml_member(config, y->key) == NULL)
			kb_yaml_set(config, y->key, kb_yaml_copy(r->a, y));
}

static void
check_tags(struct reader *r, const struct entity *e)
{
	const struct kb_yaml *tags = kb_yaml_get(e->y, "tags");

	if (tags == NULL || tags->kind != KB_YAML_SEQUENCE)
		return;
	for (const struct kb_yaml *y = tags->first; y != NULL; y = y->next)
		if (y->kind != KB_YAML_SCALAR || !y->text[0] ||
		    strpbrk(y->text, ",/"))
			problem(r->p, y->line,
			    "%s: a tag is text without \",\" and \"/\"",
			    label_of(r, e));
}

/* Kong's own rule for files that do not mark regular expressions. */
static void
mark_regexes(struct reader *r, struct kb_yaml *route)
{
	struct kb_yaml *paths = kb_yaml_member(route, "paths");

	if (!r->regex_unmarked || paths == NULL ||
	    paths->kind != KB_YAML_SEQUENCE)
		return;
	for (struct kb_yaml *y = paths->first; y != NULL; y = y->next) {
		const char *c = y->kind == KB_YAML_SCALAR ? y->text : "";

		while ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    (*c >= '0' && *c <= '9') || (*c && strchr(".-_~/%", *c)))
			c++;
		if (*c)
			y->text = kb_sprintf(r->a, "~%s", y->text);
	}
}

static void
move_secret(struct reader *r, struct entity *e)
{
	const char *member = kind_infos[e->kind].secret;
	struct kb_yaml *y = member ? kb_yaml_member(e->y, member) : NULL;

	if (y == NULL)
		return;
	kb_yaml_unset(e->y, member);
	if (y->kind != KB_YAML_SCALAR || !y->text[0]) {
		if (!kb_yaml_is_null(y))
			problem(r->p, y->line, "%s: %s must be text",
			    kind_infos[e->kind].singular, member);
		return;
	}
	e->secret = secret_keep(r->a, y->text);
	secret_wipe(y);
}

/* Members of a file that say nothing. */
static void
drop_remarks(struct entity *e)
{
	while (kb_yaml_unset(e->y, "_comment"))
		;
	while (kb_yaml_unset(e->y, "_ignore"))
		;
}

/* Kong lists the members of a group below it, decK the groups of one. */
static void
members_of_group(struct reader *r, struct entity *group)
{
	struct kb_yaml *list = kb_yaml_member(group->y, "consumers");

	if (list == NULL)
		return;
	kb_yaml_unset(group->y, "consumers");
	if (list->kind != KB_YAML_SEQUENCE) {
		problem(r->p, list->line, "consumers must be a list");
		return;
	}
	if (r->members == NULL)
		r->members = kb_yaml_new(r->a, KB_YAML_SEQUENCE);
	kb_yaml_append(r->members, list);
	list->key = group->name;
}

static void
collect(
    struct reader *r, enum kind kind, struct kb_yaml *y, struct entity *parent)
{
	struct entity *e = kb_new(r->a, struct entity);
	struct pending *pending = kb_new(r->a, struct pending);

	*e = (struct entity) { .kind = kind, .y = y, .line = y->line };
	*pending = (struct pending) { .e = e, .parent = parent };
	drop_remarks(e);
	if (kind == KIND_PLUGIN)
		merge_shared(r, y);
	if (kind == KIND_ROUTE)
		mark_regexes(r, y);
	if (kind == KIND_KEYAUTH && kb_yaml_member(y, "key"))
		key_hide(r->p, kb_yaml_member(y, "key"));
	move_secret(r, e);
	if (kind_infos[kind].key)
		e->name = entity_text(e, kind_infos[kind].key);
	check_tags(r, e);
	if (kind == KIND_CONSUMER_GROUP)
		members_of_group(r, e);
	*r->of[kind].last = pending;
	r->of[kind].last = &pending->next;
	for (size_t i = 0; i < KB_COUNT(children); i++) {
		struct kb_yaml *list = children[i].parent == kind
		    ? kb_yaml_member(y, children[i].member)
		    : NULL;

		if (list == NULL)
			continue;
		kb_yaml_unset(y, list->key);
		collect_list(r, children[i].kind, list, e);
	}
}

/* ---- resolving ----------------------------------------------------------- */

/* What a reference names: text, or the text of its id or name. */
static const struct kb_yaml *
named_by(const struct kb_yaml *y)
{
	static const char *const members[] = { "id", "name", "username",
		"target", "prefix" };
	const struct kb_yaml *name = y->kind == KB_YAML_SCALAR ? y : NULL;

	for (size_t i = 0; name == NULL && i < KB_COUNT(members); i++)
		if (y->kind == KB_YAML_MAPPING)
			name = kb_yaml_get(y, members[i]);
	return name && name->kind == KB_YAML_SCALAR ? name : NULL;
}

static struct entity *
resolve_one(struct reader *r, struct entity *e, const struct reference *ref,
    const struct kb_yaml *y)
{
	const char *what = kind_infos[ref->to].singular;
	const struct kb_yaml *name = named_by(y);
	struct entity *to = NULL;

	if (name == NULL) {
		problem(r->p, y->line, "%s: %s must be a name or {name: …}",
		    label_of(r, e), ref->member);
		return NULL;
	}
	to = document_find(r->d, ref->to, name->text);
	if (to == NULL) {
		r->p->about = ABOUT_FOREIGN;
		r->p->field = ref->member;
		problem(r->p, e->line, "%s: there is no %s \"%s\"",
		    label_of(r, e), what, name->text);
		r->p->about = ABOUT_SCHEMA;
		r->p->field = NULL;
	}
	return to;
}

static struct kb_yaml *
reference_to(struct reader *r, const struct entity *to, bool text)
{
	struct kb_yaml *map, *id = kb_yaml_text(r->a, to->id);

	if (text)
		return id;
	map = kb_yaml_new(r->a, KB_YAML_MAPPING);
	kb_yaml_set(map, "id", id);
	return map;
}

static void
resolve_list(struct reader *r, struct entity *e, const struct reference *ref,
    struct kb_yaml *list)
{
	struct kb_yaml *out = kb_yaml_new(r->a, KB_YAML_SEQUENCE);

	if (list->kind != KB_YAML_SEQUENCE) {
		problem(r->p, list->line, "%s: %s must be a list",
		    label_of(r, e), ref->member);
		return;
	}
	for (const struct kb_yaml *y = list->first; y != NULL; y = y->next) {
		struct entity *to = resolve_one(r, e, ref, y);

		if (to != NULL)
			kb_yaml_append(out, reference_to(r, to, ref->texts));
	}
	out->line = list->line;
	kb_yaml_set(e->y, ref->member, out);
}

/* The platform's file sends /health to a service that it does not define:
 * the gateway answers there itself, before any route. */
static bool
is_own_health(const struct entity *e, const struct kb_yaml *y)
{
	const struct kb_yaml *name = named_by(y);
	const struct kb_yaml *paths = kb_yaml_get(e->y, "paths");

	if (e->kind != KIND_ROUTE || name == NULL ||
	    !kb_str_eq(name->text, "kong-admin") || paths == NULL ||
	    paths->kind != KB_YAML_SEQUENCE || paths->n == 0)
		return false;
	for (const struct kb_yaml *path = paths->first; path; path = path->next)
		if (path->kind != KB_YAML_SCALAR ||
		    !kb_str_eq(path->text, "/health"))
			return false;
	return true;
}

static void
resolve_reference(
    struct reader *r, const struct pending *at, const struct reference *ref)
{
	struct entity *e = at->e, *to = NULL;
	struct kb_yaml *y = kb_yaml_member(e->y, ref->member);

	if (y != NULL && kb_yaml_is_null(y)) {
		kb_yaml_unset(e->y, ref->member);
		y = NULL;
	}
	if (ref->list) {
		if (y != NULL)
			resolve_list(r, e, ref, y);
		return;
	}
	if (y != NULL && is_own_health(e, y) &&
	    !document_find(r->d, KIND_SERVICE, "kong-admin")) {
		notice(r->p, e->line,
		    "%s: there is no service \"kong-admin\": the gateway "
		    "answers /health itself",
		    label_of(r, e));
		kb_yaml_unset(e->y, ref->member);
		return;
	}
	if (y != NULL)
		to = resolve_one(r, e, ref, y);
	if (at->parent != NULL && at->parent->kind == ref->to) {
		if (to != NULL && to != at->parent)
			problem(r->p, e->line,
			    "%s: stands below the %s \"%s\" but names "
			    "another one",
			    label_of(r, e), ref->member,
			    at->parent->name ? at->parent->name : "");
		to = at->parent;
	}
	if (to != NULL)
		kb_yaml_set(e->y, ref->member, reference_to(r, to, false));
	else if (ref->required && y == NULL)
		problem(r->p, e->line, "%s: %s is required", label_of(r, e),
		    ref->member);
}

static void
read_id(struct reader *r, struct entity *e)
{
	struct kb_yaml *y = kb_yaml_member(e->y, "id");
	const char *id = NULL;

	if (y != NULL && y->kind == KB_YAML_SCALAR && kb_is_uuid(y->text))
		id = kb_str_lower(r->a, y->text);
	else if (y != NULL && !kb_yaml_is_null(y))
		problem(r->p, y->line, "%s: id must be a UUID", label_of(r, e));
	if (id == NULL)
		id = entity_make_id(r->d, e);
	e->id = id;
	kb_yaml_set(e->y, "id", kb_yaml_text(r->a, id));
}

static int64_t
time_in(const struct entity *e, const char *member, int64_t otherwise)
{
	const struct kb_yaml *y = kb_yaml_get(e->y, member);
	int64_t n = otherwise;

	if (y != NULL && !kb_yaml_int(y, &n))
		n = otherwise;
	return n;
}

static void
resolve(struct reader *r, const struct pending *at, bool replace)
{
	struct entity *e = at->e;
	int64_t now = kb_wall_s();

	r->p->entity = e;
	for (size_t i = 0; i < n_references; i++)
		if (references[i].from == e->kind)
			resolve_reference(r, at, &references[i]);
	read_id(r, e);
	if (e->kind == KIND_BASICAUTH && kb_yaml_member(e->y, "password"))
		password_hide(r->p, kb_yaml_member(e->y, "password"), e->id,
		    r->d->hashed);
	e->created_s = time_in(e, "created_at", now);
	e->updated_s = time_in(e, "updated_at", e->created_s);
	if (replace)
		(void)document_replace(r->p, r->d, e);
	else
		(void)document_add(r->p, r->d, e);
	r->p->entity = NULL;
}

/* Consumers that a group names get it among their groups. */
static void
join_groups(struct reader *r)
{
	const struct kb_yaml *lists = r->members;

	for (const struct kb_yaml *l = lists ? lists->first : NULL; l != NULL;
	     l = l->next) {
		struct entity *group = document_find(
		    r->d, KIND_CONSUMER_GROUP, l->key ? l->key : "");

		for (const struct kb_yaml *y = l->first; group && y;
		     y = y->next) {
			const struct kb_yaml *name = named_by(y);
			struct entity *c = name
			    ? document_find(r->d, KIND_CONSUMER, name->text)
			    : NULL;
			struct kb_yaml *groups;

			if (c == NULL) {
				problem(r->p, y->line,
				    "consumer_group %s: there is no consumer "
				    "\"%s\"",
				    group->name, name ? name->text : "");
				continue;
			}
			groups = kb_yaml_member(c->y, "groups");
			if (groups == NULL) {
				groups = kb_yaml_new(r->a, KB_YAML_SEQUENCE);
				kb_yaml_set(c->y, "groups", groups);
			}
			kb_yaml_append(groups, reference_to(r, group, false));
		}
	}
}

static void
reader_init(struct reader *r, struct problems *p, struct document *d)
{
	*r = (struct reader) { .p = p, .d = d, .a = d->arena };
	for (int k = 0; k < KINDS; k++)
		r->of[k].last = &r->of[k].first;
}

static void
resolve_all(struct reader *r, const struct entity *replaced)
{
	for (int k = 0; k < KINDS; k++)
		for (struct pending *at = r->of[k].first; at; at = at->next)
			resolve(r, at, at->e == replaced);
	join_groups(r);
}

struct entity *
document_put(struct problems *p, struct document *d, enum kind kind,
    struct kb_yaml *y, unsigned line)
{
	struct reader r;
	struct entity *e;
	size_t before = p->errors;

	reader_init(&r, p, d);
	y->line = line;
	collect(&r, kind, y, NULL);
	e = r.of[kind].first->e;
	resolve_all(&r, e);
	return p->errors == before ? e : NULL;
}

/* ---- the file ------------------------------------------------------------ */

struct root {
	const char *_format_version;
	bool _transform;
	const struct kb_yaml *_plugin_configs, *of[KINDS];
};

/* clang-format off */
#define LIST(k, n) \
	{ .kind = FIELD_NODE, .name = (n), .offset = offsetof(struct root, of) + \
	    (size_t)(k) * sizeof(const struct kb_yaml *) }
/* clang-format on */

static const struct field root_fields[] = {
	CONF_STR(struct root, _format_version, .required = true),
	CONF_BOOL(struct root, _transform),
	CONF_NODE(struct root, _plugin_configs),
	LIST(KIND_SERVICE, "services"),
	LIST(KIND_ROUTE, "routes"),
	LIST(KIND_PLUGIN, "plugins"),
	LIST(KIND_UPSTREAM, "upstreams"),
	LIST(KIND_TARGET, "targets"),
	LIST(KIND_CONSUMER, "consumers"),
	LIST(KIND_CONSUMER_GROUP, "consumer_groups"),
	LIST(KIND_JWT_SECRET, "jwt_secrets"),
	LIST(KIND_KEYAUTH, "keyauth_credentials"),
	LIST(KIND_BASICAUTH, "basicauth_credentials"),
	LIST(KIND_ACL, "acls"),
	LIST(KIND_CERTIFICATE, "certificates"),
	LIST(KIND_CA_CERTIFICATE, "ca_certificates"),
	LIST(KIND_SNI, "snis"),
	LIST(KIND_VAULT, "vaults"),
	CONF_NOTE("_info", "what decK says about itself"),
	CONF_NOTE("_workspace", "there is one workspace"),
	CONF_NOTE("_konnect", "this is no control plane"),
	CONF_LATER("hmacauth_credentials", "hmac-auth"),
	CONF_LATER("oauth2_credentials", "oauth2"),
	CONF_LATER("mtls_auth_credentials", "mtls-auth"),
	CONF_LATER("keys", "key sets come from issuers"),
	CONF_LATER("key_sets", "key sets come from issuers"),
	CONF_LATER("filter_chains", "WebAssembly filters"),
	CONF_LATER("licenses", "there is nothing to license"),
	CONF_END,
};

static void
check_version(struct reader *r, const struct root *root, unsigned line)
{
	static const char *const known[] = { "3.0", "2.1", "1.1" };
	const char *version = root->_format_version;
	bool fine = version == NULL;

	for (size_t i = 0; i < KB_COUNT(known) && !fine; i++)
		fine = kb_str_eq(version, known[i]);
	if (!fine)
		problem(r->p, line,
		    "_format_version %s is not supported, it must be \"3.0\", "
		    "\"2.1\" or \"1.1\"",
		    version);
	r->regex_unmarked = version != NULL && !kb_str_eq(version, "3.0");
}

struct document *
document_read(struct problems *p, struct kb_yaml *tree)
{
	struct document *d = document_new(problems_arena(p));
	struct root root = { ._transform = true };
	struct reader r;

	reader_init(&r, p, d);
	fields_read(p, tree, root_fields, &root, "file");
	check_version(&r, &root, tree->line);
	d->hashed = !root._transform;
	r.plugin_configs = kb_yaml_member(tree, "_plugin_configs");
	for (struct kb_yaml *y = tree->first, *next; y != NULL; y = next) {
		next = y->next;
		for (int k = 0; k < KINDS; k++)
			if (kb_str_eq(kind_infos[k].file, y->key))
				collect_list(&r, (enum kind)k, y, NULL);
	}
	resolve_all(&r, NULL);
	return d;
}
