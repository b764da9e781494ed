/*
 * Open databases of tenants: one SQLite file set each, opened at the first
 * use, shared by all requests of the tenant, closed when idle.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "records/files.h"
#include "records/hub.h"
#include "stack.h"

#define BUCKETS 1024

enum handle_state { OPENING, OPEN, FAILED };

struct tenant_handle {
	struct tenant_handle *next;
	char *slug;
	struct kb_db *db;
	struct schema_slot schemas;
	struct hub *hub; /* realtime clients; each holds the handle */
	enum handle_state state;
	enum kb_err err; /* of a failed opening */
	unsigned refs;
	int64_t used_ms;
};

struct tenancy {
	pthread_mutex_t lock; /* covers the table and all handles' members */
	pthread_cond_t opened;
	char *data_dir;
	int64_t idle_ms, most;
	size_t count;
	struct tenant_handle *table[BUCKETS];
};

struct tenancy *
tenancy_new(const char *data_dir, int64_t idle_ms, int64_t most)
{
	struct tenancy *t = kb_xalloc(sizeof(*t));

	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->opened, NULL);
	t->data_dir = kb_xstrdup(data_dir);
	t->idle_ms = idle_ms;
	t->most = most;
	return t;
}

static void
handle_free(struct tenant_handle *h)
{
	schema_slot_close(&h->schemas);
	hub_free(h->hub);
	kb_db_close(h->db);
	free(h->slug);
	free(h);
}

void
tenancy_free(struct tenancy *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		struct tenant_handle *h = t->table[i], *next;

		for (; h != NULL; h = next) {
			next = h->next;
			assert(h->refs == 0);
			handle_free(h);
		}
	}
	pthread_cond_destroy(&t->opened);
	pthread_mutex_destroy(&t->lock);
	free(t->data_dir);
	free(t);
}

static struct tenant_handle **
bucket_of(struct tenancy *t, const char *slug)
{
	return &t->table[kb_hash(slug, strlen(slug)) % BUCKETS];
}

static struct tenant_handle *
find(struct tenancy *t, const char *slug)
{
	struct tenant_handle *h = *bucket_of(t, slug);

	while (h != NULL && strcmp(h->slug, slug) != 0)
		h = h->next;
	return h;
}

static struct tenant_handle *
add(struct tenancy *t, const char *slug)
{
	struct tenant_handle **bucket = bucket_of(t, slug);
	struct tenant_handle *h = kb_xalloc(sizeof(*h));

	*h = (struct tenant_handle) {
		.next = *bucket,
		.slug = kb_xstrdup(slug),
		.state = OPENING,
	};
	schema_slot_open(&h->schemas);
	h->hub = hub_new();
	*bucket = h;
	t->count++;
	return h;
}

static void
drop(struct tenancy *t, struct tenant_handle *h)
{
	struct tenant_handle **at = bucket_of(t, h->slug);

	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	t->count--;
}

static bool
make_dir(const char *path)
{
	return mkdir(path, 0750) == 0 || errno == EEXIST;
}

static char *
tenant_dir(struct tenancy *t, struct kb_arena *a, const char *slug)
{
	return kb_sprintf(a, "%s/tenants/%s", t->data_dir, slug);
}

static enum kb_err
open_database(
    struct tenancy *t, struct kb_arena *a, const char *slug, struct kb_db **db)
{
	const char *dir = tenant_dir(t, a, slug);
	struct kb_db_conf conf = {
		.url = kb_sprintf(a, "sqlite:%s/data.db", dir),
		.connections = 4,
		.migrations = stack_migrations_tenant,
	};

	/* The slug comes from our own table and was checked by grammar. */
	assert(kb_is_slug(slug));
	if (!make_dir(kb_sprintf(a, "%s/tenants", t->data_dir)) ||
	    !make_dir(dir)) {
		kb_error(NULL, "cannot make a tenant's directory",
		    KB_S("path", dir), KB_S("error", strerror(errno)));
		return KB_UNAVAILABLE;
	}
	return kb_db_open(&conf, db);
}

/* Opens outside of the lock; others who want the same tenant wait for it. */
static void
open_handle(struct tenancy *t, struct kb_arena *a, struct tenant_handle *h)
{
	struct kb_db *db = NULL;
	enum kb_err err;

	pthread_mutex_unlock(&t->lock);
	err = open_database(t, a, h->slug, &db);
	pthread_mutex_lock(&t->lock);
	h->db = db;
	h->err = err;
	h->state = err ? FAILED : OPEN;
	pthread_cond_broadcast(&t->opened);
}

/* Under the lock. A failed handle goes with its last holder. */
static void
put_back(struct tenancy *t, struct tenant_handle *h)
{
	assert(h->refs > 0);
	h->refs--;
	h->used_ms = kb_mono_ms();
	if (h->refs == 0 && h->state == FAILED) {
		drop(t, h);
		handle_free(h);
	}
}

/* Under the lock: the handle that nobody has used for longest, if any. */
static struct tenant_handle *
oldest_idle(struct tenancy *t)
{
	struct tenant_handle *found = NULL;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct tenant_handle *h = t->table[i]; h; h = h->next)
			if (h->refs == 0 &&
			    (found == NULL || h->used_ms < found->used_ms))
				found = h;
	return found;
}

/* Under the lock: one more is about to be opened. */
static void
make_room(struct tenancy *t)
{
	struct tenant_handle *h;

	while (t->most > 0 && (int64_t)t->count >= t->most &&
	    (h = oldest_idle(t)) != NULL) {
		drop(t, h);
		handle_free(h);
	}
}

enum kb_err
tenancy_acquire(struct tenancy *t, struct kb_arena *a, const char *slug,
    struct tenant_handle **out)
{
	struct tenant_handle *h;
	enum kb_err err;

	pthread_mutex_lock(&t->lock);
	h = find(t, slug);
	if (h == NULL) {
		make_room(t);
		h = add(t, slug);
		h->refs++;
		open_handle(t, a, h);
	} else {
		h->refs++;
		while (h->state == OPENING)
			pthread_cond_wait(&t->opened, &t->lock);
	}
	err = h->state == OPEN ? KB_OK : h->err;
	if (err)
		put_back(t, h);
	pthread_mutex_unlock(&t->lock);
	if (err)
		return err;
	*out = h;
	return KB_OK;
}

void
tenancy_release(struct tenancy *t, struct tenant_handle *h)
{
	pthread_mutex_lock(&t->lock);
	put_back(t, h);
	pthread_mutex_unlock(&t->lock);
}

struct kb_db *
tenant_db(struct tenant_handle *h)
{
	return h->db;
}

struct hub *
tenant_hub(struct tenant_handle *h)
{
	return h->hub;
}

void
tenancy_end_clients(struct tenancy *t, const char *slug)
{
	struct tenant_handle *h;

	pthread_mutex_lock(&t->lock);
	h = find(t, slug);
	if (h != NULL)
		hub_end(h->hub);
	pthread_mutex_unlock(&t->lock);
}

struct schema_slot *
tenant_schemas(struct tenant_handle *h)
{
	return &h->schemas;
}

/* Under the lock: takes one idle handle out of the table, NULL if none. */
static struct tenant_handle *
take_idle(struct tenancy *t, int64_t now)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct tenant_handle *h = t->table[i]; h; h = h->next)
			if (h->refs == 0 && now - h->used_ms >= t->idle_ms) {
				drop(t, h);
				return h;
			}
	return NULL;
}

void
tenancy_sweep(struct tenancy *t)
{
	struct tenant_handle *h;

	/*
	 * The database is closed under the lock: a second opening must not
	 * meet the lock file of the first. Closing an idle file is quick.
	 */
	pthread_mutex_lock(&t->lock);
	while ((h = take_idle(t, kb_mono_ms())) != NULL)
		handle_free(h);
	pthread_mutex_unlock(&t->lock);
}

size_t
tenancy_open_count(struct tenancy *t)
{
	size_t n;

	pthread_mutex_lock(&t->lock);
	n = t->count;
	pthread_mutex_unlock(&t->lock);
	return n;
}

const char *const *
tenancy_open_slugs(struct tenancy *t, struct kb_arena *a)
{
	const char **slugs;
	size_t n = 0;

	pthread_mutex_lock(&t->lock);
	slugs = kb_new_array(a, t->count + 1, const char *);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct tenant_handle *h = t->table[i]; h; h = h->next)
			if (h->state == OPEN)
				slugs[n++] = kb_strdup(a, h->slug);
	pthread_mutex_unlock(&t->lock);
	slugs[n] = NULL;
	return slugs;
}

enum kb_err
tenancy_remove_files(struct tenancy *t, const char *slug)
{
	static const char *const names[] = { "data.db", "data.db-wal",
		"data.db-shm", "data.db.lock" };
	struct kb_arena *a = kb_arena_new(0);
	struct tenant_handle *h;
	const char *dir = tenant_dir(t, a, slug);
	enum kb_err err = KB_OK;

	pthread_mutex_lock(&t->lock);
	h = find(t, slug);
	if (h != NULL && h->refs > 0)
		err = KB_CONFLICT;
	else if (h != NULL) {
		drop(t, h);
		handle_free(h);
	}
	for (size_t i = 0; !err && i < KB_COUNT(names); i++)
		(void)unlink(kb_sprintf(a, "%s/%s", dir, names[i]));
	if (!err) {
		files_remove_all(dir);
		(void)rmdir(dir);
	}
	pthread_mutex_unlock(&t->lock);
	kb_arena_free(a);
	return err;
}
