/*
 * Who is calling: identity headers beside a gateway proof, and service
 * tokens between services (DESIGN 4.2, 4.3; spec B.1, B.2).
 */
#ifndef KOMBI_IDENTITY_H
#define KOMBI_IDENTITY_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/http1.h>
#include <kombi/json.h>
#include <kombi/secret.h>

/* The seven identity headers in the order in which the proof covers them. */
enum kb_identity_field {
	KB_ID_USER,
	KB_ID_EMAIL,
	KB_ID_NAME,
	KB_ID_ORG,
	KB_ID_ROLES,
	KB_ID_PLAN,
	KB_ID_TENANT,
	KB_ID_FIELDS
};

/* "X-User-ID", "X-User-Email", "X-User-Name", "X-Org-ID", "X-User-Roles",
 * "X-Subscription-Plan", "X-Tenant-ID". */
extern const char *const kb_identity_header[KB_ID_FIELDS];

/* Values as they stand in headers: NULL or "" is absent; name and e-mail are
 * percent-encoded UTF-8. */
struct kb_identity {
	const char *value[KB_ID_FIELDS];
};

/*
 * True for every header name that belongs to the gateway: the identity
 * headers, the proof, X-Service-*, X-Consumer-*, … and what tells about the
 * client's address (X-Forwarded-*, Forwarded, X-Real-IP, True-Client-IP, …),
 * and everything that folds to one of them when case is ignored and each
 * non-alphanumeric counts as '-' (trailing ones dropped). The gateway reads
 * those that it believes before it drops them.
 */
bool kb_header_is_owned(const char *name, size_t len);

/* A set of roles with exact membership, from "a,b,c". */
bool kb_roles_have(const char *roles, const char *role);

enum kb_plan { KB_PLAN_FREE, KB_PLAN_PRO, KB_PLAN_ENTERPRISE };
const char *kb_plan_name(enum kb_plan p);                     /* lower case */
bool kb_plan_of(const char *s, enum kb_plan *out) KB_MUSTUSE; /* any case */

/* Which claims make the identity; NULL members take the defaults of
 * DESIGN 4.3. */
struct kb_claims_map {
	const char *user;       /* "sub" */
	const char *const *org; /* first present wins */
	const char *roles;
	const char *plan;
};

/*
 * Identity of verified claims. KB_AUTH_INVALID when sub is missing or a
 * value cannot stand in a header (user, org: [A-Za-z0-9_.:@|-]{1,128}; role
 * keys [A-Za-z0-9_.:-]{1,64} and held in the active organisation). Roles are
 * sorted and joined by comma. Plan: claim, else highest subscriber role,
 * else free.
 */
enum kb_err
kb_identity_from_claims(struct kb_arena *a, const struct kb_json *claims,
    const struct kb_claims_map *map, struct kb_identity *out) KB_MUSTUSE;

/* ---- keys of a pair of services ---------------------------------------- */

/*
 * Key for the pair caller -> callee: HKDF-SHA256 of the root secret with
 * info "kombi pair v1 <caller> <callee>". Two generations may be live.
 */
struct kb_pair_key {
	char id[9]; /* first 8 hex digits of SHA-256 of the key */
	unsigned char key[32];
};

struct kb_pair_keys {
	struct kb_pair_key keys[2];
	unsigned n; /* the first one signs */
};

void kb_pair_keys(const struct kb_secret *root, const struct kb_secret *next,
    const char *caller, const char *callee, struct kb_pair_keys *out);

/* ---- gateway proof ------------------------------------------------------ */

#define KB_PROOF_HEADER "X-Kombi-Proof"
#define KB_PROOF_SIZE 112 /* "t=…,k=…,v1=…" with NUL */
#define KB_PROOF_LIFE_S 60

/*
 * HMAC-SHA256 over "kombi-proof-v1\n" t "\n" method "\n" callee "\n" and the
 * seven values in order, each followed by "\n".
 */
void kb_proof_make(const struct kb_pair_keys *keys, int64_t now_s,
    const char *method, const char *callee, const struct kb_identity *id,
    char out[KB_PROOF_SIZE]);
/* KB_OK, or KB_AUTH_INVALID (bad, old, more than 5 s in the future, a control
 * character in a value, no key). */
enum kb_err kb_proof_check(const struct kb_pair_keys *keys, int64_t now_s,
    const char *method, const char *callee, const struct kb_identity *id,
    struct kb_slice proof) KB_MUSTUSE;

/* ---- service tokens ----------------------------------------------------- */

/* "Authorization: Bearer <HS256 JWT>": iss caller, aud callee, iat, exp 60 s
 * ahead, jti, kid = key id. */
char *kb_service_token(struct kb_arena *a, const struct kb_pair_keys *keys,
    const char *caller, const char *callee);
/*
 * Checks a token meant for `callee`; *caller is set from "iss" after it
 * verified. `root`/`next` derive the pair's key. KB_AUTH_INVALID otherwise.
 */
enum kb_err kb_service_token_check(struct kb_arena *a,
    const struct kb_secret *root, const struct kb_secret *next,
    struct kb_slice token, const char *callee, const char **caller) KB_MUSTUSE;

#endif
