/* SPDX-License-Identifier: MIT */
/*
 * base/sync over POSIX threads and liburcu, or over a scheduler (sched_sync.c). Owns, with sched.c,
 * the only variables of the program that aren't reached from a struct host: what each thread is, and
 * the queue of RCU callbacks.
 */
#include "base/sync.h"

#include <errno.h>
#include <sched.h>

#include "base/lockdep.h"
#include "base/sched_impl.h"

/*
 * liburcu's read_lock and read_unlock are inlined (each has less than ten lines, so that its licence
 * lets anybody do that): called, they are what costs most of a short section. ThreadSanitizer would
 * look into them without understanding them, so its builds call.
 */
#ifndef SCHED_TSAN
#define _LGPL_SOURCE
#endif
#include <urcu/urcu-memb.h>

/*
 * liburcu isn't compiled with the sanitizer, so ThreadSanitizer doesn't see that a grace period
 * orders a reader's accesses before the callback's: it is told here. One address stands for all
 * readers.
 */
#ifdef SCHED_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);

static char readers;
#define READERS_RELEASE() __tsan_release(&readers)
#define READERS_ACQUIRE() __tsan_acquire(&readers)
#else
#define READERS_RELEASE() ((void)0)
#define READERS_ACQUIRE() ((void)0)
#endif

/* What sync knows of the calling thread; under a scheduler, of the coroutine that runs. */
static _Thread_local struct sync_self self;
/* The thread of the system is known to liburcu, which waits for its read sections. */
static _Thread_local bool registered;

void sync_self_swap(struct sync_self *from, const struct sync_self *to)
{
	from->local = self.local;
	lockdep_copy(&from->locks, &self.locks);
	self.local = to->local;
	lockdep_copy(&self.locks, &to->locks);
}

/* ---- threads ---------------------------------------------------------------------------------*/

void sync_thread_enter(void)
{
	if (sync_sched || registered)
		return;
	urcu_memb_register_thread();
	registered = true;
}

void sync_thread_leave(void)
{
	lockdep_assert_none(&self.locks, "ending a thread");
	self.local = NULL;
	if (sync_sched || !registered)
		return;
	urcu_memb_unregister_thread();
	registered = false;
}

static void *thread_main(void *arg)
{
	struct sync_thread *t = arg;

	sync_thread_enter();
	t->fn(t->arg);
	sync_thread_leave();
	return NULL;
}

int sync_thread_create(struct sync_thread *t, void (*fn)(void *arg), void *arg)
{
	if (unlikely(sync_sched))
		return sched_thread_create(t, fn, arg);
	t->fn = fn;
	t->arg = arg;
	return -pthread_create(&t->handle, NULL, thread_main, t);
}

void sync_thread_join(struct sync_thread *t)
{
	lockdep_assert_outside_rcu(&self.locks, "joining a thread");
	if (unlikely(sync_sched))
		sched_thread_join(t);
	else
		pthread_join(t->handle, NULL);
}

void sync_set_local(void *word)
{
	self.local = word;
}

void *sync_local(void)
{
	return self.local;
}

/* ---- locks -----------------------------------------------------------------------------------*/
const char *lock_class_name(enum lock_class class)
{
	static const char *const names[] = {
#define LOCK_CLASS(sym, name) [sym] = name,
#include "base/lock_order.def"
#undef LOCK_CLASS
	};

	_Static_assert(ARRAY_SIZE(names) == LOCK_CLASS_COUNT, "every lock class has a name");
	return names[class];
}

/* ---- mutex -----------------------------------------------------------------------------------*/

void sync_mutex_init(struct sync_mutex *m, enum lock_class class)
{
	pthread_mutex_init(&m->m, NULL);
	m->class = class;
	m->owner = 0;
	sync_forget(m, sizeof(*m));
}

void sync_mutex_destroy(struct sync_mutex *m)
{
	sync_forget(m, sizeof(*m));
	pthread_mutex_destroy(&m->m);
}

void sync_mutex_lock(struct sync_mutex *m)
{
	lockdep_may_wait(&self.locks, m->class);
	if (unlikely(sync_sched))
		sched_mutex_lock(m);
	else
		pthread_mutex_lock(&m->m);
	lockdep_acquired(&self.locks, m, m->class, LOCK_WRITE);
}

bool sync_mutex_trylock(struct sync_mutex *m)
{
	if (unlikely(sync_sched) ? !sched_mutex_trylock(m) : pthread_mutex_trylock(&m->m))
		return false;
	lockdep_acquired(&self.locks, m, m->class, LOCK_WRITE);
	return true;
}

void sync_mutex_unlock(struct sync_mutex *m)
{
	lockdep_released(&self.locks, m, m->class, LOCK_WRITE);
	if (unlikely(sync_sched))
		sched_mutex_unlock(m);
	else
		pthread_mutex_unlock(&m->m);
}

void sync_mutex_assert_held(const struct sync_mutex *m)
{
	lockdep_assert_held(&self.locks, m, m->class, LOCK_WRITE);
}

/* ---- rwlock ----------------------------------------------------------------------------------*/

void sync_rwlock_init(struct sync_rwlock *rw, enum lock_class class)
{
	pthread_rwlockattr_t attr;

	/*
	 * This kind alone makes new readers wait behind a writer that waits. A thread that takes the
	 * read side twice would deadlock with it; the lock order forbids that anyhow.
	 */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&rw->rw, &attr);
	pthread_rwlockattr_destroy(&attr);
	rw->class = class;
	rw->waiters = 0;
	rw->writer = rw->readers = rw->writers_queued = 0;
	sync_forget(rw, sizeof(*rw));
}

void sync_rwlock_destroy(struct sync_rwlock *rw)
{
	sync_forget(rw, sizeof(*rw));
	pthread_rwlock_destroy(&rw->rw);
}

/*
 * The try first keeps `waiters` out of the uncontended path. The count is a hint to yield: a holder
 * that misses it for a moment sees it at its next look, so it orders nothing.
 */
void sync_read_lock(struct sync_rwlock *rw)
{
	lockdep_may_wait(&self.locks, rw->class);
	if (unlikely(sync_sched)) {
		sched_read_lock(rw);
	} else if (pthread_rwlock_tryrdlock(&rw->rw)) {
		sync_fetch_add(&rw->waiters, 1);
		/* EAGAIN: more readers than the lock can count; some will leave. */
		while (pthread_rwlock_rdlock(&rw->rw) == EAGAIN)
			sync_relax();
		sync_fetch_sub(&rw->waiters, 1);
	}
	lockdep_acquired(&self.locks, rw, rw->class, LOCK_READ);
}

void sync_read_unlock(struct sync_rwlock *rw)
{
	lockdep_released(&self.locks, rw, rw->class, LOCK_READ);
	if (unlikely(sync_sched))
		sched_read_unlock(rw);
	else
		pthread_rwlock_unlock(&rw->rw);
}

void sync_write_lock(struct sync_rwlock *rw)
{
	lockdep_may_wait(&self.locks, rw->class);
	if (unlikely(sync_sched)) {
		sched_write_lock(rw);
	} else if (pthread_rwlock_trywrlock(&rw->rw)) {
		sync_fetch_add(&rw->waiters, 1);
		pthread_rwlock_wrlock(&rw->rw);
		sync_fetch_sub(&rw->waiters, 1);
	}
	lockdep_acquired(&self.locks, rw, rw->class, LOCK_WRITE);
}

void sync_write_unlock(struct sync_rwlock *rw)
{
	lockdep_released(&self.locks, rw, rw->class, LOCK_WRITE);
	if (unlikely(sync_sched))
		sched_write_unlock(rw);
	else
		pthread_rwlock_unlock(&rw->rw);
}

bool sync_rwlock_contended(struct sync_rwlock *rw)
{
	if (unlikely(sync_sched))
		return sched_rwlock_contended(rw);
	return sync_load(&rw->waiters) != 0;
}

void sync_rwlock_assert_read(const struct sync_rwlock *rw)
{
	lockdep_assert_held(&self.locks, rw, rw->class, LOCK_READ | LOCK_WRITE);
}

void sync_rwlock_assert_write(const struct sync_rwlock *rw)
{
	lockdep_assert_held(&self.locks, rw, rw->class, LOCK_WRITE);
}

/* ---- wait and wake ---------------------------------------------------------------------------*/

void sync_waitq_init(struct sync_waitq *q)
{
	pthread_mutex_init(&q->m, NULL);
	pthread_cond_init(&q->c, NULL);
	q->sleepers = 0;
	sync_forget(q, sizeof(*q));
}

void sync_waitq_destroy(struct sync_waitq *q)
{
	sync_forget(q, sizeof(*q));
	pthread_cond_destroy(&q->c);
	pthread_mutex_destroy(&q->m);
}

/*
 * The increment pairs with the read-modify-write of `sleepers` in sync_wake_all(): one of the two
 * comes first. If the waker's, the sleeper's increment reads from it, and cond() after it sees what
 * the waker had changed. If the sleeper's, the waker sees a sleeper, and must get the mutex, which
 * it can only when the sleeper is in pthread_cond_wait() or gone.
 */
void sync_wait(struct sync_waitq *q, bool (*cond)(void *arg), void *arg)
{
	lockdep_assert_outside_rcu(&self.locks, "sleeping");
	if (unlikely(sync_sched)) {
		sched_wait(q, cond, arg);
		return;
	}
	if (cond(arg))
		return;
	pthread_mutex_lock(&q->m);
	sync_fetch_add(&q->sleepers, 1);
	while (!cond(arg))
		pthread_cond_wait(&q->c, &q->m);
	sync_fetch_sub(&q->sleepers, 1);
	pthread_mutex_unlock(&q->m);
}

static void wake(struct sync_waitq *q)
{
	pthread_mutex_lock(&q->m);
	pthread_cond_broadcast(&q->c);
	pthread_mutex_unlock(&q->m);
}

void sync_wake_all(struct sync_waitq *q)
{
	if (unlikely(sync_sched))
		sched_wake_all(q);
	else if (sync_fetch_add(&q->sleepers, 0)) /* pairs with the increment in sync_wait() */
		wake(q);
}

/*
 * Two full barriers, each before a look at the other's: the caller's change, then sleepers here; the
 * increment of sleepers, then what the caller changed in sync_wait(). One sees the other.
 */
void sync_wake_all_after_rmw(struct sync_waitq *q)
{
	if (unlikely(sync_sched))
		sched_wake_all(q);
	else if (sync_load(&q->sleepers))
		wake(q);
}

void sync_relax(void)
{
	if (unlikely(sync_sched)) {
		sched_relax();
		return;
	}
#ifdef __x86_64__
	for (int i = 0; i < 8; i++)
		__builtin_ia32_pause();
#endif
	sched_yield();
}

/* ---- RCU -------------------------------------------------------------------------------------
 * Read sections and grace periods are liburcu's. The queue of callbacks is our own, because a
 * barrier of liburcu's queue waits for the next turn of a thread that turns every 10 ms, and a
 * barrier ends the life of every VM. Here the caller of the barrier does the work itself; the
 * worker only serves callbacks that nobody waits for.
 */
static struct {
	pthread_mutex_t m; /* guards head, tail, worker_started; held for a few instructions */
	pthread_cond_t c;
	/* Held over a batch from taking it off the queue to its last callback; comes before m. */
	pthread_mutex_t batch;
	struct sync_rcu_head *head, **tail;
	bool worker_started;
} queue = {
	.m = PTHREAD_MUTEX_INITIALIZER,
	.c = PTHREAD_COND_INITIALIZER,
	.batch = PTHREAD_MUTEX_INITIALIZER,
};

static struct sync_rcu_head *queue_take_all(void)
{
	struct sync_rcu_head *first;

	pthread_mutex_lock(&queue.m);
	first = queue.head;
	queue.head = NULL;
	queue.tail = NULL;
	pthread_mutex_unlock(&queue.m);
	return first;
}

/*
 * Runs everything queued before the call: what was still in the queue here, what another thread had
 * taken by waiting for its batch to end.
 */
static void run_callbacks(void)
{
	struct sync_rcu_head *head, *next;

	pthread_mutex_lock(&queue.batch);
	head = queue_take_all();
	if (head) {
		urcu_memb_synchronize_rcu();
		READERS_ACQUIRE();
	}
	lockdep_callback(&self.locks, true);
	for (; head; head = next) {
		next = head->next; /* the callback frees its head */
		head->fn(head);
	}
	lockdep_callback(&self.locks, false);
	pthread_mutex_unlock(&queue.batch);
}

static void *worker_main(void *unused)
{
	(void)unused;
	sync_thread_enter();
	for (;;) {
		pthread_mutex_lock(&queue.m);
		while (!queue.head)
			pthread_cond_wait(&queue.c, &queue.m);
		pthread_mutex_unlock(&queue.m);
		run_callbacks();
	}
	return NULL;
}

/* Without a worker (no thread to be had) callbacks wait for the next barrier. */
static void start_worker(void)
{
	pthread_t worker;

	if (pthread_create(&worker, NULL, worker_main, NULL))
		return;
	pthread_detach(worker);
	queue.worker_started = true;
}

void sync_rcu_read_lock(void)
{
	if (unlikely(sync_sched)) {
		sched_rcu_read_lock();
		lockdep_rcu_enter(&self.locks);
		return;
	}
	/* liburcu doesn't wait for the sections of a thread that it doesn't know. */
	if (unlikely(!registered))
		sync_thread_enter();
	urcu_memb_read_lock();
	lockdep_rcu_enter(&self.locks);
}

void sync_rcu_read_unlock(void)
{
	lockdep_rcu_exit(&self.locks);
	if (unlikely(sync_sched)) {
		sched_rcu_read_unlock();
		return;
	}
	READERS_RELEASE();
	urcu_memb_read_unlock();
}

void sync_rcu_call(struct sync_rcu_head *head, void (*fn)(struct sync_rcu_head *head))
{
	if (unlikely(sync_sched)) {
		sched_rcu_call(head, fn);
		return;
	}
	head->next = NULL;
	head->fn = fn;
	pthread_mutex_lock(&queue.m);
	if (!queue.worker_started)
		start_worker();
	if (queue.head)
		*queue.tail = head;
	else
		queue.head = head;
	queue.tail = &head->next;
	pthread_cond_signal(&queue.c);
	pthread_mutex_unlock(&queue.m);
}

void sync_rcu_barrier(void)
{
	lockdep_assert_none(&self.locks, "waiting for RCU callbacks");
	if (unlikely(sync_sched))
		sched_rcu_barrier();
	else
		run_callbacks();
}

void sync_run_callback(struct sync_rcu_head *head)
{
	lockdep_callback(&self.locks, true);
	head->fn(head);
	lockdep_callback(&self.locks, false);
}

void sync_rcu_assert_held(void)
{
	lockdep_assert_rcu(&self.locks);
}
