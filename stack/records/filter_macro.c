/* Macros of the filter language: names of moments and of parts of now. */
#include <string.h>
#include <time.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "filter.h"

#define DAY_MS 86400000

enum macro_kind { AT_OFFSET, A_PART, AN_EDGE };

struct now {
	int64_t ms;
	struct tm tm;
};

static int64_t
year_of(const struct now *n)
{
	return n->tm.tm_year + 1900;
}

static int64_t
last_day(const struct now *n)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
		31 };
	int64_t y = year_of(n);
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	return days[n->tm.tm_mon] + (leap && n->tm.tm_mon == 1);
}

static const struct {
	const char *name;
	enum macro_kind kind;
	int64_t arg; /* offset in ms, part, or edge */
} macros[] = {
	{ "@now", AT_OFFSET, 0 },
	{ "@yesterday", AT_OFFSET, -DAY_MS },
	{ "@tomorrow", AT_OFFSET, DAY_MS },
	{ "@second", A_PART, 's' },
	{ "@minute", A_PART, 'm' },
	{ "@hour", A_PART, 'h' },
	{ "@day", A_PART, 'd' },
	{ "@month", A_PART, 'M' },
	{ "@weekday", A_PART, 'w' },
	{ "@year", A_PART, 'y' },
	{ "@todayStart", AN_EDGE, 'd' },
	{ "@todayEnd", AN_EDGE, 'D' },
	{ "@monthStart", AN_EDGE, 'm' },
	{ "@monthEnd", AN_EDGE, 'M' },
	{ "@yearStart", AN_EDGE, 'y' },
	{ "@yearEnd", AN_EDGE, 'Y' },
};

static int64_t
part_of(const struct now *n, int64_t part)
{
	switch (part) {
	case 's': return n->tm.tm_sec;
	case 'm': return n->tm.tm_min;
	case 'h': return n->tm.tm_hour;
	case 'd': return n->tm.tm_mday;
	case 'M': return n->tm.tm_mon + 1;
	case 'w': return n->tm.tm_wday;
	default: return year_of(n);
	}
}

static const char *
edge_of(struct kb_arena *a, const struct now *n, int64_t edge)
{
	bool end = edge == 'D' || edge == 'M' || edge == 'Y';
	int64_t month = n->tm.tm_mon + 1, day = n->tm.tm_mday;

	if (edge == 'm' || edge == 'M')
		day = end ? last_day(n) : 1;
	if (edge == 'y' || edge == 'Y') {
		month = end ? 12 : 1;
		day = end ? 31 : 1;
	}
	return kb_sprintf(a, "%04lld-%02lld-%02lld %s", (long long)year_of(n),
	    (long long)month, (long long)day,
	    end ? "23:59:59.999Z" : "00:00:00.000Z");
}

static const char *
moment(struct kb_arena *a, int64_t ms)
{
	char *text = kb_arena_alloc(a, KB_RFC3339_SIZE);

	kb_rfc3339(ms, text);
	text[10] = ' ';
	return text;
}

bool
macro_value(struct kb_arena *a, const char *name, struct kb_val *out)
{
	struct now n = { .ms = kb_wall_ms() };
	time_t seconds = (time_t)(n.ms / 1000);
	size_t i = 0;

	while (i < KB_COUNT(macros) && strcmp(macros[i].name, name) != 0)
		i++;
	if (i == KB_COUNT(macros))
		return false;
	gmtime_r(&seconds, &n.tm);
	switch (macros[i].kind) {
	case AT_OFFSET: *out = KB_TEXT(moment(a, n.ms + macros[i].arg)); break;
	case A_PART: *out = KB_INT(part_of(&n, macros[i].arg)); break;
	case AN_EDGE: *out = KB_TEXT(edge_of(a, &n, macros[i].arg)); break;
	}
	return true;
}
