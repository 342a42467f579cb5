/* SPDX-License-Identifier: MIT */
/*
 * Campaigns over ranks, by a link that plays messages from a list: what rank 0 makes of reports, right
 * and wrong, in any order; what another does with a task. Sequences are as long as a task, so that seed
 * FIRST + n is task n, where nobody has to run one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bug.h"
#include "explore/ranks_play.h"

#define LONG RANKS_TASK_OPERATIONS
#define FIRST 1000
#define SEEDS 4

struct shown {
	u64 next, operations;
	u32 notes;
};

static void show(void *ctx, u64 next, u64 operations)
{
	struct shown *s = ctx;

	assert_true(next >= s->next);
	s->next = next;
	s->operations = operations;
}

static void count_note(void *ctx, u32 rank, const char *what)
{
	struct shown *s = ctx;

	assert_int_equal(rank, 1);
	assert_non_null(what);
	s->notes++;
}

struct play {
	struct ranks_play link;
	struct ranks ranks;
	struct shown shown;
	struct campaign campaign;
	struct campaign_result result;
};

static void begin(struct play *p, u32 index, u32 size, u64 seeds, u32 length)
{
	memset(p, 0, sizeof(*p));
	p->ranks =
		(struct ranks){.link = ranks_play_link(&p->link),
			       .index = index,
			       .size = size,
			       .silence = 1,
			       /* Longer than a task takes, however slow: nobody answers in it. */
			       .patience = index ? 600 : 1};
	p->link.only_asked = index;
	p->campaign = (struct campaign){.seed = FIRST,
					.sequences = seeds,
					.length = length,
					.jobs = 1,
					.progress = show,
					.ctx = &p->shown};
	assert_int_equal(ranks_begin(&p->ranks), 0);
}

static int go(struct play *p)
{
	return campaign_run_ranked(&p->ranks, &p->campaign, &p->campaign, count_note, &p->result);
}

/* The only report that was sent. */
static struct ranks_seeds_report reported(const struct play *p)
{
	struct ranks_seeds_report r = {0};

	assert_int_equal(ranks_play_said(&p->link, 0, RANKS_PART), 1);
	for (u32 i = 0; i < p->link.nr_said; i++) {
		const struct ranks_message *m = &p->link.said[i].m;

		if (m->kind != RANKS_PART)
			continue;
		assert_int_equal(m->nr, sizeof(r));
		memcpy(&r, m->bytes, sizeof(r));
	}
	return r;
}

/* What a rank that was asked for the same says of it. */
static u64 fingerprint(u64 seeds, u32 length)
{
	const struct line end = {0, {.kind = RANKS_END, .count = 1}};
	struct play p;

	begin(&p, 1, 2, seeds, length);
	p.link.line = &end;
	p.link.lines = 1;
	assert_int_equal(go(&p), 0);
	assert_int_equal(p.link.said[0].m.kind, RANKS_ASK);
	return p.link.said[0].m.count;
}

static struct ranks_seeds_report good(void)
{
	return (struct ranks_seeds_report){.operations = LONG};
}

/* Seed FIRST + @n fails in operation @at. */
static struct ranks_seeds_report failed(u64 n, u64 at)
{
	struct ranks_seeds_report r = {.operations = at,
				       .failed = 1,
				       .seed = FIRST + n,
				       .at = at,
				       .outcome_operations = at};

	snprintf(r.text, sizeof(r.text), "seed %u", (u32)r.seed);
	return r;
}

static struct line report_by(u32 from, u32 task, struct ranks_seeds_report r)
{
	return line_part(from, task, &r, sizeof(r), 0, sizeof(r));
}

/* ---- rank 0 ----------------------------------------------------------------------------------*/

/* Nothing fails: operations are all tasks', and the next seed is the one after the last. */
static void test_sum(void **state)
{
	const struct line line[] = {
		report_by(1, 1, good()), report_by(2, 0, good()), report_by(2, 3, good()),
		report_by(1, 2, good()), line_ask(1, 0),	  line_ask(2, 0),
	};
	struct play p;

	(void)state;
	begin(&p, 0, 3, SEEDS, LONG);
	p.link.line = line;
	p.link.lines = ARRAY_SIZE(line);
	assert_int_equal(go(&p), 0);
	assert_false(p.result.failed);
	assert_int_equal(p.result.operations, (u64)SEEDS * LONG);
	assert_int_equal(p.result.next, FIRST + SEEDS);
	assert_int_equal(p.shown.next, FIRST + SEEDS);
	assert_int_equal(p.shown.operations, (u64)SEEDS * LONG);
	assert_int_equal(p.shown.notes, 0);
	ranks_leave(&p.ranks);
}

/*
 * Whoever is first to say so, the lowest seed that fails wins; what is after it is neither waited for nor
 * counted; what is before it is both. The others have been told to end when that is made small.
 */
static void test_lowest_wins(void **state)
{
	const struct line orders[][6] = {
		{report_by(1, 3, failed(3, 2)), report_by(2, 1, failed(1, 5)),
		 report_by(1, 0, good()), line_ask(1, 0), line_ask(2, 0)},
		{report_by(1, 1, failed(1, 5)), report_by(2, 2, failed(2, 2)),
		 report_by(1, 0, good()), line_ask(1, 0), line_ask(2, 0)},
		{report_by(1, 2, good()), report_by(2, 0, good()), report_by(1, 1, failed(1, 5)),
		 line_ask(1, 0), line_ask(2, 0)},
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(orders); i++) {
		struct play p;

		begin(&p, 0, 3, SEEDS, LONG);
		p.link.line = orders[i];
		p.link.lines = 5;
		assert_int_equal(go(&p), 0);
		assert_true(p.link.closed && p.link.together);
		assert_true(p.result.failed);
		assert_int_equal(p.result.failed_seed, FIRST + 1);
		assert_int_equal(p.result.next, FIRST + 1);
		assert_int_equal(p.result.operations, LONG + 5);
		assert_int_equal(p.result.outcome.at, 5);
		assert_string_equal(p.result.outcome.text, "seed 1001");
		assert_int_equal(p.shown.next, FIRST + 1);
		assert_int_equal(p.shown.operations, LONG + 5);
		/* It was made up: shown as it is, up to where it is said to fail. */
		assert_int_equal(p.result.smallest.nr, 6);
		assert_false(p.result.smallest_outcome.failed);
		assert_int_equal(p.shown.notes, 0);
		sequence_free(&p.result.smallest);
		ranks_leave(&p.ranks);
	}
}

/* What says of a task what can't be is no report: its rank gets no more, and the task is done here. */
static void test_no_report(void **state)
{
	const u32 length = 20;
	struct ranks_seeds_report bad[8] = {0};
	u64 hash = fingerprint(1, length);

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = failed(0, 5);
	bad[0] = (struct ranks_seeds_report){.operations = length - 1};
	bad[1] = (struct ranks_seeds_report){.operations = length + 1};
	bad[2].failed = 2;
	bad[3].seed = FIRST - 1;
	bad[4].seed = FIRST + 1;
	bad[5].operations = 6;
	bad[6].operations = bad[6].outcome_operations = length + 1;
	memset(bad[7].text, 'x', sizeof(bad[7].text));
	for (u32 i = 0; i <= ARRAY_SIZE(bad); i++) {
		struct line line[] = {
			line_ask(1, hash),
			i < ARRAY_SIZE(bad) ? report_by(1, 0, bad[i])
					    : line_part(1, 0, &bad[0], 9, 0, 9),
			line_ask(1, hash),
		};
		const struct line last = line_ask(1, hash);
		struct play p;

		begin(&p, 0, 2, 1, length);
		p.link.line = line;
		p.link.lines = ARRAY_SIZE(line);
		assert_int_equal(go(&p), 0);
		assert_int_equal(p.shown.notes, 1);
		assert_int_equal(ranks_play_said(&p.link, 1, RANKS_TASK), 1);
		assert_int_equal(ranks_play_said(&p.link, 1, RANKS_WAIT), 1);
		assert_false(p.result.failed);
		assert_int_equal(p.result.operations, length);
		p.link.line = &last;
		p.link.lines = 1;
		ranks_leave(&p.ranks);
	}
}

/* A task is handed out with the seeds that it is part of; who was asked for other ones gets none. */
static void test_hands_out(void **state)
{
	const u64 hash = fingerprint(SEEDS, LONG);
	const struct line line[] = {
		line_ask(1, hash + 1),	 line_ask(2, hash),	  report_by(2, 0, good()),
		report_by(2, 1, good()), report_by(2, 2, good()), report_by(2, 3, good()),
		line_ask(1, hash),	 line_ask(2, hash),
	};
	struct play p;

	(void)state;
	assert_true(fingerprint(SEEDS + 1, LONG) != hash);
	assert_true(fingerprint(SEEDS, LONG + 1) != hash);
	begin(&p, 0, 3, SEEDS, LONG);
	p.link.line = line;
	p.link.lines = ARRAY_SIZE(line);
	assert_int_equal(go(&p), 0);
	assert_int_equal(p.shown.notes, 1);
	assert_int_equal(ranks_play_said(&p.link, 1, RANKS_TASK), 0);
	assert_int_equal(ranks_play_said(&p.link, 2, RANKS_TASK), 1);
	assert_int_equal(p.link.said[1].m.count, FIRST);
	assert_int_equal(p.link.said[1].m.at, SEEDS);
	ranks_leave(&p.ranks);
}

/* ---- the others ------------------------------------------------------------------------------*/

/*
 * A rank does what rank 0 tells it, wherever its own command line begins: of 66 sequences the second
 * task is the last one. A task that isn't there it can't do, and says so.
 */
static void test_does_what_it_is_told(void **state)
{
	const u32 length = 500, per = RANKS_TASK_OPERATIONS / length;
	const struct line line[] = {
		{0, {.kind = RANKS_TASK, .task = 1, .count = 77, .at = per + 1}},
		{0, {.kind = RANKS_TASK, .task = 2, .count = 77, .at = per + 1}},
		{0, {.kind = RANKS_TASK, .task = UINT32_MAX, .count = 77, .at = UINT64_MAX}},
		{0, {.kind = RANKS_TASK, .task = 0, .count = 77, .at = 0}},
		{0, {.kind = RANKS_END, .count = 1}},
	};
	struct ranks_seeds_report r;
	struct play p;

	(void)state;
	begin(&p, 1, 2, SEEDS, length);
	p.link.line = line;
	p.link.lines = ARRAY_SIZE(line);
	assert_int_equal(go(&p), 0);
	ranks_leave(&p.ranks);
	assert_int_equal(ranks_play_said(&p.link, 0, RANKS_CANT), 3);
	r = reported(&p);
	assert_int_equal(r.failed, 0);
	assert_int_equal(r.operations, length);
}

#ifdef SEPTUM_CHECK

/* Of a task in which several seeds fail, the first is reported, with what a campaign says of it. */
static void test_reports_failure(void **state)
{
	const struct line line[] = {
		{0, {.kind = RANKS_TASK, .task = 0, .count = 1, .at = 20}},
		{0, {.kind = RANKS_END, .count = 1}},
	};
	struct campaign alone = {.seed = 1, .sequences = 20, .length = 500, .jobs = 1};
	struct campaign_result result;
	struct ranks_seeds_report r;
	struct play p;

	(void)state;
	alone.planted_bugs = bug_set_of(BUG_AUG_FAILURE_KEEPS_REFERENCE);
	assert_int_equal(campaign_search(&alone, &result), 0);
	assert_true(result.failed && result.failed_seed > 1);
	begin(&p, 1, 2, 20, 500);
	p.campaign.planted_bugs = alone.planted_bugs;
	p.link.line = line;
	p.link.lines = ARRAY_SIZE(line);
	assert_int_equal(go(&p), 0);
	ranks_leave(&p.ranks);
	r = reported(&p);
	assert_int_equal(r.failed, 1);
	assert_int_equal(r.seed, result.failed_seed);
	assert_int_equal(r.operations, result.operations);
	assert_int_equal(r.at, result.outcome.at);
	assert_string_equal(r.text, result.outcome.text);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_lowest_wins),
		cmocka_unit_test(test_no_report),
		cmocka_unit_test(test_hands_out),
		cmocka_unit_test(test_does_what_it_is_told),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_reports_failure),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
