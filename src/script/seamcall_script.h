/* SPDX-License-Identifier: MIT */
/* script: a parsed seamcall script. Immutable once parsed; owned by struct seamcall_script. */
#ifndef SCRIPT_SEAMCALL_SCRIPT_H
#define SCRIPT_SEAMCALL_SCRIPT_H

#include "base/types.h"
#include "script/seamcall_layout.h"
#include "script/seamcall_leaves.h"

struct seam_profile;

enum sc_kind {
	SC_HOST,
	SC_TD,
	SC_LP,
	SC_CALL,
	SC_GUEST_CALL,
	SC_GUEST_READ,
	SC_GUEST_WRITE,
	SC_ENTER,
	SC_EXIT,
	SC_INTERRUPT,
	SC_NMI,
	SC_CLEAR,
	SC_MASK,
	SC_UNMASK,
	SC_SEPT,
	SC_PAMT,
	SC_PEEK,
	SC_POKE,
	SC_HOLD,
	SC_RELEASE,
};

/* "reg=value", in an expectation "reg=value/mask". */
struct sc_assign {
	u8 reg;
	u64 value, mask;
};

/* A run of the script's pool of assignments. */
struct sc_assigns {
	u32 first, count;
};

enum sc_expect_kind {
	SC_EXPECT_NOTHING,
	SC_EXPECT_CLASS,  /* a status by name: bits 63:32 count */
	SC_EXPECT_STATUS, /* a status by number, or by name and operand */
	SC_EXPECT_EXIT,
	SC_EXPECT_VALUE, /* of a guest's read */
	SC_EXPECT_OK,	 /* an access, an entry that goes well */
	SC_EXPECT_VE,
	SC_EXPECT_MC,
};

struct sc_expect {
	enum sc_expect_kind kind;
	u64 value;
	struct sc_assigns regs;
	const char *text; /* as the script has it; not terminated */
	size_t length;
};

struct sc_statement {
	enum sc_kind kind;
	u32 line, column;
	u16 td, vcpu;
	const struct sc_leaf *leaf; /* NULL: SEAMCALL or TDCALL with rax given */
	u32 version;
	u64 address,
		value; /* of the directives, by kind; value is the number for lp, interrupt... */
	struct sc_assigns regs;
	struct sc_expect expect;
};

enum sc_td_state {
	SC_TD_RAW,	   /* nothing done */
	SC_TD_CREATED,	   /* MNG.CREATE */
	SC_TD_KEYS,	   /* MNG.KEY.CONFIG */
	SC_TD_ALLOCATED,   /* MNG.ADDCX */
	SC_TD_INITIALIZED, /* MNG.INIT */
	SC_TD_RUNNABLE,	   /* its vCPUs and MR.FINALIZE */
};

struct sc_td_config {
	char name[24];
	enum sc_td_state state;
	u32 vcpus;
	u32 gpaw;   /* 48 or 52 */
	u32 levels; /* 4 or 5 */
	bool debug, sept_ve_disable, flexible_pending_ve;
};

struct sc_host_config {
	u64 memory;
	u32 lps;
	bool dpamt, raw;
	const struct seam_profile *profile;
};

struct seamcall_script {
	char *text; /* a copy, which expectations point into */
	struct sc_host_config host;
	struct sc_td_config tds[SC_MAX_TDS];
	u32 nr_tds;
	struct sc_statement *statements;
	u32 nr_statements, max_statements;
	struct sc_assign *assigns;
	u32 nr_assigns, max_assigns;
};

#endif
