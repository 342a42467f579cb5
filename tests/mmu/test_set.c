/* SPDX-License-Identifier: MIT */
/* The setters: what may follow what, who is told, and what happens to a table that goes. */
#include "mmu/rig.h"

#define BLOCK 0x400 /* first gfn of the 2M block whose entry is changed */

enum kind { NONE, LEAF, TABLE, FROZEN, GARBAGE, KINDS };

/* From the rules of the field: what may happen at all, and what under the read lock. */
static int verdict(bool mirror, enum kind old, enum kind new, bool shared, bool able)
{
	if (old == NONE && (new == LEAF || new == TABLE))
		return 0;
	if (old == LEAF && new == TABLE)
		return shared && mirror && !able ? -EOPNOTSUPP : 0;
	if (!shared && (old == LEAF || old == TABLE) && new == NONE)
		return 0;
	return !shared && mirror && old == TABLE && new == LEAF ? 0 : -EIO;
}

static void iter_at(struct rig *r, struct mmu_iter *it, const struct mmu_page *root)
{
	gfn_t gfn = mmu_root_gfn(r->mmu, BLOCK, root->mirror);

	mmu_for_each_spte (*it, r->mmu, root, PG_LEVEL_2M, gfn, gfn + 1)
		if (it->level == PG_LEVEL_2M)
			return;
	fail_msg("no entry at 2M");
}

/* Puts an entry of kind @kind at BLOCK, with the tables above it. */
static void prepare(struct rig *r, struct mmu_iter *it, bool mirror, enum kind kind)
{
	int (*map)(struct rig *, gfn_t, enum pg_level) = mirror ? rig_map : rig_map_shared;

	assert_int_equal(map(r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	if (kind == LEAF)
		assert_int_equal(map(r, BLOCK, PG_LEVEL_2M), MMU_RET_FIXED);
	for (gfn_t gfn = BLOCK; kind == TABLE && gfn < BLOCK + 512; gfn++)
		assert_int_equal(map(r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	iter_at(r, it, mirror ? r->mmu->mirror_root : r->mmu->direct_root);
	if (kind == FROZEN || kind == GARBAGE) {
		sync_store(it->sptep, kind == FROZEN ? SPTE_FROZEN : BIT_ULL(62));
		it->old_spte = *it->sptep;
	}
}

/* A table that follows a leaf is full, as a split's must be; a leaf maps the same frames. */
static u64 new_value(struct mmu_page *sp, enum kind old, enum kind new)
{
	switch (new) {
	case LEAF:
		return spte_make_leaf(pfn_of(BLOCK), PG_LEVEL_2M);
	case TABLE:
		mmu_page_use(sp, BLOCK, PG_LEVEL_4K);
		for (unsigned int i = 0; old == LEAF && i < PTRS_PER_TABLE; i++)
			sp->spt[i] = spte_make_leaf(pfn_of(BLOCK) + i, PG_LEVEL_4K);
		return spte_make_table(sp->table);
	case FROZEN:
		return SPTE_FROZEN;
	case GARBAGE:
		return BIT_ULL(62);
	default:
		return SPTE_NONE;
	}
}

static int set(struct rig *r, struct mmu_iter *it, u64 new_spte, bool shared)
{
	int ret;

	if (shared) {
		sync_read_lock(mmu_lock(r->mmu));
		ret = mmu_set_spte_atomic(r->mmu, it, new_spte);
		sync_read_unlock(mmu_lock(r->mmu));
	} else {
		sync_write_lock(mmu_lock(r->mmu));
		ret = mmu_set_spte(r->mmu, it, new_spte);
		sync_write_unlock(mmu_lock(r->mmu));
	}
	return ret;
}

/* Links, splits and so on that the external side saw since @before. */
static void check_operations(const struct rig *r, const struct rig *before, enum kind old,
			     enum kind new, bool happened)
{
	assert_int_equal(r->maps - before->maps, happened && old == NONE && new == LEAF);
	assert_int_equal(r->links - before->links, happened && old == NONE && new == TABLE);
	assert_int_equal(r->splits - before->splits, happened && old == LEAF && new == TABLE);
	assert_int_equal(r->promotes - before->promotes, happened && old == TABLE && new == LEAF);
	/* A table that goes is told of through its leaves and its reclaim, not by its own entry. */
	assert_int_equal(r->reclaims - before->reclaims, happened && old == TABLE && new == NONE);
	assert_int_equal(r->removes - before->removes, !happened || new != NONE ? 0
						       : old == TABLE		? PTRS_PER_TABLE
										: 1);
	assert_int_equal(r->calls - before->calls,
			 r->removes - before->removes + (happened && new != NONE));
}

static void check_transition(bool mirror, enum kind old, enum kind new, bool shared, bool able)
{
	struct mmu_config policy = {.split_metadata = MMU_META_VM_CACHE,
				    .split_under_read_lock = able};
	int expected = verdict(mirror, old, new, shared, able);
	struct rig r, before;
	struct mmu_iter it;
	struct mmu_page *sp;
	u64 old_spte, new_spte;

	rig_init_policy(&r, &policy);
	rig_topup_split_cache(&r);
	prepare(&r, &it, mirror, old);
	old_spte = it.old_spte;
	sp = mmu_cache_take(&r.cache, mirror);
	new_spte = new_value(sp, old, new);
	before = r;
	assert_int_equal(set(&r, &it, new_spte, shared), expected);
	assert_int_equal(r.bugs, expected == -EIO);
	assert_int_equal(r.warnings, expected == -EOPNOTSUPP);
	assert_int_equal(*it.sptep, expected ? old_spte : new_spte);
	assert_int_equal(it.old_spte, *it.sptep);
	check_operations(&r, &before, old, new, !expected && mirror);
	if (expected || new != TABLE) {
		memset(sp->spt, 0, PAGE_SIZE);
		mmu_cache_return(&r.cache, sp);
	}
	if (old == FROZEN || old == GARBAGE)
		sync_store(it.sptep, SPTE_NONE);
	if (expected == -EIO)
		rig_exit_dead(&r);
	else
		rig_exit(&r);
}

/*
 * Row 32: of all pairs of old and new value only the legal ones reach the external side, each by its
 * own operation and once; everything else stops the VM and leaves the entry. Both setters, both roots.
 */
static void row32_transitions(void **state)
{
	(void)state;
	for (int old = NONE; old < KINDS; old++)
		for (int new = NONE; new < KINDS; new ++)
			for (int way = 0; way < 8; way++)
				check_transition(way & 1, (enum kind)old, (enum kind) new, way & 2,
						 way & 4);
}

/*
 * Row 28: a split under the read lock is refused, with one warning however often it is tried; the
 * leaf stays, the hook isn't asked, both sides agree and the VM lives.
 */
static void row28_shared_split_refused(void **state)
{
	struct mmu_page *sp;
	struct mmu_iter it;
	struct rig r;
	u64 calls, leaf;

	(void)state;
	rig_init(&r);
	prepare(&r, &it, true, LEAF);
	leaf = it.old_spte;
	calls = r.calls;
	sp = mmu_cache_take(&r.cache, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(set(&r, &it, new_value(sp, LEAF, TABLE), true), -EOPNOTSUPP);
	assert_int_equal(r.warnings, 1);
	assert_int_equal(*it.sptep, leaf);
	assert_int_equal(r.calls, calls);
	memset(sp->spt, 0, PAGE_SIZE);
	mmu_cache_return(&r.cache, sp);
	rig_exit(&r);
}

/*
 * Rows 30, 33 and 56: where the external side can split under the read lock, it is asked once; busy
 * or short of pages it says so, and the leaf is back, counters as they were; asked again it does it.
 */
static void row30_row33_row56_shared_split(void **state)
{
	struct mmu_config policy = {.split_metadata = MMU_META_VM_CACHE,
				    .split_under_read_lock = true};
	struct mmu_stats before;
	struct mmu_page *sp;
	struct mmu_iter it;
	struct rig r;
	u64 calls, leaf;

	(void)state;
	rig_init_policy(&r, &policy);
	prepare(&r, &it, true, LEAF);
	leaf = it.old_spte;
	calls = r.calls;
	before = *mmu_stats(r.mmu);
	sp = mmu_cache_take(&r.cache, true);
	assert_int_equal(set(&r, &it, new_value(sp, LEAF, TABLE), true), -EBUSY);
	r.fail_with = -EBUSY;
	r.fail_at = r.calls + 1;
	assert_int_equal(set(&r, &it, new_value(sp, LEAF, TABLE), true), -EBUSY);
	assert_int_equal(r.calls - calls, 2);
	assert_int_equal(*it.sptep, leaf);
	assert_memory_equal(&before, mmu_stats(r.mmu), sizeof(before));
	rig_topup_split_cache(&r);
	assert_int_equal(set(&r, &it, new_value(sp, LEAF, TABLE), true), 0);
	assert_int_equal(r.calls - calls, 3);
	assert_int_equal(r.nr_cached, RIG_CACHE_MAX - RIG_SPLIT_METADATA);
	assert_int_equal(mmu_stats(r.mmu)->splits, 1);
	rig_exit(&r);
}

/* Splits the 2M leaf of its own block under the read lock. */
struct consumer {
	struct sync_thread thread;
	struct rig *r;
	gfn_t gfn;
	struct mmu_page *sp;
	int ret;
};

static void consume(void *arg)
{
	struct consumer *c = arg;
	struct mmu *mmu = c->r->mmu;
	struct mmu_iter it;

	c->ret = -ENOENT;
	mmu_page_use(c->sp, c->gfn, PG_LEVEL_4K);
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		c->sp->spt[i] = spte_make_leaf(pfn_of(c->gfn) + i, PG_LEVEL_4K);
	sync_read_lock(mmu_lock(mmu));
	mmu_for_each_spte (it, mmu, mmu->mirror_root, PG_LEVEL_2M, c->gfn, c->gfn + 1)
		if (it.level == PG_LEVEL_2M)
			c->ret = mmu_set_spte_atomic(mmu, &it, spte_make_table(c->sp->table));
	sync_read_unlock(mmu_lock(mmu));
}

/*
 * Row 56: two threads that split under the read lock, with pages for one: one gets them all, the
 * other is told to come again, its leaf as it was, and nobody fails for good.
 */
static void row56_two_consumers(void **state)
{
	struct mmu_config policy = {.split_metadata = MMU_META_VM_CACHE,
				    .split_under_read_lock = true};

	(void)state;
	for (int round = 0; round < 50; round++) {
		struct consumer c[2], first = {.gfn = 3 * BLOCK};
		struct consumer *loser;
		struct rig r;

		rig_init_policy(&r, &policy);
		rig_topup_split_cache(&r);
		for (gfn_t gfn = BLOCK; gfn <= 3 * BLOCK; gfn += BLOCK)
			assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
		first.r = &r;
		first.sp = mmu_cache_take(&r.cache, true);
		consume(&first);
		assert_int_equal(first.ret, 0);
		assert_int_equal(r.nr_cached, RIG_SPLIT_METADATA);
		for (unsigned int i = 0; i < 2; i++)
			c[i] = (struct consumer){.r = &r,
						 .gfn = (i + 1) * BLOCK,
						 .sp = mmu_cache_take(&r.cache, true)};
		for (unsigned int i = 0; i < 2; i++)
			assert_int_equal(sync_thread_create(&c[i].thread, consume, &c[i]), 0);
		for (unsigned int i = 0; i < 2; i++)
			sync_thread_join(&c[i].thread);
		loser = &c[!c[0].ret];
		assert_int_equal(c[0].ret + c[1].ret, -EBUSY);
		assert_int_equal(rig_lookup(&r, loser->gfn, true).level, PG_LEVEL_2M);
		assert_int_equal(r.nr_cached, 0);
		rig_topup_split_cache(&r);
		consume(loser);
		assert_int_equal(loser->ret, 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, 3);
		rig_exit(&r);
	}
}

/*
 * Row 31: a setter that lost its compare-exchange leaves the winner's value in the snapshot, so that
 * a loop that tries the same entry again ends.
 */
static void row31_snapshot_refreshed(void **state)
{
	struct rig r;
	struct mmu_iter winner, loser;
	u64 leaf = spte_make_leaf(pfn_of(BLOCK), PG_LEVEL_2M);
	unsigned int tries = 0;

	(void)state;
	rig_init(&r);
	for (int mirror = 0; mirror < 2; mirror++, tries = 0) {
		prepare(&r, &winner, mirror, NONE);
		loser = winner;
		sync_read_lock(mmu_lock(r.mmu));
		assert_int_equal(mmu_set_spte_atomic(r.mmu, &winner, leaf), 0);
		while (loser.old_spte != leaf && tries++ < 10)
			assert_int_equal(mmu_set_spte_atomic(r.mmu, &loser, leaf), -EBUSY);
		sync_read_unlock(mmu_lock(r.mmu));
		assert_int_equal(tries, 1);
	}
	rig_exit(&r);
}

static void map_some(struct rig *r)
{
	for (gfn_t gfn = 0; gfn < 40; gfn++)
		assert_int_equal(rig_map(r, gfn * 0x3333, gfn % 3 ? PG_LEVEL_4K : PG_LEVEL_2M),
				 MMU_RET_FIXED);
	assert_int_equal(rig_map(r, 7ULL << 27, PG_LEVEL_1G), MMU_RET_FIXED);
	assert_int_equal(rig_map_shared(r, 0x777, PG_LEVEL_4K), MMU_RET_FIXED);
}

/*
 * Row 34: at teardown the external side loses every leaf before its table and every table before
 * its parent (it refuses anything else), and everything goes.
 */
static void row34_child_before_parent(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	map_some(&r);
	assert_true(r.ext_tables > 10);
	rig_exit(&r);
}

/*
 * Row 35: a table that the external side doesn't give back stops the VM; its page is leaked, and no
 * other frame is.
 */
static void row35_reclaim_refused(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	map_some(&r);
	r.fail_reclaim = true;
	rig_exit_dead(&r);
	assert_int_equal(r.reclaims, r.pages_out);
	assert_int_equal(r.bugs, r.reclaims);
}

/* A removal that fails at any point of a teardown stops the VM, and the teardown goes on to the end. */
static void teardown_with_failures(void **state)
{
	u64 calls = 1;

	(void)state;
	for (u64 n = 1; n <= calls; n += 3) {
		struct rig r;
		u64 before;

		rig_init(&r);
		map_some(&r);
		before = r.calls;
		r.fail_with = n % 2 ? -EBUSY : -EIO;
		r.fail_at = before + n;
		rig_exit_dead(&r);
		calls = r.calls - before;
		assert_true(r.removes == calls - 1);
	}
	assert_int_equal(calls, 41);
}

struct walker {
	struct rig *r;
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

/*
 * Row 36: a table that left the tree stays in memory, all its entries FROZEN, until the walker that
 * may be inside has left its read section; then its frame is free.
 */
static void row36_rcu_free(void **state)
{
	struct walker w = {0};
	struct sync_thread thread;
	struct mmu_iter it;
	struct rig r;
	pfn_t table;
	u64 used;

	(void)state;
	rig_init(&r);
	prepare(&r, &it, true, TABLE);
	w.sp = mmu_spte_child(r.mmu, it.old_spte);
	table = w.sp->table;
	used = r.host->used[FRAME_MIRROR_TABLE];
	assert_int_equal(sync_thread_create(&thread, walk_slowly, &w), 0);
	while (!sync_load_acquire(&w.inside))
		sync_relax();
	sync_write_lock(mmu_lock(r.mmu));
	assert_int_equal(mmu_set_spte(r.mmu, &it, SPTE_NONE), 0);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_int_equal(rig_lookup(&r, BLOCK, true).level, PG_LEVEL_NONE);
	assert_ptr_equal(r.host->private[table], w.sp);
	assert_int_equal(sync_load(&r.host->used[FRAME_MIRROR_TABLE]), used);
	sync_store_release(&w.leave, 1);
	sync_thread_join(&thread);
	assert_int_equal(w.sum, 0);
	sync_rcu_barrier();
	assert_null(r.host->private[table]);
	assert_int_equal(sync_load(&r.host->used[FRAME_MIRROR_TABLE]), used - 1);
	assert_int_equal(r.reclaims, 1);
	rig_exit(&r);
}

/*
 * Row 35: of a table whose page the external side kept nobody finds that page any more: not even who
 * is still inside the table, whose descriptor has forgotten it.
 */
static void row35_lost_page_is_forgotten(void **state)
{
	struct walker w = {0};
	struct sync_thread thread;
	struct mmu_iter it;
	struct rig r;

	(void)state;
	rig_init(&r);
	prepare(&r, &it, true, TABLE);
	w.sp = mmu_spte_child(r.mmu, it.old_spte);
	assert_int_not_equal(w.sp->external_spt, 0);
	r.fail_reclaim = true;
	assert_int_equal(sync_thread_create(&thread, walk_slowly, &w), 0);
	while (!sync_load_acquire(&w.inside))
		sync_relax();
	sync_write_lock(mmu_lock(r.mmu));
	mmu_set_spte(r.mmu, &it, SPTE_NONE);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_int_equal(w.sp->external_spt, 0);
	assert_int_equal(r.bugs, 1);
	sync_store_release(&w.leave, 1);
	sync_thread_join(&thread);
	r.fail_reclaim = false;
	rig_exit_dead(&r);
	/* It, and those above it, which can't be taken back before it. */
	assert_int_equal(r.pages_out, 3);
}

/*
 * Row 37: what frees a table when its readers have gone takes no lock that is held where tables are
 * taken out: with all of those held it comes to an end.
 */
static void row37_free_needs_no_lock(void **state)
{
	struct mmu_iter it;
	struct rig r;
	u64 used;

	(void)state;
	rig_init(&r);
	prepare(&r, &it, true, TABLE);
	used = sync_load(&r.host->used[FRAME_MIRROR_TABLE]);
	sync_write_lock(mmu_lock(r.mmu));
	assert_int_equal(mmu_set_spte(r.mmu, &it, SPTE_NONE), 0);
	sync_mutex_lock(&r.mmu->roots_lock);
	sync_mutex_lock(&r.cache_lock); /* of pamt_lock's class */
	/* Not by a barrier of ours: nobody may wait for readers with a lock held. */
	while (sync_load(&r.host->used[FRAME_MIRROR_TABLE]) != used - 1)
		sync_relax();
	sync_mutex_unlock(&r.cache_lock);
	sync_mutex_unlock(&r.mmu->roots_lock);
	sync_write_unlock(mmu_lock(r.mmu));
	rig_exit(&r);
}

struct putter {
	struct rig *r;
	struct mmu_page *root;
	u32 done; /* pairs with itself */
};

static void put_root(void *arg)
{
	struct putter *p = arg;

	mmu_root_put(p->r->mmu, p->root);
	sync_store_release(&p->done, 1);
}

/* A root lives as long as its last user, and gives nobody a new reference after that. */
static void root_references(void **state)
{
	struct sync_thread thread;
	struct putter putter = {0};
	struct rig r;
	struct mmu_page *root;

	(void)state;
	rig_init(&r);
	root = mmu_root_next(r.mmu, NULL, true);
	assert_ptr_equal(root, r.mmu->mirror_root);
	assert_int_equal(root->root_count, 2);
	assert_null(mmu_root_next(r.mmu, root, true));
	assert_int_equal(root->root_count, 1);
	root = mmu_root_create(r.mmu, false);
	assert_non_null(root);
	assert_true(mmu_root_get(root));
	mmu_root_put(r.mmu, root);
	assert_int_equal(mmu_stats(r.mmu)->direct_tables, 2);

	putter.r = &r;
	putter.root = root;
	sync_rcu_read_lock();
	assert_int_equal(sync_thread_create(&thread, put_root, &putter), 0);
	while (!sync_load_acquire(&putter.done))
		sync_relax();
	assert_false(mmu_root_get(root));
	sync_rcu_read_unlock();
	sync_thread_join(&thread);
	assert_int_equal(mmu_stats(r.mmu)->direct_tables, 1);
	rig_exit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row32_transitions),
		cmocka_unit_test(row28_shared_split_refused),
		cmocka_unit_test(row30_row33_row56_shared_split),
		cmocka_unit_test(row56_two_consumers),
		cmocka_unit_test(row31_snapshot_refreshed),
		cmocka_unit_test(row34_child_before_parent),
		cmocka_unit_test(row35_reclaim_refused),
		cmocka_unit_test(teardown_with_failures),
		cmocka_unit_test(row36_rcu_free),
		cmocka_unit_test(row35_lost_page_is_forgotten),
		cmocka_unit_test(row37_free_needs_no_lock),
		cmocka_unit_test(root_references),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
