/* SPDX-License-Identifier: MIT */
/*
 * A TD from its first page to its last.
 *
 *   TDR, key id --MNG.CREATE--> HKID_ASSIGNED --KEY.CONFIG, all packages--> KEYS_CONFIGURED
 *      --ADDCX x6, MNG.INIT--> INITIALIZED --vCPUs, pages, MR.FINALIZE--> RUNNABLE
 *      --VP.FLUSH all, VPFLUSHDONE--> BLOCKED --CACHE.WB, all packages, KEY.FREEID--> TEARDOWN
 *      --RECLAIM everything, the TDR last--> gone
 *
 * A TD that can't be made goes the same way down from wherever it got stuck.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tdx/seamcall.h"

#define GPAW_48 48
#define GPAW_52 52
/* x87 and SSE state: what a TD can't do without. */
#define XFAM_MINIMUM 0x3ULL
/* In units of 25 MHz. */
#define TSC_2_5_GHZ 100

#define CACHE_WB_START 0
#define CACHE_WB_RESUME 1

/* ---- key ids ---------------------------------------------------------------------------------*/
#define KEY_IDS_OF_TDS GENMASK_ULL((1 << TDX_HKID_BITS) - 1, TDX_GLOBAL_HKID + 1)

/* Under hkid_lock. Return: 0 when all are taken. */
static u16 hkid_take(struct tdx_module *m)
{
	u64 free_ids = KEY_IDS_OF_TDS & ~m->hkids_used;
	u16 hkid;

	if (!free_ids)
		return 0;
	hkid = (u16)__builtin_ctzll(free_ids);
	m->hkids_used |= BIT_ULL(hkid);
	return hkid;
}

/*
 * Calls @fn on an LP of every package; the calling thread's own serves for its package.
 * Return: the first status that isn't success, of whatever class.
 */
static u64 on_each_package(struct td *td, u64 (*fn)(struct td *td))
{
	struct tdx_module *m = td->module;
	struct lp *self = lp_current();
	u64 done = BIT_ULL(self->package);
	u64 status = fn(td);

	for (u32 i = 0; i < m->nr_lps && !tdx_is_error(status); i++) {
		if (done & BIT_ULL(m->lps[i]->package))
			continue;
		done |= BIT_ULL(m->lps[i]->package);
		lp_set_current(m->lps[i]);
		status = fn(td);
	}
	lp_set_current(self);
	return status;
}

static u64 key_config(struct td *td)
{
	return tdx_call(td->module, TDH_MNG_KEY_CONFIG, td_tdr_hpa(td), 0);
}

static u64 cache_wb(struct td *td)
{
	u64 status = tdx_call(td->module, TDH_PHYMEM_CACHE_WB, CACHE_WB_START, 0);

	while (tdx_status_class(status) == TDX_INTERRUPTED_RESUMABLE)
		status = tdx_call(td->module, TDH_PHYMEM_CACHE_WB, CACHE_WB_RESUME, 0);
	return status;
}

/* ---- up --------------------------------------------------------------------------------------*/
/* From a frame to a TDR with its key. */
static int create_tdr(struct td *td)
{
	struct tdx_module *m = td->module;
	int err = 0;

	sync_mutex_lock(&m->hkid_lock);
	td->hkid = hkid_take(m);
	if (!td->hkid) {
		err = -ENOSPC;
		goto unlock;
	}
	if (tdx_call(m, TDH_MNG_CREATE, td_tdr_hpa(td), td->hkid) != TDX_SUCCESS) {
		m->hkids_used &= ~BIT_ULL(td->hkid);
		err = -EIO;
		goto unlock;
	}
	td->created = true;
	if (tdx_is_error(on_each_package(td, key_config)))
		err = -EIO;
unlock:
	sync_mutex_unlock(&m->hkid_lock);
	return err;
}

static int add_tdcx(struct td *td)
{
	while (td->nr_tdcx < TDX_TDCS_PAGES) {
		pfn_t pfn;
		int err = tdx_page_alloc(td->module, FRAME_TD_CONTROL, &pfn);

		if (err)
			return err;
		if (tdx_call(td->module, TDH_MNG_ADDCX, fn_to_addr(pfn), td_tdr_hpa(td)) !=
		    TDX_SUCCESS) {
			tdx_page_free(td->module, FRAME_TD_CONTROL, pfn);
			return -EIO;
		}
		td->tdcx[td->nr_tdcx++] = pfn;
	}
	return 0;
}

static int mng_init(struct td *td, const struct td_config *cfg)
{
	/* The page-walk length is coded as one less. */
	u64 levels = cfg->gpaw == GPAW_52 ? 5 : 4;
	struct td_params params = {
		.attributes = cfg->attributes,
		.xfam = XFAM_MINIMUM,
		.max_vcpus = (u16)cfg->max_vcpus,
		.eptp_controls = TD_EPTP_WB | (levels - 1) << TD_EPTP_PWL_SHIFT,
		.config_flags = cfg->gpaw == GPAW_52 ? TD_CONFIG_GPAW : 0,
		.tsc_frequency = TSC_2_5_GHZ,
	};
	struct tdx_regs r = {.rcx = td_tdr_hpa(td)};
	pfn_t buffer;
	u64 status;
	int err = host_alloc(td->host, PG_LEVEL_4K, FRAME_OTHER, &buffer);

	if (err)
		return err;
	host_frame_dirty(td->host, buffer);
	memcpy(host_frame_ptr(td->host, buffer), &params, sizeof(params));
	r.rdx = fn_to_addr(buffer);
	status = tdx_seamcall_wait(td->module, TDH_MNG_INIT, &r);
	host_free(td->host, buffer, PG_LEVEL_4K, FRAME_OTHER);
	return status == TDX_SUCCESS ? 0 : -EIO;
}

static int build(struct td *td, const struct td_config *cfg)
{
	int err = create_tdr(td);

	if (!err)
		err = add_tdcx(td);
	if (!err)
		err = mng_init(td, cfg);
	return err;
}

static void free_td(struct td *td)
{
	td_split_cache_destroy(td);
	free(td->vcpus);
	free(td);
}

int td_create(struct tdx_module *m, const struct td_config *cfg, struct td **out)
{
	void *memory;
	struct td *td;
	int err;

	if ((cfg->gpaw != GPAW_48 && cfg->gpaw != GPAW_52) || !cfg->max_vcpus ||
	    cfg->max_vcpus > UINT16_MAX)
		return -EINVAL;
	if (posix_memalign(&memory, _Alignof(struct td), sizeof(*td)))
		return -ENOMEM;
	td = memory;
	*td = (struct td){
		.module = m,
		.host = m->host,
		.ops = cfg->ops,
		.shared_bit = cfg->gpaw - 1,
		.max_vcpus = cfg->max_vcpus,
		.demote_lock = cfg->demote_lock,
	};
	td_split_cache_init(td);
	td->vcpus = calloc(cfg->max_vcpus, sizeof(struct td_vcpu *));
	err = td->vcpus ? tdx_page_alloc(m, FRAME_TD_CONTROL, &td->tdr) : -ENOMEM;
	if (err) {
		free_td(td);
		return err;
	}
	err = build(td, cfg);
	if (err) {
		td_release_key(td);
		td_destroy(td);
		return err;
	}
	*out = td;
	return 0;
}

int td_finalize(struct td *td)
{
	if (tdx_call(td->module, TDH_MR_FINALIZE, td_tdr_hpa(td), 0) != TDX_SUCCESS)
		return -EIO;
	tdx_pamt_drain(td->module);
	sync_store_release(&td->runnable, 1); /* pairs with the acquire in td_is_runnable() */
	return 0;
}

/* ---- down ------------------------------------------------------------------------------------*/
static int release_key(struct td *td)
{
	struct tdx_module *m = td->module;

	if (tdx_call(m, TDH_MNG_VPFLUSHDONE, td_tdr_hpa(td), 0) != TDX_SUCCESS ||
	    tdx_is_error(on_each_package(td, cache_wb)) ||
	    tdx_call(m, TDH_MNG_KEY_FREEID, td_tdr_hpa(td), 0) != TDX_SUCCESS)
		return -EIO;
	m->hkids_used &= ~BIT_ULL(td->hkid);
	return 0;
}

int td_release_key(struct td *td)
{
	int err;

	if (!td->created)
		return 0;
	sync_mutex_lock(&td->module->hkid_lock);
	err = release_key(td);
	sync_mutex_unlock(&td->module->hkid_lock);
	td->key_released = !err;
	return err;
}

void tdx_control_page_reclaim(struct tdx_module *m, pfn_t pfn)
{
	if (!td_reclaim(m, pfn, PG_LEVEL_4K))
		tdx_page_free(m, FRAME_TD_CONTROL, pfn);
}

/* The TDR is under the module's own key, which stays: its lines have to be written back. */
static void reclaim_tdr(struct td *td)
{
	struct tdx_module *m = td->module;

	if (td->created && (td_reclaim(m, td->tdr, PG_LEVEL_4K) ||
			    tdh_phymem_page_wbinvd(m, TDX_GLOBAL_HKID, td->tdr) != TDX_SUCCESS))
		return;
	tdx_page_free(m, FRAME_TD_CONTROL, td->tdr);
}

void td_destroy(struct td *td)
{
	for (u32 i = 0; i < td->nr_vcpus; i++) {
		struct td_vcpu *vcpu = td->vcpus[i];

		for (u32 page = 0; page < vcpu->nr_pages; page++)
			tdx_control_page_reclaim(td->module, vcpu->pages[page]);
		free(vcpu);
	}
	for (u32 i = 0; i < td->nr_tdcx; i++)
		tdx_control_page_reclaim(td->module, td->tdcx[i]);
	reclaim_tdr(td);
	tdx_pamt_drain(td->module);
	free_td(td);
}

/* ---- facts -----------------------------------------------------------------------------------*/
void td_set_mmu(struct td *td, struct mmu *mmu)
{
	td->mmu = mmu;
}

void td_set_add_source(struct td *td, hpa_t source)
{
	td->add_source = source;
}

bool td_is_runnable(const struct td *td)
{
	return sync_load_acquire(&td->runnable); /* pairs with the release in td_finalize() */
}

u16 td_hkid(const struct td *td)
{
	return td->hkid;
}

unsigned int td_shared_bit(const struct td *td)
{
	return td->shared_bit;
}

hpa_t td_tdr(const struct td *td)
{
	return td_tdr_hpa(td);
}

int td_fault_topup(struct td *td)
{
	return tdx_pamt_topup(td->module);
}

enum pg_level td_max_level(const struct td *td, bool private)
{
	if (!private)
		return PG_LEVEL_MAX_LEAF;
	return td_is_runnable(td) && tdx_huge_pages_ok(td->module) ? PG_LEVEL_2M : PG_LEVEL_4K;
}
