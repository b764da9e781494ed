/*
 * The job "validate": the stack's kombination.yaml against its kit, judged by
 * the stackkits service.
 */
#include <string.h>

#include <kombi/fetch.h>
#include <kombi/str.h>
#include <kombi/yaml.h>

#include "stack.h"

#define STEP "validate"
#define DEFAULT_KIT "base-homelab"
#define ERRORS_SAID 50

/* The stack names its kit, or its file does, or it is the base kit. */
static const char *
kit_of(struct job_run *run, const struct stack *s)
{
	static const char *const keys[] = { "kit", "stackkit" };
	struct kb_yaml *doc;
	const char *why;

	if (s->kit[0] != '\0')
		return s->kit;
	if (kb_yaml_parse(run->cx->arena, s->spec, strlen(s->spec), &doc, &why))
		return DEFAULT_KIT;
	for (size_t i = 0; i < KB_COUNT(keys); i++) {
		const struct kb_yaml *y = kb_yaml_get(doc, keys[i]);

		if (y != NULL && y->text != NULL && kb_is_slug(y->text))
			return y->text;
	}
	return DEFAULT_KIT;
}

static const char *
request_body(struct kb_arena *a, const char *spec)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	const char *text;

	kb_buf_init(&buf, 4 << 20);
	kb_w_init(&w, &buf);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "kombinationYaml", spec);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return text;
}

static enum kb_err
ask_stackkits(struct job_run *run, const char *kit, const char *spec,
    struct kb_fetched *answer)
{
	struct stack_state *state = stack_state(run->app);
	struct kb_arena *a = run->cx->arena;
	const char *body = request_body(a, spec);
	const char *headers[] = {
		kb_sprintf(a, "Authorization: Bearer %s",
		    kb_service_token(
			a, &state->stackkits_keys, "stack", "stackkits")),
		NULL,
	};
	struct kb_fetch f = {
		.method = "POST",
		.url = kb_sprintf(
		    a, "%s/v1/stackkits/%s/validate", state->stackkits, kit),
		.reach = KB_REACH_INTERNAL,
		.headers = headers,
		.body = body,
		.body_len = strlen(body),
		.timeout_ms = 30000,
		.request_id = run->job->id,
	};

	return kb_fetch(a, run->cx->log, &f, answer);
}

static enum kb_err
say_errors(struct job_run *run, const struct kb_json *errors)
{
	size_t n = kb_json_size(errors);
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < n && i < ERRORS_SAID; i++) {
		const struct kb_json *e = kb_json_at(errors, i);
		const char *path = kb_json_str(e, "path");
		const char *message = kb_json_str(e, "message");

		err = run_say(run, "error", STEP, "%s: %s",
		    path && path[0] ? path : "kombination.yaml",
		    message ? message : "invalid");
	}
	return err;
}

/* 200 with a verdict; everything else is told and, if it may pass, retried. */
static enum kb_err
read_verdict(struct job_run *run, const char *kit,
    const struct kb_fetched *answer, bool *valid)
{
	const struct kb_json *j, *errors;
	const char *why;
	enum kb_err err;

	if (answer->status == 404) {
		run->error = kb_sprintf(
		    run->cx->arena, "There is no kit \"%s\"", kit);
		return KB_INVALID;
	}
	if (answer->status != 200 ||
	    kb_json_parse(
		run->cx->arena, answer->body, answer->len, &j, &why)) {
		run->error = kb_sprintf(run->cx->arena,
		    "StackKits answered with status %d", answer->status);
		return KB_UNAVAILABLE;
	}
	*valid = kb_json_bool(j, "valid", false);
	errors = kb_json_get(j, "errors");
	err = say_errors(run, errors);
	run->result = kb_json_print(run->cx->arena, j);
	return err;
}

static enum kb_err
judge(struct job_run *run, const struct stack *s)
{
	const char *kit = kit_of(run, s);
	struct kb_fetched answer;
	bool valid = false;
	enum kb_err err = run_say(
	    run, "info", STEP, "Asking StackKits to validate against %s", kit);

	if (err)
		return err;
	if (ask_stackkits(run, kit, s->spec, &answer)) {
		run->error = "StackKits cannot be reached";
		return KB_UNAVAILABLE;
	}
	err = read_verdict(run, kit, &answer, &valid);
	if (err)
		return err;
	err = stack_set_status(run->cx, s->id, valid ? "draft" : "error");
	if (err)
		return err;
	return run_say(run, valid ? "info" : "error", STEP, "%s",
	    valid ? "The file is valid" : "The file is not valid");
}

enum kb_err
job_validate_run(struct job_run *run)
{
	const struct viewer everything = { .user_id = "", .admin = true };
	struct stack s;
	enum kb_err err = stack_get(
	    run->cx, &everything, run->job->stack_id, &s);

	if (err == KB_NOT_FOUND) {
		run->error = "The stack was deleted";
		return KB_INVALID;
	}
	if (!err)
		err = run_say(run, "info", STEP,
		    "Read kombination.yaml: %zu bytes, sha256 %.12s",
		    strlen(s.spec), s.spec_sha256);
	if (!err)
		err = job_progress(run->cx, run->job, 20);
	return err ? err : judge(run, &s);
}
