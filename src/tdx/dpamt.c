/* SPDX-License-Identifier: MIT */
/*
 * Pages for the module, and the Dynamic PAMT pairs that some of them need.
 *
 * A 2M range of host memory has a pair while one of its pages is used at 4K by the module: as a
 * control page, an S-EPT page, or a guest page mapped at 4K. A range mapped at 2M needs none, and
 * may have none. pamt_refs counts those pages, range by range:
 *
 *   0 --get: pamt_lock, PAMT.ADD, store 1--> 1 --get: cmpxchg--> 2 ...
 *   0 <--put: pamt_lock, cmpxchg 1 to 0, PAMT.REMOVE-- 1 <--put: cmpxchg-- 2 ...
 *
 * The count leaves 0 only after PAMT.ADD (store-release, pairs with the compare-exchange of the
 * fast path), so nobody uses a page whose pair isn't there. A put reaches 0 under the lock, so
 * nobody adds a pair that is still being removed.
 *
 * A split and a promotion of a 2M leaf move all pages of its range at once; the module takes and
 * gives the pair in the same step:
 *
 *   0 --DEMOTE, then cmpxchg--> 512 --each page removed: put--> ... --> 0
 *   0 <--PROMOTE, then cmpxchg-- 512
 *
 * All frames of the range are that leaf's. Nobody else gets or puts one: mmu.lock is held for writing,
 * or for reading with the leaf's entry FROZEN.
 */
#include <errno.h>
#include <stdlib.h>

#include "tdx/seamcall.h"

/* 2M: the level operand of PAMT.ADD and PAMT.REMOVE. */
#define PAMT_LEVEL_2M 1

int tdx_dpamt_init(struct tdx_module *m)
{
	if (!m->dynamic_pamt)
		return 0;
	/* Zero pages until touched: costs what is used, not what the host has. */
	m->pamt_refs = calloc(m->host->nr_frames / PTRS_PER_TABLE, sizeof(*m->pamt_refs));
	return m->pamt_refs ? 0 : -ENOMEM;
}

void tdx_dpamt_exit(struct tdx_module *m)
{
	free(m->pamt_refs);
}

u64 tdx_dpamt_pages(const struct tdx_module *m)
{
	return sync_load(&m->dpamt_pages);
}

u32 tdx_pamt_refs(const struct tdx_module *m, pfn_t pfn)
{
	return m->dynamic_pamt ? sync_load(&m->pamt_refs[pfn / PTRS_PER_TABLE]) : 0;
}

static u32 *range_refs(struct tdx_module *m, pfn_t pfn)
{
	return &m->pamt_refs[pfn / PTRS_PER_TABLE];
}

static u64 range_operand(pfn_t pfn)
{
	return fn_to_addr(fn_align_down(pfn, PG_LEVEL_2M)) | PAMT_LEVEL_2M;
}

void tdx_pair_free(struct tdx_module *m, const pfn_t pair[2])
{
	for (int i = 0; i < 2; i++) {
		host_retag(m->host, pair[i], PG_LEVEL_4K, 0);
		host_free(m->host, pair[i], PG_LEVEL_4K, FRAME_PAMT);
	}
}

int tdx_pair_alloc(struct tdx_module *m, pfn_t pair[2])
{
	int err = host_alloc(m->host, PG_LEVEL_4K, FRAME_PAMT, &pair[0]);

	if (err)
		return err;
	err = host_alloc(m->host, PG_LEVEL_4K, FRAME_PAMT, &pair[1]);
	if (err)
		host_free(m->host, pair[0], PG_LEVEL_4K, FRAME_PAMT);
	return err;
}

/* One more user of a range that has a pair; false if it has none. */
static bool get_existing(u32 *refs)
{
	u32 seen = sync_load(refs);

	while (seen)
		if (sync_cmpxchg(refs, &seen, seen + 1))
			return true;
	return false;
}

/* @used: out, @pair has gone to the module */
static int get_slow(struct tdx_module *m, pfn_t pfn, const pfn_t pair[2], bool *used)
{
	struct tdx_regs r = {
		.rcx = range_operand(pfn), .rdx = fn_to_addr(pair[0]), .r8 = fn_to_addr(pair[1])};
	bool early = bug_planted(&m->host->bugs, BUG_PUBLISH_BEFORE_PAMT_ADD);
	u32 *refs = range_refs(m, pfn);
	int err = 0;

	*used = false;
	sync_mutex_lock(&m->pamt_lock);
	if (!bug_planted(&m->host->bugs, BUG_NO_LOOK_UNDER_LOCK) && get_existing(refs))
		goto unlock;
	if (early)
		sync_store(refs, 1);
	if (tdx_seamcall_wait(m, TDH_PHYMEM_PAMT_ADD, &r) != TDX_SUCCESS) {
		err = -EIO;
		goto unlock;
	}
	*used = true;
	sync_add_relaxed(&m->dpamt_pages, 2);
	if (!early)
		sync_store_release(refs, 1); /* pairs with the compare-exchange in get_existing() */
unlock:
	sync_mutex_unlock(&m->pamt_lock);
	return err;
}

int tdx_pamt_get(struct tdx_module *m, pfn_t pfn)
{
	pfn_t pair[2];
	bool used;
	int err;

	if (!m->dynamic_pamt || get_existing(range_refs(m, pfn)))
		return 0;
	err = tdx_pair_alloc(m, pair);
	if (err)
		return err;
	err = get_slow(m, pfn, pair, &used);
	if (!used)
		tdx_pair_free(m, pair);
	return err;
}

int tdx_pamt_get_locked(struct tdx_module *m, pfn_t pfn)
{
	struct tdx_lp *lp = &m->per_lp[lp_current()->id];
	bool used;
	int err;

	if (!m->dynamic_pamt || get_existing(range_refs(m, pfn)))
		return 0;
	if (!lp->nr_spare)
		return -EBUSY;
	err = get_slow(m, pfn, lp->spare_pair, &used);
	if (used)
		lp->nr_spare = 0;
	return err;
}

/* Under pamt_lock, count 0. A pair that can't be removed makes its range 4K-only: it stays counted. */
static bool remove_pair(struct tdx_module *m, pfn_t pfn, pfn_t pair[2])
{
	struct tdx_regs r = {.rcx = range_operand(pfn)};

	if (tdx_seamcall_wait(m, TDH_PHYMEM_PAMT_REMOVE, &r) != TDX_SUCCESS) {
		sync_store(range_refs(m, pfn), 1);
		tdx_warn(m, "a Dynamic PAMT pair can't be removed: its 2M range can be mapped at "
			    "4K only");
		return false;
	}
	pair[0] = addr_to_fn(r.rdx);
	pair[1] = addr_to_fn(r.r8);
	sync_add_relaxed(&m->dpamt_pages, (u64)-2);
	return true;
}

/* One user less. Return: how many there were */
static u32 put_existing(u32 *refs)
{
	u32 seen = sync_load(refs);

	while (!sync_cmpxchg(refs, &seen, seen - 1))
		;
	return seen;
}

void tdx_pamt_put(struct tdx_module *m, pfn_t pfn)
{
	u32 *refs, seen;
	pfn_t pair[2];
	bool removed;

	if (!m->dynamic_pamt)
		return;
	refs = range_refs(m, pfn);
	seen = sync_load(refs);
	while (seen > 1)
		if (sync_cmpxchg(refs, &seen, seen - 1))
			return;
	sync_mutex_lock(&m->pamt_lock);
	/* Others may still get and put beside us, but the step to 0 is ours alone. */
	if (bug_planted(&m->host->bugs, BUG_PUT_RACES_GET))
		sync_store(refs, seen - 1);
	else
		seen = put_existing(refs);
	removed = seen == 1 && remove_pair(m, pfn, pair);
	sync_mutex_unlock(&m->pamt_lock);
	if (removed)
		tdx_pair_free(m, pair);
}

void tdx_pamt_split(struct tdx_module *m, pfn_t pfn)
{
	u32 *refs = range_refs(m, pfn);
	u32 users = PTRS_PER_TABLE - bug_planted(&m->host->bugs, BUG_DEMOTE_COUNT_511);
	u32 seen = 0;

	sync_add_relaxed(&m->dpamt_pages, 2);
	if (likely(sync_cmpxchg(refs, &seen, users)))
		return;
	tdx_warn(m, "pages of a 2M leaf that was split were counted as used at 4K before");
	sync_fetch_add(refs, PTRS_PER_TABLE);
}

void tdx_pamt_merge(struct tdx_module *m, pfn_t pfn, const pfn_t pair[2])
{
	u32 *refs = range_refs(m, pfn);
	u32 seen = PTRS_PER_TABLE;

	sync_add_relaxed(&m->dpamt_pages, (u64)-2);
	if (!bug_planted(&m->host->bugs, BUG_PROMOTE_KEEPS_COUNT) &&
	    unlikely(!sync_cmpxchg(refs, &seen, 0))) {
		tdx_warn(m, "not just the pages of a promoted 2M range were counted as used at 4K");
		sync_fetch_sub(refs, PTRS_PER_TABLE);
	}
	tdx_pair_free(m, pair);
}

int tdx_pamt_topup(struct tdx_module *m)
{
	struct tdx_lp *lp;
	int err;

	if (!m->dynamic_pamt)
		return 0;
	lp = &m->per_lp[lp_current()->id];
	if (lp->nr_spare)
		return 0;
	err = tdx_pair_alloc(m, lp->spare_pair);
	if (!err)
		lp->nr_spare = 2;
	return err;
}

void tdx_pamt_drain(struct tdx_module *m)
{
	struct tdx_lp *lp = &m->per_lp[lp_current()->id];

	if (lp->nr_spare)
		tdx_pair_free(m, lp->spare_pair);
	lp->nr_spare = 0;
}

int tdx_page_alloc(struct tdx_module *m, enum frame_use use, pfn_t *pfn)
{
	int err = host_alloc(m->host, PG_LEVEL_4K, use, pfn);

	if (err)
		return err;
	err = tdx_pamt_get(m, *pfn);
	if (err)
		host_free(m->host, *pfn, PG_LEVEL_4K, use);
	return err;
}

void tdx_page_free(struct tdx_module *m, enum frame_use use, pfn_t pfn)
{
	tdx_pamt_put(m, pfn);
	host_retag(m->host, pfn, PG_LEVEL_4K, 0);
	host_free(m->host, pfn, PG_LEVEL_4K, use);
}
