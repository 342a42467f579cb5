/* SPDX-License-Identifier: MIT */
/*
 * References to pages, and a file's end while some are left.
 *
 * A page's count lies with its block. A huge page that outlives its file is kept by the sum of its
 * pages' counts (f->held), a 4K one in a table by its own count: the release marks either with
 * COUNT_RELEASED, and whoever finds the mark and no other reference frees the page. That is the
 * release itself or the last unref; the atomics decide which.
 *
 * An unref touches last what keeps alive what it touches: of a huge page f->held, which a release
 * waits for, after the count, which a change of layout waits for.
 */
#include <errno.h>
#include <stdlib.h>

#include "gmem/folio_word.h"

static struct gmem_counts *counts_of(const struct gmem_folios *f, u64 index)
{
	/* Pairs with the releases of who made them: all is zero. */
	return sync_load_acquire(&f->counts[index / BLOCK_PAGES]);
}

/* Two threads may hold the first pages of a block at once. */
static struct gmem_counts *make_counts(struct gmem_folios *f, u64 index)
{
	struct gmem_counts *counts, *found = NULL;

	if (host_alloc_fails(f->host))
		return NULL;
	counts = calloc(1, sizeof(*counts));
	if (!counts)
		return NULL;
	if (sync_cmpxchg(&f->counts[index / BLOCK_PAGES], &found, counts))
		return counts;
	free(counts);
	return found;
}

int gmem_folio_ref(struct gmem_folios *f, u64 index)
{
	struct gmem_counts *counts = counts_of(f, index);
	u64 unit = unit_of(f, index);

	if (!counts)
		counts = make_counts(f, index);
	if (!counts)
		return -ENOMEM;
	if (!word_is_table(sync_load_acquire(&f->word[unit])))
		sync_fetch_add(&f->held[unit], 1);
	sync_fetch_add(&counts->count[index % BLOCK_PAGES], 1);
	return 0;
}

/* One of the pages that the release left behind has gone; true: the last of all. */
static bool deferred_one_less(struct gmem_folios *f)
{
	return sync_fetch_sub(&f->deferred, 1) == 1;
}

bool gmem_folio_unref(struct gmem_folios *f, u64 index)
{
	u32 *count = &counts_of(f, index)->count[index % BLOCK_PAGES];
	u64 unit = unit_of(f, index);
	/* Who holds a page keeps it where it is, so this says of what kind it is. */
	u64 word = sync_load_acquire(&f->word[unit]);

	if (word_is_table(word)) {
		if (sync_fetch_sub(count, 1) != (COUNT_RELEASED | 1))
			return false;
		folio_free_small(f, &word_table(word)->page[index % BLOCK_PAGES]);
		return deferred_one_less(f);
	}
	sync_fetch_sub(count, 1);
	if (sync_fetch_sub(&f->held[unit], 1) != (COUNT_RELEASED | 1))
		return false;
	folio_free_huge(f, unit);
	return deferred_one_less(f);
}

/* The first page of [@index, @end), all of one block, that is held; or @end. */
static u64 first_ref_in_block(const struct gmem_folios *f, u64 index, u64 end)
{
	const struct gmem_counts *counts = counts_of(f, index);

	if (!counts)
		return end;
	/* Acquire: what the holder did to the page, and to its count, comes before what follows here. */
	while (index < end && !sync_load_acquire(&counts->count[index % BLOCK_PAGES]))
		index++;
	return index;
}

static u64 first_ref_in_unit(const struct gmem_folios *f, u64 unit, u64 index, u64 end)
{
	u64 next, found;

	if (!word_is_table(sync_load(&f->word[unit])) && !sync_load_acquire(&f->held[unit]))
		return end;
	for (; index < end; index = next) {
		next = min_u64(ALIGN_DOWN(index, BLOCK_PAGES) + BLOCK_PAGES, end);
		found = first_ref_in_block(f, index, next);
		if (found < next)
			return found;
	}
	return end;
}

u64 gmem_folio_first_ref(struct gmem_folios *f, u64 index, u64 end)
{
	for (u64 unit = unit_of(f, index); folio_next_unit(f, &unit, end); unit++) {
		u64 last = min_u64(end, unit_first(f, unit + 1));
		u64 found = first_ref_in_unit(f, unit, max_u64(index, unit_first(f, unit)), last);

		if (found < last)
			return found;
	}
	return end;
}

/* ---- release ---------------------------------------------------------------------------------*/

/* Marks a count; true if nobody holds what it counts, which goes now. */
static bool release_count(struct gmem_folios *f, u32 *count)
{
	/* Before the mark: whoever finds that may be the last already. */
	sync_fetch_add(&f->deferred, 1);
	return !sync_fetch_or(count, COUNT_RELEASED);
}

static void release_table(struct gmem_folios *f, u64 unit, struct folio_table *table)
{
	struct gmem_counts *counts = counts_of(f, unit_first(f, unit));

	for (u64 i = 0; i < BLOCK_PAGES; i++) {
		if (!sync_load(&table->page[i]))
			continue;
		if (!counts) {
			folio_free_small(f, &table->page[i]);
		} else if (release_count(f, &counts->count[i])) {
			folio_free_small(f, &table->page[i]);
			deferred_one_less(f);
		}
	}
}

bool gmem_folio_release(struct gmem_folios *f)
{
	for (u64 unit = 0; folio_next_unit(f, &unit, f->nr_pages); unit++) {
		u64 word = sync_load(&f->word[unit]);

		if (word_is_table(word)) {
			release_table(f, unit, word_table(word));
		} else if (release_count(f, &f->held[unit])) {
			folio_free_huge(f, unit);
			deferred_one_less(f);
		}
	}
	return deferred_one_less(f);
}
