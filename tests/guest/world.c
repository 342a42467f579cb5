/* SPDX-License-Identifier: MIT */
/* The world of world.h. */
#include <stdlib.h>
#include <string.h>

#include "seam/seam.h"
#include "vm/vm.h"
#include "world.h"

#define BLOCK 512ULL

struct world *world_make(u64 nr_gfns, u32 nr_vcpus)
{
	struct world *w = calloc(1, sizeof(*w));

	w->nr_gfns = nr_gfns;
	w->nr_vcpus = nr_vcpus;
	w->state = calloc(nr_gfns, 1);
	w->shared = calloc(nr_gfns, 1);
	w->huge = calloc(nr_gfns / BLOCK + 1, sizeof(bool));
	w->words = calloc(nr_gfns * nr_vcpus, sizeof(u64));
	sync_mutex_init(&w->lock, LOCK_HOST_ALLOC);
	for (u32 i = 0; i < nr_vcpus; i++) {
		struct world_vcpu *v = &w->vcpu[i];

		v->world = w;
		v->lp = calloc(1, sizeof(struct lp));
		v->lp->id = i;
		v->lp->module = v;
		rng_init(&v->rng, i);
	}
	return w;
}

void world_free(struct world *w)
{
	for (u32 i = 0; i < w->nr_vcpus; i++)
		free(w->vcpu[i].lp);
	sync_mutex_destroy(&w->lock);
	free(w->words);
	free(w->huge);
	free(w->shared);
	free(w->state);
	free(w);
}

static struct world_vcpu *vcpu_of(const struct lp *lp)
{
	return lp->module;
}

static bool one_in(struct world_vcpu *v, u32 n)
{
	return n && !rng_below(&v->rng, n);
}

static bool is_fault(struct world *w, enum world_fault fault, gfn_t gfn)
{
	return w->fault == fault && w->fault_gfn == gfn;
}

static bool by_alias(gpa_t gpa)
{
	return gpa >> WORLD_SHARED_BIT & 1;
}

static gfn_t gfn_of(gpa_t gpa)
{
	return addr_to_fn(gpa & ~BIT_ULL(WORLD_SHARED_BIT));
}

/* ---- what the guest calls --------------------------------------------------------------------*/
enum lp_access lp_guest_poll(struct lp *lp)
{
	struct world_vcpu *v = vcpu_of(lp);

	if (!one_in(v, v->world->exit_one_in))
		return LP_ACCESS_OK;
	lp->exit.kind = LP_EXIT_INTERRUPT;
	return LP_ACCESS_EXIT;
}

bool lp_tlb_is_stale(const struct lp *lp, gpa_t gpa)
{
	struct world *w = vcpu_of(lp)->world;

	return is_fault(w, FAULT_CROSSED_PAGES, gfn_of(gpa)) ||
	       is_fault(w, FAULT_STALE, gfn_of(gpa));
}

bool ept_walk(const struct lp *lp, gpa_t gpa, bool write, struct ept_translation *out)
{
	(void)write;
	(void)out;
	return by_alias(gpa) || sync_load(&vcpu_of(lp)->world->state[gfn_of(gpa)]) == PAGE_OPEN;
}

static enum lp_access translate(struct lp *lp, gpa_t gpa, bool write)
{
	struct world *w = vcpu_of(lp)->world;

	if (lp_guest_poll(lp) == LP_ACCESS_EXIT)
		return LP_ACCESS_EXIT;
	if (by_alias(gpa) == sync_load(&w->shared[gfn_of(gpa)]) &&
	    (by_alias(gpa) || sync_load_acquire(&w->state[gfn_of(gpa)]) == PAGE_OPEN))
		return LP_ACCESS_OK;
	lp->exit = (struct lp_exit){.kind = LP_EXIT_EPT_VIOLATION, .gpa = gpa, .write = write};
	return LP_ACCESS_EXIT;
}

static u64 *word_at(struct world *w, gpa_t gpa)
{
	return &w->words[gfn_of(gpa) * w->nr_vcpus + gpa % PAGE_SIZE / sizeof(u64)];
}

enum lp_access lp_guest_read(struct lp *lp, gpa_t gpa, u64 *words, unsigned int n)
{
	struct world *w = vcpu_of(lp)->world;
	gfn_t gfn = gfn_of(gpa);

	if (translate(lp, gpa, false) != LP_ACCESS_OK)
		return LP_ACCESS_EXIT;
	if (is_fault(w, FAULT_MACHINE_CHECK, gfn)) {
		sync_fetch_add(&w->fault_seen, 1);
		return LP_ACCESS_MC;
	}
	if (is_fault(w, FAULT_CROSSED_PAGES, gfn)) {
		sync_fetch_add(&w->fault_seen, 1);
		gpa += PAGE_SIZE;
	}
	for (unsigned int i = 0; i < n; i++)
		words[i] = sync_load(word_at(w, gpa) + i);
	return LP_ACCESS_OK;
}

enum lp_access lp_guest_write(struct lp *lp, gpa_t gpa, const u64 *words, unsigned int n)
{
	struct world *w = vcpu_of(lp)->world;

	if (translate(lp, gpa, true) != LP_ACCESS_OK)
		return LP_ACCESS_EXIT;
	if (is_fault(w, FAULT_LOST_WRITE, gfn_of(gpa)) && !sync_fetch_add(&w->fault_seen, 1))
		return LP_ACCESS_OK;
	for (unsigned int i = 0; i < n; i++)
		sync_store(word_at(w, gpa) + i, words[i]);
	return LP_ACCESS_OK;
}

/* Opens [@gfn, @gfn + @nr), all pending, with zero content. */
static void open_pages(struct world *w, gfn_t gfn, u64 nr)
{
	if (w->fault != FAULT_NO_ZEROING)
		for (u64 i = gfn * w->nr_vcpus; i < (gfn + nr) * w->nr_vcpus; i++)
			sync_store(&w->words[i], 0);
	for (u64 i = 0; i < nr; i++)
		if (!is_fault(w, FAULT_STAYS_PENDING, gfn + i))
			sync_store_release(&w->state[gfn + i], PAGE_OPEN);
}

/* As the module decides; 1 stands for an exit that asks the host for memory of that level. */
static u64 accept_locked(struct world *w, gfn_t gfn, bool want_2m)
{
	bool huge = w->huge[gfn / BLOCK];
	u8 state = sync_load(&w->state[gfn]);

	if (huge && !want_2m && state == PAGE_PENDING)
		return 1;
	if (want_2m && !huge)
		for (u64 i = 0; i < BLOCK; i++)
			if (sync_load(&w->state[gfn + i]) != PAGE_FREE)
				return TDX_PAGE_SIZE_MISMATCH | 1;
	if (state == PAGE_FREE)
		return 1;
	if (state == PAGE_OPEN)
		return TDX_PAGE_ALREADY_ACCEPTED | huge;
	open_pages(w, gfn, want_2m ? BLOCK : 1);
	if (is_fault(w, FAULT_ACCEPT_ERROR, gfn) && !w->fault_seen++)
		return TDX_OPERAND_INVALID | TDX_OPERAND_RCX;
	return TDX_SUCCESS;
}

static bool accept(struct lp *lp, struct tdx_regs *r)
{
	struct world_vcpu *v = vcpu_of(lp);
	struct world *w = v->world;
	gpa_t gpa = r->rcx & TDX_PAGE_INFO_GPA;

	if (lp_guest_poll(lp) == LP_ACCESS_EXIT)
		return false;
	if (one_in(v, w->busy_one_in)) {
		r->rax = TDX_OPERAND_BUSY | TDX_OPERAND_RCX;
		return true;
	}
	sync_mutex_lock(&w->lock);
	r->rax = accept_locked(w, addr_to_fn(gpa), r->rcx & TDX_PAGE_INFO_LEVEL);
	/* The host splits what is mapped larger than it was asked for. */
	if (r->rax == 1 && !(r->rcx & TDX_PAGE_INFO_LEVEL))
		w->huge[addr_to_fn(gpa) / BLOCK] = false;
	sync_mutex_unlock(&w->lock);
	if (r->rax != 1)
		return true;
	v->by_accept = true;
	lp->exit = (struct lp_exit){.kind = LP_EXIT_EPT_VIOLATION, .gpa = gpa, .write = true};
	return false;
}

bool tdcall(struct lp *lp, struct tdx_regs *r)
{
	struct world_vcpu *v = vcpu_of(lp);

	switch (r->rax) {
	case TDG_MEM_PAGE_ACCEPT:
		return accept(lp, r);
	case TDG_VP_VEINFO_GET:
		r->rax = TDX_SUCCESS;
		r->r9 = v->ve_gpa;
		return true;
	case TDG_VP_VMCALL:
		v->call = r;
		lp->exit.kind = LP_EXIT_TDCALL;
		return false;
	default:
		abort();
	}
}

/* ---- the host --------------------------------------------------------------------------------*/
static void map_page(struct world *w, gfn_t gfn)
{
	gfn_t first = ALIGN_DOWN(gfn, BLOCK);
	bool huge = w->host_2m && first + BLOCK <= w->nr_gfns;

	for (u64 i = 0; huge && i < BLOCK; i++)
		huge = sync_load(&w->state[first + i]) == PAGE_FREE &&
		       !sync_load(&w->shared[first + i]);
	if (!huge) {
		sync_store(&w->state[gfn], PAGE_PENDING);
		return;
	}
	w->huge[gfn / BLOCK] = true;
	for (u64 i = 0; i < BLOCK; i++)
		sync_store(&w->state[first + i], PAGE_PENDING);
}

/* Return: the vCPU lives on. */
static bool on_violation(struct world_vcpu *v)
{
	struct world *w = v->world;
	gpa_t gpa = v->lp->exit.gpa;
	gfn_t gfn = gfn_of(gpa);
	bool alive = true;

	sync_mutex_lock(&w->lock);
	w->violations++;
	if (by_alias(gpa) != sync_load(&w->shared[gfn])) {
		/* The other side of what was wanted. */
		alive = false;
	} else if (sync_load(&w->state[gfn]) == PAGE_FREE) {
		map_page(w, gfn);
	} else if (sync_load(&w->state[gfn]) == PAGE_PENDING && w->ve) {
		v->ve_gpa = v->lp->exit.gpa;
		v->lp->ve_pending = true;
	} else if (sync_load(&w->state[gfn]) == PAGE_PENDING) {
		/* An ACCEPT whose memory has come meanwhile; a plain access never may. */
		alive = v->by_accept;
	}
	sync_mutex_unlock(&w->lock);
	return alive;
}

static void lose(struct world *w, gfn_t gfn)
{
	for (u32 i = 0; i < w->nr_vcpus; i++)
		sync_store(&w->words[gfn * w->nr_vcpus + i], 0);
}

static void discard(struct world *w, struct tdx_regs *r)
{
	gfn_t gfn = addr_to_fn(r->r12), end = addr_to_fn(r->r12 + r->r13);

	sync_mutex_lock(&w->lock);
	r->r10 = w->refuses_discards;
	w->discards++;
	for (; !w->refuses_discards && gfn < end; gfn++) {
		/* Those that a cut huge page leaves over stay as they are, one by one. */
		w->huge[gfn / BLOCK] = false;
		sync_store(&w->state[gfn], PAGE_FREE);
		/* Of private pages the ACCEPT does that. */
		if (sync_load(&w->shared[gfn]))
			lose(w, gfn);
	}
	sync_mutex_unlock(&w->lock);
}

static void convert(struct world *w, gfn_t gfn, bool to_shared)
{
	if (sync_load(&w->shared[gfn]) == to_shared)
		return;
	w->converted++;
	w->huge[gfn / BLOCK] = false;
	sync_store(&w->shared[gfn], to_shared);
	sync_store(&w->state[gfn], PAGE_FREE);
	if (to_shared)
		lose(w, gfn);
}

static void map_gpa(struct world *w, struct tdx_regs *r)
{
	u64 bit = r->r12 & BIT_ULL(WORLD_SHARED_BIT), nr = addr_to_fn(r->r13);
	gfn_t gfn = gfn_of(r->r12);

	sync_mutex_lock(&w->lock);
	w->map_gpas++;
	if (w->map_gpa_refuses) {
		r->r10 = w->map_gpa_refuses;
	} else if (w->map_gpa_retries) {
		w->map_gpa_retries--;
		r->r10 = VM_HC_RETRY;
		r->r11 = r->r12;
	} else {
		u64 done = w->map_gpa_most ? min_u64(w->map_gpa_most, nr) : nr;

		for (u64 i = 0; i < done; i++)
			convert(w, gfn + i, bit);
		r->r10 = done < nr ? VM_HC_RETRY : 0;
		r->r11 = fn_to_addr(gfn + done) | bit;
	}
	sync_mutex_unlock(&w->lock);
}

/* Return: the guest goes on. */
static bool handle_exit(struct world_vcpu *v)
{
	struct world *w = v->world;

	switch (v->lp->exit.kind) {
	case LP_EXIT_NONE:
		abort();
	case LP_EXIT_INTERRUPT:
		return true;
	case LP_EXIT_EPT_VIOLATION:
		v->killed = !on_violation(v);
		return !v->killed;
	case LP_EXIT_TDCALL:
		break;
	}
	if (!v->call->r10 && v->call->r11 == VM_HC_MAP_GPA) {
		map_gpa(w, v->call);
		return true;
	}
	if (v->call->r10 != VM_HC_VENDOR)
		abort();
	if (v->call->r11 == VM_HC_DISCARD) {
		discard(w, v->call);
		return true;
	}
	sync_fetch_add(&w->stops, 1);
	return false;
}

void world_enter(struct world *w, u32 i, struct replay *replay)
{
	struct world_vcpu *v = &w->vcpu[i];

	v->by_accept = false;
	v->lp->exit.kind = LP_EXIT_NONE;
	replay_guest_ops.run(v->lp, v->lp->guest ? v->lp->guest : replay_guest(replay, i));
	v->lp->ve_pending = false;
}

static void vcpu_thread(void *arg)
{
	struct world_vcpu *v = arg;

	do
		world_enter(v->world, v->lp->id, NULL);
	while (handle_exit(v));
}

void world_run(struct world *w, struct replay *replay)
{
	for (u32 i = 0; i < w->nr_vcpus; i++) {
		struct world_vcpu *v = &w->vcpu[i];

		v->lp->guest = replay_guest(replay, i);
		if (sync_thread_create(&v->thread, vcpu_thread, v))
			abort();
	}
	for (u32 i = 0; i < w->nr_vcpus; i++)
		sync_thread_join(&w->vcpu[i].thread);
}
