/* SPDX-License-Identifier: MIT */
/* One sample: what the clock and, where the machine has one, the counter of instructions say. */
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/bench.h"
#include "host/host.h"

void bench_open(struct bench_samples *s)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	s->counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	s->has_instructions = s->counter >= 0;
}

void bench_close(struct bench_samples *s)
{
	if (s->counter >= 0)
		close(s->counter);
	s->counter = -1;
}

static u64 instructions(struct bench_samples *s)
{
	u64 count = 0;

	if (s->has_instructions && read(s->counter, &count, sizeof(count)) != sizeof(count))
		s->has_instructions = false;
	return count;
}

/* The counter is read outside the time taken: it costs a system call. */
void bench_start(struct bench_samples *s)
{
	s->start_instructions = instructions(s);
	s->start_ns = host_now_ns();
}

void bench_end_op(struct bench_samples *s, u32 n)
{
	u64 end = host_now_ns();

	s->op[s->nr] = (double)(end - s->start_ns) / n;
	s->instructions[s->nr] = (double)(instructions(s) - s->start_instructions) / n;
}

void bench_end_floor(struct bench_samples *s, u32 n)
{
	s->floor[s->nr] = (double)(host_now_ns() - s->start_ns) / n;
	s->has_floor = true;
}

bool bench_next(struct bench_samples *s)
{
	return ++s->nr < BENCH_SAMPLES;
}
