/*
 * A stack service with one tenant, its admin and a member, and a few
 * collections: for the tests of the records API.
 */
#ifndef RECORDS_WORLD_H
#define RECORDS_WORLD_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "stack.h"
#include "stack_service.h"

#define SECRET "unit-test-secret-0123456789-abcdefghij"
#define EXCHANGE "/api/internal/sso/exchange"
#define API "/tenant/org-a/api/collections"

#define USER(sub, org)                                                         \
	{                                                                      \
		.value = {                                                     \
			sub,                                                   \
			sub "%40example.com",                                  \
			sub,                                                   \
			org,                                                   \
			"user",                                                \
			"pro"                                                  \
		}                                                              \
	}

__attribute__((unused)) static const struct kb_identity alice = USER(
    "alice", "org-a"); /* admin */
__attribute__((unused)) static const struct kb_identity anna = USER(
    "anna", "org-a");
__attribute__((unused)) static const struct kb_identity bob = USER(
    "bob", "org-b");

struct fixture {
	struct kb_loopback *lo;
	struct kb_arena *a;
	char dir[64];
	const char *admin, *member; /* tokens */
	const char *admin_id, *member_id;
};

__attribute__((unused)) static void
remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char child[512];

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (unlink(child) != 0)
			remove_tree(child);
	}
	if (dir != NULL)
		closedir(dir);
	rmdir(path);
}

__attribute__((unused)) static const struct kb_json *
parse(struct fixture *f, struct kb_loopback_answer answer)
{
	const struct kb_json *j = NULL;
	const char *why = NULL;

	if (kb_json_parse(f->a, answer.body, answer.len, &j, &why))
		fail_msg("%d %s: %s", answer.status, answer.body, why);
	return j;
}

__attribute__((unused)) static struct kb_loopback_answer
ask(struct fixture *f, const char *token, const char *method,
    const char *target, const char *body)
{
	const char *headers[] = {
		"Content-Type: application/json",
		token ? kb_sprintf(f->a, "Authorization: %s", token) : NULL,
		NULL,
	};

	return kb_loopback_call(
	    f->lo, method, target, NULL, NULL, headers, body);
}

/* The answer's JSON; another status fails the test. */
__attribute__((unused)) static const struct kb_json *
expect(struct fixture *f, int status, struct kb_loopback_answer answer)
{
	if (answer.status != status)
		fail_msg(
		    "%d instead of %d: %s", answer.status, status, answer.body);
	return answer.len > 0 ? parse(f, answer) : NULL;
}

__attribute__((unused)) static const char *
enter(struct fixture *f, const struct kb_identity *user, const char **id)
{
	const struct kb_json *j = expect(f, 200,
	    kb_loopback_call(f->lo, "POST", EXCHANGE, user, NULL, NULL, NULL));

	*id = kb_json_str(j, "userId");
	return kb_json_str(j, "token");
}

__attribute__((unused)) static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char data[96];
	const char *env[] = { data, "KOMBI_ENVIRONMENT=development",
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared",
		"KOMBI_SERVICE_SECRET=" SECRET, "KOMBI_LOG_LEVEL=error",
		"STACKKITS_URL=http://127.0.0.1:9", NULL };

	snprintf(f->dir, sizeof(f->dir), "/tmp/kombi-records-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(data, sizeof(data), "KOMBI_DATA_DIR=%s", f->dir);
	f->lo = kb_loopback_start(&stack_service, env);
	if (f->lo == NULL)
		return -1;
	f->a = kb_arena_new(0);
	f->admin = enter(f, &alice, &f->admin_id);
	f->member = enter(f, &anna, &f->member_id);
	*state = f;
	return 0;
}

__attribute__((unused)) static int
teardown(void **state)
{
	struct fixture *f = *state;

	kb_loopback_stop(f->lo);
	remove_tree(f->dir);
	kb_arena_free(f->a);
	free(f);
	return 0;
}

/* ---- helpers
 * ------------------------------------------------------------------------ */

__attribute__((unused)) static const struct kb_json *
make_collection(struct fixture *f, const char *body)
{
	return expect(f, 200, ask(f, f->admin, "POST", API, body));
}

__attribute__((unused)) static const char *
make_record(struct fixture *f, const char *collection, const char *body)
{
	const char *at = kb_sprintf(f->a, API "/%s/records", collection);

	return kb_json_str(
	    expect(f, 200, ask(f, f->admin, "POST", at, body)), "id");
}

/* authors 1..n of tasks; posts with tags, an author and some numbers. */
#define OPEN_RULES                                                             \
	"\"listRule\":\"\",\"viewRule\":\"\",\"createRule\":\"\","             \
	"\"updateRule\":\"\",\"deleteRule\":\"\""

struct world {
	const char *authors_id, *ada, *ben, *cat;
};

__attribute__((unused)) static struct world
make_world(struct fixture *f)
{
	struct world w;

	w.authors_id = kb_json_str(
	    make_collection(f,
		"{\"name\":\"authors\",\"fields\":["
		"{\"name\":\"name\",\"type\":\"text\",\"required\":true},"
		"{\"name\":\"team\",\"type\":\"text\"}]," OPEN_RULES "}"),
	    "id");
	make_collection(f,
	    kb_sprintf(f->a,
		"{\"name\":\"posts\",\"fields\":["
		"{\"name\":\"title\",\"type\":\"text\",\"required\":true},"
		"{\"name\":\"views\",\"type\":\"number\"},"
		"{\"name\":\"open\",\"type\":\"bool\"},"
		"{\"name\":\"tags\",\"type\":\"select\",\"maxSelect\":3,"
		"\"values\":[\"red\",\"green\",\"blue\"]},"
		"{\"name\":\"at\",\"type\":\"date\"},"
		"{\"name\":\"meta\",\"type\":\"json\"},"
		"{\"name\":\"secret\",\"type\":\"text\",\"hidden\":true},"
		"{\"name\":\"author\",\"type\":\"relation\","
		"\"collectionId\":\"%s\",\"maxSelect\":1},"
		"{\"name\":\"readers\",\"type\":\"relation\","
		"\"collectionId\":\"%s\",\"maxSelect\":9}]," OPEN_RULES "}",
		w.authors_id, w.authors_id));
	w.ada = make_record(f, "authors", "{\"name\":\"Ada\",\"team\":\"x\"}");
	w.ben = make_record(f, "authors", "{\"name\":\"Ben\",\"team\":\"y\"}");
	w.cat = make_record(f, "authors", "{\"name\":\"Cat\"}");
	make_record(f, "posts",
	    kb_sprintf(f->a,
		"{\"title\":\"one\",\"views\":1,\"open\":true,"
		"\"tags\":[\"red\"],\"at\":\"2026-01-02 03:04:05.000Z\","
		"\"meta\":{\"a\":{\"b\":7},\"list\":[1,2]},"
		"\"author\":\"%s\",\"readers\":[\"%s\",\"%s\"]}",
		w.ada, w.ada, w.ben));
	make_record(f, "posts",
	    kb_sprintf(f->a,
		"{\"title\":\"two_100%%\",\"views\":20,"
		"\"tags\":[\"red\",\"blue\"],\"at\":\"2026-02-01\","
		"\"secret\":\"s\",\"author\":\"%s\",\"readers\":[\"%s\"]}",
		w.ben, w.ben));
	make_record(f, "posts",
	    "{\"title\":\"Three\",\"views\":3.5,\"meta\":\"plain\"}");
	return w;
}

__attribute__((unused)) static const char *
query_of(struct fixture *f, const char *name, const char *value)
{
	struct kb_buf b;
	const char *out;

	kb_buf_init(&b, 65536);
	kb_percent_encode(&b, value, "");
	out = kb_sprintf(f->a, "%s=%s", name, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}

/* Titles of what is listed, in order, with a blank between. */
__attribute__((unused)) static const char *
titles(struct fixture *f, const char *token, const char *query)
{
	const struct kb_json *j = kb_json_get(
	    expect(f, 200,
		ask(f, token, "GET",
		    kb_sprintf(f->a, API "/posts/records?%s", query), NULL)),
	    "items");
	const char *out = "";

	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		out = kb_sprintf(f->a, "%s%s%s", out, out[0] ? " " : "",
		    kb_json_str(j, "title"));
	return out;
}

#endif
