/*
 * Realtime as PocketBase's clients know it: a stream of events (GET), whose
 * subscriptions are set beside it (POST). Who may know of a change is judged
 * for each change and client with the rules, the client's account and the
 * subscription's options as they are then; clients with the same account and
 * options are judged once.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "auth.h"
#include "changes.h"
#include "hub.h"

#define KEEP_ALIVE_MS 25000 /* proxies cut what is silent */
#define IDLE_MS 300000
#define MOST_MS 1800000
#define CLIENT_ID_MOST 255 /* that a request may name */

/* ---- connecting
 * --------------------------------------------------------------- */

/* What a client holds; until its stream is gone. */
struct connection {
	struct tenancy *tenancy;
	struct tenant_handle *handle;
	char id[CLIENT_ID_SIZE + 1];
};

static void
on_closed(struct kb_stream *s, void *arg)
{
	struct connection *c = arg;

	(void)s;
	hub_remove(tenant_hub(c->handle), c->id);
	tenancy_release(c->tenancy, c->handle);
	free(c);
}

static struct connection *
connection_new(struct api *api)
{
	struct connection *c = kb_xalloc(sizeof(*c));
	const char *id = random_key(api->req->cx.arena, CLIENT_ID_SIZE);

	*c = (struct connection) {
		.tenancy = stack_state(kb_app(api->req))->tenancy,
	};
	memcpy(c->id, id, CLIENT_ID_SIZE + 1);
	if (tenancy_acquire(c->tenancy, api->req->cx.arena,
		api->tenant->row.slug, &c->handle)) {
		free(c);
		return NULL;
	}
	return c;
}

static struct kb_reply
connect(struct api *api)
{
	struct kb_request *req = api->req;
	struct kb_stream_conf conf = {
		.content_type = "text/event-stream",
		.closed = on_closed,
		.keep_alive_ms = KEEP_ALIVE_MS,
		.idle_ms = IDLE_MS,
		.most_ms = MOST_MS,
	};
	struct connection *c;
	struct kb_stream *stream;
	struct kb_reply reply;
	const char *hello;
	int64_t seq;
	enum kb_err err = changes_newest(&req->cx, &seq);

	if (err)
		return api_fail_db(req, err, NULL);
	c = hub_is_full(tenant_hub(api->tenant->handle)) ? NULL
							 : connection_new(api);
	if (c == NULL) {
		kb_reply_header(req, "Retry-After", "60");
		return api_fail(req, 503, NULL);
	}
	conf.arg = c;
	hello = kb_sprintf(req->cx.arena,
	    "id:%s\nevent:PB_CONNECT\ndata:{\"clientId\":\"%s\",\"seq\":%lld}"
	    "\n\n",
	    c->id, c->id, (long long)seq);
	kb_reply_header(req, "X-Accel-Buffering", "no");
	reply = kb_stream_reply(req, &conf, &stream);
	/* Two at once may both have found room for the last one. */
	if (!hub_add(tenant_hub(c->handle), c->id, req->peer, stream))
		kb_stream_end(stream);
	else
		(void)kb_stream_send(stream, hello, strlen(hello));
	kb_stream_release(stream);
	return reply;
}

/* ---- subscribing
 * ------------------------------------------------------------- */

/* As the body says them, before they are judged. */
struct wish {
	const char *client;
	const char **topics; /* NULL-ended */
	size_t n;
};

static bool
add_topic(struct wish *w, const struct kb_json *j)
{
	const char *text = kb_json_text(j);

	if (text != NULL && text[0] != '\0')
		w->topics[w->n++] = text;
	return text != NULL;
}

/* Null is as if it was not there; a form has a list of one as its one value. */
static bool
read_topics(const struct api *api, struct wish *w)
{
	const struct kb_json *j = kb_json_get(api->body, "subscriptions");
	const char *type = kb_header(api->req, "Content-Type");
	enum kb_json_kind kind = j ? kb_json_kind(j) : KB_JSON_NULL;
	bool form = type != NULL && strstr(type, "json") == NULL;

	w->topics = kb_new_array(
	    api->req->cx.arena, (j ? kb_json_size(j) : 0) + 2, const char *);
	if (kind == KB_JSON_NULL || (form && kind != KB_JSON_ARRAY))
		return kind == KB_JSON_NULL || add_topic(w, j);
	if (kind != KB_JSON_ARRAY)
		return false;
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		if (!add_topic(w, j))
			return false;
	return true;
}

static bool
read_wish(const struct api *api, struct wish *w)
{
	const struct kb_json *client = kb_json_get(api->body, "clientId");
	enum kb_json_kind kind = client ? kb_json_kind(client) : KB_JSON_NULL;

	w->client = kind == KB_JSON_NULL ? "" : kb_json_text(client);
	return w->client != NULL && read_topics(api, w);
}

static void
check_topic(struct kb_arena *a, const struct wish *w, size_t i,
    struct api_errors *errors)
{
	const char *path = kb_sprintf(a, "subscriptions.%zu", i);
	size_t len = strlen(w->topics[i]);

	if (len > SUBSCRIPTION_LEN)
		api_error_param(a, errors, path, "validation_length_too_long",
		    "The length must be no more than 2500.",
		    "{\"max\":2500,\"min\":0}");
	else if (kb_has_control(w->topics[i], len))
		/* It is a line of each event. */
		api_error_add(a, errors, path, "validation_invalid_format",
		    "Must be one line.");
}

static void
check_wish(struct kb_arena *a, const struct wish *w, struct api_errors *errors)
{
	if (w->client[0] == '\0')
		api_error_add(a, errors, "clientId", "validation_required",
		    "Cannot be blank.");
	else if (strlen(w->client) > CLIENT_ID_MOST)
		api_error_param(a, errors, "clientId",
		    "validation_length_out_of_range",
		    "The length must be between 1 and 255.",
		    "{\"max\":255,\"min\":1}");
	if (w->n > SUBSCRIPTIONS_MAX)
		api_error_param(a, errors, "subscriptions",
		    "validation_length_too_long",
		    "The length must be no more than 1000.",
		    "{\"max\":1000,\"min\":0}");
	for (size_t i = 0; w->n <= SUBSCRIPTIONS_MAX && i < w->n; i++)
		check_topic(a, w, i, errors);
}

static struct client_auth
auth_of(const struct api *api)
{
	struct client_auth auth = { NULL, NULL, NULL, 0 };

	if (api->auth != NULL)
		auth = (struct client_auth) {
			.collection_id = api->auth->c->id,
			.record_id = api->auth->id,
			.token_key = auth_text(api->auth->record, "tokenKey"),
			.until_s = auth_token_end(
			    api->req->cx.arena, auth_header_token(api->req)),
		};
	return auth;
}

static struct kb_reply
subscribed(struct kb_request *req, enum hub_answer answer)
{
	switch (answer) {
	case HUB_OK: return kb_no_content(req);
	case HUB_FULL:
		kb_reply_header(req, "Retry-After", "60");
		return api_fail(req, 503, NULL);
	case HUB_PEER: return api_fail(req, 400, "Invalid realtime client.");
	case HUB_AUTH:
		return api_fail(req, 403,
		    "The current and the previous request authorization don't"
		    " match.");
	default: return api_fail(req, 404, "Missing or invalid client id.");
	}
}

static struct kb_reply
subscribe(struct api *api)
{
	struct kb_request *req = api->req;
	struct client_auth auth = auth_of(api);
	struct api_errors errors = { 0 };
	struct wish w = { 0 };
	struct kb_reply reply;

	if (!api_body(api, &reply))
		return reply.status == 400 ? api_fail(req, 400, NULL) : reply;
	if (!read_wish(api, &w))
		return api_fail(req, 400, NULL);
	check_wish(req->cx.arena, &w, &errors);
	if (errors.n > 0)
		return api_fail_fields(req, NULL, &errors);
	return subscribed(req,
	    hub_subscribe(tenant_hub(api->tenant->handle), w.client, req->peer,
		&auth, w.topics));
}

/* ---- options of a subscription
 * ------------------------------------------------ */

struct options {
	const char *query;          /* as of a request */
	const char *const *headers; /* names and values */
};

static void
add_query(struct kb_buf *b, const struct kb_json *query)
{
	for (const struct kb_json *j = kb_json_first(query); j != NULL;
	     j = kb_json_after(j)) {
		if (kb_json_text(j) == NULL)
			continue;
		if (b->len > 0)
			kb_buf_addc(b, '&');
		kb_percent_encode(b, kb_json_name(j), "");
		kb_buf_addc(b, '=');
		kb_percent_encode(b, kb_json_text(j), "");
	}
}

static const char *const *
headers_of(struct kb_arena *a, const struct kb_json *headers)
{
	size_t n = 0, room = headers ? kb_json_size(headers) : 0;
	const char **list = kb_new_array(a, 2 * room + 1, const char *);

	for (const struct kb_json *j = headers ? kb_json_first(headers) : NULL;
	     j != NULL; j = kb_json_after(j))
		if (kb_json_text(j) != NULL) {
			list[n++] = kb_json_name(j);
			list[n++] = kb_json_text(j);
		}
	return list;
}

/* topic?options={"query":{…},"headers":{…}}, percent-encoded. */
static struct options
options_of(struct kb_arena *a, const char *topic)
{
	static const char name[] = "?options=";
	static const char *const none[] = { NULL };
	struct options o = { "", none };
	const char *at = strstr(topic, name), *why;
	const struct kb_json *j, *part;
	struct kb_buf query;
	char *text;

	if (at == NULL ||
	    !kb_percent_decode(a, kb_slice_of(at + strlen(name)), &text) ||
	    kb_json_parse(a, text, strlen(text), &j, &why))
		return o;
	part = kb_json_get(j, "query");
	if (part != NULL && kb_json_kind(part) == KB_JSON_OBJECT) {
		kb_buf_init(&query, 65536);
		add_query(&query, part);
		o.query = kb_strdup(a, kb_buf_str(&query));
		kb_buf_free(&query);
	}
	part = kb_json_get(j, "headers");
	if (part != NULL && kb_json_kind(part) == KB_JSON_OBJECT)
		o.headers = headers_of(a, part);
	return o;
}

/* ---- judging
 * -------------------------------------------------------------------- */

/* The client's account as it is now; a guest when it is not the same. */
static void
enter_as(struct api *as, struct kb_cx *cx, const struct client_auth *auth)
{
	struct principal *p = kb_new(cx->arena, struct principal);
	const struct collection *c = auth->collection_id
	    ? schema_find(as->schema, auth->collection_id)
	    : NULL;
	struct auth_row row;

	if (c == NULL || !c->auth ||
	    auth_row_get(cx, c, auth->record_id, &row) || row.disabled ||
	    strcmp(row.token_key, auth->token_key) != 0)
		return;
	*p = (struct principal) {
		.c = c,
		.id = auth->record_id,
		.email = auth_text(row.record, "email"),
		.verified = auth_flag(row.record, "verified"),
		.record = row.record,
	};
	as->auth = p;
	as->superuser = auth_is_superuser(c) ||
	    (strcmp(c->id, USERS_ID) == 0 &&
		strcmp(auth_text(row.record, "role"), "admin") == 0);
}

/* Of the topic alone: options are anybody's text, and a slash in them may not
 * turn the whole collection's topic into a record's. */
static bool
is_list(const char *topic)
{
	const char *slash = memchr(topic, '/', strcspn(topic, "?"));

	return slash == NULL || slash[1] == '*';
}

/* Events are lines: JSON's own blanks may not be line ends. */
static const char *
on_one_line(char *text)
{
	for (char *c = text; *c != '\0'; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	return text;
}

/* What the subscription may know of the change; NULL: nothing. */
static const char *
event_for(struct api *api, struct kb_cx *cx, const struct change *c,
    const struct subscription *s)
{
	enum api_rule rule = is_list(s->topic) ? RULE_LIST : RULE_VIEW;
	struct options o = options_of(cx->arena, s->topic);
	const struct collection *of = c->r->c;
	struct api as = { .tenant = api->tenant,
		.schema = api->schema,
		.context = "realtime" };
	const char *text;
	struct record *r;
	struct query q;

	as.req = kb_request_part(api->req, KB_M_GET, o.query, o.headers);
	if (as.req == NULL)
		return NULL;
	enter_as(&as, cx, &s->auth);
	if (rule_is_locked(&as, of, rule))
		return NULL;
	query_init(&q, &as, of);
	if (!query_rule(&q, of->rules[rule]) ||
	    !query_filter(&q, kb_query_param(as.req, "filter")) ||
	    record_get(cx, &q, record_id_of(c->r), &r) ||
	    record_answer(&as, cx, r, &text))
		return NULL;
	return on_one_line(kb_sprintf(cx->arena,
	    "{\"record\":%s,\"action\":\"%s\"}", text, change_name(c->action)));
}

static int
compare(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* Those that see the same stand together: 0. */
static int
by_view(const void *one, const void *other)
{
	const struct subscription *a = one, *b = other;
	int d = compare(a->auth.record_id, b->auth.record_id);

	if (d == 0)
		d = compare(a->auth.collection_id, b->auth.collection_id);
	if (d == 0)
		d = compare(a->auth.token_key, b->auth.token_key);
	return d ? d : strcmp(a->topic, b->topic);
}

struct told {
	struct subscription *subs;
	const char **data; /* one each; NULL: nothing */
	size_t n;
};

struct told *
realtime_judge(struct api *api, struct kb_cx *cx, const struct change *c)
{
	struct hub *hub = tenant_hub(api->tenant->handle);
	struct told *t;
	const char *id = record_id_of(c->r);
	const struct collection *of = c->r->c;
	struct kb_arena *a = cx->arena;

	if (hub_count(hub) == 0)
		return NULL;
	t = kb_new(a, struct told);
	hub_find(hub, a,
	    (const char *const[]) { kb_sprintf(a, "%s/*", of->name),
		kb_sprintf(a, "%s/%s", of->name, id),
		kb_sprintf(a, "%s/*", of->id),
		kb_sprintf(a, "%s/%s", of->id, id), of->name, of->id, NULL },
	    &t->subs, &t->n);
	t->data = kb_new_array(a, t->n + 1, const char *);
	qsort(t->subs, t->n, sizeof(*t->subs), by_view);
	for (size_t i = 0; i < t->n; i++)
		t->data[i] = i > 0 && by_view(&t->subs[i - 1], &t->subs[i]) == 0
		    ? t->data[i - 1]
		    : event_for(api, cx, c, &t->subs[i]);
	return t;
}

void
changes_publish(struct api *api)
{
	struct hub *hub = tenant_hub(api->tenant->handle);

	for (struct change *c = api->changes; c != NULL; c = c->next) {
		struct told *t = c->action == CHANGE_DELETE
		    ? c->told
		    : realtime_judge(api, &api->req->cx, c);

		for (size_t i = 0; t != NULL && i < t->n; i++)
			if (t->data[i] != NULL)
				hub_send(hub, t->subs[i].client,
				    t->subs[i].topic, t->data[i]);
	}
	api->changes = NULL;
}

API_HANDLER(realtime_connect, API_GUESTS, connect)
API_HANDLER(realtime_subscribe, API_GUESTS, subscribe)
