/*
 * Metrics: a list of metrics, each with its series. A series is found under a
 * lock once and updated by atomics for ever after.
 */
#include <kombi/metrics.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <kombi/arena.h>

#define SERIES_MAX 256
#define LABELS_MAX ((size_t)4096) /* bytes of all label values of a series */

struct kb_series {
	struct kb_series *next;
	const struct kb_metric *metric;
	char *labels;              /* name="value",… escaped */
	_Atomic uint64_t bits;     /* of a double: value, histogram: sum */
	_Atomic uint64_t counts[]; /* histogram: n_bounds + 1, not cumulative */
};

struct collector {
	void (*fn)(void *);
	void *arg;
	struct collector *next;
};

/* Covers the lists of metrics, series and collectors. */
static pthread_mutex_t metrics_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kb_metric *metrics_first, **metrics_last = &metrics_first;
static struct collector *collectors_first;
static struct collector **collectors_last = &collectors_first;

static bool
is_registered(const struct kb_metric *m)
{
	const struct kb_metric *known;

	for (known = metrics_first; known; known = known->next)
		if (known == m)
			return true;
	return false;
}

void
kb_metric_register(struct kb_metric *m)
{
	pthread_mutex_lock(&metrics_mutex);
	if (!is_registered(m)) {
		m->next = NULL;
		*metrics_last = m;
		metrics_last = &m->next;
	}
	pthread_mutex_unlock(&metrics_mutex);
	if (!m->labels[0])
		kb_metric_series(m, NULL); /* so that it shows up as 0 */
}

static void
add_escaped(struct kb_buf *b, const char *s, bool quotes)
{
	for (; *s; s++) {
		if (*s == '\\' || (quotes && *s == '"'))
			kb_buf_addc(b, '\\');
		if (*s == '\n')
			kb_buf_add(b, "\\n", 2);
		else
			kb_buf_addc(b, *s);
	}
}

static void
add_labels(
    struct kb_buf *b, const struct kb_metric *m, const char *const values[])
{
	size_t i;

	for (i = 0; i < KB_METRIC_LABELS && m->labels[i]; i++) {
		kb_buf_addf(b, "%s%s=\"", i ? "," : "", m->labels[i]);
		add_escaped(b, values ? values[i] : "other", true);
		kb_buf_addc(b, '"');
	}
}

static struct kb_series *
find_series(const struct kb_metric *m, const char *labels)
{
	struct kb_series *s;

	for (s = m->series; s; s = s->next)
		if (strcmp(s->labels, labels) == 0)
			return s;
	return NULL;
}

static struct kb_series *
add_series(struct kb_metric *m, const char *labels)
{
	size_t counts = m->kind == KB_HISTOGRAM ? m->n_bounds + 1 : 0;
	struct kb_series *s = kb_xalloc(
	    sizeof(*s) + counts * sizeof(s->counts[0]));
	struct kb_series **end = &m->series;

	s->metric = m;
	s->labels = kb_xstrdup(labels);
	while (*end)
		end = &(*end)->next;
	*end = s;
	m->n_series++;
	return s;
}

struct kb_series *
kb_metric_series(struct kb_metric *m, const char *const values[])
{
	struct kb_series *s;
	struct kb_buf labels;

	kb_buf_init(&labels, LABELS_MAX);
	add_labels(&labels, m, values);
	pthread_mutex_lock(&metrics_mutex);
	s = kb_buf_failed(&labels) ? NULL : find_series(m, kb_buf_str(&labels));
	if (!s && (kb_buf_failed(&labels) || m->n_series >= SERIES_MAX - 1)) {
		kb_buf_reset(&labels);
		add_labels(&labels, m, NULL);
		s = find_series(m, kb_buf_str(&labels));
	}
	if (!s)
		s = add_series(m, kb_buf_str(&labels));
	pthread_mutex_unlock(&metrics_mutex);
	kb_buf_free(&labels);
	return s;
}

static uint64_t
bits_of(double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

static double
double_of(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

void
kb_series_add(struct kb_series *s, double value)
{
	uint64_t old = atomic_load_explicit(&s->bits, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&s->bits, &old,
	    bits_of(double_of(old) + value), memory_order_relaxed,
	    memory_order_relaxed))
		continue;
}

void
kb_series_set(struct kb_series *s, double value)
{
	atomic_store_explicit(&s->bits, bits_of(value), memory_order_relaxed);
}

void
kb_series_observe(struct kb_series *s, double value)
{
	const struct kb_metric *m = s->metric;
	size_t i = 0;

	while (i < m->n_bounds && !(value <= m->bounds[i]))
		i++;
	atomic_fetch_add_explicit(&s->counts[i], 1, memory_order_relaxed);
	kb_series_add(s, value);
}

/* ---- text ------------------------------------------------------------------
 */

static void
add_value(struct kb_buf *out, double v)
{
	if (isnan(v))
		kb_buf_adds(out, "NaN");
	else if (isinf(v))
		kb_buf_adds(out, v > 0 ? "+Inf" : "-Inf");
	else
		kb_buf_addd(out, v);
}

/* name suffix {labels, le="…"} and the blank before the value. */
static void
add_name(struct kb_buf *out, const struct kb_series *s, const char *suffix,
    const double *le)
{
	bool braces = s->labels[0] || le;

	kb_buf_addf(out, "%s%s%s%s", s->metric->name, suffix, braces ? "{" : "",
	    s->labels);
	if (le) {
		kb_buf_addf(out, "%sle=\"", s->labels[0] ? "," : "");
		add_value(out, *le);
		kb_buf_addc(out, '"');
	}
	kb_buf_adds(out, braces ? "} " : " ");
}

static void
add_histogram(struct kb_buf *out, const struct kb_series *s)
{
	const struct kb_metric *m = s->metric;
	const double infinite = INFINITY;
	uint64_t total = 0;
	size_t i;

	for (i = 0; i <= m->n_bounds; i++) {
		total += s->counts[i];
		add_name(out, s, "_bucket",
		    i < m->n_bounds ? &m->bounds[i] : &infinite);
		kb_buf_addu(out, total);
		kb_buf_addc(out, '\n');
	}
	add_name(out, s, "_sum", NULL);
	add_value(out, double_of(s->bits));
	kb_buf_addc(out, '\n');
	add_name(out, s, "_count", NULL);
	kb_buf_addu(out, total);
	kb_buf_addc(out, '\n');
}

static void
add_metric(struct kb_buf *out, const struct kb_metric *m)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };
	const struct kb_series *s;

	kb_buf_addf(out, "# HELP %s ", m->name);
	add_escaped(out, m->help, false);
	kb_buf_addf(out, "\n# TYPE %s %s\n", m->name, kinds[m->kind]);
	for (s = m->series; s; s = s->next) {
		if (m->kind == KB_HISTOGRAM) {
			add_histogram(out, s);
			continue;
		}
		add_name(out, s, "", NULL);
		add_value(out, double_of(s->bits));
		kb_buf_addc(out, '\n');
	}
}

void
kb_metrics_text(struct kb_buf *out)
{
	const struct collector *c;
	const struct kb_metric *m;

	pthread_mutex_lock(&metrics_mutex);
	c = collectors_first;
	pthread_mutex_unlock(&metrics_mutex);
	/* Without the lock: a collector may look up series. */
	while (c) {
		c->fn(c->arg);
		pthread_mutex_lock(&metrics_mutex);
		c = c->next;
		pthread_mutex_unlock(&metrics_mutex);
	}
	pthread_mutex_lock(&metrics_mutex);
	for (m = metrics_first; m; m = m->next)
		add_metric(out, m);
	pthread_mutex_unlock(&metrics_mutex);
}

void
kb_metrics_collector(void (*fn)(void *), void *arg)
{
	struct collector *c = kb_xalloc(sizeof(*c));

	c->fn = fn;
	c->arg = arg;
	pthread_mutex_lock(&metrics_mutex);
	*collectors_last = c;
	collectors_last = &c->next;
	pthread_mutex_unlock(&metrics_mutex);
}
