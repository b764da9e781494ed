/* Kits from a service, by its HTTP interface. */
#include "cli.h"

#include <string.h>

#include <kombi/fetch.h>
#include <kombi/str.h>

enum { MAX_ARCHIVE = 16 << 20 };

/* What an answer other than 200 means to the person at the terminal. */
static int
refused(struct cli *c, const struct kb_fetched *r)
{
	const struct kb_json *j, *error;
	const char *why, *text = NULL;

	if (kb_json_parse(c->arena, r->body, r->len, &j, &why) == KB_OK) {
		error = kb_json_get(j, "error");
		text = kb_json_str(error, "message");
		why = kb_json_str(
		    kb_json_get(error, "details"), "requiredPlan");
		if (text != NULL && why != NULL)
			text = kb_sprintf(
			    c->arena, "%s: it needs the plan %s", text, why);
	}
	if (r->status == 401)
		return cli_say(CLI_FAILED,
		    "the service does not accept the token (STACKKIT_TOKEN)");
	return cli_say(r->status < 500 ? CLI_BAD : CLI_FAILED, "%s (%d)",
	    text != NULL ? text : "unexpected answer", r->status);
}

static int
call(struct cli *c, const char *path, const char *body, struct kb_fetched *r)
{
	const char *headers[] = { NULL, NULL };
	struct kb_fetch f = {
		.method = body != NULL ? "POST" : "GET",
		.reach = KB_REACH_INTERNAL,
		.headers = headers,
		.body = body,
		.body_len = body != NULL ? strlen(body) : 0,
		.timeout_ms = 60000,
		.max_answer = MAX_ARCHIVE,
	};
	enum kb_err err;

	if (c->api == NULL)
		return cli_say(
		    CLI_USAGE, "--source=api needs --api=URL or STACKKIT_API");
	if (kb_secret_is_set(&c->token)) {
		size_t len;

		headers[0] = kb_sprintf(c->arena, "Authorization: Bearer %s",
		    (const char *)kb_secret_reveal(&c->token, &len));
	}
	f.url = kb_sprintf(c->arena, "%s%s", c->api, path);
	err = kb_fetch(c->arena, NULL, &f, r);
	if (err != KB_OK)
		return cli_say(CLI_FAILED, "%s: %s", c->api,
		    r->error != NULL ? r->error : kb_err_text(err));
	return r->status == 200 ? CLI_OK : refused(c, r);
}

static int
call_json(struct cli *c, const char *path, const char *body,
    const struct kb_json **out)
{
	struct kb_fetched r = { 0 };
	const char *why;
	int status = call(c, path, body, &r);

	if (status != CLI_OK)
		return status;
	if (kb_json_parse(c->arena, r.body, r.len, out, &why) != KB_OK)
		return cli_say(
		    CLI_FAILED, "the service's answer is no JSON: %s", why);
	return CLI_OK;
}

/* Kit names come from people: they cannot leave their place in the path. */
static const char *
kit_path(struct cli *c, const char *kit, const char *rest)
{
	struct kb_buf b;
	const char *path;

	kb_buf_init(&b, 4096);
	kb_buf_adds(&b, "/v1/stackkits/");
	kb_percent_encode(&b, kit, "");
	kb_buf_adds(&b, rest);
	path = kb_strdup(c->arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return path;
}

static const char *
member(const struct kb_json *j, const char *name)
{
	const char *s = kb_json_str(j, name);

	return s != NULL ? s : "";
}

static int
api_list(struct cli *c, struct cli_kit **kits, size_t *n)
{
	const struct kb_json *j, *list;
	int status = call_json(c, "/v1/stackkits", NULL, &j);

	if (status != CLI_OK)
		return status;
	list = kb_json_get(j, "kits");
	*n = list != NULL ? kb_json_size(list) : 0;
	*kits = kb_new_array(c->arena, *n, struct cli_kit);
	for (size_t i = 0; i < *n; i++) {
		const struct kb_json *k = kb_json_at(list, i);

		(*kits)[i] = (struct cli_kit) { member(k, "id"),
			member(k, "name"), member(k, "version"),
			member(k, "description"), member(k, "minPlan") };
	}
	return CLI_OK;
}

static int
api_info(struct cli *c, const char *kit, const char **json)
{
	const struct kb_json *j, *data;
	int status = call_json(c, kit_path(c, kit, ""), NULL, &j);

	if (status != CLI_OK)
		return status;
	data = kb_json_get(j, "data");
	*json = kb_json_print(c->arena, data != NULL ? data : j);
	return CLI_OK;
}

static int
api_archive(
    struct cli *c, const char *kit, struct kb_slice *tar, const char **sha256)
{
	struct kb_fetched r = { 0 };
	int status = call(c, kit_path(c, kit, "/download"), NULL, &r);

	if (status != CLI_OK)
		return status;
	*tar = (struct kb_slice) { r.body, r.len };
	*sha256 = r.checksum;
	return CLI_OK;
}

static unsigned
place(const struct kb_json *j, const char *name)
{
	int64_t n;

	return kb_json_int(j, name, &n) && n > 0 && n < 1 << 24 ? (unsigned)n
								: 0;
}

static struct sk_findings
findings_of(struct kb_arena *a, const struct kb_json *list)
{
	size_t n = list != NULL && kb_json_kind(list) == KB_JSON_ARRAY
	    ? kb_json_size(list)
	    : 0;
	struct sk_findings f = {
		.items = kb_new_array(a, n + 1, struct sk_finding), .n = n
	};

	for (size_t i = 0; i < n; i++) {
		const struct kb_json *j = kb_json_at(list, i);

		f.items[i] = (struct sk_finding) { member(j, "path"),
			member(j, "code"), member(j, "message"),
			place(j, "line"), place(j, "column") };
	}
	return f;
}

static int
api_validate(
    struct cli *c, const char *kit, struct kb_slice yaml, struct sk_verdict *v)
{
	const struct kb_json *j;
	struct kb_jsonw w;
	struct kb_buf b;
	const char *body;
	int status;

	kb_buf_init(&b, 8 << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_slice(&w, "kombinationYaml", yaml);
	kb_w_object_end(&w);
	body = kb_strdup(c->arena, kb_buf_str(&b));
	kb_buf_free(&b);
	status = call_json(c, kit_path(c, kit, "/validate"), body, &j);
	if (status != CLI_OK)
		return status;
	*v = (struct sk_verdict) {
		.valid = kb_json_bool(j, "valid", false),
		.errors = findings_of(c->arena, kb_json_get(j, "errors")),
		.warnings = findings_of(c->arena, kb_json_get(j, "warnings")),
	};
	return CLI_OK;
}

const struct cli_source cli_api = { "api", api_list, api_info, api_archive,
	api_validate };
