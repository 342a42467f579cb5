/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong on purpose: the n-th allocation, the n-th SEAMCALL, an interrupt at the n-th call, a
 * kick that comes as late as it can. Counted from the end of set-up to the end of the threads.
 */
#include "explore/world.h"
#include "septum/abi.h"
#include "tdx/seamcall.h"

/* More allocations than any execution makes: counts down without failing. */
#define NEVER BIT_ULL(62)

/* ---- calls -----------------------------------------------------------------------------------*/
static void count_call(struct world *w)
{
	if (!w->counting || ++w->out->calls != w->setup.injection.interrupt)
		return;
	for (u32 i = 0; i < w->m.nr_lps - 1; i++)
		lp_interrupt(w->m.lps[i], LP_INTR);
}

static struct world_caller *caller_of(struct world *w)
{
	return &w->caller[sched_running() % WORLD_MAX_CALLERS];
}

/*
 * BUSY is an answer that callers must live with, but not for the second time when vCPUs are held out. A
 * page that can't be written back is lost.
 */
static bool is_deadly(struct world *w, u32 leaf, u64 status)
{
	return leaf == TDH_PHYMEM_PAGE_WBINVD || caller_of(w)->busy_leaf == leaf ||
	       !(tdx_operand_is_busy(status) || tdx_is_interrupted(status));
}

/*
 * Who dies gives all its pages back when it is torn down. Only a teardown that fails itself leaves
 * pages with the module, and so does a pair that PAMT.REMOVE doesn't give back, which is warned of. Of
 * a call for nobody known, such as the promoter's of a page that it has had back, any TD may die.
 */
static void deadly(struct world *w, const struct tdx_regs *in)
{
	struct world_td *td = oracle_td_of_call(w, in);

	w->may_keep |= (in->rax & 0xFFFF) == TDH_PHYMEM_PAMT_REMOVE || (td && td->dying);
	for (u32 i = 0; i < w->program->nr_tds; i++)
		w->td[i].may_die |= !td || td == &w->td[i];
}

static bool answers_instead(struct world *w, struct tdx_regs *r)
{
	const struct explore_injection *i = &w->setup.injection;

	if (!w->counting || ++w->out->seamcalls != i->seamcall)
		return false;
	w->injected = true;
	if (is_deadly(w, (u32)(r->rax & 0xFFFF), i->seamcall_status))
		deadly(w, r);
	*r = (struct tdx_regs){.rax = i->seamcall_status};
	return true;
}

u64 world_seamcall(struct lp *lp, struct tdx_regs *r)
{
	struct world *w = oracle_world_of(lp->host);
	const struct tdx_regs in = *r;
	const char *name = tdh_leaf_name((enum tdh_leaf)(in.rax & 0xFFFF));
	struct sched *s;
	u64 status;

	s = oracle_pause();
	oracle_call_begin(w, lp, &in);
	oracle_resume(s);
	count_call(w);
	if (answers_instead(w, r))
		status = r->rax;
	else
		status = seamcall(lp, r);
	caller_of(w)->busy_leaf = tdx_operand_is_busy(status) ? (u32)(in.rax & 0xFFFF) : 0;
	s = oracle_pause();
	if ((in.rax & 0xFFFF) == TDH_VP_ENTER)
		oracle_enter_end(w, lp);
	oracle_seamcall(w, &in, r);
	oracle_resume(s);
	sync_mark(name ? name : "SEAMCALL", status);
	return status;
}

bool world_tdcall(struct world *w, struct lp *lp, struct tdx_regs *r)
{
	count_call(w);
	return tdcall(lp, r);
}

/* ---- allocations -----------------------------------------------------------------------------*/
void inject_begin(struct world *w)
{
	u64 n = w->setup.injection.fail_alloc;

	if (w->setup.listener)
		trace_listen(&w->m.host->tracer, w->setup.listener);
	w->counting = true;
	if (n)
		host_fail_alloc_at(w->m.host, n == EXPLORE_COUNT_ALLOCATIONS ? NEVER : n);
	/* Which thread meets it isn't known before. */
	w->injected = n && n != EXPLORE_COUNT_ALLOCATIONS;
}

void inject_end(struct world *w)
{
#ifdef SEPTUM_CHECK
	u64 n = w->setup.injection.fail_alloc;

	/* Of those before the one that failed, and that one; nobody counts after it. */
	w->out->allocations = (n == EXPLORE_COUNT_ALLOCATIONS ? NEVER : n) -
			      sync_load_quiet(&w->m.host->fail_alloc_at);
#endif
	host_fail_alloc_at(w->m.host, 0);
	w->counting = false;
}

/* ---- kicks -----------------------------------------------------------------------------------*/
void inject_kick(struct world *w, u32 number)
{
	if (!w->counting || ++w->out->kicks != w->setup.injection.delay_kick)
		return;
	w->delaying = true;
	w->delayed = number;
}
