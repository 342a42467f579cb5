/* SPDX-License-Identifier: MIT */
/*
 * Metadata fields: what the RD and WR leaves of SYS, MNG, VP and TDG.VM name by a 64-bit id.
 *
 * An id carries the class (bits 61:56), the "not architectural" flag (63) and the field code
 * (23:0), besides context and element size that different callers leave out; a field is found by
 * the first three.
 */
#ifndef SEAM_MD_H
#define SEAM_MD_H

#include "seam/internal.h"

#define MD_KEY(id) ((id)&0xBF00000000FFFFFFULL)
#define MD_NULL_ID UINT64_MAX

/* TDR and TDCS. */
#define MD_TDR_FATAL 0x8000000000000001ULL
#define MD_TDR_NUM_TDCX 0x8000000000000002ULL
#define MD_TDR_CHLDCNT 0x8000000000000004ULL
#define MD_TDR_LIFECYCLE 0x8000000000000005ULL
#define MD_TDR_HKID 0x8100000000000001ULL
#define MD_TDCS_NUM_VCPUS 0x9000000000000001ULL
#define MD_TDCS_NUM_ASSOC_VCPUS 0x9000000000000002ULL
#define MD_TDCS_OP_STATE 0x9000000000000004ULL
#define MD_TDCS_ATTRIBUTES 0x1100000000000000ULL
#define MD_TDCS_XFAM 0x1100000000000001ULL
#define MD_TDCS_MAX_VCPUS 0x1100000000000002ULL
#define MD_TDCS_GPAW 0x1100000000000003ULL
#define MD_TDCS_EPTP 0x1100000000000004ULL
#define MD_TDCS_TSC_FREQUENCY 0x110000000000000CULL
#define MD_TDCS_CONFIG_FLAGS 0x1100000000000016ULL
#define MD_TDCS_TD_CTLS 0x1100000000000017ULL
#define MD_TDCS_TD_EPOCH 0x9200000000000000ULL

/* TDVPS. */
#define MD_VMCS_SHARED_EPT_POINTER 0x000000000000203CULL
#define MD_TDVPS_VCPU_STATE 0xA000000000000000ULL
#define MD_TDVPS_VCPU_INDEX 0xA000000000000002ULL
#define MD_TDVPS_ASSOC_LPID 0xA000000000000004ULL
#define MD_TDVPS_VCPU_EPOCH 0xA000000000000006ULL

/* Who asks, or of what kind of TD: what he may read. */
enum md_reader {
	MD_HOST,
	MD_HOST_OF_DEBUG_TD,
	MD_GUEST,
};

/**
 * md_td_read - value of a TDR or TDCS field
 *
 * Return: 0; TDX_METADATA_FIELD_ID_INCORRECT; TDX_METADATA_FIELD_NOT_READABLE.
 */
u64 md_td_read(const struct leaf_ctx *ctx, u64 id, enum md_reader reader, u64 *value);
/** md_td_next - id of the field after @id that @reader can read, MD_NULL_ID after the last */
u64 md_td_next(u64 id, enum md_reader reader);

#endif
