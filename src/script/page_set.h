/* SPDX-License-Identifier: MIT */
/*
 * script/page_set: which guest pages a trace has touched and written so far. A hash of 2M blocks
 * with two bits a page, so that far-away gfns cost no more than near ones.
 */
#ifndef SCRIPT_PAGE_SET_H
#define SCRIPT_PAGE_SET_H

#include "base/types.h"

struct page_block;

struct page_set {
	struct page_block **bucket; /* open addressing; a power of two of them */
	u64 nr_buckets, nr_blocks;
	struct page_block *last; /* events stay near each other */
	u64 touched, written;	 /* distinct pages */
};

int page_set_init(struct page_set *set);
void page_set_destroy(struct page_set *set);

/**
 * page_set_access - note an access to @gfn
 *
 * @was_written: out, the page was written by an access before this one.
 * Return: 0 or -ENOMEM.
 */
int page_set_access(struct page_set *set, gfn_t gfn, bool write, bool *was_written);

#endif
