/* SPDX-License-Identifier: MIT */
/*
 * A private page fault, whole: the guest's ACCEPT of a page that isn't mapped exits, the MMU maps it
 * through TDH.MEM.PAGE.AUG, the vCPU enters again, and the ACCEPT succeeds. Frames are clean, so
 * nothing is zeroed. Warm: the tables stand, the folio exists, the code has just run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "vm/vm.h"

/*
 * What one fault can't do without, counted in a build whose base/sync counts. 4K: 44 atomic
 * read-modify-writes (PAMT, S-EPT, epoch and state locks of five leaves taken and released, the
 * mirror entry, entries, counters), two of mmu.lock, 14 atomic stores and four of two RCU sections.
 * 2M: its folio comes with the fault, hence three more locks, a counter and an RCU section.
 */
#define FLOOR_4K_ATOMICS 46
#define FLOOR_4K_STORES 18
#define FLOOR_2M_ATOMICS 53
#define FLOOR_2M_STORES 21

/* Guest program: accepts page after page, and times each run of them. */
struct accepter {
	struct lp *lp;
	struct bench_samples *out;
	enum pg_level level;
	u32 per_sample; /* timed accepts a sample */
	u32 warm_up;	/* untimed ones before them, which make the tables */
	u32 floor_atomics, floor_stores;
	u64 next_gfn;
	u64 end_gfn;
	u32 done; /* accepts of this sample so far */
	struct bench_floor floor;
	struct tdx_regs call;
};

static void sample_floor(struct accepter *a)
{
	bench_start(a->out);
	for (u32 i = 0; i < a->per_sample; i++)
		bench_floor_once(&a->floor, a->floor_atomics, a->floor_stores);
	bench_end_floor(a->out, a->per_sample);
}

/* After each accept; false when the guest is done. */
static bool next_page(struct accepter *a)
{
	a->next_gfn += pages_per_level(a->level);
	if (++a->done == a->warm_up)
		bench_start(a->out);
	if (a->done == a->warm_up + a->per_sample) {
		bench_end_op(a->out, a->per_sample);
		sample_floor(a);
		a->done = 0;
		if (!bench_next(a->out))
			return false;
	}
	return a->next_gfn < a->end_gfn;
}

static void stop(struct accepter *a)
{
	a->call = vm_hypercall(VM_HC_VENDOR, VM_HC_STOP, 0, 0);
	tdcall(a->lp, &a->call);
}

static void accepter_run(struct lp *lp, void *guest)
{
	struct accepter *a = guest;

	a->lp = lp;
	do {
		struct tdx_regs r = {
			.rax = TDG_MEM_PAGE_ACCEPT,
			.rcx = tdx_page_info(fn_to_addr(a->next_gfn),
					     (unsigned int)a->level - PG_LEVEL_4K),
		};

		if (lp_guest_poll(lp) == LP_ACCESS_EXIT || !tdcall(lp, &r))
			return;
	} while (next_page(a));
	stop(a);
}

static int run_fault(struct bench_samples *out, enum pg_level level, u32 warm_up, u32 per_sample)
{
	static const struct guest_ops ops = {.run = accepter_run};
	u64 bytes = (u64)(warm_up + per_sample) * BENCH_SAMPLES * level_size(level);
	struct machine_config mc = {.memory_bytes = bytes + bytes / 16 + (64ULL << 20),
				    .lps = 1,
				    .profile = seam_profile_at(0)};
	struct vm_config vc = {.memory_bytes = bytes,
			       .nr_vcpus = 1,
			       .file = {.backing = GMEM_THP},
			       .max_level = level,
			       .gpaw = 48,
			       .sept_ve_disable = true};
	struct accepter *a = calloc(1, sizeof(*a));
	struct lp *self = lp_current();
	struct machine m;
	struct vm *vm;
	int err;

	if (!a)
		return -ENOMEM;
	*a = (struct accepter){
		.out = out,
		.level = level,
		.per_sample = per_sample,
		.warm_up = warm_up,
		.floor_atomics = level == PG_LEVEL_4K ? FLOOR_4K_ATOMICS : FLOOR_2M_ATOMICS,
		.floor_stores = level == PG_LEVEL_4K ? FLOOR_4K_STORES : FLOOR_2M_STORES,
		.end_gfn = addr_to_fn(bytes)};
	err = machine_create(&mc, &m);
	if (err)
		goto free;
	err = vm_create(&m, &vc, &vm);
	if (!err) {
		struct lp *host_lp = lp_current();

		lp_set_current(m.lps[0]);
		err = vcpu_run(vm_vcpu(vm, 0), &ops, a);
		lp_set_current(host_lp);
		vm_destroy(vm);
	}
	machine_destroy(&m);
	lp_set_current(self);
free:
	free(a);
	return err;
}

static int run_fault_4k(struct bench_samples *out)
{
	return run_fault(out, PG_LEVEL_4K, 32, 480);
}

static int run_fault_2m(struct bench_samples *out)
{
	return run_fault(out, PG_LEVEL_2M, 8, 56);
}

const struct benchmark bench_fault_4k = {
	.name = "fault-4k",
	.unit = "ns",
	.what = "warm private 4K fault: exit, MMU, AUG, re-entry, ACCEPT without zeroing",
	.floor = "46 compare-exchanges and 18 stores, on 32 cache lines",
	.run = run_fault_4k,
};

const struct benchmark bench_fault_2m = {
	.name = "fault-2m",
	.unit = "ns",
	.what = "private 2M fault, likewise, with the folio that it finds for itself",
	.floor = "53 compare-exchanges and 21 stores, on 32 cache lines",
	.run = run_fault_2m,
};
