/*
 * Counters, gauges, histograms; text in the Prometheus exposition format
 * 0.0.4. A metric is declared once (static storage) and registers itself by
 * kb_metric_register(); labels are bounded: at most 256 series a metric,
 * further ones are counted under the label value "other".
 * Updating is lock-free after the series exists; thread-safe.
 */
#ifndef KOMBI_METRICS_H
#define KOMBI_METRICS_H

#include <kombi/base.h>
#include <kombi/buf.h>

enum kb_metric_kind { KB_COUNTER, KB_GAUGE, KB_HISTOGRAM };

#define KB_METRIC_LABELS 4

struct kb_series;

struct kb_metric {
	enum kb_metric_kind kind;
	const char *name;
	const char *help;
	const char *labels[KB_METRIC_LABELS]; /* names, NULL-ended if fewer */
	const double *bounds; /* histogram: ascending, +Inf implied */
	size_t n_bounds;
	struct kb_series *series; /* private */
	struct kb_metric *next;   /* private */
	unsigned n_series;        /* private */
};

void kb_metric_register(struct kb_metric *m);
/* The series of these label values (as many as the metric has labels);
 * remember it, the look-up takes a lock. Never NULL, lives for ever. */
struct kb_series *
kb_metric_series(struct kb_metric *m, const char *const values[]);
void kb_series_add(struct kb_series *s, double value);     /* counter, gauge */
void kb_series_set(struct kb_series *s, double value);     /* gauge */
void kb_series_observe(struct kb_series *s, double value); /* histogram */

void kb_metrics_text(struct kb_buf *out);

/* Called before each kb_metrics_text: set gauges that are read off then. */
void kb_metrics_collector(void (*fn)(void *), void *arg);

#endif
