/* SPDX-License-Identifier: MIT */
/* One split: where its pages come from, what others do meanwhile, and what happens when it fails. */
#include "mmu/rig.h"

#define K2M 512ULL
#define K1G 262144ULL
#define BASE (8 * K1G)

struct spte_log {
	u64 events;
	struct trace_spte last;
};

static void log_spte(void *ctx, enum trace_point point, const void *event)
{
	struct spte_log *log = ctx;

	if (point != TRACE_SPTE_CHANGED)
		return;
	log->events++;
	log->last = *(const struct trace_spte *)event;
}

/*
 * Rows 20, 21, 33 and 80: a split is one call of the hook and one trace event; every gfn keeps its
 * frame; counters move by -1 and +512; table, external page and metadata are accounted for.
 */
static void row20_row21_row80_split(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct spte_log log = {0};
		struct trace_listener listener = {.fn = log_spte, .ctx = &log};
		struct mmu_stats before;
		struct rig r;
		u64 calls;

		rig_init_policy(&r, &policy);
		assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(trace_listen(&r.host->tracer, &listener), 0);
		before = *mmu_stats(r.mmu);
		calls = r.calls;
		assert_int_equal(rig_split(&r, BASE + 5, BASE + 6, true), 0);
		assert_int_equal(r.calls - calls, 1);
		assert_int_equal(log.events, 1);
		assert_int_equal(log.last.level, PG_LEVEL_2M);
		assert_int_equal(log.last.gfn, BASE);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		assert_int_equal(mmu_stats(r.mmu)->mirror_tables, before.mirror_tables + 1);
		assert_int_equal(mmu_stats(r.mmu)->external_tables, before.external_tables + 1);
		assert_int_equal(mmu_stats(r.mmu)->splits, 1);
		for (gfn_t gfn = BASE; gfn < BASE + 512; gfn++) {
			struct mmu_mapping m = rig_lookup(&r, gfn, true);

			assert_int_equal(m.level, PG_LEVEL_4K);
			assert_int_equal(m.pfn, pfn_of(gfn));
		}
		assert_int_equal(r.metadata_out - r.nr_cached, RIG_SPLIT_METADATA);
		/* Parts go one by one, and no fault puts a huge leaf over the hole. */
		rig_zap(&r, BASE + 5, BASE + 6, true);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 511);
		assert_int_equal(rig_map(&r, BASE + 5, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		rig_exit(&r);
	}
}

/*
 * Row 11, the mapping's part: a split to a level leaves no leaf above it in the range, and splits
 * nothing else; a whole range goes to 4K as dirty tracking wants it.
 */
static void row11_split_to_level(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct rig r;

		rig_init_policy(&r, &policy);
		assert_int_equal(rig_map(&r, BASE, PG_LEVEL_1G), MMU_RET_FIXED);
		assert_int_equal(rig_map(&r, BASE + K1G, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(rig_map_shared(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		/* An ACCEPT at 2M of what is there at 1G, then one at 4K of another part. */
		assert_int_equal(rig_split_to(&r, BASE, BASE + 512, PG_LEVEL_2M, true), 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1 + 1 + 512);
		assert_int_equal(rig_split_to(&r, BASE + 1029, BASE + 1030, PG_LEVEL_4K, true), 0);
		assert_int_equal(rig_lookup(&r, BASE + 1024, true).level, PG_LEVEL_4K);
		assert_int_equal(rig_lookup(&r, BASE + 1023, true).level, PG_LEVEL_2M);
		assert_int_equal(mmu_stats(r.mmu)->splits, 2);
		/* All that is asked for is there. */
		assert_int_equal(rig_split_to(&r, BASE, ~0ULL, PG_LEVEL_1G, true), 0);
		assert_int_equal(rig_split_to(&r, BASE, BASE + K1G, PG_LEVEL_2M, true), 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, 2);
		assert_int_equal(rig_split_to(&r, BASE, BASE + 1, PG_LEVEL_NONE, true), -EINVAL);
		assert_int_equal(rig_split_to(&r, 0, ~0ULL, PG_LEVEL_4K, true), 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, 1 + 512 + 1);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 513 * 512);
		assert_int_equal(rig_lookup(&r, BASE, false).level, PG_LEVEL_2M);
		rig_exit(&r);
	}
}

/* ---- failures ------------------------------------------------------------------------------- */

/* Two 1G leaves, and a range over the boundary between them whose ends cost two splits each. */
static void map_two(struct rig *r)
{
	assert_int_equal(rig_map(r, BASE, PG_LEVEL_1G), MMU_RET_FIXED);
	assert_int_equal(rig_map(r, BASE + K1G, PG_LEVEL_1G), MMU_RET_FIXED);
}

static int split_two(struct rig *r)
{
	return rig_split(r, BASE + 5, BASE + K1G + 5, true);
}

static void check_two(struct rig *r)
{
	gfn_t gfn = BASE;

	while (gfn < BASE + 2 * K1G) {
		struct mmu_mapping m = rig_lookup(r, gfn, true);

		assert_int_equal(m.gfn, gfn);
		assert_int_equal(m.pfn, pfn_of(gfn));
		gfn += pages_per_level(m.level);
	}
	rig_check(r);
}

/*
 * Rows 48, 49, 50 and 57: with memory for n frames and no more, for every n, the answer is -ENOMEM and
 * nothing else, every gfn keeps its frame, both sides agree, the lock is free and nothing leaks; with
 * memory it can be done again. Tables, external pages and metadata of four splits are 12 frames.
 */
static void row48_row49_row50_no_memory(void **state)
{
	static struct hog hog;

	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		u64 n = 0;
		int err;

		do {
			struct rig r;

			rig_init_policy(&r, &policy);
			map_two(&r);
			rig_hog(&r, &hog, n++);
			err = split_two(&r);
			check_two(&r);
			rig_unhog(&r, &hog);
			if (err)
				assert_int_equal(err, -ENOMEM);
			assert_int_equal(split_two(&r), 0);
			assert_int_equal(mmu_stats(r.mmu)->splits, 4);
			assert_int_equal(r.bugs, 0);
			check_two(&r);
			rig_exit(&r);
		} while (err);
		assert_int_equal(n - 1, 4 * 2 + 2 * RIG_SPLIT_METADATA);
	}
}

/* An external page that isn't to be had fails the split as any other does. */
static void no_external_page(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct rig r;

		rig_init_policy(&r, &policy);
		map_two(&r);
		r.fail_alloc = true;
		assert_int_equal(split_two(&r), -ENOMEM);
		assert_int_equal(mmu_stats(r.mmu)->splits, 0);
		r.fail_alloc = false;
		assert_int_equal(split_two(&r), 0);
		rig_exit(&r);
	}
}

/*
 * Row 57: a top-up that fails is -ENOMEM; the leaf stays, neither mmu.lock nor a read section is left
 * open (a barrier in one would wait for itself), and the next try splits.
 */
static void row57_topup_fails(void **state)
{
	struct mmu_config policy = {.split_metadata = MMU_META_VM_CACHE};
	struct rig r;

	(void)state;
	rig_init_policy(&r, &policy);
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
	r.fail_topup = true;
	assert_int_equal(rig_split(&r, BASE + 5, BASE + 9, true), -ENOMEM);
	assert_int_equal(rig_lookup(&r, BASE, true).level, PG_LEVEL_2M);
	sync_rcu_barrier();
	r.fail_topup = false;
	assert_int_equal(rig_split(&r, BASE + 5, BASE + 9, true), 0);
	rig_exit(&r);
}

/*
 * Row 26: a hook that refuses the n-th split stops the VM; that leaf is as it was, both sides agree,
 * and nothing is split in a dead VM.
 */
static void row26_refused_split(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++)
		for (u64 n = 1; n <= 4; n++) {
			struct mmu_config policy = rig_policy(p);
			struct rig r;
			u64 calls;

			rig_init_policy(&r, &policy);
			map_two(&r);
			r.fail_with = n % 2 ? -EBUSY : n == 2 ? -EAGAIN : -EIO;
			r.fail_at = r.calls + n;
			assert_int_equal(split_two(&r), -EIO);
			assert_int_equal(r.bugs, 1);
			assert_int_equal(mmu_stats(r.mmu)->splits, n - 1);
			check_two(&r);
			calls = r.calls;
			assert_int_equal(split_two(&r), -EIO);
			assert_int_equal(rig_split_to(&r, BASE, BASE + 1, PG_LEVEL_4K, true), -EIO);
			assert_int_equal(r.calls, calls);
			rig_exit_dead(&r);
		}
}

/* ---- the lock is dropped -------------------------------------------------------------------- */

struct watched {
	struct rig r;
	u64 times, limit;
	u64 splits_at_get; /* of the external side, at the last allocation */
	bool inside;
	int err; /* of the other thread */
};

static void split_in_thread(void *arg)
{
	struct watched *w = arg;

	w->err = rig_split_to(&w->r, BASE + 5, BASE + 6, PG_LEVEL_4K, true);
}

static void split_the_same(struct rig *r)
{
	struct watched *w = container_of(r, struct watched, r);
	struct sync_thread other;

	if (w->inside || w->times++)
		return;
	w->inside = true;
	assert_int_equal(sync_thread_create(&other, split_in_thread, w), 0);
	sync_thread_join(&other);
	assert_int_equal(w->err, 0);
	w->inside = false;
}

/*
 * Row 52: another thread splits the same leaf while the lock is dropped: it is split once, and what was
 * got for it goes back.
 */
static void row52_split_meanwhile(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct watched w = {.times = 0};

		rig_init_policy(&w.r, &policy);
		assert_int_equal(rig_map(&w.r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		w.r.gets = 0;
		w.r.outside = split_the_same;
		assert_int_equal(rig_split(&w.r, BASE + 5, BASE + 9, true), 0);
		assert_true(w.times > 0);
		/* Two pages were got, and one is in the tree; the other isn't anywhere. */
		assert_true(w.r.gets >= 2);
		assert_int_equal(w.r.pages_out, w.r.ext_tables + w.r.cache.nr_external);
		assert_int_equal(w.r.splits, 1);
		assert_int_equal(mmu_stats(w.r.mmu)->splits, 1);
		rig_exit(&w.r);
	}
}

static void zap_the_same(struct rig *r)
{
	rig_zap(r, BASE, BASE + 512, true);
}

/* A leaf that is removed while the lock is dropped isn't split, and what was got goes back. */
static void removed_meanwhile(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct rig r;

		rig_init_policy(&r, &policy);
		assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		r.outside = zap_the_same;
		assert_int_equal(rig_split(&r, BASE + 5, BASE + 9, true), 0);
		assert_int_equal(r.splits, 0);
		r.outside = NULL;
		rig_exit(&r);
	}
}

static void stop_the_vm(struct rig *r)
{
	mmu_bug(r->mmu, "test");
}

/* A VM that dies while the lock is dropped gets no split any more. */
static void dead_meanwhile(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct rig r;

		rig_init_policy(&r, &policy);
		assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		r.outside = stop_the_vm;
		assert_int_equal(rig_split(&r, BASE + 5, BASE + 9, true), -EIO);
		assert_int_equal(r.splits, 0);
		rig_exit_dead(&r);
	}
}

static void drain(struct rig *r)
{
	struct watched *w = container_of(r, struct watched, r);

	if (r->nr_cached && w->times < w->limit) {
		w->times++;
		rig_drain_split_cache(r);
	}
}

/*
 * Row 55: whoever empties the cache between top-up and lock makes the splitter go round again, as
 * often as it happens; it never takes from an empty cache (the external side would say so).
 */
static void row55_drained_cache(void **state)
{
	struct mmu_config policy = {.split_metadata = MMU_META_VM_CACHE};

	(void)state;
	for (u64 limit = 0; limit < 4; limit++) {
		struct watched w = {.limit = limit};

		rig_init_policy(&w.r, &policy);
		assert_int_equal(rig_map(&w.r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		w.r.outside = drain;
		assert_int_equal(rig_split(&w.r, BASE + 5, BASE + 9, true), 0);
		assert_int_equal(w.times, limit);
		assert_int_equal(w.r.topups, limit + 1);
		assert_int_equal(w.r.splits, 1);
		rig_exit(&w.r);
	}
}

static void watch_get(struct rig *r)
{
	struct watched *w = container_of(r, struct watched, r);

	/* Proves that the lock isn't held: a second wait for it would abort. */
	sync_write_lock(mmu_lock(r->mmu));
	w->splits_at_get = r->splits;
	sync_write_unlock(mmu_lock(r->mmu));
}

/*
 * The prepared need is got before the first split, all of it and no page more, whoever looks for the
 * leaves; the other supplies get theirs leaf by leaf. All of them without the lock, and none for a
 * range that needs nothing.
 */
static void when_pages_are_got(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		bool prealloc = policy.split_metadata == MMU_META_PREALLOC;
		struct watched w = {.times = 0};

		rig_init_policy(&w.r, &policy);
		map_two(&w.r);
		w.r.outside = watch_get;
		w.r.gets = 0;
		assert_int_equal(split_two(&w.r), 0);
		assert_int_equal(w.r.splits, 4);
		assert_int_equal(w.splits_at_get, prealloc ? 0 : 3);
		/* An external page each; metadata each, or one top-up for both 2M leaves. */
		assert_int_equal(w.r.gets, policy.split_metadata == MMU_META_VM_CACHE ? 5 : 8);
		assert_int_equal(split_two(&w.r), 0);
		assert_int_equal(rig_split(&w.r, BASE, BASE + K1G, true), 0);
		assert_int_equal(w.r.gets, policy.split_metadata == MMU_META_VM_CACHE ? 5 : 8);
		w.r.outside = NULL;
		rig_exit(&w.r);
	}
}

/* Choices that no MMU knows are refused. */
static void bad_policy(void **state)
{
	struct host_config host_cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct mmu_config cfg = {.root_level = PG_LEVEL_512G, .shared_bit = 47};
	struct mmu *mmu;

	(void)state;
	assert_int_equal(host_create(&host_cfg, &cfg.host), 0);
	cfg.split_where = (enum mmu_split_where)3;
	assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	cfg.split_where = MMU_SPLIT_WALK;
	cfg.split_metadata = (enum mmu_split_metadata)3;
	assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	cfg.split_metadata = MMU_META_PREALLOC;
	assert_int_equal(mmu_create(&cfg, &mmu), 0);
	/* Without a mirror there is nothing private to split. */
	sync_write_lock(mmu_lock(mmu));
	assert_int_equal(mmu_split_boundaries(mmu, 5, 9, true), 0);
	assert_int_equal(mmu_promote(mmu, 5, PG_LEVEL_2M), -EAGAIN);
	sync_write_unlock(mmu_lock(mmu));
	assert_false(mmu_is_promotable(mmu, 5, PG_LEVEL_2M));
	mmu_destroy(mmu);
	host_destroy(cfg.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row20_row21_row80_split),
		cmocka_unit_test(row11_split_to_level),
		cmocka_unit_test(row48_row49_row50_no_memory),
		cmocka_unit_test(no_external_page),
		cmocka_unit_test(row57_topup_fails),
		cmocka_unit_test(row26_refused_split),
		cmocka_unit_test(row52_split_meanwhile),
		cmocka_unit_test(removed_meanwhile),
		cmocka_unit_test(dead_meanwhile),
		cmocka_unit_test(row55_drained_cache),
		cmocka_unit_test(when_pages_are_got),
		cmocka_unit_test(bad_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
