/* SPDX-License-Identifier: MIT */
/*
 * A TD of 2.5 TiB on huge pages of 1G from an optimised pool, with Dynamic PAMT: made, accepted 2M by
 * 2M and never written, then promoted to 1G. What its mappings hold in memory stands beside the same
 * at 4K, computed from a TD of 64 GiB on 4K pages.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/guest.h"

#define BIG_BYTES (2560 * SIZE_1G)
#define SMALL_BYTES (64 * SIZE_1G)
#define SCALE (BIG_BYTES / SMALL_BYTES)
#define DESCRIPTOR_BYTES 64

/* What a 2M fault can't do without: as benchmark fault-2m has it. */
#define FAULT_ATOMICS 53
#define FAULT_STORES 21

/* Memory that the host spends on a TD's memory, when all of it is mapped. */
struct held {
	u64 leaves, mirror_tables, sept_tables, dpamt_pages;
	u64 static_pamt, vmemmap, vmemmap_saved; /* bytes */
	double seconds;				 /* to get there */
	u64 resident;				 /* bytes, of this process then */
};

struct big_td {
	struct machine m;
	struct hugetlb_pool *pool;
	struct gmem_file *file;
	struct vm *vm;
	struct bench_guest guest;
	u64 bytes;
	enum pg_level level; /* of the guest's accepts */
	double setup_seconds;
};

static double seconds_since(u64 start)
{
	return (double)(host_now_ns() - start) / 1e9;
}

/* The field @name of /proc/self/status, in bytes; 0 where there is none. */
static u64 process_bytes(const char *name)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned long kib = 0;
	char line[128];

	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, name, strlen(name)))
			sscanf(line + strlen(name), ": %lu", &kib);
	if (status)
		fclose(status);
	return kib << 10;
}

/* ---- the host --------------------------------------------------------------------------------*/
static void td_down(struct big_td *t)
{
	if (t->vm)
		vm_destroy(t->vm);
	if (t->file)
		gmem_release(t->file);
	if (t->pool)
		hugetlb_pool_destroy(t->pool);
	machine_destroy(&t->m);
}

static int make_vm(struct big_td *t)
{
	struct gmem_config fc = {.size = t->bytes, .backing = GMEM_4K};
	struct vm_slot_config slot = {.npages = addr_to_fn(t->bytes)};
	struct vm_config vc = {.slots = &slot,
			       .nr_slots = 1,
			       .nr_vcpus = 1,
			       .max_level = t->level,
			       .gpaw = 48,
			       .sept_ve_disable = true};
	u64 missing;
	int err = 0;

	if (t->level == PG_LEVEL_2M) {
		fc.backing = GMEM_HUGETLB_1G;
		err = hugetlb_pool_create(t->m.host, PG_LEVEL_1G, t->bytes / SIZE_1G, true,
					  &t->pool, &missing);
		fc.pool = t->pool;
	}
	if (!err)
		err = gmem_create(t->m.host, &fc, &t->file);
	slot.file = t->file;
	return err ? err : vm_create(&t->m, &vc, &t->vm);
}

static int td_up(struct big_td *t)
{
	struct machine_config mc = {
		/* Tables and pairs come beside the memory: for each 2M at 4K four pages. */
		.memory_bytes = t->bytes + ALIGN_UP(t->bytes / 128, SIZE_1G) + SIZE_1G,
		.lps = 1,
		.profile = seam_profile_at(0),
		.dynamic_pamt = true,
	};
	u64 start = host_now_ns();
	int err = machine_create(&mc, &t->m);

	if (err)
		return err;
	err = make_vm(t);
	if (err)
		td_down(t);
	t->setup_seconds = seconds_since(start);
	return err;
}

static int promote_all(struct big_td *t)
{
	struct mmu *mmu = vm_mmu(t->vm);
	int err = 0;

	for (gfn_t gfn = 0; gfn < addr_to_fn(t->bytes) && !err;
	     gfn += pages_per_level(PG_LEVEL_1G)) {
		sync_write_lock(mmu_lock(mmu));
		err = mmu_promote(mmu, gfn, PG_LEVEL_1G);
		sync_write_unlock(mmu_lock(mmu));
	}
	sync_rcu_barrier(); /* the tables are frames again */
	return err;
}

static void look(const struct big_td *t, enum pg_level level, double seconds, struct held *h)
{
	struct mmu_stats stats = *mmu_stats(vm_mmu(t->vm));

	*h = (struct held){
		.leaves = stats.pages[level],
		.mirror_tables = stats.mirror_tables,
		.sept_tables = stats.external_tables,
		.dpamt_pages = tdx_dpamt_pages(t->m.tdx),
		.static_pamt = tdx_pamt_static_bytes(t->m.tdx),
		.vmemmap = addr_to_fn(t->bytes) * DESCRIPTOR_BYTES,
		.seconds = seconds,
		.resident = process_bytes("VmRSS"),
	};
	if (t->pool)
		h->vmemmap_saved = hugetlb_stats(t->pool).vmemmap_saved_bytes;
}

/* Maps all of it; of 2M leaves it makes 1G ones, too. */
static int measure(struct big_td *t, struct held *mapped, struct held *promoted)
{
	u64 start = host_now_ns();
	int err = bench_guest_accept(&t->guest, &t->m, t->vm, 0, addr_to_fn(t->bytes), t->level);

	if (!err)
		look(t, t->level, seconds_since(start), mapped);
	if (err || !promoted)
		return err;
	start = host_now_ns();
	err = promote_all(t);
	if (!err)
		look(t, PG_LEVEL_1G, seconds_since(start), promoted);
	return err;
}

static int run_td(struct big_td *t, struct held *mapped, struct held *promoted)
{
	int err = td_up(t);

	if (err)
		return err;
	err = measure(t, mapped, promoted);
	td_down(t);
	return err;
}

/* A TD @by times as large holds this: tables and pairs are as many for each of its parts. */
static struct held scaled(const struct held *h, u64 by)
{
	return (struct held){
		.leaves = h->leaves * by,
		.mirror_tables = h->mirror_tables * by,
		.sept_tables = h->sept_tables * by,
		.dpamt_pages = h->dpamt_pages * by,
		.vmemmap = h->vmemmap * by,
		.seconds = h->seconds * (double)by,
	};
}

/* ---- the report ------------------------------------------------------------------------------*/
struct findings {
	struct held at_2m, at_1g, at_4k;
	double setup_seconds;
	u64 peak; /* resident, up to when it was mapped at 2M and 1G */
};

static double mib(u64 bytes)
{
	return (double)bytes / (1 << 20);
}

static void print_row(FILE *out, const char *what, const struct held *h, u64 static_pamt)
{
	fprintf(out, "| %s | %lu | %lu | %lu | %.1f | %lu | %.1f | %.1f | %.1f | ~%.2f |", what,
		h->leaves, h->mirror_tables, h->sept_tables,
		mib((h->mirror_tables + h->sept_tables) << PAGE_SHIFT), h->dpamt_pages,
		mib(static_pamt + (h->dpamt_pages << PAGE_SHIFT)),
		mib(h->vmemmap - h->vmemmap_saved), mib(h->vmemmap_saved), h->seconds);
	if (h->resident)
		fprintf(out, " ~%.0f |\n", mib(h->resident));
	else
		fprintf(out, " |\n");
}

static void print(FILE *out, const struct findings *f)
{
	fprintf(out,
		"\nA TD of 2.5 TiB with Dynamic PAMT, all of it accepted and never written: made "
		"in ~%.4f s, %.1f MiB\nof PAMT before the first page; this process was never "
		"larger than ~%.0f MiB.\n\n",
		f->setup_seconds, mib(f->at_2m.static_pamt), mib(f->peak));
	fprintf(out,
		"| mapped at | leaves | mirror tables | S-EPT tables | both, MiB | pages of pairs "
		"| PAMT, MiB | vmemmap, MiB | saved, MiB | s | resident, MiB |\n"
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
	print_row(out, "2M, pool of 1G", &f->at_2m, f->at_2m.static_pamt);
	print_row(out, "1G, promoted from that", &f->at_1g, f->at_2m.static_pamt);
	print_row(out, "4K, computed: 40 times 64 GiB", &f->at_4k, f->at_2m.static_pamt);
}

static json_t *json_row(const char *level, const struct held *h, bool computed)
{
	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "level", level,
			 "computed", computed, "leaves", (json_int_t)h->leaves,
			 "mirror_table_pages", (json_int_t)h->mirror_tables, "sept_table_pages",
			 (json_int_t)h->sept_tables, "dpamt_pages", (json_int_t)h->dpamt_pages,
			 "vmemmap_bytes", (json_int_t)(h->vmemmap - h->vmemmap_saved),
			 "vmemmap_saved_bytes", (json_int_t)h->vmemmap_saved, "seconds",
			 h->seconds);
}

static json_t *json_report(const struct findings *f)
{
	return json_pack("{s:I, s:I, s:I, s:f, s:[o, o, o]}", "td_bytes", (json_int_t)BIG_BYTES,
			 "pamt_static_bytes", (json_int_t)f->at_2m.static_pamt,
			 "peak_resident_bytes", (json_int_t)f->peak, "setup_seconds",
			 f->setup_seconds, "mapped", json_row("2m", &f->at_2m, false),
			 json_row("1g", &f->at_1g, false), json_row("4k", &f->at_4k, true));
}

static int report(struct bench_samples *out, const struct findings *f)
{
	size_t size;
	FILE *text = open_memstream(&out->report, &size);

	if (!text)
		return -ENOMEM;
	print(text, f);
	fclose(text);
	out->more = json_report(f);
	return 0;
}

static void sample_floor(struct bench_samples *out, u64 faults)
{
	struct bench_floor floor = {0};

	bench_start(out);
	for (u64 i = 0; i < faults; i++)
		bench_floor_once(&floor, FAULT_ATOMICS, FAULT_STORES);
	bench_end_floor(out, 1);
	out->floor[out->nr] /= 1e6;
}

static int run_big_td(struct bench_samples *out)
{
	struct big_td big = {.bytes = BIG_BYTES, .level = PG_LEVEL_2M};
	struct big_td small = {.bytes = SMALL_BYTES, .level = PG_LEVEL_4K};
	struct lp *self = lp_current();
	struct held at_4k;
	struct findings f;
	int err = run_td(&big, &f.at_2m, &f.at_1g);

	if (!err) {
		f.setup_seconds = big.setup_seconds;
		f.peak = process_bytes("VmHWM");
		out->has_instructions = false;
		out->op[0] = (big.setup_seconds + f.at_2m.seconds) * 1e3;
		sample_floor(out, f.at_2m.leaves);
		err = run_td(&small, &at_4k, NULL);
	}
	lp_set_current(self);
	if (err)
		return err;
	f.at_4k = scaled(&at_4k, SCALE);
	out->nr = 1;
	return report(out, &f);
}

const struct benchmark bench_big_td = {
	.name = "big-td",
	.unit = "ms",
	.what = "a TD of 2.5 TiB on 1G pages is made and mapped at 2M; then 1G and 4K (only by "
		"name)",
	.floor = "53 compare-exchanges and 21 stores for each 2M",
	.by_name = true,
	.run = run_big_td,
};
