/*
 * The state file: changes by the Admin API outlive the process.
 */
#include "config_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "admin_api.h"

enum { TEXT_MAX = 256 << 20, HEX = 64, FILE_MAX = 16 << 20 };

/* The first line; JSON follows, so the whole is a YAML document. */
static const char mark[] = "# kombify gateway: changes by the Admin API to "
			   "the declarative file of SHA-256 ";

/* ---- which file ---------------------------------------------------------- */

/* "" when it cannot be read. */
static void
hash_file(const char *file, char out[HEX + 1])
{
	struct kb_buf text;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 0;
	char *room;

	out[0] = '\0';
	kb_buf_init(&text, FILE_MAX);
	while (fd >= 0 && (room = kb_buf_reserve(&text, 65536)) != NULL &&
	    (n = read(fd, room, 65536)) > 0)
		kb_buf_commit(&text, (size_t)n);
	if (n == 0)
		kb_sha256_hex(kb_buf_str(&text), text.len, out);
	if (fd >= 0)
		close(fd);
	kb_buf_free(&text);
}

/* Of which file it is the state; "" when there is none. */
static void
read_mark(const char *state, char out[HEX + 1])
{
	char line[sizeof(mark) + HEX] = "";
	int fd = open(state, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	out[0] = '\0';
	if (fd >= 0)
		close(fd);
	if (n == (ssize_t)sizeof(line) - 1 && kb_str_starts(line, mark))
		memcpy(out, line + sizeof(mark) - 1, HEX + 1);
}

const char *
state_choose(const struct gateway *g)
{
	const char *state = g->config->config_state;
	char is[HEX + 1], was[HEX + 1];

	if (state == NULL || access(state, F_OK) != 0)
		return g->config->config_file;
	hash_file(g->config->config_file, is);
	read_mark(state, was);
	return kb_str_eq(is, was) && is[0] ? state : g->config->config_file;
}

void
state_settle(const struct gateway *g, const char *loaded)
{
	const char *state = g->config->config_state;
	char aside[4096];

	if (state == NULL || loaded == state || access(state, F_OK) != 0)
		return;
	snprintf(aside, sizeof(aside), "%s.superseded", state);
	if (rename(state, aside) == 0)
		kb_warn(NULL,
		    "the declarative file was edited: changes by the Admin "
		    "API are put aside",
		    KB_S("file", aside));
	else
		kb_error(NULL, "a state cannot be put aside",
		    KB_S("file", state), KB_S("reason", strerror(errno)));
}

/* ---- keeping ------------------------------------------------------------- */

static bool
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool
sync_folder(const char *file)
{
	const char *slash = strrchr(file, '/');
	char folder[4096] = ".";
	int fd;
	bool fine;

	if (slash != NULL)
		snprintf(folder, sizeof(folder), "%.*s",
		    slash == file ? 1 : (int)(slash - file), file);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fine = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return fine;
}

static bool
replace(const char *file, const struct kb_buf *text)
{
	char fresh[4096];
	int fd;
	bool fine;

	snprintf(fresh, sizeof(fresh), "%s.new", file);
	fd = open(
	    fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	fine = fd >= 0 && fchmod(fd, 0600) == 0 &&
	    write_all(fd, text->ptr, text->len) && fsync(fd) == 0;
	if (fd >= 0 && close(fd) != 0)
		fine = false;
	return fine && rename(fresh, file) == 0 && sync_folder(file);
}

bool
state_save(const struct gateway *g, const struct document *d, const char **why)
{
	static bool told; /* main thread only */
	const char *file = g->config->config_state;
	char hash[HEX + 1];
	struct kb_buf text;
	bool fine;

	if (file == NULL && !told) {
		told = true;
		kb_warn(NULL,
		    "changes by the Admin API last until the next reload or "
		    "restart: KOMBI_CONFIG_STATE names no file");
	}
	if (file == NULL)
		return true;
	hash_file(g->config->config_file, hash);
	kb_buf_init(&text, TEXT_MAX);
	kb_buf_addf(&text, "%s%s\n", mark, hash);
	config_text(&text, d, true);
	/* A text that files resolve would come back as another one. */
	fine = !kb_buf_failed(&text) && strstr(text.ptr, "${") == NULL;
	*why = fine ? "" : "it is too large, or a text holds \"${\"";
	if (fine && !replace(file, &text)) {
		fine = false;
		*why = strerror(errno);
	}
	kb_wipe(text.ptr, text.len);
	kb_buf_free(&text);
	return fine;
}
