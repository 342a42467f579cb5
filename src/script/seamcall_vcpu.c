/* SPDX-License-Identifier: MIT */
/* Turns between the script and the processors, and what a guest does in its turn. */
#include "script/seamcall_vcpu.h"
#include "seam/seam.h"

/* ---- turns -----------------------------------------------------------------------------------*/

static bool has_script_turn(void *arg)
{
	const struct sc_cpu *cpu = arg;

	return sync_load_acquire(&cpu->turn) == SC_TURN_SCRIPT; /* pairs with pass_turn() */
}

static bool has_cpu_turn(void *arg)
{
	const struct sc_cpu *cpu = arg;

	return sync_load_acquire(&cpu->turn) == SC_TURN_CPU; /* pairs with pass_turn() */
}

static void pass_turn(struct sc_cpu *cpu, u32 to)
{
	sync_store_release(&cpu->turn, to); /* pairs with has_script_turn(), has_cpu_turn() */
	sync_wake_all(&cpu->wq);
}

/* The script's side: let the processor work until it passes the turn back. */
static void give_turn(struct sc_cpu *cpu)
{
	pass_turn(cpu, SC_TURN_CPU);
	sync_wait(&cpu->wq, has_script_turn, cpu);
}

/* The processor's side: the script goes on until it has something for us. */
static void yield_turn(struct sc_cpu *cpu)
{
	pass_turn(cpu, SC_TURN_SCRIPT);
	sync_wait(&cpu->wq, has_cpu_turn, cpu);
}

/* ---- inside ----------------------------------------------------------------------------------*/

static void finish(struct sc_cpu *cpu, enum sc_outcome outcome)
{
	cpu->action->outcome = outcome;
	cpu->action = NULL;
}

/* False: guest code must leave run() now, with the action not finished. */
static bool do_action(struct sc_cpu *cpu)
{
	struct sc_action *action = cpu->action;
	enum lp_access access = LP_ACCESS_OK;

	switch (action->kind) {
	case SC_ACT_TDCALL:
		if (!tdcall(cpu->lp, &cpu->vcpu->regs))
			return false;
		break;
	case SC_ACT_READ:
		access = lp_guest_read(cpu->lp, action->gpa, &action->value, 1);
		break;
	case SC_ACT_WRITE:
		access = lp_guest_write(cpu->lp, action->gpa, &action->value, 1);
		break;
	case SC_ACT_LEAVE:
		access = lp_guest_poll(cpu->lp);
		break;
	}
	if (access == LP_ACCESS_EXIT)
		return false;
	finish(cpu, access == LP_ACCESS_MC ? SC_OUT_MC : SC_OUT_DONE);
	return true;
}

/*
 * Called by VP.ENTER, and again when the module has looked at why the guest left: then the action
 * either ends with the #VE that is delivered now, or starts again.
 */
static void guest_run(struct lp *lp, void *guest)
{
	struct sc_cpu *cpu = guest;

	cpu->is_inside = true;
	if (lp->ve_pending) {
		lp->ve_pending = false;
		if (cpu->action)
			finish(cpu, SC_OUT_VE);
	}
	for (;;) {
		if (cpu->action && !do_action(cpu))
			return;
		yield_turn(cpu);
	}
}

static const struct guest_ops guest_ops = {.run = guest_run};

/* ---- the processor's thread ------------------------------------------------------------------*/

static bool was_vmcall(const struct sc_cpu *cpu)
{
	return cpu->action && cpu->action->kind == SC_ACT_TDCALL &&
	       (u32)cpu->regs.rax == TDX_EXIT_TDCALL;
}

static void processor(void *arg)
{
	struct sc_cpu *cpu = arg;

	lp_set_current(cpu->lp);
	sync_wait(&cpu->wq, has_cpu_turn, cpu);
	while (!cpu->stop) {
		seamcall(cpu->lp, &cpu->regs);
		cpu->is_inside = false;
		cpu->vcpu->awaits_answer = was_vmcall(cpu);
		if (cpu->action)
			finish(cpu, SC_OUT_EXIT);
		yield_turn(cpu);
	}
}

static int start_thread(struct sc_cpu *cpu)
{
	int err;

	if (cpu->has_thread)
		return 0;
	err = sync_thread_create(&cpu->thread, processor, cpu);
	cpu->has_thread = !err;
	return err;
}

void sc_cpu_init(struct sc_cpu *cpu, struct lp *lp)
{
	*cpu = (struct sc_cpu){.lp = lp};
	sync_waitq_init(&cpu->wq);
	lp->guest_ops = &guest_ops;
	lp->guest = cpu;
}

void sc_cpu_destroy(struct sc_cpu *cpu)
{
	if (cpu->is_inside)
		sc_cpu_leave(cpu);
	if (cpu->has_thread) {
		cpu->stop = true;
		pass_turn(cpu, SC_TURN_CPU);
		sync_thread_join(&cpu->thread);
	}
	sync_waitq_destroy(&cpu->wq);
}

int sc_cpu_enter(struct sc_cpu *cpu, struct sc_vcpu *vcpu, const struct tdx_regs *regs)
{
	int err = start_thread(cpu);

	if (err)
		return err;
	cpu->vcpu = vcpu;
	cpu->regs = *regs;
	give_turn(cpu);
	if (cpu->is_inside)
		vcpu->inside = cpu;
	return 0;
}

void sc_cpu_guest(struct sc_cpu *cpu, struct sc_action *action)
{
	action->outcome = SC_OUT_DONE;
	cpu->action = action;
	give_turn(cpu);
	if (!cpu->is_inside)
		cpu->vcpu->inside = NULL;
}

void sc_cpu_leave(struct sc_cpu *cpu)
{
	struct sc_action leave = {.kind = SC_ACT_LEAVE};

	lp_interrupt(cpu->lp, LP_INTR);
	sc_cpu_guest(cpu, &leave);
	lp_take_interrupts(cpu->lp);
}
