/* SPDX-License-Identifier: MIT */
/*
 * The Dynamic PAMT pair of one 2M range: threads that use 4K pages of it, and one that has all of
 * it as a 2M page, splits that, and puts the pages back one by one or all at once.
 *
 *   0 --get: lock, PAMT.ADD, store 1--> 1 --get: cmpxchg--> 2 ...
 *   0 <--put: lock, cmpxchg 1 to 0, PAMT.REMOVE-- 1 <--put: cmpxchg-- 2 ...
 *   0 --DEMOTE, then cmpxchg--> 512, and backwards by PROMOTE or 512 puts
 *
 * The host allocator never has a frame and the whole range in use at once, and takes a frame back
 * only after its put. Pages for pairs run out, PAMT.ADD and PAMT.REMOVE may refuse.
 */
#include "constants.pml"
#include "common.pml"

#define USERS 3
#define PAIRS 3

hidden byte no_use_without_pair; /* the module uses no 4K page of a range without a pair */
hidden byte pair_iff_counted;	 /* with nobody in the middle: a pair is there if the count isn't 0 */
hidden byte count_is_users;	 /* and the count is the number of users */
hidden byte no_double_add;	 /* no pair comes where one is */
hidden byte none_removed_in_use; /* no pair goes that isn't there, or while a page is used */
hidden byte huge_has_no_pair;	 /* a range that gets mapped at 2M has neither */
hidden byte no_leak;		 /* each page for a pair is free, somebody's spare, or the module's */

short refs;
bool pair; /* the module has one for the range */
bool pamt_lock;

byte free_pairs = PAIRS, spares;
byte frames; /* of the range, used at 4K by `user` */
bool folio;  /* the range is one 2M folio */

/* Ghosts. */
short users;   /* 4K pages that the module may use: between a get that succeeded and the put */
bool kept;     /* PAMT.REMOVE was refused: the count stays one too high for good */
byte changing; /* threads inside get, put, split or merge */

inline enter_change()
{
	atomic { changing++ }
}

inline leave_change(more_users)
{
	atomic {
		changing--;
		users = users + (more_users);
		if
		:: !changing ->
			PROPERTY(pair_iff_counted, pair == (refs > 0));
			PROPERTY(count_is_users, refs == users + kept);
			PROPERTY(no_leak, free_pairs + spares + pair == PAIRS)
		:: else
		fi
	}
}

inline cmpxchg(to)
{
	atomic {
		if
		:: refs == seen -> refs = to; swapped = true
		:: else -> seen = refs
		fi
	}
}

/* One more user of a range that has a pair. */
inline get_existing()
{
	seen = refs;
	do
	:: seen && !swapped -> cmpxchg(seen + 1)
	:: else -> break
	od
}

inline pamt_add()
{
	if
#ifdef MUTANT_PUBLISH_BEFORE_ADD
	:: refs = 1; PROPERTY(no_double_add, !pair); atomic { pair = true; spare = false; spares-- }
#else
	:: atomic { PROPERTY(no_double_add, !pair); pair = true; spare = false; spares-- } refs = 1
#endif
		swapped = true
	:: true /* refused: -EIO */
	fi
}

/* swapped: it succeeded. Who faults keeps a spare pair; others take one when they need it. */
inline get(keeps_spare)
{
	get_existing();
	if
	:: swapped
	:: else ->
		if
		:: atomic { !spare && free_pairs -> free_pairs--; spares++; spare = true }
		:: else
		fi;
		if
		:: !spare /* -ENOMEM */
		:: else ->
			mutex_lock(pamt_lock, LOCK_DPAMT);
#ifndef MUTANT_NO_LOOK_UNDER_LOCK
			get_existing();
#endif
			if
			:: swapped
			:: else -> pamt_add()
			fi;
			mutex_unlock(pamt_lock, 0)
		fi;
		atomic {
			if
			:: spare && !keeps_spare -> spares--; free_pairs++; spare = false
			:: else
			fi
		}
	fi
}

inline pamt_remove()
{
	if
	:: atomic {
		PROPERTY(none_removed_in_use, pair && !users);
		pair = false }
		removed = true
	:: refs = 1; kept = true
	fi
}

inline put()
{
	seen = refs;
	do
#ifdef MUTANT_PUT_RACES_GET
	:: seen && !swapped -> cmpxchg(seen - 1)
#else
	:: seen > 1 && !swapped -> cmpxchg(seen - 1)
#endif
	:: else -> break
	od;
#ifdef MUTANT_PUT_RACES_GET
	if
	:: seen == 1 -> pamt_remove()
	:: else
	fi;
#else
	if
	:: swapped
	:: else ->
		mutex_lock(pamt_lock, LOCK_DPAMT);
		seen = refs;
		do
		:: !swapped -> cmpxchg(seen - 1)
		:: else -> break
		od;
		if
		:: seen == 1 -> pamt_remove()
		:: else
		fi;
		mutex_unlock(pamt_lock, 0)
	fi;
#endif
	atomic {
		if
		:: removed -> free_pairs++
		:: else
		fi;
		removed = false;
		swapped = false;
		seen = 0
	}
}

/* A frame of the range that the module uses at 4K: a control page, an S-EPT page, a guest page. */
proctype user(bool keeps_spare)
{
	byte held;
	short seen;
	bool swapped, spare, removed;

again:
	atomic { !folio -> frames++ }
	enter_change();
	get(keeps_spare);
	atomic { seen = 0 }
	if
	:: swapped ->
		swapped = false;
		leave_change(1)
	:: else -> leave_change(0); goto free
	fi;
	PROPERTY(no_use_without_pair, pair);
	atomic { users--; changing++ }
#ifdef MUTANT_FREE_BEFORE_PUT
	frames--;
#endif
	put();
	leave_change(0);
#ifdef MUTANT_FREE_BEFORE_PUT
	frames++;
#endif
free:
	frames--;
	goto again
}

/* Who has the range as a 2M page: all its frames are that leaf's, under the MMU's write lock. */
proctype splitter()
{
	byte held;
	short seen;
	bool swapped, spare, removed, locked;
	short i;

again:
	/* After a refused removal the range is good for 4K pages only. */
	atomic { !frames && !kept -> folio = true }
	PROPERTY(huge_has_no_pair, !pair && !refs);
	if
	:: atomic { free_pairs -> free_pairs--; spares++ }
	:: atomic { !free_pairs -> folio = false; goto again }
	fi;
	enter_change();
	/* Always, or for the second try only. */
	if
	:: mutex_lock(pamt_lock, LOCK_DPAMT); locked = true
	:: true
	fi;
	atomic { PROPERTY(no_double_add, !pair); pair = true; spares-- } /* DEMOTE */
	if
	:: locked -> mutex_unlock(pamt_lock, 0); locked = false
	:: else
	fi;
	cmpxchg(PTRS_PER_TABLE);
	atomic { PROPERTY(count_is_users, swapped); swapped = false }
	leave_change(PTRS_PER_TABLE);
	if
	:: enter_change(); /* PROMOTE */
		atomic { PROPERTY(none_removed_in_use, pair); pair = false }
		seen = PTRS_PER_TABLE;
		users = 0;
		cmpxchg(0);
		atomic { PROPERTY(count_is_users, swapped); swapped = false; seen = 0 }
		free_pairs++;
		leave_change(0)
	:: for (i : 1 .. PTRS_PER_TABLE) {
			PROPERTY(no_use_without_pair, pair);
			atomic { users--; changing++ }
			put();
			leave_change(0)
		}
		i = 0
	fi;
	folio = false;
	goto again
}

ltl somebody_gets_on { []<>(splitter@again || user[1]@free || user[2]@free || user[3]@free) }

init {
	atomic {
		run user(false);
		run user(false);
		run user(true);
		run splitter()
	}
}
