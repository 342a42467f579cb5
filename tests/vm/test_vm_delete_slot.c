/* SPDX-License-Identifier: MIT */
/* A slot of a living VM is deleted: what goes, what stays, and who comes too late. */
#include <errno.h>

#include "vm/files.h"
#include "vm/internal.h"

#define SLOT_AT(i) ((gpa_t)(i)*8 * MB)

/* Three slots side by side, 8 MiB each, swapped in the file. */
static const struct vm_slot_config three[] = {
	{.base_gfn = 0, .npages = 2048, .index = 2 * 2048},
	{.base_gfn = 2048, .npages = 2048, .index = 0},
	{.base_gfn = 2 * 2048, .npages = 2048, .index = 2048},
};

static struct files_config three_slots(void)
{
	struct files_config c = files_config(GMEM_THP, 24 * MB);

	c.slots = three;
	c.nr_slots = NR(three);
	c.dynamic_pamt = true;
	return c;
}

static u64 leaves(const struct files *f)
{
	return files_pages(f, 0, PG_LEVEL_4K) + files_pages(f, 0, PG_LEVEL_2M) +
	       files_pages(f, 0, PG_LEVEL_1G);
}

/*
 * Row 97: a slot with leaves of 2M and 4K, private and shared, is deleted: they go whole, nothing is
 * split. Those of its neighbours stay, with their bytes. Faults there are -EFAULT from then on, and it
 * is no memory to convert; its part of the file is as it was.
 */
static void test_delete(void **state)
{
	struct files_config c = three_slots();
	const struct op fill[] = {
		ACCEPT_AT(2M, SLOT_AT(0)),
		WRITE_AT(SLOT_AT(0), 1),
		ACCEPT_AT(2M, SLOT_AT(1)),
		WRITE_AT(SLOT_AT(1), 2),
		ACCEPT_AT(4K, SLOT_AT(1) + 3 * MB),
		ACCEPT_AT(2M, SLOT_AT(2) - 2 * MB),
		MAP_GPA_AT(SHARED(SLOT_AT(1) + 4 * MB), 0x1000),
		WRITE_AT(SHARED(SLOT_AT(1) + 4 * MB), 5),
		ACCEPT_AT(2M, SLOT_AT(2)),
		WRITE_AT(SLOT_AT(2), 3),
		STOP,
	};
	const struct op read[] = {
		READ_AT(SLOT_AT(0)),
		READ_AT(SLOT_AT(2)),
		MAP_GPA_AT(SHARED(SLOT_AT(1)), 0x1000),
		MAP_GPA_AT(SHARED(SLOT_AT(1) - 0x1000), 0x2000),
		DISCARD_AT(SLOT_AT(1), 0x1000),
		STOP,
	};
	static const gpa_t gone[] = {SLOT_AT(1), SLOT_AT(2) - 0x1000, SHARED(SLOT_AT(1) + 4 * MB)};
	u64 results[NR(fill)], removes;
	struct files f;
	u64 word;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, fill, results), 0);
	assert_int_equal(leaves(&f), 6);
	removes = files_ok(&f, TDH_MEM_PAGE_REMOVE);
	assert_int_equal(vm_delete_slot(f.vm[0], 3), -EINVAL);
	assert_int_equal(vm_delete_slot(f.vm[0], 1), 0);
	assert_int_equal(vm_delete_slot(f.vm[0], 1), -EINVAL);
	assert_int_equal(leaves(&f), 2);
	assert_int_equal(files_ok(&f, TDH_MEM_PAGE_REMOVE), removes + 3);
	assert_int_equal(tdx_leaf_stats(f.m.tdx, TDH_MEM_PAGE_DEMOTE).calls, 0);
	files_check(&f);
	assert_int_equal(files_run(&f, 0, read, results), 0);
	assert_int_equal(results[0], 1);
	assert_int_equal(results[1], 3);
	assert_int_equal(results[2], VM_HC_INVALID_OPERAND);
	assert_int_equal(results[3], VM_HC_INVALID_OPERAND);
	assert_int_not_equal(results[4], 0);
	for (u32 i = 0; i < NR(gone); i++) {
		const struct op touch[] = {READ_AT(gone[i]), STOP};

		assert_int_equal(files_run(&f, 0, touch, results), -EFAULT);
		assert_int_equal(vcpu_fault_gpa(vm_vcpu(f.vm[0], 0)) & ~0xFFFULL, gone[i]);
		assert_int_equal(files_run(&f, 0, touch, results), -EFAULT);
	}
	assert_int_equal(leaves(&f), 2);
	assert_false(gmem_is_private(f.file, 4 * 256));
	assert_int_equal(gmem_host_read(f.file, 4 * MB, &word, 1), 0);
	assert_int_equal(word, 5);
	assert_int_equal(gmem_convert(f.file, 0, 2048, true), 0);
	assert_int_equal(leaves(&f), 2);
	files_down(&f);
}

/* Row 97: leaves of 1G likewise: one REMOVE takes it, and the 1G beside it stays. */
static void test_delete_1g(void **state)
{
	static const struct vm_slot_config two[] = {
		{.base_gfn = 0, .npages = 262144, .index = 0},
		{.base_gfn = 262144, .npages = 262144, .index = 262144},
	};
	struct files_config c = files_config(GMEM_HUGETLB_1G, 2 * GB);
	static struct op ops[2 * 512 + 2];
	static u64 results[NR(ops)];
	struct files f;

	(void)state;
	c.slots = two;
	c.nr_slots = NR(two);
	c.vm.promote = VM_PROMOTE_NOW;
	for (u32 i = 0; i < 2 * 512; i++)
		ops[i] = (struct op)ACCEPT_AT(2M, i * 2 * MB);
	ops[2 * 512] = (struct op)WRITE_AT(GB + 5 * MB, 7);
	ops[2 * 512 + 1] = (struct op)STOP;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_1G), 2);
	assert_int_equal(vm_delete_slot(f.vm[0], 0), 0);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_1G), 1);
	assert_int_equal(leaves(&f), 1);
	assert_int_equal(files_ok(&f, TDH_MEM_PAGE_REMOVE), 1);
	assert_int_equal(tdx_leaf_stats(f.m.tdx, TDH_MEM_PAGE_DEMOTE).calls, 0);
	ops[0] = (struct op)READ_AT(GB + 5 * MB);
	ops[1] = (struct op)STOP;
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(results[0], 7);
	files_down(&f);
}

/*
 * Row 97 beside vCPUs that fault, use and give back memory of the slot: each ends with -EFAULT, none
 * maps anything there any more, and a vCPU in the slot beside it goes on.
 */
static void test_delete_under_load(void **state)
{
	static struct op busy[2][300], beside[300];

	(void)state;
	for (u32 round = 0; round < 20; round++) {
		struct files_config c = three_slots();
		struct files_runner *t[3];
		u64 in_slot[2] = {0};
		struct files f;

		for (u32 v = 0; v < 2; v++) {
			for (u32 i = 0; i < NR(busy[v]) - 3; i += 3) {
				gpa_t gpa = SLOT_AT(1) + (i + round * 7 + v) % 4 * 2 * MB;

				gpa += (gpa_t)v * MB + i % 240 * PAGE_SIZE;
				busy[v][i] = (struct op)ACCEPT_AT(4K, gpa);
				busy[v][i + 1] = (struct op)WRITE_AT(gpa, gpa);
				busy[v][i + 2] = (struct op)DISCARD_AT(gpa, PAGE_SIZE);
			}
			busy[v][8] =
				(struct op){.kind = OP_SIGNAL, .value = 1, .flag = &in_slot[v]};
			/* It touches the slot until that is gone. */
			busy[v][NR(busy[v]) - 3] =
				(struct op){.kind = OP_WAIT, .value = 2, .flag = &in_slot[v]};
			busy[v][NR(busy[v]) - 2] = (struct op)READ_AT(SLOT_AT(1) + v * 0x1000);
			busy[v][NR(busy[v]) - 1] = (struct op)STOP;
		}
		for (u32 i = 0; i < NR(beside) - 1; i++)
			beside[i] =
				i % 2 ? (struct op)WRITE_AT(SLOT_AT(2) + i * PAGE_SIZE, i)
				      : (struct op)ACCEPT_AT(4K, SLOT_AT(2) + (i + 1) * PAGE_SIZE);
		beside[NR(beside) - 1] = (struct op)STOP;
		c.vm.nr_vcpus = 3;
		files_up(&f, &c);
		for (u32 v = 0; v < 3; v++)
			t[v] = files_start(&f, 0, v, v < 2 ? busy[v] : beside);
		for (u32 v = 0; v < 2; v++)
			while (!sync_load_acquire(&in_slot[v]))
				sync_relax();
		assert_int_equal(vm_delete_slot(f.vm[0], 1), 0);
		for (u32 v = 0; v < 2; v++)
			sync_store_release(&in_slot[v], 2);
		for (u32 v = 0; v < 3; v++) {
			assert_int_equal(files_finish(t[v]), v < 2 ? -EFAULT : 0);
			free(t[v]);
		}
		for (gfn_t gfn = 2048; gfn < 2 * 2048; gfn++)
			assert_int_equal(files_level(&f, 0, fn_to_addr(gfn)), PG_LEVEL_NONE);
		assert_int_equal(tdx_leaf_stats(f.m.tdx, TDH_MEM_PAGE_DEMOTE).calls, 0);
		files_down(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_delete_1g),
		cmocka_unit_test(test_delete_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
