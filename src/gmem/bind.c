/* SPDX-License-Identifier: MIT */
/*
 * Who is bound to a file, and calling them: each hears of the parts of a change that lie in its own
 * binding, and one that fails comes before anything has happened to any.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gmem/internal.h"

/* ---- parts -----------------------------------------------------------------------------------*/
void gmem_parts_init(struct gmem_parts *parts)
{
	parts->part = parts->few;
	parts->nr = 0;
	parts->room = GMEM_FEW_PARTS;
}

void gmem_parts_free(struct gmem_parts *parts)
{
	if (parts->part != parts->few)
		free(parts->part);
	gmem_parts_init(parts);
}

static int grow(struct host *host, struct gmem_parts *parts)
{
	struct gmem_part *more;

	if (host_alloc_fails(host))
		return -ENOMEM;
	more = malloc(2 * parts->room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	memcpy(more, parts->part, parts->nr * sizeof(*more));
	if (parts->part != parts->few)
		free(parts->part);
	parts->part = more;
	parts->room *= 2;
	return 0;
}

int gmem_parts_add(struct host *host, struct gmem_parts *parts, struct gmem_part part)
{
	struct gmem_part *last = parts->nr ? &parts->part[parts->nr - 1] : NULL;

	if (last && last->level == part.level && last->index + last->nr == part.index) {
		last->nr += part.nr;
		return 0;
	}
	if (parts->nr == parts->room && grow(host, parts))
		return -ENOMEM;
	parts->part[parts->nr++] = part;
	return 0;
}

/* ---- changes ---------------------------------------------------------------------------------*/
void gmem_change_init(struct gmem_change *change, struct gmem_file *file, u64 index, u64 end)
{
	u64 first, nr;

	change->file = file;
	gmem_folio_unit(&file->folios, index, &change->first, &nr);
	gmem_folio_unit(&file->folios, end - 1, &first, &nr);
	change->end = first + nr;
	if (bug_planted(&file->host->bugs, BUG_RANGE_AS_ASKED)) {
		change->first = index;
		change->end = end;
	}
	gmem_parts_init(&change->parts);
	gmem_parts_init(&change->limits);
}

void gmem_change_free(struct gmem_change *change)
{
	gmem_parts_free(&change->parts);
	gmem_parts_free(&change->limits);
}

int gmem_change_add(struct gmem_change *change, u64 index, u64 end)
{
	struct gmem_part part = {.index = index, .nr = end - index};

	return gmem_parts_add(change->file->host, &change->parts, part);
}

/* ---- calling clients -------------------------------------------------------------------------*/

/* @part becomes what @b has of it; false if that is nothing. */
static bool clip(const struct gmem_binding *b, struct gmem_part *part)
{
	u64 start = max_u64(part->index, b->index);
	u64 end = min_u64(part->index + part->nr, b->index + b->nr);

	if (start >= end)
		return false;
	part->index = start;
	part->nr = end - start;
	return true;
}

/* The first part that may reach into @b: those before it end where @b begins, or sooner. */
static u64 first_part(const struct gmem_parts *parts, const struct gmem_binding *b)
{
	u64 low = 0, high = parts->nr;

	while (low < high) {
		u64 mid = low + (high - low) / 2;
		const struct gmem_part *part = &parts->part[mid];

		if (part->index + part->nr <= b->index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Walks the bindings in their order, and for each what it has of the parts. */
struct clipped {
	const struct gmem_parts *parts;
	const struct gmem_binding *binding;
	u64 next;	       /* part */
	struct gmem_part part; /* the current one, clipped */
};

static void clipped_enter(struct clipped *it, const struct gmem_binding *b)
{
	it->binding = b;
	it->next = b ? first_part(it->parts, b) : 0;
}

static struct clipped clipped_of(const struct gmem_change *change, const struct gmem_parts *parts)
{
	struct clipped it = {.parts = parts};

	clipped_enter(&it, change->file->bindings);
	return it;
}

static bool clipped_next(struct clipped *it)
{
	for (; it->binding; clipped_enter(it, it->binding->next)) {
		if (it->next == it->parts->nr)
			continue;
		it->part = it->parts->part[it->next++];
		if (clip(it->binding, &it->part))
			return true;
	}
	return false;
}

static bool whole(const struct gmem_change *change, const struct gmem_binding *b,
		  struct gmem_part *part)
{
	*part = (struct gmem_part){.index = change->first, .nr = change->end - change->first};
	return clip(b, part);
}

void gmem_clients_begin(const struct gmem_change *change)
{
	struct gmem_part p;

	for (struct gmem_binding *b = change->file->bindings; b; b = b->next)
		if (whole(change, b, &p))
			b->ops->begin(b->client, p.index, p.nr);
}

void gmem_clients_end(const struct gmem_change *change)
{
	struct gmem_part p;

	for (struct gmem_binding *b = change->file->bindings; b; b = b->next)
		if (whole(change, b, &p))
			b->ops->end(b->client, p.index, p.nr);
}

int gmem_clients_prepare(const struct gmem_change *change)
{
	struct clipped it = clipped_of(change, &change->parts);
	int err = 0;

	while (!err && clipped_next(&it)) {
		err = it.binding->ops->prepare(it.binding->client, it.part.index, it.part.nr);
		if (bug_planted(&change->file->host->bugs, BUG_COMMIT_BEFORE_ALL_PREPARED) && !err)
			it.binding->ops->commit(it.binding->client, it.part.index, it.part.nr);
	}
	it = clipped_of(change, &change->limits);
	while (!err && clipped_next(&it))
		err = it.binding->ops->limit(it.binding->client, it.part.index, it.part.nr,
					     it.part.level);
	return err;
}

void gmem_clients_commit(const struct gmem_change *change)
{
	struct clipped it = clipped_of(change, &change->parts);

	while (clipped_next(&it))
		it.binding->ops->commit(it.binding->client, it.part.index, it.part.nr);
}

void gmem_clients_changed(const struct gmem_change *change)
{
	struct clipped it = clipped_of(change, &change->parts);

	while (clipped_next(&it))
		it.binding->ops->changed(it.binding->client, it.part.index, it.part.nr);
}

/* ---- binding ---------------------------------------------------------------------------------*/
static bool is_bound(const struct gmem_file *file, const void *client, u64 index, u64 nr)
{
	for (const struct gmem_binding *b = file->bindings; b; b = b->next)
		if (b->client == client && index < b->index + b->nr && b->index < index + nr)
			return true;
	return false;
}

/* invalidate_lock is held: nobody truncates. */
static int add_binding(struct gmem_file *file, const struct gmem_binding *binding)
{
	struct gmem_binding *b, **last = &file->bindings;

	if (!gmem_has_range(file, binding->index, binding->nr))
		return -EINVAL;
	if (is_bound(file, binding->client, binding->index, binding->nr))
		return -EBUSY;
	b = host_alloc_fails(file->host) ? NULL : malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	*b = *binding;
	/* Last: clients are called in the order in which they came. */
	while (*last)
		last = &(*last)->next;
	*last = b;
	return 0;
}

int gmem_bind(struct gmem_file *file, u64 index, u64 nr, const struct gmem_client_ops *ops,
	      void *client)
{
	struct gmem_binding b = {.ops = ops, .client = client, .index = index, .nr = nr};
	int err;

	sync_write_lock(&file->invalidate_lock);
	err = add_binding(file, &b);
	sync_write_unlock(&file->invalidate_lock);
	return err;
}

void gmem_unbind(struct gmem_file *file, void *client)
{
	struct gmem_binding **at = &file->bindings, *b;

	sync_write_lock(&file->invalidate_lock);
	while ((b = *at)) {
		if (b->client == client) {
			*at = b->next;
			free(b);
		} else {
			at = &b->next;
		}
	}
	sync_write_unlock(&file->invalidate_lock);
}
