/* SPDX-License-Identifier: MIT */
/*
 * base/sched, inside: coroutines, the state of a run, and what base/sync calls. Private to base.
 */
#ifndef BASE_SCHED_IMPL_H
#define BASE_SCHED_IMPL_H

#include "base/lockdep.h"
#include "base/sched.h"
#include "base/sync.h"

#if defined(__SANITIZE_THREAD__)
#define SCHED_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SCHED_TSAN 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SCHED_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SCHED_ASAN 1
#endif
#endif

/* Other machines, and a build that wants to test it, switch by ucontext: several times slower. */
#if !defined(__x86_64__)
#define SCHED_UCONTEXT 1
#endif
#ifdef SCHED_UCONTEXT
#include <ucontext.h>
#endif

/* ---- contexts: where a coroutine stands, and its stack -----------------------------------------*/
struct sched_context {
#ifdef SCHED_UCONTEXT
	ucontext_t uc;
#else
	void *sp; /* the saved registers lie there */
#endif
	void *stack; /* lowest usable byte; NULL: the caller of sched_run() */
	size_t stack_bytes;
#ifdef SCHED_TSAN
	void *fiber;
	u32 starts; /* since it was made */
#endif
#ifdef SCHED_ASAN
	void *fake_stack;
#endif
};

/* sched_context_create - 0 or -ENOMEM: a stack; what it runs, sched_context_start() says */
int sched_context_create(struct sched_context *c);
void sched_context_destroy(struct sched_context *c);
/* @c runs entry(), which doesn't return, when it is switched to first. As often as wanted. */
void sched_context_start(struct sched_context *c, void (*entry)(void));
/* The context of the caller of sched_run(), as far as it isn't saved by switching away. */
void sched_context_here(struct sched_context *c);
/* @last: nobody will switch back to @from, unless it is started anew */
void sched_context_switch(struct sched_context *from, struct sched_context *to, bool last);
/* First thing that entry() does. @outside: who made the first switch of the run. */
void sched_context_entered(struct sched_context *outside);

/* ---- threads ---------------------------------------------------------------------------------*/
#define SCHED_HELD_READ 8

/* What base/sync keeps for a thread while it isn't the one that runs. */
struct sync_self {
	void *local;
	struct lock_stack locks;
};

/* Puts the calling coroutine's state away and takes up another's (sync.c). */
void sync_self_swap(struct sync_self *from, const struct sync_self *to);

struct coro {
	u32 number;
	struct sched_context context;
	struct sync_self self;
	void (*fn)(void *arg);
	void *arg;

	/* What its next step needs, by the kind of its sched_op. */
	const void *gate;	 /* lock or waitq */
	u32 target;		 /* JOIN: the thread */
	u64 awaited;		 /* RCU_BARRIER: callbacks that must have run */
	bool woken;		 /* WAIT: by a wake since it sleeps */
	bool (*cond)(void *arg); /* WAIT */
	void *cond_arg;

	u64 rcu_section; /* number of its open outermost section; 0: none */
	u32 rcu_nesting;

	/* For guarantee 3, in steps of the run. */
	bool ready; /* enabled, or barred alone by those who go first */
	u64 last_step, turn_start, ready_since;
	u64 own_writes, seen_writes; /* seen: others', when its last relax came back */

	const struct sync_rwlock *reads[SCHED_HELD_READ]; /* for reports; more aren't named */
	u32 nr_reads;
};

struct sched_callback {
	struct sync_rcu_head *head;
	u64 section; /* the last that was begun at the call: this one and older ones are waited for */
};

/* ---- objects -----------------------------------------------------------------------------------*/
struct sched_object {
	uintptr_t word;	  /* address / 8 */
	const char *name; /* of the lock's class; NULL: memory or a waitq */
};

struct sched_slot {
	uintptr_t word;
	u32 run;    /* of the run that filled it: others' slots are empty */
	u32 number; /* 0: forgotten; the next to come here is another object */
};

struct sched_objects {
	struct sched_slot *slot;
	u32 slots, used; /* slots: a power of two */
	u32 run;
	struct sched_object *object; /* by number; 0 isn't used */
	u32 nr, room;
};

int sched_objects_create(struct sched_objects *o);
void sched_objects_destroy(struct sched_objects *o);
void sched_objects_clear(struct sched_objects *o);
/* Number of what lies at @p; 0 when there is no memory for another. */
u32 sched_object_number(struct sched_objects *o, const volatile void *p, const char *name);
void sched_objects_forget(struct sched_objects *o, const void *p, size_t size);

/* ---- memory (sched_free.c) ----------------------------------------------------------------------*/
struct sched_block {
	void *p;       /* NULL: free slot */
	size_t mapped; /* bytes of a mapping; 0: from malloc() */
};

/* What the run's program has been given and not given back. */
struct sched_blocks {
	struct sched_block *slot;
	u32 slots, used; /* slots: a power of two, or 0 */
};

/* For what outlives a run: isn't noted there. */
void *sched_own_calloc(size_t n, size_t size);
void *sched_own_realloc(void *p, size_t size);
void sched_own_free(void *p);
void *sched_own_map(size_t size, int prot); /* NULL: no room */
void sched_own_unmap(void *p, size_t size);
/* What runs give back stays with the process: the next run wants as much. */
void sched_keep_heap(void);
/* A new run begins: nothing is its program's. */
void sched_forget_blocks(struct sched *s);

/* ---- the run -----------------------------------------------------------------------------------*/
struct sched {
	const struct sched_config *cfg;
	struct sched_context outside; /* the caller of sched_run() */
	struct sync_self outside_self;

	/* Threads by number: those of earlier runs stay, with their stacks, for later ones. */
	struct coro **coro;
	struct sched_thread *thread;
	u32 nr_coros, nr_threads, room;
	struct coro *current;

	u32 *live, *enabled; /* ascending numbers; live holds the RCU thread always */
	u32 nr_live, nr_enabled;
	struct sched_op *looking; /* a condition is looked at, and notes here what it reads */
	bool alone;

	struct sched_callback *callback; /* a ring of callback_room, a power of two */
	u64 callbacks_queued, callbacks_taken, callbacks_done;
	u32 callback_room;
	u64 rcu_sections; /* begun so far */

	struct sched_objects objects;
	struct sched_blocks blocks;
	u64 writes;
	u32 spins;
	struct sched_result result;
	char report[4096];
};

/* The run that the calling thread of the system is in, also while a policy is asked. */
struct sched *sched_active(void);

/*
 * The calling coroutine stops before an operation and comes back when it is to do it. @number: of the
 * object. The caller has set what the operation's gate needs.
 */
void sched_stop_before(struct sched *s, enum sched_kind kind, u32 number);
/* The same without a step before: it has found that it must wait, and its op stays. */
void sched_wait_queued(struct sched *s);
/* Nobody else could go on before or after: no point is needed. */
static inline bool sched_is_alone(const struct sched *s)
{
	return s->alone;
}
/* Counts a step that needs no point, in a thread that is alone. */
void sched_step_alone(struct sched *s);
/* Counts, for guarantee 3, what the calling thread's step has (or hasn't) written after all. */
void sched_wrote(struct sched *s, bool wrote);
/* Somebody came or went, or a callback was queued or has run: is it alone? */
void sched_update_alone(struct sched *s);
/* A new thread that is enabled at its start; NULL: no memory. */
struct coro *sched_add_thread(struct sched *s, void (*fn)(void *arg), void *arg);
_Noreturn void sched_cut(struct sched *s, enum sched_outcome outcome);

/* Can the thread make its step now? RELAX: true. */
/* What the condition that @t waits for would read now. */
void sched_look(struct sched *s, struct coro *t);
bool sched_gate_is_open(const struct sched *s, const struct coro *t, const struct sched_op *op);
/* Runs in the RCU thread for ever. */
void sched_rcu_main(void *sched);

/* Fills s->report: who waits for what. */
void sched_report_waits(struct sched *s);

/* ---- what base/sync does under a scheduler, instead of what it does without ----------------------*/
int sched_thread_create(struct sync_thread *t, void (*fn)(void *arg), void *arg);
void sched_thread_join(struct sync_thread *t);
void sched_mutex_lock(struct sync_mutex *m);
bool sched_mutex_trylock(struct sync_mutex *m);
void sched_mutex_unlock(struct sync_mutex *m);
void sched_read_lock(struct sync_rwlock *rw);
void sched_read_unlock(struct sync_rwlock *rw);
void sched_write_lock(struct sync_rwlock *rw);
void sched_write_unlock(struct sync_rwlock *rw);
bool sched_rwlock_contended(struct sync_rwlock *rw);
void sched_wait(struct sync_waitq *q, bool (*cond)(void *arg), void *arg);
void sched_wake_all(struct sync_waitq *q);
void sched_relax(void);
void sched_rcu_read_lock(void);
void sched_rcu_read_unlock(void);
void sched_rcu_call(struct sync_rcu_head *head, void (*fn)(struct sync_rcu_head *head));
void sched_rcu_barrier(void);
/* sync.c: @head's callback, as lockdep knows callbacks. */
void sync_run_callback(struct sync_rcu_head *head);

#endif
