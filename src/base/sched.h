/* SPDX-License-Identifier: MIT */
/*
 * base/sched: runs a program of many threads on one thread of the operating system, one step at a
 * time, in an order that a policy chooses. The program doesn't know: it calls base/sync as ever, and
 * sync hands over to here while a scheduler runs (sync_sched isn't NULL).
 *
 * Every thread is a coroutine that stops before each of its operations of base/sync. A step is: the
 * policy picks one of the threads that can go on; that thread does the operation it had stopped at,
 * and all it does between that one and its next, where it stops again. So whenever the policy is
 * asked, it knows of every thread what it will do next.
 *
 * Guarantees:
 *  1. Same program, same choices: the same steps, with the same numbers for threads and objects, in
 *     every process on every machine. Nothing here looks at time, addresses or chance.
 *  2. A thread that would have to wait is never offered: what is enabled can make its step at once.
 *     Exceptions that make a visible step and wait then: a rwlock's lock() first queues, since
 *     writers that queue keep readers out and sync_rwlock_contended() shows them; sync_wait() looks
 *     at its condition and sleeps until a wake.
 *  3. A thread in sync_relax() isn't offered again until another thread has written something since
 *     the look that its loop had before (since its last sync_relax() came back). A loop that waits
 *     for others can thus turn only as often as others write, and a search over schedules ends. When
X *  4. RCU: a callback may run as soon as every read section that was open at its sync_rcu_call() has
 *     ended. Callbacks run in order on thread SCHED_RCU_THREAD, which is enabled when the oldest may
 *     run. sync_rcu_barrier() is enabled when all that were queued before it have run.
 *  5. While a thread is the only one (nobody else lives, no callback is queued) its steps are counted
 *     for max_steps alone: no policy is asked, and nothing is numbered. Set-up is cheap thereby.
 *  6. Memory is sequentially consistent: weaker orders of the machine are ThreadSanitizer's to find.
 *  7. A run that was cut short (all outcomes but SCHED_DONE) leaves threads where they stood; their
 *     stacks are used again, and what they had allocated sched_give_back() frees.
 *
 * Not for two threads of the system at once: each may have a scheduler of its own.
 */
#ifndef BASE_SCHED_H
#define BASE_SCHED_H

#include "base/rng.h"
#include "base/types.h"

/* Thread 0 runs main; created threads count from SCHED_FIRST_CREATED in the order of creation. */
#define SCHED_MAIN_THREAD 0U
#define SCHED_RCU_THREAD 1U /* runs RCU callbacks; exists always, enabled seldom */
#define SCHED_FIRST_CREATED 2U

/* SCHED_KIND(symbol, name, writes: changes what other threads may see of the object) */
#define SCHED_KINDS                                                                                \
	SCHED_KIND(SCHED_START, "start", false)	   /* first step of a thread */                    \
	SCHED_KIND(SCHED_END, "end", true)	   /* object: the thread */                        \
	SCHED_KIND(SCHED_CREATE, "create", true)   /* no object: the thread has no number yet */   \
	SCHED_KIND(SCHED_JOIN, "join", false)	   /* object: the thread */                        \
	SCHED_KIND(SCHED_LOCK, "lock", true)	   /* mutex */                                     \
	SCHED_KIND(SCHED_TRYLOCK, "trylock", true) /* mutex; also if it will fail */               \
	SCHED_KIND(SCHED_UNLOCK, "unlock", true)   /* mutex */                                     \
	SCHED_KIND(SCHED_RDLOCK, "rdlock", false)  /* rwlock, for reading */                       \
	SCHED_KIND(SCHED_RDUNLOCK, "rdunlock", false)                                              \
	SCHED_KIND(SCHED_WRLOCK, "wrlock", true)                                                   \
	SCHED_KIND(SCHED_WRUNLOCK, "wrunlock", true)                                               \
	SCHED_KIND(SCHED_CONTENDED, "contended", false) /* looks who queues for a rwlock */        \
	SCHED_KIND(SCHED_WAIT, "wait", true)  /* waitq: reads what its condition reads */          \
	SCHED_KIND(SCHED_WAKE, "wake", true)  /* waitq */                                          \
	SCHED_KIND(SCHED_LOAD, "load", false) /* memory */                                         \
	SCHED_KIND(SCHED_STORE, "store", true)                                                     \
	SCHED_KIND(SCHED_RMW, "rmw", true)	      /* also a compare-exchange that will fail */ \
	SCHED_KIND(SCHED_JOINT, "joint", true)	      /* an update that commutes with its like */  \
	SCHED_KIND(SCHED_RCU_LOCK, "rcu-lock", false) /* outermost section begins; no object */    \
	SCHED_KIND(SCHED_RCU_UNLOCK, "rcu-unlock", true)                                           \
	SCHED_KIND(SCHED_RCU_CALL, "rcu-call", true) /* queues a callback */                       \
	SCHED_KIND(SCHED_RCU_BARRIER, "rcu-barrier", true)                                         \
	SCHED_KIND(SCHED_CALLBACK, "callback", true) /* starts the oldest callback */              \
	SCHED_KIND(SCHED_RELAX, "relax", false)	     /* one turn of a retry loop; no object */

enum sched_kind {
#define SCHED_KIND(sym, name, writes) sym,
	SCHED_KINDS
#undef SCHED_KIND
		SCHED_KIND_COUNT,
};

#define SCHED_READS 4

/* What a thread does in its next step. */
struct sched_op {
	enum sched_kind kind;
	bool write;  /* as the kind says, before it is known whether a try will succeed */
	bool queued; /* RDLOCK, WRLOCK, WAIT: it has made its visible step, and waits */
	/*
	 * What it does it to: locks, waitqs and 8-byte words of memory count from 1 in the order in
	 * which they first appear; 0: no object. START, END, JOIN: the thread's number instead.
	 */
	u32 object;
	u8 bytes; /* of a word of memory: bit i is byte i; 0: no memory */
	/* WAIT: words that its condition would look at now; none: not known, it may be any */
	u8 nr_reads;
	u32 reads[SCHED_READS];
};

struct sched_thread {
	struct sched_op op; /* stopped before it; of an ended thread: SCHED_END */
	bool enabled, ended;
	u64 steps; /* it has made, but for those while it was alone */
	/* Nanoseconds of virtual time: what it was charged, and never before what it waited for. */
	u64 clock;
	const char *mark; /* its last sync_mark(); NULL: none yet */
	u64 mark_arg;
};

/* What a policy sees when it is asked. Valid during the call. */
struct sched_view {
	u64 decision; /* how often it was asked before in this run */
	u64 step;     /* steps so far, those nobody was asked for included */
	u32 running;  /* made the last step; may have ended, or have to wait */
	u32 nr_enabled;
	const u32 *enabled; /* thread numbers, ascending; at least one */
	u32 nr_threads;
	const struct sched_thread *thread; /* by number */
};

#define SCHED_STOP (-1)

/*
 * Called on the stack of the thread that has stopped, with the scheduler off: what these call of
 * base/sync is as without one, and must not touch locks that the program uses. Reading the program's
 * memory is what checkers do here.
 */
struct sched_policy {
	/* Return: an enabled thread, or SCHED_STOP to end the run here (SCHED_STOPPED) */
	int (*choose)(void *ctx, const struct sched_view *v);
	/* @thread has come by sync_mark(name, arg) in the step that it makes. NULL: nobody listens. */
	void (*mark)(void *ctx, u32 thread, const char *name, u64 arg);
};

enum sched_outcome {
	SCHED_DONE,	  /* every thread has ended, every callback has run */
	SCHED_DEADLOCK,	  /* nobody can go on */
	SCHED_LIVELOCK,	  /* all turn in retry loops, and nobody writes */
	SCHED_STEP_LIMIT, /* max_steps */
	SCHED_STOPPED,	  /* the policy said so */
	SCHED_FAILED,	  /* sched_fail() */
};

/* ---- schedules -------------------------------------------------------------------------------
 * A schedule is where a run differed from what sched_default() would have chosen: short enough for a
 * command line, and complete.
 */
struct sched_choice {
	u64 decision;
	u32 thread;
};

struct sched_schedule {
	struct sched_choice *choice; /* by ascending decision */
	u32 nr, room;
};

/** sched_default - the running thread if it can go on, else the next enabled one, in a circle */
u32 sched_default(const struct sched_view *v);
/** sched_schedule_add - 0 or -ENOMEM */
int sched_schedule_add(struct sched_schedule *s, u64 decision, u32 thread);
/** sched_schedule_free - and @s is empty */
void sched_schedule_free(struct sched_schedule *s);
/**
 * sched_schedule_print - "2@15,3@40": at decision 15 thread 2, at 40 thread 3; "-" when empty
 *
 * Return: characters it has without the final 0, whatever @size, as snprintf() does.
 */
size_t sched_schedule_print(const struct sched_schedule *s, char *text, size_t size);
/**
 * sched_schedule_parse - what sched_schedule_print() makes
 * @bad: on -EINVAL where in @text it isn't one
 *
 * Return: 0, -EINVAL, -ENOMEM; on error @s is empty.
 */
int sched_schedule_parse(struct sched_schedule *s, const char *text, size_t *bad);

/* ---- running ---------------------------------------------------------------------------------*/
struct sched_config {
	const struct sched_policy *policy;
	void *ctx;
	u64 max_steps;		       /* 0: no limit */
	u32 max_spins;		       /* 0: 10000 */
	struct sched_schedule *record; /* emptied, then filled by the run; NULL: not recorded */
};

struct sched_result {
	enum sched_outcome outcome;
	u64 steps, decisions;
	u64 switches; /* steps of another thread than made the one before */
	/*
	 * Why it didn't end as SCHED_DONE, in lines: who waits for what, or what failed. Empty after
	 * SCHED_DONE. Valid until the next run.
	 */
	const char *report;
};

struct sched;

/** sched_create - one scheduler, whose memory and stacks all its runs share; NULL: no memory */
struct sched *sched_create(void);
void sched_destroy(struct sched *s);

/**
 * sched_run - run main(arg) and every thread that it makes, until all have ended or the run is cut
 *
 * From outside of any scheduler's run. Nothing that the program uses may be held.
 */
struct sched_result sched_run(struct sched *s, const struct sched_config *cfg,
			      void (*main)(void *arg), void *arg);

/**
 * sched_give_back - free what the program of the last run, cut short, has got by malloc() and mmap()
 *
 * Before the next run; nothing that it made may be used any more.
 */
void sched_give_back(struct sched *s);

/**
 * sched_fail - end the run that the caller is a thread of: SCHED_FAILED with this report
 *
 * Also from a policy, and from the handler of a signal that the thread itself raised (SIGABRT of an
 * assertion, SIGSEGV), which must have been installed with SA_NODEFER. Without a run: prints and
 * aborts.
 */
_Noreturn void sched_fail(const char *fmt, ...) __printf(1, 2);

/** sched_running - the number of the calling thread in the run of sync_sched, which isn't NULL */
u32 sched_running(void);
/** sched_clock - virtual time of @thread, nanoseconds; sync_charge() advances it */
u64 sched_clock(const struct sched *s, u32 thread);

const char *sched_kind_name(enum sched_kind kind);
const char *sched_outcome_name(enum sched_outcome outcome);
/**
 * sched_op_text - "lock tdx.pamt_lock#3", "load #17", "join 2"
 *
 * During a run, or after it and before the next. Return: as snprintf().
 */
size_t sched_op_text(const struct sched *s, const struct sched_op *op, char *text, size_t size);

/**
 * sched_conflict - two steps of different threads may come out differently in the other order, or
 * one may make the other possible or impossible
 *
 * What isn't in conflict commutes: the state after both is the same in either order. It looks at the
 * operations only; what steps do beside them to memory without base/sync must be ordered by locks.
 */
bool sched_conflict(const struct sched_op *a, const struct sched_op *b);

/* ---- policies --------------------------------------------------------------------------------*/

/* sched_default() always: each thread runs until it has to wait. No context. */
extern const struct sched_policy sched_run_until_blocked;

/* The next enabled thread after @quantum steps of one. */
struct sched_round_robin {
	u32 quantum; /* at least 1 */
	u32 used;
};
extern const struct sched_policy sched_round_robin;

/* At each decision, with a chance of 1 in @one_in, any enabled thread; else sched_default(). */
struct sched_random {
	struct rng rng;
	u32 one_in;
};
void sched_random_init(struct sched_random *r, u64 seed, u32 one_in);
extern const struct sched_policy sched_random;

/*
 * PCT: threads have random priorities, the highest enabled one runs, and at @depth - 1 random
 * decisions among the first @length whoever would run falls below all others. Finds a bug that takes
 * @depth ordering constraints with a chance of at least 1 / (threads * length^(depth - 1)).
 */
#define SCHED_PCT_MAX_DEPTH 16
struct sched_pct {
	u64 seed;
	u32 nr_changes, nr_lowered;
	u64 change[SCHED_PCT_MAX_DEPTH];  /* decisions, ascending */
	u32 lowered[SCHED_PCT_MAX_DEPTH]; /* threads: the later, the lower */
};
void sched_pct_init(struct sched_pct *p, u64 seed, u32 depth, u64 length);
extern const struct sched_policy sched_pct;

/* Makes a recorded schedule's choices again. */
struct sched_replay {
	const struct sched_schedule *schedule;
	u32 next;  /* of its choices */
	bool left; /* choice @next wanted a thread that couldn't go on: the run was stopped there */
};
void sched_replay_init(struct sched_replay *r, const struct sched_schedule *schedule);
extern const struct sched_policy sched_replay;

#endif
