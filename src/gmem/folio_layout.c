/* SPDX-License-Identifier: MIT */
/* Layouts of a huge page: which folios it is in, which it should be in, and what that needs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem/folio_word.h"

static u64 unit_blocks(const struct gmem_folios *f)
{
	return unit_pages(f) / BLOCK_PAGES;
}

static bool has_bit(const struct folio_layout *layout, u64 i)
{
	return layout->block[i / 64] >> i % 64 & 1;
}

static void set_bit(struct folio_layout *layout, u64 i, bool on)
{
	layout->block[i / 64] &= ~BIT_ULL(i % 64);
	layout->block[i / 64] |= (u64)on << i % 64;
}

static void set_all(const struct gmem_folios *f, struct folio_layout *layout)
{
	if (f->unit == PG_LEVEL_1G)
		memset(layout->block, 0xFF, sizeof(layout->block));
	else
		layout->block[0] = 1;
}

/* ---- which -----------------------------------------------------------------------------------*/
struct folio_layout folio_layout_now(const struct gmem_folios *f, u64 unit, u64 word)
{
	struct folio_layout layout = {.apart = word & WORD_APART};

	if (layout.apart && f->unit == PG_LEVEL_1G)
		for (u64 i = 0; i < APART_WORDS; i++)
			layout.block[i] = sync_load(&f->apart[unit * APART_WORDS + i]);
	else if (layout.apart)
		set_all(f, &layout);
	return layout;
}

struct folio_layout folio_layout_wanted(const struct gmem_folios *f,
					const struct gmem_attr_set *set, u64 unit,
					const struct folio_layout *now, u64 index, u64 end)
{
	u64 first = unit_first(f, unit), last = first + unit_pages(f);
	struct folio_layout layout = {0};

	if (!f->splits || gmem_attr_set_all_private(set, first, unit_pages(f)))
		return layout;
	layout.apart = true;
	if (f->unit == PG_LEVEL_2M || f->uniform ||
	    gmem_attr_set_run_end(set, first, last) == last) {
		set_all(f, &layout);
		return layout;
	}
	memcpy(layout.block, now->block, sizeof(layout.block));
	index = max_u64(ALIGN_DOWN(index, BLOCK_PAGES), first);
	for (end = min_u64(end, last); index < end; index += BLOCK_PAGES)
		set_bit(&layout, (index - first) / BLOCK_PAGES,
			!gmem_attr_set_all_private(set, index, BLOCK_PAGES));
	return layout;
}

bool folio_layout_is(const struct folio_layout *a, const struct folio_layout *b)
{
	return a->apart == b->apart && !memcmp(a->block, b->block, sizeof(a->block));
}

enum pg_level folio_layout_level(const struct gmem_folios *f, const struct folio_layout *layout,
				 u64 i)
{
	if (!layout->apart)
		return f->unit;
	return has_bit(layout, i) ? PG_LEVEL_4K : PG_LEVEL_2M;
}

u64 folio_layout_store(struct gmem_folios *f, u64 unit, u64 word, const struct folio_layout *layout)
{
	if (!layout->apart)
		return word & ~WORD_APART;
	if (f->unit == PG_LEVEL_1G)
		for (u64 i = 0; i < APART_WORDS; i++)
			sync_store(&f->apart[unit * APART_WORDS + i], layout->block[i]);
	return word | WORD_APART;
}

static void add(struct gmem_folios *f, enum pg_level level, u64 nr, bool come)
{
	sync_fetch_add(&f->nr_folios[level], come ? nr : 0 - nr);
}

void folio_layout_account(struct gmem_folios *f, const struct folio_layout *layout, bool come)
{
	u64 small = 0;

	if (!layout->apart) {
		add(f, f->unit, 1, come);
		return;
	}
	for (u64 i = 0; i < APART_WORDS; i++)
		small += (u64)__builtin_popcountll(layout->block[i]);
	add(f, PG_LEVEL_4K, small * BLOCK_PAGES, come);
	add(f, PG_LEVEL_2M, unit_blocks(f) - small, come);
}

/* ---- counts ----------------------------------------------------------------------------------*/
static struct gmem_counts **counts_of(struct gmem_folios *f, u64 unit, u64 i)
{
	return &f->counts[unit * unit_blocks(f) + i];
}

int folio_counts_make(struct gmem_folios *f, u64 unit, const struct folio_layout *from,
		      const struct folio_layout *to)
{
	struct gmem_counts *counts;

	for (u64 i = 0; i < unit_blocks(f); i++) {
		if (!has_bit(to, i) || has_bit(from, i))
			continue;
		counts = host_alloc_fails(f->host) ? NULL : calloc(1, sizeof(*counts));
		if (!counts) {
			folio_counts_trim(f, unit, from);
			return -ENOMEM;
		}
		/* Pairs with the acquire of who takes a reference: all is zero. */
		sync_store_release(counts_of(f, unit, i), counts);
	}
	return 0;
}

#ifdef SEPTUM_CHECK
/* Pages are shared while they are held, and what is shared is in 4K folios. */
static void check_not_held(const struct gmem_counts *counts)
{
	for (u64 i = 0; i < BLOCK_PAGES; i++)
		if (sync_load_acquire(&counts->count[i]) & ~COUNT_RELEASED) {
			fprintf(stderr, "gmem: a folio goes while somebody holds it\n");
			abort();
		}
}
#else
#define check_not_held(counts) ((void)(counts))
#endif

void folio_counts_trim(struct gmem_folios *f, u64 unit, const struct folio_layout *layout)
{
	for (u64 i = 0; i < unit_blocks(f); i++) {
		struct gmem_counts **at = counts_of(f, unit, i), *counts;

		if (has_bit(layout, i))
			continue;
		counts = sync_load(at);
		if (!counts)
			continue;
		check_not_held(counts);
		sync_store(at, NULL);
		free(counts);
	}
}

/* ---- descriptors -----------------------------------------------------------------------------*/
int folio_descriptors_prealloc(struct gmem_folios *f, struct hugetlb_vmemmap *pages)
{
	*pages = (struct hugetlb_vmemmap){0};
	return f->pool ? hugetlb_vmemmap_prealloc(f->pool, pages) : 0;
}

u64 folio_descriptors_restore(struct gmem_folios *f, u64 word, struct hugetlb_vmemmap *pages)
{
	sync_add_relaxed(&f->vmemmap_restored, pages->nr);
	if (f->pool)
		hugetlb_vmemmap_restore(f->pool, word_pfn(word), pages);
	return word | WORD_RESTORED;
}
