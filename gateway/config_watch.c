/*
 * Notices that the declarative file has become another one: written in its
 * place, renamed over, or a symbolic link on the way to it turned elsewhere
 * (as Kubernetes does with its maps). Folders are watched, not the file.
 */
#include "config_state.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>

enum { QUIET_MS = 100 };

static const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE |
    IN_DELETE | IN_ATTRIB | IN_MOVED_FROM;

/* What tells one file from another. */
struct identity {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec modified;
};

struct watch {
	const char *file;
	void (*changed)(void *arg);
	void *arg;
	int fd;
	struct event *event, *quiet;
	struct identity last;
};

static struct identity
identity_of(const char *file)
{
	struct identity id = { .ino = 0 };
	struct stat st;

	/* While it is gone for a moment there is nothing to load. */
	if (stat(file, &st) == 0)
		id = (struct identity) { st.st_dev, st.st_ino, st.st_size,
			st.st_mtim };
	return id;
}

static bool
is_same(const struct identity *a, const struct identity *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	    a->modified.tv_sec == b->modified.tv_sec &&
	    a->modified.tv_nsec == b->modified.tv_nsec;
}

static bool
watch_folder(struct watch *w, const char *file)
{
	const char *slash = strrchr(file, '/');
	char folder[PATH_MAX] = ".";

	if (slash != NULL)
		snprintf(folder, sizeof(folder), "%.*s",
		    slash == file ? 1 : (int)(slash - file), file);
	return inotify_add_watch(w->fd, folder, events) >= 0;
}

/* That of the name, and that of what the name leads to now. A folder that is
 * watched already stays so. */
static bool
watch_folders(struct watch *w)
{
	const char *file = w->file;
	char real[PATH_MAX];

	if (realpath(file, real) != NULL)
		(void)watch_folder(w, real);
	return watch_folder(w, file);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct timeval quiet = { .tv_usec = QUIET_MS * 1000 };
	struct watch *w = arg;
	char buffer[4096];

	(void)what;
	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
	event_add(w->quiet, &quiet);
}

static void
on_quiet(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	struct identity now = identity_of(w->file);

	(void)fd;
	(void)what;
	(void)watch_folders(w);
	if (now.ino == 0 || is_same(&now, &w->last))
		return;
	w->last = now;
	w->changed(w->arg);
}

struct watch *
watch_start(const char *file, struct event_base *base,
    void (*changed)(void *arg), void *arg)
{
	struct watch *w = kb_xalloc(sizeof(*w));

	w->file = file;
	w->changed = changed;
	w->arg = arg;
	w->last = identity_of(file);
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0 || !watch_folders(w)) {
		kb_warn(NULL, "the declarative file cannot be watched",
		    KB_S("file", file), KB_S("reason", strerror(errno)));
		if (w->fd >= 0)
			close(w->fd);
		free(w);
		return NULL;
	}
	w->event = event_new(base, w->fd, EV_READ | EV_PERSIST, on_event, w);
	w->quiet = evtimer_new(base, on_quiet, w);
	event_add(w->event, NULL);
	return w;
}

void
watch_stop(struct watch *w)
{
	if (w == NULL)
		return;
	event_free(w->event);
	event_free(w->quiet);
	close(w->fd);
	free(w);
}

/* ---- metric -------------------------------------------------------------- */

static struct kb_metric reloads = {
	.kind = KB_COUNTER,
	.name = "kong_config_reload_total",
	.help = "Configurations that were to be taken into use, by outcome",
	.labels = { "result" },
};

void
reload_count(bool accepted)
{
	const char *const labels[KB_METRIC_LABELS] = { accepted ? "accepted"
								: "refused" };

	kb_series_add(kb_metric_series(&reloads, labels), 1);
}

void
reload_metric_register(void)
{
	kb_metric_register(&reloads);
}
