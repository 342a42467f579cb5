/* SPDX-License-Identifier: MIT */
/*
 * gmem: guest memory files. A file is a sparse array of folios (4K or 2M of contiguous frames) with
 * a private/shared attribute for every index, bound into the slots of VMs.
 *
 * Guarantees:
 *  1. A page keeps its frame from first use until it is punched out or the file goes.
 *  2. A folio lies inside the file; a 2M folio at a 2M-aligned index. Faults of one folio are
 *     serialised: two threads never allocate for the same index.
 *  3. Attributes cover every index at all times; equal neighbours are one range.
 *  4. Clients see begin, prepare, commit, end in that order; end follows begin on every path; every
 *     prepare, of all bindings, comes before the first commit; nothing has changed when one fails.
 *  5. A page that changes sides or is punched out never shows what it held again: whoever gets it
 *     next finds zeros.
 *
 * Locks: gmem.invalidate_lock (rwlock) guards attributes, bindings and layout against change: those
 * who change them hold it for writing, those who allocate for reading. gmem.folio_lock (hashed by
 * 2M block, below it) serialises those who allocate. Both come before mmu.lock: nobody calls gmem
 * with an MMU lock held. Looking up a folio that exists, and reading attributes, takes no lock; the
 * answer may be out of date by the time it is used, which is what the clients' begin and end are
 * for.
 */
#ifndef GMEM_GMEM_H
#define GMEM_GMEM_H

#include "base/types.h"
#include "host/host.h"

enum gmem_backing {
	GMEM_THP, /* a 2M folio where the 2M block lies inside the file and a 2M frame is free; else 4K */
	GMEM_4K,
};

struct gmem_file;

/*
 * What a binding's owner (vm) must do when memory goes away or changes sides. Indexes are the
 * file's, clipped to the binding. All four are called with gmem.invalidate_lock held for writing.
 * begin and end name the whole range; prepare and commit its parts that do change, which are
 * several where a conversion finds pages on their side already.
 */
struct gmem_client_ops {
	void (*begin)(void *client, u64 index, u64 nr);
	/*
	 * May fail (-ENOMEM, -EIO), and must then leave contents and what is mapped as they were; a
	 * leaf that was split on the way may stay split.
	 */
	int (*prepare)(void *client, u64 index, u64 nr);
	/* Removes every mapping of the range, and of nothing beside it; may not fail. */
	void (*commit)(void *client, u64 index, u64 nr);
	/* The attributes are what they will be. */
	void (*end)(void *client, u64 index, u64 nr);
};

/**
 * gmem_create - make a file of @size bytes (multiple of 4K, not 0); every index starts private
 *
 * Costs the same for any size: nothing is held for what was never used.
 * Return: 0, -EINVAL, -ENOMEM.
 */
int gmem_create(struct host *host, u64 size, enum gmem_backing backing, struct gmem_file **out);
/** gmem_destroy - give every folio back; nothing may be bound or mapped any more */
void gmem_destroy(struct gmem_file *file);
u64 gmem_size(const struct gmem_file *file);

/**
 * gmem_bind - register @client for indexes [@index, @index + @nr)
 *
 * Return: 0; -EINVAL for an empty range or one past the end; -EBUSY: a file has one binding at
 * most.
 */
int gmem_bind(struct gmem_file *file, u64 index, u64 nr, const struct gmem_client_ops *ops,
	      void *client);
void gmem_unbind(struct gmem_file *file, void *client);

/**
 * gmem_get_pfn - the frame that backs @index, allocated on first use
 *
 * @level: out, size of the folio that holds it (4K, 2M): the most that may be mapped, if the
 * caller's gfn and index agree modulo that size.
 * Return: 0, -EINVAL past the end, -ENOMEM.
 */
int gmem_get_pfn(struct gmem_file *file, u64 index, pfn_t *pfn, enum pg_level *level);

/**
 * gmem_folio_level - size of the folio that holds @index; PG_LEVEL_NONE if none does
 *
 * May be stale without the protocol.
 */
enum pg_level gmem_folio_level(struct gmem_file *file, u64 index);

/** gmem_is_private - the attribute of @index (false past the end); may be stale without the protocol */
bool gmem_is_private(struct gmem_file *file, u64 index);
/** gmem_is_uniform - every index of [@index, @index + @nr) has the same attribute */
bool gmem_is_uniform(struct gmem_file *file, u64 index, u64 nr);
/**
 * gmem_set_private - set attributes without conversion; only while nothing is bound
 *
 * Return: 0; -EINVAL for an empty range or one past the end; -EBUSY while bound; -ENOMEM. Nothing
 * has changed on error.
 */
int gmem_set_private(struct gmem_file *file, u64 index, u64 nr, bool private);
/** gmem_nr_ranges - attribute ranges held; 1 when all indexes agree */
u64 gmem_nr_ranges(struct gmem_file *file);

/**
 * gmem_punch_hole - what [@index, @index + @nr) holds is gone, and its memory given back
 *
 * Folios that lie wholly inside are freed. Of one that sticks out the pages inside are zeroed, and
 * stay.
 * Return: 0; -EINVAL for an empty range or one past the end; what a client's prepare says, with
 * nothing changed. Contents of the rest, and attributes, stay.
 */
int gmem_punch_hole(struct gmem_file *file, u64 index, u64 nr);

/**
 * gmem_convert - make [@index, @index + @nr) private or shared, in place
 *
 * begin, prepare (splits) on all bindings, then commit (removes) on all, then the attributes
 * change, then end. Already so everywhere: 0, and no client hears of it. What the pages held that
 * change sides is gone, as on hardware; those that don't keep what they hold.
 * Return: 0; -EINVAL for an empty range or one past the end; -ENOMEM, or what a prepare says, with
 * nothing changed.
 */
int gmem_convert(struct gmem_file *file, u64 index, u64 nr, bool to_private);

/** gmem_frames - 4K frames that the file holds now */
u64 gmem_frames(const struct gmem_file *file);

#endif
