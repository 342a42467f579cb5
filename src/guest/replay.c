/* SPDX-License-Identifier: MIT */
/* A replay's life, and the loop of each of its vCPUs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/replay_impl.h"
#include "seam/seam.h"
#include "vm/vm.h"

/* ---- life ------------------------------------------------------------------------------------*/
static bool plan_is_valid(const struct replay_config *c, gpa_t gpa, u64 size, u64 event)
{
	return event && size && IS_ALIGNED(gpa | size, PAGE_SIZE) && size <= c->memory_bytes &&
	       gpa <= c->memory_bytes - size;
}

static bool config_is_valid(const struct replay_config *c)
{
	if (c->nr_vcpus < c->trace->nr_vcpus || !c->nr_vcpus || c->nr_vcpus > REPLAY_MAX_VCPUS)
		return false;
	if (!c->memory_bytes || !IS_ALIGNED(c->memory_bytes, PAGE_SIZE))
		return false;
	if (c->trace->max_gfn >= addr_to_fn(c->memory_bytes))
		return false;
	if (c->accept_level != PG_LEVEL_4K && c->accept_level != PG_LEVEL_2M)
		return false;
	for (u32 i = 0; i < c->nr_discards; i++) {
		const struct replay_discard *d = &c->discards[i];

		if (!plan_is_valid(c, d->gpa, d->size, d->event))
			return false;
	}
	for (u32 i = 0; i < c->nr_conversions; i++) {
		const struct replay_conversion *v = &c->conversions[i];

		if (!plan_is_valid(c, v->gpa, v->size, v->event) || !IS_ALIGNED(v->step, PAGE_SIZE))
			return false;
	}
	for (u32 i = 0; i < c->nr_failures; i++)
		if (!c->fail || !plan_is_valid(c, ALIGN_DOWN(c->failures[i].gpa, PAGE_SIZE),
					       PAGE_SIZE, c->failures[i].event))
			return false;
	if ((c->nr_conversions || c->nr_failures) &&
	    (c->shared_bit > 63 || c->memory_bytes > BIT_ULL(c->shared_bit)))
		return false;
	return true;
}

/* Zeroed memory that costs nothing before it is used; NULL if there is no room. */
static void *map_lazily(u64 bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int vcpu_init(struct replay *r, u32 i)
{
	struct replay_vcpu *v = &r->vcpu[i];
	const struct trace *trace = r->cfg.trace;

	v->replay = r;
	v->index = i;
	v->salt = replay_salt(r->cfg.seed, i);
	v->meet_at = NO_EVENT;
	if (r->cfg.accept == ACCEPT_EAGER) {
		v->eager_unit = r->nr_units * i / r->cfg.nr_vcpus;
		v->eager_end = r->nr_units * (i + 1) / r->cfg.nr_vcpus;
	}
	if (i >= trace->nr_vcpus || !trace->nr_vcpu_events[i])
		return 0;
	v->events = trace->events[i];
	v->nr_events = trace->nr_vcpu_events[i];
	r->nr_players++;
	v->words = map_lazily(r->nr_words * sizeof(*v->words));
	return v->words ? 0 : -ENOMEM;
}

static int replay_init(struct replay *r)
{
	int err = 0;

	r->vcpu = map_lazily(r->cfg.nr_vcpus * sizeof(*r->vcpu));
	r->unit = map_lazily(r->nr_units);
	if (r->cfg.nr_conversions)
		r->shared = map_lazily(r->nr_pages);
	if (r->cfg.nr_failures)
		r->health = map_lazily(r->nr_pages);
	if (!r->vcpu || !r->unit || (r->cfg.nr_conversions && !r->shared) ||
	    (r->cfg.nr_failures && !r->health))
		return -ENOMEM;
	for (u32 i = 0; i < r->cfg.nr_vcpus && !err; i++)
		err = vcpu_init(r, i);
	return err ? err : replay_meetings_init(r);
}

int replay_create(const struct replay_config *cfg, struct replay **out)
{
	struct replay *r;
	int err;

	if (!config_is_valid(cfg))
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->cfg = *cfg;
	r->nr_slots = cfg->trace->nr_vcpus;
	r->nr_words = cfg->trace->max_gfn + 1;
	r->nr_pages = addr_to_fn(cfg->memory_bytes);
	r->unit_shift = level_shift(cfg->accept_level) - PAGE_SHIFT;
	r->nr_units = ((r->nr_pages - 1) >> r->unit_shift) + 1;
	sync_waitq_init(&r->fail_wake);
	err = replay_init(r);
	if (err) {
		replay_destroy(r);
		return err;
	}
	*out = r;
	return 0;
}

void replay_destroy(struct replay *r)
{
	for (u32 i = 0; r->vcpu && i < r->cfg.nr_vcpus; i++)
		if (r->vcpu[i].words)
			munmap(r->vcpu[i].words, r->nr_words * sizeof(*r->vcpu[i].words));
	if (r->vcpu)
		munmap(r->vcpu, r->cfg.nr_vcpus * sizeof(*r->vcpu));
	if (r->unit)
		munmap(r->unit, r->nr_units);
	if (r->shared)
		munmap(r->shared, r->nr_pages);
	if (r->health)
		munmap(r->health, r->nr_pages);
	sync_waitq_destroy(&r->fail_wake);
	free(r->meetings);
	free(r->plans);
	free(r);
}

void *replay_guest(struct replay *r, u32 i)
{
	return &r->vcpu[i];
}

u64 replay_events_done(const struct replay *r)
{
	u64 done = 0;

	for (u32 i = 0; i < r->cfg.nr_vcpus; i++)
		done += sync_load(&r->vcpu[i].done);
	return done;
}

struct replay_stats replay_stats(const struct replay *r)
{
	struct replay_stats sum = {.accesses = replay_events_done(r)};

	for (u32 i = 0; i < r->cfg.nr_vcpus; i++) {
		const struct replay_stats *s = &r->vcpu[i].stats;

		sum.checks += sync_load(&s->checks);
		sum.errors += sync_load(&s->errors);
		sum.discards += sync_load(&s->discards);
		sum.discards_refused += sync_load(&s->discards_refused);
		sum.conversions += sync_load(&s->conversions);
		sum.conversions_refused += sync_load(&s->conversions_refused);
		sum.failures += sync_load(&s->failures);
		sum.pages_failed += sync_load(&s->pages_failed);
		sum.machine_checks += sync_load(&s->machine_checks);
		sum.accesses_left_out += sync_load(&s->accesses_left_out);
		sum.accepts_4k += sync_load(&s->accepts_4k);
		sum.accepts_2m += sync_load(&s->accepts_2m);
		sum.size_mismatches += sync_load(&s->size_mismatches);
		sum.accept_ns += sync_load(&s->accept_ns);
	}
	return sum;
}

/* ---- running ---------------------------------------------------------------------------------*/
bool replay_wait(struct lp *lp)
{
	/* Without the poll a kick would not get through, and the kicker would wait for ever. */
	if (lp_guest_poll(lp) == LP_ACCESS_EXIT)
		return false;
	sync_relax();
	return true;
}

bool replay_vmcall(struct lp *lp, struct replay_vcpu *v, u64 r10, u64 r11, u64 r12, u64 r13)
{
	v->call = vm_hypercall(r10, r11, r12, r13);
	return tdcall(lp, &v->call);
}

/* The page is there to be touched, unless the guest touches first and accepts afterwards. */
static bool make_accepted(struct lp *lp, struct replay_vcpu *v, gfn_t gfn)
{
	struct replay *r = v->replay;
	u64 unit = gfn >> r->unit_shift;

	/* Pairs with the release of UNIT_ACCEPTED in replay_accept_work(). */
	if (likely(sync_load_acquire(&r->unit[unit]) == UNIT_ACCEPTED) || is_shared(r, gfn))
		return true;
	return r->cfg.accept == ACCEPT_TOUCH || replay_accept_unit(lp, v, unit);
}

static bool perform(struct lp *lp, struct replay_vcpu *v, const struct trace_access *a)
{
	gfn_t gfn = trace_access_gfn(a);

	if (!make_accepted(lp, v, gfn))
		return false;
	if (unlikely(is_retired(v->replay, gfn))) {
		count(&v->stats.accesses_left_out);
		return true;
	}
	if (a->write ? !replay_write(lp, v, a) : !replay_read(lp, v, a))
		return false;
	if (unlikely(page_health(v->replay, gfn) == HEALTH_FAILED))
		replay_fail_check_use(v, a);
	return true;
}

/* What was under way when the vCPU left: a #VE that is delivered now, an accept, the start. */
static bool catch_up(struct lp *lp, struct replay_vcpu *v)
{
	return replay_take_ve(lp, v) && replay_accept_work(lp, v) && replay_accept_ve(lp, v) &&
	       replay_accept_eagerly(lp, v);
}

static void replay_run(struct lp *lp, void *guest)
{
	struct replay_vcpu *v = guest;

	if (!catch_up(lp, v))
		return;
	for (;;) {
		const struct trace_access *a = &v->events[v->done];
		u64 number = v->done < v->nr_events ? a->number : NO_EVENT - 1;

		if (unlikely(v->meet_at <= number) && !replay_meet(lp, v, number))
			return;
		if (v->done == v->nr_events)
			break;
		if (!perform(lp, v, a))
			return;
		sync_store(&v->done, v->done + 1);
	}
	/* Doesn't come back, unless the host runs a guest that has stopped: then it stops again. */
	replay_vmcall(lp, v, VM_HC_VENDOR, VM_HC_STOP, 0, 0);
}

const struct guest_ops replay_guest_ops = {.run = replay_run};
