/* SPDX-License-Identifier: MIT */
/* The machine as a whole: who uses its frames, and what the module was given for them. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "check/internal.h"
#include "mmu/internal.h"
#include "seam/pamt.h"
#include "tdx/internal.h"
#include "vm/internal.h"

int check_broken(struct check *c, int number, const char *fmt, ...)
{
	int at = snprintf(c->why, c->size, "invariant %d: ", number);
	va_list args;

	if (at < 0 || (size_t)at >= c->size)
		return number;
	va_start(args, fmt);
	vsnprintf(c->why + at, c->size - (size_t)at, fmt, args);
	va_end(args);
	return number;
}

/* ---- 2: nothing goes on ----------------------------------------------------------------------*/
static int check_quiet(struct check *c, const struct td *td, const struct mmu *mmu)
{
	if (td_entry_held_off(td))
		return check_broken(c, 2, "the vCPUs are held out");
	if (mmu->invalidate_in_progress)
		return check_broken(c, 2, "%u invalidations go on", mmu->invalidate_in_progress);
	return 0;
}

/* ---- the TD's own pages ----------------------------------------------------------------------*/
static int use_control(struct check *c, const pfn_t *pfn, u32 nr)
{
	int broken = 0;

	for (u32 i = 0; i < nr && !broken; i++)
		broken = check_use_4k(c, pfn[i], 3, "a control page");
	c->frames[FRAME_TD_CONTROL] += nr;
	return broken;
}

static int use_td(struct check *c, const struct td *td)
{
	int broken = use_control(c, &td->tdr, 1);

	if (!broken)
		broken = use_control(c, td->tdcx, td->nr_tdcx);
	for (u32 i = 0; i < td->nr_vcpus && !broken; i++)
		broken = use_control(c, td->vcpus[i]->pages, td->vcpus[i]->nr_pages);
	c->frames[FRAME_PAMT] += td->split_cache.nr;
	return broken;
}

/* ---- 3: users of 2M ranges -------------------------------------------------------------------*/
/* Pairs that the module has. Frames of the 2M area that were never written hold none. */
static int count_pairs(struct check *c, const struct seam_tdmr *t, u64 *pairs)
{
	pfn_t pfn = addr_to_fn(t->pamt_base[1]);
	pfn_t end = pfn + addr_to_fn(t->pamt_size[1]);
	const u64 per_frame = PAGE_SIZE / TDX_PAMT_ENTRY_SIZE;

	for (u64 first = pfn; (pfn = host_first_dirty(c->host, pfn, end)) < end; pfn++) {
		const struct pamt_entry *e = host_frame_ptr(c->host, pfn);

		for (u64 i = 0; i < per_frame; i++) {
			u64 range = t->base / SIZE_2M + (pfn - first) * per_frame + i;

			if (pamt_type(&e[i]) != PT_PAMT)
				continue;
			++*pairs;
			if (!tdx_pamt_refs(c->h->tdx, range * PTRS_PER_TABLE))
				return check_broken(c, 3,
						    "2M range %" PRIx64 " has a pair, and no user",
						    range);
		}
	}
	return 0;
}

/* Every pair's range has users; so as many of either are the same ones. */
static int check_pairs(struct check *c, u64 ranges_used)
{
	const struct seam *seam = c->h->seam;
	u64 pairs = 0;

	for (u32 i = 0; i < seam->nr_tdmrs; i++) {
		int broken = count_pairs(c, &seam->tdmr[i], &pairs);

		if (broken)
			return broken;
	}
	if (pairs != ranges_used)
		return check_broken(c, 3,
				    "%" PRIu64 " 2M ranges are used at 4K, but %" PRIu64
				    " have a pair",
				    ranges_used, pairs);
	if (2 * pairs != tdx_dpamt_pages(c->h->tdx))
		return check_broken(c, 8,
				    "%" PRIu64 " pages of pairs are in the module, but %" PRIu64
				    " are counted",
				    2 * pairs, tdx_dpamt_pages(c->h->tdx));
	c->frames[FRAME_PAMT] += 2 * pairs;
	return 0;
}

static int check_users(struct check *c)
{
	bool dynamic = c->h->tdx->dynamic_pamt;
	u64 ranges_used = 0;

	for (u64 range = 0; range < c->nr_ranges; range++) {
		u32 users = c->users[range] & ~CHECK_LARGE;
		u32 refs = tdx_pamt_refs(c->h->tdx, range * PTRS_PER_TABLE);

		if (users && (c->users[range] & CHECK_LARGE))
			return check_broken(c, 3,
					    "2M range %" PRIx64
					    " is mapped large and has %u users at 4K",
					    range, users);
		if (dynamic && users != refs)
			return check_broken(c, 3,
					    "2M range %" PRIx64
					    " has %u users at 4K, but %u are counted",
					    range, users, refs);
		ranges_used += !!users;
	}
	return dynamic ? check_pairs(c, ranges_used) : 0;
}

/* ---- 8: frames by purpose --------------------------------------------------------------------*/
static bool frames_agree(const struct check *c, enum frame_use use)
{
	return sync_load(&c->host->used[use]) == c->frames[use];
}

static int check_frames(struct check *c)
{
	const struct tdx_module *tdx = c->h->tdx;

	c->frames[FRAME_PAMT] += tdx->pamt_frames;
	for (u32 i = 0; i < tdx->nr_per_lp; i++)
		c->frames[FRAME_PAMT] += tdx->per_lp[i].nr_spare;
	/* Tables that left a tree are freed later; waiting for that is slow, and nearly never needed. */
	if (!frames_agree(c, FRAME_MIRROR_TABLE) || !frames_agree(c, FRAME_DIRECT_TABLE))
		sync_rcu_barrier();
	for (enum frame_use use = 0; use < FRAME_USE_COUNT; use++)
		if (!(use == FRAME_GUEST && !c->has_files) && use != FRAME_OTHER &&
		    use != FRAME_FAILED && !frames_agree(c, use))
			return check_broken(c, 8,
					    "%" PRIu64 " frames are allocated as %s, but %" PRIu64
					    " are somewhere",
					    sync_load(&c->host->used[use]), frame_use_name(use),
					    c->frames[use]);
	return 0;
}

/* ---- all of it -------------------------------------------------------------------------------*/
static int look_at_td(struct check *c, struct td *td, struct mmu *mmu, struct vm *vm)
{
	int broken = check_quiet(c, td, mmu);

	if (!broken)
		broken = use_td(c, td);
	return broken ? broken : check_trees(c, td, mmu, vm);
}

static int look_at_vm(struct check *c, struct vm *vm)
{
	int broken = look_at_td(c, vm->td, vm->mmu, vm);

	for (u32 i = 0; i < vm->nr_vcpus && !broken; i++)
		broken = check_cache(c, &vm->vcpus[i].cache);
	return broken;
}

static int look_at_bare_td(struct check *c, const struct check_td *t)
{
	int broken = look_at_td(c, t->td, t->mmu, NULL);

	for (u32 i = 0; i < t->nr_caches && !broken; i++)
		broken = check_cache(c, &t->caches[i]);
	return broken;
}

static int look_at_host(struct check *c)
{
	int broken = check_users(c);

	return broken ? broken : check_frames(c);
}

static int check_init(struct check *c, const struct check_host *h, char *why, size_t size)
{
	*c = (struct check){.h = h, .host = h->host, .why = why, .size = size};
	c->nr_ranges = c->host->nr_frames / PTRS_PER_TABLE;
	/* Zero pages until touched: both cost what is used, not what the host has. */
	c->used_4k = calloc(c->host->nr_frames / 64, sizeof(*c->used_4k));
	c->users = calloc(c->nr_ranges, sizeof(*c->users));
	return c->used_4k && c->users ? 0 : -ENOMEM;
}

static void check_exit(struct check *c)
{
	free(c->used_4k);
	free(c->users);
}

int check_tds(const struct check_host *h, const struct check_td *tds, u32 nr_tds, char *why,
	      size_t size)
{
	struct check c;
	int broken = check_init(&c, h, why, size);

	for (u32 i = 0; i < nr_tds && !broken; i++)
		broken = look_at_bare_td(&c, &tds[i]);
	if (!broken)
		broken = look_at_host(&c);
	check_exit(&c);
	return broken;
}

int check_vms(struct machine *m, struct vm *const *vms, u32 nr_vms, char *why, size_t size)
{
	const struct check_host h = {.host = m->host, .seam = m->seam, .tdx = m->tdx};
	struct check c;
	int broken;

	for (u32 i = 0; i < nr_vms; i++)
		if (vm_why_dead(vms[i]))
			return 0;
	broken = check_init(&c, &h, why, size);
	c.has_files = true;
	for (u32 i = 0; i < nr_vms && !broken; i++)
		broken = look_at_vm(&c, vms[i]);
	if (!broken)
		broken = check_files(&c, vms, nr_vms);
	if (!broken)
		broken = look_at_host(&c);
	check_exit(&c);
	return broken;
}
