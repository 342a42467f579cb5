/* SPDX-License-Identifier: MIT */
/*
 * The ABI of the TDX module: leaf numbers, registers, completion status codes, operand encodings.
 *
 * Contract: plain constants and pure functions, nothing else; what a caller of SEAMCALL or TDCALL
 * may know about the module, and all that src/tdx may include of it. The tables themselves
 * (names of leaves, statuses, operands) are X-macros in the .def files beside this one, so that
 * code, names and documentation come from one place.
 */
#ifndef SEPTUM_ABI_H
#define SEPTUM_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct tdx_regs - general-purpose registers of a SEAMCALL, a TDCALL or a TD exit
 *
 * @rax carries leaf (bits 15:0) and version (bits 23:16) in, the completion status out.
 */
struct tdx_regs {
	uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
};

/* Host-side leaves: TDH_MEM_PAGE_AUG = 6, ... */
enum tdh_leaf {
#define TDH_LEAF(sym, number, name) sym = number,
#include "septum/tdh_leaves.def"
#undef TDH_LEAF
};

/* Guest-side leaves: TDG_MEM_PAGE_ACCEPT = 6, ... */
enum tdg_leaf {
#define TDG_LEAF(sym, number, name) sym = number,
#include "septum/tdg_leaves.def"
#undef TDG_LEAF
};

/* Completion status codes, bits 31:0 clear: TDX_OPERAND_BUSY, ... (64-bit enumerators, gnu17). */
enum tdx_status {
#define TDX_STATUS(name, value) TDX_##name = value,
#include "septum/statuses.def"
#undef TDX_STATUS
};

#define TDX_STATUS_MASK 0xFFFFFFFF00000000ULL
#define TDX_STATUS_ERROR (1ULL << 63)

/* Operand ids: bits 31:0 of a status that names an operand. */
enum tdx_operand {
	TDX_OPERAND_RAX = 0,
	TDX_OPERAND_RCX = 1,
	TDX_OPERAND_RDX = 2,
	TDX_OPERAND_RBX = 3,
	TDX_OPERAND_RBP = 5,
	TDX_OPERAND_RSI = 6,
	TDX_OPERAND_RDI = 7,
	TDX_OPERAND_R8 = 8,
	TDX_OPERAND_R9 = 9,
	TDX_OPERAND_R10 = 10,
	TDX_OPERAND_R11 = 11,
	TDX_OPERAND_R12 = 12,
	TDX_OPERAND_R13 = 13,
	TDX_OPERAND_R14 = 14,
	TDX_OPERAND_R15 = 15,
	TDX_OPERAND_ATTRIBUTES = 64,
	TDX_OPERAND_XFAM = 65,
	TDX_OPERAND_EXEC_CONTROLS = 66,
	TDX_OPERAND_EPTP_CONTROLS = 67,
	TDX_OPERAND_MAX_VCPUS = 68,
	TDX_OPERAND_CPUID_CONFIG = 69,
	TDX_OPERAND_TSC_FREQUENCY = 70,
	TDX_OPERAND_NUM_L2_VMS = 71,
	TDX_OPERAND_IA32_ARCH_CAPABILITIES_CONFIG = 72,
	TDX_OPERAND_PAGE = 95,
	TDX_OPERAND_TDMR_INFO_PA = 96,
	TDX_OPERAND_TDR = 128,
	TDX_OPERAND_TDCX = 129,
	TDX_OPERAND_TDVPR = 130,
	TDX_OPERAND_TDCS = 144,
	TDX_OPERAND_TDVPS = 145,
	TDX_OPERAND_SEPT_TREE = 146,
	TDX_OPERAND_TD_EPOCH = 169,
	TDX_OPERAND_OP_STATE = 172,
	TDX_OPERAND_METADATA_FIELD = 176,
	TDX_OPERAND_SYS = 184,
	TDX_OPERAND_TDMR = 185,
	TDX_OPERAND_KOT = 186,
	TDX_OPERAND_KET = 187,
	TDX_OPERAND_WBCACHE = 188,
};

/* An absent page operand. */
#define TDX_NULL_PA UINT64_MAX

/* page_info, RCX of most MEM leaves: bits 2:0 level (0 = 4K), 51:12 GPA, all others zero. */
#define TDX_PAGE_INFO_LEVEL 0x7ULL
#define TDX_PAGE_INFO_GPA 0x000FFFFFFFFFF000ULL

/* Bit 62 of a returned HPA: the 2M range of that page uses no 4K page any more (1.5.20 on). */
#define TDX_PAMT_REMOVAL_HINT (1ULL << 62)

/* VMX exit reasons that reach the VMM in bits 31:0 of RAX. */
enum tdx_exit_reason {
	TDX_EXIT_EXTERNAL_INTERRUPT = 1,
	TDX_EXIT_EPT_VIOLATION = 48,
	TDX_EXIT_TDCALL = 77,
};

/* Extended exit qualification (RDX of an EPT-violation exit), bits 3:0: type. */
enum tdx_eeq_type {
	TDX_EEQ_NONE = 0,
	TDX_EEQ_ACCEPT = 1,
	TDX_EEQ_GPA_DETAILS = 2,
	TDX_EEQ_ATTR_WR = 5,
	TDX_EEQ_PENDING_EPT_VIOLATION = 6,
};
#define TDX_EEQ_TYPE(eeq) ((unsigned int)((eeq)&0xF))
#define TDX_EEQ_REQ_LEVEL(eeq) ((unsigned int)((eeq) >> 32 & 0x7))

/* Bits of an exit qualification (RCX) of an EPT violation. */
#define TDX_EPT_VIOLATION_READ (1ULL << 0)
#define TDX_EPT_VIOLATION_WRITE (1ULL << 1)
#define TDX_EPT_VIOLATION_FETCH (1ULL << 2)

/* TD lifecycle states (TDR). */
enum td_lifecycle {
	TD_HKID_ASSIGNED = 0,
	TD_KEYS_CONFIGURED = 1,
	TD_BLOCKED = 2,
	TD_TEARDOWN = 3,
};

/* PAMT page types. */
enum pamt_type {
	PT_NDA = 0,
	PT_RSVD = 1,
	PT_REG = 3,
	PT_TDR = 4,
	PT_TDCX = 5,
	PT_TDVPR = 6,
	PT_EPT = 8,
	PT_PAMT = 15,
};

/* Fixed geometry of the module we model (SYS.RD enumerates the same). */
#define TDX_TDCS_PAGES 6
#define TDX_TDVPS_PAGES 6
#define TDX_TD_PARAMS_SIZE 1024
#define TDX_MAX_TDMRS 64
#define TDX_MAX_RESERVED_PER_TDMR 16
#define TDX_PAMT_ENTRY_SIZE 16
#define TDX_HKID_START_BIT 46
#define TDX_HKID_BITS 6
/* Key ids below are shared (0 is the host's), from here on private. */
#define TDX_FIRST_PRIVATE_HKID 32

/** struct tdmr_info - what SYS.CONFIG takes for one TD memory region, all in bytes. */
struct tdmr_info {
	uint64_t base, size;
	uint64_t pamt_1g_base, pamt_1g_size;
	uint64_t pamt_2m_base, pamt_2m_size;
	uint64_t pamt_4k_base, pamt_4k_size;
	struct {
		uint64_t offset, size;
	} reserved[TDX_MAX_RESERVED_PER_TDMR];
};

/* TD_PARAMS (MNG.INIT): the fields we model; a 1024-byte, 1024-byte aligned block. */
struct td_params {
	uint64_t attributes;
	uint64_t xfam;
	uint16_t max_vcpus;
	uint8_t num_l2_vms;
	uint8_t msr_config_ctls;
	uint32_t reserved0;
	uint64_t eptp_controls;
	uint64_t config_flags;
	uint16_t tsc_frequency;
	uint8_t reserved1[38];
	uint8_t mrconfigid[48], mrowner[48], mrownerconfig[48];
	uint64_t ia32_arch_capabilities_config;
	uint8_t reserved2[24];
	uint8_t cpuid_config[768];
};

_Static_assert(sizeof(struct td_params) == TDX_TD_PARAMS_SIZE, "TD_PARAMS is 1024 bytes");

#define TD_ATTR_DEBUG (1ULL << 0)
#define TD_ATTR_SEPT_VE_DISABLE (1ULL << 28)
#define TD_CONFIG_GPAW (1ULL << 0)
#define TD_CONFIG_FLEXIBLE_PENDING_VE (1ULL << 1)
/* EPTP_CONTROLS: memory type WB (6), page-walk length 3 (4-level) or 4 (5-level) in bits 5:3. */
#define TD_EPTP_WB 6ULL
#define TD_EPTP_PWL_SHIFT 3

/* TDX_FEATURES0 bits. */
#define TDX_FEATURES0_NO_RBP_MOD (1ULL << 18)
#define TDX_FEATURES0_DYNAMIC_PAMT (1ULL << 36)
#define TDX_FEATURES0_ENHANCED_DEMOTE_INTERRUPTIBILITY (1ULL << 51)
/* Ours, in no module: DEMOTE wants neither BLOCK nor TRACK. Enumerated by profile "next" alone. */
#define TDX_FEATURES0_NON_BLOCKING_RESIZE (1ULL << 63)

/** tdx_status_class - the part of a status that callers compare */
static inline uint64_t tdx_status_class(uint64_t status)
{
	return status & TDX_STATUS_MASK;
}

/** tdx_is_error - an error, as opposed to success or information (ALREADY_BLOCKED and the like) */
static inline bool tdx_is_error(uint64_t status)
{
	return status & TDX_STATUS_ERROR;
}

static inline uint64_t tdx_page_info(uint64_t gpa, unsigned int tdx_level)
{
	return (gpa & TDX_PAGE_INFO_GPA) | tdx_level;
}

/** tdx_status_name - "TDX_OPERAND_BUSY" for a status, by its upper half; NULL if unknown */
const char *tdx_status_name(uint64_t status);
/** tdx_status_value - what tdx_status_name() calls by the @n characters at @name; false: no status */
bool tdx_status_value(const char *name, size_t n, uint64_t *status);
/** tdh_leaf_name / tdg_leaf_name - "TDH.MEM.PAGE.AUG"; NULL if the number isn't a leaf of ours */
const char *tdh_leaf_name(unsigned int leaf);
const char *tdg_leaf_name(unsigned int leaf);

#endif
