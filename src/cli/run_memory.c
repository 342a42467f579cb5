/* SPDX-License-Identifier: MIT */
/*
 * The memory of a run: how much the host needs, the pool and the file that are made of it, and pages
 * of it that fail.
 */
#include <errno.h>

#include "cli/run.h"

/* ---- sizes -----------------------------------------------------------------------------------*/
/* A file is whole huge pages of its pool; memory may end before it does. */
static u64 file_bytes(const struct run_config *cfg)
{
	if (!run_is_hugetlb(cfg))
		return cfg->memory_bytes;
	return ALIGN_UP(cfg->memory_bytes, level_size(run_pool_level(cfg)));
}

/*
 * Beside the guest's memory: its tables and pairs should all of it be mapped at 4K, and descriptors of
 * as many huge pages as can be taken apart at once.
 */
u64 run_machine_bytes(const struct run_config *cfg)
{
	u64 guest = file_bytes(cfg), rest = guest / 64 + 64 * 1024 * 1024;

	if (!run_is_hugetlb(cfg))
		return guest + rest;
	if (cfg->vmemmap == RUN_VMEMMAP_ON)
		rest += guest / 64;
	/* Huge pages are aligned, and the rest may lie anywhere between. */
	return cfg->pool_pages * level_size(run_pool_level(cfg)) + ALIGN_UP(rest, SIZE_1G);
}

/* ---- pool and file ---------------------------------------------------------------------------*/
int run_memory_create(const struct run_config *cfg, struct host *host, struct run_memory *mem)
{
	struct gmem_config fc = cfg->file;
	u64 missing;
	int err = 0;

	*mem = (struct run_memory){0};
	if (run_is_hugetlb(cfg))
		err = hugetlb_pool_create(host, run_pool_level(cfg), cfg->pool_pages,
					  cfg->vmemmap == RUN_VMEMMAP_ON, &mem->pool, &missing);
	if (err)
		return err;
	fc.size = file_bytes(cfg);
	fc.pool = mem->pool;
	err = gmem_create(host, &fc, &mem->file);
	if (err && mem->pool)
		hugetlb_pool_destroy(mem->pool);
	return err;
}

void run_memory_destroy(struct run_memory *mem)
{
	gmem_release(mem->file);
	if (mem->pool)
		hugetlb_pool_destroy(mem->pool);
}

/* ---- failure ---------------------------------------------------------------------------------*/
/*
 * How many pages are lost is what the file counts: none where nothing backs the page or it had failed
 * before, one, or what was left of the whole huge page.
 */
static struct replay_loss fail_page(struct vm *vm, gpa_t gpa)
{
	gfn_t gfn = addr_to_fn(gpa), limit = vm_slot(vm)->npages;
	u64 before = gmem_stats(vm_file(vm)).failed_pages, lost, block;

	/* An error says that the page could not be split off, and that more is lost for it. */
	vm_memory_failure(vm, gpa);
	lost = gmem_stats(vm_file(vm)).failed_pages - before;
	if (lost <= 1)
		return (struct replay_loss){gfn, lost};
	block = pages_per_level(lost <= pages_per_level(PG_LEVEL_2M) ? PG_LEVEL_2M : PG_LEVEL_1G);
	gfn = ALIGN_DOWN(gfn, block);
	return (struct replay_loss){gfn, min_u64(block, limit - gfn)};
}

struct replay_loss run_fail(void *ctx, const struct replay_failure *failure)
{
	struct run_memory_failing *f = ctx;

	if (!failure->allocation)
		return fail_page(f->vm, failure->gpa);
	host_fail_alloc_at(f->host, failure->allocation);
	return (struct replay_loss){0};
}
