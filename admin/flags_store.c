/*
 * Feature flags: definitions, assignments, what holds for whom, and what the
 * stack instances are told of it.
 *
 * A letter holds all values of one level: defaults for every instance, an
 * organisation's own for its tenant's instance, a user's own for the
 * instances of its tenants. So a change of a default is one letter an
 * instance, however many users there are; the instance resolves as we do.
 */
#include <kombi/id.h>
#include <kombi/str.h>

#include "admin.h"

#define LETTER_MAX (512 * 1024)
/* Any constant that no other advisory lock of ours has. */
#define LOCK_FLAGS 0x666c616773

#define JSON_OF(t)                                                             \
	"coalesce(to_jsonb(" t ".value_bool), to_jsonb(" t                     \
	".value_num), to_jsonb(" t ".value_text))"
#define FLAG_COLUMNS                                                           \
	"f.id, f.key, f.type, f.description, " JSON_OF(                        \
	    "f") "::text, " TIME_TEXT("f.created_at") ", " TIME_TEXT("f."      \
								     "updated" \
								     "_at")

static const struct kb_col flag_cols[] = {
	KB_COL_STR(struct flag, id),
	KB_COL_STR(struct flag, key),
	KB_COL_STR(struct flag, type),
	KB_COL_STR(struct flag, description),
	KB_COL_STR(struct flag, value),
	KB_COL_STR(struct flag, created),
	KB_COL_STR(struct flag, updated),
	KB_COLS_END,
};

static const struct kb_col assignment_cols[] = {
	KB_COL_STR(struct flag_assignment, id),
	KB_COL_STR(struct flag_assignment, key),
	KB_COL_STR(struct flag_assignment, sub),
	KB_COL_STR(struct flag_assignment, org),
	KB_COL_STR(struct flag_assignment, value),
	KB_COL_STR(struct flag_assignment, updated),
	KB_COLS_END,
};

static const struct kb_col resolved_cols[] = {
	KB_COL_STR(struct flag_resolved, key),
	KB_COL_STR(struct flag_resolved, value),
	KB_COL_STR(struct flag_resolved, source),
	KB_COL_STR(struct flag_resolved, updated),
	KB_COLS_END,
};

struct number {
	int64_t n;
};

static const struct kb_col number_cols[] = {
	KB_COL_INT(struct number, n),
	KB_COLS_END,
};

/* ---- letters --------------------------------------------------------------
 */

struct pair {
	const char *key, *value;
};

static const struct kb_col pair_cols[] = {
	KB_COL_STR(struct pair, key),
	KB_COL_STR(struct pair, value),
	KB_COLS_END,
};

struct place {
	const char *endpoint;
};

static const struct kb_col place_cols[] = {
	KB_COL_STR(struct place, endpoint),
	KB_COLS_END,
};

static enum kb_err
values_of(struct kb_cx *tx, const char *sub, const char *org,
    struct pair **pairs, size_t *n)
{
	struct kb_rows rows = sub == NULL && org == NULL
	    ? kb_query(tx,
		  "SELECT f.key, " JSON_OF(
		      "f") "::text FROM feature_flags f ORDER BY f.key")
	    : kb_query(tx,
		  "SELECT a.flag_key, " JSON_OF(
		      "a") "::text"
			   " FROM feature_flag_assignments a"
			   " WHERE a.sub = $1 OR a.org_id = $2 ORDER BY "
			   "a.flag_key",
		  KB_TEXT(sub), KB_TEXT(org));

	return kb_rows_all(&rows, pair_cols, sizeof(struct pair), pairs, n);
}

/* Instances that must know. */
static enum kb_err
places_of(struct kb_cx *tx, const char *sub, const char *org,
    struct place **places, size_t *n)
{
	struct kb_rows rows = sub == NULL && org == NULL
	    ? kb_query(tx,
		  "SELECT internal_endpoint FROM kombistack_instances"
		  " WHERE status <> 'DECOMMISSIONING'")
	    : kb_query(tx,
		  "SELECT DISTINCT i.internal_endpoint FROM tenants t"
		  " JOIN kombistack_instances i ON i.id = t.instance_id"
		  " LEFT JOIN users u ON u.tenant_id = t.id AND u.sub = $1"
		  " WHERE t.status <> 'deleted'"
		  " AND (t.zitadel_org_id = $2 OR u.id IS NOT NULL)",
		  KB_TEXT(sub), KB_TEXT(org));

	return kb_rows_all(&rows, place_cols, sizeof(struct place), places, n);
}

static char *
letter_body(struct kb_arena *a, const struct flag_assignment *whose,
    const struct pair *pairs, size_t n, int64_t version)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	char *text;

	kb_buf_init(&buf, LETTER_MAX);
	kb_w_init(&w, &buf);
	kb_w_object(&w, NULL);
	kb_w_opt(&w, "sub", whose->sub);
	kb_w_opt(&w, "org", whose->org);
	kb_w_object(&w, "flags");
	for (size_t i = 0; i < n; i++)
		kb_w_raw(&w, pairs[i].key, pairs[i].value);
	kb_w_object_end(&w);
	kb_w_int(&w, "version", version);
	kb_w_object_end(&w);
	text = kb_buf_failed(&buf) ? NULL : kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return text;
}

static enum kb_err
next_version(struct kb_cx *tx, struct number *version)
{
	struct kb_rows rows = kb_query(
	    tx, "SELECT nextval('feature_flag_version')");

	return kb_rows_one(&rows, number_cols, version);
}

/* whose: a user, an organisation, or neither for the defaults. */
static enum kb_err
tell(struct kb_cx *tx, const struct flag_assignment *whose)
{
	struct pair *pairs;
	struct place *places;
	struct number version;
	size_t n_pairs, n_places;
	struct letter l = { .callee = "stack", .method = "POST" };
	enum kb_err err = next_version(tx, &version);

	if (!err)
		err = values_of(tx, whose->sub, whose->org, &pairs, &n_pairs);
	if (!err)
		err = places_of(tx, whose->sub, whose->org, &places, &n_places);
	if (err)
		return err;
	l.body = letter_body(tx->arena, whose, pairs, n_pairs, version.n);
	if (l.body == NULL)
		return KB_TOO_LARGE;
	for (size_t i = 0; !err && i < n_places; i++) {
		l.id = kb_id_new(tx->arena, "out");
		l.url = kb_sprintf(tx->arena,
		    "%s/api/internal/feature-flags/apply", places[i].endpoint);
		err = outbox_add(tx, &l);
	}
	return err;
}

/* Until the transaction ends no other one changes flags. */
static enum kb_err
lock_flags(struct kb_cx *tx)
{
	struct kb_rows rows = kb_query(
	    tx, "SELECT 1 FROM pg_advisory_xact_lock($1)", KB_INT(LOCK_FLAGS));
	struct number one;

	return kb_rows_one(&rows, number_cols, &one);
}

/* ---- definitions -----------------------------------------------------------
 */

enum kb_err
flags_page(struct kb_cx *cx, struct kb_page *page, struct flag **out, size_t *n)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT count(*) FROM feature_flags");
	struct number total = { 0 };
	enum kb_err err = kb_rows_one(&rows, number_cols, &total);

	if (err)
		return err;
	page->total = total.n;
	rows = kb_query(cx,
	    "SELECT " FLAG_COLUMNS " FROM feature_flags f ORDER BY f.key"
	    " LIMIT $1 OFFSET $2",
	    KB_INT(page->limit), KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, flag_cols, sizeof(struct flag), out, n);
}

enum kb_err
flag_by_key(struct kb_cx *cx, const char *key, struct flag *f)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " FLAG_COLUMNS " FROM feature_flags f WHERE f.key = $1",
	    KB_TEXT(key));

	return kb_rows_one(&rows, flag_cols, f);
}

/* Bound where a column takes values of that type, else NULL. */
static struct kb_val
yes_of(const struct flag_value *v)
{
	return v && kb_str_eq(v->type, "bool") ? KB_FLAG(v->yes) : KB_NULL;
}

static struct kb_val
text_of(const struct flag_value *v)
{
	return KB_TEXT(v && kb_str_eq(v->type, "string") ? v->text : NULL);
}

static struct kb_val
number_of(const struct flag_value *v)
{
	return v && kb_str_eq(v->type, "number") ? KB_REAL(v->number) : KB_NULL;
}

#define AS_BOOL(value) "CAST(" value " AS integer) = 1"
#define AS_NUM(value) "CAST(" value " AS double precision)"

static const struct flag_assignment everybody;

struct definition {
	const struct flag *f;
	const struct flag_value *fallback;
};

static enum kb_err
insert_tx(struct kb_cx *tx, void *arg)
{
	const struct definition *d = arg;
	enum kb_err err = lock_flags(tx);

	if (err)
		return err;
	err = kb_exec(tx,
	    "INSERT INTO feature_flags (id, key, type, description,"
	    " value_bool, value_text, value_num) VALUES ($1, $2, $3, $4,"
	    " " AS_BOOL("$5") ", $6, " AS_NUM("$7") ")",
	    KB_TEXT(d->f->id), KB_TEXT(d->f->key), KB_TEXT(d->f->type),
	    KB_TEXT(d->f->description), yes_of(d->fallback),
	    text_of(d->fallback), number_of(d->fallback));
	return err ? err : tell(tx, &everybody);
}

enum kb_err
flag_insert(
    struct kb_cx *cx, const struct flag *f, const struct flag_value *fallback)
{
	struct definition d = { f, fallback };

	return kb_transaction(cx, insert_tx, &d);
}

static enum kb_err
update_tx(struct kb_cx *tx, void *arg)
{
	const struct definition *d = arg;
	int64_t changed = 0;
	enum kb_err err = lock_flags(tx);

	if (err)
		return err;
	err = kb_exec_n(tx, &changed,
	    "UPDATE feature_flags SET description = coalesce($2, description),"
	    " value_bool = coalesce(" AS_BOOL(
		"$3") ", value_bool),"
		      " value_text = coalesce($4, value_text),"
		      " value_num = coalesce(" AS_NUM(
			  "$5") ", value_num),"
				" updated_at = now() WHERE key = $1",
	    KB_TEXT(d->f->key), KB_TEXT(d->f->description), yes_of(d->fallback),
	    text_of(d->fallback), number_of(d->fallback));
	if (!err && changed == 0)
		return KB_NOT_FOUND;
	return !err && d->fallback != NULL ? tell(tx, &everybody) : err;
}

enum kb_err
flag_update(struct kb_cx *cx, const char *key, const char *description,
    const struct flag_value *fallback)
{
	const struct flag f = { .key = key, .description = description };
	struct definition d = { &f, fallback };

	return kb_transaction(cx, update_tx, &d);
}

/* ---- assignments -----------------------------------------------------------
 */

static enum kb_err
subjects_of(
    struct kb_cx *tx, const char *key, struct flag_assignment **rows, size_t *n)
{
	struct kb_rows r = kb_query(tx,
	    "SELECT id, flag_key, sub, org_id, NULL, NULL"
	    " FROM feature_flag_assignments WHERE flag_key = $1",
	    KB_TEXT(key));

	return kb_rows_all(
	    &r, assignment_cols, sizeof(struct flag_assignment), rows, n);
}

static enum kb_err
delete_tx(struct kb_cx *tx, void *arg)
{
	const char *key = arg;
	struct flag_assignment *whose;
	size_t n;
	int64_t changed = 0;
	enum kb_err err = lock_flags(tx);

	if (!err)
		err = subjects_of(tx, key, &whose, &n);
	if (!err)
		err = kb_exec_n(tx, &changed,
		    "DELETE FROM feature_flags WHERE key = $1", KB_TEXT(key));
	if (!err && changed == 0)
		return KB_NOT_FOUND;
	for (size_t i = 0; !err && i < n; i++)
		err = tell(tx, &whose[i]);
	return err ? err : tell(tx, &everybody);
}

enum kb_err
flag_delete(struct kb_cx *cx, const char *key)
{
	char *copy = kb_strdup(cx->arena, key);

	return kb_transaction(cx, delete_tx, copy);
}

struct assign {
	const struct flag_assignment *whose;
	const struct flag_change *changes;
	size_t n;
};

static enum kb_err
unset(struct kb_cx *tx, const struct flag_assignment *whose, const char *key)
{
	return kb_exec(tx,
	    "DELETE FROM feature_flag_assignments WHERE flag_key = $1"
	    " AND sub IS NOT DISTINCT FROM $2"
	    " AND org_id IS NOT DISTINCT FROM $3",
	    KB_TEXT(key), KB_TEXT(whose->sub), KB_TEXT(whose->org));
}

static enum kb_err
set(struct kb_cx *tx, const struct flag_assignment *whose,
    const struct flag_change *c)
{
	enum kb_err err = unset(tx, whose, c->key);

	if (err || c->value.type == NULL)
		return err;
	err = kb_exec(tx,
	    "INSERT INTO feature_flag_assignments (id, flag_key, sub, org_id,"
	    " value_bool, value_text, value_num) VALUES ($1, $2, $3, $4,"
	    " " AS_BOOL("$5") ", $6, " AS_NUM("$7") ")",
	    KB_TEXT(kb_id_new(tx->arena, "ffa")), KB_TEXT(c->key),
	    KB_TEXT(whose->sub), KB_TEXT(whose->org), yes_of(&c->value),
	    text_of(&c->value), number_of(&c->value));
	/* The flag itself went meanwhile. */
	return err == KB_CONFLICT ? KB_NOT_FOUND : err;
}

static enum kb_err
assign_tx(struct kb_cx *tx, void *arg)
{
	const struct assign *as = arg;
	enum kb_err err = lock_flags(tx);

	for (size_t i = 0; !err && i < as->n; i++)
		err = set(tx, as->whose, &as->changes[i]);
	return err ? err : tell(tx, as->whose);
}

enum kb_err
flags_assign(struct kb_cx *cx, const struct flag_assignment *whose,
    const struct flag_change *changes, size_t n)
{
	struct assign as = { whose, changes, n };

	return kb_transaction(cx, assign_tx, &as);
}

enum kb_err
flag_assignments(struct kb_cx *cx, const char *key, struct kb_page *page,
    struct flag_assignment **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM feature_flag_assignments WHERE flag_key = $1",
	    KB_TEXT(key));
	struct number total = { 0 };
	enum kb_err err = kb_rows_one(&rows, number_cols, &total);

	if (err)
		return err;
	page->total = total.n;
	rows = kb_query(cx,
	    "SELECT a.id, a.flag_key, a.sub, a.org_id, " JSON_OF(
		"a") "::text, " TIME_TEXT("a.updated_at") " FROM "
							  "feature_flag_"
							  "assignments a WHERE "
							  "a.flag_key = $1"
							  " ORDER BY a.id "
							  "LIMIT $2 OFFSET $3",
	    KB_TEXT(key), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(
	    &rows, assignment_cols, sizeof(struct flag_assignment), out, n);
}

struct one {
	const char *key, *id;
};

static enum kb_err
assignment_delete_tx(struct kb_cx *tx, void *arg)
{
	const struct one *one = arg;
	struct flag_assignment whose;
	struct kb_rows rows;
	enum kb_err err = lock_flags(tx);

	if (err)
		return err;
	rows = kb_query(tx,
	    "DELETE FROM feature_flag_assignments WHERE flag_key = $1"
	    " AND id = $2 RETURNING id, flag_key, sub, org_id, NULL, NULL",
	    KB_TEXT(one->key), KB_TEXT(one->id));
	err = kb_rows_one(&rows, assignment_cols, &whose);
	return err ? err : tell(tx, &whose);
}

enum kb_err
flag_assignment_delete(struct kb_cx *cx, const char *key, const char *id)
{
	struct one one = { key, id };

	return kb_transaction(cx, assignment_delete_tx, &one);
}

enum kb_err
flags_resolve(struct kb_cx *cx, const char *sub, const char *org,
    struct flag_resolved **out, size_t *n)
{
	struct kb_rows
	    rows = kb_query(cx,
		"SELECT f.key, CASE WHEN u.id IS NOT NULL THEN " JSON_OF("u") " WHEN o.id IS NOT NULL THEN " JSON_OF(
		    "o") " ELSE " JSON_OF("f") " END::text, CASE WHEN u.id IS "
					       "NOT NULL"
					       " THEN 'user' WHEN o.id IS NOT "
					       "NULL THEN 'organisation'"
					       " ELSE 'default' "
					       "END, " TIME_TEXT(
						   "greatest(f.updated_at, "
						   "u.updated_at, "
						   "o.updated_at)") " FROM "
								    "feature_"
								    "flags f"
								    " LEFT "
								    "JOIN "
								    "feature_"
								    "flag_"
								    "assignment"
								    "s u ON "
								    "u.flag_"
								    "key = "
								    "f.key"
								    " AND "
								    "u.sub = $1"
								    " LEFT "
								    "JOIN "
								    "feature_"
								    "flag_"
								    "assignment"
								    "s o ON "
								    "o.flag_"
								    "key = "
								    "f.key"
								    " AND "
								    "o.org_id "
								    "= $2 "
								    "ORDER BY "
								    "f.key",
		KB_TEXT(sub), KB_TEXT(org));

	return kb_rows_all(
	    &rows, resolved_cols, sizeof(struct flag_resolved), out, n);
}
