/* Mail by SMTP through libcurl, and into the mailbox of development. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "fetch_bundle.h"

#include <kombi/buf.h>
#include <kombi/fetch.h>
#include <kombi/id.h>
#include <kombi/mail.h>
#include <kombi/str.h>

#define TIMEOUT_MS 15000

struct sending {
	const struct kb_smtp *smtp;
	CURL *easy;
	struct curl_slist *to;
	const char *text;
	size_t len;
	bool refused; /* by the guard */
	char error[CURL_ERROR_SIZE];
};

static size_t
give(char *room, size_t one, size_t n, void *arg)
{
	struct sending *s = arg;
	size_t len = one * n < s->len ? one * n : s->len;

	memcpy(room, s->text, len);
	s->text += len;
	s->len -= len;
	return len;
}

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct sending *s = arg;

	(void)purpose;
	if (!s->smtp->any_address && !kb_address_is_global(&a->addr)) {
		s->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool
has(const char *text)
{
	return text != NULL && text[0] != '\0';
}

static bool
is_this_machine(const char *host)
{
	return strcasecmp(host, "localhost") == 0 ||
	    strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0;
}

/* A name or address; nothing that a URL would read otherwise. */
static bool
host_ok(const char *host)
{
	return has(host) && strlen(host) < 254 &&
	    host[strspn(host,
		"abcdefghijklmnopqrstuvwxyz"
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:")] == '\0';
}

static bool
conf_ok(const struct kb_smtp *s)
{
	if (!host_ok(s->host) || s->port < 1 || s->port > 65535)
		return false;
	if (has(s->local_name) && !host_ok(s->local_name))
		return false;
	return !has(s->auth) || strcmp(s->auth, "PLAIN") == 0 ||
	    strcmp(s->auth, "LOGIN") == 0;
}

static void
set_sign_in(CURL *e, struct kb_arena *a, const struct kb_smtp *s)
{
	bool clear = is_this_machine(s->host);

	if (has(s->auth))
		curl_easy_setopt(e, CURLOPT_LOGIN_OPTIONS,
		    kb_sprintf(a, "AUTH=%s", s->auth));
	if (has(s->user)) {
		curl_easy_setopt(e, CURLOPT_USERNAME, s->user);
		curl_easy_setopt(
		    e, CURLOPT_PASSWORD, s->password ? s->password : "");
	}
	curl_easy_setopt(e, CURLOPT_USE_SSL,
	    (long)(has(s->user) && !clear ? CURLUSESSL_ALL : CURLUSESSL_TRY));
}

static void
set_up(struct sending *s, struct kb_arena *a, const struct kb_mail *m)
{
	const struct kb_smtp *c = s->smtp;
	bool v6 = strchr(c->host, ':') != NULL;
	int64_t timeout = c->timeout_ms > 0 ? c->timeout_ms : TIMEOUT_MS;
	CURL *e = s->easy;

	curl_easy_setopt(e, CURLOPT_URL,
	    kb_sprintf(a, "%s://%s%s%s:%lld/%s", c->tls ? "smtps" : "smtp",
		v6 ? "[" : "", c->host, v6 ? "]" : "", (long long)c->port,
		has(c->local_name) ? c->local_name : "localhost"));
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, s);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, s->error);
	if (c->ca_file != NULL || fetch_bundle() != NULL)
		curl_easy_setopt(e, CURLOPT_CAINFO,
		    c->ca_file ? c->ca_file : fetch_bundle());
	set_sign_in(e, a, c);
	curl_easy_setopt(e, CURLOPT_MAIL_FROM, kb_sprintf(a, "<%s>", m->from));
	curl_easy_setopt(e, CURLOPT_MAIL_RCPT, s->to);
	curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(e, CURLOPT_READFUNCTION, give);
	curl_easy_setopt(e, CURLOPT_READDATA, s);
}

static enum kb_err
outcome(const struct sending *s, CURLcode code)
{
	switch (code) {
	case CURLE_OK: return KB_OK;
	case CURLE_OPERATION_TIMEDOUT: return KB_TIMEOUT;
	case CURLE_LOGIN_DENIED: return KB_AUTH_INVALID;
	case CURLE_USE_SSL_FAILED: return KB_FORBIDDEN;
	default: return s->refused ? KB_FORBIDDEN : KB_UNAVAILABLE;
	}
}

enum kb_err
kb_smtp_send(struct kb_arena *a, const struct kb_log *log,
    const struct kb_smtp *smtp, const struct kb_mail *m)
{
	struct sending s = { .smtp = smtp };
	enum kb_err err = conf_ok(smtp) ? KB_OK : KB_INVALID;
	CURLcode code;

	if (!err)
		err = kb_mail_compose(a, m, &s.text);
	if (err)
		return err;
	kb_fetch_init();
	s.len = strlen(s.text);
	s.easy = curl_easy_init();
	s.to = curl_slist_append(NULL, kb_sprintf(a, "<%s>", m->to));
	if (s.easy == NULL || s.to == NULL)
		kb_fatal("libcurl: out of memory");
	set_up(&s, a, m);
	code = curl_easy_perform(s.easy);
	err = outcome(&s, code);
	if (err)
		kb_warn(log, "mail not sent", KB_S("host", smtp->host),
		    KB_S("error",
			s.refused        ? "address not allowed"
			    : s.error[0] ? s.error
					 : curl_easy_strerror(code)));
	curl_slist_free_all(s.to);
	curl_easy_cleanup(s.easy);
	return err;
}

/* ---- the mailbox
 * ------------------------------------------------------------------------ */

static bool
write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return true;
}

enum kb_err
kb_mail_drop(struct kb_arena *a, const struct kb_log *log, const char *dir,
    const struct kb_mail *m)
{
	const char *name = kb_id_new(a, "mail"), *text;
	const char *path = kb_sprintf(a, "%s/%s.eml", dir, name);
	const char *part = kb_sprintf(a, "%s/.%s", dir, name);
	enum kb_err err = kb_mail_compose(a, m, &text);
	bool ok;
	int fd;

	if (err)
		return err;
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = fd >= 0 && write_all(fd, text, strlen(text));
	if (fd >= 0)
		ok = close(fd) == 0 && ok;
	ok = ok && rename(part, path) == 0;
	if (!ok)
		kb_warn(log, "mail not kept", KB_S("error", strerror(errno)));
	return ok ? KB_OK : KB_UNAVAILABLE;
}
