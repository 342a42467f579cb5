/* SPDX-License-Identifier: MIT */
/*
 * The host's view of a file: shared pages that a host process touches through its mapping, or
 * holds.
 *
 * A touch maps the page and is over before invalidate_lock is let go, so what changes sides meets
 * no access on its way; the reference that an access would have for its time is that lock.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/sparse.h"
#include "gmem/internal.h"

#define CHUNK_PAGES \
	(pages_per_level(PG_LEVEL_1G)) /* parts without a mapping are skipped by these */
#define WORD_PAGES 64

/* ---- what is mapped --------------------------------------------------------------------------*/
int gmem_view_init(struct gmem_view *view, u64 nr_pages)
{
	view->total = 0;
	view->bytes = (nr_pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(*view->mapped);
	view->in_chunk =
		calloc((nr_pages + CHUNK_PAGES - 1) / CHUNK_PAGES, sizeof(*view->in_chunk));
	if (!view->in_chunk)
		return -ENOMEM;
	view->mapped = sparse_alloc(view->bytes);
	if (view->mapped)
		return 0;
	free(view->in_chunk);
	return -ENOMEM;
}

void gmem_view_destroy(struct gmem_view *view)
{
	sparse_free(view->mapped, view->bytes);
	free(view->in_chunk);
}

/* Others may map pages at the same time: invalidate_lock is held for reading. */
static void view_map(struct gmem_view *view, u64 index)
{
	u64 *word = &view->mapped[index / WORD_PAGES], bit = BIT_ULL(index % WORD_PAGES);

	if (sync_load(word) & bit || sync_fetch_or(word, bit) & bit)
		return;
	sync_fetch_add(&view->in_chunk[index / CHUNK_PAGES], 1);
	sync_fetch_add(&view->total, 1);
}

/* [@index, @end) lies in one chunk; gives how many pages were mapped. */
static u32 clear_bits(struct gmem_view *view, u64 index, u64 end)
{
	u32 cleared = 0;

	for (u64 next; index < end; index = next) {
		u64 *word = &view->mapped[index / WORD_PAGES], mask;

		next = min_u64(ALIGN_DOWN(index, WORD_PAGES) + WORD_PAGES, end);
		mask = GENMASK_ULL((next - 1) % WORD_PAGES, index % WORD_PAGES);
		if (!(sync_load(word) & mask))
			continue;
		cleared += (u32)__builtin_popcountll(sync_load(word) & mask);
		sync_store(word, sync_load(word) & ~mask);
	}
	return cleared;
}

void gmem_view_unmap(struct gmem_view *view, u64 index, u64 end)
{
	for (u64 next; index < end && sync_load(&view->total); index = next) {
		u32 *in_chunk = &view->in_chunk[index / CHUNK_PAGES], cleared;

		next = min_u64(ALIGN_DOWN(index, CHUNK_PAGES) + CHUNK_PAGES, end);
		if (!sync_load(in_chunk))
			continue;
		cleared = clear_bits(view, index, next);
		sync_fetch_sub(in_chunk, cleared);
		sync_fetch_sub(&view->total, cleared);
	}
}

/* ---- touching and holding --------------------------------------------------------------------*/

/* The frame of a shared page that the host may have; invalidate_lock is held for reading. */
static int get_shared(struct gmem_file *file, u64 index, struct gmem_page *page)
{
	int err;

	if (index >= gmem_nr_pages(file))
		return -EINVAL;
	if (gmem_attrs_is_private(&file->attrs, index))
		return -EFAULT;
	*page = gmem_folio_lookup(&file->folios, index);
	err = page->folio == PG_LEVEL_NONE ? gmem_get_page(file, index, page) : 0;
	if (err)
		return err;
	return page->failed ? -EHWPOISON : 0;
}

static bool is_in_page(u64 offset, u32 n)
{
	return n && IS_ALIGNED(offset, sizeof(u64)) &&
	       n <= (PAGE_SIZE - offset % PAGE_SIZE) / sizeof(u64);
}

/* A touch at @offset has found its page, which is mapped now. */
static int touch(struct gmem_file *file, u64 offset, u32 n, hpa_t *hpa)
{
	struct gmem_page page;
	int err;

	if (!is_in_page(offset, n))
		return -EINVAL;
	err = get_shared(file, addr_to_fn(offset), &page);
	if (err)
		return err;
	view_map(&file->view, addr_to_fn(offset));
	*hpa = fn_to_addr(page.pfn) + offset % PAGE_SIZE;
	return 0;
}

int gmem_host_read(struct gmem_file *file, u64 offset, u64 *words, u32 n)
{
	bool early = bug_planted(&file->host->bugs, BUG_HOST_IO_AFTER_UNLOCK);
	hpa_t hpa;
	int err;

	sync_read_lock(&file->invalidate_lock);
	err = touch(file, offset, n, &hpa);
	if (early)
		sync_read_unlock(&file->invalidate_lock);
	if (!err)
		err = host_read(file->host, hpa, 0, words, n);
	if (!early)
		sync_read_unlock(&file->invalidate_lock);
	return err;
}

int gmem_host_write(struct gmem_file *file, u64 offset, const u64 *words, u32 n)
{
	bool early = bug_planted(&file->host->bugs, BUG_HOST_IO_AFTER_UNLOCK);
	hpa_t hpa;
	int err;

	sync_read_lock(&file->invalidate_lock);
	err = touch(file, offset, n, &hpa);
	if (early)
		sync_read_unlock(&file->invalidate_lock);
	if (!err)
		err = host_write(file->host, hpa, 0, words, n);
	if (!early)
		sync_read_unlock(&file->invalidate_lock);
	return err;
}

int gmem_pin(struct gmem_file *file, u64 index)
{
	struct gmem_page page;
	int err;

	sync_read_lock(&file->invalidate_lock);
	err = get_shared(file, index, &page);
	if (!err)
		err = gmem_folio_ref(&file->folios, index);
	sync_read_unlock(&file->invalidate_lock);
	return err;
}

void gmem_unpin(struct gmem_file *file, u64 index)
{
	if (gmem_folio_unref(&file->folios, index))
		gmem_destroy(file);
}
