/*
 * The error table as look-ups: wire code, HTTP status, default text.
 */
#include <kombi/error.h>

struct row {
	const char *code;
	int status;
	const char *text;
};

static const struct row rows[KB_ERR_COUNT] = { [KB_OK] = { "OK", 200, "OK" },
#define ROW(name, wire, status, text) [name] = { wire, status, text },
	KB_ERROR_TABLE(ROW)
#undef ROW
};

static const struct row *
row_of(enum kb_err err)
{
	return (unsigned)err < KB_ERR_COUNT ? &rows[err] : &rows[KB_INTERNAL];
}

const char *
kb_err_code(enum kb_err err)
{
	return row_of(err)->code;
}

int
kb_err_status(enum kb_err err)
{
	return row_of(err)->status;
}

const char *
kb_err_text(enum kb_err err)
{
	return row_of(err)->text;
}
