/* What cue wrote as findings, and where in the document they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/yaml.h>

#include "stackkits.h"

static void
each_kind_of_message_gets_its_code_and_path(void **state)
{
	static const struct {
		const char *line, *path, *code;
	} rows[] = {
		{ "input.name: field is required but not present:", "name",
		    "REQUIRED" },
		{ "input.nodes.1.cpu: conflicting values \"a\" and int "
		  "(mismatched types string and int):",
		    "nodes[1].cpu", "INVALID_TYPE" },
		{ "input.nodes.0.name: invalid value \"N\" (out of bound "
		  "=~\"^[a-z]+$\"):",
		    "nodes[0].name", "INVALID_FORMAT" },
		{ "input.nodes.0.cpu: invalid value 0 (out of bound >=1):",
		    "nodes[0].cpu", "CONSTRAINT_VIOLATION" },
		{ "input.extra: field not allowed:", "extra", "UNKNOWN_FIELD" },
		{ "input.kit: 2 errors in empty disjunction:", "kit",
		    "CONSTRAINT_VIOLATION" },
		{ "input.services.10.ports.2.host: something new",
		    "services[10].ports[2].host", "CONSTRAINT_VIOLATION" },
	};
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	for (size_t i = 0; i < KB_COUNT(rows); i++) {
		struct sk_findings f = sk_cue_findings(a, rows[i].line);

		assert_int_equal(f.n, 1);
		assert_string_equal(f.items[0].path, rows[i].path);
		assert_string_equal(f.items[0].code, rows[i].code);
		assert_null(strchr(f.items[0].message + 1, '\n'));
	}
	kb_arena_free(a);
}

static void
positions_and_the_kits_own_errors_are_no_findings(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct sk_findings f = sk_cue_findings(a,
	    "report: invalid operands:\n    ./stackfile.cue:3:1\n"
	    "input.name: field is required but not present:\n"
	    "    ./stackfile.cue:9:2\n"
	    "cannot find package \"kombify.io/stackkits/base\"\ninput.\n\n");

	(void)state;
	assert_int_equal(f.n, 1);
	assert_string_equal(f.items[0].path, "name");
	assert_int_equal(sk_cue_findings(a, "").n, 0);
	kb_arena_free(a);
}

static void
findings_know_line_and_column_or_those_of_the_nearest_parent(void **state)
{
	static const char text[] = "name: home\n"
				   "nodes:\n"
				   "  - name: a\n"
				   "    resources: {cpu: 2}\n"
				   "  - name: b\n";
	static const struct {
		const char *path;
		unsigned line;
	} rows[] = {
		{ "name", 1 },
		{ "nodes[0].resources.cpu", 4 },
		{ "nodes[1].name", 5 },
		{ "nodes[1].resources.memory", 5 },
		{ "nodes[7].name", 3 },
		{ "", 1 },
	};
	struct kb_arena *a = kb_arena_new(0);
	struct kb_yaml *doc;
	const char *why;

	(void)state;
	assert_int_equal(
	    kb_yaml_parse(a, text, sizeof(text) - 1, &doc, &why), KB_OK);
	for (size_t i = 0; i < KB_COUNT(rows); i++) {
		struct sk_finding x = { .path = rows[i].path };
		struct sk_findings f = { &x, 1 };

		sk_findings_locate(&f, doc);
		assert_int_equal(x.line, rows[i].line);
		assert_true(x.column > 0);
	}
	kb_arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_message_gets_its_code_and_path),
		cmocka_unit_test(
		    positions_and_the_kits_own_errors_are_no_findings),
		cmocka_unit_test(
		    findings_know_line_and_column_or_those_of_the_nearest_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
