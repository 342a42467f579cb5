/* SPDX-License-Identifier: MIT */
/*
 * Folios: life of a file's memory, looking it up, allocating and taking it away.
 *
 * Words and table entries are published with release by an allocator that holds the folio lock, or
 * changed so by who holds gmem.invalidate_lock for writing; everybody reads them with acquire. A
 * table that a reader may still look into is freed through RCU. What lies beside a word (f->apart,
 * f->failed) is written before the word says to look there; a reader that comes from an older word
 * finds a mixture of old and new, which is as good as the older word: out of date.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sparse.h"
#include "gmem/folio_word.h"

static u64 div_up(u64 n, u64 by)
{
	return (n + by - 1) / by;
}

/* ---- life ------------------------------------------------------------------------------------*/

/* The arrays, one after the other; each begins on a line of its own. */
static void *carve(struct gmem_folios *f, u64 bytes)
{
	/* The first time over, for their size, there is no area yet: an integer, not a pointer, grows. */
	void *at = (void *)((uintptr_t)f->area + f->area_bytes);

	f->area_bytes += ALIGN_UP(bytes, 64);
	return at;
}

static void carve_all(struct gmem_folios *f)
{
	u64 units = div_up(f->nr_pages, unit_pages(f)), blocks = div_up(f->nr_pages, BLOCK_PAGES);

	f->area_bytes = 0;
	f->word = carve(f, units * sizeof(*f->word));
	f->held = carve(f, units * sizeof(*f->held));
	f->counts = carve(f, blocks * sizeof(struct gmem_counts *));
	f->apart = carve(f, div_up(blocks, 64) * sizeof(*f->apart));
	f->was_apart = carve(f, div_up(blocks, 64) * sizeof(*f->was_apart));
	f->failed = carve(f, div_up(f->nr_pages, 64) * sizeof(*f->failed));
	f->chunk_used = carve(f, div_up(f->nr_pages, CHUNK_PAGES));
}

static int map_area(struct gmem_folios *f)
{
	carve_all(f); /* for its size */
	f->area = sparse_alloc(f->area_bytes);
	if (!f->area)
		return -ENOMEM;
	carve_all(f);
	return 0;
}

int gmem_folios_init(struct gmem_folios *f, struct host *host, const struct gmem_config *cfg)
{
	u64 missing;
	int err;

	*f = (struct gmem_folios){
		.host = host,
		.pool = cfg->pool,
		.nr_pages = addr_to_fn(cfg->size),
		.unit = cfg->backing == GMEM_HUGETLB_1G ? PG_LEVEL_1G : PG_LEVEL_2M,
		.may_be_huge = cfg->backing != GMEM_4K,
		.splits = cfg->folio_refs == GMEM_REFS_SPLIT,
		.uniform = cfg->folio_split == GMEM_SPLIT_UNIFORM,
		.late = cfg->restructure == GMEM_RESTRUCTURE_LATE,
		.deferred = 1,
	};
	f->shift = level_shift(f->unit) - PAGE_SHIFT;
	err = map_area(f);
	if (err || !f->pool)
		return err;
	f->reserved = f->nr_pages / unit_pages(f);
	err = hugetlb_reserve(f->pool, f->reserved, &missing);
	if (err)
		sparse_free(f->area, f->area_bytes);
	return err;
}

/* Only tables are left, without pages; and the counts of blocks that have one. */
void gmem_folios_destroy(struct gmem_folios *f)
{
	for (u64 unit = 0; folio_next_unit(f, &unit, f->nr_pages); unit++) {
		free(word_table(sync_load(&f->word[unit])));
		free(sync_load(&f->counts[unit]));
	}
	if (f->pool)
		hugetlb_unreserve(f->pool, f->reserved);
	sparse_free(f->area, f->area_bytes);
}

/* ---- lookups ---------------------------------------------------------------------------------*/
static enum pg_level min_level(enum pg_level a, enum pg_level b)
{
	return a < b ? a : b;
}

static bool has_failed(const struct gmem_folios *f, u64 index)
{
	return bit_is_set(f->failed, index);
}

static bool block_has_failed(const struct gmem_folios *f, u64 block)
{
	u64 bits = 0;

	for (u64 i = 0; i < BLOCK_PAGES / 64; i++)
		bits |= sync_load(&f->failed[block * (BLOCK_PAGES / 64) + i]);
	return bits;
}

/* A huge page that is in several folios, or has lost a page. */
static void look_closer(const struct gmem_folios *f, u64 index, u64 word, struct gmem_page *page)
{
	u64 block = index / BLOCK_PAGES;

	if (word & WORD_APART)
		page->folio = f->unit == PG_LEVEL_2M || bit_is_set(f->apart, block) ? PG_LEVEL_4K
										    : PG_LEVEL_2M;
	if (word & WORD_FAILED) {
		enum pg_level most = block_has_failed(f, block) ? PG_LEVEL_4K : PG_LEVEL_2M;

		page->failed = has_failed(f, index);
		page->folio = min_level(page->folio, most);
		page->huge = min_level(page->huge, most);
	}
}

static struct gmem_page look_in_table(const struct gmem_folios *f, u64 index)
{
	struct gmem_page page = {0};
	u64 word, entry = 0;

	sync_rcu_read_lock();
	/* Both pair with the releases of who published. */
	word = sync_load_acquire(&f->word[unit_of(f, index)]);
	if (word_is_table(word))
		entry = sync_load_acquire(&word_table(word)->page[index % BLOCK_PAGES]);
	sync_rcu_read_unlock();
	if (entry)
		page = (struct gmem_page){
			.pfn = word_pfn(entry),
			.folio = PG_LEVEL_4K,
			.huge = PG_LEVEL_4K,
			.failed = entry & WORD_FAILED,
		};
	return page;
}

struct gmem_page gmem_folio_lookup(struct gmem_folios *f, u64 index)
{
	struct gmem_page page = {0};
	/* Pairs with the releases of who published; a huge page's word alone needs no RCU. */
	u64 word = sync_load_acquire(&f->word[unit_of(f, index)]);

	if (!(word & WORD_PRESENT))
		return word ? look_in_table(f, index) : page;
	page.pfn = word_pfn(word) + (index & (unit_pages(f) - 1));
	page.folio = f->unit;
	page.huge = f->unit;
	if (unlikely(word & (WORD_APART | WORD_FAILED)))
		look_closer(f, index, word, &page);
	return page;
}

/* The unit of @index lies inside the file and may be one huge page. */
static bool is_huge_unit(const struct gmem_folios *f, u64 unit)
{
	return f->may_be_huge && unit_first(f, unit) + unit_pages(f) <= f->nr_pages;
}

void gmem_folio_unit(struct gmem_folios *f, u64 index, u64 *first, u64 *nr)
{
	u64 unit = unit_of(f, index);
	bool huge = is_huge_unit(f, unit) && !word_is_table(sync_load(&f->word[unit]));

	*first = huge ? unit_first(f, unit) : index;
	*nr = huge ? unit_pages(f) : 1;
}

bool folio_next_unit(const struct gmem_folios *f, u64 *unit, u64 end)
{
	for (; unit_first(f, *unit) < end; ++*unit) {
		u64 chunk = unit_first(f, *unit) / CHUNK_PAGES;

		if (sync_load(&f->word[*unit]))
			return true;
		if (!sync_load(&f->chunk_used[chunk]))
			*unit = unit_of(f, (chunk + 1) * CHUNK_PAGES) - 1;
	}
	return false;
}

/* ---- allocating ------------------------------------------------------------------------------*/

/* The reservation that the file has left, by one; false if it has none. */
static bool take_reservation(struct gmem_folios *f)
{
	u64 left = sync_load(&f->reserved);

	while (left)
		if (sync_cmpxchg(&f->reserved, &left, left - 1))
			return true;
	return false;
}

static int take_huge(struct gmem_folios *f, pfn_t *pfn)
{
	if (f->pool)
		return hugetlb_take(f->pool, take_reservation(f), pfn);
	return host_alloc(f->host, PG_LEVEL_2M, FRAME_GUEST, pfn);
}

static void put_huge(struct gmem_folios *f, pfn_t pfn)
{
	if (!f->pool) {
		host_free(f->host, pfn, PG_LEVEL_2M, FRAME_GUEST);
		return;
	}
	hugetlb_put(f->pool, pfn, true);
	sync_fetch_add(&f->reserved, 1);
}

/*
 * New memory holds what its frames held. Private pages are zeroed by the guest's ACCEPT, or when
 * they become shared; those of [@index, @end) that are shared already have to be zeroed now.
 * Attributes don't change meanwhile: invalidate_lock is held for reading.
 */
static void zero_shared(struct gmem_folios *f, const struct gmem_attr_set *set, u64 index, u64 end,
			pfn_t pfn)
{
	for (u64 at = index, run_end; at < end; at = run_end) {
		run_end = gmem_attr_set_run_end(set, at, end);
		if (gmem_attr_set_is_private(set, at))
			continue;
		for (u64 i = at; i < run_end; i++)
			host_zero(f->host, pfn + (i - index), PG_LEVEL_4K, 0);
	}
}

static void account_frames(struct gmem_folios *f, u64 index, u64 nr)
{
	sync_store(&f->chunk_used[index / CHUNK_PAGES], 1);
	sync_fetch_add(&f->frames, nr);
}

/* Brings the new huge page in @word, which nobody sees yet, to the layout @wanted. */
static int lay_out(struct gmem_folios *f, u64 unit, u64 *word, const struct folio_layout *wanted)
{
	const struct folio_layout whole = {0};
	struct hugetlb_vmemmap pages;
	int err;

	if (!wanted->apart)
		return 0;
	err = folio_counts_make(f, unit, &whole, wanted);
	if (err)
		return err;
	err = folio_descriptors_prealloc(f, &pages);
	if (err) {
		folio_counts_trim(f, unit, &whole);
		return err;
	}
	*word = folio_descriptors_restore(f, *word, &pages);
	*word = folio_layout_store(f, unit, *word, wanted);
	sync_add_relaxed(&f->splits_done, 1);
	return 0;
}

static int allocate_huge(struct gmem_folios *f, const struct gmem_attr_set *set, u64 unit,
			 pfn_t pfn)
{
	const struct folio_layout whole = {0};
	u64 first = unit_first(f, unit), end = first + unit_pages(f), word = word_of(pfn);
	struct folio_layout wanted = folio_layout_wanted(f, set, unit, &whole, first, end);
	int err = lay_out(f, unit, &word, &wanted);

	if (err) {
		put_huge(f, pfn);
		return err;
	}
	zero_shared(f, set, first, end, pfn);
	account_frames(f, first, unit_pages(f));
	sync_fetch_add(&f->huge_pages, 1);
	folio_layout_account(f, &wanted, true);
	sync_store_release(&f->word[unit], word); /* pairs with the acquire in lookups */
	return 0;
}

static int allocate_small(struct gmem_folios *f, const struct gmem_attr_set *set, u64 index)
{
	u64 *word = &f->word[unit_of(f, index)];
	struct folio_table *table = word_table(sync_load(word));
	pfn_t pfn;
	int err = host_alloc(f->host, PG_LEVEL_4K, FRAME_GUEST, &pfn);

	if (err)
		return err;
	if (!table) {
		table = calloc(1, sizeof(*table));
		if (!table) {
			host_free(f->host, pfn, PG_LEVEL_4K, FRAME_GUEST);
			return -ENOMEM;
		}
		sync_store_release(word, (u64)table); /* pairs with the acquire in lookups */
	}
	zero_shared(f, set, index, index + 1, pfn);
	account_frames(f, index, 1);
	sync_fetch_add(&f->nr_folios[PG_LEVEL_4K], 1);
	/* Pairs with the acquire in look_in_table(). */
	sync_store_release(&table->page[index % BLOCK_PAGES], word_of(pfn));
	return 0;
}

/* Nothing backs @index, and nobody else allocates in its unit. */
static int allocate(struct gmem_folios *f, const struct gmem_attr_set *set, u64 index)
{
	u64 unit = unit_of(f, index);
	pfn_t pfn;

	if (is_huge_unit(f, unit) && !sync_load(&f->word[unit])) {
		if (!take_huge(f, &pfn))
			return allocate_huge(f, set, unit, pfn);
		if (f->pool)
			return -ENOMEM;
	}
	return allocate_small(f, set, index);
}

int gmem_folio_get(struct gmem_folios *f, struct gmem_attrs *attrs, u64 index,
		   struct gmem_page *page)
{
	int err = 0;

	*page = gmem_folio_lookup(f, index);
	if (page->folio == PG_LEVEL_NONE) {
		err = allocate(f, gmem_attrs_current(attrs), index);
		if (!err)
			*page = gmem_folio_lookup(f, index);
	}
	return err;
}

/* ---- freeing ---------------------------------------------------------------------------------*/

/* Frames of a 2M page that isn't a pool's: all go back but those that failed. */
static void free_around_failed(struct gmem_folios *f, u64 first, pfn_t pfn)
{
	host_divide(f->host, pfn);
	for (u64 i = 0; i < BLOCK_PAGES; i++) {
		if (has_failed(f, first + i))
			host_change_use(f->host, 1, FRAME_GUEST, FRAME_FAILED);
		else
			host_free(f->host, pfn + i, PG_LEVEL_4K, FRAME_GUEST);
	}
}

static void forget_failed(struct gmem_folios *f, u64 first)
{
	for (u64 i = 0; i < unit_pages(f) / 64; i++)
		sync_store(&f->failed[first / 64 + i], 0);
}

void folio_free_huge(struct gmem_folios *f, u64 unit)
{
	const struct folio_layout none = {0};
	u64 word = sync_load(&f->word[unit]), first = unit_first(f, unit);
	struct folio_layout layout = folio_layout_now(f, unit, word);

	sync_store(&f->word[unit], 0);
	folio_layout_account(f, &layout, false);
	folio_counts_trim(f, unit, &none);
	if (!(word & WORD_FAILED))
		put_huge(f, word_pfn(word));
	else if (f->pool)
		hugetlb_break(f->pool, word_pfn(word));
	else
		free_around_failed(f, first, word_pfn(word));
	if (word & WORD_FAILED)
		forget_failed(f, first);
	sync_fetch_sub(&f->huge_pages, 1);
	sync_fetch_sub(&f->frames, unit_pages(f));
}

void folio_free_small(struct gmem_folios *f, u64 *page)
{
	u64 entry = sync_load(page);

	sync_store(page, 0);
	if (entry & WORD_FAILED)
		host_change_use(f->host, 1, FRAME_GUEST, FRAME_FAILED);
	else
		host_free(f->host, word_pfn(entry), PG_LEVEL_4K, FRAME_GUEST);
	sync_fetch_sub(&f->nr_folios[PG_LEVEL_4K], 1);
	sync_fetch_sub(&f->frames, 1);
}

/* ---- zeroing: the part [@index, @end) of one unit ---------------------------------------------*/
static void zero_huge(struct gmem_folios *f, u64 word, u64 index, u64 end)
{
	pfn_t pfn = word_pfn(word) + (index & (unit_pages(f) - 1));
	enum pg_level level;

	for (u64 nr; index < end; index += nr, pfn += nr) {
		/* Whole blocks at once, since a tag is kept for 2M. */
		level = index % BLOCK_PAGES || end - index < BLOCK_PAGES ? PG_LEVEL_4K
									 : PG_LEVEL_2M;
		if (word & WORD_FAILED && block_has_failed(f, index / BLOCK_PAGES))
			level = PG_LEVEL_4K;
		nr = pages_per_level(level);
		if (!(word & WORD_FAILED) || level == PG_LEVEL_2M || !has_failed(f, index))
			host_zero(f->host, pfn, level, 0);
	}
}

static void zero_part(struct gmem_folios *f, u64 unit, u64 index, u64 end)
{
	u64 word = sync_load(&f->word[unit]);

	if (word & WORD_PRESENT) {
		zero_huge(f, word, index, end);
		return;
	}
	for (; index < end; index++) {
		u64 entry = sync_load(&word_table(word)->page[index % BLOCK_PAGES]);

		if (entry && !(entry & WORD_FAILED))
			host_zero(f->host, word_pfn(entry), PG_LEVEL_4K, 0);
	}
}

/* ---- dropping: as above ----------------------------------------------------------------------*/
static void table_free_rcu(struct sync_rcu_head *head)
{
	free(container_of(head, struct folio_table, rcu));
}

static void drop_table(struct gmem_folios *f, u64 unit, u64 index, u64 end, bool whole)
{
	const struct folio_layout none = {0};
	struct folio_table *table = word_table(sync_load(&f->word[unit]));

	for (; index < end; index++)
		if (sync_load(&table->page[index % BLOCK_PAGES]))
			folio_free_small(f, &table->page[index % BLOCK_PAGES]);
	/* Without its table the block may get a 2M folio when it is used again. */
	if (whole) {
		sync_store(&f->word[unit], 0);
		folio_counts_trim(f, unit, &none);
		sync_rcu_call(&table->rcu, table_free_rcu);
	}
}

static void drop_part(struct gmem_folios *f, u64 unit, u64 index, u64 end)
{
	u64 word = sync_load(&f->word[unit]);
	bool whole = index == unit_first(f, unit) &&
		     (end - index == unit_pages(f) || end == f->nr_pages);

	if (word_is_table(word))
		drop_table(f, unit, index, end, whole);
	else if (whole)
		folio_free_huge(f, unit);
	else
		zero_huge(f, word, index, end);
}

/* ---- failing ---------------------------------------------------------------------------------*/
static u64 fail_huge(struct gmem_folios *f, u64 *word, u64 index, u64 end)
{
	u64 failed = 0;

	for (; index < end; index++) {
		failed += !has_failed(f, index);
		sync_fetch_or(&f->failed[index / 64], BIT_ULL(index % 64));
	}
	/* Pairs with the acquire in lookups: the bits are set. */
	sync_store_release(word, sync_load(word) | WORD_FAILED);
	return failed;
}

static u64 fail_small(struct folio_table *table, u64 index, u64 end)
{
	u64 failed = 0;

	for (; index < end; index++) {
		u64 *entry = &table->page[index % BLOCK_PAGES];

		if (!sync_load(entry) || sync_load(entry) & WORD_FAILED)
			continue;
		sync_store_release(entry, sync_load(entry) | WORD_FAILED);
		failed++;
	}
	return failed;
}

static void fail_part(struct gmem_folios *f, u64 unit, u64 index, u64 end)
{
	u64 *word = &f->word[unit];

	sync_add_relaxed(&f->failed_pages,
			 word_is_table(sync_load(word))
				 ? fail_small(word_table(sync_load(word)), index, end)
				 : fail_huge(f, word, index, end));
}

/* Calls @fn for the part of each unit in use that lies in [@index, @end). */
static void for_each_part(struct gmem_folios *f, u64 index, u64 end,
			  void (*fn)(struct gmem_folios *f, u64 unit, u64 index, u64 end))
{
	for (u64 unit = unit_of(f, index); folio_next_unit(f, &unit, end); unit++)
		fn(f, unit, max_u64(index, unit_first(f, unit)),
		   min_u64(end, unit_first(f, unit + 1)));
}

void gmem_folio_zero(struct gmem_folios *f, u64 index, u64 end)
{
	for_each_part(f, index, end, zero_part);
}

void gmem_folio_drop(struct gmem_folios *f, u64 index, u64 end)
{
	for_each_part(f, index, end, drop_part);
}

void gmem_folio_fail(struct gmem_folios *f, u64 index, u64 nr)
{
	for_each_part(f, index, index + nr, fail_part);
}

void gmem_folio_truncate(struct gmem_folios *f, u64 nr_pages)
{
	u64 needed = nr_pages / unit_pages(f) - sync_load(&f->huge_pages);
	u64 reserved = sync_load(&f->reserved);

	f->nr_pages = nr_pages;
	/* Less, if memory failed: pages that are broken don't come back to the reservation. */
	if (f->pool && reserved > needed) {
		sync_store(&f->reserved, needed);
		hugetlb_unreserve(f->pool, reserved - needed);
	}
}

void gmem_folio_stats(struct gmem_folios *f, struct gmem_stats *stats)
{
	stats->frames = sync_load(&f->frames);
	for (enum pg_level level = PG_LEVEL_4K; level <= PG_LEVEL_1G; level++)
		stats->folios[level] = sync_load(&f->nr_folios[level]);
	stats->huge_pages = f->may_be_huge ? sync_load(&f->huge_pages) : stats->frames;
	stats->folio_splits = sync_load(&f->splits_done);
	stats->folio_merges = sync_load(&f->merges_done);
	stats->vmemmap_restored = sync_load(&f->vmemmap_restored);
	stats->failed_pages = sync_load(&f->failed_pages);
}
