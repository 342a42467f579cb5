/* SPDX-License-Identifier: MIT */
/* The fault path. Row numbers name the behaviours that the project promises, as in all its tests. */
#include "mmu/rig.h"

/* A first fault links one table a level below the root, maps one leaf, and says FIXED. */
static void first_fault(void **state)
{
	struct rig r;
	struct mmu_mapping m;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x12345, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(r.links, 3);
	assert_int_equal(r.maps, 1);
	m = rig_lookup(&r, 0x12345, true);
	assert_int_equal(m.level, PG_LEVEL_4K);
	assert_int_equal(m.gfn, 0x12345);
	assert_int_equal(m.pfn, pfn_of(0x12345));
	assert_int_equal(rig_lookup(&r, 0x12344, true).level, PG_LEVEL_NONE);
	assert_int_equal(rig_lookup(&r, 0x12345, false).level, PG_LEVEL_NONE);
	assert_int_equal(mmu_stats(r.mmu)->faults_fixed, 1);
	rig_exit(&r);
}

/* A 2M fault in the middle of a block maps the whole block by one leaf, and one table less. */
static void huge_fault(void **state)
{
	struct rig r;
	struct mmu_mapping m;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x12345, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(r.links, 2);
	m = rig_lookup(&r, 0x12200, true);
	assert_int_equal(m.level, PG_LEVEL_2M);
	assert_int_equal(m.gfn, 0x12200);
	assert_int_equal(m.pfn, pfn_of(0x12200));
	assert_int_equal(rig_map(&r, 0x40000, PG_LEVEL_1G), MMU_RET_FIXED);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_1G), 1);
	/* No leaf is larger than 1G, whatever the fault allows. */
	assert_int_equal(rig_map(&r, 0x80000, PG_LEVEL_512G), MMU_RET_FIXED);
	assert_int_equal(rig_pages(&r, PG_LEVEL_1G), 2);
	rig_exit(&r);
}

/* A leaf never reaches beyond what gfn and pfn have in common, whatever the fault allows. */
static void alignment_limits(void **state)
{
	struct rig r;
	struct mmu_fault fault;

	(void)state;
	rig_init(&r);
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	fault = rig_fault(&r, 0x400, 0x40001, PG_LEVEL_1G);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
	assert_int_equal(rig_lookup(&r, 0x400, true).level, PG_LEVEL_4K);
	fault = rig_fault(&r, 0x80601, 0x40801, PG_LEVEL_1G);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
	assert_int_equal(rig_lookup(&r, 0x80601, true).level, PG_LEVEL_2M);
	assert_int_equal(rig_lookup(&r, 0x80601, true).pfn, 0x40800);
	rig_exit(&r);
}

/* Row 75: the second fault on the same gfn is SPURIOUS, also below a larger leaf that covers it. */
static void row75_spurious(void **state)
{
	struct rig r;
	u64 calls;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x400, PG_LEVEL_2M), MMU_RET_FIXED);
	calls = r.calls;
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_SPURIOUS);
	assert_int_equal(rig_map(&r, 0x400, PG_LEVEL_2M), MMU_RET_SPURIOUS);
	assert_int_equal(rig_map(&r, 0x5ff, PG_LEVEL_4K), MMU_RET_SPURIOUS);
	assert_int_equal(r.calls, calls);
	assert_int_equal(mmu_stats(r.mmu)->faults_spurious, 3);
	rig_exit(&r);
}

struct racer {
	struct rig *r;
	struct mmu_vcpu_cache cache;
	u64 fixed, spurious, retry;
	struct sync_thread thread;
};

#define RACE_GFNS 2048

static void race_all(void *arg)
{
	struct racer *racer = arg;

	for (gfn_t gfn = 0; gfn < RACE_GFNS; gfn++) {
		struct mmu_fault fault = rig_fault(racer->r, gfn, pfn_of(gfn), PG_LEVEL_4K);
		int ret;

		do {
			if (mmu_cache_topup(&racer->cache))
				return;
			ret = mmu_map(racer->r->mmu, &racer->cache, &fault);
			racer->retry += ret == MMU_RET_RETRY;
		} while (ret == MMU_RET_RETRY);
		racer->fixed += ret == MMU_RET_FIXED;
		racer->spurious += ret == MMU_RET_SPURIOUS;
	}
}

/* Row 75: of vCPUs that fault on the same gfn one gets FIXED, the others SPURIOUS or RETRY. */
static void row75_race(void **state)
{
	struct racer racers[3];
	struct rig r;
	u64 fixed = 0, spurious = 0, retry = 0;

	(void)state;
	rig_init(&r);
	for (unsigned int i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer){.r = &r};
		mmu_cache_init(&racers[i].cache, r.mmu);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(racers); i++)
		assert_int_equal(sync_thread_create(&racers[i].thread, race_all, &racers[i]), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(racers); i++) {
		sync_thread_join(&racers[i].thread);
		mmu_cache_destroy(&racers[i].cache);
		fixed += racers[i].fixed;
		spurious += racers[i].spurious;
		retry += racers[i].retry;
	}
	assert_int_equal(fixed, RACE_GFNS);
	assert_int_equal(fixed + spurious, RACE_GFNS * ARRAY_SIZE(racers));
	assert_int_equal(mmu_stats(r.mmu)->faults_retry, retry);
	rig_exit(&r);
}

/*
 * Rows 8 and 98: where a table is, a fault whose goal is 2M maps below it; nothing is merged, with
 * one page of the block there or all 512.
 */
static void row8_row98_no_merge(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x210, PG_LEVEL_4K), MMU_RET_FIXED);
	for (gfn_t gfn = 0x200; gfn < 0x400; gfn++)
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M),
				 gfn == 0x210 ? MMU_RET_SPURIOUS : MMU_RET_FIXED);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	assert_int_equal(rig_map(&r, 0x333, PG_LEVEL_2M), MMU_RET_SPURIOUS);
	assert_int_equal(rig_map(&r, 0x333, PG_LEVEL_1G), MMU_RET_SPURIOUS);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	/* A 1G goal over 4K tables goes as far down as it must and no further. */
	assert_int_equal(rig_map(&r, 0x400, PG_LEVEL_1G), MMU_RET_FIXED);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	rig_exit(&r);
}

/* A fault that would give a present leaf another frame changes nothing and stops the VM. */
static void other_pfn_is_fatal(void **state)
{
	struct rig r;
	struct mmu_fault fault;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	fault = rig_fault(&r, 0x200, pfn_of(0x201), PG_LEVEL_4K);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), -EIO);
	assert_int_equal(r.bugs, 1);
	assert_int_equal(rig_lookup(&r, 0x200, true).pfn, pfn_of(0x200));
	/* Nothing maps into a dead VM any more. */
	assert_int_equal(rig_map(&r, 0x300, PG_LEVEL_4K), -EIO);
	rig_check(&r);
	rig_exit_dead(&r);
}

/* A gfn outside the guest's address space is refused, and so is a shared bit in it. */
static void bad_gfn(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, RIG_GFN_BIT, PG_LEVEL_4K), -EINVAL);
	assert_int_equal(rig_map(&r, RIG_GFN_BIT | 5, PG_LEVEL_4K), -EINVAL);
	assert_int_equal(rig_map(&r, ~0ULL, PG_LEVEL_4K), -EINVAL);
	assert_int_equal(rig_map(&r, RIG_GFN_BIT - 1, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_lookup(&r, RIG_GFN_BIT - 1, true).level, PG_LEVEL_4K);
	assert_int_equal(rig_lookup(&r, RIG_GFN_BIT, true).level, PG_LEVEL_NONE);
	rig_exit(&r);
}

/* A fault with a dry cache asks for a retry and changes nothing. */
static void dry_cache(void **state)
{
	struct rig r;
	struct mmu_fault fault;

	(void)state;
	rig_init(&r);
	fault = rig_fault(&r, 0x200, pfn_of(0x200), PG_LEVEL_4K);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_RETRY);
	fault.private = false;
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_RETRY);
	assert_int_equal(r.calls, 0);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	rig_exit(&r);
}

static void stopper(void *arg)
{
	struct rig *r = arg;
	struct mmu_vcpu_cache cache;
	struct mmu_fault fault = rig_fault(r, 0x200, pfn_of(0x200), PG_LEVEL_4K);

	mmu_cache_init(&cache, r->mmu);
	if (!mmu_cache_topup(&cache) && mmu_map(r->mmu, &cache, &fault) != MMU_RET_FIXED)
		r->wrong = "the fault that froze the entry didn't get through";
	mmu_cache_destroy(&cache);
}

static bool has_stopped(void *arg)
{
	struct rig *r = arg;

	return sync_load_acquire(&r->stopped);
}

/*
 * Row 29: while one fault is inside the hook, others on that entry get RETRY and take nothing from
 * their caches; a look shows no mapping yet; then it is there.
 */
static void row29_freeze_is_visible(void **state)
{
	struct sync_thread thread;
	struct rig r;
	u32 pages, external;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x201, PG_LEVEL_4K), MMU_RET_FIXED);
	pages = r.cache.nr_pages;
	external = r.cache.nr_external;
	sync_store(&r.stop, 1);
	assert_int_equal(sync_thread_create(&thread, stopper, &r), 0);
	sync_wait(&r.stop_wait, has_stopped, &r);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_RETRY);
		assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_2M), MMU_RET_RETRY);
	}
	assert_int_equal(rig_lookup(&r, 0x200, true).level, PG_LEVEL_NONE);
	assert_int_equal(r.cache.nr_pages, pages);
	assert_int_equal(r.cache.nr_external, external);
	sync_store_release(&r.stop, 0);
	sync_thread_join(&thread);
	assert_int_equal(rig_lookup(&r, 0x200, true).level, PG_LEVEL_4K);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_SPURIOUS);
	rig_exit(&r);
}

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
 * Row 30: a hook that says -EBUSY leaves the old value, counters and trace as they were, at each
 * level of the way down; the fault says RETRY; the VM lives.
 */
static void row30_failed_hook_restores(void **state)
{
	struct rig r;
	struct spte_log log = {0};
	struct trace_listener listener = {.fn = log_spte, .ctx = &log};

	(void)state;
	rig_init(&r);
	assert_int_equal(trace_listen(&r.host->tracer, &listener), 0);
	for (u64 step = 0; step < 4; step++) {
		struct mmu_stats before = *mmu_stats(r.mmu);
		u64 events = log.events;

		r.fail_with = -EBUSY;
		r.fail_at = r.calls + 1;
		assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_RETRY);
		assert_memory_equal(before.pages, mmu_stats(r.mmu)->pages, sizeof(before.pages));
		assert_int_equal(before.mirror_tables, mmu_stats(r.mmu)->mirror_tables);
		assert_int_equal(before.external_tables, mmu_stats(r.mmu)->external_tables);
		assert_int_equal(log.events, events);
		rig_check(&r);

		/* One step further, then busy again. */
		r.fail_at = r.calls + 2;
		assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K),
				 step < 3 ? MMU_RET_RETRY : MMU_RET_FIXED);
		assert_int_equal(log.events, events + 1);
	}
	r.fail_at = 0;
	assert_int_equal(log.last.gfn, 0x200);
	assert_int_equal(log.last.level, 1);
	assert_int_equal(log.last.old_spte, 0);
	assert_true(log.last.mirror);
	assert_true(mmu_spte_is_leaf(log.last.new_spte, PG_LEVEL_4K));
	rig_exit(&r);
}

/* Row 30, other errors: the old value is back, and the VM is dead. */
static void other_error_stops_the_vm(void **state)
{
	(void)state;
	for (u64 n = 1; n <= 4; n++) {
		struct rig r;

		rig_init(&r);
		r.fail_with = -EINVAL;
		r.fail_at = n;
		assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), -EIO);
		assert_int_equal(r.bugs, 1);
		rig_check(&r);
		assert_int_equal(rig_lookup(&r, 0x200, true).level, PG_LEVEL_NONE);
		rig_exit_dead(&r);
	}
}

/* Row 33: one call of the hook for each change, and one trace event, no more and no less. */
static void row33_hook_called_once(void **state)
{
	struct rig r;
	struct spte_log log = {0};
	struct trace_listener listener = {.fn = log_spte, .ctx = &log};

	(void)state;
	rig_init(&r);
	assert_int_equal(trace_listen(&r.host->tracer, &listener), 0);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(r.calls, 4);
	assert_int_equal(rig_map(&r, 0x201, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(r.calls, 5);
	rig_zap(&r, 0x200, 0x202, true);
	assert_int_equal(r.calls, 7);
	assert_int_equal(log.events, 7);
	rig_exit(&r);
}

/* A busy external side at any one of the calls loses nothing: retried, all faults get through. */
static void busy_at_every_call(void **state)
{
	static const gfn_t gfns[] = {0x200, 0x201, 0x400, 0x40000, 0x8000000, 0x600};
	u64 total = ~0ULL;

	(void)state;
	for (u64 n = 1; n <= total; n++) {
		struct rig r;

		rig_init(&r);
		r.fail_with = -EBUSY;
		r.fail_at = n;
		for (unsigned int i = 0; i < ARRAY_SIZE(gfns); i++) {
			enum pg_level level = i % 2 ? PG_LEVEL_4K : PG_LEVEL_2M;
			int ret = rig_map(&r, gfns[i], level);

			if (ret == MMU_RET_RETRY)
				ret = rig_map(&r, gfns[i], level);
			assert_int_equal(ret, i == 1 ? MMU_RET_SPURIOUS : MMU_RET_FIXED);
		}
		assert_int_equal(mmu_stats(r.mmu)->faults_retry, r.calls >= n);
		total = r.calls - mmu_stats(r.mmu)->faults_retry;
		rig_exit(&r);
	}
	assert_in_range(total, 10, 30);
}

/*
 * The direct root has no hook, and its tables are keyed by the whole guest address, shared bit and
 * all, as the hardware walks them.
 */
static void direct_root(void **state)
{
	struct rig r;
	u64 *entries;
	gfn_t key = 0x12345 | RIG_GFN_BIT;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map_shared(&r, 0x12345, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map_shared(&r, 0x12345, PG_LEVEL_4K), MMU_RET_SPURIOUS);
	assert_int_equal(r.calls, 0);
	entries = host_ptr(r.host, mmu_direct_root(r.mmu));
	for (unsigned int shift = 27; shift; shift -= 9) {
		u64 entry = entries[key >> shift & 511];

		assert_int_equal(entry & 0x87, 0x7); /* RWX, and no leaf */
		entries = host_ptr(r.host, entry & 0x000FFFFFFFFFF000ULL);
	}
	assert_int_equal(entries[key & 511] & 0x000FFFFFFFFFF007ULL, pfn_of(0x12345) << 12 | 7);
	assert_int_equal(rig_lookup(&r, 0x12345, false).gfn, 0x12345);
	assert_int_equal(rig_lookup(&r, 0x12345, true).level, PG_LEVEL_NONE);
	assert_int_equal(rig_map_shared(&r, 0x400, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(rig_lookup(&r, 0x4ff, false).level, PG_LEVEL_2M);
	rig_exit(&r);
}

/* A fault into an invalid root is told to retry: the root is obsolete. */
static void invalid_root(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	sync_write_lock(mmu_lock(r.mmu));
	mmu_roots_invalidate(r.mmu);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_int_equal(rig_map(&r, 0x201, PG_LEVEL_4K), MMU_RET_RETRY);
	assert_int_equal(rig_map_shared(&r, 0x201, PG_LEVEL_4K), MMU_RET_RETRY);
	rig_exit(&r);
}

/* Five-level tables, with the shared bit at 51, and an MMU without an external side. */
static void other_shapes(void **state)
{
	struct host_config host_cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct mmu_config cfg = {.root_level = PG_LEVEL_256T, .shared_bit = 51};
	struct mmu_fault fault = {.gfn = BIT_ULL(38) + 5, .pfn = 5, .max_level = PG_LEVEL_2M};
	struct mmu_vcpu_cache cache;
	struct mmu_mapping m;

	(void)state;
	sync_thread_enter();
	assert_int_equal(host_create(&host_cfg, &cfg.host), 0);
	for (int i = 0; i < 2; i++, cfg.root_level--, cfg.shared_bit = 0, fault.gfn = 5) {
		struct mmu *mmu;

		assert_int_equal(mmu_create(&cfg, &mmu), 0);
		mmu_cache_init(&cache, mmu);
		assert_int_equal(mmu_cache_topup(&cache), 0);
		assert_int_equal(mmu_map(mmu, &cache, &fault), MMU_RET_FIXED);
		assert_true(mmu_lookup(mmu, fault.gfn, false, &m));
		assert_int_equal(m.gfn, fault.gfn & ~511ULL);
		assert_false(mmu_lookup(mmu, fault.gfn, true, &m));
		fault.private = true;
		assert_int_equal(mmu_map(mmu, &cache, &fault), -EINVAL);
		fault.private = false;
		assert_int_equal(mmu_stats(mmu)->mirror_tables, 0);
		mmu_cache_destroy(&cache);
		mmu_destroy(mmu);
		assert_int_equal(host_frames_used(cfg.host), 0);
	}
	host_destroy(cfg.host);
}

/* A configuration that makes no sense is refused. */
static void bad_config(void **state)
{
	static const struct mmu_external_ops ops;
	struct host_config host_cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct mmu_config cfg = {.root_level = PG_LEVEL_1G, .shared_bit = 47};
	struct mmu *mmu;

	(void)state;
	assert_int_equal(host_create(&host_cfg, &cfg.host), 0);
	assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	cfg.root_level = PG_LEVEL_512G;
	cfg.shared_bit = 48;
	assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	cfg.shared_bit = 0;
	cfg.external = &ops;
	assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	host_destroy(cfg.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_fault),
		cmocka_unit_test(huge_fault),
		cmocka_unit_test(alignment_limits),
		cmocka_unit_test(row75_spurious),
		cmocka_unit_test(row75_race),
		cmocka_unit_test(row8_row98_no_merge),
		cmocka_unit_test(other_pfn_is_fatal),
		cmocka_unit_test(bad_gfn),
		cmocka_unit_test(dry_cache),
		cmocka_unit_test(row29_freeze_is_visible),
		cmocka_unit_test(row30_failed_hook_restores),
		cmocka_unit_test(other_error_stops_the_vm),
		cmocka_unit_test(row33_hook_called_once),
		cmocka_unit_test(busy_at_every_call),
		cmocka_unit_test(direct_root),
		cmocka_unit_test(invalid_root),
		cmocka_unit_test(other_shapes),
		cmocka_unit_test(bad_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
