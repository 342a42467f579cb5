/* SPDX-License-Identifier: MIT */
/*
 * A world for a guest to run in that is not made of our rooms: pages with a state, a host that maps
 * them on demand, ACCEPT, #VE and hypercalls, and everything that can go wrong. It stands in for
 * lp_guest_read(), lp_guest_write(), lp_guest_poll(), lp_tlb_is_stale(), ept_walk() and tdcall(), so that a guest
 * is tested apart from the module and the MMU, and against answers that they never give.
 */
#ifndef TESTS_GUEST_WORLD_H
#define TESTS_GUEST_WORLD_H

#include "base/rng.h"
#include "base/sync.h"
#include "cpu/lp.h"
#include "guest/replay.h"
#include "septum/abi.h"

#define WORLD_MAX_VCPUS 8
#define WORLD_SHARED_BIT 47

enum page_state { PAGE_FREE, PAGE_PENDING, PAGE_OPEN };

/* What is wrong with a world. */
enum world_fault {
	FAULT_NONE,
	FAULT_LOST_WRITE,    /* a write to fault_gfn has no effect */
	FAULT_STALE,	     /* the TLB is never right about fault_gfn, although the bytes are */
	FAULT_CROSSED_PAGES, /* a read of fault_gfn gives the page after it */
	FAULT_NO_ZEROING,    /* ACCEPT leaves what was there */
	FAULT_MACHINE_CHECK, /* reads of fault_gfn */
	FAULT_ACCEPT_ERROR, /* ACCEPT of fault_gfn answers OPERAND_INVALID, once; the page is open */
	FAULT_STAYS_PENDING, /* ACCEPT of fault_gfn succeeds without effect */
};

struct world_vcpu {
	struct sync_thread thread;
	struct world *world;
	struct lp *lp;
	struct rng rng;
	struct tdx_regs *call; /* the hypercall that it is in */
	gpa_t ve_gpa;
	bool by_accept; /* its last exit came from an ACCEPT, not from an access */
	bool killed;	/* it touched pending memory where that is fatal */
};

struct world {
	u64 nr_gfns;
	u32 nr_vcpus;
	u8 *state;    /* enum page_state per gfn; atomic */
	bool *huge;   /* per 2M block: mapped as one */
	u64 *words;   /* nr_vcpus of each page */
	bool host_2m; /* the host maps whole blocks where it can */
	bool ve;      /* touching pending memory is a #VE, not the end */
	bool refuses_discards;
	u8 *shared;		 /* per gfn: reached through the alias alone; atomic */
	u64 map_gpa_refuses;	 /* R10 of the answer to every MapGPA; 0: they are carried out */
	u64 map_gpa_retries;	 /* so many answers ask for a retry from the same address */
	u64 map_gpa_most;	 /* a MapGPA converts so many pages, and asks for a retry; 0: all */
	u64 map_gpas, converted; /* calls, and pages that changed sides */
	u32 exit_one_in;	 /* interrupts: one access in so many; 0: none */
	u32 busy_one_in;
	enum world_fault fault;
	gfn_t fault_gfn;
	u32 fault_seen; /* atomic */
	u64 discards, violations, stops;
	struct sync_mutex lock;
	struct world_vcpu vcpu[WORLD_MAX_VCPUS];
};

struct world *world_make(u64 nr_gfns, u32 nr_vcpus);
void world_free(struct world *w);
/* Runs the guest on all vCPUs, each on a thread of its own, until all have stopped or died. */
void world_run(struct world *w, struct replay *replay);
/* One call of run() on vCPU @i, as VP.ENTER would make it; the exit is in its lp->exit. */
void world_enter(struct world *w, u32 i, struct replay *replay);

#endif
