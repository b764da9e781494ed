/* Who else vouches for people: OAuth2 and OpenID Connect providers. */
#ifndef STACK_AUTH_PROVIDER_H
#define STACK_AUTH_PROVIDER_H

#include "auth.h"

/* What the e-mail address that a provider tells is worth. */
enum email_trust {
	EMAIL_UNKNOWN, /* perhaps never confirmed: finds nobody */
	EMAIL_FLAG,    /* confirmed when a flag says so */
	EMAIL_SURE,    /* the provider tells confirmed ones only */
};

/* Dotted paths into the JSON of the person: "data.0.id". */
struct person_paths {
	const char *id, *name, *username, *email, *verified, *avatar;
	enum email_trust trust;
};

struct provider {
	const char *name, *display, *scopes;
	bool pkce;
	const char *auth_url, *token_url, *user_url;
	struct person_paths paths;
	const char *emails_url; /* a list of {email, primary, verified} */
	const char *query;      /* GraphQL, to be sent with POST */
	const char *header;     /* one more, of the person's request */
	const char *auth_extra; /* "&response_mode=form_post" */
};

/* NULL: no such name. */
const struct provider *provider_find(const char *name);
/* All that can be configured; *n of them. */
const struct provider *provider_all(size_t *n);
/* The configured one overrides: *p is the table's, filled up. */
void provider_fill(const struct oauth2_provider *conf, struct provider *p);

struct person {
	const char *id, *name, *username, *email, *avatar; /* "" if absent */
	bool verified;   /* the address is known to be his */
	const char *raw; /* JSON text */
	const char *access, *refresh;
	int64_t expires_s; /* 0: not said */
};

/* Reads who it is from the provider's JSON. False: no id. */
bool person_read(struct kb_arena *a, const struct person_paths *paths,
    const struct kb_json *j, struct person *out);

/* Code to person, over the network. KB_INVALID: the provider refused or said
 * nothing useful; *why is a sentence for the client. */
struct oauth2_code {
	const struct oauth2_provider *conf;
	const char *code, *verifier, *redirect;
};
enum kb_err oauth2_person(struct api *api, const struct oauth2_code *code,
    struct person *out, const char **why) KB_MUSTUSE;

#endif
