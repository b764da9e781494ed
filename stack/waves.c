/*
 * After an upgrade the tenants' databases are migrated in waves, a canary
 * first; the first failure ends it, and is told until the next start. A
 * tenant whose turn has not come is migrated when it is first opened, and one
 * that cannot be answers 503 for itself alone.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/metrics.h>
#include <kombi/time.h>

#include "platform.h"
#include "tenants.h"

#define PAUSE_MS 20

struct waves {
	pthread_mutex_t lock; /* covers what follows */
	bool begun;
	char *failed; /* slug, or NULL */
	enum kb_err why;
};

static struct kb_metric waiting_metric = {
	.kind = KB_GAUGE,
	.name = "stack_tenants_to_migrate",
	.help = "Tenants whose database waits for its migration",
};
static struct kb_metric failed_metric = {
	.kind = KB_GAUGE,
	.name = "stack_tenant_migration_failed",
	.help = "1 when migrating the tenants ended at one that failed",
};

struct waves *
waves_new(void)
{
	struct waves *w = kb_xalloc(sizeof(*w));

	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	kb_metric_register(&waiting_metric);
	kb_metric_register(&failed_metric);
	return w;
}

void
waves_free(struct waves *w)
{
	if (w == NULL)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w->failed);
	free(w);
}

int
tenant_schema_version(void)
{
	int newest = 0;

	for (const struct kb_migration *m = stack_migrations_tenant;
	     m->version != 0; m++)
		newest = m->version;
	return newest;
}

static void
gauge(struct kb_metric *m, double value)
{
	kb_series_set(kb_metric_series(m, (const char *[]) { NULL }), value);
}

static void
fail(struct waves *w, const struct kb_cx *cx, const char *slug, enum kb_err err)
{
	kb_error(cx->log, "migrating the tenants ended at one that failed",
	    KB_S("tenant", slug), KB_S("error", kb_err_code(err)));
	gauge(&failed_metric, 1);
	pthread_mutex_lock(&w->lock);
	w->failed = kb_xstrdup(slug);
	w->why = err;
	pthread_mutex_unlock(&w->lock);
}

static enum kb_err
migrate_one(struct kb_app *app, struct kb_cx *cx, const struct tenant *t)
{
	enum kb_err err = tenant_open_check(app, cx->arena, t->slug);

	return err ? err : tenant_migrated(cx, t->id, tenant_schema_version());
}

/* kb_background.run */
int64_t
waves_work(struct kb_app *app, struct kb_cx *cx)
{
	struct waves *w = stack_state(app)->waves;
	int64_t size = w->begun ? stack_config(app)->wave : 1, waiting;
	struct tenant *rows;
	size_t n;
	enum kb_err err = tenants_to_migrate(
	    cx, tenant_schema_version(), size, &rows, &n, &waiting);

	if (err)
		return 1000;
	w->begun = true;
	gauge(&waiting_metric, (double)waiting);
	for (size_t i = 0; i < n; i++) {
		err = migrate_one(app, cx, &rows[i]);
		if (!err)
			continue;
		fail(w, cx, rows[i].slug, err);
		return KB_BACKGROUND_DONE;
	}
	if (n > 0)
		kb_info(cx->log, "a wave of tenants is migrated",
		    KB_N("tenants", (int64_t)n),
		    KB_N("waiting", waiting - (int64_t)n));
	return n > 0 ? PAUSE_MS : KB_BACKGROUND_DONE;
}

const char *
waves_check(struct kb_app *app, struct kb_arena *a)
{
	struct waves *w = stack_state(app)->waves;
	const char *why = NULL;

	pthread_mutex_lock(&w->lock);
	if (w->failed != NULL)
		why = kb_sprintf(
		    a, "tenant %s: %s", w->failed, kb_err_code(w->why));
	pthread_mutex_unlock(&w->lock);
	return why;
}
