/* SPDX-License-Identifier: MIT */
/*
 * What rank 0 makes of the others' messages, by a link that plays them from a list. Its tasks report
 * their number in five letters; what a rank sends is given here, whole or in parts, right or wrong.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "explore/ranks_play.h"

#define TASKS 4
#define FINGERPRINT 77
#define LETTERS 5
#define WHOLE_FIRST 300
#define WHOLE_NR 40

struct play {
	struct ranks_play link;
	struct ranks ranks;
	struct ranks_job job;
	u32 taken[TASKS], mine, notes;
	u32 needed; /* as soon as one is taken */
};

static struct line ask_by(u32 from)
{
	return line_ask(from, FINGERPRINT);
}

static struct line part_by(u32 from, u32 task, const char *letters, u64 at, u64 whole)
{
	return line_part(from, task, letters, strlen(letters), at, whole);
}

static struct line report_by(u32 from, u32 task)
{
	char letters[LETTERS + 1];

	snprintf(letters, sizeof(letters), "%05u", task);
	return part_by(from, task, letters, 0, LETTERS);
}

static int play_run(void *ctx, u32 task, const struct ranks_span *whole, struct ranks_bytes *report)
{
	struct play *p = ctx;
	char letters[LETTERS + 1];

	assert_int_equal(whole->first, WHOLE_FIRST);
	assert_int_equal(whole->nr, WHOLE_NR);
	p->mine++;
	snprintf(letters, sizeof(letters), "%05u", task);
	return ranks_put(report, letters, LETTERS);
}

static int play_take(void *ctx, u32 task, const char *bytes, size_t nr)
{
	struct play *p = ctx;
	char letters[LETTERS + 1];

	snprintf(letters, sizeof(letters), "%05u", task);
	if (nr != LETTERS || memcmp(bytes, letters, LETTERS))
		return -EINVAL;
	p->taken[task]++;
	return 0;
}

static u32 play_needed(void *ctx)
{
	const struct play *p = ctx;

	return p->needed;
}

static void play_note(void *ctx, u32 rank, const char *what)
{
	struct play *p = ctx;

	assert_in_range(rank, 1, p->ranks.size - 1);
	assert_non_null(what);
	p->notes++;
}

static void begin(struct play *p, u32 index, u32 size, const struct line *line, u32 lines)
{
	memset(p, 0, sizeof(*p));
	p->link = (struct ranks_play){.line = line, .lines = lines};
	p->ranks = (struct ranks){.link = ranks_play_link(&p->link),
				  .index = index,
				  .size = size,
				  .silence = 1,
				  .patience = 1};
	p->job = (struct ranks_job){.fingerprint = FINGERPRINT,
				    .nr = TASKS,
				    .whole = {WHOLE_FIRST, WHOLE_NR},
				    .ctx = p,
				    .run = play_run,
				    .take = play_take,
				    .note = play_note};
	assert_int_equal(ranks_begin(&p->ranks), 0);
}

/* Plays all lines to a rank 0 of @size; each task must have been taken once, whoever did it. */
static void play(struct play *p, u32 size, const struct line *line, u32 lines)
{
	begin(p, 0, size, line, lines);
	assert_int_equal(ranks_hand_out(&p->ranks, &p->job), 0);
	for (u32 i = 0; i < TASKS; i++)
		assert_int_equal(p->taken[i], 1);
	ranks_leave(&p->ranks);
	assert_true(p->link.closed);
}

static u32 said(const struct play *p, u32 to, enum ranks_kind kind)
{
	return ranks_play_said(&p->link, to, kind);
}

/* Two ranks share the tasks in order; who asks when there is none left waits, and all end together. */
static void test_in_order(void **state)
{
	const struct line line[] = {
		ask_by(1),	 ask_by(2), report_by(2, 1), ask_by(2), report_by(1, 0), ask_by(1),
		report_by(1, 3), ask_by(1), report_by(2, 2), ask_by(2), ask_by(1),
	};
	struct play p;

	(void)state;
	play(&p, 3, line, ARRAY_SIZE(line));
	assert_int_equal(said(&p, 1, RANKS_TASK), 2);
	assert_int_equal(said(&p, 2, RANKS_TASK), 2);
	assert_int_equal(p.link.said[0].m.task, 0);
	assert_int_equal(p.link.said[1].m.task, 1);
	assert_int_equal(said(&p, 1, RANKS_WAIT), 1);
	assert_int_equal(said(&p, 1, RANKS_END), 1);
	assert_int_equal(said(&p, 2, RANKS_END), 1);
	assert_int_equal(p.mine, 0);
	assert_int_equal(p.notes, 0);
	assert_true(p.link.together);
}

/* What a silent rank had is handed out again; with nobody left, rank 0 does it and ends alone. */
static void test_silent(void **state)
{
	const struct line line[] = {ask_by(1), report_by(1, 0), ask_by(1)};
	struct play p;

	(void)state;
	play(&p, 3, line, ARRAY_SIZE(line));
	assert_int_equal(p.mine, TASKS - 1);
	assert_int_equal(p.notes, 2);
	assert_false(p.link.together);
}

/* A rank that can't work, or that has other programs, gets nothing more; its task is another's. */
static void test_useless(void **state)
{
	struct line line[] = {
		ask_by(1),	 {1, {.kind = RANKS_CANT}},
		ask_by(2),	 ask_by(1),
		ask_by(3),	 ask_by(1),
		report_by(3, 0), ask_by(3),
		report_by(3, 1), ask_by(3),
		report_by(3, 2), ask_by(3),
		report_by(3, 3), ask_by(3),
		ask_by(2),	 ask_by(1),
	};
	struct play p;

	(void)state;
	line[2].m.count = FINGERPRINT + 1;
	play(&p, 4, line, ARRAY_SIZE(line));
	assert_int_equal(said(&p, 1, RANKS_TASK), 1);
	assert_int_equal(said(&p, 2, RANKS_TASK), 0);
	assert_int_equal(said(&p, 3, RANKS_TASK), TASKS);
	assert_int_equal(p.notes, 2);
	assert_true(p.link.together);
}

/* A report in parts is one; what has a gap, a wrong length or number, or says nothing, is none. */
static void test_parts(void **state)
{
	const struct line good[] = {ask_by(1), part_by(1, 0, "000", 0, LETTERS),
				    part_by(1, 0, "00", 3, LETTERS), ask_by(1)};
	const struct line bad[] = {
		part_by(1, 0, "00", 3, LETTERS),	  part_by(1, 0, "000000", 0, LETTERS),
		part_by(1, TASKS, "00004", 0, LETTERS),	  part_by(1, 0, "xxxxx", 0, LETTERS),
		part_by(1, 0, "00", UINT64_MAX, LETTERS),
	};
	struct play p;

	(void)state;
	play(&p, 2, good, ARRAY_SIZE(good));
	assert_int_equal(p.mine, TASKS - 1);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct line line[] = {ask_by(1), bad[i], ask_by(1)};

		play(&p, 2, line, ARRAY_SIZE(line));
		assert_int_equal(p.mine, TASKS);
		assert_int_equal(said(&p, 1, RANKS_TASK), 1);
		assert_int_equal(p.notes, 1);
	}
}

/* A report that comes twice, from who did the task and from who was to do it again, is taken once. */
static void test_twice(void **state)
{
	const struct line line[] = {
		ask_by(1),	 ask_by(1),	  ask_by(2), report_by(1, 0),
		report_by(2, 1), report_by(1, 1), ask_by(1), report_by(1, 2),
		ask_by(1),	 report_by(1, 3), ask_by(1), ask_by(2),
	};
	struct play p;

	(void)state;
	play(&p, 3, line, ARRAY_SIZE(line));
	assert_int_equal(p.mine, 0);
}

/* Tasks that needn't be done any more are nobody's, and are not waited for; those before them are. */
static void test_not_needed(void **state)
{
	const struct line line[] = {
		ask_by(1), ask_by(2),	    report_by(2, 1), ask_by(2),
		ask_by(2), report_by(1, 0), ask_by(1),	     ask_by(2),
	};
	struct play p;

	(void)state;
	begin(&p, 0, 3, line, ARRAY_SIZE(line));
	p.needed = 2;
	p.job.needed = play_needed;
	assert_int_equal(ranks_hand_out(&p.ranks, &p.job), 0);
	assert_int_equal(p.taken[0] + p.taken[1], 2);
	assert_int_equal(p.taken[2] + p.taken[3] + p.mine, 0);
	assert_int_equal(said(&p, 2, RANKS_TASK), 1);
	assert_int_equal(said(&p, 2, RANKS_WAIT), 2);
	ranks_leave(&p.ranks);
	assert_true(p.link.closed && p.link.together);
}

/* Who has left has: a second time nothing is said, and the link isn't closed again. */
static void test_leave_twice(void **state)
{
	const struct line line[] = {ask_by(1)};
	struct play p;

	(void)state;
	begin(&p, 0, 2, line, ARRAY_SIZE(line));
	ranks_leave(&p.ranks);
	ranks_leave(&p.ranks);
	assert_int_equal(said(&p, 1, RANKS_END), 1);
}

/* A rank hears who has a task for it and what that is part of, does it, and ends when it's told. */
static void test_serve(void **state)
{
	const struct line line[] = {
		{0, {.kind = RANKS_TASK, .task = 2, .count = WHOLE_FIRST, .at = WHOLE_NR}},
		{0, {.kind = RANKS_GO_ON}},
		{0, {.kind = RANKS_WAIT}},
		{0, {.kind = RANKS_END, .count = 1}},
	};
	struct play p;

	(void)state;
	begin(&p, 1, 2, line, ARRAY_SIZE(line));
	p.job.whole = (struct ranks_span){0, 0};
	assert_int_equal(ranks_serve(&p.ranks, &p.job), 0);
	ranks_leave(&p.ranks);
	assert_int_equal(p.mine, 1);
	assert_int_equal(said(&p, 0, RANKS_ASK), 3);
	assert_int_equal(said(&p, 0, RANKS_PART), 1);
	assert_int_equal(p.link.said[1].m.task, 2);
	assert_memory_equal(p.link.said[1].m.bytes, "00002", LETTERS);
	assert_true(p.link.closed && p.link.together);
}

/* A rank whose rank 0 has gone says so and ends, not with the others. */
static void test_deserted(void **state)
{
	struct play p;

	(void)state;
	begin(&p, 1, 2, NULL, 0);
	assert_int_equal(ranks_serve(&p.ranks, &p.job), -ETIMEDOUT);
	ranks_leave(&p.ranks);
	assert_true(p.link.closed && !p.link.together && p.ranks.deserted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),    cmocka_unit_test(test_silent),
		cmocka_unit_test(test_useless),	    cmocka_unit_test(test_parts),
		cmocka_unit_test(test_twice),	    cmocka_unit_test(test_serve),
		cmocka_unit_test(test_deserted),    cmocka_unit_test(test_not_needed),
		cmocka_unit_test(test_leave_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
