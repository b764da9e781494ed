/* The text of a mail: headers, encodings, the plain words of HTML. */
#include <string.h>
#include <strings.h>
#include <time.h>

#include <kombi/buf.h>
#include <kombi/crypto.h>
#include <kombi/mail.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define MAIL_MAX (4u << 20)
#define LINE 76
#define WORD_BYTES 42 /* of text in an encoded word: 56 in base64 */

bool
kb_mail_address_ok(const char *address)
{
	return address != NULL && kb_is_email(address) &&
	    kb_utf8_valid(address, strlen(address)) &&
	    strpbrk(address, "<>()[]\\,;:\"") == NULL;
}

/* ---- headers
 * -------------------------------------------------------------------------- */

static bool
is_plain(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			return false;
	return strlen(text) < 60 && strstr(text, "=?") == NULL;
}

/* As many bytes as fit and end with a character. */
static size_t
whole_characters(const char *text, size_t len)
{
	size_t n = len < WORD_BYTES ? len : WORD_BYTES;

	if (n == len)
		return n;
	while (n > 1 && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

/* RFC 2047: =?UTF-8?B?…?= words, a line each. */
static void
add_words(struct kb_buf *b, struct kb_arena *a, const char *text)
{
	char *clean = kb_strdup(a, text);
	size_t left = strlen(clean);

	for (char *p = clean; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	for (const char *p = clean; left > 0;) {
		size_t n = whole_characters(p, left);

		kb_buf_addf(b, "%s=?UTF-8?B?%s?=", p == clean ? "" : "\r\n ",
		    kb_base64(a, p, n));
		p += n;
		left -= n;
	}
}

static void
add_text_header(
    struct kb_buf *b, struct kb_arena *a, const char *name, const char *text)
{
	kb_buf_addf(b, "%s: ", name);
	if (is_plain(text))
		kb_buf_adds(b, text);
	else
		add_words(b, a, text);
	kb_buf_adds(b, "\r\n");
}

static void
add_from(struct kb_buf *b, struct kb_arena *a, const struct kb_mail *m)
{
	kb_buf_adds(b, "From: ");
	if (m->from_name != NULL && m->from_name[0] != '\0') {
		add_words(b, a, m->from_name);
		kb_buf_adds(b, "\r\n ");
	}
	kb_buf_addf(b, "<%s>\r\n", m->from);
}

static void
add_date(struct kb_buf *b)
{
	char text[64];
	time_t now = (time_t)kb_wall_s();
	struct tm tm;

	/* C's names of days and months, since no locale is ever set. */
	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	kb_buf_addf(b, "Date: %s\r\n", text);
}

static void
random_hex(char out[33])
{
	unsigned char random[16];

	kb_random(random, sizeof(random));
	kb_hex(random, sizeof(random), out);
}

/* ---- parts
 * ----------------------------------------------------------------------------
 */

static void
add_part(struct kb_buf *b, struct kb_arena *a, const char *boundary,
    const char *type, const char *text)
{
	const char *code = kb_base64(a, text, strlen(text));

	kb_buf_addf(b,
	    "--%s\r\nContent-Type: %s; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: base64\r\n\r\n",
	    boundary, type);
	for (size_t len = strlen(code); len > 0;) {
		size_t n = len < LINE ? len : LINE;

		kb_buf_add(b, code, n);
		kb_buf_adds(b, "\r\n");
		code += n;
		len -= n;
	}
}

enum kb_err
kb_mail_compose(struct kb_arena *a, const struct kb_mail *m, const char **out)
{
	char boundary[33], id[33];
	struct kb_buf b;
	bool failed;

	if (!kb_mail_address_ok(m->from) || !kb_mail_address_ok(m->to))
		return KB_INVALID;
	random_hex(boundary);
	random_hex(id);
	kb_buf_init(&b, MAIL_MAX);
	add_from(&b, a, m);
	kb_buf_addf(&b, "To: <%s>\r\n", m->to);
	add_text_header(&b, a, "Subject", m->subject ? m->subject : "");
	add_date(&b);
	kb_buf_addf(&b, "Message-ID: <%s%s>\r\n", id, strrchr(m->from, '@'));
	kb_buf_addf(&b,
	    "MIME-Version: 1.0\r\nAuto-Submitted: auto-generated\r\n"
	    "Content-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n",
	    boundary);
	add_part(&b, a, boundary, "text/plain",
	    m->text ? m->text : kb_mail_text_of(a, m->html));
	add_part(&b, a, boundary, "text/html", m->html);
	kb_buf_addf(&b, "--%s--\r\n", boundary);
	*out = kb_strdup(a, kb_buf_str(&b));
	failed = kb_buf_failed(&b);
	kb_buf_free(&b);
	return failed ? KB_TOO_LARGE : KB_OK;
}

/* ---- the words of HTML
 * ------------------------------------------------------------------ */

struct words {
	struct kb_buf buf;
	struct kb_arena *arena;
	const char *link; /* of the <a> that is open */
};

static void
add_char(struct words *w, char c)
{
	bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
	char last = w->buf.len > 0 ? w->buf.ptr[w->buf.len - 1] : '\n';

	if (!blank)
		kb_buf_addc(&w->buf, c);
	else if (last != ' ' && last != '\n')
		kb_buf_addc(&w->buf, ' ');
}

static const char *
add_entity(struct words *w, const char *p)
{
	static const struct {
		const char *name, *text;
	} known[] = { { "&amp;", "&" }, { "&lt;", "<" }, { "&gt;", ">" },
		{ "&quot;", "\"" }, { "&#34;", "\"" }, { "&#39;", "'" },
		{ "&nbsp;", " " } };

	for (size_t i = 0; i < KB_COUNT(known); i++)
		if (kb_str_starts(p, known[i].name)) {
			kb_buf_adds(&w->buf, known[i].text);
			return p + strlen(known[i].name);
		}
	kb_buf_addc(&w->buf, '&');
	return p + 1;
}

static void
open_link(struct words *w, const char *tag, const char *end)
{
	const char *href = strstr(tag, "href=\"");
	const char *stop;

	if (href == NULL || href >= end)
		return;
	href += 6;
	stop = strchr(href, '"');
	if (stop != NULL && stop < end)
		w->link = kb_strndup(w->arena, href, (size_t)(stop - href));
}

static const char *
add_tag(struct words *w, const char *tag)
{
	const char *end = strchr(tag, '>');

	if (end == NULL)
		return tag + strlen(tag);
	if (strncasecmp(tag, "<a ", 3) == 0) {
		open_link(w, tag, end);
	} else if (strncasecmp(tag, "</a>", 4) == 0) {
		if (w->link != NULL)
			kb_buf_addf(&w->buf, " (%s)", w->link);
		w->link = NULL;
	} else if (strncasecmp(tag, "<br", 3) == 0) {
		kb_buf_addc(&w->buf, '\n');
	} else if (strncasecmp(tag, "</p>", 4) == 0 ||
	    strncasecmp(tag, "</h", 3) == 0 ||
	    strncasecmp(tag, "</div>", 6) == 0) {
		kb_buf_adds(&w->buf, "\n\n");
	}
	return end + 1;
}

const char *
kb_mail_text_of(struct kb_arena *a, const char *html)
{
	struct words w = { .arena = a };
	const char *p = html ? html : "", *out;

	kb_buf_init(&w.buf, MAIL_MAX);
	while (*p != '\0') {
		if (*p == '<')
			p = add_tag(&w, p);
		else if (*p == '&')
			p = add_entity(&w, p);
		else
			add_char(&w, *p++);
	}
	out = kb_strdup(a, kb_buf_str(&w.buf));
	kb_buf_free(&w.buf);
	return out;
}
