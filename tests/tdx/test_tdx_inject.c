/* SPDX-License-Identifier: MIT */
/*
 * BUSY from the n-th SEAMCALL on, for every n, over a scenario that maps, splits, removes, refills,
 * promotes and removes again: nothing is lost, nothing leaked, the VM healthy or stopped with the
 * reason.
 */
#include <errno.h>

#include "tdx/internal.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)
#define HOLE (GFN + 200)
#define BUSY_RCX (TDX_OPERAND_BUSY | TDX_OPERAND_RCX)
/* As often a caller faults or promotes again before it gives up. */
#define TRIES 3
#define FOR_EVER (UINT64_MAX / 2)

struct scene {
	struct tdx_rig r;
	pfn_t huge, small; /* both 2M; of the second one page is mapped, at 4K */
	const char *step;
	bool gave_up; /* a map or a promotion that was refused TRIES times */
	bool filled;  /* all 512 pages hold what the guest wrote */
	u64 fired;
};

static bool is_dead(const struct scene *s)
{
	return s->r.bugged[0];
}

static bool map(struct scene *s, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	for (int i = 0; i < TRIES && !is_dead(s); i++) {
		struct mmu_fault fault = {.gfn = gfn,
					  .pfn = pfn,
					  .max_level = level,
					  .private = true,
					  .invalidate_seq = mmu_invalidate_seq(s->r.mmu)};
		int ret;

		/* Without pages the fault is refused before it begins, as a VM's would be. */
		if (mmu_cache_topup(&s->r.cache) || td_fault_topup(s->r.td))
			continue;
		ret = mmu_map(s->r.mmu, &s->r.cache, &fault);
		if (ret == MMU_RET_FIXED)
			return true;
		assert_true(ret == MMU_RET_RETRY || (ret == -EIO && is_dead(s)));
	}
	s->gave_up = true;
	return false;
}

static bool split(struct scene *s)
{
	int err = tdx_rig_split(&s->r, GFN, PG_LEVEL_4K);

	if (err == -ENOMEM) {
		/* The page for the table wasn't to be had of the module: as without memory. */
		s->gave_up = true;
		return false;
	}
	assert_true(err == 0 || (err == -EIO && is_dead(s)));
	return !err;
}

static bool promote(struct scene *s)
{
	for (int i = 0; i < TRIES; i++) {
		int err = tdx_rig_promote(&s->r, GFN, PG_LEVEL_2M);

		if (err != -EAGAIN) {
			assert_true(err == 0 || (err == -EIO && is_dead(s)));
			return !err;
		}
		assert_false(is_dead(s));
		tdx_rig_check(&s->r, GFN, 512);
	}
	s->gave_up = true;
	return false;
}

static bool zap(struct scene *s, gfn_t gfn, u64 nr)
{
	s->filled = false;
	tdx_rig_zap(&s->r, gfn, nr);
	return !is_dead(s);
}

static void play(struct scene *s)
{
	struct tdx_rig *r = &s->r;

	s->step = "map";
	if (!map(s, GFN, s->huge, PG_LEVEL_2M))
		return;
	assert_int_equal(tdx_rig_accept(r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
	tdx_rig_fill(r, GFN);
	s->filled = true;
	s->step = "split";
	if (!split(s))
		return;
	assert_int_equal(tdx_rig_wrong(r, GFN), 0);
	s->step = "zap of a part";
	if (!zap(s, HOLE, 1))
		return;
	s->step = "map of a part";
	if (!map(s, HOLE, s->huge + (HOLE - GFN), PG_LEVEL_4K))
		return;
	s->step = "refused promotion";
	if (promote(s) || is_dead(s))
		return;
	s->gave_up = false;
	assert_int_equal(tdx_rig_accept(r, HOLE, PG_LEVEL_4K), TDX_SUCCESS);
	tdx_rig_fill(r, GFN);
	s->filled = true;
	s->step = "promotion";
	if (!promote(s))
		return;
	assert_int_equal(tdx_rig_wrong(r, GFN), 0);
	s->step = "second split";
	if (!split(s))
		return;
	s->step = "zap of 4K leaves";
	if (!zap(s, GFN + 500, 12))
		return;
	s->step = "first 4K page of a range";
	if (!map(s, GFN + 512, s->small, PG_LEVEL_4K))
		return;
	s->step = "zap of the last 4K page of a range";
	if (!zap(s, GFN + 512, 1))
		return;
	s->step = "end";
}

/*
 * A pair that a BUSY module kept is in the next put's hands; a real host has one sooner or later.
 */
static void settle_pair(struct tdx_rig *r, pfn_t pfn)
{
	u32 left = tdx_pamt_refs(r->tdx, pfn);

	if (!left)
		return;
	assert_int_equal(left, 1);
	assert_true(r->warnings > 0);
	tdx_pamt_put(r->tdx, pfn);
}

static void run(struct scene *s, const struct tdx_rig_config *cfg, u64 from, u64 times)
{
	struct tdx_rig *r = &s->r;
	pfn_t control;

	memset(s, 0, sizeof(*s));
	tdx_rig_inject_nothing();
	tdx_rig_up(r, cfg);
	assert_int_equal(host_alloc(r->host, PG_LEVEL_2M, FRAME_GUEST, &s->huge), 0);
	assert_int_equal(host_alloc(r->host, PG_LEVEL_2M, FRAME_GUEST, &s->small), 0);
	control = addr_to_fn(td_tdr(r->td));
	tdx_rig_inject(ANY_LEAF, from, times, BUSY_RCX);
	play(s);
	s->fired = tdx_rig_injection.seen >= from;
	tdx_rig_injection.times = 0;
	if (!is_dead(s)) {
		tdx_rig_check(r, GFN, 1024);
		if (s->filled)
			assert_int_equal(tdx_rig_wrong(r, GFN), 0);
	}
	tdx_rig_td_down(r);
	settle_pair(r, s->huge);
	settle_pair(r, s->small);
	settle_pair(r, control);
	tdx_rig_free(r, s->huge, PG_LEVEL_2M);
	tdx_rig_free(r, s->small, PG_LEVEL_2M);
	tdx_rig_down(r);
}

static void complain(const struct scene *s, u64 n, u64 times)
{
	fail_msg("%llu x BUSY from call %llu (%s), %s: %s%s", (unsigned long long)times,
		 (unsigned long long)n, tdh_leaf_name(tdx_rig_injection.last_leaf), s->step,
		 is_dead(s) ? s->r.bugged : "alive", s->gave_up ? ", gave up" : "");
}

static void every_call(u64 times)
{
	for (int i = 0; i < 4; i++) {
		struct tdx_rig_config cfg = {
			.dynamic_pamt = i < 3,
			.split_metadata = i < 3 ? (enum mmu_split_metadata)i : MMU_META_PAGE,
			.demote_lock = i & 1 ? TD_DEMOTE_LOCK_SECOND_TRY : TD_DEMOTE_LOCK_ALWAYS,
			.seamcall = tdx_rig_injecting};

		for (u64 n = 1;; n++) {
			struct scene s;

			run(&s, &cfg, n, times);
			if (!s.fired) {
				assert_true(n > 30);
				assert_string_equal(s.step, "end");
				break;
			}
			/* One BUSY is survived by all. */
			if (times == 1 && (is_dead(&s) || s.gave_up))
				complain(&s, n, times);
			/* It went through, or it was given up, or stopped with a leaf's name. */
			if (strcmp(s.step, "end") && !s.gave_up && !strstr(s.r.bugged, "TDH."))
				complain(&s, n, times);
		}
	}
}

static void test_once(void **state)
{
	(void)state;
	every_call(1);
}

static void test_twice(void **state)
{
	(void)state;
	every_call(2);
}

static void test_five_times(void **state)
{
	(void)state;
	every_call(5);
}

/* From the n-th call to the end of the scenario the module is BUSY for whatever is asked. */
static void test_for_ever(void **state)
{
	(void)state;
	every_call(FOR_EVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_five_times),
		cmocka_unit_test(test_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
