/* SPDX-License-Identifier: MIT */
/*
 * gmem/folio: which frames back a file, in which huge pages and folios. Knows nothing of clients;
 * of attributes it knows what restructuring asks of them.
 *
 * A huge page is the unit of allocation (4K, 2M or 1G; a THP-like file falls back to 4K). It is one
 * folio, or several: all 4K, or 2M folios but for the 2M blocks that hold a shared page. Its frames
 * stay contiguous whatever folios it is in.
 *
 * Locks: "changing" needs gmem.invalidate_lock for writing, "allocating" needs it for reading and
 * the folio lock of the huge page (taken inside). Lookups take none: an RCU section is enough.
 */
#ifndef GMEM_FOLIO_H
#define GMEM_FOLIO_H

#include "gmem/attr.h"
#include "gmem/gmem.h"

struct gmem_folios; /* hangs from struct gmem_file by value or pointer; see internal.h */

int gmem_folios_init(struct gmem_folios *f, struct host *host, const struct gmem_config *cfg);
/** gmem_folios_destroy - nothing is held any more */
void gmem_folios_destroy(struct gmem_folios *f);

/* What a lookup finds. */
struct gmem_page {
	pfn_t pfn;
	enum pg_level folio; /* NONE: nothing backs the index */
	enum pg_level huge;  /* size of the huge page that the folio is a part of */
	bool failed;
};
/** gmem_folio_lookup - what backs @index; no lock (RCU inside) */
struct gmem_page gmem_folio_lookup(struct gmem_folios *f, u64 index);
/**
 * gmem_folio_get - allocating: the same, and something backs it afterwards
 *
 * A new huge page is laid out as the attributes ask for. Its shared pages are zeroed (private ones
 * are by the guest's ACCEPT).
 * Return: 0 or -ENOMEM.
 */
int gmem_folio_get(struct gmem_folios *f, struct gmem_attrs *attrs, u64 index, struct gmem_page *page);
/** gmem_folio_unit - first index and number of pages of the huge page that @index is, or would be, in */
void gmem_folio_unit(struct gmem_folios *f, u64 index, u64 *first, u64 *nr);

/* ---- restructuring: changing -------------------------------------------------------------------
 * A plan brings the huge pages that touch a range to the layout that attributes @next ask for: those
 * with a shared page are taken apart, those without are put together. Put together, like GMEM_REFS_
 * COUNTED, needs nothing and can't fail.
 */
struct gmem_plan {
	struct gmem_folios *f;
	struct gmem_attr_set *next;
	u64 index, end;
	struct gmem_prealloc *prealloc; /* what PREALLOC has allocated */
};
/** gmem_plan_prepare - what the plan needs; changes nothing. Return: 0 or -ENOMEM (PREALLOC alone) */
int gmem_plan_prepare(struct gmem_plan *plan);
/** gmem_plan_splits - some huge page will be taken apart */
bool gmem_plan_splits(struct gmem_plan *plan);
/**
 * gmem_plan_limit - for each run of [*@at, end) in ascending order: from where to where folios will be
 * of @level at most, where that is less than now; false when there is none (GMEM_FORM_FOLIO)
 */
bool gmem_plan_limit(struct gmem_plan *plan, u64 *at, u64 *nr, enum pg_level *level);
/**
 * gmem_plan_run - the folios change
 *
 * Return: 0; -ENOMEM under LATE: every huge page is laid out as before (rolled back).
 */
int gmem_plan_run(struct gmem_plan *plan);
/** gmem_plan_undo - after a run: as before; can't fail (frames were kept) */
void gmem_plan_undo(struct gmem_plan *plan);
/** gmem_plan_done - gives back what wasn't used */
void gmem_plan_done(struct gmem_plan *plan);

/* ---- taking memory away: changing ------------------------------------------------------------*/
/** gmem_folio_zero - pages of [@index, @end) that exist read as zero to the host's key */
void gmem_folio_zero(struct gmem_folios *f, u64 index, u64 end);
/**
 * gmem_folio_drop - huge pages wholly inside [@index, @end) are freed, of others the pages are zeroed
 *
 * With references left (release of the file) a huge page is freed by the last gmem_folio_unref().
 */
void gmem_folio_drop(struct gmem_folios *f, u64 index, u64 end);
/** gmem_folio_fail - @nr pages from @index are lost: never given out, nor their frames used, again */
void gmem_folio_fail(struct gmem_folios *f, u64 index, u64 nr);

/* ---- references to pages (of who does I/O), beside the one that the file has ------------------*/
/** gmem_folio_ref - no lock beyond what keeps @index shared; 0 or -ENOMEM */
int gmem_folio_ref(struct gmem_folios *f, u64 index);
/** gmem_folio_unref - true: this was the file's last page, it was released before */
bool gmem_folio_unref(struct gmem_folios *f, u64 index);
/** gmem_folio_first_ref - first index of [@index, @end) that somebody holds, or @end */
u64 gmem_folio_first_ref(struct gmem_folios *f, u64 index, u64 end);

/** gmem_folio_stats - fills what the folios know */
void gmem_folio_stats(struct gmem_folios *f, struct gmem_stats *stats);

#endif
