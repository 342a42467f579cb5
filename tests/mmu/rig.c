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

/* ---- metadata of splits --------------------------------------------------------------------- */

static int get_metadata_page(struct rig *r, pfn_t *pfn)
{
	int err = host_alloc(r->host, PG_LEVEL_4K, FRAME_PAMT, pfn);

	if (!err)
		sync_fetch_add(&r->metadata_out, 1);
	return err;
}

static void put_metadata_page(struct rig *r, pfn_t pfn)
{
	sync_fetch_sub(&r->metadata_out, 1);
	host_free(r->host, pfn, PG_LEVEL_4K, FRAME_PAMT);
}

static void note_outside(struct rig *r)
{
	sync_fetch_add(&r->gets, 1);
	if (r->outside)
		r->outside(r);
}

static void free_split_metadata(void *ctx, struct mmu_page *sp)
{
	while (sp->nr_metadata)
		put_metadata_page(ctx, sp->metadata[--sp->nr_metadata]);
}

static int alloc_split_metadata(void *ctx, struct mmu_page *sp, enum pg_level level)
{
	struct rig *r = ctx;

	note_outside(r);
	if (r->mmu->cfg.split_metadata == MMU_META_VM_CACHE || !sp->external_spt)
		return wrong(r, "metadata for a page that needs none");
	while (level == PG_LEVEL_2M && sp->nr_metadata < RIG_SPLIT_METADATA) {
		if (get_metadata_page(r, &sp->metadata[sp->nr_metadata])) {
			free_split_metadata(r, sp);
			return -ENOMEM;
		}
		sp->nr_metadata++;
	}
	return 0;
}

static bool split_cache_is_short(void *ctx, enum pg_level level)
{
	struct rig *r = ctx;

	return level == PG_LEVEL_2M && sync_load(&r->nr_cached) < RIG_SPLIT_METADATA;
}

static int topup_split_cache(void *ctx, enum pg_level level)
{
	struct rig *r = ctx;
	int err = r->fail_topup ? -ENOMEM : 0;

	(void)level;
	sync_fetch_add(&r->topups, 1);
	sync_mutex_lock(&r->cache_lock);
	while (!err && r->nr_cached < RIG_CACHE_MAX) {
		err = get_metadata_page(r, &r->cached[r->nr_cached]);
		if (!err)
			sync_store(&r->nr_cached, r->nr_cached + 1);
	}
	sync_mutex_unlock(&r->cache_lock);
	note_outside(r);
	return err;
}

/* What a split takes: off the descriptor, or out of the cache. */
static int take_metadata(struct rig *r, struct mmu_page *sp, struct ext_table *t, bool shared)
{
	bool cache = r->mmu->cfg.split_metadata == MMU_META_VM_CACHE;
	u32 need = t->level == PG_LEVEL_4K ? RIG_SPLIT_METADATA : 0;
	int err = 0;

	if (!cache) {
		if (sp->nr_metadata != need)
			return wrong(r, "split without its metadata");
		memcpy(t->metadata, sp->metadata, sizeof(t->metadata));
		t->nr_metadata = need;
		sp->nr_metadata = 0;
		return 0;
	}
	sync_mutex_lock(&r->cache_lock);
	if (r->nr_cached < need)
		err = shared ? -EBUSY : wrong(r, "split with an empty cache");
	while (!err && t->nr_metadata < need) {
		sync_store(&r->nr_cached, r->nr_cached - 1);
		t->metadata[t->nr_metadata++] = r->cached[r->nr_cached];
	}
	sync_mutex_unlock(&r->cache_lock);
	return err;
}

static void free_ext_table(struct rig *r, struct ext_table *t)
{
	while (t->nr_metadata)
		put_metadata_page(r, t->metadata[--t->nr_metadata]);
	free(t);
}

void rig_topup_split_cache(struct rig *r)
{
	assert_int_equal(topup_split_cache(r, PG_LEVEL_2M), 0);
}

void rig_drain_split_cache(struct rig *r)
{
	sync_mutex_lock(&r->cache_lock);
	while (r->nr_cached) {
		put_metadata_page(r, r->cached[r->nr_cached - 1]);
		sync_store(&r->nr_cached, r->nr_cached - 1);
	}
	sync_mutex_unlock(&r->cache_lock);
}

/* ---- split and promotion -------------------------------------------------------------------- */

static int ext_split(struct rig *r, gfn_t gfn, pfn_t pfn, struct mmu_page *sp, enum pg_level level,
		     bool shared)
{
	struct ext_table *t = ext_table_at(r, gfn, level), *child;
	unsigned int i = level_index(gfn, level);
	int err;

	sync_fetch_add(&r->splits, 1);
	if (!t || t->leaf[i] != pfn + 1 || t->child[i])
		return wrong(r, "split of what isn't there");
	if (!sp->external_spt || sp->level != level - 1 || sp->gfn != gfn || !sp->mirror)
		return wrong(r, "split into a table that isn't fit");
	child = calloc(1, sizeof(*child));
	child->level = level - 1;
	child->page = sp->external_spt;
	child->live = PTRS_PER_TABLE;
	for (unsigned int k = 0; k < PTRS_PER_TABLE; k++) {
		u64 spte = sync_load(&sp->spt[k]);

		child->leaf[k] = pfn + k * pages_per_level(level - 1) + 1;
		if (!mmu_spte_is_leaf(spte, level - 1) || mmu_spte_pfn(spte) + 1 != child->leaf[k])
			wrong(r, "split into a table that isn't full");
	}
	err = take_metadata(r, sp, child, shared);
	if (err) {
		free(child);
		return err;
	}
	t->leaf[i] = 0;
	t->child[i] = child;
	sync_fetch_add(&r->ext_leafs, PTRS_PER_TABLE - 1);
	sync_fetch_add(&r->ext_tables, 1);
	return 0;
}

static int ext_promote(struct rig *r, gfn_t gfn, pfn_t pfn, const struct mmu_page *sp,
		       enum pg_level level)
{
	struct ext_table *t = ext_table_at(r, gfn, level), *child;
	unsigned int i = level_index(gfn, level);

	sync_fetch_add(&r->promotes, 1);
	child = t ? t->child[i] : NULL;
	if (!child || child->page != sp->external_spt || child->live != PTRS_PER_TABLE)
		return wrong(r, "promotion of a table that isn't there or full");
	if (!IS_ALIGNED(pfn, pages_per_level(level)))
		return wrong(r, "promotion to an unaligned frame");
	for (unsigned int k = 0; k < PTRS_PER_TABLE; k++) {
		if (child->leaf[k] != pfn + k * pages_per_level(level - 1) + 1)
			return wrong(r, "promotion of parts that aren't contiguous");
		if (!mmu_spte_is_frozen(sync_load(&sp->spt[k])))
			return wrong(r, "promotion with a part that a walker may still read");
	}
	if (r->refuse_promote)
		return -EAGAIN;
	t->child[i] = NULL;
	t->leaf[i] = pfn + 1;
	free_ext_table(r, child);
	sync_fetch_sub(&r->ext_leafs, PTRS_PER_TABLE - 1);
	sync_fetch_sub(&r->ext_tables, 1);
	return 0;
}

/* ---- the hooks ------------------------------------------------------------------------------ */

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
	if (shared && mmu_spte_is_present(old_spte) &&
	    !(r->mmu->cfg.split_under_read_lock && mmu_spte_is_present(new_spte)))
		return wrong(r, "removal under the read lock");
	if (mmu_spte_is_frozen(old_spte) || mmu_spte_is_frozen(new_spte))
		return wrong(r, "FROZEN shown to the external side");
	if (mmu_spte_is_leaf(old_spte, level) && mmu_spte_is_present(new_spte))
		return ext_split(r, gfn, mmu_spte_pfn(old_spte), mmu_spte_child(r->mmu, new_spte),
				 level, shared);
	if (mmu_spte_is_leaf(old_spte, level))
		return ext_remove(r, gfn, mmu_spte_pfn(old_spte), level);
	if (mmu_spte_is_present(old_spte))
		return ext_promote(r, gfn, mmu_spte_pfn(new_spte), mmu_spte_child(r->mmu, old_spte),
				   level);
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
	free_ext_table(r, t);
	sync_fetch_sub(&parent->live, 1);
	sync_fetch_sub(&r->ext_tables, 1);
	return 0;
}

static int alloc_external_spt(void *ctx, pfn_t *pfn)
{
	struct rig *r = ctx;
	int err;

	note_outside(r);
	err = r->fail_alloc ? -ENOMEM : host_alloc(r->host, PG_LEVEL_4K, FRAME_SEPT_TABLE, pfn);
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
	.alloc_split_metadata = alloc_split_metadata,
	.free_split_metadata = free_split_metadata,
	.split_cache_is_short = split_cache_is_short,
	.topup_split_cache = topup_split_cache,
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

static void warn(void *ctx, const char *what)
{
	struct rig *r = ctx;

	(void)what;
	sync_fetch_add(&r->warnings, 1);
}

/* ---- the rig -------------------------------------------------------------------------------- */

void rig_init_policy(struct rig *r, const struct mmu_config *policy)
{
	struct host_config host_cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct mmu_config cfg = {
		.root_level = PG_LEVEL_512G,
		.shared_bit = RIG_SHARED_BIT,
		.external = &external_ops,
		.external_ctx = r,
		.vm_bugged = vm_bugged,
		.warn = warn,
		.vm_ctx = r,
		.split_where = policy->split_where,
		.split_metadata = policy->split_metadata,
		.split_under_read_lock = policy->split_under_read_lock,
	};

	memset(r, 0, sizeof(*r));
	sync_thread_enter();
	sync_waitq_init(&r->stop_wait);
	sync_mutex_init(&r->cache_lock, LOCK_DPAMT);
	assert_int_equal(host_create(&host_cfg, &r->host), 0);
	r->root = calloc(1, sizeof(*r->root));
	r->root->level = PG_LEVEL_512G;
	cfg.host = r->host;
	assert_int_equal(mmu_create(&cfg, &r->mmu), 0);
	mmu_cache_init(&r->cache, r->mmu);
}

void rig_init(struct rig *r)
{
	rig_init_policy(r, &(struct mmu_config){.split_where = MMU_SPLIT_ENDS});
}

static void rig_free(struct rig *r)
{
	rig_drain_split_cache(r);
	mmu_cache_destroy(&r->cache);
	mmu_destroy(r->mmu);
}

static void rig_free_host(struct rig *r)
{
	ext_free(r->root);
	sync_waitq_destroy(&r->stop_wait);
	sync_mutex_destroy(&r->cache_lock);
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
	assert_int_equal(r->metadata_out, 0);
	assert_int_equal(host_frames_used(r->host), 0);
	rig_free_host(r);
}

void rig_exit_dead(struct rig *r)
{
	rig_free(r);
	assert_true(r->bugs > 0);
	/* Pages that the external side kept are lost by contract; nothing else is. */
	assert_int_equal(host_frames_used(r->host), r->pages_out + r->metadata_out);
	rig_free_host(r);
}

struct check {
	struct rig *r;
	u64 pages[PG_LEVEL_NUM];
	u64 tables, metadata;
	u64 *external; /* a bit a frame: the page of an external table, or waiting to become one */
};

static void check_external_page(struct check *c, pfn_t pfn)
{
	u64 *word = &c->external[pfn / 64];

	if (*word & BIT_ULL(pfn % 64))
		fail_msg("external page %lx is in two places", pfn);
	*word |= BIT_ULL(pfn % 64);
}

/* No assert macros for single entries: there are many. */
static void check_entry(const struct mmu_page *sp, const struct ext_table *t, unsigned int i)
{
	u64 spte = sync_load_acquire(&sp->spt[i]);
	bool leaf = mmu_spte_is_leaf(spte, sp->level);
	gfn_t gfn = sp->gfn + i * pages_per_level(sp->level);

	if (mmu_spte_is_frozen(spte) || (!mmu_spte_is_present(spte) && spte))
		fail_msg("the entry of gfn %lx is %lx", gfn, spte);
	if (t && t->leaf[i] != (leaf ? mmu_spte_pfn(spte) + 1 : 0))
		fail_msg("gfn %lx is mapped to something else on the other side", gfn);
	if (t && !!t->child[i] != (mmu_spte_is_present(spte) && !leaf))
		fail_msg("gfn %lx has a table on one side alone", gfn);
	if (leaf && (sp->level > PG_LEVEL_MAX_LEAF ||
		     !IS_ALIGNED(mmu_spte_pfn(spte), pages_per_level(sp->level))))
		fail_msg("gfn %lx has a leaf that is none, at level %d", gfn, sp->level);
}

static void check_table(struct check *c, const struct mmu_page *sp, const struct ext_table *t)
{
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++) {
		u64 spte = sync_load_acquire(&sp->spt[i]);

		check_entry(sp, t, i);
		if (mmu_spte_is_leaf(spte, sp->level)) {
			c->pages[sp->level]++;
		} else if (mmu_spte_is_present(spte)) {
			const struct mmu_page *child = mmu_spte_child(c->r->mmu, spte);

			c->tables++;
			assert_int_equal(child->level, sp->level - 1);
			if (t) {
				assert_int_equal(t->child[i]->page, child->external_spt);
				check_external_page(c, child->external_spt);
				c->metadata += t->child[i]->nr_metadata;
			}
			check_table(c, child, t ? t->child[i] : NULL);
		}
	}
}

/* Allocated is in trees, in caches, or on the external side. */
static void check_frames(const struct check *c, u64 mirror_tables, u64 direct_tables)
{
	struct rig *r = c->r;
	u64 mirror = mirror_tables + r->cache.nr_pages;
	u64 direct = direct_tables + r->cache.nr_direct_pages;

	/* Tables that left the tree are freed later. */
	if (sync_load(&r->host->used[FRAME_MIRROR_TABLE]) != mirror ||
	    sync_load(&r->host->used[FRAME_DIRECT_TABLE]) != direct)
		sync_rcu_barrier();
	assert_int_equal(sync_load(&r->host->used[FRAME_MIRROR_TABLE]), mirror);
	assert_int_equal(sync_load(&r->host->used[FRAME_DIRECT_TABLE]), direct);
	assert_int_equal(sync_load(&r->pages_out), mirror_tables - 1 + r->cache.nr_external);
	assert_int_equal(sync_load(&r->metadata_out), c->metadata + r->nr_cached);
}

void rig_check(struct rig *r)
{
	const struct mmu_stats *stats = mmu_stats(r->mmu);
	struct check c = {.r = r, .external = calloc(r->host->nr_frames / 64, sizeof(u64))};
	u64 mirror_tables, direct_tables;

	assert_non_null(c.external);
	if (r->wrong)
		fail_msg("the external side: %s", r->wrong);
	assert_int_equal(r->mmu->invalidate_in_progress, 0);
	check_table(&c, r->mmu->mirror_root, r->root);
	for (u32 i = 0; i < r->cache.nr_external; i++)
		check_external_page(&c, r->cache.external[i]);
	free(c.external);
	mirror_tables = c.tables + 1;
	assert_int_equal(stats->mirror_tables, mirror_tables);
	assert_int_equal(stats->external_tables, mirror_tables - 1);
	assert_int_equal(sync_load(&r->ext_tables), mirror_tables - 1);
	check_table(&c, r->mmu->direct_root, NULL);
	direct_tables = c.tables - mirror_tables + 2;
	assert_int_equal(stats->direct_tables, direct_tables);
	for (int level = PG_LEVEL_4K; level < PG_LEVEL_NUM; level++)
		assert_int_equal(stats->pages[level], c.pages[level]);
	check_frames(&c, mirror_tables, direct_tables);
}

/* The invalidation is somebody's who goes on after this. */
static void check_if_quiet(struct rig *r)
{
	if (!r->others_run && !r->mmu->invalidate_in_progress && !r->bugs)
		rig_check(r);
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
	check_if_quiet(r);
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

/* As a removal does it: begun, rounded out to the largest leaf, and ended. */
int rig_split(struct rig *r, gfn_t start, gfn_t end, bool private)
{
	u64 largest = pages_per_level(PG_LEVEL_MAX_LEAF);
	int err;

	sync_write_lock(mmu_lock(r->mmu));
	mmu_invalidate_begin(r->mmu);
	mmu_invalidate_range_add(r->mmu, ALIGN_DOWN(start, largest), ALIGN_UP(end, largest));
	err = mmu_split_boundaries(r->mmu, start, end, private);
	mmu_invalidate_end(r->mmu);
	sync_write_unlock(mmu_lock(r->mmu));
	check_if_quiet(r);
	return err;
}

int rig_split_to(struct rig *r, gfn_t start, gfn_t end, enum pg_level target, bool private)
{
	int err;

	sync_write_lock(mmu_lock(r->mmu));
	err = mmu_split_to_level(r->mmu, start, end, target, private);
	sync_write_unlock(mmu_lock(r->mmu));
	check_if_quiet(r);
	return err;
}

int rig_promote(struct rig *r, gfn_t gfn, enum pg_level level)
{
	int err;

	sync_write_lock(mmu_lock(r->mmu));
	err = mmu_promote(r->mmu, gfn, level);
	sync_write_unlock(mmu_lock(r->mmu));
	check_if_quiet(r);
	return err;
}

void rig_hog(struct rig *r, struct hog *hog, u64 left)
{
	hog->n = 0;
	for (enum pg_level level = PG_LEVEL_1G; level; level--)
		while (!host_alloc(r->host, level, FRAME_OTHER, &hog->block[hog->n].pfn)) {
			hog->block[hog->n].level = level;
			assert_true(++hog->n < ARRAY_SIZE(hog->block));
		}
	while (left--) {
		assert_int_equal(hog->block[--hog->n].level, PG_LEVEL_4K);
		host_free(r->host, hog->block[hog->n].pfn, PG_LEVEL_4K, FRAME_OTHER);
	}
}

void rig_unhog(struct rig *r, struct hog *hog)
{
	while (hog->n--)
		host_free(r->host, hog->block[hog->n].pfn, hog->block[hog->n].level, FRAME_OTHER);
}
