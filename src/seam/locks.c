/* SPDX-License-Identifier: MIT */
/* The end of a leaf: what it has locked is unlocked here and nowhere else. */
#include "seam/internal.h"
#include "seam/sept.h"

void leaf_end(struct leaf_ctx *ctx)
{
	if (ctx->entry_locked)
		sept_unlock(ctx);
	for (u32 i = ctx->nr_held; i-- > 0;)
		lock_word_release(ctx->held[i].word, ctx->held[i].units);
	ctx->nr_held = 0;
}

void leaf_unlock_last(struct leaf_ctx *ctx)
{
	const struct held_lock *last = &ctx->held[--ctx->nr_held];

	lock_word_release(last->word, last->units);
}
