/* SPDX-License-Identifier: MIT */
/*
 * The Dynamic PAMT pair of a split, carried by the descriptor of the table page that the leaf is
 * split into (MMU_META_PAGE, MMU_META_PREALLOC). Whoever has the page has the pair: no lock, no
 * cache that may run dry. A split at 1G needs none: its parts are at 2M, whose metadata is static.
 */
#include "tdx/internal.h"

int td_alloc_split_metadata(void *ctx, struct mmu_page *sp, enum pg_level level)
{
	struct td *td = ctx;
	int err;

	if (!td_split_needs_pair(td, level))
		return 0;
	err = tdx_pair_alloc(td->module, sp->metadata);
	if (!err)
		sp->nr_metadata = 2;
	return err;
}

void td_free_split_metadata(void *ctx, struct mmu_page *sp)
{
	struct td *td = ctx;

	if (sp->nr_metadata)
		tdx_pair_free(td->module, sp->metadata);
	sp->nr_metadata = 0;
}
