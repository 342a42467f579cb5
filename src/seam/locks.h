/* SPDX-License-Identifier: MIT */
/*
 * seam/locks: the module's locks. None of them waits: what can't be had at once is BUSY.
 *
 * A 16-bit shared/exclusive lock word: bit 0 exclusive, bit 1 host priority, bits 15:2 readers.
 * A host that fails sets the host-priority bit; while it is set guests fail; the next host that
 * succeeds clears it. The word is the first thing of a PAMT entry, and a field of TDCS.
 *
 * Order (for the reader; try-locks can't deadlock): TDR's PAMT entries (1G, 2M, 4K), op_state,
 * S-EPT tree, S-EPT entry, target page's PAMT entries.
 */
#ifndef SEAM_LOCKS_H
#define SEAM_LOCKS_H

#include "base/sync.h"
#include "base/types.h"

#define LOCK_WORD_EXCLUSIVE 0x1u
#define LOCK_WORD_HOST_PRIORITY 0x2u
#define LOCK_WORD_READER 0x4u

enum lock_mode {
	MODE_SHARED,
	MODE_EXCLUSIVE,
};

/* Held by anybody, in any mode. */
static inline bool lock_word_is_held(u16 word)
{
	return word & (u16)~LOCK_WORD_HOST_PRIORITY;
}

static inline bool lock_word_conflicts(u16 word, enum lock_mode mode)
{
	return mode == MODE_SHARED ? word & LOCK_WORD_EXCLUSIVE : lock_word_is_held(word);
}

/* What a holder in @mode has added to the word. */
static inline u16 lock_word_units(enum lock_mode mode)
{
	return mode == MODE_SHARED ? LOCK_WORD_READER : LOCK_WORD_EXCLUSIVE;
}

static inline u16 lock_word_acquired(u16 word, enum lock_mode mode)
{
	word &= (u16)~LOCK_WORD_HOST_PRIORITY;
	return (u16)(word + lock_word_units(mode));
}

/* A shared holder comes and goes without others of its kind being able to tell. */
static inline void lock_word_step(u16 *word, bool shared)
{
	if (shared)
		sync_step_joint(word);
	else
		sync_step(word);
}

/**
 * hp_lock_host - a host's attempt; a failure leaves the host-priority bit set
 *
 * The cmpxchg repeats only when another LP got or released the same word in between, so somebody
 * always gets on. Pairs with hp_unlock().
 */
static inline bool hp_lock_host(u16 *word, enum lock_mode mode)
{
	u16 old;

	lock_word_step(word, mode == MODE_SHARED);
	old = sync_load_quiet(word);
	for (;;) {
		u16 failed = old | LOCK_WORD_HOST_PRIORITY;

		if (unlikely(lock_word_conflicts(old, mode))) {
			if (sync_cmpxchg_quiet(word, &old, failed)) {
				sync_step_changed(old != failed);
				return false;
			}
		} else if (likely(sync_cmpxchg_quiet(word, &old, lock_word_acquired(old, mode)))) {
			return true;
		}
	}
}

/** lock_word_release - what a holder has added; keeps a host-priority bit set meanwhile */
static inline void lock_word_release(u16 *word, u16 units)
{
	lock_word_step(word, units == LOCK_WORD_READER);
	sync_fetch_sub_quiet(word, units);
}

static inline void hp_unlock(u16 *word, enum lock_mode mode)
{
	lock_word_release(word, lock_word_units(mode));
}

/** plain_lock - an attempt at a lock without host priority (epoch, KOT); hp_unlock() ends it */
static inline bool plain_lock(u16 *word, enum lock_mode mode)
{
	u16 old;

	lock_word_step(word, mode == MODE_SHARED);
	old = sync_load_quiet(word);
	while (!lock_word_conflicts(old, mode)) {
		if (likely(sync_cmpxchg_quiet(word, &old, lock_word_acquired(old, mode))))
			return true;
	}
	sync_step_changed(false);
	return false;
}

/** try_mutex / try_mutex_release - a mutex that is never waited for (SYS.*, TDMRs, packages) */
static inline bool try_mutex(u32 *word)
{
	u32 free = 0;

	return sync_cmpxchg(word, &free, 1);
}

static inline void try_mutex_release(u32 *word)
{
	sync_store_release(word, 0);
}

#endif
