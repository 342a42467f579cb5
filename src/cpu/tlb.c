/* SPDX-License-Identifier: MIT */
/* cpu/tlb: lookup, fill and the flush of VP.ENTER. Only the thread that drives the LP comes here. */
#include "cpu/tlb.h"

_Static_assert(!(TLB_4K_ENTRIES & (TLB_4K_ENTRIES - 1)) &&
		       !(TLB_2M_ENTRIES & (TLB_2M_ENTRIES - 1)) &&
		       !(TLB_1G_ENTRIES & (TLB_1G_ENTRIES - 1)),
	       "a slot is chosen by a mask");

/* Where a translation of @gpa at @level lies in an array of @entries, a power of two. */
static u64 slot_of(const struct lp *lp, gpa_t gpa, enum pg_level level, u64 entries)
{
	/* Spreads the TDs of one LP, which use the same low gfns, over the array. */
	u64 spread = (lp->ept.asid ^ lp->ept.asid >> PAGE_SHIFT) * 0x9E3779B1U;

	return ((gpa >> level_shift(level)) + spread) & (entries - 1);
}

/* Asids are addresses of TDR pages: neighbours get words of their own. */
static unsigned int flush_word_of(u64 asid)
{
	return (unsigned int)(asid >> PAGE_SHIFT ^ asid >> (PAGE_SHIFT + 9)) % TLB_FLUSH_WORDS;
}

/* The count of flushes from which on what was filled for @asid holds. */
static u64 holds_since(const struct lp *lp, u64 asid)
{
	const struct tlb_flush *f = &lp->tlb_flush[flush_word_of(asid)];

	return f->asid == asid ? f->since : lp->tlb_since;
}

static inline bool probe(const struct lp *lp, gpa_t gpa, enum pg_level level,
			 const struct tlb_entry *array, u64 entries, u64 since,
			 struct ept_translation *out)
{
	const struct tlb_entry *e = &array[slot_of(lp, gpa, level, entries)];

	if (e->fn != gpa >> level_shift(level) || e->asid != lp->ept.asid || e->filled < since)
		return false;
	*out = (struct ept_translation){
		.pfn = e->pfn + (addr_to_fn(gpa) & (pages_per_level(level) - 1)),
		.level = level,
		.hkid = e->hkid,
		.writable = e->writable,
	};
	return true;
}

bool tlb_lookup(const struct lp *lp, gpa_t gpa, struct ept_translation *out)
{
	u64 since = holds_since(lp, lp->ept.asid);

	return probe(lp, gpa, PG_LEVEL_4K, lp->tlb_4k, TLB_4K_ENTRIES, since, out) ||
	       probe(lp, gpa, PG_LEVEL_2M, lp->tlb_2m, TLB_2M_ENTRIES, since, out) ||
	       probe(lp, gpa, PG_LEVEL_1G, lp->tlb_1g, TLB_1G_ENTRIES, since, out);
}

void tlb_fill(struct lp *lp, gpa_t gpa, const struct ept_translation *tr)
{
	struct tlb_entry entry = {
		.asid = lp->ept.asid,
		.fn = gpa >> level_shift(tr->level),
		.pfn = fn_align_down(tr->pfn, tr->level),
		.filled = lp->tlb_flushes & GENMASK_ULL(46, 0),
		.hkid = tr->hkid,
		.writable = tr->writable,
	};

	switch (tr->level) {
	case PG_LEVEL_4K:
		lp->tlb_4k[slot_of(lp, gpa, PG_LEVEL_4K, TLB_4K_ENTRIES)] = entry;
		break;
	case PG_LEVEL_2M:
		lp->tlb_2m[slot_of(lp, gpa, PG_LEVEL_2M, TLB_2M_ENTRIES)] = entry;
		break;
	default:
		lp->tlb_1g[slot_of(lp, gpa, PG_LEVEL_1G, TLB_1G_ENTRIES)] = entry;
	}
}

static void drop_stale_in(struct tlb_entry *entries, unsigned int n, const struct tlb_flush *f)
{
	for (unsigned int i = 0; i < n; i++) {
		if (entries[i].asid == f->asid && entries[i].filled < f->since)
			entries[i].asid = 0;
	}
}

/* The word is wanted for another asid: what it says is written into the slots themselves. */
static __attribute__((cold)) void settle(struct lp *lp, const struct tlb_flush *f)
{
	drop_stale_in(lp->tlb_4k, TLB_4K_ENTRIES, f);
	drop_stale_in(lp->tlb_2m, TLB_2M_ENTRIES, f);
	drop_stale_in(lp->tlb_1g, TLB_1G_ENTRIES, f);
}

void lp_tlb_flush(struct lp *lp, u64 asid)
{
	struct tlb_flush *f;

	if (bug_planted(&lp->host->bugs, BUG_FLUSH_OTHER_ASID))
		asid += PAGE_SIZE;
	f = &lp->tlb_flush[flush_word_of(asid)];
	if (unlikely(f->asid != asid) && f->asid)
		settle(lp, f);
	f->asid = asid;
	f->since = ++lp->tlb_flushes;
}

bool lp_tlb_is_stale(const struct lp *lp, gpa_t gpa)
{
	struct ept_translation held, now;

	if (!tlb_lookup(lp, gpa, &held))
		return false;
	if (!ept_walk(lp, gpa, held.writable, &now))
		return true;
	return held.pfn != now.pfn || held.hkid != now.hkid;
}
