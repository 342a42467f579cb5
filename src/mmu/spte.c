/* SPDX-License-Identifier: MIT */
/* mmu/spte: what the external side may ask of an entry. */
#include "mmu/spte.h"

#include "mmu/internal.h"

bool mmu_spte_is_present(u64 spte)
{
	return spte_is_present(spte);
}

bool mmu_spte_is_frozen(u64 spte)
{
	return spte_is_frozen(spte);
}

bool mmu_spte_is_leaf(u64 spte, enum pg_level level)
{
	return spte_is_leaf(spte, level);
}

pfn_t mmu_spte_pfn(u64 spte)
{
	return spte_pfn(spte);
}

struct mmu_page *mmu_spte_child(const struct mmu *mmu, u64 spte)
{
	return mmu->host->private[spte_pfn(spte)];
}
