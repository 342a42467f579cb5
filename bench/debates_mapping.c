/* SPDX-License-Identifier: MIT */
/*
 * Thread 001: who checks that a leaf maps one piece of memory, by which rule; what that finds, and
 * what it costs a fault.
 */
#include <errno.h>
#include <string.h>

#include "bench/debates.h"

#define FAULTS 4096
#define ROUNDS 9
#define SHARED_PAGE 5

/* What a 2M fault can't do without: as benchmark fault-2m has it. */
#define FAULT_ATOMICS 53
#define FAULT_STORES 21

/* One page of a mapped 2M page becomes shared. Return: 0, 1 if the check stopped the VM, or -errno */
static int convert(const struct debate_file_config *cfg)
{
	struct debate_file d;
	const char *why;
	int ret = debate_file_up(&d, cfg);

	if (!ret)
		ret = gmem_convert(d.file, SHARED_PAGE, 1, false);
	why = d.td.nr_vms ? vm_why_dead(d.td.vm[0]) : NULL;
	if (why)
		ret = strstr(why, "mapping check") ? 1 : -EIO;
	/* In time: nothing was removed, and the attribute is as it was. */
	if (ret == 1 && (mmu_stats(vm_mmu(d.td.vm[0]))->zaps || gmem_nr_ranges(d.file) != 1))
		ret = -EIO;
	debate_file_down(&d);
	return ret;
}

/* All memory goes, and is accepted again: its tables stand. */
static int time_faults(struct debate_file *d, struct debate_times *t)
{
	int err = gmem_punch_hole(d->file, 0, d->nr_pages);
	u64 start = host_now_ns();

	if (!err)
		err = bench_guest_accept(&d->guest, &d->td.m, d->td.vm[0], 0, d->nr_pages,
					 PG_LEVEL_2M);
	debate_note(t, host_now_ns() - start);
	return err;
}

static int fault_ns(enum vm_mapping_check check, double *ns)
{
	struct debate_file_config cfg = {
		.page = PG_LEVEL_1G, .huge_pages = FAULTS / 512, .check = check};
	struct debate_times t = {0};
	struct debate_file d;
	int err = debate_file_up(&d, &cfg);

	for (u32 i = 0; i < ROUNDS && !err; i++)
		err = time_faults(&d, &t);
	debate_file_down(&d);
	*ns = debate_median(&t) * 1e3 / FAULTS;
	return err;
}

static int outcomes(enum vm_mapping_check check, bool stops[2])
{
	for (int form = GMEM_FORM_ORIGINAL; form <= GMEM_FORM_FOLIO; form++)
		for (int order = 0; order <= GMEM_ORDER_FOLIO_ZAP; order++) {
			struct debate_file_config cfg = {
				.page = PG_LEVEL_2M,
				.huge_pages = 1,
				.file = {.convert_order = (enum gmem_convert_order)order,
					 .mapping_form = (enum gmem_mapping_form)form},
				.check = check};
			int ret = convert(&cfg);

			if (ret < 0)
				return ret;
			/* The one order in which folios are smaller than leaves for a moment. */
			if (ret && order != GMEM_ORDER_FOLIO_ZAP)
				return -EIO;
			stops[form] = ret;
		}
	return 0;
}

static int print(FILE *out, enum vm_mapping_check check)
{
	bool stops[2];
	double ns;
	int err = outcomes(check, stops);

	if (!err)
		err = fault_ns(check, &ns);
	if (!err)
		fprintf(out, "| `%s` | %s | %s | ~%.0f | ~%.0f |\n", debate_check_word(check),
			stops[GMEM_FORM_ORIGINAL] ? "stops the VM" : "goes on",
			stops[GMEM_FORM_FOLIO] ? "stops the VM" : "goes on", ns,
			debate_floor_us(FAULT_ATOMICS, FAULT_STORES, 0) * 1e3);
	return err;
}

static const char text[] =
	"\n## 001: who checks that a leaf maps one piece of memory?\n\n"
	"`--mapping-check`: `mmu` asks whenever a leaf above 4K is set and before one goes; `tdx` "
	"around AUG, DEMOTE,\nREMOVE and WBINVD; `trust` doesn't. The rule is `--mapping-form`: "
	"inside the `original` huge page, or inside\na `folio`; uniform attributes with both. "
	"`--convert-order folio-zap` splits folios below the leaves that map\nthem, for a moment; "
	"the other orders pass every check. A fault is a 2M one, whole, in ns.\n\n"
	"| check | `folio-zap`, rule `original` | `folio-zap`, rule `folio` | time | floor |\n"
	"|---|---|---|---:|---:|\n";

static const char conclusion[] =
	"\nConclusion: by the rule of folios `folio-zap` isn't possible where anybody checks, who "
	"stops it before a byte is\nlost; by that of the original huge page it is, since "
	"contiguity "
	"and attributes never break. Either check costs\na 2M fault a few per cent.\n";

static const char planted_text[] =
	"\n### Which place catches which bug?\n\n"
	"Bugs that are planted in the checking build, and what `tests/vm/test_vm_mapping.c` "
	"asserts "
	"of each there. At\nrest are the invariants, when nothing runs.\n\n"
	"| bug, and rule | `mmu` | `tdx` | `trust` | at rest |\n|---|---|---|---|---|\n"
	"| `gmem-splits-mapped-folio`, folio | stops at the removal, nothing lost | the same | "
	"neighbours lose their bytes | too late |\n"
	"| `gmem-splits-mapped-folio`, original | neighbours lose their bytes | the same | the "
	"same "
	"| sound: they are gone |\n"
	"| `gmem-partial-split-no-merge`, folio, `folio-zap` | stops when that leaf goes | the "
	"same "
	"| goes on | seen at once |\n"
	"| `gmem-partial-split-no-merge`, folio, `split-folio-zap` | no leaf is across the folios "
	"| "
	"the same | the same | sound |\n";

static const char planted_conclusion[] =
	"\nConclusion: `mmu` and `tdx` catch the same, at the same moment. What the rule of the "
	"original huge page gives\nup is finding a file that splits folios below their leaves; "
	"splitting leaves first leaves nothing to find.\n";

int debate_mapping(FILE *out)
{
	int err = 0;

	fputs(text, out);
	for (int check = VM_CHECK_MMU; check <= VM_CHECK_TRUST && !err; check++)
		err = print(out, (enum vm_mapping_check)check);
	fputs(conclusion, out);
	fputs(planted_text, out);
	fputs(planted_conclusion, out);
	return err;
}
