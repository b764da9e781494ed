/*
 * What the files behind oidc.h know of each other.
 */
#ifndef GATEWAY_OIDC_INSIDE_H
#define GATEWAY_OIDC_INSIDE_H

#include "inside.h"

struct oidc_client {
	struct oidc_client_conf conf; /* strings are its own */
	struct verifier *verifier;    /* keys of the issuer */
	pthread_mutex_t fetching;     /* one discovery at a time */
	int64_t failed_s;             /* covered by it */
	pthread_mutex_t lock;         /* covers the rest */
	struct kb_arena *arena;       /* of endpoints; NULL: not known yet */
	struct endpoints endpoints;
	int64_t known_s;
};

/* The claims of userinfo for that subject, or NULL. Blocks. */
const struct kb_json *oidc_userinfo(struct oidc_client *c, struct kb_arena *a,
    const char *access, const char *sub);

/* ---- userinfo.c ---------------------------------------------------------- */

/*
 * Fills e-mail and name where they are missing. False: they must be asked
 * for. What is filled in stays until the next call of this file.
 */
bool userinfo_known(struct loop *l, const struct oidc_client *provider,
    const char *sub, struct kb_identity *fill);

struct userinfo_question {
	struct oidc_client *provider;
	const char *sub;
	struct kb_slice token; /* an access token of that subject */
};
/* `fn` is called later, on the loop; userinfo_known is true then, whether or
 * not there was an answer. False: it cannot be asked now, do without. */
bool userinfo_ask(struct loop *l, const struct userinfo_question *question,
    void (*fn)(void *arg), void *arg);

#endif
