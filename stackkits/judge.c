/*
 * Judging: a document and a kit go to the official `cue` command, a report
 * comes back. The child gets the document on stdin, an environment of its
 * own, no network to need, and limits of CPU time, memory, time and output.
 */
#include "stackkits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kombi/child.h>
#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/yaml.h>

static const char
    too_complex[] = "is too complex: judging it took more than is allowed";

enum { MAX_OUTPUT = 1 << 20, WAIT_S = 10, MAX_WAITING = 32, MAX_WHY = 2000 };

struct sk_judge {
	const struct sk_config *config;
	struct sk_cache *cache;
	pthread_mutex_t lock; /* covers the two counts */
	pthread_cond_t freed;
	int64_t running, waiting;
};

struct sk_judge *
sk_judge_new(const struct sk_config *config)
{
	struct sk_judge *j = kb_xalloc(sizeof(*j));
	pthread_condattr_t attr;

	*j = (struct sk_judge) {
		.config = config,
		.cache = sk_cache_new((size_t)config->cached),
	};
	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->freed, &attr);
	pthread_condattr_destroy(&attr);
	return j;
}

void
sk_judge_free(struct sk_judge *j)
{
	if (j == NULL)
		return;
	sk_cache_free(j->cache);
	pthread_cond_destroy(&j->freed);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

const char *
sk_judge_missing(const struct sk_judge *j, struct kb_arena *a)
{
	const char *cue = j->config->cue;

	if (cue == NULL || *cue == '\0')
		return "CUE_BIN must be set to the path of the cue command";
	if (access(cue, X_OK) != 0)
		return kb_sprintf(a,
		    "CUE_BIN must be set to the path of the cue command: %s "
		    "cannot be run",
		    cue);
	return NULL;
}

/* ---- few at a time --------------------------------------------------------
 */

static bool
enter(struct sk_judge *j)
{
	struct timespec until;
	int err = 0;
	bool in = false;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&j->lock);
	if (j->waiting < MAX_WAITING) {
		j->waiting++;
		while (j->running >= j->config->parallel && err == 0)
			err = pthread_cond_timedwait(
			    &j->freed, &j->lock, &until);
		j->waiting--;
		in = j->running < j->config->parallel;
		j->running += in;
	}
	pthread_mutex_unlock(&j->lock);
	return in;
}

static void
leave(struct sk_judge *j)
{
	pthread_mutex_lock(&j->lock);
	j->running--;
	pthread_cond_signal(&j->freed);
	pthread_mutex_unlock(&j->lock);
}

/* ---- the child ------------------------------------------------------------
 */

static enum kb_err
run_cue(const struct sk_judge *j, struct kb_arena *a, const struct kb_child *c,
    struct kb_child_result *r, const char **why)
{
	const struct sk_config *conf = j->config;
	/* CUE_REGISTRY=none: a kit cannot make cue fetch modules. */
	const char *const env[] = {
		"HOME=/nonexistent",
		"CUE_CACHE_DIR=/nonexistent",
		"CUE_REGISTRY=none",
		"GOMAXPROCS=2",
		"LC_ALL=C.UTF-8",
		kb_sprintf(
		    a, "GOMEMLIMIT=%lldMiB", (long long)conf->memory_mb / 5),
		NULL,
	};
	struct kb_child child = *c;

	child.program = conf->cue;
	child.env = env;
	child.deadline_ms = conf->timeout_ms;
	child.cpu_s = (unsigned)conf->cpu_s;
	child.memory = (uint64_t)conf->memory_mb << 20;
	child.file_size = 1 << 20;
	child.files = 128;
	child.max_output = MAX_OUTPUT;
	return kb_child_run(a, &child, r, why);
}

static enum kb_err
export_report(const struct sk_judge *j, struct kb_arena *a,
    const struct sk_kit *kit, const char *json, struct kb_child_result *r,
    const char **why)
{
	static const char *const argv[] = { "cue", "export", "--out", "json",
		"-e", "report", "-l", "input:", ".", "json:", "-", NULL };
	const struct kb_child child = {
		.argv = argv,
		.cwd = kit->folder,
		.input = json,
		.input_len = strlen(json),
	};

	return run_cue(j, a, &child, r, why);
}

enum kb_err
sk_judge_manifest(struct sk_judge *j, struct kb_arena *a,
    const char *kit_folder, const char **why)
{
	static const char *const argv[] = { "cue", "vet", "-c", "-d",
		"#Manifest", "../../base", "stackkit.yaml", NULL };
	const struct kb_child child = { .argv = argv, .cwd = kit_folder };
	struct kb_child_result r;
	enum kb_err err = run_cue(j, a, &child, &r, why);

	if (err != KB_OK)
		return err;
	if (r.end == KB_CHILD_EXITED && r.status == 0)
		return KB_OK;
	*why = kb_sprintf(a, "stackkit.yaml: cue %s: %.*s",
	    kb_child_end_text(a, &r), MAX_WHY, r.err);
	return KB_INVALID;
}

/* ---- reports --------------------------------------------------------------
 */

static struct sk_findings
findings_of(struct kb_arena *a, const struct kb_json *list)
{
	size_t n = list != NULL && kb_json_kind(list) == KB_JSON_ARRAY
	    ? kb_json_size(list)
	    : 0;
	struct sk_findings f = { .items = kb_new_array(
				     a, n + 1, struct sk_finding) };

	for (const struct kb_json *j = n > 0 ? kb_json_first(list) : NULL;
	     j != NULL; j = kb_json_after(j)) {
		struct sk_finding x = {
			.path = kb_json_str(j, "path"),
			.code = kb_json_str(j, "code"),
			.message = kb_json_str(j, "message"),
		};

		if (x.path != NULL && x.code != NULL && x.message != NULL)
			f.items[f.n++] = x;
	}
	return f;
}

/* False when the text is no report: the kit is at fault. */
static bool
read_report(struct kb_arena *a, const char *text, struct sk_verdict *out)
{
	const struct kb_json *report, *info;
	const char *why;

	if (kb_json_parse(a, text, strlen(text), &report, &why) != KB_OK ||
	    kb_json_get(report, "valid") == NULL)
		return false;
	info = kb_json_get(report, "info");
	*out = (struct sk_verdict) {
		.errors = findings_of(a, kb_json_get(report, "errors")),
		.warnings = findings_of(a, kb_json_get(report, "warnings")),
		.info = info != NULL ? kb_json_print(a, info) : NULL,
	};
	out->too_complex = out->errors.n == 1 &&
	    strcmp(out->errors.items[0].message, too_complex) == 0;
	out->valid = kb_json_bool(report, "valid", false) && out->errors.n == 0;
	return out->valid || out->errors.n > 0;
}

static void
one_error(struct kb_arena *a, struct sk_verdict *out, const char *code,
    const char *message)
{
	struct sk_finding *f = kb_new(a, struct sk_finding);

	*f = (struct sk_finding) { "", code, message, 0, 0 };
	*out = (struct sk_verdict) { .errors = { f, 1 } };
}

/* The parser's "line 3, column 7: …" also as numbers. */
static void
yaml_error(struct kb_arena *a, struct sk_verdict *out, const char *why)
{
	struct sk_finding *f;
	unsigned line, column;

	one_error(a, out, "INVALID_FORMAT", why);
	f = out->errors.items;
	if (sscanf(why, "line %9u, column %9u", &line, &column) == 2) {
		f->line = line;
		f->column = column;
	}
}

/* The same shape as a report, so that the cache holds one kind of text. */
static const char *
report_text(struct kb_arena *a, const struct sk_findings *errors)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, MAX_OUTPUT);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_bool(&w, "valid", false);
	kb_w_array(&w, "errors");
	for (size_t i = 0; i < errors->n; i++) {
		kb_w_object(&w, NULL);
		kb_w_str(&w, "path", errors->items[i].path);
		kb_w_str(&w, "code", errors->items[i].code);
		kb_w_str(&w, "message", errors->items[i].message);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

/* The Go runtime ends by itself when the address space is used up. */
static bool
out_of_memory(const struct kb_child_result *r)
{
	return r->end == KB_CHILD_EXITED && r->status == 2 &&
	    strstr(r->err, "out of memory") != NULL;
}

/*
 * What the child's end means. KB_OK with *report; a document that costs more
 * than a judgement may cost is the document's fault.
 */
static enum kb_err
weigh(struct kb_arena *a, const struct kb_child_result *r, const char **report,
    const char **why)
{
	struct sk_findings found;
	struct sk_verdict v;

	if (r->end == KB_CHILD_EXITED && r->status == 0) {
		*report = r->out;
		return KB_OK;
	}
	if (r->end == KB_CHILD_CPU || r->end == KB_CHILD_OUTPUT ||
	    out_of_memory(r)) {
		one_error(a, &v, "CONSTRAINT_VIOLATION", too_complex);
		*report = report_text(a, &v.errors);
		return KB_OK;
	}
	*why = kb_sprintf(
	    a, "cue %s: %.*s", kb_child_end_text(a, r), MAX_WHY, r->err);
	if (r->end == KB_CHILD_DEADLINE)
		return KB_TIMEOUT;
	found = sk_cue_findings(a, r->err);
	if (r->end != KB_CHILD_EXITED || found.n == 0)
		return KB_INTERNAL;
	*report = report_text(a, &found);
	return KB_OK;
}

static enum kb_err
judge_json(struct sk_judge *j, struct kb_arena *a, const struct sk_kit *kit,
    const char *json, const char **report, const char **why)
{
	struct kb_child_result r;
	enum kb_err err;

	*why = sk_judge_missing(j, a);
	if (*why != NULL)
		return KB_UNAVAILABLE;
	if (!enter(j)) {
		*why = "Too many documents are being judged; try again soon";
		return KB_UNAVAILABLE;
	}
	err = export_report(j, a, kit, json, &r, why);
	leave(j);
	return err == KB_OK ? weigh(a, &r, report, why) : err;
}

/* The kit's content and the document: whatever else changes, these decide. */
static void
key_of(struct kb_arena *a, const struct sk_kit *kit, const char *json,
    char key[65])
{
	const char *text = kb_sprintf(a, "%s\n%s", kit->sha256, json);

	kb_sha256_hex(text, strlen(text), key);
}

enum kb_err
sk_judge_document(struct sk_judge *j, struct kb_arena *a,
    const struct sk_kit *kit, struct kb_slice yaml, struct sk_verdict *out,
    const char **why)
{
	struct kb_yaml *doc;
	const char *json, *report;
	enum kb_err err;
	char key[65];

	if (kb_yaml_parse(a, yaml.ptr, yaml.len, &doc, why) != KB_OK ||
	    doc == NULL) {
		yaml_error(a, out, *why != NULL ? *why : "is empty");
		return KB_OK;
	}
	json = kb_yaml_to_json(a, doc);
	key_of(a, kit, json, key);
	report = sk_cache_get(j->cache, a, key);
	if (report == NULL) {
		err = judge_json(j, a, kit, json, &report, why);
		if (err != KB_OK)
			return err;
		sk_cache_put(j->cache, key, report);
	}
	if (!read_report(a, report, out)) {
		*why = "the kit's report is not one";
		return KB_INTERNAL;
	}
	sk_findings_locate(&out->errors, doc);
	sk_findings_locate(&out->warnings, doc);
	return KB_OK;
}
