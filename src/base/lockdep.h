/* SPDX-License-Identifier: MIT */
/*
 * base/lockdep: holds what each thread does against the one lock order. Private to base/sync, which
 * keeps a struct lock_stack for every thread; in builds without checks nothing of it is compiled.
 *
 * docs/locking.md has the rules in words.
 */
#ifndef BASE_LOCKDEP_H
#define BASE_LOCKDEP_H

#include "base/sync.h"

/* How a lock is held; a mutex is always held for writing. */
enum lock_mode {
	LOCK_READ = 1,
	LOCK_WRITE = 2,
};

/*
 * The first class that may be waited for inside an RCU read section. Classes from here on guard
 * short, bounded work, and nobody waits for readers with one held (lockdep_assert_none()), so a
 * reader that waits for one always gets it. Everything before is held for long walks.
 */
#define LOCK_FIRST_INSIDE_RCU LOCK_DPAMT

#define LOCK_STACK_DEPTH 16

#ifdef SEPTUM_CHECK

struct lock_held {
	const void *lock;
	enum lock_class class;
	enum lock_mode mode;
};

/* What one thread holds, oldest first. Only that thread touches it. */
struct lock_stack {
	u32 count;
	u32 rcu_nesting;
	bool in_callback;
	struct lock_held held[LOCK_STACK_DEPTH];
};

/* What is held moves with a coroutine. */
void lockdep_copy(struct lock_stack *to, const struct lock_stack *from);
/* The thread is about to block on a lock of @class: aborts if the order forbids it. */
void lockdep_may_wait(const struct lock_stack *s, enum lock_class class);
void lockdep_acquired(struct lock_stack *s, const void *lock, enum lock_class class,
		      enum lock_mode mode);
void lockdep_released(struct lock_stack *s, const void *lock, enum lock_class class,
		      enum lock_mode mode);
/* @modes: the LOCK_READ and LOCK_WRITE that will do */
void lockdep_assert_held(const struct lock_stack *s, const void *lock, enum lock_class class,
			 unsigned int modes);
/* Aborts if the thread holds any lock or is inside a read section; @doing what is no time for it. */
void lockdep_assert_none(const struct lock_stack *s, const char *doing);
void lockdep_assert_outside_rcu(const struct lock_stack *s, const char *doing);
/* An RCU callback starts or has ended: it may wait for no more than a reader may. */
void lockdep_callback(struct lock_stack *s, bool starts);
void lockdep_rcu_enter(struct lock_stack *s);
void lockdep_rcu_exit(struct lock_stack *s);
void lockdep_assert_rcu(const struct lock_stack *s);

#else

struct lock_stack {
	char unused;
};

#define lockdep_copy(to, from) ((void)(to), (void)(from))
#define lockdep_may_wait(s, class) ((void)(s), (void)(class))
#define lockdep_acquired(s, lock, class, mode) ((void)(s), (void)(lock), (void)(class))
#define lockdep_released(s, lock, class, mode) ((void)(s), (void)(lock), (void)(class))
#define lockdep_assert_held(s, lock, class, modes) ((void)(s), (void)(lock), (void)(class))
#define lockdep_assert_none(s, doing) ((void)(s))
#define lockdep_assert_outside_rcu(s, doing) ((void)(s))
#define lockdep_callback(s, starts) ((void)(s))
#define lockdep_rcu_enter(s) ((void)(s))
#define lockdep_rcu_exit(s) ((void)(s))
#define lockdep_assert_rcu(s) ((void)(s))

#endif
#endif
