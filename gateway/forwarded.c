/*
 * Who the client is: the peer of the connection, or what trusted proxies in
 * front of us say in X-Forwarded-For and -Proto. Nobody else is believed.
 */
#include <kombi/network.h>
#include <kombi/str.h>

#include "inside.h"

bool
forwarded_trusted(const struct exchange *x)
{
	const struct kb_networks *trusted = &x->loop->gateway->trusted;

	return trusted->n > 0 && kb_networks_have(trusted, kb_ex_peer(x->ex));
}

bool
forwarded_https(const struct exchange *x)
{
	struct kb_slice proto = exchange_header(x, "X-Forwarded-Proto");

	if (proto.len > 0 && forwarded_trusted(x))
		return kb_slice_eqi(proto, "https");
	return kb_ex_tls(x->ex) != NULL;
}

const char *
forwarded_client(struct exchange *x)
{
	const char *peer = kb_ex_peer_text(x->ex);

	if (!forwarded_trusted(x))
		return peer;
	return kb_forwarded_client(exchange_arena(x),
	    &x->loop->gateway->trusted, peer,
	    exchange_header(x, "X-Forwarded-For"));
}
