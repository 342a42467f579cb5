/* SPDX-License-Identifier: MIT */
/* The small pure parts of base: names of the ABI, planted bugs, trace points, numbers, arithmetic. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/bug.h"
#include "base/rng.h"
#include "base/trace.h"
#include "base/types.h"
#include "septum/abi.h"

/* A status is named by its upper half, whatever its operand; an unknown one has no name. */
static void status_names(void **state)
{
	(void)state;
	assert_string_equal(tdx_status_name(0), "TDX_SUCCESS");
	assert_string_equal(tdx_status_name(0x8000020000000092ULL), "TDX_OPERAND_BUSY");
	assert_string_equal(tdx_status_name(0xC000030800000000ULL ^ 0x4000000000000000ULL),
			    "TDX_MISSING_PAMT_PAGE_PAIR");
	assert_string_equal(tdx_status_name(0xC0000B0B00000000ULL), "TDX_PAGE_SIZE_MISMATCH");
	assert_string_equal(tdx_status_name(0x00000B0A00000001ULL), "TDX_PAGE_ALREADY_ACCEPTED");
	assert_null(tdx_status_name(0xC000FFFF00000000ULL));
}

/* Leaves have the manual's names; a number that is no leaf has none. */
static void leaf_names(void **state)
{
	(void)state;
	assert_string_equal(tdh_leaf_name(0), "TDH.VP.ENTER");
	assert_string_equal(tdh_leaf_name(6), "TDH.MEM.PAGE.AUG");
	assert_string_equal(tdh_leaf_name(59), "TDH.PHYMEM.PAMT.REMOVE");
	assert_null(tdh_leaf_name(42));
	assert_null(tdh_leaf_name(0x10006));
	assert_string_equal(tdg_leaf_name(6), "TDG.MEM.PAGE.ACCEPT");
	assert_null(tdg_leaf_name(2));
}

/* Planted bugs are found by name in checking builds only, and only the planted one is active. */
static void planted_bugs(void **state)
{
	struct bug_set set = bug_set_of(BUG_WRONG_PFN);

	(void)state;
	assert_int_equal(bug_by_name("no-such-bug"), -1);
	assert_int_equal(bug_by_name(""), -1);
#ifdef SEPTUM_CHECK
	assert_int_equal(bug_by_name("wrong-pfn"), BUG_WRONG_PFN);
	assert_int_equal(bug_by_name("skip-kick"), BUG_SKIP_KICK);
	assert_true(bug_planted(&set, BUG_WRONG_PFN));
#else
	assert_int_equal(bug_by_name("wrong-pfn"), -1);
	assert_false(bug_planted(&set, BUG_WRONG_PFN));
#endif
	assert_false(bug_planted(&set, BUG_SKIP_KICK));
	assert_string_equal(bug_name(BUG_STALE_TLB), "stale-tlb");
	assert_non_null(bug_what(BUG_STALE_TLB));
}

struct heard {
	u64 *clock, at;
	enum trace_point point;
	const void *event;
};

static void hear(void *ctx, enum trace_point point, const void *event)
{
	struct heard *h = ctx;

	h->at = ++*h->clock;
	h->point = point;
	h->event = event;
}

/* Every listener hears every event, in the order they came; a fifth is refused. */
static void trace_points(void **state)
{
	struct tracer t = {};
	u64 clock = 0;
	struct heard h[TRACE_MAX_LISTENERS] = {};
	struct trace_listener l = {.fn = hear};
	struct trace_spte event = {.gfn = 1};

	(void)state;
	assert_false(trace_enabled(&t));
	trace_fire(&t, TRACE_SPTE_CHANGED, &event); /* nobody listens */
	for (unsigned int i = 0; i < TRACE_MAX_LISTENERS; i++) {
		h[i].clock = &clock;
		l.ctx = &h[i];
		assert_int_equal(trace_listen(&t, &l), 0);
	}
	assert_int_equal(trace_listen(&t, &l), -ENOSPC);
	trace_fire(&t, TRACE_SPTE_CHANGED, &event);
	for (unsigned int i = 0; i < TRACE_MAX_LISTENERS; i++) {
		assert_int_equal(h[i].at, i + 1);
		assert_int_equal(h[i].point, TRACE_SPTE_CHANGED);
		assert_ptr_equal(h[i].event, &event);
	}
}

/* The generator is xoshiro256** seeded by splitmix64: the published algorithms' value for seed 0. */
static void rng_known_answer(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 0);
	assert_int_equal(rng.s[0], 0xE220A8397B1DCDAFULL);
	assert_int_equal(rng.s[3], 0xF88BB8A8724C81ECULL);
	assert_int_equal(rng_u64(&rng), 0x99EC5F36CB75F2B4ULL);
}

/* One seed, one sequence; bounded numbers stay below their bound and reach every value. */
static void rng_repeats_and_bounds(void **state)
{
	struct rng a, b, c;
	u64 seen = 0, differ = 0;

	(void)state;
	rng_init(&a, 7);
	rng_init(&b, 7);
	rng_init(&c, 8);
	for (int i = 0; i < 1000; i++) {
		u64 x = rng_u64(&a);

		assert_int_equal(x, rng_u64(&b));
		differ += x != rng_u64(&c);
	}
	assert_int_equal(differ, 1000);
	for (int i = 0; i < 2000; i++) {
		u64 x = rng_below(&a, 48);

		assert_true(x < 48);
		seen |= BIT_ULL(x);
	}
	assert_int_equal(seen, BIT_ULL(48) - 1);
	assert_int_equal(rng_below(&a, 1), 0);
}

/* Levels: sizes in bytes and frames, the index at each level, alignment. */
static void level_arithmetic(void **state)
{
	u64 fn = 0x123456789ULL; /* indexes, from 4K up: 0x189, 0x0b3, 0x0d1, 0x024 */

	(void)state;
	assert_int_equal(level_size(PG_LEVEL_4K), 4096);
	assert_int_equal(level_size(PG_LEVEL_2M), 2 << 20);
	assert_int_equal(level_size(PG_LEVEL_1G), 1 << 30);
	assert_int_equal(pages_per_level(PG_LEVEL_1G), 262144);
	assert_int_equal(level_index(fn, PG_LEVEL_4K), 0x189);
	assert_int_equal(level_index(fn, PG_LEVEL_2M), 0x0b3);
	assert_int_equal(level_index(fn, PG_LEVEL_1G), 0x0d1);
	assert_int_equal(level_index(fn, PG_LEVEL_512G), 0x024);
	assert_int_equal(level_index(fn, PG_LEVEL_256T), 0);
	assert_int_equal(fn_align_down(fn, PG_LEVEL_2M), 0x123456600ULL);
	assert_int_equal(GENMASK_ULL(51, 12), 0x000FFFFFFFFFF000ULL);
	assert_int_equal(GENMASK_ULL(63, 0), ~0ULL);
	assert_int_equal(ALIGN_UP(0x1001, 0x1000), 0x2000);
	assert_int_equal(ALIGN_DOWN(0x1FFF, 0x1000), 0x1000);
	assert_true(IS_ALIGNED(0x200000, SIZE_2M));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_names),	    cmocka_unit_test(leaf_names),
		cmocka_unit_test(planted_bugs),	    cmocka_unit_test(trace_points),
		cmocka_unit_test(rng_known_answer), cmocka_unit_test(rng_repeats_and_bounds),
		cmocka_unit_test(level_arithmetic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
