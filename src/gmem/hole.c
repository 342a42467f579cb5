/* SPDX-License-Identifier: MIT */
/*
 * Memory is given back: holes, and the end of the file. Attributes stay as they are.
 *
 * The host's mappings of the range go first. Then nobody may hold a page of it: who does I/O to one
 * must not find it given to somebody else.
 */
#include <errno.h>

#include "gmem/internal.h"

/* invalidate_lock is held for writing; [@index, @end) isn't empty and lies inside the file. */
static int punch(struct gmem_file *file, u64 index, u64 end)
{
	const struct bug_set *bugs = &file->host->bugs;
	bool dropped = bug_planted(bugs, BUG_FREED_BEFORE_UNMAPPED);
	u64 looked = end - bug_planted(bugs, BUG_HOLE_IGNORES_LAST_HOLDER);
	u64 gone = end - (bug_planted(bugs, BUG_HOLE_KEEPS_LAST_PAGE) && end - index > 1);
	struct gmem_change change;
	int err;

	gmem_view_unmap(&file->view, index, end);
	if (gmem_folio_first_ref(&file->folios, index, looked) < looked)
		return -EAGAIN;
	gmem_change_init(&change, file, index, end);
	err = gmem_change_add(&change, index, end);
	if (!err) {
		gmem_clients_begin(&change);
		err = gmem_clients_prepare(&change);
		if (!err && dropped)
			gmem_folio_drop(&file->folios, index, end);
		if (!err && !bug_planted(bugs, BUG_PUNCH_KEEPS_MAPPING))
			gmem_clients_commit(&change);
		if (!err && !dropped)
			gmem_folio_drop(&file->folios, index, gone);
		gmem_clients_end(&change);
	}
	gmem_change_free(&change);
	return err;
}

int gmem_punch_hole(struct gmem_file *file, u64 index, u64 nr)
{
	int err = -EINVAL;

	sync_write_lock(&file->invalidate_lock);
	if (gmem_has_range(file, index, nr))
		err = punch(file, index, index + nr);
	sync_write_unlock(&file->invalidate_lock);
	return err;
}

static bool is_bound_above(const struct gmem_file *file, u64 index)
{
	for (const struct gmem_binding *b = file->bindings; b; b = b->next)
		if (b->index + b->nr > index)
			return true;
	return false;
}

int gmem_truncate(struct gmem_file *file, u64 size)
{
	u64 nr_pages = addr_to_fn(size);
	int err = -EINVAL;

	if (!IS_ALIGNED(size, level_size(gmem_backing_level(file->cfg.backing))))
		return -EINVAL;
	sync_write_lock(&file->invalidate_lock);
	if (nr_pages < gmem_nr_pages(file) && !is_bound_above(file, nr_pages))
		err = punch(file, nr_pages, gmem_nr_pages(file));
	if (!err) {
		gmem_folio_truncate(&file->folios, nr_pages);
		sync_store(&file->nr_pages, nr_pages);
	}
	sync_write_unlock(&file->invalidate_lock);
	return err;
}
