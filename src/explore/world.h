/* SPDX-License-Identifier: MIT */
/*
 * explore/world: one execution while it runs, shared by what performs operations (guest.c, host.c),
 * what injects failures (inject.c) and what looks on (oracle*.c). Everything here belongs to the one
 * coroutine that runs; only `view` is the program's own shared memory, and goes through base/sync.
 */
#ifndef EXPLORE_WORLD_H
#define EXPLORE_WORLD_H

#include "explore/execution.h"
#include "host/hugetlb.h"

enum oracle_line {
#define ORACLE(sym, name, sentence) sym,
#include "explore/oracle.def"
#undef ORACLE
	ORACLE_LINE_COUNT,
};

/* Ends of all operations' ranges, and what lies between them. */
#define WORLD_MAX_RUNS (2 * PROGRAM_MAX_OPS * (PROGRAM_MAX_THREADS + 2) + 1)
#define WORLD_MAX_CALLERS 32 /* scheduler's threads that are told apart */

#define ORACLE_VALUES 4

/*
 * Gfns that no operation tells apart: one entry of the specification. Where the guest touches memory
 * that is a single page (`named`); of others only sides are known, their bytes are never written.
 * Moments are of world->moment.
 */
struct oracle_run {
	gfn_t gfn;
	u64 nr;
	bool named;
	bool private;
	bool accepted;
	bool failed;		   /* memory failure has hit it, or may have: it may be gone */
	bool lost;		   /* it has, and no hole has been there since */
	u32 holes;		   /* in flight; */
	u64 holed_at;		   /* began or ended */
	bool accept_seen;	   /* somebody has used what an ACCEPT in flight gives */
	u32 accepting;		   /* ACCEPTs in flight */
	u32 removing;		   /* operations in flight that take the page away, */
	u32 to_private, to_shared; /* or do so if it is on the other side */
	u64 accepted_at, written_at, flipped_at, removed_at, pinned_at;
	u64 asked_at, settled_at;	  /* an operation in flight began; ended */
	u8 pins[PROGRAM_MAX_THREADS + 1]; /* by actor; */
	u32 pinning;			  /* that come or go now */

	/*
	 * The first word of the page. alt: it may as well be one of these, as nobody knows which of two
	 * things came first. coming: host writes in flight. was: what it was before, until when.
	 */
	u64 value;
	u64 alt[ORACLE_VALUES], coming[ORACLE_VALUES];
	u32 nr_alt, nr_coming;
	u64 was[ORACLE_VALUES], was_until[ORACLE_VALUES];
	u32 nr_was;
};

/* A vCPU's visits to the guest. */
struct world_visit {
	bool inside;  /* VP.ENTER has been called and isn't back */
	bool kicked;  /* an interrupt was sent to it in the visit of */
	u32 entries;  /* this number, and */
	u32 accesses; /* so many accesses have ended since */
	u32 held_at;  /* its number when vCPUs began to be held out */
};

/* A table that has left the mirror; its readers may be in sections up to this one. */
struct world_retired {
	pfn_t table; /* 0: none */
	u64 section;
};

#define WORLD_MAX_RETIRED 64 /* more aren't looked after */

struct world_td {
	const struct program_td *program;
	struct vm *vm;		   /* NULL: not made yet, or gone */
	struct hugetlb_pool *pool; /* NULL: it needs none */
	bool dying;		   /* it is being torn down: its memory isn't anybody's */
	bool dead;		   /* stopped, with a reason that is allowed: */
	bool may_die;		   /* something that no VM survives was made to happen to it */
	u32 first_lp, promoter_lp;
	u32 shared_bit;
	hpa_t tdr;
	const u64 *sept_root; /* NULL: not known yet */
	enum pg_level root_level;
	struct oracle_run *run;
	u32 nr_runs;
	struct world_visit visit[PROGRAM_MAX_VCPUS];
	bool held_out;
	u64 *view; /* by run: what the guest and its VMM take it to be, 1: shared. Shared memory */
};

/* An S-EPT entry that a thread has changed, and the mirror's not yet. */
struct open_entry {
	u32 leaf; /* SEAMCALL that did; 0: none is open */
	struct world_td *td;
	gfn_t gfn;
	enum pg_level level;
};

/* What a thread has had back from the module, and not written back yet: a bit a page. */
struct world_unwritten {
	pfn_t first;
	u32 left; /* so many bits are set */
	u64 page[PTRS_PER_TABLE / 64];
};

/* A thread of the scheduler, by its number. */
struct world_caller {
	struct open_entry open;
	struct world_unwritten unwritten;
	struct world_actor *actor; /* whose operation it is in, */
	struct world_td *td;	   /* and that one's TD */
	gfn_t fault_gfn;	   /* of its last exit, where a 2M leaf was barred already if */
	bool was_inhibited;
	u32 busy_leaf; /* its last SEAMCALL, if that was busy */
};

struct world_actor;

/* What a vCPU does until its next `exit`. */
struct world_guest {
	struct world_actor *actor;
	struct world_td *td;
	u32 vcpu;
	const struct program_op *ops;
	u32 nr_ops, pc;
	bool begun;   /* the operation at pc */
	bool called;  /* its hypercall is on the way */
	bool in_ve;   /* a #VE is being handled */
	bool touched; /* the operation at pc has had its #VE */
	bool lost;    /* what it is about has failed */
	bool small;   /* ACCEPT at 2M has met 4K mappings: page by page from here on */
	u32 next_run; /* that it looks at then */
	gpa_t ve_gpa;
	gpa_t from; /* MapGPA: what is left begins here */
	struct tdx_regs call;
};

/* A leaf above 4K that was made while an operation was on its way. */
struct world_large {
	gfn_t gfn;
	bool private;
	u64 made_at;
};

#define WORLD_MAX_LARGE 8

/* What happened to leaves in the range of an operation since it began. */
struct world_leaves {
	struct world_large large[WORLD_MAX_LARGE];
	u32 nr_large;	 /* more than there is room for: it isn't known which */
	u64 split_at;	 /* its own last split */
	bool taken;	 /* a large leaf was split, or went */
	bool was_backed; /* the page had memory when it began */
};

struct world_actor {
	struct world *w;
	u32 index;			     /* in world->actor */
	const struct program_thread *thread; /* NULL: set-up and end */
	struct lp *lp;			     /* of a host thread */
	struct sync_thread handle;
	struct world_guest guest;
	const struct program_op *op; /* in flight */
	u64 began;
	struct world_leaves leaves;
};

struct world {
	const struct program *program;
	struct sched *sched;
	struct explore_setup setup;
	struct explore_outcome *out;
	struct host_memory *memory;
	struct machine m;
	struct world_td td[PROGRAM_MAX_TDS];
	struct world_actor actor[PROGRAM_MAX_THREADS + 1];
	struct world_caller caller[WORLD_MAX_CALLERS];
	pfn_t pamt_range; /* 2M of host memory for pamt-get and pamt-put */
	bool has_pamt_range;
	bool held[PROGRAM_PAMT_PAGES];
	u64 frames_before;
	struct world_retired retired[WORLD_MAX_RETIRED];
	u32 nr_retired;
	u64 moment;
	u32 conversions; /* in flight */
	int set_up_error;
	bool failed; /* out says why */

	/* Injection. */
	bool counting;
	bool injected; /* something has been made to fail */
	bool may_keep; /* in a way that leaves pages with the module */
	bool delaying; /* a kick, by */
	u32 delayed;

	/* The caller's policy behind ours. */
	const struct sched_policy *policy;
	void *policy_ctx;
	u32 *enabled; /* room for a view without the delayed thread */
	u32 enabled_room;

	struct oracle_run runs[PROGRAM_MAX_TDS][WORLD_MAX_RUNS];
	u64 views[PROGRAM_MAX_TDS][WORLD_MAX_RUNS];
};

/** explore_world - the execution that runs on @m: for policies of tests */
struct world *explore_world(struct explore_machine *m);

/* ---- oracle.c: the specification -------------------------------------------------------------*/
/** oracle_fail - end the execution: @line is broken, and how */
_Noreturn void oracle_fail(struct world *w, enum oracle_line line, const char *fmt, ...)
	__printf(3, 4);
/* The scheduler is off in between: what is looked at takes no step. Not for what changes the program. */
struct sched *oracle_pause(void);
void oracle_resume(struct sched *s);

/** oracle_plan - runs of every TD, before anything is made */
void oracle_plan(struct world *w);
/** oracle_run_at - index of the run that holds @gfn, which lies in memory */
u32 oracle_run_at(const struct world_td *td, gfn_t gfn);
/** oracle_runs - runs [*first, *end) make up [@gpa, @gpa + @size): both are ends of runs */
void oracle_runs(const struct world_td *td, gpa_t gpa, u64 size, u32 *first, u32 *end);

/** oracle_begin / oracle_end - the actor's operation; @err is what it came to */
void oracle_begin(struct world_actor *a, const struct program_op *op);
void oracle_end(struct world_actor *a, int err);
/** oracle_step - look at what may change at any moment; scheduler off */
void oracle_step(struct world *w);

/* oracle_access.c: by the guest, each right after it has happened. */
void oracle_accept_begin(struct world_td *td, gfn_t gfn, enum pg_level level);
/** oracle_accept_end - @completed: the TDCALL has, with @status */
void oracle_accept_end(struct world_actor *a, struct world_td *td, gfn_t gfn, enum pg_level level,
		       bool completed, u64 status);
void oracle_access(struct world_actor *a, struct world_td *td, const struct lp *lp, gpa_t gpa,
		   bool write, u64 value);
/** oracle_machine_check - fails, unless memory there has failed */
void oracle_machine_check(struct world_actor *a, struct world_td *td, gpa_t gpa);
/* oracle_host.c: by the host. */
void oracle_host_begin(struct world_actor *a, const struct program_op *op, u64 value);
/** oracle_host_end - @value: what was written, or read */
void oracle_host_end(struct world_actor *a, const struct program_op *op, int err, u64 value);
/* What the page holds; also used for the guest's accesses. */
void oracle_set_value(struct world *w, struct oracle_run *r, u64 value);
void oracle_add_alt(struct oracle_run *r, u64 value);
/** oracle_find_value - a read gave @value: may it? Then that is what the page holds */
bool oracle_find_value(struct world *w, struct oracle_run *r, u64 value);
bool oracle_is_pinned(const struct oracle_run *r);
/** oracle_was_pinned - it is, or may have been at some moment from @since on */
bool oracle_was_pinned(const struct oracle_run *r, u64 since);
/** oracle_run_ended - vcpu_run() has returned @err. Return: the vCPU is to run again */
bool oracle_run_ended(struct world_actor *a, struct world_guest *g, int err);
/** oracle_bytes_of - the bytes from op->gpa on that the operation is about; 0: no memory */
u64 oracle_bytes_of(const struct program_op *op);
/** oracle_td_died - the VM may be dead; fails if it has no right to. Return: it is */
bool oracle_td_died(struct world *w, struct world_td *td);

/* ---- oracle_calls.c: the module's side -------------------------------------------------------*/
void oracle_watch(struct world *w, struct host *host);
/** oracle_world_of - whose host it is */
struct world *oracle_world_of(const struct host *host);
/** oracle_seamcall - the calling thread's SEAMCALL has returned, RAX and all; scheduler off */
void oracle_seamcall(struct world *w, const struct tdx_regs *in, const struct tdx_regs *out);
/** oracle_nothing_open - the calling thread has nothing half done; scheduler off */
void oracle_nothing_open(struct world *w);
/** oracle_sept - S-EPT entry where a walk for @gfn ends, blocked entries on the way or not */
u64 oracle_sept(const struct world *w, const struct world_td *td, gfn_t gfn, enum pg_level *level);
/** oracle_td_made - find its root */
void oracle_td_made(struct world *w, struct world_td *td);

/** oracle_written_back - all that the calling thread had back from the module is; scheduler off */
void oracle_written_back(struct world *w);
/** oracle_td_of_call - the TD that the calling thread's SEAMCALL is for; NULL: it isn't known */
struct world_td *oracle_td_of_call(struct world *w, const struct tdx_regs *in);

/* ---- oracle_leaves.c: splits, promotions, memory failure --------------------------------------*/
/* Scheduler off in all of them. */
void oracle_leaves_begin(struct world_actor *a, const struct program_op *op);
/** oracle_leaves_end - the actor's operation has come to @err, and its TD lives */
void oracle_leaves_end(struct world_actor *a, int err);
/** oracle_leaf_changed - the calling thread has changed an entry that is, or was, a leaf */
void oracle_leaf_changed(struct world *w, struct world_td *td, const struct trace_spte *e);

/* ---- oracle_vcpu.c: who is inside, and who reads ----------------------------------------------*/
/** oracle_call_begin - the calling thread asks the module; scheduler off */
void oracle_call_begin(struct world *w, const struct lp *lp, const struct tdx_regs *in);
/** oracle_enter_end - VP.ENTER is back */
void oracle_enter_end(struct world *w, const struct lp *lp);
/** oracle_kicked - an interrupt has been sent to vCPU @vcpu of @td */
void oracle_kicked(struct world_td *td, u32 vcpu);
/** oracle_visit - an access of the actor's vCPU has ended; scheduler off */
void oracle_visit(struct world_actor *a, struct world_td *td);
/** oracle_retired - a mirror's table has left the tree; @table: its frame. Scheduler off */
void oracle_retired(struct world *w, pfn_t table);
/** oracle_hold_off - looks who is outside when vCPUs begin to be held out; scheduler off */
void oracle_hold_off(struct world *w);
/** oracle_readers - looks whether a table was freed too early; scheduler off */
void oracle_readers(struct world *w);

/* ---- oracle_rest.c: nothing runs -------------------------------------------------------------*/
void oracle_at_rest(struct world *w);
void oracle_all_gone(struct world *w);
u64 oracle_hash(const struct world *w);

/* ---- guest.c, host.c -------------------------------------------------------------------------*/
/** world_guest_ops - perform @nr operations of vCPU @vcpu, in and out of the guest as they say */
void world_guest_ops(struct world_actor *a, u32 td, u32 vcpu, const struct program_op *ops, u32 nr);
void world_host_op(struct world_actor *a, const struct program_op *op);
/** world_update_view - what [@gpa, @gpa + @size) is, as the file has it now */
void world_update_view(struct world_td *td, gpa_t gpa, u64 size);
/** world_value - what the operation writes: nobody else does, as no two are of one line */
static inline u64 world_value(const struct program_op *op)
{
	return 0x5EED000000000000ULL | op->line;
}

int world_make_td(struct world *w, u32 i);
void world_end_td(struct world *w, u32 i);

/* ---- inject.c --------------------------------------------------------------------------------*/
u64 world_seamcall(struct lp *lp, struct tdx_regs *r);
/** world_tdcall - tdcall(), counted */
bool world_tdcall(struct world *w, struct lp *lp, struct tdx_regs *r);
void inject_begin(struct world *w);
void inject_end(struct world *w);
/** inject_kick - thread @number is about to kick; from a policy */
void inject_kick(struct world *w, u32 number);

#endif
