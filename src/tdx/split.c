/* SPDX-License-Identifier: MIT */
/*
 * leaf -> table: BLOCK, TRACK, kick, DEMOTE; or DEMOTE alone, if the module wants no more.
 *
 * A DEMOTE that succeeds leaves the entry open, so there is no UNBLOCK. One that fails leaves it
 * blocked; since the only failure that a VM survives is a first BUSY, nobody has to undo that. All
 * of it under mmu.lock held for writing: a reader may neither kick nor wait for an UNBLOCK.
 *
 * A module that needs no BLOCK leaves nothing behind when DEMOTE is BUSY, and nobody has to be out. So
 * several vCPUs may split at once under the read lock, and a BUSY is the MMU's to retry, which puts
 * the old leaf back. The pair that a cache had for one of them may be gone when the next one takes.
 *
 * With Dynamic PAMT a 2M leaf takes a pair along. DEMOTE locks the 2M ranges that the pair's pages
 * lie in, shared; a PAMT.ADD or PAMT.REMOVE there, by whatever TD, has them exclusive. Holding our
 * vCPUs out doesn't help against that, pamt_lock does, which all of those run under.
 */
#include <errno.h>

#include "tdx/seamcall.h"

static u64 demote(struct td_mem_call *c)
{
	struct sync_mutex *lock = &c->td->module->pamt_lock;
	bool locked = c->has_pair && (c->td->demote_lock == TD_DEMOTE_LOCK_ALWAYS || c->tries > 0);
	u64 status;

	c->tries++;
	if (locked)
		sync_mutex_lock(lock);
	status = tdh_mem_page_demote(c);
	if (locked)
		sync_mutex_unlock(lock);
	return status;
}

/* The child's own pair, else one of the cache's. */
static bool take_pair(struct td *td, struct mmu_page *sp, struct td_mem_call *c)
{
	c->has_pair = true;
	if (!sp->nr_metadata)
		return td_split_cache_take(td, c->pair);
	c->pair[0] = sp->metadata[0];
	c->pair[1] = sp->metadata[1];
	return true;
}

/* The module has the pair now, or we still have it: then it goes back to where it came from. */
static void finish_pair(struct td *td, struct mmu_page *sp, const struct td_mem_call *c,
			u64 old_spte, int err)
{
	if (!err) {
		sp->nr_metadata = 0;
		tdx_pamt_split(td->module, mmu_spte_pfn(old_spte));
	} else if (!sp->nr_metadata || bug_planted(&td->host->bugs, BUG_PAIR_PUT_TWICE)) {
		if (!bug_planted(&td->host->bugs, BUG_DEMOTE_FAILURE_LEAKS_PAIR))
			td_split_cache_put(td, c->pair);
	}
}

static int demote_result(struct td *td, u64 status)
{
	return status == TDX_SUCCESS ? 0 : td_bugged(td, TDH_MEM_PAGE_DEMOTE, status);
}

/* mmu.lock is held for writing. */
static int demote_alone(struct td_mem_call *c)
{
	if (!tdx_splits_unblocked(c->td->module) && td_block_and_track(c->td, c))
		return -EIO;
	return demote_result(c->td, td_call_no_vcpus(demote, c));
}

/* mmu.lock is held for reading. What makes the second of two calls BUSY is soon gone. */
static int demote_beside_others(struct td_mem_call *c)
{
	u64 status = demote(c);

	if (!tdx_operand_is_busy(status))
		return demote_result(c->td, status);
	return bug_planted(&c->td->host->bugs, BUG_BUSY_IS_SUCCESS) ? 0 : -EBUSY;
}

int td_split(struct td *td, gfn_t gfn, enum pg_level level, u64 old_spte, u64 new_spte, bool shared)
{
	struct mmu_page *sp = mmu_spte_child(td->mmu, new_spte);
	struct td_mem_call c = {.td = td, .gfn = gfn, .level = level, .table = sp->external_spt};
	int err;

	if (shared && !tdx_splits_unblocked(td->module))
		return -EOPNOTSUPP;
	if (!td_is_runnable(td) || td->key_released)
		return td_illegal(td, "a leaf is split of a TD that can't run");
	err = td_check_leaf(td, TDH_MEM_PAGE_DEMOTE, gfn, level, mmu_spte_pfn(old_spte));
	if (err)
		return err;
	if (td_split_needs_pair(td, level) && !take_pair(td, sp, &c))
		return shared ? -EBUSY : td_illegal(td, "a split came without a Dynamic PAMT pair");
	err = shared ? demote_beside_others(&c) : demote_alone(&c);
	if (c.has_pair)
		finish_pair(td, sp, &c, old_spte, err);
	return err;
}
