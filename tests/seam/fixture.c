/* SPDX-License-Identifier: MIT */
/* Brings a module and a TD up by leaves alone. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

#define MEMORY_BYTES (4ULL << 30)
#define TDMR_INFO_LIST 0x00100000ULL
#define TDMR_INFO_PA 0x00101000ULL
#define TD_PARAMS_PA 0x00102000ULL
#define PAMT_4K_PA 0x01000000ULL
#define PAMT_2M_PA 0x03000000ULL
#define PAMT_1G_PA 0x03100000ULL

static void must(struct fixture *f, unsigned int leaf, u64 rcx, u64 rdx, u64 r8)
{
	u64 status = fixture_mem(f, leaf, rcx, rdx, r8);

	if (status)
		fail_msg("%s: %#llx", tdh_leaf_name(leaf), (unsigned long long)status);
}

static void must_on(struct fixture *f, unsigned int lp, unsigned int leaf, u64 rcx, u64 rdx)
{
	struct tdx_regs r = {.rax = leaf, .rcx = rcx, .rdx = rdx};
	u64 status = seamcall(f->lp[lp], &r);

	if (status)
		fail_msg("%s: %#llx", tdh_leaf_name(leaf), (unsigned long long)status);
}

static void write_buffer(struct fixture *f, hpa_t hpa, const void *from, size_t bytes)
{
	u64 words[512] = {0};

	memcpy(words, from, bytes);
	assert_int_equal(host_write(f->host, hpa, 0, words, (unsigned int)(bytes / 8)), 0);
}

static void describe_tdmr(struct fixture *f, const struct fixture_config *cfg)
{
	u64 pamt_4k = cfg->dynamic_pamt ? TDMR_SIZE / 32768 : TDMR_SIZE / 256;
	struct tdmr_info info = {
		.base = TDMR_BASE,
		.size = TDMR_SIZE,
		.pamt_1g_base = PAMT_1G_PA,
		.pamt_1g_size = PAGE_SIZE,
		.pamt_2m_base = PAMT_2M_PA,
		.pamt_2m_size = ALIGN_UP(TDMR_SIZE / SIZE_2M * 16, PAGE_SIZE),
		.pamt_4k_base = PAMT_4K_PA,
		.pamt_4k_size = ALIGN_UP(pamt_4k, PAGE_SIZE),
	};
	u64 list[1] = {TDMR_INFO_PA};

	if (cfg->reserved_size) {
		info.reserved[0].offset = cfg->reserved_base - TDMR_BASE;
		info.reserved[0].size = cfg->reserved_size;
	}
	write_buffer(f, TDMR_INFO_PA, &info, sizeof(info));
	write_buffer(f, TDMR_INFO_LIST, list, sizeof(list));
}

static void start_module(struct fixture *f, const struct fixture_config *cfg)
{
	describe_tdmr(f, cfg);
	must(f, TDH_SYS_INIT, 0, 0, 0);
	for (unsigned int i = 0; i < FIXTURE_LPS; i++)
		must_on(f, i, TDH_SYS_LP_INIT, 0, 0);
	must(f, TDH_SYS_CONFIG, TDMR_INFO_LIST, 1, GLOBAL_HKID | (u64)cfg->dynamic_pamt << 16);
	must(f, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	seam_tdmr_init_all(f->seam);
}

static hpa_t next_page(struct fixture *f)
{
	hpa_t page = f->next_page;

	f->next_page += PAGE_SIZE;
	return page;
}

static void create_vcpu(struct fixture *f, unsigned int i)
{
	f->tdvpr[i] = next_page(f);
	must(f, TDH_VP_CREATE, f->tdvpr[i], f->tdr, 0);
	for (unsigned int j = 1; j < TDX_TDVPS_PAGES; j++)
		must(f, TDH_VP_ADDCX, next_page(f), f->tdvpr[i], 0);
	must_on(f, i, TDH_VP_INIT, f->tdvpr[i], 0);
}

static void create_td(struct fixture *f, const struct fixture_config *cfg)
{
	struct td_params params = {
		.attributes = cfg->attributes,
		.xfam = 3,
		.max_vcpus = FIXTURE_VCPUS,
		.eptp_controls = TD_EPTP_WB | (cfg->wide ? 4ULL : 3ULL) << TD_EPTP_PWL_SHIFT,
		.config_flags = cfg->wide ? TD_CONFIG_GPAW : 0,
		.tsc_frequency = 100,
	};

	fixture_pair(f, TDR_PA);
	f->tdr = next_page(f);
	must(f, TDH_MNG_CREATE, f->tdr, TD_HKID, 0);
	must(f, TDH_MNG_KEY_CONFIG, f->tdr, 0, 0);
	for (unsigned int i = 0; i < TDX_TDCS_PAGES; i++)
		must(f, TDH_MNG_ADDCX, next_page(f), f->tdr, 0);
	write_buffer(f, TD_PARAMS_PA, &params, sizeof(params));
	must(f, TDH_MNG_INIT, f->tdr, TD_PARAMS_PA, 0);
	for (unsigned int i = 0; i < FIXTURE_VCPUS; i++)
		create_vcpu(f, i);
	if (!cfg->initialized_only)
		must(f, TDH_MR_FINALIZE, f->tdr, 0, 0);
}

void fixture_create(struct fixture *f, const struct fixture_config *cfg)
{
	static const struct fixture_config default_config;
	struct host_config host = {.memory_bytes = MEMORY_BYTES, .lps = FIXTURE_LPS};
	const struct seam_profile *profile;

	if (!cfg)
		cfg = &default_config;
	*f = (struct fixture){
		.next_page = TDR_PA, .next_pair = PAIR_BASE, .dynamic_pamt = cfg->dynamic_pamt};
	sync_thread_enter();
	host.planted_bugs = cfg->planted_bugs;
	assert_int_equal(host_create(&host, &f->host), 0);
	profile = cfg->profile ? seam_profile_by_name(cfg->profile) : seam_profile_at(0);
	assert_non_null(profile);
	assert_int_equal(seam_create(f->host, profile, &f->seam), 0);
	for (u32 i = 0; i < FIXTURE_LPS; i++) {
		assert_int_equal(lp_create(f->host, i, &f->lp[i]), 0);
		seam_attach_lp(f->seam, f->lp[i]);
	}
	start_module(f, cfg);
	create_td(f, cfg);
}

void fixture_destroy(struct fixture *f)
{
	for (unsigned int i = 0; i < FIXTURE_LPS; i++)
		lp_destroy(f->lp[i]);
	seam_destroy(f->seam);
	host_destroy(f->host);
}

u64 fixture_call(struct fixture *f, unsigned int leaf)
{
	f->r.rax = leaf;
	return seamcall(f->lp[FIXTURE_HOST_LP], &f->r);
}

u64 fixture_mem(struct fixture *f, unsigned int leaf, u64 rcx, u64 rdx, u64 r8)
{
	f->r = (struct tdx_regs){.rcx = rcx, .rdx = rdx, .r8 = r8};
	return fixture_call(f, leaf);
}

void fixture_ok(struct fixture *f, unsigned int leaf, u64 rcx, u64 r8)
{
	must(f, leaf, rcx, f->tdr, r8);
}

void fixture_expect_at(struct fixture *f, unsigned int leaf, u64 rcx, u64 rdx, u64 r8, u64 rax,
		       u64 out_rcx, u64 out_rdx, const char *file, int line)
{
	u64 status = fixture_mem(f, leaf, rcx, rdx, r8);

	if (status == rax && f->r.rcx == out_rcx && f->r.rdx == out_rdx)
		return;
	print_error("%s:%d: %s rcx=%#llx: rax %#llx rcx %#llx rdx %#llx, not %#llx %#llx %#llx\n",
		    file, line, tdh_leaf_name(leaf & 0xFFFF), (unsigned long long)rcx,
		    (unsigned long long)status, (unsigned long long)f->r.rcx,
		    (unsigned long long)f->r.rdx, (unsigned long long)rax,
		    (unsigned long long)out_rcx, (unsigned long long)out_rdx);
	_fail(file, line);
}

void fixture_pair(struct fixture *f, hpa_t hpa)
{
	hpa_t pair = f->next_pair;

	if (!f->dynamic_pamt)
		return;
	f->next_pair += 2 * PAGE_SIZE;
	must(f, TDH_PHYMEM_PAMT_ADD, ALIGN_DOWN(hpa, SIZE_2M) | 1, pair, pair + PAGE_SIZE);
}

/* ---- guests ----------------------------------------------------------------------------------*/

struct guest_call {
	struct fixture *f;
	fixture_guest_fn fn;
	void *arg;
};

/* Runs @fn once; what doesn't exit by itself leaves as if interrupted. */
static void guest_run(struct lp *lp, void *guest)
{
	struct guest_call *call = guest;

	call->fn(call->f, lp, call->arg);
	if (lp->exit.kind == LP_EXIT_NONE)
		lp->exit.kind = LP_EXIT_INTERRUPT;
}

static const struct guest_ops guest_ops = {.run = guest_run};

u64 fixture_enter(struct fixture *f, unsigned int vcpu, fixture_guest_fn fn, void *arg)
{
	struct guest_call call = {f, fn, arg};
	struct tdx_regs r = {.rax = TDH_VP_ENTER, .rcx = f->tdvpr[vcpu]};
	struct lp *lp = f->lp[vcpu];
	u64 status;

	lp->guest_ops = &guest_ops;
	lp->guest = &call;
	status = seamcall(lp, &r);
	f->r = r;
	return status;
}

struct guest_tdcall {
	struct tdx_regs *r;
	bool completed;
};

static void do_tdcall(struct fixture *f, struct lp *lp, void *arg)
{
	struct guest_tdcall *t = arg;

	(void)f;
	t->completed = tdcall(lp, t->r);
}

bool fixture_tdcall(struct fixture *f, unsigned int vcpu, struct tdx_regs *r)
{
	struct guest_tdcall t = {.r = r};

	fixture_enter(f, vcpu, do_tdcall, &t);
	return t.completed;
}

u64 fixture_accept(struct fixture *f, u64 page_info)
{
	struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = page_info};

	assert_true(fixture_tdcall(f, 0, &r));
	assert_int_equal(r.rcx, page_info);
	return r.rax;
}

u64 fixture_accept_exits(struct fixture *f, u64 page_info)
{
	struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = page_info};

	assert_false(fixture_tdcall(f, 0, &r));
	assert_int_equal(f->r.rax, TDX_EXIT_EPT_VIOLATION);
	assert_int_equal(f->r.r8, page_info & TDX_PAGE_INFO_GPA);
	assert_int_equal(r.rax, TDG_MEM_PAGE_ACCEPT);
	return f->r.rdx;
}

/* ---- S-EPT -----------------------------------------------------------------------------------*/

void fixture_tables(struct fixture *f)
{
	if (fixture_mem(f, TDH_MEM_SEPT_RD, 4, f->tdr, 0) == TDX_SUCCESS)
		fixture_ok(f, TDH_MEM_SEPT_ADD, 4, next_page(f));
	fixture_ok(f, TDH_MEM_SEPT_ADD, 3, next_page(f));
	fixture_ok(f, TDH_MEM_SEPT_ADD, 2, next_page(f));
}

u64 fixture_sept_entry(struct fixture *f, gpa_t gpa, enum pg_level level)
{
	u64 entry = 0;

	assert_true(seam_sept_entry(f->seam, f->tdr, gpa, level, &entry));
	return entry;
}
