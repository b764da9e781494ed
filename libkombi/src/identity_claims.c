/*
 * From verified claims to the values of the identity headers (DESIGN 4.3).
 * What could not stand in a header, or could be read there as something
 * else, makes the whole identity invalid.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <kombi/identity.h>
#include <kombi/str.h>

#define ID_MAX 128
#define ROLE_MAX 64
#define TEXT_MAX 512
#define ROLES_MAX 256
#define ROLES_TEXT_MAX 8192

static const char *const default_org[] = {
	"urn:zitadel:iam:user:resourceowner:id",
	"urn:zitadel:iam:org:id",
	NULL,
};

static const char *const plan_names[] = {
	[KB_PLAN_FREE] = "free",
	[KB_PLAN_PRO] = "pro",
	[KB_PLAN_ENTERPRISE] = "enterprise",
};

bool
kb_roles_have(const char *roles, const char *role)
{
	struct kb_slice rest = kb_slice_of(roles ? roles : ""), part;

	if (!role || !*role)
		return false;
	while (kb_slice_next(&rest, ',', &part))
		if (kb_slice_eq(part, role))
			return true;
	return false;
}

const char *
kb_plan_name(enum kb_plan p)
{
	return plan_names[p];
}

bool
kb_plan_of(const char *s, enum kb_plan *out)
{
	for (size_t i = 0; s && i < KB_COUNT(plan_names); i++)
		if (strcasecmp(s, plan_names[i]) == 0) {
			*out = (enum kb_plan)i;
			return true;
		}
	return false;
}

static bool
is_made_of(const char *s, size_t max, const char *punctuation)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (n >= max ||
		    !((s[n] >= 'a' && s[n] <= 'z') ||
			(s[n] >= 'A' && s[n] <= 'Z') ||
			(s[n] >= '0' && s[n] <= '9') ||
			strchr(punctuation, s[n])))
			return false;
	return n > 0;
}

static bool
is_id(const char *s)
{
	return s && is_made_of(s, ID_MAX, "_.:@|-");
}

/* Absent and null are the same: some issuers write null for "has none". */
static const struct kb_json *
claim(const struct kb_json *claims, const char *name)
{
	const struct kb_json *j = kb_json_get(claims, name);

	return j && kb_json_kind(j) != KB_JSON_NULL ? j : NULL;
}

/* ---- roles ---------------------------------------------------------------*/

static int
by_name(const void *x, const void *y)
{
	const char *const *a = x, *const *b = y;

	return strcmp(*a, *b);
}

/* {"role": {"orgId": "domain"}}; {} is a role held wherever one is. */
static bool
is_held(const struct kb_json *orgs, const char *org)
{
	return kb_json_size(orgs) == 0 || (org && kb_json_get(orgs, org));
}

static bool
held_roles(
    const struct kb_json *roles, const char *org, const char **out, size_t *n)
{
	if (kb_json_kind(roles) != KB_JSON_OBJECT)
		return false;
	for (const struct kb_json *j = kb_json_first(roles); j;
	     j = kb_json_after(j)) {
		const char *name = kb_json_name(j);

		if (!is_made_of(name, ROLE_MAX, "_.:-") ||
		    kb_json_kind(j) != KB_JSON_OBJECT)
			return false;
		if (!is_held(j, org))
			continue;
		if (*n == ROLES_MAX)
			return false;
		out[(*n)++] = name;
	}
	return true;
}

static const char *
join(struct kb_arena *a, const char **names, size_t n)
{
	struct kb_buf buf;
	const char *text = NULL;

	qsort(names, n, sizeof(*names), by_name);
	kb_buf_init(&buf, ROLES_TEXT_MAX);
	for (size_t i = 0; i < n; i++) {
		if (i)
			kb_buf_addc(&buf, ',');
		kb_buf_adds(&buf, names[i]);
	}
	if (!kb_buf_failed(&buf))
		text = kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return text;
}

static bool
read_roles(
    struct kb_arena *a, const struct kb_json *roles, struct kb_identity *id)
{
	const char **names = kb_new_array(a, ROLES_MAX, const char *);
	size_t n = 0;

	if (!roles)
		return true;
	if (!held_roles(roles, id->value[KB_ID_ORG], names, &n))
		return false;
	id->value[KB_ID_ROLES] = join(a, names, n);
	return id->value[KB_ID_ROLES] != NULL;
}

/* ---- plan ----------------------------------------------------------------*/

/* "subscriber_pro" and "subscriber:pro" both. */
static enum kb_plan
plan_of_roles(struct kb_arena *a, const char *roles)
{
	int plan = KB_PLAN_ENTERPRISE;

	for (; plan > KB_PLAN_FREE; plan--)
		if (kb_roles_have(roles,
			kb_sprintf(a, "subscriber_%s", plan_names[plan])) ||
		    kb_roles_have(roles,
			kb_sprintf(a, "subscriber:%s", plan_names[plan])))
			break;
	return (enum kb_plan)plan;
}

/* A plan that nobody knows grants nothing, whatever the roles say. */
static bool
read_plan(
    struct kb_arena *a, const struct kb_json *plan, struct kb_identity *id)
{
	enum kb_plan p = KB_PLAN_FREE;

	if (!plan)
		p = plan_of_roles(a, id->value[KB_ID_ROLES]);
	else if (!kb_json_text(plan))
		return false;
	else if (!kb_plan_of(kb_json_text(plan), &p))
		p = KB_PLAN_FREE;
	id->value[KB_ID_PLAN] = kb_plan_name(p);
	return true;
}

/* ---- the rest ------------------------------------------------------------*/

static bool
read_text(struct kb_arena *a, const struct kb_json *j, const char *keep,
    const char **out)
{
	const char *s;
	struct kb_buf buf;

	if (!j)
		return true;
	s = kb_json_text(j);
	if (!s || strlen(s) > TEXT_MAX || kb_has_control(s, strlen(s)))
		return false;
	kb_buf_init(&buf, 3 * TEXT_MAX + 1);
	kb_percent_encode(&buf, s, keep);
	*out = kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return true;
}

static bool
read_org(
    const struct kb_json *claims, const char *const *names, const char **out)
{
	for (; *names; names++) {
		const struct kb_json *org = claim(claims, *names);

		if (org) {
			*out = kb_json_text(org);
			return is_id(*out);
		}
	}
	return true;
}

enum kb_err
kb_identity_from_claims(struct kb_arena *a, const struct kb_json *claims,
    const struct kb_claims_map *map, struct kb_identity *out)
{
	static const struct kb_claims_map none;
	const struct kb_claims_map *m = map ? map : &none;

	memset(out, 0, sizeof(*out));
	out->value[KB_ID_USER] = kb_json_str(claims, m->user ? m->user : "sub");
	if (!is_id(out->value[KB_ID_USER]))
		return KB_AUTH_INVALID;
	if (!read_org(claims, m->org ? m->org : default_org,
		&out->value[KB_ID_ORG]) ||
	    !read_roles(a,
		claim(claims,
		    m->roles ? m->roles : "urn:zitadel:iam:org:project:roles"),
		out) ||
	    !read_plan(a, claim(claims, m->plan ? m->plan : "plan"), out) ||
	    !read_text(
		a, claim(claims, "email"), "@", &out->value[KB_ID_EMAIL]) ||
	    !read_text(a, claim(claims, "name"), "", &out->value[KB_ID_NAME]))
		return KB_AUTH_INVALID;
	return KB_OK;
}
