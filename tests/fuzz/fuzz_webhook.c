/*
 * A signature header as anybody may send it: nothing but our own signature is
 * ever taken, and the header that we make is taken whatever the body.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/webhook.h>

#define NOW 1700000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_secret secret = { 0 };
	char *text = kb_strndup(a, (const char *)data, size);
	struct kb_webhook w = { text, NULL, kb_slice_of(text), NOW };
	char *mine;

	kb_secret_set(&secret, "whsec_fuzz", 10);
	mine = kb_webhook_sign(a, &secret, NOW, w.body);
	if (kb_webhook_verify(&w, &secret, NULL) == KB_OK &&
	    strstr(text, strstr(mine, "v1=") + 3) == NULL)
		abort();
	w.timestamp = text;
	if (kb_webhook_verify(&w, NULL, NULL) != KB_CONFIGURATION)
		abort();
	w.signature = mine;
	w.timestamp = NULL;
	if (kb_webhook_verify(&w, NULL, &secret) != KB_OK)
		abort();
	kb_secret_free(&secret);
	kb_arena_free(a);
	return 0;
}
