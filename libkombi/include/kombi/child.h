/*
 * A child process from an argv (posix_spawn, never a shell), with limits, a
 * deadline and captured output. The caller blocks until it ended; when
 * kb_child_run returns, the child and its process group are gone and reaped.
 */
#ifndef KOMBI_CHILD_H
#define KOMBI_CHILD_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>

enum kb_child_stream { KB_CHILD_OUT, KB_CHILD_ERR };

struct kb_child {
	const char *program;     /* path; PATH is not searched */
	const char *const *argv; /* argv[0] first, NULL-ended */
	const char *const *env;  /* "NAME=value", NULL-ended; NULL: empty */
	const char *cwd;         /* NULL: the caller's */
	const void *input;       /* stdin; NULL: /dev/null */
	size_t input_len;
	/* Limits; 0: none, but deadline_ms and max_output must be given. */
	int64_t deadline_ms; /* wall time from the start, then SIGKILL */
	unsigned cpu_s;      /* RLIMIT_CPU */
	uint64_t memory;     /* RLIMIT_AS, bytes of address space */
	uint64_t file_size;  /* RLIMIT_FSIZE */
	unsigned files;      /* RLIMIT_NOFILE */
	size_t max_output;   /* bytes of each stream; more ends the child */
	/*
	 * Optional: gets output as it comes, on the caller's thread, instead
	 * of having it captured; max_output still counts.
	 */
	void (*on_output)(void *arg, enum kb_child_stream stream,
	    const char *data, size_t len);
	/* Optional: asked every 200 ms or more often; false ends the child. */
	bool (*keep_going)(void *arg);
	void *arg;
};

enum kb_child_end {
	KB_CHILD_EXITED,    /* by itself: status */
	KB_CHILD_SIGNALLED, /* signal, of whatever origin */
	KB_CHILD_CPU,       /* over cpu_s */
	KB_CHILD_DEADLINE,  /* over deadline_ms */
	KB_CHILD_OUTPUT,    /* over max_output */
	KB_CHILD_STOPPED,   /* keep_going said so */
};

struct kb_child_result {
	enum kb_child_end end;
	int status;      /* exit status, if EXITED */
	int signal;      /* if SIGNALLED */
	const char *out; /* NUL-terminated, in the arena; "" if none */
	size_t out_len;
	const char *err;
	size_t err_len;
	int64_t wall_ms, cpu_ms;
};

/*
 * Runs the child to its end. KB_OK when it ran, however it ended; else
 * KB_UNAVAILABLE with *why (arena): the program could not be started.
 * Thread-safe; no descriptor of the caller but 0, 1, 2 reaches the child.
 */
enum kb_err kb_child_run(struct kb_arena *a, const struct kb_child *child,
    struct kb_child_result *out, const char **why) KB_MUSTUSE;

/* "was killed after 10 s", … for a log or a message; arena. */
const char *
kb_child_end_text(struct kb_arena *a, const struct kb_child_result *r);

/*
 * True if text from outside may stand as an argument of its own: not empty,
 * no leading '-' (it would be read as an option), no control characters, at
 * most 4096 bytes.
 */
bool kb_child_arg_ok(const char *s);

#endif
