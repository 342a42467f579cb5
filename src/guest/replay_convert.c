/* SPDX-License-Identifier: MIT */
/*
 * Conversions: the owner of a meeting makes memory shared or private by MapGPA, a step at a time.
 *
 *	   .--> ASK -----> ANSWER -----> ACCEPT ----.
 *	   |     ^  MapGPA   |           what became |    next step
 *	   |     '--- retry -'           private     |
 *	   '-----------------------------------------'
 *
 * A host that asks for a retry without having done anything is asked three times, as Linux does.
 */
#include <inttypes.h>

#include "guest/replay_impl.h"
#include "vm/vm.h"

#define MAX_RETRIES 3

static gfn_t step_end(const struct replay_vcpu *v, const struct plan *c)
{
	return min_u64(v->convert.at + c->step, c->end);
}

static bool ask(struct lp *lp, struct replay_vcpu *v, const struct plan *c)
{
	gpa_t gpa = fn_to_addr(v->convert.at);

	if (!c->to_private)
		gpa |= BIT_ULL(v->replay->cfg.shared_bit);
	return replay_vmcall(lp, v, 0, VM_HC_MAP_GPA, gpa,
			     fn_to_addr(step_end(v, c) - v->convert.at));
}

static void refuse(struct replay_vcpu *v, struct plan *c)
{
	struct replay *r = v->replay;

	c->refused = true;
	count(&v->stats.conversions_refused);
	if (r->cfg.report)
		fprintf(r->cfg.report,
			"MapGPA of gfns 0x%" PRIx64 " to 0x%" PRIx64 " to %s before event %" PRIu64
			": refused by the host (0x%" PRIx64 ")\n",
			v->convert.at, step_end(v, c) - 1, c->to_private ? "private" : "shared",
			c->event, v->call.r10);
}

/* First page from which a host that wants a retry has done nothing; outside the step: nonsense. */
static gfn_t retry_from(const struct replay_vcpu *v)
{
	return addr_to_fn(v->call.r11 & ~BIT_ULL(v->replay->cfg.shared_bit));
}

/* Return: the step's [at, mapped) is done; else the plan is refused, or the step asked again. */
static bool take_answer(struct replay_vcpu *v, struct plan *c)
{
	struct convert_progress *p = &v->convert;

	p->mapped = step_end(v, c);
	if (!v->call.r10) {
		count(&v->stats.conversions);
		p->retries = 0;
		return true;
	}
	if (v->call.r10 != VM_HC_RETRY || retry_from(v) < p->at || retry_from(v) >= p->mapped ||
	    p->retries == MAX_RETRIES) {
		refuse(v, c);
		return false;
	}
	p->retries = retry_from(v) == p->at ? p->retries + 1 : 0;
	p->mapped = retry_from(v);
	p->state = CONVERT_ASK;
	return p->mapped > p->at;
}

/* [at, mapped) is shared now. */
static void note_shared(struct replay_vcpu *v)
{
	struct convert_progress *p = &v->convert;
	struct replay *r = v->replay;

	for (; p->at < p->mapped; p->at++) {
		if (r->shared[p->at])
			continue;
		r->shared[p->at] = true;
		replay_forget(r, p->at, p->at + 1);
	}
}

/* [at, mapped) is private now: what wasn't before is accepted, run by run. */
static bool accept_private(struct lp *lp, struct replay_vcpu *v)
{
	struct convert_progress *p = &v->convert;
	struct replay *r = v->replay;

	while (p->at < p->mapped) {
		gfn_t start;

		for (; p->at < p->mapped && !r->shared[p->at]; p->at++)
			;
		for (start = p->at; p->at < p->mapped && r->shared[p->at]; p->at++)
			r->shared[p->at] = false;
		replay_forget(r, start, p->at);
		/* On its way already when this vCPU comes back: it goes on by itself. */
		v->accept = (struct accept_work){.gfn = start, .end = p->at, .unit = NO_UNIT};
		if (!replay_accept_work(lp, v))
			return false;
	}
	return true;
}

static bool accept_step(struct lp *lp, struct replay_vcpu *v, const struct plan *c)
{
	if (c->to_private)
		return accept_private(lp, v);
	note_shared(v);
	return true;
}

/* One turn of the picture above. */
static bool advance(struct lp *lp, struct replay_vcpu *v, struct plan *c)
{
	struct convert_progress *p = &v->convert;

	switch (p->state) {
	case CONVERT_ASK:
		p->state = CONVERT_ANSWER;
		return ask(lp, v, c);
	case CONVERT_ANSWER:
		if (take_answer(v, c))
			p->state = CONVERT_ACCEPT;
		return true;
	case CONVERT_ACCEPT:
		if (!accept_step(lp, v, c))
			return false;
		p->state = CONVERT_ASK;
	}
	return true;
}

bool replay_convert(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	for (; v->plan < m->end; v->plan++) {
		struct plan *c = &v->replay->plans[v->plan];

		if (!v->begun) {
			v->begun = true;
			v->convert = (struct convert_progress){.at = c->start};
		}
		while (v->convert.at < c->end && !c->refused)
			if (!advance(lp, v, c))
				return false;
		/* A unit that is shared from end to end has nothing left to accept. */
		if (!c->to_private && !c->refused)
			replay_mark_units(v->replay, c->start, c->end, UNIT_ACCEPTED);
		v->begun = false;
	}
	return true;
}
