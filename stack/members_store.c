/* Members of a tenant: the rows of its own users table. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "platform.h"

#define COLUMNS "id, email, name, role, \"ssoSub\", \"tokenKey\", disabled"
#define ID_ALPHABET "0123456789abcdefghijklmnopqrstuvwxyz"
#define ID_SIZE 15 /* as PocketBase's record ids */
#define TOKEN_KEY_BYTES 32

static const struct kb_col cols[] = {
	KB_COL_STR(struct member, id),
	KB_COL_STR(struct member, email),
	KB_COL_STR(struct member, name),
	KB_COL_STR(struct member, role),
	KB_COL_STR(struct member, sub),
	KB_COL_STR(struct member, token_key),
	KB_COL_BOOL(struct member, disabled),
	KB_COLS_END,
};

struct count {
	int64_t n;
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

static enum kb_err
count_members(struct kb_cx *cx, int64_t *n)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT count(*) FROM users WHERE role <> ''");
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

/* Eight characters of time, seven at random: sorts by creation. */
static const char *
record_id(struct kb_arena *a)
{
	char *id = kb_arena_alloc(a, ID_SIZE + 1);
	uint64_t time = (uint64_t)kb_wall_ms();
	unsigned char random[ID_SIZE];

	kb_random(random, sizeof(random));
	for (int i = 7; i >= 0; i--, time /= 36)
		id[i] = ID_ALPHABET[time % 36];
	for (int i = 8; i < ID_SIZE; i++)
		id[i] = ID_ALPHABET[random[i] % 36];
	return id;
}

static const char *
token_key(struct kb_arena *a)
{
	unsigned char random[TOKEN_KEY_BYTES];

	kb_random(random, sizeof(random));
	return kb_base64url(a, random, sizeof(random));
}

enum kb_err
member_by_id(struct kb_cx *tenant, const char *id, struct member *m)
{
	struct kb_rows rows = kb_query(
	    tenant, "SELECT " COLUMNS " FROM users WHERE id = $1", KB_TEXT(id));

	return kb_rows_one(&rows, cols, m);
}

static enum kb_err
member_by_sub(struct kb_cx *tenant, const char *sub, struct member *m)
{
	struct kb_rows rows = kb_query(tenant,
	    "SELECT " COLUMNS " FROM users WHERE \"ssoSub\" = $1",
	    KB_TEXT(sub));

	return kb_rows_one(&rows, cols, m);
}

struct enter {
	struct member *m;
	int64_t max_users;
	int64_t used;
};

static enum kb_err
member_create(struct kb_cx *cx, struct enter *e)
{
	const char *now = record_now(cx->arena);
	struct member *m = e->m;
	enum kb_err err = count_members(cx, &e->used);

	if (err)
		return err;
	if (e->max_users >= 0 && e->used >= e->max_users)
		return KB_QUOTA;
	m->id = record_id(cx->arena);
	if (m->role == NULL)
		m->role = e->used == 0 ? "admin" : "member";
	m->token_key = token_key(cx->arena);
	m->disabled = false;
	err = kb_exec(cx,
	    "INSERT INTO users (" COLUMNS ", \"ssoProvider\", created, updated)"
	    " VALUES ($1, CASE WHEN EXISTS (SELECT 1 FROM users"
	    " WHERE email = $2) THEN '' ELSE $2 END, $3, $4, $5, $6, 0, $7,"
	    " $8, $8)",
	    KB_TEXT(m->id), KB_TEXT(m->email ? m->email : ""),
	    KB_TEXT(m->name ? m->name : ""), KB_TEXT(m->role), KB_TEXT(m->sub),
	    KB_TEXT(m->token_key), KB_TEXT("zitadel"), KB_TEXT(now));
	if (!err)
		e->used++;
	return err;
}

/* What the identity provider says about a person wins over what we kept, but
 * for an address that another one signs in by. */
static enum kb_err
member_refresh(struct kb_cx *cx, const struct member *said, struct member *kept)
{
	if (said->email != NULL)
		kept->email = said->email;
	if (said->name != NULL)
		kept->name = said->name;
	return kb_exec(cx,
	    "UPDATE users SET email = $2, name = $3, updated = $4"
	    " WHERE id = $1 AND (email <> $2 OR name <> $3) AND NOT EXISTS"
	    " (SELECT 1 FROM users o WHERE o.email = $2 AND o.email <> ''"
	    " AND o.id <> $1)",
	    KB_TEXT(kept->id), KB_TEXT(kept->email), KB_TEXT(kept->name),
	    KB_TEXT(record_now(cx->arena)));
}

static enum kb_err
enter_tx(struct kb_cx *cx, void *arg)
{
	struct enter *e = arg;
	struct member kept = { 0 };
	enum kb_err err = member_by_sub(cx, e->m->sub, &kept);

	e->m->role = NULL;
	if (err == KB_NOT_FOUND)
		return member_create(cx, e);
	if (err)
		return err;
	/* Taken out of the tenant: only an invitation brings him back. */
	if (kept.role[0] == '\0')
		return KB_TENANT_FORBIDDEN;
	err = member_refresh(cx, e->m, &kept);
	if (!err)
		*e->m = kept;
	return err;
}

enum kb_err
member_enter(
    struct kb_cx *tenant, struct member *m, int64_t max_users, int64_t *used)
{
	struct enter e = { .m = m, .max_users = max_users };
	enum kb_err err = kb_transaction(tenant, enter_tx, &e);

	*used = e.used;
	return err;
}

static enum kb_err
join_again(struct kb_cx *cx, struct enter *e, const struct member *kept)
{
	enum kb_err err = count_members(cx, &e->used);

	if (err)
		return err;
	if (e->max_users >= 0 && e->used >= e->max_users)
		return KB_QUOTA;
	e->m->id = kept->id;
	e->used++;
	return kb_exec(cx,
	    "UPDATE users SET role = $2, disabled = 0, updated = $3"
	    " WHERE id = $1",
	    KB_TEXT(kept->id), KB_TEXT(e->m->role),
	    KB_TEXT(record_now(cx->arena)));
}

static enum kb_err
join_tx(struct kb_cx *cx, void *arg)
{
	struct enter *e = arg;
	struct member kept = { 0 };
	enum kb_err err = member_by_sub(cx, e->m->sub, &kept);

	e->used = 0;
	if (err == KB_NOT_FOUND)
		return member_create(cx, e);
	if (err)
		return err;
	if (kept.role[0] == '\0')
		return join_again(cx, e, &kept);
	/* A member already: he stays what he is. */
	*e->m = kept;
	return kept.disabled ? KB_TENANT_FORBIDDEN : KB_OK;
}

enum kb_err
member_join(
    struct kb_cx *tenant, struct member *m, int64_t max_users, int64_t *used)
{
	struct enter e = { .m = m, .max_users = max_users };
	enum kb_err err = kb_transaction(tenant, join_tx, &e);

	*used = e.used;
	return err;
}

static enum kb_err
other_admins(struct kb_cx *cx, const char *id, int64_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM users"
	    " WHERE role = 'admin' AND disabled = 0 AND id <> $1",
	    KB_TEXT(id));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

struct alter {
	const struct member_change *change;
	struct member *now;
};

static enum kb_err
alter_tx(struct kb_cx *cx, void *arg)
{
	struct alter *a = arg;
	const struct member_change *c = a->change;
	struct member *m = a->now;
	int64_t others;
	bool was_admin;
	enum kb_err err = member_by_id(cx, c->id, m);

	if (err || m->role[0] == '\0')
		return err ? err : KB_NOT_FOUND;
	was_admin = strcmp(m->role, "admin") == 0 && !m->disabled;
	if (c->role != NULL)
		m->role = c->role;
	if (c->has_disabled)
		m->disabled = c->disabled;
	err = other_admins(cx, c->id, &others);
	if (err)
		return err;
	if (was_admin && others == 0 &&
	    (m->disabled || strcmp(m->role, "admin") != 0))
		return KB_CONFLICT;
	/* Whoever is shut out or goes takes no session along. */
	if (m->disabled || m->role[0] == '\0')
		m->token_key = token_key(cx->arena);
	return kb_exec(cx,
	    "UPDATE users SET role = $2, disabled = $3, \"tokenKey\" = $4,"
	    " updated = $5 WHERE id = $1",
	    KB_TEXT(c->id), KB_TEXT(m->role), KB_FLAG(m->disabled),
	    KB_TEXT(m->token_key), KB_TEXT(record_now(cx->arena)));
}

enum kb_err
member_alter(
    struct kb_cx *tenant, const struct member_change *c, struct member *now)
{
	struct alter a = { .change = c, .now = now };

	return kb_transaction(tenant, alter_tx, &a);
}

enum kb_err
nodes_used(struct kb_cx *tenant, int64_t *n)
{
	struct kb_rows rows = kb_query(
	    tenant, "SELECT count(*) FROM _kombi_nodes");
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

enum kb_err
members_list(struct kb_cx *tenant, struct kb_page *page,
    struct member **rows_out, size_t *n)
{
	enum kb_err err = count_members(tenant, &page->total);
	struct kb_rows rows;

	if (err)
		return err;
	rows = kb_query(tenant,
	    "SELECT " COLUMNS " FROM users WHERE role <> ''"
	    " ORDER BY id LIMIT $1 OFFSET $2",
	    KB_INT(page->limit), KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct member), rows_out, n);
}

enum kb_err
members_exist(struct kb_cx *tenant, const char *const *ids)
{
	struct member m;

	for (; *ids != NULL; ids++) {
		enum kb_err err = member_by_id(tenant, *ids, &m);

		if (err)
			return err == KB_NOT_FOUND ? KB_INVALID : err;
	}
	return KB_OK;
}
