/*
 * A self-hosted instance: the tenant `default` is there from the first start
 * on, and its first superuser is made once: from the environment, or by whom
 * can read the token in the data folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "platform.h"
#include "records/auth.h"
#include "tenants.h"

#define TOKEN_BYTES 32

struct setup {
	pthread_mutex_t lock; /* one set-up at a time */
	char *token;          /* NULL: closed */
	char *path;
};

struct setup_body {
	const char *token, *email, *password;
};

static const struct kb_rule rules[] = {
	KB_RULE_STR(struct setup_body, token, .required = true, .max = 100),
	KB_RULE_STR(struct setup_body, email, .required = true, .max = 254),
	KB_RULE_STR(struct setup_body, password, .required = true, .max = 200),
	KB_RULES_END,
};

static enum kb_err
make_default(struct kb_app *app, struct kb_cx *cx)
{
	struct tenant t;
	enum kb_err err = tenant_by_slug(cx, DEFAULT_TENANT, &t);

	if (err == KB_NOT_FOUND) {
		t = tenant_make(cx->arena, DEFAULT_TENANT, "Home",
		    DEFAULT_TENANT, "enterprise");
		t.max_users = t.max_nodes = t.max_stacks = t.max_storage = -1;
		err = tenant_insert(cx, &t, -1);
	}
	return err ? err : tenant_open_check(app, cx->arena, DEFAULT_TENANT);
}

/* Work on the default tenant's own database. */
typedef enum kb_err
home_fn(struct kb_cx *cx, struct tenant_handle *h, void *arg);

static enum kb_err
at_home(struct kb_app *app, struct kb_cx *cx, home_fn *fn, void *arg)
{
	struct tenancy *tenancy = stack_state(app)->tenancy;
	struct kb_cx home = *cx;
	struct tenant_handle *h;
	enum kb_err err = tenancy_acquire(
	    tenancy, cx->arena, DEFAULT_TENANT, &h);

	if (err)
		return err;
	home.db = tenant_db(h);
	err = fn(&home, h, arg);
	tenancy_release(tenancy, h);
	return err;
}

static enum kb_err
count_superusers(struct kb_cx *cx, struct tenant_handle *h, void *arg)
{
	struct schema *schema;
	enum kb_err err = schema_acquire(cx, tenant_schemas(h), &schema);

	if (err)
		return err;
	err = auth_count(cx, schema_find(schema, SUPERUSERS_ID), arg);
	schema_release(tenant_schemas(h), schema);
	return err;
}

static enum kb_err
create_superuser(struct kb_cx *cx, struct tenant_handle *h, void *arg)
{
	return auth_superuser_create(cx, h, arg);
}

static bool
write_token(const struct setup *s)
{
	size_t len = strlen(s->token);
	int fd = open(s->path,
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool good = fd >= 0 && fchmod(fd, 0600) == 0 &&
	    write(fd, s->token, len) == (ssize_t)len;

	if (fd >= 0)
		good = close(fd) == 0 && good;
	if (!good)
		kb_error(NULL, "the set-up token cannot be written",
		    KB_S("path", s->path), KB_S("error", strerror(errno)));
	return good;
}

/* The token itself stands in its file alone, not in logs that are shipped. */
static enum kb_err
offer(struct setup *s, struct kb_arena *a)
{
	unsigned char random[TOKEN_BYTES];

	kb_random(random, sizeof(random));
	s->token = kb_xstrdup(kb_base64url(a, random, sizeof(random)));
	kb_wipe(random, sizeof(random));
	if (!write_token(s))
		return KB_UNAVAILABLE;
	kb_warn(NULL,
	    "no superuser yet: POST /api/x/setup {token, email, password} with"
	    " the token of this file",
	    KB_S("path", s->path));
	return KB_OK;
}

static enum kb_err
from_environment(struct kb_app *app, struct kb_cx *cx)
{
	const struct stack_config *c = stack_config(app);
	size_t len;
	struct superuser su = { .email = c->superuser_email,
		.password = (const char *)kb_secret_reveal(
		    &c->superuser_password, &len) };
	enum kb_err err = at_home(app, cx, create_superuser, &su);

	if (err)
		kb_error(NULL, "PB_SUPERUSER_EMAIL makes no superuser",
		    KB_S("error", su.why ? su.why : kb_err_code(err)));
	else
		kb_info(NULL, "the first superuser is made",
		    KB_S("email", su.email));
	return err;
}

static enum kb_err
open_setup(struct kb_app *app, struct setup *s, struct kb_cx *cx)
{
	const struct stack_config *c = stack_config(app);
	int64_t n = 0;
	enum kb_err err = make_default(app, cx);

	if (!err)
		err = at_home(app, cx, count_superusers, &n);
	if (err || n > 0)
		return err;
	if (c->superuser_email && kb_secret_is_set(&c->superuser_password))
		return from_environment(app, cx);
	return offer(s, cx->arena);
}

struct setup *
setup_new(void)
{
	struct setup *s = kb_xalloc(sizeof(*s));

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

enum kb_err
setup_begin(struct kb_app *app)
{
	struct setup *s = stack_state(app)->setup;
	struct kb_cx cx = { .arena = kb_arena_new(0), .db = app->db };
	enum kb_err err = KB_OK;

	s->path = kb_xstrdup(kb_sprintf(
	    cx.arena, "%s/setup-token", stack_config(app)->data_dir));
	if (app->common->mode == KB_MODE_SELF_HOSTED)
		err = open_setup(app, s, &cx);
	kb_arena_free(cx.arena);
	return err;
}

static void
shut(struct setup *s)
{
	if (s->token != NULL) {
		kb_wipe(s->token, strlen(s->token));
		free(s->token);
		s->token = NULL;
	}
}

void
setup_free(struct setup *s)
{
	if (s == NULL)
		return;
	shut(s);
	free(s->path);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Under the lock. */
static enum kb_err
set_up(struct kb_request *req, struct setup *s, const struct setup_body *b,
    struct superuser *su)
{
	enum kb_err err;

	if (s->token == NULL)
		return KB_NOT_FOUND;
	if (!kb_str_equal_ct(b->token, s->token))
		return KB_FORBIDDEN;
	*su = (struct superuser) { .email = b->email, .password = b->password };
	err = at_home(kb_app(req), &req->cx, create_superuser, su);
	if (err)
		return err;
	shut(s);
	(void)unlink(s->path);
	return KB_OK;
}

static void
superuser_json(struct kb_jsonw *w, const void *obj)
{
	const struct superuser *su = obj;

	kb_w_str(w, "id", su->id);
	kb_w_str(w, "email", su->email);
	kb_w_str(w, "tenant", DEFAULT_TENANT);
}

struct kb_reply
setup_run(struct kb_request *req)
{
	struct setup *s = stack_state(kb_app(req))->setup;
	struct setup_body b = { 0 };
	struct superuser su = { 0 };
	enum kb_err err;

	if (kb_app(req)->common->mode != KB_MODE_SELF_HOSTED)
		return kb_fail(req, KB_NOT_FOUND, NULL);
	if (!kb_read_body(req, rules, &b))
		return kb_invalid(req);
	pthread_mutex_lock(&s->lock);
	err = set_up(req, s, &b, &su);
	pthread_mutex_unlock(&s->lock);
	if (err == KB_NOT_FOUND)
		return kb_fail(req, err, "This instance is set up");
	if (err == KB_FORBIDDEN)
		return kb_fail(req, err, "The token is not right");
	if (err == KB_INVALID)
		return kb_fail(req, err, "%s", su.why);
	if (err)
		return kb_fail(req, err, NULL);
	req->user.tenant = DEFAULT_TENANT;
	note(req, "instance.set_up", "superuser", su.id, NULL);
	return kb_data(req, 201, superuser_json, &su);
}
