/* SPDX-License-Identifier: MIT */
/*
 * bench: what `septum bench` measures. A benchmark takes samples of an operation and, between them
 * and in the same run, samples of its floor: the same stores and atomic operations with no logic
 * around them, a loop of its own that anybody can read.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/types.h"

#define BENCH_SAMPLES 201

/* What a benchmark fills: one value for the operation and one for the floor a sample. */
struct bench_samples {
	double op[BENCH_SAMPLES];
	double floor[BENCH_SAMPLES];
	u32 nr; /* samples taken */
	bool has_floor;
};

struct benchmark {
	const char *name;
	const char *unit; /* "ns" unless it says something else */
	const char *what;
	const char *floor; /* what the floor does; NULL: none */
	/* Return: 0 or -errno. */
	int (*run)(struct bench_samples *out);
};

/** bench_at - benchmark number @i in the order of --list, NULL past the end */
const struct benchmark *bench_at(u32 i);

extern const struct benchmark bench_fault_4k, bench_fault_2m;
extern const struct benchmark bench_host_start_1g, bench_host_start_16t;

#endif
