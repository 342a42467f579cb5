/* SPDX-License-Identifier: MIT */
#ifndef SYNC_ATOMICS_SWITCH
#define SYNC_ATOMICS_SWITCH 1
#endif
#include "explore/little.h"

#include "base/sync.h"

struct actor {
	struct little *l;
	u32 number;
	struct sync_thread thread;
};

struct condition {
	const u64 *word;
	u64 n;
};

static bool reached(void *arg)
{
	const struct condition *c = arg;

	return sync_load(c->word) >= c->n;
}

static void callback(struct sync_rcu_head *head)
{
	struct little_callback *cb = container_of(head, struct little_callback, rcu);

	sync_fetch_add(cb->word, 100);
}

static void spin_for(struct sync_mutex *m)
{
	while (!sync_mutex_trylock(m))
		sync_relax();
}

static bool try_share(u16 *word)
{
	sync_step_joint(word);
	if (sync_load_quiet(word) & 1) {
		sync_step_changed(false);
		return false;
	}
	sync_store_quiet(word, (u16)(sync_load_quiet(word) + 2));
	return true;
}

static bool try_alone(u16 *word)
{
	sync_step(word);
	if (sync_load_quiet(word)) {
		sync_step_changed(false);
		return false;
	}
	sync_store_quiet(word, (u16)1);
	return true;
}

static void lock_word(u16 *word, enum little_kind kind)
{
	switch (kind) {
	case L_SHARE:
		while (!try_share(word))
			sync_relax();
		break;
	case L_UNSHARE:
		sync_step_joint(word);
		sync_fetch_sub_quiet(word, 2);
		break;
	case L_ALONE:
		while (!try_alone(word))
			sync_relax();
		break;
	default:
		sync_step(word);
		sync_fetch_sub_quiet(word, 1);
		break;
	}
}

static void halves(struct little *l, u32 thread, const struct little_op *op)
{
	u32 *half = (u32 *)(void *)&l->word[op->object];

	if (op->kind == L_HALF)
		sync_store(&half[1], (u32)(l->reg[thread] + op->n));
	else
		l->reg[thread] = sync_load(&half[0]);
}

static void wait_for(struct little *l, const struct little_op *op)
{
	struct condition c = {&l->word[op->object], op->n};

	sync_wait(&l->waitq, reached, &c);
}

static void call_rcu(struct little *l, u32 thread, const struct little_op *op)
{
	struct little_callback *cb = &l->callback[thread][op - l->op[thread]];

	cb->word = &l->word[op->object];
	sync_rcu_call(&cb->rcu, callback);
}

static void locks(struct little *l, const struct little_op *op)
{
	switch (op->kind) {
	case L_LOCK:
		sync_mutex_lock(&l->mutex[op->object]);
		break;
	case L_TRY:
		spin_for(&l->mutex[op->object]);
		break;
	case L_UNLOCK:
		sync_mutex_unlock(&l->mutex[op->object]);
		break;
	case L_RDLOCK:
		sync_read_lock(&l->rwlock[op->object]);
		break;
	case L_RDUNLOCK:
		sync_read_unlock(&l->rwlock[op->object]);
		break;
	case L_WRLOCK:
		sync_write_lock(&l->rwlock[op->object]);
		break;
	default:
		sync_write_unlock(&l->rwlock[op->object]);
		break;
	}
}

static void perform(struct little *l, u32 thread, const struct little_op *op)
{
	u64 *word = &l->word[op->object], *reg = &l->reg[thread];

	switch (op->kind) {
	case L_LOAD:
		*reg = sync_load(word);
		break;
	case L_STORE:
		sync_store(word, *reg + op->n);
		break;
	case L_ADD:
		sync_fetch_add(word, op->n);
		break;
	case L_MANY:
		for (u64 i = 0; i < op->n; i++)
			sync_fetch_add(word, 1);
		break;
	case L_SHARE:
	case L_UNSHARE:
	case L_ALONE:
	case L_UNALONE:
		lock_word(&l->held[op->object], op->kind);
		break;
	case L_HALF:
	case L_LOAD_HALF:
		halves(l, thread, op);
		break;
	case L_WAIT:
		wait_for(l, op);
		break;
	case L_WAKE:
		sync_wake_all(&l->waitq);
		break;
	case L_RCU_LOCK:
		sync_rcu_read_lock();
		break;
	case L_RCU_UNLOCK:
		sync_rcu_read_unlock();
		break;
	case L_RCU_CALL:
		call_rcu(l, thread, op);
		break;
	case L_CRASH:
		if (sync_load(word) == op->n)
			abort();
		break;
	case L_HANG:
		if (sync_load(word) == op->n) {
			for (volatile bool ever = true; ever;)
				;
		}
		break;
	case L_FAIL:
		if (*reg == op->n)
			sched_fail("wrong");
		break;
	case L_SET:
		*reg = op->n;
		break;
	default:
		locks(l, op);
		break;
	}
}

static void act(void *arg)
{
	struct actor *a = arg;

	for (const struct little_op *op = a->l->op[a->number]; op->kind != L_END; op++) {
		sync_mark(EXPLORE_MARK_BEGIN,
			  (u64)(100 * a->number + 1 + (op - a->l->op[a->number])));
		perform(a->l, a->number, op);
	}
}

static void little_main(void *arg)
{
	struct little *l = arg;
	struct actor actor[LITTLE_THREADS];

	for (u32 i = 0; i < l->nr_threads; i++) {
		actor[i] = (struct actor){.l = l, .number = i};
		sync_thread_create(&actor[i].thread, act, &actor[i]);
	}
	for (u32 i = 0; i < l->nr_threads; i++)
		sync_thread_join(&actor[i].thread);
	sync_rcu_barrier();
}

static u64 hash(u64 h, u64 value)
{
	return (h ^ value) * 0x9E3779B97F4A7C15ULL + (h >> 29);
}

static void begin(struct little *l)
{
	memset(l->word, 0, sizeof(l->word));
	memset(l->reg, 0, sizeof(l->reg));
	memset(l->held, 0, sizeof(l->held));
	if (l->stray)
		l->word[0] = l->executions % 2;
	for (u32 i = 0; i < LITTLE_OBJECTS; i++) {
		sync_mutex_init(&l->mutex[i], (enum lock_class)i);
		sync_rwlock_init(&l->rwlock[i], (enum lock_class)(LITTLE_OBJECTS + i));
	}
	sync_waitq_init(&l->waitq);
	l->executions++;
}

static void finish(const struct little *l, const struct sched_result *r,
		   struct explore_outcome *out)
{
	out->final_state = (u64)r->outcome + 1;
	for (u32 i = 0; i < LITTLE_OBJECTS; i++)
		out->final_state = hash(out->final_state, l->word[i]);
	for (u32 i = 0; i < l->nr_threads; i++)
		out->final_state = hash(out->final_state, l->reg[i]);
	if (r->outcome == SCHED_DONE || r->outcome == SCHED_STOPPED ||
	    (r->outcome == SCHED_DEADLOCK && l->deadlock_is_fine))
		return;
	out->failed = true;
	snprintf(out->oracle, sizeof(out->oracle), "%s",
		 r->outcome == SCHED_FAILED ? "failed" : sched_outcome_name(r->outcome));
	snprintf(out->text, sizeof(out->text), "%.500s", r->report);
}

int little_execute(void *ctx, const struct explore_setup *setup, const struct sched_policy *policy,
		   void *policy_ctx, struct sched_schedule *record, struct explore_outcome *out)
{
	struct little *l = ctx;
	const struct sched_config cfg = {.policy = policy,
					 .ctx = policy_ctx,
					 .max_steps = setup->max_steps ? setup->max_steps : 100000,
					 .record = record};
	struct sched_result r;

	begin(l);
	memset(out, 0, sizeof(*out));
	r = sched_run(l->sched, &cfg, little_main, l);
	out->steps = r.steps;
	out->decisions = r.decisions;
	out->switches = r.switches;
	finish(l, &r, out);
	return 0;
}

struct explore_runner little_up(struct little *l)
{
	l->sched = sched_create();
	assert_non_null(l->sched);
	return (struct explore_runner){.execute = little_execute, .ctx = l, .sched = l->sched};
}

void little_down(struct little *l)
{
	sched_destroy(l->sched);
}

struct program *little_program(const struct little *l)
{
	struct program *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	snprintf(p->name, sizeof(p->name), "little");
	p->nr_threads = l->nr_threads;
	for (u32 i = 0; i < l->nr_threads; i++)
		snprintf(p->thread[i].name, sizeof(p->thread[i].name), "t%u", i);
	return p;
}
