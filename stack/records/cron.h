/*
 * Times by five fields, as cron has them: minute, hour, day of the month,
 * month, day of the week (0 is Sunday), each *, a number, a range, a list,
 * steps; or @yearly, @monthly, @weekly, @daily, @hourly.
 */
#ifndef STACK_CRON_H
#define STACK_CRON_H

#include <kombi/base.h>

struct cron {
	uint64_t minutes;
	uint32_t hours, days, months, weekdays;
};

bool cron_parse(const char *text, struct cron *out);
/* Whether it is due in the minute of that unix time (UTC). */
bool cron_due(const struct cron *c, int64_t wall_s);

#endif
