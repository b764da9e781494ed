/* Cron expressions, each field a set of bits. */
#include "cron.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *name, *fields;
} macros[] = {
	{ "@yearly", "0 0 1 1 *" },
	{ "@annually", "0 0 1 1 *" },
	{ "@monthly", "0 0 1 * *" },
	{ "@weekly", "0 0 * * 0" },
	{ "@daily", "0 0 * * *" },
	{ "@midnight", "0 0 * * *" },
	{ "@hourly", "0 * * * *" },
};

static const struct {
	long least, most;
} bounds[5] = { { 0, 59 }, { 0, 23 }, { 1, 31 }, { 1, 12 }, { 0, 6 } };

static bool
read_number(const char **at, long *out)
{
	char *end;

	if (!isdigit((unsigned char)**at))
		return false;
	*out = strtol(*at, &end, 10);
	*at = end;
	return true;
}

/* One of a list: "*", "5", "1-5", each perhaps "/2". */
static bool
read_range(const char **at, int field, uint64_t *bits)
{
	long from = bounds[field].least, to = bounds[field].most, step = 1;
	bool one = false;

	if (**at == '*') {
		(*at)++;
	} else {
		if (!read_number(at, &from))
			return false;
		to = from;
		one = true;
		if (**at == '-') {
			(*at)++;
			one = false;
			if (!read_number(at, &to))
				return false;
		}
	}
	if (**at == '/') {
		(*at)++;
		if (!read_number(at, &step) || step < 1)
			return false;
		if (one)
			to = bounds[field].most;
	}
	if (from < bounds[field].least || to > bounds[field].most || from > to)
		return false;
	for (; from <= to; from += step)
		*bits |= UINT64_C(1) << from;
	return true;
}

static bool
read_field(const char **at, int field, uint64_t *bits)
{
	*bits = 0;
	for (;;) {
		if (!read_range(at, field, bits))
			return false;
		if (**at != ',')
			return **at == ' ' || **at == '\0';
		(*at)++;
	}
}

bool
cron_parse(const char *text, struct cron *out)
{
	uint64_t bits[5];

	for (size_t i = 0; i < KB_COUNT(macros); i++)
		if (strcmp(macros[i].name, text) == 0)
			text = macros[i].fields;
	for (int i = 0; i < 5; i++) {
		text += strspn(text, " ");
		if (!read_field(&text, i, &bits[i]))
			return false;
	}
	*out = (struct cron) {
		.minutes = bits[0],
		.hours = (uint32_t)bits[1],
		.days = (uint32_t)bits[2],
		.months = (uint32_t)bits[3],
		.weekdays = (uint32_t)bits[4],
	};
	return text[strspn(text, " ")] == '\0';
}

bool
cron_due(const struct cron *c, int64_t wall_s)
{
	time_t at = (time_t)wall_s;
	struct tm tm;

	if (gmtime_r(&at, &tm) == NULL)
		return false;
	return (c->minutes >> tm.tm_min & 1) && (c->hours >> tm.tm_hour & 1) &&
	    (c->days >> tm.tm_mday & 1) && (c->months >> (tm.tm_mon + 1) & 1) &&
	    (c->weekdays >> tm.tm_wday & 1);
}
