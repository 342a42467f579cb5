/* SPDX-License-Identifier: MIT */
/* Bringing up the machine, the module and TDs, by the same SEAMCALLs that a script may make. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "script/seamcall_machine.h"

/* ---- calls of the tool's own -----------------------------------------------------------------*/

static int call(struct lp *lp, u64 leaf, struct tdx_regs regs, struct sc_refusal *refusal)
{
	regs.rax = leaf;
	if (seamcall(lp, &regs) == TDX_SUCCESS)
		return 0;
	refusal->leaf = tdh_leaf_name((unsigned int)leaf);
	refusal->status = regs.rax;
	return -EINVAL;
}

static void write_words(struct sc_machine *m, hpa_t hpa, const void *bytes, size_t size)
{
	host_write(m->host, hpa, 0, bytes, (unsigned int)(size / sizeof(u64)));
}

/* ---- the module ------------------------------------------------------------------------------*/

/* PAMT areas, one behind the other from the end of the script's memory on. */
static void place_pamt(struct tdmr_info *info, u64 memory, bool dpamt)
{
	info->base = 0;
	info->size = memory;
	info->pamt_1g_base = memory;
	info->pamt_1g_size = ALIGN_UP(memory / SIZE_1G * TDX_PAMT_ENTRY_SIZE, SIZE_4K);
	info->pamt_2m_base = info->pamt_1g_base + info->pamt_1g_size;
	info->pamt_2m_size = ALIGN_UP(memory / SIZE_2M * TDX_PAMT_ENTRY_SIZE, SIZE_4K);
	info->pamt_4k_base = info->pamt_2m_base + info->pamt_2m_size;
	/* With Dynamic PAMT what remains is a bit a page. */
	info->pamt_4k_size = ALIGN_UP(
		dpamt ? memory / SIZE_4K / 8 : memory / SIZE_4K * TDX_PAMT_ENTRY_SIZE, SIZE_4K);
}

static int add_pairs(struct sc_machine *m, struct sc_refusal *refusal)
{
	int err = 0;

	for (u64 i = 0; !err && i < SC_TOOL_END / SIZE_2M; i++) {
		struct tdx_regs regs = {.rcx = (i * SIZE_2M) | 1,
					.rdx = sc_pair_page(i, 0),
					.r8 = sc_pair_page(i, 1)};

		err = call(m->cpus[0].lp, TDH_PHYMEM_PAMT_ADD, regs, refusal);
	}
	return err;
}

static int init_module(struct sc_machine *m, struct sc_refusal *refusal)
{
	struct lp *lp = m->cpus[0].lp;
	struct tdx_regs config = {
		.rcx = SC_TDMR_LIST, .rdx = 1, .r8 = SC_GLOBAL_HKID | (m->dpamt ? BIT_ULL(16) : 0)};
	int err = call(lp, TDH_SYS_INIT, (struct tdx_regs){0}, refusal);

	for (u32 i = 0; !err && i < m->nr_cpus; i++)
		err = call(m->cpus[i].lp, TDH_SYS_LP_INIT, (struct tdx_regs){0}, refusal);
	if (!err)
		err = call(lp, TDH_SYS_CONFIG, config, refusal);
	if (!err)
		err = call(lp, TDH_SYS_KEY_CONFIG, (struct tdx_regs){0}, refusal);
	if (err)
		return err;
	seam_tdmr_init_all(m->seam);
	return m->dpamt ? add_pairs(m, refusal) : 0;
}

static int create_cpus(struct sc_machine *m, u32 count)
{
	m->cpus = calloc(count, sizeof(*m->cpus));
	m->vcpus = calloc(SC_MAX_TDS, sizeof(*m->vcpus));
	if (!m->cpus || !m->vcpus)
		return -ENOMEM;
	for (u32 i = 0; i < count; i++) {
		struct lp *lp;
		int err = lp_create(m->host, i, &lp);

		if (err)
			return err;
		sc_cpu_init(&m->cpus[i], lp);
		m->nr_cpus++;
		seam_attach_lp(m->seam, lp);
	}
	return 0;
}

int sc_machine_create(const struct sc_host_config *cfg, struct sc_machine **out,
		      struct sc_refusal *refusal)
{
	struct sc_machine *m = calloc(1, sizeof(*m));
	struct host_config host = {.lps = cfg->lps};
	u64 info_pointer = SC_TDMR_INFO;
	int err = -ENOMEM;

	*refusal = (struct sc_refusal){0};
	if (!m)
		return err;
	m->dpamt = cfg->dpamt;
	place_pamt(&m->pamt, cfg->memory, cfg->dpamt);
	host.memory_bytes = ALIGN_UP(m->pamt.pamt_4k_base + m->pamt.pamt_4k_size, SIZE_1G);
	err = host_create(&host, &m->host);
	if (!err)
		err = seam_create(m->host, cfg->profile, &m->seam);
	if (!err)
		err = create_cpus(m, cfg->lps);
	if (!err) {
		write_words(m, SC_TDMR_LIST, &info_pointer, sizeof(info_pointer));
		write_words(m, SC_TDMR_INFO, &m->pamt, sizeof(m->pamt));
		err = cfg->raw ? 0 : init_module(m, refusal);
	}
	if (!err) {
		*out = m;
		return 0;
	}
	sc_machine_destroy(m);
	return err;
}

void sc_machine_destroy(struct sc_machine *m)
{
	/* All of them out before the first processor goes: the module sees none that is inside. */
	for (u32 i = 0; i < m->nr_cpus; i++)
		sc_cpu_destroy(&m->cpus[i]);
	for (u32 i = 0; i < m->nr_cpus; i++)
		lp_destroy(m->cpus[i].lp);
	if (m->seam)
		seam_destroy(m->seam);
	if (m->host)
		host_destroy(m->host);
	free(m->vcpus);
	free(m->cpus);
	free(m);
}

struct lp *sc_machine_free_lp(const struct sc_machine *m)
{
	for (u32 i = 0; i < m->nr_cpus; i++)
		if (!m->cpus[i].is_inside)
			return m->cpus[i].lp;
	return NULL;
}

/* ---- TDs -------------------------------------------------------------------------------------*/

static void write_params(struct sc_machine *m, u32 td, const struct sc_td_config *cfg)
{
	struct td_params params = {
		.attributes = (cfg->debug ? TD_ATTR_DEBUG : 0) |
			      (cfg->sept_ve_disable ? TD_ATTR_SEPT_VE_DISABLE : 0),
		.xfam = 0x3, /* x87 and SSE, the least there is */
		.max_vcpus = (u16)(cfg->vcpus ? cfg->vcpus : 1),
		.eptp_controls = TD_EPTP_WB | (u64)(cfg->levels - 1) << TD_EPTP_PWL_SHIFT,
		.config_flags = (cfg->gpaw == 52 ? TD_CONFIG_GPAW : 0) |
				(cfg->flexible_pending_ve ? TD_CONFIG_FLEXIBLE_PENDING_VE : 0),
		.tsc_frequency = 40, /* of 25 MHz: 1 GHz */
	};

	write_words(m, sc_td_params(td), &params, sizeof(params));
}

static int add_vcpu(struct sc_machine *m, u32 td, u32 vcpu, struct sc_refusal *refusal)
{
	hpa_t tdvpr = sc_td_tdvpr(td, vcpu);
	struct tdx_regs create = {.rcx = tdvpr, .rdx = sc_td_tdr(td)};
	struct tdx_regs init = {.rcx = tdvpr};
	struct lp *lp = m->cpus[vcpu].lp; /* VP.INIT ties the vCPU to the caller */
	int err;

	if (m->cpus[vcpu].is_inside)
		return -EBUSY;
	err = call(lp, TDH_VP_CREATE, create, refusal);
	for (u64 i = 1; !err && i < TDX_TDVPS_PAGES; i++)
		err = call(lp, TDH_VP_ADDCX,
			   (struct tdx_regs){.rcx = tdvpr + i * SIZE_4K, .rdx = tdvpr}, refusal);
	return err ? err : call(lp, TDH_VP_INIT, init, refusal);
}

static int add_tdcx(struct lp *lp, u32 td, struct sc_refusal *refusal)
{
	hpa_t tdr = sc_td_tdr(td);
	int err = 0;

	for (u64 i = 1; !err && i <= TDX_TDCS_PAGES; i++)
		err = call(lp, TDH_MNG_ADDCX,
			   (struct tdx_regs){.rcx = tdr + i * SIZE_4K, .rdx = tdr}, refusal);
	return err;
}

static int make_runnable(struct sc_machine *m, struct lp *lp, u32 td,
			 const struct sc_td_config *cfg, struct sc_refusal *refusal)
{
	int err = 0;

	for (u32 i = 0; !err && i < cfg->vcpus; i++)
		err = add_vcpu(m, td, i, refusal);
	if (err)
		return err;
	return call(lp, TDH_MR_FINALIZE, (struct tdx_regs){.rcx = sc_td_tdr(td)}, refusal);
}

int sc_machine_add_td(struct sc_machine *m, u32 td, const struct sc_td_config *cfg,
		      struct sc_refusal *refusal)
{
	struct tdx_regs tdr = {.rcx = sc_td_tdr(td)};
	struct tdx_regs create = {.rcx = sc_td_tdr(td), .rdx = sc_td_hkid(td)};
	struct tdx_regs init = {.rcx = sc_td_tdr(td), .rdx = sc_td_params(td)};
	struct lp *lp = sc_machine_free_lp(m);
	int err = 0;

	*refusal = (struct sc_refusal){0};
	for (u32 i = 0; i < cfg->vcpus; i++)
		snprintf(m->vcpus[td][i].name, sizeof(m->vcpus[td][i].name), "%s.%u", cfg->name, i);
	write_params(m, td, cfg);
	if (cfg->state >= SC_TD_CREATED)
		err = lp ? call(lp, TDH_MNG_CREATE, create, refusal) : -EBUSY;
	if (!err && cfg->state >= SC_TD_KEYS)
		err = call(lp, TDH_MNG_KEY_CONFIG, tdr, refusal);
	if (!err && cfg->state >= SC_TD_ALLOCATED)
		err = add_tdcx(lp, td, refusal);
	if (!err && cfg->state >= SC_TD_INITIALIZED)
		err = call(lp, TDH_MNG_INIT, init, refusal);
	if (!err && cfg->state >= SC_TD_RUNNABLE)
		err = make_runnable(m, lp, td, cfg, refusal);
	return err;
}
