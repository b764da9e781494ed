/* bcrypt through libxcrypt. */
#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/password.h>
#include <kombi/str.h>

#define HASH_LEN 60
#define COST_MIN 4
#define COST_MAX 15

/* 32 KiB of scratch: not on a worker's stack, and never left behind. */
static bool
run(const char *password, const char *setting, char out[HASH_LEN + 1])
{
	struct crypt_data *data = kb_xalloc(sizeof(*data));
	const char *hash;
	bool ok;

	memset(data, 0, sizeof(*data));
	hash = crypt_r(password, setting, data);
	ok = hash != NULL && hash[0] == '$' && strlen(hash) == HASH_LEN;
	if (ok)
		memcpy(out, hash, HASH_LEN + 1);
	kb_wipe(data, sizeof(*data));
	free(data);
	return ok;
}

static bool
make_setting(unsigned cost, char out[CRYPT_GENSALT_OUTPUT_SIZE])
{
	char random[16];

	kb_random(random, sizeof(random));
	return crypt_gensalt_rn("$2b$", cost, random, sizeof(random), out,
		   CRYPT_GENSALT_OUTPUT_SIZE) != NULL;
}

char *
kb_password_hash(struct kb_arena *a, const char *password, unsigned cost)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE], hash[HASH_LEN + 1];
	size_t len = strlen(password);

	if (cost == 0)
		cost = KB_PASSWORD_COST;
	if (cost > COST_MAX)
		cost = COST_MAX;
	if (len == 0 || len > KB_PASSWORD_MAX || !make_setting(cost, setting) ||
	    !run(password, setting, hash))
		return NULL;
	return kb_strdup(a, hash);
}

static bool
is_hash(const char *hash)
{
	int cost;

	if (hash == NULL || strlen(hash) != HASH_LEN ||
	    (!kb_str_starts(hash, "$2a$") && !kb_str_starts(hash, "$2b$") &&
		!kb_str_starts(hash, "$2y$")) ||
	    hash[6] != '$')
		return false;
	cost = (hash[4] - '0') * 10 + hash[5] - '0';
	return cost >= COST_MIN && cost <= COST_MAX;
}

bool
kb_password_verify(const char *password, const char *hash)
{
	/* Nobody's: what it was made of was thrown away. */
	static const char nobodys
	    [] = "$2b$10$K3u9Z0m7yqf1sW2xVb8cPuCkY5o0mB1vXn4rT6hJd7eSgLqAwFzRi";
	bool known = is_hash(hash);
	const char *against = known ? hash : nobodys;
	char got[HASH_LEN + 1] = { 0 };
	bool fits = strlen(password) <= KB_PASSWORD_MAX;
	bool ok = run(fits ? password : "", against, got);

	return ok && known && fits && kb_equal_ct(got, hash, HASH_LEN);
}
