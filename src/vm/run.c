/* SPDX-License-Identifier: MIT */
/* The run loop of a vCPU: in, out, why; and making it leave. */
#include <errno.h>
#include <stdio.h>

#include "vm/internal.h"

/* R10 of a hypercall and of its answer, as the guest-host interface has them. */
#define HC_STANDARD 0
#define HC_SUCCESS 0

/* Beside those of the ABI header: an NMI, which the module reports as itself. */
#define EXIT_REASON_NMI 0

/* Checking builds are here to see it sleep, too. */
#ifdef SEPTUM_CHECK
#define KICK_SPINS 1
#else
#define KICK_SPINS 64
#endif

/* How vcpu_run() goes on after an exit; negative: -errno for its caller. */
enum { RUN_ON = 0, RUN_STOP = 1 };

/* ---- kicks -----------------------------------------------------------------------------------*/
static bool is_inside(u32 entries)
{
	return entries & 1;
}

/* Interrupts the vCPU if it is inside. Return: its count; it is outside, or has been, once that changes. */
static u32 kick(struct vcpu *vcpu)
{
	/* A full barrier that reads; pairs with the count in vcpu_enter(). */
	u32 entries = sync_fetch_add(&vcpu->entries, 0);

	if (is_inside(entries)) {
		sync_mark("kick", vcpu->index);
		lp_interrupt(vcpu->lp, LP_INTR);
		sync_mark("kicked", vcpu->index);
	}
	return entries;
}

void vcpu_kick(struct vcpu *vcpu)
{
	sync_store(&vcpu->event, 1);
	kick(vcpu);
}

struct leaving {
	struct vcpu *vcpu;
	u32 entries;
};

static bool has_left(void *arg)
{
	const struct leaving *l = arg;

	/* Pairs with the count on the way out in vcpu_enter(): its last access came before. */
	return sync_load_acquire(&l->vcpu->entries) != l->entries;
}

static void wait_until_left(struct vcpu *vcpu, u32 entries)
{
	struct leaving l = {vcpu, entries};

	if (!is_inside(entries))
		return;
	/* It leaves at its next access: soon, if it has a processor. */
	for (u32 i = 0; i < KICK_SPINS; i++) {
		if (has_left(&l))
			return;
		sync_relax();
	}
	sync_wait(&vcpu->left, has_left, &l);
}

void vm_kick_and_wait(struct vm *vm)
{
	u32 entries[VM_MAX_VCPUS];

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		entries[i] = kick(&vm->vcpus[i]);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		wait_until_left(&vm->vcpus[i], entries[i]);
}

/* ---- in --------------------------------------------------------------------------------------*/
static inline void bump(u64 *counter)
{
	sync_store_quiet(counter, sync_load_quiet(counter) + 1); /* one writer */
}

/* What VP.ENTER runs: the caller's guest code, with the time outside it taken. */
static void run_guest_code(struct lp *lp, void *guest)
{
	struct vcpu *vcpu = guest;

	vcpu->outside_ticks += host_ticks() - vcpu->outside_since;
	vcpu->ops->run(lp, vcpu->guest);
	vcpu->outside_since = host_ticks();
}

static const struct guest_ops timed_guest_ops = {.run = run_guest_code};

/* Return: the status of VP.ENTER; OPERAND_BUSY when the vCPU may not enter now. */
static u64 vcpu_enter(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool looked = bug_planted(&vm->host->bugs, BUG_HOLDOFF_CHECKED_FIRST);
	bool held_off = looked && td_entry_held_off(vm->td);
	u64 status = TDX_OPERAND_BUSY;

	/*
	 * "In guest", by a full barrier before we look. Pairs with the exchange in
	 * td_call_no_vcpus(), with TRACK and with vm_bugged(), all of which look at entries after.
	 */
	sync_fetch_add(&vcpu->entries, 1);
	if (bug_planted(&vm->host->bugs, BUG_LOST_KICK))
		lp_take_interrupts(vcpu->lp);
	if (!looked)
		held_off = td_entry_held_off(vm->td);
	if (likely(!held_off && !vm_is_dead(vm)))
		status = td_vcpu_enter(vcpu->td_vcpu, &vcpu->regs);
	/* Out: pairs with the acquire in has_left(). */
	sync_fetch_add(&vcpu->entries, 1);
	if (!bug_planted(&vm->host->bugs, BUG_WAKE_FORGOTTEN))
		sync_wake_all_after_rmw(&vcpu->left);
	return status;
}

/* ---- out -------------------------------------------------------------------------------------*/
static void add(u64 *counter, u64 n)
{
	sync_store_quiet(counter, sync_load_quiet(counter) + n); /* one writer */
}

/* MapGPA. Return: the answer. */
static struct tdx_regs map_gpa(struct vcpu *vcpu, gpa_t gpa, u64 size)
{
	struct vm_stats *stats = &vcpu->stats;
	u64 done;
	int err = vm_convert(vcpu->vm, gpa, size, &done);

	bump(&stats->exits_map_gpa);
	if (err == -ENOMEM || err == -EAGAIN)
		return (struct tdx_regs){.r10 = VM_HC_RETRY, .r11 = gpa + done};
	if (err)
		return (struct tdx_regs){.r10 = VM_HC_INVALID_OPERAND};
	if (gpa >> vcpu->vm->shared_bit & 1) {
		bump(&stats->conversions_to_shared);
		add(&stats->pages_to_shared, addr_to_fn(size));
	} else {
		bump(&stats->conversions_to_private);
		add(&stats->pages_to_private, addr_to_fn(size));
	}
	return (struct tdx_regs){.r10 = HC_SUCCESS};
}

/* The guest of @vcpu is done; with the last one the run is. */
static int stop(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	vcpu->stopped = true;
	if (sync_fetch_add(&vm->nr_stopped, 1) + 1 == vm->nr_vcpus)
		vm_promote_finish(vm);
	return RUN_STOP;
}

static int handle_hypercall(struct vcpu *vcpu)
{
	struct tdx_regs *r = &vcpu->regs;
	struct tdx_regs answer = {.r10 = VM_HC_INVALID_OPERAND};
	int ret = RUN_ON;

	bump(&vcpu->stats.exits_tdcall);
	if (r->r10 == VM_HC_VENDOR && r->r11 == VM_HC_STOP) {
		answer.r10 = HC_SUCCESS;
		ret = stop(vcpu);
	} else if (r->r10 == VM_HC_VENDOR && r->r11 == VM_HC_DISCARD) {
		answer.r10 = (u64)(s64)vm_discard(vcpu->vm, r->r12, r->r13);
	} else if (r->r10 == HC_STANDARD && r->r11 == VM_HC_MAP_GPA) {
		answer = map_gpa(vcpu, r->r12, r->r13);
	}
	*r = answer;
	return ret;
}

static void handle_lost(struct vcpu *vcpu, u64 status)
{
	char why[VM_WHY_MAX];
	const char *name = tdx_status_name(status);

	snprintf(why, sizeof(why), "TDH.VP.ENTER of vCPU %u answered %s (0x%016llx)", vcpu->index,
		 name ? name : "an unknown status", (unsigned long long)status);
	vm_bugged(vcpu->vm, why);
}

static int handle_exit(struct vcpu *vcpu, u64 status)
{
	int ret;

	bump(&vcpu->stats.exits_total);
	/* Before the exit is handled: what it adds is tried when the guest has run again. */
	if (unlikely(vcpu->vm->promoter.policy))
		vm_promote_at_exit(vcpu->vm);
	switch ((u32)status) {
	case TDX_EXIT_EPT_VIOLATION:
		ret = vm_fault(vcpu);
		vcpu->regs = (struct tdx_regs){0};
		return ret;
	case TDX_EXIT_TDCALL:
		return handle_hypercall(vcpu);
	case TDX_EXIT_EXTERNAL_INTERRUPT:
	case EXIT_REASON_NMI:
		bump(&vcpu->stats.exits_interrupt);
		lp_take_interrupts(vcpu->lp);
		vcpu->regs = (struct tdx_regs){0};
		return RUN_ON;
	default:
		handle_lost(vcpu, status);
		return -EIO;
	}
}

/* VP.ENTER said no, and not because of the guest. */
static int handle_refused(struct vcpu *vcpu, u64 status, const struct tdx_regs *answer)
{
	u64 class = tdx_status_class(status);

	if (class != TDX_OPERAND_BUSY) {
		handle_lost(vcpu, status);
		return -EIO;
	}
	/* Held off, or the module is busy: what the guest waits for is still to be said. */
	vcpu->regs = *answer;
	sync_relax();
	return RUN_ON;
}

static int run_once(struct vcpu *vcpu)
{
	struct tdx_regs answer = vcpu->regs;
	u64 status;

	/* Before "in guest": what comes later must make the guest leave. */
	lp_take_interrupts(vcpu->lp);
	sync_store(&vcpu->event, 0);
	if (vm_is_dead(vcpu->vm))
		return -EIO;
	status = vcpu_enter(vcpu);
	if (unlikely(tdx_status_class(status) != TDX_SUCCESS))
		return handle_refused(vcpu, status, &answer);
	return handle_exit(vcpu, status);
}

/* The run took @ns and @ticks, which is what makes its ticks outside guest code a time. */
static void account_outside(struct vcpu *vcpu, u64 ns, u64 ticks)
{
	u64 *outside = &vcpu->stats.outside_ns;
	double share = ticks ? (double)vcpu->outside_ticks / (double)ticks : 0;

	/* Ticks of two processors may differ a little. */
	if (share > 1)
		share = 1;
	sync_store_quiet(outside, sync_load_quiet(outside) + (u64)((double)ns * share));
}

int vcpu_run(struct vcpu *vcpu, const struct guest_ops *ops, void *guest)
{
	struct lp *self = lp_current(), *lp = vcpu->lp;
	u64 start_ns = host_now_ns(), start_ticks = host_ticks();
	int ret;

	vcpu->ops = ops;
	vcpu->guest = guest;
	if (vcpu->stopped)
		sync_fetch_sub(&vcpu->vm->nr_stopped, 1);
	vcpu->stopped = false;
	vcpu->outside_ticks = 0;
	vcpu->outside_since = start_ticks;
	lp_set_current(lp);
	lp->guest_ops = &timed_guest_ops;
	lp->guest = vcpu;
	do {
		ret = run_once(vcpu);
	} while (ret == RUN_ON);
	lp->guest_ops = NULL;
	lp->guest = NULL;
	lp_set_current(self);
	vcpu->outside_ticks += host_ticks() - vcpu->outside_since;
	account_outside(vcpu, host_now_ns() - start_ns, host_ticks() - start_ticks);
	return ret == RUN_STOP ? 0 : ret;
}
