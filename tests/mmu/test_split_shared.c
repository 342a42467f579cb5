/* SPDX-License-Identifier: MIT */
/* Splits under the read lock, where the external side can: beside each other, faults and removals. */
#include "mmu/rig.h"

#define BLOCK 0x40000ULL /* a 1G boundary */
#define NR_BLOCKS 24

struct world {
	struct rig r;
	struct mmu_slot slot;
};

static void up(struct world *w, enum mmu_split_metadata metadata, bool able)
{
	struct mmu_config policy = {.split_metadata = metadata, .split_under_read_lock = able};

	rig_init_policy(&w->r, &policy);
	assert_int_equal(mmu_slot_init(&w->slot, BLOCK, NR_BLOCKS * 512, BLOCK), 0);
}

static void down(struct world *w)
{
	mmu_slot_destroy(&w->slot);
	rig_exit(&w->r);
}

static int split(struct world *w, gfn_t gfn)
{
	return mmu_split_shared(w->r.mmu, &w->r.cache, &w->slot, gfn, PG_LEVEL_4K);
}

static void expect_inhibit(struct world *w, gfn_t gfn, bool inhibited)
{
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++)
		assert_int_equal(mmu_slot_test_guest_inhibit(&w->slot, gfn, level), inhibited);
}

/*
 * Rows 11, 18, 33: one hook call a split, its parts map the same frames, and the block is inhibited
 * afterwards; asked again, or where nothing was mapped, there is nothing to split.
 */
static void test_one_split(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct world w;
		u64 calls;

		up(&w, m, true);
		assert_int_equal(split(&w, BLOCK + 512), MMU_RET_SPURIOUS);
		expect_inhibit(&w, BLOCK + 512, true);
		assert_int_equal(rig_map(&w.r, BLOCK, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_false(mmu_slot_test_guest_inhibit(&w.slot, BLOCK, PG_LEVEL_2M));
		calls = w.r.calls;
		assert_int_equal(split(&w, BLOCK + 7), MMU_RET_FIXED);
		assert_int_equal(w.r.calls, calls + 1);
		expect_inhibit(&w, BLOCK, true);
		for (gfn_t i = 0; i < 512; i++) {
			struct mmu_mapping map = rig_lookup(&w.r, BLOCK + i, true);

			assert_int_equal(map.level, PG_LEVEL_4K);
			assert_int_equal(map.pfn, pfn_of(BLOCK + i));
		}
		assert_int_equal(split(&w, BLOCK + 7), MMU_RET_SPURIOUS);
		assert_int_equal(w.r.calls, calls + 1);
		assert_int_equal(mmu_stats(w.r.mmu)->splits, 1);
		down(&w);
	}
}

/* A 1G leaf is split twice on the way to 4K, for each source of pages: 511 parts stay 2M. */
static void test_from_1g(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct world w;

		up(&w, m, true);
		assert_int_equal(rig_map(&w.r, BLOCK, PG_LEVEL_1G), MMU_RET_FIXED);
		assert_int_equal(split(&w, BLOCK + 513), MMU_RET_FIXED);
		assert_int_equal(rig_pages(&w.r, PG_LEVEL_2M), 511);
		assert_int_equal(rig_pages(&w.r, PG_LEVEL_4K), 512);
		down(&w);
	}
}

/*
 * Row 30: busy, it is a retry: the leaf is back, nothing is inhibited, what was got is given back,
 * and a table page that was filled for it is empty when a link takes it; asked again it is done.
 */
static void test_busy_is_a_retry(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct mmu_stats before, after;
		struct world w;
		u32 cached;

		up(&w, m, true);
		assert_int_equal(rig_map(&w.r, BLOCK, PG_LEVEL_2M), MMU_RET_FIXED);
		before = *mmu_stats(w.r.mmu);
		cached = w.r.cache.nr_pages;
		w.r.fail_at = w.r.calls + 1;
		w.r.fail_with = -EBUSY;
		assert_int_equal(split(&w, BLOCK), MMU_RET_RETRY);
		after = *mmu_stats(w.r.mmu);
		assert_int_equal(after.pages[PG_LEVEL_2M], before.pages[PG_LEVEL_2M]);
		assert_int_equal(after.pages[PG_LEVEL_4K], before.pages[PG_LEVEL_4K]);
		assert_int_equal(after.splits, 0);
		assert_int_equal(after.split_retries, 1);
		assert_int_equal(w.r.cache.nr_pages, cached);
		assert_int_equal(w.r.metadata_out, w.r.nr_cached);
		assert_int_equal(rig_lookup(&w.r, BLOCK, true).level, PG_LEVEL_2M);
		assert_false(mmu_slot_test_guest_inhibit(&w.slot, BLOCK, PG_LEVEL_2M));
		assert_int_equal(rig_map(&w.r, BLOCK + 512, PG_LEVEL_4K), MMU_RET_FIXED);
		assert_int_equal(rig_pages(&w.r, PG_LEVEL_4K), 1);
		rig_check(&w.r);
		assert_int_equal(split(&w, BLOCK), MMU_RET_FIXED);
		down(&w);
	}
}

/* Row 28: where the external side can't, it is refused; nothing changes, and the hook isn't asked. */
static void test_refused(void **state)
{
	struct world w;
	u64 calls;

	(void)state;
	up(&w, MMU_META_PAGE, false);
	assert_int_equal(rig_map(&w.r, BLOCK, PG_LEVEL_2M), MMU_RET_FIXED);
	calls = w.r.calls;
	for (int i = 0; i < 3; i++)
		assert_int_equal(split(&w, BLOCK), -EOPNOTSUPP);
	assert_int_equal(w.r.calls, calls);
	assert_int_equal(w.r.warnings, 1);
	assert_false(mmu_slot_test_guest_inhibit(&w.slot, BLOCK, PG_LEVEL_2M));
	assert_int_equal(rig_pages(&w.r, PG_LEVEL_2M), 1);
	assert_int_equal(mmu_split_shared(w.r.mmu, &w.r.cache, &w.slot, BLOCK, PG_LEVEL_NONE),
			 -EINVAL);
	assert_int_equal(mmu_split_shared(w.r.mmu, &w.r.cache, NULL, RIG_GFN_BIT + BLOCK,
					  PG_LEVEL_4K),
			 -EINVAL);
	down(&w);
}

/* Row 49: whichever allocation fails, nothing is lost or half done, and the next try succeeds. */
static void test_no_memory(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		u32 failures = 0;

		/* More than a cache from empty, a 1G leaf and a 2M leaf take together. */
		for (u64 n = 1; n < 2 * MMU_CACHE_CAPACITY + 20; n++) {
			struct world w;
			int ret;

			up(&w, m, true);
			assert_int_equal(rig_map(&w.r, BLOCK, PG_LEVEL_1G), MMU_RET_FIXED);
			mmu_cache_destroy(&w.r.cache);
			host_fail_alloc_at(w.r.host, n);
			ret = split(&w, BLOCK);
			host_fail_alloc_at(w.r.host, 0);
			if (ret != MMU_RET_FIXED) {
				assert_int_equal(ret, -ENOMEM);
				failures++;
				assert_false(
					mmu_slot_test_guest_inhibit(&w.slot, BLOCK, PG_LEVEL_2M));
				rig_check(&w.r);
				assert_int_equal(split(&w, BLOCK), MMU_RET_FIXED);
			}
			assert_int_equal(rig_pages(&w.r, PG_LEVEL_4K), 512);
			down(&w);
		}
		/* Five tables of each root, five external ones, two for the parts of the 2M leaf. */
		assert_true(failures >= 15 + RIG_SPLIT_METADATA);
	}
}

struct splitter {
	struct sync_thread thread;
	struct world *w;
	struct mmu_vcpu_cache cache;
	u64 seed;
	gfn_t gfn;
	int ret;
	u64 fixed, retries;
};

static void split_once(void *arg)
{
	struct splitter *s = arg;

	s->ret = mmu_split_shared(s->w->r.mmu, &s->cache, &s->w->slot, s->gfn, PG_LEVEL_4K);
	mmu_cache_destroy(&s->cache);
}

static void start_splitter(struct splitter *s, struct world *w, void (*fn)(void *arg))
{
	s->w = w;
	mmu_cache_init(&s->cache, w->r.mmu);
	assert_int_equal(sync_thread_create(&s->thread, fn, s), 0);
}

/*
 * Rows 29, 56: while one reader is in the hook with the entry FROZEN, another one at the same leaf
 * retries; and if a second consumer empties the cache before the first takes, the first retries too,
 * with the leaf as it was. Then it tops up and gets there.
 */
static void test_two_consumers(void **state)
{
	struct splitter s = {.gfn = BLOCK};
	struct world w;

	(void)state;
	up(&w, MMU_META_VM_CACHE, true);
	assert_int_equal(rig_map(&w.r, BLOCK, PG_LEVEL_2M), MMU_RET_FIXED);
	rig_topup_split_cache(&w.r);
	sync_store(&w.r.stop, 1);
	start_splitter(&s, &w, split_once);
	while (!sync_load_acquire(&w.r.stopped))
		sync_relax();
	assert_int_equal(split(&w, BLOCK + 3), MMU_RET_RETRY);
	rig_drain_split_cache(&w.r);
	sync_store_release(&w.r.stop, 0);
	sync_thread_join(&s.thread);
	assert_int_equal(s.ret, MMU_RET_RETRY);
	assert_int_equal(rig_lookup(&w.r, BLOCK, true).level, PG_LEVEL_2M);
	assert_int_equal(w.r.wrongs, 0);
	assert_int_equal(split(&w, BLOCK), MMU_RET_FIXED);
	down(&w);
}

#define SPLITTERS 4
#define ROUNDS 400

static void split_many(void *arg)
{
	struct splitter *s = arg;

	for (int i = 0; i < ROUNDS; i++) {
		gfn_t gfn = BLOCK + rig_rand(&s->seed) % (NR_BLOCKS * 512);
		struct mmu_fault fault = rig_fault(&s->w->r, gfn, pfn_of(gfn), PG_LEVEL_2M);
		int ret;

		while ((ret = mmu_split_shared(s->w->r.mmu, &s->cache, NULL, gfn, PG_LEVEL_4K)) ==
		       MMU_RET_RETRY)
			s->retries++;
		s->ret |= ret < 0;
		s->fixed += ret == MMU_RET_FIXED;
		s->ret |= mmu_cache_topup(&s->cache) < 0;
		s->ret |= mmu_map(s->w->r.mmu, &s->cache, &fault) < 0;
	}
	mmu_cache_destroy(&s->cache);
}

/*
 * Rows 52, 56, 100: readers split and fault at random while a writer removes and promotes; some of
 * the external side's answers are busy. Each split is done once, both sides agree, nothing leaks.
 */
static void test_many_at_once(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct splitter s[SPLITTERS] = {0};
		u64 seed = 99 + (u64)m, fixed = 0;
		struct world w;

		print_message("seed %llu\n", (unsigned long long)seed);
		up(&w, m, true);
		w.r.busy_every = 7;
		w.r.others_run = true;
		for (int i = 0; i < SPLITTERS; i++) {
			s[i].seed = seed * 1000 + (u64)i;
			start_splitter(&s[i], &w, split_many);
		}
		for (int i = 0; i < ROUNDS; i++) {
			gfn_t block = BLOCK + rig_rand(&seed) % NR_BLOCKS * 512;

			if (i % 4)
				rig_promote(&w.r, block, PG_LEVEL_2M);
			else
				rig_zap(&w.r, block, block + 512, true);
		}
		for (int i = 0; i < SPLITTERS; i++) {
			sync_thread_join(&s[i].thread);
			assert_int_equal(s[i].ret, 0);
			fixed += s[i].fixed;
		}
		assert_int_equal(w.r.wrongs, 0);
		assert_int_equal(w.r.bugs, 0);
		assert_int_equal(mmu_stats(w.r.mmu)->splits, fixed);
		assert_true(fixed > 0);
		w.r.others_run = false;
		rig_check(&w.r);
		down(&w);
	}
}

/* The capacity of a vCPU's cache is what was configured, 40 otherwise, and nothing outside 5 to 80. */
static void test_cache_capacity(void **state)
{
	static const u32 sound[] = {5, 10, 40, 80}, unsound[] = {1, 4, 81};
	struct mmu_config cfg;
	struct mmu *mmu;
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	assert_int_equal(r.cache.nr_pages, 40);
	assert_int_equal(r.cache.nr_external, 40);
	cfg = r.mmu->cfg;
	for (u32 i = 0; i < ARRAY_SIZE(sound); i++) {
		struct mmu_vcpu_cache cache;

		cfg.cache_capacity = sound[i];
		assert_int_equal(mmu_create(&cfg, &mmu), 0);
		mmu_cache_init(&cache, mmu);
		assert_int_equal(mmu_cache_topup(&cache), 0);
		assert_int_equal(cache.nr_pages, sound[i]);
		assert_int_equal(cache.nr_external, sound[i]);
		mmu_cache_destroy(&cache);
		mmu_destroy(mmu);
	}
	for (u32 i = 0; i < ARRAY_SIZE(unsound); i++) {
		cfg.cache_capacity = unsound[i];
		assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	}
	rig_exit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_split),	cmocka_unit_test(test_from_1g),
		cmocka_unit_test(test_busy_is_a_retry), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_memory),	cmocka_unit_test(test_two_consumers),
		cmocka_unit_test(test_many_at_once),	cmocka_unit_test(test_cache_capacity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
