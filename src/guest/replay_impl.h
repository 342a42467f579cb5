/* SPDX-License-Identifier: MIT */
/*
 * guest/replay, inside: what its files share. A vCPU is a state machine that leaves run() whenever an
 * access, a poll or a TDCALL says so, and goes on with the same step at the next run(): functions
 * that may leave return false to ask for it, and are called again.
 */
#ifndef GUEST_REPLAY_IMPL_H
#define GUEST_REPLAY_IMPL_H

#include "base/sync.h"
#include "guest/replay.h"
#include "septum/abi.h"

#define REPLAY_MAX_VCPUS 512 /* a page has room for that many slots */
#define REPLAY_MAX_REPORTS 8
#define REPLAY_MAX_VES 8 /* at one access: memory that stays pending can't be used */
#define NO_UNIT UINT64_MAX
#define NO_EVENT UINT64_MAX

/* ---- expectation words ------------------------------------------------------------------------
 * What a vCPU has in its slot of a page: bit 0 a write is in flight, 32:1 writes since the page was
 * lost the last time (discarded, or converted), 63:33 how often it was. Written by the vCPU alone,
 * except while all meet.
 *
 * Pairs: (a) the writer's release of the completed count, after the bytes, with the reader's acquire
 * before it reads them: the bytes are at least as new as that count. (b) the writer's sync_xchg() of
 * the in-flight word, before the bytes, with the reader's sync_fetch_add(0) after them: the bytes are
 * no newer than that word says.
 */
#define WORD_IN_FLIGHT 1ULL
#define WORD_ONE_WRITE 2ULL
#define WORD_GENERATION_SHIFT 33

/* Nothing written since the page was lost: the slot reads as zero. */
static inline bool word_is_blank(u64 word)
{
	return !(word & GENMASK_ULL(WORD_GENERATION_SHIFT - 1, 1));
}

/* State of a unit of memory that is accepted as one; replay->unit. */
enum unit_state { UNIT_UNACCEPTED, UNIT_ACCEPTING, UNIT_ACCEPTED };

/* An accept that a vCPU is in the middle of. */
struct accept_work {
	gfn_t gfn, end;	 /* what is left; gfn == end: nothing */
	gfn_t small_end; /* below this 4K at a time, after a size mismatch */
	u64 unit;	 /* to mark ACCEPTED at the end; NO_UNIT: none */
};

/*
 * What the guest knows of a page's memory; replay->health, if failures are planned.
 *
 *	GOOD --fails--> FAILED --given back--> UNSURE (the host may have found other memory)
 *	  |                |                      |
 *	  '----------------+--- machine check ----'--> RETIRED
 *
 * Only while all meet does a page fail or get given back; machine checks come at any time, to several
 * vCPUs perhaps.
 */
enum page_health { HEALTH_GOOD, HEALTH_FAILED, HEALTH_UNSURE, HEALTH_RETIRED };

/* What happens at a meeting; in that order at one event. */
enum plan_kind { PLAN_FAIL, PLAN_DISCARD, PLAN_CONVERT };

struct plan {
	enum plan_kind kind;
	gfn_t start, end;
	u64 event;
	u64 step;	 /* conversion: pages of one MapGPA at most */
	bool to_private; /* conversion */
	const struct replay_failure *failure;
	bool refused;
};

/* Plans [first, end) happen at one event: failures to fail_end, discards to discard_end, conversions. */
struct meeting {
	u64 event;
	u32 first, fail_end, discard_end, end;
	u32 owner; /* the vCPU that carries them out */
};

/* The owner's progress: over the failures, over the discards twice, then over the conversions. */
enum meeting_phase {
	MEETING_ARRIVE,
	MEETING_FAIL,
	MEETING_GIVE_BACK,
	MEETING_TAKE_BACK,
	MEETING_CONVERT,
};

/* Where the owner is in a conversion; [at, mapped) is what the last MapGPA did. */
enum convert_state {
	CONVERT_ASK,	/* MapGPA is to be called from `at` on */
	CONVERT_ANSWER, /* it was */
	CONVERT_ACCEPT, /* what became private is to be accepted */
};

struct convert_progress {
	enum convert_state state;
	gfn_t at, mapped;
	u32 retries; /* without progress */
};

struct replay_vcpu {
	_Alignas(64) struct replay *replay; /* neighbours share no line */
	u32 index;
	u64 salt; /* of its values */
	const struct trace_access *events;
	u64 nr_events;
	u64 done;    /* events performed; written by this vCPU, read by anybody */
	u64 *words;  /* per gfn; NULL for a vCPU without events */
	u64 meet_at; /* number of the event before which the next meeting is, or NO_EVENT */

	struct accept_work accept;
	bool has_ve; /* a #VE asks for unit ve_unit */
	u64 ve_unit;
	u64 ve_event;		   /* where the last one came, as done was then, ... */
	u32 ve_count;		   /* ... and how many have come there */
	u64 eager_unit, eager_end; /* what is left of its share */
	bool eager_counted;

	u32 met;	/* meetings that are behind */
	bool announced; /* it has arrived at the next one */
	enum meeting_phase phase;
	u32 plan;   /* that it is at in this phase, ... */
	bool begun; /* ... and whether it has asked for what the phase does */
	struct convert_progress convert;
	struct tdx_regs call; /* the hypercall that it is in; the host answers into it */

	struct replay_stats stats;
	u64 before[REPLAY_MAX_VCPUS], found[REPLAY_MAX_VCPUS]; /* of the page that it reads now */
};

struct replay {
	struct replay_config cfg;
	struct plan *plans; /* in the order of their events, discards before conversions */
	u32 nr_plans;
	struct meeting *meetings;
	u32 nr_meetings;
	u64 nr_words;	/* gfns that the trace can name */
	u64 nr_pages;	/* of memory */
	u32 nr_slots;	/* vCPUs of the trace */
	u32 nr_players; /* those of them with events: they meet */

	u8 *unit; /* enum unit_state, lazily mapped; atomic */
	u64 nr_units;
	u32 unit_shift; /* gfn to unit */
	/*
	 * A byte a page: it is shared. NULL without conversions. Changed by the owner of a meeting
	 * alone, while the others wait, and read by them after it.
	 */
	u8 *shared;

	/* A byte a page: enum page_health. NULL without failures; atomic. */
	u8 *health;
	/* Between the owner of a meeting and the thread that makes memory fail (replay_fail.c). */
	u32 fails_asked, fails_done;	   /* so far; atomic */
	u32 fails_stop;			   /* atomic */
	const struct replay_failure *fail; /* the owner's, until it has asked */
	struct replay_loss fail_loss;	   /* the thread's, until it is done */
	struct sync_waitq fail_wake;

	u32 eager_done;	   /* vCPUs that are through with their share; atomic */
	u64 arrived;	   /* arrivals at all meetings so far; atomic */
	u32 meetings_done; /* atomic */
	u32 reports;	   /* atomic */
	struct replay_vcpu *vcpu;
};

/* Counters that others may read at any time. */
static inline void count(u64 *counter)
{
	sync_store_quiet(counter, sync_load_quiet(counter) + 1);
}

static inline gfn_t unit_start(const struct replay *r, u64 unit)
{
	return unit << r->unit_shift;
}

static inline bool is_shared(const struct replay *r, gfn_t gfn)
{
	return unlikely(r->shared) && r->shared[gfn];
}

static inline enum page_health page_health(const struct replay *r, gfn_t gfn)
{
	return likely(!r->health) ? HEALTH_GOOD : (enum page_health)sync_load(&r->health[gfn]);
}

static inline bool is_retired(const struct replay *r, gfn_t gfn)
{
	return page_health(r, gfn) == HEALTH_RETIRED;
}

/* Where the guest reaches page @gfn now. */
static inline gpa_t access_gpa(const struct replay *r, gfn_t gfn)
{
	return fn_to_addr(gfn) | (is_shared(r, gfn) ? BIT_ULL(r->cfg.shared_bit) : 0);
}

/* replay_check.c: what pages hold. */
u64 replay_salt(u64 seed, u32 vcpu);
bool replay_write(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a);
bool replay_read(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a);
/* One line about something wrong, if this is one of the first few. */
void replay_report(struct replay *r, const char *fmt, ...) __printf(2, 3);

/* replay_accept.c */
bool replay_accept_unit(struct lp *lp, struct replay_vcpu *v, u64 unit);
/* Goes on with v->accept until nothing is left. */
bool replay_accept_work(struct lp *lp, struct replay_vcpu *v);
/* If a #VE is delivered now, asks what it is about; replay_accept_ve() then acts on it. */
bool replay_take_ve(struct lp *lp, struct replay_vcpu *v);
bool replay_accept_ve(struct lp *lp, struct replay_vcpu *v);
bool replay_accept_eagerly(struct lp *lp, struct replay_vcpu *v);

/* replay_meet.c */
int replay_meetings_init(struct replay *r);
/* Takes part in every meeting that is due before event @number or earlier. */
bool replay_meet(struct lp *lp, struct replay_vcpu *v, u64 number);
/* Nothing that [@start, @end) held is right any more: it reads as zero. */
void replay_forget(struct replay *r, gfn_t start, gfn_t end);
/* Units that lie wholly in the range; the tail of memory is whole, too. Others stay as they are. */
void replay_mark_units(struct replay *r, gfn_t start, gfn_t end, enum unit_state state);

/* replay_fail.c: the owner of a meeting, with the plans of @m that are failures. */
bool replay_fail(struct lp *lp, struct replay_vcpu *v, const struct meeting *m);
/* [@start, @end) has been given back: whether the host uses failed memory there again is its business. */
void replay_fail_given_back(struct replay *r, gfn_t start, gfn_t end);
/* @v has used page @gfn, which must not work if its memory has failed. */
void replay_fail_check_use(struct replay_vcpu *v, const struct trace_access *a);

/* replay_discard.c: the owner of a meeting, with the plans of @m that are discards. */
bool replay_give_back(struct lp *lp, struct replay_vcpu *v, const struct meeting *m);
bool replay_take_back(struct lp *lp, struct replay_vcpu *v, const struct meeting *m);

/* replay_convert.c: the same for its conversions. */
bool replay_convert(struct lp *lp, struct replay_vcpu *v, const struct meeting *m);

/* replay.c */
/* One turn of a wait inside the guest. */
bool replay_wait(struct lp *lp);
/*
 * TDG.VP.VMCALL with R10 to R13 as given: fills v->call, and leaves the guest. When it runs again the
 * answer is there.
 */
bool replay_vmcall(struct lp *lp, struct replay_vcpu *v, u64 r10, u64 r11, u64 r12, u64 r13);

#endif
