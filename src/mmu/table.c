/* SPDX-License-Identifier: MIT */
/* mmu/table: life of a table page: a host frame of 512 entries and its descriptor. */
#include <stdlib.h>

#include "mmu/internal.h"

static enum frame_use table_use(const struct mmu_page *sp)
{
	return sp->mirror ? FRAME_MIRROR_TABLE : FRAME_DIRECT_TABLE;
}

struct mmu_page *mmu_page_alloc_unfilled(struct mmu *mmu, bool mirror)
{
	struct mmu_page *sp = calloc(1, sizeof(*sp));

	if (!sp)
		return NULL;
	sp->mmu = mmu;
	sp->mirror = mirror;
	if (host_alloc(mmu->host, PG_LEVEL_4K, table_use(sp), &sp->table)) {
		free(sp);
		return NULL;
	}
	sp->spt = host_frame_ptr(mmu->host, sp->table);
	mmu->host->private[sp->table] = sp;
	return sp;
}

struct mmu_page *mmu_page_alloc(struct mmu *mmu, bool mirror)
{
	struct mmu_page *sp = mmu_page_alloc_unfilled(mmu, mirror);

	if (sp)
		host_zero(mmu->host, sp->table, PG_LEVEL_4K, 0);
	return sp;
}

void mmu_page_use(struct mmu_page *sp, gfn_t gfn, enum pg_level level)
{
	sp->gfn = gfn;
	sp->level = level;
	host_frame_dirty(sp->mmu->host, sp->table);
}

void mmu_page_free(struct mmu_page *sp)
{
	struct host *host = sp->mmu->host;

	host->private[sp->table] = NULL;
	host_free(host, sp->table, PG_LEVEL_4K, table_use(sp));
	free(sp);
}

static void free_callback(struct sync_rcu_head *head)
{
	mmu_page_free(container_of(head, struct mmu_page, rcu));
}

void mmu_page_free_rcu(struct mmu_page *sp)
{
	if (bug_planted(&sp->mmu->host->bugs, BUG_RCU_FREE_TOO_EARLY))
		mmu_page_free(sp);
	else
		sync_rcu_call(&sp->rcu, free_callback);
}
