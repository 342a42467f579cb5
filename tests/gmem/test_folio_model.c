/* SPDX-License-Identifier: MIT */
/*
 * Random shares, unshares, pins, holes, failures and writes against a flat model: every page keeps its
 * frame and its bytes, every folio is of the size that the attributes ask for, nothing is lost.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "folio_rig.h"

#define UNKNOWN UINT64_MAX /* a new private page holds what its frame held */

struct model_page {
	bool present, shared, failed;
	u32 refs;
	pfn_t pfn;
	u64 value;
};

struct model {
	struct folio_rig r;
	struct rng rng;
	u64 seed, step;
	u64 pages, unit; /* of the file, of a huge page */
	u64 lost;	 /* frames that the host has lost */
	struct model_page *page;
	/* By 2M block: pages that are shared, and that have failed. */
	u64 shared[2 * 512], failed[2 * 512];
};

#define CHECK(m, cond)                                                                         \
	do {                                                                                   \
		if (!(cond))                                                                   \
			fail_msg("seed %llu step %llu backing %d: %s",                         \
				 (unsigned long long)(m)->seed, (unsigned long long)(m)->step, \
				 (int)(m)->r.cfg.backing, #cond);                              \
	} while (0)

static bool any(const u64 *in_block, u64 index, u64 nr)
{
	for (u64 i = index / PAGES_2M; i < (index + nr) / PAGES_2M; i++)
		if (in_block[i])
			return true;
	return false;
}

static void set_shared(struct model *m, u64 index, bool shared)
{
	m->shared[index / PAGES_2M] += (u64)shared - m->page[index].shared;
	m->page[index].shared = shared;
}

static void set_failed(struct model *m, u64 index, bool failed)
{
	m->failed[index / PAGES_2M] += (u64)failed - m->page[index].failed;
	m->page[index].failed = failed;
}

static bool any_held(const struct model *m, u64 index, u64 end)
{
	while (index < end && !m->page[index].refs)
		index++;
	return index < end;
}

static bool is_small(const struct model *m)
{
	return m->r.cfg.backing == GMEM_4K;
}

static enum pg_level level_of(u64 pages)
{
	return pages == PAGES_1G ? PG_LEVEL_1G : pages == PAGES_2M ? PG_LEVEL_2M : PG_LEVEL_4K;
}

static void expect_page(struct model *m, u64 i)
{
	struct gmem_page page = gmem_folio_lookup(&m->r.f, i);
	enum pg_level folio = level_of(m->unit), huge = folio, most = PG_LEVEL_1G;
	const struct model_page *p = &m->page[i];
	u64 unit = ALIGN_DOWN(i, m->unit), block = ALIGN_DOWN(i, PAGES_2M);

	CHECK(m, (page.folio != PG_LEVEL_NONE) == p->present);
	if (!p->present)
		return;
	if (is_small(m)) {
		folio = huge = PG_LEVEL_4K;
	} else if (any(m->failed, unit, m->unit)) {
		most = any(m->failed, block, PAGES_2M) ? PG_LEVEL_4K : PG_LEVEL_2M;
	}
	if (m->r.cfg.folio_refs == GMEM_REFS_SPLIT && any(m->shared, unit, m->unit))
		folio = m->r.cfg.folio_split == GMEM_SPLIT_UNIFORM || m->unit == PAGES_2M ||
					any(m->shared, block, PAGES_2M)
				? PG_LEVEL_4K
				: PG_LEVEL_2M;
	CHECK(m, page.pfn == p->pfn);
	CHECK(m, page.failed == p->failed);
	CHECK(m, page.folio == (folio < most ? folio : most));
	CHECK(m, page.huge == (huge < most ? huge : most));
	if (!p->failed && p->value != UNKNOWN)
		CHECK(m, rig_read(&m->r, i) == p->value);
}

/* All of a small file, and of a large one what lies around @index. */
static void expect_all(struct model *m, u64 index)
{
	u64 frames = 0;

	if (m->pages <= 2048) {
		for (u64 i = 0; i < m->pages; i++)
			expect_page(m, i);
		for (u64 i = 0; i < m->pages; i++)
			frames += m->page[i].present;
		CHECK(m, rig_stats(&m->r).frames == frames);
		CHECK(m, m->r.host->used[FRAME_GUEST] == frames);
		return;
	}
	expect_page(m, index);
	expect_page(m, rng_below(&m->rng, m->pages));
}

static void model_get(struct model *m, u64 index)
{
	u64 first = is_small(m) ? index : ALIGN_DOWN(index, m->unit);
	u64 nr = is_small(m) ? 1 : m->unit;
	int err = rig_get(&m->r, index);
	pfn_t pfn;

	if (err) { /* the pool has no more: broken pages are not replaced for nothing */
		CHECK(m, err == -ENOMEM && m->lost && !m->page[index].present);
		return;
	}
	if (m->page[index].present)
		return;
	pfn = gmem_folio_lookup(&m->r.f, first).pfn;
	for (u64 i = first; i < first + nr; i++) {
		struct model_page *p = &m->page[i];

		*p = (struct model_page){
			.present = true, .shared = p->shared, .pfn = pfn + i - first};
		p->value = p->shared ? 0 : UNKNOWN;
	}
}

static void model_convert(struct model *m, u64 index, u64 nr, bool to_private)
{
	u64 held = gmem_folio_first_ref(&m->r.f, index, index + nr), want = index;

	while (want < index + nr && !m->page[want].refs)
		want++;
	CHECK(m, held == want);
	if (to_private && held < index + nr)
		return;
	/* The file converts what changes sides, and zeroes no other page. */
	for (u64 at = index, end; at < index + nr; at = end) {
		for (end = at; end < index + nr && m->page[end].shared == m->page[at].shared;)
			end++;
		if (m->page[at].shared != to_private)
			continue;
		CHECK(m, rig_convert(&m->r, at, end - at, to_private) == 0);
		for (u64 i = at; i < end; i++) {
			set_shared(m, i, !to_private);
			if (!to_private)
				m->page[i].value = 0;
		}
	}
}

static void model_leave(struct model *m, u64 first, u64 nr)
{
	u64 failed = 0;

	for (u64 i = first; i < first + nr; i++) {
		failed += m->page[i].failed;
		set_failed(m, i, false);
		m->page[i] = (struct model_page){.shared = m->page[i].shared};
	}
	if (failed)
		m->lost += m->r.pool ? nr : failed;
}

static void model_drop(struct model *m, u64 index, u64 end)
{
	if (any_held(m, index, end))
		return;
	gmem_folio_drop(&m->r.f, index, end);
	for (u64 first = ALIGN_DOWN(index, m->unit); first < end; first += m->unit) {
		if (!is_small(m) && m->page[first].present && first >= index &&
		    first + m->unit <= end) {
			model_leave(m, first, m->unit);
			continue;
		}
		for (u64 i = max_u64(first, index); i < min_u64(end, first + m->unit); i++) {
			if (is_small(m) && m->page[i].present)
				model_leave(m, i, 1);
			m->page[i].value = 0;
		}
	}
}

static void model_step(struct model *m)
{
	u64 index = rng_below(&m->rng, m->pages), nr = 1 + rng_below(&m->rng, m->pages - index);
	struct model_page *p = &m->page[index];

	if (rng_below(&m->rng, 4))
		nr = min_u64(nr, 1 + rng_below(&m->rng, 600));
	switch (rng_below(&m->rng, 16)) {
	case 0:
	case 1:
	case 2:
		model_get(m, index);
		break;
	case 3:
	case 4:
	case 5:
		model_convert(m, index, nr, false);
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		model_convert(m, index, nr, true);
		break;
	case 10:
		if (p->present && p->shared && !p->failed)
			p->refs += !gmem_folio_ref(&m->r.f, index);
		break;
	case 11:
		for (u64 i = index; i < m->pages; i++)
			for (; m->page[i].refs; m->page[i].refs--)
				CHECK(m, !gmem_folio_unref(&m->r.f, i));
		break;
	case 12:
		model_drop(m, index, index + nr);
		break;
	case 13:
		if (rng_below(&m->rng, 12) || !p->present)
			break;
		gmem_folio_fail(&m->r.f, index, 1);
		set_failed(m, index, true);
		break;
	default:
		if (p->present && !p->failed) {
			p->value = rng_u64(&m->rng) >> 1;
			rig_write(&m->r, index, p->value);
		}
		break;
	}
	expect_all(m, index);
}

static void run(struct gmem_config cfg, u64 seed, u64 steps)
{
	struct model m = {.seed = seed, .pages = addr_to_fn(cfg.size)};

	m.unit = pages_per_level(rig_unit(&cfg));
	m.page = calloc(m.pages, sizeof(*m.page));
	assert_non_null(m.page);
	for (u64 i = 0; i < m.pages; i++)
		set_shared(&m, i, cfg.init_shared);
	rig_make(&m.r, cfg, 4 * SIZE_1G, rig_unit(&cfg) == PG_LEVEL_2M ? 64 : 0, NO_BUGS);
	rng_init(&m.rng, seed);
	for (; m.step < steps; m.step++)
		model_step(&m);
	for (u64 i = 0; i < m.pages; i++)
		for (; m.page[i].refs; m.page[i].refs--)
			CHECK(&m, !gmem_folio_unref(&m.r.f, i));
	for (u64 i = 0; i < m.pages; i += is_small(&m) ? 1 : m.unit)
		model_leave(&m, i, is_small(&m) ? 1 : m.unit);
	rig_end(&m.r, m.lost);
	free(m.page);
}

/* 2M and 4K memory, with every way to count and to allocate. */
static void small_files(void **state)
{
	const enum gmem_backing backings[] = {GMEM_THP, GMEM_4K, GMEM_HUGETLB_2M};

	(void)state;
	for (u64 i = 0; i < 12; i++)
		run((struct gmem_config){.size = 4 * SIZE_2M,
					 .backing = backings[i % 3],
					 .init_shared = i % 2,
					 .folio_refs =
						 i / 3 % 2 ? GMEM_REFS_COUNTED : GMEM_REFS_SPLIT,
					 .restructure = i / 6 ? GMEM_RESTRUCTURE_LATE
							      : GMEM_RESTRUCTURE_PREALLOC},
		    100 + i, 500);
}

/* 1G memory, whose folios are of three sizes. */
static void large_files(void **state)
{
	(void)state;
	for (u64 i = 0; i < 3; i++)
		run((struct gmem_config){.size = 2 * SIZE_1G,
					 .backing = GMEM_HUGETLB_1G,
					 .folio_split = i == 1 ? GMEM_SPLIT_UNIFORM
							       : GMEM_SPLIT_NONUNIFORM,
					 .folio_refs =
						 i == 2 ? GMEM_REFS_COUNTED : GMEM_REFS_SPLIT},
		    200 + i, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_files),
		cmocka_unit_test(large_files),
	};

	return cmocka_run_group_tests(tests, rig_setup, NULL);
}
