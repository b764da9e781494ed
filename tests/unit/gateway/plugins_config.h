/*
 * What tests of plugins need: a file with one plugin, loaded as the gateway
 * loads it, and what is said about it.
 */
#ifndef KOMBI_TESTS_PLUGINS_CONFIG_H
#define KOMBI_TESTS_PLUGINS_CONFIG_H

#include "test.h"

#include "inside.h"

struct loaded {
	struct problems p;
	struct snapshot *s;
	struct substitution sub;
	struct kb_buf text;
};

static inline void
load_text(struct loaded *l, const char *yaml)
{
	static char *no_env[] = { NULL };

	*l = (struct loaded) { 0 };
	l->p.arena = kb_arena_new(0);
	l->p.file = "kong.yml";
	l->sub.env = no_env;
	l->s = config_parse(&l->p, yaml, strlen(yaml), &l->sub);
	kb_buf_init(&l->text, 1 << 20);
	problems_print(&l->p, true, &l->text);
}

/* The plugin's config in JSON stands in line 6. */
static inline void
load_plugin(struct loaded *l, const char *name, const char *config)
{
	char yaml[8192];

	snprintf(yaml, sizeof(yaml),
	    "_format_version: \"3.0\"\nservices:\n- {name: s, url: "
	    "http://127.0.0.1:9, routes: [{name: r, paths: [/r]}]}\n"
	    "plugins:\n- name: %s\n  config: %s\n",
	    name, config);
	load_text(l, yaml);
}

static inline void
unload(struct loaded *l)
{
	kb_buf_free(&l->text);
	kb_arena_free(l->p.arena);
}

static inline void
is_accepted(const char *name, const char *config)
{
	struct loaded l;

	load_plugin(&l, name, config);
	if (problems_any(&l.p) || l.text.len)
		fail_msg("%s %s: %s", name, config, kb_buf_str(&l.text));
	assert_int_equal(l.s->routes[0]->chain.n, 1);
	unload(&l);
}

/* `says` after "kong.yml:6: ". */
static inline void
is_told(const char *name, const char *config, bool refused, const char *says)
{
	struct loaded l;
	char line[1024];

	snprintf(line, sizeof(line), "kong.yml:6: %s%s",
	    refused ? "" : "note: ", says);
	load_plugin(&l, name, config);
	assert_int_equal(problems_any(&l.p), refused);
	if (strstr(kb_buf_str(&l.text), line) == NULL)
		fail_msg("\"%s\" is not in: %s", line, kb_buf_str(&l.text));
	unload(&l);
}

#endif
