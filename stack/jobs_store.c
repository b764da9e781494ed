/*
 * Jobs and their logs in a tenant's database, and the hints in platform.db
 * which tenants have some. A run owns a job by its fence: what an older run
 * still writes is refused.
 */
#include <kombi/time.h>

#include "stack.h"

#define COLUMNS                                                                \
	"j.id, j.type, j.status, j.stack_id, j.user_id, j.payload, j.result,"  \
	" j.error, j.progress, j.attempts, j.max_attempts, j.fence,"           \
	" j.created, j.started, j.completed"
/* $1 is the viewer's id, $2 whether it is an admin. */
#define VISIBLE                                                                \
	"($2 = 1 OR j.user_id = $1 OR EXISTS (SELECT 1 FROM _kombi_stacks s"   \
	" WHERE s.id = j.stack_id AND (s.owner_id = $1 OR EXISTS"              \
	" (SELECT 1 FROM _kombi_stack_members v"                               \
	" WHERE v.stack_id = s.id AND v.user_id = $1))))"

static const struct kb_col cols[] = {
	KB_COL_STR(struct job, id),
	KB_COL_STR(struct job, type),
	KB_COL_STR(struct job, status),
	KB_COL_STR(struct job, stack_id),
	KB_COL_STR(struct job, user_id),
	KB_COL_STR(struct job, payload),
	KB_COL_STR(struct job, result),
	KB_COL_STR(struct job, error),
	KB_COL_INT(struct job, progress),
	KB_COL_INT(struct job, attempts),
	KB_COL_INT(struct job, max_attempts),
	KB_COL_INT(struct job, fence),
	KB_COL_STR(struct job, created),
	KB_COL_STR(struct job, started),
	KB_COL_STR(struct job, completed),
	KB_COLS_END,
};

static const struct kb_col line_cols[] = {
	KB_COL_INT(struct job_line, seq),
	KB_COL_STR(struct job_line, at),
	KB_COL_STR(struct job_line, level),
	KB_COL_STR(struct job_line, step),
	KB_COL_STR(struct job_line, message),
	KB_COLS_END,
};

struct count {
	int64_t n;
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

enum kb_err
job_insert(struct kb_cx *cx, const struct job *j)
{
	return kb_exec(cx,
	    "INSERT INTO _kombi_jobs (id, type, status, stack_id, user_id, "
	    "payload,"
	    " max_attempts, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	    KB_TEXT(j->id), KB_TEXT(j->type), KB_TEXT("pending"),
	    KB_TEXT(j->stack_id), KB_TEXT(j->user_id), KB_TEXT(j->payload),
	    KB_INT(j->max_attempts), KB_TEXT(j->created));
}

enum kb_err
job_get(struct kb_cx *cx, const struct viewer *v, const char *id, struct job *j)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS
	    " FROM _kombi_jobs j WHERE j.id = $3 AND " VISIBLE,
	    KB_TEXT(v->user_id), KB_FLAG(v->admin), KB_TEXT(id));

	return kb_rows_one(&rows, cols, j);
}

enum kb_err
jobs_page(struct kb_cx *cx, const struct viewer *v, const struct job_filter *f,
    struct kb_page *page, struct job **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM _kombi_jobs j WHERE " VISIBLE
	    " AND ($3 IS NULL OR j.stack_id = $3)"
	    " AND ($4 IS NULL OR j.status = $4)",
	    KB_TEXT(v->user_id), KB_FLAG(v->admin), KB_TEXT(f->stack_id),
	    KB_TEXT(f->status));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM _kombi_jobs j WHERE " VISIBLE
	    " AND ($3 IS NULL OR j.stack_id = $3)"
	    " AND ($4 IS NULL OR j.status = $4)"
	    " ORDER BY j.id DESC LIMIT $5 OFFSET $6",
	    KB_TEXT(v->user_id), KB_FLAG(v->admin), KB_TEXT(f->stack_id),
	    KB_TEXT(f->status), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct job), out, n);
}

enum kb_err
job_lines(struct kb_cx *cx, const char *id, int64_t after, int64_t limit,
    struct job_line **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT seq, at, level, step, message FROM _kombi_job_logs"
	    " WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
	    KB_TEXT(id), KB_INT(after), KB_INT(limit));

	return kb_rows_all(&rows, line_cols, sizeof(struct job_line), out, n);
}

struct claim {
	struct job *job;
	const char *runner;
};

static enum kb_err
claim_tx(struct kb_cx *cx, void *arg)
{
	const struct claim *c = arg;
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM _kombi_jobs j WHERE j.status = $1"
	    " AND j.not_before_ms <= $2 ORDER BY j.id LIMIT 1",
	    KB_TEXT("pending"), KB_INT(kb_wall_ms()));
	enum kb_err err = kb_rows_one(&rows, cols, c->job);

	if (err)
		return err;
	c->job->fence++;
	c->job->attempts++;
	c->job->status = "running";
	return kb_exec(cx,
	    "UPDATE _kombi_jobs SET status = 'running', fence = $2, attempts = "
	    "$3,"
	    " runner = $4, started = coalesce(started, $5) WHERE id = $1",
	    KB_TEXT(c->job->id), KB_INT(c->job->fence),
	    KB_INT(c->job->attempts), KB_TEXT(c->runner),
	    KB_TEXT(kb_now_text(cx->arena)));
}

enum kb_err
job_claim(struct kb_cx *cx, const char *runner, struct job *j)
{
	struct claim c = { .job = j, .runner = runner };
	int64_t waiting;
	enum kb_err err = jobs_pending(cx, &waiting);

	/* Looking first keeps the writer free while there is nothing to do. */
	if (err)
		return err;
	return waiting == 0 ? KB_NOT_FOUND : kb_transaction(cx, claim_tx, &c);
}

enum kb_err
job_say(struct kb_cx *cx, const struct job *j, const char *level,
    const char *step, const char *message)
{
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(cx, &changed,
	    "INSERT INTO _kombi_job_logs (job_id, seq, at, level, step, "
	    "message)"
	    " SELECT $1, coalesce((SELECT max(seq) FROM _kombi_job_logs"
	    " WHERE job_id = $1), 0) + 1, $2, $3, $4, $5"
	    " FROM _kombi_jobs WHERE id = $1 AND fence = $6 AND status = "
	    "'running'",
	    KB_TEXT(j->id), KB_TEXT(kb_now_text(cx->arena)), KB_TEXT(level),
	    KB_TEXT(step), KB_TEXT(message), KB_INT(j->fence));

	return !err && changed == 0 ? KB_CONFLICT : err;
}

enum kb_err
job_progress(struct kb_cx *cx, const struct job *j, int64_t percent)
{
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(cx, &changed,
	    "UPDATE _kombi_jobs SET progress = $3"
	    " WHERE id = $1 AND fence = $2 AND status = 'running'",
	    KB_TEXT(j->id), KB_INT(j->fence), KB_INT(percent));

	return !err && changed == 0 ? KB_CONFLICT : err;
}

enum kb_err
job_finish(struct kb_cx *cx, const struct job *j, const char *status,
    const char *result, const char *error)
{
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(cx, &changed,
	    "UPDATE _kombi_jobs SET status = $3, result = $4, error = $5,"
	    " progress = CASE $3 WHEN 'completed' THEN 100 ELSE progress END,"
	    " completed = $6"
	    " WHERE id = $1 AND fence = $2 AND status = 'running'",
	    KB_TEXT(j->id), KB_INT(j->fence), KB_TEXT(status), KB_TEXT(result),
	    KB_TEXT(error), KB_TEXT(kb_now_text(cx->arena)));

	return !err && changed == 0 ? KB_CONFLICT : err;
}

enum kb_err
job_retry(
    struct kb_cx *cx, const struct job *j, const char *error, int64_t delay_ms)
{
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(cx, &changed,
	    "UPDATE _kombi_jobs SET status = 'pending', error = $3,"
	    " not_before_ms = $4"
	    " WHERE id = $1 AND fence = $2 AND status = 'running'",
	    KB_TEXT(j->id), KB_INT(j->fence), KB_TEXT(error),
	    KB_INT(kb_wall_ms() + delay_ms));

	return !err && changed == 0 ? KB_CONFLICT : err;
}

enum kb_err
job_cancel(struct kb_cx *cx, const char *id)
{
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(cx, &changed,
	    "UPDATE _kombi_jobs SET status = 'cancelled', completed = $2"
	    " WHERE id = $1 AND status IN ('pending', 'running')",
	    KB_TEXT(id), KB_TEXT(kb_now_text(cx->arena)));

	return !err && changed == 0 ? KB_CONFLICT : err;
}

enum kb_err
jobs_pending(struct kb_cx *cx, int64_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM _kombi_jobs WHERE status = $1",
	    KB_TEXT("pending"));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

static enum kb_err
recover_tx(struct kb_cx *cx, void *arg)
{
	const char *runner = arg;
	enum kb_err err = kb_exec(cx,
	    "UPDATE _kombi_jobs SET status = 'failed', completed = $2,"
	    " error = 'The service stopped while the job ran, and its"
	    " attempts are used up'"
	    " WHERE status = 'running' AND runner <> $1"
	    " AND attempts >= max_attempts",
	    KB_TEXT(runner), KB_TEXT(kb_now_text(cx->arena)));

	if (err)
		return err;
	return kb_exec(cx,
	    "UPDATE _kombi_jobs SET status = 'pending'"
	    " WHERE status = 'running' AND runner <> $1",
	    KB_TEXT(runner));
}

enum kb_err
jobs_recover(struct kb_cx *cx, const char *runner, int64_t *pending)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM _kombi_jobs WHERE status = $1 AND runner <> "
	    "$2",
	    KB_TEXT("running"), KB_TEXT(runner));
	struct count stale = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &stale);
	union {
		const char *text;
		void *arg;
	} who = { .text = runner };

	if (!err && stale.n > 0)
		err = kb_transaction(cx, recover_tx, who.arg);
	return err ? err : jobs_pending(cx, pending);
}

static const struct kb_col hint_cols[] = {
	KB_COL_STR(struct job_hint, tenant_id),
	KB_COL_STR(struct job_hint, at),
	KB_COLS_END,
};

enum kb_err
job_hint_set(struct kb_cx *platform, const char *tenant_id)
{
	return kb_exec(platform,
	    "INSERT INTO _job_hints (tenant_id, at) VALUES ($1, $2)"
	    " ON CONFLICT (tenant_id) DO UPDATE SET at = excluded.at",
	    KB_TEXT(tenant_id), KB_TEXT(kb_id_new(platform->arena, "hint")));
}

enum kb_err
job_hints(struct kb_cx *platform, struct job_hint **out, size_t *n)
{
	struct kb_rows rows = kb_query(
	    platform, "SELECT tenant_id, at FROM _job_hints ORDER BY at");

	return kb_rows_all(&rows, hint_cols, sizeof(struct job_hint), out, n);
}

enum kb_err
job_hint_clear(struct kb_cx *platform, const struct job_hint *h)
{
	return kb_exec(platform,
	    "DELETE FROM _job_hints WHERE tenant_id = $1 AND at = $2",
	    KB_TEXT(h->tenant_id), KB_TEXT(h->at));
}
