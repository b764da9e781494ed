/*
 * What was observed on its way to a collector: a bounded queue that a thread
 * of its own empties by HTTP. Part of gateway.h, which includes it.
 */
#ifndef GATEWAY_EXPORTER_H
#define GATEWAY_EXPORTER_H

struct exporter;

/* All is copied. Equal ones share an exporter. */
struct exporter_conf {
	const char *name; /* in metrics and log lines */
	const char *url;  /* http or https */
	const char *method;
	const char *content_type;
	const char *const
	    *headers; /* "Name: value", NULL-ended; never logged */
	/* What stands round the items of a request; between them ','. */
	const char *before, *after;
	int64_t batch;      /* items of a request at most */
	int64_t delay_ms;   /* an item waits for others as long as this */
	int64_t queue;      /* items that wait at most; more are dropped */
	int64_t timeout_ms; /* of a request */
	int64_t retry_ms;   /* how long a batch is tried again */
};

/*
 * Nothing is sent before the first item. Any thread, for both; what waits
 * when nobody holds it any more is sent once.
 */
struct exporter *exporter_get(const struct exporter_conf *conf);
void exporter_put(struct exporter *e); /* NULL: nothing */
/* Takes a copy, or counts it as dropped. Never waits for the collector. */
void exporter_add(struct exporter *e, const char *item, size_t len);
/* The end of the process: waits until all is sent, `ms` at most. */
void exporters_stop(int64_t ms);

#endif
