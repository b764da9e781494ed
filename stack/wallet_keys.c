/* The keys that wallets are encrypted with. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "platform.h"

#define KEY_SIZE 32
#define TEXT_MAX 64

static bool
read_key(const struct kb_secret *secret, unsigned char out[KEY_SIZE])
{
	unsigned char bytes[TEXT_MAX * 3 / 4 + 3];
	size_t len;
	const char *text = (const char *)kb_secret_reveal(secret, &len);
	bool good = false;

	if (len == KEY_SIZE) {
		memcpy(out, text, KEY_SIZE);
		return true;
	}
	if (len == (size_t)KEY_SIZE * 2)
		good = kb_unhex(text, len, bytes);
	else if (len < TEXT_MAX)
		good = kb_base64_decode(text, len, bytes) == KEY_SIZE;
	if (good)
		memcpy(out, bytes, KEY_SIZE);
	kb_wipe(bytes, sizeof(bytes));
	return good;
}

/* A developer's wallet works without more ado. */
static void
development_key(struct kb_app *app, struct wallet_keys *out)
{
	size_t len;
	const unsigned char *secret = kb_secret_reveal(
	    &app->common->service_secret, &len);

	kb_hkdf_sha256(
	    secret, len, "kombi stack wallet", out->keys[0], KEY_SIZE);
	out->n = 1;
}

bool
wallet_keys_read(struct kb_app *app, struct wallet_keys *out)
{
	const struct stack_config *c = stack_config(app);
	const struct kb_secret *given[] = { &c->wallet_key,
		&c->wallet_key_next };

	*out = (struct wallet_keys) { .n = 0 };
	for (size_t i = 0; i < KB_COUNT(given); i++) {
		if (!kb_secret_is_set(given[i]))
			continue;
		if (!read_key(given[i], out->keys[out->n])) {
			kb_error(NULL,
			    "a key of the wallet is not 32 bytes, 64 hex"
			    " digits or base64 of 32 bytes");
			return false;
		}
		out->n++;
	}
	if (out->n == 0 && app->common->environment == KB_ENV_DEVELOPMENT)
		development_key(app, out);
	return true;
}
