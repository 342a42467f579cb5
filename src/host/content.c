/* SPDX-License-Identifier: MIT */
/*
 * host/content: what a frame's bytes are under which key id. Owns the tags and the dirty bits.
 *
 * A block's tag, in tag_2m:
 *
 *      uniform t ----> t | TAG_BREAKING ----> TAG_MIXED      to give one frame a tag of its own
 *          ^                                     |
 *          +------- the whole block retagged ----+
 *
 * Races: two vCPUs ACCEPT different 4K pages of one uniform block, or one is poisoned while another
 * is accepted. Whoever puts TAG_BREAKING there owns the block's 512 words of tag_4k until it puts
 * TAG_MIXED: it fills them with t. Who only reads takes t from the value itself and never waits;
 * who wants to change a tag waits for TAG_MIXED. Without that state two breakers would fill the
 * words over each other's new tags.
 *
 * Who retags a whole block owns all of it by the module's locks. A foreign write to it at the same
 * time may lose its poison, as if it had come just before the stores that make the block new.
 */
#include "host/host.h"

#include <errno.h>
#include <string.h>

/* ---- tags ------------------------------------------------------------------------------------*/

/* The frame's own word of tag_4k, after making its block mixed. */
static u16 *tag_of_frame(struct host *host, pfn_t pfn)
{
	u16 *block = &host->tag_2m[pfn / PTRS_PER_TABLE];
	u16 *words = &host->tag_4k[fn_align_down(pfn, PG_LEVEL_2M)];
	u16 tag = sync_load_acquire(block); /* pairs with the release of TAG_MIXED below */

	while (!(tag & TAG_MIXED)) {
		if (tag & TAG_BREAKING) {
			sync_relax();
			tag = sync_load_acquire(block);
		} else if (sync_cmpxchg(block, &tag, tag | TAG_BREAKING)) {
			for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
				sync_store_quiet(&words[i], tag);
			/* Pairs with the acquire of every reader of tag_2m. */
			sync_store_release(block, TAG_MIXED);
			break;
		}
	}
	return &host->tag_4k[pfn];
}

static void tag_set_block(struct host *host, u64 block, u16 tag)
{
	u16 *p = &host->tag_2m[block];
	u16 old = sync_load(p);

	while (old != tag) {
		if (old & TAG_BREAKING) {
			sync_relax();
			old = sync_load(p);
		} else if (sync_cmpxchg(p, &old, tag)) {
			break;
		}
	}
}

/* Gives the whole block at @pfn one tag, without poison. */
static void tag_set(struct host *host, pfn_t pfn, enum pg_level level, u16 tag)
{
	if (level == PG_LEVEL_4K) {
		if (host_tag(host, pfn) != tag)
			sync_store(tag_of_frame(host, pfn), tag);
		return;
	}
	for (u64 i = 0; i < pages_per_level(level) / PTRS_PER_TABLE; i++)
		tag_set_block(host, pfn / PTRS_PER_TABLE + i, tag);
}

static void tag_poison(struct host *host, pfn_t pfn)
{
	/* Before the bytes change, so that who finds them changed finds this set. */
	if (!sync_load(&host->ever_poisoned))
		sync_xchg(&host->ever_poisoned, 1);
	if (!(host_tag(host, pfn) & TAG_POISONED))
		sync_fetch_or(tag_of_frame(host, pfn), TAG_POISONED);
}

void host_poison(struct host *host, pfn_t pfn)
{
	tag_poison(host, pfn);
}

/* ---- dirty bits ------------------------------------------------------------------------------
 * A bit is set before the first store to its frame. Who must see the store is ordered after the
 * writer by the frame's user, and so sees the bit; the bits order nothing themselves, and are quiet.
 */

bool host_frame_is_dirty(const struct host *host, pfn_t pfn)
{
	return sync_load_quiet(&host->dirty[pfn / 64]) >> pfn % 64 & 1;
}

void host_frame_dirty(struct host *host, pfn_t pfn)
{
	if (!host_frame_is_dirty(host, pfn))
		sync_fetch_or_quiet(&host->dirty[pfn / 64], BIT_ULL(pfn % 64));
}

pfn_t host_first_dirty(const struct host *host, pfn_t pfn, pfn_t end)
{
	while (pfn < end) {
		u64 bits = sync_load_quiet(&host->dirty[pfn / 64]) >> pfn % 64;

		if (bits)
			return min_u64(pfn + (u64)__builtin_ctzll(bits), end);
		pfn = ALIGN_DOWN(pfn, 64) + 64;
	}
	return end;
}

/* ---- words -----------------------------------------------------------------------------------*/

int host_read(struct host *host, hpa_t hpa, u16 hkid, u64 *words, unsigned int n)
{
	const u64 *from = host_ptr(host, hpa);
	pfn_t pfn = addr_to_fn(hpa);
	u16 tag = host_tag(host, pfn);

	if (unlikely(tag != hkid)) {
		if (hkid || !(tag & TAG_HKID))
			return -EHWPOISON;
		for (unsigned int i = 0; i < n; i++)
			words[i] = HOST_PRIVATE_PATTERN;
		return 0;
	}
	/* A clean frame isn't touched: that would populate page tables for it. */
	if (!host_frame_is_dirty(host, pfn)) {
		memset(words, 0, n * sizeof(*words));
		return 0;
	}
	for (unsigned int i = 0; i < n; i++)
		words[i] = sync_load(&from[i]);
	return 0;
}

static void store_words(u64 *to, const u64 *words, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		sync_store(&to[i], words[i]);
}

/* The kernel finds and clears a page of ours at the first store: that is no work of Septum's. */
static void store_first_words(struct host *host, pfn_t pfn, u64 *to, const u64 *words,
			      unsigned int n)
{
	u64 start = host_now_ns();

	host_frame_dirty(host, pfn);
	store_words(to, words, n);
	sync_add_relaxed(&host->first_touch_ns, host_now_ns() - start);
}

int host_write(struct host *host, hpa_t hpa, u16 hkid, const u64 *words, unsigned int n)
{
	u64 *to = host_ptr(host, hpa);
	pfn_t pfn = addr_to_fn(hpa);

	if (unlikely((host_tag(host, pfn) & TAG_HKID) != hkid)) {
		tag_poison(host, pfn);
		return 0;
	}
	if (likely(host_frame_is_dirty(host, pfn)))
		store_words(to, words, n);
	else
		store_first_words(host, pfn, to, words, n);
	return 0;
}

/* ---- whole blocks ----------------------------------------------------------------------------*/

/* Zeroes the dirty frames of [@pfn, @end); the range lies inside one word of dirty bits. */
static void zero_dirty(struct host *host, pfn_t pfn, pfn_t end)
{
	u64 range = (end - pfn == 64 ? ~0ULL : BIT_ULL(end - pfn) - 1) << pfn % 64;
	u64 bits = sync_load_quiet(&host->dirty[pfn / 64]) & range;
	pfn_t first = ALIGN_DOWN(pfn, 64);

	for (u64 left = bits; left; left &= left - 1)
		memset(host_frame_ptr(host, first + (u64)__builtin_ctzll(left)), 0, PAGE_SIZE);
	/* The word's other frames may belong to somebody who sets their bits now. */
	if (bits)
		sync_fetch_and_quiet(&host->dirty[pfn / 64], ~bits);
}

void host_zero(struct host *host, pfn_t pfn, enum pg_level level, u16 hkid)
{
	pfn_t end = pfn + pages_per_level(level);
	pfn_t at = host_first_dirty(host, pfn, end);

	if (at < end) {
		u64 start = host_now_ns();

		for (; at < end; at = host_first_dirty(host, at, end))
			zero_dirty(host, at, min_u64(ALIGN_DOWN(at, 64) + 64, end));
		sync_add_relaxed(&host->zeroing_ns, host_now_ns() - start);
	}
	tag_set(host, pfn, level, hkid);
}

void host_retag(struct host *host, pfn_t pfn, enum pg_level level, u16 hkid)
{
	tag_set(host, pfn, level, hkid);
}
