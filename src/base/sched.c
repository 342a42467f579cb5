/* SPDX-License-Identifier: MIT */
/*
 * base/sched: the run itself. Stops threads before their operations, finds who can go on, asks the
 * policy, and switches. Owns the two words that say whether the calling thread of the system is in a
 * run: `sync_sched`, which base/sync looks at, and `active`, which stays while a policy is asked.
 */
#include "base/sched.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sched_impl.h"

#define FIRST_THREADS 8
#define FIRST_CALLBACKS 64
#define DEFAULT_MAX_SPINS 10000

_Thread_local struct sched *sync_sched;
static _Thread_local struct sched *active;

struct sched *sched_active(void)
{
	return active;
}

static const bool kind_writes[] = {
#define SCHED_KIND(sym, name, writes) [sym] = writes,
	SCHED_KINDS
#undef SCHED_KIND
};

/* ---- who can go on ---------------------------------------------------------------------------*/

/* A condition reads @p. More words than there is room for are as good as all. */
static void note_read(struct sched *s, const volatile void *p)
{
	struct sched_op *op = s->looking;
	u32 number = sched_object_number(&s->objects, p, NULL);

	if (op->nr_reads > SCHED_READS)
		return;
	for (u32 i = 0; i < op->nr_reads; i++)
		if (op->reads[i] == number)
			return;
	if (op->nr_reads < SCHED_READS)
		op->reads[op->nr_reads] = number;
	op->nr_reads++;
}

void sched_look(struct sched *s, struct coro *t)
{
	struct sched_op *op = &s->thread[t->number].op;

	op->nr_reads = 0;
	s->looking = op;
	t->cond(t->cond_arg);
	s->looking = NULL;
	if (op->nr_reads > SCHED_READS)
		op->nr_reads = 0;
}

/* Others have written since the look that @t's loop had before. */
static bool has_news(const struct sched *s, const struct coro *t)
{
	return s->writes - t->own_writes != t->seen_writes;
}

/*
 * @t relaxes, and @u could have gone on all the time since @t's last relax, but didn't: it goes first.
 * Two threads never bar each other, as each would have to have rested since the other's last step.
 */
static bool bars(const struct coro *u, const struct coro *t)
{
	return u->last_step <= t->turn_start && u->ready_since <= t->turn_start;
}

/* Those who relax and have nothing new to see are enabled too if @spinning. */
static void find_enabled(struct sched *s, bool spinning)
{
	u32 relaxing = 0, n = 0;

	for (u32 i = 0; i < s->nr_live; i++) {
		u32 number = s->live[i];
		struct sched_thread *pub = &s->thread[number];
		struct coro *t = s->coro[number];
		bool can;

		if (pub->op.kind == SCHED_RELAX) {
			can = spinning || has_news(s, t);
			relaxing += can;
		} else {
			can = sched_gate_is_open(s, t, &pub->op);
		}
		if (pub->op.kind == SCHED_WAIT)
			sched_look(s, t);
		if (can && !t->ready) {
			t->ready_since = s->result.steps;
			/* Whoever made the last step has made it possible. */
			pub->clock = max_u64(pub->clock, s->thread[s->current->number].clock);
		}
		t->ready = can;
		pub->enabled = can;
		if (can)
			s->enabled[n++] = number;
	}
	s->nr_enabled = n;
	if (likely(!relaxing) || n == 1)
		return;
	n = 0;
	for (u32 i = 0; i < s->nr_enabled; i++) {
		u32 number = s->enabled[i];
		bool barred = false;

		if (s->thread[number].op.kind == SCHED_RELAX) {
			for (u32 j = 0; j < s->nr_enabled && !barred; j++)
				barred = j != i && bars(s->coro[s->enabled[j]], s->coro[number]);
		}
		/* Its place in s->enabled is still looked at for those that follow. */
		s->thread[number].enabled = !barred;
	}
	for (u32 i = 0; i < s->nr_enabled; i++) {
		if (s->thread[s->enabled[i]].enabled)
			s->enabled[n++] = s->enabled[i];
	}
	s->nr_enabled = n;
}

static bool somebody_relaxes(const struct sched *s)
{
	for (u32 i = 0; i < s->nr_live; i++) {
		if (s->thread[s->live[i]].op.kind == SCHED_RELAX)
			return true;
	}
	return false;
}

/* ---- choosing --------------------------------------------------------------------------------*/
static void count_step(struct sched *s)
{
	s->result.steps++;
	if (s->cfg->max_steps && s->result.steps > s->cfg->max_steps)
		sched_cut(s, SCHED_STEP_LIMIT);
}

static u32 ask(struct sched *s)
{
	const struct sched_view view = {
		.decision = s->result.decisions,
		.step = s->result.steps,
		.running = s->current->number,
		.nr_enabled = s->nr_enabled,
		.enabled = s->enabled,
		.nr_threads = s->nr_threads,
		.thread = s->thread,
	};
	int choice;

	sync_sched = NULL;
	choice = s->cfg->policy->choose(s->cfg->ctx, &view);
	sync_sched = s;
	if (choice == SCHED_STOP)
		sched_cut(s, SCHED_STOPPED);
	if (unlikely(choice < 0 || (u32)choice >= s->nr_threads || !s->thread[choice].enabled))
		sched_fail("the policy chose thread %d, which can't go on", choice);
	if (s->cfg->record && (u32)choice != sched_default(&view) &&
	    sched_schedule_add(s->cfg->record, view.decision, (u32)choice))
		sched_fail("no memory to record the schedule");
	s->result.decisions++;
	return (u32)choice;
}

/* Decides who makes the next step. Doesn't return if nobody can. */
static struct coro *choose(struct sched *s)
{
	find_enabled(s, false);
	if (unlikely(!s->nr_enabled)) {
		if (!somebody_relaxes(s))
			sched_cut(s, SCHED_DEADLOCK);
		if (++s->spins > (s->cfg->max_spins ? s->cfg->max_spins : DEFAULT_MAX_SPINS))
			sched_cut(s, SCHED_LIVELOCK);
		find_enabled(s, true);
	}
	return s->coro[s->alone ? s->enabled[0] : ask(s)];
}

/* Accounts for the step that @t is about to make. */
static void begin_step(struct sched *s, struct coro *t)
{
	struct sched_thread *pub = &s->thread[t->number];

	count_step(s);
	pub->steps++;
	t->last_step = s->result.steps;
	if (kind_writes[pub->op.kind]) {
		s->writes++;
		t->own_writes++;
	}
	if (pub->op.kind == SCHED_RELAX) {
		t->turn_start = s->result.steps;
		t->seen_writes = s->writes - t->own_writes;
	}
}

static void switch_to(struct sched *s, struct coro *to, bool last)
{
	struct coro *from = s->current;

	if (to == from)
		return;
	s->current = to;
	s->result.switches++;
	sync_self_swap(&from->self, &to->self);
	sched_context_switch(&from->context, &to->context, last);
}

static void stop_before(struct sched *s, enum sched_kind kind, u32 number, u8 bytes)
{
	struct coro *t = s->current;
	struct sched_op *op = &s->thread[t->number].op;

	*op = (struct sched_op){
		.kind = kind, .write = kind_writes[kind], .object = number, .bytes = bytes};
	t = choose(s);
	begin_step(s, t);
	switch_to(s, t, false);
}

void sched_stop_before(struct sched *s, enum sched_kind kind, u32 number)
{
	stop_before(s, kind, number, 0);
}

void sched_wait_queued(struct sched *s)
{
	struct coro *t;

	s->thread[s->current->number].op.queued = true;
	t = choose(s);
	begin_step(s, t);
	switch_to(s, t, false);
}

void sched_step_alone(struct sched *s)
{
	count_step(s);
}

void sched_wrote(struct sched *s, bool wrote)
{
	struct coro *t = s->current;

	if (wrote) {
		s->writes++;
		t->own_writes++;
	} else if (!s->alone) {
		s->writes--;
		t->own_writes--;
	}
}

/* ---- threads ---------------------------------------------------------------------------------*/
void sched_update_alone(struct sched *s)
{
	bool callbacks = s->callbacks_done != s->callbacks_queued;

	/* The RCU thread lives always. */
	s->alone = s->nr_live - 1 + callbacks <= 1;
}

static void end_thread(struct sched *s)
{
	struct coro *t = s->current;
	struct sched_thread *pub;
	u32 i = 0;

	if (sched_is_alone(s))
		sched_step_alone(s);
	else
		sched_stop_before(s, SCHED_END, t->number);
	pub = &s->thread[t->number];
	pub->op = (struct sched_op){.kind = SCHED_END, .write = true, .object = t->number};
	pub->ended = true;
	pub->enabled = false;
	while (s->live[i] != t->number)
		i++;
	s->nr_live--;
	memmove(&s->live[i], &s->live[i + 1], (s->nr_live - i) * sizeof(*s->live));
	sched_update_alone(s);
	if (s->nr_live == 1 && s->callbacks_done == s->callbacks_queued)
		sched_cut(s, SCHED_DONE);
	t = choose(s);
	begin_step(s, t);
	switch_to(s, t, true);
	abort();
}

static void entry(void)
{
	struct sched *s = active;

	sched_context_entered(&s->outside);
	s->current->fn(s->current->arg);
	sync_thread_leave();
	end_thread(s);
}

static int make_room(struct sched *s)
{
	u32 room = s->room ? 2 * s->room : FIRST_THREADS;
	void *p;

#define GROW(array)                                                        \
	do {                                                               \
		p = sched_own_realloc(s->array, room * sizeof(*s->array)); \
		if (!p)                                                    \
			return -ENOMEM;                                    \
		s->array = p;                                              \
	} while (0)
	GROW(coro);
	GROW(thread);
	GROW(live);
	GROW(enabled);
#undef GROW
	s->room = room;
	return 0;
}

static struct coro *coro_create(u32 number)
{
	struct coro *t = sched_own_calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->number = number;
	if (sched_context_create(&t->context)) {
		sched_own_free(t);
		return NULL;
	}
	return t;
}

struct coro *sched_add_thread(struct sched *s, void (*fn)(void *arg), void *arg)
{
	struct sched_thread *pub;
	struct coro *t;

	if (s->nr_threads == s->room && make_room(s))
		return NULL;
	if (s->nr_threads == s->nr_coros) {
		s->coro[s->nr_coros] = coro_create(s->nr_coros);
		if (!s->coro[s->nr_coros])
			return NULL;
		s->nr_coros++;
	}
	t = s->coro[s->nr_threads];
	*t = (struct coro){
		.number = s->nr_threads,
		.context = t->context,
		.fn = fn,
		.arg = arg,
		.ready = true,
		.ready_since = s->result.steps,
		.seen_writes = s->writes,
	};
	sched_context_start(&t->context, entry);
	pub = &s->thread[s->nr_threads];
	*pub = (struct sched_thread){
		.op = {.kind = SCHED_START, .object = t->number},
		.clock = s->current ? s->thread[s->current->number].clock : 0,
	};
	s->live[s->nr_live++] = s->nr_threads++;
	return t;
}

/* ---- a run -----------------------------------------------------------------------------------*/
struct sched *sched_create(void)
{
	struct sched *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	sched_keep_heap();
	s->callback_room = FIRST_CALLBACKS;
	s->callback = sched_own_calloc(s->callback_room, sizeof(*s->callback));
	if (s->callback && !sched_objects_create(&s->objects))
		return s;
	sched_own_free(s->callback);
	free(s);
	return NULL;
}

void sched_destroy(struct sched *s)
{
	for (u32 i = 0; i < s->nr_coros; i++) {
		sched_context_destroy(&s->coro[i]->context);
		sched_own_free(s->coro[i]);
	}
	sched_own_free(s->coro);
	sched_own_free(s->thread);
	sched_own_free(s->live);
	sched_own_free(s->enabled);
	sched_own_free(s->callback);
	sched_own_free(s->blocks.slot);
	sched_objects_destroy(&s->objects);
	free(s);
}

void sched_cut(struct sched *s, enum sched_outcome outcome)
{
	struct coro *t = s->current;

	s->result.outcome = outcome;
	if (outcome != SCHED_DONE && outcome != SCHED_FAILED)
		sched_report_waits(s);
	sync_sched = NULL;
	active = NULL;
	sync_self_swap(&t->self, &s->outside_self);
	sched_context_switch(&t->context, &s->outside, true);
	abort();
}

static void reset(struct sched *s, const struct sched_config *cfg)
{
	s->cfg = cfg;
	s->nr_threads = 0;
	s->nr_live = 0;
	s->current = NULL;
	s->callbacks_queued = 0;
	s->callbacks_taken = 0;
	s->callbacks_done = 0;
	s->rcu_sections = 0;
	s->writes = 0;
	s->spins = 0;
	s->report[0] = '\0';
	s->result = (struct sched_result){.report = s->report};
	sched_objects_clear(&s->objects);
	sched_forget_blocks(s);
	if (cfg->record)
		cfg->record->nr = 0;
}

struct sched_result sched_run(struct sched *s, const struct sched_config *cfg,
			      void (*main)(void *arg), void *arg)
{
	struct coro *t;

	reset(s, cfg);
	t = sched_add_thread(s, main, arg);
	if (!t || !sched_add_thread(s, sched_rcu_main, s)) {
		snprintf(s->report, sizeof(s->report), "no memory for the scheduler\n");
		s->result.outcome = SCHED_FAILED;
		return s->result;
	}
	s->coro[SCHED_RCU_THREAD]->ready = false;
	s->thread[SCHED_RCU_THREAD].op = (struct sched_op){.kind = SCHED_CALLBACK, .write = true};
	s->current = t;
	sched_update_alone(s);
	s->thread[t->number].enabled = true;
	begin_step(s, t);
	active = s;
	sync_sched = s;
	sched_context_here(&s->outside);
	sync_self_swap(&s->outside_self, &t->self);
	sched_context_switch(&s->outside, &t->context, false);
	return s->result;
}

void sched_fail(const char *fmt, ...)
{
	struct sched *s = active;
	va_list args;

	va_start(args, fmt);
	if (!s) {
		vfprintf(stderr, fmt, args);
		fputc('\n', stderr);
		abort();
	}
	vsnprintf(s->report, sizeof(s->report), fmt, args);
	va_end(args);
	sched_cut(s, SCHED_FAILED);
}

u32 sched_running(void)
{
	return active->current->number;
}

u64 sched_clock(const struct sched *s, u32 thread)
{
	return s->thread[thread].clock;
}

/* ---- what base/sync.h calls ------------------------------------------------------------------*/
static void stop_at_memory(enum sched_kind kind, const volatile void *p, size_t size)
{
	struct sched *s = sync_sched;
	u32 bytes = ((1U << size) - 1) << (uintptr_t)p % sizeof(u64);

	if (s->looking)
		note_read(s, p);
	else if (s->alone)
		sched_step_alone(s);
	else
		stop_before(s, kind, sched_object_number(&s->objects, p, NULL), (u8)bytes);
}

void sched_at_load(const volatile void *p, size_t size)
{
	stop_at_memory(SCHED_LOAD, p, size);
}

void sched_at_store(const volatile void *p, size_t size)
{
	stop_at_memory(SCHED_STORE, p, size);
}

void sched_at_rmw(const volatile void *p, size_t size)
{
	stop_at_memory(SCHED_RMW, p, size);
}

void sched_at_joint(const volatile void *p, size_t size)
{
	stop_at_memory(SCHED_JOINT, p, size);
}

void sched_rmw_failed(void)
{
	sched_wrote(sync_sched, false);
}

void sched_mark(const char *name, u64 arg)
{
	struct sched *s = sync_sched;
	struct sched_thread *pub = &s->thread[s->current->number];

	pub->mark = name;
	pub->mark_arg = arg;
	if (!s->cfg->policy->mark)
		return;
	sync_sched = NULL;
	s->cfg->policy->mark(s->cfg->ctx, s->current->number, name, arg);
	sync_sched = s;
}

void sched_charge(u64 ns)
{
	struct sched *s = sync_sched;

	s->thread[s->current->number].clock += ns;
}

void sched_forget(const void *p, size_t size)
{
	sched_objects_forget(&sync_sched->objects, p, size);
}
