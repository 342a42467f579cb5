/* SPDX-License-Identifier: MIT */
/*
 * gmem/folio: which frames back a file, in which huge pages and folios. Knows nothing of clients;
 * of attributes it knows what restructuring asks of them.
 *
 * A huge page is the unit of allocation (4K, 2M or 1G; a THP-like file falls back to 4K). It is one
 * folio, or several: all 4K, or 2M folios but for the 2M blocks that hold a shared page. Its frames
 * stay contiguous whatever folios it is in.
 *
 * One word per 2M block, or per 1G where that is the backing, says what is there:
 *
 *	empty ----> huge page, whole <----> huge page, apart ----> empty
 *	   \                                                       ^
 *	    `-----> table of 4K huge pages ------------------------'
 *
 * Beside it lie arrays that cost nothing where they were never used: which 2M blocks of a 1G page are
 * apart, which pages have failed, where references are counted.
 *
 * Locks: "changing" needs gmem.invalidate_lock for writing, "allocating" needs it for reading and
 * the folio lock of the block (gmem_folio_lock_hash()). Lookups take none, and hold RCU inside.
 */
#ifndef GMEM_FOLIO_H
#define GMEM_FOLIO_H

#include "gmem/attr.h"
#include "gmem/gmem.h"

struct gmem_counts;

/* The folios of a file: hangs from struct gmem_file by value; only the folio layer looks inside. */
struct gmem_folios {
	struct host *host;
	struct hugetlb_pool *pool;
	u64 nr_pages;	    /* of the file; changed by gmem_folio_truncate() */
	enum pg_level unit; /* what one word stands for: 1G for a 1G pool, else 2M */
	unsigned int shift; /* index >> shift: number of its word */
	bool may_be_huge;   /* a block that lies inside the file may be one huge page */
	bool splits;	    /* GMEM_REFS_SPLIT */
	bool uniform;	    /* GMEM_SPLIT_UNIFORM */
	bool late;	    /* GMEM_RESTRUCTURE_LATE */
	void *area;	    /* one lazily populated mapping that holds the arrays */
	u64 area_bytes;
	u64 *word;		     /* per unit */
	u64 *apart, *was_apart;	     /* a bit per 2M block of a 1G backing: it is in 4K folios */
	u64 *failed;		     /* a bit per page: memory failed there */
	struct gmem_counts **counts; /* per 2M block: references to its pages; atomic */
	u32 *held;	/* per huge page: references to it, and HELD_RELEASED; atomic */
	u8 *chunk_used; /* per 1G: something has been there; only ever set, atomic */
	u64 reserved;	/* pool's pages that the file may still take; atomic */
	u64 deferred;	/* huge pages that outlive the release, and 1 until it is over; atomic */
	/* gmem_folio_stats(); atomic */
	u64 frames, huge_pages, nr_folios[PG_LEVEL_1G + 1];
	u64 splits_done, merges_done, vmemmap_restored, failed_pages;
};

/**
 * gmem_folios_init - an empty file of @cfg, which has been checked
 *
 * A pool's pages are reserved. Return: 0 or -ENOMEM (also for a pool too small).
 */
int gmem_folios_init(struct gmem_folios *f, struct host *host, const struct gmem_config *cfg);
/** gmem_folios_destroy - after gmem_folio_release(): nothing is held any more */
void gmem_folios_destroy(struct gmem_folios *f);

/*
 * What a lookup finds. No block of size @folio or @huge around the index holds a page that failed:
 * both are less than they were where memory has failed nearby.
 */
struct gmem_page {
	pfn_t pfn;
	enum pg_level folio; /* NONE: nothing backs the index */
	enum pg_level huge;  /* size of the huge page that the folio is a part of */
	bool failed;
};
/** gmem_folio_lookup - what backs @index; no lock (RCU inside) */
struct gmem_page gmem_folio_lookup(struct gmem_folios *f, u64 index);
/**
 * gmem_folio_lock_hash - equal for indexes whose allocation must be serialised
 *
 * Not the same as being in one gmem_folio_unit(): a 2M block may get one huge page or 512.
 */
static inline u64 gmem_folio_lock_hash(const struct gmem_folios *f, u64 index)
{
	return index >> f->shift;
}
/**
 * gmem_folio_get - allocating: the same, and something backs it afterwards
 *
 * A new huge page is laid out as the attributes ask for. Its shared pages are zeroed (private ones
 * are by the guest's ACCEPT).
 * Return: 0 or -ENOMEM.
 */
int gmem_folio_get(struct gmem_folios *f, struct gmem_attrs *attrs, u64 index,
		   struct gmem_page *page);
/** gmem_folio_unit - first index and number of pages of the huge page that @index is, or would be, in */
void gmem_folio_unit(struct gmem_folios *f, u64 index, u64 *first, u64 *nr);

/* ---- restructuring: changing -------------------------------------------------------------------
 * A plan brings the huge pages that touch a range to the layout that attributes @next ask for: those
 * with a shared page are taken apart, those without are put together. Put together, like GMEM_REFS_
 * COUNTED, needs nothing and can't fail. Outside the range @next says what the attributes said when
 * the layout was last made.
 *
 * prepare, then run or nothing, then undo or nothing, then done; one plan of a file at a time.
 */
struct gmem_plan {
	struct gmem_folios *f;
	struct gmem_attr_set *next;
	u64 index, end;
	struct gmem_prealloc *prealloc; /* what PREALLOC has allocated; NULL at first */
};
/**
 * gmem_plan_prepare - what the plan needs; changes nothing
 *
 * Return: 0 or -ENOMEM (PREALLOC alone); nothing is held then, and done isn't needed.
 */
int gmem_plan_prepare(struct gmem_plan *plan);
/** gmem_plan_splits - some huge page will be taken apart, or further apart than it is */
bool gmem_plan_splits(struct gmem_plan *plan);
/**
 * gmem_plan_limit - the first run of pages at or after *@at whose folios will be of @level at most,
 * where that is less than now; false when there is none (GMEM_FORM_FOLIO)
 *
 * Runs lie in the huge pages that touch the range, so the first may begin below plan->index: start
 * with *@at = 0, and go on with *@at + @nr. Before the run.
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
/** gmem_plan_done - gives back what wasn't used, and what is needed no more */
void gmem_plan_done(struct gmem_plan *plan);

/* ---- taking memory away: changing ------------------------------------------------------------*/
/** gmem_folio_zero - pages of [@index, @end) that exist read as zero to the host's key */
void gmem_folio_zero(struct gmem_folios *f, u64 index, u64 end);
/**
 * gmem_folio_drop - huge pages wholly inside [@index, @end) are freed, of others the pages are zeroed
 *
 * Nobody holds a page of the range.
 */
void gmem_folio_drop(struct gmem_folios *f, u64 index, u64 end);
/**
 * gmem_folio_truncate - the file has @nr_pages pages from now on, and a smaller reservation
 *
 * After a gmem_folio_drop() of the rest; @nr_pages is a multiple of the backing's huge page.
 */
void gmem_folio_truncate(struct gmem_folios *f, u64 nr_pages);
/**
 * gmem_folio_release - all is freed, but for huge pages with a page that somebody holds
 *
 * These go one by one, each with the last gmem_folio_unref() to it.
 * Return: true if there is none; otherwise the gmem_folio_unref() that returns true is the file's
 * last. Exactly one of them says so: whoever hears it calls gmem_folios_destroy().
 */
bool gmem_folio_release(struct gmem_folios *f);
/** gmem_folio_fail - @nr pages from @index are lost: never given out, nor their frames used, again */
void gmem_folio_fail(struct gmem_folios *f, u64 index, u64 nr);

/* ---- references to pages (of who does I/O), beside the one that the file has ------------------*/
/**
 * gmem_folio_ref - hold the page at @index, which exists
 *
 * No lock beyond what keeps @index shared. Return: 0; -ENOMEM, but not under GMEM_REFS_SPLIT for a
 * page of a huge page: its folio has a count.
 */
int gmem_folio_ref(struct gmem_folios *f, u64 index);
/** gmem_folio_unref - no lock; true: this was the file's last page, it was released before */
bool gmem_folio_unref(struct gmem_folios *f, u64 index);
/** gmem_folio_first_ref - first index of [@index, @end) that somebody holds, or @end */
u64 gmem_folio_first_ref(struct gmem_folios *f, u64 index, u64 end);

/** gmem_folio_stats - fills what the folios know: all but host_mapped */
void gmem_folio_stats(struct gmem_folios *f, struct gmem_stats *stats);

#endif
