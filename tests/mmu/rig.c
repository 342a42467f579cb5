/* SPDX-License-Identifier: MIT */
#include "mmu/rig.h"

/* ---- the external side ---------------------------------------------------------------------- */

static int wrong(struct rig *r, const char *what)
{
	sync_fetch_add(&r->wrongs, 1);
	r->wrong = what;
	return -EIO;
}

/* The table whose entries at @level cover @gfn, NULL if the external side has none. */
static struct ext_table *ext_table_at(struct rig *r, gfn_t gfn, enum pg_level level)
{
	struct ext_table *t = r->root;

	while (t && t->level > level)
		t = t->child[level_index(gfn, t->level)];
	return t;
}

static int ext_map(struct rig *r, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	struct ext_table *t = ext_table_at(r, gfn, level);
	unsigned int i = level_index(gfn, level);

	sync_fetch_add(&r->maps, 1);
	if (!t || t->leaf[i] || t->child[i] || level > PG_LEVEL_MAX_LEAF)
		return wrong(r, "map where no leaf may be");
	if (!IS_ALIGNED(gfn, pages_per_level(level)) || !IS_ALIGNED(pfn, pages_per_level(level)))
		return wrong(r, "map of an unaligned block");
	t->leaf[i] = pfn + 1;
	sync_fetch_add(&t->live, 1);
	sync_fetch_add(&r->ext_leafs, 1);
	return 0;
}

static int ext_link(struct rig *r, gfn_t gfn, const struct mmu_page *sp, enum pg_level level)
{
	struct ext_table *t = ext_table_at(r, gfn, level);
	unsigned int i = level_index(gfn, level);

	sync_fetch_add(&r->links, 1);
	if (!t || t->leaf[i] || t->child[i])
		return wrong(r, "link where no table may be");
	if (!sp->external_spt || sp->level != level - 1 || sp->gfn != gfn || !sp->mirror)
		return wrong(r, "link of a table that isn't fit");
	t->child[i] = calloc(1, sizeof(*t));
	t->child[i]->level = level - 1;
	t->child[i]->page = sp->external_spt;
	sync_fetch_add(&t->live, 1);
	sync_fetch_add(&r->ext_tables, 1);
	return 0;
}

static int ext_remove(struct rig *r, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	struct ext_table *t = ext_table_at(r, gfn, level);
	unsigned int i = level_index(gfn, level);

	sync_fetch_add(&r->removes, 1);
	if (!t || t->leaf[i] != pfn + 1)
		return wrong(r, "remove of what isn't there");
	t->leaf[i] = 0;
	sync_fetch_sub(&t->live, 1);
	sync_fetch_sub(&r->ext_leafs, 1);
	return 0;
}

static void stop_if_asked(struct rig *r)
{
	if (!sync_load(&r->stop))
		return;
	sync_store_release(&r->stopped, 1);
	sync_wake_all(&r->stop_wait);
	while (sync_load_acquire(&r->stop))
		sync_relax();
}

static int set_external_spte(void *ctx, gfn_t gfn, u64 old_spte, u64 new_spte, enum pg_level level,
			     bool shared)
{
	struct rig *r = ctx;
	u64 call = sync_fetch_add(&r->calls, 1) + 1;

	stop_if_asked(r);
	if (call == sync_load(&r->fail_at))
		return r->fail_with;
	if (shared && r->busy_every && call % r->busy_every == 0)
		return -EBUSY;
	if (shared && mmu_spte_is_present(old_spte))
		return wrong(r, "removal under the read lock");
	if (mmu_spte_is_frozen(old_spte) || mmu_spte_is_frozen(new_spte))
		return wrong(r, "FROZEN shown to the external side");
	if (mmu_spte_is_leaf(old_spte, level))
		return ext_remove(r, gfn, mmu_spte_pfn(old_spte), level);
	if (mmu_spte_is_leaf(new_spte, level))
		return ext_map(r, gfn, mmu_spte_pfn(new_spte), level);
	if (mmu_spte_is_present(new_spte))
		return ext_link(r, gfn, mmu_spte_child(r->mmu, new_spte), level);
	return wrong(r, "a change that is none");
}

static int reclaim_external_sp(void *ctx, gfn_t gfn, struct mmu_page *sp)
{
	struct rig *r = ctx;
	struct ext_table *parent = ext_table_at(r, gfn, sp->level + 1);
	struct ext_table **link, *t;

	sync_fetch_add(&r->reclaims, 1);
	if (r->fail_reclaim)
		return -EIO;
	if (!parent || gfn != sp->gfn)
		return wrong(r, "reclaim of a table without its parent");
	link = &parent->child[level_index(gfn, parent->level)];
	t = *link;
	if (!t || t->page != sp->external_spt)
		return wrong(r, "reclaim of a table that isn't there");
	if (t->live)
		return wrong(r, "reclaim of a table before what is below it");
	*link = NULL;
	free(t);
	sync_fetch_sub(&parent->live, 1);
	sync_fetch_sub(&r->ext_tables, 1);
	return 0;
}

static int alloc_external_spt(void *ctx, pfn_t *pfn)
{
	struct rig *r = ctx;
	int err = r->fail_alloc ? -ENOMEM : host_alloc(r->host, PG_LEVEL_4K, FRAME_SEPT_TABLE, pfn);

	if (!err)
		sync_fetch_add(&r->pages_out, 1);
	return err;
}

static void free_external_spt(void *ctx, pfn_t pfn)
{
	struct rig *r = ctx;

	sync_fetch_sub(&r->pages_out, 1);
	host_free(r->host, pfn, PG_LEVEL_4K, FRAME_SEPT_TABLE);
}

static void flush_external(void *ctx)
{
	struct rig *r = ctx;

	sync_rwlock_assert_write(mmu_lock(r->mmu));
	sync_fetch_add(&r->flushes, 1);
}

static const struct mmu_external_ops external_ops = {
	.set_external_spte = set_external_spte,
	.reclaim_external_sp = reclaim_external_sp,
	.alloc_external_spt = alloc_external_spt,
	.free_external_spt = free_external_spt,
	.flush_external = flush_external,
};

/* What was left on the external side when its VM was stopped. */
static void ext_free(struct ext_table *t)
{
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		if (t->child[i])
			ext_free(t->child[i]);
	free(t);
}

static void vm_bugged(void *ctx, const char *why)
{
	struct rig *r = ctx;

	sync_fetch_add(&r->bugs, 1);
	r->why = why;
}

/* ---- the rig -------------------------------------------------------------------------------- */

void rig_init(struct rig *r)
{
	struct host_config host_cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct mmu_config cfg = {
		.root_level = PG_LEVEL_512G,
		.shared_bit = RIG_SHARED_BIT,
		.external = &external_ops,
		.external_ctx = r,
		.vm_bugged = vm_bugged,
		.vm_ctx = r,
	};

	memset(r, 0, sizeof(*r));
	sync_thread_enter();
	sync_waitq_init(&r->stop_wait);
	assert_int_equal(host_create(&host_cfg, &r->host), 0);
	r->root = calloc(1, sizeof(*r->root));
	r->root->level = PG_LEVEL_512G;
	cfg.host = r->host;
	assert_int_equal(mmu_create(&cfg, &r->mmu), 0);
	mmu_cache_init(&r->cache, r->mmu);
}

static void rig_free(struct rig *r)
{
	mmu_cache_destroy(&r->cache);
	mmu_destroy(r->mmu);
}

static void rig_free_host(struct rig *r)
{
	ext_free(r->root);
	sync_waitq_destroy(&r->stop_wait);
	host_destroy(r->host);
}

void rig_exit(struct rig *r)
{
	u64 tables, reclaims = r->reclaims;

	rig_check(r);
	tables = sync_load(&r->ext_tables);
	rig_free(r);
	if (r->wrong)
		fail_msg("the external side: %s", r->wrong);
	assert_int_equal(r->bugs, 0);
	assert_int_equal(r->reclaims - reclaims, tables);
	assert_int_equal(r->ext_tables, 0);
	assert_int_equal(r->ext_leafs, 0);
	assert_int_equal(r->pages_out, 0);
	assert_int_equal(host_frames_used(r->host), 0);
	rig_free_host(r);
}

void rig_exit_dead(struct rig *r)
{
	rig_free(r);
	assert_true(r->bugs > 0);
	/* Pages that the external side kept are lost by contract; nothing else is. */
	assert_int_equal(host_frames_used(r->host), r->pages_out);
	rig_free_host(r);
}

struct check {
	struct rig *r;
	u64 pages[PG_LEVEL_NUM];
	u64 tables;
};

static void check_table(struct check *c, const struct mmu_page *sp, const struct ext_table *t)
{
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++) {
		u64 spte = sync_load_acquire(&sp->spt[i]);

		assert_false(mmu_spte_is_frozen(spte));
		if (t) {
			bool leaf = mmu_spte_is_leaf(spte, sp->level);

			assert_int_equal(t->leaf[i], leaf ? mmu_spte_pfn(spte) + 1 : 0);
			assert_int_equal(!!t->child[i], mmu_spte_is_present(spte) && !leaf);
		}
		if (mmu_spte_is_leaf(spte, sp->level)) {
			c->pages[sp->level]++;
		} else if (mmu_spte_is_present(spte)) {
			const struct mmu_page *child = mmu_spte_child(c->r->mmu, spte);

			c->tables++;
			assert_int_equal(child->level, sp->level - 1);
			if (t)
				assert_int_equal(t->child[i]->page, child->external_spt);
			check_table(c, child, t ? t->child[i] : NULL);
		} else {
			assert_int_equal(spte, 0);
		}
	}
}

void rig_check(struct rig *r)
{
	const struct mmu_stats *stats = mmu_stats(r->mmu);
	struct check c = {.r = r};
	u64 mirror_tables;

	if (r->wrong)
		fail_msg("the external side: %s", r->wrong);
	check_table(&c, r->mmu->mirror_root, r->root);
	mirror_tables = c.tables;
	assert_int_equal(stats->mirror_tables, mirror_tables + 1);
	assert_int_equal(stats->external_tables, mirror_tables);
	assert_int_equal(sync_load(&r->ext_tables), mirror_tables);
	check_table(&c, r->mmu->direct_root, NULL);
	assert_int_equal(stats->direct_tables, c.tables - mirror_tables + 1);
	for (int level = PG_LEVEL_4K; level < PG_LEVEL_NUM; level++)
		assert_int_equal(stats->pages[level], c.pages[level]);
}

struct mmu_fault rig_fault(struct rig *r, gfn_t gfn, pfn_t pfn, enum pg_level max_level)
{
	return (struct mmu_fault){
		.gfn = gfn,
		.pfn = pfn,
		.max_level = max_level,
		.private = true,
		.write = true,
		.invalidate_seq = mmu_invalidate_seq(r->mmu),
	};
}

int rig_map(struct rig *r, gfn_t gfn, enum pg_level max_level)
{
	struct mmu_fault fault = rig_fault(r, gfn, pfn_of(gfn), max_level);

	assert_int_equal(mmu_cache_topup(&r->cache), 0);
	return mmu_map(r->mmu, &r->cache, &fault);
}

int rig_map_shared(struct rig *r, gfn_t gfn, enum pg_level max_level)
{
	struct mmu_fault fault = rig_fault(r, gfn, pfn_of(gfn), max_level);

	fault.private = false;
	assert_int_equal(mmu_cache_topup(&r->cache), 0);
	return mmu_map(r->mmu, &r->cache, &fault);
}

void rig_zap(struct rig *r, gfn_t start, gfn_t end, bool private)
{
	sync_write_lock(mmu_lock(r->mmu));
	mmu_zap_leafs(r->mmu, start, end, private);
	sync_write_unlock(mmu_lock(r->mmu));
}

struct mmu_mapping rig_lookup(struct rig *r, gfn_t gfn, bool private)
{
	struct mmu_mapping m = {.level = PG_LEVEL_NONE};

	mmu_lookup(r->mmu, gfn, private, &m);
	return m;
}

u64 rig_pages(const struct rig *r, enum pg_level level)
{
	return sync_load(&mmu_stats(r->mmu)->pages[level]);
}
