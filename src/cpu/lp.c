/* SPDX-License-Identifier: MIT */
/* cpu/lp: life of a logical processor, and its pending interrupts. */
#include "cpu/lp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An LP of an earlier host: its TLB is large, and empty once all of it is older than this LP. */
static void renew(struct lp *lp)
{
	u64 flushes = lp->tlb_flushes;

	memset(lp, 0, offsetof(struct lp, tlb_4k));
	lp->tlb_flushes = flushes + 1;
	lp->tlb_since = flushes + 1;
}

static struct lp *lp_alloc(struct host *host, u32 id)
{
	bool kept;
	struct lp *lp = host_keep(host, id, sizeof(*lp), &kept);

	if (!lp)
		return calloc(1, sizeof(*lp));
	if (kept)
		renew(lp);
	lp->kept = true;
	return lp;
}

int lp_create(struct host *host, u32 id, struct lp **out)
{
	struct lp *lp = lp_alloc(host, id);

	if (!lp)
		return -ENOMEM;
	lp->host = host;
	lp->id = id;
	/* Neighbours share a package; host->nr_lps need not divide evenly. */
	lp->package = (u32)((u64)id * host->nr_packages / max_u64(host->nr_lps, id + 1));
	*out = lp;
	return 0;
}

void lp_destroy(struct lp *lp)
{
	if (!lp->kept)
		free(lp);
}

void lp_interrupt(struct lp *lp, u32 kind)
{
	/* Pairs with the loads in lp_interrupted() and must_exit(): they see why we interrupt. */
	sync_fetch_or(&lp->pending, kind);
}

u32 lp_take_interrupts(struct lp *lp)
{
	/* The plain look keeps the exchange out of the way when nothing is pending, which is usual. */
	return sync_load(&lp->pending) ? sync_xchg(&lp->pending, 0) : 0;
}

bool lp_interrupted(const struct lp *lp)
{
	u32 pending = sync_load_acquire(&lp->pending); /* pairs with lp_interrupt() */

	return lp->intr_masked ? pending & LP_NMI : pending;
}
