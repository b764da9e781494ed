/* Published tools and their categories. */
#include <kombi/str.h>

#include "admin.h"

#define PUBLISHED                                                              \
	"t.status IN ('official', 'experimental')"                             \
	" AND ($1::text IS NULL OR c.slug = $1 OR s.slug = $1)"                \
	" AND ($2::text IS NULL OR t.name ILIKE $2 ESCAPE '\\'"                \
	" OR t.description ILIKE $2 ESCAPE '\\')"
#define TABLES                                                                 \
	"tools t JOIN categories c ON c.id = t.category_id"                    \
	" LEFT JOIN categories s ON s.id = t.subcategory_id"

static const struct kb_col cols[] = {
	KB_COL_STR(struct tool, id),
	KB_COL_STR(struct tool, name),
	KB_COL_STR(struct tool, slug),
	KB_COL_STR(struct tool, description),
	KB_COL_STR(struct tool, docker_image),
	KB_COL_STR(struct tool, website),
	KB_COL_STR(struct tool, github_url),
	KB_COL_STR(struct tool, category),
	KB_COL_STR(struct tool, subcategory),
	KB_COL_STR(struct tool, tags),
	KB_COL_STR(struct tool, status),
	KB_COL_STR(struct tool, latest_version),
	KB_COL_INT(struct tool, rating),
	KB_COLS_END,
};

static const struct kb_col category_cols[] = {
	KB_COL_STR(struct category, id),
	KB_COL_STR(struct category, slug),
	KB_COL_STR(struct category, name),
	KB_COL_STR(struct category, parent),
	KB_COL_INT(struct category, tools),
	KB_COLS_END,
};

struct count {
	int64_t n;
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

/* "50%_off" looks for just that: LIKE's own signs are escaped. */
static const char *
like_pattern(struct kb_arena *a, const char *search)
{
	struct kb_buf buf;
	const char *pattern;

	if (search == NULL)
		return NULL;
	kb_buf_init(&buf, 1024);
	kb_buf_addc(&buf, '%');
	for (const char *p = search; *p; p++) {
		if (*p == '%' || *p == '_' || *p == '\\')
			kb_buf_addc(&buf, '\\');
		kb_buf_addc(&buf, *p);
	}
	kb_buf_addc(&buf, '%');
	pattern = kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return pattern;
}

enum kb_err
tools_published(struct kb_cx *cx, const struct tool_filter *f,
    struct kb_page *page, struct tool **out, size_t *n)
{
	const char *search = like_pattern(cx->arena, f->search);
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM " TABLES " WHERE " PUBLISHED,
	    KB_TEXT(f->category), KB_TEXT(search));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(cx,
	    "SELECT t.id, t.name, t.slug, t.description, t.docker_image,"
	    " t.website, t.github_url, c.slug, s.slug,"
	    " array_to_json(t.tags), t.status, t.latest_version, t.rating"
	    " FROM " TABLES " WHERE " PUBLISHED
	    " ORDER BY t.name, t.id LIMIT $3 OFFSET $4",
	    KB_TEXT(f->category), KB_TEXT(search), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct tool), out, n);
}

enum kb_err
categories_all(struct kb_cx *cx, struct category **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT c.id, c.slug, c.name, p.slug,"
	    " (SELECT count(*) FROM tools t"
	    " WHERE (t.category_id = c.id OR t.subcategory_id = c.id)"
	    " AND t.status IN ('official', 'experimental'))"
	    " FROM categories c LEFT JOIN categories p ON p.id = c.parent_id"
	    " ORDER BY coalesce(p.position, c.position),"
	    " p.position NULLS FIRST, c.position");

	return kb_rows_all(
	    &rows, category_cols, sizeof(struct category), out, n);
}
