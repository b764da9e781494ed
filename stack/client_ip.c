/*
 * Whose request it is behind a proxy: the proxies of KOMBI_TRUSTED_PROXIES
 * say so in X-Real-IP. Nobody else is believed.
 */
#include <kombi/network.h>
#include <kombi/str.h>

#include "stack.h"

void
client_ip_believe(struct kb_request *req)
{
	const char *const *list = stack_config(kb_app(req))->proxies;
	const char *said = kb_header(req, "X-Real-IP");
	struct kb_networks trusted;

	if (list == NULL || said == NULL || req->peer == NULL ||
	    !kb_is_address(said))
		return;
	trusted = kb_networks_of(req->cx.arena, list);
	if (kb_networks_have_text(&trusted, req->peer))
		req->peer = kb_strdup(req->cx.arena, said);
}
