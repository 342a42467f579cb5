/* SPDX-License-Identifier: MIT */
/*
 * A gibibyte of a TD on 1G pages becomes shared and private again: at once and page by page, over a
 * whole huge page and across two. Every page beside it keeps what the guest wrote there.
 */
#include "vm/files.h"
#include "vm/internal.h"

#define PAGES_2M 512ULL
#define PAGES_1G 262144ULL

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#else
#define SLOW 0
#endif

/* How far a page by page conversion goes; a build that is slow does less of it. */
#define ONE_BY_ONE (SLOW ? 64 * MB : GB)
/* Every page beside the range is looked at; in such a build, of those far from it, one in so many. */
#define EVERY (SLOW ? 37 : 1)
#define SOME 37

/* A guest that goes over a range once, in one way. */
struct tour {
	enum { FILL, CHECK, ACCEPT, SHARE, UNSHARE } what;
	gfn_t next, end;
	gfn_t small_end;	    /* up to here it accepts 4K */
	u64 step;		    /* pages at a time, of SHARE and UNSHARE */
	gfn_t hole_start, hole_end; /* FILL and CHECK leave it out */
	u64 far_step;		    /* FILL and CHECK: see after() */
	u64 wrong;
	bool called;
	struct tdx_regs call;
};

struct gibibyte {
	struct files f;
	u64 far_step;
	struct tour tour; /* what it asked last is answered there when it runs again */
};

static u64 value_of(gfn_t gfn)
{
	return gfn * 0x9E3779B97F4A7C15ULL | 1;
}

/* What is mapped smaller than 2M is accepted so, as Linux does it. */
static bool accept_here(struct lp *lp, struct tour *t)
{
	bool large = t->next >= t->small_end && IS_ALIGNED(t->next, PAGES_2M) &&
		     t->end - t->next >= PAGES_2M;
	struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT,
			     .rcx = tdx_page_info(fn_to_addr(t->next), large)};

	if (lp_guest_poll(lp) != LP_ACCESS_OK || !tdcall(lp, &r))
		return false;
	if (tdx_status_class(r.rax) == TDX_PAGE_SIZE_MISMATCH) {
		t->small_end = t->next + PAGES_2M;
		return true;
	}
	t->wrong += r.rax != TDX_SUCCESS;
	t->next += large ? PAGES_2M : 1;
	return true;
}

/* The page to look at after @gfn: the next one near the range, far_step on elsewhere. */
static gfn_t after(const struct tour *t, gfn_t gfn)
{
	bool near = gfn + 4 * PAGES_2M > t->hole_start && gfn < t->hole_end + 4 * PAGES_2M;

	gfn += near ? 1 : t->far_step;
	return gfn >= t->hole_start && gfn < t->hole_end ? t->hole_end : gfn;
}

static bool touch_here(struct lp *lp, struct tour *t)
{
	u64 word = value_of(t->next);
	enum lp_access a = t->what == FILL ? lp_guest_write(lp, fn_to_addr(t->next), &word, 1)
					   : lp_guest_read(lp, fn_to_addr(t->next), &word, 1);

	if (a == LP_ACCESS_EXIT)
		return false;
	t->wrong += a != LP_ACCESS_OK || word != value_of(t->next);
	t->next = after(t, t->next);
	return true;
}

static bool convert_here(struct lp *lp, struct tour *t)
{
	u64 nr = min_u64(t->step, t->end - t->next);

	if (t->called) {
		t->called = false;
		t->wrong += t->call.r10 != 0;
		t->next += nr;
		return true;
	}
	t->called = true;
	t->call = vm_hypercall(0, VM_HC_MAP_GPA,
			       fn_to_addr(t->next) | (t->what == SHARE ? BIT_ULL(47) : 0),
			       fn_to_addr(nr));
	tdcall(lp, &t->call);
	return false;
}

static void tour_run(struct lp *lp, void *guest)
{
	struct tour *t = guest;
	bool fine = true;

	while (t->next < t->end && fine)
		fine = t->what == ACCEPT			? accept_here(lp, t)
		       : t->what == SHARE || t->what == UNSHARE ? convert_here(lp, t)
								: touch_here(lp, t);
	if (!fine)
		return;
	t->call = vm_hypercall(VM_HC_VENDOR, VM_HC_STOP, 0, 0);
	tdcall(lp, &t->call);
}

static void go(struct gibibyte *g, struct tour t)
{
	static const struct guest_ops ops = {.run = tour_run};
	struct lp *self = lp_current();

	t.call = g->tour.call;
	g->tour = t;
	lp_set_current(g->f.m.lps[0]);
	assert_int_equal(vcpu_run(vm_vcpu(g->f.vm[0], 0), &ops, &g->tour), 0);
	lp_set_current(self);
	assert_int_equal(g->tour.wrong, 0);
}

static void up(struct gibibyte *g, gfn_t start, gfn_t end, u64 far_step)
{
	struct files_config c = files_config(GMEM_HUGETLB_1G, 2 * GB);

	memset(g, 0, sizeof(*g));
	g->far_step = far_step;
	c.vm.promote = VM_PROMOTE_NOW;
	c.vmemmap = true;
	c.dynamic_pamt = true;
	files_up(&g->f, &c);
	go(g, (struct tour){.what = ACCEPT, .end = 2 * PAGES_1G});
	go(g, (struct tour){.what = FILL,
			    .next = start ? 0 : end,
			    .end = 2 * PAGES_1G,
			    .hole_start = start,
			    .hole_end = end,
			    .far_step = g->far_step});
	assert_int_equal(files_pages(&g->f, 0, PG_LEVEL_1G), 2);
}

/* Whatever happens to the range, pages beside it hold what they held. */
static void check_rest(struct gibibyte *g, gfn_t start, gfn_t end)
{
	go(g, (struct tour){.what = CHECK,
			    .next = start ? 0 : end,
			    .end = 2 * PAGES_1G,
			    .hole_start = start,
			    .hole_end = end,
			    .far_step = g->far_step});
}

static void all_is_back(struct gibibyte *g, gfn_t start, gfn_t end)
{
	const struct gmem_stats stats = gmem_stats(g->f.file);

	assert_int_equal(files_pages(&g->f, 0, PG_LEVEL_1G), 2);
	assert_int_equal(files_pages(&g->f, 0, PG_LEVEL_2M), 0);
	assert_int_equal(files_pages(&g->f, 0, PG_LEVEL_4K), 0);
	assert_int_equal(stats.folios[PG_LEVEL_1G], 2);
	assert_int_equal(gmem_nr_ranges(g->f.file), 1);
	assert_int_equal(hugetlb_stats(g->f.pool).vmemmap_saved_bytes, 2 * 4095 * PAGE_SIZE);
	check_rest(g, start, end);
	files_check(&g->f);
}

/*
 * At once, across two 1G pages: at each end a 1G leaf and a 2M leaf of it are split, four in all, and
 * with NOW both 1G leaves are back in the end. Over one whole 1G page no leaf is split.
 */
static void test_at_once(void **state)
{
	static const struct {
		gfn_t start;
		u64 demotes;
	} cases[] = {{PAGES_1G / 2 + 3, 4}, {PAGES_1G / 2, 2}, {PAGES_1G, 0}, {0, 0}};

	(void)state;
	for (u32 i = 0; i < NR(cases); i++) {
		gfn_t start = cases[i].start, end = start + PAGES_1G;
		struct gibibyte g;

		up(&g, start, end, i ? SOME : EVERY);
		go(&g, (struct tour){.what = SHARE, .next = start, .end = end, .step = PAGES_1G});
		assert_int_equal(files_ok(&g.f, TDH_MEM_PAGE_DEMOTE), cases[i].demotes);
		assert_int_equal(gmem_nr_ranges(g.f.file), start % PAGES_1G ? 3 : 2);
		check_rest(&g, start, end);
		go(&g, (struct tour){.what = UNSHARE, .next = start, .end = end, .step = PAGES_1G});
		go(&g, (struct tour){.what = ACCEPT, .next = start, .end = end});
		assert_int_equal(files_ok(&g.f, TDH_MEM_PAGE_DEMOTE), cases[i].demotes);
		all_is_back(&g, start, end);
		files_down(&g.f);
	}
}

/* Page by page, each a MapGPA, across the border of two 1G pages: in the end the same. */
static void test_one_by_one(void **state)
{
	u64 nr = addr_to_fn(ONE_BY_ONE);
	gfn_t start = PAGES_1G - nr / 2 + 3, end = start + nr;
	struct gibibyte g;

	(void)state;
	up(&g, start, end, EVERY);
	go(&g, (struct tour){.what = SHARE, .next = start, .end = end, .step = 1});
	assert_int_equal(gmem_nr_ranges(g.f.file), 3);
	check_rest(&g, start, end);
	go(&g, (struct tour){.what = UNSHARE, .next = start, .end = end, .step = 1});
	assert_int_equal(gmem_nr_ranges(g.f.file), 1);
	go(&g, (struct tour){.what = ACCEPT, .next = start, .end = end});
	all_is_back(&g, start, end);
	assert_int_equal(vm_stats(g.f.vm[0]).conversions_to_shared, nr);
	assert_int_equal(vm_stats(g.f.vm[0]).conversions_to_private, nr);
	files_down(&g.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
