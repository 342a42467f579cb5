/* SPDX-License-Identifier: MIT */
/* The oracles: one walk over all that the module keeps, for its locks or for a digest. */
#include "oracle.h"

#include "seam/pamt.h"
#include "seam/sept.h"

/* Bits 59:48 of a status. */
#define STATUS_RESERVED 0x0FFF000000000000ULL
#define PAGE_WORDS 8

static const hpa_t host_pages[ORACLE_PAGES] = {
	SOURCE_PA,
	SPARE_PA,
	SPARE_PA + PAGE_SIZE,
	FREE_PAGES,
	FREE_PAGES + PAGE_SIZE,
	FREE_PAGES + 2 * PAGE_SIZE,
	FREE_PAGES + 3 * PAGE_SIZE,
	FREE_BLOCKS,
	FREE_BLOCKS + SIZE_2M,
	PAIR_BLOCK + 8 * PAGE_SIZE,
	TDMR1_BASE,
	PAIR_BLOCK + 9 * PAGE_SIZE,
};

/* A walk: what it looks for, and what it found. */
struct walk {
	const struct fuzz_machine *m;
	u64 digest;
	const char *held; /* what kind of lock, NULL: none yet */
	u64 held_at;
};

static void mix(struct walk *w, u64 value)
{
	w->digest = (w->digest ^ value) * 0x9E3779B97F4A7C15ULL;
	w->digest ^= w->digest >> 29;
}

static void see_lock(struct walk *w, const char *what, u64 at, bool held)
{
	if (held && !w->held) {
		w->held = what;
		w->held_at = at;
	}
}

static bool is_intact(const struct walk *w, hpa_t hpa, u16 hkid)
{
	return page_is_intact(w->m->host, hpa, hkid);
}

/* ---- a TD's pages ----------------------------------------------------------------------------*/
static void walk_sept_page(struct walk *w, hpa_t hpa, u16 hkid)
{
	const u64 *table = host_ptr(w->m->host, hpa);

	if (!is_intact(w, hpa, hkid))
		return;
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++) {
		u64 value = table[i] & ~SEPT_HOST_PRIORITY;

		if (value == sept_states[SEPT_FREE].raw)
			continue;
		see_lock(w, "S-EPT entry", hpa + i * sizeof(u64), value & SEPT_LOCK);
		mix(w, i);
		mix(w, value & ~SEPT_LOCK);
	}
}

static void walk_tdcs(struct walk *w, hpa_t hpa)
{
	const struct tdcs *tdcs = host_ptr(w->m->host, hpa);

	see_lock(w, "op_state", hpa, lock_word_is_held(tdcs->op_state_lock));
	see_lock(w, "S-EPT tree", hpa, lock_word_is_held(tdcs->sept_lock));
	see_lock(w, "epoch", hpa, lock_word_is_held(tdcs->epoch_lock));
	see_lock(w, "epoch's count of vCPUs", hpa, tdcs->refcount[0] || tdcs->refcount[1]);
	mix(w, tdcs->attributes ^ tdcs->xfam ^ tdcs->config_flags ^ tdcs->eptp_controls);
	mix(w, tdcs->op_state);
	mix(w, tdcs->num_vcpus);
	mix(w, tdcs->td_ctls);
	mix(w, tdcs->td_epoch);
}

static void walk_tdr(struct walk *w, hpa_t hpa)
{
	const struct tdr *tdr = host_ptr(w->m->host, hpa);

	if (!is_intact(w, hpa, w->m->seam->global_hkid))
		return;
	mix(w, tdr->lifecycle);
	mix(w, tdr->num_tdcx);
	mix(w, tdr->packages_configured);
	mix(w, tdr->chldcnt);
	for (unsigned int i = 0; i < tdr->num_tdcx && i < TDCS_MAX_PAGES; i++) {
		mix(w, tdr->tdcx_pa[i]);
		if (i == TDCS_PAGE_SEPT_ROOT)
			walk_sept_page(w, tdr->tdcx_pa[i], tdr->hkid);
		else if (i == TDCS_PAGE_FIELDS && is_intact(w, tdr->tdcx_pa[i], tdr->hkid))
			walk_tdcs(w, tdr->tdcx_pa[i]);
	}
}

static void walk_tdvpr(struct walk *w, hpa_t hpa)
{
	const struct tdvps *vcpu = host_ptr(w->m->host, hpa);

	mix(w, vcpu->state);
	mix(w, vcpu->num_pages);
	mix(w, vcpu->tdr_pa);
}

/* A page's content matters where the module finds addresses, locks or states in it. */
static void walk_page(struct walk *w, const struct pamt_entry *e, hpa_t hpa)
{
	const struct tdr *owner = host_ptr(w->m->host, pamt_owner(e));

	if (pamt_type(e) == PT_TDR) {
		walk_tdr(w, hpa);
		return;
	}
	if (pamt_type(e) != PT_EPT && pamt_type(e) != PT_TDVPR)
		return;
	if (!is_intact(w, pamt_owner(e), w->m->seam->global_hkid) ||
	    !is_intact(w, hpa, owner->hkid))
		return;
	if (pamt_type(e) == PT_EPT)
		walk_sept_page(w, hpa, owner->hkid);
	else
		walk_tdvpr(w, hpa);
}

/* ---- PAMT ------------------------------------------------------------------------------------*/
static void walk_entry(struct walk *w, const struct pamt_entry *e, hpa_t hpa, u32 level)
{
	const u64 *words = (const u64 *)(const void *)e;

	if (!(words[0] & ~(u64)LOCK_WORD_HOST_PRIORITY) && !words[1])
		return;
	see_lock(w, "PAMT entry", hpa | level, lock_word_is_held(e->lock));
	mix(w, hpa);
	mix(w, (u64)e->type << 40 | (u64)e->owner_lo << 32 | e->owner_hi);
	mix(w, e->bepoch);
	if (level == 0)
		walk_page(w, e, hpa);
	if (pamt_type(e) != PT_PAMT || level != 1)
		return;
	for (u32 i = 0; i < 2; i++) {
		hpa_t page = pamt_node_page(e, i);
		const struct pamt_entry *child = host_ptr(w->m->host, page);

		if (!is_intact(w, page, w->m->seam->global_hkid))
			continue;
		for (u32 j = 0; j < PAMT_NODE_ENTRIES_PER_PAGE; j++)
			walk_entry(w, &child[j],
				   hpa + fn_to_addr(i * PAMT_NODE_ENTRIES_PER_PAGE + j), 0);
	}
}

static void walk_area(struct walk *w, const struct seam_tdmr *t, u32 level)
{
	bool is_bitmap = level == 0 && w->m->seam->dynamic_pamt;
	pfn_t first = addr_to_fn(t->pamt_base[level]);
	pfn_t end = first + addr_to_fn(t->pamt_size[level]);

	/* A frame never written holds zeros: PT_NDA, not locked. */
	for (pfn_t pfn = host_first_dirty(w->m->host, first, end); pfn < end;
	     pfn = host_first_dirty(w->m->host, pfn + 1, end)) {
		const struct pamt_entry *e = host_frame_ptr(w->m->host, pfn);
		u64 index = (pfn - first) * PAMT_NODE_ENTRIES_PER_PAGE;

		for (u64 i = 0; i < PAMT_NODE_ENTRIES_PER_PAGE; i++) {
			if (is_bitmap)
				mix(w, ((const u64 *)e)[2 * i] ^ ((const u64 *)e)[2 * i + 1] << 1);
			else
				walk_entry(w, &e[i], t->base + (index + i) * sept_level_size(level),
					   level);
		}
	}
}

static void walk_module(struct walk *w)
{
	const struct seam *seam = w->m->seam;

	see_lock(w, "SYS mutex", 0, seam->sys_mutex);
	see_lock(w, "key ownership table", 0, lock_word_is_held(seam->kot_lock));
	for (u32 i = 0; i < SEAM_MAX_PACKAGES; i++) {
		see_lock(w, "key table of package", i, seam->package[i].ket_mutex);
		see_lock(w, "CACHE.WB of package", i, seam->package[i].wbcache_mutex);
	}
	for (u32 i = 0; i < SEAM_NR_HKIDS; i++)
		mix(w, seam->kot[i].state);
	mix(w, seam->sys_state);
	mix(w, seam->nr_tdmrs);
	for (u32 i = 0; i < seam->nr_tdmrs; i++) {
		see_lock(w, "TDMR", i, seam->tdmr[i].init_mutex);
		mix(w, seam->tdmr[i].initialized_end);
		for (u32 level = 0; level < 3; level++)
			walk_area(w, &seam->tdmr[i], level);
	}
}

/* ---- what the fuzzer calls -------------------------------------------------------------------*/
void oracle_prepare(struct fuzz_machine *m)
{
	for (unsigned int i = 0; i < ORACLE_PAGES; i++) {
		u64 words[PAGE_WORDS];

		for (unsigned int j = 0; j < PAGE_WORDS; j++)
			words[j] = 0xC0FFEE00 + i * PAGE_WORDS + j;
		fuzz_write(m, host_pages[i], words, sizeof(words));
	}
}

void oracle_look(const struct fuzz_machine *m, struct oracle_view *view)
{
	struct walk w = {.m = m};

	walk_module(&w);
	view->module = w.digest;
	for (unsigned int i = 0; i < ORACLE_PAGES; i++) {
		const u64 *words = host_ptr(m->host, host_pages[i]);
		struct walk page = {.m = m};

		mix(&page, host_tag(m->host, addr_to_fn(host_pages[i])));
		for (unsigned int j = 0; j < PAGE_WORDS; j++)
			mix(&page, words[j]);
		view->pages[i] = page.digest;
	}
}

void oracle_check_unchanged(const struct fuzz_machine *m, const struct oracle_view *before,
			    const char *leaf, u64 status, hpa_t offered)
{
	struct oracle_view after;

	oracle_look(m, &after);
	if (after.module != before->module)
		fuzz_fail("%s answered %#llx and changed PAMT, S-EPT or the TD's pages", leaf,
			  (unsigned long long)status);
	for (unsigned int i = 0; i < ORACLE_PAGES; i++) {
		if (after.pages[i] != before->pages[i] && host_pages[i] != offered)
			fuzz_fail("%s answered %#llx and changed the host's page %#llx", leaf,
				  (unsigned long long)status, (unsigned long long)host_pages[i]);
	}
}

void oracle_check_status(const char *leaf, u64 status)
{
	if ((status & STATUS_RESERVED) || !tdx_status_name(status))
		fuzz_fail("%s answered %#llx, which is no status", leaf,
			  (unsigned long long)status);
}

void oracle_check_locks(const struct fuzz_machine *m, const char *leaf)
{
	struct walk w = {.m = m};

	walk_module(&w);
	if (w.held)
		fuzz_fail("%s left a lock held: %s at %#llx", leaf, w.held,
			  (unsigned long long)w.held_at);
}
