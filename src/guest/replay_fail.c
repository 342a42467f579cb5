/* SPDX-License-Identifier: MIT */
/*
 * Memory that fails. The owner of a meeting asks for it, and a thread of the host makes it happen: a
 * vCPU that is inside the guest can't, since everybody has to leave the guest for it.
 *
 *	owner: what, asked++ ---------> polls inside the guest ---------> books what is lost
 *	thread:            wakes, makes it fail, what is lost, done++
 *
 * Pairs: the owner's increment of asked with the thread's acquire, the thread's of done with the
 * owner's. The owner is the only one who asks, and waits for each answer.
 */
#include <inttypes.h>

#include "guest/replay_impl.h"

/* ---- the thread ------------------------------------------------------------------------------*/
static bool has_work(void *arg)
{
	const struct replay *r = arg;

	return sync_load_acquire(&r->fails_stop) ||
	       sync_load_acquire(&r->fails_asked) != sync_load(&r->fails_done);
}

void replay_inject_failures(struct replay *r)
{
	for (;;) {
		sync_wait(&r->fail_wake, has_work, r);
		if (sync_load_acquire(&r->fails_stop))
			return;
		r->fail_loss = r->cfg.fail(r->cfg.fail_ctx, r->fail);
		sync_fetch_add(&r->fails_done, 1);
	}
}

void replay_stop_failures(struct replay *r)
{
	sync_xchg(&r->fails_stop, 1);
	sync_wake_all_after_rmw(&r->fail_wake);
}

/* ---- the owner -------------------------------------------------------------------------------*/
static void book_loss(struct replay_vcpu *v)
{
	struct replay *r = v->replay;
	const struct replay_loss *loss = &r->fail_loss;

	if (!loss->nr)
		return;
	count(&v->stats.failures);
	for (gfn_t gfn = loss->gfn; gfn < loss->gfn + loss->nr; gfn++) {
		count(&v->stats.pages_failed);
		if (!is_retired(r, gfn))
			sync_store(&r->health[gfn], (u8)HEALTH_FAILED);
	}
}

bool replay_fail(struct lp *lp, struct replay_vcpu *v, const struct meeting *m)
{
	struct replay *r = v->replay;

	for (; v->plan < m->fail_end; v->plan++) {
		if (!v->begun) {
			v->begun = true;
			r->fail = r->plans[v->plan].failure;
			sync_fetch_add(&r->fails_asked, 1);
			sync_wake_all_after_rmw(&r->fail_wake);
		}
		while (sync_load_acquire(&r->fails_done) != sync_load(&r->fails_asked))
			if (!replay_wait(lp))
				return false;
		v->begun = false;
		book_loss(v);
	}
	return true;
}

/* ---- the guest's books -----------------------------------------------------------------------*/
void replay_fail_given_back(struct replay *r, gfn_t start, gfn_t end)
{
	for (gfn_t gfn = start; r->health && gfn < end; gfn++)
		if (page_health(r, gfn) == HEALTH_FAILED)
			sync_store(&r->health[gfn], (u8)HEALTH_UNSURE);
}

void replay_fail_check_use(struct replay_vcpu *v, const struct trace_access *a)
{
	count(&v->stats.errors);
	replay_report(v->replay,
		      "event %u: vCPU %u %s gfn 0x%" PRIx64
		      ", whose memory has failed, without a machine check",
		      a->number, v->index, a->write ? "writes" : "reads", trace_access_gfn(a));
}

bool replay_machine_check(struct replay *r, u32 i, gpa_t gpa)
{
	gfn_t gfn = addr_to_fn(gpa & ~BIT_ULL(r->cfg.shared_bit));
	struct replay_vcpu *v = &r->vcpu[i];
	u8 health;

	if (!r->health || gfn >= r->nr_pages)
		return false;
	/* Others may get theirs at the same time: no news. */
	health = sync_xchg(&r->health[gfn], (u8)HEALTH_RETIRED);
	if (health != HEALTH_RETIRED)
		count(&v->stats.machine_checks);
	if (health == HEALTH_GOOD) {
		count(&v->stats.errors);
		replay_report(r,
			      "vCPU %u: machine check at gfn 0x%" PRIx64
			      ", whose memory has not failed",
			      i, gfn);
	}
	return true;
}
