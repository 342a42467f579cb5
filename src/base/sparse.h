/* SPDX-License-Identifier: MIT */
/*
 * base/sparse: zeroed arrays of which little may ever be used: a word a page of a TD, which may have
 * 16 GiB or 4 MiB. Large ones are populated where they are touched, at the price of system calls; small
 * ones come from the heap.
 */
#ifndef BASE_SPARSE_H
#define BASE_SPARSE_H

#include <stdlib.h>
#include <sys/mman.h>

#include "base/types.h"

#define SPARSE_HEAP_BYTES (128ULL << 10)

/** sparse_alloc - @bytes, all zero; NULL: no room. sparse_free() wants the same number */
static inline void *sparse_alloc(u64 bytes)
{
	void *p;

	if (bytes <= SPARSE_HEAP_BYTES)
		return calloc(1, bytes);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* A huge page of ours would be resident for one word. Without THP this fails. */
	madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

static inline void sparse_free(void *p, u64 bytes)
{
	if (bytes <= SPARSE_HEAP_BYTES)
		free(p);
	else if (p)
		munmap(p, bytes);
}

#endif
