/* SPDX-License-Identifier: MIT */
/*
 * The mirror entry of one 2M block and the table below it: faults under the read lock, a thread
 * that splits, zaps, promotes and unlinks under the write lock, a walker in an RCU section.
 *
 *   read lock    old --cmpxchg--> FROZEN --hook--> new;  the hook says busy: old again
 *   write lock   a leaf goes from the external side first, a table from the mirror first; then what
 *                is below it, and the table last
 *
 * A table has PARTS entries here. Entries are kinds: which may follow which is the tree's table of
 * changes. A table page gets its number when it is linked; in a cache one is like another.
 *
 * TWO_FAULTS: two threads fault, else three.
 */
#include "constants.pml"
#include "common.pml"

#define PARTS 2
#define TABLES 2 /* in the tree, or left behind for a walker */
#define NO_TABLE TABLES

hidden byte legal_changes_only;	    /* no change that the table of changes doesn't have */
hidden byte hook_once_per_change;   /* the external side hears of a change once, and first */
hidden byte hook_knows_the_entry;   /* and has there what the mirror had */
hidden byte parent_before_part;	    /* nothing is mapped where no table is linked */
hidden byte children_gone_first;    /* a table is reclaimed when nothing is left below it */
hidden byte mirror_is_external;	    /* with nobody else at work both sides agree, none is FROZEN */
hidden byte losers_keep_their_page; /* a fault that retries has neither used nor lost its page */
hidden byte no_use_after_free;	    /* no walker is in a table that has been given back */

rwlock mmu_lock;

/* The mirror: an entry, and the parts of each table page. */
byte entry = SPTE_NONE, child = NO_TABLE;
byte part[TABLES * PARTS];
#define PART(k) part[child * PARTS + (k)]
/* The external side. */
byte ext_entry = SPTE_NONE;
byte ext_part[PARTS];
/* Ghosts: the hook has been told of a change that isn't in the mirror yet. */
bool told_entry, told_part[PARTS];

#define PAGE_FREE 0
#define PAGE_LINKED 1
#define PAGE_RETIRED 2 /* out of the tree; the walker may still be inside */
byte page[TABLES];
byte allocated, cached; /* table pages: given out by the allocator, and in caches */
bool reading;		/* the walker's RCU section */

#define IS_RETIRED(t) (page[t] == PAGE_RETIRED)

/* ---- the hook --------------------------------------------------------------------------------*/
inline tell(told, external, old, new)
{
	atomic {
		PROPERTY(hook_once_per_change, !told);
		PROPERTY(hook_knows_the_entry, external == old);
		told = true;
		external = new
	}
}

/* A cached page becomes the table of the entry; its parts are @value on both sides. */
inline link(value)
{
	child = (page[0] == PAGE_FREE -> 0 : 1);
	page[child] = PAGE_LINKED;
	cached--;
	PART(0) = value;
	PART(1) = value
}

/* ---- read lock: mmu_set_spte_atomic(). done: the entry has changed. ---------------------------*/
inline set_atomic(slot, told, external, old, new)
{
	if
	:: atomic { slot == old ->
		PROPERTY(legal_changes_only,
			 SPTE_CHANGE_MAY_BE_SHARED(old, new) && SPTE_CHANGE_HAS_HOOK(old, new));
		slot = SPTE_FROZEN }
		if
		:: tell(told, external, old, new);
#ifdef MUTANT_HOOK_TWICE
			if
			:: true
			:: tell(told, external, old, new)
			fi;
#endif
			atomic {
				PROPERTY(hook_once_per_change, told);
				told = false;
				slot = new;
				done = true;
				if
				:: new == SPTE_TABLE -> link(SPTE_NONE); has_page = false
				:: else
				fi
			}
		:: true -> /* busy */
#ifdef MUTANT_LEAVE_FROZEN
			skip
#else
			slot = old
#endif
		fi
	:: slot != old /* another thread was faster */
	fi
}

proctype fault(byte k)
{
	byte held, old;
	bool large, done, has_page;

again:
	atomic {
		if
		:: !has_page -> has_page = true; allocated++; cached++
		:: else
		fi;
		if
		:: large = true
		:: large = false
		fi
	}
	read_lock(mmu_lock, LOCK_MMU);
	old = entry;
	if
	:: old == SPTE_FROZEN || old == SPTE_LEAF -> goto unlock
	:: old == SPTE_TABLE
	:: old == SPTE_NONE && large ->
		set_atomic(entry, told_entry, ext_entry, SPTE_NONE, SPTE_LEAF);
		goto unlock
	:: old == SPTE_NONE && !large ->
		set_atomic(entry, told_entry, ext_entry, SPTE_NONE, SPTE_TABLE);
		if
		:: done -> done = false
		:: else -> atomic {
#ifdef MUTANT_LOSER_DROPS_PAGE
			has_page = false;
#endif
			PROPERTY(losers_keep_their_page, has_page);
			goto unlock }
		fi
	fi;
	/* One level down. The table can't go: tables leave under the write lock. */
	atomic { PROPERTY(no_use_after_free, page[child] == PAGE_LINKED); old = PART(k) }
	if
	:: old == SPTE_NONE ->
		PROPERTY(parent_before_part, ext_entry == SPTE_TABLE);
		set_atomic(PART(k), told_part[k], ext_part[k], SPTE_NONE, SPTE_LEAF)
	:: else
	fi;
unlock:
	atomic { old = 0; done = false; large = false; read_unlock(mmu_lock, 0) }
	goto again
}

/* ---- write lock ------------------------------------------------------------------------------*/
inline check_at_rest()
{
	d_step {
		PROPERTY(mirror_is_external, entry == ext_entry && entry != SPTE_FROZEN);
		PROPERTY(mirror_is_external,
			 entry != SPTE_TABLE || (ext_part[0] == PART(0) && ext_part[0] != SPTE_FROZEN &&
						 ext_part[1] == PART(1) && ext_part[1] != SPTE_FROZEN));
		PROPERTY(losers_keep_their_page,
			 allocated == cached + (entry == SPTE_TABLE) + IS_RETIRED(0) + IS_RETIRED(1))
	}
}

inline change_to(old, new)
{
	atomic {
		PROPERTY(legal_changes_only, SPTE_CHANGE_IS_LEGAL(old, new));
		PROPERTY(hook_once_per_change, told_entry == SPTE_CHANGE_HAS_HOOK(old, new));
		told_entry = false;
		entry = new
	}
}

/* Freed when who reads now has left. */
inline retire(t)
{
	atomic {
#ifdef MUTANT_FREE_TOO_EARLY
		page[t] = PAGE_FREE;
#else
		page[t] = (reading -> PAGE_RETIRED : PAGE_FREE);
#endif
		allocated = (page[t] == PAGE_FREE -> allocated - 1 : allocated)
	}
}

/* The table is full before it is linked. */
inline split()
{
	atomic {
		PROPERTY(legal_changes_only, SPTE_CHANGE_IS_SPLIT(SPTE_LEAF, SPTE_TABLE));
		tell(told_entry, ext_entry, SPTE_LEAF, SPTE_TABLE);
		ext_part[0] = SPTE_LEAF;
		ext_part[1] = SPTE_LEAF
	}
	atomic { allocated++; cached++; link(SPTE_LEAF); change_to(SPTE_LEAF, SPTE_TABLE) }
}

inline remove_part(k)
{
	tell(told_part[k], ext_part[k], SPTE_LEAF, SPTE_NONE);
	atomic { told_part[k] = false; PART(k) = SPTE_NONE }
}

inline remove_child(k)
{
	atomic { old = PART(k); PART(k) = SPTE_FROZEN }
	if
	:: old == SPTE_LEAF ->
		tell(told_part[k], ext_part[k], SPTE_LEAF, SPTE_NONE);
		told_part[k] = false
	:: else
	fi
}

inline reclaim()
{
	atomic {
		PROPERTY(children_gone_first, ext_part[0] == SPTE_NONE && ext_part[1] == SPTE_NONE);
		ext_entry = SPTE_NONE
	}
}

inline remove_table()
{
	change_to(SPTE_TABLE, SPTE_NONE);
#ifdef MUTANT_RECLAIM_FIRST
	reclaim();
#endif
	remove_child(0);
	remove_child(1);
#ifndef MUTANT_RECLAIM_FIRST
	reclaim();
#endif
	atomic { retire(child); child = NO_TABLE }
}

inline promote()
{
	atomic {
		PROPERTY(legal_changes_only, SPTE_CHANGE_IS_PROMOTION(SPTE_TABLE, SPTE_LEAF));
		PART(0) = SPTE_FROZEN;
		PART(1) = SPTE_FROZEN
	}
	if
	:: atomic {
		tell(told_entry, ext_entry, SPTE_TABLE, SPTE_LEAF);
		ext_part[0] = SPTE_NONE;
		ext_part[1] = SPTE_NONE }
		change_to(SPTE_TABLE, SPTE_LEAF);
		atomic { retire(child); child = NO_TABLE }
	:: atomic { true -> PART(0) = SPTE_LEAF; PART(1) = SPTE_LEAF } /* refused */
	fi
}

/* A number is left for the next table. */
#define MAY_RETIRE !IS_RETIRED(1 - child)

proctype remover()
{
	byte held, old;

again:
	write_lock(mmu_lock, LOCK_MMU);
	check_at_rest();
	if
	:: entry == SPTE_LEAF -> split()
	:: entry == SPTE_LEAF ->
		tell(told_entry, ext_entry, SPTE_LEAF, SPTE_NONE);
		change_to(SPTE_LEAF, SPTE_NONE)
	:: entry == SPTE_TABLE && MAY_RETIRE -> remove_table()
	:: entry == SPTE_TABLE && PART(0) == SPTE_LEAF -> remove_part(0)
	:: entry == SPTE_TABLE && PART(1) == SPTE_LEAF -> remove_part(1)
	:: entry == SPTE_TABLE && PART(0) == SPTE_LEAF && PART(1) == SPTE_LEAF && MAY_RETIRE ->
		promote()
	:: entry == SPTE_TABLE && PART(0) == SPTE_NONE && PART(1) == SPTE_NONE
	:: entry == SPTE_NONE
	fi;
	check_at_rest();
written:
	atomic { old = 0; write_unlock(mmu_lock, 0) }
	goto again
}

/* mmu_lookup(): no lock, an RCU section. */
proctype walker()
{
	byte t = NO_TABLE;

again:
	reading = true;
	t = (entry == SPTE_TABLE -> child : NO_TABLE);
	PROPERTY(no_use_after_free, t == NO_TABLE || page[t] != PAGE_FREE);
	d_step {
		t = NO_TABLE;
		reading = false;
		allocated = allocated - IS_RETIRED(0) - IS_RETIRED(1);
		page[0] = (IS_RETIRED(0) -> PAGE_FREE : page[0]);
		page[1] = (IS_RETIRED(1) -> PAGE_FREE : page[1])
	}
	goto again
}

#define FROZEN                                                                                     \
	(entry == SPTE_FROZEN ||                                                                   \
	 (child != NO_TABLE && (PART(0) == SPTE_FROZEN || PART(1) == SPTE_FROZEN)))

ltl frozen_ends { [](FROZEN -> <>!FROZEN) }
ltl writer_gets_on { []<>remover@written }

init {
	atomic {
		run fault(0);
		run fault(1);
#ifndef TWO_FAULTS
		run fault(1);
#endif
		run remover();
		run walker()
	}
}
