/* Findings: from what cue wrote, and where in the document they are. */
#include "stackkits.h"

#include <ctype.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/yaml.h>

enum { MAX_FINDINGS = 64, MAX_MESSAGE = 300 };

/* First match wins. The texts are cue's own (cue/errors.go). */
static const struct {
	const char *text, *code;
} codes[] = {
	{ "field is required but not present", "REQUIRED" },
	{ "incomplete value", "REQUIRED" },
	{ "undefined field", "REQUIRED" },
	{ "mismatched types", "INVALID_TYPE" },
	{ "field not allowed", "UNKNOWN_FIELD" },
	{ "out of bound =~", "INVALID_FORMAT" },
	{ "out of bound !~", "INVALID_FORMAT" },
	{ "out of bound", "CONSTRAINT_VIOLATION" },
	{ "does not satisfy", "CONSTRAINT_VIOLATION" },
	{ "conflicting values", "CONSTRAINT_VIOLATION" },
	{ "empty disjunction", "CONSTRAINT_VIOLATION" },
	{ "invalid value", "CONSTRAINT_VIOLATION" },
};

static const char *
code_of(const char *message)
{
	for (size_t i = 0; i < KB_COUNT(codes); i++)
		if (strstr(message, codes[i].text) != NULL)
			return codes[i].code;
	return "CONSTRAINT_VIOLATION";
}

/* "nodes.0.name" as people write it: "nodes[0].name". */
static const char *
path_of(struct kb_arena *a, struct kb_slice cue)
{
	struct kb_buf b;
	struct kb_slice part;
	const char *path;

	kb_buf_init(&b, 1024);
	while (kb_slice_next(&cue, '.', &part)) {
		uint64_t index;

		if (b.len > 0 && kb_parse_u64(part, &index)) {
			kb_buf_addc(&b, '[');
			kb_buf_addu(&b, index);
			kb_buf_addc(&b, ']');
			continue;
		}
		if (b.len > 0)
			kb_buf_addc(&b, '.');
		kb_buf_add(&b, part.ptr, part.len);
	}
	path = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return path;
}

/* "input.PATH: MESSAGE:"; positions and other lines are not findings. */
static bool
finding_of(struct kb_arena *a, struct kb_slice line, struct sk_finding *f)
{
	static const char root[] = "input.";
	const char *colon;
	size_t len;

	if (line.len < sizeof(root) || memcmp(line.ptr, root, 6) != 0)
		return false;
	colon = memmem(line.ptr, line.len, ": ", 2);
	if (colon == NULL)
		return false;
	f->path = path_of(a,
	    (struct kb_slice) { line.ptr + 6, (size_t)(colon - line.ptr) - 6 });
	len = line.len - (size_t)(colon + 2 - line.ptr);
	if (len > 0 && colon[2 + len - 1] == ':')
		len--;
	f->message = kb_strndup(
	    a, colon + 2, len > MAX_MESSAGE ? MAX_MESSAGE : len);
	f->code = code_of(f->message);
	return true;
}

struct sk_findings
sk_cue_findings(struct kb_arena *a, const char *text)
{
	struct sk_findings f = { .items = kb_new_array(
				     a, MAX_FINDINGS, struct sk_finding) };
	struct kb_slice rest = kb_slice_of(text), line;

	while (f.n < MAX_FINDINGS && kb_slice_next(&rest, '\n', &line))
		if (finding_of(a, line, &f.items[f.n]))
			f.n++;
	return f;
}

/* ---- places ---------------------------------------------------------------
 */

static const struct kb_yaml *
child_at(const struct kb_yaml *y, uint64_t index)
{
	const struct kb_yaml *c = y->first;

	while (c != NULL && index-- > 0)
		c = c->next;
	return c;
}

/* The deepest node on the way of `path` that the document has. */
static const struct kb_yaml *
node_at(const struct kb_yaml *doc, const char *path)
{
	const struct kb_yaml *at = doc;
	const char *p = path;

	while (*p != '\0') {
		size_t n = *p == '[' ? strcspn(p, "]") : strcspn(p, ".[");
		const struct kb_yaml *next = NULL;
		uint64_t index;

		if (*p == '[' && at->kind == KB_YAML_SEQUENCE &&
		    kb_parse_u64((struct kb_slice) { p + 1, n - 1 }, &index))
			next = child_at(at, index);
		else if (*p != '[' && at->kind == KB_YAML_MAPPING)
			for (next = at->first; next != NULL; next = next->next)
				if (strlen(next->key) == n &&
				    memcmp(next->key, p, n) == 0)
					break;
		if (next == NULL)
			return at;
		at = next;
		p += n;
		p += *p == ']';
		p += *p == '.';
	}
	return at;
}

void
sk_findings_locate(struct sk_findings *f, const struct kb_yaml *doc)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct kb_yaml *y = node_at(doc, f->items[i].path);

		f->items[i].line = y->line;
		f->items[i].column = y->column;
	}
}
