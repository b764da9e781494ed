/* One-time passwords by mail, and the second of two factors. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/password.h>
#include <kombi/str.h>

#include "auth.h"

#define NOT_CONFIGURED                                                         \
	"The collection is not configured to allow OTP authentication."
#define COST 8 /* short-lived, and five guesses */
#define RECENT_MAX 9
#define LENGTH_MAX 30

static const char bad_otp[] = "Invalid or expired OTP.";
static const struct auth_limit guesses = { "otp", 5, 180 };

static void
id_json(struct kb_jsonw *w, const void *obj)
{
	kb_w_str(w, "otpId", obj);
}

static const char *
digits(struct kb_arena *a, int64_t n)
{
	char *out;
	unsigned char random;

	if (n < 4 || n > LENGTH_MAX)
		n = n < 4 ? 4 : LENGTH_MAX;
	out = kb_arena_alloc(a, (size_t)n + 1);
	for (int64_t i = 0; i < n;) {
		kb_random(&random, 1);
		if (random < 250)
			out[i++] = (char)('0' + random % 10);
	}
	return out;
}

/* ---- asking for one
 * ------------------------------------------------------------------- */

/* Not without end: the last one stays when many are still good. */
static enum kb_err
reuse(struct api *api, const struct auth_row *row, const char **id)
{
	struct kb_cx *cx = &api->req->cx;
	int64_t life = row->record->c->auth_options->otp_s;
	struct record **otps;
	size_t n, good = 0;
	enum kb_err err = auth_refs(
	    cx, schema_find(api->schema, "_otps"), row->record, &otps, &n);

	*id = NULL;
	for (size_t i = 0; !err && i < n; i++)
		good += !auth_ref_old(otps[i], life);
	if (!err && good > RECENT_MAX)
		*id = record_id_of(otps[0]);
	return err;
}

static struct kb_reply
make_otp(struct api *api, const struct auth_row *row)
{
	struct kb_cx *cx = &api->req->cx;
	const struct auth_options *o = row->record->c->auth_options;
	const char *code = digits(cx->arena, o->otp_length);
	const char *hash = kb_password_hash(cx->arena, code, COST);
	struct record *otp = auth_ref_new(api, cx, "_otps", row->record);
	struct auth_mail mail = { .kind = MAIL_OTP, .otp = code };
	enum kb_err err;

	(void)auth_set(otp, "password", (union cell) { .text = hash });
	(void)auth_set(otp, "sentTo", (union cell) { .text = auth_email(row) });
	mail.otp_id = record_id_of(otp);
	err = auth_refs_prune(cx, otp, o->otp_s);
	if (!err)
		err = record_insert(cx, otp);
	if (!err)
		err = auth_mail(api, row, &mail);
	if (err)
		return api_fail_db(api->req, err, NULL);
	return kb_bare(api->req, 200, id_json, mail.otp_id);
}

/* As long and as it would look for somebody. */
static struct kb_reply
pretend(struct api *api, const struct collection *c)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *code = digits(a, c->auth_options->otp_length);
	const char *hash = kb_password_hash(a, code, COST);

	return kb_bare(api->req, 200, id_json, hash ? record_new_id(a) : "");
}

static struct kb_reply
request_otp(struct api *api)
{
	struct kb_request *req = api->req;
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	const char *email, *id = NULL;
	struct auth_row row;
	struct form f;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (!c->auth_options->otp)
		return api_fail(req, 403, NOT_CONFIGURED);
	if (!form_open(&f, api, &reply))
		return reply;
	email = form_email(&f, "email");
	if (!form_ok(&f, &reply))
		return reply;
	err = auth_find(api, c, "email", email, &row);
	if (err == KB_NOT_FOUND)
		return pretend(api, c);
	if (!err)
		err = reuse(api, &row, &id);
	if (err)
		return api_fail_db(req, err, NULL);
	return id ? kb_bare(req, 200, id_json, id) : make_otp(api, &row);
}

/* ---- signing in by it
 * ----------------------------------------------------------------- */

static enum kb_err
find_otp(struct api *api, const struct collection *c, const char *id,
    struct record **otp, struct auth_row *row)
{
	struct kb_cx *cx = &api->req->cx;
	enum kb_err err = auth_ref_get(api, cx, "_otps", id, otp);

	if (!err &&
	    (strcmp(auth_text(*otp, "collectionRef"), c->id) != 0 ||
		auth_ref_old(*otp, c->auth_options->otp_s)))
		err = KB_NOT_FOUND;
	if (!err)
		err = auth_row_get(cx, c, auth_text(*otp, "recordRef"), row);
	return !err && !auth_may_sign_in(api, row) ? KB_NOT_FOUND : err;
}

static enum kb_err
set_verified(struct kb_cx *cx, struct record *r, void *arg)
{
	(void)cx;
	if (strcmp(auth_text(r, "email"), arg) != 0)
		return KB_OK; /* it changed meanwhile */
	(void)auth_set(r, "verified", (union cell) { .flag = true });
	return KB_OK;
}

/* Who has read the mail has the address. */
static enum kb_err
use_otp(struct api *api, const struct record *otp, struct auth_row *row)
{
	const char *sent = auth_text(otp, "sentTo");
	enum kb_err err = auth_ref_delete(&api->req->cx, otp);

	if (err || auth_flag(row->record, "verified") || sent[0] == '\0' ||
	    strcmp(sent, auth_email(row)) != 0)
		return err;
	err = auth_save(
	    api, row, set_verified, kb_strdup(api->req->cx.arena, sent));
	if (!err)
		err = auth_row_get(&api->req->cx, row->record->c,
		    record_id_of(row->record), row);
	return err;
}

static struct kb_reply
check_otp(struct api *api, const struct collection *c, const char *id,
    const char *password)
{
	static const struct sign_in how = { .method = "otp" };
	struct kb_request *req = api->req;
	struct auth_row row;
	struct record *otp;
	enum kb_err err = find_otp(api, c, id, &otp, &row);

	if (err == KB_NOT_FOUND)
		return api_fail(req, 400, bad_otp);
	if (err)
		return api_fail_db(req, err, NULL);
	if (!auth_limit_take(api, &guesses,
		kb_sprintf(
		    req->cx.arena, "%s/%s", c->id, record_id_of(row.record))))
		return api_fail(req, 429,
		    "Too many attempts, please try again later with a new"
		    " OTP.");
	if (!kb_password_verify(password, auth_text(otp, "password")))
		return api_fail(req, 400, bad_otp);
	err = use_otp(api, otp, &row);
	if (err == KB_NOT_FOUND) /* somebody was faster: once only */
		return api_fail(req, 400, bad_otp);
	return err ? api_fail_db(req, err, NULL)
		   : auth_respond(api, &row, &how);
}

static struct kb_reply
with_otp(struct api *api)
{
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	const char *id, *password;
	struct form f;

	if (c == NULL)
		return reply;
	if (!c->auth_options->otp)
		return api_fail(api->req, 403, NOT_CONFIGURED);
	if (!form_open(&f, api, &reply))
		return reply;
	id = form_text(&f, "otpId", 1, 255);
	password = form_text(&f, "password", 1, 71);
	if (!form_ok(&f, &reply))
		return reply;
	api->context = "otp";
	return check_otp(api, c, id, password);
}

/* ---- two factors
 * ---------------------------------------------------------------------- */

static void
mfa_json(struct kb_jsonw *w, const void *obj)
{
	kb_w_str(w, "mfaId", obj);
}

/* In doubt two factors. */
static bool
wants_two(struct api *api, const struct auth_row *row)
{
	const struct auth_options *o = row->record->c->auth_options;
	struct record *r;
	struct query q;

	if (o->mfa_rule == NULL || o->mfa_rule[0] == '\0')
		return true;
	query_init(&q, api, row->record->c);
	/* A superuser's request asks for the rule all the same. */
	return !query_rule(&q, o->mfa_rule) ||
	    record_get(&api->req->cx, &q, record_id_of(row->record), &r) !=
	    KB_NOT_FOUND;
}

static struct kb_reply
first_factor(struct api *api, const struct auth_row *row, const char *method)
{
	struct kb_cx *cx = &api->req->cx;
	struct record *mfa = auth_ref_new(api, cx, "_mfas", row->record);
	enum kb_err err;

	(void)auth_set(mfa, "method", (union cell) { .text = method });
	err = auth_refs_prune(cx, mfa, row->record->c->auth_options->mfa_s);
	if (!err)
		err = record_insert(cx, mfa);
	if (err)
		return api_fail_db(api->req, err, NULL);
	return kb_bare(api->req, 401, mfa_json, record_id_of(mfa));
}

/* NULL: fine, and used up. */
static const char *
second_factor(struct api *api, const struct auth_row *row, const char *method,
    const char *id)
{
	static const char expired[] = "Invalid or expired MFA session.";
	struct kb_cx *cx = &api->req->cx;
	const struct record *r = row->record;
	struct record *mfa;

	if (auth_ref_get(api, cx, "_mfas", id, &mfa))
		return expired;
	if (auth_ref_old(mfa, r->c->auth_options->mfa_s))
		return expired; /* goes with the next first factor */
	if (strcmp(auth_text(mfa, "recordRef"), record_id_of(r)) != 0 ||
	    strcmp(auth_text(mfa, "collectionRef"), r->c->id) != 0)
		return "Invalid MFA session.";
	if (strcmp(auth_text(mfa, "method"), method) == 0)
		return "A different authentication method is required.";
	return auth_ref_delete(cx, mfa) ? expired : NULL;
}

bool
auth_mfa_pass(struct api *api, const struct auth_row *row, const char *method,
    struct kb_reply *reply)
{
	const char *id = kb_query_param(api->req, "mfaId"), *why;

	if (!row->record->c->auth_options->mfa || !wants_two(api, row))
		return true;
	if (id == NULL || id[0] == '\0')
		id = kb_json_str(api->body, "mfaId");
	if (id == NULL || id[0] == '\0') {
		*reply = first_factor(api, row, method);
		return false;
	}
	why = second_factor(api, row, method, id);
	if (why != NULL)
		*reply = api_fail(api->req, 400, why);
	return why == NULL;
}

API_HANDLER(auth_request_otp, API_GUESTS, request_otp)
API_HANDLER(auth_with_otp, API_GUESTS, with_otp)
