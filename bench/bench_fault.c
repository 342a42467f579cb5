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
 * What one fault can't do without, counted in a build whose base/sync counts: 45 atomic
 * read-modify-writes (PAMT, S-EPT, epoch and state locks of five leaves taken and released, the
 * mirror entry, mode words, counters), two read-lock pairs (four more), and 15 atomic stores. Spread
 * over as many lines as the real thing touches: TDR, TDCS, TDVPS, PAMT and S-EPT entries, locks.
 */
#define FLOOR_ATOMICS 49
#define FLOOR_STORES 15
#define FLOOR_LINES 32

struct floor {
	struct {
		u64 word;
		u64 pad[7];
	} line[FLOOR_LINES];
};

static void floor_fault(struct floor *f)
{
	for (u32 i = 0; i < FLOOR_ATOMICS; i++) {
		u64 expected = sync_load(&f->line[i % FLOOR_LINES].word);

		sync_cmpxchg(&f->line[i % FLOOR_LINES].word, &expected, expected + 1);
	}
	for (u32 i = 0; i < FLOOR_STORES; i++)
		sync_store(&f->line[i % FLOOR_LINES].pad[i % 7], i);
}

/* Guest program: accepts page after page, and times each run of them. */
struct accepter {
	struct lp *lp;
	struct bench_samples *out;
	enum pg_level level;
	u32 per_sample; /* timed accepts a sample */
	u32 warm_up;	/* untimed ones before them, which make the tables */
	u64 next_gfn;
	u64 end_gfn;
	u32 done;  /* accepts of this sample so far */
	u64 start; /* of its timed part */
	struct floor floor;
	struct tdx_regs call;
};

static void sample_floor(struct accepter *a)
{
	u64 start = host_now_ns();

	for (u32 i = 0; i < a->per_sample; i++)
		floor_fault(&a->floor);
	a->out->floor[a->out->nr] = (double)(host_now_ns() - start) / a->per_sample;
}

/* After each accept; false when the guest is done. */
static bool next_page(struct accepter *a)
{
	a->next_gfn += pages_per_level(a->level);
	if (++a->done == a->warm_up)
		a->start = host_now_ns();
	if (a->done == a->warm_up + a->per_sample) {
		a->out->op[a->out->nr] = (double)(host_now_ns() - a->start) / a->per_sample;
		sample_floor(a);
		a->out->nr++;
		a->done = 0;
		if (a->out->nr == BENCH_SAMPLES)
			return false;
	}
	return a->next_gfn < a->end_gfn;
}

static void stop(struct accepter *a)
{
	a->call = (struct tdx_regs){.rax = TDG_VP_VMCALL,
				    .rcx = BIT_ULL(10) | BIT_ULL(11),
				    .r10 = VM_HC_VENDOR,
				    .r11 = VM_HC_STOP};
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
			       .backing = GMEM_THP,
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
	*a = (struct accepter){.out = out,
			       .level = level,
			       .per_sample = per_sample,
			       .warm_up = warm_up,
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
	out->has_floor = true;
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

#define FAULT_FLOOR "49 compare-exchanges and 15 stores, on 32 cache lines"

const struct benchmark bench_fault_4k = {
	.name = "fault-4k",
	.unit = "ns",
	.what = "warm private 4K fault: exit, MMU, AUG, re-entry, ACCEPT without zeroing",
	.floor = FAULT_FLOOR,
	.run = run_fault_4k,
};

const struct benchmark bench_fault_2m = {
	.name = "fault-2m",
	.unit = "ns",
	.what = "warm private 2M fault, likewise",
	.floor = FAULT_FLOOR,
	.run = run_fault_2m,
};
