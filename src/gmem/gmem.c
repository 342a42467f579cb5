/* SPDX-License-Identifier: MIT */
/*
 * A guest memory file: its life, its frames, and what lookups answer.
 *
 * A file outlives its owner while somebody holds a page of it: who ends that takes it down.
 */
#include <errno.h>
#include <stdlib.h>

#include "gmem/internal.h"

/* ---- life ------------------------------------------------------------------------------------*/
enum pg_level gmem_backing_level(enum gmem_backing backing)
{
	switch (backing) {
	case GMEM_4K:
		return PG_LEVEL_4K;
	case GMEM_HUGETLB_1G:
		return PG_LEVEL_1G;
	default:
		return PG_LEVEL_2M;
	}
}

static bool is_hugetlb(enum gmem_backing backing)
{
	return backing == GMEM_HUGETLB_2M || backing == GMEM_HUGETLB_1G;
}

static bool is_backing_good(const struct gmem_config *cfg)
{
	enum pg_level level = gmem_backing_level(cfg->backing);

	if (!is_hugetlb(cfg->backing))
		return !cfg->pool && IS_ALIGNED(cfg->size, PAGE_SIZE);
	return cfg->pool && hugetlb_level(cfg->pool) == level &&
	       IS_ALIGNED(cfg->size, level_size(level));
}

static bool is_config_good(const struct gmem_config *cfg)
{
	return cfg->size && cfg->backing <= GMEM_HUGETLB_1G && is_backing_good(cfg) &&
	       cfg->folio_split <= GMEM_SPLIT_UNIFORM && cfg->folio_refs <= GMEM_REFS_COUNTED &&
	       cfg->restructure <= GMEM_RESTRUCTURE_LATE &&
	       cfg->convert_order <= GMEM_ORDER_FOLIO_ZAP && cfg->mapping_form <= GMEM_FORM_FOLIO &&
	       cfg->failure_scope <= GMEM_FAILURE_FOLIO;
}

int gmem_create(struct host *host, const struct gmem_config *cfg, struct gmem_file **out)
{
	struct gmem_file *file;
	int err;

	if (!is_config_good(cfg))
		return -EINVAL;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->host = host;
	file->cfg = *cfg;
	file->nr_pages = addr_to_fn(cfg->size);
	err = gmem_attrs_init(&file->attrs, host, file->nr_pages, !cfg->init_shared);
	if (err)
		goto free_file;
	err = gmem_view_init(&file->view, file->nr_pages);
	if (err)
		goto free_attrs;
	err = gmem_folios_init(&file->folios, host, cfg);
	if (err)
		goto free_view;
	sync_rwlock_init(&file->invalidate_lock, LOCK_GMEM_INVALIDATE);
	for (u32 i = 0; i < GMEM_FOLIO_LOCKS; i++)
		sync_mutex_init(&file->folio_lock[i], LOCK_GMEM_FOLIO);
	*out = file;
	return 0;

free_view:
	gmem_view_destroy(&file->view);
free_attrs:
	gmem_attrs_destroy(&file->attrs);
free_file:
	free(file);
	return err;
}

void gmem_destroy(struct gmem_file *file)
{
	gmem_folios_destroy(&file->folios);
	gmem_view_destroy(&file->view);
	gmem_attrs_destroy(&file->attrs);
	for (u32 i = 0; i < GMEM_FOLIO_LOCKS; i++)
		sync_mutex_destroy(&file->folio_lock[i]);
	sync_rwlock_destroy(&file->invalidate_lock);
	free(file);
}

void gmem_release(struct gmem_file *file)
{
	/*
	 * Without a lock: only those who hold pages still use the file, and they take none. When this
	 * is false one of them may have destroyed it already.
	 */
	if (gmem_folio_release(&file->folios))
		gmem_destroy(file);
}

u64 gmem_size(const struct gmem_file *file)
{
	return fn_to_addr(gmem_nr_pages(file));
}

/* ---- frames ----------------------------------------------------------------------------------*/
static enum pg_level leaf_level(const struct gmem_file *file, const struct gmem_page *page)
{
	return file->cfg.mapping_form == GMEM_FORM_FOLIO ? page->folio : page->huge;
}

static int use_page(const struct gmem_file *file, const struct gmem_page *page, pfn_t *pfn,
		    enum pg_level *level)
{
	if (unlikely(page->failed))
		return -EHWPOISON;
	*pfn = page->pfn;
	*level = leaf_level(file, page);
	return 0;
}

int gmem_get_page(struct gmem_file *file, u64 index, struct gmem_page *page)
{
	u64 hash = gmem_folio_lock_hash(&file->folios, index);
	struct sync_mutex *lock = &file->folio_lock[hash % GMEM_FOLIO_LOCKS];
	bool locked = !bug_planted(&file->host->bugs, BUG_NO_FOLIO_LOCK);
	int err;

	if (locked)
		sync_mutex_lock(lock);
	err = gmem_folio_get(&file->folios, &file->attrs, index, page);
	if (locked)
		sync_mutex_unlock(lock);
	return err;
}

int gmem_get_pfn(struct gmem_file *file, u64 index, pfn_t *pfn, enum pg_level *level)
{
	struct gmem_page page;
	int err = -EINVAL;

	if (index >= gmem_nr_pages(file))
		return -EINVAL;
	page = gmem_folio_lookup(&file->folios, index);
	if (likely(page.folio != PG_LEVEL_NONE))
		return use_page(file, &page, pfn, level);

	/* Without this a folio could be born across the end of a hole that is being punched. */
	sync_read_lock(&file->invalidate_lock);
	if (index < gmem_nr_pages(file))
		err = gmem_get_page(file, index, &page);
	if (!err)
		err = use_page(file, &page, pfn, level);
	sync_read_unlock(&file->invalidate_lock);
	return err;
}

enum pg_level gmem_folio_level(struct gmem_file *file, u64 index)
{
	if (index >= gmem_nr_pages(file))
		return PG_LEVEL_NONE;
	return gmem_folio_lookup(&file->folios, index).folio;
}

enum pg_level gmem_leaf_level(struct gmem_file *file, u64 index)
{
	struct gmem_page page;

	if (index >= gmem_nr_pages(file))
		return PG_LEVEL_NONE;
	page = gmem_folio_lookup(&file->folios, index);
	return page.folio == PG_LEVEL_NONE || page.failed ? PG_LEVEL_NONE : leaf_level(file, &page);
}

bool gmem_check_mapping(struct gmem_file *file, u64 index, pfn_t pfn, enum pg_level level)
{
	u64 nr = pages_per_level(level);
	struct gmem_page page;

	if (!gmem_has_range(file, index, nr))
		return false;
	/* Frames of one huge page or folio are contiguous, so where the first lies says it for all. */
	page = gmem_folio_lookup(&file->folios, index);
	return page.folio != PG_LEVEL_NONE && !page.failed && page.pfn == pfn &&
	       IS_ALIGNED(index | pfn, nr) && level <= leaf_level(file, &page);
}

/* ---- attributes ------------------------------------------------------------------------------*/
bool gmem_is_private(struct gmem_file *file, u64 index)
{
	return index < gmem_nr_pages(file) && gmem_attrs_is_private(&file->attrs, index);
}

bool gmem_is_uniform(struct gmem_file *file, u64 index, u64 nr)
{
	return gmem_has_range(file, index, nr) && gmem_attrs_is_uniform(&file->attrs, index, nr);
}

u64 gmem_nr_ranges(struct gmem_file *file)
{
	return gmem_attrs_nr_ranges(&file->attrs);
}

/* ---- numbers ---------------------------------------------------------------------------------*/
struct gmem_stats gmem_stats(struct gmem_file *file)
{
	struct gmem_stats stats = {0};

	gmem_folio_stats(&file->folios, &stats);
	stats.host_mapped = sync_load(&file->view.total);
	return stats;
}

u64 gmem_frames(const struct gmem_file *file)
{
	return sync_load(&file->folios.frames);
}
