/*
 * Exchanges that are over and wait for the next request of their loop, with
 * the buffers that they have: a warm request allocates nothing.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

enum { EXCHANGES_KEPT = 256, BUFFER_KEPT = 8192 }; /* of a loop; bytes */

struct exchange *
exchange_take(struct loop *l)
{
	struct exchange *x = l->free;

	if (x != NULL) {
		l->free = x->next_free;
		l->n_free--;
		x->next_free = NULL;
		return x;
	}
	x = kb_xalloc(sizeof(*x));
	memset(x, 0, sizeof(*x));
	kb_buf_init(&x->up, 64 * 1024);
	kb_buf_init(&x->down, 64 * 1024);
	kb_buf_init(&x->replay, REPLAY_MAX);
	return x;
}

void
exchange_free(struct exchange *x)
{
	kb_buf_free(&x->up);
	kb_buf_free(&x->down);
	kb_buf_free(&x->replay);
	if (x->retry_timer)
		event_free(x->retry_timer);
	free(x);
}

/* Empty for the next exchange, which need not make one. */
static void
keep_small(struct kb_buf *b)
{
	if (b->cap > BUFFER_KEPT)
		kb_buf_free(b);
	kb_buf_reset(b);
}

void
exchange_give(struct exchange *x)
{
	struct loop *l = x->loop;
	struct kb_buf up = x->up, down = x->down, replay = x->replay;
	struct event *timer = x->retry_timer;

	token_unref(x->token);
	local_unref(x->local);
	if (l->n_free >= EXCHANGES_KEPT) { /* so many came at once */
		exchange_free(x);
		return;
	}
	keep_small(&up);
	keep_small(&down);
	keep_small(&replay);
	memset(x, 0, sizeof(*x));
	x->up = up;
	x->down = down;
	x->replay = replay;
	x->retry_timer = timer;
	x->next_free = l->free;
	l->free = x;
	l->n_free++;
}
