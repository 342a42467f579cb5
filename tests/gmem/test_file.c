/* SPDX-License-Identifier: MIT */
/* Folios of a memory file: where they come from, how large they are, when they go. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "gmem/gmem.h"

#define SIZE_16T (16ULL << 40)
#define FRAMES_2M 512ULL

static struct host *host;

static int setup(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};

	(void)state;
	sync_thread_enter();
	return host_create(&cfg, &host);
}

static int teardown(void **state)
{
	u64 used = host_frames_used(host);

	(void)state;
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return used != 0;
}

static struct gmem_file *make_file(u64 pages, enum gmem_backing backing)
{
	struct gmem_config cfg = {.size = fn_to_addr(pages), .backing = backing};
	struct gmem_file *f;

	assert_int_equal(gmem_create(host, &cfg, &f), 0);
	return f;
}

static pfn_t get(struct gmem_file *f, u64 index, enum pg_level *level)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_pfn(f, index, &pfn, level), 0);
	return pfn;
}

/* Takes 2M frames of the host until @left are free; gives back how many it took. */
static u32 take_huge_frames(pfn_t taken[512], u32 left)
{
	u32 n = 0;

	while (n < 512 && !host_alloc(host, PG_LEVEL_2M, FRAME_OTHER, &taken[n]))
		n++;
	for (; left; left--)
		host_free(host, taken[--n], PG_LEVEL_2M, FRAME_OTHER);
	return n;
}

static void return_huge_frames(pfn_t taken[512], u32 n)
{
	while (n)
		host_free(host, taken[--n], PG_LEVEL_2M, FRAME_OTHER);
}

/* What doesn't fit together is no file: sizes, pools, and what no option is called. */
static void test_bad_config(void **state)
{
	struct gmem_config bad[] = {
		{.size = 0},
		{.size = 4097},
		{.size = SIZE_2M, .backing = GMEM_HUGETLB_2M},
		{.size = SIZE_2M, .backing = (enum gmem_backing)7},
		{.size = SIZE_2M, .mapping_form = (enum gmem_mapping_form)2},
		{.size = SIZE_2M, .failure_scope = (enum gmem_failure_scope)2},
		{.size = SIZE_2M, .folio_split = (enum gmem_folio_split)2},
		{.size = SIZE_2M, .folio_refs = (enum gmem_folio_refs)2},
		{.size = SIZE_2M, .restructure = (enum gmem_restructure)2},
		{.size = SIZE_2M, .convert_order = (enum gmem_convert_order)3},
	};
	struct hugetlb_pool *pool;
	struct gmem_file *f;
	u64 missing;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(gmem_create(host, &bad[i], &f), -EINVAL);
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_2M, 2, true, &pool, &missing), 0);
	bad[0] = (struct gmem_config){.size = SIZE_2M, .backing = GMEM_THP, .pool = pool};
	bad[1] = (struct gmem_config){.size = SIZE_1G, .backing = GMEM_HUGETLB_1G, .pool = pool};
	bad[2] = (struct gmem_config){.size = SIZE_4K, .backing = GMEM_HUGETLB_2M, .pool = pool};
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(gmem_create(host, &bad[i], &f), -EINVAL);
	/* A pool that is too small, and one that is just large enough. */
	bad[2].size = 3 * SIZE_2M;
	assert_int_equal(gmem_create(host, &bad[2], &f), -ENOMEM);
	bad[2].size = 2 * SIZE_2M;
	assert_int_equal(gmem_create(host, &bad[2], &f), 0);
	assert_int_equal(hugetlb_stats(pool).reserved, 2);
	gmem_release(f);
	assert_int_equal(hugetlb_stats(pool).reserved, 0);
	hugetlb_pool_destroy(pool);
}

/* An untouched file holds no frame; the first access of a 2M block takes 512 of them, the rest none. */
static void test_huge_folio_on_first_use(void **state)
{
	struct gmem_file *f = make_file(2048, GMEM_THP);
	enum pg_level level;
	pfn_t pfn;

	(void)state;
	assert_int_equal(gmem_size(f), 2048 * 4096);
	assert_int_equal(gmem_frames(f), 0);
	pfn = get(f, 700, &level);
	assert_int_equal(level, PG_LEVEL_2M);
	assert_int_equal(pfn % FRAMES_2M, 700 % FRAMES_2M);
	assert_int_equal(gmem_frames(f), 512);
	assert_int_equal(host_frames_used(host), 512);
	for (u64 i = 512; i < 1024; i++) {
		assert_int_equal(get(f, i, &level), pfn - 700 + i);
		assert_int_equal(level, PG_LEVEL_2M);
	}
	assert_int_equal(gmem_frames(f), 512);
	gmem_release(f);
	assert_int_equal(host_frames_used(host), 0);
}

/* 4K backing gives 4K folios, one by one. */
static void test_small_backing(void **state)
{
	struct gmem_file *f = make_file(1024, GMEM_4K);
	enum pg_level level;
	pfn_t a = get(f, 3, &level), b;

	(void)state;
	assert_int_equal(level, PG_LEVEL_4K);
	assert_int_equal(gmem_frames(f), 1);
	b = get(f, 4, &level);
	assert_int_not_equal(a, b);
	assert_int_equal(gmem_frames(f), 2);
	assert_int_equal(get(f, 3, &level), a);
	gmem_release(f);
}

/* A 2M block that sticks out of the file has 4K folios; past the end there is nothing. */
static void test_partial_last_block(void **state)
{
	struct gmem_file *f = make_file(512 + 511, GMEM_THP);
	enum pg_level level;
	pfn_t pfn;

	(void)state;
	get(f, 511, &level);
	assert_int_equal(level, PG_LEVEL_2M);
	get(f, 1022, &level);
	assert_int_equal(level, PG_LEVEL_4K);
	assert_int_equal(gmem_get_pfn(f, 1023, &pfn, &level), -EINVAL);
	assert_int_equal(gmem_get_pfn(f, UINT64_MAX, &pfn, &level), -EINVAL);
	assert_int_equal(gmem_frames(f), 513);
	/* nothing may be mapped there, and nothing reach over the end */
	assert_int_equal(gmem_get_pfn(f, 1022, &pfn, &level), 0);
	assert_int_equal(gmem_leaf_level(f, 1022), PG_LEVEL_4K);
	assert_true(gmem_check_mapping(f, 1022, pfn, PG_LEVEL_4K));
	assert_false(gmem_check_mapping(f, 1022, pfn + 1, PG_LEVEL_4K));
	assert_false(gmem_check_mapping(f, 512, pfn, PG_LEVEL_2M));
	assert_int_equal(gmem_leaf_level(f, 1023), PG_LEVEL_NONE);
	assert_false(gmem_check_mapping(f, 1023, pfn, PG_LEVEL_4K));
	assert_true(gmem_is_private(f, 1022));
	assert_false(gmem_is_private(f, 1023));
	assert_true(gmem_is_uniform(f, 512, 511));
	assert_false(gmem_is_uniform(f, 512, 512));
	gmem_release(f);
}

/* Without a free 2M frame the block falls back to 4K; without any frame it is -ENOMEM. */
static void test_fall_back_and_exhaustion(void **state)
{
	struct gmem_file *f = make_file(SIZE_1G / PAGE_SIZE, GMEM_THP);
	pfn_t taken[512], loose, pfn;
	enum pg_level level;
	u32 n = take_huge_frames(taken, 2);

	(void)state;
	/* One page gone: of the two free 2M frames one is whole. */
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &loose), 0);
	get(f, 0, &level);
	assert_int_equal(level, PG_LEVEL_2M);
	for (u64 i = 0; i < 511; i++) {
		get(f, 512 + i, &level);
		assert_int_equal(level, PG_LEVEL_4K);
	}
	assert_int_equal(gmem_get_pfn(f, 512 + 511, &pfn, &level), -ENOMEM);
	assert_int_equal(gmem_get_pfn(f, 2048, &pfn, &level), -ENOMEM);
	assert_int_equal(gmem_frames(f), 512 + 511);
	/* What is there stays there, and the missing page comes once a frame is free. */
	get(f, 600, &level);
	host_free(host, loose, PG_LEVEL_4K, FRAME_OTHER);
	get(f, 512 + 511, &level);
	gmem_release(f);
	return_huge_frames(taken, n);
	assert_int_equal(host_frames_used(host), 0);
}

/* A hole of whole folios gives their frames back; the others keep theirs. */
static void test_punch(void **state)
{
	struct gmem_file *f = make_file(2048, GMEM_THP);
	enum pg_level level;
	pfn_t keep;

	(void)state;
	get(f, 0, &level);
	get(f, 512, &level);
	keep = get(f, 1024, &level);
	assert_int_equal(gmem_punch_hole(f, 0, 1024), 0);
	assert_int_equal(gmem_frames(f), 512);
	assert_int_equal(get(f, 1024, &level), keep);
	assert_int_equal(gmem_punch_hole(f, 0, 1024), 0);
	get(f, 5, &level);
	assert_int_equal(level, PG_LEVEL_2M);
	gmem_release(f);
}

/* Bad ranges are -EINVAL, and nothing goes. */
static void test_punch_refused(void **state)
{
	struct gmem_file *f = make_file(2048, GMEM_THP);
	enum pg_level level;

	(void)state;
	get(f, 512, &level);
	assert_int_equal(gmem_punch_hole(f, 0, 0), -EINVAL);
	assert_int_equal(gmem_punch_hole(f, 512, 0), -EINVAL);
	assert_int_equal(gmem_punch_hole(f, 0, 2049), -EINVAL);
	assert_int_equal(gmem_punch_hole(f, 2048, 1), -EINVAL);
	assert_int_equal(gmem_punch_hole(f, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(gmem_frames(f), 512);
	gmem_release(f);
}

/* A hole that cuts a 2M folio zeroes the pages inside and leaves the folio; whole ones go. */
static void test_punch_inside_folio(void **state)
{
	struct gmem_file *f = make_file(2048, GMEM_THP);
	enum pg_level level;
	pfn_t first[3];

	(void)state;
	for (u64 i = 0; i < 3; i++) {
		first[i] = get(f, i * 512, &level);
		for (u64 page = 0; page < 512; page++)
			assert_int_equal(
				host_write(host, fn_to_addr(first[i] + page), 0, &(u64){77}, 1), 0);
	}
	/* [500, 1034): the end of the first folio, the second, the beginning of the third. */
	assert_int_equal(gmem_punch_hole(f, 500, 534), 0);
	assert_int_equal(gmem_frames(f), 1024);
	assert_int_equal(get(f, 500, &level), first[0] + 500);
	assert_int_equal(level, PG_LEVEL_2M);
	assert_int_equal(get(f, 1024, &level), first[2]);
	for (u64 page = 0; page < 512; page++) {
		u64 *head = host_frame_ptr(host, first[0] + page);
		u64 *tail = host_frame_ptr(host, first[2] + page);

		assert_int_equal(*head, page < 500 ? 77 : 0);
		assert_int_equal(*tail, page < 10 ? 0 : 77);
	}
	/* An end inside a block that isn't in use cuts nothing. */
	assert_int_equal(gmem_punch_hole(f, 0, 512), 0);
	assert_int_equal(gmem_punch_hole(f, 100, 412), 0);
	assert_int_equal(gmem_frames(f), 512);
	gmem_release(f);
}

/* A block whose 4K folios have all been punched out may have a 2M folio next time. */
static void test_block_heals(void **state)
{
	struct gmem_file *f = make_file(512, GMEM_THP);
	pfn_t taken[512], loose;
	enum pg_level level;
	u32 n = take_huge_frames(taken, 1);

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &loose), 0);
	get(f, 9, &level);
	get(f, 10, &level);
	assert_int_equal(level, PG_LEVEL_4K);
	host_free(host, loose, PG_LEVEL_4K, FRAME_OTHER);
	/* One page of it: the block stays small. */
	assert_int_equal(gmem_punch_hole(f, 9, 1), 0);
	assert_int_equal(gmem_frames(f), 1);
	get(f, 9, &level);
	assert_int_equal(level, PG_LEVEL_4K);
	assert_int_equal(gmem_punch_hole(f, 0, 512), 0);
	assert_int_equal(gmem_frames(f), 0);
	get(f, 9, &level);
	assert_int_equal(level, PG_LEVEL_2M);
	gmem_release(f);
	return_huge_frames(taken, n);
}

/* A 16 TiB file works at both its ends, and a hole across nothing costs nothing to speak of. */
static void test_huge_file(void **state)
{
	struct gmem_file *f = make_file(SIZE_16T / PAGE_SIZE, GMEM_THP);
	u64 last = SIZE_16T / PAGE_SIZE - 1;
	enum pg_level level;

	(void)state;
	get(f, 0, &level);
	get(f, last, &level);
	assert_int_equal(level, PG_LEVEL_2M);
	assert_int_equal(gmem_frames(f), 1024);
	assert_int_equal(gmem_punch_hole(f, 512, last - 1023), 0);
	assert_int_equal(gmem_frames(f), 1024);
	assert_int_equal(gmem_punch_hole(f, 0, last + 1), 0);
	assert_int_equal(gmem_frames(f), 0);
	gmem_release(f);
}

/* ---- against a flat model --------------------------------------------------------------------*/
#define MODEL_PAGES (6 * 512 + 100)

struct model {
	pfn_t pfn[MODEL_PAGES]; /* 0: none; frame 0 is kept out of the way */
	enum pg_level level[MODEL_PAGES];
	u64 frames;
};

/* A folio that the model doesn't know is all new: no index has any of its frames. */
static void model_add(struct model *m, u64 index, pfn_t pfn, enum pg_level level)
{
	u64 nr = pages_per_level(level), first = ALIGN_DOWN(index, nr);

	pfn -= index - first;
	assert_true(IS_ALIGNED(pfn, nr));
	for (u64 i = 0; i < MODEL_PAGES; i++)
		assert_false(m->pfn[i] >= pfn && m->pfn[i] < pfn + nr);
	for (u64 i = 0; i < nr; i++) {
		assert_int_equal(m->pfn[first + i], 0);
		m->pfn[first + i] = pfn + i;
		m->level[first + i] = level;
	}
	m->frames += nr;
}

/* A hole [@at, @end) frees the folio of @index: it has one that lies wholly inside. */
static bool model_frees(const struct model *m, u64 index, u64 at, u64 end)
{
	u64 nr, first;

	if (!m->pfn[index])
		return false;
	nr = pages_per_level(m->level[index]);
	first = ALIGN_DOWN(index, nr);
	return first >= at && first + nr <= end;
}

static void model_step(struct gmem_file *f, struct model *m, struct rng *rng)
{
	u64 at = rng_below(rng, MODEL_PAGES), nr = 1 + rng_below(rng, MODEL_PAGES - at);
	enum pg_level level;
	pfn_t pfn;

	if (rng_below(rng, 8)) {
		if (gmem_get_pfn(f, at, &pfn, &level)) {
			assert_int_equal(m->pfn[at], 0);
			return;
		}
		if (!m->pfn[at])
			model_add(m, at, pfn, level);
		assert_int_equal(m->pfn[at], pfn);
		assert_int_equal(m->level[at], level);
		assert_int_equal(gmem_folio_level(f, at), level);
		return;
	}
	if (rng_below(rng, 2)) {
		at = ALIGN_DOWN(at, 512);
		nr = min_u64(ALIGN_UP(min_u64(nr, 600), 512), MODEL_PAGES - at);
	}
	assert_int_equal(gmem_punch_hole(f, at, nr), 0);
	for (u64 i = at; i < at + nr; i++)
		if (model_frees(m, i, at, at + nr)) {
			m->frames--;
			m->pfn[i] = 0;
		}
}

/* Random faults and holes, with few frames to be had: every index keeps the frame it was given. */
static void test_against_model(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	pfn_t taken[512], low;
	u32 n;

	(void)state;
	/* Frame 0 means "none" in the model. */
	assert_int_equal(host_reserve(host, 0, 512, FRAME_OTHER), 0);
	n = take_huge_frames(taken, 4);
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &low), 0);
	for (u64 seed = 1; seed <= 6; seed++) {
		struct gmem_file *f = make_file(MODEL_PAGES, seed % 3 ? GMEM_THP : GMEM_4K);
		struct rng rng;

		memset(m, 0, sizeof(*m));
		rng_init(&rng, seed);
		print_message("seed %llu\n", (unsigned long long)seed);
		for (u32 step = 0; step < 3000; step++) {
			model_step(f, m, &rng);
			assert_int_equal(gmem_frames(f), m->frames);
		}
		gmem_release(f);
	}
	host_free(host, low, PG_LEVEL_4K, FRAME_OTHER);
	return_huge_frames(taken, n);
	host_unreserve(host, 0, 512, FRAME_OTHER);
	free(m);
}

/* ---- threads ---------------------------------------------------------------------------------*/
#define RACERS 4
#define RACE_PAGES 4096

struct racer {
	struct sync_thread thread;
	struct gmem_file *file;
	u32 *go;
	pfn_t pfn[RACE_PAGES];
	u32 bad;
};

static void race_for_pages(void *arg)
{
	struct racer *r = arg;
	enum pg_level level;

	while (!sync_load_acquire(r->go))
		sync_relax();
	for (u64 i = 0; i < RACE_PAGES; i++)
		if (gmem_get_pfn(r->file, i, &r->pfn[i], &level))
			r->bad++;
}

/* Threads that want the same pages at the same time get the same frames, and no frame is lost. */
static void test_racing_faults(void **state)
{
	struct racer *racers = calloc(RACERS, sizeof(*racers));

	(void)state;
	for (u32 round = 0; round < 4; round++) {
		struct gmem_file *f = make_file(RACE_PAGES, round & 1 ? GMEM_THP : GMEM_4K);
		u32 go = 0;

		for (u32 i = 0; i < RACERS; i++) {
			racers[i].file = f;
			racers[i].go = &go;
			assert_int_equal(sync_thread_create(&racers[i].thread, race_for_pages,
							    &racers[i]),
					 0);
		}
		sync_store_release(&go, 1);
		for (u32 i = 0; i < RACERS; i++) {
			sync_thread_join(&racers[i].thread);
			assert_int_equal(racers[i].bad, 0);
			assert_memory_equal(racers[i].pfn, racers[0].pfn, sizeof(racers[0].pfn));
		}
		assert_int_equal(gmem_frames(f), RACE_PAGES);
		assert_int_equal(host_frames_used(host), RACE_PAGES);
		gmem_release(f);
		assert_int_equal(host_frames_used(host), 0);
	}
	free(racers);
}

static void fault_until_stopped(void *arg)
{
	struct racer *r = arg;
	enum pg_level level;
	pfn_t pfn;

	for (u64 i = 0; !sync_load(r->go); i++) {
		if (gmem_get_pfn(r->file, i * 7 % 1024, &pfn, &level))
			r->bad++;
	}
}

/* Holes punched while others fault: no frame is lost, none is given twice, no table is read freed. */
static void test_faults_against_holes(void **state)
{
	struct racer *r = calloc(1, sizeof(*r));
	u32 stop = 0;

	(void)state;
	r->file = make_file(1024 + 1, GMEM_4K);
	r->go = &stop;
	assert_int_equal(sync_thread_create(&r->thread, fault_until_stopped, r), 0);
	for (u32 i = 0; i < 500; i++)
		assert_int_equal(gmem_punch_hole(r->file, i % 3 ? 0 : 100, i % 3 ? 512 : 700), 0);
	sync_store(&stop, 1);
	sync_thread_join(&r->thread);
	assert_int_equal(r->bad, 0);
	assert_int_equal(gmem_punch_hole(r->file, 0, 1025), 0);
	assert_int_equal(gmem_frames(r->file), 0);
	assert_int_equal(host_frames_used(host), 0);
	gmem_release(r->file);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_config),
		cmocka_unit_test(test_huge_folio_on_first_use),
		cmocka_unit_test(test_small_backing),
		cmocka_unit_test(test_partial_last_block),
		cmocka_unit_test(test_fall_back_and_exhaustion),
		cmocka_unit_test(test_punch),
		cmocka_unit_test(test_punch_refused),
		cmocka_unit_test(test_punch_inside_folio),
		cmocka_unit_test(test_block_heals),
		cmocka_unit_test(test_huge_file),
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_racing_faults),
		cmocka_unit_test(test_faults_against_holes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
