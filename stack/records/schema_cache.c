/*
 * A tenant's collections, read once and shared by its requests until one of
 * them changes a collection. Only this process changes them: the database's
 * lock file keeps others out.
 */
#include <assert.h>
#include <stdlib.h>

#include "records.h"

static void
schema_free(struct schema *s)
{
	kb_arena_free(s->arena);
	free(s);
}

void
schema_release(struct schema_slot *slot, struct schema *s)
{
	bool last;

	pthread_mutex_lock(&slot->lock);
	assert(s->refs > 0);
	last = --s->refs == 0;
	pthread_mutex_unlock(&slot->lock);
	if (last)
		schema_free(s);
}

void
schema_forget(struct schema_slot *slot)
{
	struct schema *old;

	pthread_mutex_lock(&slot->lock);
	old = slot->now;
	slot->now = NULL;
	slot->generation++;
	if (old != NULL && --old->refs > 0)
		old = NULL;
	pthread_mutex_unlock(&slot->lock);
	if (old != NULL)
		schema_free(old);
}

static struct schema *
take(struct schema_slot *slot, uint64_t *generation)
{
	struct schema *s;

	pthread_mutex_lock(&slot->lock);
	s = slot->now;
	*generation = slot->generation;
	if (s != NULL)
		s->refs++;
	pthread_mutex_unlock(&slot->lock);
	return s;
}

/* Kept unless a collection was changed while it was read. */
static void
keep(struct schema_slot *slot, struct schema *s, uint64_t generation)
{
	pthread_mutex_lock(&slot->lock);
	if (slot->now == NULL && slot->generation == generation) {
		s->refs++;
		slot->now = s;
	}
	pthread_mutex_unlock(&slot->lock);
}

enum kb_err
schema_acquire(struct kb_cx *cx, struct schema_slot *slot, struct schema **out)
{
	uint64_t generation;
	struct schema *s = take(slot, &generation);
	enum kb_err err;

	if (s == NULL) {
		s = kb_xalloc(sizeof(*s));
		*s = (struct schema) { .arena = kb_arena_new(8192), .refs = 1 };
		err = schema_load(cx, s);
		if (err) {
			schema_free(s);
			return err;
		}
		keep(slot, s, generation);
	}
	*out = s;
	return KB_OK;
}

void
schema_slot_open(struct schema_slot *slot)
{
	*slot = (struct schema_slot) { .now = NULL };
	pthread_mutex_init(&slot->lock, NULL);
}

void
schema_slot_close(struct schema_slot *slot)
{
	schema_forget(slot);
	pthread_mutex_destroy(&slot->lock);
}
