/*
 * Metrics: a list of metrics, each with its series. A series is found under a
 * lock once and updated without one for ever after: by a thread that has
 * cells of its own with plain loads and stores, since nobody else writes
 * them; by others with compare-and-swap on the cell that they share. The text
 * adds the cells up.
 */
#include <kombi/metrics.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/arena.h>
#include <kombi/str.h>

enum { SERIES_MAX = 256, SHARDS = 16, CACHE_LINE = 64 };
#define LABELS_MAX ((size_t)4096) /* bytes of all label values of a series */

struct cell {
	_Atomic uint64_t bits;     /* of a double: value, histogram: sum */
	_Atomic uint64_t counts[]; /* histogram: n_bounds + 1, not cumulative */
};

struct kb_series {
	struct kb_series *next, *chain;
	const struct kb_metric *metric;
	bool overflow;
	char *labels; /* name="value",… escaped */
	uint64_t hash;
	bool pinned;      /* for ever */
	unsigned holders; /* until they drop it */
	uint64_t left;    /* when the last holder dropped it */
	_Atomic(struct cell *) own[SHARDS]; /* of the thread of that number */
	struct cell shared;
};

struct collector {
	void (*fn)(void *);
	void *arg;
	struct collector *next;
};

/* Covers the lists of metrics, series and collectors, and the shards. */
static pthread_mutex_t metrics_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kb_metric *metrics_first, **metrics_last = &metrics_first;
static struct collector *collectors_first;
static struct collector **collectors_last = &collectors_first;
static uint64_t drops;
static bool shards_taken[SHARDS];

static _Thread_local int shard; /* number of this thread's plus 1; 0: none */

/* ---- threads with cells of their own ----------------------------------------
 */

void
kb_metrics_thread(void)
{
	pthread_mutex_lock(&metrics_mutex);
	for (int i = 0; shard == 0 && i < SHARDS; i++) {
		if (shards_taken[i])
			continue;
		shards_taken[i] = true;
		shard = i + 1;
	}
	pthread_mutex_unlock(&metrics_mutex);
}

/* Whoever gets the number next goes on counting in the same cells. */
void
kb_metrics_thread_end(void)
{
	pthread_mutex_lock(&metrics_mutex);
	if (shard)
		shards_taken[shard - 1] = false;
	shard = 0;
	pthread_mutex_unlock(&metrics_mutex);
}

/* ---- metrics and their series -----------------------------------------------
 */

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
		m->last = &m->first;
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

static const char *
overflow_of(const struct kb_metric *m)
{
	return m->overflow ? m->overflow : "other";
}

static void
add_labels(
    struct kb_buf *b, const struct kb_metric *m, const char *const values[])
{
	size_t i;

	for (i = 0; i < KB_METRIC_LABELS && m->labels[i]; i++) {
		kb_buf_addf(b, "%s%s=\"", i ? "," : "", m->labels[i]);
		add_escaped(b, values ? values[i] : overflow_of(m), true);
		kb_buf_addc(b, '"');
	}
}

static size_t
cell_size(const struct kb_metric *m)
{
	size_t counts = m->kind == KB_HISTOGRAM ? m->n_bounds + 1 : 0;

	return sizeof(struct cell) + counts * sizeof(_Atomic uint64_t);
}

static struct kb_series *
find_series(const struct kb_metric *m, const char *labels, uint64_t hash)
{
	struct kb_series *s;

	for (s = m->chains[hash % KB_METRIC_CHAINS]; s; s = s->chain)
		if (s->hash == hash && strcmp(s->labels, labels) == 0)
			return s;
	return NULL;
}

static struct kb_series *
add_series(struct kb_metric *m, const char *labels, uint64_t hash)
{
	size_t size = offsetof(struct kb_series, shared) + cell_size(m);
	struct kb_series *s = kb_xalloc(size);
	struct kb_series **chain = &m->chains[hash % KB_METRIC_CHAINS];

	s->metric = m;
	s->labels = kb_xstrdup(labels);
	s->hash = hash;
	s->chain = *chain;
	*chain = s;
	*m->last = s;
	m->last = &s->next;
	m->n_series++;
	return s;
}

static void
free_series(struct kb_series *s)
{
	size_t i;

	for (i = 0; i < SHARDS; i++)
		free(atomic_load(&s->own[i]));
	free(s->labels);
	free(s);
}

/* Makes room by that series which nobody has held for longest. */
static bool
evict(struct kb_metric *m)
{
	struct kb_series **at, **oldest = NULL, *s;

	for (at = &m->first; *at; at = &(*at)->next)
		if ((*at)->holders == 0 && !(*at)->pinned &&
		    (oldest == NULL || (*at)->left < (*oldest)->left))
			oldest = at;
	if (oldest == NULL)
		return false;
	s = *oldest;
	*oldest = s->next;
	if (m->last == &s->next)
		m->last = oldest;
	at = &m->chains[s->hash % KB_METRIC_CHAINS];
	while (*at != s)
		at = &(*at)->chain;
	*at = s->chain;
	m->n_series--;
	free_series(s);
	return true;
}

/* With the lock held; one holder more. */
static struct kb_series *
hold_series(struct kb_metric *m, struct kb_buf *labels)
{
	unsigned max = m->max_series ? m->max_series : SERIES_MAX;
	uint64_t hash = kb_hash(labels->ptr, labels->len);
	struct kb_series *s = NULL;

	if (!kb_buf_failed(labels)) {
		s = find_series(m, kb_buf_str(labels), hash);
		if (!s && (m->n_series < max - 1 || evict(m)))
			s = add_series(m, kb_buf_str(labels), hash);
	}
	if (!s) {
		kb_buf_reset(labels);
		add_labels(labels, m, NULL);
		hash = kb_hash(labels->ptr, labels->len);
		s = find_series(m, kb_buf_str(labels), hash);
		if (!s)
			s = add_series(m, kb_buf_str(labels), hash);
		s->overflow = true;
	}
	s->holders++;
	return s;
}

static struct kb_series *
take_series(struct kb_metric *m, const char *const values[], bool for_ever)
{
	struct kb_series *s;
	struct kb_buf labels;

	kb_buf_init(&labels, LABELS_MAX);
	add_labels(&labels, m, values);
	pthread_mutex_lock(&metrics_mutex);
	if (m->last == NULL)
		m->last = &m->first; /* not registered */
	s = hold_series(m, &labels);
	if (for_ever) {
		s->pinned = true;
		s->holders--;
	}
	pthread_mutex_unlock(&metrics_mutex);
	kb_buf_free(&labels);
	return s;
}

struct kb_series *
kb_series_take(struct kb_metric *m, const char *const values[])
{
	return take_series(m, values, false);
}

struct kb_series *
kb_metric_series(struct kb_metric *m, const char *const values[])
{
	return take_series(m, values, true);
}

bool
kb_series_is_overflow(const struct kb_series *s)
{
	return s->overflow;
}

void
kb_series_drop(struct kb_series *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&metrics_mutex);
	s->holders--;
	s->left = ++drops;
	pthread_mutex_unlock(&metrics_mutex);
}

/* ---- values -----------------------------------------------------------------
 */

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

static struct cell *
add_cell(struct kb_series *s)
{
	size_t size = (cell_size(s->metric) + CACHE_LINE - 1) / CACHE_LINE *
	    CACHE_LINE;
	struct cell *c = aligned_alloc(CACHE_LINE, size);

	if (c == NULL)
		abort();
	memset(c, 0, size);
	atomic_store_explicit(&s->own[shard - 1], c, memory_order_release);
	return c;
}

/* This thread's own; NULL: it has none. A gauge may be set by anybody, so it
 * has but one cell. */
static struct cell *
own_cell(struct kb_series *s)
{
	struct cell *c;

	if (shard == 0 || s->metric->kind == KB_GAUGE)
		return NULL;
	c = atomic_load_explicit(&s->own[shard - 1], memory_order_relaxed);
	return c ? c : add_cell(s);
}

/* Only one thread writes there: no locked instruction is needed. */
static void
add_alone(_Atomic uint64_t *bits, double value)
{
	double now = double_of(
	    atomic_load_explicit(bits, memory_order_relaxed));

	atomic_store_explicit(bits, bits_of(now + value), memory_order_relaxed);
}

static void
add_shared(_Atomic uint64_t *bits, double value)
{
	uint64_t old = atomic_load_explicit(bits, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(bits, &old,
	    bits_of(double_of(old) + value), memory_order_relaxed,
	    memory_order_relaxed))
		continue;
}

void
kb_series_add(struct kb_series *s, double value)
{
	struct cell *own = own_cell(s);

	if (own)
		add_alone(&own->bits, value);
	else
		add_shared(&s->shared.bits, value);
}

void
kb_series_set(struct kb_series *s, double value)
{
	atomic_store_explicit(
	    &s->shared.bits, bits_of(value), memory_order_relaxed);
}

void
kb_series_observe(struct kb_series *s, double value)
{
	const struct kb_metric *m = s->metric;
	struct cell *own = own_cell(s);
	size_t i = 0;

	while (i < m->n_bounds && !(value <= m->bounds[i]))
		i++;
	if (own) {
		uint64_t n = atomic_load_explicit(
		    &own->counts[i], memory_order_relaxed);

		atomic_store_explicit(
		    &own->counts[i], n + 1, memory_order_relaxed);
		add_alone(&own->bits, value);
		return;
	}
	atomic_fetch_add_explicit(
	    &s->shared.counts[i], 1, memory_order_relaxed);
	add_shared(&s->shared.bits, value);
}

/* Over all cells. */
static double
value_of(const struct kb_series *s)
{
	double sum = double_of(s->shared.bits);

	for (size_t i = 0; i < SHARDS; i++) {
		const struct cell *c = atomic_load_explicit(
		    &s->own[i], memory_order_acquire);

		if (c)
			sum += double_of(atomic_load_explicit(
			    &c->bits, memory_order_relaxed));
	}
	return sum;
}

static uint64_t
count_of(const struct kb_series *s, size_t bound)
{
	uint64_t n = s->shared.counts[bound];

	for (size_t i = 0; i < SHARDS; i++) {
		const struct cell *c = atomic_load_explicit(
		    &s->own[i], memory_order_acquire);

		if (c)
			n += atomic_load_explicit(
			    &c->counts[bound], memory_order_relaxed);
	}
	return n;
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
		total += count_of(s, i);
		add_name(out, s, "_bucket",
		    i < m->n_bounds ? &m->bounds[i] : &infinite);
		kb_buf_addu(out, total);
		kb_buf_addc(out, '\n');
	}
	add_name(out, s, "_sum", NULL);
	add_value(out, value_of(s));
	kb_buf_addc(out, '\n');
	add_name(out, s, "_count", NULL);
	kb_buf_addu(out, total);
	kb_buf_addc(out, '\n');
}

static void
add_metric(struct kb_buf *out, const struct kb_metric *m,
    struct kb_series *const list[], size_t n)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };

	kb_buf_addf(out, "# HELP %s ", m->name);
	add_escaped(out, m->help, false);
	kb_buf_addf(out, "\n# TYPE %s %s\n", m->name, kinds[m->kind]);
	for (size_t i = 0; i < n; i++) {
		if (m->kind == KB_HISTOGRAM) {
			add_histogram(out, list[i]);
			continue;
		}
		add_name(out, list[i], "", NULL);
		add_value(out, value_of(list[i]));
		kb_buf_addc(out, '\n');
	}
}

/* Holds the series while they are written, not the lock. */
static void
write_metric(struct kb_buf *out, struct kb_metric *m)
{
	struct kb_series **list, *s;
	size_t n = 0;

	pthread_mutex_lock(&metrics_mutex);
	list = kb_xalloc((m->n_series + 1) * sizeof(struct kb_series *));
	for (s = m->first; s; s = s->next) {
		s->holders++;
		list[n++] = s;
	}
	pthread_mutex_unlock(&metrics_mutex);
	add_metric(out, m, list, n);
	pthread_mutex_lock(&metrics_mutex);
	for (size_t i = 0; i < n; i++)
		list[i]->holders--;
	pthread_mutex_unlock(&metrics_mutex);
	free(list);
}

/* The one after, for lists that only grow at their end. */
static struct kb_metric *
metric_after(struct kb_metric *m)
{
	pthread_mutex_lock(&metrics_mutex);
	m = m ? m->next : metrics_first;
	pthread_mutex_unlock(&metrics_mutex);
	return m;
}

/* Without the lock: a collector may look up series. */
static void
run_collectors(void)
{
	const struct collector *c;

	pthread_mutex_lock(&metrics_mutex);
	c = collectors_first;
	pthread_mutex_unlock(&metrics_mutex);
	while (c) {
		c->fn(c->arg);
		pthread_mutex_lock(&metrics_mutex);
		c = c->next;
		pthread_mutex_unlock(&metrics_mutex);
	}
}

void
kb_metrics_text(struct kb_buf *out)
{
	struct kb_metric *m = NULL;

	run_collectors();
	while ((m = metric_after(m)) != NULL)
		write_metric(out, m);
}

void
kb_metrics_collector(void (*fn)(void *), void *arg)
{
	struct collector *c = kb_xalloc(sizeof(*c));

	c->fn = fn;
	c->arg = arg;
	c->next = NULL;
	pthread_mutex_lock(&metrics_mutex);
	*collectors_last = c;
	collectors_last = &c->next;
	pthread_mutex_unlock(&metrics_mutex);
}
