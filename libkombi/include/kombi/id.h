/*
 * Identifiers: time-ordered random ids for rows, request ids, UUIDs.
 */
#ifndef KOMBI_ID_H
#define KOMBI_ID_H

#include <kombi/arena.h>
#include <kombi/base.h>

/* "stk_01jd…": prefix and underscore ("stk" and "stk_" make the same; NULL or
 * "": none), then 26 lower-case base32 characters (48 bit time in ms, 80 bit
 * random; monotonic within a process). Sorts by creation. Thread-safe. */
char *kb_id_new(struct kb_arena *a, const char *prefix);

#define KB_UUID_SIZE 37
void kb_uuid4(char out[KB_UUID_SIZE]);
/* Name-based, RFC 4122 version 5; ns is itself a UUID text (asserted). */
void kb_uuid5(const char *ns, const char *name, char out[KB_UUID_SIZE]);

/* A client's X-Request-ID is kept if it is 1..64 of [A-Za-z0-9._-]. */
bool kb_request_id_ok(const char *s, size_t len);

#endif
