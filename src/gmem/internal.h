/* SPDX-License-Identifier: MIT */
/*
 * gmem/internal: a file's parts, and what its own .c files ask of each other. Private to gmem.
 *
 *	gmem.c      life of a file, its frames, what lookups answer
 *	bind.c      who is bound, and calling them part by part
 *	convert.c   attributes change
 *	hole.c      memory is given back: holes, the end of the file
 *	failure.c   memory fails
 *	hostview.c  the host's mappings of shared pages, and holding pages
 */
#ifndef GMEM_INTERNAL_H
#define GMEM_INTERNAL_H

#include "base/sync.h"
#include "gmem/attr.h"
#include "gmem/folio.h"
#include "gmem/gmem.h"

#define GMEM_FOLIO_LOCKS 16

struct gmem_binding {
	struct gmem_binding *next;
	const struct gmem_client_ops *ops;
	void *client;
	u64 index, nr;
};

/* Which pages a host process has mapped: a bit a page, and a count a chunk. */
struct gmem_view {
	u64 *mapped;
	u64 bytes; /* of @mapped */
	u32 *in_chunk;
	u64 total;
};

struct gmem_file {
	struct host *host;
	struct gmem_config cfg;
	/* The end of the file. Written under invalidate_lock, by gmem_truncate() alone; atomic. */
	u64 nr_pages;
	struct sync_rwlock invalidate_lock;
	/* So that vCPUs that fault in different blocks rarely meet; see gmem_folio_lock_hash(). */
	struct sync_mutex folio_lock[GMEM_FOLIO_LOCKS];
	struct gmem_attrs attrs;
	struct gmem_folios folios;
	struct gmem_binding *bindings;
	struct gmem_view view;
};

static inline u64 gmem_nr_pages(const struct gmem_file *file)
{
	return sync_load(&file->nr_pages);
}

/* A range that isn't empty and ends inside the file, without overflow. */
static inline bool gmem_has_range(const struct gmem_file *file, u64 index, u64 nr)
{
	u64 nr_pages = gmem_nr_pages(file);

	return nr && nr <= nr_pages && index <= nr_pages - nr;
}

/** gmem_get_page - gmem_folio_get() under the folio lock; invalidate_lock is held for reading */
int gmem_get_page(struct gmem_file *file, u64 index, struct gmem_page *page);
/** gmem_destroy - after the release, and when nobody holds a page any more */
void gmem_destroy(struct gmem_file *file);
/** gmem_backing_level - the largest huge page that @backing has */
enum pg_level gmem_backing_level(enum gmem_backing backing);

/* ---- parts of a range -------------------------------------------------------------------------
 * What a change touches, in ascending order. Made before the change begins, since clients are told
 * again when the attributes that it was made from have gone.
 */
struct gmem_part {
	u64 index, nr;
	enum pg_level level; /* for limit() */
};

#define GMEM_FEW_PARTS 4

struct gmem_parts {
	struct gmem_part *part;
	u64 nr, room;
	struct gmem_part few[GMEM_FEW_PARTS]; /* most changes have no more, and allocate nothing */
};

void gmem_parts_init(struct gmem_parts *parts);
/** gmem_parts_add - 0 or -ENOMEM; neighbours of one level become one part */
int gmem_parts_add(struct host *host, struct gmem_parts *parts, struct gmem_part part);
void gmem_parts_free(struct gmem_parts *parts);

/* ---- clients: invalidate_lock is held for writing ----------------------------------------------
 * A change, from begin to end: [first, end) is its range rounded out to whole huge pages.
 */
struct gmem_change {
	struct gmem_file *file;
	u64 first, end;
	struct gmem_parts parts;  /* what goes, or changes sides */
	struct gmem_parts limits; /* where folios become smaller */
};

/** gmem_change_init - a change of [@index, @end) without parts */
void gmem_change_init(struct gmem_change *change, struct gmem_file *file, u64 index, u64 end);
void gmem_change_free(struct gmem_change *change);
/** gmem_change_add - gmem_parts_add() to the parts */
int gmem_change_add(struct gmem_change *change, u64 index, u64 end);

void gmem_clients_begin(const struct gmem_change *change);
/** gmem_clients_prepare - every client's prepare, then every client's limit; the first error */
int gmem_clients_prepare(const struct gmem_change *change);
void gmem_clients_commit(const struct gmem_change *change);
void gmem_clients_changed(const struct gmem_change *change);
void gmem_clients_end(const struct gmem_change *change);

/* ---- the host's view --------------------------------------------------------------------------*/
int gmem_view_init(struct gmem_view *view, u64 nr_pages);
void gmem_view_destroy(struct gmem_view *view);
/** gmem_view_unmap - no page of [@index, @end) is mapped any more; invalidate_lock, for writing */
void gmem_view_unmap(struct gmem_view *view, u64 index, u64 end);

#endif
