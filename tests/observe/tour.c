/* SPDX-License-Identifier: MIT */
#include "observe/tour.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "observe/events.h"
#include "vm/vm.h"

#define HOST_LP 2
#define HKID 33
#define MAX_STEPS 16

enum step_kind {
	STEP_END,
	STEP_TDCALL,
	STEP_INTERRUPTED_TDCALL, /* with an interrupt pending */
	STEP_READ,
	STEP_INTERRUPT,
	STEP_NMI,
	STEP_HOST, /* others act while the vCPU is inside */
};

struct tour;

struct step {
	enum step_kind kind;
	struct tdx_regs regs;
	gpa_t gpa;
	void (*host)(struct tour *t);
};

/* A guest goes on to its next step whatever became of the last one. */
struct guest {
	struct tour *tour;
	struct step steps[MAX_STEPS];
	u32 at;
};

struct tour {
	struct machine m;
	struct events *events;
	hpa_t tdr, tdvpr[2];
	struct guest guest[2];
};

/* ---- guests ----------------------------------------------------------------------------------*/

/* False: it has to leave. */
static bool take_step(struct lp *lp, struct guest *g, struct step *s)
{
	u64 word;

	switch (s->kind) {
	case STEP_INTERRUPTED_TDCALL:
		lp_interrupt(lp, LP_INTR);
		return tdcall(lp, &s->regs);
	case STEP_TDCALL:
		return tdcall(lp, &s->regs);
	case STEP_READ:
		return lp_guest_read(lp, s->gpa, &word, 1) != LP_ACCESS_EXIT;
	case STEP_INTERRUPT:
	case STEP_NMI:
		lp_interrupt(lp, s->kind == STEP_NMI ? LP_NMI : LP_INTR);
		return lp_guest_poll(lp) != LP_ACCESS_EXIT;
	case STEP_HOST:
		s->host(g->tour);
		return true;
	case STEP_END:
		break;
	}
	fail_msg("the guest has no more steps");
	return false;
}

static void guest_run(struct lp *lp, void *guest)
{
	struct guest *g = guest;

	while (take_step(lp, g, &g->steps[g->at++]))
		;
}

static const struct guest_ops guest_ops = {.run = guest_run};

static void set_steps(struct tour *t, u32 vcpu, const struct step *steps)
{
	struct guest *g = &t->guest[vcpu];

	g->tour = t;
	g->at = 0;
	for (u32 i = 0; i < MAX_STEPS; i++) {
		g->steps[i] = steps[i];
		if (steps[i].kind == STEP_END)
			break;
	}
	t->m.lps[vcpu]->guest_ops = &guest_ops;
	t->m.lps[vcpu]->guest = g;
}

/* ---- host calls ------------------------------------------------------------------------------*/

static u64 call(struct tour *t, u32 lp, u64 leaf, struct tdx_regs regs)
{
	regs.rax = leaf;
	return seamcall(t->m.lps[lp], &regs);
}

static void good(struct tour *t, u32 lp, u64 leaf, struct tdx_regs regs)
{
	assert_int_equal(call(t, lp, leaf, regs), TDX_SUCCESS);
}

/* Return: why the vCPU left. */
static u64 enter(struct tour *t, u32 vcpu, struct tdx_regs regs)
{
	u64 status;

	regs.rcx = t->tdvpr[vcpu];
	status = call(t, vcpu, TDH_VP_ENTER, regs);
	lp_take_interrupts(t->m.lps[vcpu]);
	return status;
}

static hpa_t page(struct tour *t, enum pg_level level)
{
	pfn_t pfn;

	assert_int_equal(host_alloc(t->m.host, level, FRAME_OTHER, &pfn), 0);
	return fn_to_addr(pfn);
}

static void sept_add(struct tour *t, gpa_t gpa, unsigned int level)
{
	good(t, HOST_LP, TDH_MEM_SEPT_ADD,
	     (struct tdx_regs){.rcx = gpa | level, .rdx = t->tdr, .r8 = page(t, PG_LEVEL_4K)});
}

static void aug(struct tour *t, gpa_t gpa, unsigned int level)
{
	good(t, HOST_LP, TDH_MEM_PAGE_AUG,
	     (struct tdx_regs){.rcx = gpa | level, .rdx = t->tdr, .r8 = page(t, level + 1)});
}

/* ---- the tour --------------------------------------------------------------------------------*/

static void build_vcpu(struct tour *t, u32 vcpu)
{
	hpa_t tdvpr = page(t, PG_LEVEL_4K);

	t->tdvpr[vcpu] = tdvpr;
	good(t, vcpu, TDH_VP_CREATE, (struct tdx_regs){.rcx = tdvpr, .rdx = t->tdr});
	for (u32 i = 1; i < TDX_TDVPS_PAGES; i++)
		good(t, vcpu, TDH_VP_ADDCX,
		     (struct tdx_regs){.rcx = page(t, PG_LEVEL_4K), .rdx = tdvpr});
	good(t, vcpu, TDH_VP_INIT, (struct tdx_regs){.rcx = tdvpr});
}

/* A TD that may be debugged and gets a #VE on pending pages; one page with content at 0x1000. */
static void build_td(struct tour *t)
{
	struct td_params params = {.attributes = TD_ATTR_DEBUG,
				   .xfam = 0x3,
				   .max_vcpus = 2,
				   .eptp_controls = TD_EPTP_WB | 3 << TD_EPTP_PWL_SHIFT,
				   .tsc_frequency = 100};
	hpa_t buffer = page(t, PG_LEVEL_4K);
	u64 words[PTRS_PER_TABLE] = {[0] = 0x1122334455667788, [300] = 7, [511] = ~0ULL};
	struct tdx_regs tdr;

	t->tdr = page(t, PG_LEVEL_4K);
	tdr = (struct tdx_regs){.rcx = t->tdr, .rdx = buffer};
	good(t, HOST_LP, TDH_MNG_CREATE, (struct tdx_regs){.rcx = t->tdr, .rdx = HKID});
	good(t, HOST_LP, TDH_MNG_KEY_CONFIG, tdr);
	for (u32 i = 0; i < TDX_TDCS_PAGES; i++)
		good(t, HOST_LP, TDH_MNG_ADDCX,
		     (struct tdx_regs){.rcx = page(t, PG_LEVEL_4K), .rdx = t->tdr});
	host_write(t->m.host, buffer, 0, (const u64 *)(const void *)&params, sizeof(params) / 8);
	good(t, HOST_LP, TDH_MNG_INIT, tdr);
	build_vcpu(t, 0);
	build_vcpu(t, 1);
	for (unsigned int level = 3; level > 0; level--)
		sept_add(t, 0, level);
	host_write(t->m.host, buffer, 0, words, PTRS_PER_TABLE);
	good(t, HOST_LP, TDH_MEM_PAGE_ADD,
	     (struct tdx_regs){
		     .rcx = 0x1000, .rdx = t->tdr, .r8 = page(t, PG_LEVEL_4K), .r9 = buffer});
	good(t, HOST_LP, TDH_MR_EXTEND, (struct tdx_regs){.rcx = 0x1000, .rdx = t->tdr});
	good(t, HOST_LP, TDH_MEM_RD, (struct tdx_regs){.rcx = 0x1000 + 300 * 8, .rdx = t->tdr});
	good(t, HOST_LP, TDH_MR_FINALIZE, tdr);
}

/* What a module refuses, and a version and a leaf number beside the usual. */
static void be_refused(struct tour *t)
{
	call(t, HOST_LP, TDH_MEM_PAGE_AUG,
	     (struct tdx_regs){.rcx = 0x2000, .rdx = t->tdr, .r8 = page(t, PG_LEVEL_4K)});
	call(t, HOST_LP, TDH_MNG_RD | 1 << 16, (struct tdx_regs){.rcx = t->tdr, .rdx = ~0ULL});
	call(t, HOST_LP, 63, (struct tdx_regs){.rcx = 1});
	call(t, HOST_LP, TDH_MEM_TRACK | 1ULL << 40, (struct tdx_regs){.rcx = t->tdr});
}

static void block(struct tour *t)
{
	good(t, HOST_LP, TDH_MEM_RANGE_BLOCK, (struct tdx_regs){.rcx = 0x200001, .rdx = t->tdr});
}

static void track(struct tour *t)
{
	good(t, HOST_LP, TDH_MEM_TRACK, (struct tdx_regs){.rcx = t->tdr});
}

#define ACCEPT(page_info)                                      \
	{                                                      \
		.rax = TDG_MEM_PAGE_ACCEPT, .rcx = (page_info) \
	}

/* A #VE, an ACCEPT, one that exits, one that is interrupted, and one that goes on after it. */
static void accept_memory(struct tour *t)
{
	const struct step steps[] = {
		{.kind = STEP_TDCALL, .regs = {.rax = TDG_VP_INFO}},
		{.kind = STEP_READ, .gpa = 0x2000},
		{.kind = STEP_TDCALL, .regs = {.rax = TDG_VP_VEINFO_GET}},
		{.kind = STEP_TDCALL, .regs = ACCEPT(0x2000)},
		{.kind = STEP_TDCALL, .regs = ACCEPT(0x2000)},
		{.kind = STEP_READ, .gpa = 0x2000},
		{.kind = STEP_READ, .gpa = 0x2000},
		{.kind = STEP_HOST, .host = block},
		{.kind = STEP_TDCALL, .regs = ACCEPT(0x200001)},
		{.kind = STEP_INTERRUPTED_TDCALL, .regs = ACCEPT(0x200001)},
		{.kind = STEP_TDCALL, .regs = ACCEPT(0x200001)},
		{.kind = STEP_TDCALL, .regs = {.rax = 99}},
		{.kind = STEP_INTERRUPT},
		{.kind = STEP_END},
	};
	struct tdx_regs range = {.rcx = 0x200001, .rdx = t->tdr};

	set_steps(t, 0, steps);
	assert_int_equal(enter(t, 0, range), TDX_EXIT_EPT_VIOLATION);
	track(t);
	good(t, HOST_LP, TDH_MEM_RANGE_UNBLOCK, range);
	assert_int_equal(enter(t, 0, range), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(enter(t, 0, range), TDX_EXIT_EXTERNAL_INTERRUPT);
}

/* So often at one place that the module doesn't let the vCPU in any more. */
static void fault_often(struct tour *t)
{
	struct step steps[MAX_STEPS] = {{.kind = STEP_END}};
	u64 hits = t->m.lps[0]->tlb_hits;

	for (u32 i = 0; i < 7; i++)
		steps[i] = (struct step){.kind = STEP_READ, .gpa = 0x40000000};
	steps[7] = (struct step){.kind = STEP_NMI};
	set_steps(t, 0, steps);
	for (u32 i = 0; i < 9; i++)
		assert_int_equal(enter(t, 0, (struct tdx_regs){0}), TDX_EXIT_EPT_VIOLATION);
	assert_int_equal(t->m.lps[0]->tlb_hits, hits);
	sept_add(t, 0x40000000, 2);
	aug(t, 0x40000000, 1);
	assert_int_equal(enter(t, 0, (struct tdx_regs){0}), 0);
}

static void ask_host(struct tour *t)
{
	const struct step steps[] = {
		{.kind = STEP_TDCALL, .regs = {.rax = TDG_VP_VMCALL, .rcx = 1}},
		{.kind = STEP_TDCALL,
		 .regs = {.rax = TDG_VP_VMCALL, .rcx = 0xC00, .r10 = 3, .r11 = 4, .r12 = 5}},
		{.kind = STEP_INTERRUPT},
		{.kind = STEP_END},
	};

	set_steps(t, 0, steps);
	assert_int_equal(enter(t, 0, (struct tdx_regs){0}), TDX_EXIT_TDCALL);
	assert_int_equal(enter(t, 0, (struct tdx_regs){.r10 = 0x77, .r11 = 0x88, .r12 = 0x99}),
			 TDX_EXIT_EXTERNAL_INTERRUPT);
}

/* vCPU 1 comes and goes while vCPU 0 is inside; calls that vCPU 0 is in the way of. */
static void act_meanwhile(struct tour *t)
{
	const struct step steps[] = {{.kind = STEP_TDCALL, .regs = {.rax = TDG_VP_INFO}},
				     {.kind = STEP_INTERRUPT},
				     {.kind = STEP_END}};

	set_steps(t, 1, steps);
	track(t);
	assert_int_equal(enter(t, 1, (struct tdx_regs){0}), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(call(t, HOST_LP, TDH_MEM_TRACK, (struct tdx_regs){.rcx = t->tdr}),
			 TDX_PREVIOUS_TLB_EPOCH_BUSY);
	assert_int_equal(tdx_status_class(call(t, HOST_LP, TDH_VP_FLUSH,
					       (struct tdx_regs){.rcx = t->tdvpr[0]})),
			 TDX_OPERAND_BUSY);
}

static void two_inside(struct tour *t)
{
	const struct step steps[] = {{.kind = STEP_HOST, .host = act_meanwhile},
				     {.kind = STEP_INTERRUPT},
				     {.kind = STEP_END}};

	set_steps(t, 0, steps);
	assert_int_equal(enter(t, 0, (struct tdx_regs){0}), TDX_EXIT_EXTERNAL_INTERRUPT);
}

/* DEMOTE, first with an interrupt pending. */
static void split(struct tour *t)
{
	struct tdx_regs demote = {.rcx = 0x200001,
				  .rdx = t->tdr,
				  .r8 = page(t, PG_LEVEL_4K),
				  .r9 = TDX_NULL_PA,
				  .r10 = TDX_NULL_PA,
				  .r11 = TDX_NULL_PA};

	block(t);
	track(t);
	lp_interrupt(t->m.lps[HOST_LP], LP_INTR);
	assert_int_equal(call(t, HOST_LP, TDH_MEM_PAGE_DEMOTE, demote),
			 TDX_INTERRUPTED_RESTARTABLE);
	lp_take_interrupts(t->m.lps[HOST_LP]);
	good(t, HOST_LP, TDH_MEM_PAGE_DEMOTE, demote);
	good(t, HOST_LP, TDH_MEM_SEPT_RD, (struct tdx_regs){.rcx = 0x200000, .rdx = t->tdr});
}

/* A second #VE before the guest has asked about the first: the vCPU is lost. */
static void lose_vcpu(struct tour *t)
{
	const struct step steps[] = {{.kind = STEP_READ, .gpa = 0x40000000},
				     {.kind = STEP_READ, .gpa = 0x40001000},
				     {.kind = STEP_END}};

	set_steps(t, 1, steps);
	assert_int_equal(tdx_status_class(enter(t, 1, (struct tdx_regs){0})),
			 TDX_NON_RECOVERABLE_VCPU);
	assert_int_equal(tdx_status_class(enter(t, 1, (struct tdx_regs){0})),
			 TDX_VCPU_STATE_INCORRECT);
}

static int listen(void *tour, struct host *host)
{
	struct tour *t = tour;
	struct events_machine machine = {.memory_bytes = host->memory_bytes,
					 .nr_lps = host->nr_lps,
					 .nr_packages = host->nr_packages,
					 .profile = "1.5.25"};

	return events_listen(t->events, &machine, &host->tracer);
}

void tour_record(const char *path)
{
	struct tour *t = calloc(1, sizeof(*t));
	struct machine_config cfg = {.memory_bytes = 64 << 20,
				     .lps = 2,
				     .profile = seam_profile_by_name("1.5.25"),
				     .watch = listen,
				     .watcher = t};

	assert_non_null(t);
	assert_int_equal(events_open(path, &t->events), 0);
	assert_int_equal(machine_create(&cfg, &t->m), 0);
	build_td(t);
	aug(t, 0x2000, 0);
	aug(t, 0x200000, 1);
	be_refused(t);
	accept_memory(t);
	fault_often(t);
	ask_host(t);
	two_inside(t);
	split(t);
	lose_vcpu(t);
	machine_destroy(&t->m);
	assert_int_equal(events_close(t->events), 0);
	free(t);
}
