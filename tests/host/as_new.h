/* SPDX-License-Identifier: MIT */
/* Whether memory that outlives hosts is, to the next one, as memory never used. */
#ifndef TESTS_HOST_AS_NEW_H
#define TESTS_HOST_AS_NEW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "host/memory.h"

/* Bytes of [@from, @end) of the mapping that are not zero. What isn't populated is. */
static inline u64 bytes_left(const struct host_memory *m, u64 from, u64 end)
{
	u64 left = 0, pages = (end - from) / PAGE_SIZE;
	u8 *populated = malloc(pages);

	assert_non_null(populated);
	assert_int_equal(mincore(m->base + from, end - from, populated), 0);
	for (u64 page = 0; page < pages; page++) {
		const u8 *byte = m->base + from + page * PAGE_SIZE;

		for (u64 i = 0; populated[page] & 1 && i < PAGE_SIZE; i++)
			left += byte[i] != 0;
	}
	free(populated);
	return left;
}

/*
 * What a host that begins in @m finds that isn't as it was: bytes of frames and of all that is beside
 * them, frames in use. Not looked at: tag_4k, whose words begin when their block is made mixed, and kept
 * blocks.
 */
static inline u64 left_behind(struct host_memory *m)
{
	const struct host_config cfg = {.memory_bytes = m->bytes, .lps = 1, .memory = m};
	struct host *host;
	u64 left;

	assert_int_equal(host_create(&cfg, &host), 0);
	left = bytes_left(m, 0, m->layout.tag_4k) +
	       bytes_left(m, m->layout.private, m->layout.kept) + host_frames_used(host) +
	       host->ever_poisoned;
	host_destroy(host);
	return left;
}

static inline void assert_as_new(struct host_memory *m)
{
	assert_int_equal(left_behind(m), 0);
}

#endif
