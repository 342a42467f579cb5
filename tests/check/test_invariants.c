/* SPDX-License-Identifier: MIT */
/*
 * Each invariant holds after a guest that maps, splits and converts; and is named when one thing is
 * broken behind everybody's back.
 */
#include <stdio.h>

#include "check/invariants.h"
#include "gmem/internal.h"
#include "mmu/internal.h"
#include "seam/pamt.h"
#include "seam/sept.h"
#include "tdx/internal.h"
#include "vm/internal.h"
#include "vm/rig.h"

#define MB (1ULL << 20)
#define SHARED BIT_ULL(47)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))

/* What a test may break. */
#define LARGE addr_to_fn(4 * MB) /* a 2M leaf */
#define SMALL addr_to_fn(8 * MB) /* a 4K leaf, left by a split; its neighbour is shared */

static char why[200];

static void setup(struct rig *r, bool dynamic_pamt)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB),
				 WRITE_AT(4 * MB, 1),
				 ACCEPT_AT(2M, 8 * MB),
				 MAP_GPA_AT(SHARED | (8 * MB + 0x1000), 0x1000),
				 WRITE_AT(SHARED | (8 * MB + 0x1000), 2),
				 ACCEPT_AT(2M, 16 * MB),
				 DISCARD_AT(16 * MB, 2 * MB),
				 STOP};
	u64 results[NR(ops)];
	struct program p;

	*r = (struct rig){0};
	mc.dynamic_pamt = dynamic_pamt;
	rig_up(r, &mc, &vc);
	assert_int_equal(program_run(r->vm, 0, ops, &p, results), 0);
	assert_int_equal(rig_pages(r, PG_LEVEL_2M), 1);
	assert_int_equal(rig_pages(r, PG_LEVEL_4K), 512);
}

static int look(struct rig *r)
{
	why[0] = '\0';
	return check_vm(&r->m, r->vm, why, sizeof(why));
}

/* Looks, with something broken: @number is named, and the text says @what. */
static void expect_broken(struct rig *r, int number, const char *what)
{
	char prefix[32];

	assert_int_equal(look(r), number);
	snprintf(prefix, sizeof(prefix), "invariant %d: ", number);
	assert_memory_equal(why, prefix, strlen(prefix));
	assert_non_null(strstr(why, what));
}

/* Every test ends here: what was broken is mended, and then all is well. */
static void mended(struct rig *r)
{
	assert_int_equal(look(r), 0);
	assert_string_equal(why, "");
	rig_down(r);
}

/* The mirror's entry of @gfn at @level. */
static u64 *mirror_entry(struct rig *r, gfn_t gfn, enum pg_level level)
{
	struct mmu *mmu = r->vm->mmu;
	struct mmu_iter it;

	mmu_for_each_spte (it, mmu, mmu->mirror_root, level, gfn, gfn + 1)
		if (it.level == level)
			return it.sptep;
	fail();
	return NULL;
}

/* The module's. */
static u64 *module_entry(struct rig *r, gfn_t gfn, enum pg_level level)
{
	struct host *host = r->m.host;
	const struct tdr *tdr = host_ptr(host, td_tdr(r->vm->td));
	u64 *table = host_ptr(host, tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT]);
	enum pg_level at = r->vm->mmu->mirror_root->level;

	for (; at > level; at--)
		table = host_ptr(host, sept_hpa(table[level_index(gfn, at)]));
	return &table[level_index(gfn, at)];
}

/* With and without Dynamic PAMT, after mapping, splitting, converting and giving back: all hold. */
static void test_all_hold(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct rig r;

		setup(&r, dynamic);
		mended(&r);
	}
}

/* Row 100: a leaf that only one of the trees has, or has elsewhere, breaks 1; both sizes. */
static void test_trees_differ(void **state)
{
	const struct {
		gfn_t gfn;
		enum pg_level level;
	} leaves[] = {{LARGE, PG_LEVEL_2M}, {SMALL, PG_LEVEL_4K}};
	struct rig r;

	(void)state;
	setup(&r, true);
	for (u32 i = 0; i < NR(leaves); i++) {
		u64 *spte = mirror_entry(&r, leaves[i].gfn, leaves[i].level);
		u64 *sept = module_entry(&r, leaves[i].gfn, leaves[i].level);
		u64 old_spte = *spte, old_sept = *sept;

		*spte = SPTE_NONE;
		expect_broken(&r, 1, "the mirror nothing");
		*spte = old_spte + level_size(leaves[i].level);
		expect_broken(&r, 1, "in the mirror");
		*spte = old_spte;
		*sept = sept_make(SEPT_FREE, 0, 0);
		expect_broken(&r, 1, "the module none");
		*sept = old_sept;
	}
	mended(&r);
}

/* A table in the mirror that the module has as free, or the other way round, breaks 1. */
static void test_table_missing(void **state)
{
	u64 *spte, *sept, old;
	struct rig r;

	(void)state;
	setup(&r, false);
	spte = mirror_entry(&r, SMALL, PG_LEVEL_2M);
	sept = module_entry(&r, SMALL, PG_LEVEL_2M);
	old = *sept;
	*sept = sept_make(SEPT_FREE, 0, 0);
	expect_broken(&r, 1, "the mirror has a table");
	*sept = old;
	old = *spte;
	*spte = SPTE_NONE;
	expect_broken(&r, 1, "the mirror nothing");
	*spte = old;
	mended(&r);
}

/* A FROZEN, a blocked and a locked entry, a held-off vCPU and an open invalidation break 2. */
static void test_not_quiet(void **state)
{
	u64 *spte, *sept, old;
	struct rig r;

	(void)state;
	setup(&r, true);
	spte = mirror_entry(&r, SMALL, PG_LEVEL_4K);
	old = *spte;
	*spte = SPTE_FROZEN;
	expect_broken(&r, 2, "frozen");
	*spte = old;
	sept = module_entry(&r, LARGE, PG_LEVEL_2M);
	old = *sept;
	*sept = sept_with_state(old, 1, SEPT_BLOCKED);
	expect_broken(&r, 2, "blocked");
	*sept = old | SEPT_LOCK;
	expect_broken(&r, 2, "locked");
	*sept = old;
	r.vm->td->hold_off = 1;
	expect_broken(&r, 2, "held out");
	r.vm->td->hold_off = 0;
	r.vm->mmu->invalidate_in_progress = 1;
	expect_broken(&r, 2, "invalidations");
	r.vm->mmu->invalidate_in_progress = 0;
	mended(&r);
}

/* Row 63: a count of 4K users that is one off, either way, breaks 3; of a 2M leaf's range, too. */
static void test_users(void **state)
{
	struct mmu_mapping leaf;
	u32 *refs;
	struct rig r;

	(void)state;
	setup(&r, true);
	assert_true(mmu_lookup(r.vm->mmu, SMALL, true, &leaf));
	refs = &r.m.tdx->pamt_refs[leaf.pfn / PTRS_PER_TABLE];
	assert_int_equal(*refs, 511);
	++*refs;
	expect_broken(&r, 3, "511 users at 4K, but 512 are counted");
	*refs -= 2;
	expect_broken(&r, 3, "511 users at 4K, but 510 are counted");
	++*refs;
	assert_true(mmu_lookup(r.vm->mmu, LARGE, true, &leaf));
	refs = &r.m.tdx->pamt_refs[leaf.pfn / PTRS_PER_TABLE];
	assert_int_equal(*refs, 0);
	*refs = 1;
	expect_broken(&r, 3, "0 users at 4K, but 1 are counted");
	*refs = 0;
	mended(&r);
}

/* A range in use without a pair, and a pair of a range without users, break 3. */
static void test_pairs(void **state)
{
	struct mmu_mapping small, large;
	struct pamt_entry *used, *unused;
	const struct seam *seam;
	u8 old;
	struct rig r;

	(void)state;
	setup(&r, true);
	seam = r.m.seam;
	assert_true(mmu_lookup(r.vm->mmu, SMALL, true, &small));
	assert_true(mmu_lookup(r.vm->mmu, LARGE, true, &large));
	used = pamt_area_entry(seam, &seam->tdmr[0], fn_to_addr(small.pfn), 1);
	unused = pamt_area_entry(seam, &seam->tdmr[0], fn_to_addr(large.pfn), 1);
	assert_int_equal(used->type, PT_PAMT);
	used->type = PT_NDA;
	expect_broken(&r, 3, "have a pair");
	used->type = PT_PAMT;
	old = unused->type;
	unused->type = PT_PAMT;
	expect_broken(&r, 3, "has a pair, and no user");
	unused->type = old;
	mended(&r);
}

/* Behind the back of everybody, clients and contents. */
static void set_private(struct gmem_file *file, u64 index, u64 nr, bool private)
{
	struct gmem_attr_set *next = gmem_attrs_prepare(&file->attrs, index, nr, private);

	assert_non_null(next);
	gmem_attrs_commit(&file->attrs, next);
}

/* Rows 7 and 88: attributes that change under a leaf, in part and in all of it, break 4. */
static void test_attributes(void **state)
{
	struct gmem_file *file;
	struct rig r;

	(void)state;
	setup(&r, false);
	file = vm_file(r.vm);
	set_private(file, LARGE + 7, 1, false);
	expect_broken(&r, 4, "mixed attributes");
	set_private(file, LARGE, 512, false);
	expect_broken(&r, 4, "other side");
	set_private(file, LARGE, 512, true);
	set_private(file, SMALL + 1, 1, true);
	expect_broken(&r, 4, "other side");
	set_private(file, SMALL + 1, 1, false);
	mended(&r);
}

/* A leaf outside the slot breaks 4, and so does one that maps another frame than its folio's. */
static void test_folio(void **state)
{
	u64 npages, *slot_pages, *spte, *sept, old_spte, old_sept;
	struct rig r;

	(void)state;
	setup(&r, false);
	slot_pages = &vm_slot(r.vm)->npages;
	npages = *slot_pages;
	*slot_pages = SMALL + 100;
	expect_broken(&r, 4, "leaves the slot");
	*slot_pages = npages;
	spte = mirror_entry(&r, SMALL, PG_LEVEL_4K);
	sept = module_entry(&r, SMALL, PG_LEVEL_4K);
	old_spte = *spte;
	old_sept = *sept;
	*spte += PAGE_SIZE;
	*sept += PAGE_SIZE;
	expect_broken(&r, 4, "isn't mapped to its folio");
	*spte = old_spte;
	*sept = old_sept;
	mended(&r);
}

/* Row 80: counts of leaves or tables that are one off break 5. */
static void test_counts(void **state)
{
	struct rig r;
	u64 *counts[4];

	(void)state;
	setup(&r, false);
	counts[0] = &r.vm->mmu->stats.pages[PG_LEVEL_4K];
	counts[1] = &r.vm->mmu->stats.pages[PG_LEVEL_2M];
	counts[2] = &r.vm->mmu->stats.mirror_tables;
	counts[3] = &r.vm->mmu->stats.external_tables;
	for (u32 i = 0; i < NR(counts); i++) {
		++*counts[i];
		expect_broken(&r, 5, "are counted");
		--*counts[i];
	}
	mended(&r);
}

/* A mirror table that names another S-EPT page than the module has there breaks 6. */
static void test_table_owner(void **state)
{
	struct mmu_page *table, *other;
	u64 *first, *second, old;
	struct rig r;

	(void)state;
	setup(&r, false);
	table = mmu_spte_child(r.vm->mmu, *mirror_entry(&r, SMALL, PG_LEVEL_2M));
	table->external_spt++;
	expect_broken(&r, 6, "isn't that of its mirror table");
	table->external_spt--;
	/* Two tables with one S-EPT page, on both sides: nothing else would notice. */
	first = module_entry(&r, LARGE, PG_LEVEL_1G);
	second = module_entry(&r, LARGE, PG_LEVEL_512G);
	other = mmu_spte_child(r.vm->mmu, *mirror_entry(&r, LARGE, PG_LEVEL_512G));
	old = *second;
	other->external_spt ^= 1;
	expect_broken(&r, 6, "isn't that of its mirror table");
	other->external_spt ^= 1;
	*second = *first;
	expect_broken(&r, 6, "isn't that of its mirror table");
	*second = old;
	mended(&r);
}

/* Rows 59, 70: a page lost, or in a cache and in a tree at once, breaks 8. */
static void test_lost_pages(void **state)
{
	const enum frame_use uses[] = {FRAME_SEPT_TABLE,   FRAME_PAMT,	     FRAME_MIRROR_TABLE,
				       FRAME_DIRECT_TABLE, FRAME_TD_CONTROL, FRAME_GUEST};
	struct mmu_vcpu_cache *cache;
	pfn_t pfn, old;
	struct rig r;

	(void)state;
	setup(&r, true);
	for (u32 i = 0; i < NR(uses); i++) {
		assert_int_equal(host_alloc(r.m.host, PG_LEVEL_4K, uses[i], &pfn), 0);
		expect_broken(&r, 8, frame_use_name(uses[i]));
		host_free(r.m.host, pfn, PG_LEVEL_4K, uses[i]);
	}
	cache = &r.vm->vcpus[0].cache;
	assert_true(cache->nr_external > 1);
	old = cache->external[0];
	cache->external[0] = cache->external[1];
	expect_broken(&r, 8, "has another use");
	cache->external[0] = old;
	cache->nr_pages--;
	expect_broken(&r, 8, frame_use_name(FRAME_MIRROR_TABLE));
	cache->nr_pages++;
	mended(&r);
}

/* A VM that is dead is past these rules. */
static void test_dead(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, false);
	r.vm->mmu->invalidate_in_progress = 1;
	expect_broken(&r, 2, "invalidations");
	vm_bugged(r.vm, "test");
	assert_int_equal(look(&r), 0);
	r.vm->mmu->invalidate_in_progress = 0;
	rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_hold),      cmocka_unit_test(test_trees_differ),
		cmocka_unit_test(test_table_missing), cmocka_unit_test(test_not_quiet),
		cmocka_unit_test(test_users),	      cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_attributes),    cmocka_unit_test(test_folio),
		cmocka_unit_test(test_counts),	      cmocka_unit_test(test_table_owner),
		cmocka_unit_test(test_lost_pages),    cmocka_unit_test(test_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
