/* SPDX-License-Identifier: MIT */
/*
 * host/hugetlb: the pages of a pool, each in one of these states:
 *
 *	           take                    restore
 *	free <-----------> in use, optimised <-------> in use, restored
 *	  ^     put               |         optimise        |
 *	  |                       `--------> broken <-------'
 *	  `---- put ----------------------------------------'
 *
 * A record per huge page of the host, found by frame number; zero memory where the pool has none. A
 * page in use and its record belong to who took it, all the rest to the pool's lock.
 */
#include "host/hugetlb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sparse.h"

enum page_state { PAGE_ABSENT, PAGE_FREE, PAGE_USED, PAGE_BROKEN };

struct hugetlb_page {
	struct hugetlb_vmemmap vmemmap; /* frames with its descriptors; none while optimised */
	u32 next;			/* in the list of free pages: record + 1 */
	enum page_state state;
};

struct hugetlb_pool {
	struct host *host;
	enum pg_level level;
	u64 vmemmap_frames; /* descriptor pages of a huge page that are saved; 0: not optimised */
	struct hugetlb_page *page;
	u64 page_bytes;
	u8 head[PAGE_SIZE]; /* a huge page's first page of descriptors, of which the others are copies */

	struct sync_mutex lock; /* guards what follows */
	u32 free_list;
	u64 total, free, reserved, broken;
	/* Statistics, changed by whoever has the page; atomic. */
	u64 restored_now, restored_ever;
};

static struct hugetlb_page *page_of(const struct hugetlb_pool *pool, pfn_t pfn)
{
	return &pool->page[pfn / pages_per_level(pool->level)];
}

static struct hugetlb_page *page_in_use(const struct hugetlb_pool *pool, pfn_t pfn)
{
	struct hugetlb_page *page = page_of(pool, pfn);

	if (pfn % pages_per_level(pool->level) || page->state != PAGE_USED) {
		fprintf(stderr, "hugetlb: frame 0x%llx is not a page in use of this pool\n",
			(unsigned long long)pfn);
		abort();
	}
	return page;
}

static void push_free(struct hugetlb_pool *pool, pfn_t pfn)
{
	struct hugetlb_page *page = page_of(pool, pfn);

	page->state = PAGE_FREE;
	page->next = pool->free_list;
	pool->free_list = (u32)(page - pool->page) + 1;
	pool->free++;
}

static pfn_t pop_free(struct hugetlb_pool *pool)
{
	u32 index = pool->free_list - 1;

	pool->free_list = pool->page[index].next;
	pool->page[index].state = PAGE_USED;
	pool->free--;
	return index * pages_per_level(pool->level);
}

/* ---- life ------------------------------------------------------------------------------------*/
static void give_back_all(struct hugetlb_pool *pool)
{
	while (pool->free_list)
		host_free(pool->host, pop_free(pool), pool->level, FRAME_HUGETLB);
}

static void pool_free(struct hugetlb_pool *pool)
{
	sync_mutex_destroy(&pool->lock);
	sparse_free(pool->page, pool->page_bytes);
	free(pool);
}

static struct hugetlb_pool *pool_new(struct host *host, enum pg_level level, bool optimised)
{
	struct hugetlb_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->host = host;
	pool->level = level;
	/* 64 descriptors a page; the first page of them stays. */
	if (optimised)
		pool->vmemmap_frames = pages_per_level(level) / 64 - 1;
	/* What the head's descriptors say doesn't matter: that it is written for each page does. */
	memset(pool->head, 0x5A, sizeof(pool->head));
	pool->page_bytes = host->nr_frames / pages_per_level(level) * sizeof(*pool->page);
	pool->page = sparse_alloc(pool->page_bytes);
	if (!pool->page) {
		free(pool);
		return NULL;
	}
	sync_mutex_init(&pool->lock, LOCK_HUGETLB);
	return pool;
}

int hugetlb_pool_create(struct host *host, enum pg_level level, u64 nr, bool vmemmap_optimised,
			struct hugetlb_pool **out, u64 *missing)
{
	struct hugetlb_pool *pool;
	pfn_t pfn;

	*missing = 0;
	if ((level != PG_LEVEL_2M && level != PG_LEVEL_1G) || !nr)
		return -EINVAL;
	*missing = nr;
	pool = pool_new(host, level, vmemmap_optimised);
	if (!pool)
		return -ENOMEM;
	while (*missing && !host_alloc(host, level, FRAME_HUGETLB, &pfn)) {
		push_free(pool, pfn);
		--*missing;
	}
	if (*missing) {
		give_back_all(pool);
		pool_free(pool);
		return -ENOMEM;
	}
	pool->total = nr;
	*out = pool;
	return 0;
}

void hugetlb_pool_destroy(struct hugetlb_pool *pool)
{
	if (pool->free + pool->broken != pool->total) {
		fprintf(stderr, "hugetlb: a pool ends with %llu pages in use\n",
			(unsigned long long)(pool->total - pool->free - pool->broken));
		abort();
	}
	give_back_all(pool);
	pool_free(pool);
}

enum pg_level hugetlb_level(const struct hugetlb_pool *pool)
{
	return pool->level;
}

struct hugetlb_stats hugetlb_stats(struct hugetlb_pool *pool)
{
	struct hugetlb_stats stats = {.level = pool->level};

	sync_mutex_lock(&pool->lock);
	stats.total = pool->total;
	stats.free = pool->free;
	stats.reserved = pool->reserved;
	stats.broken = pool->broken;
	stats.vmemmap_saved_bytes =
		(pool->total - sync_load(&pool->restored_now)) * pool->vmemmap_frames * PAGE_SIZE;
	stats.vmemmap_restored = sync_load(&pool->restored_ever);
	sync_mutex_unlock(&pool->lock);
	return stats;
}

/* ---- pages -----------------------------------------------------------------------------------*/
int hugetlb_reserve(struct hugetlb_pool *pool, u64 nr, u64 *missing)
{
	u64 left;

	*missing = 0;
	sync_mutex_lock(&pool->lock);
	left = pool->free - pool->reserved;
	if (nr <= left)
		pool->reserved += nr;
	else
		*missing = nr - left;
	sync_mutex_unlock(&pool->lock);
	return *missing ? -ENOMEM : 0;
}

void hugetlb_unreserve(struct hugetlb_pool *pool, u64 nr)
{
	sync_mutex_lock(&pool->lock);
	pool->reserved -= nr;
	sync_mutex_unlock(&pool->lock);
}

int hugetlb_take(struct hugetlb_pool *pool, bool reserved, pfn_t *pfn)
{
	bool found;

	if (!reserved && unlikely(host_alloc_fails(pool->host)))
		return -ENOMEM;
	sync_mutex_lock(&pool->lock);
	found = reserved || pool->free > pool->reserved;
	if (found) {
		pool->reserved -= reserved;
		*pfn = pop_free(pool);
	}
	sync_mutex_unlock(&pool->lock);
	if (!found)
		return -ENOMEM;
	host_change_use(pool->host, pages_per_level(pool->level), FRAME_HUGETLB, FRAME_GUEST);
	return 0;
}

void hugetlb_put(struct hugetlb_pool *pool, pfn_t pfn, bool reserved)
{
	hugetlb_vmemmap_optimise(pool, pfn);
	host_change_use(pool->host, pages_per_level(pool->level), FRAME_GUEST, FRAME_HUGETLB);
	sync_mutex_lock(&pool->lock);
	push_free(pool, pfn);
	pool->reserved += reserved;
	sync_mutex_unlock(&pool->lock);
}

void hugetlb_break(struct hugetlb_pool *pool, pfn_t pfn)
{
	hugetlb_vmemmap_optimise(pool, pfn);
	host_change_use(pool->host, pages_per_level(pool->level), FRAME_GUEST, FRAME_FAILED);
	sync_mutex_lock(&pool->lock);
	page_of(pool, pfn)->state = PAGE_BROKEN;
	pool->broken++;
	sync_mutex_unlock(&pool->lock);
}

/* ---- descriptors -----------------------------------------------------------------------------
 * The frames are chained through their words in host->private, by frame number.
 */
int hugetlb_vmemmap_prealloc(struct hugetlb_pool *pool, struct hugetlb_vmemmap *pages)
{
	pfn_t pfn;

	*pages = (struct hugetlb_vmemmap){0};
	while (pages->nr < pool->vmemmap_frames) {
		if (host_alloc(pool->host, PG_LEVEL_4K, FRAME_VMEMMAP, &pfn)) {
			hugetlb_vmemmap_release(pool, pages);
			return -ENOMEM;
		}
		pool->host->private[pfn] = (void *)pages->first;
		pages->first = pfn;
		pages->nr++;
	}
	return 0;
}

void hugetlb_vmemmap_release(struct hugetlb_pool *pool, struct hugetlb_vmemmap *pages)
{
	for (; pages->nr; pages->nr--) {
		pfn_t pfn = pages->first;

		pages->first = (pfn_t)pool->host->private[pfn];
		pool->host->private[pfn] = NULL;
		host_free(pool->host, pfn, PG_LEVEL_4K, FRAME_VMEMMAP);
	}
}

void hugetlb_vmemmap_restore(struct hugetlb_pool *pool, pfn_t pfn, struct hugetlb_vmemmap *pages)
{
	struct hugetlb_page *page = page_in_use(pool, pfn);
	pfn_t at = pages->first;

	if (!pages->nr)
		return;
	for (u64 n = pages->nr; n; n--) {
		host_frame_dirty(pool->host, at);
		memcpy(host_frame_ptr(pool->host, at), pool->head, PAGE_SIZE);
		at = (pfn_t)pool->host->private[at];
	}
	sync_add_relaxed(&pool->restored_now, 1);
	sync_add_relaxed(&pool->restored_ever, pages->nr);
	page->vmemmap = *pages;
	*pages = (struct hugetlb_vmemmap){0};
}

void hugetlb_vmemmap_optimise(struct hugetlb_pool *pool, pfn_t pfn)
{
	struct hugetlb_page *page = page_in_use(pool, pfn);

	if (!page->vmemmap.nr)
		return;
	hugetlb_vmemmap_release(pool, &page->vmemmap);
	sync_add_relaxed(&pool->restored_now, 0 - 1ULL);
}
