/* SPDX-License-Identifier: MIT */
/*
 * Meetings: all vCPUs with events meet before an event of the trace, one of them has memory fail,
 * gives it back or makes it change sides, then all go on.
 *
 *	all:   arrive --------------------> wait inside the guest ---------------------> go on
 *	owner:          wait for all, have fail, give back, take back, convert, announce
 *
 * While they wait nobody touches memory, so the owner may rewrite the others' expectations, and
 * what is shared. Pairs: the arrivals (sync_fetch_add) with the owner's acquire of replay->arrived;
 * the owner's release of replay->meetings_done with the others' acquire.
 */
#include <errno.h>
#include <stdlib.h>

#include "guest/replay_impl.h"

/* ---- the plan --------------------------------------------------------------------------------*/

/* @v has event @number. */
static bool has_event(const struct replay_vcpu *v, u64 number)
{
	u64 low = 0, high = v->nr_events;

	while (low < high) {
		u64 mid = low + (high - low) / 2;

		if (v->events[mid].number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low < v->nr_events && v->events[low].number == number;
}

/* The vCPU whose event comes next after the meeting; the first one with events if none does. */
static u32 owner_of(const struct replay *r, u64 number)
{
	u32 first = 0;

	for (u32 i = 0; i < r->nr_slots; i++)
		if (has_event(&r->vcpu[i], number))
			return i;
	while (!r->vcpu[first].nr_events)
		first++;
	return first;
}

static bool comes_after(const struct plan *a, const struct plan *b)
{
	return a->event != b->event ? a->event > b->event : a->kind > b->kind;
}

/* Into its place; those of one event and kind stay in the order that they were given in. */
static void insert_plan(struct replay *r, const struct plan *plan)
{
	u32 at = r->nr_plans++;

	for (; at && comes_after(&r->plans[at - 1], plan); at--)
		r->plans[at] = r->plans[at - 1];
	r->plans[at] = *plan;
}

static void insert_plans(struct replay *r)
{
	const struct replay_config *cfg = &r->cfg;

	for (u32 i = 0; i < cfg->nr_failures; i++) {
		const struct replay_failure *f = &cfg->failures[i];

		insert_plan(r, &(struct plan){.kind = PLAN_FAIL,
					      .start = addr_to_fn(f->gpa),
					      .end = addr_to_fn(f->gpa) + 1,
					      .event = f->event,
					      .failure = f});
	}
	for (u32 i = 0; i < cfg->nr_discards; i++) {
		const struct replay_discard *d = &cfg->discards[i];

		insert_plan(r, &(struct plan){.kind = PLAN_DISCARD,
					      .start = addr_to_fn(d->gpa),
					      .end = addr_to_fn(d->gpa + d->size),
					      .event = d->event});
	}
	for (u32 i = 0; i < cfg->nr_conversions; i++) {
		const struct replay_conversion *c = &cfg->conversions[i];

		insert_plan(r, &(struct plan){.kind = PLAN_CONVERT,
					      .start = addr_to_fn(c->gpa),
					      .end = addr_to_fn(c->gpa + c->size),
					      .event = c->event,
					      .step = addr_to_fn(c->step ? c->step : c->size),
					      .to_private = c->to_private});
	}
}

static void plan_meetings(struct replay *r)
{
	for (u32 i = 0; i < r->nr_plans; i++) {
		const struct plan *plan = &r->plans[i];
		struct meeting *m;

		if (!i || plan->event != r->plans[i - 1].event)
			r->meetings[r->nr_meetings++] =
				(struct meeting){.event = plan->event,
						 .first = i,
						 .fail_end = i,
						 .discard_end = i,
						 .owner = owner_of(r, plan->event)};
		m = &r->meetings[r->nr_meetings - 1];
		if (plan->kind == PLAN_FAIL)
			m->fail_end = i + 1;
		if (plan->kind <= PLAN_DISCARD)
			m->discard_end = i + 1;
		m->end = i + 1;
	}
}

static u64 meet_at(const struct replay *r, u32 meeting)
{
	return meeting < r->nr_meetings ? r->meetings[meeting].event : NO_EVENT;
}

int replay_meetings_init(struct replay *r)
{
	u32 nr = r->cfg.nr_failures + r->cfg.nr_discards + r->cfg.nr_conversions;

	if (!nr || !r->nr_players)
		return 0;
	r->plans = calloc(nr, sizeof(*r->plans));
	r->meetings = calloc(nr, sizeof(*r->meetings));
	if (!r->plans || !r->meetings)
		return -ENOMEM;
	insert_plans(r);
	plan_meetings(r);
	for (u32 i = 0; i < r->nr_slots; i++)
		r->vcpu[i].meet_at = meet_at(r, 0);
	return 0;
}

/* ---- the guest's books -----------------------------------------------------------------------*/
void replay_forget(struct replay *r, gfn_t start, gfn_t end)
{
	end = min_u64(end, r->nr_words);
	for (u32 s = 0; s < r->nr_slots; s++) {
		u64 *words = r->vcpu[s].words;

		for (gfn_t gfn = start; words && gfn < end; gfn++) {
			u64 word = sync_load(&words[gfn]);

			if (word)
				sync_store(&words[gfn], ((word >> WORD_GENERATION_SHIFT) + 1)
								<< WORD_GENERATION_SHIFT);
		}
	}
}

void replay_mark_units(struct replay *r, gfn_t start, gfn_t end, enum unit_state state)
{
	u64 first = (start + (1ULL << r->unit_shift) - 1) >> r->unit_shift;
	u64 last = end == r->nr_pages ? r->nr_units : end >> r->unit_shift;

	for (u64 unit = first; unit < last; unit++)
		sync_store_release(&r->unit[unit], (u8)state);
}

/* ---- the owner -------------------------------------------------------------------------------*/
static void enter_phase(struct replay_vcpu *v, enum meeting_phase phase, u32 first_plan)
{
	v->phase = phase;
	v->plan = first_plan;
	v->begun = false;
}

static bool wait_for_all(struct lp *lp, struct replay_vcpu *v)
{
	struct replay *r = v->replay;

	while (sync_load_acquire(&r->arrived) < (u64)r->nr_players * (v->met + 1))
		if (!replay_wait(lp))
			return false;
	return true;
}

static bool own_meeting(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	switch (v->phase) {
	case MEETING_ARRIVE:
		if (!wait_for_all(lp, v))
			return false;
		enter_phase(v, MEETING_FAIL, m->first);
		/* fall through */
	case MEETING_FAIL:
		if (!replay_fail(lp, v, m))
			return false;
		enter_phase(v, MEETING_GIVE_BACK, m->fail_end);
		/* fall through */
	case MEETING_GIVE_BACK:
		if (!replay_give_back(lp, v, m))
			return false;
		enter_phase(v, MEETING_TAKE_BACK, m->fail_end);
		/* fall through */
	case MEETING_TAKE_BACK:
		if (!replay_take_back(lp, v, m))
			return false;
		enter_phase(v, MEETING_CONVERT, m->discard_end);
		/* fall through */
	case MEETING_CONVERT:
		if (!replay_convert(lp, v, m))
			return false;
	}
	v->phase = MEETING_ARRIVE;
	sync_store_release(&v->replay->meetings_done, v->met + 1);
	return true;
}

/* ---- everybody -------------------------------------------------------------------------------*/
static bool meet(struct lp *lp, struct replay_vcpu *v)
{
	struct replay *r = v->replay;
	const struct meeting *m = &r->meetings[v->met];

	if (!v->announced) {
		v->announced = true;
		sync_fetch_add(&r->arrived, 1);
	}
	if (m->owner == v->index)
		return own_meeting(lp, v, m);
	while (sync_load_acquire(&r->meetings_done) <= v->met)
		if (!replay_wait(lp))
			return false;
	return true;
}

bool replay_meet(struct lp *lp, struct replay_vcpu *v, u64 number)
{
	while (v->meet_at <= number) {
		if (!meet(lp, v))
			return false;
		v->announced = false;
		v->met++;
		v->meet_at = meet_at(v->replay, v->met);
	}
	return true;
}
