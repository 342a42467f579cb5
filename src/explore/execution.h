/* SPDX-License-Identifier: MIT */
/*
 * explore/execution: one run of a program over the real code, by a scheduler's policy, with the
 * oracle looking on.
 *
 * The oracle is a flat specification: an entry a gfn (private or shared, the values that a read may
 * find, accepted or not, the largest level allowed), changed by operations and by nothing else. It is
 * told when an operation begins and when it ends; in between both sides of its change are right.
 * After every step it looks at what must hold at any moment:
 *
 *   stale-translation    no guest access went to a frame that isn't the page's any more
 *   bytes                a read found a value that nobody can have left there
 *   ...                  the rest by name in oracle.def, each with the sentence it stands for
 *
 * and when all threads have ended at what must hold at rest: the eight invariants (check_vms), no
 * lock held, no frame lost, every page's bytes and attributes as specified.
 */
#ifndef EXPLORE_EXECUTION_H
#define EXPLORE_EXECUTION_H

#include "base/sched.h"
#include "base/trace.h"
#include "script/program.h"

/* fail_alloc: none fails, and outcome.allocations says how many there are; costs a step each. */
#define EXPLORE_COUNT_ALLOCATIONS UINT64_MAX

/* What goes wrong on purpose. All 0: nothing. */
struct explore_injection {
	u64 fail_alloc;	     /* the n-th allocation after set-up fails (checking builds) */
	u64 seamcall;	     /* at the n-th SEAMCALL after set-up */
	u64 seamcall_status; /* this is answered (BUSY, interrupted, an error) instead of the call */
	u64 interrupt; /* a host interrupt is made pending on every vCPU's LP at the n-th SEAMCALL or TDCALL */
	u64 delay_kick; /* the n-th kick sends its interrupts only when all others have to wait */
};

struct explore_setup {
	const struct program *program;
	struct bug_set planted_bugs;
	struct explore_injection injection;
	u64 max_steps; /* 0: a million */
	/* Hears the machine's trace points from the end of set-up on, for pictures; NULL: nobody. */
	const struct trace_listener *listener;
};

/* The marks of program threads around each operation; the argument is the operation's line. */
#define EXPLORE_MARK_BEGIN "begin"
#define EXPLORE_MARK_END "end"
/* Of the main thread: threads and `finally` are over. What comes now ends TDs and machine. */
#define EXPLORE_MARK_REST "at-rest"

/* An operation begins once and ends once; set-up and end aren't counted. */
#define EXPLORE_MAX_STATES (2 * PROGRAM_MAX_OPS * PROGRAM_MAX_THREADS)

struct explore_outcome {
	bool failed;
	char oracle[32]; /* name in oracle.def; "deadlock", "livelock", "crash"; empty when fine */
	char text[512];	 /* what was found, in one sentence or a few lines */
	u64 steps, decisions, switches;
	u64 operations; /* of the program, ended and held against the oracle */
	/*
	 * After set-up: how far injection can count. calls: SEAMCALLs and TDCALLs. allocations: up to
	 * the one that fails; 0 where none was to, in builds where none can, and of runs that were cut.
	 */
	u64 allocations, seamcalls, calls, kicks;
	/*
	 * Hashes of what the oracle sees, equal for equal states: at rest; and whenever an operation of
	 * the program's threads begins or ends.
	 */
	u64 final_state;
	u64 state[EXPLORE_MAX_STATES];
	u32 nr_states;
};

/*
 * Marks that a policy hears (sched_policy.mark), beside those of the code itself:
 *
 *	"begin", "end"		an operation; arg: its line in the program
 *	"at-rest"		all operations are over
 *	a SEAMCALL's name	it has returned; arg: its status
 *	"entry"			an entry of the mirror or the shared EPT has changed; arg: its gfn
 *	"kick"			an interrupt is about to be sent to a vCPU; arg: its index
 */

struct explore_machine; /* scheduler, stacks, and what executions share */

/** explore_machine_create - NULL: no memory */
struct explore_machine *explore_machine_create(void);
void explore_machine_destroy(struct explore_machine *m);
struct sched *explore_sched(struct explore_machine *m);

/**
 * explore_execute - run @setup's program once, by @policy
 *
 * Set-up (machine, TDs, the setup section) and the end run on one thread, where nobody is asked.
 * @record: as sched_config.record; may be NULL.
 * Return: 0, with @out filled; -ENOMEM; -EIO if set-up itself fails. Nothing is left behind, also
 * of an execution that was cut short.
 */
int explore_execute(struct explore_machine *m, const struct explore_setup *setup,
		    const struct sched_policy *policy, void *policy_ctx,
		    struct sched_schedule *record, struct explore_outcome *out);

/** explore_state_hash - for a policy: what the oracle sees of the state now; equal states, equal hashes */
u64 explore_state_hash(const struct explore_machine *m);

#endif
