/* SPDX-License-Identifier: MIT */
/* Whose the attributes are: the file's, converted in place, or a VM's own, with two backing stores. */
#include <errno.h>

#include "vm/files.h"
#include "vm/internal.h"

static struct files_config two_vms(bool vm_memory_attributes)
{
	struct files_config c = files_config(GMEM_HUGETLB_2M, 8 * MB);

	c.nr_vms = 2;
	c.vm_memory_attributes = vm_memory_attributes;
	c.machine_bytes = 512 * MB;
	c.dynamic_pamt = true;
	return c;
}

static int set_in_file(struct files *f, u64 offset, u64 size, u64 attributes)
{
	struct gmem_set_attributes arg = {
		.offset = offset, .size = size, .attributes = attributes, .error_offset = 77};
	int err = gmem_set_attributes(f->file, &arg);

	if (err == -ENOTTY)
		assert_int_equal(arg.error_offset, 77);
	return err;
}

/*
 * Row 85: each call in the other's world is -ENOTTY, whatever its arguments, and nothing has changed;
 * in its own it works.
 */
static void test_wrong_world(void **state)
{
	(void)state;
	for (int on = 0; on <= 1; on++) {
		struct files_config c = two_vms(on);
		struct files f;

		files_up(&f, &c);
		assert_int_equal(set_in_file(&f, MB, 0x1000, 0), on ? -ENOTTY : 0);
		assert_int_equal(set_in_file(&f, 5, 0, ~0ULL), on ? -ENOTTY : -EINVAL);
		assert_int_equal(gmem_nr_ranges(f.file), on ? 1 : 3);
		assert_int_equal(vm_set_memory_attributes(f.vm[0], 2 * MB, 0x1000, 0),
				 on ? 0 : -ENOTTY);
		assert_int_equal(vm_set_memory_attributes(f.vm[0], 5, 0, ~0ULL),
				 on ? -EINVAL : -ENOTTY);
		assert_int_equal(gmem_nr_ranges(f.file), on ? 1 : 3);
		assert_int_equal(gmem_nr_ranges(vm_shared_file_at(f.vm[0], 0)), 3);
		assert_int_equal(gmem_nr_ranges(vm_shared_file_at(f.vm[1], 0)), on ? 1 : 3);
		files_down(&f);
	}
}

/*
 * Row 85, attributes of the VM: a page in a 2M leaf becomes shared: one split, its private mapping goes
 * and those beside it stay. Shared memory is in another file, which the host may touch; the private
 * page still isn't the host's. The other VM on the file notices nothing. Private again, the guest has
 * to accept it, and finds zeros.
 */
static void test_own_attributes(void **state)
{
	struct files_config c = two_vms(true);
	const gpa_t page = 2 * MB + 0x3000;
	const struct op fill[] = {ACCEPT_AT(2M, 2 * MB), WRITE_AT(page, 1),
				  WRITE_AT(page + 0x1000, 2), STOP};
	const struct op use[] = {WRITE_AT(SHARED(page), 5), READ_AT(SHARED(page)),
				 READ_AT(page + 0x1000), STOP};
	const struct op old[] = {READ_AT(page), STOP};
	const struct op again[] = {ACCEPT_AT(4K, page), READ_AT(page), READ_AT(page + 0x1000),
				   STOP};
	u64 results[NR(fill)], word;
	struct gmem_file *shared;
	struct files f;

	(void)state;
	files_up(&f, &c);
	shared = vm_shared_file_at(f.vm[0], 0);
	assert_ptr_not_equal(shared, f.file);
	assert_int_equal(files_run(&f, 0, fill, results), 0);
	assert_int_equal(vm_set_memory_attributes(f.vm[0], page, PAGE_SIZE, 0), 0);
	files_check(&f);
	assert_int_equal(files_ok(&f, TDH_MEM_PAGE_DEMOTE), 1);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_4K), 511);
	assert_true(mmu_slot_max_level(vm_slot(f.vm[0]), addr_to_fn(page), PG_LEVEL_2M) ==
		    PG_LEVEL_4K);
	assert_true(mmu_slot_max_level(vm_slot(f.vm[1]), addr_to_fn(page), PG_LEVEL_2M) ==
		    PG_LEVEL_2M);
	assert_int_equal(files_run(&f, 0, use, results), 0);
	assert_int_equal(results[1], 5);
	assert_int_equal(results[2], 2);
	assert_int_equal(gmem_host_read(shared, page, &word, 1), 0);
	assert_int_equal(word, 5);
	assert_int_equal(gmem_host_read(shared, page + 0x1000, &word, 1), -EFAULT);
	assert_int_equal(gmem_host_read(f.file, page, &word, 1), -EFAULT);
	/* Two backing stores: the file holds what was private, too. */
	assert_int_equal(gmem_stats(f.file).frames, 512);
	assert_int_equal(gmem_stats(shared).frames, 512);
	files_check(&f);
	assert_int_equal(files_run(&f, 0, old, results), -EFAULT);
	assert_int_equal(vm_set_memory_attributes(f.vm[0], page, PAGE_SIZE, GMEM_ATTRIBUTE_PRIVATE),
			 0);
	assert_int_equal(gmem_host_read(shared, page, &word, 1), -EFAULT);
	assert_int_equal(files_run(&f, 0, again, results), 0);
	assert_int_equal(results[1], 0);
	assert_int_equal(results[2], 2);
	files_down(&f);
}

/* The guest's MapGPA and its discards reach both stores; a file with shared pages is of the other world. */
static void test_guests_and_files(void **state)
{
	struct files_config c = two_vms(true);
	const struct op ops[] = {
		MAP_GPA_AT(SHARED(0), 4 * MB), WRITE_AT(SHARED(MB), 3), DISCARD_AT(0, 4 * MB),
		READ_AT(SHARED(MB)),	       MAP_GPA_AT(0, 4 * MB),	ACCEPT_AT(2M, 2 * MB),
		WRITE_AT(2 * MB, 4),	       READ_AT(2 * MB),		STOP};
	u64 results[NR(ops)];
	struct vm_config vc = {
		.nr_slots = 1, .nr_vcpus = 1, .first_lp = 2, .max_level = PG_LEVEL_2M, .gpaw = 48};
	struct gmem_config gc = {.size = 4 * MB, .init_shared = true};
	struct vm_slot_config slot = {.npages = 1024};
	struct vm *vm;
	struct files f;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[2], 0);
	assert_int_equal(results[3], 0);
	assert_int_equal(results[4], 0);
	assert_int_equal(results[7], 4);
	assert_int_equal(gmem_create(f.m.host, &gc, &slot.file), 0);
	vc.slots = &slot;
	assert_int_equal(vm_create(&f.m, &vc, &vm), -EINVAL);
	gmem_release(slot.file);
	assert_int_equal(vm_delete_slot(f.vm[0], 0), 0);
	assert_int_equal(vm_set_memory_attributes(f.vm[0], 0, PAGE_SIZE, 0), -EINVAL);
	files_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_world),
		cmocka_unit_test(test_own_attributes),
		cmocka_unit_test(test_guests_and_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
