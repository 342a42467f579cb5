/* SPDX-License-Identifier: MIT */
/*
 * Owns the module as an object: creation, its logical processors, and audits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "seam/pamt.h"
#include "seam/sept.h"

static u64 lp_words(u32 nr_lps)
{
	return (nr_lps + 63) / 64;
}

int seam_create(struct host *host, const struct seam_profile *profile, struct seam **out)
{
	struct seam *seam = aligned_alloc(_Alignof(struct seam), sizeof(*seam));

	if (!seam)
		return -ENOMEM;
	memset(seam, 0, sizeof(*seam));
	seam->host = host;
	seam->profile = profile;
	seam->lp_initialized = calloc(lp_words(host->nr_lps) + 1, sizeof(u64));
	if (!seam->lp_initialized) {
		free(seam);
		return -ENOMEM;
	}
	*out = seam;
	return 0;
}

void seam_destroy(struct seam *seam)
{
	if (!seam)
		return;
	free(seam->lp_initialized);
	free(seam);
}

void seam_attach_lp(struct seam *seam, struct lp *lp)
{
	lp->module = seam;
	lp->vcpu = NULL;
	seam->lps_attached++;
}

const struct seam_profile *seam_profile(const struct seam *seam)
{
	return seam->profile;
}

/* ---- audits ----------------------------------------------------------------------------------*/

static u64 entries_in_use(const struct pamt_entry *e, u64 count)
{
	u64 used = 0;

	for (u64 i = 0; i < count; i++)
		used += e[i].type != PT_NDA && e[i].type != PT_RSVD;
	return used;
}

/* 4K units that @e, an entry of an area at @level, says are in use. */
static u64 units_in_use(const struct seam *seam, const struct pamt_entry *e, u32 level)
{
	u64 used = 0;

	if (e->type == PT_NDA || e->type == PT_RSVD)
		return 0;
	if (e->type != PT_PAMT)
		return 1ULL << (9 * level);
	/* A node: the pair itself, and what its entries say. */
	for (unsigned int i = 0; i < 2; i++) {
		hpa_t page = pamt_node_page(e, i);

		used++;
		if (page_is_intact(seam->host, page, seam->global_hkid))
			used += entries_in_use(host_ptr(seam->host, page),
					       PAMT_NODE_ENTRIES_PER_PAGE);
	}
	return used;
}

/* Frames of the area that were never written hold PT_NDA alone, and aren't looked at. */
static u64 area_in_use(const struct seam *seam, const struct seam_tdmr *t, u32 level)
{
	pfn_t pfn = addr_to_fn(t->pamt_base[level]);
	pfn_t end = pfn + addr_to_fn(t->pamt_size[level]);
	u64 used = 0;

	for (pfn = host_first_dirty(seam->host, pfn, end); pfn < end;
	     pfn = host_first_dirty(seam->host, pfn + 1, end)) {
		const struct pamt_entry *e = host_frame_ptr(seam->host, pfn);

		for (u64 i = 0; i < PAGE_SIZE / TDX_PAMT_ENTRY_SIZE; i++)
			used += units_in_use(seam, &e[i], level);
	}
	return used;
}

u64 seam_pamt_in_use(const struct seam *seam)
{
	u64 used = 0;

	for (u32 i = 0; i < seam->nr_tdmrs; i++) {
		for (u32 level = seam->dynamic_pamt; level < 3; level++)
			used += area_in_use(seam, &seam->tdmr[i], level);
	}
	return used;
}

u64 seam_pamt_bytes(const struct seam *seam)
{
	u64 bytes = 0;

	for (u32 i = 0; i < seam->nr_tdmrs; i++) {
		for (u32 level = 0; level < 3; level++)
			bytes += seam->tdmr[i].pamt_size[level];
	}
	return bytes;
}

bool seam_sept_entry(const struct seam *seam, hpa_t tdr, gpa_t gpa, enum pg_level level, u64 *entry)
{
	const struct tdr *td = host_ptr(seam->host, tdr);
	const struct tdcs *tdcs;
	const u64 *table;
	u32 wanted = (u32)level - 1;

	if (td->num_tdcx < TDX_TDCS_PAGES)
		return false;
	tdcs = host_ptr(seam->host, td->tdcx_pa[TDCS_PAGE_FIELDS]);
	table = host_ptr(seam->host, td->tdcx_pa[TDCS_PAGE_SEPT_ROOT]);
	for (u32 at = tdcs->sept_levels; at-- > wanted;) {
		enum sept_state_id state;

		*entry = sync_load_acquire(&table[sept_index(gpa, at)]);
		if (at == wanted)
			return true;
		state = sept_state_of(*entry)->id;
		if (state != SEPT_NL_MAPPED && state != SEPT_NL_BLOCKED)
			return false;
		if (!page_is_intact(seam->host, sept_hpa(*entry), td->hkid))
			return false;
		table = host_ptr(seam->host, sept_hpa(*entry));
	}
	return false;
}
