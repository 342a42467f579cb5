/* SPDX-License-Identifier: MIT */
/*
 * mmu/spte: the format of one entry, mirror and direct alike.
 *
 *   63 ........ 52 51 ........................ 12 11 10 9 8  7   6 .. 3  2 1 0
 *        0          frame of the page or table     P  F  0   L     0     X W R
 *
 *   P  present: the entry is a leaf or points to a table. Software's own, since what the hardware
 *      looks at (R, W, X) may be elsewhere.
 *   F  FROZEN: somebody is in the middle of changing the entry. Never together with another bit.
 *   L  leaf, at 2M and up; at 4K every present entry is a leaf, and L is clear.
 *
 * An entry is one of four kinds: NONE (0), LEAF, TABLE, FROZEN. Which may follow which stands in
 * spte_changes.def.
 */
#ifndef MMU_SPTE_H
#define MMU_SPTE_H

#include "base/types.h"

#define SPTE_READ BIT_ULL(0)
#define SPTE_WRITE BIT_ULL(1)
#define SPTE_EXEC BIT_ULL(2)
#define SPTE_RWX (SPTE_READ | SPTE_WRITE | SPTE_EXEC)
#define SPTE_LARGE BIT_ULL(7)
#define SPTE_FROZEN BIT_ULL(10)
#define SPTE_PRESENT BIT_ULL(11)
#define SPTE_PFN_MASK GENMASK_ULL(51, 12)

#define SPTE_NONE 0ULL

enum spte_kind {
	SPTE_KIND_NONE,
	SPTE_KIND_LEAF,
	SPTE_KIND_TABLE,
	SPTE_KIND_FROZEN, /* or no entry that the format knows */
	SPTE_KINDS,
};

/* What a change from one kind to another is (spte_changes.def). 0: nothing that may happen. */
#define CHANGE_LEGAL 0x1u
#define CHANGE_SHARED 0x2u /* may happen under the read lock */
#define CHANGE_HOOK 0x4u   /* the external side has a say: one call of set_external_spte */
#define CHANGE_SPLIT 0x8u
#define CHANGE_PROMOTE 0x10u /* in the mirror alone */

static inline bool spte_is_present(u64 spte)
{
	return spte & SPTE_PRESENT;
}

static inline bool spte_is_frozen(u64 spte)
{
	return spte == SPTE_FROZEN;
}

static inline bool spte_is_leaf(u64 spte, enum pg_level level)
{
	return spte_is_present(spte) && (level == PG_LEVEL_4K || (spte & SPTE_LARGE));
}

static inline bool spte_is_table(u64 spte, enum pg_level level)
{
	return level != PG_LEVEL_4K && (spte & (SPTE_PRESENT | SPTE_LARGE)) == SPTE_PRESENT;
}

static inline enum spte_kind spte_kind(u64 spte, enum pg_level level)
{
	if (spte == SPTE_NONE)
		return SPTE_KIND_NONE;
	if (!spte_is_present(spte))
		return SPTE_KIND_FROZEN;
	return spte_is_leaf(spte, level) ? SPTE_KIND_LEAF : SPTE_KIND_TABLE;
}

static inline pfn_t spte_pfn(u64 spte)
{
	return addr_to_fn(spte & SPTE_PFN_MASK);
}

static inline u64 spte_make_leaf(pfn_t pfn, enum pg_level level)
{
	return fn_to_addr(pfn) | SPTE_PRESENT | SPTE_RWX | (level == PG_LEVEL_4K ? 0 : SPTE_LARGE);
}

/* The i-th of the 512 parts that make up @leaf, which is at @level; the next one is a step further. */
static inline u64 spte_make_part(u64 leaf, enum pg_level level, unsigned int i)
{
	return spte_make_leaf(spte_pfn(leaf) + i * pages_per_level(level - 1), level - 1);
}

static inline u64 spte_part_step(enum pg_level level)
{
	return level_size(level - 1);
}

static inline u64 spte_make_table(pfn_t table)
{
	return fn_to_addr(table) | SPTE_PRESENT | SPTE_RWX;
}

#endif
