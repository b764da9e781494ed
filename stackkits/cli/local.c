/* Kits from a folder: read, packed and judged right here. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

static int
load(struct cli *c)
{
	char *dir;

	if (c->registry != NULL)
		return CLI_OK;
	dir = realpath(c->dir, NULL);
	if (dir == NULL)
		return cli_say(CLI_FAILED,
		    "%s: no such folder; give it by --dir or STACKKITS_DIR",
		    c->dir);
	c->dir = kb_strdup(c->arena, dir);
	free(dir);
	c->registry = sk_registry_load(c->dir, NULL);
	return c->registry->n > 0
	    ? CLI_OK
	    : cli_say(CLI_FAILED, "%s holds no kits", c->dir);
}

static int
find(struct cli *c, const char *id, const struct sk_kit **kit)
{
	int status = load(c);

	if (status != CLI_OK)
		return status;
	*kit = sk_registry_find(c->registry, id);
	return *kit != NULL
	    ? CLI_OK
	    : cli_say(CLI_BAD, "there is no kit %s in %s", id, c->dir);
}

static int
local_list(struct cli *c, struct cli_kit **kits, size_t *n)
{
	int status = load(c);

	if (status != CLI_OK)
		return status;
	*n = c->registry->n;
	*kits = kb_new_array(c->arena, *n, struct cli_kit);
	for (size_t i = 0; i < *n; i++) {
		const struct sk_kit *k = &c->registry->kits[i];

		(*kits)[i] = (struct cli_kit) { k->id, k->name, k->version,
			k->description, kb_plan_name(k->min_plan) };
	}
	return CLI_OK;
}

static int
local_info(struct cli *c, const char *id, const char **json)
{
	const struct sk_kit *kit;
	struct kb_jsonw w;
	struct kb_buf b;
	int status = find(c, id, &kit);

	if (status != CLI_OK)
		return status;
	kb_buf_init(&b, 1 << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "id", kit->id);
	kb_w_str(&w, "name", kit->name);
	kb_w_str(&w, "version", kit->version);
	kb_w_str(&w, "description", kit->description);
	kb_w_str(&w, "minPlan", kb_plan_name(kit->min_plan));
	kb_w_raw(&w, "requirements", kit->requirements);
	kb_w_raw(&w, "services", kit->services);
	kb_w_raw(&w, "supportedOS", kit->supported_os);
	kb_w_str(&w, "sha256", kit->sha256);
	kb_w_object_end(&w);
	*json = kb_strdup(c->arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return CLI_OK;
}

static int
local_archive(
    struct cli *c, const char *id, struct kb_slice *tar, const char **sha256)
{
	const struct sk_kit *kit;
	int status = find(c, id, &kit);

	if (status != CLI_OK)
		return status;
	*tar = kit->tarball;
	*sha256 = kit->sha256;
	return CLI_OK;
}

static int
local_validate(
    struct cli *c, const char *id, struct kb_slice yaml, struct sk_verdict *v)
{
	const struct sk_kit *kit;
	const char *why = NULL;
	int status = find(c, id, &kit);

	if (status != CLI_OK)
		return status;
	if (sk_judge_document(c->judge, c->arena, kit, yaml, v, &why) != KB_OK)
		return cli_say(CLI_FAILED, "%s", why);
	return CLI_OK;
}

const struct cli_source cli_local = { "local", local_list, local_info,
	local_archive, local_validate };
