/* Auth of a tenant through the loopback: what other parts of the service ask
 * of it, and tokens that are none. */
#include "records_world.h"

#include "records/auth.h"

#include <kombi/jwt.h>
#include <kombi/time.h>

#define SUPERUSERS API "/_superusers"

struct tenant_open {
	struct kb_cx cx;
	struct tenant_handle *h;
};

static struct tenant_open
open_tenant(struct fixture *f)
{
	struct kb_app *app = kb_loopback_app(f->lo);
	struct tenant_open t = { .cx = { .arena = f->a } };

	assert_int_equal(
	    tenancy_acquire(stack_state(app)->tenancy, f->a, "org-a", &t.h),
	    KB_OK);
	t.cx.db = tenant_db(t.h);
	return t;
}

static void
close_tenant(struct fixture *f, struct tenant_open *t)
{
	tenancy_release(stack_state(kb_loopback_app(f->lo))->tenancy, t->h);
}

static const char *
sign_in(struct fixture *f, int status)
{
	const struct kb_json *j = expect(f, status,
	    ask(f, NULL, "POST", SUPERUSERS "/auth-with-password",
		"{\"identity\":\"root@example.com\","
		"\"password\":\"correct horse\"}"));

	return kb_json_str(j, "token");
}

static void
a_superuser_is_made_once_and_with_a_password(void **state)
{
	struct fixture *f = *state;
	struct tenant_open t = open_tenant(f);
	struct superuser su = { .email = "root@example.com",
		.password = "short" };

	assert_int_equal(auth_superuser_create(&t.cx, t.h, &su), KB_INVALID);
	assert_non_null(su.why);
	su.password = "correct horse";
	su.email = "nobody";
	assert_int_equal(auth_superuser_create(&t.cx, t.h, &su), KB_INVALID);
	su.email = "root@example.com";
	assert_int_equal(auth_superuser_create(&t.cx, t.h, &su), KB_OK);
	assert_null(su.why);
	assert_int_equal(strlen(su.id), 15);
	assert_int_equal(auth_superuser_create(&t.cx, t.h, &su), KB_CONFLICT);
	close_tenant(f, &t);
	expect(f, 200, ask(f, sign_in(f, 200), "GET", API, NULL));
}

static void
new_secrets_end_every_token(void **state)
{
	struct fixture *f = *state;
	struct tenant_open t = open_tenant(f);
	struct superuser su = { .email = "root@example.com",
		.password = "correct horse" };
	const char *root;

	assert_int_equal(auth_superuser_create(&t.cx, t.h, &su), KB_OK);
	root = sign_in(f, 200);
	expect(f, 200, ask(f, root, "GET", API, NULL));
	expect(f, 200, ask(f, f->admin, "GET", API, NULL));
	assert_int_equal(auth_rotate_all(&t.cx, t.h), KB_OK);
	close_tenant(f, &t);
	expect(f, 401, ask(f, root, "GET", API, NULL));
	expect(f, 401, ask(f, f->admin, "GET", API, NULL));
	expect(
	    f, 401, ask(f, f->member, "GET", "/tenant/org-a/v1/tenant", NULL));
	/* passwords and people stay */
	expect(f, 200, ask(f, sign_in(f, 200), "GET", API, NULL));
	f->admin = enter(f, &alice, &f->admin_id);
	expect(f, 200, ask(f, f->admin, "GET", API, NULL));
}

/* A token of that record, signed as we like. */
static const char *
forge(struct fixture *f, const char *claims, const char *key)
{
	return kb_jwt_sign_hs256(f->a, claims, NULL, key, strlen(key));
}

static void
tokens_that_are_none_open_nothing(void **state)
{
	struct fixture *f = *state;
	const char *claims = kb_sprintf(f->a,
	    "{\"id\":\"%s\",\"type\":\"auth\",\"collectionId\":\"%s\","
	    "\"exp\":%lld}",
	    f->admin_id, USERS_ID, (long long)kb_wall_s() + 600);
	char *cut = kb_strdup(f->a, f->admin);
	const char *bad[] = {
		"x",
		"",
		"a.b.c",
		forge(f, claims, "0123456789abcdef"),
		"eyJhbGciOiJub25lIn0.e30.",
		cut,
	};

	cut[strlen(cut) - 2] ^= 1;
	for (size_t i = 0; i < KB_COUNT(bad); i++) {
		expect(f, 401, ask(f, bad[i], "GET", API, NULL));
		assert_int_equal(
		    ask(f, bad[i], "GET", "/tenant/org-a/v1/tenant", NULL)
			.status,
		    401);
	}
	expect(f, 200, ask(f, f->admin, "GET", API, NULL));
	/* another tenant's admin is a guest here */
	expect(f, 401, ask(f, enter(f, &bob, &f->member_id), "GET", API, NULL));
}

static void
a_token_ends_with_its_time(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *j = expect(f, 200,
	    ask(f, f->admin, "POST",
		kb_sprintf(f->a, API "/users/impersonate/%s", f->member_id),
		"{\"duration\":30,\"reason\":\"a test\"}"));
	const char *token = kb_json_str(j, "token");

	expect(f, 200, ask(f, token, "POST", API "/users/auth-refresh", NULL));
	kb_clock_shift(31000);
	expect(f, 401, ask(f, token, "POST", API "/users/auth-refresh", NULL));
	kb_clock_shift(-31000);
}

static void
a_disabled_member_is_nobody(void **state)
{
	struct fixture *f = *state;
	struct tenant_open t = open_tenant(f);

	assert_int_equal(
	    kb_exec(&t.cx, "UPDATE users SET disabled = 1 WHERE id = $1",
		KB_TEXT(f->member_id)),
	    KB_OK);
	close_tenant(f, &t);
	expect(
	    f, 401, ask(f, f->member, "POST", API "/users/auth-refresh", NULL));
	expect(
	    f, 401, ask(f, f->member, "GET", "/tenant/org-a/v1/tenant", NULL));
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_superuser_is_made_once_and_with_a_password),
		T(new_secrets_end_every_token),
		T(tokens_that_are_none_open_nothing),
		T(a_token_ends_with_its_time),
		T(a_disabled_member_is_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
