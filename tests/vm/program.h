/* SPDX-License-Identifier: MIT */
/*
 * Guests for tests: a list of operations that one vCPU performs in order, each until it succeeds.
 * What each came to is kept for the test to look at.
 */
#ifndef TESTS_VM_PROGRAM_H
#define TESTS_VM_PROGRAM_H

#include "vm/vm.h"

enum op_kind {
	OP_ACCEPT,  /* gpa, level: result is the status */
	OP_READ,    /* gpa: result is the word */
	OP_WRITE,   /* gpa, value */
	OP_DISCARD, /* gpa, value = bytes: result is the host's answer */
	OP_MAP_GPA, /* gpa with its shared bit, value = bytes: result is R10 of the answer */
	OP_SIGNAL,  /* flag = value */
	OP_WAIT,    /* until flag == value; can be kicked */
	OP_STOP,
};

struct op {
	enum op_kind kind;
	enum pg_level level;
	gpa_t gpa;
	u64 value;
	u64 *flag;
};

struct program {
	const struct op *ops;
	u64 *results; /* one an op */
	u32 pc;
	u32 ves;     /* #VEs delivered: each accepts its page at 4K */
	u32 mces;    /* machine checks */
	u64 entries; /* how often guest code began to run */
	bool called; /* the op's hypercall was made */
	u64 r11;     /* of the answer to the last hypercall but STOP */
	gpa_t ve_gpa;
	bool in_ve;
	struct tdx_regs call;
};

extern const struct guest_ops program_ops;

#define MAX_OPS 2048

/* Runs @ops (ended by OP_STOP) on vCPU @i of @vm in the calling thread; Return: vcpu_run()'s. */
int program_run(struct vm *vm, u32 i, const struct op *ops, struct program *p, u64 *results);

#define ACCEPT_AT(l, a)                                              \
	{                                                            \
		.kind = OP_ACCEPT, .level = PG_LEVEL_##l, .gpa = (a) \
	}
#define READ_AT(a)                          \
	{                                   \
		.kind = OP_READ, .gpa = (a) \
	}
#define WRITE_AT(a, v)                                     \
	{                                                  \
		.kind = OP_WRITE, .gpa = (a), .value = (v) \
	}
#define DISCARD_AT(a, n)                                     \
	{                                                    \
		.kind = OP_DISCARD, .gpa = (a), .value = (n) \
	}
#define MAP_GPA_AT(a, n)                                     \
	{                                                    \
		.kind = OP_MAP_GPA, .gpa = (a), .value = (n) \
	}
#define STOP                    \
	{                       \
		.kind = OP_STOP \
	}

#endif
