/* SPDX-License-Identifier: MIT */
/*
 * Memory fails, and memory that doesn't move.
 *
 * What is lost is unmapped from everybody, guests and host, and never comes back; whoever touches
 * it afterwards gets -EHWPOISON. A page that somebody holds is lost all the same: letting go of it
 * is all that is left to do.
 */
#include <errno.h>

#include "gmem/internal.h"

/* Takes [@index, @end) from everybody, between begin and end. */
static void lose(const struct gmem_change *change, u64 index, u64 end)
{
	if (!bug_planted(&change->file->host->bugs, BUG_FAILURE_KEEPS_MAPPING))
		gmem_clients_commit(change);
	gmem_view_unmap(&change->file->view, index, end);
	gmem_folio_fail(&change->file->folios, index, end - index);
}

/*
 * No leaf lies across the ends of a huge page, so clients aren't asked: that could fail, and the
 * page can't stay mapped.
 */
static void lose_huge_page(struct gmem_file *file, u64 index)
{
	struct gmem_change change;

	gmem_change_init(&change, file, index, index + 1);
	/* A first part fits without memory. */
	gmem_change_add(&change, change.first, change.end);
	gmem_clients_begin(&change);
	lose(&change, change.first, change.end);
	gmem_clients_end(&change);
	gmem_change_free(&change);
}

/* Its neighbours stay, once no leaf covers them and @index. */
static int lose_page(struct gmem_file *file, u64 index)
{
	struct gmem_change change;
	int err;

	gmem_change_init(&change, file, index, index + 1);
	gmem_change_add(&change, index, index + 1);
	gmem_clients_begin(&change);
	err = gmem_clients_prepare(&change);
	if (!err)
		lose(&change, index, index + 1);
	gmem_clients_end(&change);
	gmem_change_free(&change);
	if (err)
		lose_huge_page(file, index);
	return err;
}

/* invalidate_lock is held for writing. */
static int fail_page(struct gmem_file *file, u64 index)
{
	struct gmem_page page = gmem_folio_lookup(&file->folios, index);

	if (page.folio == PG_LEVEL_NONE || page.failed)
		return 0;
	if (file->cfg.failure_scope == GMEM_FAILURE_PAGE)
		return lose_page(file, index);
	lose_huge_page(file, index);
	return 0;
}

int gmem_memory_failure(struct gmem_file *file, u64 index)
{
	int err = -EINVAL;

	sync_write_lock(&file->invalidate_lock);
	if (index < gmem_nr_pages(file))
		err = bug_planted(&file->host->bugs, BUG_FAILURE_IGNORED) ? 0
									  : fail_page(file, index);
	sync_write_unlock(&file->invalidate_lock);
	return err;
}

int gmem_migrate(struct gmem_file *file, u64 index)
{
	return index < gmem_nr_pages(file) ? -EBUSY : -EINVAL;
}
