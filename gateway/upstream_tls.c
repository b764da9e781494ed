/*
 * TLS to services: which context each service, instance and probe of a
 * snapshot uses. Equal demands share one context, and find the same one after
 * a reload, so that connections stay; files are read anew at every reload.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "inside.h"

enum { CONTEXTS_MAX = 64, FILE_MAX = 4 << 20 };

/* What is known of a context: a hash of all that made it. */
struct known {
	unsigned char print[KB_SHA256_SIZE];
	struct kb_tls_client *tls;
	bool used; /* since the last sweep */
};

static struct {
	pthread_mutex_t lock;
	struct known v[CONTEXTS_MAX];
	size_t n;
} known = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- what makes a context --------------------------------------------------
 */

static const char *
add_file(struct kb_buf *b, struct kb_arena *a, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	char *at;

	if (fd < 0)
		return kb_sprintf(a, "%s: %s", file, strerror(errno));
	while ((at = kb_buf_reserve(b, 16384)) != NULL &&
	    (n = read(fd, at, 16384)) > 0)
		kb_buf_commit(b, (size_t)n);
	close(fd);
	return n == 0 ? NULL : kb_sprintf(a, "%s: cannot be read", file);
}

/* The key needs no place in it: it is the one of its certificate. */
static const char *
print_of(const struct trust *t, struct kb_arena *a, unsigned char *print)
{
	const char *why = NULL;
	struct kb_buf b;

	kb_buf_init(&b, FILE_MAX);
	kb_buf_addf(&b, "%d %d ", (int)t->check, t->depth);
	if (t->ca != NULL && t->ca_file)
		why = add_file(&b, a, t->ca);
	else if (t->ca != NULL)
		kb_buf_adds(&b, t->ca);
	kb_buf_adds(&b, " own ");
	if (why == NULL && t->own.cert != NULL && t->own.files)
		why = add_file(&b, a, t->own.cert);
	else if (t->own.cert != NULL)
		kb_buf_adds(&b, t->own.cert);
	kb_sha256(b.ptr, b.len, print);
	kb_buf_free(&b);
	return why;
}

static struct kb_tls_client *
find(const unsigned char *print)
{
	for (size_t i = 0; i < known.n; i++)
		if (memcmp(known.v[i].print, print, KB_SHA256_SIZE) == 0) {
			known.v[i].used = true;
			return kb_tls_client_ref(known.v[i].tls);
		}
	return NULL;
}

/* What the last load did not use; snapshots hold what they need. */
static void
make_room(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < known.n; i++) {
		if (known.v[i].used)
			known.v[kept++] = known.v[i];
		else
			kb_tls_client_unref(known.v[i].tls);
	}
	known.n = kept;
}

static void
begin(void)
{
	pthread_mutex_lock(&known.lock);
	make_room();
	for (size_t i = 0; i < known.n; i++)
		known.v[i].used = false;
	pthread_mutex_unlock(&known.lock);
}

static struct kb_tls_client *
context_of(const struct trust *t, struct kb_arena *a, const char **why)
{
	unsigned char print[KB_SHA256_SIZE];
	struct kb_tls_client_conf conf = {
		.check = t->check,
		.ca = t->ca,
		.ca_file = t->ca_file,
		.own = t->own.cert ? &t->own : NULL,
		.depth = t->depth,
	};
	struct kb_tls_client *tls;

	*why = print_of(t, a, print);
	if (*why != NULL)
		return NULL;
	pthread_mutex_lock(&known.lock);
	tls = find(print);
	if (tls == NULL)
		tls = kb_tls_client_new(&conf, a, why);
	else
		goto out;
	if (tls != NULL && known.n < CONTEXTS_MAX) {
		known.v[known.n] = (struct known) {
			.tls = kb_tls_client_ref(tls),
			.used = true,
		};
		memcpy(known.v[known.n++].print, print, sizeof(print));
	}
out:
	pthread_mutex_unlock(&known.lock);
	return tls;
}

static void
unref(void *tls)
{
	kb_tls_client_unref(tls);
}

/* Lives as long as the snapshot's arena. */
static struct kb_tls_client *
get(struct problems *p, const struct trust *t, const char **why)
{
	struct kb_arena *a = problems_arena(p);
	struct kb_tls_client *tls = context_of(t, a, why);

	if (tls != NULL)
		kb_arena_on_free(a, unref, tls);
	return tls;
}

/* ---- a snapshot ------------------------------------------------------------
 */

/* What the options of the process say. */
static struct trust
usual_trust(const struct problems *p)
{
	const struct gateway_defaults *d = problems_defaults(p);

	return (struct trust) {
		.ca = d->upstream_ca,
		.ca_file = true,
		.own = { d->upstream_cert, d->upstream_key, .files = true },
	};
}

static bool
is_secure(const struct service *s)
{
	return s->protocol == SERVICE_HTTPS || s->protocol == SERVICE_WSS;
}

/* All of a service's own authorities in one text. */
static const char *
authorities(struct kb_arena *a, const struct service *s)
{
	const char *text = "";

	for (size_t i = 0; i < s->n_ca_certificates; i++)
		text = kb_sprintf(
		    a, "%s%s\n", text, s->ca_certificates[i]->cert);
	return text;
}

static void
show(struct trust *t, const struct certificate *c)
{
	if (c != NULL)
		t->own = (struct kb_tls_pair) {
			.cert = c->cert,
			.key = c->key,
		};
}

/* What the file says of a service, over what the options do. Kong checks
 * nobody unless tls_verify is set; here that has to be asked for. */
static void
service_trust(struct kb_arena *a, const struct service *s, struct trust *t)
{
	show(t, s->upstream->client_certificate);
	show(t, s->client_certificate);
	if (s->n_ca_certificates) {
		t->ca = authorities(a, s);
		t->ca_file = false;
	}
	if (s->tls_verify == TLS_VERIFY_OFF)
		t->check = KB_TLS_CHECK_NOTHING;
	if (s->tls_verify_depth >= 0)
		t->depth = s->tls_verify_depth ? (int)s->tls_verify_depth : -1;
}

static bool
speaks_tls(const struct problems *p, const struct service *s)
{
	return is_secure(s) ||
	    (problems_defaults(p)->upstream_tls &&
		s->callee_index != NO_CALLEE);
}

static void
link_service(struct problems *p, struct service *s)
{
	struct trust t = usual_trust(p);
	const char *why;

	service_trust(problems_arena(p), s, &t);
	s->tls = get(p, &t, &why);
	if (s->tls == NULL)
		problem(p, s->line, "service %s: TLS: %s", s->name, why);
	s->tls_name = s->upstream->tls_name;
}

/* The part of a Host header that names a machine; NULL: it has none. */
static const char *
name_of(struct kb_arena *a, const char *host)
{
	const char *colon = host ? strrchr(host, ':') : NULL;

	if (host == NULL || colon == NULL || host[0] == '[')
		return host;
	return kb_strndup(a, host, (size_t)(colon - host));
}

/* Probes trust as the service does that is reached by that upstream. */
static void
link_probes(struct problems *p, const struct snapshot *s, struct upstream *u)
{
	struct trust t = usual_trust(p);
	const char *why;

	show(&t, u->client_certificate);
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i]->upstream == u && s->services[i]->tls) {
			service_trust(problems_arena(p), s->services[i], &t);
			break;
		}
	if (!u->checks->https_verify)
		t.check = KB_TLS_CHECK_NOTHING;
	u->probe_tls = get(p, &t, &why);
	u->probe_name = u->checks->https_sni ? u->checks->https_sni
					     : u->tls_name;
	if (u->probe_tls == NULL)
		problem(p, u->line, "upstream %s: TLS: %s", u->name, why);
}

/* Probes of an upstream that only the process's switch makes speak TLS. */
static bool
is_switched(const struct snapshot *s, const struct upstream *u)
{
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i]->upstream == u && s->services[i]->tls &&
		    !is_secure(s->services[i]))
			return true;
	return false;
}

/* Instances may be told as https at any time. */
static void
link_instances(struct problems *p, struct snapshot *s)
{
	struct trust t = usual_trust(p);
	const char *why;
	bool some = t.ca != NULL;

	for (size_t i = 0; i < s->n_uses && !some; i++)
		some = kb_str_eq(s->uses[i]->name, "tenant-router");
	if (!some)
		return;
	s->instance_tls = get(p, &t, &why);
	if (s->instance_tls == NULL)
		notice(p, 0, "instances cannot be reached by TLS: %s", why);
}

void
upstream_tls_link(struct problems *p, struct snapshot *s)
{
	begin();
	for (size_t i = 0; i < s->n_upstreams; i++)
		s->upstreams[i]->tls_name = name_of(
		    problems_arena(p), s->upstreams[i]->host_header);
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i]->upstream && speaks_tls(p, s->services[i]))
			link_service(p, s->services[i]);
	for (size_t i = 0; i < s->n_upstreams; i++) {
		struct upstream *u = s->upstreams[i];

		if (u->checks && (u->checks->https || is_switched(s, u)))
			link_probes(p, s, u);
	}
	link_instances(p, s);
}

bool
snapshot_uses_tls(const struct snapshot *s, const struct kb_tls_client *tls)
{
	if (s->instance_tls == tls)
		return true;
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i]->tls == tls)
			return true;
	for (size_t i = 0; i < s->n_upstreams; i++)
		if (s->upstreams[i]->probe_tls == tls)
			return true;
	return false;
}
