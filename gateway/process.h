/*
 * The gateway as a process: what gateway.c, successor.c, captive.c and
 * sockets.c share. Main thread only. Includes inside.h.
 */
#ifndef GATEWAY_PROCESS_H
#define GATEWAY_PROCESS_H

#include <sys/types.h>

#include "inside.h"

struct event;
struct event_base;

enum { SIGNALS = 5 };

/*
 * A new process that takes over (SIGUSR2): started with the listening
 * sockets, it says when it is ready; until then this one serves.
 */
struct successor {
	pid_t pid;     /* 0: there is none, or it has ended */
	int fd;        /* its word comes from here; -1: none is waited for */
	bool up;       /* it serves */
	bool reload;   /* the file was read anew meanwhile: it shall too */
	char why[256]; /* what it says when it cannot */
	size_t why_len;
	struct event *word, *late;
};

struct process {
	struct gateway gateway;
	const struct launch *launch;
	struct event_base *base;
	struct internal *internal;
	struct event *signals[SIGNALS];
	struct event *reload, *let_go, *drain_delay, *drain_look;
	struct watch *watch; /* on the file, or NULL */
	struct successor successor;
	pid_t child; /* the command of captive mode */
	int status;
	bool ending; /* told to by a signal, or by the command's end */
};

/* ---- gateway.c -------------------------------------------------------------
 */

/* Begins to end; told again: at once. */
void process_stop(struct process *p);
/* The successor serves: what is left here ends. */
void process_give_way(struct process *p);

/* ---- successor.c -----------------------------------------------------------
 */

void successor_start(struct process *p);
/* SIGCHLD: whether that was the successor's. */
bool successor_reap(struct process *p);
/* A captive process stays while its successor lives, and passes signals on. */
bool successor_is_guarded(const struct process *p);
void successor_free(struct process *p);

/* ---- captive.c -------------------------------------------------------------
 */

/* Free ports of 127.0.0.1. */
void captive_prepare(struct settings *s);
bool captive_spawn(struct process *p, struct kb_arena *a, const char *command);
/* It ends with who started it, however that one ends. */
void captive_follow_parent(void);

/* ---- notify.c: what a supervisor wants to know ----------------------------
 */

/* One line to systemd's NOTIFY_SOCKET, where there is one. */
void notify_supervisor(const char *line);
/* False: told in the log. */
bool pid_file_write(const char *path);
/* Unless another process stands there meanwhile. */
void pid_file_remove(const char *path);

#endif
