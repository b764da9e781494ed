/*
 * Options: values, files, and what is refused with which words.
 */
#include <sys/stat.h>

#include "test.h"

#include <kombi/config.h>

#define GOOD_SECRET "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
#define OTHER_SECRET "b94d27b9934d3e08a52e52d7da7dabfac484efe3"

struct options {
	const char *name;
	int64_t size;
	bool debug;
	int colour;
	struct kb_secret key, key_next;
	const char *url;
	const char *const *list;
	const char *must;
};

static const char *const colours[] = { "red", "green", NULL };

static const char *
not_root(const char *value)
{
	return strcmp(value, "root") == 0 ? "must not be root" : NULL;
}

static const struct kb_option rows[] = {
	KB_OPTION_STR(struct options, name, "KOMBI_NAME", .alias = "NICK",
	    .fallback = "joe", .check = not_root, .help = "who"),
	KB_OPTION_INT(struct options, size, "KOMBI_SIZE", .min = 1, .max = 9,
	    .fallback = "3"),
	KB_OPTION_BOOL(struct options, debug, "KOMBI_DEBUG"),
	KB_OPTION_ENUM(struct options, colour, "KOMBI_COLOUR",
	    .choices = colours, .fallback = "green"),
	KB_OPTION_SECRET(struct options, key, "KOMBI_KEY", .min = 32),
	KB_OPTION_SECRET(struct options, key_next, "KOMBI_KEY_NEXT", .min = 32),
	KB_OPTION_URL(struct options, url, "KOMBI_HOME",
	    .flags = KB_OPT_HTTPS_IN_PRODUCTION),
	KB_OPTION_LIST(struct options, list, "KOMBI_LIST", .check = not_root),
	KB_OPTION_STR(struct options, must, "KOMBI_MUST",
	    .flags = KB_OPT_REQUIRED_IN_PRODUCTION, .help = "needed"),
	KB_OPTIONS_END,
};

/* Loads KOMBI_MUST=x and `env`; the problems, "" if there are none. */
static const char *
load(struct kb_arena *a, const char *const *env, bool development,
    struct options *out)
{
	const struct kb_option_set sets[] = { { rows, out }, { NULL, NULL } };
	char *all[8] = { kb_strdup(a, "KOMBI_MUST=x") };
	struct kb_buf problems;
	size_t i;
	char *text;
	bool ok;

	for (i = 0; env[i]; i++)
		all[i + 1] = kb_strdup(a, env[i]);
	*out = (struct options) { 0 };
	kb_buf_init(&problems, 10000);
	ok = kb_config_load(a, sets, all, development, &problems);
	text = kb_strdup(a, kb_buf_str(&problems));
	assert_int_equal(ok, text[0] == '\0');
	kb_buf_free(&problems);
	return text;
}

#define ENV(...) ((const char *const[]) { __VA_ARGS__, NULL })

static void
free_options(struct options *o)
{
	kb_secret_free(&o->key);
	kb_secret_free(&o->key_next);
}

static void
values_and_defaults_reach_the_struct(void **state)
{
	struct options o;
	size_t len;

	assert_string_equal(
	    load(*state,
		ENV("NICK=ann", "KOMBI_DEBUG=1", "KOMBI_KEY=" GOOD_SECRET,
		    "KOMBI_HOME=https://a.de/x?y=1", "KOMBI_LIST=a, b ,c",
		    "PATH=/bin"),
		false, &o),
	    "");
	assert_string_equal(o.name, "ann");
	assert_int_equal(o.size, 3);
	assert_true(o.debug);
	assert_int_equal(o.colour, 1);
	assert_string_equal(
	    (const char *)kb_secret_reveal(&o.key, &len), GOOD_SECRET);
	assert_int_equal(len, 40);
	assert_string_equal(o.url, "https://a.de/x?y=1");
	assert_string_equal(o.list[1], "b");
	assert_null(o.list[3]);
	free_options(&o);
	assert_false(kb_secret_is_set(&o.key));
}

struct refusal {
	const char *env, *want;
};

static void
wrong_values_are_refused_with_what_is_allowed(void **state)
{
	static const struct refusal cases[] = {
		{ "KOMBI_SIZE=10",
		    "KOMBI_SIZE: must be a whole number from 1 to 9, not "
		    "\"10\"\n" },
		{ "KOMBI_SIZE=3x",
		    "KOMBI_SIZE: must be a whole number from 1 to 9, not "
		    "\"3x\"\n" },
		{ "KOMBI_DEBUG=yes",
		    "KOMBI_DEBUG: must be true or false, not \"yes\"\n" },
		{ "KOMBI_COLOUR=blue",
		    "KOMBI_COLOUR: must be one of red, green, not "
		    "\"blue\"\n" },
		{ "NICK=root", "NICK: must not be root, not \"root\"\n" },
		{ "KOMBI_NAME=a\nb",
		    "KOMBI_NAME: must be one line of UTF-8 text\n" },
		{ "KOMBI_LIST=a,,b",
		    "KOMBI_LIST: must be a comma separated list without "
		    "gaps, not \"a,,b\"\n" },
		{ "KOMBI_LIST=a,root",
		    "KOMBI_LIST: must not be root, not \"root\"\n" },
		{ "KOMBI_KEY=short",
		    "KOMBI_KEY: must have at least 32 bytes, it has 5\n" },
		{ "KOMBI_HOME=http://a.de",
		    "KOMBI_HOME: must be an https:// URL in production, not "
		    "\"http://a.de\"\n" },
		{ "KOMBI_HOME=http://127.0.0.1.evil.de/",
		    "KOMBI_HOME: must be an https:// URL in production, not "
		    "\"http://127.0.0.1.evil.de/\"\n" },
	};
	struct options o;
	size_t i;

	for (i = 0; i < KB_COUNT(cases); i++)
		assert_string_equal(
		    load(*state, ENV(cases[i].env), false, &o), cases[i].want);
}

static void
urls_are_absolute_and_without_credentials(void **state)
{
	static const char *const bad[] = { "KOMBI_HOME=a.de",
		"KOMBI_HOME=ftp://a.de", "KOMBI_HOME=//a.de",
		"KOMBI_HOME=https://", "KOMBI_HOME=https:///x",
		"KOMBI_HOME=https://u:p@a.de", "KOMBI_HOME=https://a.de/#x",
		"KOMBI_HOME=https://a b", "KOMBI_HOME=https://[::1" };
	static const char *const good[] = { "KOMBI_HOME=https://a.de",
		"KOMBI_HOME=http://localhost:80/x",
		"KOMBI_HOME=http://127.0.0.1:8080",
		"KOMBI_HOME=http://[::1]/" };
	struct options o;
	size_t i;

	for (i = 0; i < KB_COUNT(bad); i++)
		test_contains(load(*state, ENV(bad[i]), false, &o),
		    "KOMBI_HOME: must be an absolute");
	for (i = 0; i < KB_COUNT(good); i++)
		assert_string_equal(load(*state, ENV(good[i]), false, &o), "");
	assert_null(strstr(
	    load(*state, ENV("KOMBI_HOME=https://u:hush@a.de"), false, &o),
	    "hush"));
}

static void
unknown_variables_are_refused_with_the_nearest_name(void **state)
{
	struct options o;

	assert_string_equal(load(*state, ENV("KOMBI_SIZ=3"), false, &o),
	    "KOMBI_SIZ: unknown variable, did you mean KOMBI_SIZE?\n");
	test_contains(load(*state, ENV("KOMBIFY_ABCDEFGH=1"), false, &o),
	    "unknown variable (--help");
	assert_string_equal(load(*state,
				ENV("KOMBI_URL=x", "KOMBI_STACK_PORT=1",
				    "KOMBI_LOCAL_DIR=y", "OTHER_SIZ=2"),
				false, &o),
	    "");
}

static void
development_takes_what_production_refuses(void **state)
{
	struct options o;

	assert_string_equal(
	    load(*state, ENV("KOMBI_HOME=http://a.de"), true, &o), "");
	assert_string_equal(
	    load(*state, ENV("KOMBI_KEY=changeme-changeme-changeme-changeme"),
		true, &o),
	    "");
	free_options(&o);
}

static void
guessable_secrets_are_refused_and_never_shown(void **state)
{
	static const char *const bad[] = {
		"KOMBI_KEY=changeme-0123456789-abcdefghijklmnop",
		"KOMBI_KEY=Password0123456789abcdefghijklmnopqrs",
		"KOMBI_KEY=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"KOMBI_KEY=abababababababababababababababababababab",
		"KOMBI_KEY=0123456789abcdef0123456789abcdef0123",
	};
	struct options o;
	size_t i;

	for (i = 0; i < KB_COUNT(bad); i++) {
		const char *text = load(*state, ENV(bad[i]), false, &o);

		test_contains(text, "openssl rand -hex 32");
		assert_null(strstr(text, bad[i] + strlen("KOMBI_KEY=")));
	}
	assert_string_equal(
	    load(*state,
		ENV("KOMBI_KEY=" GOOD_SECRET, "KOMBI_KEY_NEXT=" GOOD_SECRET),
		false, &o),
	    "KOMBI_KEY_NEXT: must differ from KOMBI_KEY\n");
	free_options(&o);
	assert_string_equal(
	    load(*state,
		ENV("KOMBI_KEY=" GOOD_SECRET, "KOMBI_KEY_NEXT=" OTHER_SECRET),
		false, &o),
	    "");
	free_options(&o);
}

/* A file with this content and mode; "KOMBI_KEY_FILE=path". */
static char *
secret_file(struct kb_arena *a, const char *content, mode_t mode)
{
	const char *dir = getenv("TMPDIR");
	char *env = kb_sprintf(
	    a, "KOMBI_KEY_FILE=%s/kombi-config-XXXXXX", dir ? dir : "/tmp");
	int fd = mkstemp(strchr(env, '=') + 1);

	assert_true(fd >= 0);
	assert_int_equal(
	    write(fd, content, strlen(content)), (ssize_t)strlen(content));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return env;
}

static void
remove_file(const char *env)
{
	unlink(strchr(env, '=') + 1);
}

static void
secrets_come_from_files_too(void **state)
{
	char *env = secret_file(*state, GOOD_SECRET "\n", 0440);
	struct options o;

	assert_string_equal(load(*state, ENV(env), false, &o), "");
	assert_string_equal(
	    (const char *)kb_secret_reveal(&o.key, NULL), GOOD_SECRET);
	free_options(&o);
	assert_string_equal(
	    load(*state, ENV(env, "KOMBI_KEY=" GOOD_SECRET), false, &o),
	    "KOMBI_KEY: given twice, also as KOMBI_KEY_FILE: remove one\n");
	remove_file(env);
	test_contains(
	    load(*state, ENV(env), false, &o), "No such file or directory");
	test_contains(load(*state, ENV("KOMBI_KEY_FILE=/tmp"), false, &o),
	    "is no regular file");
}

static void
secret_files_open_to_others_are_refused_in_production(void **state)
{
	static const mode_t bad[] = { 0644, 0604, 0460, 0401, 0666 };
	struct options o;
	size_t i;

	for (i = 0; i < KB_COUNT(bad); i++) {
		char *env = secret_file(*state, GOOD_SECRET, bad[i]);

		test_contains(load(*state, ENV(env), false, &o), "chmod 0400");
		assert_false(kb_secret_is_set(&o.key));
		assert_string_equal(load(*state, ENV(env), true, &o), "");
		free_options(&o);
		remove_file(env);
	}
}

static void
name_and_alias_must_not_contradict(void **state)
{
	struct options o;

	assert_string_equal(
	    load(*state, ENV("KOMBI_NAME=a", "NICK=a"), false, &o), "");
	test_contains(load(*state, ENV("KOMBI_NAME=a", "NICK=b"), false, &o),
	    "differs from NICK");
}

static char *
printed(struct kb_arena *a, const struct kb_option_set *sets,
    void (*fn)(const struct kb_option_set *, FILE *))
{
	char *text = NULL, *copy;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	fn(sets, out);
	fclose(out);
	copy = kb_strdup(a, text);
	free(text);
	return copy;
}

static void
printing_masks_secrets_and_help_shows_bounds(void **state)
{
	struct options o;
	const struct kb_option_set sets[] = { { rows, &o }, { NULL, NULL } };
	const char *text;

	load(*state,
	    ENV("KOMBI_KEY=" GOOD_SECRET, "KOMBI_LIST=a,b",
		"KOMBI_NAME=postgresql://u:hush@db/x"),
	    false, &o);
	text = printed(*state, sets, kb_config_print);
	assert_string_equal(text,
	    "KOMBI_NAME=postgresql://u:***@db/x\nKOMBI_SIZE=3\n"
	    "KOMBI_DEBUG=false\nKOMBI_COLOUR=green\nKOMBI_KEY=(set)\n"
	    "KOMBI_KEY_NEXT=(not set)\nKOMBI_HOME=\nKOMBI_LIST=a,b\n"
	    "KOMBI_MUST=x\n");
	text = printed(*state, sets, kb_config_help);
	test_contains(text, "KOMBI_NAME (also NICK) default joe");
	test_contains(text, "KOMBI_SIZE [1..9] default 3");
	test_contains(text, "KOMBI_COLOUR [red|green]");
	test_contains(text, "[secret, at least 32 bytes]");
	test_contains(text, "required in production\n        needed");
	free_options(&o);
}

static bool
load_common(struct kb_arena *a, char *const *env, bool development,
    struct kb_common_config *out, const char **problems)
{
	const struct kb_option_set sets[] = {
		{ kb_common_options(a, 8080, 4), out }, { NULL, NULL }
	};
	struct kb_buf b;
	bool ok;

	*out = (struct kb_common_config) { 0 };
	kb_buf_init(&b, 10000);
	ok = kb_config_load(a, sets, env, development, &b);
	*problems = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return ok;
}

static void
common_options_have_safe_defaults(void **state)
{
	static char mode[] = "KOMBIFY_DEPLOYMENT_MODE=saas-shared";
	static char port[] = "KOMBI_PORT=9000",
		    level[] = "KOMBI_LOG_LEVEL=warn";
	static char listen[] = "KOMBI_LISTEN=localhost";
	char *none[] = { NULL }, *given[] = { mode, port, level, NULL };
	char *bad[] = { listen, NULL };
	struct kb_common_config c;
	const char *problems;

	assert_false(load_common(*state, none, false, &c, &problems));
	test_contains(
	    problems, "KOMBI_SERVICE_SECRET: is required in production");
	assert_true(load_common(*state, none, true, &c, &problems));
	assert_int_equal(c.environment, KB_ENV_PRODUCTION);
	assert_int_equal(c.mode, KB_MODE_SELF_HOSTED);
	assert_string_equal(c.listen, "127.0.0.1");
	assert_int_equal(c.port, 8080);
	assert_int_equal(c.workers, 4);
	assert_int_equal(c.drain_ms, 25000);
	assert_int_equal(c.log_level, 1);
	assert_true(load_common(*state, given, true, &c, &problems));
	assert_int_equal(c.mode, KB_MODE_SAAS_SHARED);
	assert_int_equal(c.port, 9000);
	assert_int_equal(c.log_level, 2);
	assert_false(load_common(*state, bad, true, &c, &problems));
	test_contains(problems, "KOMBI_LISTEN: must be an IP address");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(values_and_defaults_reach_the_struct),
		test_with_arena(wrong_values_are_refused_with_what_is_allowed),
		test_with_arena(urls_are_absolute_and_without_credentials),
		test_with_arena(
		    unknown_variables_are_refused_with_the_nearest_name),
		test_with_arena(development_takes_what_production_refuses),
		test_with_arena(guessable_secrets_are_refused_and_never_shown),
		test_with_arena(secrets_come_from_files_too),
		test_with_arena(
		    secret_files_open_to_others_are_refused_in_production),
		test_with_arena(name_and_alias_must_not_contradict),
		test_with_arena(printing_masks_secrets_and_help_shows_bounds),
		test_with_arena(common_options_have_safe_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
