/* SPDX-License-Identifier: MIT */
/*
 * gmem: guest memory files. A file is a sparse array of huge pages (4K, 2M or 1G of contiguous
 * frames), each in one folio or several, with a private/shared attribute for every index, bound
 * into slots of VMs.
 *
 * Guarantees:
 *  1. A page keeps its frame from first use until it is punched out, fails, or the file goes.
 *  2. A huge page lies inside the file, at an index aligned to its size. Faults of one huge page
 *     are serialised: two threads never allocate for the same index.
 *  3. Attributes cover every index at all times; equal neighbours are one range. Punching a hole
 *     doesn't change them.
 *  4. Clients see begin, prepare, commit, changed, end in that order; end follows begin on every
 *     path; every prepare, of all bindings, comes before the first commit; nothing has changed when
 *     one fails.
 *  5. A page that changes sides or is punched out never shows what it held again: whoever gets it
 *     next finds zeros.
 *  6. A huge page that has left its file goes back to where it came from with the last reference to
 *     any of its pages.
 *
 * Locks: gmem.invalidate_lock (rwlock) guards attributes, bindings and layout against change: those
 * who change them hold it for writing, those who allocate for reading. gmem.folio_lock (hashed by
 * huge page, below it) serialises those who allocate. Both come before mmu.lock: nobody calls gmem
 * with an MMU lock held, but for what is marked "no lock": looking up a folio that exists, reading
 * attributes, checking a mapping. Such an answer may be out of date by the time it is used, which
 * is what the clients' begin and end are for.
 */
#ifndef GMEM_GMEM_H
#define GMEM_GMEM_H

#include "base/types.h"
#include "host/host.h"
#include "host/hugetlb.h"

enum gmem_backing {
	GMEM_THP, /* a 2M huge page where the block lies inside the file and 2M is free; else 4K */
	GMEM_4K,
	GMEM_HUGETLB_2M, /* from a pool, all of it reserved when the file is made */
	GMEM_HUGETLB_1G,
};

/*
 * A huge page with a shared page in it: which folios it becomes. It becomes one again when none is
 * shared. Thread 001: uniform is what exists, 4K all over; nonuniform keeps 2M folios in the 2M
 * blocks without a shared page.
 */
enum gmem_folio_split { GMEM_SPLIT_NONUNIFORM, GMEM_SPLIT_UNIFORM };

/* How references to shared pages are counted: on folios that are split for it, or beside them. */
enum gmem_folio_refs { GMEM_REFS_SPLIT, GMEM_REFS_COUNTED };

/* When what a restructuring needs is allocated: before the point of no return, or when needed. */
enum gmem_restructure { GMEM_RESTRUCTURE_PREALLOC, GMEM_RESTRUCTURE_LATE };

/*
 * The three steps of a conversion to shared. Folios can fail to split under LATE alone:
 *   SPLIT_FOLIO_ZAP  small leaves stay, contents and attributes are as before
 *   ZAP_FOLIO        what was zapped is lost
 *   FOLIO_ZAP        folios are smaller than what maps them, in between
 */
enum gmem_convert_order { GMEM_ORDER_SPLIT_FOLIO_ZAP, GMEM_ORDER_ZAP_FOLIO, GMEM_ORDER_FOLIO_ZAP };

/*
 * How large may a leaf be: as its folio (the rule that was), or as its huge page was, whatever
 * folios that is in now, as long as attributes are uniform.
 */
enum gmem_mapping_form { GMEM_FORM_ORIGINAL, GMEM_FORM_FOLIO };

/* What goes when memory fails: the page, or its whole huge page (today's kernel). */
enum gmem_failure_scope { GMEM_FAILURE_PAGE, GMEM_FAILURE_FOLIO };

struct gmem_config {
	u64 size; /* multiple of 4K, not 0; of the huge page's size where a pool is the backing */
	enum gmem_backing backing;
	struct hugetlb_pool *pool; /* of the backing's size; else NULL */
	bool init_shared;	   /* every index starts shared */
	enum gmem_folio_split folio_split;
	enum gmem_folio_refs folio_refs;
	enum gmem_restructure restructure;
	enum gmem_convert_order convert_order;
	enum gmem_mapping_form mapping_form;
	enum gmem_failure_scope failure_scope;
};

struct gmem_file;

/*
 * What the owner of a binding (a slot of a VM) must do when memory goes away or changes sides.
 * Indexes are the file's, clipped to the binding. All are called with gmem.invalidate_lock held for
 * writing. begin and end name the range rounded out to whole huge pages: faults anywhere in those
 * wait. prepare, commit and changed name the parts of the range that do change, which are several
 * where a conversion finds pages on their side already.
 */
struct gmem_client_ops {
	void (*begin)(void *client, u64 index, u64 nr);
	/*
	 * No leaf crosses an end of the range afterwards. May fail (-ENOMEM, -EIO), and must then leave
	 * contents and what is mapped as they were; a leaf that was split on the way may stay split.
	 */
	int (*prepare)(void *client, u64 index, u64 nr);
	/*
	 * No leaf of the range is above @level afterwards (GMEM_FORM_FOLIO); fails as prepare
	 * does.
	 */
	int (*limit)(void *client, u64 index, u64 nr, enum pg_level level);
	/* Removes every mapping of the range, and of nothing beside it; may not fail. */
	void (*commit)(void *client, u64 index, u64 nr);
	/* The attributes of the range are what they will be: it is uniform now. */
	void (*changed)(void *client, u64 index, u64 nr);
	void (*end)(void *client, u64 index, u64 nr);
};

/* ---- life -------------------------------------------------------------------------------------*/
/**
 * gmem_create - make a file
 *
 * Costs the same for any size: nothing is held for what was never used. A pool's pages are
 * reserved.
 * Return: 0; -EINVAL for a configuration that doesn't fit; -ENOMEM, also for a pool too small.
 */
int gmem_create(struct host *host, const struct gmem_config *cfg, struct gmem_file **out);
/**
 * gmem_release - the owner closes the file; nothing is bound or mapped any more
 *
 * Every huge page goes back, but for those with a page that somebody holds by gmem_pin(): these go
 * with the last gmem_unpin(), and the file's last memory with them.
 */
void gmem_release(struct gmem_file *file);
u64 gmem_size(const struct gmem_file *file);

/**
 * gmem_bind - register @client for indexes [@index, @index + @nr)
 *
 * A file has any number of bindings, of any VMs; those of one client don't overlap.
 * Clients are called in the order in which they were bound.
 * Return: 0; -EINVAL for an empty range or one past the end; -EBUSY: @client is bound to a part of
 * it already; -ENOMEM.
 */
int gmem_bind(struct gmem_file *file, u64 index, u64 nr, const struct gmem_client_ops *ops,
	      void *client);
/** gmem_unbind - all that @client is bound to */
void gmem_unbind(struct gmem_file *file, void *client);

/* ---- frames -----------------------------------------------------------------------------------*/
/**
 * gmem_get_pfn - the frame that backs @index, allocated on first use
 *
 * @level: out, the largest leaf that this memory allows (the form decides); attributes are the
 * caller's business, and so is that its gfn and index agree modulo that size.
 * Return: 0; -EINVAL past the end; -ENOMEM; -EHWPOISON where memory failed.
 */
int gmem_get_pfn(struct gmem_file *file, u64 index, pfn_t *pfn, enum pg_level *level);
/** gmem_folio_level - size of the folio that holds @index; PG_LEVEL_NONE if none does. No lock */
enum pg_level gmem_folio_level(struct gmem_file *file, u64 index);
/** gmem_leaf_level - the largest leaf that the memory at @index allows, or NONE; no lock */
enum pg_level gmem_leaf_level(struct gmem_file *file, u64 index);
/**
 * gmem_check_mapping - may a leaf of @level map @index to @pfn, as things are? No lock
 *
 * True if the frames are the file's, contiguous, of one folio or one huge page as the form says.
 * The leaf's first index is @index.
 */
bool gmem_check_mapping(struct gmem_file *file, u64 index, pfn_t pfn, enum pg_level level);

/* ---- attributes -------------------------------------------------------------------------------*/
/** gmem_is_private - the attribute of @index (false past the end); no lock */
bool gmem_is_private(struct gmem_file *file, u64 index);
/** gmem_is_uniform - every index of [@index, @index + @nr) has the same attribute; no lock */
bool gmem_is_uniform(struct gmem_file *file, u64 index, u64 nr);
/** gmem_nr_ranges - attribute ranges held; 1 when all indexes agree */
u64 gmem_nr_ranges(struct gmem_file *file);

#define GMEM_ATTRIBUTE_PRIVATE (1ULL << 3)

/* The argument of KVM_SET_MEMORY_ATTRIBUTES2. */
struct gmem_set_attributes {
	u64 offset; /* bytes */
	u64 size;
	u64 attributes;	  /* 0 or GMEM_ATTRIBUTE_PRIVATE */
	u64 flags;	  /* 0 */
	u64 error_offset; /* out, but for -EINVAL: where it failed, in bytes */
	u64 reserved[11]; /* 0 */
};

/**
 * gmem_set_attributes - make a range private or shared, in place
 *
 * In this order: the argument is checked; already so everywhere: 0, and no client hears of it; what
 * the change needs is allocated; to private: host mappings go, and nobody may hold a page; then
 * begin, the steps of the configured order, the attributes, changed, end. What the pages that
 * change sides held is gone, as on hardware; those that don't keep what they hold.
 * Return: 0; -ENOTTY where attributes belong to VMs (host->vm_memory_attributes), with nothing done;
 * -EINVAL: unaligned, empty, overflowing or past the end, flags, reserved or unknown
 * attributes set; -ENOMEM, or what a prepare says, with error_offset = offset; -EAGAIN: somebody
 * holds the page at error_offset, the first such. Unless it is 0 nothing has changed, but for the
 * loss that convert_order names.
 */
int gmem_set_attributes(struct gmem_file *file, struct gmem_set_attributes *arg);
/** gmem_convert - what it does, for [@index, @index + @nr) in pages: for VMs, whoever has attributes */
int gmem_convert(struct gmem_file *file, u64 index, u64 nr, bool to_private);

/* ---- taking memory away -----------------------------------------------------------------------*/
/**
 * gmem_punch_hole - what [@index, @index + @nr) holds is gone, and its memory given back
 *
 * Huge pages that lie wholly inside are freed. Of one that sticks out the pages inside are zeroed,
 * and stay.
 * Return: 0; -EINVAL for an empty range or one past the end; -EAGAIN: somebody holds one of its
 * pages; what a client's prepare says; nothing has changed unless it is 0. Contents of the rest,
 * and attributes, stay.
 */
int gmem_punch_hole(struct gmem_file *file, u64 index, u64 nr);
/**
 * gmem_truncate - the file ends at @size from now on: a hole to its end
 *
 * Return: as gmem_punch_hole(); -EINVAL unless @size is a multiple of the huge page, less than now,
 * and nothing is bound above it.
 */
int gmem_truncate(struct gmem_file *file, u64 size);
/**
 * gmem_memory_failure - the frame at @index has failed
 *
 * Scope PAGE: leaves are split, the page is unmapped and never comes back. Its neighbours keep what
 * they hold. Scope FOLIO: all of the huge page goes that way. Later faults there give -EHWPOISON.
 * Return: 0, also where nothing backs @index or it had failed before; -EINVAL past the end; what a
 * client's prepare says: then the whole huge page is lost, since the page can't stay mapped.
 */
int gmem_memory_failure(struct gmem_file *file, u64 index);
/** gmem_migrate - refused: guest memory doesn't move. Return: -EINVAL past the end, else -EBUSY */
int gmem_migrate(struct gmem_file *file, u64 index);

/* ---- the host's own view: shared pages --------------------------------------------------------*/
/**
 * gmem_host_read / gmem_host_write - @n words at byte @offset, by a host process through its
 * mapping
 *
 * Inside one page, aligned to words. Maps the page into the host's view, until it is converted.
 * Return: 0; -EINVAL past the end or unaligned; -EFAULT (SIGBUS): the page is private; -EHWPOISON;
 * -ENOMEM.
 */
int gmem_host_read(struct gmem_file *file, u64 offset, u64 *words, u32 n);
int gmem_host_write(struct gmem_file *file, u64 offset, const u64 *words, u32 n);
/**
 * gmem_pin - hold the page at @index, as who does I/O to it would; gmem_unpin() lets go
 *
 * Return: 0; -EINVAL past the end; -EFAULT: private; -EHWPOISON; -ENOMEM.
 */
int gmem_pin(struct gmem_file *file, u64 index);
/** gmem_unpin - also after gmem_release(), whose file goes with the last one */
void gmem_unpin(struct gmem_file *file, u64 index);

/* ---- numbers ----------------------------------------------------------------------------------*/
struct gmem_stats {
	u64 frames;		     /* 4K frames that the file holds now */
	u64 huge_pages;		     /* of the backing's size, held now */
	u64 folio_splits;	     /* huge pages that were taken apart, since it began */
	u64 folio_merges;	     /* and put together */
	u64 folios[PG_LEVEL_1G + 1]; /* folios held now, by size */
	u64 vmemmap_restored;	     /* descriptor pages re-created for that */
	u64 failed_pages;	     /* 4K pages lost to memory failure */
	u64 host_mapped;	     /* pages in the host's view now */
};
struct gmem_stats gmem_stats(struct gmem_file *file);
/** gmem_frames - stats.frames alone; no lock */
u64 gmem_frames(const struct gmem_file *file);

#endif
