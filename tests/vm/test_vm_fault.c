/* SPDX-License-Identifier: MIT */
/* Faults of one vCPU: which level is mapped, which calls it takes, what the guest sees. */
#include <errno.h>

#include "vm/rig.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))

/* Row 1: what is added before MR.FINALIZE is added at 4K, whatever the folio's size. */
static void test_build_time_is_4k(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static u64 data[4 * MB / sizeof(u64)];
	struct vm_image image = {.gpa = 2 * MB, .bytes = 4 * MB, .data = data};
	const struct op ops[] = {READ_AT(2 * MB), READ_AT(6 * MB - 8), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	data[0] = 0x1111;
	data[4 * MB / 8 - 1] = 0x2222;
	vc.image = &image;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_ADD), 1024);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_AUG), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1024);
	assert_int_equal(gmem_folio_level(vm_file(r.vm), 512), PG_LEVEL_2M);
	/* No ACCEPT: it is there, and what the host put there. */
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[0], 0x1111);
	assert_int_equal(results[1], 0x2222);
	assert_int_equal(vm_stats(r.vm).exits_ept_violation, 0);
	rig_down(&r);
}

/* Row 2: one access to an untouched 2M block with a 2M folio is one AUG, at 2M. */
static void test_run_time_is_2m(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), WRITE_AT(5 * MB, 7), READ_AT(5 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[0], TDX_SUCCESS);
	assert_int_equal(results[2], 7);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_2M);
	assert_int_equal(vm_stats(r.vm).exits_ept_violation, 1);
	assert_int_equal(vm_stats(r.vm).exits_accept_violation, 1);
	rig_down(&r);
}

/* Row 2, Dynamic PAMT: the 2M mapping needs no pair, its control and table pages do. */
static void test_2m_needs_no_pair(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct mmu_mapping m;
	struct program p;
	struct rig r = {0};

	(void)state;
	mc.dynamic_pamt = true;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[0], TDX_SUCCESS);
	assert_true(mmu_lookup(vm_mmu(r.vm), addr_to_fn(4 * MB), true, &m));
	assert_int_equal(m.level, PG_LEVEL_2M);
	assert_int_equal(tdx_pamt_refs(r.m.tdx, m.pfn), 0);
	assert_true(tdx_pamt_refs(r.m.tdx, addr_to_fn(td_tdr(vm_td(r.vm)))) > 0);
	rig_down(&r);
}

/* Dynamic PAMT: each guest page mapped at 4K counts in its host range; discards take it away. */
static void test_4k_counts_pairs(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(4K, 4 * MB), ACCEPT_AT(4K, 4 * MB + 0x1000), STOP};
	const struct op discard[] = {DISCARD_AT(4 * MB, 2 * MB), STOP};
	u64 results[NR(ops)];
	struct mmu_mapping m;
	struct program p;
	struct rig r = {0};

	(void)state;
	mc.dynamic_pamt = true;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_true(mmu_lookup(vm_mmu(r.vm), addr_to_fn(4 * MB), true, &m));
	/* A folio of 2M: nobody else has pages in the range. */
	assert_int_equal(tdx_pamt_refs(r.m.tdx, m.pfn), 2);
	assert_int_equal(rig_run(&r, discard, &p, results), 0);
	assert_int_equal(results[0], 0);
	assert_int_equal(tdx_pamt_refs(r.m.tdx, m.pfn), 0);
	rig_down(&r);
}

/* Row 3: a module without feature bit 51 maps 4K only, and is never asked to DEMOTE. */
static void test_no_bit_51_no_2m(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(4K, 4 * MB), STOP};
	static const char *const names[] = {"1.5.05", "1.5.25"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		u64 results[NR(ops)];
		struct program p;
		struct rig r = {0};

		mc.profile = seam_profile_by_name(names[i]);
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_int_equal(tdx_status_class(results[0]), TDX_PAGE_SIZE_MISMATCH);
		assert_int_equal(results[1], TDX_SUCCESS);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
		assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
		rig_down(&r);
	}
}

/* Rows 3 and 4: --pages 4k, or a folio of 4K, gives a mapping of 4K, and nothing to DEMOTE. */
static void test_policy_and_folio_limit(void **state)
{
	struct machine_config mc = rig_machine();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(4K, 4 * MB), STOP};

	(void)state;
	for (int by_folio = 0; by_folio <= 1; by_folio++) {
		struct vm_config vc = rig_vm();
		u64 results[NR(ops)];
		struct program p;
		struct rig r = {0};

		if (by_folio)
			vc.file.backing = GMEM_4K;
		else
			vc.max_level = PG_LEVEL_4K;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_int_equal(tdx_status_class(results[0]), TDX_PAGE_SIZE_MISMATCH);
		assert_int_equal(results[1], TDX_SUCCESS);
		assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_4K);
		assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
		rig_down(&r);
	}
}

/* Row 5: a slot that begins one page into a block never maps its first and last block at 2M. */
static void test_slot_alignment(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(4K, 2 * MB + 0x1000),
				 ACCEPT_AT(4K, 66 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.base_gfn = 512 + 1;
	vc.file_index = 1;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_2M);
	assert_int_equal(rig_level_of(&r, 2 * MB + 0x1000), PG_LEVEL_4K);
	assert_int_equal(rig_level_of(&r, 66 * MB), PG_LEVEL_4K);
	rig_down(&r);
}

/*
 * Row 6: when gfn and file index differ modulo 512 nothing is mapped at 2M, in no block; a difference
 * of whole blocks, and where the frames lie in the host, doesn't matter.
 */
static void test_offset_mismatch(void **state)
{
	enum { BLOCKS = 31 };
	struct machine_config mc = rig_machine();
	static struct op ops[BLOCKS + 1];
	u64 results[BLOCKS + 1];

	(void)state;
	for (int whole = 0; whole <= 1; whole++) {
		struct vm_config vc = rig_vm();
		struct program p;
		struct rig r = {0};

		vc.file_index = whole ? 7 * 512 : 3;
		vc.base_gfn = whole ? 2 * 512 : 0;
		for (u32 i = 0; i < BLOCKS; i++)
			ops[i] = (struct op)ACCEPT_AT(2M, fn_to_addr(vc.base_gfn) + i * 2 * MB);
		ops[BLOCKS] = (struct op)STOP;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		for (u32 i = 0; i < BLOCKS; i++)
			assert_int_equal(tdx_status_class(results[i]),
					 whole ? TDX_SUCCESS : TDX_PAGE_SIZE_MISMATCH);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), whole ? BLOCKS : 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), whole ? 0 : BLOCKS);
		rig_down(&r);
	}
}

/* Row 8: beside a page added at build time the rest of its block stays 4K, with no merging. */
static void test_build_leftovers(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static u64 data[PAGE_SIZE / sizeof(u64)];
	struct vm_image image = {.gpa = 4 * MB + 0x3000, .bytes = PAGE_SIZE, .data = data};
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(4K, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.image = &image;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(tdx_status_class(results[0]), TDX_PAGE_SIZE_MISMATCH);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 2);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_PROMOTE), 0);
	rig_down(&r);
}

/* Row 9: for shared memory the TD has no limit, and a shared fault makes no SEAMCALL of the tree. */
static void test_shared_fault(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	gpa_t shared = BIT_ULL(47) | 4 * MB;
	const struct op ops[] = {WRITE_AT(shared, 0xabc), READ_AT(shared), STOP};
	u64 results[NR(ops)];
	struct mmu_mapping m;
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(td_max_level(vm_td(r.vm), false), PG_LEVEL_1G);
	assert_int_equal(td_max_level(vm_td(r.vm), true), PG_LEVEL_2M);
	assert_int_equal(gmem_convert(vm_file(r.vm), 2 * 512, 512, false), 0);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[1], 0xabc);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_AUG), 0);
	assert_true(mmu_lookup(vm_mmu(r.vm), addr_to_fn(4 * MB), false, &m));
	assert_int_equal(m.level, PG_LEVEL_2M);
	assert_int_equal(*(u64 *)host_frame_ptr(r.m.host, m.pfn), 0xabc);
	rig_down(&r);
}

/* Row 10: ACCEPT 4K first is one violation; 2M and 1G are inhibited; AUG at 4K, no DEMOTE. */
static void test_accept_first(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(4K, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[0], TDX_SUCCESS);
	assert_int_equal(vm_stats(r.vm).exits_ept_violation, 1);
	assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_2M));
	assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_1G));
	assert_false(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 3 * 512, PG_LEVEL_2M));
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 1);
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_4K);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
	rig_down(&r);
}

/* With 4K mappings a guest that touches first gets one #VE a page, accepts, and goes on. */
static void test_touch_first_4k(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {WRITE_AT(4 * MB, 1), READ_AT(4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.sept_ve_disable = false;
	vc.max_level = PG_LEVEL_4K;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(p.ves, 1);
	assert_int_equal(results[1], 1);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 1);
	rig_down(&r);
}

/* Row 13: ACCEPT 2M over 4K mappings is the guest's error; the host sees no exit. */
static void test_size_mismatch(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(4K, 4 * MB), ACCEPT_AT(2M, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[1], TDX_PAGE_SIZE_MISMATCH | 1);
	assert_int_equal(vm_stats(r.vm).exits_ept_violation, 1);
	/* The violation, and the hypercall that stops. */
	assert_int_equal(vm_stats(r.vm).exits_total, 2);
	rig_down(&r);
}

/* Row 14: GUEST_INHIBIT is one-way: after the block is given back it is still mapped at 4K. */
static void test_inhibit_is_one_way(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(4K, 4 * MB), DISCARD_AT(4 * MB, 2 * MB),
				 ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(4K, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[1], 0);
	assert_int_equal(tdx_status_class(results[2]), TDX_PAGE_SIZE_MISMATCH);
	assert_int_equal(results[3], TDX_SUCCESS);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1);
	rig_down(&r);
}

/* Row 18: ACCEPT 2M inhibits 1G and leaves 2M. */
static void test_accept_2m_inhibits_1g(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_false(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_2M));
	assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_1G));
	rig_down(&r);
}

/* Row 74: the shared alias of private memory, and memory outside the slot, exit with their GPA. */
static void test_private_shared_mismatch(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const gpa_t gpas[] = {BIT_ULL(47) | 4 * MB, 64 * MB, BIT_ULL(46)};

	(void)state;
	for (size_t i = 0; i < NR(gpas); i++) {
		const struct op ops[] = {READ_AT(gpas[i]), STOP};
		const struct op fine[] = {ACCEPT_AT(4K, 0), STOP};
		u64 results[NR(ops)];
		struct program p;
		struct rig r = {0};

		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), -EFAULT);
		assert_int_equal(vcpu_fault_gpa(vm_vcpu(r.vm, 0)), gpas[i]);
		assert_null(vm_why_dead(r.vm));
		assert_int_equal(rig_run(&r, fine, &p, results), 0);
		rig_down(&r);
	}
}

/*
 * Rows 2 and 77: one access to an untouched block is one AUG at 2M, with no pair of its own; without
 * #VE the page that isn't accepted kills the VM, and no other one on the host.
 */
static void test_access_before_accept(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {READ_AT(4 * MB), STOP};
	const struct op fine[] = {ACCEPT_AT(2M, 4 * MB), WRITE_AT(4 * MB, 5), READ_AT(4 * MB),
				  STOP};
	u64 results[NR(fine)];
	struct mmu_mapping m;
	struct program p;
	struct rig r = {0};
	struct vm *other;

	(void)state;
	mc.dynamic_pamt = true;
	rig_up(&r, &mc, &vc);
	vc.first_lp = 1;
	assert_int_equal(vm_create(&r.m, &vc, &other), 0);
	assert_int_equal(rig_run(&r, ops, &p, results), -EIO);
	assert_non_null(strstr(vm_why_dead(r.vm), "access before accept"));
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
	assert_true(mmu_lookup(vm_mmu(r.vm), addr_to_fn(4 * MB), true, &m));
	assert_int_equal(tdx_pamt_refs(r.m.tdx, m.pfn), 0);
	assert_int_equal(rig_run(&r, ops, &p, results), -EIO);
	assert_int_equal(program_run(other, 0, fine, &p, results), 0);
	assert_int_equal(results[2], 5);
	assert_null(vm_why_dead(other));
	vm_destroy(other);
	rig_down(&r);
}

/* A discarded page comes back zero, pending, and needs its ACCEPT; its neighbours keep their bytes. */
static void test_discard(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {
		ACCEPT_AT(4K, 4 * MB),
		ACCEPT_AT(4K, 4 * MB + 0x1000),
		WRITE_AT(4 * MB, 11),
		WRITE_AT(4 * MB + 0x1000, 22),
		DISCARD_AT(4 * MB, 4096),
		ACCEPT_AT(4K, 4 * MB),
		READ_AT(4 * MB),
		READ_AT(4 * MB + 0x1000),
		STOP,
	};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.file.backing = GMEM_4K;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[4], 0);
	assert_int_equal(results[5], TDX_SUCCESS);
	assert_int_equal(results[6], 0);
	assert_int_equal(results[7], 22);
	assert_int_equal(p.mces, 0);
	rig_down(&r);
}

/* A discard that is unaligned, empty or outside is refused and changes nothing. */
static void test_bad_discards(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {
		ACCEPT_AT(2M, 4 * MB),
		WRITE_AT(4 * MB, 11),
		DISCARD_AT(4 * MB + 1, 4096),
		DISCARD_AT(4 * MB, 0),
		DISCARD_AT(4 * MB, 4095),
		DISCARD_AT(62 * MB, 4 * MB),
		DISCARD_AT(64 * MB, 4096),
		DISCARD_AT(4 * MB, -4096ULL),
		DISCARD_AT(-4096ULL, 4096),
		DISCARD_AT(BIT_ULL(47) | 4 * MB, 2 * MB),
		READ_AT(4 * MB),
		STOP,
	};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	for (u32 i = 2; i < 10; i++)
		assert_int_equal(results[i], (u64)-EINVAL);
	assert_int_equal(results[10], 11);
	assert_int_equal(rig_calls(&r, TDH_MEM_RANGE_BLOCK), 0);
	rig_down(&r);
}

/*
 * Row 97: when all memory of a slot goes, from a TD that lives, whole leaves go, at their size, and
 * nothing is split, also where the slot begins and ends inside a block.
 */
static void test_all_of_a_slot_goes(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB),
				 ACCEPT_AT(2M, 8 * MB),
				 ACCEPT_AT(4K, 2 * MB + 0x1000),
				 ACCEPT_AT(4K, 66 * MB),
				 DISCARD_AT(2 * MB + 0x1000, 64 * MB),
				 STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.base_gfn = 512 + 1;
	vc.file_index = 1;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[4], 0);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 4);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_REMOVE), 4);
	assert_int_equal(rig_ok(&r, TDH_PHYMEM_PAGE_WBINVD), 2 * 512 + 2);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
	rig_down(&r);
}

/* Row 97: teardown takes whole leaves, at their size, and never splits. */
static void test_teardown_takes_whole_leaves(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(2M, 8 * MB), STOP};
	u64 results[NR(ops)], before;
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	before = rig_calls(&r, TDH_PHYMEM_PAGE_RECLAIM);
	vm_destroy(r.vm);
	r.vm = NULL;
	/* 2 leaves; S-EPT pages for 512G and 1G; 6 TDVPS and 6 TDCS pages; the TDR. */
	assert_int_equal(rig_calls(&r, TDH_PHYMEM_PAGE_RECLAIM) - before, 2 + 2 + 6 + 6 + 1);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_REMOVE), 0);
	rig_down(&r);
}

/* A configuration that doesn't fit is refused, and leaves nothing behind. */
static void test_bad_configs(void **state)
{
	struct machine_config mc = rig_machine();
	struct rig r = {0};

	(void)state;
	assert_int_equal(machine_create(&mc, &r.m), 0);
	r.frames_before = host_frames_used(r.m.host);
	for (int i = 0; i < 9; i++) {
		struct vm_config vc = rig_vm();
		struct vm_image image = {.gpa = 64 * MB, .bytes = PAGE_SIZE};

		switch (i) {
		case 0:
			vc.memory_bytes = 0;
			break;
		case 1:
			vc.memory_bytes = 4097;
			break;
		case 2:
			vc.nr_vcpus = 0;
			break;
		case 3:
			vc.nr_vcpus = RIG_LPS + 1;
			break;
		case 4:
			vc.first_lp = RIG_LPS;
			break;
		case 5:
			vc.gpaw = 50;
			break;
		case 6:
			vc.base_gfn = addr_to_fn(BIT_ULL(47)) - 1;
			break;
		case 7:
			vc.image = &image;
			break;
		case 8:
			vc.gpaw = 0;
			break;
		}
		assert_int_equal(vm_create(&r.m, &vc, &r.vm), -EINVAL);
	}
	rig_down(&r);
}

/* A GPA width of 52 walks five levels, and its shared bit is 51. */
static void test_gpaw_52(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	gpa_t high = BIT_ULL(50);
	const struct op ops[] = {ACCEPT_AT(2M, high + 4 * MB), WRITE_AT(high + 4 * MB, 9),
				 READ_AT(high + 4 * MB), READ_AT(BIT_ULL(51) | high), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.gpaw = 52;
	vc.base_gfn = addr_to_fn(high);
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), -EFAULT);
	assert_int_equal(results[2], 9);
	assert_int_equal(rig_level_of(&r, high + 4 * MB), PG_LEVEL_2M);
	rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_time_is_4k),
		cmocka_unit_test(test_run_time_is_2m),
		cmocka_unit_test(test_2m_needs_no_pair),
		cmocka_unit_test(test_4k_counts_pairs),
		cmocka_unit_test(test_no_bit_51_no_2m),
		cmocka_unit_test(test_policy_and_folio_limit),
		cmocka_unit_test(test_slot_alignment),
		cmocka_unit_test(test_offset_mismatch),
		cmocka_unit_test(test_build_leftovers),
		cmocka_unit_test(test_shared_fault),
		cmocka_unit_test(test_accept_first),
		cmocka_unit_test(test_touch_first_4k),
		cmocka_unit_test(test_size_mismatch),
		cmocka_unit_test(test_inhibit_is_one_way),
		cmocka_unit_test(test_accept_2m_inhibits_1g),
		cmocka_unit_test(test_private_shared_mismatch),
		cmocka_unit_test(test_access_before_accept),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_bad_discards),
		cmocka_unit_test(test_all_of_a_slot_goes),
		cmocka_unit_test(test_teardown_takes_whole_leaves),
		cmocka_unit_test(test_bad_configs),
		cmocka_unit_test(test_gpaw_52),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
