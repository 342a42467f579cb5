/* SPDX-License-Identifier: MIT */
/* base/sched: the small policies, what commutes, and schedules as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sched_impl.h"

/* ---- what commutes ---------------------------------------------------------------------------*/
static bool is_rcu(enum sched_kind kind)
{
	return kind >= SCHED_RCU_LOCK && kind <= SCHED_CALLBACK;
}

static bool is_section(enum sched_kind kind)
{
	return kind == SCHED_RCU_LOCK || kind == SCHED_RCU_UNLOCK;
}

static bool rcu_conflict(enum sched_kind a, enum sched_kind b)
{
	if (is_section(a) && is_section(b))
		return false;
	/* A section that begins is no business of a callback that may run already. */
	if (a == SCHED_RCU_LOCK || b == SCHED_RCU_LOCK)
		return a == SCHED_RCU_CALL || b == SCHED_RCU_CALL;
	/* And whether one has ended says only later when a callback that is queued now may run. */
	if (is_section(a) || is_section(b))
		return a != SCHED_RCU_CALL && b != SCHED_RCU_CALL;
	return true;
}

static bool condition_reads(const struct sched_op *wait, const struct sched_op *op)
{
	if (wait->kind != SCHED_WAIT || !op->write)
		return false;
	for (u32 i = 0; i < wait->nr_reads; i++)
		if (op->bytes && op->object == wait->reads[i])
			return true;
	return !wait->nr_reads;
}

bool sched_conflict(const struct sched_op *a, const struct sched_op *b)
{
	if (is_rcu(a->kind) && is_rcu(b->kind))
		return rcu_conflict(a->kind, b->kind);
	if (condition_reads(a, b) || condition_reads(b, a))
		return true;
	/* The order of creation gives the numbers. */
	if (a->kind == SCHED_CREATE || b->kind == SCHED_CREATE)
		return a->kind == b->kind;
	if (!a->object || a->object != b->object)
		return false;
	if (a->kind <= SCHED_JOIN || b->kind <= SCHED_JOIN) /* numbers of threads */
		return (a->kind == SCHED_END && b->kind == SCHED_JOIN) ||
		       (a->kind == SCHED_JOIN && b->kind == SCHED_END);
	if (a->bytes && b->bytes && !(a->bytes & b->bytes)) /* neighbours in a word */
		return false;
	if (a->kind == SCHED_JOINT && b->kind == SCHED_JOINT)
		return false;
	return a->write || b->write || (a->kind == SCHED_CONTENDED) != (b->kind == SCHED_CONTENDED);
}

/* ---- schedules -------------------------------------------------------------------------------*/
static bool can_run(const struct sched_view *v, u32 thread)
{
	return thread < v->nr_threads && v->thread[thread].enabled;
}

static u32 next_in_circle(const struct sched_view *v)
{
	for (u32 i = 0; i < v->nr_enabled; i++) {
		if (v->enabled[i] > v->running)
			return v->enabled[i];
	}
	return v->enabled[0];
}

u32 sched_default(const struct sched_view *v)
{
	return can_run(v, v->running) ? v->running : next_in_circle(v);
}

int sched_schedule_add(struct sched_schedule *s, u64 decision, u32 thread)
{
	if (s->nr == s->room) {
		u32 room = s->room ? 2 * s->room : 16;
		struct sched_choice *more = sched_own_realloc(s->choice, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->choice = more;
		s->room = room;
	}
	s->choice[s->nr++] = (struct sched_choice){decision, thread};
	return 0;
}

void sched_schedule_free(struct sched_schedule *s)
{
	sched_own_free(s->choice);
	memset(s, 0, sizeof(*s));
}

size_t sched_schedule_print(const struct sched_schedule *s, char *text, size_t size)
{
	size_t n = 0;

	if (!s->nr)
		return (size_t)snprintf(text, size, "-");
	for (u32 i = 0; i < s->nr; i++)
		n += (size_t)snprintf(n < size ? text + n : NULL, n < size ? size - n : 0,
				      "%s%u@%" PRIu64, i ? "," : "", s->choice[i].thread,
				      s->choice[i].decision);
	return n;
}

/* Digits at @*p, at least one; 0 or -EINVAL. */
static int parse_number(const char **p, u64 most, u64 *out)
{
	u64 n = 0;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	while (**p >= '0' && **p <= '9') {
		u64 digit = (u64)(**p - '0');

		if (n > (most - digit) / 10)
			return -EINVAL;
		n = 10 * n + digit;
		++*p;
	}
	*out = n;
	return 0;
}

static int parse_choice(struct sched_schedule *s, const char **p)
{
	u64 thread, decision;

	if (parse_number(p, UINT32_MAX, &thread) || **p != '@')
		return -EINVAL;
	++*p;
	if (parse_number(p, UINT64_MAX, &decision))
		return -EINVAL;
	if (s->nr && decision <= s->choice[s->nr - 1].decision)
		return -EINVAL;
	return sched_schedule_add(s, decision, (u32)thread);
}

int sched_schedule_parse(struct sched_schedule *s, const char *text, size_t *bad)
{
	const char *p = text;
	int err;

	memset(s, 0, sizeof(*s));
	if (!strcmp(text, "-"))
		return 0;
	for (;;) {
		err = parse_choice(s, &p);
		if (!err && !*p)
			return 0;
		if (!err && *p != ',')
			err = -EINVAL;
		if (err)
			break;
		p++;
	}
	*bad = (size_t)(p - text);
	sched_schedule_free(s);
	return err;
}

/* ---- policies --------------------------------------------------------------------------------*/
static int choose_default(void *ctx, const struct sched_view *v)
{
	(void)ctx;
	return (int)sched_default(v);
}

const struct sched_policy sched_run_until_blocked = {.choose = choose_default};

static int choose_round_robin(void *ctx, const struct sched_view *v)
{
	struct sched_round_robin *r = ctx;

	if (can_run(v, v->running) && ++r->used < r->quantum)
		return (int)v->running;
	r->used = 0;
	return (int)next_in_circle(v);
}

const struct sched_policy sched_round_robin = {.choose = choose_round_robin};

void sched_random_init(struct sched_random *r, u64 seed, u32 one_in)
{
	rng_init(&r->rng, seed);
	r->one_in = one_in;
}

static int choose_random(void *ctx, const struct sched_view *v)
{
	struct sched_random *r = ctx;

	if (r->one_in > 1 && rng_below(&r->rng, r->one_in))
		return (int)sched_default(v);
	return (int)v->enabled[rng_below(&r->rng, v->nr_enabled)];
}

const struct sched_policy sched_random = {.choose = choose_random};

/* ---- PCT -------------------------------------------------------------------------------------*/
static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

void sched_pct_init(struct sched_pct *p, u64 seed, u32 depth, u64 length)
{
	struct rng rng;

	memset(p, 0, sizeof(*p));
	rng_init(&rng, seed);
	p->seed = rng_u64(&rng);
	p->nr_changes = (u32)min_u64(depth ? depth - 1 : 0, SCHED_PCT_MAX_DEPTH);
	for (u32 i = 0; i < p->nr_changes; i++)
		p->change[i] = rng_below(&rng, length ? length : 1);
	qsort(p->change, p->nr_changes, sizeof(p->change[0]), compare_u64);
}

/* Above all lowered ones; the same for a thread whenever it comes. */
static u64 priority(const struct sched_pct *p, u32 thread)
{
	struct rng rng;

	for (u32 i = p->nr_lowered; i-- > 0;) {
		if (p->lowered[i] == thread)
			return p->nr_lowered - i;
	}
	rng_init(&rng, p->seed + thread);
	return rng_u64(&rng) | BIT_ULL(63);
}

static u32 highest(const struct sched_pct *p, const struct sched_view *v)
{
	u32 best = v->enabled[0];
	u64 best_priority = priority(p, best);

	for (u32 i = 1; i < v->nr_enabled; i++) {
		u64 other = priority(p, v->enabled[i]);

		if (other > best_priority) {
			best = v->enabled[i];
			best_priority = other;
		}
	}
	return best;
}

static int choose_pct(void *ctx, const struct sched_view *v)
{
	struct sched_pct *p = ctx;

	while (p->nr_lowered < p->nr_changes && v->decision >= p->change[p->nr_lowered]) {
		u32 falls = highest(p, v);

		p->lowered[p->nr_lowered++] = falls;
	}
	return (int)highest(p, v);
}

const struct sched_policy sched_pct = {.choose = choose_pct};

/* ---- replay ----------------------------------------------------------------------------------*/
void sched_replay_init(struct sched_replay *r, const struct sched_schedule *schedule)
{
	*r = (struct sched_replay){.schedule = schedule};
}

static int choose_replay(void *ctx, const struct sched_view *v)
{
	struct sched_replay *r = ctx;
	const struct sched_choice *next;

	if (r->next == r->schedule->nr)
		return (int)sched_default(v);
	next = &r->schedule->choice[r->next];
	if (v->decision < next->decision)
		return (int)sched_default(v);
	if (!can_run(v, next->thread)) {
		r->left = true;
		return SCHED_STOP;
	}
	r->next++;
	return (int)next->thread;
}

const struct sched_policy sched_replay = {.choose = choose_replay};
