/* SPDX-License-Identifier: MIT */
/*
 * base/trace: trace points. Every room fires them; observe (and tests) listen. An event is a
 * struct of its own type, valid only during the call; a listener copies what it keeps and takes no
 * lock but its own. A point with no listener costs one load and a branch.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/sync.h"
#include "base/types.h"

struct tdx_regs;
struct trace_call;

enum trace_point {
	TRACE_SEAMCALL, /* struct trace_seamcall: a host leaf returned, VP.ENTER by a TD exit too */
	TRACE_VP_ENTER, /* struct trace_seamcall: VP.ENTER has let the vCPU in; out: see there */
	TRACE_TDCALL,	/* struct trace_seamcall: a guest leaf returned or exited */
	TRACE_GUEST_VE, /* struct trace_seamcall: a guest's access has ended in a #VE */
	TRACE_MODULE_READ,   /* struct trace_memory: a leaf has read host memory as its input */
	TRACE_TDMR_INIT_ALL, /* NULL: all TDMRs were initialised at once */
	TRACE_SPTE_CHANGED,  /* struct trace_spte: kvm_tdp_mmu_spte_changed, after success */
	TRACE_POINT_COUNT,
};

struct trace_seamcall {
	u32 lp;
	u32 leaf;
	/*
	 * VP_ENTER: out is what the host has answered the guest's open VP.VMCALL, NULL if none is
	 * open. GUEST_VE: both NULL.
	 */
	const struct tdx_regs *in, *out;
	struct trace_call *call;
};

struct trace_memory {
	u32 lp;
	hpa_t hpa;
	const void *bytes;
	u32 size;
};

struct trace_spte {
	gfn_t gfn;
	u64 old_spte, new_spte;
	int level;
	bool mirror;
};

struct trace_listener {
	void (*fn)(void *ctx, enum trace_point point, const void *event);
	void *ctx;
};

#define TRACE_MAX_LISTENERS 4

/* One per host. Listeners come before the host runs and go after it has stopped. */
struct tracer {
	struct trace_listener listener[TRACE_MAX_LISTENERS];
	u32 count;
	struct trace_order *order; /* NULL: no listener keeps one */
};

/** trace_listen - 0, or -ENOSPC when TRACE_MAX_LISTENERS listen already */
int trace_listen(struct tracer *t, const struct trace_listener *l);
void trace_dispatch(const struct tracer *t, enum trace_point point, const void *event);

static inline bool trace_enabled(const struct tracer *t)
{
	return unlikely(t->count);
}

static inline void trace_fire(const struct tracer *t, enum trace_point point, const void *event)
{
	if (trace_enabled(t))
		trace_dispatch(t, point, event);
}

/* ---- one order of all calls ------------------------------------------------------------------
 * Calls overlap in time, and their events come when they have returned. A listener that has to tell
 * in which order they took effect keeps a struct trace_order; each call then takes a place in it
 * when it takes effect:
 *
 *  - in the step that publishes a change to those who look without a lock (an S-EPT entry, an
 *    epoch's count), or that looks so: the step excludes all others;
 *  - else at its end, while it still holds what it has locked.
 *
 * So of two calls that touch the same thing, the one with the later place has seen what the other
 * has done, and made one by one in that order they answer the same. What is left out are answers of
 * "busy", which come from a call in the middle: see trace_call_end().
 */

/* Why a guest stopped running. */
enum trace_stop {
	TRACE_STOP_NONE, /* it wasn't running, or still is */
	TRACE_STOP_INTERRUPT,
	TRACE_STOP_NMI,
	TRACE_STOP_READ, /* an access that found no translation */
	TRACE_STOP_WRITE,
	TRACE_STOP_TDCALL,
};

/* Places are this far apart: a call may have to be put before another. */
#define TRACE_PLACE_STEP 2

/* When the way to what lies below @where was cut last. */
struct trace_cut {
	const void *where;
	u64 place;
};

#define TRACE_CUTS 256

/* Owned by the listener that keeps it. */
struct trace_order {
	struct sync_mutex lock; /* guards all of this and every call's links; class LOCK_OBSERVE */
	u64 now;		/* the last place taken */
	struct trace_cut cut[TRACE_CUTS];   /* by a hash of where; a later one takes the slot */
	u64 started, running;		    /* calls so far; now */
	struct trace_call *oldest, *newest; /* that run, by their begin */
};

/* A call while it runs, in the frame of who makes it and his but for the links. */
struct trace_call {
	struct trace_order *order;
	struct trace_call *older, *newer; /* under order->lock */
	u64 begun;  /* order->now at its begin: its place will be a later one */
	u64 place;  /* 0: none yet */
	u64 beside; /* calls that ran at its begin */
	u64 number; /* order->started at its begin, itself included */

	/* For an event that ends a guest's running, or a TDCALL that didn't complete. */
	enum trace_stop stop;
	gpa_t gpa;  /* of an access */
	u64 served; /* accesses that the processor's TLB had served by then */
};

void trace_call_begin(const struct tracer *t, struct trace_call *c);
/**
 * trace_call_end - take @c out of the calls that run; the listener that keeps the order, under its
 * lock, when it takes the event
 *
 * Return: how many other calls ran at some moment between the begin of @c and now.
 */
u64 trace_call_end(struct trace_call *c);

/* A step of @c that excludes those of all others. Short, and nothing that blocks inside. */
static inline void trace_step_begin(struct trace_call *c)
{
	if (c->order)
		sync_mutex_lock(&c->order->lock);
}

/** trace_step_end - and @c takes its place here, instead of an earlier one */
static inline void trace_step_end(struct trace_call *c)
{
	if (!c->order)
		return;
	c->place = c->order->now += TRACE_PLACE_STEP;
	sync_mutex_unlock(&c->order->lock);
}

/** trace_step_end_cut - trace_step_end(), and from here on nobody gets below @where any more */
void trace_step_end_cut(struct trace_call *c, const void *where);
/**
 * trace_step_end_before_cut - and @c, which got below @where in an earlier step, takes the last place
 * at which somebody could
 */
void trace_step_end_before_cut(struct trace_call *c, const void *where);

#endif
