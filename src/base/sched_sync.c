/* SPDX-License-Identifier: MIT */
/*
 * base/sched: locks, waits, RCU and threads under a scheduler. Only one coroutine runs at a time, so
 * a lock is a word; what is left to say is when each may go on, and what others may see of it.
 */
#include <stdlib.h>

#include "base/sched_impl.h"

static u32 me(const struct sched *s)
{
	return s->current->number + 1;
}

/* The caller stops before an operation on @gate, which is called @name if it is a lock. */
static void stop(struct sched *s, enum sched_kind kind, const void *gate, const char *name)
{
	s->current->gate = gate;
	sched_stop_before(s, kind, sched_object_number(&s->objects, gate, name));
}

static bool callback_is_ready(const struct sched *s)
{
	const struct sched_callback *cb;

	if (s->callbacks_taken == s->callbacks_queued)
		return false;
	cb = &s->callback[s->callbacks_taken & (s->callback_room - 1)];
	for (u32 i = 0; i < s->nr_live; i++) {
		u64 section = s->coro[s->live[i]]->rcu_section;

		if (section && section <= cb->section)
			return false;
	}
	return true;
}

static bool can_read(const struct sync_rwlock *rw)
{
	return !rw->writer && !rw->writers_queued;
}

static bool can_write(const struct sync_rwlock *rw)
{
	return !rw->writer && !rw->readers;
}

bool sched_gate_is_open(const struct sched *s, const struct coro *t, const struct sched_op *op)
{
	switch (op->kind) {
	case SCHED_LOCK:
		return !((const struct sync_mutex *)t->gate)->owner;
	case SCHED_RDLOCK:
		return !op->queued || can_read(t->gate);
	case SCHED_WRLOCK:
		return !op->queued || can_write(t->gate);
	case SCHED_WAIT:
		return !op->queued || t->woken;
	case SCHED_JOIN:
		return s->thread[t->target].ended;
	case SCHED_CALLBACK:
		return callback_is_ready(s);
	case SCHED_RCU_BARRIER:
		return s->callbacks_done >= t->awaited;
	default:
		return true;
	}
}

/* ---- mutex -----------------------------------------------------------------------------------*/
void sched_mutex_lock(struct sync_mutex *m)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s) && !m->owner)
		sched_step_alone(s);
	else
		stop(s, SCHED_LOCK, m, lock_class_name(m->class));
	m->owner = me(s);
}

bool sched_mutex_trylock(struct sync_mutex *m)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		stop(s, SCHED_TRYLOCK, m, lock_class_name(m->class));
	if (m->owner) {
		sched_wrote(s, false);
		return false;
	}
	m->owner = me(s);
	return true;
}

void sched_mutex_unlock(struct sync_mutex *m)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		stop(s, SCHED_UNLOCK, m, lock_class_name(m->class));
	m->owner = 0;
}

/* ---- rwlock ----------------------------------------------------------------------------------*/
static void note_read(struct coro *t, const struct sync_rwlock *rw)
{
	if (t->nr_reads < SCHED_HELD_READ)
		t->reads[t->nr_reads++] = rw;
}

static void forget_read(struct coro *t, const struct sync_rwlock *rw)
{
	for (u32 i = t->nr_reads; i-- > 0;) {
		if (t->reads[i] == rw) {
			t->reads[i] = t->reads[--t->nr_reads];
			return;
		}
	}
}

void sched_read_lock(struct sync_rwlock *rw)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s) && can_read(rw))
		sched_step_alone(s);
	else
		stop(s, SCHED_RDLOCK, rw, lock_class_name(rw->class));
	if (!can_read(rw)) {
		rw->waiters++;
		sched_wrote(s, true);
		sched_wait_queued(s);
		rw->waiters--;
	}
	rw->readers++;
	note_read(s->current, rw);
}

void sched_read_unlock(struct sync_rwlock *rw)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		stop(s, SCHED_RDUNLOCK, rw, lock_class_name(rw->class));
	rw->readers--;
	forget_read(s->current, rw);
}

void sched_write_lock(struct sync_rwlock *rw)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s) && can_write(rw))
		sched_step_alone(s);
	else
		stop(s, SCHED_WRLOCK, rw, lock_class_name(rw->class));
	if (!can_write(rw)) {
		rw->waiters++;
		rw->writers_queued++;
		sched_wait_queued(s);
		rw->writers_queued--;
		rw->waiters--;
	}
	rw->writer = me(s);
}

void sched_write_unlock(struct sync_rwlock *rw)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		stop(s, SCHED_WRUNLOCK, rw, lock_class_name(rw->class));
	rw->writer = 0;
}

bool sched_rwlock_contended(struct sync_rwlock *rw)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		stop(s, SCHED_CONTENDED, rw, lock_class_name(rw->class));
	return rw->waiters != 0;
}

/* ---- wait and wake ---------------------------------------------------------------------------*/

/*
 * The look and the falling asleep are one step: without a scheduler the waitq's mutex and its count of
 * sleepers see to it that no wake fits between.
 */
static bool holds(struct sched *s, bool (*cond)(void *arg), void *arg)
{
	bool ret;

	sync_sched = NULL;
	ret = cond(arg);
	sync_sched = s;
	return ret;
}

void sched_wait(struct sync_waitq *q, bool (*cond)(void *arg), void *arg)
{
	struct sched *s = sync_sched;
	struct coro *t = s->current;

	if (sched_is_alone(s) && holds(s, cond, arg)) {
		sched_step_alone(s);
		return;
	}
	t->cond = cond;
	t->cond_arg = arg;
	stop(s, SCHED_WAIT, q, NULL);
	while (!holds(s, cond, arg)) {
		t->woken = false;
		sched_wait_queued(s);
	}
}

void sched_wake_all(struct sync_waitq *q)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s)) {
		sched_step_alone(s);
		return;
	}
	stop(s, SCHED_WAKE, q, NULL);
	for (u32 i = 0; i < s->nr_live; i++) {
		const struct sched_op *op = &s->thread[s->live[i]].op;
		struct coro *t = s->coro[s->live[i]];

		if (op->kind == SCHED_WAIT && op->queued && t->gate == q)
			t->woken = true;
	}
}

/* Alone too: the limit of spins is what ends a loop that waits for nobody. */
void sched_relax(void)
{
	sched_stop_before(sync_sched, SCHED_RELAX, 0);
}

/* ---- threads ---------------------------------------------------------------------------------*/
int sched_thread_create(struct sync_thread *t, void (*fn)(void *arg), void *arg)
{
	struct sched *s = sync_sched;
	struct coro *new;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		sched_stop_before(s, SCHED_CREATE, 0);
	new = sched_add_thread(s, fn, arg);
	if (!new)
		sched_fail("no memory for thread %u", s->nr_threads);
	t->number = new->number;
	sched_update_alone(s);
	return 0;
}

void sched_thread_join(struct sync_thread *t)
{
	struct sched *s = sync_sched;

	s->current->target = t->number;
	if (sched_is_alone(s) && s->thread[t->number].ended)
		sched_step_alone(s);
	else
		sched_stop_before(s, SCHED_JOIN, t->number);
}

/* ---- RCU -------------------------------------------------------------------------------------*/
void sched_rcu_read_lock(void)
{
	struct sched *s = sync_sched;
	struct coro *t = s->current;

	if (t->rcu_nesting++)
		return;
	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		sched_stop_before(s, SCHED_RCU_LOCK, 0);
	t->rcu_section = ++s->rcu_sections;
}

void sched_rcu_read_unlock(void)
{
	struct sched *s = sync_sched;
	struct coro *t = s->current;

	if (--t->rcu_nesting)
		return;
	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		sched_stop_before(s, SCHED_RCU_UNLOCK, 0);
	t->rcu_section = 0;
}

static void grow_callbacks(struct sched *s)
{
	u32 room = 2 * s->callback_room;
	struct sched_callback *more = sched_own_calloc(room, sizeof(*more));

	if (!more)
		sched_fail("no memory for RCU callbacks");
	for (u64 i = s->callbacks_taken; i != s->callbacks_queued; i++)
		more[i & (room - 1)] = s->callback[i & (s->callback_room - 1)];
	sched_own_free(s->callback);
	s->callback = more;
	s->callback_room = room;
}

void sched_rcu_call(struct sync_rcu_head *head, void (*fn)(struct sync_rcu_head *head))
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		sched_stop_before(s, SCHED_RCU_CALL, 0);
	head->fn = fn;
	if (s->callbacks_queued - s->callbacks_taken == s->callback_room)
		grow_callbacks(s);
	s->callback[s->callbacks_queued++ & (s->callback_room - 1)] =
		(struct sched_callback){head, s->rcu_sections};
	sched_update_alone(s);
}

void sched_rcu_barrier(void)
{
	struct sched *s = sync_sched;

	if (sched_is_alone(s)) {
		sched_step_alone(s);
		return;
	}
	s->current->awaited = s->callbacks_queued;
	sched_stop_before(s, SCHED_RCU_BARRIER, 0);
}

/* It is switched to when the oldest callback may run, at first and from then on. */
void sched_rcu_main(void *sched)
{
	struct sched *s = sched;

	for (;;) {
		struct sync_rcu_head *head =
			s->callback[s->callbacks_taken++ & (s->callback_room - 1)].head;

		sync_run_callback(head);
		s->callbacks_done++;
		sched_update_alone(s);
		if (s->nr_live == 1 && s->callbacks_done == s->callbacks_queued)
			sched_cut(s, SCHED_DONE);
		sched_stop_before(s, SCHED_CALLBACK, 0);
	}
}
