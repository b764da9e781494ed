/*
 * Consumers: who they are, their groups, plan and roles, and what upstream
 * hears of them. Their keys are in credentials.c.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

/* ---- reading ------------------------------------------------------------- */

struct reading {
	struct consumer consumer;
	struct strs tags;
};

/* clang-format off */
#define IN_CONSUMER(m) \
	{ .kind = FIELD_STR, .name = #m, .offset = offsetof(struct reading, consumer) + \
	    KB_OFFSET_OF(struct consumer, m, const char *) }
/* clang-format on */

static const struct field consumer_fields[] = {
	IN_CONSUMER(id),
	IN_CONSUMER(username),
	IN_CONSUMER(custom_id),
	CONF_SKIP("created_at"),
	CONF_SKIP("updated_at"),
	CONF_STRS(struct reading, tags),
	/* Entities of their own, for "did you mean". */
	CONF_SKIP("jwt_secrets"),
	CONF_SKIP("keyauth_credentials"),
	CONF_SKIP("basicauth_credentials"),
	CONF_SKIP("acls"),
	CONF_SKIP("plugins"),
	CONF_SKIP("groups"),
	CONF_LATER("hmacauth_credentials", "hmac-auth"),
	CONF_LATER("oauth2_credentials", "oauth2"),
	CONF_LATER("mtls_auth_credentials", "mtls-auth"),
	CONF_END,
};

const struct schema consumer_schema = { consumer_fields, NULL };

static const struct field group_fields[] = {
	CONF_STR(struct consumer_group, id),
	CONF_STR(struct consumer_group, name, .required = true),
	CONF_SKIP("created_at"),
	CONF_SKIP("updated_at"),
	CONF_SKIP("tags"),
	CONF_SKIP("consumers"),
	CONF_SKIP("plugins"),
	CONF_END,
};

const struct schema consumer_group_schema = { group_fields, NULL };

struct consumer_group *
consumer_group_read(struct problems *p, const struct entity *e)
{
	struct consumer_group *g = kb_new(
	    problems_arena(p), struct consumer_group);

	fields_read(p, e->y, group_fields, g, "consumer_group");
	g->line = e->line;
	return g;
}

static bool
has_only(const char *text, const char *also, size_t max)
{
	size_t n = strlen(text);

	for (const char *c = text; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			(*c >= '0' && *c <= '9') || strchr(also, *c)))
			return false;
	return n >= 1 && n <= max;
}

bool
consumer_name_is_id(const char *name)
{
	return has_only(name, "_.:@|-", 128);
}

/* Values of tags "prefix:value". */
static struct strs
tagged(struct kb_arena *a, const struct strs *tags, const char *prefix)
{
	const char **v = kb_new_array(a, tags->n + 1, const char *);
	size_t n = 0;

	for (size_t i = 0; i < tags->n; i++)
		if (kb_str_starts(tags->v[i], prefix))
			v[n++] = tags->v[i] + strlen(prefix);
	return (struct strs) { .v = v, .n = n };
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Roles are the groups and the tags role:NAME, as X-User-Roles has them. */
static void
make_roles(struct problems *p, const struct strs *tags, struct consumer *c)
{
	struct kb_arena *a = problems_arena(p);
	struct strs roles = tagged(a, tags, "role:");
	size_t n = roles.n + c->groups.n;
	const char **v = kb_new_array(a, n + 1, const char *);
	struct kb_buf b;

	for (size_t i = 0; i < roles.n; i++)
		v[i] = roles.v[i];
	for (size_t i = 0; i < c->groups.n; i++)
		v[roles.n + i] = c->groups.v[i];
	if (n)
		qsort(v, n, sizeof(*v), by_text);
	kb_buf_init(&b, 1 << 16);
	for (size_t i = 0; i < n; i++) {
		if (!has_only(v[i], "_.:-", 64))
			problem(p, c->line,
			    "consumer: the group or role \"%s\" must be 1 to "
			    "64 of letters, digits and _.:-",
			    v[i]);
		if (i && kb_str_eq(v[i], v[i - 1]))
			continue;
		kb_buf_addf(&b, "%s%s", b.len ? "," : "", v[i]);
	}
	c->roles = b.len ? kb_strdup(a, kb_buf_str(&b)) : NULL;
	kb_buf_free(&b);
}

static void
make_identity(struct problems *p, const struct strs *tags, struct consumer *c)
{
	struct kb_arena *a = problems_arena(p);
	struct strs plans = tagged(a, tags, "plan:");
	struct strs orgs = tagged(a, tags, "org:");
	enum kb_plan plan = KB_PLAN_FREE;

	if (plans.n > 1 || (plans.n && !kb_plan_of(plans.v[0], &plan)))
		problem(p, c->line,
		    "consumer: the tag plan: must be there once, one of "
		    "plan:free, plan:pro, plan:enterprise");
	if (orgs.n > 1 || (orgs.n && !has_only(orgs.v[0], "_.:@|-", 128)))
		problem(p, c->line,
		    "consumer: the tag org: must be there once, 1 to 128 of "
		    "letters, digits and _.:@|-");
	c->plan = kb_plan_name(plan);
	c->org = orgs.n ? orgs.v[0] : NULL;
	make_roles(p, tags, c);
}

/* Members of a list of {id: …}. */
static void
read_membership(struct problems *p, const struct document *d,
    const struct entity *e, struct consumer *c)
{
	const struct kb_yaml *list = kb_yaml_get(e->y, "groups");
	const struct consumer_group **v;

	if (list == NULL || list->n == 0)
		return;
	v = kb_new_array(
	    problems_arena(p), list->n, const struct consumer_group *);
	for (const struct kb_yaml *y = list->first; y != NULL; y = y->next) {
		const struct kb_yaml *id = kb_yaml_get(y, "id");
		const struct entity *g = id
		    ? document_find(d, KIND_CONSUMER_GROUP, id->text)
		    : NULL;

		if (g != NULL && g->made != NULL)
			v[c->n_member_of++] = g->made;
	}
	c->member_of = v;
}

struct consumer *
consumer_read(
    struct problems *p, const struct document *d, const struct entity *e)
{
	struct reading r = { .consumer.line = e->line };
	struct consumer *c = kb_new(problems_arena(p), struct consumer);

	fields_read(p, e->y, consumer_fields, &r, "consumer");
	*c = r.consumer;
	if (c->custom_id == NULL && c->username == NULL)
		problem(
		    p, e->line, "consumer: username or custom_id is required");
	c->tags = r.tags;
	read_membership(p, d, e, c);
	return c;
}

void
consumers_finish(struct problems *p, struct snapshot *s)
{
	for (size_t i = 0; i < s->n_consumers; i++) {
		struct consumer *c = s->consumers[i];

		c->index = i;
		make_identity(p, &c->tags, c);
	}
}

/* ---- callers ------------------------------------------------------------- */

const struct consumer *
exchange_find_consumer(const struct exchange *x, const char *name)
{
	const struct snapshot *s = x->local->snapshot;

	for (size_t i = 0; i < s->n_consumers; i++) {
		const struct consumer *c = s->consumers[i];

		if ((c->username && kb_str_eq(c->username, name)) ||
		    (c->custom_id && kb_str_eq(c->custom_id, name)) ||
		    kb_str_eq(c->id, name))
			return c;
	}
	return NULL;
}

const struct consumer *
exchange_consumer(const struct exchange *x)
{
	return x->consumer;
}

bool
exchange_is_anonymous(const struct exchange *x)
{
	return x->anonymous;
}

const char *
exchange_credential(const struct exchange *x)
{
	return x->credential;
}

/* Each loop keeps one entry a consumer, with its proofs. */
static struct token_entry *
entry_of(struct exchange *x, const struct consumer *c)
{
	struct local *l = x->local;
	const struct kb_identity id = {
		.value = {
			[KB_ID_USER] = c->custom_id ? c->custom_id : c->username,
			[KB_ID_ORG] = c->org,
			[KB_ID_ROLES] = c->roles,
			[KB_ID_PLAN] = c->plan,
		},
	};

	if (l->consumers[c->index] == NULL)
		l->consumers[c->index] = token_of_identity(&id);
	return l->consumers[c->index];
}

void
exchange_set_credential(struct exchange *x, const struct credential *c)
{
	x->consumer = c->consumer;
	x->credential = c->name ? c->name : c->id;
	x->known_at = x->at;
	x->anonymous = false;
	exchange_set_identity(x, entry_of(x, c->consumer));
}

void
exchange_set_anonymous(struct exchange *x, const char *consumer)
{
	const struct consumer *c = exchange_find_consumer(x, consumer);

	if (c == NULL) {
		exchange_fail(x, KB_CONFIGURATION,
		    kb_sprintf(exchange_arena(x),
			"anonymous consumer %s is configured but doesn't exist",
			consumer));
		return;
	}
	x->consumer = c;
	x->known_at = x->at;
	x->anonymous = true;
}

static void
add_line(struct kb_buf *out, const char *name, const char *value)
{
	if (value != NULL)
		kb_buf_addf(out, "%s: %s\r\n", name, value);
}

void
consumer_lines(const struct exchange *x, struct kb_buf *out)
{
	const struct consumer *c = x->consumer;

	if (c == NULL)
		return;
	add_line(out, "X-Consumer-ID", c->id);
	add_line(out, "X-Consumer-Custom-ID", c->custom_id);
	add_line(out, "X-Consumer-Username", c->username);
	if (x->anonymous)
		add_line(out, "X-Anonymous-Consumer", "true");
	else
		add_line(out, "X-Credential-Identifier", x->credential);
}
