/* SPDX-License-Identifier: MIT */
#include "tdx/rig.h"

static void note(struct tdx_rig *r, u32 what)
{
	if (r->nr_log < LOG_MAX)
		r->log[r->nr_log++] = what;
}

static void on_trace(void *ctx, enum trace_point point, const void *event)
{
	const struct trace_seamcall *call = event;

	if (point == TRACE_SEAMCALL)
		note(ctx, call->leaf);
}

static void on_kick(void *vm)
{
	struct tdx_rig *r = vm;

	note(r, LOG_KICK);
	r->kicks++;
	if (r->td && td_entry_held_off(r->td))
		r->kick_saw_hold_off = true;
}

static void on_bugged(void *vm, const char *why)
{
	struct tdx_rig *r = vm;

	if (!r->bugged[0])
		strncpy(r->bugged, why, sizeof(r->bugged) - 1);
}

static void init_all(void *seam)
{
	seam_tdmr_init_all(seam);
}

int tdx_rig_module(struct tdx_rig *r, const struct tdx_rig_config *cfg)
{
	struct host_config hc = {.memory_bytes = cfg->memory ? cfg->memory : SIZE_1G,
				 .lps = TDX_RIG_LPS,
				 .packages = cfg->packages};
	struct trace_listener listener = {.fn = on_trace, .ctx = r};
	struct tdx_module_config mc = {
		.nr_lps = TDX_RIG_LPS,
		.dynamic_pamt = cfg->dynamic_pamt,
		.seamcall = cfg->seamcall ? cfg->seamcall : seamcall,
		.tdmr_init_all = cfg->init_by_loop ? NULL : init_all,
	};
	const char *profile = cfg->profile ? cfg->profile : "1.5.28";
	int err;

	memset(r, 0, sizeof(*r));
	sync_thread_enter();
	assert_int_equal(host_create(&hc, &r->host), 0);
	assert_int_equal(trace_listen(&r->host->tracer, &listener), 0);
	assert_int_equal(seam_create(r->host, seam_profile_by_name(profile), &r->seam), 0);
	for (u32 i = 0; i < TDX_RIG_LPS; i++) {
		assert_int_equal(lp_create(r->host, i, &r->lps[i]), 0);
		seam_attach_lp(r->seam, r->lps[i]);
	}
	lp_set_current(r->lps[0]);
	mc.host = r->host;
	mc.lps = r->lps;
	mc.seam = r->seam;
	err = tdx_bring_up(&mc, &r->tdx);
	assert_ptr_equal(lp_current(), r->lps[0]);
	if (!err)
		r->frames_before = host_frames_used(r->host);
	return err;
}

void tdx_rig_td(struct tdx_rig *r)
{
	struct td_config tc = {
		.max_vcpus = 1,
		.gpaw = 48,
		.attributes = TD_ATTR_SEPT_VE_DISABLE,
		.ops = {.kick_and_wait = on_kick, .vm_bugged = on_bugged, .vm = r},
	};
	struct mmu_config mc = {.host = r->host,
				.root_level = PG_LEVEL_512G,
				.shared_bit = 47,
				.external = &td_external_ops,
				.vm_bugged = on_bugged,
				.vm_ctx = r};

	assert_int_equal(td_create(r->tdx, &tc, &r->td), 0);
	mc.external_ctx = r->td;
	assert_int_equal(mmu_create(&mc, &r->mmu), 0);
	td_set_mmu(r->td, r->mmu);
	mmu_cache_init(&r->cache, r->mmu);
	assert_int_equal(td_vcpu_create(r->td, 0, &r->vcpu), 0);
	r->nr_log = 0;
}

void tdx_rig_td_down(struct tdx_rig *r)
{
	td_vcpu_flush(r->vcpu);
	assert_int_equal(td_release_key(r->td), 0);
	mmu_cache_destroy(&r->cache);
	mmu_destroy(r->mmu);
	td_destroy(r->td);
	r->td = NULL;
}

void tdx_rig_down(struct tdx_rig *r)
{
	if (r->tdx) {
		assert_int_equal(seam_pamt_in_use(r->seam), 0);
		assert_int_equal(host_frames_used(r->host), r->frames_before);
		assert_int_equal(tdx_dpamt_pages(r->tdx), 0);
		tdx_shut_down(r->tdx);
	}
	assert_int_equal(host_frames_used(r->host), 0);
	lp_set_current(NULL);
	seam_destroy(r->seam);
	for (u32 i = 0; i < TDX_RIG_LPS; i++)
		lp_destroy(r->lps[i]);
	host_destroy(r->host);
}

int tdx_rig_map(struct tdx_rig *r, gfn_t gfn, enum pg_level level, pfn_t *pfn)
{
	struct mmu_fault fault = {.gfn = gfn, .max_level = level, .private = true};

	assert_int_equal(host_alloc(r->host, level, FRAME_GUEST, pfn), 0);
	assert_int_equal(mmu_cache_topup(&r->cache), 0);
	assert_int_equal(td_fault_topup(r->td), 0);
	fault.pfn = *pfn;
	fault.invalidate_seq = mmu_invalidate_seq(r->mmu);
	return mmu_map(r->mmu, &r->cache, &fault);
}

void tdx_rig_zap(struct tdx_rig *r, gfn_t gfn, u64 nr)
{
	sync_write_lock(mmu_lock(r->mmu));
	mmu_zap_leafs(r->mmu, gfn, gfn + nr, true);
	sync_write_unlock(mmu_lock(r->mmu));
}

void tdx_rig_free(struct tdx_rig *r, pfn_t pfn, enum pg_level level)
{
	host_free(r->host, pfn, level, FRAME_GUEST);
}

u32 tdx_rig_logged(const struct tdx_rig *r, u32 what)
{
	u32 n = 0;

	for (u32 i = 0; i < r->nr_log; i++)
		n += r->log[i] == what;
	return n;
}
