/* SPDX-License-Identifier: MIT */
/*
 * How the guest accepts memory. Of each unit it knows one state:
 *
 *	UNACCEPTED --claim (compare-exchange)--> ACCEPTING --all pages accepted--> ACCEPTED
 *	     ^                                                                        |
 *	     '--------------------------- discarded, while all meet ------------------'
 *
 * Pages that are shared are left out: which they are changes only while all meet, and what becomes
 * private is accepted then and there. So are those that a machine check has taken out of use.
 *
 * The vCPU that claimed a unit accepts it, through any number of exits; others wait inside the guest.
 */
#include <inttypes.h>
#include <string.h>

#include "guest/replay_impl.h"
#include "seam/seam.h"

static bool has_shared(const struct replay *r, gfn_t gfn, u64 nr)
{
	return unlikely(r->shared) && memchr(&r->shared[gfn], 1, nr);
}

static bool has_retired(const struct replay *r, gfn_t gfn, u64 nr)
{
	gfn_t end = gfn + nr;

	while (unlikely(r->health) && gfn < end && !is_retired(r, gfn))
		gfn++;
	return unlikely(r->health) && gfn < end;
}

static bool is_2m_next(const struct replay *r, const struct accept_work *w)
{
	return r->cfg.accept_level == PG_LEVEL_2M && w->gfn >= w->small_end &&
	       IS_ALIGNED(w->gfn, pages_per_level(PG_LEVEL_2M)) &&
	       w->end - w->gfn >= pages_per_level(PG_LEVEL_2M) &&
	       !has_shared(r, w->gfn, pages_per_level(PG_LEVEL_2M)) &&
	       !has_retired(r, w->gfn, pages_per_level(PG_LEVEL_2M));
}

/* What an ACCEPT of @level at w->gfn came to. */
static void take_answer(struct replay_vcpu *v, enum pg_level level, u64 status)
{
	struct accept_work *w = &v->accept;

	switch (tdx_status_class(status)) {
	case TDX_SUCCESS:
		count(level == PG_LEVEL_2M ? &v->stats.accepts_2m : &v->stats.accepts_4k);
		break;
	case TDX_PAGE_ALREADY_ACCEPTED:
		break;
	case TDX_OPERAND_BUSY:
		/* The host is at the entry: once more. */
		sync_relax();
		return;
	case TDX_PAGE_SIZE_MISMATCH:
		if (level == PG_LEVEL_2M) {
			count(&v->stats.size_mismatches);
			w->small_end = w->gfn + pages_per_level(PG_LEVEL_2M);
			return;
		}
		/* fall through */
	default:
		/* Memory that can't be had: go on, and let the access to it show. */
		count(&v->stats.errors);
		replay_report(v->replay,
			      "vCPU %u: TDG.MEM.PAGE.ACCEPT of gfn 0x%" PRIx64 ": %s (0x%016" PRIx64
			      ")",
			      v->index, w->gfn,
			      tdx_status_name(status) ? tdx_status_name(status) : "unknown status",
			      status);
	}
	w->gfn += pages_per_level(level);
}

static bool accept_one(struct lp *lp, struct replay_vcpu *v)
{
	struct accept_work *w = &v->accept;
	enum pg_level level = is_2m_next(v->replay, w) ? PG_LEVEL_2M : PG_LEVEL_4K;
	struct tdx_regs regs = {
		.rax = TDG_MEM_PAGE_ACCEPT,
		.rcx = tdx_page_info(fn_to_addr(w->gfn), level == PG_LEVEL_2M),
	};
	u64 start = host_now_ns();

	if (!tdcall(lp, &regs))
		return false;
	sync_store_quiet(&v->stats.accept_ns, v->stats.accept_ns + host_now_ns() - start);
	take_answer(v, level, regs.rax);
	return true;
}

bool replay_accept_work(struct lp *lp, struct replay_vcpu *v)
{
	struct accept_work *w = &v->accept;

	if (likely(w->gfn == w->end))
		return true;
	while (w->gfn < w->end) {
		if (is_shared(v->replay, w->gfn) || is_retired(v->replay, w->gfn)) {
			w->gfn++;
			continue;
		}
		/* A kick gets through between two ACCEPTs, and while one is answered by BUSY. */
		if (lp_guest_poll(lp) == LP_ACCESS_EXIT || !accept_one(lp, v))
			return false;
	}
	/* Pairs with the acquires in make_accepted() and replay_accept_unit(): pages first. */
	if (w->unit != NO_UNIT)
		sync_store_release(&v->replay->unit[w->unit], UNIT_ACCEPTED);
	return true;
}

bool replay_accept_unit(struct lp *lp, struct replay_vcpu *v, u64 unit)
{
	struct replay *r = v->replay;

	for (;;) {
		/* Pairs with the release in replay_accept_work(). */
		u8 state = sync_load_acquire(&r->unit[unit]);

		if (state == UNIT_ACCEPTED)
			return true;
		/* One of those who see it unaccepted wins. */
		if (state == UNIT_UNACCEPTED &&
		    sync_cmpxchg(&r->unit[unit], &state, (u8)UNIT_ACCEPTING)) {
			v->accept = (struct accept_work){
				.gfn = unit_start(r, unit),
				.end = min_u64(unit_start(r, unit + 1), r->nr_pages),
				.unit = unit,
			};
			return replay_accept_work(lp, v);
		}
		if (!replay_wait(lp))
			return false;
	}
}

bool replay_take_ve(struct lp *lp, struct replay_vcpu *v)
{
	struct tdx_regs regs = {.rax = TDG_VP_VEINFO_GET};

	if (likely(!lp->ve_pending))
		return true;
	if (!tdcall(lp, &regs))
		return false;
	lp->ve_pending = false;
	if (tdx_status_class(regs.rax) != TDX_SUCCESS ||
	    addr_to_fn(regs.r9) >= v->replay->nr_pages) {
		count(&v->stats.errors);
		replay_report(v->replay,
			      "vCPU %u: #VE about GPA 0x%" PRIx64 " outside memory (0x%016" PRIx64
			      ")",
			      v->index, regs.r9, regs.rax);
		return true;
	}
	v->ve_count = v->ve_event == v->done ? v->ve_count + 1 : 1;
	v->ve_event = v->done;
	v->ve_unit = addr_to_fn(regs.r9) >> v->replay->unit_shift;
	v->has_ve = true;
	return true;
}

/* Accepting doesn't help: counts the access as failed and leaves it out. */
static void give_up_access(struct replay_vcpu *v)
{
	count(&v->stats.errors);
	replay_report(v->replay,
		      "event %u: vCPU %u: gfn 0x%" PRIx64 " is accepted and stays pending",
		      v->events[v->done].number, v->index, trace_access_gfn(&v->events[v->done]));
	v->ve_count = 0;
	sync_store(&v->done, v->done + 1);
}

bool replay_accept_ve(struct lp *lp, struct replay_vcpu *v)
{
	if (!v->has_ve)
		return true;
	if (!replay_accept_unit(lp, v, v->ve_unit))
		return false;
	v->has_ve = false;
	if (v->ve_count > REPLAY_MAX_VES)
		give_up_access(v);
	return true;
}

bool replay_accept_eagerly(struct lp *lp, struct replay_vcpu *v)
{
	struct replay *r = v->replay;

	if (r->cfg.accept != ACCEPT_EAGER)
		return true;
	for (; v->eager_unit < v->eager_end; v->eager_unit++)
		if (!replay_accept_unit(lp, v, v->eager_unit))
			return false;
	if (!v->eager_counted) {
		v->eager_counted = true;
		sync_fetch_add(&r->eager_done, 1);
	}
	/* Pairs with the increment: what others accepted is accepted. */
	while (v->nr_events && sync_load_acquire(&r->eager_done) < r->cfg.nr_vcpus)
		if (!replay_wait(lp))
			return false;
	return true;
}
