/* SPDX-License-Identifier: MIT */
/* Memory fails: who loses what, and what the guest hears of it. */
#include <errno.h>

#include "base/rng.h"
#include "vm/files.h"
#include "vm/internal.h"

/*
 * Row 94: one page of a huge page fails. By pages: it alone is lost, its 511 neighbours keep their
 * bytes. By folios: all of the huge page is. What is lost ends the vCPU's run with a machine check and
 * its address, each time, and the VM lives.
 */
static void test_scopes(void **state)
{
	static const enum gmem_backing backings[] = {GMEM_THP, GMEM_HUGETLB_2M, GMEM_HUGETLB_1G};
	const gpa_t bad = 4 * MB + 0x5000;
	const struct op fill[] = {ACCEPT_AT(2M, 4 * MB),
				  WRITE_AT(bad - 0x1000, 1),
				  WRITE_AT(bad, 2),
				  WRITE_AT(bad + 0x1000, 3),
				  ACCEPT_AT(2M, 6 * MB),
				  WRITE_AT(6 * MB, 4),
				  STOP};
	const struct op read_bad[] = {READ_AT(bad), STOP};
	const struct op neighbours[] = {READ_AT(bad - 0x1000), READ_AT(bad + 0x1000),
					READ_AT(6 * MB), STOP};

	(void)state;
	for (u32 i = 0; i < NR(backings) * 2; i++) {
		bool whole = i & 1, is_1g = backings[i / 2] == GMEM_HUGETLB_1G;
		struct files_config c = files_config(backings[i / 2], is_1g ? GB : 16 * MB);
		u64 results[NR(fill)];
		struct mmu_mapping m;
		struct files f;
		int err;

		c.dynamic_pamt = true;
		c.file.failure_scope = whole ? GMEM_FAILURE_FOLIO : GMEM_FAILURE_PAGE;
		files_up(&f, &c);
		assert_int_equal(files_run(&f, 0, fill, results), 0);
		assert_true(mmu_lookup(vm_mmu(f.vm[0]), addr_to_fn(bad), true, &m));
		m.pfn += addr_to_fn(bad) - m.gfn;
		assert_int_equal(vm_memory_failure(f.vm[0], bad), 0);
		assert_int_equal(files_level(&f, 0, bad), PG_LEVEL_NONE);
		assert_int_equal(files_level(&f, 0, bad - 0x1000),
				 whole ? PG_LEVEL_NONE : PG_LEVEL_4K);
		assert_true(host_tag(f.m.host, m.pfn) & TAG_POISONED);
		for (int again = 0; again < 2; again++) {
			assert_int_equal(files_run(&f, 0, read_bad, results), -EHWPOISON);
			assert_int_equal(vcpu_fault_gpa(vm_vcpu(f.vm[0], 0)), bad);
			assert_null(vm_why_dead(f.vm[0]));
		}
		err = files_run(&f, 0, neighbours, results);
		assert_int_equal(err, whole ? -EHWPOISON : 0);
		if (!whole) {
			assert_true(results[0] == 1 && results[1] == 3 && results[2] == 4);
			assert_int_equal(f.program[0][0].mces, 0);
		}
		/* Another huge page, or another block of the same. */
		err = files_run(&f, 0, neighbours + 2, results);
		assert_int_equal(err, whole && is_1g ? -EHWPOISON : 0);
		if (!err)
			assert_int_equal(results[0], 4);
		assert_int_equal(files_ok(&f, TDH_MEM_PAGE_DEMOTE), !whole);
		assert_int_equal(gmem_stats(f.file).failed_pages,
				 whole ? pages_per_level(is_1g ? PG_LEVEL_1G : PG_LEVEL_2M) : 1);
		files_check(&f);
		/* A page that failed is never used again, nor a pool's huge page around it. */
		f.failed = is_1g ? 512 * 512 : whole || f.pool ? 512 : 1;
		files_down(&f);
	}
}

/* What isn't memory is refused; what nothing backs, or has failed before, is no news. */
static void test_nothing_there(void **state)
{
	struct files_config c = files_config(GMEM_THP, 16 * MB);
	const struct op ops[] = {ACCEPT_AT(4K, 0), STOP};
	u64 results[NR(ops)];
	struct files f;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(vm_memory_failure(f.vm[0], 16 * MB), -EINVAL);
	assert_int_equal(vm_memory_failure(f.vm[0], SHARED(0)), -EINVAL);
	assert_int_equal(vm_memory_failure(f.vm[0], 0), 0);
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(vm_memory_failure(f.vm[0], 0), 0);
	assert_int_equal(vm_memory_failure(f.vm[0], 0xfff), 0);
	assert_int_equal(gmem_stats(f.file).failed_pages, 1);
	f.failed = 1;
	files_down(&f);
}

/* A 1G leaf with a page that fails goes to 2M and that to 4K; promotion then brings back 2M, but there. */
static void test_in_1g_leaf(void **state)
{
	struct files_config c = files_config(GMEM_HUGETLB_1G, GB);
	static struct op ops[1025];
	static u64 results[1025];
	struct files f;

	(void)state;
	c.vm.promote = VM_PROMOTE_NOW;
	files_up(&f, &c);
	for (u32 i = 0; i < 512; i++) {
		ops[2 * i] = (struct op)ACCEPT_AT(2M, i * 2 * MB);
		ops[2 * i + 1] = (struct op)WRITE_AT(i * 2 * MB + 0x8000, i + 1);
	}
	ops[1024] = (struct op)STOP;
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_1G), 1);
	assert_int_equal(vm_memory_failure(f.vm[0], 100 * 2 * MB), 0);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_2M), 511);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_4K), 511);
	for (u32 i = 0; i < 512; i++)
		ops[i] = (struct op)READ_AT(i * 2 * MB + 0x8000);
	ops[512] = (struct op)STOP;
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	for (u32 i = 0; i < 512; i++)
		assert_int_equal(results[i], i + 1);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_2M), 511);
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_4K), 511);
	f.failed = 512 * 512;
	files_down(&f);
}

#ifdef SEPTUM_CHECK
/*
 * The page can't be split off for want of memory, at the n-th allocation, for every n: then its huge
 * page is lost, nothing else is, and the VM lives.
 */
static void test_no_memory(void **state)
{
	struct files_config c = files_config(GMEM_THP, 16 * MB);
	const struct op fill[] = {ACCEPT_AT(2M, 4 * MB), WRITE_AT(5 * MB, 1), ACCEPT_AT(2M, 6 * MB),
				  WRITE_AT(6 * MB, 2), STOP};
	const struct op read[] = {READ_AT(6 * MB), READ_AT(5 * MB), STOP};
	bool done = false;

	(void)state;
	c.dynamic_pamt = true;
	for (u64 n = 1; !done; n++) {
		u64 results[NR(fill)];
		struct files f;
		int err;

		files_up(&f, &c);
		assert_int_equal(files_run(&f, 0, fill, results), 0);
		host_fail_alloc_at(f.m.host, n);
		err = vm_memory_failure(f.vm[0], 4 * MB);
		done = !err;
		host_fail_alloc_at(f.m.host, 0);
		assert_true(!err || err == -ENOMEM);
		err = files_run(&f, 0, read, results);
		assert_int_equal(err, done ? 0 : -EHWPOISON);
		assert_int_equal(results[0], 2);
		if (done)
			assert_int_equal(results[1], 1);
		assert_null(vm_why_dead(f.vm[0]));
		f.failed = done ? 1 : 512;
		files_down(&f);
	}
}
#endif

/* ---- under load ------------------------------------------------------------------------------*/
#define PAGES 24
#define BLOCK (4 * MB)
#define MAX_READS 400

/*
 * Pages of a 2M leaf fail one after the other while vCPUs read and write the rest of it. Each vCPU has
 * pages of its own that don't fail, and finds its words in them each time; none has a machine check
 * there. Whoever reads a failed page gets a machine check, or ends with its address.
 */
static void test_under_load(void **state)
{
	struct files_config c = files_config(GMEM_HUGETLB_2M, 16 * MB);
	static struct op ops[2][2 * MAX_READS + 2];
	const struct op fill[] = {ACCEPT_AT(2M, BLOCK), STOP};
	struct files_runner *t[2];
	u64 results[NR(fill)];
	struct files f;
	struct rng rng;

	(void)state;
	rng_init(&rng, 11);
	c.vm.nr_vcpus = 3;
	c.dynamic_pamt = true;
	files_up(&f, &c);
	assert_int_equal(files_run(&f, 0, fill, results), 0);
	for (u32 v = 0; v < 2; v++) {
		u32 n = 0;

		for (u32 i = 0; i < MAX_READS; i++) {
			/* Even pages never fail; each vCPU has half of them. */
			gpa_t gpa = BLOCK + (rng_below(&rng, 128) * 4 + 2 * v) * PAGE_SIZE;

			ops[v][n++] = (struct op)WRITE_AT(gpa, i + 1);
			ops[v][n++] = (struct op)READ_AT(gpa);
		}
		ops[v][n] = (struct op)STOP;
		t[v] = files_start(&f, 0, v + 1, ops[v]);
	}
	for (u32 i = 0; i < PAGES; i++)
		assert_int_equal(vm_memory_failure(f.vm[0], BLOCK + (2 * i + 1) * PAGE_SIZE), 0);
	for (u32 v = 0; v < 2; v++) {
		assert_int_equal(files_finish(t[v]), 0);
		assert_int_equal(f.program[0][v + 1].mces, 0);
		for (u32 i = 0; i < MAX_READS; i++)
			assert_int_equal(t[v]->results[2 * i + 1], i + 1);
		free(t[v]);
	}
	for (u32 i = 0; i < PAGES; i++) {
		gpa_t gpa = BLOCK + (2 * i + 1) * PAGE_SIZE;
		const struct op read[] = {READ_AT(gpa), STOP};

		assert_int_equal(files_run(&f, 0, read, results), -EHWPOISON);
		assert_int_equal(vcpu_fault_gpa(vm_vcpu(f.vm[0], 0)), gpa);
	}
	assert_int_equal(files_pages(&f, 0, PG_LEVEL_4K), 512 - PAGES);
	assert_int_equal(gmem_stats(f.file).failed_pages, PAGES);
	f.failed = 512;
	files_down(&f);
}

/* A vCPU that reads the very page when it fails has a machine check, or its run ends; it reads no byte. */
static void test_reader_of_the_page(void **state)
{
	struct files_config c = files_config(GMEM_THP, 16 * MB);
	static struct op ops[MAX_OPS];
	u64 ready = 0;
	struct files_runner *t;
	struct files f;
	u32 n = 0, after = 0;

	(void)state;
	ops[n++] = (struct op)ACCEPT_AT(2M, BLOCK);
	ops[n++] = (struct op)WRITE_AT(BLOCK, 5);
	ops[n++] = (struct op){.kind = OP_SIGNAL, .flag = &ready, .value = 1};
	while (n < MAX_OPS - 1)
		ops[n++] = (struct op)READ_AT(BLOCK);
	ops[n] = (struct op)STOP;
	c.vm.nr_vcpus = 2;
	files_up(&f, &c);
	t = files_start(&f, 0, 1, ops);
	while (!sync_load_acquire(&ready))
		sync_relax();
	assert_int_equal(vm_memory_failure(f.vm[0], BLOCK), 0);
	if (files_finish(t)) {
		assert_int_equal(t->ret, -EHWPOISON);
		assert_int_equal(vcpu_fault_gpa(vm_vcpu(f.vm[0], 1)), BLOCK);
	}
	/* A word, then machine checks (which leave what was there, 0), then nothing more. */
	for (u32 i = 3; i < f.program[0][1].pc && i < n; i++) {
		after |= t->results[i] != 5;
		assert_int_equal(t->results[i], after ? 0 : 5);
	}
	free(t);
	f.failed = 1;
	files_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scopes),	   cmocka_unit_test(test_nothing_there),
		cmocka_unit_test(test_in_1g_leaf),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_no_memory),
#endif
		cmocka_unit_test(test_under_load), cmocka_unit_test(test_reader_of_the_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
