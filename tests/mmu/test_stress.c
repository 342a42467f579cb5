/* SPDX-License-Identifier: MIT */
/* Random sequences against a flat model, and real threads against each other. */
#include <stdio.h>

#include "mmu/rig.h"

/* ---- one thread, a flat model --------------------------------------------------------------- */

#define MODEL_BASE ((1ULL << 18) - 4096) /* over a 1G boundary */
#define MODEL_GFNS 8192
#define MODEL_BLOCKS (MODEL_GFNS / 512)

struct model {
	u8 level[MODEL_GFNS];	      /* of the leaf that maps the gfn, 0: none */
	bool has_table[MODEL_BLOCKS]; /* tables stay when leaves go */
};

static void model_set(struct model *m, u64 first, u64 n, enum pg_level level)
{
	for (u64 i = 0; i < n; i++)
		m->level[first + i] = (u8)level;
}

static void random_fault(struct rig *r, struct model *m, u64 *rand)
{
	u64 i = rig_rand(rand) % MODEL_GFNS;
	enum pg_level goal = rig_rand(rand) % 2 ? PG_LEVEL_4K : PG_LEVEL_2M;
	int expected = m->level[i] ? MMU_RET_SPURIOUS : MMU_RET_FIXED;
	bool retried = false;
	int ret;

	while ((ret = rig_map(r, MODEL_BASE + i, goal)) == MMU_RET_RETRY)
		retried = true;
	assert_int_equal(ret, expected);
	if (retried)
		assert_int_not_equal(r->busy_every, 0);
	if (expected == MMU_RET_SPURIOUS)
		return;
	if (goal == PG_LEVEL_2M && !m->has_table[i / 512]) {
		model_set(m, i / 512 * 512, 512, PG_LEVEL_2M);
	} else {
		m->has_table[i / 512] = true;
		model_set(m, i, 1, PG_LEVEL_4K);
	}
}

static void random_zap(struct rig *r, struct model *m, u64 *rand)
{
	u64 first = rig_rand(rand) % MODEL_GFNS;
	u64 n = 1 + rig_rand(rand) % (rig_rand(rand) % 4 ? 8 : 2048);
	u64 end = min_u64(first + n, MODEL_GFNS);

	rig_zap(r, MODEL_BASE + first, MODEL_BASE + end, true);
	for (u64 i = first; i < end; i++) {
		if (m->level[i] == PG_LEVEL_2M)
			model_set(m, i / 512 * 512, 512, PG_LEVEL_NONE);
		m->level[i] = 0;
	}
}

static void check_model(struct rig *r, const struct model *m)
{
	for (u64 i = 0; i < MODEL_GFNS; i++) {
		struct mmu_mapping found = rig_lookup(r, MODEL_BASE + i, true);

		assert_int_equal(found.level, m->level[i]);
		if (found.level)
			assert_int_equal(found.pfn, pfn_of(found.gfn));
	}
	rig_check(r);
}

/*
 * Row 100: after any sequence of faults and zaps, with a busy external side now and then, the
 * mirror is what a flat model says, and the external side is what the mirror says.
 */
static void row100_random(void **state)
{
	static struct model m;

	(void)state;
	for (u64 seed = 1; seed <= 8; seed++) {
		u64 rand = seed * 0x9E3779B97F4A7C15ULL;
		struct rig r;

		print_message("seed %lu\n", seed);
		memset(&m, 0, sizeof(m));
		rig_init(&r);
		r.busy_every = seed % 2 ? 0 : 3;
		for (int i = 0; i < 2000; i++) {
			if (rig_rand(&rand) % 8)
				random_fault(&r, &m, &rand);
			else
				random_zap(&r, &m, &rand);
			if (i % 500 == 499)
				check_model(&r, &m);
		}
		rig_exit(&r);
	}
}

/* ---- threads -------------------------------------------------------------------------------- */

#define BLOCKS 8
#define FAULTERS 3
#define FAULTS 6000

/* Each 2M block of gfns is backed by frames that change whenever it is invalidated. */
struct arena {
	struct rig r;
	u64 generation[BLOCKS]; /* written between begin and end; atomic */
	u32 running;		/* faulting threads; atomic */
};

struct faulter {
	struct arena *a;
	struct mmu_vcpu_cache cache;
	struct sync_thread thread;
	u64 seed, fixed;
	const char *wrong;
};

static pfn_t arena_pfn(gfn_t gfn, u64 generation)
{
	return (generation << 20) + gfn;
}

static void fault_on_and_on(void *arg)
{
	struct faulter *f = arg;
	struct arena *a = f->a;

	for (int i = 0; i < FAULTS && !f->wrong; i++) {
		gfn_t gfn = rig_rand(&f->seed) % (BLOCKS * 512);
		struct mmu_fault fault = rig_fault(&a->r, gfn, 0, PG_LEVEL_4K);
		int ret;

		/* As a vCPU does: the sequence first, the frame after. */
		fault.pfn = arena_pfn(gfn, sync_load_acquire(&a->generation[gfn / 512]));
		if (gfn / 512 % 2)
			fault.max_level = PG_LEVEL_2M;
		if (mmu_cache_topup(&f->cache)) {
			f->wrong = "no memory";
			break;
		}
		if (rig_rand(&f->seed) % 16 == 0)
			sync_relax();
		ret = mmu_map(a->r.mmu, &f->cache, &fault);
		f->fixed += ret == MMU_RET_FIXED;
		if (ret < 0)
			f->wrong = "a fault failed";
	}
	sync_fetch_sub(&a->running, 1);
}

/* Nothing of @block is mapped, or its frames are those of now. The write lock is held. */
static bool block_is_fresh(struct arena *a, u64 block)
{
	for (gfn_t gfn = block * 512; gfn < (block + 1) * 512; gfn += 64) {
		struct mmu_mapping m;

		if (mmu_lookup(a->r.mmu, gfn, true, &m) &&
		    m.pfn != arena_pfn(m.gfn, a->generation[block]))
			return false;
	}
	return true;
}

static void invalidate_block(struct arena *a, u64 block)
{
	struct sync_rwlock *lock = mmu_lock(a->r.mmu);
	gfn_t gfn = block * 512;

	sync_write_lock(lock);
	mmu_invalidate_begin(a->r.mmu);
	mmu_invalidate_range_add(a->r.mmu, gfn, gfn + 512);
	mmu_zap_leafs(a->r.mmu, gfn, gfn + 512, true);
	sync_write_unlock(lock);
	/* Pairs with the acquire in fault_on_and_on(). */
	sync_store_release(&a->generation[block], a->generation[block] + 1);
	sync_write_lock(lock);
	mmu_invalidate_end(a->r.mmu);
	assert_true(block_is_fresh(a, block));
	sync_write_unlock(lock);
}

/*
 * Rows 72 and 100, with threads: while vCPUs fault and the frames behind them change, no stale frame
 * is ever mapped after an invalidation, no change is told twice, and at the end both sides agree.
 */
static void row72_row100_threads(void **state)
{
	static struct arena a;
	struct faulter f[FAULTERS];
	u64 rand = 0xfeedULL, fixed = 0, zaps = 0;

	(void)state;
	memset(&a, 0, sizeof(a));
	rig_init(&a.r);
	a.r.busy_every = 11;
	a.running = FAULTERS;
	for (u64 b = 0; b < BLOCKS; b++)
		a.generation[b] = 1;
	for (unsigned int i = 0; i < FAULTERS; i++) {
		f[i] = (struct faulter){.a = &a, .seed = i + 1};
		mmu_cache_init(&f[i].cache, a.r.mmu);
	}
	for (unsigned int i = 0; i < FAULTERS; i++)
		assert_int_equal(sync_thread_create(&f[i].thread, fault_on_and_on, &f[i]), 0);
	while (sync_load(&a.running)) {
		invalidate_block(&a, rig_rand(&rand) % BLOCKS);
		zaps++;
		sync_relax();
	}
	for (unsigned int i = 0; i < FAULTERS; i++) {
		sync_thread_join(&f[i].thread);
		mmu_cache_destroy(&f[i].cache);
		if (f[i].wrong)
			fail_msg("%s", f[i].wrong);
		fixed += f[i].fixed;
	}
	assert_true(fixed > 0 && zaps > 0);
	assert_int_equal(mmu_stats(a.r.mmu)->faults_fixed, fixed);
	for (u64 b = 0; b < BLOCKS; b++)
		assert_true(block_is_fresh(&a, b));
	rig_exit(&a.r);
}

struct looker {
	struct arena *a;
	struct sync_thread thread;
	u64 seen;
	const char *wrong;
};

static void look_on_and_on(void *arg)
{
	struct looker *l = arg;
	u64 seed = 77;

	while (sync_load(&l->a->running)) {
		gfn_t gfn = rig_rand(&seed) % (BLOCKS * 512);
		struct mmu_mapping m;

		if (!mmu_lookup(l->a->r.mmu, gfn, true, &m))
			continue;
		l->seen++;
		if (m.pfn != pfn_of(m.gfn))
			l->wrong = "a look without a lock saw a leaf that never was";
	}
}

/*
 * Looks without any lock, while tables are linked and whole tables leave the tree, see a leaf as it
 * was or none, and never touch freed memory (sanitizers tell).
 */
static void look_without_lock(void **state)
{
	static struct arena a;
	struct looker l = {.a = &a};
	struct mmu_iter it;

	(void)state;
	memset(&a, 0, sizeof(a));
	rig_init(&a.r);
	a.running = 1;
	assert_int_equal(sync_thread_create(&l.thread, look_on_and_on, &l), 0);
	for (int round = 0; round < 60; round++) {
		for (gfn_t gfn = 0; gfn < BLOCKS * 512; gfn += 37)
			rig_map(&a.r, gfn, gfn / 512 % 2 ? PG_LEVEL_2M : PG_LEVEL_4K);
		sync_write_lock(mmu_lock(a.r.mmu));
		mmu_for_each_spte (it, a.r.mmu, a.r.mmu->mirror_root, PG_LEVEL_2M, 0, BLOCKS * 512)
			if (it.level == PG_LEVEL_2M && spte_is_present(it.old_spte))
				assert_int_equal(mmu_set_spte(a.r.mmu, &it, SPTE_NONE), 0);
		sync_write_unlock(mmu_lock(a.r.mmu));
	}
	sync_fetch_sub(&a.running, 1);
	sync_thread_join(&l.thread);
	if (l.wrong)
		fail_msg("%s", l.wrong);
	rig_exit(&a.r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row100_random),
		cmocka_unit_test(row72_row100_threads),
		cmocka_unit_test(look_without_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
