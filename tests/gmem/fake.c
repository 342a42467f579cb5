/* SPDX-License-Identifier: MIT */
/* Fake clients: see fake.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gmem/fake.h"

static void note(struct fake *c, const char *what, u64 index, u64 nr)
{
	static const char *const size[] = {"", " 4K", " 2M", " 1G"};
	struct fake_world *w = c->world;
	size_t n = strlen(w->log);

	if (w->keep_log)
		snprintf(w->log + n, sizeof(w->log) - n, "%s.%s %llu+%llu%s; ", c->name, what,
			 (unsigned long long)index, (unsigned long long)nr,
			 size[w->watch_folio ? gmem_folio_level(w->file, index) : 0]);
}

void fake_log_clear(struct fake_world *w)
{
	w->log[0] = '\0';
}

enum pg_level fake_level(const struct fake *c, u64 index)
{
	return c->level[index - c->index];
}

/* ---- the flat page table ---------------------------------------------------------------------*/
static void set_leaf(struct fake *c, u64 index, pfn_t pfn, enum pg_level level)
{
	for (u64 i = 0; i < pages_per_level(level); i++) {
		c->level[index - c->index + i] = (u8)level;
		c->pfn[index - c->index + i] = pfn + i;
	}
}

/* The leaf that covers @index becomes 512 of the next level. */
static void split(struct fake *c, u64 index)
{
	enum pg_level level = fake_level(c, index);
	u64 first = fn_align_down(index, level);

	assert_true(level > PG_LEVEL_4K);
	memset(&c->level[first - c->index], (int)level - 1, pages_per_level(level));
	c->splits++;
}

/* A leaf covers both @index - 1 and @index. */
static bool crosses(const struct fake *c, u64 index)
{
	enum pg_level level;

	if (index <= c->index || index >= c->index + c->nr)
		return false;
	level = fake_level(c, index);
	return level > PG_LEVEL_4K && !IS_ALIGNED(index, pages_per_level(level));
}

/* ---- the protocol ----------------------------------------------------------------------------*/
static void on_begin(void *client, u64 index, u64 nr)
{
	struct fake *c = client;

	note(c, "begin", index, nr);
	assert_true(nr && index >= c->index && index + nr <= c->index + c->nr);
	assert_false(c->inside);
	c->inside = true;
	c->first = index;
	c->end = index + nr;
	c->begins++;
	c->world->committed = false;
}

/* Every part lies in the range that begin has named. */
static void assert_part(const struct fake *c, u64 index, u64 nr)
{
	assert_true(c->inside);
	assert_true(nr && index >= c->first && index + nr <= c->end);
}

static bool asked_fails(struct fake *c, u64 index, u64 nr)
{
	assert_part(c, index, nr);
	/* Every question to any client comes before the first commit of any. */
	assert_false(c->world->committed);
	return ++c->calls == c->fail_call;
}

static int on_prepare(void *client, u64 index, u64 nr)
{
	struct fake *c = client;

	note(c, "prepare", index, nr);
	if (asked_fails(c, index, nr))
		return -ENOMEM;
	while (crosses(c, index))
		split(c, index);
	while (crosses(c, index + nr))
		split(c, index + nr);
	return 0;
}

static int on_limit(void *client, u64 index, u64 nr, enum pg_level level)
{
	struct fake *c = client;

	note(c, level == PG_LEVEL_2M ? "limit-2M" : "limit-4K", index, nr);
	if (asked_fails(c, index, nr))
		return -ENOMEM;
	for (u64 i = index; i < index + nr; i++)
		while (fake_level(c, i) > level)
			split(c, i);
	return 0;
}

static void zap(struct fake *c, u64 index)
{
	u64 at = index - c->index;

	if (c->level[at] == PG_LEVEL_NONE)
		return;
	/* Removing a private page: the key goes, and with it what the page held. */
	if (gmem_is_private(c->world->file, index)) {
		host_retag(c->world->host, c->pfn[at], PG_LEVEL_4K, 0);
		c->world->value[index] = 0;
	}
	c->level[at] = PG_LEVEL_NONE;
	c->zapped++;
}

static void on_commit(void *client, u64 index, u64 nr)
{
	struct fake *c = client;

	note(c, "commit", index, nr);
	assert_part(c, index, nr);
	c->world->committed = true;
	c->commits++;
	c->crossed += crosses(c, index);
	c->crossed += crosses(c, index + nr);
	assert_true(!c->crossed || c->world->may_cross);
	for (u64 i = index; i < index + nr; i++)
		zap(c, i);
}

static void on_changed(void *client, u64 index, u64 nr)
{
	struct fake *c = client;

	note(c, gmem_is_private(c->world->file, index) ? "private" : "shared", index, nr);
	assert_part(c, index, nr);
	assert_true(c->world->committed);
	assert_true(gmem_is_uniform(c->world->file, index, nr));
}

static void on_end(void *client, u64 index, u64 nr)
{
	struct fake *c = client;

	note(c, "end", index, nr);
	assert_true(c->inside && index == c->first && index + nr == c->end);
	c->inside = false;
}

static const struct gmem_client_ops ops = {
	.begin = on_begin,
	.prepare = on_prepare,
	.limit = on_limit,
	.commit = on_commit,
	.changed = on_changed,
	.end = on_end,
};

/* ---- a world ---------------------------------------------------------------------------------*/
void fake_world_init(struct fake_world *w, struct host *host, const struct gmem_config *cfg)
{
	memset(w, 0, sizeof(*w));
	w->host = host;
	w->cfg = *cfg;
	w->nr_pages = addr_to_fn(cfg->size);
	w->value = calloc(w->nr_pages, sizeof(*w->value));
	assert_non_null(w->value);
	assert_int_equal(gmem_create(host, cfg, &w->file), 0);
}

struct fake *fake_bind(struct fake_world *w, const char *name, u64 index, u64 nr, u16 hkid)
{
	struct fake *c = &w->client[w->nr_clients++];

	*c = (struct fake){.world = w, .name = name, .index = index, .nr = nr, .hkid = hkid};
	c->level = calloc(nr, sizeof(*c->level));
	c->pfn = calloc(nr, sizeof(*c->pfn));
	assert_true(c->level && c->pfn);
	assert_int_equal(gmem_bind(w->file, index, nr, &ops, c), 0);
	return c;
}

void fake_world_exit(struct fake_world *w)
{
	for (u32 i = 0; i < w->nr_clients; i++) {
		struct fake *c = &w->client[i];

		gmem_unbind(w->file, c);
		for (u64 at = c->index; at < c->index + c->nr; at++)
			zap(c, at);
		free(c->level);
		free(c->pfn);
	}
	gmem_release(w->file);
	free(w->value);
}

/* ---- faults and accesses ---------------------------------------------------------------------*/
static bool is_range_unmapped(const struct fake *c, u64 index, u64 nr)
{
	for (u64 i = index; i < index + nr; i++)
		if (fake_level(c, i) != PG_LEVEL_NONE)
			return false;
	return true;
}

static bool may_map(const struct fake *c, u64 index, enum pg_level level)
{
	u64 nr = pages_per_level(level), first = ALIGN_DOWN(index, nr);

	return first >= c->index && first + nr <= c->index + c->nr &&
	       gmem_is_uniform(c->world->file, first, nr) && is_range_unmapped(c, first, nr);
}

int fake_fault(struct fake *c, u64 index)
{
	bool private = gmem_is_private(c->world->file, index);
	enum pg_level level;
	u64 first;
	pfn_t pfn;
	int err;

	assert_true(!private || c->hkid);
	if (fake_level(c, index) != PG_LEVEL_NONE)
		return 0;
	err = gmem_get_pfn(c->world->file, index, &pfn, &level);
	if (err)
		return err;
	while (level > PG_LEVEL_4K && !may_map(c, index, level))
		level--;
	first = fn_align_down(index, level);
	pfn -= index - first;
	assert_true(gmem_check_mapping(c->world->file, first, pfn, level));
	set_leaf(c, first, pfn, level);
	if (private) {
		host_zero(c->world->host, pfn, level, c->hkid);
		memset(&c->world->value[first], 0, pages_per_level(level) * sizeof(u64));
	}
	return 0;
}

static u16 key_of(const struct fake *c, u64 index)
{
	return gmem_is_private(c->world->file, index) ? c->hkid : 0;
}

void fake_write(struct fake *c, u64 index, u64 value)
{
	hpa_t hpa = fn_to_addr(c->pfn[index - c->index]);

	assert_int_not_equal(fake_level(c, index), PG_LEVEL_NONE);
	assert_int_equal(host_write(c->world->host, hpa, key_of(c, index), &value, 1), 0);
	c->world->value[index] = value;
}

u64 fake_read(struct fake *c, u64 index)
{
	hpa_t hpa = fn_to_addr(c->pfn[index - c->index]);
	u64 value;

	assert_int_not_equal(fake_level(c, index), PG_LEVEL_NONE);
	assert_int_equal(host_read(c->world->host, hpa, key_of(c, index), &value, 1), 0);
	return value;
}

/* ---- checks ----------------------------------------------------------------------------------*/
static void check_leaf(struct fake *c, u64 index, enum pg_level level)
{
	struct gmem_file *file = c->world->file;
	u64 nr = pages_per_level(level);

	for (u64 i = 0; i < nr; i++)
		assert_int_equal(fake_level(c, index + i), level);
	assert_true(gmem_is_uniform(file, index, nr));
	assert_true(gmem_check_mapping(file, index, c->pfn[index - c->index], level));
}

void fake_check(struct fake_world *w)
{
	for (u32 i = 0; i < w->nr_clients; i++) {
		struct fake *c = &w->client[i];
		u64 at = c->index, end = c->index + c->nr;

		assert_false(c->inside);
		while (at < end) {
			enum pg_level level = fake_level(c, at);

			if (level != PG_LEVEL_NONE)
				check_leaf(c, at, level);
			at += level == PG_LEVEL_NONE ? 1 : pages_per_level(level);
		}
	}
}

static void check_page(struct fake_world *w, u64 index)
{
	u64 value = 0;
	int err = gmem_host_read(w->file, fn_to_addr(index), &value, 1);

	if (gmem_is_private(w->file, index))
		assert_int_equal(err, -EFAULT);
	else if (err != -EHWPOISON && err != -ENOMEM && (err || value != w->value[index]))
		fail_msg("index %llu: error %d, read %llx, not %llx", (unsigned long long)index,
			 err, (unsigned long long)value, (unsigned long long)w->value[index]);
	for (u32 i = 0; i < w->nr_clients; i++) {
		struct fake *c = &w->client[i];

		if (index < c->index || index >= c->index + c->nr || !fake_level(c, index))
			continue;
		assert_int_equal(fake_read(c, index), w->value[index]);
	}
}

void fake_check_contents(struct fake_world *w, u64 step)
{
	for (u64 i = 0; i < w->nr_pages; i += step)
		check_page(w, i);
}
