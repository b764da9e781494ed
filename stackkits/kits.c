/* Kits over HTTP: list, one, download, versions. */
#include "stackkits.h"

#include <string.h>

#include <kombi/str.h>

const struct sk_kit *
sk_kit_of(struct kb_request *req)
{
	return sk_registry_find(sk_registry_of(req), kb_param(req, "id"));
}

bool
sk_kit_allowed(const struct kb_request *req, const struct sk_kit *kit)
{
	return req->user.service != NULL || req->user.plan >= kit->min_plan;
}

static void
required_plan(struct kb_jsonw *w, const void *obj)
{
	const struct sk_kit *kit = obj;

	kb_w_str(w, "requiredPlan", kb_plan_name(kit->min_plan));
}

struct kb_reply
sk_plan_required(struct kb_request *req, const struct sk_kit *kit)
{
	return kb_fail_details(
	    req, KB_PLAN_REQUIRED, "Plan upgrade required", required_plan, kit);
}

/* ---- list and one ---------------------------------------------------------
 */

static void
write_strings(struct kb_jsonw *w, const char *name, const char *const *list)
{
	kb_w_array(w, name);
	for (; *list != NULL; list++)
		kb_w_str(w, NULL, *list);
	kb_w_array_end(w);
}

static void
write_download(struct kb_jsonw *w, const struct sk_kit *kit)
{
	char url[128];
	int n = snprintf(
	    url, sizeof(url), "/v1/stackkits/%s/download", kit->id);

	kb_w_slice(w, "downloadUrl", (struct kb_slice) { url, (size_t)n });
}

static void
write_summary(struct kb_jsonw *w, const struct sk_kit *kit)
{
	kb_w_str(w, "id", kit->id);
	kb_w_str(w, "name", kit->name);
	kb_w_str(w, "version", kit->version);
	kb_w_str(w, "description", kit->description);
	kb_w_str(w, "minPlan", kb_plan_name(kit->min_plan));
	write_strings(w, "tags", kit->tags);
	write_download(w, kit);
}

struct listing {
	const struct kb_request *req;
	const struct sk_registry *registry;
};

static void
write_list(struct kb_jsonw *w, const void *obj)
{
	const struct listing *l = obj;

	kb_w_array(w, "kits");
	for (size_t i = 0; i < l->registry->n; i++) {
		const struct sk_kit *kit = &l->registry->kits[i];

		if (!sk_kit_allowed(l->req, kit))
			continue;
		kb_w_object(w, NULL);
		write_summary(w, kit);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

struct kb_reply
kits_list(struct kb_request *req)
{
	const struct listing l = { req, sk_registry_of(req) };

	return kb_bare(req, 200, write_list, &l);
}

struct detail {
	const struct sk_kit *kit;
	bool available;
};

static void
write_detail(struct kb_jsonw *w, const void *obj)
{
	const struct detail *d = obj;
	const struct sk_kit *kit = d->kit;

	write_summary(w, kit);
	kb_w_bool(w, "available", d->available);
	write_strings(w, "aliases", kit->aliases);
	kb_w_opt(w, "license", kit->license);
	kb_w_opt(w, "status", kit->status);
	kb_w_int(w, "schemaVersion", kit->schema_version);
	kb_w_raw(w, "requirements", kit->requirements);
	kb_w_raw(w, "services", kit->services);
	kb_w_raw(w, "supportedOS", kit->supported_os);
	kb_w_int(w, "size", (int64_t)kit->tarball.len);
	kb_w_str(w, "sha256", kit->sha256);
	kb_w_opt(w, "readme", kit->readme);
}

struct kb_reply
kits_get(struct kb_request *req)
{
	const struct sk_kit *kit = sk_kit_of(req);
	struct detail d = { .kit = kit };

	if (kit == NULL)
		return kb_fail(req, KB_NOT_FOUND, "Kit not found");
	d.available = sk_kit_allowed(req, kit);
	return kb_data(req, 200, write_detail, &d);
}

/* ---- download -------------------------------------------------------------
 */

/* If-None-Match of RFC 9110 13.1.2, weak comparison. */
static bool
etag_matches(const char *header, const char *etag)
{
	struct kb_slice rest, part;

	if (header == NULL)
		return false;
	rest = kb_slice_of(header);
	while (kb_slice_next(&rest, ',', &part)) {
		part = kb_slice_trim(part);
		if (part.len > 2 && memcmp(part.ptr, "W/", 2) == 0) {
			part.ptr += 2;
			part.len -= 2;
		}
		if (kb_slice_eq(part, "*") || kb_slice_eq(part, etag))
			return true;
	}
	return false;
}

struct kb_reply
kits_download(struct kb_request *req)
{
	const struct sk_kit *kit = sk_kit_of(req);
	struct kb_arena *a = req->cx.arena;
	const char *etag;

	if (kit == NULL)
		return kb_fail(req, KB_NOT_FOUND, "Kit not found");
	if (!sk_kit_allowed(req, kit))
		return sk_plan_required(req, kit);
	etag = kb_sprintf(a, "\"%s\"", kit->sha256);
	kb_reply_header(req, "ETag", etag);
	/* Whether it may be had depends on the plan of today: always ask. */
	kb_reply_header(req, "Cache-Control", "private, no-cache");
	if (etag_matches(kb_header(req, "If-None-Match"), etag))
		return kb_not_modified(req);
	kb_reply_header(req, "X-Checksum-SHA256", kit->sha256);
	kb_reply_header(req, "Content-Disposition",
	    kb_sprintf(a, "attachment; filename=\"%s-%s.tar.gz\"", kit->id,
		kit->version));
	return kb_bytes_reply(
	    req, 200, "application/gzip", kit->tarball.ptr, kit->tarball.len);
}

/* ---- versions -------------------------------------------------------------
 */

static void
write_versions(struct kb_jsonw *w, const void *obj)
{
	const struct sk_kit *kit = obj;

	kb_w_str(w, "stackkit", kit->id);
	kb_w_array(w, "versions");
	for (size_t i = 0; i < kit->n_versions; i++) {
		const struct sk_version *v = &kit->versions[i];

		kb_w_object(w, NULL);
		kb_w_str(w, "version", v->version);
		kb_w_str(w, "released", v->date);
		kb_w_bool(w, "latest", i == 0);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

struct kb_reply
kits_versions(struct kb_request *req)
{
	const struct sk_kit *kit = sk_kit_of(req);

	if (kit == NULL)
		return kb_fail(req, KB_NOT_FOUND, "Kit not found");
	return kb_bare(req, 200, write_versions, kit);
}

struct change {
	const struct sk_version *version;
	struct kb_slice text;
};

/* The part of CHANGELOG.md below "## VERSION". */
static struct kb_slice
section_of(const char *changelog, const char *version)
{
	size_t n = strlen(version);

	for (const char *p = strstr(changelog, "## "); p != NULL;
	     p = strstr(p, "## ")) {
		bool heading = p == changelog || p[-1] == '\n';
		const char *title = p += 3;
		const char *end = strstr(p, "\n## ");

		if (!heading || strncmp(title, version, n) != 0 ||
		    strchr(" \n", title[n]) == NULL)
			continue;
		p += strcspn(p, "\n");
		return kb_slice_trim((struct kb_slice) {
		    p, end != NULL ? (size_t)(end - p) : strlen(p) });
	}
	return (struct kb_slice) { NULL, 0 };
}

static void
write_change(struct kb_jsonw *w, const void *obj)
{
	const struct change *c = obj;

	kb_w_str(w, "version", c->version->version);
	kb_w_str(w, "released", c->version->date);
	kb_w_opt(w, "summary", c->version->summary);
	kb_w_slice(w, "changelog", c->text);
}

struct kb_reply
kits_changelog(struct kb_request *req)
{
	const struct sk_kit *kit = sk_kit_of(req);
	const char *want = kb_param(req, "version");

	if (kit == NULL)
		return kb_fail(req, KB_NOT_FOUND, "Kit not found");
	for (size_t i = 0; i < kit->n_versions; i++) {
		struct change c = { .version = &kit->versions[i] };

		if (strcmp(c.version->version, want) != 0)
			continue;
		c.text = section_of(kit->changelog ? kit->changelog : "", want);
		if (c.text.ptr == NULL)
			c.text = kb_slice_of("");
		return kb_data(req, 200, write_change, &c);
	}
	return kb_fail(req, KB_NOT_FOUND, "Version not found");
}
