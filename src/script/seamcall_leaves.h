/* SPDX-License-Identifier: MIT */
/*
 * script: what the language knows about each leaf and register. The one table behind the parser's
 * names, the printed output registers and `septum seamcall --list`.
 */
#ifndef SCRIPT_SEAMCALL_LEAVES_H
#define SCRIPT_SEAMCALL_LEAVES_H

#include "base/types.h"
#include "septum/abi.h"

/* In the order of struct tdx_regs, which is also the order of printing. */
enum sc_reg {
	SC_RAX,
	SC_RCX,
	SC_RDX,
	SC_RBX,
	SC_RBP,
	SC_RSI,
	SC_RDI,
	SC_R8,
	SC_R9,
	SC_R10,
	SC_R11,
	SC_R12,
	SC_R13,
	SC_R14,
	SC_R15,
	SC_REG_COUNT,
};

_Static_assert(sizeof(struct tdx_regs) == SC_REG_COUNT * sizeof(u64), "a register is a word");

/** sc_reg_name - "rcx"; NULL past the last */
const char *sc_reg_name(unsigned int reg);

static inline u64 *sc_reg_of(struct tdx_regs *regs, unsigned int reg)
{
	return (u64 *)(void *)regs + reg;
}

struct sc_leaf {
	const char *name;
	u16 number;
	bool guest;
	u8 max_version;
	/* Output registers, a bit per enum sc_reg: whatever the outcome, and unless it is an error. */
	u32 out_always, out_success;
	u32 out_versioned; /* besides, whatever the outcome, for version 1 and up */
	const char *operands;
	const char *statuses;
};

/** sc_leaf_at - leaf number @i of the table, in no order of meaning; NULL past the end */
const struct sc_leaf *sc_leaf_at(unsigned int i);
const struct sc_leaf *sc_leaf_by_name(const char *name, size_t length);
/** sc_leaf_by_number - NULL for a number that is no leaf of ours */
const struct sc_leaf *sc_leaf_by_number(bool guest, unsigned int number);

/**
 * sc_leaf_outputs - the registers that @leaf (NULL: unknown) defines for this call's outcome
 *
 * @in are the registers of the call, @out those after it. @dpamt: Dynamic PAMT is in use.
 */
u32 sc_leaf_outputs(const struct sc_leaf *leaf, const struct tdx_regs *in,
		    const struct tdx_regs *out, bool dpamt);
/** sc_vmcall_outputs - the registers that VP.VMCALL with @mask in RCX shares with the host */
u32 sc_vmcall_outputs(u64 mask);
/** sc_exit_outputs - the registers that a TD exit defines */
u32 sc_exit_outputs(const struct tdx_regs *out);

/** sc_operand_id - "RCX", "SEPT_TREE", ... to the operand id of a status; -1 if unknown */
int sc_operand_id(const char *name, size_t length);

#endif
