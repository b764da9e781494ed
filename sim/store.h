/* What the stores of simulations, nodes and work share; all inside of the
 * caller's transaction. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "sim.h"

struct store_count {
	int64_t n;
};

/* Inserts a node after checking every quota that it touches. */
enum kb_err
store_node(struct kb_cx *tx, const struct tenant *t, const char *simulation_id,
    struct node *n, struct excess *excess) KB_MUSTUSE;
/* Starting counts against the tenant's CPU and memory. */
enum kb_err store_node_wanted(struct kb_cx *tx, const struct tenant *t,
    const struct node *n, const char *wanted, struct excess *excess) KB_MUSTUSE;
enum kb_err store_nodes_of(
    struct kb_cx *cx, const struct tenant *t, struct simulation *s) KB_MUSTUSE;
/* The simulation's status follows from those of its nodes. */
enum kb_err
store_sim_status(struct kb_cx *tx, const char *simulation_id) KB_MUSTUSE;
/* Its last node is gone: so is a simulation that shall be deleted. */
enum kb_err
store_sim_gone(struct kb_cx *tx, const char *simulation_id) KB_MUSTUSE;
enum kb_err store_event(struct kb_cx *tx, const char *simulation_id,
    const char *level, const char *node, const char *message) KB_MUSTUSE;

#endif
