/* SPDX-License-Identifier: MIT */
/*
 * base/sched: what the C library gives the program and takes back, by malloc() and by mmap(). All of
 * the program's calls come here (the linker's --wrap), for two reasons:
 *
 *  - What is given back is no object any more. Where the library puts the next thing depends on all
 *    that happened before in the process, and numbers of objects mustn't.
 *  - A run that was cut short has given nothing back: sched_give_back() does it then.
 *
 * The scheduler's own memory outlives runs and isn't noted: sched_own_calloc() and the like.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/sched_impl.h"

#define FIRST_BLOCKS 1024

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void __real_free(void *p);
void *__real_mmap64(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void __wrap_free(void *p);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *p, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);

/* ---- the scheduler's own ---------------------------------------------------------------------*/
void *sched_own_calloc(size_t n, size_t size)
{
	return __real_calloc(n, size);
}

void *sched_own_realloc(void *p, size_t size)
{
	return __real_realloc(p, size);
}

void sched_own_free(void *p)
{
	__real_free(p);
}

void *sched_own_map(size_t size, int prot)
{
	void *p =
		__real_mmap64(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void sched_own_unmap(void *p, size_t size)
{
	__real_munmap(p, size);
}

#define HEAP_STEP (1 << 20)
#define HEAP_KEPT (64 << 20)

void sched_keep_heap(void)
{
	mallopt(M_TOP_PAD, HEAP_STEP);
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	mallopt(M_MMAP_THRESHOLD, HEAP_STEP);
}

/* ---- what the program holds: a table of blocks by address ------------------------------------*/
static u32 home_of(const struct sched_blocks *b, const void *p)
{
	return (u32)((u64)(uintptr_t)p * 0x9E3779B97F4A7C15ULL >> 32) & (b->slots - 1);
}

/* The block at @p, or the free slot where it belongs. One is always free. */
static u32 find(const struct sched_blocks *b, const void *p)
{
	u32 i = home_of(b, p);

	while (b->slot[i].p && b->slot[i].p != p)
		i = (i + 1) & (b->slots - 1);
	return i;
}

static bool grow(struct sched_blocks *b)
{
	struct sched_blocks bigger = {.slots = b->slots ? 2 * b->slots : FIRST_BLOCKS};

	bigger.slot = __real_calloc(bigger.slots, sizeof(*bigger.slot));
	if (!bigger.slot)
		return false;
	for (u32 i = 0; i < b->slots; i++)
		if (b->slot[i].p)
			bigger.slot[find(&bigger, b->slot[i].p)] = b->slot[i];
	bigger.used = b->used;
	__real_free(b->slot);
	*b = bigger;
	return true;
}

/* Without memory for the table the block isn't noted, and lost if the run is cut. */
static void note(void *p, size_t mapped)
{
	struct sched_blocks *b = &sync_sched->blocks;

	if (!p || (2 * (b->used + 1) > b->slots && !grow(b)))
		return;
	b->slot[find(b, p)] = (struct sched_block){p, mapped};
	b->used++;
}

/* Those behind move up, so that none is found no more. */
static void close_gap(struct sched_blocks *b, u32 gap)
{
	u32 mask = b->slots - 1;

	for (u32 i = (gap + 1) & mask; b->slot[i].p; i = (i + 1) & mask) {
		u32 home = home_of(b, b->slot[i].p);

		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		b->slot[gap] = b->slot[i];
		gap = i;
	}
	b->slot[gap].p = NULL;
}

static void forget(const void *p, size_t size)
{
	struct sched_blocks *b = &sync_sched->blocks;
	u32 i;

	sched_forget(p, size);
	if (!b->used)
		return;
	i = find(b, p);
	if (!b->slot[i].p)
		return;
	close_gap(b, i);
	b->used--;
}

void sched_give_back(struct sched *s)
{
	struct sched_blocks *b = &s->blocks;

	for (u32 i = 0; i < b->slots && b->used; i++) {
		if (!b->slot[i].p)
			continue;
		if (b->slot[i].mapped)
			__real_munmap(b->slot[i].p, b->slot[i].mapped);
		else
			__real_free(b->slot[i].p);
		b->slot[i].p = NULL;
		b->used--;
	}
}

void sched_forget_blocks(struct sched *s)
{
	if (s->blocks.used)
		memset(s->blocks.slot, 0, s->blocks.slots * sizeof(*s->blocks.slot));
	s->blocks.used = 0;
}

/* ---- the calls -------------------------------------------------------------------------------*/
void *__wrap_malloc(size_t size)
{
	void *p = __real_malloc(size);

	if (unlikely(sync_sched))
		note(p, 0);
	return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
	void *p = __real_calloc(n, size);

	if (unlikely(sync_sched))
		note(p, 0);
	return p;
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	int err = __real_posix_memalign(p, align, size);

	if (unlikely(sync_sched) && !err)
		note(*p, 0);
	return err;
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	void *p = __real_aligned_alloc(align, size);

	if (unlikely(sync_sched))
		note(p, 0);
	return p;
}

void __wrap_free(void *p)
{
	if (unlikely(sync_sched) && p)
		forget(p, malloc_usable_size(p));
	__real_free(p);
}

/* Whether it moves depends on the process too: what was in it is new in either case. */
void *__wrap_realloc(void *p, size_t size)
{
	void *moved;

	if (likely(!sync_sched))
		return __real_realloc(p, size);
	if (p)
		forget(p, malloc_usable_size(p));
	moved = __real_realloc(p, size);
	note(moved ? moved : p, 0);
	return moved;
}

/* mmap() by another name, as the C library has it for large offsets. */
void *__wrap_mmap64(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
	return __wrap_mmap(p, size, prot, flags, fd, offset);
}

void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *mapping = __real_mmap64(p, size, prot, flags, fd, offset);

	if (unlikely(sync_sched) && mapping != MAP_FAILED)
		note(mapping, size);
	return mapping;
}

int __wrap_munmap(void *p, size_t size)
{
	if (unlikely(sync_sched))
		forget(p, size);
	return __real_munmap(p, size);
}
