/* SPDX-License-Identifier: MIT */
/*
 * Thread 001: memory runs out in the middle of a conversion. What is lost, and what stays split, when
 * restructuring allocates before the point of no return, and when it doesn't; in each order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/debates.h"

#define HUGE_PAGES 4
#define BLOCK_PAGES 512ULL
#define START 500ULL /* the conversion: both ends inside a huge page, all four touched */
#define NR 1100ULL
#define MOST_FRAMES 4096 /* more than any of these conversions needs */

/* Frames that nobody else can have. */
struct hoard {
	pfn_t *small;
	u32 nr;
};

/* What came of the conversions that failed. */
struct losses {
	u64 failures, lossy, worst_lost, worst_split;
	u64 needed;  /* the fewest free frames with which it succeeds */
	u64 noticed; /* of the lossy: the guest's next access stopped the TD */
};

/* All memory, but for 4K frames that are kept aside in @h. */
static int hoard(struct host *host, struct hoard *h)
{
	pfn_t pfn;

	h->nr = 0;
	h->small = calloc(host->nr_frames, sizeof(*h->small));
	if (!h->small)
		return -ENOMEM;
	while (h->nr < MOST_FRAMES && !host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &h->small[h->nr]))
		h->nr++;
	for (enum pg_level level = PG_LEVEL_1G; level >= PG_LEVEL_4K; level--)
		while (!host_alloc(host, level, FRAME_OTHER, &pfn))
			;
	return h->nr == MOST_FRAMES ? 0 : -EIO;
}

/* Guest pages that were mapped, and aren't any more though they never changed sides. */
static u64 nr_lost(struct debate_file *d, gfn_t *first)
{
	struct mmu_mapping m;
	u64 lost = 0;

	for (gfn_t gfn = d->nr_pages; gfn-- > 0;)
		if (!mmu_lookup(vm_mmu(d->td.vm[0]), gfn, true, &m)) {
			*first = gfn;
			lost++;
		}
	return lost;
}

static void note_failure(struct debate_file *d, u64 splits_before, struct losses *l)
{
	u64 splits = mmu_stats(vm_mmu(d->td.vm[0]))->splits - splits_before;
	gfn_t first = 0;
	u64 lost = nr_lost(d, &first);
	const char *why;

	l->failures++;
	l->worst_split = max_u64(l->worst_split, splits);
	l->worst_lost = max_u64(l->worst_lost, lost);
	if (!lost)
		return;
	l->lossy++;
	bench_guest_read(&d->guest, &d->td.m, d->td.vm[0], first);
	why = vm_why_dead(d->td.vm[0]);
	l->noticed += why && !strncmp(why, "access before accept", 20);
}

/* One conversion with @free frames. Return: 1 if it succeeded, 0 if it failed, -errno */
static int convert_with(struct debate_file *d, u32 free_frames, struct losses *l)
{
	u64 splits = mmu_stats(vm_mmu(d->td.vm[0]))->splits;
	struct hoard h;
	int err = hoard(d->td.m.host, &h);

	if (err)
		goto out;
	while (free_frames--)
		host_free(d->td.m.host, h.small[--h.nr], PG_LEVEL_4K, FRAME_OTHER);
	err = gmem_convert(d->file, START, NR, false);
	/* What the guest needs to run is there again. */
	while (h.nr)
		host_free(d->td.m.host, h.small[--h.nr], PG_LEVEL_4K, FRAME_OTHER);
	if (err == -ENOMEM) {
		note_failure(d, splits, l);
		/* Attributes and layout are as they were, whatever else isn't. */
		err = gmem_nr_ranges(d->file) == 1 &&
				      gmem_stats(d->file).folios[PG_LEVEL_2M] == HUGE_PAGES
			      ? 0
			      : -EIO;
	} else if (!err) {
		err = 1;
	}
out:
	free(h.small);
	return err;
}

static int try_with(const struct debate_file_config *cfg, u32 free_frames, struct losses *l)
{
	struct debate_file d;
	int ret = debate_file_up(&d, cfg);

	if (!ret)
		ret = convert_with(&d, free_frames, l);
	debate_file_down(&d);
	return ret;
}

static int measure(const struct debate_file_config *cfg, struct losses *l)
{
	int ret = 0;

	memset(l, 0, sizeof(*l));
	for (u32 n = 0; !ret && n < MOST_FRAMES; n++) {
		ret = try_with(cfg, n, l);
		l->needed = n;
	}
	return ret > 0 ? 0 : ret < 0 ? ret : -EIO;
}

static int print(FILE *out, enum gmem_restructure restructure, enum gmem_convert_order order,
		 enum gmem_mapping_form form)
{
	struct debate_file_config cfg = {
		.page = PG_LEVEL_2M,
		.huge_pages = HUGE_PAGES,
		.file = {.restructure = restructure, .convert_order = order, .mapping_form = form},
		.check = VM_CHECK_TRUST,
	};
	struct losses l;
	int err = measure(&cfg, &l);

	if (!err && l.noticed != l.lossy)
		err = -EIO;
	if (!err)
		fprintf(out, "| `%s` | `%s` | `%s` | %lu | %lu | %lu | %lu | %lu | %s |\n",
			debate_restructure_word(restructure), debate_order_word(order),
			debate_form_word(form), l.needed, l.failures, l.lossy, l.worst_lost,
			l.worst_split,
			l.lossy ? "the guest, too: its next access stops the TD" : "the caller");
	return err;
}

static const char text[] =
	"\n## 001: when is memory for it allocated, and what is lost without?\n\n"
	"MapGPA of %llu pages over four huge pages of 2M, each an optimised folio: two leaves are "
	"split in the S-EPT\n(four where leaves follow folios), and four folios. `--restructure "
	"prealloc` allocates what folios need\nbefore anything changes, `late` when it is needed. "
	"`--convert-order` is when folios split: between split and\nremoval of leaves, after both, "
	"or before. The host has 0 free frames, then 1, 2, ... until it succeeds. Each\nfailure is "
	"told to the caller (-ENOMEM, and the guest may try again), and finds attributes and "
	"folios "
	"as\nthey were; lost are pages that the guest had, and that are gone though still "
	"private.\n\n"
	"| allocation | order | rule | frames needed | failures | with loss | pages lost, worst | "
	"leaves left split, worst | who notices |\n"
	"|---|---|---|---:|---:|---:|---:|---:|---|\n";

static const char conclusion[] =
	"\nConclusion: with `prealloc` no order loses anything. With `late` only `zap-folio` does: "
	"each time that the\nfolios fail all pages of the range are gone, the guest isn't told, "
	"and its next access is one to a page\nthat it hasn't accepted. In the other orders a "
	"failure leaves small leaves at most.\n";

int debate_loss(FILE *out)
{
	int err = 0;

	fprintf(out, text, NR);
	for (u32 i = 0; i < 12 && !err; i++)
		err = print(out, (enum gmem_restructure)(i / 6),
			    (enum gmem_convert_order)(i / 2 % 3), (enum gmem_mapping_form)(i % 2));
	fputs(conclusion, out);
	return err;
}
