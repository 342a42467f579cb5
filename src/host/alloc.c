/* SPDX-License-Identifier: MIT */
/*
 * host/alloc: 4K, 2M and 1G frames. frame_allocator.h has the states; every operation costs a fixed
 * number of steps, a reserve as many as it touches 1G blocks.
 *
 * Small frames come from a block that is divided already, so that whole blocks stay whole as long
 * as possible. A block whose last part comes back is free again at once: nothing else coalesces.
 */
#include "host/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/frame_allocator.h"

/* Parts of a block, as bits: the run [first, first + count) of one word of `used`, not empty. */
static u64 run_mask(unsigned int first, unsigned int count)
{
	return (count == 64 ? ~0ULL : BIT_ULL(count) - 1) << first;
}

/* Bytes of a bit for each 2M block. */
static u64 bitmap_bytes(u64 nr_1g)
{
	return nr_1g * (PTRS_PER_TABLE / 8);
}

u64 frame_allocator_bytes(u64 nr_frames)
{
	u64 nr_1g = nr_frames / pages_per_level(PG_LEVEL_1G);

	return 2 * bitmap_bytes(nr_1g) +
	       (nr_1g + nr_1g * PTRS_PER_TABLE) * sizeof(struct frame_block);
}

void frame_allocator_init(struct frame_allocator *a, u64 nr_frames, void *area, bool outlives)
{
	memset(a, 0, sizeof(*a));
	a->nr_1g = nr_frames / pages_per_level(PG_LEVEL_1G);
	a->blocks[PG_LEVEL_1G] = area;
	a->blocks[PG_LEVEL_2M] = a->blocks[PG_LEVEL_1G] + a->nr_1g;
	if (outlives) {
		a->ever_taken = (void *)(a->blocks[PG_LEVEL_2M] + a->nr_1g * PTRS_PER_TABLE);
		a->ever_divided = a->ever_taken + bitmap_bytes(a->nr_1g) / sizeof(u64);
	}
	sync_mutex_init(&a->lock, LOCK_HOST_ALLOC);
}

void frame_allocator_scrub(struct frame_allocator *a)
{
	for (u64 i = 0; i < a->nr_1g; i++) {
		u64 *taken = &a->ever_taken[i * (PTRS_PER_TABLE / 64)];
		u64 *divided = &a->ever_divided[i * (PTRS_PER_TABLE / 64)];

		for (unsigned int word = 0; word < PTRS_PER_TABLE / 64; word++) {
			struct frame_block *b =
				&a->blocks[PG_LEVEL_2M][i * PTRS_PER_TABLE + word * 64];

			for (u64 left = divided[word]; left; left &= left - 1)
				memset(&b[__builtin_ctzll(left)], 0, sizeof(*b));
			if (taken[word])
				memset(&a->blocks[PG_LEVEL_1G][i], 0, sizeof(*b));
			taken[word] = 0;
			divided[word] = 0;
		}
	}
}

void frame_allocator_exit(struct frame_allocator *a)
{
	sync_mutex_destroy(&a->lock);
}

static _Noreturn void broken(const char *what, pfn_t pfn, enum pg_level level, enum frame_use use)
{
	fprintf(stderr, "host: %s: frame 0x%llx, level %d, %s\n", what, (unsigned long long)pfn,
		(int)level, frame_use_name(use));
	abort();
}

/* ---- lists of blocks of one level ------------------------------------------------------------*/

static void list_add(struct frame_block *blocks, u32 *list, u64 index)
{
	struct frame_block *b = &blocks[index];

	b->prev = 0;
	b->next = *list;
	if (*list)
		blocks[*list - 1].prev = (u32)index + 1;
	*list = (u32)index + 1;
}

static void list_del(struct frame_block *blocks, u32 *list, u64 index)
{
	struct frame_block *b = &blocks[index];

	if (b->prev)
		blocks[b->prev - 1].next = b->next;
	else
		*list = b->next;
	if (b->next)
		blocks[b->next - 1].prev = b->prev;
	b->prev = 0;
	b->next = 0;
}

/* ---- blocks and their parts ------------------------------------------------------------------*/

static bool is_free_1g(const struct frame_allocator *a, u64 index)
{
	const struct frame_block *b = &a->blocks[PG_LEVEL_1G][index];

	return !b->whole && !b->nr_used;
}

/*
 * A free 1G block. Used ones are taken again first, since their memory may be resident. A block
 * past fresh_1g that a reserve took and gave back is found when fresh_1g gets there.
 */
static bool take_1g(struct frame_allocator *a, u64 *index)
{
	if (a->free_1g) {
		*index = a->free_1g - 1;
		list_del(a->blocks[PG_LEVEL_1G], &a->free_1g, *index);
		return true;
	}
	while (a->fresh_1g < a->nr_1g) {
		*index = a->fresh_1g++;
		if (is_free_1g(a, *index))
			return true;
	}
	return false;
}

/* Takes the free 1G block @index, wherever it is. */
static void take_1g_at(struct frame_allocator *a, u64 index)
{
	if (index < a->fresh_1g)
		list_del(a->blocks[PG_LEVEL_1G], &a->free_1g, index);
}

static void give_1g(struct frame_allocator *a, u64 index)
{
	if (index < a->fresh_1g)
		list_add(a->blocks[PG_LEVEL_1G], &a->free_1g, index);
}

/* For who makes the memory as new: @count parts of block @index have been in use. */
static __attribute__((cold, noinline)) void note_used(struct frame_allocator *a,
						      enum pg_level level, u64 index,
						      unsigned int first, unsigned int count)
{
	if (level == PG_LEVEL_2M)
		a->ever_divided[index / 64] |= BIT_ULL(index % 64);
	else if (count == PTRS_PER_TABLE)
		memset(&a->ever_taken[index * (PTRS_PER_TABLE / 64)], 0xFF, PTRS_PER_TABLE / 8);
	else
		a->ever_taken[(index * PTRS_PER_TABLE + first) / 64] |= run_mask(first % 64, count);
}

/* Notes that @count parts of block @index of @level, from @first in one word, are in use now. */
static void mark_used(struct frame_allocator *a, enum pg_level level, u64 index, unsigned int first,
		      unsigned int count)
{
	struct frame_block *b = &a->blocks[level][index];
	bool listed = b->nr_used;

	b->used[first / 64] |= run_mask(first % 64, count);
	b->nr_used += count;
	if (unlikely(a->ever_taken))
		note_used(a, level, index, first, count);
	if (!listed)
		list_add(a->blocks[level], &a->divided[level], index);
	if (b->nr_used == PTRS_PER_TABLE)
		list_del(a->blocks[level], &a->divided[level], index);
}

/* Notes that the free 1G block @index is in use now, as one. */
static void mark_whole(struct frame_allocator *a, u64 index)
{
	a->blocks[PG_LEVEL_1G][index].whole = 1;
	if (unlikely(a->ever_taken))
		note_used(a, PG_LEVEL_1G, index, 0, PTRS_PER_TABLE);
}

static void mark_unused(struct frame_allocator *a, enum pg_level level, u64 index,
			unsigned int first, unsigned int count);

/* Gives the free block @index of @level back to its parent, or to the free 1G blocks. */
static void give_block(struct frame_allocator *a, enum pg_level level, u64 index)
{
	if (level == PG_LEVEL_1G)
		give_1g(a, index);
	else
		mark_unused(a, level + 1, index / PTRS_PER_TABLE, index % PTRS_PER_TABLE, 1);
}

static void mark_unused(struct frame_allocator *a, enum pg_level level, u64 index,
			unsigned int first, unsigned int count)
{
	struct frame_block *b = &a->blocks[level][index];

	if (b->nr_used == PTRS_PER_TABLE)
		list_add(a->blocks[level], &a->divided[level], index);
	b->used[first / 64] &= ~run_mask(first % 64, count);
	b->nr_used -= count;
	if (!b->nr_used) {
		list_del(a->blocks[level], &a->divided[level], index);
		give_block(a, level, index);
	}
}

static unsigned int first_unused(const struct frame_block *b)
{
	unsigned int word = 0;

	while (b->used[word] == ~0ULL)
		word++;
	return word * 64 + (unsigned int)__builtin_ctzll(~b->used[word]);
}

/* Takes a free block of @level, by its number at that level: a part of a block one level up. */
static bool take_block(struct frame_allocator *a, enum pg_level level, u64 *index)
{
	enum pg_level up = level + 1;
	unsigned int part;
	u64 parent;

	if (level == PG_LEVEL_1G)
		return take_1g(a, index);
	if (a->divided[up])
		parent = a->divided[up] - 1;
	else if (!take_block(a, up, &parent))
		return false;
	part = first_unused(&a->blocks[up][parent]);
	mark_used(a, up, parent, part, 1);
	*index = parent * PTRS_PER_TABLE + part;
	return true;
}

static bool is_used(const struct frame_block *b, u64 part)
{
	return b->used[part / 64] >> part % 64 & 1;
}

/* Is the block @index of @level in use, and as one block of that size? */
static bool is_allocated(const struct frame_allocator *a, enum pg_level level, u64 index)
{
	if (level == PG_LEVEL_1G)
		return a->blocks[level][index].whole;
	if (!is_used(&a->blocks[level + 1][index / PTRS_PER_TABLE], index % PTRS_PER_TABLE))
		return false;
	return level == PG_LEVEL_4K || !a->blocks[level][index].nr_used;
}

/* ---- allocation ------------------------------------------------------------------------------*/

static void account(struct host *host, enum frame_use use, u64 frames)
{
	sync_add_relaxed(&host->used[use], frames);
}

#ifdef SEPTUM_CHECK
void host_fail_alloc_at(struct host *host, u64 n)
{
	sync_store(&host->fail_alloc_at, n);
}

bool host_alloc_fails(struct host *host)
{
	u64 left = sync_load_quiet(&host->fail_alloc_at);

	/* Of threads that allocate at once each takes one step of the countdown. */
	while (left) {
		if (sync_cmpxchg(&host->fail_alloc_at, &left, left - 1))
			return left == 1;
	}
	return false;
}
#else
void host_fail_alloc_at(struct host *host, u64 n)
{
	(void)host;
	(void)n;
}

bool host_alloc_fails(struct host *host)
{
	(void)host;
	return false;
}
#endif

int host_alloc(struct host *host, enum pg_level level, enum frame_use use, pfn_t *pfn)
{
	struct frame_allocator *a = host->allocator;
	u64 index = 0;
	bool found;

	if (unlikely(host_alloc_fails(host)))
		return -ENOMEM;
	sync_mutex_lock(&a->lock);
	found = take_block(a, level, &index);
	if (found && level == PG_LEVEL_1G)
		mark_whole(a, index);
	sync_mutex_unlock(&a->lock);
	if (!found)
		return -ENOMEM;
	account(host, use, pages_per_level(level));
	*pfn = index * pages_per_level(level);
	return 0;
}

#ifdef SEPTUM_CHECK
/* A frame that comes back under a private key was never taken back from the module. */
static void check_no_key(const struct host *host, pfn_t pfn, enum pg_level level,
			 enum frame_use use)
{
	pfn_t end = pfn + pages_per_level(level);

	while (pfn < end) {
		if (host_tag(host, pfn) & TAG_HKID)
			broken("freeing a frame that still has a private key id", pfn, level, use);
		/* A uniform block answers for all its frames. */
		if (sync_load(&host->tag_2m[pfn / PTRS_PER_TABLE]) & TAG_MIXED)
			pfn++;
		else
			pfn = fn_align_down(pfn, PG_LEVEL_2M) + PTRS_PER_TABLE;
	}
}
#else
#define check_no_key(host, pfn, level, use) ((void)(host), (void)(pfn))
#endif

void host_free(struct host *host, pfn_t pfn, enum pg_level level, enum frame_use use)
{
	struct frame_allocator *a = host->allocator;
	u64 index = pfn / pages_per_level(level);

	check_no_key(host, pfn, level, use);
	sync_mutex_lock(&a->lock);
	if (pfn % pages_per_level(level) || pfn >= host->nr_frames ||
	    !is_allocated(a, level, index))
		broken("freeing what isn't allocated", pfn, level, use);
	if (level == PG_LEVEL_1G)
		a->blocks[level][index].whole = 0;
	give_block(a, level, index);
	sync_mutex_unlock(&a->lock);
	account(host, use, 0 - pages_per_level(level));
}

void host_divide(struct host *host, pfn_t pfn)
{
	struct frame_allocator *a = host->allocator;
	u64 index = pfn / PTRS_PER_TABLE;

	sync_mutex_lock(&a->lock);
	if (pfn % PTRS_PER_TABLE || pfn >= host->nr_frames || !is_allocated(a, PG_LEVEL_2M, index))
		broken("dividing what isn't allocated", pfn, PG_LEVEL_2M, FRAME_OTHER);
	for (unsigned int word = 0; word < PTRS_PER_TABLE / 64; word++)
		mark_used(a, PG_LEVEL_2M, index, word * 64, 64);
	sync_mutex_unlock(&a->lock);
}

void host_change_use(struct host *host, u64 frames, enum frame_use from, enum frame_use to)
{
	account(host, from, 0 - frames);
	account(host, to, frames);
}

/* ---- fixed ranges, in units of 2M -------------------------------------------------------------*/

/* A run of a range: a whole 1G block (parts 0, count 512), or parts inside one word of one. */
struct reserve_run {
	u64 index;
	unsigned int first, count;
};

static struct reserve_run next_run(u64 part, u64 end)
{
	struct reserve_run run = {part / PTRS_PER_TABLE, part % PTRS_PER_TABLE, PTRS_PER_TABLE};

	if (run.first || end - part < PTRS_PER_TABLE)
		run.count = (unsigned int)min_u64(64 - run.first % 64, end - part);
	return run;
}

static bool run_is_whole(const struct reserve_run *run)
{
	return run->count == PTRS_PER_TABLE;
}

static bool run_is_free(const struct frame_allocator *a, const struct reserve_run *run)
{
	const struct frame_block *b = &a->blocks[PG_LEVEL_1G][run->index];

	if (run_is_whole(run))
		return is_free_1g(a, run->index);
	return !b->whole && !(b->used[run->first / 64] & run_mask(run->first % 64, run->count));
}

static void run_take(struct frame_allocator *a, const struct reserve_run *run)
{
	if (is_free_1g(a, run->index))
		take_1g_at(a, run->index);
	if (run_is_whole(run))
		mark_whole(a, run->index);
	else
		mark_used(a, PG_LEVEL_1G, run->index, run->first, run->count);
}

/* Is every part of @run in use? */
static bool run_is_reserved(const struct frame_allocator *a, const struct reserve_run *run)
{
	const struct frame_block *b = &a->blocks[PG_LEVEL_1G][run->index];

	if (run_is_whole(run))
		return b->whole;
	return !(~b->used[run->first / 64] & run_mask(run->first % 64, run->count));
}

static bool range_is_sound(const struct host *host, pfn_t pfn, u64 count)
{
	return count && !((pfn | count) % pages_per_level(PG_LEVEL_2M)) && pfn < host->nr_frames &&
	       count <= host->nr_frames - pfn;
}

int host_reserve(struct host *host, pfn_t pfn, u64 count, enum frame_use use)
{
	struct frame_allocator *a = host->allocator;
	u64 part = pfn / PTRS_PER_TABLE, end = (pfn + count) / PTRS_PER_TABLE;
	struct reserve_run run;
	bool free = true;

	if (!range_is_sound(host, pfn, count))
		return -EINVAL;
	sync_mutex_lock(&a->lock);
	for (u64 p = part; p < end && free; p += run.count) {
		run = next_run(p, end);
		free = run_is_free(a, &run);
	}
	for (u64 p = part; p < end && free; p += run.count) {
		run = next_run(p, end);
		run_take(a, &run);
	}
	sync_mutex_unlock(&a->lock);
	if (!free)
		return -EBUSY;
	account(host, use, count);
	return 0;
}

void host_unreserve(struct host *host, pfn_t pfn, u64 count, enum frame_use use)
{
	struct frame_allocator *a = host->allocator;
	u64 part = pfn / PTRS_PER_TABLE, end = (pfn + count) / PTRS_PER_TABLE;
	struct reserve_run run;

	if (!range_is_sound(host, pfn, count))
		broken("unreserving no such range", pfn, PG_LEVEL_2M, use);
	sync_mutex_lock(&a->lock);
	for (; part < end; part += run.count) {
		run = next_run(part, end);
		if (!run_is_reserved(a, &run))
			broken("unreserving what isn't reserved", part * PTRS_PER_TABLE,
			       PG_LEVEL_2M, use);
		if (run_is_whole(&run)) {
			a->blocks[PG_LEVEL_1G][run.index].whole = 0;
			give_1g(a, run.index);
		} else {
			mark_unused(a, PG_LEVEL_1G, run.index, run.first, run.count);
		}
	}
	sync_mutex_unlock(&a->lock);
	account(host, use, 0 - count);
}

u64 host_frames_used(const struct host *host)
{
	u64 sum = 0;

	for (unsigned int use = 0; use < FRAME_USE_COUNT; use++)
		sum += sync_load(&host->used[use]);
	return sum;
}

const char *frame_use_name(enum frame_use use)
{
	static const char *const names[] = {
		[FRAME_MIRROR_TABLE] = "mirror table",
		[FRAME_DIRECT_TABLE] = "direct table",
		[FRAME_SEPT_TABLE] = "S-EPT table",
		[FRAME_TD_CONTROL] = "TD control page",
		[FRAME_PAMT] = "PAMT",
		[FRAME_GUEST] = "guest memory",
		[FRAME_HUGETLB] = "free huge page",
		[FRAME_VMEMMAP] = "page descriptors",
		[FRAME_FAILED] = "failed memory",
		[FRAME_OTHER] = "other",
	};

	_Static_assert(ARRAY_SIZE(names) == FRAME_USE_COUNT, "every use has a name");
	return names[use];
}
