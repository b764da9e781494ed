/*
 * Prepared statements of one connection, found by the address of their SQL
 * first (a constant in a store), by its text otherwise. The text always
 * decides, so that an address used again cannot run another statement.
 */
#include "db_driver.h"

#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

/* Texts that a service builds (filters of the records API) come and go. */
enum { MOST = 200 };

static struct kb_stmt **
hint_of(struct kb_stmts *c, const char *sql)
{
	uintptr_t at = (uintptr_t)sql;

	return &c->hint[((at >> 3) ^ (at >> 9)) % KB_COUNT(c->hint)];
}

static struct kb_stmt **
bucket_of(struct kb_stmts *c, uint64_t hash)
{
	return &c->bucket[hash % KB_COUNT(c->bucket)];
}

static struct kb_stmt *
find_text(struct kb_stmts *c, const char *sql, uint64_t hash)
{
	struct kb_stmt *s = *bucket_of(c, hash);

	while (s != NULL && (s->hash != hash || strcmp(s->sql, sql) != 0))
		s = s->next;
	return s;
}

struct kb_stmt *
kb_stmts_find(struct kb_stmts *c, const char *sql)
{
	struct kb_stmt **hint = hint_of(c, sql);
	struct kb_stmt *s = *hint;

	if (s == NULL || strcmp(s->sql, sql) != 0)
		s = find_text(c, sql, kb_hash(sql, strlen(sql)));
	if (s == NULL)
		return NULL;
	*hint = s;
	s->used = ++c->tick;
	return s;
}

void
kb_stmt_free(struct kb_stmt *stmt, kb_stmt_drop *drop, void *arg)
{
	drop(stmt, arg);
	free(stmt->sql);
	free(stmt);
}

void
kb_stmts_remove(
    struct kb_stmts *c, struct kb_stmt *stmt, kb_stmt_drop *drop, void *arg)
{
	struct kb_stmt **p = bucket_of(c, stmt->hash);

	while (*p != stmt)
		p = &(*p)->next;
	*p = stmt->next;
	c->n--;
	for (size_t i = 0; i < KB_COUNT(c->hint); i++)
		if (c->hint[i] == stmt)
			c->hint[i] = NULL;
	kb_stmt_free(stmt, drop, arg);
}

static void
drop_oldest(struct kb_stmts *c, kb_stmt_drop *drop, void *arg)
{
	struct kb_stmt *oldest = NULL;

	for (size_t i = 0; i < KB_COUNT(c->bucket); i++)
		for (struct kb_stmt *s = c->bucket[i]; s; s = s->next)
			if (!s->busy && (!oldest || s->used < oldest->used))
				oldest = s;
	if (oldest != NULL)
		kb_stmts_remove(c, oldest, drop, arg);
}

struct kb_stmt *
kb_stmts_add(struct kb_stmts *c, const char *sql, kb_stmt_drop *drop, void *arg)
{
	struct kb_stmt *s = kb_xalloc(sizeof(*s));
	struct kb_stmt **bucket;

	*s = (struct kb_stmt) {
		.sql = kb_xstrdup(sql),
		.hash = kb_hash(sql, strlen(sql)),
		.used = ++c->tick,
		.number = ++c->numbers,
	};
	if (find_text(c, sql, s->hash) != NULL)
		return s;
	if (c->n >= MOST)
		drop_oldest(c, drop, arg);
	bucket = bucket_of(c, s->hash);
	s->cached = true;
	s->next = *bucket;
	*bucket = s;
	*hint_of(c, sql) = s;
	c->n++;
	return s;
}

void
kb_stmts_clear(struct kb_stmts *c, kb_stmt_drop *drop, void *arg)
{
	for (size_t i = 0; i < KB_COUNT(c->bucket); i++)
		while (c->bucket[i] != NULL)
			kb_stmts_remove(c, c->bucket[i], drop, arg);
}
