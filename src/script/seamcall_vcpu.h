/* SPDX-License-Identifier: MIT */
/*
 * script: vCPUs that stay inside while the script goes on elsewhere.
 *
 * VP.ENTER returns only at a TD exit, so each logical processor that a script enters gets a thread,
 * which makes the call and then runs the guest's statements from inside it. The script's thread and
 * the processor's take turns: whoever doesn't have the turn waits for it. So one thread works at
 * any time, and what is in struct sc_cpu needs no lock.
 *
 *   script                          processor
 *   sc_cpu_enter() --turn-->        seamcall(VP.ENTER) -> run(): inside
 *        ...       <--turn--        waits in run()
 *   sc_cpu_guest() --turn-->        the statement; stays, or leaves run() and VP.ENTER returns
 *        ...       <--turn--        waits in run(), or for the next VP.ENTER
 */
#ifndef SCRIPT_SEAMCALL_VCPU_H
#define SCRIPT_SEAMCALL_VCPU_H

#include "base/sync.h"
#include "cpu/lp.h"
#include "septum/abi.h"

struct sc_cpu;

struct sc_vcpu {
	char name[40]; /* "t.0" */
	struct sc_cpu *inside;
	/* Of its last TDCALL. The module writes here when the host has answered a VP.VMCALL. */
	struct tdx_regs regs;
	bool awaits_answer; /* a VP.VMCALL has exited, and the vCPU hasn't been entered again */
	u32 vmcall_line;
};

enum sc_action_kind {
	SC_ACT_TDCALL, /* vcpu->regs in and out */
	SC_ACT_READ,
	SC_ACT_WRITE,
	SC_ACT_LEAVE, /* notices a pending interrupt */
};

enum sc_outcome {
	SC_OUT_DONE,
	SC_OUT_EXIT, /* outside now; registers in sc_cpu.regs */
	SC_OUT_VE,
	SC_OUT_MC,
};

struct sc_action {
	enum sc_action_kind kind;
	gpa_t gpa;
	u64 value;
	enum sc_outcome outcome;
};

enum sc_turn {
	SC_TURN_SCRIPT,
	SC_TURN_CPU,
};

struct sc_cpu {
	struct lp *lp;
	struct sync_thread thread;
	bool has_thread;
	struct sync_waitq wq;
	u32 turn; /* enum sc_turn; store-release by who has it, load-acquire by who waits */
	bool stop;
	struct tdx_regs regs; /* of VP.ENTER: in, and out once it has returned */
	struct sc_vcpu *vcpu; /* inside, or about to be */
	bool is_inside;
	struct sc_action *action; /* that the guest is at; NULL between statements */
};

void sc_cpu_init(struct sc_cpu *cpu, struct lp *lp);
/** sc_cpu_destroy - lets the vCPU exit, and ends the thread */
void sc_cpu_destroy(struct sc_cpu *cpu);

/**
 * sc_cpu_enter - call VP.ENTER with @regs for @vcpu, which is outside
 *
 * Return: 0, and @cpu->is_inside says whether it stayed inside; if not, @cpu->regs are the answer.
 * -EAGAIN or the like when no thread can be had.
 */
int sc_cpu_enter(struct sc_cpu *cpu, struct sc_vcpu *vcpu, const struct tdx_regs *regs);
/** sc_cpu_guest - let the vCPU that is inside @cpu do @action */
void sc_cpu_guest(struct sc_cpu *cpu, struct sc_action *action);
/** sc_cpu_leave - make the vCPU inside @cpu exit by an interrupt; the host takes what was pending */
void sc_cpu_leave(struct sc_cpu *cpu);

#endif
