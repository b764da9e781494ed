/*
 * HTTPS of the public side: which certificates, read again at every reload,
 * and where it listens. Open connections keep what they began with.
 */
#include <kombi/log.h>
#include <kombi/str.h>

#include "inside.h"

enum { TLS_PORT = 8443 };

static const char *
options_problem(const struct gateway_config *c)
{
	if ((c->tls_cert == NULL) != (c->tls_key == NULL))
		return "KOMBI_TLS_CERT_FILE and KOMBI_TLS_KEY_FILE go together";
	if ((c->upstream_cert == NULL) != (c->upstream_key == NULL))
		return "KOMBI_UPSTREAM_CERT_FILE and KOMBI_UPSTREAM_KEY_FILE "
		       "go together";
	if (c->tls_cert == NULL && c->tls_listen != NULL)
		return "KOMBI_TLS_LISTEN needs KOMBI_TLS_CERT_FILE and "
		       "KOMBI_TLS_KEY_FILE";
	if (c->tls_cert != NULL && c->tls_clients != KB_TLS_CLIENTS_ANY &&
	    c->tls_client_ca == NULL)
		return "KOMBI_TLS_CLIENTS needs KOMBI_TLS_CLIENT_CA_FILE";
	return NULL;
}

/* NULL: *why, or nothing is configured. */
static struct kb_tls_server *
read_files(const struct gateway_config *c, struct kb_arena *a, const char **why)
{
	struct kb_tls_pair pair = {
		.cert = c->tls_cert,
		.key = c->tls_key,
		.files = true,
	};
	struct kb_tls_server_conf conf = {
		.pairs = &pair,
		.n_pairs = 1,
		.clients = (enum kb_tls_clients)c->tls_clients,
		.client_ca = c->tls_client_ca,
		.ca_file = true,
	};

	*why = options_problem(c);
	if (*why != NULL || c->tls_cert == NULL)
		return NULL;
	return kb_tls_server_new(&conf, a, why);
}

bool
tls_load(struct gateway *g)
{
	struct kb_arena *a = kb_arena_new(1024);
	const char *why = NULL;
	struct kb_tls_server *tls = read_files(g->config, a, &why);
	bool fine = why == NULL;

	if (!fine)
		kb_error(NULL, "HTTPS cannot be set up", KB_S("why", why));
	/* The same certificates: tickets of clients stay good. */
	if (tls != NULL && g->tls != NULL && kb_tls_server_same(tls, g->tls)) {
		kb_tls_server_unref(tls);
		tls = NULL;
	}
	if (tls != NULL) {
		kb_info(NULL, "certificates loaded",
		    KB_S("file", g->config->tls_cert),
		    KB_N("expires", kb_tls_server_expires(tls)));
		kb_tls_server_unref(g->tls);
		g->tls = tls;
	}
	kb_arena_free(a);
	return fine;
}

bool
tls_prepare(struct gateway *g, const char **why)
{
	g->tls_address = g->common->listen;
	g->tls_port = TLS_PORT;
	if (g->config->tls_listen == NULL ||
	    split_address(
		g->arena, g->config->tls_listen, &g->tls_address, &g->tls_port))
		return true;
	*why = "KOMBI_TLS_LISTEN must be address:port";
	return false;
}
