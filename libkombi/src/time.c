/*
 * Both clocks, and dates as text. Calendar arithmetic is done here (days from
 * civil, proleptic Gregorian), so that no time zone of the machine matters.
 */
#include <kombi/time.h>

#include <stdatomic.h>
#include <string.h>
#include <time.h>

static _Atomic int64_t shift_ms;

static int64_t
clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
kb_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC) + shift_ms * 1000000;
}

int64_t
kb_mono_ms(void)
{
	return kb_mono_ns() / 1000000;
}

int64_t
kb_mono_coarse_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000 + shift_ms;
}

int64_t
kb_wall_ms(void)
{
	return clock_ns(CLOCK_REALTIME) / 1000000 + shift_ms;
}

int64_t
kb_wall_s(void)
{
	return kb_wall_ms() / 1000;
}

void
kb_clock_shift(int64_t ms)
{
	shift_ms += ms;
}

struct civil {
	int64_t year;
	int month, day; /* from 1 */
};

static int64_t
days_of(struct civil c)
{
	int64_t y = c.year - (c.month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (c.month + (c.month > 2 ? -3 : 9)) + 2) / 5 +
	    c.day - 1;
	int64_t day = of_era * 365 + of_era / 4 - of_era / 100 + of_year;

	return era * 146097 + day - 719468;
}

static struct civil
civil_of(int64_t days)
{
	struct civil c;
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t day = z - era * 146097;
	int64_t of_era = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
	int64_t m = (5 * of_year + 2) / 153;

	c.day = (int)(of_year - (153 * m + 2) / 5 + 1);
	c.month = (int)(m < 10 ? m + 3 : m - 9);
	c.year = of_era + era * 400 + (c.month <= 2);
	return c;
}

static void
put_digits(char *out, int64_t value, int digits)
{
	while (digits-- > 0) {
		out[digits] = (char)('0' + value % 10);
		value /= 10;
	}
}

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Years 0000 to 9999 are what four digits can say. */
#define FIRST_S (-62167219200)
#define LAST_S 253402300799

static int64_t
clamp(int64_t v, int64_t lo, int64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

void
kb_rfc3339(int64_t wall_ms, char out[KB_RFC3339_SIZE])
{
	int64_t ms = clamp(wall_ms, FIRST_S * 1000, LAST_S * 1000 + 999);
	int64_t days = floor_div(ms, 86400000);
	int64_t rest = ms - days * 86400000;
	struct civil c = civil_of(days);

	memcpy(out, "0000-00-00T00:00:00.000Z", KB_RFC3339_SIZE);
	put_digits(out, c.year, 4);
	put_digits(out + 5, c.month, 2);
	put_digits(out + 8, c.day, 2);
	put_digits(out + 11, rest / 3600000, 2);
	put_digits(out + 14, rest / 60000 % 60, 2);
	put_digits(out + 17, rest / 1000 % 60, 2);
	put_digits(out + 20, rest % 1000, 3);
}

char *
kb_now_text(struct kb_arena *a)
{
	char *out = kb_arena_alloc(a, KB_RFC3339_SIZE);

	kb_rfc3339(kb_wall_ms(), out);
	return out;
}

/* Takes exactly `digits` digits; -1 if they are not there. */
static int
take_digits(const char **s, int digits)
{
	int value = 0;

	for (; digits > 0; digits--, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		value = value * 10 + (**s - '0');
	}
	return value;
}

static bool
take_char(const char **s, const char *allowed)
{
	if (**s == '\0' || !strchr(allowed, **s))
		return false;
	(*s)++;
	return true;
}

static int
days_in_month(int64_t year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
		31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

static bool
take_date(const char **s, struct civil *c)
{
	c->year = take_digits(s, 4);
	if (c->year < 0 || !take_char(s, "-"))
		return false;
	c->month = take_digits(s, 2);
	if (c->month < 1 || c->month > 12 || !take_char(s, "-"))
		return false;
	c->day = take_digits(s, 2);
	return c->day >= 1 && c->day <= days_in_month(c->year, c->month);
}

/* hh:mm as minutes; -1 if it is none. */
static int
take_minutes(const char **s)
{
	int h = take_digits(s, 2), m;

	if (h < 0 || h > 23 || !take_char(s, ":"))
		return -1;
	m = take_digits(s, 2);
	return m < 0 || m > 59 ? -1 : h * 60 + m;
}

/* ".123456" as milliseconds, 0 if there is none, -1 if there are no digits. */
static int
take_fraction(const char **s)
{
	int ms = 0, unit = 100;

	if (!take_char(s, "."))
		return 0;
	if (**s < '0' || **s > '9')
		return -1;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		ms += (**s - '0') * unit;
		unit /= 10;
	}
	return ms;
}

static bool
take_offset(const char **s, int *minutes)
{
	bool behind;

	*minutes = 0;
	if (take_char(s, "Zz"))
		return true;
	behind = **s == '-';
	if (!take_char(s, "+-"))
		return false;
	*minutes = take_minutes(s);
	if (*minutes < 0)
		return false;
	if (behind)
		*minutes = -*minutes;
	return true;
}

/* Second 60 is refused: unix time cannot hold it. */
bool
kb_rfc3339_parse(const char *s, int64_t *wall_ms)
{
	struct civil c;
	int minutes, seconds, ms, offset;

	if (!s || !take_date(&s, &c) || !take_char(&s, "Tt"))
		return false;
	minutes = take_minutes(&s);
	if (minutes < 0 || !take_char(&s, ":"))
		return false;
	seconds = take_digits(&s, 2);
	if (seconds < 0 || seconds > 59)
		return false;
	ms = take_fraction(&s);
	if (ms < 0 || !take_offset(&s, &offset) || *s != '\0')
		return false;
	*wall_ms = days_of(c) * 86400000 + ((int64_t)minutes - offset) * 60000 +
	    (int64_t)seconds * 1000 + ms;
	return true;
}

void
kb_http_date(int64_t wall_s, char out[30])
{
	static const char names[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int64_t s = clamp(wall_s, FIRST_S, LAST_S);
	int64_t days = floor_div(s, 86400);
	int64_t rest = s - days * 86400;
	struct civil c = civil_of(days);

	memcpy(out, "Thu, 00 Jan 0000 00:00:00 GMT", 30);
	memcpy(out, names + 3 * (((days % 7) + 7) % 7), 3);
	put_digits(out + 5, c.day, 2);
	memcpy(out + 8, months + (ptrdiff_t)3 * (c.month - 1), 3);
	put_digits(out + 12, c.year, 4);
	put_digits(out + 17, rest / 3600, 2);
	put_digits(out + 20, rest / 60 % 60, 2);
	put_digits(out + 23, rest % 60, 2);
}
