/* Audit events: a log line always, a row where there is a sink. */
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <kombi/audit.h>
#include <kombi/service.h>

static enum kb_err sink_answer;
static char seen[256];

static enum kb_err
sink(struct kb_cx *cx, const struct kb_audit_event *e)
{
	(void)cx;
	snprintf(seen, sizeof(seen), "%s %s %s %s/%s %s %s %d", e->action,
	    e->actor, e->tenant ? e->tenant : "-", e->resource, e->resource_id,
	    e->ip, e->details, e->at_ms > 0);
	return sink_answer;
}

static struct kb_reply
remove_thing(struct kb_request *req)
{
	enum kb_err err = kb_audit(req, &req->cx, "thing.deleted", "thing",
	    kb_param(req, "id"), "{\"why\":\"old\"}");

	return err ? kb_fail(req, err, NULL) : kb_no_content(req);
}

static const struct kb_route routes[] = {
	KB_DELETE("/things/{id}", KB_PUBLIC, remove_thing),
	KB_ROUTES_END,
};

static const struct kb_service service = {
	.name = "things", .port = 1, .routes = routes
};

static const struct kb_identity alice = { .value = {
					      [KB_ID_USER] = "alice",
					      [KB_ID_TENANT] = "acme",
					  } };

/* Status of a deletion; the log of it in `text`. */
static int
delete_thing(const struct kb_identity *user, char *text, size_t size)
{
	struct kb_loopback *lo = kb_loopback_start(&service, NULL);
	int fd = memfd_create("log", MFD_CLOEXEC), status;
	ssize_t n;

	assert_true(fd >= 0);
	kb_log_threshold(KB_INFO);
	kb_log_fd(fd);
	status = kb_loopback_call(
	    lo, "DELETE", "/things/t1", user, NULL, NULL, NULL)
		     .status;
	kb_log_fd(1);
	n = pread(fd, text, size - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	kb_loopback_stop(lo);
	return status;
}

static void
an_event_is_a_log_line_and_a_row(void **state)
{
	char log[2048];

	(void)state;
	sink_answer = KB_OK;
	kb_audit_set_sink(sink);
	assert_int_equal(delete_thing(&alice, log, sizeof(log)), 204);
	assert_string_equal(seen,
	    "thing.deleted alice acme thing/t1 127.0.0.1 {\"why\":\"old\"} 1");
	test_contains(log, "\"kind\":\"audit\"");
	test_contains(log, "\"action\":\"thing.deleted\"");
	test_contains(log, "\"requestId\":\"req_");
	kb_audit_set_sink(NULL);
}

static void
without_a_sink_the_log_line_is_all(void **state)
{
	char log[2048];

	(void)state;
	assert_int_equal(delete_thing(NULL, log, sizeof(log)), 204);
	test_contains(log, "\"actor\":\"anonymous\"");
}

static void
a_sink_that_fails_fails_the_work(void **state)
{
	char log[2048];

	(void)state;
	sink_answer = KB_UNAVAILABLE;
	kb_audit_set_sink(sink);
	assert_int_equal(delete_thing(&alice, log, sizeof(log)), 503);
	kb_audit_set_sink(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_a_log_line_and_a_row),
		cmocka_unit_test(without_a_sink_the_log_line_is_all),
		cmocka_unit_test(a_sink_that_fails_fails_the_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
