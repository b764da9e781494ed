/*
 * Structured log: one JSON object a line on stdout (spec B.9). Messages are
 * constant text, values are fields. Never blocks for long, never prints a
 * struct kb_secret. Thread-safe.
 */
#ifndef KOMBI_LOG_H
#define KOMBI_LOG_H

#include <kombi/base.h>

enum kb_level { KB_DEBUG, KB_INFO, KB_WARN, KB_ERROR };

enum kb_field_kind { KB_FIELD_END, KB_FIELD_STR, KB_FIELD_NUM, KB_FIELD_BOOL };

struct kb_field {
	enum kb_field_kind kind;
	const char *name;
	const char *str; /* NULL is written as null; invalid UTF-8 replaced */
	int64_t num;
};

#define KB_S(n, v)                                                             \
	((struct kb_field) { .kind = KB_FIELD_STR, .name = (n), .str = (v) })
#define KB_N(n, v)                                                             \
	((struct kb_field) {                                                   \
	    .kind = KB_FIELD_NUM, .name = (n), .num = (int64_t)(v) })
#define KB_B(n, v)                                                             \
	((struct kb_field) { .kind = KB_FIELD_BOOL, .name = (n), .num = (v) })
#define KB_END ((struct kb_field) { .kind = KB_FIELD_END })

/* A logger is a handful of fields and a parent; embed it, it owns nothing. */
struct kb_log {
	const struct kb_log *parent;
	struct kb_field fields[4];
};

/* Once, before threads: the "service" of every line, and the threshold. */
void kb_log_init(const char *service, enum kb_level threshold);
void kb_log_threshold(enum kb_level threshold);
bool kb_log_enabled(enum kb_level level);
/* Where lines go; default file descriptor 1. Tests point it elsewhere. */
void kb_log_fd(int fd);

/* `log` may be NULL. Fields end with KB_END; use the macros. */
void kb_log_write(const struct kb_log *log, enum kb_level level,
    const char *message, const struct kb_field *fields);

#define KB_LOG_(log, level, message, ...)                                      \
	do {                                                                   \
		if (kb_log_enabled(level))                                     \
			kb_log_write((log), (level), (message),                \
			    (const struct kb_field[]) { __VA_ARGS__ });        \
	} while (0)
#define kb_debug(log, ...) KB_LOG_X_(log, KB_DEBUG, __VA_ARGS__, KB_END)
#define kb_info(log, ...) KB_LOG_X_(log, KB_INFO, __VA_ARGS__, KB_END)
#define kb_warn(log, ...) KB_LOG_X_(log, KB_WARN, __VA_ARGS__, KB_END)
#define kb_error(log, ...) KB_LOG_X_(log, KB_ERROR, __VA_ARGS__, KB_END)
#define KB_LOG_X_(log, level, message, ...)                                    \
	KB_LOG_(log, level, message, __VA_ARGS__)

/* A line that is already JSON (access log): written whole, newline added. */
void kb_log_raw(const char *line, size_t len);

/* Waits until all lines so far are written, a second at most. Runs at exit
 * by itself; for those who leave by _exit or read the lines back. */
void kb_log_flush(void);

/* Reports on stderr and ends the process with status 1. */
KB_NORETURN void kb_fatal(const char *fmt, ...) KB_PRINTF(1, 2);

#endif
