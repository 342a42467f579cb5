/* SPDX-License-Identifier: MIT */
/*
 * host/memory: the reserved range and what lies beside it. One mapping holds guest-visible memory
 * and all bookkeeping, each a lazily populated slice, so a host costs two system calls to make and
 * one to end, whatever its size.
 *
 * Memory that outlives its hosts saves these too, and the pages that every host would populate anew. It
 * is made as new when the next host takes it, not when one ends: one that was cut short never comes to
 * its end. All that a host can have written it finds from what its allocator has ever handed out:
 *
 *	frames		by their dirty bits
 *	dirty, tag_2m	of those blocks
 *	tag_4k		not at all: words mean nothing until their block is made mixed, which fills them
 *	private		of blocks whose frames were handed out singly
 *	allocator	by itself
 *
 * One write leaves no dirty bit: a lock of the module in a PAMT page that is all zero otherwise. It is
 * zero again when the leaf has ended; of a host that was cut short, frames that are clean but populated
 * are looked through. mincore() doesn't say of a page that it has been swapped out: a host that was cut
 * short in the very moments in which the system did that to such a page would leave its lock behind.
 */
#include "host/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Blocks that outlive a host have this much room: address space, no memory. */
#define KEPT_BYTES (64ULL << 20)

static struct memory_layout layout_of(u64 bytes, u64 kept)
{
	u64 frames = addr_to_fn(bytes);
	struct memory_layout l;

	l.dirty = bytes;
	l.tag_2m = l.dirty + ALIGN_UP(frames / 8, PAGE_SIZE);
	l.tag_4k = l.tag_2m + ALIGN_UP(frames / PTRS_PER_TABLE * sizeof(u16), PAGE_SIZE);
	l.private = l.tag_4k + ALIGN_UP(frames * sizeof(u16), PAGE_SIZE);
	l.allocator = l.private + ALIGN_UP(frames * sizeof(void *), PAGE_SIZE);
	l.kept = l.allocator + ALIGN_UP(frame_allocator_bytes(frames), PAGE_SIZE);
	l.end = l.kept + kept;
	return l;
}

/* Above this no 52-bit physical address reaches, and the layout's sums could wrap. */
static bool is_memory_size(u64 bytes)
{
	return bytes && IS_ALIGNED(bytes, SIZE_1G) && bytes <= 1ULL << 52;
}

static int map(struct host_memory *m, u64 bytes, u64 kept)
{
	m->layout = layout_of(bytes, kept);
	m->mapping = mmap(NULL, m->layout.end + HOST_ALIGN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->mapping == MAP_FAILED)
		return -ENOMEM;
	/* A huge page of ours would make one guest write resident as 2M. Without THP this fails. */
	madvise(m->mapping, m->layout.end + HOST_ALIGN, MADV_NOHUGEPAGE);
	m->base = (u8 *)(uintptr_t)ALIGN_UP((uintptr_t)m->mapping, HOST_ALIGN);
	m->bytes = bytes;
	m->at_rest = true;
	return 0;
}

static void unmap(struct host_memory *m)
{
	munmap(m->mapping, m->layout.end + HOST_ALIGN);
}

/* ---- memory that outlives hosts --------------------------------------------------------------*/
#if defined(__SANITIZE_ADDRESS__)
#define OUTLIVES false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OUTLIVES false
#endif
#endif
#ifndef OUTLIVES
#define OUTLIVES true
#endif

int host_memory_fit(struct host_memory **memory, u64 bytes)
{
	struct host_memory *m = *memory;
	int err;

	if (!is_memory_size(bytes))
		return -EINVAL;
	/* What looks for accesses to what is gone gets to see them: each host's memory goes with it. */
	if (!OUTLIVES || (m && bytes <= m->bytes))
		return 0;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	err = map(m, bytes, KEPT_BYTES);
	if (err) {
		free(m);
		return err;
	}
	host_memory_destroy(*memory);
	*memory = m;
	return 0;
}

void host_memory_destroy(struct host_memory *m)
{
	if (!m)
		return;
	unmap(m);
	free(m);
}

void *host_keep(struct host *host, u64 index, u64 bytes, bool *kept)
{
	struct host_memory *m = host->lies_in;
	u64 at = index * ALIGN_UP(bytes, PAGE_SIZE);

	if (at + bytes > m->layout.end - m->layout.kept)
		return NULL;
	*kept = index < m->nr_kept;
	m->nr_kept = max_u64(m->nr_kept, index + 1);
	return m->base + m->layout.kept + at;
}

/* ---- as new ----------------------------------------------------------------------------------*/
static void *slice(const struct host_memory *m, u64 at)
{
	return m->base + at;
}

static bool is_zero(const void *frame)
{
	const u64 *word = frame;
	u64 any = 0;

	for (unsigned int i = 0; i < PAGE_SIZE / sizeof(*word); i++)
		any |= word[i];
	return !any;
}

/* The 64 frames at @pfn: @bits are dirty, [@populated] says who else can be anything but zero. */
static void scrub_frames(struct host_memory *m, pfn_t pfn, u64 bits, const u8 *populated)
{
	for (u64 left = bits; left; left &= left - 1)
		memset(slice(m, fn_to_addr(pfn + (u64)__builtin_ctzll(left))), 0, PAGE_SIZE);
	for (unsigned int i = 0; populated && i < 64; i++) {
		u8 *frame = slice(m, fn_to_addr(pfn + i));

		if (populated[i] & 1 && !(bits >> i & 1) && !is_zero(frame))
			memset(frame, 0, PAGE_SIZE);
	}
}

static void scrub_block(struct host_memory *m, u64 block, bool divided)
{
	const u64 frames = PTRS_PER_TABLE;
	u64 *dirty = slice(m, m->layout.dirty + block * frames / 8);
	u8 populated[PTRS_PER_TABLE];
	bool look = !m->at_rest;

	/* One that can't be asked of counts as populated throughout. */
	if (look && mincore(slice(m, block * SIZE_2M), SIZE_2M, populated))
		memset(populated, 1, sizeof(populated));
	for (unsigned int word = 0; word < frames / 64; word++) {
		if (dirty[word] || look)
			scrub_frames(m, block * frames + word * 64, dirty[word],
				     look ? &populated[word * 64] : NULL);
		if (dirty[word])
			dirty[word] = 0;
	}
	((u16 *)slice(m, m->layout.tag_2m))[block] = 0;
	if (divided)
		memset(slice(m, m->layout.private + block * frames * sizeof(void *)), 0,
		       frames * sizeof(void *));
}

static void make_as_new(struct host_memory *m)
{
	struct frame_allocator *a = &m->allocator;

	for (u64 i = 0; i < a->nr_1g * PTRS_PER_TABLE / 64; i++) {
		for (u64 left = a->ever_taken[i]; left; left &= left - 1) {
			unsigned int bit = (unsigned int)__builtin_ctzll(left);

			scrub_block(m, i * 64 + bit, a->ever_divided[i] >> bit & 1);
		}
	}
	frame_allocator_scrub(a);
}

/* ---- a host ----------------------------------------------------------------------------------*/

/* Of a host with memory of its own: all in one block. */
struct whole_host {
	struct host host;
	struct host_memory own;
};

int host_create(const struct host_config *cfg, struct host **out)
{
	struct host_memory *m = cfg->memory;
	struct whole_host *whole;
	struct host *host;

	if (!is_memory_size(cfg->memory_bytes) || (m && cfg->memory_bytes > m->bytes))
		return -EINVAL;
	whole = calloc(1, sizeof(*whole));
	if (!whole)
		return -ENOMEM;
	host = &whole->host;
	if (m) {
		make_as_new(m);
	} else {
		m = &whole->own;
		if (map(m, cfg->memory_bytes, 0)) {
			free(whole);
			return -ENOMEM;
		}
	}
	m->at_rest = false;
	host->lies_in = m;
	host->memory = m->base;
	host->memory_bytes = cfg->memory_bytes;
	host->nr_frames = addr_to_fn(cfg->memory_bytes);
	host->nr_lps = cfg->lps;
	host->nr_packages = cfg->packages ? cfg->packages : 1;
	host->dirty = slice(m, m->layout.dirty);
	host->tag_2m = slice(m, m->layout.tag_2m);
	host->tag_4k = slice(m, m->layout.tag_4k);
	host->private = slice(m, m->layout.private);
	host->allocator = &m->allocator;
	frame_allocator_init(host->allocator, host->nr_frames, slice(m, m->layout.allocator),
			     cfg->memory);
	host->bugs = cfg->planted_bugs;
	host->vm_memory_attributes = cfg->vm_memory_attributes;
	*out = host;
	return 0;
}

void host_destroy(struct host *host)
{
	struct whole_host *whole = container_of(host, struct whole_host, host);
	struct host_memory *m = host->lies_in;

	frame_allocator_exit(host->allocator);
	sync_forget(m->mapping, m->layout.end + HOST_ALIGN);
	m->at_rest = true;
	if (m == &whole->own)
		unmap(m);
	free(whole);
}

u64 host_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000000000 + (u64)now.tv_nsec;
}
