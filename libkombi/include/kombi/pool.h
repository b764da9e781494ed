/*
 * Bounded pool of worker threads behind a loop: the loop gives a task away,
 * a worker runs it, the loop gets it back. A task has one owner at a time.
 *
 * Lanes keep the tasks of different owners (tenants) apart: lanes that wait
 * take turns, none has all of the threads or all of the queue, and one that
 * uses much of the processor while others are about goes on with threads of
 * low priority (kb_pool_slow_lanes).
 */
#ifndef KOMBI_POOL_H
#define KOMBI_POOL_H

#include <kombi/base.h>

struct event_base;
struct kb_pool;

struct kb_task {
	struct kb_task *next;            /* private */
	void (*work)(struct kb_task *t); /* on a worker */
	void (*done)(struct kb_task *t); /* on the loop */
	int64_t queued_ms;               /* when it was submitted, monotonic */
	uint64_t lane; /* a hash of the owner; 0: nobody's, unlimited */
};

struct kb_pool *
kb_pool_new(struct event_base *base, unsigned threads, unsigned queue);
/* As many threads more, of low priority, for lanes that use more than about
 * half a processor while another lane is in use. To be called once, before
 * the first task. */
void kb_pool_slow_lanes(struct kb_pool *p);
/* False when the queue, or the lane's part of it, is full or the pool is
 * stopping: shed the load. */
bool kb_pool_submit(struct kb_pool *p, struct kb_task *t) KB_MUSTUSE;
unsigned kb_pool_waiting(const struct kb_pool *p);
unsigned kb_pool_busy(const struct kb_pool *p);
/* Runs what is queued to its end, joins the threads, delivers `done`s. */
void kb_pool_free(struct kb_pool *p);

#endif
