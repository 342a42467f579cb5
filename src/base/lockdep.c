/* SPDX-License-Identifier: MIT */
/* base/lockdep: the run-time side of docs/locking.md. Owns no state: each thread brings its own. */
#include "base/lockdep.h"

#ifdef SEPTUM_CHECK

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/sched.h"

/* Says what the thread did and what it holds, in one piece, and ends the program, or the run. */
static _Noreturn __printf(2, 3) void report(const struct lock_stack *s, const char *fmt, ...)
{
	char what[200], held[LOCK_STACK_DEPTH * 40] = "";
	size_t n = 0;
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	for (u32 i = 0; i < s->count; i++)
		n += (size_t)snprintf(held + n, sizeof(held) - n, " %s%s",
				      lock_class_name(s->held[i].class),
				      s->held[i].mode == LOCK_READ ? " (read)" : "");
	if (s->rcu_nesting)
		snprintf(held + n, sizeof(held) - n, "%s, and %u RCU read sections",
			 s->count ? "" : " nothing", s->rcu_nesting);
	sched_fail("lock order: %s; held, oldest first:%s (the order stands in docs/locking.md)",
		   what, held[0] ? held : " nothing");
}

void lockdep_copy(struct lock_stack *to, const struct lock_stack *from)
{
	memcpy(to, from, offsetof(struct lock_stack, held) + from->count * sizeof(from->held[0]));
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
		       lock_class_name(class));
	for (u32 i = 0; i < s->count; i++) {
		if (s->held[i].class >= class)
			report(s, "waiting for %s while holding %s", lock_class_name(class),
			       lock_class_name(s->held[i].class));
	}
}

void lockdep_acquired(struct lock_stack *s, const void *lock, enum lock_class class,
		      enum lock_mode mode)
{
	if (s->count == LOCK_STACK_DEPTH)
		report(s, "taking %s as lock number %u of one thread", lock_class_name(class),
		       s->count + 1);
	s->held[s->count++] = (struct lock_held){lock, class, mode};
}

void lockdep_released(struct lock_stack *s, const void *lock, enum lock_class class,
		      enum lock_mode mode)
{
	int i = find(s, lock);

	if (i < 0 || s->held[i].mode != mode)
		report(s, "releasing %s, which isn't held that way", lock_class_name(class));
	s->count--;
	for (u32 j = (u32)i; j < s->count; j++)
		s->held[j] = s->held[j + 1];
}

void lockdep_assert_held(const struct lock_stack *s, const void *lock, enum lock_class class,
			 unsigned int modes)
{
	int i = find(s, lock);

	if (i < 0 || !(s->held[i].mode & modes))
		report(s, "%s must be held%s here", lock_class_name(class),
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
