/* SPDX-License-Identifier: MIT */
/*
 * bench: what `septum bench` measures. A benchmark takes samples of an operation and, between them
 * and in the same run, samples of its floor: the same stores and atomic operations with no logic
 * around them, a loop of its own that anybody can read.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "base/sync.h"
#include "base/types.h"

#define BENCH_SAMPLES 201

/* What a benchmark fills: one value for the operation and one for the floor a sample. */
struct bench_samples {
	double op[BENCH_SAMPLES];
	double floor[BENCH_SAMPLES];
	double instructions[BENCH_SAMPLES]; /* of one operation, in user space */
	u32 nr;				    /* samples taken */
	bool has_floor;
	bool has_instructions; /* the machine counts them */

	/* A benchmark that finds more than times: text for below its row, fields for the row in JSON. */
	char *report; /* from malloc() */
	json_t *more;

	int counter; /* of instructions of the calling thread; -1: the machine offers none */
	u64 start_ns, start_instructions;
};

struct benchmark {
	const char *name;
	const char *unit; /* "ns" unless it says something else */
	const char *what;
	const char *floor;   /* what the floor does; NULL: none */
	bool more_is_better; /* the unit is a rate */
	bool by_name;	     /* takes long, or much memory: runs only where it is named */
	/* Return: 0 or -errno. */
	int (*run)(struct bench_samples *out);
};

/** bench_at - benchmark number @i in the order of --list, NULL past the end */
const struct benchmark *bench_at(u32 i);

extern const struct benchmark bench_fault_4k, bench_fault_2m;
extern const struct benchmark bench_seamcall_aug_4k, bench_seamcall_demote_2m,
	bench_seamcall_sept_rd;
extern const struct benchmark bench_seamcall_script_lines;
extern const struct benchmark bench_walk;
extern const struct benchmark bench_mmu_map_4k, bench_mmu_zap_2m, bench_mmu_walk,
	bench_mmu_split_2m, bench_mmu_merge_2m;
extern const struct benchmark bench_split_2m, bench_split_2m_host, bench_promote_2m,
	bench_convert_4k, bench_punch_split_12t;
extern const struct benchmark bench_host_start_1g, bench_host_start_16t;
extern const struct benchmark bench_explore_switch, bench_explore_search;
extern const struct benchmark bench_big_td;

/** bench_debates - write docs/debates.md to @out: what each choice of a policy costs. 0 or -errno */
int bench_debates(FILE *out);

/* ---- one sample: start, n operations, end_op; start, n floors, end_floor; next ------------------*/
/** bench_open - a counter of instructions if there is one; the thread that calls it is measured */
void bench_open(struct bench_samples *s);
void bench_close(struct bench_samples *s);
void bench_start(struct bench_samples *s);
/** bench_end_op / bench_end_floor - since bench_start() the thread did it @n times */
void bench_end_op(struct bench_samples *s, u32 n);
void bench_end_floor(struct bench_samples *s, u32 n);
/** bench_next - the sample is complete. Return: false when it was the last one */
bool bench_next(struct bench_samples *s);

/* ---- floors ----------------------------------------------------------------------------------*/
#define FLOOR_LINES 32

/* The cache lines that a floor touches. */
struct bench_floor {
	struct {
		u64 word;
		u64 pad[7];
	} line[FLOOR_LINES];
};

/** bench_floor_once - @atomics read-modify-writes and @stores, spread over the lines */
static inline void bench_floor_once(struct bench_floor *f, u32 atomics, u32 stores)
{
	for (u32 i = 0; i < atomics; i++) {
		u64 expected = sync_load(&f->line[i % FLOOR_LINES].word);

		sync_cmpxchg(&f->line[i % FLOOR_LINES].word, &expected, expected + 1);
	}
	for (u32 i = 0; i < stores; i++)
		sync_store(&f->line[i % FLOOR_LINES].pad[i % 7], i);
}

#endif
