/* SPDX-License-Identifier: MIT */
/*
 * TLB tracking, and holding vCPUs out.
 *
 *   BLOCK            no new translation is made through the entry
 *   TRACK            the TD's epoch goes on; who enters from now on drops what its TLB holds
 *   kick and wait    who entered before is out
 *   REMOVE, ...      nobody uses the old translation any more
 */
#include <errno.h>

#include "tdx/seamcall.h"

/*
 * A BUSY under mmu.lock held for writing comes from a vCPU (VP.ENTER's epoch lock, an ACCEPT on the
 * entry, the zero-step walk), for nobody else changes this S-EPT. With all of them out the second
 * call finds nothing taken.
 */
u64 td_call_no_vcpus(u64 (*call)(struct td_mem_call *c), struct td_mem_call *c)
{
	struct td *td = c->td;
	u64 status = call(c);

	if (likely(!tdx_operand_is_busy(status)))
		return status;
	if (bug_planted(&td->host->bugs, BUG_IGNORE_BUSY_BLOCK) && call == tdh_mem_range_block)
		return TDX_SUCCESS;
	/* Full barrier before kick_and_wait() looks at the vCPUs; pairs with vcpu_enter() in vm. */
	if (!bug_planted(&td->host->bugs, BUG_NO_HOLDOFF))
		sync_xchg(&td->hold_off, 1);
	td->ops.kick_and_wait(td->ops.vm);
	status = call(c);
	if (!bug_planted(&td->host->bugs, BUG_HOLDOFF_NOT_CLEARED))
		sync_store_release(&td->hold_off, 0);
	return status;
}

bool td_entry_held_off(const struct td *td)
{
	/* The caller has made a full barrier; pairs with the exchange in td_call_no_vcpus(). */
	return sync_load_acquire(&td->hold_off);
}

/* Without the kick the next TRACK meets vCPUs of the older epoch, and is refused. */
static bool is_planted(const struct td *td, u64 status)
{
	return bug_planted(&td->host->bugs, BUG_SKIP_KICK) &&
	       tdx_status_class(status) == TDX_PREVIOUS_TLB_EPOCH_BUSY;
}

int td_track(struct td *td)
{
	struct td_mem_call c = {.td = td};
	bool kicked = bug_planted(&td->host->bugs, BUG_KICK_BEFORE_TRACK);
	u64 status;
	int err = 0;

	/* While the TD is built no vCPU has run, and the module asks for no tracking. */
	if (!td_is_runnable(td) || td->key_released)
		return 0;
	if (kicked)
		td->ops.kick_and_wait(td->ops.vm);
	if (!bug_planted(&td->host->bugs, BUG_SKIP_TRACK)) {
		status = td_call_no_vcpus(tdh_mem_track, &c);
		/* Nobody enters a dead VM, but who is inside must still leave before memory is reused. */
		if (unlikely(status != TDX_SUCCESS) && !is_planted(td, status))
			err = td_bugged(td, TDH_MEM_TRACK, status);
	}
	if (!kicked && !bug_planted(&td->host->bugs, BUG_SKIP_KICK))
		td->ops.kick_and_wait(td->ops.vm);
	return err;
}
