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

/* Splits the model's leaf that has @i inside, if there is one. */
static void model_split(struct model *m, u64 i)
{
	if (i >= MODEL_GFNS || m->level[i] != PG_LEVEL_2M)
		return;
	m->has_table[i / 512] = true;
	model_set(m, i / 512 * 512, 512, PG_LEVEL_4K);
}

static void random_split(struct rig *r, struct model *m, u64 *rand)
{
	u64 first = rig_rand(rand) % MODEL_GFNS;
	u64 end = min_u64(first + 1 + rig_rand(rand) % 2048, MODEL_GFNS);

	if (rig_rand(rand) % 4 == 0)
		end = ALIGN_UP(end, 512);
	if (rig_rand(rand) % 2) {
		assert_int_equal(rig_split(r, MODEL_BASE + first, MODEL_BASE + end, true), 0);
		for (int tail = 0; tail < 2; tail++)
			if ((tail ? end : first) % 512)
				model_split(m, tail ? end : first);
	} else {
		assert_int_equal(rig_split_to(r, MODEL_BASE + first, MODEL_BASE + end, PG_LEVEL_4K,
					      true),
				 0);
		for (u64 i = first; i < end; i++)
			model_split(m, i);
	}
}

/* Some blocks have to become full first. */
static void random_promotion(struct rig *r, struct model *m, u64 *rand)
{
	u64 block = rig_rand(rand) % MODEL_BLOCKS, first = block * 512;
	bool full = m->has_table[block], fill = rig_rand(rand) % 2;

	for (u64 i = first; full && i < first + 512; i++) {
		if (!m->level[i] && fill) {
			while (rig_map(r, MODEL_BASE + i, PG_LEVEL_4K) == MMU_RET_RETRY)
				;
			m->level[i] = PG_LEVEL_4K;
		}
		full = m->level[i];
	}
	assert_int_equal(mmu_is_promotable(r->mmu, MODEL_BASE + first + 7, PG_LEVEL_2M), full);
	r->refuse_promote = rig_rand(rand) % 4 == 0;
	full &= !r->refuse_promote;
	assert_int_equal(rig_promote(r, MODEL_BASE + first + 7, PG_LEVEL_2M), full ? 0 : -EAGAIN);
	if (full) {
		m->has_table[block] = false;
		model_set(m, first, 512, PG_LEVEL_2M);
	}
}

static void random_step(struct rig *r, struct model *m, u64 *rand)
{
	switch (rig_rand(rand) % 16) {
	case 0:
	case 1:
		random_zap(r, m, rand);
		break;
	case 2:
		random_split(r, m, rand);
		break;
	case 3:
		random_promotion(r, m, rand);
		break;
	default:
		random_fault(r, m, rand);
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
 * Row 100: after any sequence of faults, zaps, splits and promotions, with an external side that is
 * busy or refuses now and then, the mirror is what a flat model says, and the external side is what
 * the mirror says. For all policies of splitting.
 */
static void row100_random(void **state)
{
	static struct model m;

	(void)state;
	for (u64 seed = 1; seed <= RIG_POLICIES; seed++) {
		u64 rand = seed * 0x9E3779B97F4A7C15ULL;
		struct mmu_config policy = rig_policy((unsigned int)seed - 1);
		struct rig r;

		print_message("seed %lu\n", seed);
		memset(&m, 0, sizeof(m));
		rig_init_policy(&r, &policy);
		r.busy_every = seed % 2 ? 0 : 3;
		for (int i = 0; i < 2000; i++) {
			random_step(&r, &m, &rand);
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
	a.r.others_run = true;
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

/* ---- splits and promotions beside faults ---------------------------------------------------- */

#define HOLE_START 100 /* in odd blocks, what is removed now and then; nothing else ever is */
#define HOLE_END 200
#define MILL_HOLES 25 /* and as many promotions, before a mill stops */

struct mill {
	struct rig r;
	u8 mapped[BLOCKS * 512]; /* a fault has been through, and nobody removes it; atomic */
	u32 stop;		 /* atomic */
	u64 promotions;		 /* atomic */
	const char *wrong;	 /* atomic */
};

struct miller {
	struct mill *m;
	struct sync_thread thread;
	u64 seed;
};

static bool is_in_hole(gfn_t gfn)
{
	return gfn / 512 % 2 && gfn % 512 >= HOLE_START && gfn % 512 < HOLE_END;
}

static void fault_beside_splits(void *arg)
{
	struct miller *me = arg;
	struct mill *m = me->m;
	struct mmu_vcpu_cache cache;

	mmu_cache_init(&cache, m->r.mmu);
	while (!sync_load(&m->stop)) {
		gfn_t gfn = rig_rand(&me->seed) % (BLOCKS * 512);
		struct mmu_fault fault = rig_fault(&m->r, gfn, pfn_of(gfn), PG_LEVEL_2M);
		int ret;

		if (rig_rand(&me->seed) % 4)
			fault.max_level = PG_LEVEL_4K;
		if (mmu_cache_topup(&cache))
			sync_store(&m->wrong, "no memory");
		ret = mmu_map(m->r.mmu, &cache, &fault);
		if (ret < 0)
			sync_store(&m->wrong, "a fault failed");
		if ((ret == MMU_RET_FIXED || ret == MMU_RET_SPURIOUS) && !is_in_hole(gfn))
			sync_store(&m->mapped[gfn], 1);
	}
	mmu_cache_destroy(&cache);
}

static void split_on_and_on(void *arg)
{
	struct miller *me = arg;
	struct mill *m = me->m;

	while (!sync_load(&m->stop)) {
		gfn_t gfn = rig_rand(&me->seed) % (BLOCKS * 512);

		if (rig_split_to(&m->r, gfn, gfn + 1 + rig_rand(&me->seed) % 600, PG_LEVEL_4K,
				 true))
			sync_store(&m->wrong, "a split failed");
		sync_relax();
	}
}

/* Looks without a lock first, as who promotes does; refused now and then. */
static void promote_on_and_on(void *arg)
{
	struct miller *me = arg;
	struct mill *m = me->m;

	while (!sync_load(&m->stop)) {
		gfn_t gfn = rig_rand(&me->seed) % (BLOCKS * 512);
		struct mmu_mapping found;
		int err;

		if (mmu_lookup(m->r.mmu, gfn, true, &found) && found.pfn != pfn_of(found.gfn))
			sync_store(&m->wrong, "a look without a lock saw a leaf that never was");
		if (!mmu_is_promotable(m->r.mmu, gfn, PG_LEVEL_2M))
			continue;
		m->r.refuse_promote = rig_rand(&me->seed) % 4 == 0;
		err = rig_promote(&m->r, gfn, PG_LEVEL_2M);
		sync_fetch_add(&m->promotions, !err);
		if (err && err != -EAGAIN)
			sync_store(&m->wrong, "a promotion failed");
	}
}

/* As a conversion does it: split, let go of the lock, take away just the range. */
static void make_hole(struct mill *m, u64 block)
{
	struct sync_rwlock *lock = mmu_lock(m->r.mmu);
	gfn_t first = block * 512, start = first + HOLE_START, end = first + HOLE_END;
	struct mmu_mapping found;

	sync_write_lock(lock);
	mmu_invalidate_begin(m->r.mmu);
	mmu_invalidate_range_add(m->r.mmu, first, first + 512);
	assert_int_equal(mmu_split_boundaries(m->r.mmu, start, end, true), 0);
	sync_write_unlock(lock);
	sync_relax();
	sync_write_lock(lock);
	mmu_zap_leafs(m->r.mmu, start, end, true);
	for (gfn_t gfn = start; gfn < end; gfn++)
		assert_false(mmu_lookup(m->r.mmu, gfn, true, &found));
	mmu_invalidate_end(m->r.mmu);
	sync_write_unlock(lock);
}

static void check_mill(struct mill *m)
{
	if (m->wrong)
		fail_msg("%s", m->wrong);
	for (gfn_t gfn = 0; gfn < BLOCKS * 512; gfn++) {
		struct mmu_mapping found = rig_lookup(&m->r, gfn, true);

		if (m->mapped[gfn])
			assert_int_not_equal(found.level, PG_LEVEL_NONE);
		if (found.level)
			assert_int_equal(found.pfn, pfn_of(found.gfn));
	}
}

/* What is there from the start, and stays: the promoter never lacks a block to put together again. */
static void fill_even_blocks(struct mill *m)
{
	for (gfn_t gfn = 0; gfn < BLOCKS * 512; gfn += 1024) {
		assert_int_equal(rig_map(&m->r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
		memset(&m->mapped[gfn], 1, 512);
	}
}

static void run_mill(struct mill *m, const struct mmu_config *policy, u64 seed)
{
	static void (*const jobs[])(void *) = {fault_beside_splits, fault_beside_splits,
					       split_on_and_on, promote_on_and_on};
	struct miller millers[ARRAY_SIZE(jobs)];
	u64 holes = 0;

	memset(m, 0, sizeof(*m));
	rig_init_policy(&m->r, policy);
	m->r.busy_every = 13;
	m->r.others_run = true;
	fill_even_blocks(m);
	for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++) {
		millers[i] = (struct miller){.m = m, .seed = seed * 16 + i + 1};
		assert_int_equal(sync_thread_create(&millers[i].thread, jobs[i], &millers[i]), 0);
	}
	while (!sync_load(&m->wrong) &&
	       (holes < MILL_HOLES || sync_load(&m->promotions) < MILL_HOLES)) {
		make_hole(m, holes++ % (BLOCKS / 2) * 2 + 1);
		sync_relax();
	}
	sync_store(&m->stop, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++)
		sync_thread_join(&millers[i].thread);
	check_mill(m);
	rig_exit(&m->r);
}

/*
 * Row 100, with threads: while vCPUs fault, leaves are split, promoted and removed by the part; what a
 * fault has mapped stays mapped, to its frame, unless it is in what was removed, and then it is gone
 * while that lasts. For all policies.
 */
static void row100_split_and_promote_threads(void **state)
{
	static struct mill m;

	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);

		run_mill(&m, &policy, p + 1);
	}
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
		cmocka_unit_test(row100_split_and_promote_threads),
		cmocka_unit_test(look_without_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
