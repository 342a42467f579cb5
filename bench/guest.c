/* SPDX-License-Identifier: MIT */
/* A guest that goes over pages one by one, and then stops. */
#include "bench/guest.h"

/* Return: false when the guest has to leave, and to try again. */
static bool use_page(struct lp *lp, const struct bench_guest *g)
{
	struct tdx_regs r = {
		.rax = TDG_MEM_PAGE_ACCEPT,
		.rcx = tdx_page_info(fn_to_addr(g->next), (unsigned int)g->level - PG_LEVEL_4K),
	};
	u64 word;

	if (g->read)
		return lp_guest_read(lp, fn_to_addr(g->next), &word, 1) != LP_ACCESS_EXIT;
	return lp_guest_poll(lp) != LP_ACCESS_EXIT && tdcall(lp, &r);
}

static void pages_run(struct lp *lp, void *guest)
{
	struct bench_guest *g = guest;

	for (; g->next < g->end; g->next += pages_per_level(g->level))
		if (!use_page(lp, g))
			return;
	g->call = vm_hypercall(VM_HC_VENDOR, VM_HC_STOP, 0, 0);
	tdcall(lp, &g->call);
}

static int run(struct machine *m, struct vm *vm, struct bench_guest *g)
{
	static const struct guest_ops ops = {.run = pages_run};
	struct lp *self = lp_current();
	int err;

	lp_set_current(m->lps[0]);
	err = vcpu_run(vm_vcpu(vm, 0), &ops, g);
	lp_set_current(self);
	return err;
}

int bench_guest_accept(struct bench_guest *g, struct machine *m, struct vm *vm, gfn_t gfn,
		       gfn_t end, enum pg_level level)
{
	g->next = gfn;
	g->end = end;
	g->level = level;
	g->read = false;
	return run(m, vm, g);
}

int bench_guest_read(struct bench_guest *g, struct machine *m, struct vm *vm, gfn_t gfn)
{
	g->next = gfn;
	g->end = gfn + 1;
	g->level = PG_LEVEL_4K;
	g->read = true;
	return run(m, vm, g);
}
