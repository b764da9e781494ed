/*
 * Verifiers and the tokens that they have verified, for the two files that
 * know them: verify.c (who verifies, what follows from a token) and
 * verify_token.c (one token's way).
 */
#ifndef GATEWAY_VERIFY_INSIDE_H
#define GATEWAY_VERIFY_INSIDE_H

#include "oidc_inside.h"

struct proof {
	unsigned callee;
	enum kb_method method;
	int64_t made_s;
	char tenant[64];
	char text[KB_PROOF_SIZE];
};

struct token_entry {
	unsigned refs;    /* of one loop */
	bool bearer;      /* made from a bearer token */
	bool revoked;     /* as far as `checked` knows */
	uint64_t checked; /* generation of the loop's revocations */
	int64_t issued_s; /* of the token */
	char *jwt;        /* whose claims count: of a session; or NULL */
	struct kb_identity id;
	char *lines; /* identity header lines, without the tenant */
	size_t lines_len;
	struct proof proofs[PROOFS];
	unsigned next_proof;
	char text[]; /* values of id */
};

struct verifier {
	unsigned index;
	uint64_t serial; /* an index is used again, this is not */
	char *issuer, *jwks_url;
	const char **audience; /* NULL-ended */
	int64_t max_life_s, leeway_s;
	struct oidc_client *provider; /* completes identities; or NULL */
	/* Shared by verifiers of one issuer; NULL before it is started. */
	_Atomic(struct kb_issuer *) keys;
	bool owner; /* stops it */
	bool stays; /* somebody who outlives configurations has it */
	/* main thread: the first and the last load that asked for it */
	unsigned first_load, load;
	atomic_bool used; /* by the file in force */
};

struct token_entry *entry_new(const struct kb_identity *id);

#endif
