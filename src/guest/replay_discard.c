/* SPDX-License-Identifier: MIT */
/*
 * Discards: all vCPUs with events meet before an event of the trace, one of them gives memory back to
 * the host and accepts it again, then all go on.
 *
 *	all:   arrive --------------------> wait inside the guest ---------------> go on
 *	owner:          wait for all, give back, forget, take back, announce
 *
 * While they wait nobody touches memory, so the owner may rewrite the others' expectations. Pairs:
 * the arrivals (sync_fetch_add) with the owner's acquire of replay->arrived; the owner's release of
 * replay->meetings_done with the others' acquire.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "guest/replay_impl.h"
#include "vm/vm.h"

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

/* Into its place by events; those at the same event stay in the order that they were given in. */
static void insert_discard(struct planned_discard *list, u32 nr, const struct replay_discard *d)
{
	for (; nr && list[nr - 1].event > d->event; nr--)
		list[nr] = list[nr - 1];
	list[nr] = (struct planned_discard){.start = addr_to_fn(d->gpa),
					    .end = addr_to_fn(d->gpa + d->size),
					    .event = d->event};
}

static void plan_meetings(struct replay *r, u32 nr_discards)
{
	for (u32 i = 0; i < nr_discards; i++) {
		u64 event = r->discards[i].event;

		if (!i || event != r->discards[i - 1].event)
			r->meetings[r->nr_meetings++] = (struct meeting){
				.event = event, .first = i, .owner = owner_of(r, event)};
		r->meetings[r->nr_meetings - 1].end = i + 1;
	}
}

static u64 meet_at(const struct replay *r, u32 meeting)
{
	return meeting < r->nr_meetings ? r->meetings[meeting].event : NO_EVENT;
}

int replay_discards_init(struct replay *r)
{
	u32 nr = r->cfg.nr_discards;

	if (!nr || !r->nr_players)
		return 0;
	r->discards = calloc(nr, sizeof(*r->discards));
	r->meetings = calloc(nr, sizeof(*r->meetings));
	if (!r->discards || !r->meetings)
		return -ENOMEM;
	for (u32 i = 0; i < nr; i++)
		insert_discard(r->discards, i, &r->cfg.discards[i]);
	plan_meetings(r, nr);
	for (u32 i = 0; i < r->nr_slots; i++)
		r->vcpu[i].meet_at = meet_at(r, 0);
	return 0;
}

/* ---- what a discard does to the guest's books ------------------------------------------------*/

/* The slots of the range are zero from now on, and no value from before is right any more. */
static void forget(struct replay *r, const struct planned_discard *d)
{
	gfn_t end = min_u64(d->end, r->nr_words);

	for (u32 s = 0; s < r->nr_slots; s++) {
		u64 *words = r->vcpu[s].words;

		for (gfn_t gfn = d->start; words && gfn < end; gfn++) {
			u64 word = sync_load(&words[gfn]);

			if (word)
				sync_store(&words[gfn], ((word >> WORD_GENERATION_SHIFT) + 1)
								<< WORD_GENERATION_SHIFT);
		}
	}
}

/* Units that lie wholly in the range; the tail of memory is whole, too. Others stay as they are. */
static void mark_units(struct replay *r, const struct planned_discard *d, enum unit_state state)
{
	u64 first = (d->start + (1ULL << r->unit_shift) - 1) >> r->unit_shift;
	u64 end = d->end == r->nr_pages ? r->nr_units : d->end >> r->unit_shift;

	for (u64 unit = first; unit < end; unit++)
		sync_store_release(&r->unit[unit], (u8)state);
}

static void take_answer(struct replay_vcpu *v, struct planned_discard *d)
{
	struct replay *r = v->replay;

	if (!v->call.r10) {
		count(&v->stats.discards);
		forget(r, d);
		mark_units(r, d, UNIT_UNACCEPTED);
		return;
	}
	d->refused = true;
	count(&v->stats.discards_refused);
	if (r->cfg.report)
		fprintf(r->cfg.report,
			"discard of gfns 0x%" PRIx64 " to 0x%" PRIx64 " before event %" PRIu64
			": refused by the host (0x%" PRIx64 ")\n",
			d->start, d->end - 1, d->event, v->call.r10);
}

/* ---- the owner -------------------------------------------------------------------------------*/
static bool give_back(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	for (; v->discard < m->end; v->discard++) {
		struct planned_discard *d = &v->replay->discards[v->discard];

		if (!v->begun) {
			v->begun = true;
			if (!replay_hypercall(lp, v, VM_HC_DISCARD, fn_to_addr(d->start),
					      fn_to_addr(d->end - d->start)))
				return false;
		}
		v->begun = false;
		take_answer(v, d);
	}
	return true;
}

static bool take_back(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	for (; v->discard < m->end; v->discard++) {
		const struct planned_discard *d = &v->replay->discards[v->discard];

		if (d->refused)
			continue;
		if (!v->begun) {
			v->begun = true;
			v->accept = (struct accept_work){
				.gfn = d->start, .end = d->end, .unit = NO_UNIT};
		}
		if (!replay_accept_work(lp, v))
			return false;
		v->begun = false;
		mark_units(v->replay, d, UNIT_ACCEPTED);
	}
	return true;
}

static void enter_phase(struct replay_vcpu *v, enum meeting_phase phase, const struct meeting *m)
{
	v->phase = phase;
	v->discard = m->first;
}

static bool own_meeting(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	struct replay *r = v->replay;

	if (v->phase == MEETING_ARRIVE) {
		while (sync_load_acquire(&r->arrived) < (u64)r->nr_players * (v->met + 1))
			if (!replay_wait(lp))
				return false;
		enter_phase(v, MEETING_GIVE_BACK, m);
	}
	if (v->phase == MEETING_GIVE_BACK) {
		if (!give_back(lp, v, m))
			return false;
		enter_phase(v, MEETING_TAKE_BACK, m);
	}
	if (!take_back(lp, v, m))
		return false;
	v->phase = MEETING_ARRIVE;
	sync_store_release(&r->meetings_done, v->met + 1);
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
