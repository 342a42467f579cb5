/* SPDX-License-Identifier: MIT */
/*
 * Two TDs on one file against a flat model of who owns which byte: random accepts, writes, conversions,
 * holes, failing memory, held pages, dirty tracking and promotions. Each page's word is what the model
 * says, from whichever side it may be reached, and unreachable from the other.
 */
#include <errno.h>
#include <stdio.h>

#include "base/rng.h"
#include "vm/files.h"
#include "vm/internal.h"

#define BLOCKS 6
#define PAGES (BLOCKS * 512)
#define STEPS 500
#define MAX_FAILURES 3

struct page {
	bool shared, accepted, failed;
	u32 pins;
	u64 value; /* of its first word; private: if accepted */
};

struct model {
	struct files f;
	struct rng rng;
	u64 seed;
	u32 step;
	struct page page[PAGES];
	u32 failures;
	u64 last; /* value written */
};

static void wrong(const struct model *m, const char *what, u64 page)
{
	fail_msg("seed %llu step %u: %s, page 0x%llx", (unsigned long long)m->seed, m->step, what,
		 (unsigned long long)page);
}

/* Both TDs see all of the file; as private memory a frame is one TD's, so blocks take turns. */
static u32 owner_of(u64 page)
{
	return page / 512 & 1;
}

static int perform(struct model *m, u32 vm, struct op op, u64 *result)
{
	const struct op ops[] = {op, STOP};
	u64 results[NR(ops)] = {0};
	int err = files_run(&m->f, vm, ops, results);

	*result = results[0];
	return err;
}

static u64 random_page(struct model *m)
{
	return rng_below(&m->rng, PAGES);
}

/* One page, a few, or many; often with an end on a block's. */
static void random_range(struct model *m, u64 *first, u64 *nr)
{
	*first = random_page(m);
	*nr = 1 + rng_below(&m->rng, rng_below(&m->rng, 4) ? 20 : 1500);
	if (!rng_below(&m->rng, 3))
		*first = ALIGN_DOWN(*first, 512);
	if (!rng_below(&m->rng, 3))
		*nr = ALIGN_UP(*nr, 512);
	*nr = min_u64(*nr, PAGES - *first);
}

/* ---- one page --------------------------------------------------------------------------------*/
static void accept_block(struct model *m, u64 page)
{
	u64 first = ALIGN_DOWN(page, 512), status;

	for (u64 i = first; i < first + 512; i++)
		if (m->page[i].shared || m->page[i].accepted || m->page[i].failed)
			return;
	if (perform(m, owner_of(page), (struct op)ACCEPT_AT(2M, fn_to_addr(first)), &status))
		wrong(m, "ACCEPT of a block ends the run", first);
	if (tdx_status_class(status) == TDX_PAGE_SIZE_MISMATCH)
		return;
	if (status != TDX_SUCCESS)
		wrong(m, "ACCEPT of a block fails", first);
	for (u64 i = first; i < first + 512; i++) {
		m->page[i].accepted = true;
		m->page[i].value = 0;
	}
}

/* All of a block that its owner hasn't accepted, page by page: a promoter may make it one leaf then. */
static void fill_block(struct model *m, u64 page)
{
	static struct op ops[513];
	static u64 results[513];
	u64 first = ALIGN_DOWN(page, 512);
	u32 n = 0;

	for (u64 i = first; i < first + 512; i++) {
		struct page *p = &m->page[i];

		if (p->shared || p->accepted || p->failed)
			continue;
		ops[n++] = (struct op)ACCEPT_AT(4K, fn_to_addr(i));
		p->accepted = true;
		p->value = 0;
	}
	ops[n] = (struct op)STOP;
	if (files_run(&m->f, owner_of(page), ops, results))
		wrong(m, "ACCEPT of many pages ends the run", first);
	for (u32 i = 0; i < n; i++)
		if (results[i] != TDX_SUCCESS)
			wrong(m, "ACCEPT of many pages", addr_to_fn(ops[i].gpa));
}

static void use_private(struct model *m, u64 i)
{
	struct page *p = &m->page[i];
	gpa_t gpa = fn_to_addr(i);
	u64 result = 0;
	int err;

	if (!p->accepted) {
		err = perform(m, owner_of(i), (struct op)ACCEPT_AT(4K, gpa), &result);
		if (err != (p->failed ? -EHWPOISON : 0) || result)
			wrong(m, "ACCEPT of a page", i);
		if (p->failed)
			return;
		p->accepted = true;
		p->value = 0;
	}
	err = perform(m, owner_of(i), (struct op)READ_AT(gpa), &result);
	if (err != (p->failed ? -EHWPOISON : 0) || (!err && result != p->value))
		wrong(m, "a private page's word", i);
	if (p->failed)
		return;
	p->value = ++m->last;
	if (perform(m, owner_of(i), (struct op)WRITE_AT(gpa, p->value), &result))
		wrong(m, "a write to a private page", i);
	if (perform(m, owner_of(i), (struct op)READ_AT(SHARED(gpa)), &result) != -EFAULT)
		wrong(m, "a private page can be reached as shared", i);
}

static void use_shared(struct model *m, u64 i)
{
	struct page *p = &m->page[i];
	gpa_t gpa = fn_to_addr(i);
	u32 vm = (u32)rng_below(&m->rng, 2);
	u64 result;
	int err = perform(m, vm, (struct op)READ_AT(SHARED(gpa)), &result);

	if (err != (p->failed ? -EHWPOISON : 0) || (!err && result != p->value))
		wrong(m, "a shared page's word", i);
	if (perform(m, vm, (struct op)READ_AT(gpa), &result) != -EFAULT)
		wrong(m, "a shared page can be reached as private", i);
	if (p->failed)
		return;
	if (gmem_host_read(m->f.file, gpa, &result, 1) || result != p->value)
		wrong(m, "a shared page's word for the host", i);
	p->value = ++m->last;
	if (perform(m, !vm, (struct op)WRITE_AT(SHARED(gpa), p->value), &result))
		wrong(m, "a write to a shared page", i);
}

static void use_page(struct model *m, u64 i)
{
	if (m->page[i].shared)
		use_shared(m, i);
	else
		use_private(m, i);
}

static void pin_page(struct model *m, u64 i)
{
	struct page *p = &m->page[i];

	if (p->pins && rng_below(&m->rng, 2)) {
		gmem_unpin(m->f.file, i);
		p->pins--;
	} else {
		int err = gmem_pin(m->f.file, i);

		if (err != (!p->shared ? -EFAULT : p->failed ? -EHWPOISON : 0))
			wrong(m, "who may hold a page", i);
		p->pins += !err;
	}
}

/* ---- ranges ----------------------------------------------------------------------------------*/
static void lose(struct page *p)
{
	p->accepted = false;
	p->value = 0;
}

static void convert(struct model *m, u64 first, u64 nr, bool shared)
{
	u64 result, expected;
	bool held = false;

	for (u64 i = first; i < first + nr; i++)
		held |= !shared && m->page[i].shared && m->page[i].pins;
#ifdef SEPTUM_CHECK
	host_fail_alloc_at(m->f.m.host, rng_below(&m->rng, 4) ? 0 : 1 + rng_below(&m->rng, 12));
#endif
	if (perform(m, (u32)rng_below(&m->rng, 2),
		    (struct op)MAP_GPA_AT(fn_to_addr(first) | (shared ? SHARED(0) : 0),
					  fn_to_addr(nr)),
		    &result))
		wrong(m, "MapGPA ends the run", first);
#ifdef SEPTUM_CHECK
	host_fail_alloc_at(m->f.m.host, 0);
	expected = result == VM_HC_RETRY ? VM_HC_RETRY : 0;
#else
	expected = 0;
#endif
	if (result != (held ? VM_HC_RETRY : expected))
		wrong(m, "MapGPA's answer", first);
	for (u64 i = first; !result && i < first + nr; i++) {
		if (m->page[i].shared == shared)
			continue;
		m->page[i].shared = shared;
		lose(&m->page[i]);
	}
}

static void convert_some(struct model *m)
{
	u64 first, nr;

	random_range(m, &first, &nr);
	convert(m, first, nr, rng_below(&m->rng, 2));
}

/* A block that is all private and accepted, if nobody holds a page of it and memory suffices. */
static void restore_block(struct model *m, u64 page)
{
	convert(m, ALIGN_DOWN(page, 512), 512, false);
	fill_block(m, page);
}

static bool is_failed(struct model *m, u64 i)
{
	return gmem_folio_level(m->f.file, i) != PG_LEVEL_NONE &&
	       gmem_leaf_level(m->f.file, i) == PG_LEVEL_NONE;
}

static void punch(struct model *m)
{
	u64 first, nr, result;
	bool held = false;

	random_range(m, &first, &nr);
	for (u64 i = first; i < first + nr; i++)
		held |= m->page[i].pins != 0;
	if (perform(m, (u32)rng_below(&m->rng, 2),
		    (struct op)DISCARD_AT(fn_to_addr(first), fn_to_addr(nr)), &result))
		wrong(m, "a hole ends the run", first);
	if (result != (held ? (u64)-EAGAIN : 0))
		wrong(m, "a hole's answer", first);
	for (u64 i = first; !result && i < first + nr; i++) {
		lose(&m->page[i]);
		/* New memory comes where all of a huge page has gone. */
		m->page[i].failed = m->page[i].failed && is_failed(m, i);
	}
}

static void fail_one(struct model *m, u64 i)
{
	bool is_backed = gmem_folio_level(m->f.file, i) != PG_LEVEL_NONE;

	if (m->failures >= MAX_FAILURES || m->page[i].failed)
		return;
	m->failures++;
	if (vm_memory_failure(m->f.vm[rng_below(&m->rng, 2)], fn_to_addr(i)))
		wrong(m, "memory failure's answer", i);
	m->page[i].failed = is_backed;
}

static void track(struct model *m)
{
	u64 first, nr;

	random_range(m, &first, &nr);
	if (vm_track_dirty(m->f.vm[rng_below(&m->rng, 2)], first, nr))
		wrong(m, "dirty tracking", first);
}

/* ---- all of it -------------------------------------------------------------------------------*/
/* Every word that somebody can reach, from each VM that can. */
static void read_all(struct model *m, u32 vm)
{
	static struct op ops[PAGES + 1];
	static u64 results[PAGES + 1], pages[PAGES];
	u32 n = 0;

	for (u64 i = 0; i < PAGES; i++) {
		const struct page *p = &m->page[i];

		if (p->failed || (!p->shared && (!p->accepted || owner_of(i) != vm)))
			continue;
		pages[n] = i;
		ops[n++] = (struct op)READ_AT(fn_to_addr(i) | (p->shared ? SHARED(0) : 0));
	}
	ops[n] = (struct op)STOP;
	if (files_run(&m->f, vm, ops, results))
		wrong(m, "a read of all pages ends", pages[m->f.program[vm][0].pc]);
	for (u32 i = 0; i < n; i++)
		if (results[i] != m->page[pages[i]].value)
			wrong(m, "a page's word, at last", pages[i]);
	assert_int_equal(m->f.program[vm][0].mces, 0);
}

static void check_all(struct model *m)
{
	char why[200] = "";

	for (u32 vm = 0; vm < 2; vm++)
		if (vm_why_dead(m->f.vm[vm]))
			fail_msg("seed %llu step %u: %s", (unsigned long long)m->seed, m->step,
				 vm_why_dead(m->f.vm[vm]));
	if (check_vms(&m->f.m, m->f.vm, 2, why, sizeof(why)))
		fail_msg("seed %llu step %u: %s", (unsigned long long)m->seed, m->step, why);
	for (u64 i = 0; i < PAGES; i++) {
		if (gmem_is_private(m->f.file, i) == m->page[i].shared)
			wrong(m, "the attribute", i);
		if (is_failed(m, i) != m->page[i].failed)
			wrong(m, "failed or not", i);
	}
}

static void step(struct model *m)
{
	u64 page = random_page(m), kind = rng_below(&m->rng, 100);

	if (kind < 30)
		use_page(m, page);
	else if (kind < 45)
		restore_block(m, page);
	else if (kind < 50)
		accept_block(m, page);
	else if (kind < 75)
		convert_some(m);
	else if (kind < 83)
		punch(m);
	else if (kind < 91)
		pin_page(m, page);
	else if (kind < 92)
		fail_one(m, page);
	else if (kind < 96)
		track(m);
	else
		check_all(m);
}

static void run_model(const struct files_config *c, u64 seed)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->seed = seed;
	rng_init(&m->rng, seed);
	files_up(&m->f, c);
	for (m->step = 0; m->step < STEPS; m->step++)
		step(m);
	check_all(m);
	for (u32 vm = 0; vm < 2; vm++)
		read_all(m, vm);
	for (u64 i = 0; i < PAGES; i++)
		for (; m->page[i].pins; m->page[i].pins--)
			gmem_unpin(m->f.file, i);
	m->f.failed = FILES_ANY_FAILED;
	files_down(&m->f);
	free(m);
}

/* For every backing, folio policy and form, and ways to split and promote that change with them. */
static void test_model(void **state)
{
	(void)state;
	for (u32 i = 0; i < 24; i++) {
		enum gmem_backing backing = (enum gmem_backing)(i % 4);
		bool is_1g = backing == GMEM_HUGETLB_1G;
		struct files_config c = files_config(backing, is_1g ? GB : PAGES * PAGE_SIZE);

		c.nr_vms = 2;
		c.vmemmap = i / 4 & 1;
		c.dynamic_pamt = !(i / 4 & 1);
		c.spare_pages = is_1g ? 2 : 2 * MAX_FAILURES;
		c.machine_bytes = is_1g ? 4 * GB : GB;
		c.file.folio_split = i / 8 & 1 ? GMEM_SPLIT_UNIFORM : GMEM_SPLIT_NONUNIFORM;
		c.file.folio_refs = i / 4 % 3 == 2 ? GMEM_REFS_COUNTED : GMEM_REFS_SPLIT;
		c.file.mapping_form = i / 4 % 3 == 1 ? GMEM_FORM_FOLIO : GMEM_FORM_ORIGINAL;
		c.file.restructure = i / 4 % 3 ? GMEM_RESTRUCTURE_PREALLOC : GMEM_RESTRUCTURE_LATE;
		if (c.file.mapping_form == GMEM_FORM_ORIGINAL &&
		    c.file.restructure == GMEM_RESTRUCTURE_PREALLOC)
			c.file.convert_order = (enum gmem_convert_order)(i / 8);
		c.vm.promote = i / 4 & 1 ? VM_PROMOTE_NOW : VM_PROMOTE_OFF;
		c.vm.split_where = (enum mmu_split_where)(i / 4 % 3);
		c.vm.split_metadata = (enum mmu_split_metadata)(i / 8);
		c.vm.mapping_check = (enum vm_mapping_check)(i / 4 % 2);
		run_model(&c, 100 + i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
