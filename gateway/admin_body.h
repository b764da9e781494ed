/*
 * Bodies of the Admin API to trees: JSON, YAML and forms make the same ones.
 */
#ifndef GATEWAY_ADMIN_BODY_H
#define GATEWAY_ADMIN_BODY_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/yaml.h>

enum body_type { BODY_NONE, BODY_JSON, BODY_FORM, BODY_YAML, BODY_OTHER };

/* By Content-Type; without one by the first byte. */
enum body_type body_type_of(struct kb_slice content_type, struct kb_slice body);

/*
 * JSON (RFC 8259, as strictly as kb_json_parse) to a tree: texts as if
 * quoted, numbers, true, false and null as plain scalars.
 */
enum kb_err tree_of_json(struct kb_arena *a, struct kb_slice body,
    struct kb_yaml **out, const char **why) KB_MUSTUSE;

/*
 * application/x-www-form-urlencoded as Kong's Admin API takes it: names with
 * dots are nested ("config.minute=5"), "paths[]=/a" and "paths[1]=/a" are
 * items of a list, "a[b]" is a member; the same name twice makes a list.
 * Values are plain scalars; an empty one is null. KB_INVALID with *why.
 */
enum kb_err tree_of_form(struct kb_arena *a, struct kb_slice body,
    struct kb_yaml **out, const char **why) KB_MUSTUSE;

/* One value of a form or of a query by its name; NULL: there is none, or it
 * is not well-formed. */
const char *
form_value(struct kb_arena *a, struct kb_slice form, const char *name);

#endif
