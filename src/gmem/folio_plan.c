/* SPDX-License-Identifier: MIT */
/*
 * Plans: huge pages get another layout. A page's word and f->was_apart remember the layout before
 * until the plan is done, so going back needs no memory:
 *
 *	             run                   done
 *	layout A ----------> layout B, ----------> layout B
 *	         <---------- CHANGED
 *	             undo
 *
 * What only one of the layouts needs (descriptors, counts) is there in both, and goes with "done".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gmem/folio_word.h"

struct gmem_prealloc {
	u64 nr, used;
	struct hugetlb_vmemmap
		pages[]; /* for each huge page to be taken apart, in ascending order */
};

/* A huge page that touches the range, as it is and as it should be. */
struct unit_change {
	u64 unit, word;
	struct folio_layout now, wanted;
};

/* The next huge page at @c->unit or after whose layout is not as it should be; false: none. */
static bool next_change(const struct gmem_plan *plan, struct unit_change *c)
{
	struct gmem_folios *f = plan->f;

	if (!f->splits)
		return false;
	for (; folio_next_unit(f, &c->unit, plan->end); c->unit++) {
		c->word = sync_load(&f->word[c->unit]);
		if (word_is_table(c->word))
			continue;
		c->now = folio_layout_now(f, c->unit, c->word);
		c->wanted = folio_layout_wanted(f, plan->next, c->unit, &c->now, plan->index,
						plan->end);
		if (!folio_layout_is(&c->now, &c->wanted))
			return true;
	}
	return false;
}

static struct unit_change first_unit(const struct gmem_plan *plan)
{
	return (struct unit_change){.unit = unit_of(plan->f, plan->index)};
}

static bool takes_apart(const struct unit_change *c)
{
	return c->wanted.apart && !c->now.apart;
}

/* Some folio becomes smaller. */
static bool goes_further_apart(const struct unit_change *c)
{
	u64 more = takes_apart(c);

	for (u64 i = 0; i < APART_WORDS; i++)
		more |= c->wanted.block[i] & ~c->now.block[i];
	return more;
}

bool gmem_plan_splits(struct gmem_plan *plan)
{
	for (struct unit_change c = first_unit(plan); next_change(plan, &c); c.unit++)
		if (goes_further_apart(&c))
			return true;
	return false;
}

/* ---- limits ----------------------------------------------------------------------------------*/
static bool block_shrinks(const struct gmem_folios *f, const struct unit_change *c, u64 i)
{
	return folio_layout_level(f, &c->wanted, i) < folio_layout_level(f, &c->now, i);
}

/* The first run of blocks of one huge page at @*at or after that shrink to the same size. */
static bool limit_in_unit(const struct gmem_folios *f, const struct unit_change *c, u64 *at,
			  u64 *nr, enum pg_level *level)
{
	u64 first = unit_first(f, c->unit), blocks = unit_pages(f) / BLOCK_PAGES, i = 0, end;

	if (*at > first)
		i = (*at - first + BLOCK_PAGES - 1) / BLOCK_PAGES;
	while (i < blocks && !block_shrinks(f, c, i))
		i++;
	if (i >= blocks)
		return false;
	*level = folio_layout_level(f, &c->wanted, i);
	for (end = i + 1; end < blocks; end++)
		if (!block_shrinks(f, c, end) || folio_layout_level(f, &c->wanted, end) != *level)
			break;
	*at = first + i * BLOCK_PAGES;
	*nr = (end - i) * BLOCK_PAGES;
	return true;
}

bool gmem_plan_limit(struct gmem_plan *plan, u64 *at, u64 *nr, enum pg_level *level)
{
	struct unit_change c = first_unit(plan);

	for (c.unit = max_u64(c.unit, unit_of(plan->f, *at)); next_change(plan, &c); c.unit++)
		if (limit_in_unit(plan->f, &c, at, nr, level))
			return true;
	return false;
}

/* ---- what it needs ---------------------------------------------------------------------------*/

/* What is left of the descriptors, and counts of blocks that aren't apart. */
static void release_needs(struct gmem_plan *plan)
{
	struct gmem_prealloc *pre = plan->prealloc;

	for (u64 i = 0; pre && i < pre->nr; i++)
		hugetlb_vmemmap_release(plan->f->pool, &pre->pages[i]);
	free(pre);
	plan->prealloc = NULL;
}

static void trim_counts(struct gmem_plan *plan)
{
	struct gmem_folios *f = plan->f;

	for (u64 unit = unit_of(f, plan->index); folio_next_unit(f, &unit, plan->end); unit++) {
		u64 word = sync_load(&f->word[unit]);
		struct folio_layout layout = folio_layout_now(f, unit, word);

		if (!word_is_table(word))
			folio_counts_trim(f, unit, &layout);
	}
}

static u64 nr_taken_apart(const struct gmem_plan *plan)
{
	u64 nr = 0;

	for (struct unit_change c = first_unit(plan); next_change(plan, &c); c.unit++)
		nr += takes_apart(&c);
	return nr;
}

/* Room for the descriptors that are to come; none where huge pages don't come from a pool. */
static int make_prealloc(struct gmem_plan *plan)
{
	u64 nr = plan->f->pool ? nr_taken_apart(plan) : 0;

	if (!nr)
		return 0;
	if (!host_alloc_fails(plan->f->host))
		plan->prealloc =
			calloc(1, sizeof(*plan->prealloc) + nr * sizeof(plan->prealloc->pages[0]));
	return plan->prealloc ? 0 : -ENOMEM;
}

/* Counts go where they belong at once: nobody looks for them before the layout says so. */
static int prealloc_unit(struct gmem_plan *plan, const struct unit_change *c)
{
	struct gmem_prealloc *pre = plan->prealloc;
	int err = folio_counts_make(plan->f, c->unit, &c->now, &c->wanted);

	if (!err && pre && takes_apart(c))
		err = folio_descriptors_prealloc(plan->f, &pre->pages[pre->nr++]);
	return err;
}

int gmem_plan_prepare(struct gmem_plan *plan)
{
	int err;

	plan->prealloc = NULL;
	if (plan->f->late || !plan->f->splits)
		return 0;
	err = make_prealloc(plan);
	for (struct unit_change c = first_unit(plan); !err && next_change(plan, &c); c.unit++)
		err = prealloc_unit(plan, &c);
	if (err) {
		release_needs(plan);
		trim_counts(plan);
	}
	return err;
}

/* ---- changing layouts ------------------------------------------------------------------------*/

/* A reader sees the one layout or the other; pairs with the acquire in lookups. */
static void publish(struct gmem_folios *f, u64 unit, u64 word)
{
	sync_store_release(&f->word[unit], word);
}

static void remember(struct gmem_folios *f, const struct unit_change *c)
{
	if (f->unit == PG_LEVEL_1G)
		memcpy(&f->was_apart[c->unit * APART_WORDS], c->now.block, sizeof(c->now.block));
}

static struct folio_layout remembered(const struct gmem_folios *f, u64 unit, u64 word)
{
	struct folio_layout layout = {.apart = word & WORD_WAS_APART};

	if (f->unit == PG_LEVEL_1G)
		memcpy(layout.block, &f->was_apart[unit * APART_WORDS], sizeof(layout.block));
	else
		layout.block[0] = layout.apart;
	return layout;
}

static void count_change(struct gmem_folios *f, const struct folio_layout *from,
			 const struct folio_layout *to)
{
	folio_layout_account(f, from, false);
	folio_layout_account(f, to, true);
	if (to->apart && !from->apart)
		sync_add_relaxed(&f->splits_done, 1);
	if (from->apart && !to->apart)
		sync_add_relaxed(&f->merges_done, 1);
}

/* What @c needs: from what was prepared, or under LATE from now. */
static int get_needs(struct gmem_plan *plan, const struct unit_change *c,
		     struct hugetlb_vmemmap *pages)
{
	struct gmem_prealloc *pre = plan->prealloc;
	struct folio_layout now = c->now;
	int err;

	*pages = (struct hugetlb_vmemmap){0};
	if (!plan->f->late) {
		if (pre && takes_apart(c)) {
			*pages = pre->pages[pre->used];
			pre->pages[pre->used++].nr = 0;
		}
		return 0;
	}
	err = folio_counts_make(plan->f, c->unit, &c->now, &c->wanted);
	if (!err && takes_apart(c))
		err = folio_descriptors_prealloc(plan->f, pages);
	if (err)
		folio_counts_trim(plan->f, c->unit, &now);
	return err;
}

static int change_unit(struct gmem_plan *plan, const struct unit_change *c)
{
	struct gmem_folios *f = plan->f;
	u64 word = c->word | WORD_CHANGED | (c->now.apart ? WORD_WAS_APART : 0);
	struct hugetlb_vmemmap pages;
	int err = get_needs(plan, c, &pages);

	if (err)
		return err;
	if (takes_apart(c))
		word = folio_descriptors_restore(f, word, &pages);
	remember(f, c);
	publish(f, c->unit, folio_layout_store(f, c->unit, word, &c->wanted));
	count_change(f, &c->now, &c->wanted);
	return 0;
}

int gmem_plan_run(struct gmem_plan *plan)
{
	int err = 0;

	for (struct unit_change c = first_unit(plan); !err && next_change(plan, &c); c.unit++)
		err = change_unit(plan, &c);
	if (err && !bug_planted(&plan->f->host->bugs, BUG_GMEM_PARTIAL_SPLIT))
		gmem_plan_undo(plan);
	return err;
}

void gmem_plan_undo(struct gmem_plan *plan)
{
	struct gmem_folios *f = plan->f;

	for (u64 unit = unit_of(f, plan->index); folio_next_unit(f, &unit, plan->end); unit++) {
		u64 word = sync_load(&f->word[unit]);
		struct folio_layout now, was;

		if (word_is_table(word) || !(word & WORD_CHANGED))
			continue;
		now = folio_layout_now(f, unit, word);
		was = remembered(f, unit, word);
		word &= ~(WORD_CHANGED | WORD_WAS_APART);
		publish(f, unit, folio_layout_store(f, unit, word, &was));
		count_change(f, &now, &was);
	}
}

/* The huge page stays as it is: what that doesn't need goes. */
static void settle(struct gmem_folios *f, u64 unit, u64 word)
{
	struct folio_layout layout = folio_layout_now(f, unit, word);
	u64 settled = word & ~(WORD_CHANGED | WORD_WAS_APART);

	if (!layout.apart && word & WORD_RESTORED) {
		if (f->pool)
			hugetlb_vmemmap_optimise(f->pool, word_pfn(word));
		settled &= ~WORD_RESTORED;
	}
	folio_counts_trim(f, unit, &layout);
	if (settled != word)
		publish(f, unit, settled);
}

void gmem_plan_done(struct gmem_plan *plan)
{
	struct gmem_folios *f = plan->f;

	release_needs(plan);
	if (!f->splits)
		return;
	for (u64 unit = unit_of(f, plan->index); folio_next_unit(f, &unit, plan->end); unit++) {
		u64 word = sync_load(&f->word[unit]);

		if (!word_is_table(word))
			settle(f, unit, word);
	}
}
