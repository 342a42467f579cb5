/* SPDX-License-Identifier: MIT */
/*
 * gmem/folio_word: how the folio layer writes down what backs a file. Private to gmem/folio*.c.
 *
 * A huge page's word, and the entry of a 4K page in a table, is the pfn above these bits. A word
 * without WORD_PRESENT is 0 or a pointer to a table.
 */
#ifndef GMEM_FOLIO_WORD_H
#define GMEM_FOLIO_WORD_H

#include "base/sync.h"
#include "gmem/folio.h"

#define BLOCK_PAGES PTRS_PER_TABLE
#define BLOCKS_PER_1G PTRS_PER_TABLE
#define APART_WORDS (BLOCKS_PER_1G / 64) /* of f->apart, for a 1G page */
#define CHUNK_PAGES (BLOCK_PAGES * 512ULL)

#define WORD_PRESENT BIT_ULL(0)
#define WORD_APART BIT_ULL(1)	  /* in several folios; of a 1G page f->apart says which */
#define WORD_FAILED BIT_ULL(2)	  /* some page of it has failed: f->failed says which */
#define WORD_RESTORED BIT_ULL(3)  /* its descriptors are, or needn't be */
#define WORD_CHANGED BIT_ULL(4)	  /* the plan under way has changed its layout, from: */
#define WORD_WAS_APART BIT_ULL(5) /* this and f->was_apart */
#define WORD_PFN_SHIFT 6

/* A count's or f->held's mark that the file has let go; the last unref finds it. */
#define COUNT_RELEASED 0x80000000U

struct folio_table {
	u64 page[BLOCK_PAGES]; /* 0: none */
	struct sync_rcu_head rcu;
};

/*
 * References to the pages of a 2M block. Under GMEM_REFS_SPLIT those of 4K folios: there is one of
 * these for each block of a huge page that is in 4K folios, made when it is taken apart. Otherwise
 * a table beside the folios, made when a page is first held.
 */
struct gmem_counts {
	u32 count[BLOCK_PAGES]; /* atomic */
};

static inline pfn_t word_pfn(u64 word)
{
	return word >> WORD_PFN_SHIFT;
}

static inline u64 word_of(pfn_t pfn)
{
	return pfn << WORD_PFN_SHIFT | WORD_PRESENT;
}

static inline bool word_is_table(u64 word)
{
	return word && !(word & WORD_PRESENT);
}

static inline struct folio_table *word_table(u64 word)
{
	return (struct folio_table *)word;
}

static inline u64 unit_of(const struct gmem_folios *f, u64 index)
{
	return index >> f->shift;
}

static inline u64 unit_pages(const struct gmem_folios *f)
{
	return 1ULL << f->shift;
}

static inline u64 unit_first(const struct gmem_folios *f, u64 unit)
{
	return unit << f->shift;
}

/** bit_is_set - bit @n of one of the arrays of bits; others of its word may change meanwhile */
static inline bool bit_is_set(const u64 *bits, u64 n)
{
	return sync_load(&bits[n / 64]) >> n % 64 & 1;
}

/* ---- layout of a huge page -------------------------------------------------------------------*/
struct folio_layout {
	bool apart;
	u64 block
		[APART_WORDS]; /* a bit per 2M block: in 4K folios; of a 2M page bit 0 of the first */
};

/** folio_layout_now - the layout of the huge page in @word */
struct folio_layout folio_layout_now(const struct gmem_folios *f, u64 unit, u64 word);
/**
 * folio_layout_wanted - what @set asks for; @now is right but for the blocks that [@index, @end) touches
 */
struct folio_layout folio_layout_wanted(const struct gmem_folios *f,
					const struct gmem_attr_set *set, u64 unit,
					const struct folio_layout *now, u64 index, u64 end);
bool folio_layout_is(const struct folio_layout *a, const struct folio_layout *b);
/** folio_layout_level - size of the folios of block @i (from 0) of a huge page */
enum pg_level folio_layout_level(const struct gmem_folios *f, const struct folio_layout *layout,
				 u64 i);
/** folio_layout_store - writes f->apart, and gives @word with WORD_APART as it must be published */
u64 folio_layout_store(struct gmem_folios *f, u64 unit, u64 word,
		       const struct folio_layout *layout);
/** folio_layout_account - the folios of @layout come, or go */
void folio_layout_account(struct gmem_folios *f, const struct folio_layout *layout, bool come);

/* ---- what a huge page that is taken apart needs ----------------------------------------------*/
/** folio_counts_make - counts for the blocks of @to that aren't in @from; 0 or -ENOMEM (none then) */
int folio_counts_make(struct gmem_folios *f, u64 unit, const struct folio_layout *from,
		      const struct folio_layout *to);
/** folio_counts_trim - no counts but for the blocks of @layout; nobody holds a page of the others */
void folio_counts_trim(struct gmem_folios *f, u64 unit, const struct folio_layout *layout);
/** folio_descriptors_prealloc - for a word without WORD_RESTORED; 0 or -ENOMEM */
int folio_descriptors_prealloc(struct gmem_folios *f, struct hugetlb_vmemmap *pages);
/** folio_descriptors_restore - uses @pages up, and gives @word with WORD_RESTORED */
u64 folio_descriptors_restore(struct gmem_folios *f, u64 word, struct hugetlb_vmemmap *pages);

/* ---- walking ---------------------------------------------------------------------------------*/
/**
 * folio_next_unit - the first unit in use at @unit or after that begins below @end; false: none
 */
bool folio_next_unit(const struct gmem_folios *f, u64 *unit, u64 end);
/** folio_free_huge - the huge page leaves the file; nobody holds a page of it */
void folio_free_huge(struct gmem_folios *f, u64 unit);
/** folio_free_small - and a 4K one of a table, that has the entry @page */
void folio_free_small(struct gmem_folios *f, u64 *page);

#endif
