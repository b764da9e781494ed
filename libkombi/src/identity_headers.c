/*
 * Which header names belong to the gateway, whatever their spelling. Proxies
 * and runtimes fold '_', '.' and the like to '-', so X_User.ID reaches an
 * application as X-User-ID: all that folds together is owned together.
 */
#include <string.h>

#include <kombi/identity.h>

#define LONGEST 40

/* Folded; a row that ends with '-' owns every name that begins with it, and
 * the name without the '-'. */
/* clang-format off */
static const char *const owned[] = {
	"x-user-", "x-org-", "x-subscription-", "x-tenant-", "x-roles",
	"x-kombi-", "x-kombify-", "x-kombisphere-",
	"x-service-", "x-internal-", "x-original-authorization",
	"x-consumer-", "x-credential-", "x-authenticated-",
	"x-anonymous-consumer", "x-auth-request-",
	"x-forwarded-", "x-real-ip", "x-client-ip", "x-cluster-client-ip",
	"forwarded", "true-client-ip", "cf-connecting-ip",
};
/* clang-format on */

static char
fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return c;
	return '-';
}

static bool
row_owns(const char *row, const char *name, size_t len)
{
	size_t row_len = strlen(row);

	if (row[row_len - 1] != '-')
		return len == row_len && memcmp(name, row, len) == 0;
	if (len + 1 == row_len)
		return memcmp(name, row, len) == 0;
	return len >= row_len && memcmp(name, row, row_len) == 0;
}

bool
kb_header_is_owned(const char *name, size_t len)
{
	char folded[LONGEST];
	char first = len ? fold(name[0]) : '\0';
	size_t n;

	/* Most headers are told apart by their first letters. */
	if (first == 'x') {
		if (len < 2 || fold(name[1]) != '-')
			return false;
	} else if (first != 'f' && first != 't' && first != 'c') {
		return false;
	}

	while (len && fold(name[len - 1]) == '-')
		len--;
	/* What is longer than every row can only match by its beginning. */
	n = len < sizeof(folded) ? len : sizeof(folded);
	for (size_t i = 0; i < n; i++)
		folded[i] = fold(name[i]);
	for (size_t i = 0; i < KB_COUNT(owned); i++)
		if (row_owns(owned[i], folded, n))
			return true;
	return false;
}
