/*
 * What request-transformer and response-transformer share: rules "name:value"
 * for header fields, query arguments and members of bodies, and templates
 * $(…) in their values (Kong 3.9). The last part of gateway.h, which
 * includes it.
 */
#ifndef GATEWAY_TRANSFORM_H
#define GATEWAY_TRANSFORM_H

/* ---- templates (template.c) ---------------------------------------------- */

enum source {
	FROM_TEXT, /* name is the text itself */
	FROM_HEADERS,
	FROM_QUERY,
	FROM_CAPTURES,
	FROM_CLAIMS,
	FROM_CONSUMER,
};

struct piece {
	enum source from;
	const char *name;
	const char *fallback; /* $(x or 'fallback'); NULL: none */
};

struct template
{
	const struct piece *v;
	size_t n;
	bool claims; /* has a piece of the token */
	bool only_claims;
};

/*
 * `text` with its $(…). False after a problem was told: `what` begins its
 * message. Names that the gateway owns, and Authorization, cannot be read.
 */
bool template_parse(struct problems *p, unsigned line, const char *what,
    const char *text, struct template *out) KB_MUSTUSE;
/* A text without templates. */
void template_plain(struct kb_arena *a, const char *text, struct template *out);

/* What templates see: the request before anything was changed. */
struct originals {
	struct exchange *x;
	struct lines fields;
	struct lines query; /* names decoded, values "=raw" or "" */
};

void originals_take(struct exchange *x, struct originals *out);
/*
 * The text; *absent is set when a claim or consumer's value is missing (and
 * has no fallback). Others that are missing are empty.
 */
const char *template_value(
    const struct template *t, const struct originals *o, bool *absent);
/* The same with every value percent-encoded; NULL when one is "." or "..". */
const char *template_path(const struct template *t, const struct originals *o);

/* ---- rules (transform.c) ------------------------------------------------- */

enum area { AREA_HEADERS, AREA_QUERY, AREA_BODY, AREAS };
enum op { OP_REMOVE, OP_RENAME, OP_REPLACE, OP_ADD, OP_APPEND, OPS };
enum json_type { JSON_STRING, JSON_NUMBER, JSON_BOOLEAN };

struct rule {
	const char *name, *to; /* to: of rename */
	struct template value;
	enum json_type type;
};

struct rules {
	struct rule *v;
	size_t n;
};

struct transform {
	struct rules of[AREAS][OPS];
	struct rules claimed;     /* the gateway's own names, from claims */
	const char *service_name; /* X-Service-Name as the file says */
	struct template host;     /* of replace.headers Host; n 0: none */
	struct template uri;      /* of replace.uri */
};

/* The five operations of a plugin's config as they stand in the file. */
struct transform_nodes {
	const struct kb_yaml *of[OPS];
};

/* Reads them; `request` or an answer, which knows no templates. */
void transform_load(struct problems *p, const struct plugin_use *use,
    const struct transform_nodes *nodes, bool request, struct transform *out);
bool transform_has(const struct transform *t, enum area area);

enum text_kind { TEXT_HEADERS, TEXT_FORM, TEXT_JSON };

/* Applies the rules of an area, in Kong's order of operations. */
void transform_apply(const struct transform *t, enum area area,
    enum text_kind kind, const struct originals *o, struct lines *lines);

/* "a=b&c" to names (decoded) and values ("=b", ""), and back. */
void form_split(struct lines *out, struct kb_slice text);
struct kb_slice form_join(const struct lines *l);
/* The members of a JSON object (name decoded, value its text), and back.
 * False: it is no JSON object. */
bool json_split(struct lines *out, struct kb_slice text) KB_MUSTUSE;
struct kb_slice json_join(const struct lines *l);

#endif
