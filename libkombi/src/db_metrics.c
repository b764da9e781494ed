/*
 * What operators see of commits: how long they take, how many share one.
 */
#include <pthread.h>

#include <kombi/metrics.h>

#include "db_driver.h"

static const double second_bounds[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
	0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5 };
static const double batch_bounds[] = { 1, 2, 4, 8, 16, 32, 64 };

static struct kb_metric commit_seconds = {
	.kind = KB_HISTOGRAM,
	.name = "db_commit_seconds",
	.help = "Time of a COMMIT until it is durable",
	.labels = { "driver" },
	.bounds = second_bounds,
	.n_bounds = KB_COUNT(second_bounds),
};

static struct kb_metric batch_size = {
	.kind = KB_HISTOGRAM,
	.name = "db_batch_size",
	.help = "Transactions that shared a COMMIT",
	.labels = { "driver" },
	.bounds = batch_bounds,
	.n_bounds = KB_COUNT(batch_bounds),
};

/* The table of series takes a lock to look into: done once. */
static struct {
	const struct kb_db_driver *driver;
	const char *name;
	struct kb_series *seconds, *batch;
} series[] = {
	{ &kb_db_sqlite, "sqlite", NULL, NULL },
	{ &kb_db_pgsql, "postgresql", NULL, NULL },
};

static void
register_all(void)
{
	kb_metric_register(&commit_seconds);
	kb_metric_register(&batch_size);
	for (size_t i = 0; i < KB_COUNT(series); i++) {
		const char *const labels[] = { series[i].name, NULL };

		series[i].seconds = kb_metric_series(&commit_seconds, labels);
		series[i].batch = kb_metric_series(&batch_size, labels);
	}
}

void
kb_db_committed(struct kb_db *db, int64_t ns, uint64_t members)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t i = 0;

	pthread_once(&once, register_all);
	while (series[i].driver != db->driver)
		i++;
	atomic_fetch_add(&db->stats.commits, 1);
	atomic_fetch_add(&db->stats.transactions, members);
	kb_series_observe(series[i].seconds, (double)ns / 1e9);
	kb_series_observe(series[i].batch, (double)members);
}
