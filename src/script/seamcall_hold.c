/* SPDX-License-Identifier: MIT */
/* Finding the PAMT entry of a page, and its lock. */
#include "script/seamcall_hold.h"

#include <errno.h>

#include "script/seamcall_machine.h"

#define ENTRIES_PER_PAGE (PAGE_SIZE / TDX_PAMT_ENTRY_SIZE)
/* The lock word at the start of a PAMT entry: bit 0 exclusive, bits 15:2 readers. */
#define PAMT_LOCK_EXCLUSIVE 0x1u
#define PAMT_LOCK_READER 0x4u
/* RDMD: the entry is a node above 4K entries, whose pages are in R10 and R11. */
#define RDMD_NODE BIT_ULL(63)

static int read_metadata(struct sc_machine *m, u64 operand, struct tdx_regs *regs)
{
	struct lp *lp = sc_machine_free_lp(m);

	*regs = (struct tdx_regs){.rax = TDH_PHYMEM_PAGE_RDMD, .rcx = operand};
	if (!lp)
		return -EAGAIN;
	if (seamcall(lp, regs) == TDX_SUCCESS)
		return 0;
	return tdx_status_class(regs->rax) == TDX_OPERAND_BUSY ? -EBUSY : -ENOENT;
}

static int entry_2m(const struct sc_machine *m, hpa_t hpa, hpa_t *entry)
{
	*entry = m->pamt.pamt_2m_base + hpa / SIZE_2M * TDX_PAMT_ENTRY_SIZE;
	return 0;
}

/* With Dynamic PAMT the 4K entries are in the range's pair of pages, if it has one. */
static int entry_in_pair(struct sc_machine *m, hpa_t hpa, hpa_t *entry)
{
	u64 index = level_index(addr_to_fn(hpa), PG_LEVEL_4K);
	struct tdx_regs node;
	int err = read_metadata(m, ALIGN_DOWN(hpa, SIZE_2M) | 1, &node);

	if (err)
		return err;
	if (!(node.rcx & RDMD_NODE))
		return entry_2m(m, hpa, entry);
	*entry = (index < ENTRIES_PER_PAGE ? node.r10 : node.r11) +
		 index % ENTRIES_PER_PAGE * TDX_PAMT_ENTRY_SIZE;
	return 0;
}

/* Address of the PAMT entry that a leaf would lock for the page. */
static int find_entry(struct sc_machine *m, hpa_t hpa, hpa_t *entry)
{
	struct tdx_regs page;
	int err = read_metadata(m, ALIGN_DOWN(hpa, SIZE_4K), &page);

	if (err)
		return err;
	if (page.r8 == 1 && page.rcx != PT_NDA)
		return entry_2m(m, hpa, entry);
	if (page.r8 == 2 && page.rcx != PT_NDA) {
		*entry = m->pamt.pamt_1g_base + hpa / SIZE_1G * TDX_PAMT_ENTRY_SIZE;
		return 0;
	}
	if (m->dpamt)
		return entry_in_pair(m, hpa, entry);
	*entry = m->pamt.pamt_4k_base + hpa / SIZE_4K * TDX_PAMT_ENTRY_SIZE;
	return 0;
}

/* As another LP's leaf would take it; false if that leaf would answer BUSY. */
static bool take(u16 *lock, bool shared)
{
	u16 word = sync_load(lock);

	if (!shared) {
		word = 0;
		return sync_cmpxchg(lock, &word, (u16)PAMT_LOCK_EXCLUSIVE);
	}
	while (!(word & PAMT_LOCK_EXCLUSIVE))
		if (sync_cmpxchg(lock, &word, (u16)(word + PAMT_LOCK_READER)))
			return true;
	return false;
}

int sc_hold(struct sc_machine *m, hpa_t hpa, bool shared)
{
	struct sc_hold *hold = &m->holds[m->nr_holds];
	hpa_t entry;
	int err;

	if (m->nr_holds == SC_MAX_HOLDS)
		return -ENOSPC;
	err = find_entry(m, hpa, &entry);
	if (err)
		return err;
	*hold = (struct sc_hold){.page = hpa, .lock = host_ptr(m->host, entry), .shared = shared};
	/* An entry never written isn't there for those who skip clean frames. */
	host_frame_dirty(m->host, addr_to_fn(entry));
	if (!take(hold->lock, shared))
		return -EBUSY;
	m->nr_holds++;
	return 0;
}

/*
 * A pair may have been given back or merged away meanwhile: then there is nothing to unlock, and the
 * word is somebody else's. In the fixed areas it is a lock for ever, but maybe one that was cleared.
 */
static bool is_still_held(struct sc_machine *m, const struct sc_hold *hold)
{
	hpa_t entry = (hpa_t)((const u8 *)hold->lock - m->host->memory), now;
	u16 word;

	if (entry < m->pamt.size && (entry_in_pair(m, hold->page, &now) || now != entry))
		return false;
	word = sync_load(hold->lock);
	return hold->shared ? word >= PAMT_LOCK_READER : word & PAMT_LOCK_EXCLUSIVE;
}

int sc_release(struct sc_machine *m, hpa_t hpa)
{
	u32 i = m->nr_holds;
	struct sc_hold *hold;

	if (!sc_machine_free_lp(m))
		return -EAGAIN;
	while (i && m->holds[i - 1].page != hpa)
		i--;
	if (!i)
		return -ENOENT;
	hold = &m->holds[i - 1];
	if (is_still_held(m, hold))
		sync_fetch_sub(hold->lock,
			       (u16)(hold->shared ? PAMT_LOCK_READER : PAMT_LOCK_EXCLUSIVE));
	*hold = m->holds[--m->nr_holds];
	return 0;
}
