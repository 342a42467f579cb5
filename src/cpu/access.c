/* SPDX-License-Identifier: MIT */
/*
 * cpu/access: what one guest access does: interrupt, translation, memory under the translation's
 * key id. This is the innermost loop of every run.
 */
#include "cpu/lp.h"
#include "cpu/tlb.h"

/*
 * Guest code is interrupted by whatever is pending: RFLAGS.IF of the host, which lp_interrupted()
 * honours for the module, masks nothing while a guest runs.
 */
static bool must_exit(struct lp *lp)
{
	if (likely(!sync_load_acquire(&lp->pending))) /* pairs with lp_interrupt() */
		return false;
	lp->exit = (struct lp_exit){.kind = LP_EXIT_INTERRUPT};
	return true;
}

/* The TLB's translation if it allows the access, else the tables', which the TLB then keeps. */
static bool translate(struct lp *lp, gpa_t gpa, bool write, struct ept_translation *tr)
{
	if (likely(tlb_lookup(lp, gpa, tr) && (!write || tr->writable))) {
		lp->tlb_hits++;
	} else {
		lp->tlb_misses++;
		if (!ept_walk(lp, gpa, write, tr)) {
			lp->exit = (struct lp_exit){LP_EXIT_EPT_VIOLATION, gpa, write};
			return false;
		}
		tlb_fill(lp, gpa, tr);
	}
	/* Planted where a translation is used, so that a huge one goes wrong for few of its gfns. */
	if (bug_planted(&lp->host->bugs, BUG_WRONG_PFN) && addr_to_fn(gpa) % 64 == 7)
		tr->pfn ^= 1;
	return true;
}

static hpa_t address(const struct ept_translation *tr, gpa_t gpa)
{
	return fn_to_addr(tr->pfn) | (gpa & (PAGE_SIZE - 1));
}

enum lp_access lp_guest_read(struct lp *lp, gpa_t gpa, u64 *words, unsigned int n)
{
	struct ept_translation tr;

	if (must_exit(lp) || !translate(lp, gpa, false, &tr))
		return LP_ACCESS_EXIT;
	return host_read(lp->host, address(&tr, gpa), tr.hkid, words, n) ? LP_ACCESS_MC
									 : LP_ACCESS_OK;
}

enum lp_access lp_guest_write(struct lp *lp, gpa_t gpa, const u64 *words, unsigned int n)
{
	struct ept_translation tr;

	if (must_exit(lp) || !translate(lp, gpa, true, &tr))
		return LP_ACCESS_EXIT;
	return host_write(lp->host, address(&tr, gpa), tr.hkid, words, n) ? LP_ACCESS_MC
									  : LP_ACCESS_OK;
}

enum lp_access lp_guest_poll(struct lp *lp)
{
	return must_exit(lp) ? LP_ACCESS_EXIT : LP_ACCESS_OK;
}
