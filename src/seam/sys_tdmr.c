/* SPDX-License-Identifier: MIT */
/*
 * Owns SYS.TDMR.INIT: PAMT entries of a TDMR come to be, one stretch a call, or all at once.
 *
 * PAMT memory that was never written reads as zero, and a zero entry is PT_NDA: what costs is only
 * what the host has dirtied before, and reserved areas.
 */
#include "seam/pamt.h"

/* 4K entries that one call initialises. */
#define ENTRIES_PER_CALL 1024
#define BITMAP_ENTRIES_PER_CALL 4096

static u64 bytes_per_call(const struct seam *seam)
{
	return (seam->dynamic_pamt ? BITMAP_ENTRIES_PER_CALL : ENTRIES_PER_CALL) * SIZE_4K;
}

/* Bytes of the TDMR that one 4K frame of the area at @level describes. */
static u64 area_span(const struct seam *seam, u32 level)
{
	if (level == 0 && seam->dynamic_pamt)
		return SIZE_4K * 8 * SIZE_4K;
	return (SIZE_4K / TDX_PAMT_ENTRY_SIZE) << (PAGE_SHIFT + 9 * level);
}

/* Zeroes frames [@pfn, @end) in the largest blocks that fit. */
static void zero_frames(const struct seam *seam, pfn_t pfn, pfn_t end)
{
	while (pfn < end) {
		enum pg_level level = PG_LEVEL_1G;

		while (level > PG_LEVEL_4K && (!IS_ALIGNED(pfn, pages_per_level(level)) ||
					       end - pfn < pages_per_level(level)))
			level--;
		host_zero(seam->host, pfn, level, seam->global_hkid);
		pfn += pages_per_level(level);
	}
}

/* Each frame of an area is zeroed when the first page that it describes is reached. */
static void zero_area(const struct seam *seam, const struct seam_tdmr *t, u32 level, hpa_t from,
		      hpa_t to)
{
	u64 span = area_span(seam, level);
	u64 first = (from - t->base + span - 1) / span;
	u64 end = (to - t->base + span - 1) / span;
	pfn_t base = addr_to_fn(t->pamt_base[level]);

	if (to == t->base + t->size)
		end = addr_to_fn(t->pamt_size[level]);
	zero_frames(seam, base + first, base + end);
}

static void reserve_page(const struct seam *seam, const struct seam_tdmr *t, hpa_t hpa)
{
	u64 index = addr_to_fn(hpa - t->base);
	hpa_t at = t->pamt_base[0];

	at += seam->dynamic_pamt ? index / 8 : index * TDX_PAMT_ENTRY_SIZE;
	host_frame_dirty(seam->host, addr_to_fn(at));
	if (seam->dynamic_pamt)
		*(u8 *)host_ptr(seam->host, at) |= (u8)(1u << index % 8);
	else
		((struct pamt_entry *)host_ptr(seam->host, at))->type = PT_RSVD;
}

static void reserve_areas(const struct seam *seam, const struct seam_tdmr *t, hpa_t from, hpa_t to)
{
	for (u32 i = 0; i < t->nr_reserved; i++) {
		hpa_t start = max_u64(from, t->reserved[i].base);
		hpa_t end = min_u64(to, t->reserved[i].base + t->reserved[i].size);

		for (hpa_t hpa = start; hpa < end; hpa += SIZE_4K)
			reserve_page(seam, t, hpa);
	}
}

/*
 * Gives the pages of @t from where initialisation stands up to @end their PAMT entries. The caller
 * holds init_mutex, or nothing else runs.
 */
static void tdmr_init_to(struct seam *seam, struct seam_tdmr *t, hpa_t end)
{
	hpa_t from = t->initialized_end;

	for (u32 level = 0; level < 3; level++)
		zero_area(seam, t, level, from, end);
	reserve_areas(seam, t, from, end);
	/* Pairs with the load-acquire in pamt_tdmr_of(). */
	sync_store_release(&t->initialized_end, end);
}

static struct seam_tdmr *tdmr_at(struct seam *seam, hpa_t base)
{
	for (u32 i = 0; i < seam->nr_tdmrs; i++) {
		if (seam->tdmr[i].base == base)
			return &seam->tdmr[i];
	}
	return NULL;
}

u64 seam_tdh_sys_tdmr_init(struct leaf_ctx *ctx)
{
	struct seam *seam = ctx->seam;
	struct seam_tdmr *t = tdmr_at(seam, ctx->r->rcx);
	u64 status = TDX_TDMR_ALREADY_INITIALIZED;

	if (!t)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (!try_mutex(&t->init_mutex))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	if (t->initialized_end < t->base + t->size) {
		tdmr_init_to(seam, t, t->initialized_end + bytes_per_call(seam));
		ctx->r->rdx = ALIGN_DOWN(t->initialized_end, SIZE_1G);
		status = TDX_SUCCESS;
	}
	try_mutex_release(&t->init_mutex);
	return status;
}

void seam_tdmr_init_all(struct seam *seam)
{
	for (u32 i = 0; i < seam->nr_tdmrs; i++) {
		struct seam_tdmr *t = &seam->tdmr[i];

		tdmr_init_to(seam, t, t->base + t->size);
	}
	trace_fire(&seam->host->tracer, TRACE_TDMR_INIT_ALL, NULL);
}
