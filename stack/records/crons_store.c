#include <kombi/time.h>

#include "crons.h"

enum kb_err
crons_optimize(struct kb_cx *cx)
{
	return kb_exec(cx, "PRAGMA optimize");
}

enum kb_err
crons_prune(
    struct kb_cx *cx, bool mfas, const char *collection_id, int64_t life_s)
{
	char before[KB_RFC3339_SIZE];

	kb_rfc3339(kb_wall_ms() - life_s * 1000, before);
	before[10] = ' ';
	return kb_exec(cx,
	    mfas ? "DELETE FROM _mfas WHERE \"collectionRef\" = $1"
		   " AND \"created\" < $2"
		 : "DELETE FROM _otps WHERE \"collectionRef\" = $1"
		   " AND \"created\" < $2",
	    KB_TEXT(collection_id), KB_TEXT(before));
}
