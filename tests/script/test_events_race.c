/* SPDX-License-Identifier: MIT */
/*
 * Streams of calls that race: two vCPUs and two host threads do at random what they may, and what
 * they shouldn't, to the same few pages. Whatever came of it must come of it again, one call at a
 * time.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "observe/events.h"
#include "script/events_replay.h"
#include "vm/vm.h"

#define NR_VCPUS 2
#define NR_HOSTS 2 /* on the LPs behind those of the vCPUs */
#define NR_PAGES 8
#define HKID 33
#define HOST_TURNS 3000
#define TABLE_INFO 0x1ULL     /* the 2M entry above all the pages */
#define HUGE_INFO 0x200001ULL /* a block that is mapped at 2M, split and merged */

struct arena;

struct actor {
	struct arena *arena;
	struct sync_thread thread;
	u32 lp;
	struct rng rng;
	struct tdx_regs regs; /* of a guest's call */
};

struct arena {
	struct machine m;
	struct events *events;
	hpa_t tdr, tdvpr[NR_VCPUS], frame[NR_PAGES], huge_frame, huge_table;
	struct actor actor[NR_VCPUS + NR_HOSTS];
	u32 hosts; /* that still run */
};

static u64 call(struct arena *a, u32 lp, u64 leaf, struct tdx_regs regs)
{
	regs.rax = leaf;
	return seamcall(a->m.lps[lp], &regs);
}

/* Where there are fewer processors than threads all should get on. */
static void yield_at_times(struct actor *actor)
{
	if (!rng_below(&actor->rng, 16))
		sync_relax();
}

/* ---- guests ----------------------------------------------------------------------------------*/

static bool guest_call(struct lp *lp, struct actor *g, u64 leaf, u64 rcx)
{
	g->regs = (struct tdx_regs){.rax = leaf, .rcx = rcx};
	return tdcall(lp, &g->regs);
}

static void guest_run(struct lp *lp, void *guest)
{
	struct actor *g = guest;
	u64 word;

	if (lp->ve_pending && !guest_call(lp, g, TDG_VP_VEINFO_GET, 0))
		return;
	lp->ve_pending = false;
	for (;;) {
		gpa_t gpa = rng_below(&g->rng, NR_PAGES) * PAGE_SIZE;
		bool stays = true;

		yield_at_times(g);
		if (!rng_below(&g->rng, 4))
			gpa |= HUGE_INFO & ~1ULL;
		switch (rng_below(&g->rng, 9)) {
		case 8:
			stays = guest_call(lp, g, TDG_MEM_PAGE_ACCEPT, HUGE_INFO);
			break;
		case 0:
			stays = guest_call(lp, g, TDG_MEM_PAGE_ATTR_RD, gpa);
			break;
		case 1:
			stays = lp_guest_read(lp, gpa, &word, 1) != LP_ACCESS_EXIT;
			break;
		case 2:
			stays = lp_guest_write(lp, gpa, &gpa, 1) != LP_ACCESS_EXIT;
			break;
		default:
			stays = guest_call(lp, g, TDG_MEM_PAGE_ACCEPT, gpa);
		}
		if (!stays || lp_guest_poll(lp) == LP_ACCESS_EXIT)
			return;
	}
}

static const struct guest_ops guest_ops = {.run = guest_run};

static void vcpu_main(void *arg)
{
	struct actor *g = arg;
	struct arena *a = g->arena;
	struct lp *lp = a->m.lps[g->lp];

	lp->guest_ops = &guest_ops;
	lp->guest = g;
	while (sync_load_acquire(&a->hosts)) { /* pairs with host_main() */
		call(a, g->lp, TDH_VP_ENTER, (struct tdx_regs){.rcx = a->tdvpr[g->lp]});
		lp_take_interrupts(lp);
	}
}

/* ---- hosts -----------------------------------------------------------------------------------*/

static void act_on_huge(struct arena *a, struct actor *h)
{
	struct tdx_regs regs = {.rcx = HUGE_INFO, .rdx = a->tdr};

	switch (rng_below(&h->rng, 8)) {
	case 0:
	case 1:
		call(a, h->lp, TDH_MEM_RANGE_BLOCK, regs);
		break;
	case 2:
		call(a, h->lp, TDH_MEM_RANGE_UNBLOCK, regs);
		break;
	case 3:
	case 4:
		regs.r9 = regs.r10 = regs.r11 = TDX_NULL_PA;
		regs.r8 = a->huge_table;
		call(a, h->lp, TDH_MEM_PAGE_DEMOTE, regs);
		break;
	case 5:
	case 6:
		call(a, h->lp, TDH_MEM_PAGE_PROMOTE, regs);
		break;
	default:
		regs.r8 = a->huge_frame;
		call(a, h->lp, TDH_MEM_PAGE_AUG, regs);
	}
}

static void act(struct arena *a, struct actor *h)
{
	u64 i = rng_below(&h->rng, NR_PAGES);
	u64 info = rng_below(&h->rng, 4) ? i * PAGE_SIZE : TABLE_INFO;
	struct tdx_regs entry = {.rcx = info, .rdx = a->tdr};

	switch (rng_below(&h->rng, 13)) {
	case 10:
	case 11:
	case 12:
		act_on_huge(a, h);
		break;
	case 0:
	case 1:
		call(a, h->lp, TDH_MEM_PAGE_AUG,
		     (struct tdx_regs){.rcx = i * PAGE_SIZE, .rdx = a->tdr, .r8 = a->frame[i]});
		break;
	case 2:
		call(a, h->lp, TDH_MEM_RANGE_BLOCK, entry);
		break;
	case 3:
	case 4:
		call(a, h->lp, TDH_MEM_RANGE_UNBLOCK, entry);
		break;
	case 5:
		call(a, h->lp, TDH_MEM_PAGE_REMOVE,
		     (struct tdx_regs){.rcx = i * PAGE_SIZE, .rdx = a->tdr});
		break;
	case 6:
		call(a, h->lp, TDH_MEM_SEPT_RD, entry);
		break;
	case 7:
		lp_interrupt(a->m.lps[rng_below(&h->rng, NR_VCPUS)], LP_INTR);
		break;
	default:
		call(a, h->lp, TDH_MEM_TRACK, (struct tdx_regs){.rcx = a->tdr});
	}
}

static void host_main(void *arg)
{
	struct actor *h = arg;
	struct arena *a = h->arena;

	for (u32 i = 0; i < HOST_TURNS; i++) {
		act(a, h);
		yield_at_times(h);
	}
	sync_fetch_sub(&a->hosts, 1); /* pairs with vcpu_main() */
	for (u32 i = 0; i < NR_VCPUS; i++)
		lp_interrupt(a->m.lps[i], LP_INTR);
}

/* ---- the arena -------------------------------------------------------------------------------*/

static int listen(void *arena, struct host *host)
{
	struct arena *a = arena;
	struct events_machine machine = {.memory_bytes = host->memory_bytes,
					 .nr_lps = host->nr_lps,
					 .nr_packages = host->nr_packages,
					 .profile = "1.5.28"};

	return events_listen(a->events, &machine, &host->tracer);
}

static hpa_t frames(struct arena *a, enum pg_level level)
{
	pfn_t pfn;

	assert_int_equal(host_alloc(a->m.host, level, FRAME_OTHER, &pfn), 0);
	return fn_to_addr(pfn);
}

static hpa_t page(struct arena *a)
{
	return frames(a, PG_LEVEL_4K);
}

static void good(struct arena *a, u32 lp, u64 leaf, u64 rcx, u64 rdx, u64 r8)
{
	assert_int_equal(call(a, lp, leaf, (struct tdx_regs){.rcx = rcx, .rdx = rdx, .r8 = r8}),
			 TDX_SUCCESS);
}

static void build_td(struct arena *a)
{
	struct td_params params = {.xfam = 0x3,
				   .max_vcpus = NR_VCPUS,
				   .eptp_controls = TD_EPTP_WB | 3 << TD_EPTP_PWL_SHIFT,
				   .tsc_frequency = 100};
	hpa_t buffer = page(a);

	a->tdr = page(a);
	good(a, 0, TDH_MNG_CREATE, a->tdr, HKID, 0);
	good(a, 0, TDH_MNG_KEY_CONFIG, a->tdr, 0, 0);
	for (u32 i = 0; i < TDX_TDCS_PAGES; i++)
		good(a, 0, TDH_MNG_ADDCX, page(a), a->tdr, 0);
	host_write(a->m.host, buffer, 0, (const u64 *)(const void *)&params, sizeof(params) / 8);
	good(a, 0, TDH_MNG_INIT, a->tdr, buffer, 0);
	for (u32 v = 0; v < NR_VCPUS; v++) {
		a->tdvpr[v] = page(a);
		good(a, v, TDH_VP_CREATE, a->tdvpr[v], a->tdr, 0);
		for (u32 i = 1; i < TDX_TDVPS_PAGES; i++)
			good(a, v, TDH_VP_ADDCX, page(a), a->tdvpr[v], 0);
		good(a, v, TDH_VP_INIT, a->tdvpr[v], 0, 0);
	}
	for (u64 level = 3; level > 0; level--)
		good(a, 0, TDH_MEM_SEPT_ADD, level, a->tdr, page(a));
	good(a, 0, TDH_MR_FINALIZE, a->tdr, 0, 0);
	for (u32 i = 0; i < NR_PAGES; i++)
		a->frame[i] = page(a);
	a->huge_frame = frames(a, PG_LEVEL_2M);
	a->huge_table = page(a);
}

static void record(const char *path, u64 seed)
{
	struct arena *a = calloc(1, sizeof(*a));
	struct machine_config cfg = {.memory_bytes = 64 << 20,
				     .lps = NR_VCPUS + NR_HOSTS,
				     .profile = seam_profile_by_name("1.5.28"),
				     .watch = listen,
				     .watcher = a};

	assert_non_null(a);
	assert_int_equal(events_open(path, &a->events), 0);
	assert_int_equal(machine_create(&cfg, &a->m), 0);
	build_td(a);
	a->hosts = NR_HOSTS;
	for (u32 i = 0; i < ARRAY_SIZE(a->actor); i++) {
		struct actor *actor = &a->actor[i];

		actor->arena = a;
		actor->lp = i;
		rng_init(&actor->rng, seed * 16 + i);
		assert_int_equal(sync_thread_create(&actor->thread,
						    i < NR_VCPUS ? vcpu_main : host_main, actor),
				 0);
	}
	for (u32 i = 0; i < ARRAY_SIZE(a->actor); i++)
		sync_thread_join(&a->actor[i].thread);
	machine_destroy(&a->m);
	assert_int_equal(events_close(a->events), 0);
	free(a);
}

/* Every answer of a race comes again when the calls are made one by one. */
static void races_replay(void **state)
{
	struct events_replay *replay = calloc(1, sizeof(*replay));
	char path[64], err[512];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/test-race-%d.zst", (int)getpid());
	for (u64 seed = 1; seed <= 8; seed++) {
		memset(replay, 0, sizeof(*replay));
		record(path, seed);
		if (events_replay(path, replay, err, sizeof(err)))
			fail_msg("seed %" PRIu64 ": %s", seed, err);
		if (replay->differs)
			fail_msg("seed %" PRIu64 ", line %" PRIu64
				 " of %s: %s\nexpected %s\nfound %s",
				 seed, replay->line, path, replay->call, replay->expected,
				 replay->found);
		print_message("seed %" PRIu64 ": %" PRIu64 " SEAMCALLs, %" PRIu64
			      " TDCALLs, %" PRIu64 " contended\n",
			      seed, replay->seamcalls, replay->tdcalls, replay->contended);
		unlink(path);
	}
	free(replay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(races_replay)};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
