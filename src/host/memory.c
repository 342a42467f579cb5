/* SPDX-License-Identifier: MIT */
/*
 * host/memory: the reserved range and what lies beside it. One mapping holds guest-visible memory
 * and all bookkeeping, each a lazily populated slice, so a host costs two system calls to make and
 * one to end, whatever its size.
 */
#include "host/host.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "host/frame_allocator.h"

/* Where the slices lie in the mapping, in bytes from its start; memory itself is at 0. */
struct layout {
	u64 dirty, tag_2m, tag_4k, private, allocator, end;
};

static struct layout layout_of(u64 bytes)
{
	u64 frames = addr_to_fn(bytes);
	struct layout l;

	l.dirty = bytes;
	l.tag_2m = l.dirty + ALIGN_UP(frames / 8, PAGE_SIZE);
	l.tag_4k = l.tag_2m + ALIGN_UP(frames / PTRS_PER_TABLE * sizeof(u16), PAGE_SIZE);
	l.private = l.tag_4k + ALIGN_UP(frames * sizeof(u16), PAGE_SIZE);
	l.allocator = l.private + ALIGN_UP(frames * sizeof(void *), PAGE_SIZE);
	l.end = l.allocator + ALIGN_UP(frame_allocator_bytes(frames), PAGE_SIZE);
	return l;
}

int host_create(const struct host_config *cfg, struct host **out)
{
	/* Above this no 52-bit physical address reaches, and the layout's sums could wrap. */
	const u64 most = 1ULL << 52;
	struct layout l;
	struct host *host;
	void *mapping;
	u8 *base;

	if (!cfg->memory_bytes || !IS_ALIGNED(cfg->memory_bytes, SIZE_1G) ||
	    cfg->memory_bytes > most)
		return -EINVAL;
	l = layout_of(cfg->memory_bytes);
	host = calloc(1, sizeof(*host) + sizeof(*host->allocator));
	if (!host)
		return -ENOMEM;
	mapping = mmap(NULL, l.end + HOST_ALIGN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapping == MAP_FAILED) {
		free(host);
		return -ENOMEM;
	}
	/* A huge page of ours would make one guest write resident as 2M. Without THP this fails. */
	madvise(mapping, l.end + HOST_ALIGN, MADV_NOHUGEPAGE);
	base = (u8 *)(uintptr_t)ALIGN_UP((uintptr_t)mapping, HOST_ALIGN);

	host->mapping = mapping;
	host->memory = base;
	host->memory_bytes = cfg->memory_bytes;
	host->nr_frames = addr_to_fn(cfg->memory_bytes);
	host->nr_lps = cfg->lps;
	host->nr_packages = cfg->packages ? cfg->packages : 1;
	host->dirty = (u64 *)(void *)(base + l.dirty);
	host->tag_2m = (u16 *)(void *)(base + l.tag_2m);
	host->tag_4k = (u16 *)(void *)(base + l.tag_4k);
	host->private = (void **)(void *)(base + l.private);
	host->allocator = (struct frame_allocator *)(host + 1);
	frame_allocator_init(host->allocator, host->nr_frames, base + l.allocator);
	host->bugs.planted = cfg->planted_bugs;
	host->vm_memory_attributes = cfg->vm_memory_attributes;
	*out = host;
	return 0;
}

void host_destroy(struct host *host)
{
	u64 bytes = layout_of(host->memory_bytes).end + HOST_ALIGN;

	frame_allocator_exit(host->allocator);
	sync_forget(host->mapping, bytes);
	munmap(host->mapping, bytes);
	free(host);
}

u64 host_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000000000 + (u64)now.tv_nsec;
}
