/* SPDX-License-Identifier: MIT */
/*
 * Two TDs on one host, with threads: what one does to the module's shared structures never stops
 * the other, and no guest sees a wrong byte.
 */
#include <errno.h>

#include "base/rng.h"
#include "tdx/internal.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)

/* ---- DEMOTE beside PAMT.ADD and PAMT.REMOVE --------------------------------------------------*/
#define ROUNDS 300

struct neighbour {
	struct sync_thread thread;
	struct tdx_rig *r;
	pfn_t page;
	u32 stop, failures;
};

/* As another TD would: the first 4K page of a range comes into use, and goes again. */
static void neighbour_main(void *arg)
{
	struct neighbour *n = arg;

	lp_set_current(n->r->lps[1]);
	while (!sync_load(&n->stop)) {
		if (tdx_pamt_get(n->r->tdx, n->page))
			n->failures++;
		else
			tdx_pamt_put(n->r->tdx, n->page);
	}
	lp_set_current(NULL);
}

/*
 * Small frames come from one 2M range until it is full. Fills it but for two frames, so that a
 * split takes its table and its S-EPT page from there, and its pair from the next range, which
 * nobody else uses: only so does the pair lie where a PAMT.ADD may come.
 */
static u32 leave_two_frames(struct tdx_rig *r, pfn_t filler[512])
{
	u32 n = 0;

	do {
		assert_true(n < 512);
		assert_int_equal(host_alloc(r->host, PG_LEVEL_4K, FRAME_OTHER, &filler[n]), 0);
	} while (tdx_pamt_refs(r->tdx, filler[n++]));
	assert_true(n > 2);
	host_free(r->host, filler[0], PG_LEVEL_4K, FRAME_OTHER);
	host_free(r->host, filler[1], PG_LEVEL_4K, FRAME_OTHER);
	return n;
}

/*
 * Row 69: while another TD's pairs come and go in the range that a split's pair lies in, splits and
 * promotions go on. With the lock always taken no DEMOTE is BUSY; without it one may be, and the
 * second try isn't.
 */
static void test_demote_beside_pamt_add(void **state)
{
	(void)state;
	for (enum td_demote_lock lock = TD_DEMOTE_LOCK_ALWAYS; lock <= TD_DEMOTE_LOCK_SECOND_TRY;
	     lock++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = true, .demote_lock = lock};
		struct neighbour n = {0};
		pfn_t huge, filler[512];
		struct tdx_rig r;
		u32 nr;

		tdx_rig_inject_nothing();
		tdx_rig_up(&r, &cfg);
		assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
		r.host->tracer.count = 0; /* the log isn't for two threads */
		nr = leave_two_frames(&r, filler);
		n.r = &r;
		n.page = filler[nr - 1];
		r.others_run = true;
		assert_int_equal(sync_thread_create(&n.thread, neighbour_main, &n), 0);
		for (u32 i = 0; i < ROUNDS; i++) {
			assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
			assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
			assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
			assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
			sync_rcu_barrier(); /* the table's frame is free again */
		}
		sync_store(&n.stop, 1);
		sync_thread_join(&n.thread);
		r.others_run = false;
		assert_int_equal(n.failures, 0);
		assert_int_equal(r.bugged[0], 0);
		assert_int_equal(r.warnings, 0);
		if (lock == TD_DEMOTE_LOCK_ALWAYS)
			assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_PAGE_DEMOTE).busy, 0);
		tdx_rig_td_down(&r);
		while (nr-- > 2)
			host_free(r.host, filler[nr], PG_LEVEL_4K, FRAME_OTHER);
		tdx_rig_free(&r, huge, PG_LEVEL_2M);
		tdx_rig_down(&r);
	}
}

/* ---- two TDs that fault, split, promote and remove at once -----------------------------------*/
#define TENANTS 2
#define BLOCKS 3
#define PAGES (BLOCKS * 512)
#define HOST_ROUNDS 250
#define STEPS_A_STAY 64

struct tenant {
	struct tdx_rig *rig;
	u32 index;
	struct td *td;
	struct td_vcpu *vcpu;
	struct mmu *mmu;
	struct mmu_vcpu_cache cache;
	pfn_t block[BLOCKS];
	struct sync_thread guest_thread, host_thread;

	/*
	 * Odd while the vCPU is inside; pairs with tenant_kick() as vm's counter does with its
	 * kick.
	 */
	u32 stays;
	u32 host_done;
	u32 dead;
	char why[160];

	/* The guest's, on its thread alone. */
	struct rng rng;
	u64 expect[PAGES];
	u64 must_accept; /* gfn + 1, 0: none */
	u64 steps, wrong, other;
	u64 splits, promotions, refused; /* the host thread's */
};

static void tenant_kick(void *vm)
{
	struct tenant *t = vm;
	u32 seen = sync_fetch_add(&t->stays, 0); /* a full barrier, after the hold-off */

	if (!(seen & 1))
		return;
	lp_interrupt(t->rig->lps[2 * t->index], LP_INTR);
	while (sync_load_acquire(&t->stays) == seen)
		sync_relax();
}

static void tenant_bugged(void *vm, const char *why)
{
	struct tenant *t = vm;

	if (!sync_xchg(&t->dead, 1))
		strncpy(t->why, why, sizeof(t->why) - 1);
}

/* The guest: true if it may go on in this stay. */
static bool guest_accept(struct lp *lp, struct tenant *t)
{
	gfn_t gfn = t->must_accept - 1;
	struct tdx_regs regs = {.rax = TDG_MEM_PAGE_ACCEPT,
				.rcx = tdx_page_info(fn_to_addr(gfn), 0)};

	if (!tdcall(lp, &regs))
		return false;
	/* Accepted anew it is zero; ALREADY_ACCEPTED: it was never gone. */
	if (regs.rax == TDX_SUCCESS)
		t->expect[gfn - GFN] = 0;
	else if (tdx_is_error(regs.rax))
		return true; /* the host holds the entry: once more */
	t->must_accept = 0;
	return true;
}

static bool guest_access(struct lp *lp, struct tenant *t)
{
	/* Rarely in the last block, whose pages so stay in one state long enough to be promoted. */
	u64 page = rng_below(&t->rng, rng_below(&t->rng, 64) ? PAGES - 512 : PAGES), word = 0;
	gpa_t gpa = fn_to_addr(GFN + page);
	enum lp_access access = lp_guest_read(lp, gpa, &word, 1);

	if (access == LP_ACCESS_OK) {
		t->wrong += word != t->expect[page];
		word = (u64)t->index << 56 | t->steps << 16 | page;
		access = lp_guest_write(lp, gpa, &word, 1);
		if (access == LP_ACCESS_OK)
			t->expect[page] = word;
	}
	t->wrong += access == LP_ACCESS_MC;
	t->steps++;
	return access == LP_ACCESS_OK;
}

static void guest_run(struct lp *lp, void *guest)
{
	struct tenant *t = guest;

	for (u32 i = 0; i < STEPS_A_STAY; i++)
		if (!(t->must_accept ? guest_accept(lp, t) : guest_access(lp, t)))
			return;
	lp_interrupt(lp, LP_INTR);
	lp_guest_poll(lp);
}

/* A frame stays its gfn's for ever: what changes is how, and whether, it is mapped. */
static void host_map(struct tenant *t, gfn_t gfn)
{
	struct mmu_fault fault = {.gfn = gfn, .max_level = PG_LEVEL_2M, .private = true};

	if (mmu_cache_topup(&t->cache) || td_fault_topup(t->td))
		return;
	fault.invalidate_seq = mmu_invalidate_seq(t->mmu);
	fault.pfn = t->block[(gfn - GFN) / 512] + gfn % 512;
	mmu_map(t->mmu, &t->cache, &fault);
}

static void host_split(struct tenant *t, gfn_t gfn)
{
	sync_write_lock(mmu_lock(t->mmu));
	t->splits += !mmu_split_to_level(t->mmu, gfn, gfn + 1, PG_LEVEL_4K, true);
	sync_write_unlock(mmu_lock(t->mmu));
}

static void on_violation(struct tenant *t, const struct tdx_regs *regs)
{
	gfn_t gfn = addr_to_fn(regs->r8);
	bool accept = TDX_EEQ_TYPE(regs->rdx) == TDX_EEQ_ACCEPT;
	struct mmu_mapping m;

	t->must_accept = gfn + 1;
	if (accept && mmu_lookup(t->mmu, gfn, true, &m) && m.level > PG_LEVEL_4K)
		host_split(t, gfn);
	else
		host_map(t, gfn);
}

static void guest_main(void *arg)
{
	static const struct guest_ops ops = {.run = guest_run};
	struct tenant *t = arg;
	struct lp *lp = t->rig->lps[2 * t->index];
	struct tdx_regs regs;
	u64 rax;

	lp_set_current(lp);
	lp->guest_ops = &ops;
	lp->guest = t;
	while (!sync_load_acquire(&t->host_done)) {
		regs = (struct tdx_regs){0};
		sync_fetch_add(&t->stays, 1); /* a full barrier, before the hold-off is looked at */
		rax = td_entry_held_off(t->td) ? TDX_OPERAND_BUSY : td_vcpu_enter(t->vcpu, &regs);
		sync_fetch_add(&t->stays, 1);
		lp_take_interrupts(lp);
		if (rax == TDX_EXIT_EPT_VIOLATION)
			on_violation(t, &regs);
		else if (tdx_status_class(rax) == TDX_OPERAND_BUSY)
			sync_relax();
		else if (rax != TDX_EXIT_EXTERNAL_INTERRUPT)
			t->other++;
	}
	td_vcpu_flush(t->vcpu);
	lp_set_current(NULL);
}

/* Split, then remove: as a hole of one page or of a block is punched. */
static void host_remove(struct tenant *t, gfn_t gfn, u64 nr)
{
	sync_write_lock(mmu_lock(t->mmu));
	mmu_invalidate_begin(t->mmu);
	mmu_invalidate_range_add(t->mmu, fn_align_down(gfn, PG_LEVEL_2M),
				 fn_align_down(gfn, PG_LEVEL_2M) + 512);
	if (!mmu_split_boundaries(t->mmu, gfn, gfn + nr, true))
		mmu_zap_leafs(t->mmu, gfn, gfn + nr, true);
	mmu_invalidate_end(t->mmu);
	sync_write_unlock(mmu_lock(t->mmu));
}

static void host_promote(struct tenant *t, gfn_t gfn)
{
	int err;

	sync_write_lock(mmu_lock(t->mmu));
	err = mmu_promote(t->mmu, gfn, PG_LEVEL_2M);
	sync_write_unlock(mmu_lock(t->mmu));
	t->promotions += !err;
	t->refused += err == -EAGAIN;
}

/* A block whose every page is there, but for what the guest has yet to accept, is worth a try. */
static void fill_block(struct tenant *t, gfn_t block)
{
	struct mmu_vcpu_cache cache;

	mmu_cache_init(&cache, t->mmu);
	for (u64 i = 0; i < 512; i++) {
		struct mmu_fault fault = {.gfn = block + i,
					  .pfn = t->block[(block - GFN) / 512] + i,
					  .max_level = PG_LEVEL_4K,
					  .private = true,
					  .invalidate_seq = mmu_invalidate_seq(t->mmu)};

		if (!mmu_cache_topup(&cache) && !td_fault_topup(t->td))
			mmu_map(t->mmu, &cache, &fault);
	}
	mmu_cache_destroy(&cache);
}

static void host_main(void *arg)
{
	struct tenant *t = arg;
	struct rng rng;

	rng_init(&rng, 77 + t->index);
	lp_set_current(t->rig->lps[2 * t->index + 1]);
	for (u32 i = 0; i < HOST_ROUNDS && !sync_load(&t->dead); i++) {
		gfn_t block = GFN + 512 * rng_below(&rng, BLOCKS);

		switch (rng_below(&rng, 8)) {
		case 0:
			host_remove(t, block + rng_below(&rng, 512), 1);
			break;
		case 1:
			/* All of it goes and comes: its parts are in one state, and become one. */
			host_remove(t, block, 512);
			fill_block(t, block);
			host_promote(t, block);
			break;
		case 2:
			host_split(t, block);
			break;
		default:
			host_promote(t, block);
			break;
		}
	}
	sync_store_release(&t->host_done, 1);
	tdx_pamt_drain(t->rig->tdx);
	lp_set_current(NULL);
}

static void tenant_up(struct tenant *t, struct tdx_rig *r, u32 index)
{
	struct td_config tc = {
		.demote_lock = r->cfg.demote_lock,
		.max_vcpus = 1,
		.gpaw = 48,
		.attributes = TD_ATTR_SEPT_VE_DISABLE,
		.ops = {.kick_and_wait = tenant_kick, .vm_bugged = tenant_bugged, .vm = t},
	};
	struct mmu_config mc = {.split_metadata = r->cfg.split_metadata,
				.host = r->host,
				.root_level = PG_LEVEL_512G,
				.shared_bit = 47,
				.external = &td_external_ops,
				.vm_bugged = tenant_bugged,
				.vm_ctx = t};

	*t = (struct tenant){.rig = r, .index = index};
	rng_init(&t->rng, 1234 + index);
	assert_int_equal(td_create(r->tdx, &tc, &t->td), 0);
	mc.external_ctx = t->td;
	assert_int_equal(mmu_create(&mc, &t->mmu), 0);
	td_set_mmu(t->td, t->mmu);
	mmu_cache_init(&t->cache, t->mmu);
	lp_set_current(r->lps[2 * index]);
	assert_int_equal(td_vcpu_create(t->td, 0, &t->vcpu), 0);
	lp_set_current(r->lps[0]);
	assert_int_equal(td_finalize(t->td), 0);
	for (u32 i = 0; i < BLOCKS; i++)
		assert_int_equal(host_alloc(r->host, PG_LEVEL_2M, FRAME_GUEST, &t->block[i]), 0);
}

static void check_mapping(void *ctx, const struct mmu_mapping *m)
{
	struct tenant *t = ctx;
	u64 raw = 0;

	assert_true(
		seam_sept_entry(t->rig->seam, td_tdr(t->td), fn_to_addr(m->gfn), m->level, &raw));
	assert_int_equal(raw & GENMASK_ULL(45, 12), fn_to_addr(m->pfn));
	assert_false(raw & BIT_ULL(55)); /* blocked */
	assert_int_equal(m->pfn, t->block[(m->gfn - GFN) / 512] + m->gfn % 512);
}

/* All has come to rest: the invariants hold, of both TDs and the host that they share. */
static void check_quiet(struct tdx_rig *r, struct tenant *tenants)
{
	const struct check_host host = {.host = r->host, .seam = r->seam, .tdx = r->tdx};
	struct check_td tds[TENANTS];
	char why[200] = "";
	int broken;

	for (u32 i = 0; i < TENANTS; i++) {
		mmu_for_each_leaf(tenants[i].mmu, true, check_mapping, &tenants[i]);
		tds[i] = (struct check_td){.td = tenants[i].td,
					   .mmu = tenants[i].mmu,
					   .caches = &tenants[i].cache,
					   .nr_caches = 1};
	}
	broken = check_tds(&host, tds, TENANTS, why, sizeof(why));
	assert_string_equal(why, "");
	assert_int_equal(broken, 0);
}

static void tenant_down(struct tenant *t)
{
	assert_int_equal(td_release_key(t->td), 0);
	mmu_cache_destroy(&t->cache);
	mmu_destroy(t->mmu);
	td_destroy(t->td);
	for (u32 i = 0; i < BLOCKS; i++)
		host_free(t->rig->host, t->block[i], PG_LEVEL_2M, FRAME_GUEST);
}

/*
 * Rows 19, 69: guests write and read while their hosts split, promote, punch and fill: each reads
 * what it wrote or, accepted anew, zero; both TDs live; the trees agree, counters are right,
 * nothing leaks.
 */
static void test_two_tds(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = true,
					     .split_metadata = (enum mmu_split_metadata)i,
					     .demote_lock = i == 1 ? TD_DEMOTE_LOCK_SECOND_TRY
								   : TD_DEMOTE_LOCK_ALWAYS};
		static struct tenant tenants[TENANTS];
		struct tdx_rig r;

		tdx_rig_inject_nothing();
		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		r.host->tracer.count = 0;
		for (u32 k = 0; k < TENANTS; k++)
			tenant_up(&tenants[k], &r, k);
		lp_set_current(NULL);
		for (u32 k = 0; k < TENANTS; k++) {
			struct tenant *t = &tenants[k];

			assert_int_equal(sync_thread_create(&t->guest_thread, guest_main, t), 0);
			assert_int_equal(sync_thread_create(&t->host_thread, host_main, t), 0);
		}
		for (u32 k = 0; k < TENANTS; k++) {
			sync_thread_join(&tenants[k].guest_thread);
			sync_thread_join(&tenants[k].host_thread);
		}
		lp_set_current(r.lps[0]);
		for (u32 k = 0; k < TENANTS; k++) {
			struct tenant *t = &tenants[k];

			assert_string_equal(t->why, "");
			assert_int_equal(t->wrong, 0);
			assert_int_equal(t->other, 0);
			assert_true(t->steps > 0);
			assert_true(t->promotions > 0 && t->splits > 0);
		}
		check_quiet(&r, tenants);
		for (u32 k = 0; k < TENANTS; k++)
			tenant_down(&tenants[k]);
		assert_int_equal(r.warnings, 0);
		tdx_rig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demote_beside_pamt_add),
		cmocka_unit_test(test_two_tds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
