/*
 * Time. Durations are monotonic; wall time is for people and tokens. Both
 * come through here only, so that tests can set the clock.
 */
#ifndef KOMBI_TIME_H
#define KOMBI_TIME_H

#include <kombi/arena.h>
#include <kombi/base.h>

/* Milliseconds / nanoseconds on CLOCK_MONOTONIC. */
int64_t kb_mono_ms(void);
int64_t kb_mono_ns(void);
/* kb_mono_ms as of the kernel's last tick, so up to 10 ms ago, for a fifth of
 * its cost: for deadlines on hot paths, which add KB_COARSE_MS so that they
 * are never early. Never compare it with the others. */
int64_t kb_mono_coarse_ms(void);
enum { KB_COARSE_MS = 10 };

/* Wall clock: unix seconds and milliseconds. */
int64_t kb_wall_s(void);
int64_t kb_wall_ms(void);

#define KB_RFC3339_SIZE 25 /* "2026-11-20T10:32:23.123Z" and NUL */
/* Formats unix milliseconds as RFC 3339 UTC with milliseconds. */
void kb_rfc3339(int64_t wall_ms, char out[KB_RFC3339_SIZE]);
char *kb_now_text(struct kb_arena *a);
/* Strict RFC 3339 with Z or offset -> unix ms. */
bool kb_rfc3339_parse(const char *s, int64_t *wall_ms) KB_MUSTUSE;
/* IMF-fixdate, RFC 9110 5.6.7, 30 bytes with NUL. */
void kb_http_date(int64_t wall_s, char out[30]);

/* Tests: shifts both clocks by this many milliseconds. */
void kb_clock_shift(int64_t ms);

#endif
