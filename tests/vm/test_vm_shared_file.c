/* SPDX-License-Identifier: MIT */
/* Two VMs on one file: what one does to its memory happens to both, or to neither. */
#include <errno.h>

#include "mmu/internal.h"
#include "vm/files.h"
#include "vm/internal.h"

static struct files_config two_vms(enum gmem_backing backing, u64 bytes)
{
	struct files_config c = files_config(backing, bytes);

	c.nr_vms = 2;
	c.dynamic_pamt = true;
	return c;
}

/* ---- one memory ------------------------------------------------------------------------------*/

/*
 * A page that one VM shares is shared in the other: both reach the same bytes through the alias, and
 * neither reaches it as private any more. Private again it is nobody's until somebody accepts it.
 */
static void test_same_memory(void **state)
{
	struct files_config c = two_vms(GMEM_THP, 16 * MB);
	const struct op share[] = {ACCEPT_AT(2M, 0),
				   WRITE_AT(0, 1),
				   MAP_GPA_AT(SHARED(0x3000), 0x1000),
				   WRITE_AT(SHARED(0x3000), 2),
				   READ_AT(0),
				   STOP};
	const struct op look[] = {READ_AT(SHARED(0x3000)), WRITE_AT(SHARED(0x3000), 3), STOP};
	const struct op back[] = {READ_AT(SHARED(0x3000)), MAP_GPA_AT(0x3000, 0x1000), STOP};
	const struct op touch_private[] = {ACCEPT_AT(4K, 0x3000), STOP};
	const struct op touch_shared[] = {READ_AT(SHARED(0x3000)), STOP};
	u64 results[NR(share)];
	struct files f;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, share, results), 0);
	assert_int_equal(results[4], 1);
	assert_int_equal(files_run(&f, 1, look, results), 0);
	assert_int_equal(results[0], 2);
	for (u32 vm = 0; vm < 2; vm++)
		assert_int_equal(files_run(&f, vm, touch_private, results), -EFAULT);
	assert_false(mmu_slot_may_promote(vm_slot(f.vm[1]), 0, PG_LEVEL_2M));
	files_check(&f);
	assert_int_equal(files_run(&f, 0, back, results), 0);
	assert_int_equal(results[0], 3);
	for (u32 vm = 0; vm < 2; vm++)
		assert_int_equal(files_run(&f, vm, touch_shared, results), -EFAULT);
	assert_true(mmu_slot_may_promote(vm_slot(f.vm[1]), 0, PG_LEVEL_2M));
	assert_int_equal(files_run(&f, 1, touch_private, results), 0);
	files_down(&f);
}

/* A hole that one VM makes is one in the other. */
static void test_hole(void **state)
{
	struct files_config c = two_vms(GMEM_THP, 16 * MB);
	const struct op fill[] = {ACCEPT_AT(2M, 4 * MB), WRITE_AT(4 * MB, 1), WRITE_AT(5 * MB, 2),
				  STOP};
	const struct op hole[] = {DISCARD_AT(5 * MB, 3 * MB), STOP};
	const struct op look[] = {READ_AT(4 * MB), ACCEPT_AT(4K, 5 * MB), READ_AT(5 * MB), STOP};
	u64 results[NR(fill)];
	struct files f;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 1, fill, results), 0);
	assert_int_equal(files_run(&f, 0, hole, results), 0);
	assert_int_equal(results[0], 0);
	assert_int_equal(files_run(&f, 1, look, results), 0);
	assert_int_equal(results[0], 1);
	assert_int_equal(results[1], TDX_SUCCESS);
	assert_int_equal(results[2], 0);
	files_down(&f);
}

/* ---- both or neither -------------------------------------------------------------------------*/
#ifdef SEPTUM_CHECK
/*
 * Row 96: a conversion needs a split in each VM, and memory runs out at the n-th allocation, for every
 * n: neither VM has lost a leaf or a byte, in particular not the first when the second one fails.
 */
static void test_no_memory_in_second(void **state)
{
	struct files_config c = two_vms(GMEM_THP, 16 * MB);
	const struct op first[] = {ACCEPT_AT(2M, 2 * MB), WRITE_AT(2 * MB, 1), WRITE_AT(3 * MB, 2),
				   STOP};
	const struct op second[] = {ACCEPT_AT(2M, 4 * MB), WRITE_AT(4 * MB, 3), WRITE_AT(5 * MB, 4),
				    STOP};
	const struct op read_first[] = {READ_AT(2 * MB), READ_AT(3 * MB), STOP};
	const struct op read_second[] = {READ_AT(4 * MB), READ_AT(5 * MB), STOP};
	bool in_second = false, done = false;

	(void)state;
	for (u64 n = 1; !done; n++) {
		u64 results[NR(first)];
		struct files f;
		int err;

		files_up(&f, &c);
		assert_int_equal(files_run(&f, 0, first, results), 0);
		assert_int_equal(files_run(&f, 1, second, results), 0);
		host_fail_alloc_at(f.m.host, n);
		err = gmem_convert(f.file, addr_to_fn(3 * MB), 512, false);
		done = !err;
		host_fail_alloc_at(f.m.host, 0);
		if (!done) {
			assert_int_equal(err, -ENOMEM);
			in_second |= mmu_stats(vm_mmu(f.vm[0]))->splits == 1;
			for (u32 vm = 0; vm < 2; vm++)
				assert_int_equal(mmu_stats(vm_mmu(f.vm[vm]))->zaps, 0);
			files_check(&f);
			assert_int_equal(files_run(&f, 0, read_first, results), 0);
			assert_true(results[0] == 1 && results[1] == 2);
			assert_int_equal(files_run(&f, 1, read_second, results), 0);
			assert_true(results[0] == 3 && results[1] == 4);
			assert_int_equal(gmem_convert(f.file, addr_to_fn(3 * MB), 512, false), 0);
		}
		assert_int_equal(files_run(&f, 0, read_first, results), -EFAULT);
		assert_int_equal(results[0], 1);
		assert_int_equal(files_run(&f, 1, read_second + 1, results), 0);
		assert_int_equal(results[0], 4);
		files_down(&f);
	}
	assert_true(in_second);
}
#endif

/* A dead VM can't let go: the other's conversions fail, change nothing, and work when it is gone. */
static void test_dead_neighbour(void **state)
{
	struct files_config c = two_vms(GMEM_THP, 16 * MB);
	const struct op fill[] = {ACCEPT_AT(2M, 0), WRITE_AT(0, 1), STOP};
	const struct op convert[] = {MAP_GPA_AT(SHARED(0x1000), 0x1000), READ_AT(0), STOP};
	u64 results[NR(convert)];
	struct files f;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, fill, results), 0);
	mmu_bug(vm_mmu(f.vm[1]), "for the test");
	assert_int_equal(files_run(&f, 0, convert, results), 0);
	assert_int_equal(results[0], VM_HC_INVALID_OPERAND);
	assert_int_equal(results[1], 1);
	assert_true(gmem_is_private(f.file, 1));
	files_drop_vm(&f);
	assert_int_equal(files_run(&f, 0, convert, results), 0);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], 1);
	files_down(&f);
}

/* ---- faults meanwhile ------------------------------------------------------------------------*/
struct witness {
	struct files *f;
	u64 barred_from, barred_to; /* indexes */
	struct files_runner *t;
	bool looked;
};

static void witness_look(struct files *f, u64 index, bool barred)
{
	for (u32 vm = 0; vm < 2; vm++) {
		struct mmu *mmu = vm_mmu(f->vm[vm]);

		assert_int_equal(mmu_invalidate_retry(mmu, mmu_invalidate_seq(mmu), index), barred);
	}
}

/* Nobody has changed anything yet, and all have begun. */
static int witness_prepare(void *client, u64 index, u64 nr)
{
	static const struct op ops[] = {ACCEPT_AT(4K, 0x5000), WRITE_AT(0x5000, 7), STOP};
	struct witness *w = client;
	struct files *f = w->f;

	(void)index;
	(void)nr;
	for (u64 i = w->barred_from; i < w->barred_to; i += 7)
		witness_look(f, i, true);
	witness_look(f, w->barred_to - 1, true);
	witness_look(f, w->barred_to, false);
	/* A vCPU that comes now goes round in its fault. */
	w->t = files_start(f, 1, 0, ops);
	while (!vm_stats(f->vm[1]).exits_ept_violation)
		sync_relax();
	assert_int_equal(files_level(f, 1, 0x5000), PG_LEVEL_NONE);
	w->looked = true;
	return 0;
}

static void witness_range(void *client, u64 index, u64 nr)
{
	(void)client;
	(void)index;
	(void)nr;
}

static int witness_limit(void *client, u64 index, u64 nr, enum pg_level level)
{
	(void)level;
	witness_range(client, index, nr);
	return 0;
}

static const struct gmem_client_ops witness_ops = {
	.begin = witness_range,
	.prepare = witness_prepare,
	.limit = witness_limit,
	.commit = witness_range,
	.changed = witness_range,
	.end = witness_range,
};

/*
 * Row 93: while one 4K page is converted faults anywhere in its huge page wait, of 2M as of 1G, in both
 * VMs, and go on afterwards; faults beside it don't wait.
 */
static void test_whole_huge_page_waits(void **state)
{
	static const enum gmem_backing backings[] = {GMEM_HUGETLB_2M, GMEM_HUGETLB_1G};

	(void)state;
	for (u32 i = 0; i < NR(backings); i++) {
		enum pg_level level = i ? PG_LEVEL_1G : PG_LEVEL_2M;
		struct files_config c = two_vms(backings[i], 2 * level_size(level));
		struct witness w = {.barred_to = pages_per_level(level)};
		struct files f;

		files_up(&f, &c);
		w.f = &f;
		assert_int_equal(gmem_bind(f.file, 0, 1024, &witness_ops, &w), 0);
		assert_int_equal(gmem_convert(f.file, 9, 1, false), 0);
		assert_true(w.looked);
		assert_int_equal(files_finish(w.t), 0);
		assert_int_equal(w.t->results[0], TDX_SUCCESS);
		free(w.t);
		assert_int_equal(files_level(&f, 1, 0x5000), PG_LEVEL_4K);
		gmem_unbind(f.file, &w);
		files_down(&f);
	}
}

/* ---- coming and going ------------------------------------------------------------------------*/
#define ROUNDS 40

/*
 * A VM comes, maps, and goes, again and again, while its neighbour converts the same memory there and
 * back: no conversion fails, and nothing of the one that left stays behind.
 */
static void test_leaving(void **state)
{
	struct files_config c = two_vms(GMEM_THP, 8 * MB);
	static struct op ops[2 * ROUNDS + 1];
	const struct op fill[] = {ACCEPT_AT(2M, 2 * MB), ACCEPT_AT(2M, 4 * MB), STOP};
	struct files_runner *t;
	u64 results[NR(fill)];
	struct files f;
	u32 n = 0;

	(void)state;
	for (u32 i = 0; i < ROUNDS; i++) {
		ops[n++] = (struct op)MAP_GPA_AT(SHARED(3 * MB), 2 * MB);
		ops[n++] = (struct op)MAP_GPA_AT(3 * MB, 2 * MB);
	}
	ops[n] = (struct op)STOP;
	files_up(&f, &c);
	t = files_start(&f, 0, 0, ops);
	for (u32 i = 0; i < ROUNDS / 4; i++) {
		/* Or a fault on what is shared now. */
		int err = files_run(&f, 1, fill, results);

		assert_true(!err || err == -EFAULT);
		files_drop_vm(&f);
		files_make_vm(&f, &c);
	}
	assert_int_equal(files_finish(t), 0);
	for (u32 i = 0; i < n; i++)
		assert_int_equal(t->results[i], 0);
	free(t);
	assert_int_equal(gmem_nr_ranges(f.file), 1);
	files_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_memory),
		cmocka_unit_test(test_hole),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_no_memory_in_second),
#endif
		cmocka_unit_test(test_dead_neighbour),
		cmocka_unit_test(test_whole_huge_page_waits),
		cmocka_unit_test(test_leaving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
