/* What is around every request of the API: records/api.c calls it. */
#ifndef STACK_FRAME_H
#define STACK_FRAME_H

#include "records.h"

/* Pages of any origin may read the answer. */
void frame_origin(struct kb_request *req);
/* What a browser asks before a request. */
struct kb_reply frame_preflight(struct kb_request *req);
/* Counts the request against the tenant's rateLimits; false: it is one too
 * many. Headers say how many are left. */
bool frame_limit(struct api *api);

#endif
