/*
 * What a delivery says of itself: which event it is, what it is about, and
 * where the sender puts it in the order of events. All bytes are a stranger's
 * until they are read here, whoever signed them.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "admin.h"

#define KEY_MAX 200
#define TYPE_MAX 128

/* Names that are kept as keys: printable, no blanks. NULL if it is none. */
static const char *
key_of(const struct kb_json *j, const char *name, size_t max)
{
	const char *s = kb_json_str(j, name);

	if (s == NULL || s[0] == '\0' || strlen(s) > max)
		return NULL;
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return NULL;
	return s;
}

/* Stripe names an object by its id or shows the whole of it. */
static const char *
id_of(const struct kb_json *j, const char *name)
{
	const char *id = key_of(j, name, KEY_MAX);

	return id ? id : key_of(kb_json_get(j, name), "id", KEY_MAX);
}

static const char *
customer_of(const struct kb_json *object)
{
	if (kb_str_eq(kb_json_str(object, "object"), "customer"))
		return key_of(object, "id", KEY_MAX);
	return id_of(object, "customer");
}

const char *
webhook_read_stripe(struct kb_arena *a, const struct kb_json *j,
    struct webhook_event *e, const char **customer)
{
	const struct kb_json *about = kb_json_get(
	    kb_json_get(j, "data"), "object");
	const char *object = kb_json_str(j, "object");

	(void)a;
	e->event_id = key_of(j, "id", KEY_MAX);
	e->type = key_of(j, "type", TYPE_MAX);
	if (e->event_id == NULL || !kb_str_starts(e->event_id, "evt_"))
		return "id must be an event's id";
	if (e->type == NULL)
		return "type must be an event's type";
	/* A thin event shows no object: it is read from Stripe by its id. */
	if (!kb_str_eq(object, "event") && !kb_str_eq(object, "v2.core.event"))
		return "object must be an event";
	*customer = customer_of(about);
	e->object = *customer ? *customer : key_of(about, "id", KEY_MAX);
	if (e->object == NULL)
		e->object = e->event_id;
	if (!kb_json_int(j, "created", &e->ordinal) || e->ordinal < 0)
		e->ordinal = 0;
	return NULL;
}

/* Numbers of 64 bits are text for senders that write protobuf's JSON. */
static bool
sequence_of(const struct kb_json *j, int64_t *out)
{
	const char *text = kb_json_str(j, "sequence");

	if (text != NULL ? !kb_parse_i64(kb_slice_of(text), out)
			 : !kb_json_int(j, "sequence", out))
		return false;
	return *out >= 0;
}

/* Actions v2: an event of the event store. */
static const char *
read_action(
    struct kb_arena *a, const struct kb_json *j, struct webhook_event *e)
{
	const char *instance = key_of(j, "instanceID", KEY_MAX);

	e->type = key_of(j, "event_type", TYPE_MAX);
	e->object = key_of(j, "aggregateID", TYPE_MAX);
	if (e->type == NULL)
		return "event_type must be an event's type";
	if (e->object == NULL)
		return "aggregateID must be an id";
	if (!sequence_of(j, &e->ordinal))
		return "sequence must be a number from 0";
	e->event_id = kb_sprintf(a, "%s:%s:%lld", instance ? instance : "",
	    e->object, (long long)e->ordinal);
	return NULL;
}

/* The older form has no id: the same bytes are the same event. */
static const char *
read_plain(struct kb_arena *a, const struct kb_json *j, struct webhook_event *e)
{
	const char *at = kb_json_str(j, "timestamp");
	char hash[65];

	e->type = key_of(j, "event", TYPE_MAX);
	e->object = key_of(kb_json_get(j, "payload"), "userId", TYPE_MAX);
	if (e->type == NULL)
		return "event must be an event's type";
	if (e->object == NULL)
		return "payload.userId must be an id";
	if (at == NULL || !kb_rfc3339_parse(at, &e->ordinal) || e->ordinal < 0)
		return "timestamp must be a time";
	kb_sha256_hex(e->payload, strlen(e->payload), hash);
	e->event_id = kb_sprintf(a, "sha256:%s", hash);
	return NULL;
}

const char *
webhook_read_zitadel(struct kb_arena *a, const struct kb_json *j,
    struct webhook_event *e, const char **customer)
{
	*customer = NULL;
	if (kb_json_get(j, "event") != NULL)
		return read_plain(a, j, e);
	return read_action(a, j, e);
}

/* The event's own members: an object, or base64 of one. */
static const struct kb_json *
members_of(struct kb_arena *a, const struct kb_json *j)
{
	const struct kb_json *own = kb_json_get(j, "event_payload");
	const char *text = kb_json_text(own), *why;
	char *bytes;
	long len;

	if (own == NULL)
		own = kb_json_get(j, "payload");
	if (text == NULL)
		return own;
	bytes = kb_arena_alloc(a, strlen(text) * 3 / 4 + 3);
	len = kb_base64_decode(text, strlen(text), bytes);
	if (len < 0 || kb_json_parse(a, bytes, (size_t)len, &own, &why))
		return NULL;
	return own;
}

static const char *
name_of(struct kb_arena *a, const struct kb_json *own)
{
	const char *name = kb_json_str(own, "displayName");
	const char *first = kb_json_str(own, "firstName");
	const char *last = kb_json_str(own, "lastName");

	if (name == NULL && first != NULL && last != NULL)
		name = kb_sprintf(a, "%s %s", first, last);
	return name != NULL && kb_is_name(name) ? name : NULL;
}

void
webhook_user_news(
    struct kb_arena *a, const struct webhook_event *e, struct user_news *news)
{
	const struct kb_json *j = NULL, *own;
	const char *why, *email;

	*news = (struct user_news) { .sub = e->object, .ordinal = e->ordinal };
	if (kb_json_parse(a, e->payload, strlen(e->payload), &j, &why))
		return;
	own = members_of(a, j);
	email = kb_json_str(own, "email");
	if (email != NULL && kb_is_email(email))
		news->email = email;
	news->name = name_of(a, own);
}
