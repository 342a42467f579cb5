/* SPDX-License-Identifier: MIT */
/*
 * A conversion against faults on the same block, a second conversion, and an invalidation that
 * overlaps in time, of the same block or of another one.
 *
 *   gmem_convert()   invalidate_lock --> begin --> prepare --> commit --> attributes --> MIXED, end
 *   map_once()       seq --> attribute --> hint --> frame --> MIXED --> mmu.lock: retry? --> map
 *
 * The block has two pages; a leaf maps one of them, or both. The other block has nothing: all that
 * matters of it is its place in the invalidation range. A section under mmu.lock is one step here;
 * what faults do to each other inside theirs is frozen_entry's.
 *
 * OVERLAP: the other invalidation runs, and a single fault, on either page. ALONE: no second
 * conversion.
 */
#include "constants.pml"
#include "common.pml"

#define PAGES 2
#define FAULTS 2

hidden byte mapped_as_attributes; /* what is mapped on a side has the attribute of that side */
hidden byte counters_back;	  /* with nobody at work no invalidation is in progress */
hidden byte no_leaf_crosses;	  /* a removal finds no leaf that sticks out of its range */
hidden byte legal_split;	  /* what is split is a leaf */

/* The file. */
bool invalidate_lock;
bool private[PAGES] = true;
/* The slot: the pages of the block don't agree. */
bool mixed;
/* The MMU: of each side the entry of the block, and whether the pages below a table are mapped. */
#define PRIVATE 0
#define SHARED 1
byte entry[2] = SPTE_NONE;
bool page0[2], page1[2];

byte in_progress;
bool range_page0, range_page1, range_there; /* in the invalidation range */
bool seq_is_new[FAULTS];		    /* the sequence has moved since the fault took it */

byte working; /* ghost: conversions and invalidations that have begun */

#define UNDER_MMU_LOCK MAY_WAIT_FOR(LOCK_MMU)

/* ---- a fault on one page, from one side -------------------------------------------------------*/
#define HAS_SIDE(side) (private[p] == (side == PRIVATE))
#define IN_RANGE (p == 0 -> range_page0 : range_page1)
#define MUST_RETRY ((in_progress && IN_RANGE) || seq_is_new[f])

/* A leaf over the block maps both pages, so both must have the attribute. */
inline map()
{
	if
	:: entry[side] == SPTE_LEAF /* spurious */
	:: entry[side] == SPTE_NONE && large ->
		PROPERTY(mapped_as_attributes, private[0] == private[1]);
		entry[side] = SPTE_LEAF
	:: entry[side] == SPTE_NONE && !large ->
		entry[side] = SPTE_TABLE;
		page0[side] = (p == 0);
		page1[side] = (p == 1)
	:: entry[side] == SPTE_TABLE ->
		page0[side] = page0[side] || p == 0;
		page1[side] = page1[side] || p == 1
	fi;
	PROPERTY(mapped_as_attributes, HAS_SIDE(side))
}

proctype fault(byte f)
{
	byte held, p = f;
	bool side, large;
#ifdef MUTANT_ATTRIBUTE_FIRST
	bool wrong;
#endif

again:
	if
	:: side = PRIVATE
	:: side = SHARED
	fi;
#ifdef OVERLAP
	if
	:: p = 0
	:: p = 1
	fi;
#endif
#ifdef MUTANT_ATTRIBUTE_FIRST
	wrong = !HAS_SIDE(side);
	seq_is_new[f] = false;
	if
	:: atomic { wrong -> wrong = false; goto done } /* -EFAULT */
	:: else
	fi;
#else
	seq_is_new[f] = false;
	if
	:: !HAS_SIDE(side) -> goto done /* -EFAULT */
	:: else
	fi;
#endif
	if
	:: MUST_RETRY -> goto done
	:: else
	fi;
	/* A frame that isn't there yet is allocated under invalidate_lock. */
	if
	:: true
	:: atomic { !invalidate_lock -> MAY_WAIT_FOR(LOCK_GMEM_INVALIDATE) }
	fi;
	large = !mixed;
	atomic {
		UNDER_MMU_LOCK;
		if
#ifndef MUTANT_NO_RECHECK
		:: MUST_RETRY
#endif
		:: else -> map()
		fi
	}
done:
	atomic { seq_is_new[f] = false; side = 0; large = false; p = f }
	goto again
}

/* ---- invalidations ---------------------------------------------------------------------------*/
/* The range is that of all that are in progress, rounded out to whole blocks. */
inline begin(here, page1_too)
{
	atomic {
		UNDER_MMU_LOCK;
		working++;
		if
#ifdef MUTANT_BEGIN_RESETS
		:: true ->
#else
		:: in_progress
		:: else ->
#endif
			range_page0 = false;
			range_page1 = false;
			range_there = false
		fi;
		in_progress++;
		range_page0 = range_page0 || here;
#ifdef MUTANT_RANGE_AS_ASKED
		range_page1 = range_page1 || (here && page1_too);
#else
		range_page1 = range_page1 || here;
#endif
		range_there = range_there || !here
	}
}

#define IS_MAPPED(side, p)                                                                         \
	(entry[side] == SPTE_LEAF ||                                                               \
	 (entry[side] == SPTE_TABLE && (p == 0 -> page0[side] : page1[side])))

inline end()
{
	atomic {
		UNDER_MMU_LOCK;
		PROPERTY(mapped_as_attributes, (!IS_MAPPED(PRIVATE, 0) || private[0]) &&
					       (!IS_MAPPED(PRIVATE, 1) || private[1]));
		PROPERTY(mapped_as_attributes, (!IS_MAPPED(SHARED, 0) || !private[0]) &&
					       (!IS_MAPPED(SHARED, 1) || !private[1]));
#ifndef MUTANT_SAME_SEQUENCE
		seq_is_new[0] = true;
		seq_is_new[1] = true;
#endif
		in_progress--;
		working--;
		PROPERTY(counters_back, in_progress == working);
		if
		:: !in_progress -> range_page0 = false; range_page1 = false; range_there = false
		:: else
		fi
	}
}

/*
 * A leaf of @side over the block becomes a table. Without a page at hand the lock is dropped, and
 * what was seen is looked at again; there may be no page.
 */
inline split(side)
{
	if
	:: entry[side] != SPTE_LEAF
	:: entry[side] == SPTE_LEAF -> become_table(side)
	:: entry[side] == SPTE_LEAF ->
		if
		:: failed = true
#ifdef MUTANT_NO_LOOK_AFTER_LOCK
		:: true -> become_table(side)
#else
		:: entry[side] != SPTE_LEAF
		:: entry[side] == SPTE_LEAF -> become_table(side)
#endif
		fi
	fi
}

inline become_table(side)
{
	atomic {
		UNDER_MMU_LOCK;
		if
#ifndef MUTANT_NO_LOOK_AFTER_LOCK
		:: entry[side] != SPTE_LEAF
#endif
		:: else ->
			PROPERTY(legal_split, SPTE_CHANGE_IS_SPLIT(entry[side], SPTE_TABLE));
			entry[side] = SPTE_TABLE;
			page0[side] = true;
			page1[side] = true
		fi
	}
}

/* Of the run's pages; a leaf goes whole. */
inline zap(side)
{
	PROPERTY(no_leaf_crosses, entry[side] != SPTE_LEAF || (go0 && go1));
	if
	:: entry[side] == SPTE_LEAF -> entry[side] = SPTE_NONE
	:: else ->
		page0[side] = page0[side] && !go0;
		page1[side] = page1[side] && !go1
	fi
}

inline set_attributes()
{
	atomic {
		private[0] = (go0 -> to_private : private[0]);
		private[1] = (go1 -> to_private : private[1])
	}
}

/* The guest's MapGPA of page 0, or of both. What has the attribute already stays as it is. */
proctype converter(bool for_ever)
{
	byte held;
	bool to_private, go0, go1, both, failed;

again:
	atomic {
		!invalidate_lock -> MAY_WAIT_FOR(LOCK_GMEM_INVALIDATE);
		invalidate_lock = true;
		held = LOCK_GMEM_INVALIDATE;
		if
		:: to_private = true
		:: to_private = false
		fi;
		if
		:: both = true
		:: both = false
		fi;
		go0 = private[0] != to_private;
		go1 = both && private[1] != to_private;
		if
		:: !go0 && !go1 -> goto unlock
		:: else
		fi
	}
converting:
	begin(true, both);
	/* prepare: what has to go has no leaf across its end */
	if
	:: go0 && go1
	:: else ->
		split(PRIVATE);
		if
		:: !failed -> split(SHARED)
		:: else
		fi
	fi;
	if
	:: failed
	:: else -> /* commit */
		atomic { UNDER_MMU_LOCK; zap(PRIVATE); zap(SHARED) }
#ifdef MUTANT_END_BEFORE_ATTRIBUTES
		end();
		set_attributes();
		mixed = private[0] != private[1];
		goto unlock
#else
		set_attributes();
		mixed = private[0] != private[1]
#endif
	fi;
	end();
unlock:
	atomic {
		failed = false; go0 = false; go1 = false; both = false; to_private = false;
		mutex_unlock(invalidate_lock, 0)
	}
converted:
	if
	:: for_ever -> goto again
	:: else
	fi
}

/* Dirty tracking of either block: invalidations that hold no lock of the file. */
proctype tracker()
{
	byte held;
	bool here, failed;
	byte round;

	for (round : 1 .. 2) {
		if
		:: here = true
		:: here = false
		fi;
		begin(here, true);
		if
		:: here -> split(PRIVATE); failed = false; split(SHARED); failed = false
		:: else
		fi;
		end();
		here = false
	}
}

ltl conversion_ends { [](converter[1]@converting -> <>converter[1]@converted) }

init {
	atomic {
		run converter(true);
#ifndef ALONE
		run converter(false);
#endif
		run fault(0);
#ifdef OVERLAP
		run tracker()
#else
		run fault(1)
#endif
	}
}
