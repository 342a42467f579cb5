/* SPDX-License-Identifier: MIT */
/*
 * What one change of a mirror entry means in SEAMCALLs. The meaning depends on (old, new) alone:
 *
 *   none -> leaf     map      PAGE.AUG, or PAGE.ADD while the TD is built
 *   none -> table    link     SEPT.ADD
 *   leaf -> none     remove   BLOCK, TRACK, kick, PAGE.REMOVE, WBINVD; RECLAIM once the key is gone
 *   leaf -> table    split    see split.c
 *   table -> leaf    promote  see promote.c
 *
 * and everything else stops the VM. Under mmu.lock held for reading a BUSY module is the caller's to
 * retry; under the write lock it is answered here, by holding vCPUs out.
 */
#include <errno.h>
#include <stdio.h>

#include "tdx/seamcall.h"

int td_illegal(struct td *td, const char *what)
{
	td->ops.vm_bugged(td->ops.vm, what);
	return -EIO;
}

int td_bugged(struct td *td, enum tdh_leaf leaf, u64 status)
{
	const char *name = tdx_status_name(status);
	char why[128];

	if (status == TDX_SW_ERROR)
		snprintf(why, sizeof(why), "%s needs what the module doesn't have",
			 tdh_leaf_name(leaf));
	else
		snprintf(why, sizeof(why), "%s answered %s (0x%016llx)", tdh_leaf_name(leaf),
			 name ? name : "an unknown status", (unsigned long long)status);
	td->ops.vm_bugged(td->ops.vm, why);
	return -EIO;
}

int td_check_leaf(struct td *td, enum tdh_leaf leaf, gfn_t gfn, enum pg_level level, pfn_t pfn)
{
	char why[128];

	if (likely(level == PG_LEVEL_4K || !td->ops.leaf_ok) ||
	    td->ops.leaf_ok(td->ops.vm, gfn, pfn, level))
		return 0;
	snprintf(why, sizeof(why),
		 "mapping check before %s: a leaf of level %d at gfn 0x%llx isn't one piece of "
		 "memory",
		 tdh_leaf_name(leaf), (int)level, (unsigned long long)gfn);
	return td_illegal(td, why);
}

/* ---- map, link -------------------------------------------------------------------------------*/
/* What a map or link comes to: BUSY is for the fault path to retry, other failures are final. */
static int map_result(struct td *td, enum tdh_leaf leaf, u64 status)
{
	if (likely(status == TDX_SUCCESS))
		return 0;
	if (tdx_operand_is_busy(status))
		return -EBUSY;
	return td_bugged(td, leaf, status);
}

static int add_or_aug(struct td *td, gfn_t gfn, enum pg_level level, pfn_t pfn)
{
	if (likely(td_is_runnable(td)))
		return map_result(td, TDH_MEM_PAGE_AUG, tdh_mem_page_aug(td, gfn, level, pfn));
	if (level != PG_LEVEL_4K)
		return td_illegal(td, "a huge page is mapped while the TD is built");
	return map_result(td, TDH_MEM_PAGE_ADD, tdh_mem_page_add(td, gfn, pfn, td->add_source));
}

static int map_leaf(struct td *td, gfn_t gfn, enum pg_level level, u64 spte)
{
	pfn_t pfn = mmu_spte_pfn(spte);
	int err;

	/* A 2M mapping has its metadata in the static PAMT, and must not have a pair. */
	if (level == PG_LEVEL_4K) {
		err = tdx_pamt_get_locked(td->module, pfn);
		if (unlikely(err == -EIO))
			return td_illegal(td, "TDH.PHYMEM.PAMT.ADD was refused");
	} else {
		err = td_check_leaf(td, TDH_MEM_PAGE_AUG, gfn, level, pfn);
	}
	if (unlikely(err))
		return err;
	err = add_or_aug(td, gfn, level, pfn);
	if (unlikely(err) && level == PG_LEVEL_4K &&
	    !bug_planted(&td->host->bugs, BUG_AUG_FAILURE_KEEPS_REFERENCE) &&
	    !(err == -EIO && bug_planted(&td->host->bugs, BUG_FATAL_AUG_KEEPS_REFERENCE)))
		tdx_pamt_put(td->module, pfn);
	return err;
}

static int link_table(struct td *td, gfn_t gfn, enum pg_level level, u64 spte)
{
	pfn_t table = mmu_spte_child(td->mmu, spte)->external_spt;

	return map_result(td, TDH_MEM_SEPT_ADD, tdh_mem_sept_add(td, gfn, level, table));
}

/* ---- remove ----------------------------------------------------------------------------------*/
int td_reclaim(struct tdx_module *m, pfn_t pfn, enum pg_level level)
{
	struct tdx_regs r = {.rcx = fn_to_addr(pfn)};
	u64 status = tdx_seamcall_wait(m, TDH_PHYMEM_PAGE_RECLAIM, &r);

	/* R8: the size that the module had it at. */
	return status == TDX_SUCCESS && r.r8 == tdx_level(level) ? 0 : -EIO;
}

/* The page is out of the S-EPT and the mirror must know, so a failure stops the VM and no more. */
static void write_back(struct td *td, pfn_t pfn, enum pg_level level)
{
	u64 nr = bug_planted(&td->host->bugs, BUG_NO_WRITEBACK) ? 0 : pages_per_level(level);

	for (u64 i = 0; i < nr; i++) {
		u64 status = tdh_phymem_page_wbinvd(td->module, td->hkid, pfn + i);

		if (unlikely(status != TDX_SUCCESS)) {
			td_bugged(td, TDH_PHYMEM_PAGE_WBINVD, status);
			return;
		}
	}
}

int td_block_and_track(struct td *td, struct td_mem_call *c)
{
	bool tracked = bug_planted(&td->host->bugs, BUG_TRACK_BEFORE_BLOCK);
	u64 status;

	if (tracked && td_track(td))
		return -EIO;
	status = td_call_no_vcpus(tdh_mem_range_block, c);
	if (status != TDX_SUCCESS)
		return td_bugged(td, TDH_MEM_RANGE_BLOCK, status);
	return tracked ? 0 : td_track(td);
}

/* The leaf leaves the S-EPT of a TD that may be running. */
static int remove_live(struct td *td, gfn_t gfn, enum pg_level level, pfn_t pfn)
{
	struct td_mem_call c = {.td = td, .gfn = gfn, .level = level};
	u64 status;

	if (td_block_and_track(td, &c))
		return -EIO;
	status = td_call_no_vcpus(tdh_mem_page_remove, &c);
	if (status != TDX_SUCCESS)
		return td_bugged(td, TDH_MEM_PAGE_REMOVE, status);
	if (c.removed != pfn)
		return td_illegal(td, "TDH.MEM.PAGE.REMOVE gave another page than the mirror has");
	return 0;
}

static int remove_leaf(struct td *td, gfn_t gfn, enum pg_level level, u64 spte)
{
	pfn_t pfn = mmu_spte_pfn(spte);
	int err;

	/* A removal goes on: its frame is about to be somebody else's. */
	td_check_leaf(td, td->key_released ? TDH_PHYMEM_PAGE_RECLAIM : TDH_MEM_PAGE_REMOVE, gfn,
		      level, pfn);
	if (td->key_released) {
		err = td_reclaim(td->module, pfn, level);
		if (err)
			td_illegal(td, "TDH.PHYMEM.PAGE.RECLAIM of a leaf failed");
	} else {
		err = remove_live(td, gfn, level, pfn);
		if (!err)
			write_back(td, pfn, level);
	}
	/*
	 * The owner of the frame frees it whatever we say (it can't fail either), so its bytes come
	 * back to the host in any case: a TD that didn't let go of it is dead. Nobody enters it any more;
	 * who is inside must have left, as it may still use the translation.
	 */
	if (unlikely(err))
		td->ops.kick_and_wait(td->ops.vm);
	host_retag(td->host, pfn, level, 0);
	if (!err && level == PG_LEVEL_4K)
		tdx_pamt_put(td->module, pfn);
	return err;
}

/* ---- the hooks -------------------------------------------------------------------------------*/
static int td_set_external_spte(void *ctx, gfn_t gfn, u64 old_spte, u64 new_spte,
				enum pg_level level, bool shared)
{
	struct td *td = ctx;
	bool was = mmu_spte_is_present(old_spte);
	bool is = mmu_spte_is_present(new_spte);
	bool was_leaf, is_leaf;

	if (!was && is)
		return mmu_spte_is_leaf(new_spte, level) ? map_leaf(td, gfn, level, new_spte)
							 : link_table(td, gfn, level, new_spte);
	was_leaf = was && mmu_spte_is_leaf(old_spte, level);
	if (was_leaf && !is) {
		if (shared)
			return td_illegal(td, "a private leaf is removed under the read lock");
		return remove_leaf(td, gfn, level, old_spte);
	}
	is_leaf = is && mmu_spte_is_leaf(new_spte, level);
	if (was_leaf && is && !is_leaf)
		return td_split(td, gfn, level, old_spte, new_spte, shared);
	if (was && !was_leaf && is_leaf)
		return td_promote(td, gfn, level, old_spte, new_spte, shared);
	return td_illegal(td, "a mirror entry changes in a way that the module has no call for");
}

static int td_reclaim_external_sp(void *ctx, gfn_t gfn, struct mmu_page *sp)
{
	struct td *td = ctx;

	(void)gfn;
	if (!td->key_released)
		return td_illegal(td, "an S-EPT page is reclaimed while the key id is assigned");
	if (td_reclaim(td->module, sp->external_spt, PG_LEVEL_4K))
		return td_illegal(td, "TDH.PHYMEM.PAGE.RECLAIM of an S-EPT page failed");
	return 0;
}

static int td_alloc_external_spt(void *ctx, pfn_t *pfn)
{
	struct td *td = ctx;

	return tdx_page_alloc(td->module, FRAME_SEPT_TABLE, pfn);
}

static void td_free_external_spt(void *ctx, pfn_t pfn)
{
	struct td *td = ctx;

	tdx_page_free(td->module, FRAME_SEPT_TABLE, pfn);
}

static void td_flush_external(void *ctx)
{
	struct td *td = ctx;

	td_track(td);
}

const struct mmu_external_ops td_external_ops = {
	.set_external_spte = td_set_external_spte,
	.reclaim_external_sp = td_reclaim_external_sp,
	.alloc_external_spt = td_alloc_external_spt,
	.free_external_spt = td_free_external_spt,
	.alloc_split_metadata = td_alloc_split_metadata,
	.free_split_metadata = td_free_split_metadata,
	.split_cache_is_short = td_split_cache_is_short,
	.topup_split_cache = td_topup_split_cache,
	.flush_external = td_flush_external,
};
