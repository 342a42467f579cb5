/* SPDX-License-Identifier: MIT */
/* The invariants over files, their pools, several slots and VMs; and 1G leaves. */
#include <stdio.h>

#include "gmem/internal.h"
#include "vm/files.h"
#include "vm/internal.h"

static char why[200];

static int look(struct files *f)
{
	why[0] = '\0';
	return check_vms(&f->m, f->vm, f->nr_vms, why, sizeof(why));
}

static void expect_broken(struct files *f, int number, const char *what)
{
	assert_int_equal(look(f), number);
	assert_non_null(strstr(why, what));
}

static void expect_sound(struct files *f)
{
	look(f);
	assert_string_equal(why, "");
}

static void share_page(struct files *f, gpa_t gpa)
{
	const struct op ops[] = {MAP_GPA_AT(SHARED(gpa), PAGE_SIZE), STOP};
	u64 results[NR(ops)];

	assert_int_equal(files_run(f, 0, ops, results), 0);
	assert_int_equal(results[0], 0);
}

/* Two VMs, each with two slots in the one file: its frames count once, and leaves of all slots hold. */
static void test_one_file(void **state)
{
	static const struct vm_slot_config slots[] = {
		{.base_gfn = 0, .npages = 8 * 512, .index = 0},
		{.base_gfn = 20 * 512, .npages = 8 * 512, .index = 8 * 512},
	};
	const struct op first[] = {ACCEPT_AT(2M, 0), ACCEPT_AT(4K, 40 * MB), STOP};
	const struct op second[] = {ACCEPT_AT(2M, 2 * MB), ACCEPT_AT(2M, 42 * MB), STOP};
	struct files_config c = files_config(GMEM_HUGETLB_2M, 32 * MB);
	u64 results[NR(first)], npages;
	struct files f;

	(void)state;
	c.nr_vms = 2;
	c.slots = slots;
	c.nr_slots = NR(slots);
	c.dynamic_pamt = true;
	c.vmemmap = true;
	files_up(&f, &c);
	expect_sound(&f);
	assert_int_equal(files_run(&f, 0, first, results), 0);
	assert_int_equal(files_run(&f, 1, second, results), 0);
	share_page(&f, 0x3000);
	expect_sound(&f);
	/* A leaf of the second slot that this one doesn't hold any more. */
	npages = f.vm[1]->slots[1].mmu.npages;
	f.vm[1]->slots[1].mmu.npages = 512 + 7;
	expect_broken(&f, 4, "leaves the slot");
	f.vm[1]->slots[1].mmu.npages = npages;
	/* Indexes of the other slot: other frames. */
	f.vm[1]->slots[0].mmu.index += 8 * 512;
	expect_broken(&f, 4, "gfn 200 isn't mapped to its folio");
	f.vm[1]->slots[0].mmu.index -= 8 * 512;
	files_down(&f);
}

/* A pool's page that no file holds breaks 9; free pages and descriptors that are lost break 8. */
static void test_pool(void **state)
{
	static const enum frame_use uses[] = {FRAME_HUGETLB, FRAME_VMEMMAP, FRAME_GUEST};
	const struct op ops[] = {ACCEPT_AT(2M, 0), ACCEPT_AT(2M, 4 * MB), STOP};
	struct files_config c = files_config(GMEM_HUGETLB_2M, 16 * MB);
	u64 results[NR(ops)];
	struct files f;
	pfn_t pfn;

	(void)state;
	c.spare_pages = 2;
	c.vmemmap = true;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	share_page(&f, 0x1000);
	expect_sound(&f);
	assert_int_equal(hugetlb_stats(f.pool).vmemmap_restored, 7);
	assert_int_equal(hugetlb_take(f.pool, false, &pfn), 0);
	expect_broken(&f, 9, "3 pages of a pool are in use, but files hold 2");
	hugetlb_put(f.pool, pfn, false);
	for (u32 i = 0; i < NR(uses); i++) {
		assert_int_equal(host_alloc(f.m.host, PG_LEVEL_4K, uses[i], &pfn), 0);
		expect_broken(&f, 8, frame_use_name(uses[i]));
		host_free(f.m.host, pfn, PG_LEVEL_4K, uses[i]);
	}
	files_down(&f);
}

/*
 * With a page of a 1G page shared 2M leaves stay elsewhere in it: right by the rule of the original huge
 * page, and by that of folios when these are split as little as can be; wrong when all are 4K.
 */
static void test_forms(void **state)
{
	static struct op ops[513];
	static u64 results[513];

	(void)state;
	for (u32 i = 0; i < 512; i++)
		ops[i] = (struct op)ACCEPT_AT(2M, i * 2 * MB);
	ops[512] = (struct op)STOP;
	for (int uniform = 0; uniform < 2; uniform++) {
		struct files_config c = files_config(GMEM_HUGETLB_1G, GB);
		struct files f;

		c.file.folio_split = uniform ? GMEM_SPLIT_UNIFORM : GMEM_SPLIT_NONUNIFORM;
		c.vm.promote = VM_PROMOTE_NOW;
		c.vm.mapping_check = VM_CHECK_TRUST;
		files_up(&f, &c);
		assert_int_equal(files_run(&f, 0, ops, results), 0);
		assert_int_equal(files_pages(&f, 0, PG_LEVEL_1G), 1);
		expect_sound(&f);
		share_page(&f, 5 * MB);
		assert_int_equal(files_pages(&f, 0, PG_LEVEL_2M), 511);
		expect_sound(&f);
		f.file->cfg.mapping_form = GMEM_FORM_FOLIO;
		if (uniform)
			expect_broken(&f, 4, "larger than its folio");
		else
			expect_sound(&f);
		f.file->cfg.mapping_form = GMEM_FORM_ORIGINAL;
		files_down(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_file),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
