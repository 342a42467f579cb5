/* SPDX-License-Identifier: MIT */
/*
 * What runs inside a TD: the operations of a vCPU, one after another, as a guest does them that knows
 * which of its memory is shared and what it has accepted. It leaves run() whenever an access or a
 * TDCALL says so, and goes on with the same operation at the next; functions that may leave return
 * false to ask for it.
 */
#include <errno.h>
#include <inttypes.h>

#include "explore/world.h"
#include "septum/abi.h"
#include "vm/internal.h"

static bool is_shared(const struct world_td *td, gfn_t gfn)
{
	/* Pairs with the release in world_update_view(). */
	return sync_load_acquire(&td->view[oracle_run_at(td, gfn)]);
}

/* ---- ACCEPT ----------------------------------------------------------------------------------*/

/* One ACCEPT until it says something. Return: @status is there */
static bool accept(struct world_guest *g, struct lp *lp, gfn_t gfn, enum pg_level level,
		   u64 *status)
{
	do {
		struct tdx_regs r = {
			.rax = TDG_MEM_PAGE_ACCEPT,
			.rcx = tdx_page_info(fn_to_addr(gfn), (unsigned int)level - PG_LEVEL_4K),
		};
		bool completed;

		/* A kick gets through between two. */
		if (lp_guest_poll(lp) != LP_ACCESS_OK)
			return false;
		oracle_accept_begin(g->td, gfn, level);
		completed = world_tdcall(g->actor->w, lp, &r);
		oracle_accept_end(g->actor, g->td, gfn, level, completed, r.rax);
		if (!completed)
			return false;
		*status = r.rax;
		/* The host, or another vCPU, is at the entry. */
		if (tdx_status_class(*status) == TDX_OPERAND_BUSY)
			sync_relax();
	} while (tdx_status_class(*status) == TDX_OPERAND_BUSY);
	return true;
}

static void refused(struct world_guest *g, const char *what, u64 status)
{
	const char *name = tdx_status_name(status);

	oracle_fail(g->actor->w, ORACLE_REFUSED, "TD %s: vCPU %u: %s: %s (0x%016" PRIx64 ")",
		    g->td->program->name, g->vcpu, what, name ? name : "unknown status", status);
}

static bool accept_page(struct world_guest *g, struct lp *lp, gfn_t gfn)
{
	u64 status;

	/* It may have changed sides since, or have failed, and then there is nothing to accept. */
	if (g->lost || is_shared(g->td, gfn))
		return true;
	if (!accept(g, lp, gfn, PG_LEVEL_4K, &status))
		return false;
	if (status != TDX_SUCCESS && tdx_status_class(status) != TDX_PAGE_ALREADY_ACCEPTED)
		refused(g, "ACCEPT at 4K", status);
	return true;
}

/* Instead of a 2M block its pages, as far as anybody uses them. */
static bool accept_small(struct world_guest *g, struct lp *lp, const struct program_op *op)
{
	u32 first, end;

	oracle_runs(g->td, op->gpa, level_size(op->level), &first, &end);
	if (g->next_run < first)
		g->next_run = first;
	for (; g->next_run < end; g->next_run++)
		if (g->td->run[g->next_run].named &&
		    !accept_page(g, lp, g->td->run[g->next_run].gfn))
			return false;
	return true;
}

static bool has_shared(const struct world_td *td, const struct program_op *op)
{
	u32 first, end;

	oracle_runs(td, op->gpa, level_size(op->level), &first, &end);
	for (u32 i = first; i < end; i++)
		if (is_shared(td, td->run[i].gfn))
			return true;
	return false;
}

static bool perform_accept(struct world_guest *g, struct lp *lp, const struct program_op *op)
{
	gfn_t gfn = addr_to_fn(op->gpa);
	u64 status;

	if (op->level == PG_LEVEL_4K)
		return accept_page(g, lp, gfn);
	if (!g->small && !g->lost && !has_shared(g->td, op)) {
		if (!accept(g, lp, gfn, op->level, &status))
			return false;
		if (status == TDX_SUCCESS || tdx_status_class(status) == TDX_PAGE_ALREADY_ACCEPTED)
			return true;
		if (tdx_status_class(status) != TDX_PAGE_SIZE_MISMATCH)
			refused(g, "ACCEPT at 2M", status);
	}
	g->small = true;
	return accept_small(g, lp, op);
}

/* ---- accesses --------------------------------------------------------------------------------*/
static bool perform_access(struct world_guest *g, struct lp *lp, const struct program_op *op)
{
	gpa_t gpa = op->gpa;
	u64 word = world_value(op);
	bool write = op->kind == OP_WRITE;
	enum lp_access access;

	if (g->touched || g->lost)
		return true;
	if (is_shared(g->td, addr_to_fn(gpa)))
		gpa |= BIT_ULL(g->td->shared_bit);
	access = write ? lp_guest_write(lp, gpa, &word, 1) : lp_guest_read(lp, gpa, &word, 1);
	if (access == LP_ACCESS_EXIT)
		return false;
	if (access == LP_ACCESS_MC)
		oracle_machine_check(g->actor, g->td, gpa);
	else
		oracle_access(g->actor, g->td, lp, gpa, write, word);
	return true;
}

/* A #VE: the page is pending. Who touches is done with that; others accept it and try again. */
static bool handle_ve(struct world_guest *g, struct lp *lp)
{
	if (lp->ve_pending) {
		struct tdx_regs r = {.rax = TDG_VP_VEINFO_GET};

		lp->ve_pending = false;
		world_tdcall(g->actor->w, lp, &r);
		g->ve_gpa = r.r9;
		g->in_ve = g->ops[g->pc].kind != OP_TOUCH;
		g->touched = !g->in_ve;
	}
	if (g->in_ve && !accept_page(g, lp, addr_to_fn(g->ve_gpa)))
		return false;
	g->in_ve = false;
	return true;
}

/* ---- hypercalls ------------------------------------------------------------------------------*/

/* Return: the answer is in g->call */
static bool hypercall(struct world_guest *g, struct lp *lp, u64 vendor, u64 number, u64 r12,
		      u64 r13)
{
	if (g->called) {
		g->called = false;
		return true;
	}
	g->called = true;
	g->call = vm_hypercall(vendor, number, r12, r13);
	world_tdcall(g->actor->w, lp, &g->call);
	return false;
}

/* The host lacks memory, or somebody holds a page: nothing else is a reason. */
static bool may_retry(const struct world_guest *g, const struct program_op *op)
{
	u32 first, end;

	oracle_runs(g->td, op->gpa, op->size, &first, &end);
	for (u32 i = first; i < end; i++)
		if (oracle_was_pinned(&g->td->run[i], g->actor->began))
			return true;
	return g->actor->w->injected;
}

static bool perform_map_gpa(struct world_guest *g, struct lp *lp, const struct program_op *op)
{
	u64 shared = op->kind == OP_SHARE ? BIT_ULL(g->td->shared_bit) : 0;
	gpa_t end = op->gpa + op->size;

	for (;;) {
		if (!hypercall(g, lp, 0, VM_HC_MAP_GPA, g->from | shared, end - g->from))
			return false;
		if (!g->call.r10)
			break;
		if (g->call.r10 != VM_HC_RETRY || !may_retry(g, op))
			oracle_fail(g->actor->w, ORACLE_REFUSED,
				    "TD %s: MapGPA of line %u answered 0x%" PRIx64,
				    g->td->program->name, op->line, g->call.r10);
		g->from = g->call.r11 & ~BIT_ULL(g->td->shared_bit);
		sync_relax();
	}
	world_update_view(g->td, op->gpa, op->size);
	return true;
}

static bool perform_discard(struct world_guest *g, struct lp *lp, const struct program_op *op)
{
	do {
		if (!hypercall(g, lp, VM_HC_VENDOR, VM_HC_DISCARD, op->gpa, op->size))
			return false;
	} while (g->call.r10 && may_retry(g, op));
	if (g->call.r10)
		oracle_fail(g->actor->w, ORACLE_REFUSED,
			    "TD %s: line %u: the host answered %" PRId64, g->td->program->name,
			    op->line, (s64)g->call.r10);
	return true;
}

/* ---- the operations --------------------------------------------------------------------------*/
static bool perform(struct world_guest *g, struct lp *lp)
{
	const struct program_op *op = &g->ops[g->pc];

	switch (op->kind) {
	case OP_ACCEPT:
		return perform_accept(g, lp, op);
	case OP_SHARE:
	case OP_UNSHARE:
		return perform_map_gpa(g, lp, op);
	case OP_DISCARD:
		return perform_discard(g, lp, op);
	default:
		return perform_access(g, lp, op);
	}
}

static void next(struct world_guest *g)
{
	g->pc++;
	g->begun = false;
}

static void begin(struct world_guest *g)
{
	if (g->begun)
		return;
	g->begun = true;
	g->small = false;
	g->touched = false;
	g->lost = false;
	g->next_run = 0;
	g->from = g->ops[g->pc].gpa;
	oracle_begin(g->actor, &g->ops[g->pc]);
}

static void run_guest(struct lp *lp, void *guest)
{
	struct world_guest *g = guest;

	if (!handle_ve(g, lp))
		return;
	while (g->pc < g->nr_ops && g->ops[g->pc].kind != OP_EXIT) {
		begin(g);
		if (!perform(g, lp))
			return;
		oracle_end(g->actor, 0);
		next(g);
	}
	if (g->pc < g->nr_ops)
		begin(g);
	g->called = false;
	hypercall(g, lp, VM_HC_VENDOR, VM_HC_STOP, 0, 0);
}

static const struct guest_ops guest_ops = {.run = run_guest};

/*
 * The host refused an access to the other side than the page is on: somebody converts it, and the
 * guest is about to hear. To run the vCPU until then would be taken for zero-stepping by the module,
 * which lets it in no more before there is memory where it wanted some.
 */
static void wait_for_sides(struct world_guest *g)
{
	gpa_t gpa = vcpu_fault_gpa(vm_vcpu(g->td->vm, g->vcpu));
	bool shared = gpa >> g->td->shared_bit & 1;
	gfn_t gfn = addr_to_fn(gpa & ~BIT_ULL(g->td->shared_bit));

	while (is_shared(g->td, gfn) == shared &&
	       gmem_is_private(vm_file(g->td->vm), gfn) == shared)
		sync_relax();
}

void world_guest_ops(struct world_actor *a, u32 td, u32 vcpu, const struct program_op *ops, u32 nr)
{
	struct world_guest *g = &a->guest;
	bool again;
	int err;

	*g = (struct world_guest){
		.actor = a, .td = &a->w->td[td], .vcpu = vcpu, .ops = ops, .nr_ops = nr};
	if (!g->td->vm || g->td->dead)
		return;
	do {
		err = vcpu_run(vm_vcpu(g->td->vm, vcpu), &guest_ops, g);
		if (!err) {
			g->called = false;
			if (g->pc < nr) {
				oracle_end(a, 0);
				next(g);
			}
		}
		again = oracle_run_ended(a, g, err);
		if (again && err == -EFAULT)
			wait_for_sides(g);
		else if (again && err)
			sync_relax(); /* the host couldn't, for now: others have to go on first */
	} while (again);
}
