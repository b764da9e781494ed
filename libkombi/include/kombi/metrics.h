/*
 * Counters, gauges, histograms; text in the Prometheus exposition format
 * 0.0.4. A metric is declared once (static storage) and registers itself by
 * kb_metric_register(). Labels are bounded: a metric has at most max_series
 * series, further ones are counted under one whose labels all have the
 * overflow value.
 *
 * Thread-safe, and lock-free after the series exists: a thread that asked for
 * cells of its own adds to memory that nobody else writes, others add by
 * compare-and-swap. Reading the text never makes an update wait.
 */
#ifndef KOMBI_METRICS_H
#define KOMBI_METRICS_H

#include <kombi/base.h>
#include <kombi/buf.h>

enum kb_metric_kind { KB_COUNTER, KB_GAUGE, KB_HISTOGRAM };

enum { KB_METRIC_LABELS = 6, KB_METRIC_CHAINS = 64 };

struct kb_series;

struct kb_metric {
	enum kb_metric_kind kind;
	const char *name;
	const char *help;
	const char *labels[KB_METRIC_LABELS]; /* names, NULL-ended if fewer */
	const double *bounds; /* histogram: ascending, +Inf implied */
	size_t n_bounds;
	unsigned max_series;  /* 0: 256; set before it is registered */
	const char *overflow; /* NULL: "other" */
	/* private */
	struct kb_metric *next;
	struct kb_series *first, **last, *chains[KB_METRIC_CHAINS];
	unsigned n_series;
};

void kb_metric_register(struct kb_metric *m);
/* The series of these label values (as many as the metric has labels);
 * remember it, the look-up takes a lock. Never NULL, lives for ever. */
struct kb_series *
kb_metric_series(struct kb_metric *m, const char *const values[]);
/*
 * The same for label values that may go out of use: it is valid until it was
 * dropped as often as it was taken. It keeps its value after that, until the
 * metric is full and needs the place for another one.
 */
struct kb_series *
kb_series_take(struct kb_metric *m, const char *const values[]);
void kb_series_drop(struct kb_series *s); /* NULL: nothing */
/* There was no place for those label values. */
bool kb_series_is_overflow(const struct kb_series *s);

void kb_series_add(struct kb_series *s, double value);     /* counter, gauge */
void kb_series_set(struct kb_series *s, double value);     /* gauge */
void kb_series_observe(struct kb_series *s, double value); /* histogram */

/*
 * From now on this thread has cells of its own in each series, until it calls
 * kb_metrics_thread_end(). For threads that count all the time; when there
 * are more than a process has room for (16), the rest go on as before.
 */
void kb_metrics_thread(void);
void kb_metrics_thread_end(void);

void kb_metrics_text(struct kb_buf *out);

/* Called before each kb_metrics_text: set gauges that are read off then. */
void kb_metrics_collector(void (*fn)(void *), void *arg);

#endif
