/* SPDX-License-Identifier: MIT */
/*
 * host/hugetlb: pools of huge pages, reserved when the machine starts, and what the HugeTLB vmemmap
 * optimisation saves and costs.
 *
 * Every 4K frame has a page descriptor of 64 bytes: 8 pages of descriptors for a huge page of 2M,
 * 4096 for one of 1G. All but the first say the same, so an optimised pool keeps that one and gives
 * the others back. A huge page whose 4K pages need descriptors of their own (it is split into
 * folios) must get them again first: 7 or 4095 frames, and as many pages of writing.
 *
 * Guarantees:
 *  1. total = free + in use + broken at all times; reserved <= free.
 *  2. A page taken from a reservation never fails for want of pages.
 *  3. A page that comes back with its descriptors restored is optimised again.
 *
 * Lock: host.hugetlb_lock, above host.alloc_lock, below gmem's.
 */
#ifndef HOST_HUGETLB_H
#define HOST_HUGETLB_H

#include "base/types.h"
#include "host/host.h"

struct hugetlb_pool;

struct hugetlb_stats {
	enum pg_level level;
	u64 total, free, reserved; /* huge pages */
	u64 broken;		   /* never to be used again: memory failed in them */
	u64 vmemmap_saved_bytes;   /* now */
	u64 vmemmap_restored;	   /* descriptor pages re-created since the pool began */
};

/**
 * hugetlb_pool_create - take @nr huge pages of @level (2M or 1G) from @host
 *
 * Return: 0; -EINVAL; -ENOMEM, with the number of pages that are missing in @missing.
 */
int hugetlb_pool_create(struct host *host, enum pg_level level, u64 nr, bool vmemmap_optimised,
			struct hugetlb_pool **out, u64 *missing);
/** hugetlb_pool_destroy - every page is back */
void hugetlb_pool_destroy(struct hugetlb_pool *pool);
enum pg_level hugetlb_level(const struct hugetlb_pool *pool);
struct hugetlb_stats hugetlb_stats(struct hugetlb_pool *pool);

/** hugetlb_reserve - set @nr free pages aside; 0, or -ENOMEM with how many are missing in @missing */
int hugetlb_reserve(struct hugetlb_pool *pool, u64 nr, u64 *missing);
/** hugetlb_unreserve - for what was reserved and not taken */
void hugetlb_unreserve(struct hugetlb_pool *pool, u64 nr);
/** hugetlb_take - a page out of a reservation (@reserved), or of what nobody has reserved; 0 or -ENOMEM */
int hugetlb_take(struct hugetlb_pool *pool, bool reserved, pfn_t *pfn);
/** hugetlb_put - the page is free; @reserved: the reservation that it came from has it back */
void hugetlb_put(struct hugetlb_pool *pool, pfn_t pfn, bool reserved);
/** hugetlb_break - the page in use will never be used again: memory failed in it */
void hugetlb_break(struct hugetlb_pool *pool, pfn_t pfn);

/* ---- descriptors of one huge page in use ------------------------------------------------------*/

/* The frames that restoring needs, chained; none for a pool that isn't optimised. */
struct hugetlb_vmemmap {
	pfn_t first; /* of a chain through host->private, or whatever the pool uses */
	u64 nr;
};

/**
 * hugetlb_vmemmap_prealloc - all that hugetlb_vmemmap_restore() will need for one huge page
 *
 * Return: 0 or -ENOMEM (nothing is held then).
 */
int hugetlb_vmemmap_prealloc(struct hugetlb_pool *pool, struct hugetlb_vmemmap *pages);
void hugetlb_vmemmap_release(struct hugetlb_pool *pool, struct hugetlb_vmemmap *pages);
/** hugetlb_vmemmap_restore - @pfn's 4K pages get descriptors of their own; uses @pages up; can't fail */
void hugetlb_vmemmap_restore(struct hugetlb_pool *pool, pfn_t pfn, struct hugetlb_vmemmap *pages);
/** hugetlb_vmemmap_optimise - @pfn is one folio again: the descriptor pages are given back */
void hugetlb_vmemmap_optimise(struct hugetlb_pool *pool, pfn_t pfn);

#endif
