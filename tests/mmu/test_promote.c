/* SPDX-License-Identifier: MIT */
/* Promotion: one leaf in place of a table of 512. */
#include "mmu/rig.h"

#define K2M 512ULL
#define K1G 262144ULL
#define BASE (8 * K1G)

static void fill(struct rig *r, gfn_t gfn, u64 parts, enum pg_level level)
{
	for (u64 i = 0; i < parts; i++)
		assert_int_equal(rig_map(r, gfn + i * pages_per_level(level), level),
				 MMU_RET_FIXED);
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

/* What a promotion of [BASE, ...) at @level leaves, and what it gives back. */
static void check_promotion(struct rig *r, enum pg_level level)
{
	struct mmu_stats before = *mmu_stats(r->mmu), after;
	u64 calls = r->calls, out = r->pages_out;
	struct mmu_mapping m;

	assert_true(mmu_is_promotable(r->mmu, BASE + 77, level));
	assert_int_equal(rig_promote(r, BASE + 77, level), 0);
	after = *mmu_stats(r->mmu);
	assert_int_equal(r->calls - calls, 1);
	assert_int_equal(out - r->pages_out, 1);
	assert_int_equal(after.pages[level], before.pages[level] + 1);
	assert_int_equal(after.pages[level - 1], before.pages[level - 1] - 512);
	assert_int_equal(after.mirror_tables, before.mirror_tables - 1);
	assert_int_equal(after.external_tables, before.external_tables - 1);
	assert_int_equal(after.promotes, before.promotes + 1);
	m = rig_lookup(r, BASE + 100, true);
	assert_int_equal(m.level, level);
	assert_int_equal(m.gfn, BASE);
	assert_int_equal(m.pfn, pfn_of(BASE));
	assert_false(mmu_is_promotable(r->mmu, BASE + 77, level));
	rig_check(r);
}

/*
 * Row 99: a full and contiguous table becomes one leaf at the same frames, 4K to 2M and 2M to 1G, by
 * one call of the hook and one trace event; table page, external page and metadata come back, and the
 * leaf can be split, mapped and removed as any other.
 */
static void row99_promotion(void **state)
{
	struct mmu_config policy = rig_policy(0);
	struct spte_log log = {0};
	struct trace_listener listener = {.fn = log_spte, .ctx = &log};
	struct rig r;

	(void)state;
	rig_init_policy(&r, &policy);
	fill(&r, BASE, 512, PG_LEVEL_4K);
	fill(&r, BASE + K2M, 511, PG_LEVEL_2M);
	assert_int_equal(trace_listen(&r.host->tracer, &listener), 0);
	check_promotion(&r, PG_LEVEL_2M);
	assert_int_equal(log.events, 1);
	assert_int_equal(log.last.gfn, BASE);
	assert_int_equal(log.last.level, PG_LEVEL_2M);
	check_promotion(&r, PG_LEVEL_1G);
	assert_int_equal(rig_map(&r, BASE + 77, PG_LEVEL_4K), MMU_RET_SPURIOUS);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rig_split(&r, BASE + 5, BASE + 6, true), 0);
		assert_int_equal(r.metadata_out, RIG_SPLIT_METADATA);
		check_promotion(&r, PG_LEVEL_2M);
		assert_int_equal(r.metadata_out, 0);
		check_promotion(&r, PG_LEVEL_1G);
	}
	rig_zap(&r, BASE, BASE + K1G, true);
	assert_int_equal(rig_pages(&r, PG_LEVEL_1G), 0);
	rig_exit(&r);
}

static void check_refusal(struct rig *r, gfn_t gfn, enum pg_level level)
{
	struct mmu_stats before = *mmu_stats(r->mmu);
	u64 calls = r->calls;

	assert_false(mmu_is_promotable(r->mmu, gfn, level));
	assert_int_equal(rig_promote(r, gfn, level), -EAGAIN);
	assert_int_equal(r->calls, calls);
	assert_memory_equal(&before, mmu_stats(r->mmu), sizeof(before));
}

/* Maps one page to a frame of the caller's. */
static void map_to(struct rig *r, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	struct mmu_fault fault = rig_fault(r, gfn, pfn, level);

	assert_int_equal(mmu_cache_topup(&r->cache), 0);
	assert_int_equal(mmu_map(r->mmu, &r->cache, &fault), MMU_RET_FIXED);
}

/*
 * Row 99: a table with one part missing, wherever, with one that maps another frame, with one that is
 * split further, or whose frames don't start on a boundary, is no candidate: the external side isn't
 * asked, and nothing changes.
 */
static void row99_not_promotable(void **state)
{
	static const gfn_t gaps[] = {0, 1, 255, 256, 510, 511};
	struct rig r;

	(void)state;
	rig_init(&r);
	check_refusal(&r, BASE, PG_LEVEL_2M);
	check_refusal(&r, BASE, PG_LEVEL_1G);
	fill(&r, BASE, 512, PG_LEVEL_4K);
	check_refusal(&r, BASE, PG_LEVEL_1G);
	for (unsigned int i = 0; i < ARRAY_SIZE(gaps); i++) {
		gfn_t gfn = BASE + gaps[i];

		rig_zap(&r, gfn, gfn + 1, true);
		check_refusal(&r, BASE, PG_LEVEL_2M);
		map_to(&r, gfn, pfn_of(gfn) + 512, PG_LEVEL_4K);
		check_refusal(&r, BASE, PG_LEVEL_2M);
		rig_zap(&r, gfn, gfn + 1, true);
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	}
	assert_true(mmu_is_promotable(r.mmu, BASE, PG_LEVEL_2M));
	for (gfn_t gfn = BASE + K2M; gfn < BASE + 2 * K2M; gfn++)
		map_to(&r, gfn, pfn_of(gfn) + 1, PG_LEVEL_4K);
	check_refusal(&r, BASE + K2M, PG_LEVEL_2M);
	/* All of the 1G is there, but two parts are split. */
	fill(&r, BASE + 2 * K2M, 510, PG_LEVEL_2M);
	check_refusal(&r, BASE, PG_LEVEL_1G);
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), 0);
	check_refusal(&r, BASE, PG_LEVEL_1G);
	/* A leaf is none either, nor is what lies outside the guest's memory. */
	check_refusal(&r, BASE, PG_LEVEL_2M);
	check_refusal(&r, RIG_GFN_BIT + BASE, PG_LEVEL_2M);
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_4K), -EINVAL);
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_512G), -EINVAL);
	rig_exit(&r);
}

/* Shared memory is never promoted, full as the table may be. */
static void shared_is_not_promoted(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (gfn_t gfn = BASE; gfn < BASE + 512; gfn++)
		assert_int_equal(rig_map_shared(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	check_refusal(&r, BASE, PG_LEVEL_2M);
	rig_exit(&r);
}

/*
 * Rows 8 and 98: nobody promotes but who asks for it: 512 faults whose goal is 2M, over a table, end in
 * 512 leaves, and no hook promotes.
 */
static void row8_row98_nothing_merges(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_4K), MMU_RET_FIXED);
	for (gfn_t gfn = BASE + 1; gfn < BASE + 512; gfn++)
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_SPURIOUS);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	assert_int_equal(mmu_stats(r.mmu)->promotes, 0);
	assert_int_equal(r.promotes, 0);
	rig_exit(&r);
}

/*
 * Row 99: a promotion that the external side refuses is -EAGAIN and leaves entries, counters and both
 * sides as they were; asked again it may succeed.
 */
static void row99_refused(void **state)
{
	struct mmu_stats before;
	struct rig r;

	(void)state;
	rig_init(&r);
	fill(&r, BASE, 512, PG_LEVEL_4K);
	before = *mmu_stats(r.mmu);
	r.refuse_promote = true;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), -EAGAIN);
		assert_memory_equal(&before, mmu_stats(r.mmu), sizeof(before));
		for (gfn_t gfn = BASE; gfn < BASE + 512; gfn++)
			assert_int_equal(rig_lookup(&r, gfn, true).pfn, pfn_of(gfn));
		rig_check(&r);
	}
	assert_int_equal(r.promotes, 3);
	r.refuse_promote = false;
	check_promotion(&r, PG_LEVEL_2M);
	rig_exit(&r);
}

/* Any other error of the hook stops the VM, and leaves the 512 leaves. */
static void failed_promotion(void **state)
{
	static const int errors[] = {-EBUSY, -EIO, -ENOMEM};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		struct rig r;

		rig_init(&r);
		fill(&r, BASE, 512, PG_LEVEL_4K);
		r.fail_with = errors[i];
		r.fail_at = r.calls + 1;
		assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), -EIO);
		assert_int_equal(r.bugs, 1);
		rig_check(&r);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), -EIO);
		rig_exit_dead(&r);
	}
}

/*
 * Between the split and the removal of an invalidation the lock is free: a promotion then would put
 * back the leaf that the removal must not meet. So none happens in the range until the end.
 */
static void not_while_invalidated(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	fill(&r, BASE, 2, PG_LEVEL_2M);
	sync_write_lock(mmu_lock(r.mmu));
	mmu_invalidate_begin(r.mmu);
	mmu_invalidate_range_add(r.mmu, BASE + 5, BASE + 6);
	assert_int_equal(mmu_split_to_level(r.mmu, BASE, BASE + 1024, PG_LEVEL_4K, true), 0);
	sync_write_unlock(mmu_lock(r.mmu));
	check_refusal(&r, BASE, PG_LEVEL_2M);
	assert_int_equal(rig_promote(&r, BASE + 512, PG_LEVEL_2M), 0);
	sync_write_lock(mmu_lock(r.mmu));
	mmu_invalidate_end(r.mmu);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), 0);
	rig_exit(&r);
}

struct promoter {
	struct rig *r;
	int err;
};

static void promote_in_thread(void *arg)
{
	struct promoter *p = arg;

	p->err = rig_promote(p->r, BASE, PG_LEVEL_2M);
}

static bool has_stopped(void *arg)
{
	struct rig *r = arg;

	return sync_load_acquire(&r->stopped);
}

/*
 * While the external side promotes, who looks without a lock meets FROZEN, in a table entered before
 * as well; afterwards the huge leaf, or the old leaves if it was refused.
 */
static void frozen_meanwhile(void **state)
{
	(void)state;
	for (int refuse = 0; refuse < 2; refuse++) {
		struct promoter p = {.err = 1};
		struct sync_thread thread;
		struct rig r;

		rig_init(&r);
		fill(&r, BASE, 512, PG_LEVEL_4K);
		r.refuse_promote = refuse;
		p.r = &r;
		sync_store(&r.stop, 1);
		assert_int_equal(sync_thread_create(&thread, promote_in_thread, &p), 0);
		sync_wait(&r.stop_wait, has_stopped, &r);
		for (gfn_t gfn = BASE; gfn < BASE + 512; gfn++)
			assert_int_equal(rig_lookup(&r, gfn, true).level, PG_LEVEL_NONE);
		assert_false(mmu_is_promotable(r.mmu, BASE, PG_LEVEL_2M));
		sync_store_release(&r.stop, 0);
		sync_thread_join(&thread);
		assert_int_equal(p.err, refuse ? -EAGAIN : 0);
		for (gfn_t gfn = BASE; gfn < BASE + 512; gfn++)
			assert_int_equal(rig_lookup(&r, gfn, true).level,
					 refuse ? PG_LEVEL_4K : PG_LEVEL_2M);
		rig_exit(&r);
	}
}

struct walker {
	struct mmu_page *sp;
	u32 inside, leave; /* pair with each other */
	u64 sum;
};

static void walk_slowly(void *arg)
{
	struct walker *w = arg;

	sync_rcu_read_lock();
	sync_store_release(&w->inside, 1);
	while (!sync_load_acquire(&w->leave))
		sync_relax();
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		w->sum += !spte_is_frozen(sync_load(&w->sp->spt[i]));
	sync_rcu_read_unlock();
}

static struct mmu_page *table_of(struct rig *r, gfn_t gfn)
{
	struct mmu_iter it;

	mmu_for_each_spte (it, r->mmu, r->mmu->mirror_root, PG_LEVEL_2M, gfn, gfn + 1)
		if (it.level == PG_LEVEL_2M)
			return mmu_spte_child(r->mmu, it.old_spte);
	return NULL;
}

/*
 * Row 36: the table that a promotion took out stays in memory, all FROZEN, until the walker inside has
 * left; its external page goes at once.
 */
static void row36_table_through_rcu(void **state)
{
	struct walker w = {0};
	struct sync_thread thread;
	struct rig r;
	pfn_t table;
	u64 out;

	(void)state;
	rig_init(&r);
	fill(&r, BASE, 512, PG_LEVEL_4K);
	out = r.pages_out;
	w.sp = table_of(&r, BASE);
	table = w.sp->table;
	r.others_run = true;
	assert_int_equal(sync_thread_create(&thread, walk_slowly, &w), 0);
	while (!sync_load_acquire(&w.inside))
		sync_relax();
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), 0);
	assert_int_equal(r.pages_out, out - 1);
	assert_ptr_equal(r.host->private[table], w.sp);
	sync_store_release(&w.leave, 1);
	sync_thread_join(&thread);
	r.others_run = false;
	assert_int_equal(w.sum, 0);
	sync_rcu_barrier();
	assert_null(r.host->private[table]);
	rig_exit(&r);
}

/* Every private table is found in order, from any gfn on; leaves and gaps are passed. */
static void next_table(void **state)
{
	const gfn_t giga = 512 * 512;
	struct rig r;
	gfn_t gfn = 0;

	(void)state;
	rig_init(&r);
	assert_false(mmu_next_table(r.mmu, &gfn, PG_LEVEL_2M));
	assert_int_equal(rig_map(&r, 512, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 3 * 512 + 9, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 5 * giga + 7 * 512, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map_shared(&r, 9 * giga, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_true(mmu_next_table(r.mmu, &gfn, PG_LEVEL_2M));
	assert_int_equal(gfn, 3 * 512);
	gfn = 3 * 512 + 511;
	assert_true(mmu_next_table(r.mmu, &gfn, PG_LEVEL_2M));
	assert_int_equal(gfn, 3 * 512 + 511);
	gfn = 4 * 512;
	assert_true(mmu_next_table(r.mmu, &gfn, PG_LEVEL_2M));
	assert_int_equal(gfn, 5 * giga + 7 * 512);
	gfn += 512;
	assert_false(mmu_next_table(r.mmu, &gfn, PG_LEVEL_2M));
	gfn = 0;
	assert_true(mmu_next_table(r.mmu, &gfn, PG_LEVEL_1G));
	assert_int_equal(gfn, 0);
	gfn = giga;
	assert_true(mmu_next_table(r.mmu, &gfn, PG_LEVEL_1G));
	assert_int_equal(gfn, 5 * giga);
	gfn = ~0ULL;
	assert_false(mmu_next_table(r.mmu, &gfn, PG_LEVEL_1G));
	gfn = 0;
	assert_false(mmu_next_table(r.mmu, &gfn, PG_LEVEL_4K));
	rig_exit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row99_promotion),
		cmocka_unit_test(row99_not_promotable),
		cmocka_unit_test(shared_is_not_promoted),
		cmocka_unit_test(row8_row98_nothing_merges),
		cmocka_unit_test(row99_refused),
		cmocka_unit_test(failed_promotion),
		cmocka_unit_test(not_while_invalidated),
		cmocka_unit_test(next_table),
		cmocka_unit_test(frozen_meanwhile),
		cmocka_unit_test(row36_table_through_rcu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
