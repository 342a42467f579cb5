/* SPDX-License-Identifier: MIT */
/* The hash of 2M blocks behind page_set.h. */
#include <errno.h>
#include <stdlib.h>

#include "script/page_set.h"

#define FIRST_BUCKETS 1024

struct page_block {
	u64 number; /* gfn >> 9 */
	u64 touched[PTRS_PER_TABLE / 64], written[PTRS_PER_TABLE / 64];
};

int page_set_init(struct page_set *set)
{
	*set = (struct page_set){.nr_buckets = FIRST_BUCKETS};
	set->bucket = calloc(set->nr_buckets, sizeof(struct page_block *));
	return set->bucket ? 0 : -ENOMEM;
}

void page_set_destroy(struct page_set *set)
{
	for (u64 i = 0; i < set->nr_buckets; i++)
		free(set->bucket[i]);
	free(set->bucket);
}

/* Where @number is, or where it belongs. At least a quarter of the buckets is empty. */
static struct page_block **find(struct page_block **bucket, u64 nr_buckets, u64 number)
{
	u64 at = (number * 0x9E3779B97F4A7C15ULL) >> 20 & (nr_buckets - 1);

	while (bucket[at] && bucket[at]->number != number)
		at = (at + 1) & (nr_buckets - 1);
	return &bucket[at];
}

static int grow(struct page_set *set)
{
	u64 nr = set->nr_buckets * 2;
	struct page_block **bucket = calloc(nr, sizeof(struct page_block *));

	if (!bucket)
		return -ENOMEM;
	for (u64 i = 0; i < set->nr_buckets; i++) {
		struct page_block *b = set->bucket[i];

		if (b)
			*find(bucket, nr, b->number) = b;
	}
	free(set->bucket);
	set->bucket = bucket;
	set->nr_buckets = nr;
	return 0;
}

static struct page_block *block_of(struct page_set *set, u64 number)
{
	struct page_block **slot = find(set->bucket, set->nr_buckets, number);

	if (*slot)
		return *slot;
	if (set->nr_blocks >= set->nr_buckets / 4 * 3) {
		if (grow(set))
			return NULL;
		slot = find(set->bucket, set->nr_buckets, number);
	}
	*slot = calloc(1, sizeof(**slot));
	if (!*slot)
		return NULL;
	(*slot)->number = number;
	set->nr_blocks++;
	return *slot;
}

int page_set_access(struct page_set *set, gfn_t gfn, bool write, bool *was_written)
{
	u64 word = gfn % PTRS_PER_TABLE / 64, bit = BIT_ULL(gfn % 64);
	struct page_block *b = set->last;

	if (!b || b->number != gfn / PTRS_PER_TABLE) {
		b = block_of(set, gfn / PTRS_PER_TABLE);
		if (!b)
			return -ENOMEM;
		set->last = b;
	}
	*was_written = b->written[word] & bit;
	if (!(b->touched[word] & bit)) {
		b->touched[word] |= bit;
		set->touched++;
	}
	if (write && !*was_written) {
		b->written[word] |= bit;
		set->written++;
	}
	return 0;
}
