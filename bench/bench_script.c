/* SPDX-License-Identifier: MIT */
/*
 * Scripts of `septum seamcall`: reading one and running it, machine and TD included. Its lines are
 * those that a page's life is made of, with what they must answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "script/seamcall.h"

#define CYCLES 200
#define LINES_PER_CYCLE 15
#define HEAD_LINES 7
#define LINES (HEAD_LINES + CYCLES * LINES_PER_CYCLE)
#define TEXT_MAX (LINES * 160)

/* A line's share of what one cycle does, counted in a build whose base/sync counts. */
#define FLOOR_ATOMICS 12
#define FLOOR_STORES 3

static const char head[] = "# a page comes, is accepted, and goes\n"
			   "host memory=1G dpamt=off lps=2\n"
			   "td t gpaw=48 vcpus=1\n"
			   "lp 1\n"
			   "TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0 -> TDX_SUCCESS\n"
			   "TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1 -> TDX_SUCCESS\n"
			   "TDH.MEM.SEPT.ADD rcx=0x1 rdx=$t r8=$p2 -> TDX_SUCCESS\n";

static size_t print_cycle(char *text, size_t room, u32 i)
{
	unsigned int gpa = i << PAGE_SHIFT, hpa = 0x10000000 + gpa;

	return (size_t)snprintf(
		text, room,
		"TDH.MEM.SEPT.RD rcx=0x%x rdx=$t -> 0x0 rcx=0x8000000000000000 rdx=0x0\n"
		"TDH.MEM.PAGE.AUG rcx=0x%x rdx=$t r8=0x%x -> TDX_SUCCESS rcx=0x0 rdx=0x0\n"
		"TDH.PHYMEM.PAGE.RDMD rcx=0x%x -> TDX_SUCCESS rcx=0x3 rdx=$t r8=0x0 r9=0x0\n"
		"TDH.MEM.PAGE.AUG rcx=0x%x rdx=$t r8=0x%x -> 0xC0000B0D00000001 rdx=0x200\n"
		"enter t.0\n"
		"t.0: TDG.MEM.PAGE.ACCEPT rcx=0x%x -> TDX_SUCCESS\n"
		"exit t.0\n"
		"TDH.MEM.SEPT.RD rcx=0x%x rdx=$t -> 0x0 rdx=0x400\n"
		"TDH.MEM.RANGE.BLOCK rcx=0x%x rdx=$t -> TDX_SUCCESS rcx=0x0 rdx=0x0\n"
		"TDH.MEM.RANGE.UNBLOCK rcx=0x%x rdx=$t -> 0xC0000B0800000001 rcx=0x0 rdx=0x0\n"
		"TDH.MEM.SEPT.RD rcx=0x%x rdx=$t -> 0x0 rdx=0x100\n"
		"TDH.MEM.PAGE.REMOVE rcx=0x%x rdx=$t -> TDX_TLB_TRACKING_NOT_DONE|RCX\n"
		"TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS\n"
		"TDH.MEM.PAGE.REMOVE rcx=0x%x rdx=$t -> TDX_SUCCESS rcx=0x%x rdx=0x0\n"
		"TDH.PHYMEM.PAGE.RDMD rcx=0x%x -> TDX_SUCCESS rcx=0x0\n",
		gpa, gpa, hpa, hpa, gpa, hpa, gpa, gpa, gpa, gpa, gpa, gpa, gpa, hpa, hpa);
}

static size_t print_script(char *text)
{
	size_t length = sizeof(head) - 1;

	memcpy(text, head, length);
	for (u32 i = 0; i < CYCLES; i++)
		length += print_cycle(text + length, TEXT_MAX - length, i);
	return length;
}

static int sample(const char *text, size_t length, struct bench_samples *out)
{
	struct seamcall_run run = {.name = "bench"};
	struct seamcall_script *script;
	struct seamcall_error error;
	struct bench_floor floor = {0};
	int err;

	bench_start(out);
	err = seamcall_parse(text, length, &script, &error);
	if (err)
		return err;
	err = seamcall_run(script, &run, &error);
	seamcall_free(script);
	bench_end_op(out, LINES);

	bench_start(out);
	for (u32 i = 0; i < LINES; i++)
		bench_floor_once(&floor, FLOOR_ATOMICS, FLOOR_STORES);
	bench_end_floor(out, LINES);
	/* Lines a second. */
	out->op[out->nr] = 1e9 / out->op[out->nr];
	out->floor[out->nr] = 1e9 / out->floor[out->nr];
	return err || !run.failures ? err : -EIO;
}

static int run_script_lines(struct bench_samples *out)
{
	char *text = malloc(TEXT_MAX);
	size_t length;
	int err;

	if (!text)
		return -ENOMEM;
	length = print_script(text);
	do {
		err = sample(text, length, out);
	} while (!err && bench_next(out));
	free(text);
	return err;
}

const struct benchmark bench_seamcall_script_lines = {
	.name = "seamcall-script-lines",
	.unit = "lines/s",
	.what = "lines of a seamcall script, read and run; one in five enters a TD or is its "
		"guest's",
	.floor = "12 compare-exchanges and 3 stores a line",
	.more_is_better = true,
	.run = run_script_lines,
};
