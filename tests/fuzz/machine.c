/* SPDX-License-Identifier: MIT */
/* Brings the module and a TD up to a stage. */
#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TDMR_BYTES SIZE_1G
#define PAMT_PA 0x01000000ULL
#define PAMT_PER_TDMR 0x01000000ULL

_Noreturn void fuzz_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

static void must_on(struct fuzz_machine *m, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8)
{
	struct tdx_regs r = {.rax = rax, .rcx = rcx, .rdx = rdx, .r8 = r8};
	u64 status = seamcall(m->lp[lp], &r);

	if (status)
		fuzz_fail("bring-up to stage %d: %s(rcx=%#llx rdx=%#llx r8=%#llx): %#llx",
			  m->choice.stage, tdh_leaf_name(rax & 0xFFFF), (unsigned long long)rcx,
			  (unsigned long long)rdx, (unsigned long long)r8,
			  (unsigned long long)status);
}

static void must(struct fuzz_machine *m, u64 rax, u64 rcx, u64 rdx, u64 r8)
{
	must_on(m, 0, rax, rcx, rdx, r8);
}

void fuzz_write(struct fuzz_machine *m, hpa_t hpa, const void *from, size_t bytes)
{
	u64 words[PTRS_PER_TABLE] = {0};

	memcpy(words, from, bytes);
	host_write(m->host, hpa, 0, words, (unsigned int)(bytes / sizeof(u64)));
}

/* ---- the module ------------------------------------------------------------------------------*/
static void describe_tdmr(struct fuzz_machine *m, unsigned int i, hpa_t base)
{
	hpa_t pamt = PAMT_PA + i * PAMT_PER_TDMR;
	u64 pamt_4k = m->choice.dynamic_pamt ? TDMR_BYTES / 32768 : TDMR_BYTES / 256;
	struct tdmr_info info = {
		.base = base,
		.size = TDMR_BYTES,
		.pamt_1g_base = pamt,
		.pamt_1g_size = PAGE_SIZE,
		.pamt_2m_base = pamt + SIZE_2M,
		.pamt_2m_size = TDMR_BYTES / SIZE_2M * TDX_PAMT_ENTRY_SIZE,
		.pamt_4k_base = pamt + 2 * SIZE_2M,
		.pamt_4k_size = pamt_4k,
	};
	u64 at = INFO_PA + i * PAGE_SIZE;

	/* TDMR 1 ends in a reserved page. */
	if (i == 1) {
		info.reserved[0].offset = TDMR_BYTES - PAGE_SIZE;
		info.reserved[0].size = PAGE_SIZE;
	}
	fuzz_write(m, at, &info, sizeof(info));
	fuzz_write(m, LIST_PA + i * sizeof(at), &at, sizeof(at));
}

static void init_lps(struct fuzz_machine *m)
{
	must(m, TDH_SYS_INIT, 0, 0, 0);
	for (unsigned int i = 0; i < MACHINE_LPS; i++)
		must_on(m, i, TDH_SYS_LP_INIT, 0, 0, 0);
}

static void configure(struct fuzz_machine *m)
{
	must(m, TDH_SYS_CONFIG, LIST_PA, 2, GLOBAL_HKID | (u64)m->choice.dynamic_pamt << 16);
	must(m, TDH_SYS_KEY_CONFIG, 0, 0, 0);
}

static void make_ready(struct fuzz_machine *m)
{
	must_on(m, 2, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	must(m, TDH_SYS_TDMR_INIT, TDMR0_BASE, 0, 0);
}

static void init_tdmrs(struct fuzz_machine *m)
{
	seam_tdmr_init_all(m->seam);
}

/* ---- the TD ----------------------------------------------------------------------------------*/
static hpa_t next_page(struct fuzz_machine *m)
{
	hpa_t page = m->next_page;

	m->next_page += PAGE_SIZE;
	return page;
}

static void add_pair(struct fuzz_machine *m, hpa_t block)
{
	if (!m->choice.dynamic_pamt)
		return;
	must(m, TDH_PHYMEM_PAMT_ADD, block | 1, m->next_pair, m->next_pair + PAGE_SIZE);
	m->next_pair += 2 * PAGE_SIZE;
}

static void create(struct fuzz_machine *m)
{
	add_pair(m, CONTROL_BLOCK);
	add_pair(m, DATA_BLOCK);
	m->tdr = next_page(m);
	must(m, TDH_MNG_CREATE, m->tdr, TD_HKID, 0);
}

static void configure_keys(struct fuzz_machine *m)
{
	must_on(m, 0, TDH_MNG_KEY_CONFIG, m->tdr, 0, 0);
	must_on(m, 2, TDH_MNG_KEY_CONFIG, m->tdr, 0, 0);
}

static void allocate(struct fuzz_machine *m)
{
	for (unsigned int i = 0; i < TDX_TDCS_PAGES; i++)
		must(m, TDH_MNG_ADDCX, next_page(m), m->tdr, 0);
}

static void describe_td(struct fuzz_machine *m)
{
	const struct machine_choice *c = &m->choice;
	struct td_params params = {
		.attributes = c->attributes,
		.xfam = 3,
		.max_vcpus = MACHINE_VCPUS,
		.eptp_controls = TD_EPTP_WB | (c->wide ? 4ULL : 3ULL) << TD_EPTP_PWL_SHIFT,
		.config_flags = (c->wide ? TD_CONFIG_GPAW : 0) |
				(c->flexible_ve ? TD_CONFIG_FLEXIBLE_PENDING_VE : 0),
		.tsc_frequency = 100,
	};

	fuzz_write(m, PARAMS_PA, &params, sizeof(params));
}

static void initialize(struct fuzz_machine *m)
{
	must(m, TDH_MNG_INIT, m->tdr, PARAMS_PA, 0);
}

static void make_vcpu(struct fuzz_machine *m, unsigned int i)
{
	m->tdvpr[i] = next_page(m);
	must(m, TDH_VP_CREATE, m->tdvpr[i], m->tdr, 0);
	for (unsigned int j = 1; j < TDX_TDVPS_PAGES; j++)
		must(m, TDH_VP_ADDCX, next_page(m), m->tdvpr[i], 0);
	must_on(m, i, TDH_VP_INIT, m->tdvpr[i], 0, 0);
}

/* 4K pages from GPA 0 on, 2M pages at 2M and 4M. */
static void build(struct fuzz_machine *m)
{
	for (unsigned int i = 0; i < MACHINE_VCPUS; i++)
		make_vcpu(m, i);
	for (unsigned int level = m->choice.wide ? 4 : 3; level > 0; level--)
		must(m, TDH_MEM_SEPT_ADD, tdx_page_info(0, level), m->tdr, next_page(m));
	for (unsigned int i = 0; i < 4; i++)
		must(m, TDH_MEM_PAGE_AUG, tdx_page_info(fn_to_addr(i), 0), m->tdr,
		     DATA_BLOCK + fn_to_addr(i));
	for (unsigned int i = 0; i < 2; i++)
		must(m, TDH_MEM_PAGE_AUG, tdx_page_info((i + 1) * SIZE_2M, 1), m->tdr,
		     HUGE_BLOCKS + i * SIZE_2M);
}

static void finalize(struct fuzz_machine *m)
{
	must(m, TDH_MR_FINALIZE, m->tdr, 0, 0);
}

static void accept_some(struct lp *lp, void *unused)
{
	const u64 accepted[] = {tdx_page_info(0, 0), tdx_page_info(PAGE_SIZE, 0),
				tdx_page_info(SIZE_2M, 1)};

	(void)unused;
	for (unsigned int i = 0; i < ARRAY_SIZE(accepted); i++) {
		struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = accepted[i]};

		if (!tdcall(lp, &r) || r.rax)
			fuzz_fail("bring-up: ACCEPT of %#llx: %#llx",
				  (unsigned long long)accepted[i], (unsigned long long)r.rax);
	}
	lp->exit.kind = LP_EXIT_INTERRUPT;
}

static void run(struct fuzz_machine *m)
{
	static const struct guest_ops ops = {.run = accept_some};
	struct tdx_regs r = {.rax = TDH_VP_ENTER, .rcx = m->tdvpr[0]};

	m->lp[0]->guest_ops = &ops;
	seamcall(m->lp[0], &r);
	m->lp[0]->guest_ops = NULL;
	must(m, TDH_MEM_RANGE_BLOCK, tdx_page_info(SIZE_2M, 1), m->tdr, 0);
	must(m, TDH_MEM_TRACK, m->tdr, 0, 0);
}

static void flush(struct fuzz_machine *m)
{
	for (unsigned int i = 0; i < MACHINE_VCPUS; i++)
		must_on(m, i, TDH_VP_FLUSH, m->tdvpr[i], 0, 0);
	must(m, TDH_MNG_VPFLUSHDONE, m->tdr, 0, 0);
}

static void tear_down(struct fuzz_machine *m)
{
	must_on(m, 0, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	must_on(m, 2, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	must(m, TDH_MNG_KEY_FREEID, m->tdr, 0, 0);
}

static void go_to_stage(struct fuzz_machine *m)
{
	static void (*const step[STAGE_COUNT])(struct fuzz_machine * m) = {
		[STAGE_LPS] = init_lps,
		[STAGE_CONFIGURED] = configure,
		[STAGE_READY] = make_ready,
		[STAGE_TDMRS] = init_tdmrs,
		[STAGE_CREATED] = create,
		[STAGE_KEYS] = configure_keys,
		[STAGE_ALLOCATED] = allocate,
		[STAGE_INITIALIZED] = initialize,
		[STAGE_BUILT] = build,
		[STAGE_RUNNABLE] = finalize,
		[STAGE_RUN] = run,
		[STAGE_FLUSHED] = flush,
		[STAGE_TEARDOWN] = tear_down,
	};

	for (enum machine_stage s = STAGE_LPS; s <= m->choice.stage; s++)
		step[s](m);
}

void fuzz_machine_create(struct fuzz_machine *m, const struct machine_choice *choice)
{
	struct host_config cfg = {.memory_bytes = MACHINE_BYTES, .lps = MACHINE_LPS, .packages = 2};

	sync_thread_enter();
	*m = (struct fuzz_machine){
		.choice = *choice, .next_page = CONTROL_BLOCK, .next_pair = PAIR_BLOCK};
	if (host_create(&cfg, &m->host) || seam_create(m->host, choice->profile, &m->seam))
		fuzz_fail("bring-up: no host");
	for (u32 i = 0; i < MACHINE_LPS; i++) {
		if (lp_create(m->host, i, &m->lp[i]))
			fuzz_fail("bring-up: no LP");
		seam_attach_lp(m->seam, m->lp[i]);
	}
	describe_tdmr(m, 0, TDMR0_BASE);
	describe_tdmr(m, 1, TDMR1_BASE);
	describe_td(m);
	go_to_stage(m);
}

void fuzz_machine_destroy(struct fuzz_machine *m)
{
	for (unsigned int i = 0; i < MACHINE_LPS; i++)
		lp_destroy(m->lp[i]);
	seam_destroy(m->seam);
	host_destroy(m->host);
}
