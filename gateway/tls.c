/*
 * HTTPS of the public side: the certificates of the options and of the file,
 * read again at every reload, and where it listens. Open connections keep
 * what they began with.
 */
#include <string.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "inside.h"

enum { TLS_PORT = 8443 };

static const char *
options_problem(const struct gateway_config *c, size_t n_pairs)
{
	if ((c->tls_cert == NULL) != (c->tls_key == NULL))
		return "KOMBI_TLS_CERT_FILE and KOMBI_TLS_KEY_FILE go together";
	if ((c->upstream_cert == NULL) != (c->upstream_key == NULL))
		return "KOMBI_UPSTREAM_CERT_FILE and KOMBI_UPSTREAM_KEY_FILE "
		       "go together";
	if (n_pairs == 0 && c->tls_listen != NULL)
		return "KOMBI_TLS_LISTEN needs KOMBI_TLS_CERT_FILE and "
		       "KOMBI_TLS_KEY_FILE, or certificates in the file";
	if (n_pairs > 0 && c->tls_clients != KB_TLS_CLIENTS_ANY &&
	    c->tls_client_ca == NULL)
		return "KOMBI_TLS_CLIENTS needs KOMBI_TLS_CLIENT_CA_FILE";
	return NULL;
}

/* ---- which certificates
 * -------------------------------------------------------- */

/* One without names that is shown to services is for them alone. */
static bool
is_for_clients(const struct snapshot *s, const struct certificate *c)
{
	if (c->snis.n)
		return true;
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i]->client_certificate == c)
			return false;
	for (size_t i = 0; i < s->n_upstreams; i++)
		if (s->upstreams[i]->client_certificate == c)
			return false;
	return true;
}

static struct kb_tls_pair
pair_of(struct kb_arena *a, const struct certificate *c)
{
	struct kb_tls_pair pair = { .cert = c->cert, .key = c->key };
	const char **names;

	if (c->snis.n == 0)
		return pair;
	names = kb_new_array(a, c->snis.n + 1, const char *);
	memcpy(names, c->snis.v, c->snis.n * sizeof(*names));
	pair.names = names;
	return pair;
}

/* Those of the options first: they stand in for names that none has. */
static struct kb_tls_pair *
all_pairs(const struct gateway_config *c, const struct snapshot *s,
    struct kb_arena *a, size_t *n)
{
	size_t more = s ? s->n_certificates : 0;
	struct kb_tls_pair *pairs = kb_new_array(
	    a, more + 1, struct kb_tls_pair);

	*n = 0;
	if (c->tls_cert != NULL)
		pairs[(*n)++] = (struct kb_tls_pair) {
			.cert = c->tls_cert,
			.key = c->tls_key,
			.files = true,
		};
	for (size_t i = 0; i < more; i++)
		if (is_for_clients(s, s->certificates[i]))
			pairs[(*n)++] = pair_of(a, s->certificates[i]);
	return pairs;
}

/* Each certificate and its key alone, so that the line can be told. */
void
tls_link(struct problems *p, const struct snapshot *s)
{
	for (size_t i = 0; i < s->n_certificates; i++) {
		const struct certificate *c = s->certificates[i];
		struct kb_tls_pair pair = { .cert = c->cert, .key = c->key };
		struct kb_tls_server_conf conf = {
			.pairs = &pair,
			.n_pairs = 1,
		};
		const char *why;
		struct kb_tls_server *tls;

		if (c->cert == NULL || c->key == NULL)
			continue;
		tls = kb_tls_server_new(&conf, problems_arena(p), &why);
		if (tls == NULL)
			problem(p, c->line, "certificate: %s", why);
		kb_tls_server_unref(tls);
	}
}

/* NULL: *why, or nothing is configured. */
static struct kb_tls_server *
make(const struct gateway_config *c, const struct snapshot *s,
    struct kb_arena *a, const char **why)
{
	struct kb_tls_server_conf conf = {
		.clients = (enum kb_tls_clients)c->tls_clients,
		.client_ca = c->tls_client_ca,
		.ca_file = true,
	};

	conf.pairs = all_pairs(c, s, a, &conf.n_pairs);
	*why = options_problem(c, conf.n_pairs);
	if (*why != NULL || conf.n_pairs == 0)
		return NULL;
	return kb_tls_server_new(&conf, a, why);
}

static void
take(struct gateway *g, struct kb_tls_server *tls)
{
	kb_info(NULL, "certificates loaded",
	    KB_N("expires", kb_tls_server_expires(tls)));
	if (g->n_loops > 0 && g->tls == NULL)
		kb_warn(NULL,
		    "there were no certificates at start: HTTPS is served "
		    "after the next one");
	kb_tls_server_unref(g->tls);
	g->tls = tls;
}

bool
tls_load(struct gateway *g, const struct snapshot *s)
{
	struct kb_arena *a = kb_arena_new(1024);
	const char *why = NULL;
	struct kb_tls_server *tls = make(g->config, s, a, &why);
	bool fine = why == NULL;

	if (!fine)
		kb_error(NULL, "HTTPS cannot be set up", KB_S("why", why));
	/* The same certificates: tickets of clients stay good. */
	if (tls != NULL && g->tls != NULL && kb_tls_server_same(tls, g->tls))
		kb_tls_server_unref(tls);
	else if (tls != NULL)
		take(g, tls);
	kb_arena_free(a);
	return fine;
}

bool
tls_prepare(struct gateway *g, const char **why)
{
	g->tls_address = g->common->listen;
	g->tls_port = g->config->captive ? 0 : TLS_PORT;
	if (g->config->tls_listen == NULL ||
	    split_address(
		g->arena, g->config->tls_listen, &g->tls_address, &g->tls_port))
		return true;
	*why = "KOMBI_TLS_LISTEN must be address:port";
	return false;
}
