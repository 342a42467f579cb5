/* SPDX-License-Identifier: MIT */
/*
 * The rules that an array of TDMR_INFO must keep before SYS.CONFIG takes it. Pure functions of the
 * array and the machine: nothing is kept here.
 */
#ifndef SEAM_TDMR_CONFIG_H
#define SEAM_TDMR_CONFIG_H

#include "base/types.h"
#include "septum/abi.h"

/* What of the machine the rules depend on. */
struct tdmr_rules {
	u64 memory_bytes; /* the one CMR: [0, memory_bytes) */
	bool dynamic_pamt;
};

/**
 * tdmr_pamt_bytes - least size of the PAMT area of @tdx_level (0 = 4K) for a TDMR of @size bytes
 *
 * With Dynamic PAMT the 4K area is the bitmap.
 */
u64 tdmr_pamt_bytes(u64 size, unsigned int tdx_level, bool dynamic_pamt);

/** tdmr_pamt_area - base and size of the PAMT area of @tdx_level that @info names */
void tdmr_pamt_area(const struct tdmr_info *info, unsigned int tdx_level, u64 *base, u64 *size);

/** tdmr_reserved_count - reserved areas in use: those before the first of size 0 */
unsigned int tdmr_reserved_count(const struct tdmr_info *info);

/**
 * tdmr_check - hold entry @i of @info against @rules and against the entries before it
 *
 * Return: TDX_SUCCESS, or a status of class 0xA whose bits 7:0 are @i, 15:8 the PAMT level or the
 * reserved area, 23:16 the other TDMR of an overlap.
 */
u64 tdmr_check(const struct tdmr_info *info, unsigned int i, const struct tdmr_rules *rules);

/**
 * tdmr_check_overlaps - no PAMT area of entry @i lies in usable memory of a TDMR, or in another area
 *
 * All @count entries have passed tdmr_check().
 */
u64 tdmr_check_overlaps(const struct tdmr_info *info, unsigned int i, unsigned int count);

#endif
