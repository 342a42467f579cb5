/* SPDX-License-Identifier: MIT */
/*
 * Putting huge leaves back where 512 small ones lie together again: when, and by whom.
 *
 *   a fault fills the last gap of a block      --> candidate
 *   a promotion fills the last gap of a block  --> candidate, of the next level
 *   an exit (NOW: its vCPU, IDLE: the thread)  --> tries the candidates that are due
 *   refused: some pages aren't accepted yet    --> due again after 1, 2, 4, ... exits, at most 8 times
 *   the last vCPU stops                        --> every block that could be is tried once more, 2M
 *                                                  first and then 1G
 *
 * The first try comes at a later exit than the fault: the guest has to accept that last page first.
 * A candidate that finds no room, or has used up its tries, is left to the end.
 *
 * Races: a try looks memory and attributes up without a lock, like a fault, and finds out in the same
 * way under mmu.lock that an invalidation got in between. One that is going on bars it, in mmu, too: its
 * leaves have been split for a reason. The guest's wish for small pages (GUEST_INHIBIT) bars faults
 * alone; with the large leaf back the wish has been granted, and the bit goes.
 */
#include <errno.h>

#include "vm/internal.h"

#define LOWEST PG_LEVEL_2M
#define MAX_TRIES 8

/* ---- candidates ------------------------------------------------------------------------------
 * Words of a small array, each taken and put by compare-exchange:
 *
 *	first gfn of the block | its level, 2M as 0 (4 bits) | tries that it has had, plus one (4 bits)
 *
 * nr is a hint: who reads it late comes late.
 */
#define TRIES_BITS 4
#define TRIES_MASK (BIT_ULL(TRIES_BITS) - 1)

static u64 make_candidate(gfn_t gfn, enum pg_level level, u32 tries)
{
	return fn_align_down(gfn, level) | (u64)(level - LOWEST) << TRIES_BITS | (tries + 1);
}

static gfn_t candidate_gfn(u64 word)
{
	return fn_align_down(word, LOWEST);
}

static enum pg_level candidate_level(u64 word)
{
	return LOWEST + (enum pg_level)((word - candidate_gfn(word)) >> TRIES_BITS);
}

static u32 candidate_tries(u64 word)
{
	return (u32)(word & TRIES_MASK) - 1;
}

static bool is_candidate(struct vm_promoter *p, gfn_t gfn, enum pg_level level)
{
	u64 untried = make_candidate(gfn, level, 0);

	for (u32 i = 0; i < VM_CANDIDATES; i++)
		if (!((sync_load(&p->candidate[i]) ^ untried) & ~TRIES_MASK))
			return true;
	return false;
}

static void put_candidate(struct vm_promoter *p, gfn_t gfn, enum pg_level level, u32 tries)
{
	for (u32 i = 0; i < VM_CANDIDATES; i++) {
		u64 none = 0;

		if (!sync_load(&p->candidate[i]) &&
		    sync_cmpxchg(&p->candidate[i], &none, make_candidate(gfn, level, tries))) {
			sync_fetch_add(&p->nr, 1);
			return;
		}
	}
}

/* The block of @level at @gfn has just got its last part, or a part like any other. */
static void note_block(struct vm *vm, gfn_t gfn, enum pg_level level)
{
	if (mmu_is_promotable(vm->mmu, gfn, level) && !is_candidate(&vm->promoter, gfn, level))
		put_candidate(&vm->promoter, gfn, level, 0);
}

/* ---- one block -------------------------------------------------------------------------------*/
/* Memory, attributes and slot allow a leaf there; small ones may just happen to lie side by side. */
static bool may_be_leaf(const struct vm_slot *slot, gfn_t gfn, enum pg_level level)
{
	return mmu_slot_may_promote(&slot->mmu, gfn, level) &&
	       gmem_leaf_level(slot->file, vm_slot_index(slot, gfn)) >= level;
}

int vm_promote_try(struct vm *vm, gfn_t gfn, enum pg_level level)
{
	u64 seq = mmu_invalidate_seq(vm->mmu);
	struct vm_slot *slot = vm_find_slot(vm, gfn);
	int err = -EAGAIN;

	if (bug_planted(&vm->host->bugs, BUG_PROMOTION_IN_NAME))
		return 0;
	if (!slot || !may_be_leaf(slot, gfn, level))
		return -ENOENT;
	sync_write_lock(mmu_lock(vm->mmu));
	if ((bug_planted(&vm->host->bugs, BUG_PROMOTE_IGNORES_INVALIDATION) ||
	     !mmu_invalidate_retry(vm->mmu, seq, gfn)) &&
	    !vm_is_dead(vm) && mmu_is_promotable(vm->mmu, gfn, level))
		err = mmu_promote(vm->mmu, gfn, level);
	if (!err)
		mmu_slot_clear_guest_inhibit(&slot->mmu, gfn, level);
	sync_write_unlock(mmu_lock(vm->mmu));
	if (!err && level < vm->promoter.max_level)
		note_block(vm, gfn, level + 1);
	return err;
}

/* Tries those that are due at exit number @turn. */
static void try_candidates(struct vm *vm, u32 turn)
{
	struct vm_promoter *p = &vm->promoter;

	for (u32 i = 0; i < VM_CANDIDATES; i++) {
		u64 word = sync_load(&p->candidate[i]);
		enum pg_level level;
		u32 tries;

		if (!word)
			continue;
		tries = candidate_tries(word);
		/* Whoever takes it out tries it. */
		if (turn & ((1U << tries) - 1) || !sync_cmpxchg(&p->candidate[i], &word, 0ULL))
			continue;
		sync_fetch_sub(&p->nr, 1);
		level = candidate_level(word);
		if (vm_promote_try(vm, candidate_gfn(word), level) == -EAGAIN &&
		    tries + 1 < MAX_TRIES)
			put_candidate(p, candidate_gfn(word), level, tries + 1);
	}
}

/*
 * A fault that came at 4K can't be the last gap of a 1G block, or its 2M block is promoted before. What
 * was mapped may be smaller than @level: where tables are in the way it is.
 */
void vm_promote_note(struct vm *vm, const struct vm_slot *slot, gfn_t gfn, enum pg_level level,
		     enum pg_level leaf)
{
	enum pg_level top = vm->promoter.max_level;

	if (leaf < top)
		top = leaf;
	if (slot->mmu.max_level < top)
		top = slot->mmu.max_level;
	if (top >= LOWEST)
		note_block(vm, gfn, LOWEST);
	if (top > LOWEST && level >= LOWEST)
		note_block(vm, gfn, LOWEST + 1);
}

void vm_promote_at_exit(struct vm *vm)
{
	struct vm_promoter *p = &vm->promoter;
	u32 turn;

	if (likely(!sync_load(&p->nr)))
		return;
	turn = sync_fetch_add(&p->turn, 1) + 1;
	if (p->policy == VM_PROMOTE_NOW)
		try_candidates(vm, turn);
	else
		sync_wake_all(&p->wake);
}

/* ---- the end ---------------------------------------------------------------------------------*/
/* Tries every block once, from small to large. */
static void sweep(struct vm *vm)
{
	for (enum pg_level level = LOWEST; level <= vm->promoter.max_level; level++) {
		gfn_t gfn = 0;

		while (!vm_is_dead(vm) && mmu_next_table(vm->mmu, &gfn, level)) {
			if (mmu_is_promotable(vm->mmu, gfn, level))
				vm_promote_try(vm, gfn, level);
			gfn = fn_align_down(gfn, level) + pages_per_level(level);
		}
	}
}

static bool has_finished(void *arg)
{
	struct vm_promoter *p = arg;

	/* Pairs with the increment in promoter_main(). */
	return sync_load_acquire(&p->finished) == sync_load(&p->asked);
}

void vm_promote_finish(struct vm *vm)
{
	struct vm_promoter *p = &vm->promoter;

	if (p->policy == VM_PROMOTE_NOW) {
		sweep(vm);
	} else if (p->policy == VM_PROMOTE_IDLE) {
		sync_fetch_add(&p->asked, 1);
		sync_wake_all(&p->wake);
		sync_wait(&p->done, has_finished, p);
	}
}

/* ---- the thread of VM_PROMOTE_IDLE -----------------------------------------------------------*/
static bool has_work(void *arg)
{
	struct vm_promoter *p = arg;

	/* Pair with the increments of those who wake it. */
	return sync_load_acquire(&p->turn) != p->seen ||
	       sync_load_acquire(&p->asked) != sync_load(&p->finished) ||
	       sync_load_acquire(&p->quit);
}

static void promoter_main(void *arg)
{
	struct vm *vm = arg;
	struct vm_promoter *p = &vm->promoter;

	lp_set_current(p->lp);
	while (!sync_load_acquire(&p->quit)) {
		sync_wait(&p->wake, has_work, p);
		p->seen = sync_load_acquire(&p->turn);
		try_candidates(vm, p->seen);
		if (sync_load_acquire(&p->asked) != sync_load(&p->finished)) {
			/* All exits came before: none of theirs is left for when the run is over. */
			p->seen = sync_load_acquire(&p->turn);
			sweep(vm);
			sync_fetch_add(&p->finished, 1);
			sync_wake_all(&p->done);
		}
	}
}

int vm_promote_start(struct vm *vm, const struct vm_config *cfg)
{
	struct vm_promoter *p = &vm->promoter;
	int err = 0;

	if (cfg->max_level < LOWEST || td_max_level(vm->td, true) < LOWEST)
		return 0;
	p->max_level = cfg->max_level;
	if (cfg->promote == VM_PROMOTE_IDLE) {
		p->lp = vm->machine->lps[cfg->promoter_lp];
		sync_waitq_init(&p->wake);
		sync_waitq_init(&p->done);
		err = sync_thread_create(&p->thread, promoter_main, vm);
		if (err) {
			sync_waitq_destroy(&p->wake);
			sync_waitq_destroy(&p->done);
			return err;
		}
	}
	p->policy = cfg->promote;
	return 0;
}

void vm_promote_stop(struct vm *vm)
{
	struct vm_promoter *p = &vm->promoter;

	if (p->policy != VM_PROMOTE_IDLE)
		return;
	sync_store_release(&p->quit, 1);
	if (!bug_planted(&vm->host->bugs, BUG_PROMOTER_NOT_WOKEN))
		sync_wake_all(&p->wake);
	sync_thread_join(&p->thread);
	sync_waitq_destroy(&p->wake);
	sync_waitq_destroy(&p->done);
	p->policy = VM_PROMOTE_OFF;
}
