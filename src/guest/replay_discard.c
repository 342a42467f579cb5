/* SPDX-License-Identifier: MIT */
/*
 * Discards: the owner of a meeting gives memory back to the host, all ranges of the meeting first,
 * and then accepts it again, so that it comes back from other frames.
 */
#include <inttypes.h>

#include "guest/replay_impl.h"
#include "vm/vm.h"

static void take_answer(struct replay_vcpu *v, struct plan *d)
{
	struct replay *r = v->replay;

	if (!v->call.r10) {
		count(&v->stats.discards);
		replay_forget(r, d->start, d->end);
		replay_fail_given_back(r, d->start, d->end);
		replay_mark_units(r, d->start, d->end, UNIT_UNACCEPTED);
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

bool replay_give_back(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	for (; v->plan < m->discard_end; v->plan++) {
		struct plan *d = &v->replay->plans[v->plan];

		if (!v->begun) {
			v->begun = true;
			if (!replay_vmcall(lp, v, VM_HC_VENDOR, VM_HC_DISCARD, fn_to_addr(d->start),
					   fn_to_addr(d->end - d->start)))
				return false;
		}
		v->begun = false;
		take_answer(v, d);
	}
	return true;
}

bool replay_take_back(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	for (; v->plan < m->discard_end; v->plan++) {
		const struct plan *d = &v->replay->plans[v->plan];

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
		replay_mark_units(v->replay, d->start, d->end, UNIT_ACCEPTED);
	}
	return true;
}
