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
#define ROW(text) { text, sizeof(text) - 1 }
static const struct row {
	const char *text;
	size_t len;
} owned[] = {
	ROW("x-user-"), ROW("x-org-"), ROW("x-subscription-"),
	ROW("x-tenant-"), ROW("x-roles"),
	ROW("x-kombi-"), ROW("x-kombify-"), ROW("x-kombisphere-"),
	ROW("x-service-"), ROW("x-internal-"), ROW("x-original-authorization"),
	ROW("x-consumer-"), ROW("x-credential-"), ROW("x-authenticated-"),
	ROW("x-anonymous-consumer"), ROW("x-auth-request-"),
	ROW("x-forwarded-"), ROW("x-real-ip"), ROW("x-client-ip"),
	ROW("x-cluster-client-ip"),
	ROW("forwarded"), ROW("true-client-ip"), ROW("cf-connecting-ip"),
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
row_owns(const struct row *row, const char *name, size_t len)
{
	if (row->text[row->len - 1] != '-')
		return len == row->len && memcmp(name, row->text, len) == 0;
	if (len + 1 == row->len)
		return memcmp(name, row->text, len) == 0;
	return len >= row->len && memcmp(name, row->text, row->len) == 0;
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
		/* After "x-" the next letter tells most of them apart. */
		if (n > 2 && owned[i].text[2] == folded[2] &&
		    row_owns(&owned[i], folded, n))
			return true;
	return false;
}
