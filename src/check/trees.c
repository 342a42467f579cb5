/* SPDX-License-Identifier: MIT */
/* One TD's trees: the mirror beside the module's S-EPT, entry by entry, and the direct tables. */
#include <inttypes.h>

#include "check/internal.h"
#include "gmem/gmem.h"
#include "mmu/internal.h"
#include "seam/sept.h"
#include "tdx/internal.h"
#include "vm/internal.h"

int check_use_4k(struct check *c, pfn_t pfn, int number, const char *what)
{
	u64 *word, bit = BIT_ULL(pfn % 64);

	if (pfn >= c->host->nr_frames)
		return check_broken(c, number, "%s at frame %" PRIx64 " isn't in memory", what,
				    pfn);
	word = &c->used_4k[pfn / 64];
	if (*word & bit)
		return check_broken(c, number, "%s at frame %" PRIx64 " has another use, too", what,
				    pfn);
	*word |= bit;
	c->users[pfn / PTRS_PER_TABLE]++;
	return 0;
}

/* ---- 4: what a leaf may cover ----------------------------------------------------------------*/
static int check_backing(struct check *c, const struct check_tree *t, gfn_t gfn,
			 enum pg_level level, pfn_t pfn)
{
	const struct vm_slot *slot = vm_find_slot(t->vm, gfn);
	u64 nr = pages_per_level(level), index;
	struct gmem_file *file, *attributes;
	enum pg_level most;
	pfn_t backing;

	if (!slot || nr > vm_slot_end(slot) - gfn)
		return check_broken(c, 4, "a leaf at gfn %" PRIx64 " leaves the slot", gfn);
	file = vm_slot_file(slot, t->private);
	attributes = slot->shared;
	index = vm_slot_index(slot, gfn);
	if (gmem_is_private(attributes, index) != t->private)
		return check_broken(c, 4,
				    "gfn %" PRIx64 " is mapped on the other side of its "
				    "attribute",
				    gfn);
	if (nr > 1 && !gmem_is_uniform(attributes, index, nr))
		return check_broken(c, 4, "a leaf of mixed attributes at gfn %" PRIx64, gfn);
	if (gmem_leaf_level(file, index) < level)
		return check_broken(c, 4, "a leaf at gfn %" PRIx64 " is larger than its folio",
				    gfn);
	if (gmem_get_pfn(file, index, &backing, &most) || backing != pfn)
		return check_broken(c, 4, "gfn %" PRIx64 " isn't mapped to its folio", gfn);
	if (!gmem_check_mapping(file, index, pfn, level))
		return check_broken(c, 4,
				    "a leaf at gfn %" PRIx64
				    " isn't one piece of its file's memory",
				    gfn);
	return 0;
}

static int check_leaf(struct check *c, struct check_tree *t, gfn_t gfn, enum pg_level level,
		      pfn_t pfn)
{
	u64 nr = pages_per_level(level);
	int broken = t->vm ? check_backing(c, t, gfn, level, pfn) : 0;

	t->pages[level]++;
	if (broken || !t->private)
		return broken;
	if (!IS_ALIGNED(gfn | pfn, nr) || pfn >= c->host->nr_frames)
		return check_broken(c, 4,
				    "a leaf of level %d at gfn %" PRIx64 " maps frame %" PRIx64,
				    level, gfn, pfn);
	if (level == PG_LEVEL_4K)
		return check_use_4k(c, pfn, 3, "a private page");
	for (u64 i = 0; i < nr; i += PTRS_PER_TABLE)
		c->users[(pfn + i) / PTRS_PER_TABLE] |= CHECK_LARGE;
	return 0;
}

/* ---- 1, 2, 6: the mirror's entry and the module's --------------------------------------------*/
static int compare_leaf(struct check *c, gfn_t gfn, enum pg_level level, u64 spte, u64 sept)
{
	/* The low bits of a large leaf's address hold the accept counter. */
	hpa_t hpa = ALIGN_DOWN(sept_hpa(sept), level_size(level));

	if (!sept_is(sept_state_of(sept), SEPT_IS_LEAF))
		return check_broken(c, 1,
				    "the mirror has a leaf of level %d at gfn %" PRIx64
				    ", the module none",
				    level, gfn);
	if (hpa != fn_to_addr(spte_pfn(spte)))
		return check_broken(c, 1,
				    "gfn %" PRIx64 " is frame %" PRIx64 " in the mirror, %" PRIx64
				    " in the module",
				    gfn, spte_pfn(spte), addr_to_fn(hpa));
	return 0;
}

static int compare_table(struct check *c, gfn_t gfn, const struct mmu_page *child, u64 sept)
{
	if (sept_state_of(sept)->id != SEPT_NL_MAPPED)
		return check_broken(
			c, 1, "the mirror has a table at gfn %" PRIx64 ", the module none", gfn);
	if (sept_hpa(sept) != fn_to_addr(child->external_spt))
		return check_broken(c, 6,
				    "the S-EPT page at gfn %" PRIx64
				    " isn't that of its mirror table",
				    gfn);
	return check_use_4k(c, child->external_spt, 6, "an S-EPT page");
}

static int compare(struct check *c, const struct mmu *mmu, gfn_t gfn, enum pg_level level, u64 spte,
		   u64 sept)
{
	const struct sept_state *s = sept_state_of(sept);

	if ((sept & SEPT_LOCK) || sept_is(s, SEPT_IS_BLOCKED))
		return check_broken(c, 2, "the S-EPT entry of gfn %" PRIx64 " is %s", gfn,
				    sept & SEPT_LOCK ? "locked" : "blocked");
	switch (spte_kind(spte, level)) {
	case SPTE_KIND_LEAF:
		return compare_leaf(c, gfn, level, spte, sept);
	case SPTE_KIND_TABLE:
		return compare_table(c, gfn, mmu_spte_child(mmu, spte), sept);
	default:
		if (!sept_is(s, SEPT_IS_FREE))
			return check_broken(c, 1,
					    "the module has gfn %" PRIx64
					    " at level %d, the mirror nothing",
					    gfn, level);
		return 0;
	}
}

/* @sept: the module's table beside @table; NULL in the direct tree */
static int walk(struct check *c, struct check_tree *t, const struct mmu_page *table, gfn_t base,
		const u64 *sept)
{
	const struct mmu *mmu = t->mmu;
	enum pg_level level = table->level;
	u64 empty = 0; /* beside an empty entry of ours, and found to be right there */
	bool found = false;
	int broken = 0;

	t->tables++;
	for (u32 i = 0; i < PTRS_PER_TABLE && !broken; i++) {
		gfn_t gfn = base + i * pages_per_level(level);
		u64 spte = sync_load_acquire(&table->spt[i]);
		u64 entry = sept ? sync_load_acquire(&sept[i]) : 0;
		enum spte_kind kind;

		/* Most are as the one before them: nothing, here and there. */
		if (spte == SPTE_NONE && found && entry == empty)
			continue;
		kind = spte_kind(spte, level);
		if (kind == SPTE_KIND_FROZEN)
			return check_broken(c, 2, "the entry of gfn %" PRIx64 " is frozen", gfn);
		if (sept)
			broken = compare(c, mmu, gfn, level, spte, entry);
		if (broken)
			break;
		found |= spte == SPTE_NONE;
		if (spte == SPTE_NONE)
			empty = entry;
		if (kind == SPTE_KIND_LEAF)
			broken = check_leaf(c, t, mmu_gfn(mmu, gfn), level, spte_pfn(spte));
		else if (kind == SPTE_KIND_TABLE)
			broken = walk(c, t, mmu_spte_child(mmu, spte), gfn,
				      sept ? host_ptr(c->host, sept_hpa(entry)) : NULL);
		t->external += sept && kind == SPTE_KIND_TABLE;
	}
	return broken;
}

/* The root of the TD's S-EPT; NULL if it has another depth than the mirror. */
static const u64 *sept_root_of(const struct check *c, const struct td *td, const struct mmu *mmu)
{
	const struct tdr *tdr = host_ptr(c->host, td_tdr(td));
	const struct tdcs *tdcs = host_ptr(c->host, tdr->tdcx_pa[TDCS_PAGE_FIELDS]);

	if (tdcs->sept_levels != (u32)mmu->mirror_root->level)
		return NULL;
	return host_ptr(c->host, tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT]);
}

/* ---- 5: counts -------------------------------------------------------------------------------*/
static int compare_counts(struct check *c, const struct check_tree *mirror,
			  const struct check_tree *direct)
{
	const struct mmu_stats *s = mmu_stats(mirror->mmu);

	for (enum pg_level level = PG_LEVEL_4K; level < PG_LEVEL_NUM; level++) {
		u64 found = mirror->pages[level] + direct->pages[level];

		if (found != s->pages[level])
			return check_broken(c, 5,
					    "%" PRIu64 " leaves of level %d, but %" PRIu64
					    " are counted",
					    found, level, s->pages[level]);
	}
	if (mirror->tables != s->mirror_tables || direct->tables != s->direct_tables ||
	    mirror->external != s->external_tables)
		return check_broken(c, 5,
				    "%" PRIu64 " mirror, %" PRIu64 " direct and %" PRIu64
				    " S-EPT tables, but %" PRIu64 ", %" PRIu64 " and %" PRIu64
				    " are counted",
				    mirror->tables, direct->tables, mirror->external,
				    s->mirror_tables, s->direct_tables, s->external_tables);
	return 0;
}

int check_cache(struct check *c, const struct mmu_vcpu_cache *cache)
{
	int broken = 0;

	c->frames[FRAME_MIRROR_TABLE] += cache->nr_pages;
	c->frames[FRAME_DIRECT_TABLE] += cache->nr_direct_pages;
	c->frames[FRAME_SEPT_TABLE] += cache->nr_external;
	for (u32 i = 0; i < cache->nr_external && !broken; i++)
		broken = check_use_4k(c, cache->external[i], 8, "a page for the S-EPT");
	return broken;
}

int check_trees(struct check *c, struct td *td, struct mmu *mmu, struct vm *vm)
{
	struct check_tree mirror = {.mmu = mmu, .vm = vm, .private = true};
	struct check_tree direct = {.mmu = mmu, .vm = vm};
	const u64 *root = sept_root_of(c, td, mmu);
	int broken;

	if (!root)
		return check_broken(c, 1, "mirror and S-EPT have another depth");
	broken = walk(c, &mirror, mmu->mirror_root, 0, root);
	if (!broken)
		broken = walk(c, &direct, mmu->direct_root, 0, NULL);
	if (!broken)
		broken = compare_counts(c, &mirror, &direct);
	c->frames[FRAME_MIRROR_TABLE] += mirror.tables;
	c->frames[FRAME_DIRECT_TABLE] += direct.tables;
	c->frames[FRAME_SEPT_TABLE] += mirror.external;
	return broken;
}
