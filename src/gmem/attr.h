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

/** gmem_attrs_set - 0, or -ENOMEM with nothing changed; the range is as for is_uniform */
int gmem_attrs_set(struct gmem_attrs *attrs, u64 index, u64 nr, bool private);

#endif
