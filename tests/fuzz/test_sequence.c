/* SPDX-License-Identifier: MIT */
/* Sequences of operations against their specification: no false alarm, and the bugs that it must find. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bug.h"
#include "explore/campaign.h"

#define LENGTH 500

/* Sanitizers make a run so many times longer. */
#if defined(__SANITIZE_THREAD__)
#define SHARE(n) (((n) + 99) / 100)
#elif defined(__SANITIZE_ADDRESS__)
#define SHARE(n) (((n) + 9) / 10)
#else
#define SHARE(n) (n)
#endif

static char *text_of(const struct sequence *s)
{
	size_t size = sequence_print(s, NULL, 0) + 1;
	char *text = malloc(size);

	assert_non_null(text);
	assert_int_equal(sequence_print(s, text, size), size - 1);
	return text;
}

static void expect_good(u64 seed, u64 sequences)
{
	const struct campaign c = {
		.seed = seed, .sequences = sequences, .length = LENGTH, .jobs = 1};
	struct campaign_result r;

	assert_int_equal(campaign_run(&c, &r), 0);
	if (r.failed)
		fail_msg("seed %llu: %s; septum sequence --replay '%s'",
			 (unsigned long long)r.failed_seed, r.outcome.text, text_of(&r.smallest));
	assert_int_equal(r.operations, sequences * LENGTH);
	assert_int_equal(r.next, seed + sequences);
}

/* A hundredth of what a night does holds what the specification says. */
static void test_no_false_alarm(void **state)
{
	(void)state;
	expect_good(1, SHARE(2000));
}

/* What is printed is read again as the same sequence. */
static void test_text(void **state)
{
	(void)state;
	for (u64 seed = 0; seed < 200; seed++) {
		struct sequence s, again;
		char *text, *second, why[200];
		size_t bad;

		assert_int_equal(sequence_random(&s, seed, 50), 0);
		text = text_of(&s);
		assert_int_equal(sequence_parse(&again, text, &bad, why, sizeof(why)), 0);
		second = text_of(&again);
		assert_string_equal(text, second);
		assert_int_equal(again.nr, 50);
		assert_memory_equal(s.option, again.option, sizeof(s.option));
		sequence_free(&s);
		sequence_free(&again);
		free(text);
		free(second);
	}
}

/* What isn't a sequence is refused at its word. */
static void test_bad_text(void **state)
{
	static const struct {
		const char *text;
		size_t bad;
	} cases[] = {
		{"", 0},
		{"a accept", 0},
		{"tds=3: ", 0},
		{"tds=2 colour=red: ", 6},
		{": c.0 read 0x0", 2},
		{": a.2 read 0x0", 2},
		{": a read 0x0", 4},
		{": a.0 punch 0x0 1", 6},
		{": a.0 read", 10},
		{": a.0 read page", 11},
		{": a.0 read 0x10000", 11},
		{": a.0 accept 0x0 1g", 17},
		{": a convert 0x0 1 both", 18},
		{": a.0 read 0x0 alloc=", 15},
		{": a.0 read 0x0 busy=256", 20},
		{": a.0 read 0x0 0x0", 15},
		{": a.0 read 0x0: a.0 read 0x0", 14},
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sequence s;
		char why[200] = "";
		size_t bad = SIZE_MAX;

		assert_int_equal(sequence_parse(&s, cases[i].text, &bad, why, sizeof(why)),
				 -EINVAL);
		assert_int_equal(bad, cases[i].bad);
		assert_true(why[0]);
	}
}

/* ---- shrinking -------------------------------------------------------------------------------*/

/* Fails if a punch of page 7 comes after two writes of TD b. */
static bool fails(void *ctx, const struct sequence *s)
{
	u32 writes = 0;

	++*(u32 *)ctx;
	for (u32 i = 0; i < s->nr; i++) {
		writes += s->op[i].kind == SEQ_WRITE && s->op[i].td;
		if (s->op[i].kind == SEQ_PUNCH && s->op[i].page == 7 && writes >= 2)
			return true;
	}
	return false;
}

/* Of 2000 operations the three that matter are left, with nothing in them that doesn't. */
static void test_shrink(void **state)
{
	struct sequence s;
	u32 asked = 0;
	int shrunk;
	char *text;

	(void)state;
	assert_int_equal(sequence_random(&s, 42, 2000), 0);
	s.op[1300].kind = SEQ_PUNCH;
	s.op[1300].page = 7;
	s.op[1300].busy = 3;
	assert_true(fails(&asked, &s));
	shrunk = sequence_shrink(&s, fails, &asked);
	assert_int_equal(shrunk, asked - 1);
	text = text_of(&s);
	assert_string_equal(text, ": b.0 write 0x0; b.0 write 0x0; a punch 0x7 1");
	assert_true(asked < 1000);
	free(text);
	sequence_free(&s);
}

/* ---- bytes -----------------------------------------------------------------------------------*/

/* Options a byte each, operations seven; a rest that is no operation is left out. */
static void test_from_bytes(void **state)
{
	u8 data[SEQUENCE_OPTION_COUNT + 2 * SEQUENCE_OP_BYTES + 3] = {[SEQ_TDS] = 3};
	u8 *op = data + SEQUENCE_OPTION_COUNT;
	struct sequence s;
	char *text;

	(void)state;
	memcpy(op, (u8[]){SEQ_CONVERT, 0x19, 2, 0xFF, 0x03, 0x10, 0x00}, SEQUENCE_OP_BYTES);
	memcpy(op + SEQUENCE_OP_BYTES, (u8[]){0xEE, 0x02, 1, 0, 0, 0, 0}, SEQUENCE_OP_BYTES);
	assert_int_equal(sequence_from_bytes(&s, data, sizeof(data)), 0);
	text = text_of(&s);
	assert_string_equal(text, "tds=2: b convert 0x3ff 16 private alloc=2; a.1 read 0x0 busy=1");
	free(text);
	sequence_free(&s);
	assert_int_equal(sequence_from_bytes(&s, data, 1), 0);
	assert_int_equal(s.nr, 0);
	assert_int_equal(s.option[SEQ_TDS], 1);
	sequence_free(&s);
}

/* ---- planted bugs ----------------------------------------------------------------------------*/
#ifdef SEPTUM_CHECK

/*
 * What shows without a second thread. Each is found, what it is made small to has few operations, and
 * that fails with the bug and not without.
 */
static const char *const visible[] = {
	"wrong-pfn",
	"key-mixup",
	"stale-tlb",
	"skip-track",
	"ignore-busy-block",
	"demote-count-511",
	"hook-twice",
	"stat-before-success",
	"tail-not-split",
	"enomem-becomes-one",
	"shared-not-zeroed",
	"held-page-converted",
	"mixed-not-updated",
	"over-zap",
	"gmem-splits-mapped-folio",
	"flush-other-asid",
	"demote-drops-pending",
	"promote-checks-half",
	"track-before-block",
	"unblock-forgotten",
	"holdoff-not-cleared",
	"promote-keeps-count",
	"aug-failure-keeps-reference",
	"frozen-left",
	"loser-drops-page",
	"head-not-split",
	"attributes-before-zap",
	"punch-keeps-mapping",
	"freed-before-unmapped",
	"dirty-splits-nothing",
	"promotion-in-name",
	"failure-keeps-mapping",
	"failure-ignored",
	"held-in-first-part-only",
	"zeroed-in-first-part-only",
	"hole-ignores-last-holder",
	"hole-keeps-last-page",
	"mixed-without-last-page",
};
#define MOST_LEFT 12

static void find(const char *name)
{
	int bug = bug_by_name(name);
	struct campaign c = {.seed = 1, .sequences = 600, .length = LENGTH, .jobs = 1};
	struct campaign_result r;
	struct sequence_outcome out;

	if (bug < 0)
		fail_msg("no bug is called %s", name);
	bug_set_add(&c.planted_bugs, (enum planted_bug)bug);
	assert_int_equal(campaign_run(&c, &r), 0);
	if (!r.failed)
		fail_msg("%s isn't found", name);
	if (!r.smallest_outcome.failed || r.smallest.nr > MOST_LEFT)
		fail_msg("%s: not made small: %s", name, text_of(&r.smallest));
	assert_int_equal(campaign_try(&r.smallest, &NO_BUGS, 0, &out), 0);
	if (out.failed)
		fail_msg("%s: fails without it, too: %s: %s", name, text_of(&r.smallest), out.text);
	sequence_free(&r.smallest);
}

static void test_planted_bugs(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < SHARE(sizeof(visible) / sizeof(visible[0])); i++)
		find(visible[i]);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_false_alarm), cmocka_unit_test(test_text),
		cmocka_unit_test(test_bad_text),       cmocka_unit_test(test_shrink),
		cmocka_unit_test(test_from_bytes),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_planted_bugs),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
