/* SPDX-License-Identifier: MIT */
/*
 * Random sequences of faults, conversions, holds, holes and failing memory, by several VMs on one
 * file in every configuration, against a flat model of who owns which byte. What the model says
 * comes from the rules; nothing of it asks the file.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "gmem/fake.h"

#define MAX_PINS 24

struct model {
	struct fake_world w;
	struct host *host;
	struct rng rng;
	u64 seed;
	u32 step;
	u64 unit; /* pages of a huge page */
	bool *private, *failed;
	u32 *pins; /* of each page */
	u64 pinned[MAX_PINS];
	u32 nr_pins;
	bool has_failed; /* some page, ever: a pool may run dry */
};

static int setup(void **state)
{
	(void)state;
	sync_thread_enter();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sync_rcu_barrier();
	sync_thread_leave();
	return 0;
}

#define CHECK(m, cond)                                                                   \
	do {                                                                             \
		if (!(cond))                                                             \
			fail_msg("seed %llu step %u: %s", (unsigned long long)(m)->seed, \
				 (m)->step, #cond);                                      \
	} while (0)

static u64 below(struct model *m, u64 bound)
{
	return rng_below(&m->rng, bound);
}

/* A range: mostly a few pages, now and then whole huge pages, or any. */
static void any_range(struct model *m, u64 *index, u64 *nr)
{
	u64 n = m->w.nr_pages;

	*index = below(m, n);
	switch (below(m, 8)) {
	case 0:
		*nr = 1 + below(m, n - *index);
		break;
	case 1:
		*index = ALIGN_DOWN(*index, m->unit);
		*nr = min_u64(m->unit * (1 + below(m, 2)), n - *index);
		break;
	case 2:
		*index = ALIGN_DOWN(*index, 512);
		*nr = min_u64(512, n - *index);
		break;
	default:
		*nr = min_u64(1 + below(m, 20), n - *index);
	}
}

/* ---- failures on demand ----------------------------------------------------------------------*/
static bool inject(struct model *m)
{
	struct fake *c = &m->w.client[below(m, m->w.nr_clients)];
	bool injected = false;

	if (!below(m, 4)) {
		c->fail_call = c->calls + 1 + (u32)below(m, 4);
		injected = true;
	}
#ifdef SEPTUM_CHECK
	if (!below(m, 4)) {
		host_fail_alloc_at(m->host, 1 + below(m, 30));
		injected = true;
	}
#endif
	return injected;
}

static void inject_nothing(struct model *m)
{
	for (u32 i = 0; i < m->w.nr_clients; i++)
		m->w.client[i].fail_call = 0;
#ifdef SEPTUM_CHECK
	host_fail_alloc_at(m->host, 0);
#endif
}

static u64 zapped(const struct model *m)
{
	u64 sum = 0;

	for (u32 i = 0; i < m->w.nr_clients; i++)
		sum += m->w.client[i].zapped;
	return sum;
}

/* ---- one step --------------------------------------------------------------------------------*/

/* What using the page at @index must give; a pool that lost pages may have no more. */
static void check_use(struct model *m, u64 index, int err)
{
	if (m->failed[index])
		CHECK(m, err == -EHWPOISON);
	else
		CHECK(m, !err || (err == -ENOMEM && m->has_failed));
}

static void step_fault(struct model *m)
{
	struct fake *c = &m->w.client[below(m, m->w.nr_clients)];
	u64 index = c->index + below(m, c->nr);
	int err;

	if (m->private[index] && !c->hkid)
		return;
	err = fake_fault(c, index);
	check_use(m, index, err);
	if (err)
		return;
	for (u64 nr = pages_per_level(fake_level(c, index)), i = ALIGN_DOWN(index, nr), n = 0;
	     n < nr; n++)
		CHECK(m, !m->failed[i + n]);
	CHECK(m, fake_read(c, index) == m->w.value[index]);
	fake_write(c, index, m->seed << 32 | (m->step + 1));
}

static void step_host_write(struct model *m)
{
	u64 index = below(m, m->w.nr_pages), value = ~(u64)m->step;
	int err = gmem_host_write(m->w.file, fn_to_addr(index), &value, 1);

	if (m->private[index]) {
		CHECK(m, err == -EFAULT);
		return;
	}
	check_use(m, index, err);
	if (!err)
		m->w.value[index] = value;
}

static u64 first_pin(const struct model *m, u64 index, u64 nr)
{
	u64 end = index + nr;

	while (index < end && !m->pins[index])
		index++;
	return index;
}

/* What changes sides holds nothing afterwards. */
static void model_convert(struct model *m, u64 index, u64 nr, bool to_private)
{
	for (u64 i = index; i < index + nr; i++) {
		if (m->private[i] != to_private)
			m->w.value[i] = 0;
		m->private[i] = to_private;
	}
}

static void step_convert(struct model *m)
{
	u64 index, nr, pin, before = zapped(m);
	bool to_private = below(m, 2), injected = inject(m), may_lose;
	struct gmem_set_attributes arg = {0};
	int err;

	any_range(m, &index, &nr);
	arg.offset = fn_to_addr(index);
	arg.size = fn_to_addr(nr);
	arg.attributes = to_private ? GMEM_ATTRIBUTE_PRIVATE : 0;
	pin = to_private ? first_pin(m, index, nr) : index + nr;
	err = gmem_set_attributes(m->w.file, &arg);
	inject_nothing(m);
	CHECK(m, err != -EAGAIN || (pin < index + nr && arg.error_offset == fn_to_addr(pin)));
	CHECK(m, pin == index + nr || err == -EAGAIN || (err == -ENOMEM && injected));
	CHECK(m, !err || err == -EAGAIN || (err == -ENOMEM && injected));
	may_lose = m->w.cfg.restructure == GMEM_RESTRUCTURE_LATE &&
		   m->w.cfg.convert_order == GMEM_ORDER_ZAP_FOLIO && !to_private;
	if (!err)
		model_convert(m, index, nr, to_private);
	else
		CHECK(m, zapped(m) == before || may_lose);
}

static void step_pin(struct model *m)
{
	u64 index = below(m, m->w.nr_pages);
	int err;

	if (m->nr_pins == MAX_PINS)
		return;
	err = gmem_pin(m->w.file, index);
	if (m->private[index]) {
		CHECK(m, err == -EFAULT);
		return;
	}
	check_use(m, index, err);
	if (err)
		return;
	m->pins[index]++;
	m->pinned[m->nr_pins++] = index;
}

static void step_unpin(struct model *m)
{
	u32 which;

	if (!m->nr_pins)
		return;
	which = (u32)below(m, m->nr_pins);
	gmem_unpin(m->w.file, m->pinned[which]);
	m->pins[m->pinned[which]]--;
	m->pinned[which] = m->pinned[--m->nr_pins];
}

/* Contents go; memory that failed goes with its huge page, if all of that goes. */
static void model_punch(struct model *m, u64 index, u64 nr)
{
	for (u64 i = index; i < index + nr; i++) {
		u64 first = ALIGN_DOWN(i, m->unit);

		m->w.value[i] = 0;
		if (first >= index && first + m->unit <= index + nr)
			m->failed[i] = false;
	}
}

static void step_punch(struct model *m)
{
	u64 index, nr, before = zapped(m);
	bool injected = inject(m);
	int err;

	any_range(m, &index, &nr);
	err = gmem_punch_hole(m->w.file, index, nr);
	inject_nothing(m);
	CHECK(m, (err == -EAGAIN) == (first_pin(m, index, nr) < index + nr));
	CHECK(m, !err || err == -EAGAIN || (err == -ENOMEM && injected));
	if (!err)
		model_punch(m, index, nr);
	else
		CHECK(m, zapped(m) == before);
}

static void step_fail(struct model *m)
{
	u64 index = below(m, m->w.nr_pages), first = index, nr = 1;
	bool there = gmem_folio_level(m->w.file, index) != PG_LEVEL_NONE;
	bool injected = inject(m);
	int err = gmem_memory_failure(m->w.file, index);

	inject_nothing(m);
	CHECK(m, !err || injected);
	if (!there || m->failed[index])
		return;
	if (err || m->w.cfg.failure_scope == GMEM_FAILURE_FOLIO) {
		first = ALIGN_DOWN(index, m->unit);
		nr = m->unit;
	}
	memset(&m->failed[first], true, nr);
	m->has_failed = true;
}

static void step(struct model *m)
{
	u64 dice = below(m, 200);

	if (dice < 80)
		step_fault(m);
	else if (dice < 105)
		step_host_write(m);
	else if (dice < 155)
		step_convert(m);
	else if (dice < 170)
		step_pin(m);
	else if (dice < 185)
		step_unpin(m);
	else if (dice < 198)
		step_punch(m);
	else
		step_fail(m);
}

/* ---- what must hold after each ---------------------------------------------------------------*/
static bool any(const bool *flags, bool wanted, u64 first, u64 nr)
{
	return memchr(&flags[first], wanted, nr);
}

/* The size of the folio of a page that exists: a rule of attributes and failures alone. */
static enum pg_level folio_by_rule(const struct model *m, u64 index)
{
	u64 unit = ALIGN_DOWN(index, m->unit), block = ALIGN_DOWN(index, 512);
	enum pg_level level = m->unit == 1     ? PG_LEVEL_4K
			      : m->unit == 512 ? PG_LEVEL_2M
					       : PG_LEVEL_1G;

	if (m->unit > 1 && m->w.cfg.folio_refs == GMEM_REFS_SPLIT &&
	    any(m->private, false, unit, m->unit)) {
		bool small = m->w.cfg.folio_split == GMEM_SPLIT_UNIFORM ||
			     any(m->private, false, block, 512);

		level = small ? PG_LEVEL_4K : PG_LEVEL_2M;
	}
	if (level > PG_LEVEL_2M && any(m->failed, true, unit, m->unit))
		level = PG_LEVEL_2M;
	if (level > PG_LEVEL_4K && any(m->failed, true, block, 512))
		level = PG_LEVEL_4K;
	return level;
}

static void check_layout(struct model *m)
{
	struct gmem_stats stats = gmem_stats(m->w.file);
	u64 ranges = 1, frames = 0;

	for (u64 i = 0; i < 8; i++) {
		u64 index = below(m, m->w.nr_pages);
		enum pg_level level = gmem_folio_level(m->w.file, index);

		CHECK(m, gmem_is_private(m->w.file, index) == m->private[index]);
		CHECK(m, level == PG_LEVEL_NONE || level == folio_by_rule(m, index));
	}
	for (u64 i = 1; i < m->w.nr_pages; i++)
		ranges += m->private[i] != m->private[i - 1];
	CHECK(m, gmem_nr_ranges(m->w.file) == ranges);
	for (enum pg_level level = PG_LEVEL_4K; level <= PG_LEVEL_1G; level++)
		frames += stats.folios[level] * pages_per_level(level);
	CHECK(m, stats.frames == frames);
	CHECK(m, stats.huge_pages * m->unit == frames);
	CHECK(m, gmem_frames(m->w.file) == frames);
}

/* ---- a run -----------------------------------------------------------------------------------*/
static struct gmem_config any_config(struct model *m, enum gmem_backing backing)
{
	return (struct gmem_config){
		.size = backing == GMEM_HUGETLB_1G ? 2 * SIZE_1G : 4 * SIZE_2M,
		.backing = backing,
		.init_shared = !below(m, 4),
		.folio_split = (enum gmem_folio_split)below(m, 2),
		.folio_refs = (enum gmem_folio_refs)(below(m, 4) == 0),
		.restructure = (enum gmem_restructure)below(m, 2),
		.convert_order = (enum gmem_convert_order)below(m, 3),
		.mapping_form = (enum gmem_mapping_form)below(m, 2),
		.failure_scope = (enum gmem_failure_scope)below(m, 2),
	};
}

/*
 * Two VMs with a part of the file each, whose seam lies anywhere, and one that sees what is
 * shared.
 */
static void bind_all(struct model *m)
{
	u64 seam = m->w.nr_pages / 2 + below(m, 700) - 350;

	fake_bind(&m->w, "a", 0, seam, 32);
	fake_bind(&m->w, "b", seam, m->w.nr_pages - seam, 33);
	fake_bind(&m->w, "c", 5, m->w.nr_pages - 100, 0);
}

static void begin(struct model *m, u64 seed, enum gmem_backing backing)
{
	struct host_config host_cfg = {.memory_bytes = 4 * SIZE_1G, .lps = 1};
	bool hugetlb = backing == GMEM_HUGETLB_2M || backing == GMEM_HUGETLB_1G;
	struct gmem_config cfg;
	u64 missing;

	memset(m, 0, sizeof(*m));
	m->seed = seed;
	rng_init(&m->rng, seed);
	assert_int_equal(host_create(&host_cfg, &m->host), 0);
	cfg = any_config(m, backing);
	m->unit = backing == GMEM_4K ? 1 : backing == GMEM_HUGETLB_1G ? 262144 : 512;
	if (hugetlb)
		assert_int_equal(hugetlb_pool_create(m->host,
						     m->unit == 512 ? PG_LEVEL_2M : PG_LEVEL_1G,
						     addr_to_fn(cfg.size) / m->unit, below(m, 2),
						     &cfg.pool, &missing),
				 0);
	fake_world_init(&m->w, m->host, &cfg);
	m->private = malloc(m->w.nr_pages);
	m->failed = calloc(m->w.nr_pages, 1);
	m->pins = calloc(m->w.nr_pages, sizeof(*m->pins));
	assert_true(m->private && m->failed && m->pins);
	memset(m->private, !cfg.init_shared, m->w.nr_pages);
	bind_all(m);
}

/* Row 92: what is held when the file closes goes with the last reference, all else at once. */
static void finish(struct model *m)
{
	struct gmem_file *file = m->w.file;
	struct hugetlb_pool *pool = m->w.cfg.pool;

	fake_world_exit(&m->w);
	while (m->nr_pins)
		gmem_unpin(file, m->pinned[--m->nr_pins]);
	if (pool) {
		struct hugetlb_stats stats = hugetlb_stats(pool);

		CHECK(m, stats.free + stats.broken == stats.total);
		CHECK(m, stats.reserved == 0);
		CHECK(m, m->has_failed || stats.broken == 0);
		hugetlb_pool_destroy(pool);
	}
	CHECK(m, m->has_failed || host_frames_used(m->host) == 0);
	free(m->private);
	free(m->failed);
	free(m->pins);
	sync_rcu_barrier();
	host_destroy(m->host);
}

static void run(u64 seed, enum gmem_backing backing, u32 steps, u64 stride)
{
	struct model *m = malloc(sizeof(*m));

	assert_non_null(m);
	begin(m, seed, backing);
	for (m->step = 0; m->step < steps; m->step++) {
		step(m);
		fake_check(&m->w);
		check_layout(m);
		if (m->step % 32 == 31)
			fake_check_contents(&m->w, stride);
	}
	finish(m);
	free(m);
}

/* 4K pages: each is a huge page of its own, so nothing is ever split or rounded. */
static void test_small_pages(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 6; seed++)
		run(seed, GMEM_4K, 400, 1);
}

/* 2M pages of the host's own. */
static void test_thp(void **state)
{
	(void)state;
	for (u64 seed = 101; seed <= 120; seed++)
		run(seed, GMEM_THP, 400, 1);
}

/* 2M pages of a pool, which has them all back at the end, or knows which are broken. */
static void test_hugetlb_2m(void **state)
{
	(void)state;
	for (u64 seed = 201; seed <= 230; seed++)
		run(seed, GMEM_HUGETLB_2M, 400, 1);
}

/* 1G pages: two levels of folios and of leaves. */
static void test_hugetlb_1g(void **state)
{
	(void)state;
	for (u64 seed = 301; seed <= 312; seed++)
		run(seed, GMEM_HUGETLB_1G, 120, 1009);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_pages),
		cmocka_unit_test(test_thp),
		cmocka_unit_test(test_hugetlb_2m),
		cmocka_unit_test(test_hugetlb_1g),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
