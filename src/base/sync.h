/* SPDX-License-Identifier: MIT */
/*
 * base/sync: the one place where code may block or race. Threads, locks, waits, RCU sections and
 * racing atomics of every other room go through here, so that a scheduler can take over below
 * without touching a caller. No other room has a global or a thread-local variable.
 *
 * Guarantees:
 *  1. A lock has a class (lock_order.def); in checking builds a thread that blocks on a lock whose
 *     class doesn't come after every class it holds is reported and aborted. Try-locks may be taken
 *     in any order. Inside an RCU read section or callback only the short innermost locks may be
 *     waited for (tdx.pamt_lock and below), and nobody waits for readers with any lock held.
 *  2. sync_rwlock prefers writers: a stream of readers can't starve an exclusive holder.
 *  3. After sync_rcu_barrier() returns, every callback queued before it has run.
 *  4. A callback queued by sync_rcu_call() runs after every read section that was open at the call
 *     has ended, on a thread that holds no lock: a worker's, or that of a barrier's caller. It runs
 *     by itself soon; callbacks run one at a time, in the order they were queued.
 *  5. sync_load_acquire/sync_store_release pair; cmpxchg, xchg and fetch_* are full barriers.
 *     An atomic that pairs names its pair where it is used.
 *  6. Under a scheduler (base/sched.h) every call below but init, destroy and the assertions is a
 *     place where another thread may run first; so is every racing atomic in checking builds
 *     (SYNC_ATOMICS_SWITCH). The quiet ones and sync_add_relaxed() never are.
 */
#ifndef BASE_SYNC_H
#define BASE_SYNC_H

#include <pthread.h>
#include <stdbool.h>

#include "base/types.h"

/* ---- the scheduler ---------------------------------------------------------------------------
 * What the calling thread of the system runs under: NULL without one, which is all that differs.
 */
struct sched;
extern _Thread_local struct sched *sync_sched __attribute__((tls_model("local-exec")));

/* ---- threads ---------------------------------------------------------------------------------
 * Every thread that uses this header is created here, or calls sync_thread_enter() first.
 */
struct sync_thread {
	pthread_t handle;
	void (*fn)(void *arg);
	void *arg;
	u32 number; /* under a scheduler */
};

int sync_thread_create(struct sync_thread *t, void (*fn)(void *arg), void *arg);
void sync_thread_join(struct sync_thread *t);
/* For main(): registers the calling thread (idempotent), and takes it out again. */
void sync_thread_enter(void);
void sync_thread_leave(void);

/*
 * One word of the calling thread's own: the logical processor that it runs on (lp_current() in
 * cpu). NULL until set.
 */
void sync_set_local(void *word);
void *sync_local(void);

/* ---- locks -----------------------------------------------------------------------------------*/
enum lock_class {
#define LOCK_CLASS(sym, name) sym,
#include "base/lock_order.def"
#undef LOCK_CLASS
	LOCK_CLASS_COUNT,
};

/** lock_class_name - as docs/locking.md has it */
const char *lock_class_name(enum lock_class class);

struct sync_mutex {
	pthread_mutex_t m;
	enum lock_class class;
	u32 owner; /* under a scheduler: its thread + 1; 0: free */
};

void sync_mutex_init(struct sync_mutex *m, enum lock_class class);
void sync_mutex_destroy(struct sync_mutex *m);
void sync_mutex_lock(struct sync_mutex *m);
bool sync_mutex_trylock(struct sync_mutex *m);
void sync_mutex_unlock(struct sync_mutex *m);
/* Checking builds abort unless the calling thread holds @m; others do nothing. */
void sync_mutex_assert_held(const struct sync_mutex *m);

struct sync_rwlock {
	pthread_rwlock_t rw;
	enum lock_class class;
	u32 waiters; /* threads that wait in lock(); read by sync_rwlock_contended() */
	u32 writer, readers, writers_queued; /* under a scheduler; writer: its thread + 1 */
};

void sync_rwlock_init(struct sync_rwlock *rw, enum lock_class class);
void sync_rwlock_destroy(struct sync_rwlock *rw);
void sync_read_lock(struct sync_rwlock *rw);
void sync_read_unlock(struct sync_rwlock *rw);
void sync_write_lock(struct sync_rwlock *rw);
void sync_write_unlock(struct sync_rwlock *rw);
/* Somebody waits for @rw: a long walk should yield it. */
bool sync_rwlock_contended(struct sync_rwlock *rw);
void sync_rwlock_assert_read(const struct sync_rwlock *rw);
void sync_rwlock_assert_write(const struct sync_rwlock *rw);

/* ---- wait and wake ---------------------------------------------------------------------------
 * A waiter sleeps until its condition holds. The condition is a pure function of memory that the
 * waker changes with an atomic of this header before sync_wake_all().
 */
struct sync_waitq {
	pthread_mutex_t m;
	pthread_cond_t c;
	u32 sleepers;
};

void sync_waitq_init(struct sync_waitq *q);
void sync_waitq_destroy(struct sync_waitq *q);
void sync_wait(struct sync_waitq *q, bool (*cond)(void *arg), void *arg);
void sync_wake_all(struct sync_waitq *q);
/* The same for a condition that the caller has just changed by a full barrier (guarantee 5). */
void sync_wake_all_after_rmw(struct sync_waitq *q);

/* One turn of a bounded retry loop: lets whoever holds the thing run. */
void sync_relax(void);

/* ---- RCU -------------------------------------------------------------------------------------*/
struct sync_rcu_head {
	struct sync_rcu_head *next; /* of the queue */
	void (*fn)(struct sync_rcu_head *head);
};

void sync_rcu_read_lock(void);
void sync_rcu_read_unlock(void);
void sync_rcu_call(struct sync_rcu_head *head, void (*fn)(struct sync_rcu_head *head));
/* Not from a callback, not with a lock held. Costs one grace period: microseconds. */
void sync_rcu_barrier(void);
void sync_rcu_assert_held(void);

/* ---- for schedulers --------------------------------------------------------------------------
 * Do nothing without one.
 */
void sched_mark(const char *name, u64 arg);
void sched_charge(u64 ns);
void sched_forget(const void *p, size_t size);

/** sync_mark - the calling thread begins what @name (a constant) says; for pictures of schedules */
static inline void sync_mark(const char *name, u64 arg)
{
	if (unlikely(sync_sched))
		sched_mark(name, arg);
}

/** sync_charge - what the calling thread does takes @ns of virtual time */
static inline void sync_charge(u64 ns)
{
	if (unlikely(sync_sched))
		sched_charge(ns);
}

/**
 * sync_forget - what lies in these bytes ends: what comes there next is something else
 *
 * free() and realloc() say so by themselves, locks and waitqs by init and destroy.
 */
static inline void sync_forget(const void *p, size_t size)
{
	if (unlikely(sync_sched))
		sched_forget(p, size);
}

/* ---- racing atomics --------------------------------------------------------------------------
 * @p points to an integer of 1, 2, 4 or 8 bytes, or to a pointer. Arguments are evaluated once.
 */
/*
 * Asking at every atomic whether there is a scheduler makes a warm 4K fault 13 % longer, so other
 * builds don't: a scheduler switches at locks, waits, RCU and sync_relax() there.
 */
#ifndef SYNC_ATOMICS_SWITCH
#ifdef SEPTUM_CHECK
#define SYNC_ATOMICS_SWITCH 1
#else
#define SYNC_ATOMICS_SWITCH 0
#endif
#endif

void sched_at_load(const volatile void *p, size_t size);
void sched_at_store(const volatile void *p, size_t size);
void sched_at_rmw(const volatile void *p, size_t size);
void sched_at_joint(const volatile void *p, size_t size);
void sched_rmw_failed(void);

#if SYNC_ATOMICS_SWITCH
/* The address @p, after whoever the scheduler lets run before this atomic. */
#define SYNC_AT(what, p) ((__typeof__(&*(p)))sync_at_##what(p, sizeof(*(p))))

static inline void *sync_at_load(const volatile void *p, size_t size)
{
	if (unlikely(sync_sched))
		sched_at_load(p, size);
	return (void *)(uintptr_t)p;
}

static inline void *sync_at_store(const volatile void *p, size_t size)
{
	if (unlikely(sync_sched))
		sched_at_store(p, size);
	return (void *)(uintptr_t)p;
}

static inline void *sync_at_rmw(const volatile void *p, size_t size)
{
	if (unlikely(sync_sched))
		sched_at_rmw(p, size);
	return (void *)(uintptr_t)p;
}

static inline void *sync_at_joint(const volatile void *p, size_t size)
{
	if (unlikely(sync_sched))
		sched_at_joint(p, size);
	return (void *)(uintptr_t)p;
}

/* A read-modify-write that left everything as it was is news to nobody (sched.h, guarantee 3). */
static inline bool sync_changed(bool changed)
{
	if (unlikely(sync_sched && !changed))
		sched_rmw_failed();
	return changed;
}
#else
#define SYNC_AT(what, p) (p)
#define sync_changed(changed) (changed)
#endif

#define sync_load(p) __atomic_load_n(SYNC_AT(load, p), __ATOMIC_RELAXED)
#define sync_store(p, v) __atomic_store_n(SYNC_AT(store, p), v, __ATOMIC_RELAXED)
#define sync_load_acquire(p) __atomic_load_n(SYNC_AT(load, p), __ATOMIC_ACQUIRE)
#define sync_store_release(p, v) __atomic_store_n(SYNC_AT(store, p), v, __ATOMIC_RELEASE)
#define sync_xchg(p, v) __atomic_exchange_n(SYNC_AT(rmw, p), v, __ATOMIC_SEQ_CST)
#define sync_fetch_add(p, v) __atomic_fetch_add(SYNC_AT(rmw, p), v, __ATOMIC_SEQ_CST)
#define sync_fetch_sub(p, v) __atomic_fetch_sub(SYNC_AT(rmw, p), v, __ATOMIC_SEQ_CST)
#define sync_fetch_or(p, v) __atomic_fetch_or(SYNC_AT(rmw, p), v, __ATOMIC_SEQ_CST)
#define sync_fetch_and(p, v) __atomic_fetch_and(SYNC_AT(rmw, p), v, __ATOMIC_SEQ_CST)
/* True when *@p was *@expected and now is @v; else *@expected is what was found. */
#define sync_cmpxchg(p, expected, v)                                                  \
	sync_changed(__atomic_compare_exchange_n(SYNC_AT(rmw, p), expected, v, false, \
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
/* Full barrier. TSan doesn't model fences: a side that needs one uses sync_xchg or sync_fetch_*. */
#define sync_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/*
 * Quiet: atomic and without order, and no place where anybody is let run. For what decides nothing
 * (statistics), and for what nobody can reach until a later atomic shows it.
 */
#define sync_add_relaxed(p, v) ((void)__atomic_fetch_add(p, v, __ATOMIC_RELAXED))
#define sync_load_quiet(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define sync_store_quiet(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

/*
 * One step of several atomics, for a word that is a lock or a count: what the calling thread does to it
 * after sync_step(), by quiet atomics, comes to pass at once. Only for what others can't tell from
 * that: a look and a compare-exchange that is tried again until nobody has come between. A joint step
 * commutes with others' joint steps at the same place, as two shared holders of a lock do.
 */
#define sync_step(p) ((void)SYNC_AT(rmw, p))
#define sync_step_joint(p) ((void)SYNC_AT(joint, p))
#define sync_cmpxchg_quiet(p, expected, v) \
	__atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define sync_fetch_sub_quiet(p, v) __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define sync_fetch_or_quiet(p, v) __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define sync_fetch_and_quiet(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
/* The step has, or hasn't, left the word other than it was; without this it has. */
#define sync_step_changed(changed) ((void)sync_changed(changed))

#endif
