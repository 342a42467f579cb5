/* SPDX-License-Identifier: MIT */
/*
 * Owns the rules for TDMR_INFO entries: alignment, order, reserved areas, PAMT areas.
 */
#include "seam/tdmr_config.h"

#define PAMT_LEVELS 3
/* Bits of a physical address below the key id. */
#define TDMR_PA_LIMIT BIT_ULL(TDX_HKID_START_BIT)

static u64 tdmr_error(u64 status, unsigned int tdmr, unsigned int detail, unsigned int other)
{
	return status | tdmr | (u64)detail << 8 | (u64)other << 16;
}

u64 tdmr_pamt_bytes(u64 size, unsigned int tdx_level, bool dynamic_pamt)
{
	u64 units = size >> (PAGE_SHIFT + 9 * tdx_level);
	u64 bytes = tdx_level == 0 && dynamic_pamt ? units / 8 : units * TDX_PAMT_ENTRY_SIZE;

	return ALIGN_UP(bytes, SIZE_4K);
}

void tdmr_pamt_area(const struct tdmr_info *info, unsigned int tdx_level, u64 *base, u64 *size)
{
	switch (tdx_level) {
	case 0:
		*base = info->pamt_4k_base;
		*size = info->pamt_4k_size;
		break;
	case 1:
		*base = info->pamt_2m_base;
		*size = info->pamt_2m_size;
		break;
	default:
		*base = info->pamt_1g_base;
		*size = info->pamt_1g_size;
	}
}

unsigned int tdmr_reserved_count(const struct tdmr_info *info)
{
	unsigned int n = 0;

	while (n < TDX_MAX_RESERVED_PER_TDMR && info->reserved[n].size)
		n++;
	return n;
}

/* [base, base + size) is not empty and does not wrap past the key-id bits. */
static bool range_is_sane(u64 base, u64 size)
{
	return size && base < TDMR_PA_LIMIT && size <= TDMR_PA_LIMIT - base;
}

static u64 check_reserved(const struct tdmr_info *t, unsigned int i)
{
	unsigned int used = tdmr_reserved_count(t);
	u64 end = 0;

	for (unsigned int r = 0; r < used; r++) {
		u64 offset = t->reserved[r].offset, size = t->reserved[r].size;

		if (!IS_ALIGNED(offset | size, SIZE_4K) || offset >= t->size ||
		    size > t->size - offset)
			return tdmr_error(TDX_INVALID_RESERVED_IN_TDMR, i, r, 0);
		if (r && offset < end)
			return tdmr_error(TDX_NON_ORDERED_RESERVED_IN_TDMR, i, r, 0);
		end = offset + size;
	}
	/* Nothing may follow the first empty area. */
	for (unsigned int r = used; r < TDX_MAX_RESERVED_PER_TDMR; r++) {
		if (t->reserved[r].size)
			return tdmr_error(TDX_INVALID_RESERVED_IN_TDMR, i, r, 0);
	}
	return TDX_SUCCESS;
}

/* Some byte of [base, end) lies in @t and in none of its reserved areas. */
static bool touches_usable(const struct tdmr_info *t, u64 base, u64 end)
{
	u64 at = max_u64(base, t->base), limit = min_u64(end, t->base + t->size);
	unsigned int used = tdmr_reserved_count(t);

	for (unsigned int r = 0; r < used && at < limit; r++) {
		u64 start = t->base + t->reserved[r].offset;

		if (at < start)
			return true;
		at = max_u64(at, start + t->reserved[r].size);
	}
	return at < limit;
}

static u64 check_pamt(const struct tdmr_info *t, unsigned int i, const struct tdmr_rules *rules)
{
	for (unsigned int level = 0; level < PAMT_LEVELS; level++) {
		u64 base, size;

		tdmr_pamt_area(t, level, &base, &size);
		if (!IS_ALIGNED(base | size, SIZE_4K) || !range_is_sane(base, size) ||
		    size < tdmr_pamt_bytes(t->size, level, rules->dynamic_pamt))
			return tdmr_error(TDX_INVALID_PAMT, i, level, 0);
		if (base + size > rules->memory_bytes)
			return tdmr_error(TDX_PAMT_OUTSIDE_CMRS, i, level, 0);
	}
	return TDX_SUCCESS;
}

u64 tdmr_check(const struct tdmr_info *info, unsigned int i, const struct tdmr_rules *rules)
{
	const struct tdmr_info *t = &info[i];
	u64 status;

	if (!IS_ALIGNED(t->base | t->size, SIZE_1G) || !range_is_sane(t->base, t->size))
		return tdmr_error(TDX_INVALID_TDMR, i, 0, 0);
	if (i && t->base < info[i - 1].base + info[i - 1].size)
		return tdmr_error(TDX_NON_ORDERED_TDMR, i, 0, 0);
	status = check_reserved(t, i);
	if (status != TDX_SUCCESS)
		return status;
	if (touches_usable(t, rules->memory_bytes, UINT64_MAX))
		return tdmr_error(TDX_TDMR_OUTSIDE_CMRS, i, 0, 0);
	return check_pamt(t, i, rules);
}

u64 tdmr_check_overlaps(const struct tdmr_info *info, unsigned int i, unsigned int count)
{
	for (unsigned int level = 0; level < PAMT_LEVELS; level++) {
		u64 base, size;

		tdmr_pamt_area(&info[i], level, &base, &size);
		for (unsigned int j = 0; j < count; j++) {
			if (touches_usable(&info[j], base, base + size))
				return tdmr_error(TDX_PAMT_OVERLAP, i, level, j);
		}
		for (unsigned int j = 0; j <= i; j++) {
			unsigned int levels = j == i ? level : PAMT_LEVELS;

			for (unsigned int k = 0; k < levels; k++) {
				u64 other, other_size;

				tdmr_pamt_area(&info[j], k, &other, &other_size);
				if (base < other + other_size && other < base + size)
					return tdmr_error(TDX_PAMT_OVERLAP, i, level, j);
			}
		}
	}
	return TDX_SUCCESS;
}
