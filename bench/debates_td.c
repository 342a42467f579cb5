/* SPDX-License-Identifier: MIT */
/* Machines and TDs for the debates, and what a host thread does to their memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/debates.h"

/* ---- times -----------------------------------------------------------------------------------*/
void debate_note(struct debate_times *t, u64 ns)
{
	if (t->nr < DEBATE_SAMPLES)
		t->us[t->nr++] = (double)ns / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double debate_median(struct debate_times *t)
{
	qsort(t->us, t->nr, sizeof(t->us[0]), by_value);
	return t->nr ? t->us[t->nr / 2] : 0;
}

#define FLOOR_WORDS (4 * PTRS_PER_TABLE) /* 16 KiB */

static void floor_once(u64 *words, u32 atomics, u32 stores, u64 loads)
{
	u64 sum = 0;

	for (u32 i = 0; i < atomics; i++) {
		u64 seen = sync_load(&words[i % FLOOR_WORDS]);

		sync_cmpxchg(&words[i % FLOOR_WORDS], &seen, seen + 1);
	}
	for (u32 i = 0; i < stores; i++)
		sync_store(&words[i % FLOOR_WORDS], i);
	for (u64 i = 0; i < loads; i++)
		sum += sync_load(&words[i % FLOOR_WORDS]);
	sync_store(&words[0], sum);
}

double debate_floor_us(u32 atomics, u32 stores, u64 loads)
{
	u64 *words = calloc(FLOOR_WORDS, sizeof(*words));
	u32 samples = loads > 1000000 ? 3 : DEBATE_SAMPLES;
	struct debate_times t = {0};

	if (!words)
		return 0;
	floor_once(words, atomics, stores, loads);
	for (u32 i = 0; i < samples; i++) {
		u64 start = host_now_ns();

		floor_once(words, atomics, stores, loads);
		debate_note(&t, host_now_ns() - start);
	}
	free(words);
	return debate_median(&t);
}

/* ---- a machine and its TDs -------------------------------------------------------------------*/
int debate_td_machine(struct debate_td *t, const struct debate_td_config *cfg)
{
	struct machine_config mc = {.memory_bytes = cfg->host_bytes,
				    .lps = cfg->lps,
				    .profile = seam_profile_by_name(cfg->profile),
				    .dynamic_pamt = cfg->dynamic_pamt,
				    .seamcall = debate_timed_seamcall};
	int err;

	memset(t, 0, sizeof(*t));
	err = machine_create(&mc, &t->m);
	t->is_up = !err;
	return err;
}

int debate_td_vms(struct debate_td *t, const struct debate_td_config *cfg)
{
	int err = 0;

	while (!err && t->nr_vms < cfg->nr_vms) {
		struct vm_config vc = cfg->vm;

		vc.first_lp = t->nr_vms * vc.nr_vcpus;
		if (!vc.max_level)
			vc.max_level = PG_LEVEL_2M;
		vc.gpaw = 48;
		vc.sept_ve_disable = true;
		err = vm_create(&t->m, &vc, &t->vm[t->nr_vms]);
		t->nr_vms += !err;
	}
	return err;
}

void debate_td_down(struct debate_td *t)
{
	while (t->nr_vms)
		vm_destroy(t->vm[--t->nr_vms]);
	if (t->is_up)
		machine_destroy(&t->m);
	t->is_up = false;
}

bool debate_map_pfn(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, pfn_t pfn,
		    enum pg_level level)
{
	struct mmu_fault fault = {.gfn = gfn,
				  .pfn = pfn,
				  .max_level = level,
				  .private = true,
				  .invalidate_seq = mmu_invalidate_seq(vm_mmu(vm))};

	return !mmu_cache_topup(cache) && !td_fault_topup(vm_td(vm)) &&
	       mmu_map(vm_mmu(vm), cache, &fault) == MMU_RET_FIXED;
}

bool debate_map(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, enum pg_level level)
{
	enum pg_level folio;
	pfn_t pfn;

	return !gmem_get_pfn(vm_file(vm), gfn, &pfn, &folio) && folio >= level &&
	       debate_map_pfn(vm, cache, gfn, pfn, level);
}

static bool split_alone(struct mmu *mmu, gfn_t gfn)
{
	int err;

	sync_write_lock(mmu_lock(mmu));
	err = mmu_split_to_level(mmu, gfn, gfn + 1, PG_LEVEL_4K, true);
	sync_write_unlock(mmu_lock(mmu));
	return !err;
}

bool debate_split(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, bool shared, u64 *retries)
{
	int ret;

	if (!shared)
		return split_alone(vm_mmu(vm), gfn);
	while ((ret = mmu_split_shared(vm_mmu(vm), cache, NULL, gfn, PG_LEVEL_4K)) == MMU_RET_RETRY)
		++*retries;
	return ret == MMU_RET_FIXED;
}

bool debate_promote(struct vm *vm, gfn_t gfn)
{
	int err;

	sync_write_lock(mmu_lock(vm_mmu(vm)));
	err = mmu_promote(vm_mmu(vm), gfn, PG_LEVEL_2M);
	sync_write_unlock(mmu_lock(vm_mmu(vm)));
	return !err;
}

bool debate_warm_up(struct vm *vm, struct mmu_vcpu_cache *cache, u32 nr, bool shared)
{
	u64 step = pages_per_level(PG_LEVEL_2M), retries = 0;
	bool fine = true;

	for (u32 round = 0; round < 4; round++) {
		for (u32 i = 0; i < nr; i++)
			fine &= debate_split(vm, cache, i * step, shared, &retries);
		for (u32 i = 0; i < nr; i++)
			fine &= debate_promote(vm, i * step);
		sync_rcu_barrier(); /* tables are frames again */
	}
	return fine;
}

/* ---- calls -----------------------------------------------------------------------------------*/
static enum debate_part part_of(u64 leaf)
{
	switch (leaf) {
	case TDH_MEM_RANGE_BLOCK:
		return PART_BLOCK;
	case TDH_MEM_TRACK:
		return PART_TRACK;
	case TDH_MEM_PAGE_DEMOTE:
		return PART_DEMOTE;
	}
	return DEBATE_PARTS;
}

static u64 demote_or_busy(struct debate_calls *c, struct lp *lp, struct tdx_regs *r)
{
	if (c->demotes++ >= c->busy_first)
		return seamcall(lp, r);
	r->rax = TDX_OPERAND_BUSY | TDX_OPERAND_RCX;
	return r->rax;
}

u64 debate_timed_seamcall(struct lp *lp, struct tdx_regs *r)
{
	enum debate_part part = part_of(r->rax & 0xFFFF);
	struct debate_calls *c = lp->guest;
	u64 start, status;

	/* A processor that runs a guest has that there; it makes none of these calls. */
	if (part == DEBATE_PARTS || !c || lp->guest_ops)
		return seamcall(lp, r);
	start = host_now_ns();
	if (c->last_end && part == PART_DEMOTE)
		c->ns[PART_WAIT] += start - c->last_end;
	status = part == PART_DEMOTE ? demote_or_busy(c, lp, r) : seamcall(lp, r);
	c->last_end = host_now_ns();
	c->ns[part] += c->last_end - start;
	return status;
}
