/* SPDX-License-Identifier: MIT */
/* What the pages of a replay hold: every write is a value of its own, every read is compared. */
#include <inttypes.h>
#include <stdarg.h>

#include "guest/replay_impl.h"

/* ---- values ----------------------------------------------------------------------------------*/
static u64 mix(u64 x)
{
	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ULL;
	x = (x ^ x >> 27) * 0x94D049BB133111EBULL;
	return x ^ x >> 31;
}

u64 replay_salt(u64 seed, u32 vcpu)
{
	return mix(mix(seed + 0x9E3779B97F4A7C15ULL) + vcpu);
}

/* What @v's slot of page @gfn holds when its word is @word, which has no write in flight. */
static u64 slot_value(const struct replay_vcpu *v, gfn_t gfn, u64 word)
{
	u64 value;

	if (word_is_blank(word))
		return 0;
	value = mix(v->salt ^ mix(gfn * 0x9E3779B97F4A7C15ULL + word));
	return value ? value : 1;
}

/* ---- complaints ------------------------------------------------------------------------------*/
void replay_report(struct replay *r, const char *fmt, ...)
{
	va_list args;
	char line[256];

	if (!r->cfg.report || sync_fetch_add(&r->reports, 1) >= REPLAY_MAX_REPORTS)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	fprintf(r->cfg.report, "integrity: %s\n", line);
}

static void machine_check(struct replay_vcpu *v, const struct trace_access *a)
{
	count(&v->stats.errors);
	replay_report(v->replay, "event %u: vCPU %u %s gfn 0x%" PRIx64 ": machine check", a->number,
		      v->index, a->write ? "writes" : "reads", trace_access_gfn(a));
}

static void wrong_value(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a,
			u32 slot)
{
	const struct replay_vcpu *owner = &v->replay->vcpu[slot];
	gfn_t gfn = trace_access_gfn(a);
	u64 before = v->before[slot] & ~WORD_IN_FLIGHT;

	count(&v->stats.errors);
	replay_report(v->replay,
		      "event %u: vCPU %u reads gfn 0x%" PRIx64 ", slot %u: expected 0x%016" PRIx64
		      "%s, found 0x%016" PRIx64 "%s",
		      a->number, v->index, gfn, slot, slot_value(owner, gfn, before),
		      slot == v->index ? "" : " or later", v->found[slot],
		      lp_tlb_is_stale(lp, access_gpa(v->replay, gfn))
			      ? " (through a stale translation)"
			      : "");
}

/* ---- accesses --------------------------------------------------------------------------------*/
bool replay_write(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a)
{
	gfn_t gfn = trace_access_gfn(a);
	u64 *word = &v->words[gfn];
	u64 before = sync_load(word) & ~WORD_IN_FLIGHT, after = before + WORD_ONE_WRITE;
	u64 value = slot_value(v, gfn, after);

	/* Pair (b) of the expectation words: whoever finds the new bytes finds this, too. */
	sync_xchg(word, before | WORD_IN_FLIGHT);
	switch (lp_guest_write(lp, access_gpa(v->replay, gfn) + v->index * sizeof(value), &value,
			       1)) {
	case LP_ACCESS_EXIT:
		return false;
	case LP_ACCESS_MC:
		sync_store_release(word, before);
		machine_check(v, a);
		return true;
	case LP_ACCESS_OK:
		break;
	}
	/* Pair (a). */
	sync_store_release(word, after);
	return true;
}

/* @found isn't what the slot held before the read: it may have been written meanwhile. */
static bool is_newer(struct replay_vcpu *owner, gfn_t gfn, u64 before, u64 found)
{
	/* Pair (b). An exchange, since it has to come after the read of the bytes. */
	u64 now = sync_fetch_add(&owner->words[gfn], 0);
	u64 started = (now + WORD_IN_FLIGHT) & ~WORD_IN_FLIGHT;

	for (u64 w = (before & ~WORD_IN_FLIGHT) + WORD_ONE_WRITE; w <= started; w += WORD_ONE_WRITE)
		if (slot_value(owner, gfn, w) == found)
			return true;
	return false;
}

/* One slot as it was read: the owner finds its last value, others that or a newer one. */
static bool slot_is_right(struct replay_vcpu *v, u32 slot, gfn_t gfn)
{
	struct replay_vcpu *owner = &v->replay->vcpu[slot];
	u64 before = v->before[slot], found = v->found[slot];

	if (likely(found == slot_value(owner, gfn, before & ~WORD_IN_FLIGHT)))
		return true;
	return owner != v && owner->words && is_newer(owner, gfn, before, found);
}

/*
 * The TLB leads to another frame than the tables do. Memory that is blocked has no translation, and a
 * vCPU may use the one it has until it is kicked; but another frame takes its place only after every
 * vCPU has dropped the old one. The bytes may be right all the same: frames of one discard change
 * places, and all are zero then.
 */
static bool is_misled(const struct lp *lp, gpa_t gpa)
{
	struct ept_translation now;

	return lp_tlb_is_stale(lp, gpa) && ept_walk(lp, gpa, false, &now);
}

static void stale_translation(struct replay_vcpu *v, const struct trace_access *a)
{
	count(&v->stats.errors);
	replay_report(v->replay,
		      "event %u: vCPU %u reads gfn 0x%" PRIx64
		      " through a stale translation, and finds 0x%016" PRIx64
		      " in slot %u as expected",
		      a->number, v->index, trace_access_gfn(a), v->found[v->index], v->index);
}

/* One error a read at most. */
static void check_read(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a)
{
	gfn_t gfn = trace_access_gfn(a);
	u64 words = 0;

	for (u32 s = 0; s < v->replay->nr_slots; s++) {
		words |= v->before[s];
		if (unlikely(!slot_is_right(v, s, gfn))) {
			wrong_value(lp, v, a, s);
			return;
		}
	}
	/* Only where memory has been lost can there be a translation from before. */
	if (unlikely(words >> WORD_GENERATION_SHIFT) && is_misled(lp, access_gpa(v->replay, gfn)))
		stale_translation(v, a);
}

bool replay_read(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a)
{
	struct replay *r = v->replay;
	gfn_t gfn = trace_access_gfn(a);
	enum lp_access access;

	for (u32 s = 0; s < r->nr_slots; s++) {
		u64 *words = r->vcpu[s].words;

		/* Pair (a). A vCPU without events has written nothing. */
		v->before[s] = words ? sync_load_acquire(&words[gfn]) : 0;
	}
	access = lp_guest_read(lp, access_gpa(r, gfn), v->found, r->nr_slots);
	if (access == LP_ACCESS_EXIT)
		return false;
	if (a->follows_write)
		count(&v->stats.checks);
	if (access == LP_ACCESS_MC)
		machine_check(v, a);
	else
		check_read(lp, v, a);
	return true;
}
