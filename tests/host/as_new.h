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
 * A host that begins in @m finds every bit zero, of frames and all that is beside them. Not looked at:
 * tag_4k, whose words begin when their block is made mixed, and kept blocks.
 */
static inline void assert_as_new(struct host_memory *m)
{
	const struct host_config cfg = {.memory_bytes = m->bytes, .lps = 1, .memory = m};
	struct host *host;

	assert_int_equal(host_create(&cfg, &host), 0);
	assert_int_equal(bytes_left(m, 0, m->layout.dirty), 0);
	assert_int_equal(bytes_left(m, m->layout.dirty, m->layout.tag_2m), 0);
	assert_int_equal(bytes_left(m, m->layout.tag_2m, m->layout.tag_4k), 0);
	assert_int_equal(bytes_left(m, m->layout.private, m->layout.allocator), 0);
	assert_int_equal(bytes_left(m, m->layout.allocator, m->layout.kept), 0);
	assert_int_equal(host_frames_used(host), 0);
	assert_int_equal(host->ever_poisoned, 0);
	host_destroy(host);
}

#endif
