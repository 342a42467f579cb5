/* SPDX-License-Identifier: MIT */
/*
 * What tests of base/sched.h share: runs, and a log of their steps. In every build atomics are places to
 * switch in them, since the macro is set here.
 */
#ifndef TESTS_BASE_SCHED_RIG_H
#define TESTS_BASE_SCHED_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#ifndef SYNC_ATOMICS_SWITCH
#define SYNC_ATOMICS_SWITCH 1
#endif
#include "base/sched.h"
#include "base/sync.h"

#define MAX_LOG 20000

/* Asks another policy, and writes down what is done. */
struct logger {
	const struct sched_policy *policy;
	void *ctx;
	u32 nr;
	struct {
		u32 thread, object;
		enum sched_kind kind;
		bool queued;
	} step[MAX_LOG];
	u32 nr_marks;
	const char *marks[16];
};

static inline int choose_and_log(void *ctx, const struct sched_view *v)
{
	struct logger *l = ctx;
	int choice = l->policy->choose(l->ctx, v);

	if (choice != SCHED_STOP && l->nr < MAX_LOG) {
		const struct sched_op *op = &v->thread[choice].op;

		l->step[l->nr].thread = (u32)choice;
		l->step[l->nr].kind = op->kind;
		l->step[l->nr].object = op->object;
		l->step[l->nr++].queued = op->queued;
	}
	for (u32 i = 0; i < v->nr_enabled; i++) {
		assert_true(v->thread[v->enabled[i]].enabled);
		assert_true(!i || v->enabled[i] > v->enabled[i - 1]);
	}
	return choice;
}

static inline void log_mark(void *ctx, u32 thread, const char *name, u64 arg)
{
	struct logger *l = ctx;

	(void)thread;
	(void)arg;
	l->marks[l->nr_marks++ % 16] = name;
}

static const struct sched_policy logging = {.choose = choose_and_log, .mark = log_mark};

static inline struct sched_result run_logged(struct sched *s, struct logger *l,
					     const struct sched_policy *policy, void *ctx,
					     struct sched_schedule *record,
					     void (*main_fn)(void *arg), void *arg)
{
	const struct sched_config cfg = {
		.policy = &logging, .ctx = l, .record = record, .max_steps = 1000000};

	memset(l, 0, sizeof(*l));
	l->policy = policy;
	l->ctx = ctx;
	return sched_run(s, &cfg, main_fn, arg);
}

static inline struct sched_result run(struct sched *s, const struct sched_policy *policy, void *ctx,
				      void (*main_fn)(void *arg), void *arg)
{
	const struct sched_config cfg = {.policy = policy, .ctx = ctx, .max_steps = 1000000};

	return sched_run(s, &cfg, main_fn, arg);
}

static inline void assert_same_log(const struct logger *a, const struct logger *b)
{
	assert_int_equal(a->nr, b->nr);
	assert_memory_equal(a->step, b->step, a->nr * sizeof(a->step[0]));
}

/* FNV-1a over all steps, as one number that another process can print. */
static inline u64 hash_of(const struct logger *l)
{
	const u8 *bytes = (const u8 *)l->step;
	u64 hash = 0xCBF29CE484222325ULL;

	for (size_t i = 0; i < l->nr * sizeof(l->step[0]); i++)
		hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
	return hash;
}

static inline struct sched *sched_up(void)
{
	struct sched *s = sched_create();

	assert_non_null(s);
	return s;
}

/* ---- small programs, and every order of their steps -----------------------------------------------*/
/* Depth-first search over all choices: the choice at each decision, and how many there were. */
struct search {
	u32 nr;
	struct {
		u32 taken, of;
	} at[64];
	u32 decision;
};

static inline int choose_next(void *ctx, const struct sched_view *v)
{
	struct search *d = ctx;

	if (d->decision == d->nr) {
		assert_true(d->nr < 64);
		d->at[d->nr].taken = 0;
		d->at[d->nr++].of = v->nr_enabled;
	}
	assert_int_equal(d->at[d->decision].of, v->nr_enabled);
	return (int)v->enabled[d->at[d->decision++].taken];
}

static const struct sched_policy search_policy = {.choose = choose_next};

/* To the next leaf of the tree; false after the last. */
static inline bool search_next(struct search *d)
{
	d->decision = 0;
	while (d->nr && d->at[d->nr - 1].taken + 1 == d->at[d->nr - 1].of)
		d->nr--;
	if (!d->nr)
		return false;
	d->at[d->nr - 1].taken++;
	return true;
}

struct two {
	u64 a, b, seen_a, seen_b;
	struct sync_mutex m;
};

static inline void both(void *arg, void (*fn_a)(void *arg), void (*fn_b)(void *arg))
{
	struct sync_thread a, b;

	sync_thread_create(&a, fn_a, arg);
	sync_thread_create(&b, fn_b, arg);
	sync_thread_join(&a);
	sync_thread_join(&b);
}

static inline void lost_update(void *arg)
{
	struct two *p = arg;

	sync_store(&p->a, sync_load(&p->a) + 1);
}

static inline void lost_update_main(void *arg)
{
	memset(arg, 0, sizeof(struct two));
	both(arg, lost_update, lost_update);
}

static inline void locked_update(void *arg)
{
	struct two *p = arg;

	sync_mutex_lock(&p->m);
	sync_store(&p->a, sync_load(&p->a) + 1);
	sync_mutex_unlock(&p->m);
}

static inline void locked_update_main(void *arg)
{
	struct two *p = arg;

	memset(arg, 0, sizeof(struct two));
	sync_mutex_init(&p->m, LOCK_MMU_ROOTS);
	both(arg, locked_update, locked_update);
	sync_mutex_destroy(&p->m);
}

#endif
