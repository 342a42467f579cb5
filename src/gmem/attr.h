/* SPDX-License-Identifier: MIT */
/*
 * gmem/attr: the private/shared attribute of every index of a file, as ranges that cover it without
 * a gap; equal neighbours are one range.
 *
 * The ranges are a balanced tree whose nodes never change once published. A change makes the nodes
 * on the way to its two ends anew, shares all others with the tree before, and publishes the new
 * root: O(log n) beside what it removes. So readers need an RCU section and no lock, and see one
 * state or the other. Those who change it hold gmem.invalidate_lock for writing.
 */
#ifndef GMEM_ATTR_H
#define GMEM_ATTR_H

#include "base/types.h"
#include "host/host.h"

struct gmem_attr_set;

/* Of a file whose indexes all agree, which most do: lookups need neither RCU nor the tree. */
enum gmem_attrs_all { GMEM_ALL_MIXED, GMEM_ALL_SHARED, GMEM_ALL_PRIVATE };

struct gmem_attrs {
	u64 nr_indexes;
	struct gmem_attr_set *set;
	u32 all; /* enum gmem_attrs_all: as in @set, or MIXED while that changes; atomic */
	struct host *host; /* whose host_alloc_fails() is asked for every node */
};

/** gmem_attrs_init - one range of @private over all @nr_indexes; 0 or -ENOMEM */
int gmem_attrs_init(struct gmem_attrs *attrs, struct host *host, u64 nr_indexes, bool private);
void gmem_attrs_destroy(struct gmem_attrs *attrs);

/** gmem_attrs_is_private - @index lies inside the file */
bool gmem_attrs_is_private(struct gmem_attrs *attrs, u64 index);
/** gmem_attrs_is_uniform - [@index, @index + @nr) isn't empty and lies inside the file */
bool gmem_attrs_is_uniform(struct gmem_attrs *attrs, u64 index, u64 nr);
u64 gmem_attrs_nr_ranges(struct gmem_attrs *attrs);
/** gmem_attrs_run_end - first index after @index whose attribute differs, @end at most */
u64 gmem_attrs_run_end(struct gmem_attrs *attrs, u64 index, u64 end);

/**
 * gmem_attrs_prepare - make all that is needed to give a range one attribute; changes nothing
 *
 * The range is as for is_uniform. Return: what gmem_attrs_commit() or gmem_attrs_abort() takes, or
 * NULL without memory. Attributes don't change in between, and it is the only one in the making.
 */
struct gmem_attr_set *gmem_attrs_prepare(const struct gmem_attrs *attrs, u64 index, u64 nr,
					 bool private);
/** gmem_attrs_commit - the change happens; can't fail */
void gmem_attrs_commit(struct gmem_attrs *attrs, struct gmem_attr_set *next);
void gmem_attrs_abort(struct gmem_attr_set *next);

/*
 * The same questions about attributes as they will be; and, by gmem_attrs_current(), as they are for
 * who keeps them from changing by a lock.
 */
const struct gmem_attr_set *gmem_attrs_current(const struct gmem_attrs *attrs);
bool gmem_attr_set_is_private(const struct gmem_attr_set *set, u64 index);
u64 gmem_attr_set_run_end(const struct gmem_attr_set *set, u64 index, u64 end);
/** gmem_attr_set_all_private - no index of [@index, @index + @nr) is shared */
bool gmem_attr_set_all_private(const struct gmem_attr_set *set, u64 index, u64 nr);

#endif
