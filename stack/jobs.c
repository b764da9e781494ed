/* Jobs: long work of a tenant, and their logs, which a reader resumes. */
#include <string.h>

#include <kombi/str.h>

#include "platform.h"

#define LINES_DEFAULT 200
#define LINES_MAX 1000

static const char *const status_names[] = { "pending", "running", "completed",
	"failed", "cancelled", NULL };

static bool
has_ended(const struct job *j)
{
	return strcmp(j->status, "pending") != 0 &&
	    strcmp(j->status, "running") != 0;
}

static void
job_json(struct kb_jsonw *w, const void *obj)
{
	const struct job *j = obj;

	kb_w_str(w, "id", j->id);
	kb_w_str(w, "type", j->type);
	kb_w_str(w, "status", j->status);
	kb_w_str(w, "stackId", j->stack_id);
	kb_w_str(w, "userId", j->user_id);
	kb_w_int(w, "progress", j->progress);
	kb_w_int(w, "attempts", j->attempts);
	kb_w_raw(w, "result", j->result ? j->result : "null");
	kb_w_str(w, "error", j->error);
	kb_w_str(w, "createdAt", j->created);
	kb_w_str(w, "startedAt", j->started);
	kb_w_str(w, "completedAt", j->completed);
}

static struct viewer
viewer_of(const struct kb_request *req)
{
	return (struct viewer) {
		.user_id = tenant_of(req)->user.id,
		.admin = req->role == KB_ROLE_ADMIN,
	};
}

static bool
is_one_of(const char *s, const char *const *names)
{
	while (*names != NULL && strcmp(*names, s) != 0)
		names++;
	return *names != NULL;
}

struct kb_reply
jobs_list(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct job_filter f = {
		.stack_id = kb_query_param(req, "stackId"),
		.status = kb_query_param(req, "status"),
	};
	struct kb_page page;
	struct job *rows;
	size_t n;
	bool known;
	enum kb_err err;

	known = f.status == NULL || is_one_of(f.status, status_names);
	if (!known)
		kb_bad_field(req, "status",
		    "must be pending, running, completed, failed or cancelled");
	if (!kb_read_page(req, &page) || !known)
		return kb_invalid(req);
	err = jobs_page(&req->cx, &v, &f, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, job_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
jobs_get(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct job j;
	enum kb_err err = job_get(&req->cx, &v, kb_param(req, "id"), &j);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 200, job_json, &j);
}

struct log_page {
	const struct job *job;
	const struct job_line *lines;
	size_t n;
	int64_t after;
	bool full; /* more lines may be there already */
};

static void
log_json(struct kb_jsonw *w, const void *obj)
{
	const struct log_page *p = obj;

	kb_w_array(w, "lines");
	for (size_t i = 0; i < p->n; i++) {
		kb_w_object(w, NULL);
		kb_w_int(w, "seq", p->lines[i].seq);
		kb_w_str(w, "timestamp", p->lines[i].at);
		kb_w_str(w, "level", p->lines[i].level);
		kb_w_str(w, "step", p->lines[i].step);
		kb_w_str(w, "message", p->lines[i].message);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_int(w, "next", p->n ? p->lines[p->n - 1].seq : p->after);
	kb_w_str(w, "status", p->job->status);
	kb_w_bool(w, "done", has_ended(p->job) && !p->full);
}

static bool
read_number(struct kb_request *req, const char *name, int64_t fallback,
    int64_t max, int64_t *out)
{
	const char *text = kb_query_param(req, name);

	*out = fallback;
	if (text == NULL)
		return true;
	if (kb_parse_i64(kb_slice_of(text), out) && *out >= 0 && *out <= max)
		return true;
	kb_bad_field(
	    req, name, "must be a number from 0 to %lld", (long long)max);
	return false;
}

/*
 * The state is read before the lines: a reader that is told "done" has been
 * given every line.
 */
struct kb_reply
jobs_logs(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct log_page p = { 0 };
	struct job_line *lines;
	struct job j;
	int64_t limit;
	enum kb_err err;

	if (!read_number(req, "after", 0, INT32_MAX, &p.after) ||
	    !read_number(req, "limit", LINES_DEFAULT, LINES_MAX, &limit))
		return kb_invalid(req);
	err = job_get(&req->cx, &v, kb_param(req, "id"), &j);
	if (!err)
		err = job_lines(&req->cx, j.id, p.after, limit, &lines, &p.n);
	if (err)
		return kb_fail(req, err, NULL);
	p.job = &j;
	p.lines = lines;
	p.full = (int64_t)p.n == limit;
	return kb_data(req, 200, log_json, &p);
}

struct kb_reply
jobs_cancel(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct job j;
	enum kb_err err = job_get(&req->cx, &v, kb_param(req, "id"), &j);

	if (!err && !v.admin && strcmp(j.user_id, v.user_id) != 0)
		err = KB_FORBIDDEN;
	if (err)
		return kb_fail(req, err, NULL);
	err = job_cancel(&req->cx, j.id);
	if (err == KB_CONFLICT)
		return kb_fail(req, err, "The job has ended: %s", j.status);
	if (!err)
		err = job_get(&req->cx, &v, j.id, &j);
	if (err)
		return kb_fail(req, err, NULL);
	note(req, "job.cancelled", "job", j.id, NULL);
	return kb_data(req, 200, job_json, &j);
}
