/*
 * What keeps a configuration and notices that it changed: the state file of
 * the Admin API, and the watch on the declarative file. Main thread.
 */
#ifndef GATEWAY_CONFIG_STATE_H
#define GATEWAY_CONFIG_STATE_H

#include "inside.h"

/* ---- state (config_state.c) ----------------------------------------------
 *
 * Changes by the Admin API are kept in the file that KOMBI_CONFIG_STATE names:
 * a declarative file of its own, that says which declarative file (by its
 * SHA-256) it was made from. It is loaded in the place of that one as long as
 * that one stays the same; when that is edited, the edited file wins, and the
 * state is put aside as NAME.superseded.
 */

/* The file to load now: the state or the declarative file. */
const char *state_choose(const struct gateway *g);
/* That one was loaded: puts a state aside that does not hold any more. */
void state_settle(const struct gateway *g, const char *loaded);
/*
 * Keeps a document before it is used: written, synced, renamed. True without
 * a state file; the first time one line in the log says what that means.
 */
bool state_save(const struct gateway *g, const struct document *d,
    const char **why) KB_MUSTUSE;

/* ---- watch (config_watch.c) ---------------------------------------------- */

/*
 * Calls changed() 100 ms after the file (or what a symbolic link in its place
 * leads to) has become another one. NULL: it cannot be watched; one line in
 * the log says why.
 */
struct watch;
struct watch *watch_start(const char *file, struct event_base *base,
    void (*changed)(void *arg), void *arg);
void watch_stop(struct watch *w); /* NULL is fine */

/* kong_config_reload_total */
void reload_metric_register(void);
void reload_count(bool accepted);

#endif
