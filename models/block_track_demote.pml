/* SPDX-License-Identifier: MIT */
/*
 * BLOCK, TRACK, kick, DEMOTE against VP.ENTER: one 2M entry of the secure EPT, a host that splits,
 * removes, promotes and maps it for ever, and vCPUs that come, use their TLBs, and go.
 *
 *   host   write lock --> BLOCK --> TRACK --> kick, wait --> DEMOTE, REMOVE, PROMOTE --> unlock
 *   vCPU   take interrupts --> count in --> held off? --> VP.ENTER --> access ... --> count out
 *
 * Every leaf tries the module's locks step by step, so either side may find them taken. What grows
 * without end in the code is kept by what is asked of it: of an epoch its parity and whether it is
 * the current one, of BEPOCH the number of TRACKs since, of a vCPU's count whether it has moved.
 *
 * ANY_HOST: two hosts that hold no lock and call any leaf at any time, and never kick. The module's
 * own checks must do.
 */
#include "constants.pml"
#include "common.pml"

#ifdef ANY_HOST
#define VCPUS 1
#else
#define VCPUS 2
#endif

hidden byte no_stale_use;	     /* no access by what DEMOTE, REMOVE or PROMOTE has ended */
hidden byte one_old_epoch;	     /* a TRACK that succeeds leaves no vCPU two epochs behind */
hidden byte second_call_is_not_busy; /* with vCPUs held out nothing in the module is taken */
hidden byte module_agrees;	     /* no other error, or the VM would be stopped */

/* The planted bugs blind the module as well, so that the consequence shows. */
#if defined(MUTANT_SKIP_KICK) || defined(MUTANT_SKIP_TRACK)
#define MODULE_IS_BLIND true
#else
#define MODULE_IS_BLIND false
#endif

/* ---- the module ------------------------------------------------------------------------------*/
byte sept = SEPT_MAPPED; /* the entry */
byte part = SEPT_MAPPED; /* all parts alike, while the entry points to a table */
bool entry_lock;
bool tree_exclusive;
byte tree_shared;
bool epoch_exclusive;
byte epoch_shared;
bit parity;	  /* of the TD's epoch */
byte refcount[2]; /* vCPUs inside, by the parity of their epoch */
byte tracks = 2;  /* TRACKs since BEPOCH was taken; 2 and more are alike */

/* What a TLB, or a walk that is about to fill it, has of the 2M block. */
#define TR_NONE 0
#define TR_HUGE 1
#define TR_SMALL 2
#define TR_STALE 3

#define WALK                                                                                       \
	(sept == SEPT_NL_MAPPED -> (SEPT_IS_GUEST_ACCESSIBLE(part) -> TR_SMALL : TR_NONE) :        \
				   (SEPT_IS_GUEST_ACCESSIBLE(sept) -> TR_HUGE : TR_NONE))

#define AGE_OUTSIDE 0
#define AGE_CURRENT 1
#define AGE_OLD 2

byte tlb[VCPUS], walk[VCPUS];
bool same_epoch[VCPUS]; /* vcpu_epoch is the TD's */
bit counted[VCPUS];	/* parity of vcpu_epoch */
byte age[VCPUS];	/* ghost: epochs since it came in */

/* ---- the host --------------------------------------------------------------------------------*/
bool hold_off;
bool inside[VCPUS];  /* entries is odd */
bool moved[VCPUS];   /* entries has changed since the last kick looked */
bool pending[VCPUS]; /* an interrupt, on the vCPU's processor */
bool mmu_write;	     /* mmu.lock is held for writing */

#define NOT_BLOCKED (SEPT_NEEDS_TRACKING(sept) && !SEPT_IS_BLOCKED(sept))
#define IS_TRACKED (MODULE_IS_BLIND || tracks == 2 || (tracks == 1 && refcount[1 - parity] == 0))

mtype = { TDH_BLOCK, TDH_UNBLOCK, TDH_TRACK, TDH_DEMOTE, TDH_REMOVE, TDH_PROMOTE, TDH_AUG };

#define IS_EXCLUSIVE(leaf) (leaf == TDH_BLOCK || leaf == TDH_UNBLOCK || leaf == TDH_PROMOTE)

/* ---- leaves ----------------------------------------------------------------------------------*/
inline end_translation(which)
{
	for (v : 0 .. VCPUS - 1) {
		tlb[v] = (tlb[v] == which -> TR_STALE : tlb[v]);
		walk[v] = (walk[v] == which -> TR_STALE : walk[v])
	}
}

/* BEPOCH is taken after the entry has changed, and another host may come in between. */
inline block()
{
#ifdef MUTANT_EPOCH_BEFORE_BLOCK
	tracks = 0;
	sept = SEPT_WHEN_BLOCKED(sept)
#else
	sept = SEPT_WHEN_BLOCKED(sept);
	tracks = 0
#endif
}

/* What stands after all checks but those of the locks; BLOCK is block(). */
inline act()
{
	d_step {
		if
		:: leaf == TDH_UNBLOCK && !TDH_MEM_RANGE_UNBLOCK_MAY_ACT(sept) ||
		   leaf == TDH_DEMOTE && !TDH_MEM_PAGE_DEMOTE_MAY_ACT(sept) ||
		   leaf == TDH_REMOVE && !TDH_MEM_PAGE_REMOVE_MAY_ACT(sept) ||
		   leaf == TDH_PROMOTE && !TDH_MEM_PAGE_PROMOTE_MAY_ACT(sept) ||
		   leaf == TDH_AUG && !TDH_MEM_PAGE_AUG_MAY_ACT(sept) ->
			status = TDX_EPT_ENTRY_STATE_INCORRECT
		:: else ->
			if
			:: leaf == TDH_AUG -> sept = SEPT_PENDING
			:: leaf != TDH_AUG && NOT_BLOCKED -> status = TDX_GPA_RANGE_NOT_BLOCKED
			:: leaf != TDH_AUG && !NOT_BLOCKED && !IS_TRACKED ->
				status = TDX_TLB_TRACKING_NOT_DONE
			:: else ->
				if
				:: leaf == TDH_UNBLOCK -> sept = SEPT_WHEN_UNBLOCKED(sept)
				:: leaf == TDH_DEMOTE ->
					part = SEPT_WHEN_UNBLOCKED(sept);
					sept = SEPT_NL_MAPPED;
					end_translation(TR_HUGE)
				:: leaf == TDH_REMOVE ->
					sept = SEPT_FREE;
					end_translation(TR_HUGE)
				:: leaf == TDH_PROMOTE ->
					sept = part;
					part = SEPT_MAPPED;
					end_translation(TR_SMALL)
				fi;
				tracks = 2
			fi
		fi;
		v = 0
	}
}

/* A leaf on the entry: tries the tree, exclusive or shared, and the entry; acts; lets go. */
inline act_on_entry()
{
	atomic {
		status = TDX_SUCCESS;
		if
		:: tree_exclusive || entry_lock || (IS_EXCLUSIVE(leaf) && tree_shared) ->
			status = TDX_OPERAND_BUSY
		:: else ->
			entry_lock = true;
			if
			:: IS_EXCLUSIVE(leaf) -> tree_exclusive = true
			:: else -> tree_shared++
			fi
		fi
	}
	if
	:: status == TDX_OPERAND_BUSY
	:: status != TDX_OPERAND_BUSY && leaf != TDH_BLOCK -> atomic { act(); let_go() }
	:: status != TDX_OPERAND_BUSY && leaf == TDH_BLOCK ->
		if
		:: SEPT_IS_BLOCKED(sept) -> status = TDX_GPA_RANGE_ALREADY_BLOCKED
		:: TDH_MEM_RANGE_BLOCK_MAY_ACT(sept) -> block()
		:: else -> status = TDX_EPT_ENTRY_STATE_INCORRECT
		fi;
		atomic { entry_lock = false; tree_exclusive = false }
	fi
}

inline let_go()
{
	entry_lock = false;
	if
	:: IS_EXCLUSIVE(leaf) -> tree_exclusive = false
	:: else -> tree_shared--
	fi
}

inline track()
{
	atomic {
		if
		:: epoch_exclusive || epoch_shared -> status = TDX_OPERAND_BUSY
		:: else -> status = TDX_SUCCESS; epoch_exclusive = true
		fi
	}
	d_step {
		if
		:: status == TDX_OPERAND_BUSY
		:: else ->
			epoch_exclusive = false;
			if
#ifndef MUTANT_TRACK_TWICE
			:: refcount[1 - parity] -> status = TDX_PREVIOUS_TLB_EPOCH_BUSY
#endif
			:: else ->
				parity = 1 - parity;
				tracks = (tracks < 2 -> tracks + 1 : 2);
				for (v : 0 .. VCPUS - 1) {
					same_epoch[v] = false;
					PROPERTY(one_old_epoch, age[v] != AGE_OLD);
					age[v] = (age[v] == AGE_CURRENT -> AGE_OLD : age[v])
				}
			fi
		fi;
		v = 0
	}
}

/* ---- a vCPU ----------------------------------------------------------------------------------*/
/*
 * Both counts are full barriers. Interrupts are taken outside; a kick makes one pending only for
 * who is inside, so the count on the way out may do it for the way in.
 */
inline count_in(i)
{
	atomic { inside[i] = true; moved[i] = true }
}

inline count_out(i)
{
	atomic { inside[i] = false; moved[i] = true; pending[i] = false }
}

inline leave_epoch(i)
{
	atomic { refcount[counted[i]]--; counted[i] = 0; age[i] = AGE_OUTSIDE }
}

proctype vcpu(byte i)
{
	bool flush;
#ifdef MUTANT_LOOK_BEFORE_COUNT
	bool held_off;
#endif

again:
#ifdef MUTANT_LOOK_BEFORE_COUNT
	/* Where a barrier is missing the look may come before the count is seen. */
	held_off = hold_off;
	count_in(i);
	if
	:: atomic { held_off -> held_off = false; goto out }
	:: else
	fi;
#else
	count_in(i);
#ifdef MUTANT_LOST_KICK
	pending[i] = false;
#endif
	if
	:: hold_off -> goto out
	:: else
	fi;
#endif

	/* VP.ENTER: into the epoch. */
	if
	:: atomic { epoch_exclusive -> goto out }
	:: atomic { !epoch_exclusive -> epoch_shared++ }
	fi;
	d_step {
		flush = !same_epoch[i];
		same_epoch[i] = true;
		counted[i] = parity;
		refcount[parity]++;
		age[i] = AGE_CURRENT
	}
	d_step {
		epoch_shared--;
#ifndef MUTANT_STALE_TLB
		tlb[i] = (flush -> TR_NONE : tlb[i]);
#endif
		flush = false
	}
	/* The zero-step filter, now and then. */
	if
	:: true
	:: atomic { tree_exclusive -> goto leave }
	:: atomic { !tree_exclusive -> tree_shared++ }; tree_shared--
	fi;

guest:
	if
	:: pending[i] -> goto leave
	:: !pending[i] ->
		if
		:: tlb[i] == TR_NONE ->
			walk[i] = WALK;
			if
			/* An EPT violation: out, and to a fault that takes mmu.lock. */
			:: walk[i] == TR_NONE -> goto violation
			:: else -> d_step { tlb[i] = walk[i]; walk[i] = TR_NONE }
			fi
		:: else
		fi;
		atomic { PROPERTY(no_stale_use, tlb[i] != TR_STALE); goto guest }
	:: !pending[i] -> /* ACCEPT; busy or not, the guest goes on */
		if
		:: atomic { sept == SEPT_NL_MAPPED && TDG_MEM_PAGE_ACCEPT_MAY_ACT(part) ->
				part = SEPT_WHEN_ACCEPTED(part) }
		:: atomic { TDG_MEM_PAGE_ACCEPT_MAY_ACT(sept) && !entry_lock -> entry_lock = true }
			sept = SEPT_WHEN_ACCEPTED(sept);
			entry_lock = false
		:: else
		fi;
		goto guest
	:: true -> goto leave /* by a TDCALL */
	fi;

violation: /* out, and to a fault that takes mmu.lock for reading and gives it back */
	leave_epoch(i);
#ifdef MUTANT_LOCK_BEFORE_COUNT
	!mmu_write;
	count_out(i);
#else
	count_out(i);
	!mmu_write;
#endif
	goto again;
leave:
	leave_epoch(i);
out:
	count_out(i);
	goto again
}

#ifdef ANY_HOST
proctype host()
{
	mtype leaf;
	byte status, v;

next_call:
	if
	:: leaf = TDH_BLOCK
	:: leaf = TDH_UNBLOCK
	:: leaf = TDH_TRACK
	:: leaf = TDH_DEMOTE
	:: leaf = TDH_REMOVE
	:: leaf = TDH_PROMOTE
	:: leaf = TDH_AUG
	fi;
	if
	:: leaf == TDH_TRACK -> track()
	:: else -> act_on_entry()
	fi;
	atomic { leaf = 0; status = 0 }
	goto next_call
}
#else
inline kick_and_wait()
{
	for (k : 0 .. VCPUS - 1) {
		atomic { moved[k] = false; was_inside[k] = inside[k]; pending[k] = pending[k] || inside[k] }
	}
	for (k : 0 .. VCPUS - 1) {
		atomic { !was_inside[k] || moved[k] -> was_inside[k] = false }
	}
	k = 0
}

proctype host()
{
	mtype leaf, last;
	byte status, k, v;
	bool was_inside[VCPUS];

next_round:
	atomic {
		leaf = TDH_BLOCK;
		if
		:: SEPT_IS_LEAF(sept) -> last = TDH_DEMOTE
		:: SEPT_IS_LEAF(sept) -> last = TDH_REMOVE
		:: sept == SEPT_NL_MAPPED -> last = TDH_PROMOTE
		:: SEPT_IS_FREE(sept) -> leaf = TDH_AUG; goto map
		fi;
		mmu_write = true
	}
call:
	if
	:: leaf == TDH_TRACK ->
#ifdef MUTANT_SKIP_TRACK
		status = TDX_SUCCESS
#else
		track()
#endif
	:: else -> act_on_entry()
	fi;
	/* td_call_no_vcpus() */
	if
	:: atomic { status == TDX_OPERAND_BUSY ->
		PROPERTY(second_call_is_not_busy, !hold_off);
		hold_off = true }
		kick_and_wait();
		goto call
	:: atomic { else ->
		hold_off = false;
		PROPERTY(module_agrees, status == TDX_SUCCESS || MODULE_IS_BLIND && leaf == TDH_TRACK);
		if
		:: leaf == TDH_BLOCK -> leaf = TDH_TRACK; goto call
		:: leaf == TDH_TRACK -> skip
		:: else -> mmu_write = false; goto done
		fi }
	fi;
#ifndef MUTANT_SKIP_KICK
	kick_and_wait();
#endif
	leaf = last;
	goto call;
map: /* Under the read lock: busy means that it is tried again. */
	act_on_entry();
	if
	:: status == TDX_OPERAND_BUSY -> goto map
	:: else -> PROPERTY(module_agrees, status == TDX_SUCCESS)
	fi;
done:
	atomic { leaf = 0; last = 0; status = 0 }
	goto next_round
}

ltl host_gets_on { []<>host@done }
ltl hold_off_ends { [](hold_off -> <>!hold_off) }
#endif

init {
	atomic {
		run vcpu(0);
#ifdef ANY_HOST
		run host();
#else
		run vcpu(1);
#endif
		run host()
	}
}
