/* SPDX-License-Identifier: MIT */
/* Pools of huge pages: every page and descriptor is accounted for, and refusals say what is missing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "host/hugetlb.h"

#define FRAMES_2M 512ULL
#define FRAMES_1G 262144ULL
/* 64-byte descriptors of 512 and 262,144 frames are 8 and 4096 pages, of which one stays. */
#define SAVED_2M 7ULL
#define SAVED_1G 4095ULL

static struct host *make_host(u64 bytes)
{
	struct host_config cfg = {.memory_bytes = bytes, .lps = 1};
	struct host *host;

	assert_int_equal(host_create(&cfg, &host), 0);
	return host;
}

static struct hugetlb_pool *make_pool(struct host *host, enum pg_level level, u64 nr,
				      bool optimised)
{
	struct hugetlb_pool *pool;
	u64 missing = 77;

	assert_int_equal(hugetlb_pool_create(host, level, nr, optimised, &pool, &missing), 0);
	assert_int_equal(missing, 0);
	return pool;
}

static void expect(struct hugetlb_pool *pool, u64 total, u64 free, u64 reserved, u64 broken)
{
	struct hugetlb_stats s = hugetlb_stats(pool);

	assert_int_equal(s.total, total);
	assert_int_equal(s.free, free);
	assert_int_equal(s.reserved, reserved);
	assert_int_equal(s.broken, broken);
}

/* A pool takes its pages from the host, and the host has them back when it ends. */
static void life(void **state)
{
	struct host *host = make_host(4 * SIZE_1G);
	struct hugetlb_pool *pool;

	(void)state;
	pool = make_pool(host, PG_LEVEL_1G, 3, true);
	assert_int_equal(hugetlb_level(pool), PG_LEVEL_1G);
	assert_int_equal(host->used[FRAME_HUGETLB], 3 * FRAMES_1G);
	expect(pool, 3, 3, 0, 0);
	hugetlb_pool_destroy(pool);
	assert_int_equal(host_frames_used(host), 0);
	pool = make_pool(host, PG_LEVEL_2M, 2048, false);
	assert_int_equal(hugetlb_level(pool), PG_LEVEL_2M);
	assert_int_equal(host->used[FRAME_HUGETLB], 2048 * FRAMES_2M);
	hugetlb_pool_destroy(pool);
	assert_int_equal(host_frames_used(host), 0);
	host_destroy(host);
}

/* A pool that the host has no room for isn't made, and says how many pages are missing. */
static void too_small_a_host(void **state)
{
	struct host *host = make_host(4 * SIZE_1G);
	struct hugetlb_pool *pool = NULL;
	u64 missing;
	pfn_t pfn;

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn), 0);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_1G, 5, true, &pool, &missing), -ENOMEM);
	assert_int_equal(missing, 2);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_2M, 2050, true, &pool, &missing),
			 -ENOMEM);
	assert_int_equal(missing, 3);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_1G, UINT64_MAX, true, &pool, &missing),
			 -ENOMEM);
	assert_int_equal(missing, UINT64_MAX - 3);
	assert_int_equal(host_frames_used(host), 1);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_4K, 1, true, &pool, &missing), -EINVAL);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_512G, 1, true, &pool, &missing),
			 -EINVAL);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_2M, 0, true, &pool, &missing), -EINVAL);
	assert_null(pool);
	host_free(host, pfn, PG_LEVEL_4K, FRAME_OTHER);
	host_destroy(host);
}

/* What is reserved is there for who reserved it and nobody else; the rest is first come. */
static void reservations(void **state)
{
	struct host *host = make_host(SIZE_1G);
	struct hugetlb_pool *pool = make_pool(host, PG_LEVEL_2M, 10, true);
	u64 missing;
	pfn_t pfn[10];

	(void)state;
	assert_int_equal(hugetlb_reserve(pool, 8, &missing), 0);
	assert_int_equal(missing, 0);
	assert_int_equal(hugetlb_reserve(pool, 5, &missing), -ENOMEM);
	assert_int_equal(missing, 3);
	expect(pool, 10, 10, 8, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(hugetlb_take(pool, false, &pfn[i]), 0);
	assert_int_equal(hugetlb_take(pool, false, &pfn[2]), -ENOMEM);
	for (int i = 2; i < 10; i++)
		assert_int_equal(hugetlb_take(pool, true, &pfn[i]), 0);
	expect(pool, 10, 0, 0, 0);
	assert_int_equal(host->used[FRAME_GUEST], 10 * FRAMES_2M);
	assert_int_equal(host->used[FRAME_HUGETLB], 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(pfn[i] % FRAMES_2M, 0);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(pfn[i], pfn[j]);
		hugetlb_put(pool, pfn[i], i >= 7);
	}
	expect(pool, 10, 10, 3, 0);
	hugetlb_unreserve(pool, 3);
	expect(pool, 10, 10, 0, 0);
	hugetlb_pool_destroy(pool);
	assert_int_equal(host_frames_used(host), 0);
	host_destroy(host);
}

/* Restoring costs 7 or 4095 frames that are written, and gives up that saving until the page is one again. */
static void descriptors(void **state)
{
	const struct {
		enum pg_level level;
		u64 saved;
	} kinds[] = {{PG_LEVEL_2M, SAVED_2M}, {PG_LEVEL_1G, SAVED_1G}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct host *host = make_host(4 * SIZE_1G);
		struct hugetlb_pool *pool = make_pool(host, kinds[i].level, 2, true);
		struct hugetlb_vmemmap pages;
		u64 saved = kinds[i].saved, dirty = 0;
		pfn_t pfn;

		assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, 2 * saved * PAGE_SIZE);
		assert_int_equal(hugetlb_take(pool, false, &pfn), 0);
		assert_int_equal(hugetlb_vmemmap_prealloc(pool, &pages), 0);
		assert_int_equal(pages.nr, saved);
		assert_int_equal(host->used[FRAME_VMEMMAP], saved);
		hugetlb_vmemmap_release(pool, &pages);
		assert_int_equal(host->used[FRAME_VMEMMAP], 0);

		assert_int_equal(hugetlb_vmemmap_prealloc(pool, &pages), 0);
		hugetlb_vmemmap_restore(pool, pfn, &pages);
		assert_int_equal(pages.nr, 0);
		for (pfn_t at = 0; at < host->nr_frames; at++)
			dirty += host_frame_is_dirty(host, at);
		assert_int_equal(dirty, saved);
		assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, saved * PAGE_SIZE);
		assert_int_equal(hugetlb_stats(pool).vmemmap_restored, saved);
		hugetlb_vmemmap_optimise(pool, pfn);
		assert_int_equal(host->used[FRAME_VMEMMAP], 0);
		assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, 2 * saved * PAGE_SIZE);

		/* A page that comes back as it is, or breaks, is optimised by that. */
		assert_int_equal(hugetlb_vmemmap_prealloc(pool, &pages), 0);
		hugetlb_vmemmap_restore(pool, pfn, &pages);
		hugetlb_put(pool, pfn, false);
		assert_int_equal(host->used[FRAME_VMEMMAP], 0);
		assert_int_equal(hugetlb_take(pool, false, &pfn), 0);
		assert_int_equal(hugetlb_vmemmap_prealloc(pool, &pages), 0);
		hugetlb_vmemmap_restore(pool, pfn, &pages);
		hugetlb_break(pool, pfn);
		assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, 2 * saved * PAGE_SIZE);
		assert_int_equal(hugetlb_stats(pool).vmemmap_restored, 3 * saved);
		assert_int_equal(host->used[FRAME_VMEMMAP], 0);
		hugetlb_pool_destroy(pool);
		host_destroy(host);
	}
}

/* A pool that isn't optimised saves nothing, and its pages never need anything. */
static void not_optimised(void **state)
{
	struct host *host = make_host(SIZE_1G);
	struct hugetlb_pool *pool = make_pool(host, PG_LEVEL_2M, 4, false);
	struct hugetlb_vmemmap pages;
	pfn_t pfn;

	(void)state;
	assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, 0);
	assert_int_equal(hugetlb_take(pool, false, &pfn), 0);
	assert_int_equal(hugetlb_vmemmap_prealloc(pool, &pages), 0);
	hugetlb_vmemmap_restore(pool, pfn, &pages);
	assert_int_equal(hugetlb_stats(pool).vmemmap_restored, 0);
	assert_int_equal(host->used[FRAME_VMEMMAP], 0);
	hugetlb_vmemmap_optimise(pool, pfn);
	hugetlb_put(pool, pfn, false);
	hugetlb_pool_destroy(pool);
	host_destroy(host);
}

/* A broken page is given to nobody, not by the pool nor, when that ends, by the host. */
static void broken_pages(void **state)
{
	struct host *host = make_host(2 * SIZE_1G);
	struct hugetlb_pool *pool = make_pool(host, PG_LEVEL_1G, 2, true);
	pfn_t bad, pfn;
	u64 missing;

	(void)state;
	assert_int_equal(hugetlb_take(pool, false, &bad), 0);
	hugetlb_break(pool, bad);
	expect(pool, 2, 1, 0, 1);
	assert_int_equal(host->used[FRAME_FAILED], FRAMES_1G);
	assert_int_equal(hugetlb_reserve(pool, 2, &missing), -ENOMEM);
	assert_int_equal(missing, 1);
	assert_int_equal(hugetlb_take(pool, false, &pfn), 0);
	assert_int_not_equal(pfn, bad);
	assert_int_equal(hugetlb_take(pool, false, &pfn), -ENOMEM);
	hugetlb_put(pool, pfn, false);
	hugetlb_pool_destroy(pool);
	assert_int_equal(host->used[FRAME_FAILED], FRAMES_1G);
	assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_OTHER, &pfn), 0);
	assert_int_not_equal(pfn, bad);
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn), -ENOMEM);
	host_destroy(host);
}

/* A 2M block that is divided comes back frame by frame, and is a whole block again in the end. */
static void dividing(void **state)
{
	struct host *host = make_host(SIZE_1G);
	pfn_t first, pfn, other;

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &first), 0);
	host_divide(host, first);
	for (u64 i = 0; i < FRAMES_2M; i++)
		if (i != 5)
			host_free(host, first + i, PG_LEVEL_4K, FRAME_GUEST);
	assert_int_equal(host_frames_used(host), 1);
	/* Its free frames are taken like any others, the one in use isn't. */
	for (u64 i = 0; i < FRAMES_2M - 1; i++) {
		assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn), 0);
		assert_in_range(pfn, first, first + FRAMES_2M - 1);
		assert_int_not_equal(pfn, first + 5);
	}
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &other), 0);
	assert_true(other < first || other >= first + FRAMES_2M);
	host_free(host, other, PG_LEVEL_4K, FRAME_OTHER);
	for (u64 i = 0; i < FRAMES_2M; i++)
		host_free(host, first + i, PG_LEVEL_4K, i == 5 ? FRAME_GUEST : FRAME_OTHER);
	assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_OTHER, &pfn), 0);
	host_destroy(host);
}

#ifdef SEPTUM_CHECK
/* Whichever allocation fails, nothing is held afterwards; a reserved page can't fail to come. */
static void failed_allocations(void **state)
{
	struct host *host = make_host(2 * SIZE_1G);
	struct hugetlb_pool *pool = NULL;
	struct hugetlb_vmemmap pages;
	u64 missing;
	pfn_t pfn;

	(void)state;
	for (u64 n = 1; n <= 5; n++) {
		host_fail_alloc_at(host, n);
		assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_2M, 5, true, &pool, &missing),
				 -ENOMEM);
		assert_int_equal(missing, 6 - n);
		assert_int_equal(host_frames_used(host), 0);
	}
	host_fail_alloc_at(host, 0);
	pool = make_pool(host, PG_LEVEL_2M, 5, true);
	for (u64 n = 1; n <= SAVED_2M; n++) {
		host_fail_alloc_at(host, n);
		assert_int_equal(hugetlb_vmemmap_prealloc(pool, &pages), -ENOMEM);
		assert_int_equal(pages.nr, 0);
		assert_int_equal(host->used[FRAME_VMEMMAP], 0);
	}
	host_fail_alloc_at(host, 1);
	assert_int_equal(hugetlb_reserve(pool, 1, &missing), 0);
	assert_int_equal(hugetlb_take(pool, true, &pfn), 0);
	hugetlb_put(pool, pfn, false);
	assert_int_equal(hugetlb_take(pool, false, &pfn), -ENOMEM);
	host_fail_alloc_at(host, 0);
	hugetlb_pool_destroy(pool);
	host_destroy(host);
}
#endif

#define MODEL_PAGES 24

struct model {
	bool optimised;
	pfn_t used[MODEL_PAGES];
	bool restored[MODEL_PAGES];
	u64 nr_used, reserved, broken, nr_restored;
};

static void model_remove(struct model *m, u64 i)
{
	m->nr_restored -= m->restored[i];
	m->nr_used--;
	m->used[i] = m->used[m->nr_used];
	m->restored[i] = m->restored[m->nr_used];
}

static bool model_step(struct model *m, struct hugetlb_pool *pool, struct rng *rng)
{
	u64 free = MODEL_PAGES - m->nr_used - m->broken, i, n, missing;
	struct hugetlb_vmemmap pages;
	bool flag = rng_below(rng, 2);
	pfn_t pfn;

	switch (rng_below(rng, 8)) {
	case 0:
		n = 1 + rng_below(rng, 6);
		if (!hugetlb_reserve(pool, n, &missing)) {
			m->reserved += n;
			return m->reserved <= free;
		}
		return n > free - m->reserved && missing == n - (free - m->reserved);
	case 1:
		n = rng_below(rng, m->reserved + 1);
		hugetlb_unreserve(pool, n);
		m->reserved -= n;
		return true;
	case 2:
	case 3:
		flag = flag && m->reserved;
		if (hugetlb_take(pool, flag, &pfn))
			return !flag && free == m->reserved;
		for (i = 0; i < m->nr_used; i++)
			if (m->used[i] == pfn)
				return false;
		m->restored[m->nr_used] = false;
		m->used[m->nr_used++] = pfn;
		m->reserved -= flag;
		return m->reserved <= free - 1;
	default:
		break;
	}
	if (!m->nr_used)
		return true;
	i = rng_below(rng, m->nr_used);
	switch (rng_below(rng, 16)) {
	case 0:
		if (m->broken == 4)
			return true;
		hugetlb_break(pool, m->used[i]);
		m->broken++;
		model_remove(m, i);
		return true;
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		hugetlb_put(pool, m->used[i], flag);
		m->reserved += flag;
		model_remove(m, i);
		return true;
	default:
		if (m->restored[i]) {
			hugetlb_vmemmap_optimise(pool, m->used[i]);
			m->restored[i] = false;
			m->nr_restored--;
		} else if (!hugetlb_vmemmap_prealloc(pool, &pages)) {
			hugetlb_vmemmap_restore(pool, m->used[i], &pages);
			m->restored[i] = m->optimised;
			m->nr_restored += m->optimised;
		}
		return true;
	}
}

/* total = free + in use + broken, reserved <= free, and every descriptor's frame is accounted for. */
static void against_model(void **state)
{
	const u64 seed = 3;

	(void)state;
	for (u64 optimised = 0; optimised < 2; optimised++) {
		struct host *host = make_host(SIZE_1G);
		struct hugetlb_pool *pool =
			make_pool(host, PG_LEVEL_2M, MODEL_PAGES, optimised != 0);
		struct model m = {.optimised = optimised != 0};
		struct rng rng;

		rng_init(&rng, seed);
		for (u32 step = 0; step < 20000; step++) {
			bool good = model_step(&m, pool, &rng);
			struct hugetlb_stats s = hugetlb_stats(pool);

			good = good && s.total == s.free + m.nr_used + s.broken &&
			       s.broken == m.broken && s.reserved == m.reserved &&
			       s.reserved <= s.free &&
			       host->used[FRAME_VMEMMAP] == m.nr_restored * SAVED_2M &&
			       host->used[FRAME_GUEST] == m.nr_used * FRAMES_2M &&
			       host->used[FRAME_HUGETLB] == s.free * FRAMES_2M &&
			       s.vmemmap_saved_bytes == (MODEL_PAGES - m.nr_restored) * SAVED_2M *
								PAGE_SIZE * optimised;
			if (!good)
				fail_msg("seed %llu step %u", (unsigned long long)seed, step);
		}
		while (m.nr_used) {
			hugetlb_put(pool, m.used[0], false);
			model_remove(&m, 0);
		}
		hugetlb_pool_destroy(pool);
		assert_int_equal(host_frames_used(host), m.broken * FRAMES_2M);
		host_destroy(host);
	}
}

/* 200 pages of 1G cost no memory but a few records: no frame is touched. */
static void large_pool(void **state)
{
	struct host *host = make_host(256 * SIZE_1G);
	struct hugetlb_pool *pool = make_pool(host, PG_LEVEL_1G, 200, true);

	(void)state;
	assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, 200 * SAVED_1G * PAGE_SIZE);
	assert_int_equal(host_first_dirty(host, 0, host->nr_frames), host->nr_frames);
	hugetlb_pool_destroy(pool);
	assert_int_equal(host_frames_used(host), 0);
	host_destroy(host);
}

static int setup(void **state)
{
	(void)state;
	sync_thread_enter();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life),
		cmocka_unit_test(too_small_a_host),
		cmocka_unit_test(reservations),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(not_optimised),
		cmocka_unit_test(broken_pages),
		cmocka_unit_test(dividing),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(failed_allocations),
#endif
		cmocka_unit_test(against_model),
		cmocka_unit_test(large_pool),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
