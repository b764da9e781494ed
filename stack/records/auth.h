/*
 * Records that people sign in with: passwords, tokens, one-time passwords,
 * second factors, sign-in at other providers. What the auth_*.c files share,
 * and what others ask of them.
 */
#ifndef STACK_AUTH_H
#define STACK_AUTH_H

#include <string.h>

#include "records.h"

#define TOKEN_KEY_SIZE 50

/* A record with what is never shown of it. */
struct auth_row {
	struct record *record;
	const char *token_key;
	const char *password; /* hash, "" for none */
	bool disabled;        /* a member whom an admin has shut out */
};

/* Values of a record by the field's name: "" and false where there is no
 * such field. */
const char *auth_text(const struct record *r, const char *name);
bool auth_flag(const struct record *r, const char *name);
/* False when the collection has no such field. */
bool auth_set(struct record *r, const char *name, union cell v);
static inline const char *
auth_email(const struct auth_row *row)
{
	return auth_text(row->record, "email");
}
static inline bool
auth_is_superuser(const struct collection *c)
{
	return strcmp(c->id, SUPERUSERS_ID) == 0;
}

/* auth_store.c */
enum kb_err auth_row_get(struct kb_cx *cx, const struct collection *c,
    const char *id, struct auth_row *row) KB_MUSTUSE;
/* The one whose `field` has this value: without regard to case when the
 * field's unique index says so. KB_NOT_FOUND also when it has none. */
enum kb_err auth_row_by(struct kb_cx *cx, const struct collection *c,
    const char *field, const char *value, struct auth_row *row) KB_MUSTUSE;

/* ---- tokens ---------------------------------------------------------------
 */

struct token_spec {
	enum token_kind kind;
	int64_t life_s; /* 0: the collection's */
	bool refreshable;
	const char *new_email; /* of TOKEN_EMAIL_CHANGE */
};
/* HS256, key = the record's token key, then the collection's secret of that
 * kind: a changed key ends all tokens of the record. */
const char *auth_token_issue(struct kb_arena *a, const struct tenant *t,
    const struct auth_row *row, const struct token_spec *spec);

struct auth_token {
	struct auth_row row;
	const char *email, *new_email; /* claims; "" if absent */
	bool refreshable;
};
/* The claims, unverified: false when it is no token. */
bool auth_token_peek(struct kb_arena *a, struct kb_slice token,
    enum token_kind kind, const char **collection_id, const char **id);
/* When a token that was judged ends, unix seconds; 0: it is none. */
int64_t auth_token_end(struct kb_arena *a, struct kb_slice token);
/* api->schema is set. KB_AUTH_INVALID: none of this tenant's, of another kind,
 * expired, or of a record that is gone or disabled. */
enum kb_err auth_token_judge(const struct api *api, struct kb_slice token,
    enum token_kind kind, struct auth_token *out) KB_MUSTUSE;

/* The token of the request's Authorization, "Bearer " taken off. */
struct kb_slice auth_header_token(const struct kb_request *req);
/* Who asks: api->auth and api->superuser; a bad token is a guest's. */
enum kb_err auth_recognise(struct api *api) KB_MUSTUSE;
/* The member that a row of `users` is. */
void auth_member(const struct auth_row *row, struct member *m);

/* ---- writes of auth records -----------------------------------------------
 */

/*
 * What a body says of passwords. Made outside of the transaction, since
 * hashing takes long and writers queue; then applied in it.
 */
struct auth_change {
	const char *password, *confirm, *old; /* NULL: not given */
	const char *hash;     /* of password; NULL: too long or not given */
	const char *verified; /* the hash that `old` is of, or NULL */
};
/* id NULL: a record to be made. */
enum kb_err auth_prepare(struct api *api, const struct collection *c,
    const char *id, struct auth_change *change) KB_MUSTUSE;
/*
 * In the transaction, after the body was brought into r and before r is
 * checked and stored: password, tokenKey, verified, email. `was` NULL: a new
 * record. Problems become errors.
 */
enum kb_err auth_record_apply(struct api *api, struct kb_cx *cx,
    const struct auth_change *change, const struct record *was,
    struct record *r, struct api_errors *errors) KB_MUSTUSE;
/* In the same transaction, after r was stored: what belonged to its earlier
 * password ends (known origins, begun sign-ins). */
enum kb_err auth_record_stored(const struct api *api, struct kb_cx *cx,
    const struct record *was, const struct record *r) KB_MUSTUSE;
/* Likewise before r is deleted; KB_INVALID with an error: the last superuser
 * stays. */
enum kb_err auth_record_gone(const struct api *api, struct kb_cx *cx,
    const struct record *r, struct api_errors *errors) KB_MUSTUSE;
/* Nobody registers where people come through the identity provider. */
bool auth_may_register(const struct api *api, const struct collection *c);
/* Whether the collection's manageRule lets the caller manage r: stored, or
 * `fresh`, to be stored. Superusers may. */
enum kb_err auth_may_manage(struct api *api, struct kb_cx *cx,
    const struct record *r, bool fresh, bool *may) KB_MUSTUSE;

/* Marks the records of one collection that the caller may manage. */
enum kb_err auth_mark_managed(const struct api *api, struct kb_cx *cx,
    struct record **rows, size_t n) KB_MUSTUSE;

/* auth_store.c: rows of a system collection (_mfas …) that belong to r. */
enum kb_err auth_refs_delete(struct kb_cx *cx, const struct collection *of,
    const struct record *r) KB_MUSTUSE;
enum kb_err
auth_count(struct kb_cx *cx, const struct collection *c, int64_t *n) KB_MUSTUSE;

/* ---- mails ----------------------------------------------------------------
 */

struct auth_mail {
	enum mail_kind kind;
	const char *to; /* NULL: the record's address */
	const char *token, *otp, *otp_id, *alert;
	bool at_once; /* tells of failures; else in the background */
};
enum kb_err auth_mail(struct api *api, const struct auth_row *row,
    const struct auth_mail *m) KB_MUSTUSE;

/* ---- requests --------------------------------------------------------------
 */

/* The auth collection that the path names; NULL: *reply is the refusal. */
const struct collection *auth_context(struct api *api, struct kb_reply *reply);

/* The caller's token is of another one. */
struct kb_reply auth_other_collection(struct api *api);

/*
 * A record that may sign in here by itself. KB_NOT_FOUND also for members who
 * are disabled, and, on an instance of many, for those who come through the
 * identity provider: who is locked there must not get in by a mailbox.
 */
enum kb_err auth_find(struct api *api, const struct collection *c,
    const char *field, const char *value, struct auth_row *row) KB_MUSTUSE;
bool auth_may_sign_in(const struct api *api, const struct auth_row *row);

/* What a body asks for, judged field by field. */
struct form {
	struct api *api;
	struct api_errors errors;
	bool unreadable; /* a member of another kind */
};
/* Reads the body, which may be absent; false: *reply is the refusal. */
bool form_open(struct form *f, struct api *api, struct kb_reply *reply);
/* A member as text ("" if absent): of min to max
 * characters where it is given, which it must be unless min is 0. */
const char *
form_text(struct form *f, const char *name, int64_t min, int64_t max);
const char *form_email(struct form *f, const char *name);
int64_t form_int(struct form *f, const char *name, int64_t min);
void form_blame(
    struct form *f, const char *field, const char *code, const char *message);
/* Whether a field was found wrong. */
bool form_bad(const struct form *f, const char *field);
/* True: nothing was wrong; else *reply tells all. */
bool form_ok(struct form *f, struct kb_reply *reply);

/* The token of a form: *t is set unless an error was added. */
enum kb_err auth_form_token(struct form *f, const struct collection *c,
    enum token_kind kind, struct auth_token *t) KB_MUSTUSE;
/* Whether it is the record's password; guesses are limited. */
bool auth_password_is(struct api *api, const struct auth_row *row,
    const char *password, bool *limited);
/* Characters of UTF-8. */
int64_t auth_characters(const char *text);

/* One more of `what` by `who` ("" for all); false: over `most` in window_s. */
struct auth_limit {
	const char *what;
	int64_t most, window_s;
};
bool auth_limit_take(
    struct api *api, const struct auth_limit *limit, const char *who);
void auth_limit_give(
    struct api *api, const struct auth_limit *limit, const char *who);

/* How somebody signed in. */
struct sign_in {
	const char *method; /* "password", "otp", "oauth2"; NULL: not by a
			       factor of his own (refresh, impersonation) */
	const char *token;  /* NULL: a fresh one */
	const char *meta;   /* JSON text or NULL */
};
/* {token, record, meta}, or that it may not be, or {mfaId}. */
struct kb_reply auth_respond(
    struct api *api, const struct auth_row *row, const struct sign_in *how);
/* The second factor. True: go on; else *reply is what the client gets. */
bool auth_mfa_pass(struct api *api, const struct auth_row *row,
    const char *method, struct kb_reply *reply);
/* Notes where the sign-in came from, and tells the record of a new place. */
enum kb_err auth_alert(struct api *api, const struct auth_row *row) KB_MUSTUSE;

/* Rows of system collections that belong to a record (auth_store.c). */
struct record *auth_ref_new(const struct api *api, struct kb_cx *cx,
    const char *of, const struct record *r); /* to be filled and inserted */
enum kb_err auth_ref_get(const struct api *api, struct kb_cx *cx,
    const char *of, const char *id, struct record **out) KB_MUSTUSE;
/* Newest first. */
enum kb_err auth_refs(struct kb_cx *cx, const struct collection *of,
    const struct record *r, struct record ***rows, size_t *n) KB_MUSTUSE;
/* KB_NOT_FOUND: somebody was faster. */
enum kb_err
auth_ref_delete(struct kb_cx *cx, const struct record *ref) KB_MUSTUSE;
enum kb_err auth_link_find(struct kb_cx *cx, const struct collection *links,
    const struct record *link, struct record **out) KB_MUSTUSE;
/* Those of like's collection that are older than that, of all records. */
enum kb_err auth_refs_prune(
    struct kb_cx *cx, const struct record *like, int64_t life_s) KB_MUSTUSE;
/* Whether more than this many seconds went by since it was created. */
bool auth_ref_old(const struct record *ref, int64_t life_s);

/* Changes of the record `row`, by whom it belongs to: `fn` sets cells of a
 * fresh copy; tokens end where password or address change. */
typedef enum kb_err
auth_change_fn(struct kb_cx *cx, struct record *r, void *arg);
enum kb_err auth_save(struct api *api, const struct auth_row *row,
    auth_change_fn *fn, void *arg) KB_MUSTUSE;

/* The same inside of a transaction. */
enum kb_err auth_save_tx(struct api *api, struct kb_cx *cx,
    const struct auth_row *row, auth_change_fn *fn, void *arg) KB_MUSTUSE;

/* ---- what others ask for ---------------------------------------------------
 */

/* A token of POST /api/files/token: the caller becomes its record (a bad one's
 * caller stays who he is: KB_AUTH_INVALID). */
enum kb_err
auth_file_token_judge(struct api *api, const char *token) KB_MUSTUSE;

/* A record of _superusers in the open tenant: the password is judged and
 * hashed here, so outside of a transaction. KB_INVALID with *why (a sentence),
 * KB_CONFLICT: the address has one. */
struct superuser {
	const char *email, *password;
	const char *why; /* set by KB_INVALID */
	const char *id;  /* set by KB_OK */
};
enum kb_err auth_superuser_create(
    struct kb_cx *cx, struct tenant_handle *h, struct superuser *su) KB_MUSTUSE;

/* New secrets for all collections and new token keys for all auth records of
 * an open tenant: no token made before is good any more. */
enum kb_err
auth_rotate_all(struct kb_cx *cx, struct tenant_handle *h) KB_MUSTUSE;

/* People with a role on the platform. */
enum kb_err auth_members(struct kb_cx *cx, int64_t *n) KB_MUSTUSE;

/* auth_store.c, in auth_rotate_all's transaction. */
enum kb_err auth_rotate_secrets(struct kb_cx *cx) KB_MUSTUSE;
enum kb_err
auth_rotate_keys(struct kb_cx *cx, const struct collection *c) KB_MUSTUSE;
enum kb_err auth_empty(struct kb_cx *cx, const struct collection *c) KB_MUSTUSE;

#endif
