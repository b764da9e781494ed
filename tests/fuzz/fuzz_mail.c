/*
 * Mails of anything: a subject, a name and a body. The head holds our headers
 * alone, whatever is in them; a filled template shows no placeholder's value
 * twice filled.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/mail.h>
#include <kombi/str.h>

#include "mail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const known[] = { "From:", "To:", "Subject:", "Date:",
	"Message-ID:", "MIME-Version:", "Auto-Submitted:", "Content-Type:",
	" " };

static void
check_head(const char *text)
{
	const char *end;

	for (; strncmp(text, "\r\n", 2) != 0; text = end + 2) {
		bool ours = false;

		end = strstr(text, "\r\n");
		if (end == NULL)
			abort();
		for (size_t i = 0; i < KB_COUNT(known); i++)
			ours = ours || kb_str_starts(text, known[i]);
		if (!ours)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *input = kb_strndup(a, (const char *)data, size);
	const struct placeholder p[] = { { "{A}", "{B}" }, { "{B}", "x" } };
	struct kb_mail m = {
		.from_name = input,
		.from = "a@example.com",
		.to = "b@example.com",
		.subject = input,
		.html = mail_fill(a, input, p, 2),
	};
	const char *text;

	if (kb_mail_compose(a, &m, &text) == KB_OK)
		check_head(text);
	if (kb_mail_address_ok(input) && strpbrk(input, "<>\r\n ") != NULL)
		abort();
	kb_arena_free(a);
	return 0;
}
