/* SPDX-License-Identifier: MIT */
/* Lookups take no lock: whatever plans, holes and allocations do meanwhile, they see what was or is. */
#include "base/rng.h"
#include "folio_rig.h"

#define READERS 2
#define UNITS 4ULL
#define PAGES (UNITS * PAGES_2M)

struct race {
	struct folio_rig r;
	u32 stop, bad;
};

static void look_up(void *arg)
{
	struct race *race = arg;
	struct rng rng;

	rng_init(&rng, (u64)(uintptr_t)&rng);
	while (!sync_load(&race->stop)) {
		u64 index = rng_below(&rng, PAGES);
		struct gmem_page page = gmem_folio_lookup(&race->r.f, index);
		bool good = page.folio == PG_LEVEL_NONE;

		/* A page's place in its huge page never changes, nor does its size grow past that. */
		if (!good)
			good = page.folio <= page.huge && page.huge <= PG_LEVEL_2M &&
			       (page.huge == PG_LEVEL_4K ||
				page.pfn % PAGES_2M == index % PAGES_2M);
		if (!good)
			sync_fetch_add(&race->bad, 1);
	}
}

/* With plans, holes, refills, failures and references by one thread that holds the locks. */
static void lookups_race_with_changes(void **state)
{
	const enum gmem_backing backings[] = {GMEM_THP, GMEM_4K, GMEM_HUGETLB_2M};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(backings); i++) {
		struct race race = {0};
		struct sync_thread reader[READERS];
		struct rng rng;

		rig_make(&race.r,
			 (struct gmem_config){.size = UNITS * SIZE_2M, .backing = backings[i]},
			 SIZE_1G, 0, NO_BUGS);
		rng_init(&rng, 7 + i);
		for (int t = 0; t < READERS; t++)
			assert_int_equal(sync_thread_create(&reader[t], look_up, &race), 0);
		for (u32 step = 0; step < 4000; step++) {
			u64 index = rng_below(&rng, PAGES);
			u64 nr = 1 + rng_below(&rng, min_u64(PAGES - index, 700));

			assert_int_equal(rig_get(&race.r, index), 0);
			if (rng_below(&rng, 8))
				assert_int_equal(
					rig_convert(&race.r, index, nr, rng_below(&rng, 2)), 0);
			else
				gmem_folio_drop(&race.r.f, index, index + nr);
		}
		sync_store(&race.stop, 1);
		for (int t = 0; t < READERS; t++)
			sync_thread_join(&reader[t]);
		assert_int_equal(race.bad, 0);
		rig_end(&race.r, 0);
	}
}

/* ---- allocating and holding, each by its own lock --------------------------------------------*/
struct filler {
	struct folio_rig *r;
	struct sync_mutex *lock; /* per 2M block */
	u64 seed;
	u32 bad;
};

static void fill(void *arg)
{
	struct filler *filler = arg;
	struct rng rng;

	rng_init(&rng, filler->seed);
	for (u32 step = 0; step < 600; step++) {
		u64 index = rng_below(&rng, PAGES);
		struct sync_mutex *lock =
			&filler->lock[gmem_folio_lock_hash(&filler->r->f, index) % UNITS];
		int err;

		sync_mutex_lock(lock);
		err = rig_get(filler->r, index);
		sync_mutex_unlock(lock);
		err = err ? err : gmem_folio_ref(&filler->r->f, index);
		if (err || gmem_folio_first_ref(&filler->r->f, index, index + 1) != index ||
		    gmem_folio_unref(&filler->r->f, index))
			filler->bad++;
	}
}

/* Threads that fill and hold the same file at once get each page once. */
static void fillers_race(void **state)
{
	const enum gmem_backing backings[] = {GMEM_THP, GMEM_4K, GMEM_HUGETLB_2M};

	(void)state;
	for (u64 i = 0; i < 2 * ARRAY_SIZE(backings); i++) {
		struct gmem_config cfg = {.size = UNITS * SIZE_2M,
					  .backing = backings[i % 3],
					  .init_shared = true,
					  .folio_refs =
						  i / 3 ? GMEM_REFS_COUNTED : GMEM_REFS_SPLIT};
		struct sync_thread thread[READERS + 1];
		struct filler filler[READERS + 1];
		struct sync_mutex lock[UNITS];
		struct folio_rig r;

		rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
		for (u64 n = 0; n < UNITS; n++)
			sync_mutex_init(&lock[n], LOCK_GMEM_FOLIO);
		for (u64 t = 0; t <= READERS; t++) {
			filler[t] = (struct filler){.r = &r, .lock = lock, .seed = t + 1};
			assert_int_equal(sync_thread_create(&thread[t], fill, &filler[t]), 0);
		}
		for (u64 t = 0; t <= READERS; t++) {
			sync_thread_join(&thread[t]);
			assert_int_equal(filler[t].bad, 0);
		}
		assert_int_equal(gmem_folio_first_ref(&r.f, 0, PAGES), PAGES);
		assert_int_equal(r.host->used[FRAME_GUEST], rig_stats(&r).frames);
		for (u64 n = 0; n < UNITS; n++)
			sync_mutex_destroy(&lock[n]);
		rig_end(&r, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookups_race_with_changes),
		cmocka_unit_test(fillers_race),
	};

	return cmocka_run_group_tests(tests, rig_setup, NULL);
}
