/* SPDX-License-Identifier: MIT */
/*
 * script/program: the language of explore programs. A few threads, each with a few operations, over
 * a machine with one TD or several; small enough that every order of their steps can be tried.
 *
 *   # an ACCEPT at 4K meets the hole that another thread punches
 *   machine memory=1G dpamt=on module=1.5.28
 *   td a vcpus=2 memory=8M pages=2m
 *   setup
 *     a.0: accept 0x200000 2m         # one after another, before the threads begin
 *     a.0: write 0x200000
 *   thread a.0                        # a vCPU: its operations are the guest's
 *     accept 0x201000 4k
 *     read 0x200000
 *   thread host                       # a host thread: operations name their TD
 *     punch a 0x200000 4K
 *   finally
 *     a.1: read 0x400000              # after all threads have ended
 *
 * One word or number a blank; `#` starts a comment; indentation means nothing. Numbers as the command
 * line has them (0x..., 4K, 2M). A line `expect fails` is not part of the language: programs are right
 * whatever the order of steps, and the oracle says so.
 */
#ifndef SCRIPT_PROGRAM_H
#define SCRIPT_PROGRAM_H

#include "base/types.h"
#include "gmem/gmem.h"
#include "vm/vm.h"

#define PROGRAM_MAX_TDS 3
#define PROGRAM_MAX_VCPUS 4 /* of one TD */
#define PROGRAM_MAX_THREADS 8
#define PROGRAM_MAX_OPS 64     /* of one thread */
#define PROGRAM_PAMT_PAGES 512 /* that pamt-get and pamt-put can name */

/*
 * PROGRAM_OP(symbol, word, who, arguments): who is G for the guest, H for the host. Arguments, in
 * order: g a GPA, z a size (multiple of 4K), l a level (4k 2m 1g), s a side (private shared),
 * t a TD's name, v a vCPU (a.0), n a small number.
 */
#define PROGRAM_OPS                                                                             \
	/* TDG.MEM.PAGE.ACCEPT; smaller than it is mapped: at 4K instead, as Linux does */      \
	PROGRAM_OP(OP_ACCEPT, "accept", G, "gl")                                                \
	PROGRAM_OP(OP_WRITE, "write", G, "g") /* a value that nobody else writes */             \
	PROGRAM_OP(OP_READ, "read", G, "g")                                                     \
	/* an access that a #VE ends: the page is mapped then, and still pending */             \
	PROGRAM_OP(OP_TOUCH, "touch", G, "g")                                                   \
	PROGRAM_OP(OP_SHARE, "share", G, "gz")	   /* MapGPA */                                 \
	PROGRAM_OP(OP_UNSHARE, "unshare", G, "gz") /* MapGPA; what comes back isn't accepted */ \
	PROGRAM_OP(OP_DISCARD, "discard", G, "gz")                                              \
	PROGRAM_OP(OP_EXIT, "exit", G, "") /* VP.ENTER ends; the next operation enters again */ \
	PROGRAM_OP(OP_CONVERT, "convert", H, "tgzs")                                            \
	PROGRAM_OP(OP_PUNCH, "punch", H, "tgz")                                                 \
	PROGRAM_OP(OP_SPLIT, "split", H, "tgz")	    /* dirty tracking begins: to 4K */          \
	PROGRAM_OP(OP_PROMOTE, "promote", H, "tgl") /* one try */                               \
	PROGRAM_OP(OP_ZAP, "zap", H, "tgz")	    /* leaves go, the file keeps its memory */  \
	PROGRAM_OP(OP_KICK, "kick", H, "v")                                                     \
	PROGRAM_OP(OP_FAIL, "fail", H, "tg") /* memory failure */                               \
	PROGRAM_OP(OP_HOST_WRITE, "host-write", H, "tg")                                        \
	PROGRAM_OP(OP_HOST_READ, "host-read", H, "tg")                                          \
	PROGRAM_OP(OP_PIN, "pin", H, "tg") /* a host process does I/O to a shared page */       \
	PROGRAM_OP(OP_UNPIN, "unpin", H, "tg")                                                  \
	/* Dynamic PAMT reference of page n of a 2M range that the program owns */              \
	PROGRAM_OP(OP_PAMT_GET, "pamt-get", H, "n")                                             \
	PROGRAM_OP(OP_PAMT_PUT, "pamt-put", H, "n")                                             \
	PROGRAM_OP(OP_CREATE, "create", H, "t")	    /* a TD with `later` on its line */         \
	PROGRAM_OP(OP_TEARDOWN, "teardown", H, "t") /* nobody else uses that TD any more */

enum program_op_kind {
#define PROGRAM_OP(sym, word, who, args) sym,
	PROGRAM_OPS
#undef PROGRAM_OP
		PROGRAM_OP_COUNT,
};

struct program_op {
	enum program_op_kind kind;
	u32 line;   /* no two operations have one: what they write is told apart by it */
	u32 column; /* of its word, from 1 */
	u32 td;	    /* index into tds */
	u32 vcpu;   /* of the guest's operations, and of kick */
	gpa_t gpa;
	u64 size;
	enum pg_level level;
	bool private;
	u64 number;
};

struct program_td {
	char name[16];
	u64 memory_bytes;
	u32 nr_vcpus;
	bool later; /* made by `create` */
	bool touch; /* accept=touch: #VE on pending pages, whose handler accepts them at 4K */
	struct vm_config config; /* every policy, by the option names of `septum run` */
};

struct program_thread {
	char name[24]; /* "a.0", "host", "host.2" */
	bool is_vcpu;
	u32 td, vcpu;
	u32 line, column; /* of its name */
	struct program_op op[PROGRAM_MAX_OPS];
	u32 nr_ops;
};

struct program {
	char name[64]; /* of the file, without folder and ending */
	struct machine_config machine;
	struct program_td td[PROGRAM_MAX_TDS];
	u32 nr_tds;
	struct program_op setup[PROGRAM_MAX_OPS], finally[PROGRAM_MAX_OPS];
	u32 nr_setup, nr_finally;
	struct program_thread thread[PROGRAM_MAX_THREADS];
	u32 nr_threads;
};

struct program_error {
	u32 line, column;
	char what[160]; /* "unknown operation 'acept': expected ..., did you mean 'accept'?" */
};

/**
 * program_parse - @text (@length bytes) into @p
 *
 * Return: 0, or -EINVAL with line, word and what was expected in @error. Any bytes may come.
 */
int program_parse(const char *name, const char *text, size_t length, struct program *p,
		  struct program_error *error);
/** program_pool_level - size of the huge pages that back the TD from a pool; NONE without one */
enum pg_level program_pool_level(const struct program_td *td);
/** program_print_op - "accept 0x201000 4k"; as snprintf() */
size_t program_print_op(const struct program *p, const struct program_op *op, char *text,
			size_t size);
/** program_print - the whole program in the language again (a shrinker's result); as snprintf() */
size_t program_print(const struct program *p, char *text, size_t size);

#endif
