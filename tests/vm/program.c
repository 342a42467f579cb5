/* SPDX-License-Identifier: MIT */
#include "vm/program.h"

#include <string.h>

/* Return: the op is done; false: run() must return. */
static bool accept(struct lp *lp, gpa_t gpa, enum pg_level level, u64 *status)
{
	struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT,
			     .rcx = tdx_page_info(gpa, (unsigned int)level - PG_LEVEL_4K)};

	if (!tdcall(lp, &r))
		return false;
	*status = r.rax;
	return true;
}

static bool hypercall(struct program *p, struct lp *lp, u64 type, u64 number, const struct op *op,
		      u64 *result)
{
	if (p->called) {
		p->called = false;
		*result = p->call.r10;
		p->r11 = p->call.r11;
		return true;
	}
	p->called = true;
	p->call = vm_hypercall(type, number, op->gpa, op->value);
	tdcall(lp, &p->call);
	return false;
}

static bool memory(struct program *p, struct lp *lp, const struct op *op, u64 *result)
{
	enum lp_access a;

	*result = op->value;
	a = op->kind == OP_READ ? lp_guest_read(lp, op->gpa, result, 1)
				: lp_guest_write(lp, op->gpa, &op->value, 1);
	p->mces += a == LP_ACCESS_MC;
	return a != LP_ACCESS_EXIT;
}

static bool perform(struct program *p, struct lp *lp, const struct op *op, u64 *result)
{
	switch (op->kind) {
	case OP_ACCEPT:
		/* BUSY: another vCPU, or the host, is at the entry. */
		for (;;) {
			if (lp_guest_poll(lp) != LP_ACCESS_OK ||
			    !accept(lp, op->gpa, op->level, result))
				return false;
			if (tdx_status_class(*result) != TDX_OPERAND_BUSY)
				return true;
			sync_relax();
		}
	case OP_READ:
	case OP_WRITE:
		return memory(p, lp, op, result);
	case OP_DISCARD:
		return hypercall(p, lp, VM_HC_VENDOR, VM_HC_DISCARD, op, result);
	case OP_MAP_GPA:
		return hypercall(p, lp, 0, VM_HC_MAP_GPA, op, result);
	case OP_SIGNAL:
		sync_store_release(op->flag, op->value);
		return true;
	case OP_WAIT:
		while (sync_load_acquire(op->flag) != op->value) {
			if (lp_guest_poll(lp) != LP_ACCESS_OK)
				return false;
			sync_relax();
		}
		return true;
	case OP_STOP:
		p->called = false;
		return hypercall(p, lp, VM_HC_VENDOR, VM_HC_STOP, op, result);
	}
	return true;
}

/* A #VE: the guest has touched a page that it hasn't accepted. */
static bool handle_ve(struct program *p, struct lp *lp)
{
	u64 status;

	if (lp->ve_pending) {
		struct tdx_regs r = {.rax = TDG_VP_VEINFO_GET};

		lp->ve_pending = false;
		tdcall(lp, &r);
		p->ve_gpa = r.r9 & ~(PAGE_SIZE - 1);
		p->in_ve = true;
		p->ves++;
	}
	if (p->in_ve && !accept(lp, p->ve_gpa, PG_LEVEL_4K, &status))
		return false;
	p->in_ve = false;
	return true;
}

static void program_main(struct lp *lp, void *guest)
{
	struct program *p = guest;

	p->entries++;
	if (!handle_ve(p, lp))
		return;
	while (perform(p, lp, &p->ops[p->pc], &p->results[p->pc]))
		p->pc++;
}

const struct guest_ops program_ops = {.run = program_main};

int program_run(struct vm *vm, u32 i, const struct op *ops, struct program *p, u64 *results)
{
	memset(p, 0, sizeof(*p));
	p->ops = ops;
	p->results = results;
	return vcpu_run(vm_vcpu(vm, i), &program_ops, p);
}
