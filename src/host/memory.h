/* SPDX-License-Identifier: MIT */
/*
 * host/memory: the mapping that a host lies in, its own or one that outlives it. Private to host.
 */
#ifndef HOST_MEMORY_H
#define HOST_MEMORY_H

#include "host/frame_allocator.h"
#include "host/host.h"

/* Where the slices lie in the mapping, in bytes from its start; memory itself is at 0. */
struct memory_layout {
	u64 dirty, tag_2m, tag_4k, private, allocator, kept, end;
};

struct host_memory {
	void *mapping;
	u8 *base;  /* physical address 0 */
	u64 bytes; /* of the largest host that it holds */
	struct memory_layout layout;
	struct frame_allocator allocator; /* of the last host */
	bool at_rest; /* there is no host, and the last one has ended: wasn't just left */
	u64 nr_kept;  /* blocks that host_keep() has ever given */
};

#endif
