/* SPDX-License-Identifier: MIT */
/*
 * cpu/walk: the page walk of the hardware, over the secure EPT for private GPAs and over the shared
 * EPT for the others. Reads the tables while their owners write them, and takes no lock: an entry is
 * one word, and what it points to was filled before it.
 */
#include "cpu/lp.h"
#include "septum/abi.h"

#define ENTRY_HKID GENMASK_ULL(TDX_HKID_START_BIT + TDX_HKID_BITS - 1, TDX_HKID_START_BIT)

static pfn_t entry_pfn(u64 entry)
{
	return addr_to_fn(entry & EPT_PFN_MASK & ~ENTRY_HKID);
}

static u16 entry_hkid(u64 entry)
{
	return (u16)((entry & ENTRY_HKID) >> TDX_HKID_START_BIT);
}

/* No translation exists for an address beyond the guest's physical address width. */
static bool gpa_is_valid(const struct ept_context *ept, gpa_t gpa)
{
	return !(gpa >> ept->shared_bit >> 1) && !(gpa >> level_shift(ept->levels + 1));
}

static bool is_shared(const struct ept_context *ept, gpa_t gpa)
{
	return gpa >> ept->shared_bit & 1;
}

static bool is_leaf(u64 entry, enum pg_level level)
{
	return level == PG_LEVEL_4K || (level <= PG_LEVEL_MAX_LEAF && (entry & EPT_LEAF));
}

bool ept_walk(const struct lp *lp, gpa_t gpa, bool write, struct ept_translation *out)
{
	const struct ept_context *ept = &lp->ept;
	bool shared = is_shared(ept, gpa);
	pfn_t table = addr_to_fn(shared ? ept->shared_root : ept->sept_root);
	enum pg_level level = ept->levels;
	u64 access = EPT_RWX;
	u64 entry;

	if (!gpa_is_valid(ept, gpa) || !table)
		return false;
	for (;; level--) {
		const u64 *entries = host_frame_ptr(lp->host, table);

		/*
		 * Pairs with the store or compare-exchange that the entry's owner put it there with
		 * (the module for S-EPT entries, the MMU for shared ones): the table below is filled.
		 */
		entry = sync_load_acquire(&entries[level_index(addr_to_fn(gpa), level)]);
		access &= entry;
		if (!(entry & EPT_RWX) || entry_pfn(entry) >= lp->host->nr_frames)
			return false;
		if (is_leaf(entry, level))
			break;
		table = entry_pfn(entry);
	}
	if (!(access & EPT_READ) || (write && !(access & EPT_WRITE)))
		return false;
	*out = (struct ept_translation){
		.pfn = fn_align_down(entry_pfn(entry), level) +
		       (addr_to_fn(gpa) & (pages_per_level(level) - 1)),
		.level = level,
		.hkid = shared ? 0 : entry_hkid(entry),
		.writable = access & EPT_WRITE,
	};
	return out->pfn < lp->host->nr_frames;
}
