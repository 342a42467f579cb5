/* SPDX-License-Identifier: MIT */
/*
 * Putting huge leaves back where 512 small ones lie together again: when, and by whom.
 *
 *   a fault fills the last gap of a block      --> candidate
 *   an exit (NOW: its vCPU, IDLE: the thread)  --> tries the candidates that are due
 *   refused: some pages aren't accepted yet    --> due again after 1, 2, 4, ... exits, at most 8 times
 *   the last vCPU stops                        --> every block that could be is tried once more
 *
 * The first try comes at a later exit than the fault: the guest has to accept that last page first.
 * A candidate that finds no room, or has used up its tries, is left to the end.
 *
 * Races: a try looks the folio up without a lock, like a fault, and finds out in the same way under
 * mmu.lock that an invalidation got in between. One that is going on bars it, in mmu, too: its
 * leaves have been split for a reason. The guest's wish for small pages (GUEST_INHIBIT) bars faults
 * alone; with the large leaf back the wish has been granted, and the bit goes.
 */
#include <errno.h>

#include "vm/internal.h"

/* 1G comes when a leaf may be that large. */
#define PROMOTE_LEVEL PG_LEVEL_2M
#define MAX_TRIES 8
#define SWEEP_BATCH 64

/* ---- one block -------------------------------------------------------------------------------*/
/* Return: 0; -EAGAIN: not now; another error: never. */
static int try_block(struct vm *vm, gfn_t gfn)
{
	u64 seq = mmu_invalidate_seq(vm->mmu), index;
	int err = -EAGAIN;

	/* A leaf is no larger than its folio, even if small ones happen to lie side by side. */
	if (!vm_slot_index(vm, gfn, &index) || gmem_folio_level(vm->file, index) < PROMOTE_LEVEL)
		return -ENOENT;
	sync_write_lock(mmu_lock(vm->mmu));
	if (!mmu_invalidate_retry(vm->mmu, seq, gfn) && !vm_is_dead(vm) &&
	    mmu_is_promotable(vm->mmu, gfn, PROMOTE_LEVEL))
		err = mmu_promote(vm->mmu, gfn, PROMOTE_LEVEL);
	if (!err)
		mmu_slot_clear_guest_inhibit(&vm->slot, gfn, PROMOTE_LEVEL);
	sync_write_unlock(mmu_lock(vm->mmu));
	return err;
}

/* ---- candidates ------------------------------------------------------------------------------
 * Words of a small array, each taken and put by compare-exchange; a word is the block's first gfn,
 * and in the bits below the tries that it has had, plus one. nr is a hint: who reads it late comes
 * late.
 */
static u64 make_candidate(gfn_t gfn, u32 tries)
{
	return fn_align_down(gfn, PROMOTE_LEVEL) | (tries + 1);
}

static gfn_t candidate_gfn(u64 word)
{
	return fn_align_down(word, PROMOTE_LEVEL);
}

static u32 candidate_tries(u64 word)
{
	return (u32)(word - candidate_gfn(word)) - 1;
}

static bool is_candidate(struct vm_promoter *p, gfn_t gfn)
{
	for (u32 i = 0; i < VM_CANDIDATES; i++) {
		u64 word = sync_load(&p->candidate[i]);

		if (word && candidate_gfn(word) == candidate_gfn(gfn))
			return true;
	}
	return false;
}

static void put_candidate(struct vm_promoter *p, gfn_t gfn, u32 tries)
{
	for (u32 i = 0; i < VM_CANDIDATES; i++) {
		u64 none = 0;

		if (!sync_load(&p->candidate[i]) &&
		    sync_cmpxchg(&p->candidate[i], &none, make_candidate(gfn, tries))) {
			sync_fetch_add(&p->nr, 1);
			return;
		}
	}
}

/* Tries those that are due at exit number @turn. */
static void try_candidates(struct vm *vm, u32 turn)
{
	struct vm_promoter *p = &vm->promoter;

	for (u32 i = 0; i < VM_CANDIDATES; i++) {
		u64 word = sync_load(&p->candidate[i]);
		u32 tries;

		if (!word)
			continue;
		tries = candidate_tries(word);
		/* Whoever takes it out tries it. */
		if (turn & ((1U << tries) - 1) || !sync_cmpxchg(&p->candidate[i], &word, 0ULL))
			continue;
		sync_fetch_sub(&p->nr, 1);
		if (try_block(vm, candidate_gfn(word)) == -EAGAIN && tries + 1 < MAX_TRIES)
			put_candidate(p, candidate_gfn(word), tries + 1);
	}
}

void vm_promote_note(struct vm *vm, gfn_t gfn)
{
	if (mmu_is_promotable(vm->mmu, gfn, PROMOTE_LEVEL) && !is_candidate(&vm->promoter, gfn))
		put_candidate(&vm->promoter, gfn, 0);
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
struct sweep {
	gfn_t from;
	gfn_t found[SWEEP_BATCH];
	u32 nr;
};

static void sweep_leaf(void *ctx, const struct mmu_mapping *m)
{
	struct sweep *s = ctx;

	if (m->level < PROMOTE_LEVEL && IS_ALIGNED(m->gfn, pages_per_level(PROMOTE_LEVEL)) &&
	    m->gfn >= s->from && s->nr < SWEEP_BATCH)
		s->found[s->nr++] = m->gfn;
}

/* Tries every block once. */
static void sweep(struct vm *vm)
{
	struct sweep s = {0};

	do {
		s.nr = 0;
		sync_write_lock(mmu_lock(vm->mmu));
		mmu_for_each_leaf(vm->mmu, true, sweep_leaf, &s);
		sync_write_unlock(mmu_lock(vm->mmu));
		for (u32 i = 0; i < s.nr; i++)
			try_block(vm, s.found[i]);
		if (s.nr)
			s.from = s.found[s.nr - 1] + 1;
	} while (s.nr == SWEEP_BATCH && !vm_is_dead(vm));
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

	if (cfg->max_level < PROMOTE_LEVEL || td_max_level(vm->td, true) < PROMOTE_LEVEL)
		return 0;
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
	sync_wake_all(&p->wake);
	sync_thread_join(&p->thread);
	sync_waitq_destroy(&p->wake);
	sync_waitq_destroy(&p->done);
	p->policy = VM_PROMOTE_OFF;
}
