/* SPDX-License-Identifier: MIT */
/* The table of leaves: what goes in, what comes out, what may be answered. */
#include <string.h>
#include <strings.h>

#include "script/seamcall_leaves.h"

#define R(reg) (1u << SC_##reg)
#define R8_TO_R11 (R(R8) | R(R9) | R(R10) | R(R11))

/* Statuses that come in groups. A word of a list lacks only "TDX_". */
#define ST_PAGE "OPERAND_INVALID OPERAND_ADDR_RANGE_ERROR OPERAND_BUSY PAGE_METADATA_INCORRECT"
#define ST_NEW_PAGE " MISSING_PAMT_PAGE_PAIR"
#define ST_KEYS " TD_FATAL TD_KEYS_NOT_CONFIGURED TDCS_NOT_ALLOCATED"
#define ST_TD ST_PAGE ST_KEYS " OP_STATE_INCORRECT"
#define ST_WALK " EPT_WALK_FAILED EPT_ENTRY_STATE_INCORRECT"
#define ST_TLB " GPA_RANGE_NOT_BLOCKED TLB_TRACKING_NOT_DONE"
#define ST_VCPU " TDCX_NUM_INCORRECT VCPU_STATE_INCORRECT"
#define ST_INTERRUPTED " INTERRUPTED_RESTARTABLE INTERRUPTED_BUSY"
#define ST_FIELD " METADATA_FIELD_ID_INCORRECT METADATA_FIELD_VALUE_NOT_VALID"

#define PAGE_INFO_ANY "rcx=GPA|level(0..top) rdx=TDR"
#define PAGE_INFO_TABLE "rcx=GPA|level(1..top) rdx=TDR"

/* {name, number, guest, max version, always, on success, versioned, operands, statuses} */
static const struct sc_leaf leaves[] = {
	{"TDH.VP.ENTER", 0, false, 0, 0, 0, 0, "rcx=TDVPR|flags",
	 ST_TD ST_VCPU " VCPU_ASSOCIATED TSC_ROLLBACK"},
	{"TDH.MNG.ADDCX", 1, false, 0, 0, 0, 0, "rcx=page rdx=TDR",
	 ST_PAGE ST_NEW_PAGE " TD_FATAL TD_KEYS_NOT_CONFIGURED TDCX_NUM_INCORRECT "
			     "OP_STATE_INCORRECT"},
	{"TDH.MEM.PAGE.ADD", 2, false, 0, R(RCX) | R(RDX), 0, 0,
	 "rcx=GPA|level(0) rdx=TDR r8=page r9=source", ST_TD ST_WALK ST_NEW_PAGE},
	{"TDH.MEM.SEPT.ADD", 3, false, 1, R(RCX) | R(RDX), 0, R8_TO_R11,
	 PAGE_INFO_TABLE "|ALLOW_EXISTING r8=page; version 1: r9 r10 r11=L2 pages",
	 ST_TD ST_WALK ST_NEW_PAGE},
	{"TDH.VP.ADDCX", 4, false, 0, 0, 0, 0, "rcx=page rdx=TDVPR", ST_TD ST_VCPU ST_NEW_PAGE},
	{"TDH.MEM.PAGE.RELOCATE", 5, false, 0, R(RCX) | R(RDX), 0, 0,
	 "rcx=GPA|level(0) rdx=TDR r8=page", ST_TD ST_WALK ST_TLB ST_NEW_PAGE},
	{"TDH.MEM.PAGE.AUG", 6, false, 0, R(RCX) | R(RDX), 0, 0,
	 "rcx=GPA|level(0..1) rdx=TDR r8=page", ST_TD ST_WALK ST_NEW_PAGE},
	{"TDH.MEM.RANGE.BLOCK", 7, false, 0, R(RCX) | R(RDX), 0, 0, PAGE_INFO_ANY,
	 ST_TD ST_WALK " GPA_RANGE_ALREADY_BLOCKED"},
	{"TDH.MNG.KEY.CONFIG", 8, false, 0, 0, 0, 0, "rcx=TDR",
	 ST_PAGE " TD_FATAL LIFECYCLE_STATE_INCORRECT KEY_CONFIGURED KEY_GENERATION_FAILED"},
	{"TDH.MNG.CREATE", 9, false, 0, 0, 0, 0, "rcx=page rdx=HKID",
	 ST_PAGE ST_NEW_PAGE " HKID_NOT_FREE RND_NO_ENTROPY"},
	{"TDH.VP.CREATE", 10, false, 0, 0, 0, 0, "rcx=page rdx=TDR", ST_TD ST_NEW_PAGE},
	{"TDH.MNG.RD", 11, false, 1, R(R8), 0, R(RDX), "rcx=TDR rdx=field",
	 ST_PAGE ST_KEYS ST_FIELD " METADATA_FIRST_FIELD_ID_IN_CONTEXT"},
	{"TDH.MEM.RD", 12, false, 0, R(RCX) | R(RDX) | R(R8), 0, 0, "rcx=GPA rdx=TDR",
	 ST_TD " TD_NON_DEBUG EPT_ENTRY_NOT_PRESENT EPT_ENTRY_STATE_INCORRECT"},
	{"TDH.MNG.WR", 13, false, 0, R(R8), 0, 0, "rcx=TDR rdx=field r8=value r9=mask",
	 ST_PAGE ST_KEYS ST_FIELD " TD_NON_DEBUG"},
	{"TDH.MEM.WR", 14, false, 0, R(RCX) | R(RDX) | R(R8), 0, 0, "rcx=GPA rdx=TDR r8=value",
	 ST_TD " TD_NON_DEBUG EPT_ENTRY_NOT_PRESENT EPT_ENTRY_STATE_INCORRECT"},
	{"TDH.MEM.PAGE.DEMOTE", 15, false, 0, R(RCX) | R(RDX), 0, 0,
	 "rcx=GPA|level(1..2) rdx=TDR r8=page r9 r10 r11=L2 pages r12 r13=PAMT pages",
	 ST_TD ST_WALK ST_TLB ST_NEW_PAGE ST_INTERRUPTED
	 " L2_SEPT_PAGE_NOT_PROVIDED PAGE_NOT_FREE"},
	{"TDH.MR.EXTEND", 16, false, 0, R(RCX) | R(RDX), 0, 0, "rcx=GPA(256-byte aligned) rdx=TDR",
	 ST_TD " EPT_ENTRY_NOT_PRESENT"},
	{"TDH.MR.FINALIZE", 17, false, 0, 0, 0, 0, "rcx=TDR", ST_TD " NO_VCPUS"},
	{"TDH.VP.FLUSH", 18, false, 0, 0, 0, 0, "rcx=TDVPR",
	 ST_PAGE " TD_KEYS_NOT_CONFIGURED TDCX_NUM_INCORRECT VCPU_NOT_ASSOCIATED"},
	{"TDH.MNG.VPFLUSHDONE", 19, false, 0, 0, 0, 0, "rcx=TDR",
	 ST_PAGE " LIFECYCLE_STATE_INCORRECT FLUSHVP_NOT_DONE"},
	{"TDH.MNG.KEY.FREEID", 20, false, 0, 0, 0, 0, "rcx=TDR",
	 ST_PAGE " LIFECYCLE_STATE_INCORRECT WBCACHE_NOT_COMPLETE"},
	{"TDH.MNG.INIT", 21, false, 0, 0, 0, 0, "rcx=TDR rdx=TD_PARAMS", ST_TD},
	{"TDH.VP.INIT", 22, false, 1, 0, 0, 0, "rcx=TDVPR rdx=initial RCX; version 1: r8=x2APIC id",
	 ST_TD ST_VCPU " MAX_VCPUS_EXCEEDED X2APIC_ID_NOT_UNIQUE"},
	{"TDH.MEM.PAGE.PROMOTE", 23, false, 1, R(RCX) | R(RDX), 0, R(R9) | R(R10) | R(R11),
	 "rcx=GPA|level(1..2) rdx=TDR",
	 ST_TD ST_WALK ST_TLB ST_INTERRUPTED " EPT_INVALID_PROMOTE_CONDITIONS"},
	{"TDH.PHYMEM.PAGE.RDMD", 24, false, 0, R(RCX) | R(RDX) | R8_TO_R11, 0, 0,
	 "rcx=page|level(0..2)", "OPERAND_INVALID OPERAND_ADDR_RANGE_ERROR OPERAND_BUSY"},
	{"TDH.MEM.SEPT.RD", 25, false, 0, R(RCX) | R(RDX), 0, 0,
	 PAGE_INFO_ANY "|READ_L2_ATTRIBUTES", ST_TD " EPT_WALK_FAILED"},
	{"TDH.VP.RD", 26, false, 1, R(R8), 0, R(RDX), "rcx=TDVPR rdx=field",
	 ST_TD ST_VCPU ST_FIELD " VCPU_ASSOCIATED METADATA_FIRST_FIELD_ID_IN_CONTEXT"},
	{"TDH.MNG.KEY.RECLAIMID", 27, false, 0, 0, 0, 0, "", ""},
	{"TDH.PHYMEM.PAGE.RECLAIM", 28, false, 0, R(RCX) | R(RDX) | R(R8) | R(R9), 0, 0, "rcx=page",
	 ST_PAGE " LIFECYCLE_STATE_INCORRECT TD_ASSOCIATED_PAGES_EXIST"},
	{"TDH.MEM.PAGE.REMOVE", 29, false, 0, R(RCX) | R(RDX), 0, 0, "rcx=GPA|level(0..2) rdx=TDR",
	 ST_TD ST_WALK ST_TLB},
	{"TDH.MEM.SEPT.REMOVE", 30, false, 1, R(RCX) | R(RDX), 0, R(R9) | R(R10) | R(R11),
	 PAGE_INFO_TABLE, ST_TD ST_WALK ST_TLB " EPT_PAGE_NOT_FREE"},
	{"TDH.SYS.KEY.CONFIG", 31, false, 0, 0, 0, 0, "",
	 "SYS_BUSY SYS_KEY_CONFIG_NOT_PENDING KEY_CONFIGURED KEY_GENERATION_FAILED"},
	{"TDH.SYS.INFO", 32, false, 0, 0, R(RDX) | R(R9), 0,
	 "rcx=TDSYSINFO buffer rdx=bytes r8=CMR buffer r9=entries", "OPERAND_INVALID SYS_BUSY"},
	{"TDH.SYS.INIT", 33, false, 0, 0, 0, 0, "rcx=0", "OPERAND_INVALID SYS_INIT_NOT_PENDING"},
	{"TDH.SYS.RD", 34, false, 0, R(RDX) | R(R8), 0, 0, "rdx=field (0: the first)",
	 "METADATA_FIELD_ID_INCORRECT METADATA_FIRST_FIELD_ID_IN_CONTEXT SYS_BUSY"},
	{"TDH.SYS.LP.INIT", 35, false, 0, 0, 0, 0, "",
	 "SYS_LP_INIT_NOT_PENDING SYS_LP_INIT_DONE SYS_BUSY"},
	{"TDH.SYS.TDMR.INIT", 36, false, 0, 0, R(RDX), 0, "rcx=TDMR base",
	 "OPERAND_INVALID OPERAND_BUSY TDMR_ALREADY_INITIALIZED SYS_NOT_READY"},
	{"TDH.SYS.RDALL", 37, false, 0, 0, R(R8), 0, "rdx=buffer r8=first field",
	 "OPERAND_INVALID METADATA_FIELD_ID_INCORRECT"},
	{"TDH.MEM.TRACK", 38, false, 0, 0, 0, 0, "rcx=TDR", ST_TD " PREVIOUS_TLB_EPOCH_BUSY"},
	{"TDH.MEM.RANGE.UNBLOCK", 39, false, 0, R(RCX) | R(RDX), 0, 0, PAGE_INFO_ANY,
	 ST_TD ST_WALK " TLB_TRACKING_NOT_DONE"},
	{"TDH.PHYMEM.CACHE.WB", 40, false, 0, 0, 0, 0, "rcx=0 (start) or 1 (resume)",
	 "OPERAND_INVALID OPERAND_BUSY NO_HKID_READY_TO_WBCACHE WBCACHE_RESUME_ERROR "
	 "INTERRUPTED_RESUMABLE"},
	{"TDH.PHYMEM.PAGE.WBINVD", 41, false, 0, 0, 0, 0, "rcx=page|HKID", ST_PAGE},
	{"TDH.VP.WR", 43, false, 0, R(R8), 0, 0, "rcx=TDVPR rdx=field r8=value r9=mask",
	 ST_TD ST_VCPU ST_FIELD " VCPU_ASSOCIATED TD_NON_DEBUG"},
	{"TDH.SYS.LP.SHUTDOWN", 44, false, 0, 0, 0, 0, "", "SYS_BUSY SYS_STATE_INCORRECT"},
	{"TDH.SYS.CONFIG", 45, false, 0, 0, 0, 0,
	 "rcx=array of TDMR_INFO pointers rdx=count r8=HKID|DYNAMIC_PAMT(bit 16)",
	 "OPERAND_INVALID SYS_BUSY SYS_CONFIG_NOT_PENDING INVALID_TDMR NON_ORDERED_TDMR "
	 "TDMR_OUTSIDE_CMRS INVALID_PAMT PAMT_OUTSIDE_CMRS PAMT_OVERLAP INVALID_RESERVED_IN_TDMR "
	 "NON_ORDERED_RESERVED_IN_TDMR"},
	{"TDH.SYS.SHUTDOWN", 52, false, 0, 0, 0, 0, "", "SYS_BUSY SYS_NOT_READY"},
	{"TDH.SYS.UPDATE", 53, false, 0, 0, 0, 0, "", "SYS_STATE_INCORRECT"},
	{"TDH.PHYMEM.PAMT.ADD", 58, false, 0, 0, 0, 0, "rcx=2M range|level(1) rdx=page 0 r8=page 1",
	 "OPERAND_INVALID OPERAND_ADDR_RANGE_ERROR OPERAND_BUSY HPA_RANGE_NOT_FREE PAGE_NOT_FREE"},
	{"TDH.PHYMEM.PAMT.REMOVE", 59, false, 0, 0, R(RDX) | R(R8), 0, "rcx=2M range|level(1)",
	 "OPERAND_INVALID OPERAND_ADDR_RANGE_ERROR OPERAND_BUSY NO_PAMT_PAGE_PAIR "
	 "PAMT_PAGE_NOT_EMPTY"},

	{"TDG.VP.VMCALL", 0, true, 0, 0, R(R10) | R(R11), 0, "rcx=registers shared with the host",
	 "OPERAND_INVALID"},
	{"TDG.VP.INFO", 1, true, 0, 0, R(RCX) | R(RDX) | R8_TO_R11, 0, "", ""},
	{"TDG.VP.VEINFO.GET", 3, true, 2, 0, R(RCX) | R(RDX) | R(R8) | R(R9) | R(R10), 0, "",
	 "NO_VALID_VE_INFO"},
	{"TDG.MEM.PAGE.ACCEPT", 6, true, 0, 0, 0, 0, "rcx=GPA|level(0..1)",
	 "OPERAND_INVALID OPERAND_BUSY PAGE_ALREADY_ACCEPTED PAGE_SIZE_MISMATCH"},
	{"TDG.VM.RD", 7, true, 1, R(R8), 0, R(RDX), "rcx=0 rdx=field",
	 "METADATA_FIELD_ID_INCORRECT METADATA_FIRST_FIELD_ID_IN_CONTEXT"},
	{"TDG.VM.WR", 8, true, 0, R(R8), 0, 0, "rcx=0 rdx=field r8=value r9=mask",
	 "METADATA_FIELD_ID_INCORRECT METADATA_FIELD_VALUE_NOT_VALID"},
	{"TDG.MEM.PAGE.ATTR.RD", 23, true, 0, 0, R(RCX) | R(RDX), 0, "rcx=GPA",
	 "OPERAND_INVALID OPERAND_BUSY"},
	{"TDG.MEM.PAGE.ATTR.WR", 24, true, 0, 0, R(RCX) | R(RDX), 0,
	 "rcx=GPA|level rdx=attributes r8=flags", "OPERAND_INVALID OPERAND_BUSY PAGE_ATTR_INVALID"},
};

static const char *const reg_names[] = {"rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8",
					"r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

_Static_assert(ARRAY_SIZE(reg_names) == SC_REG_COUNT, "a name each");

static const struct {
	const char *name;
	int id;
} operands[] = {
	{"RAX", TDX_OPERAND_RAX},
	{"RCX", TDX_OPERAND_RCX},
	{"RDX", TDX_OPERAND_RDX},
	{"RBX", TDX_OPERAND_RBX},
	{"RBP", TDX_OPERAND_RBP},
	{"RSI", TDX_OPERAND_RSI},
	{"RDI", TDX_OPERAND_RDI},
	{"R8", TDX_OPERAND_R8},
	{"R9", TDX_OPERAND_R9},
	{"R10", TDX_OPERAND_R10},
	{"R11", TDX_OPERAND_R11},
	{"R12", TDX_OPERAND_R12},
	{"R13", TDX_OPERAND_R13},
	{"R14", TDX_OPERAND_R14},
	{"R15", TDX_OPERAND_R15},
	{"ATTRIBUTES", TDX_OPERAND_ATTRIBUTES},
	{"XFAM", TDX_OPERAND_XFAM},
	{"EXEC_CONTROLS", TDX_OPERAND_EXEC_CONTROLS},
	{"EPTP_CONTROLS", TDX_OPERAND_EPTP_CONTROLS},
	{"MAX_VCPUS", TDX_OPERAND_MAX_VCPUS},
	{"CPUID_CONFIG", TDX_OPERAND_CPUID_CONFIG},
	{"TSC_FREQUENCY", TDX_OPERAND_TSC_FREQUENCY},
	{"NUM_L2_VMS", TDX_OPERAND_NUM_L2_VMS},
	{"PAGE", TDX_OPERAND_PAGE},
	{"TDMR_INFO_PA", TDX_OPERAND_TDMR_INFO_PA},
	{"TDR", TDX_OPERAND_TDR},
	{"TDCX", TDX_OPERAND_TDCX},
	{"TDVPR", TDX_OPERAND_TDVPR},
	{"TDCS", TDX_OPERAND_TDCS},
	{"TDVPS", TDX_OPERAND_TDVPS},
	{"SEPT_TREE", TDX_OPERAND_SEPT_TREE},
	{"TD_EPOCH", TDX_OPERAND_TD_EPOCH},
	{"OP_STATE", TDX_OPERAND_OP_STATE},
	{"METADATA_FIELD", TDX_OPERAND_METADATA_FIELD},
	{"SYS", TDX_OPERAND_SYS},
	{"TDMR", TDX_OPERAND_TDMR},
	{"KOT", TDX_OPERAND_KOT},
	{"KET", TDX_OPERAND_KET},
	{"WBCACHE", TDX_OPERAND_WBCACHE},
};

const char *sc_reg_name(unsigned int reg)
{
	return reg < SC_REG_COUNT ? reg_names[reg] : NULL;
}

const struct sc_leaf *sc_leaf_at(unsigned int i)
{
	return i < ARRAY_SIZE(leaves) ? &leaves[i] : NULL;
}

const struct sc_leaf *sc_leaf_by_name(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		if (strlen(leaves[i].name) == length && !memcmp(leaves[i].name, name, length))
			return &leaves[i];
	return NULL;
}

const struct sc_leaf *sc_leaf_by_number(bool guest, unsigned int number)
{
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		if (leaves[i].guest == guest && leaves[i].number == number)
			return &leaves[i];
	return NULL;
}

int sc_operand_id(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(operands); i++)
		if (strlen(operands[i].name) == length &&
		    !strncasecmp(operands[i].name, name, length))
			return operands[i].id;
	return -1;
}

static unsigned int version_of(const struct tdx_regs *in)
{
	return in->rax >> 16 & 0xFF;
}

u32 sc_leaf_outputs(const struct sc_leaf *leaf, const struct tdx_regs *in,
		    const struct tdx_regs *out, bool dpamt)
{
	bool good = !tdx_is_error(out->rax);
	u32 regs;

	if (!leaf)
		return 0;
	regs = leaf->out_always;
	if (good)
		regs |= leaf->out_success;
	if (version_of(in))
		regs |= leaf->out_versioned;
	if (leaf->guest)
		return leaf->number == TDG_VP_VEINFO_GET && version_of(in) > 1 && good
			       ? regs | R(R11) | R(R12)
			       : regs;
	/* The pair that described the 2M range comes back when its 4K pages merge. */
	if (leaf->number == TDH_MEM_PAGE_PROMOTE && good && dpamt &&
	    (in->rcx & TDX_PAGE_INFO_LEVEL) == 1)
		regs |= R(R12) | R(R13);
	if (leaf->number == TDH_MEM_SEPT_RD && (in->rdx & 1))
		regs |= R(R8);
	return regs;
}

u32 sc_vmcall_outputs(u64 mask)
{
	/* In hardware's numbering; RAX, RCX and RSP (4) are never shared. */
	static const u8 by_number[16] = {SC_RAX, SC_RAX, SC_RDX, SC_RBX, SC_RAX, SC_RBP,
					 SC_RSI, SC_RDI, SC_R8,	 SC_R9,	 SC_R10, SC_R11,
					 SC_R12, SC_R13, SC_R14, SC_R15};
	u32 regs = 0;

	for (unsigned int i = 0; i < 16; i++)
		if (mask >> i & 1)
			regs |= 1u << by_number[i];
	return regs & ~R(RAX);
}

u32 sc_exit_outputs(const struct tdx_regs *out)
{
	u32 regs = R(RCX) | R(RDX) | R(R8);

	return (u32)out->rax == TDX_EXIT_TDCALL ? regs | sc_vmcall_outputs(out->rcx) : regs;
}
