/* SPDX-License-Identifier: MIT */
/*
 * host/frame_allocator: the allocator's state, shared by memory.c (which places it) and alloc.c
 * (which owns it). Private to host.
 *
 * A block is 2M or 1G, and is divided into 512 parts of the next smaller size. All of its state is
 * zero while it is free, so the arrays cost nothing until a block is used:
 *
 *        free ----- taken whole -----> whole       the parent's bit; at 1G, which has no parent,
 *         |  \<---------------------/    |         `whole`
 *         |                          host_divide() (2M)
 *         |                              v
 *         +--- first part taken -----> divided     nr_used > 0; on the list of its level while
 *            <--- last part given ---/             nr_used < 512
 *
 * A 2M block that is whole or divided has its bit in its 1G block's `used`.
 *
 * Nothing outside the blocks that somebody has been given is ever written, nor what the host keeps
 * beside them: which ones those are is all that memory which outlives its host needs to know to become
 * as new (memory.c).
 */
#ifndef HOST_FRAME_ALLOCATOR_H
#define HOST_FRAME_ALLOCATOR_H

#include "base/sync.h"
#include "base/types.h"

struct frame_block {
	u64 used[PTRS_PER_TABLE / 64]; /* a bit a part */
	u32 prev, next;		       /* in its list, index + 1; 0 ends the list */
	u32 nr_used;		       /* bits in used */
	u32 whole;		       /* 1G only: taken as one */
};

/* Everything here and in the arrays is guarded by lock. */
struct frame_allocator {
	struct sync_mutex lock;
	struct frame_block *blocks[PG_LEVEL_1G + 1]; /* 2M and 1G, indexed by frame >> level */
	u32 divided[PG_LEVEL_1G + 1]; /* lists: divided blocks that have a free part */
	u32 free_1g;		      /* list: free blocks that have been used before */
	u64 nr_1g;
	u64 fresh_1g; /* from here on a 1G block that is free is on no list */
	/*
	 * For memory that outlives the host, elsewhere NULL: a bit a 2M block that has been in use, by
	 * itself or with its 1G block; and one whose frames were handed out singly.
	 */
	u64 *ever_taken, *ever_divided;
};

/** frame_allocator_bytes - room for the arrays of a host with @nr_frames frames */
u64 frame_allocator_bytes(u64 nr_frames);
/**
 * frame_allocator_init - all frames are free
 * @area: that much zero memory, which the caller keeps
 * @outlives: and will want to be as it was, by frame_allocator_scrub()
 */
void frame_allocator_init(struct frame_allocator *a, u64 nr_frames, void *area, bool outlives);
/** frame_allocator_scrub - nobody has ever taken anything; the area is all zero again */
void frame_allocator_scrub(struct frame_allocator *a);
void frame_allocator_exit(struct frame_allocator *a);

#endif
