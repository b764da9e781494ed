/*
 * Passwords kept as bcrypt hashes ("$2b$10$…", 60 characters), as PocketBase
 * and many others keep them. Hashing and verifying take tens of milliseconds
 * of processor by design: on workers only, never inside of a transaction.
 */
#ifndef KOMBI_PASSWORD_H
#define KOMBI_PASSWORD_H

#include <kombi/arena.h>
#include <kombi/base.h>

#define KB_PASSWORD_MAX 72 /* bytes; bcrypt reads no more */
#define KB_PASSWORD_COST 10

/* cost 4..15, 0: KB_PASSWORD_COST. NULL for an empty password and for one
 * over KB_PASSWORD_MAX bytes: cut off, it would be another one. */
char *kb_password_hash(
    struct kb_arena *a, const char *password, unsigned cost) KB_MUSTUSE;

/*
 * Whether `hash` ($2a$, $2b$, $2y$, cost at most 15) is one of `password`.
 * A hash that is NULL or none takes as long as one of KB_PASSWORD_COST, so
 * that time does not tell which accounts there are.
 */
bool kb_password_verify(const char *password, const char *hash) KB_MUSTUSE;

#endif
