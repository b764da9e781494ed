/* Realtime clients of a tenant: who is whose, and what they are to be told. */
#include "test.h"

#include <kombi/service.h>
#include <kombi/time.h>

#include "records/hub.h"

#define ID "0123456789012345678901234567890123456789"

static struct kb_stream *got;

static struct kb_reply
open_stream(struct kb_request *req)
{
	struct kb_stream_conf conf = { .content_type = "text/event-stream" };

	return kb_stream_reply(req, &conf, &got);
}

static const struct kb_route routes[] = {
	KB_GET("/s", KB_PUBLIC, open_stream),
	KB_ROUTES_END,
};
static const struct kb_service service = {
	.name = "self",
	.title = "Self",
	.routes = routes,
};

struct world {
	struct kb_loopback *lo;
	struct kb_arena *a;
	struct hub *hub;
};

static void
setup(struct world *w)
{
	const char *env[] = { "KOMBI_ENVIRONMENT=development", NULL };
	struct kb_loopback_request get = {
		.method = "GET",
		.target = "/s",
	};

	w->a = kb_arena_new(0);
	w->lo = kb_loopback_start(&service, env);
	assert_int_equal(kb_loopback_send(w->lo, &get).status, 200);
	w->hub = hub_new();
	assert_true(hub_add(w->hub, ID, "198.51.100.1", got));
	kb_stream_release(got);
}

static void
teardown(struct world *w)
{
	hub_remove(w->hub, ID);
	assert_int_equal(hub_count(w->hub), 0);
	hub_free(w->hub);
	kb_loopback_stop(w->lo);
	kb_arena_free(w->a);
}

static enum hub_answer
subscribe(struct world *w, const struct client_auth *auth, const char *topic)
{
	return hub_subscribe(w->hub, ID, "198.51.100.1", auth,
	    (const char *const[]) { topic, NULL });
}

static size_t
find(struct world *w, const char *topic, struct subscription **subs)
{
	size_t n;

	hub_find(w->hub, w->a, (const char *const[]) { topic, NULL }, subs, &n);
	return n;
}

static const struct client_auth guest = { NULL, NULL, NULL, 0 };

static void
a_stream_belongs_to_an_address_and_an_account(void **state)
{
	struct client_auth ann = { "users", "ann", "key", 0 };
	struct client_auth ben = { "users", "ben", "key", 0 };
	struct client_auth other = { "staff", "ann", "key", 0 };
	const char *const none[] = { NULL };
	struct world w;

	(void)state;
	setup(&w);
	assert_false(hub_add(w.hub, ID, "198.51.100.1", got));
	assert_int_equal(
	    hub_subscribe(w.hub, "x", "198.51.100.1", &guest, none),
	    HUB_UNKNOWN);
	assert_int_equal(
	    hub_subscribe(w.hub, ID, "198.51.100.2", &guest, none), HUB_PEER);
	assert_int_equal(subscribe(&w, &guest, "a"), HUB_OK);
	assert_int_equal(subscribe(&w, &ann, "a"), HUB_OK);
	ann.token_key = "another";
	assert_int_equal(subscribe(&w, &ann, "a"), HUB_OK);
	assert_int_equal(subscribe(&w, &ben, "a"), HUB_AUTH);
	assert_int_equal(subscribe(&w, &other, "a"), HUB_AUTH);
	assert_int_equal(subscribe(&w, &guest, "a"), HUB_AUTH);
	teardown(&w);
}

static void
topics_are_found_whole_with_or_without_options(void **state)
{
	struct subscription *subs;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(subscribe(&w, &guest, "notes/*?options=x"), HUB_OK);
	assert_int_equal(find(&w, "notes/*", &subs), 1);
	assert_string_equal(subs[0].client, ID);
	assert_string_equal(subs[0].topic, "notes/*?options=x");
	assert_int_equal(find(&w, "notes", &subs), 0);
	assert_int_equal(find(&w, "notes/*?", &subs), 0);
	/* The next ones replace them. */
	assert_int_equal(subscribe(&w, &guest, "notes2"), HUB_OK);
	assert_int_equal(find(&w, "notes/*", &subs), 0);
	assert_int_equal(find(&w, "notes", &subs), 0);
	assert_int_equal(find(&w, "notes2", &subs), 1);
	teardown(&w);
}

static void
rights_end_with_the_token(void **state)
{
	struct client_auth auth = { "users", "ann", "key", kb_wall_s() + 3600 };
	struct subscription *subs;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(subscribe(&w, &auth, "a"), HUB_OK);
	assert_int_equal(find(&w, "a", &subs), 1);
	assert_string_equal(subs[0].auth.record_id, "ann");
	auth.until_s = kb_wall_s();
	assert_int_equal(subscribe(&w, &auth, "a"), HUB_OK);
	assert_int_equal(find(&w, "a", &subs), 1);
	assert_null(subs[0].auth.record_id);
	/* A fresh token of the same account brings them back. */
	auth.until_s = 0;
	assert_int_equal(subscribe(&w, &auth, "a"), HUB_OK);
	assert_int_equal(find(&w, "a", &subs), 1);
	assert_string_equal(subs[0].auth.record_id, "ann");
	teardown(&w);
}

static void
all_subscriptions_together_are_bounded(void **state)
{
	enum { TOPICS = 1000, CLIENTS = 40 };
	const char *topics[TOPICS + 1] = { NULL }, *few[] = { "a", NULL };
	char id[CLIENT_ID_SIZE + 1], *long_one;
	size_t taken = 0;
	struct world w;

	(void)state;
	setup(&w);
	long_one = kb_arena_alloc(w.a, SUBSCRIPTION_LEN + 1);
	memset(long_one, 'x', SUBSCRIPTION_LEN);
	long_one[SUBSCRIPTION_LEN] = '\0';
	for (size_t i = 0; i < TOPICS; i++)
		topics[i] = long_one;
	for (int i = 0; i < CLIENTS; i++) {
		snprintf(id, sizeof(id), "%040d", i);
		assert_true(hub_add(w.hub, id, "p", got));
		if (hub_subscribe(w.hub, id, "p", &guest, topics) == HUB_OK)
			taken++;
	}
	assert_in_range(taken, 5, 20);
	/* Who gives some back makes room; nobody is kept from having less. */
	assert_int_equal(
	    hub_subscribe(w.hub, "0000000000000000000000000000000000000000",
		"p", &guest, few),
	    HUB_OK);
	assert_int_equal(
	    hub_subscribe(w.hub, "0000000000000000000000000000000000000039",
		"p", &guest, topics),
	    HUB_OK);
	for (int i = 0; i < CLIENTS; i++) {
		snprintf(id, sizeof(id), "%040d", i);
		hub_remove(w.hub, id);
	}
	teardown(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_belongs_to_an_address_and_an_account),
		cmocka_unit_test(
		    topics_are_found_whole_with_or_without_options),
		cmocka_unit_test(rights_end_with_the_token),
		cmocka_unit_test(all_subscriptions_together_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
