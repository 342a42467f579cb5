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
	if (r->on_kick)
		r->on_kick(r);
}

static void on_bugged(void *vm, const char *why)
{
	struct tdx_rig *r = vm;

	if (!r->bugged[0])
		strncpy(r->bugged, why, sizeof(r->bugged) - 1);
}

static void on_warn(void *ctx, const char *what)
{
	struct tdx_rig *r = ctx;

	assert_non_null(what);
	r->warnings++;
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
	r->cfg = *cfg;
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
	mc.warn = on_warn;
	mc.warn_ctx = r;
	err = tdx_bring_up(&mc, &r->tdx);
	assert_ptr_equal(lp_current(), r->lps[0]);
	if (!err)
		r->frames_before = host_frames_used(r->host);
	return err;
}

void tdx_rig_td(struct tdx_rig *r)
{
	struct td_config tc = {
		.demote_lock = r->cfg.demote_lock,
		.max_vcpus = 1,
		.gpaw = 48,
		.attributes = TD_ATTR_SEPT_VE_DISABLE,
		.ops = {.kick_and_wait = on_kick, .vm_bugged = on_bugged, .vm = r},
	};
	struct mmu_config mc = {.split_metadata = r->cfg.split_metadata,
				.split_under_read_lock = tdx_splits_unblocked(r->tdx),
				.host = r->host,
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

void tdx_rig_quiet(struct tdx_rig *r)
{
	const struct check_host host = {.host = r->host, .seam = r->seam, .tdx = r->tdx};
	const struct check_td td = {
		.td = r->td, .mmu = r->mmu, .caches = &r->cache, .nr_caches = 1};
	char why[200] = "";
	int broken;

	if (r->bugged[0] || r->warnings || r->others_run)
		return;
	broken = check_tds(&host, &td, 1, why, sizeof(why));
	assert_string_equal(why, "");
	assert_int_equal(broken, 0);
}

void tdx_rig_td_down(struct tdx_rig *r)
{
	tdx_rig_quiet(r);
	td_vcpu_flush(r->vcpu);
	assert_int_equal(td_release_key(r->td), 0);
	mmu_cache_destroy(&r->cache);
	mmu_destroy(r->mmu);
	td_destroy(r->td);
	r->td = NULL;
}

void tdx_rig_down(struct tdx_rig *r)
{
	if (r->tdx && r->is_lossy) {
		tdx_shut_down(r->tdx);
	} else if (r->tdx) {
		assert_int_equal(seam_pamt_in_use(r->seam), 0);
		assert_int_equal(host_frames_used(r->host), r->frames_before);
		assert_int_equal(tdx_dpamt_pages(r->tdx), 0);
		tdx_shut_down(r->tdx);
	}
	if (!r->is_lossy)
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
	int ret;

	assert_int_equal(host_alloc(r->host, level, FRAME_GUEST, pfn), 0);
	assert_int_equal(mmu_cache_topup(&r->cache), 0);
	assert_int_equal(td_fault_topup(r->td), 0);
	fault.pfn = *pfn;
	fault.invalidate_seq = mmu_invalidate_seq(r->mmu);
	ret = mmu_map(r->mmu, &r->cache, &fault);
	tdx_rig_quiet(r);
	return ret;
}

void tdx_rig_zap(struct tdx_rig *r, gfn_t gfn, u64 nr)
{
	sync_write_lock(mmu_lock(r->mmu));
	mmu_zap_leafs(r->mmu, gfn, gfn + nr, true);
	sync_write_unlock(mmu_lock(r->mmu));
	tdx_rig_quiet(r);
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

/* ---- a module that says no -------------------------------------------------------------------*/
struct tdx_rig_injection tdx_rig_injection;

u64 tdx_rig_injecting(struct lp *lp, struct tdx_regs *r)
{
	struct tdx_rig_injection *in = &tdx_rig_injection;
	u32 leaf = (u32)r->rax & 0xFFFF;

	/* A guest that doesn't run is the VM's to handle, not ours. */
	if (in->leaf == ANY_LEAF ? leaf == TDH_VP_ENTER : in->leaf != leaf)
		return seamcall(lp, r);
	in->seen++;
	if (in->seen < in->from || in->seen >= in->from + in->times)
		return seamcall(lp, r);
	in->last_leaf = leaf;
	r->rax = in->status;
	return r->rax;
}

void tdx_rig_inject(u32 leaf, u64 from, u64 times, u64 status)
{
	tdx_rig_injection = (struct tdx_rig_injection){
		.leaf = leaf, .from = from, .times = times, .status = status};
}

/* ---- splitting and promoting -----------------------------------------------------------------*/
void tdx_rig_up(struct tdx_rig *r, const struct tdx_rig_config *cfg)
{
	assert_int_equal(tdx_rig_module(r, cfg), 0);
	tdx_rig_td(r);
	assert_int_equal(td_finalize(r->td), 0);
	r->nr_log = 0;
}

int tdx_rig_split(struct tdx_rig *r, gfn_t gfn, enum pg_level target)
{
	int err;

	sync_write_lock(mmu_lock(r->mmu));
	err = mmu_split_to_level(r->mmu, gfn, gfn + 1, target, true);
	sync_write_unlock(mmu_lock(r->mmu));
	tdx_rig_quiet(r);
	return err;
}

int tdx_rig_promote(struct tdx_rig *r, gfn_t gfn, enum pg_level level)
{
	int err;

	sync_write_lock(mmu_lock(r->mmu));
	err = mmu_promote(r->mmu, gfn, level);
	sync_write_unlock(mmu_lock(r->mmu));
	tdx_rig_quiet(r);
	return err;
}

u64 tdx_rig_raw(const struct tdx_rig *r, gfn_t gfn, enum pg_level level)
{
	u64 entry = 0;

	seam_sept_entry(r->seam, td_tdr(r->td), fn_to_addr(gfn), level, &entry);
	return entry;
}

enum pg_level tdx_rig_level(struct tdx_rig *r, gfn_t gfn)
{
	struct mmu_mapping m;

	return mmu_lookup(r->mmu, gfn, true, &m) ? m.level : PG_LEVEL_NONE;
}

/* Of a raw entry: blocked, leaf, none (FREE), as the fact sheet's encodings have them. */
#define RAW_BLOCKED BIT_ULL(55)
#define RAW_LEAF BIT_ULL(7)
#define RAW_FREE 0x80E0000000000000ULL
#define RAW_HPA GENMASK_ULL(45, 12)

static void check_gfn(struct tdx_rig *r, gfn_t gfn)
{
	struct mmu_mapping m;
	u64 raw;

	if (!mmu_lookup(r->mmu, gfn, true, &m)) {
		/* FREE, or no table for it at all. */
		raw = tdx_rig_raw(r, gfn, PG_LEVEL_4K);
		assert_true(!raw || raw == RAW_FREE);
		return;
	}
	raw = tdx_rig_raw(r, m.gfn, m.level);
	assert_true(raw & RAW_LEAF);
	assert_false(raw & RAW_BLOCKED);
	assert_int_equal(raw & RAW_HPA, fn_to_addr(m.pfn));
}

void tdx_rig_check(struct tdx_rig *r, gfn_t gfn, u64 nr)
{
	for (u64 i = 0; i < nr; i++)
		check_gfn(r, gfn + i);
	assert_false(td_entry_held_off(r->td));
}

static void guest_main(struct lp *lp, void *guest)
{
	struct tdx_rig_guest *g = guest;

	g->fn(lp, g);
	if (lp->exit.kind != LP_EXIT_NONE)
		return;
	lp_interrupt(lp, LP_INTR);
	lp_guest_poll(lp);
}

u64 tdx_rig_run(struct tdx_rig *r, struct tdx_rig_guest *g, struct tdx_regs *regs)
{
	static const struct guest_ops ops = {.run = guest_main};
	u64 rax;

	g->r = r;
	r->lps[0]->guest_ops = &ops;
	r->lps[0]->guest = g;
	*regs = (struct tdx_regs){0};
	rax = td_vcpu_enter(r->vcpu, regs);
	lp_take_interrupts(r->lps[0]);
	tdx_rig_quiet(r);
	return rax;
}

static void do_accept(struct lp *lp, struct tdx_rig_guest *g)
{
	struct tdx_regs regs = {.rax = TDG_MEM_PAGE_ACCEPT,
				.rcx = tdx_page_info(fn_to_addr(g->gfn),
						     (unsigned int)g->level - PG_LEVEL_4K)};

	g->status = tdcall(lp, &regs) ? regs.rax : ~0ULL;
}

u64 tdx_rig_accept(struct tdx_rig *r, gfn_t gfn, enum pg_level level)
{
	struct tdx_rig_guest g = {.fn = do_accept, .gfn = gfn, .level = level};
	struct tdx_regs regs;

	tdx_rig_run(r, &g, &regs);
	return g.status;
}

static void do_fill(struct lp *lp, struct tdx_rig_guest *g)
{
	for (u64 i = 0; i < 512; i++) {
		u64 word = g->gfn + i;

		if (lp_guest_write(lp, fn_to_addr(g->gfn + i), &word, 1) != LP_ACCESS_OK) {
			g->wrong++;
			return;
		}
	}
}

void tdx_rig_fill(struct tdx_rig *r, gfn_t gfn)
{
	struct tdx_rig_guest g = {.fn = do_fill, .gfn = gfn};
	struct tdx_regs regs;

	tdx_rig_run(r, &g, &regs);
	assert_int_equal(g.wrong, 0);
}

static void do_verify(struct lp *lp, struct tdx_rig_guest *g)
{
	for (u64 i = 0; i < 512; i++) {
		u64 word = 0;

		if (lp_guest_read(lp, fn_to_addr(g->gfn + i), &word, 1) != LP_ACCESS_OK) {
			g->wrong += 512 - (u32)i;
			return;
		}
		g->wrong += word != g->gfn + i;
	}
}

u32 tdx_rig_wrong(struct tdx_rig *r, gfn_t gfn)
{
	struct tdx_rig_guest g = {.fn = do_verify, .gfn = gfn};
	struct tdx_regs regs;

	tdx_rig_run(r, &g, &regs);
	return g.wrong;
}
