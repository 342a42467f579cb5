/* SPDX-License-Identifier: MIT */
/* A TD on a pool of huge pages, and the words of thread 001's choices. */
#include <errno.h>
#include <string.h>

#include "bench/debates.h"

/* Beside the pool: descriptors, tables and pairs of all memory at 4K, twice. */
static u64 host_bytes(u64 bytes)
{
	return bytes + ALIGN_UP(bytes / 16, SIZE_1G) + SIZE_1G;
}

static int make_memory(struct debate_file *d, const struct debate_file_config *cfg, u64 bytes)
{
	struct gmem_config fc = cfg->file;
	u64 missing;
	int err = hugetlb_pool_create(d->td.m.host, cfg->page, cfg->huge_pages, !cfg->dense,
				      &d->pool, &missing);

	if (err)
		return err;
	fc.size = bytes;
	fc.backing = cfg->page == PG_LEVEL_1G ? GMEM_HUGETLB_1G : GMEM_HUGETLB_2M;
	fc.pool = d->pool;
	return gmem_create(d->td.m.host, &fc, &d->file);
}

static int make_vm(struct debate_file *d, struct debate_td_config *tc)
{
	struct vm_slot_config slot = {.npages = d->nr_pages, .file = d->file};

	tc->vm.slots = &slot;
	tc->vm.nr_slots = 1;
	return debate_td_vms(&d->td, tc);
}

int debate_file_up(struct debate_file *d, const struct debate_file_config *cfg)
{
	u64 bytes = cfg->huge_pages * level_size(cfg->page);
	struct debate_td_config tc = {.profile = "1.5.28",
				      .dynamic_pamt = true,
				      .nr_vms = 1,
				      .lps = 1,
				      .host_bytes = host_bytes(bytes),
				      .vm = {.nr_vcpus = 1,
					     .max_level = cfg->page,
					     .mapping_check = cfg->check,
					     .promote = cfg->promote}};
	int err;

	memset(d, 0, sizeof(*d));
	d->nr_pages = addr_to_fn(bytes);
	err = debate_td_machine(&d->td, &tc);
	if (!err)
		err = make_memory(d, cfg, bytes);
	if (!err)
		err = make_vm(d, &tc);
	if (!err)
		err = bench_guest_accept(&d->guest, &d->td.m, d->td.vm[0], 0, d->nr_pages,
					 PG_LEVEL_2M);
	return err;
}

void debate_file_down(struct debate_file *d)
{
	while (d->td.nr_vms)
		vm_destroy(d->td.vm[--d->td.nr_vms]);
	if (d->file)
		gmem_release(d->file);
	if (d->pool)
		hugetlb_pool_destroy(d->pool);
	debate_td_down(&d->td);
}

const char *debate_folio_split_word(enum gmem_folio_split split)
{
	return split == GMEM_SPLIT_UNIFORM ? "uniform" : "nonuniform";
}

const char *debate_restructure_word(enum gmem_restructure restructure)
{
	return restructure == GMEM_RESTRUCTURE_LATE ? "late" : "prealloc";
}

const char *debate_order_word(enum gmem_convert_order order)
{
	static const char *const words[] = {[GMEM_ORDER_SPLIT_FOLIO_ZAP] = "split-folio-zap",
					    [GMEM_ORDER_ZAP_FOLIO] = "zap-folio",
					    [GMEM_ORDER_FOLIO_ZAP] = "folio-zap"};

	return words[order];
}

const char *debate_check_word(enum vm_mapping_check check)
{
	static const char *const words[] = {
		[VM_CHECK_MMU] = "mmu", [VM_CHECK_TDX] = "tdx", [VM_CHECK_TRUST] = "trust"};

	return words[check];
}

const char *debate_form_word(enum gmem_mapping_form form)
{
	return form == GMEM_FORM_FOLIO ? "folio" : "original";
}
