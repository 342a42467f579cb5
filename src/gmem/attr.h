/* SPDX-License-Identifier: MIT */
/*
 * gmem/attr: the private/shared attribute of every index of a file, as sorted ranges that cover it
 * without a gap; equal neighbours are one range.
 *
 * The ranges are one immutable array. A change builds the next array and publishes it, so readers
 * need an RCU section and no lock. Those who change it hold gmem.invalidate_lock for writing.
 */
#ifndef GMEM_ATTR_H
#define GMEM_ATTR_H

#include "base/types.h"

struct gmem_attr_set;

struct gmem_attrs {
	u64 nr_indexes;
	struct gmem_attr_set *set;
};

/** gmem_attrs_init - one range of @private over all @nr_indexes; 0 or -ENOMEM */
int gmem_attrs_init(struct gmem_attrs *attrs, u64 nr_indexes, bool private);
void gmem_attrs_destroy(struct gmem_attrs *attrs);

/** gmem_attrs_is_private - @index lies inside the file */
bool gmem_attrs_is_private(struct gmem_attrs *attrs, u64 index);
/** gmem_attrs_is_uniform - [@index, @index + @nr) isn't empty and lies inside the file */
bool gmem_attrs_is_uniform(struct gmem_attrs *attrs, u64 index, u64 nr);
u64 gmem_attrs_nr_ranges(struct gmem_attrs *attrs);

/**
 * gmem_attrs_prepare - make all that is needed to give a range one attribute; changes nothing
 *
 * The range is as for is_uniform. Return: what gmem_attrs_commit() or gmem_attrs_abort() takes, or
 * NULL without memory. Attributes don't change in between.
 */
struct gmem_attr_set *gmem_attrs_prepare(const struct gmem_attrs *attrs, u64 index, u64 nr,
					 bool private);
/** gmem_attrs_commit - the change happens; can't fail */
void gmem_attrs_commit(struct gmem_attrs *attrs, struct gmem_attr_set *next);
void gmem_attrs_abort(struct gmem_attr_set *next);

/** gmem_attrs_run_end - first index after @index whose attribute differs, @end at most */
u64 gmem_attrs_run_end(struct gmem_attrs *attrs, u64 index, u64 end);

#endif
