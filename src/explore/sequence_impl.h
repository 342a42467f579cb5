/* SPDX-License-Identifier: MIT */
/* explore/sequence, inside: one run while it lasts. Private to the files sequence*.c. */
#ifndef EXPLORE_SEQUENCE_IMPL_H
#define EXPLORE_SEQUENCE_IMPL_H

#include "base/sched.h"
#include "explore/sequence.h"
#include "vm/vm.h"

#define SEQ_MAX_TDS 2
#define SEQ_MAX_VCPUS 2
#define SEQ_MAX_BLOCKS 6
#define SEQ_TAIL_PAGES 100
#define SEQ_MAX_PAGES (SEQ_MAX_BLOCKS * 512 + SEQ_TAIL_PAGES)
#define SEQ_MAX_FAILURES 3 /* of a file's memory */
#define SEQ_MAX_PINS 4	   /* of a page */
#define SEQ_PAMT_PAGES 512

/* The specification of a page. */
struct seq_page {
	bool shared, failed;
	bool accepted; /* private pages alone */
	bool fresh;    /* nobody has used its memory since the file was made */
	bool small;    /* the guest accepts at 4K here: no fault maps larger until a promotion */
	u8 pins;
	u64 value; /* first word; of a private page, if accepted */
};

struct seq_file {
	struct gmem_file *file; /* NULL: none while no TD is on it */
	struct seq_page page[SEQ_MAX_PAGES];
};

/* What a guest's operations come to while its vCPU runs. */
struct seq_guest {
	u32 td, vcpu;
	bool called; /* its hypercall is on the way */
	bool in_ve;
	gpa_t ve_gpa;
	u32 cursor; /* fill: the next page of the block */
	struct tdx_regs call;
};

struct seq_run {
	const struct sequence *s;
	struct sequence_outcome *out;
	struct bug_set planted_bugs;
	struct host_memory *memory;
	struct machine m;
	struct hugetlb_pool *pool;
	struct seq_file file[SEQ_MAX_TDS];
	struct vm *vm[SEQ_MAX_TDS]; /* NULL: torn down */
	struct seq_guest guest;
	u32 at;	      /* operation */
	u64 value;    /* last one written */
	u32 nr_pages; /* of each file */
	u32 since_check;
	u32 failures;		 /* of memory that backed something */
	enum pg_level max_level; /* of a private leaf */
	bool loose;		 /* pages are promoted without being asked for */

	pfn_t pamt_range;
	bool held[SEQ_PAMT_PAGES];

	u64 frames_before;

	/* Injection: of the operation at hand. */
	u32 busy_left; /* SEAMCALLs until the one that finds BUSY; 0: none */
	bool hit_busy;
	bool may_fail; /* something was, or may have been, made to fail */
	bool injected; /* in this run, ever */
};

/* ---- sequence.c ------------------------------------------------------------------------------*/
/** seq_fail - the run has failed in this way */
_Noreturn void seq_fail(struct seq_run *r, const char *fmt, ...) __printf(2, 3);
/** seq_value - index of an option's value */
static inline u32 seq_value(const struct seq_run *r, enum sequence_option option)
{
	return r->s->option[option];
}
bool seq_is_guests(const struct sequence_op *op);
/** seq_nr_values - of an option */
u32 seq_nr_values(enum sequence_option option);
/** seq_pages - of each file */
u32 seq_pages(const struct sequence *s);

/** seq_arm / seq_disarm - the failures of an operation begin, and end */
void seq_arm(struct seq_run *r, const struct sequence_op *op);
void seq_disarm(struct seq_run *r);

static inline struct seq_file *seq_file(struct seq_run *r, u32 td)
{
	return &r->file[seq_value(r, SEQ_FILE) ? 0 : td];
}

/* On one file the TDs' private memory takes turns, block by block. */
static inline u32 seq_owner(const struct seq_run *r, u32 td, u32 page)
{
	return seq_value(r, SEQ_FILE) ? (page / 512) % (seq_value(r, SEQ_TDS) + 1) : td;
}

static inline u32 seq_td(const struct seq_run *r, const struct sequence_op *op)
{
	return op->td % (seq_value(r, SEQ_TDS) + 1);
}

static inline u32 seq_page_of(const struct seq_run *r, const struct sequence_op *op)
{
	return op->page % r->nr_pages;
}

static inline u32 seq_nr_of(const struct seq_run *r, const struct sequence_op *op)
{
	u32 nr = op->nr ? op->nr : 1;
	u32 left = r->nr_pages - seq_page_of(r, op);

	return nr < left ? nr : left;
}

/** seq_guest_td - whose vCPU does a guest's @op: its page's owner's, unless it uses what is shared */
u32 seq_guest_td(struct seq_run *r, const struct sequence_op *op);

/* ---- sequence_spec.c: what operations do to pages ---------------------------------------------*/
/** seq_done_range - @op has answered @err: what that makes of [@page, @page + @nr) */
void seq_done_range(struct seq_run *r, const struct sequence_op *op, int err);
void seq_accepted(struct seq_run *r, u32 td, u32 page, enum pg_level level, u64 status);
void seq_accessed(struct seq_run *r, u32 td, u32 page, bool write, u64 word);
/** seq_guest_stopped - vcpu_run() has ended with @err in @op */
void seq_guest_stopped(struct seq_run *r, const struct sequence_op *op, int err);
/** seq_touched - the pages around [@page, @page + @nr) are what the specification says */
void seq_touched(struct seq_run *r, u32 td, u32 page, u32 nr);
/** seq_check - all pages are, and the invariants hold */
void seq_check(struct seq_run *r);

/* ---- sequence_guest.c, sequence_host.c --------------------------------------------------------*/
/** seq_guest_ops - the operations of one vCPU from r->at on, which moves past them */
void seq_guest_ops(struct seq_run *r);
void seq_host_op(struct seq_run *r, const struct sequence_op *op);
void seq_create(struct seq_run *r, u32 td);
void seq_teardown(struct seq_run *r, u32 td);

#endif
