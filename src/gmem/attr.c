/* SPDX-License-Identifier: MIT */
/* The attribute array of a file: look-up by bisection, change by building the next array. */
#include <errno.h>
#include <stdlib.h>

#include "base/sync.h"
#include "gmem/attr.h"

struct attr_range {
	u64 start; /* ends where the next one starts, or with the file */
	bool private;
};

struct gmem_attr_set {
	struct sync_rcu_head rcu;
	u64 nr;
	struct attr_range range[]; /* range[0].start is 0; no two neighbours are equal */
};

static struct gmem_attr_set *set_alloc(u64 capacity)
{
	struct gmem_attr_set *set;

	set = malloc(sizeof(*set) + capacity * sizeof(set->range[0]));
	if (set)
		set->nr = 0;
	return set;
}

static void set_free_rcu(struct sync_rcu_head *head)
{
	free(container_of(head, struct gmem_attr_set, rcu));
}

/* Appends a range, or lets the last one go on if it says the same. */
static void set_push(struct gmem_attr_set *set, u64 start, bool private)
{
	if (set->nr && set->range[set->nr - 1].private == private)
		return;
	set->range[set->nr++] = (struct attr_range){.start = start, .private = private};
}

static u64 range_end(const struct gmem_attrs *attrs, const struct gmem_attr_set *set, u64 i)
{
	return i + 1 < set->nr ? set->range[i + 1].start : attrs->nr_indexes;
}

/* The last range that starts at @index or before. */
static u64 set_find(const struct gmem_attr_set *set, u64 index)
{
	u64 low = 0, high = set->nr;

	while (high - low > 1) {
		u64 mid = low + (high - low) / 2;

		if (set->range[mid].start <= index)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* Pairs with the release in gmem_attrs_commit(): the array is complete. Inside an RCU section. */
static const struct gmem_attr_set *set_current(struct gmem_attrs *attrs)
{
	return sync_load_acquire(&attrs->set);
}

int gmem_attrs_init(struct gmem_attrs *attrs, u64 nr_indexes, bool private)
{
	attrs->nr_indexes = nr_indexes;
	attrs->set = set_alloc(1);
	if (!attrs->set)
		return -ENOMEM;
	set_push(attrs->set, 0, private);
	return 0;
}

void gmem_attrs_destroy(struct gmem_attrs *attrs)
{
	free(attrs->set);
}

bool gmem_attrs_is_private(struct gmem_attrs *attrs, u64 index)
{
	const struct gmem_attr_set *set;
	bool private;

	sync_rcu_read_lock();
	set = set_current(attrs);
	private = set->range[set_find(set, index)].private;
	sync_rcu_read_unlock();
	return private;
}

bool gmem_attrs_is_uniform(struct gmem_attrs *attrs, u64 index, u64 nr)
{
	const struct gmem_attr_set *set;
	bool uniform;

	sync_rcu_read_lock();
	set = set_current(attrs);
	uniform = range_end(attrs, set, set_find(set, index)) >= index + nr;
	sync_rcu_read_unlock();
	return uniform;
}

u64 gmem_attrs_nr_ranges(struct gmem_attrs *attrs)
{
	u64 nr;

	sync_rcu_read_lock();
	nr = set_current(attrs)->nr;
	sync_rcu_read_unlock();
	return nr;
}

u64 gmem_attrs_run_end(struct gmem_attrs *attrs, u64 index, u64 end)
{
	const struct gmem_attr_set *set;
	u64 run_end;

	sync_rcu_read_lock();
	set = set_current(attrs);
	run_end = range_end(attrs, set, set_find(set, index));
	sync_rcu_read_unlock();
	return min_u64(run_end, end);
}

struct gmem_attr_set *gmem_attrs_prepare(const struct gmem_attrs *attrs, u64 index, u64 nr,
					 bool private)
{
	const struct gmem_attr_set *old = attrs->set;
	struct gmem_attr_set *next;
	u64 last = index + nr;

	/* A change cuts at most one range into three. */
	next = set_alloc(old->nr + 2);
	if (!next)
		return NULL;
	for (u64 i = 0; i < old->nr; i++) {
		u64 start = old->range[i].start, end = range_end(attrs, old, i);

		if (start < index)
			set_push(next, start, old->range[i].private);
		if (start <= index && index < end)
			set_push(next, index, private);
		if (end > last)
			set_push(next, max_u64(start, last), old->range[i].private);
	}
	return next;
}

void gmem_attrs_commit(struct gmem_attrs *attrs, struct gmem_attr_set *next)
{
	struct gmem_attr_set *old = attrs->set;

	/* Pairs with the acquire in set_current(). */
	sync_store_release(&attrs->set, next);
	sync_rcu_call(&old->rcu, set_free_rcu);
}

void gmem_attrs_abort(struct gmem_attr_set *next)
{
	free(next);
}
