/* SPDX-License-Identifier: MIT */
/*
 * guest: what runs inside a TD. Trace replay: each vCPU performs its events of a recorded trace,
 * accepts memory as Linux does, and checks every read that follows a write.
 *
 * Guarantees:
 *  1. Each vCPU writes its own slot (one u64) of a page and finds exactly its last value there.
 *     Another's slot holds a value that one has written or may be writing, never one older than
 *     what was complete when the read began.
 *  2. The guest keeps a map of unaccepted memory in units of the accept level; a vCPU that needs
 *     a unit that another is accepting waits for it, and can be kicked meanwhile.
 *  3. A discard happens between two events of the whole trace: every vCPU waits for it inside the
 *     guest, so one that nobody makes leave keeps its translations. Afterwards the range reads as
 *     zero until it is written again, and no value from before is ever right there. Of several
 *     discards at one event, all memory is given back before any is accepted again, so that it
 *     comes back from other frames. A read of such memory through a stale translation is an error
 *     even if the bytes are right.
 *  4. A conversion between private and shared happens likewise, after the discards at the same event.
 *     Accesses to what is shared go through the shared alias, and are checked in the same way; what a
 *     page held before it changed sides is gone. What becomes private again is accepted at once.
 *  5. Memory fails likewise, before discards and conversions at the same event. Who touches or accepts a
 *     page of what is lost has to get a machine check, and nobody else may; the guest then takes that
 *     page out of use, as a kernel does, and leaves out every later access to it.
 */
#ifndef GUEST_REPLAY_H
#define GUEST_REPLAY_H

#include <stdio.h>

#include "base/types.h"
#include "cpu/lp.h"

/* ---- a trace in memory -------------------------------------------------------------------------*/
struct trace_access {
	u64 instructions; /* since the trace began, all vCPUs together */
	u32 number;	  /* 1 is the first event of the trace */
	u32 gfn_low;	  /* gfn bits 31:0 */
	u16 gfn_high;
	u8 write;
	u8 follows_write; /* read: some vCPU has written the page at an earlier event */
};

static inline gfn_t trace_access_gfn(const struct trace_access *a)
{
	return (u64)a->gfn_high << 32 | a->gfn_low;
}

struct trace {
	u32 nr_vcpus; /* highest number + 1 */
	u64 nr_events;
	gfn_t max_gfn;
	u64 pages_touched, pages_written, instructions, reads_after_write;
	struct trace_access **events; /* per vCPU, in order */
	u64 *nr_vcpu_events;
};

/* ---- replay ------------------------------------------------------------------------------------*/
enum accept_mode { ACCEPT_LAZY, ACCEPT_EAGER, ACCEPT_TOUCH };

struct replay_discard {
	gpa_t gpa; /* multiple of 4K */
	u64 size;  /* multiple of 4K, not 0 */
	u64 event; /* before this event of the trace (1 is the first) */
};

struct replay_conversion {
	gpa_t gpa; /* multiple of 4K, without the shared bit */
	u64 size;  /* multiple of 4K, not 0 */
	u64 event; /* before this event of the trace (1 is the first) */
	u64 step;  /* bytes that one MapGPA converts at most, multiple of 4K; 0: all at once */
	bool to_private; /* else to shared */
};

struct replay_failure {
	gpa_t gpa; /* in the page that fails, without the shared bit */
	u64 event; /* before this event of the trace (1 is the first) */
	/* Instead of a page (0): this allocation of the host's fails, counted from then on */
	u64 allocation;
};

/* Pages that are lost: [gfn, gfn + nr), inside memory; 0: none */
struct replay_loss {
	gfn_t gfn;
	u64 nr;
};

struct replay_config {
	const struct trace *trace;
	u64 memory_bytes;
	u32 nr_vcpus; /* at least trace->nr_vcpus; those beyond have no events */
	enum accept_mode accept;
	enum pg_level accept_level;
	u64 seed;
	const struct replay_discard *discards;
	u32 nr_discards;
	const struct replay_conversion *conversions; /* those at one event happen in this order */
	u32 nr_conversions;
	const struct replay_failure *failures; /* those at one event happen in this order */
	u32 nr_failures;
	/*
	 * Makes it so, on the thread that is in replay_inject_failures(), while all vCPUs wait inside
	 * the guest. Return: what is lost by it.
	 */
	struct replay_loss (*fail)(void *ctx, const struct replay_failure *failure);
	void *fail_ctx;
	unsigned int shared_bit; /* of a GPA; needed with conversions and failures */
	FILE *report; /* where the first few integrity errors are described; NULL: nowhere */
};

struct replay_stats {
	u64 accesses; /* events performed */
	u64 checks; /* reads compared that follow a write in the trace; every other read is compared too */
	u64 errors; /* accesses that found something wrong, machine checks included; refused ACCEPTs */
	u64 discards,
		discards_refused; /* hypercalls that the host carried out, or answered by an error */
	u64 conversions, conversions_refused; /* the same of MapGPA; a retry counts as neither */
	u64 accepts_4k, accepts_2m, size_mismatches;
	u64 failures, pages_failed; /* that lost something, and what they lost */
	u64 machine_checks;	    /* that took a page out of use: one for each such page */
	u64 accesses_left_out;	    /* to those, among accesses */
	u64 accept_ns; /* time inside ACCEPT TDCALLs that completed, zeroing included */
};

struct replay;

/**
 * replay_create - make the guest of @cfg, which and whose trace and report outlive it
 *
 * Every vCPU below cfg->nr_vcpus has to be run. One with no events stops at once (after its share of
 * the accepting, if that is eager) and takes no part in discards and conversions.
 * Return: 0; -EINVAL for a configuration that the trace doesn't fit into; -ENOMEM.
 */
int replay_create(const struct replay_config *cfg, struct replay **out);
void replay_destroy(struct replay *r);
/** replay_guest - the guest to run on vCPU @i: hand it to vcpu_run() with replay_guest_ops */
void *replay_guest(struct replay *r, u32 i);
extern const struct guest_ops replay_guest_ops;
/**
 * replay_inject_failures - make memory fail where the plan says, until replay_stop_failures()
 *
 * For a thread of the host that is no vCPU's. A replay with failures needs one: its vCPUs wait for it.
 */
void replay_inject_failures(struct replay *r);
/** replay_stop_failures - no vCPU runs any more: replay_inject_failures() returns */
void replay_stop_failures(struct replay *r);
/**
 * replay_machine_check - the memory behind @gpa, its shared bit included, has failed vCPU @i
 *
 * On the vCPU's own thread, outside the guest, which goes on without that page when it runs again. A
 * page that nothing made fail counts as an error.
 * Return: false if the guest has no answer to it: no failure is planned, or @gpa isn't memory.
 */
bool replay_machine_check(struct replay *r, u32 i, gpa_t gpa);
/** replay_stats - sums over all vCPUs; any thread */
struct replay_stats replay_stats(const struct replay *r);
/** replay_events_done - events performed so far, for progress; any thread */
u64 replay_events_done(const struct replay *r);

#endif
