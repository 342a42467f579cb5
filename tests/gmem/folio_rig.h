/* SPDX-License-Identifier: MIT */
/* The folio layer alone: a host, a pool where one is asked for, attributes and folios of one file. */
#ifndef TESTS_GMEM_FOLIO_RIG_H
#define TESTS_GMEM_FOLIO_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/sync.h"
#include "gmem/folio.h"

#define PAGES_2M 512ULL
#define PAGES_1G 262144ULL

struct folio_rig {
	struct host *host;
	struct hugetlb_pool *pool;
	struct gmem_config cfg;
	struct gmem_attrs attrs;
	struct gmem_folios f;
};

static inline bool rig_has_pool(const struct gmem_config *cfg)
{
	return cfg->backing == GMEM_HUGETLB_2M || cfg->backing == GMEM_HUGETLB_1G;
}

static inline enum pg_level rig_unit(const struct gmem_config *cfg)
{
	return cfg->backing == GMEM_HUGETLB_1G ? PG_LEVEL_1G : PG_LEVEL_2M;
}

/* @spare: pages that the pool has beyond what the file needs; its descriptors are optimised. */
static inline void rig_make(struct folio_rig *r, struct gmem_config cfg, u64 host_bytes, u64 spare,
			    struct bug_set bugs)
{
	struct host_config hc = {.memory_bytes = host_bytes, .lps = 1, .planted_bugs = bugs};
	enum pg_level level = rig_unit(&cfg);
	u64 missing;

	*r = (struct folio_rig){.cfg = cfg};
	assert_int_equal(host_create(&hc, &r->host), 0);
	if (rig_has_pool(&cfg))
		assert_int_equal(hugetlb_pool_create(r->host, level,
						     cfg.size / level_size(level) + spare, true,
						     &r->pool, &missing),
				 0);
	r->cfg.pool = r->pool;
	assert_int_equal(
		gmem_attrs_init(&r->attrs, r->host, addr_to_fn(cfg.size), !cfg.init_shared), 0);
	assert_int_equal(gmem_folios_init(&r->f, r->host, &r->cfg), 0);
}

/* @failed: frames of the host that memory failure has cost it. */
static inline void rig_end(struct folio_rig *r, u64 failed)
{
	assert_true(gmem_folio_release(&r->f));
	gmem_folios_destroy(&r->f);
	gmem_attrs_destroy(&r->attrs);
	sync_rcu_barrier();
	if (r->pool) {
		assert_int_equal(hugetlb_stats(r->pool).reserved, 0);
		hugetlb_pool_destroy(r->pool);
	}
	assert_int_equal(r->host->used[FRAME_FAILED], failed);
	assert_int_equal(host_frames_used(r->host), failed);
	host_destroy(r->host);
}

static inline int rig_get(struct folio_rig *r, u64 index)
{
	struct gmem_page page;

	return gmem_folio_get(&r->f, &r->attrs, index, &page);
}

static inline struct gmem_stats rig_stats(struct folio_rig *r)
{
	struct gmem_stats stats = {0};

	gmem_folio_stats(&r->f, &stats);
	return stats;
}

/* A conversion as the file does it, in as far as folios see it. */
static inline int rig_convert(struct folio_rig *r, u64 index, u64 nr, bool to_private)
{
	struct gmem_plan plan = {.f = &r->f, .index = index, .end = index + nr};
	int err;

	plan.next = gmem_attrs_prepare(&r->attrs, index, nr, to_private);
	if (!plan.next)
		return -ENOMEM;
	err = gmem_plan_prepare(&plan);
	if (err) {
		gmem_attrs_abort(plan.next);
		return err;
	}
	err = gmem_plan_run(&plan);
	if (err) {
		gmem_attrs_abort(plan.next);
	} else {
		if (!to_private)
			gmem_folio_zero(&r->f, index, index + nr);
		gmem_attrs_commit(&r->attrs, plan.next);
	}
	gmem_plan_done(&plan);
	return err;
}

static inline void rig_write(struct folio_rig *r, u64 index, u64 value)
{
	pfn_t pfn = gmem_folio_lookup(&r->f, index).pfn;

	host_write(r->host, fn_to_addr(pfn), 0, &value, 1);
}

static inline u64 rig_read(struct folio_rig *r, u64 index)
{
	pfn_t pfn = gmem_folio_lookup(&r->f, index).pfn;
	u64 value;

	assert_int_equal(host_read(r->host, fn_to_addr(pfn), 0, &value, 1), 0);
	return value;
}

static inline void rig_expect_folios(struct folio_rig *r, u64 nr_4k, u64 nr_2m, u64 nr_1g)
{
	struct gmem_stats s = rig_stats(r);

	assert_int_equal(s.folios[PG_LEVEL_4K], nr_4k);
	assert_int_equal(s.folios[PG_LEVEL_2M], nr_2m);
	assert_int_equal(s.folios[PG_LEVEL_1G], nr_1g);
}

static inline int rig_setup(void **state)
{
	(void)state;
	sync_thread_enter();
	return 0;
}

#endif
