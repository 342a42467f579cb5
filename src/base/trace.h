/* SPDX-License-Identifier: MIT */
/*
 * base/trace: trace points. Every room fires them; observe (and tests) listen. An event is a
 * struct of its own type, valid only during the call; a listener copies what it keeps and takes no
 * lock but its own. A point with no listener costs one load and a branch.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/types.h"

struct tdx_regs;

enum trace_point {
	TRACE_SEAMCALL,	    /* struct trace_seamcall: a host leaf returned */
	TRACE_TDCALL,	    /* struct trace_seamcall: a guest leaf returned or exited */
	TRACE_SPTE_CHANGED, /* struct trace_spte: kvm_tdp_mmu_spte_changed, after success */
	TRACE_POINT_COUNT,
};

struct trace_seamcall {
	u32 lp;
	u32 leaf;
	const struct tdx_regs *in, *out;
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

#endif
