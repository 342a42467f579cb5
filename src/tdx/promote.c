/* SPDX-License-Identifier: MIT */
/*
 * table -> leaf: BLOCK, TRACK, kick, PROMOTE; or, when the module says no, UNBLOCK.
 *
 *	NL_MAPPED --BLOCK--> NL_BLOCKED --TRACK, kick, PROMOTE--> leaf
 *	    ^                    |
 *	    +------UNBLOCK-------+   parts differ in state, BUSY twice, interrupted without end
 *
 * The mirror doesn't know which parts the guest has accepted, so a refusal is an answer. Between
 * BLOCK and the end a guest's access ends in an EPT violation, and its fault waits for mmu.lock,
 * finds the mapping in place, and enters again: nothing is lost.
 *
 * The table's page comes back while the key id is live, as a removed leaf does: its lines are
 * written back. UNBLOCK has the same need for TRACK and kick as PROMOTE.
 */
#include <errno.h>

#include "tdx/seamcall.h"

/* After these nothing has changed, and the VM lives on. */
static bool is_refusal(u64 status)
{
	return tdx_status_class(status) == TDX_EPT_INVALID_PROMOTE_CONDITIONS ||
	       tdx_operand_is_busy(status) || tdx_is_interrupted(status);
}

static int unblock(struct td *td, struct td_mem_call *c)
{
	u64 status = td_call_no_vcpus(tdh_mem_range_unblock, c);

	return status == TDX_SUCCESS ? -EAGAIN : td_bugged(td, TDH_MEM_RANGE_UNBLOCK, status);
}

/* Return: 0, the module has a leaf; -EAGAIN, it has the table as it was; -EIO */
static int change_external(struct td *td, struct td_mem_call *c)
{
	u64 status = td_call_no_vcpus(tdh_mem_range_block, c);

	if (tdx_operand_is_busy(status))
		return -EAGAIN;
	if (status != TDX_SUCCESS)
		return td_bugged(td, TDH_MEM_RANGE_BLOCK, status);
	if (td_track(td))
		return -EIO;
	status = td_call_no_vcpus(tdh_mem_page_promote, c);
	if (status == TDX_SUCCESS)
		return 0;
	if (is_refusal(status) && bug_planted(&td->host->bugs, BUG_UNBLOCK_FORGOTTEN))
		return -EAGAIN;
	return is_refusal(status) ? unblock(td, c) : td_bugged(td, TDH_MEM_PAGE_PROMOTE, status);
}

int td_promote(struct td *td, gfn_t gfn, enum pg_level level, u64 old_spte, u64 new_spte,
	       bool shared)
{
	const struct mmu_page *sp = mmu_spte_child(td->mmu, old_spte);
	struct td_mem_call c = {.td = td, .gfn = gfn, .level = level};
	u64 status;
	int err;

	if (shared)
		return td_illegal(td, "a table is promoted under the read lock");
	if (!td_is_runnable(td) || td->key_released)
		return td_illegal(td, "a table is promoted of a TD that can't run");
	/* Such a module can't be asked to split the leaf again. */
	if (!tdx_huge_pages_ok(td->module))
		return -EAGAIN;
	err = td_check_leaf(td, TDH_MEM_PAGE_PROMOTE, gfn, level, mmu_spte_pfn(new_spte));
	if (err)
		return err;
	err = change_external(td, &c);
	if (err)
		return err;
	/* From here on the module has the leaf: what fails stops the VM. */
	if (td->module->dynamic_pamt && level == PG_LEVEL_2M)
		tdx_pamt_merge(td->module, mmu_spte_pfn(new_spte), c.pair);
	if (c.removed != sp->external_spt)
		return td_illegal(td, "TDH.MEM.PAGE.PROMOTE gave another page than the table's");
	status = tdh_phymem_page_wbinvd(td->module, td->hkid, c.removed);
	if (status != TDX_SUCCESS)
		td_bugged(td, TDH_PHYMEM_PAGE_WBINVD, status);
	host_retag(td->host, c.removed, PG_LEVEL_4K, 0);
	return 0;
}
