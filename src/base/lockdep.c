/* SPDX-License-Identifier: MIT */
/* base/lockdep: the run-time side of docs/locking.md. Owns no state: each thread brings its own. */
#include "base/lockdep.h"

#ifdef SEPTUM_CHECK

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const class_names[] = {
#define LOCK_CLASS(sym, name) [sym] = name,
#include "base/lock_order.def"
#undef LOCK_CLASS
};

_Static_assert(ARRAY_SIZE(class_names) == LOCK_CLASS_COUNT, "every lock class has a name");

/* Prints what the thread did and what it holds, in one piece, and ends the program. */
static _Noreturn __printf(2, 3) void report(const struct lock_stack *s, const char *fmt, ...)
{
	va_list args;

	flockfile(stderr);
	fputs("lock order: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("; held, oldest first:", stderr);
	for (u32 i = 0; i < s->count; i++)
		fprintf(stderr, " %s%s", class_names[s->held[i].class],
			s->held[i].mode == LOCK_READ ? " (read)" : "");
	if (!s->count)
		fputs(" nothing", stderr);
	if (s->rcu_nesting)
		fprintf(stderr, ", and %u RCU read sections", s->rcu_nesting);
	fputs(" (the order stands in docs/locking.md)\n", stderr);
	funlockfile(stderr);
	abort();
}

static int find(const struct lock_stack *s, const void *lock)
{
	for (u32 i = s->count; i-- > 0;) {
		if (s->held[i].lock == lock)
			return (int)i;
	}
	return -1;
}

void lockdep_may_wait(const struct lock_stack *s, enum lock_class class)
{
	if ((s->rcu_nesting || s->in_callback) && class < LOCK_FIRST_INSIDE_RCU)
		report(s, "waiting for %s inside an RCU read section or callback",
		       class_names[class]);
	for (u32 i = 0; i < s->count; i++) {
		if (s->held[i].class >= class)
			report(s, "waiting for %s while holding %s", class_names[class],
			       class_names[s->held[i].class]);
	}
}

void lockdep_acquired(struct lock_stack *s, const void *lock, enum lock_class class,
		      enum lock_mode mode)
{
	if (s->count == LOCK_STACK_DEPTH)
		report(s, "taking %s as lock number %u of one thread", class_names[class],
		       s->count + 1);
	s->held[s->count++] = (struct lock_held){lock, class, mode};
}

void lockdep_released(struct lock_stack *s, const void *lock, enum lock_class class,
		      enum lock_mode mode)
{
	int i = find(s, lock);

	if (i < 0 || s->held[i].mode != mode)
		report(s, "releasing %s, which isn't held that way", class_names[class]);
	s->count--;
	for (u32 j = (u32)i; j < s->count; j++)
		s->held[j] = s->held[j + 1];
}

void lockdep_assert_held(const struct lock_stack *s, const void *lock, enum lock_class class,
			 unsigned int modes)
{
	int i = find(s, lock);

	if (i < 0 || !(s->held[i].mode & modes))
		report(s, "%s must be held%s here", class_names[class],
		       modes == LOCK_WRITE ? " for writing" : "");
}

void lockdep_assert_none(const struct lock_stack *s, const char *doing)
{
	if (s->count || s->rcu_nesting || s->in_callback)
		report(s, "%s with a lock held or inside an RCU read section or callback", doing);
}

void lockdep_assert_outside_rcu(const struct lock_stack *s, const char *doing)
{
	if (s->rcu_nesting || s->in_callback)
		report(s, "%s inside an RCU read section or callback", doing);
}

void lockdep_callback(struct lock_stack *s, bool starts)
{
	s->in_callback = starts;
}

void lockdep_rcu_enter(struct lock_stack *s)
{
	s->rcu_nesting++;
}

void lockdep_rcu_exit(struct lock_stack *s)
{
	if (!s->rcu_nesting)
		report(s, "leaving an RCU read section that was never entered");
	s->rcu_nesting--;
}

void lockdep_assert_rcu(const struct lock_stack *s)
{
	if (!s->rcu_nesting)
		report(s, "an RCU read section must be open here");
}

#endif
