/* SPDX-License-Identifier: MIT */
/* A leaf becomes a table: the calls and their order, what stays, and what a failure comes to. */
#include <errno.h>

#include "mmu/spte.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)
#define BUSY_RCX (TDX_OPERAND_BUSY | TDX_OPERAND_RCX)

static const struct tdx_rig_config injectable = {.seamcall = tdx_rig_injecting};
static const struct tdx_rig_config injectable_dynamic = {.seamcall = tdx_rig_injecting,
							 .dynamic_pamt = true};

static pfn_t up_with_leaf(struct tdx_rig *r, const struct tdx_rig_config *cfg)
{
	pfn_t huge;

	tdx_rig_inject_nothing();
	tdx_rig_up(r, cfg);
	assert_int_equal(tdx_rig_map(r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	r->nr_log = 0;
	return huge;
}

static void down(struct tdx_rig *r, pfn_t huge)
{
	tdx_rig_inject_nothing();
	tdx_rig_td_down(r);
	tdx_rig_free(r, huge, PG_LEVEL_2M);
	tdx_rig_down(r);
}

/* ---- what it does ----------------------------------------------------------------------------*/
/* Row 20: a split is BLOCK, TRACK, kick, DEMOTE, each once, and no UNBLOCK. */
static void test_order(void **state)
{
	static const u32 expected[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, LOG_KICK,
				       TDH_MEM_PAGE_DEMOTE};

	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = dynamic};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);

		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		assert_int_equal(r.nr_log, 4);
		for (u32 i = 0; i < 4; i++)
			assert_int_equal(r.log[i], expected[i]);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_RANGE_UNBLOCK).calls, 0);
		assert_int_equal(mmu_stats(r.mmu)->pages[PG_LEVEL_2M], 0);
		assert_int_equal(mmu_stats(r.mmu)->pages[PG_LEVEL_4K], 512);
		tdx_rig_check(&r, GFN, 512);
		down(&r, huge);
	}
}

/*
 * Row 11: access first. An ACCEPT of 4K in a 2M leaf makes the TD exit with type 1; one BLOCK,
 * TRACK and DEMOTE later the same ACCEPT succeeds, and 512 4K leaves are there.
 */
static void test_accept_below_the_leaf(void **state)
{
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	assert_int_equal(tdx_rig_accept(&r, GFN + 9, PG_LEVEL_4K), ~0ULL);
	assert_int_equal(tdx_rig_split(&r, GFN + 9, PG_LEVEL_4K), 0);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_RANGE_BLOCK).ok, 1);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_TRACK).ok, 1);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_PAGE_DEMOTE).ok, 1);
	assert_int_equal(tdx_rig_accept(&r, GFN + 9, PG_LEVEL_4K), TDX_SUCCESS);
	assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_4K);
	assert_int_equal(tdx_rig_level(&r, GFN + 511), PG_LEVEL_4K);
	/* Nothing is left to split: no further call. */
	r.nr_log = 0;
	assert_int_equal(tdx_rig_split(&r, GFN + 9, PG_LEVEL_4K), 0);
	assert_int_equal(r.nr_log, 0);
	down(&r, huge);
}

/* A guest that accepts one 4K page, or reads it, and how often that made it exit. */
struct one_access {
	struct tdx_rig_guest guest;
	bool reads;
	struct tdx_regs exit;
};

static void do_one_access(struct lp *lp, struct tdx_rig_guest *g)
{
	const struct one_access *a = container_of(g, struct one_access, guest);
	struct tdx_regs regs = {.rax = TDG_MEM_PAGE_ACCEPT,
				.rcx = tdx_page_info(fn_to_addr(g->gfn), 0)};
	u64 word;

	if (a->reads)
		g->status =
			lp_guest_read(lp, fn_to_addr(g->gfn), &word, 1) == LP_ACCESS_OK ? 0 : ~0ULL;
	else
		g->status = tdcall(lp, &regs) ? regs.rax : ~0ULL;
}

static u64 run_one_access(struct tdx_rig *r, struct one_access *a)
{
	a->guest.fn = do_one_access;
	a->guest.status = ~0ULL;
	return tdx_rig_run(r, &a->guest, &a->exit);
}

/*
 * Row 12: while nobody splits, an ACCEPT of 4K in a 2M leaf makes the same violation each time, type 1
 * and level 0 in the extended qualification; after one split there is none.
 */
static void test_violation_repeats(void **state)
{
	struct one_access accept = {.guest = {.gfn = GFN + 9}};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal((u32)run_one_access(&r, &accept), TDX_EXIT_EPT_VIOLATION);
		assert_int_equal(accept.guest.status, ~0ULL);
		assert_int_equal(accept.exit.r8 >> 12, GFN + 9);
		assert_int_equal(accept.exit.rdx & 0xF, 1);
		assert_int_equal(accept.exit.rdx >> 32 & 7, 0);
	}
	assert_int_equal(tdx_rig_split(&r, GFN + 9, PG_LEVEL_4K), 0);
	assert_int_equal((u32)run_one_access(&r, &accept), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(accept.guest.status, TDX_SUCCESS);
	down(&r, huge);
}

/* Row 77, what the host sees: access to a pending page, without #VE, is a violation of type 6. */
static void test_access_of_pending(void **state)
{
	struct one_access read = {.guest = {.gfn = GFN + 9}, .reads = true};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	assert_int_equal((u32)run_one_access(&r, &read), TDX_EXIT_EPT_VIOLATION);
	assert_int_equal(read.exit.rdx & 0xF, 6);
	assert_int_equal(read.exit.r8 >> 12, GFN + 9);
	/* Where nothing is mapped it is an ordinary one. */
	read.guest.gfn = GFN + 512;
	assert_int_equal((u32)run_one_access(&r, &read), TDX_EXIT_EPT_VIOLATION);
	assert_int_equal(read.exit.rdx & 0xF, 0);
	down(&r, huge);
}

/*
 * Row 21: what a guest wrote in an accepted 2M page is there after the split, all of it accepted.
 */
static void test_content_is_kept(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = dynamic};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);

		assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
		tdx_rig_fill(&r, GFN);
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		for (u64 i = 0; i < 512; i++) {
			/* MAPPED, RWX: the frame beside the last one. */
			assert_int_equal(tdx_rig_raw(&r, GFN + i, PG_LEVEL_4K) &
						 ~(BIT_ULL(8) | BIT_ULL(9)),
					 0x80000000000004F7ULL | fn_to_addr(huge + i) |
						 (u64)td_hkid(r.td) << 46);
			assert_int_equal(host_tag(r.host, huge + i), td_hkid(r.td));
		}
		assert_int_equal(tdx_rig_accept(&r, GFN + 511, PG_LEVEL_4K),
				 TDX_PAGE_ALREADY_ACCEPTED);
		down(&r, huge);
	}
}

/* Row 22: the parts of a PENDING leaf are PENDING, and each needs its own ACCEPT. */
static void test_pending_stays_pending(void **state)
{
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(tdx_rig_raw(&r, GFN + i, PG_LEVEL_4K),
				 0x81000000000000F0ULL | fn_to_addr(huge + i) |
					 (u64)td_hkid(r.td) << 46);
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(tdx_rig_accept(&r, GFN + i, PG_LEVEL_4K), TDX_SUCCESS);
	/* Over a table a 2M ACCEPT is the guest's own error. */
	assert_int_equal(tdx_status_class(tdx_rig_accept(&r, GFN, PG_LEVEL_2M)),
			 TDX_PAGE_SIZE_MISMATCH);
	down(&r, huge);
}

/* Row 78: a part is removed like any 4K leaf: BLOCK, TRACK, kick, REMOVE, one WBINVD. */
static void test_remove_a_part(void **state)
{
	static const u32 expected[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, LOG_KICK,
				       TDH_MEM_PAGE_REMOVE, TDH_PHYMEM_PAGE_WBINVD};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
	tdx_rig_fill(&r, GFN);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	r.nr_log = 0;
	tdx_rig_zap(&r, GFN + 100, 1);
	assert_int_equal(r.nr_log, 5);
	for (u32 i = 0; i < 5; i++)
		assert_int_equal(r.log[i], expected[i]);
	assert_int_equal(host_tag(r.host, huge + 100), 0);
	assert_int_equal(host_tag(r.host, huge + 99), td_hkid(r.td));
	assert_int_equal(host_tag(r.host, huge + 101), td_hkid(r.td));
	tdx_rig_check(&r, GFN, 512);
	/* 100 pages read right up to the hole, where the guest leaves. */
	assert_int_equal(tdx_rig_wrong(&r, GFN), 412);
	down(&r, huge);
}

/* ---- BUSY ------------------------------------------------------------------------------------*/
/* During the second call entries are held off, and at no other kick. */
static void look_at_hold_off(struct tdx_rig *r)
{
	assert_true(td_entry_held_off(r->td) == (tdx_rig_logged(r, LOG_KICK) == 2));
}

/*
 * Rows 23, 25: a DEMOTE that finds something taken is made once more with vCPUs held off and
 * kicked; the VM is healthy, and entries are free again.
 */
static void test_busy_once(void **state)
{
	static const u32 expected[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, LOG_KICK, LOG_KICK,
				       TDH_MEM_PAGE_DEMOTE};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
	tdx_rig_fill(&r, GFN);
	r.nr_log = 0;
	r.on_kick = look_at_hold_off;
	tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 1, BUSY_RCX);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	/* The injected answer never reached the module. */
	assert_int_equal(r.nr_log, 5);
	for (u32 i = 0; i < 5; i++)
		assert_int_equal(r.log[i], expected[i]);
	assert_true(r.kick_saw_hold_off);
	assert_false(td_entry_held_off(r.td));
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_PAGE_DEMOTE).busy, 1);
	assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
	assert_int_equal(r.bugged[0], 0);
	down(&r, huge);
}

/* A guest that holds what DEMOTE wants: it stays in an ACCEPT of the block until it is kicked. */
struct holder {
	struct sync_thread thread;
	struct tdx_rig *r;
	u32 inside, leave;
};

static struct holder *holder_of; /* on_kick has no other way to it */

/*
 * The lock bit (11) of the S-EPT entry of the block, found by the raw words on the way down to it.
 */
static void raw_entry_lock(struct tdx_rig *r, bool lock)
{
	hpa_t table = r->lps[0]->ept.sept_root & GENMASK_ULL(45, 12);
	u64 *entry;

	for (int shift = 39;; shift -= 9) {
		entry = host_ptr(r->host, table + (fn_to_addr(GFN) >> shift & 511) * 8);
		if (shift == 21)
			break;
		table = sync_load(entry) & GENMASK_ULL(45, 12);
	}
	if (lock)
		sync_fetch_or(entry, BIT_ULL(11));
	else
		sync_fetch_and(entry, ~BIT_ULL(11));
}

static void holder_guest(struct lp *lp, void *guest)
{
	struct holder *h = guest;

	raw_entry_lock(h->r, true);
	sync_store_release(&h->inside, 1);
	while (lp_guest_poll(lp) == LP_ACCESS_OK)
		sync_relax();
	raw_entry_lock(h->r, false);
}

static void holder_main(void *arg)
{
	static const struct guest_ops ops = {.run = holder_guest};
	struct holder *h = arg;
	struct tdx_regs regs = {0};

	lp_set_current(h->r->lps[0]);
	h->r->lps[0]->guest_ops = &ops;
	h->r->lps[0]->guest = h;
	td_vcpu_enter(h->r->vcpu, &regs);
	sync_store_release(&h->inside, 0);
	lp_set_current(NULL);
}

static void kick_holder(struct tdx_rig *r)
{
	if (!td_entry_held_off(r->td))
		return;
	lp_interrupt(r->lps[0], LP_INTR);
	while (sync_load_acquire(&holder_of->inside))
		sync_relax();
}

/*
 * Row 23 with the module's own BUSY: a vCPU inside holds the S-EPT entry (as its ACCEPT would);
 * BLOCK finds it taken, and succeeds when the vCPU has been driven out.
 */
static void test_busy_by_a_vcpu_inside(void **state)
{
	struct holder h = {0};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable);

	(void)state;
	assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
	r.host->tracer.count = 0; /* the log isn't for two threads */
	r.on_kick = kick_holder;
	h.r = &r;
	holder_of = &h;
	lp_set_current(NULL);
	assert_int_equal(sync_thread_create(&h.thread, holder_main, &h), 0);
	while (!sync_load_acquire(&h.inside))
		sync_relax();
	lp_set_current(r.lps[1]);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	sync_thread_join(&h.thread);
	lp_set_current(r.lps[0]);
	lp_take_interrupts(r.lps[0]);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_RANGE_BLOCK).busy, 1);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_RANGE_BLOCK).ok, 1);
	assert_int_equal(r.bugged[0], 0);
	tdx_rig_check(&r, GFN, 512);
	down(&r, huge);
}

/* Row 24: BUSY at the second try stops the VM, -EIO; the leaf is as it was in the mirror. */
static void test_busy_twice(void **state)
{
	static const u32 leaves[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, TDH_MEM_PAGE_DEMOTE};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &injectable_dynamic);

		tdx_rig_inject(leaves[i], 1, 2, BUSY_RCX);
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), -EIO);
		assert_int_equal(tdx_rig_injection.seen, 2);
		assert_non_null(strstr(r.bugged, tdh_leaf_name(leaves[i])));
		assert_non_null(strstr(r.bugged, "TDX_OPERAND_BUSY"));
		assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
		assert_false(td_entry_held_off(r.td));
		down(&r, huge);
	}
}

/* ---- other answers ---------------------------------------------------------------------------*/
/*
 * Row 26: any other status of DEMOTE stops the VM at once: no second try, the entry stays blocked.
 */
static void test_other_status(void **state)
{
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &injectable_dynamic);

	(void)state;
	tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 1, TDX_EPT_WALK_FAILED | TDX_OPERAND_RCX);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), -EIO);
	assert_int_equal(tdx_rig_injection.seen, 1);
	assert_non_null(strstr(r.bugged, "TDX_EPT_WALK_FAILED"));
	assert_false(r.kick_saw_hold_off);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_RANGE_UNBLOCK).calls, 0);
	/* PENDING_BLOCKED: 0x81800000000000F0. */
	assert_int_equal(tdx_rig_raw(&r, GFN, PG_LEVEL_2M) & ~GENMASK_ULL(51, 12),
			 0x81800000000000F0ULL);
	assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
	down(&r, huge);
}

/*
 * An interrupted DEMOTE is made again, with the operands it had; a storm of them ends, the VM too.
 */
static void test_interrupted(void **state)
{
	static const u64 statuses[] = {TDX_INTERRUPTED_RESTARTABLE, TDX_INTERRUPTED_BUSY};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(statuses); i++) {
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &injectable_dynamic);

		tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 5, statuses[i]);
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		assert_int_equal(tdx_rig_injection.seen, 6);
		tdx_rig_check(&r, GFN, 512);
		down(&r, huge);

		huge = up_with_leaf(&r, &injectable_dynamic);
		tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, ~0ULL >> 1, statuses[i]);
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), -EIO);
		assert_true(tdx_rig_injection.seen < 1000);
		assert_non_null(strstr(r.bugged, "TDX_INTERRUPTED"));
		down(&r, huge);
	}
}

/*
 * Row 27: on a module without feature bit 51 DEMOTE isn't made at all: the wrapper's own error
 * stops the VM, and its reason says so.
 */
static void test_without_bit_51(void **state)
{
	struct tdx_rig_config cfg = {.profile = "1.5.25"};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);

	(void)state;
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), -EIO);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_PAGE_DEMOTE).calls, 0);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_DEMOTE), 0);
	assert_non_null(strstr(r.bugged, "TDH.MEM.PAGE.DEMOTE"));
	down(&r, huge);
}

/*
 * Row 28, the vendor's half: under the read lock a split is -EOPNOTSUPP, calls nothing, stops
 * nobody.
 */
static void test_refused_under_read_lock(void **state)
{
	static const char *const profiles[] = {"1.5.28", "1.5.25"};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(profiles); i++) {
		struct tdx_rig_config cfg = {.profile = profiles[i], .dynamic_pamt = true};
		struct mmu_page sp = {.level = PG_LEVEL_4K, .mirror = true};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);

		/* A table page that the mirror doesn't have. */
		assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &sp.table), 0);
		r.host->private[sp.table] = &sp;
		assert_int_equal(td_external_ops.alloc_external_spt(r.td, &sp.external_spt), 0);
		assert_int_equal(td_external_ops.alloc_split_metadata(r.td, &sp, PG_LEVEL_2M), 0);
		r.nr_log = 0;
		sync_read_lock(mmu_lock(r.mmu));
		assert_int_equal(td_external_ops.set_external_spte(
					 r.td, GFN, spte_make_leaf(huge, PG_LEVEL_2M),
					 spte_make_table(sp.table), PG_LEVEL_2M, true),
				 -EOPNOTSUPP);
		sync_read_unlock(mmu_lock(r.mmu));
		assert_int_equal(r.nr_log, 0);
		assert_int_equal(r.bugged[0], 0);
		assert_int_equal(sp.nr_metadata, 2);
		tdx_rig_check(&r, GFN, 512);
		td_external_ops.free_split_metadata(r.td, &sp);
		assert_int_equal(sp.nr_metadata, 0);
		td_external_ops.free_external_spt(r.td, sp.external_spt);
		r.host->private[sp.table] = NULL;
		host_free(r.host, sp.table, PG_LEVEL_4K, FRAME_OTHER);
		down(&r, huge);
	}
}

/* ---- memory ----------------------------------------------------------------------------------*/
/*
 * Row 17: without memory the split is -ENOMEM with nothing changed or leaked, for every allocation.
 */
static void test_no_memory(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = true, .split_metadata = m};
		u64 n = 0;
		int err;

		do {
			struct tdx_rig r;
			pfn_t huge = up_with_leaf(&r, &cfg);
			u64 used = host_frames_used(r.host);

			host_fail_alloc_at(r.host, ++n);
			err = tdx_rig_split(&r, GFN, PG_LEVEL_4K);
			host_fail_alloc_at(r.host, 0);
			if (err) {
				assert_int_equal(err, -ENOMEM);
				assert_int_equal(host_frames_used(r.host), used);
				assert_int_equal(r.nr_log, 0);
				assert_int_equal(r.bugged[0], 0);
				assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
				assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
			}
			assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
			tdx_rig_check(&r, GFN, 512);
			down(&r, huge);
		} while (err);
		/* A table, its S-EPT page, two pages for the pair at least. */
		assert_true(n > 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_accept_below_the_leaf),
		cmocka_unit_test(test_violation_repeats),
		cmocka_unit_test(test_access_of_pending),
		cmocka_unit_test(test_content_is_kept),
		cmocka_unit_test(test_pending_stays_pending),
		cmocka_unit_test(test_remove_a_part),
		cmocka_unit_test(test_busy_once),
		cmocka_unit_test(test_busy_by_a_vcpu_inside),
		cmocka_unit_test(test_busy_twice),
		cmocka_unit_test(test_other_status),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_without_bit_51),
		cmocka_unit_test(test_refused_under_read_lock),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
