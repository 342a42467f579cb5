/* SPDX-License-Identifier: MIT */
/*
 * Fake clients of a memory file: each has a "page table", a flat array that says of every index
 * which leaf covers it, and follows the protocol as a VM does. What a client is asked out of turn,
 * and a leaf that is left where none may lie, fails the test.
 *
 * A world is a file, its clients, and what every page should hold. Private pages are under the key
 * of the client that has mapped them.
 */
#ifndef TESTS_GMEM_FAKE_H
#define TESTS_GMEM_FAKE_H

#include "gmem/gmem.h"

#define FAKE_LOG 2048

struct fake_world;

struct fake {
	struct fake_world *world;
	const char *name;
	u64 index, nr; /* what it is bound to */
	u16 hkid;      /* 0: maps shared pages only */
	u8 *level;     /* per page of the binding: the leaf that covers it, or PG_LEVEL_NONE */
	pfn_t *pfn;
	bool inside; /* between begin and end, of which range */
	u64 first, end;
	u32 calls;			      /* of prepare and limit */
	u32 fail_call;			      /* the number of the one that fails; 0: none */
	u32 begins, splits, commits, crossed; /* crossed: leaves that lay across an end in commit */
	u64 zapped;			      /* pages that commit found mapped */
};

#define FAKE_MAX 4

struct fake_world {
	struct host *host;
	struct gmem_file *file;
	struct gmem_config cfg;
	u64 nr_pages;
	struct fake client[FAKE_MAX];
	u32 nr_clients;
	u64 *value;	/* the first word of each page, as its owner should read it */
	bool committed; /* some client has heard commit since the last begin */
	bool may_cross; /* leaves across an end in commit are counted, not a failure */
	bool keep_log;
	bool watch_folio; /* the log says of what size the folio is */
	char log[FAKE_LOG];
};

void fake_world_init(struct fake_world *w, struct host *host, const struct gmem_config *cfg);
/** fake_world_exit - unbinds and releases */
void fake_world_exit(struct fake_world *w);
/** fake_bind - the next client, for [@index, @index + @nr) */
struct fake *fake_bind(struct fake_world *w, const char *name, u64 index, u64 nr, u16 hkid);
void fake_log_clear(struct fake_world *w);

/**
 * fake_fault - maps @index with the largest leaf that form, attributes, binding and what is mapped
 * allow; 0, or what gmem_get_pfn() says
 *
 * Private pages that are new to the client read as zero (an ACCEPT), under its key.
 */
int fake_fault(struct fake *c, u64 index);
/** fake_write / fake_read - a guest's access to a page that is mapped */
void fake_write(struct fake *c, u64 index, u64 value);
u64 fake_read(struct fake *c, u64 index);
enum pg_level fake_level(const struct fake *c, u64 index);

/** fake_check - nothing is open, and every leaf maps what it may; stops the test otherwise */
void fake_check(struct fake_world *w);
/** fake_check_contents - every page holds what it should, to who may look; @step: of indexes */
void fake_check_contents(struct fake_world *w, u64 step);

#endif
