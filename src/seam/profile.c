/* SPDX-License-Identifier: MIT */
/* What differs between module versions. */
#include <string.h>

#include "seam/seam.h"

/* TDX_FEATURES0 of every version here: what we model, or what asks for nothing of us. */
#define FEATURES_COMMON (BIT_ULL(4) /* RELAXED_MEM_MNG_CONCURRENCY */ | TDX_FEATURES0_NO_RBP_MOD)
#define FEATURES_1_5_20                                            \
	(FEATURES_COMMON | BIT_ULL(10) /* HOST_PRIORITY_LOCKS */ | \
	 BIT_ULL(16) /* PENDING_EPT_VIOLATION_V2 */ | TDX_FEATURES0_DYNAMIC_PAMT)
#define FEATURES_1_5_28 (FEATURES_1_5_20 | TDX_FEATURES0_ENHANCED_DEMOTE_INTERRUPTIBILITY)

static const struct seam_profile profiles[] = {
	{
		.name = "1.5.28",
		.is_real = true,
		.dynamic_pamt = true,
		.enhanced_demote_interruptibility = true,
		.promote_tree_exclusive = true,
		.pamt_removal_hint = true,
		.features0 = FEATURES_1_5_28,
	},
	{
		.name = "1.5.05",
		.is_real = true,
		.features0 = FEATURES_COMMON,
	},
	{
		.name = "1.5.25",
		.is_real = true,
		.dynamic_pamt = true,
		.interrupted_busy = true,
		.promote_tree_exclusive = true,
		.pamt_removal_hint = true,
		.features0 = FEATURES_1_5_20,
	},
	{
		.name = "next",
		.dynamic_pamt = true,
		.enhanced_demote_interruptibility = true,
		.promote_tree_exclusive = true,
		.pamt_removal_hint = true,
		.demote_without_block = true,
		.features0 = FEATURES_1_5_28 | TDX_FEATURES0_NON_BLOCKING_RESIZE,
	},
};

const struct seam_profile *seam_profile_at(unsigned int i)
{
	return i < ARRAY_SIZE(profiles) ? &profiles[i] : NULL;
}

const struct seam_profile *seam_profile_by_name(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(profiles); i++) {
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	}
	return NULL;
}
