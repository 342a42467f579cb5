/* SPDX-License-Identifier: MIT */
/* check/internal: one look at a machine, and what was counted on the way. */
#ifndef CHECK_INTERNAL_H
#define CHECK_INTERNAL_H

#include "check/invariants.h"

/* In users[]: the range is mapped by a large leaf. */
#define CHECK_LARGE 0x8000u

struct check {
	const struct check_host *h;
	struct host *host;
	char *why;
	size_t size;
	u64 *used_4k; /* a bit a frame: given to the module as a 4K page */
	u16 *users;   /* such frames of each 2M range, and CHECK_LARGE */
	u64 nr_ranges;
	u64 frames[FRAME_USE_COUNT]; /* found, by purpose */
	bool has_files;		     /* FRAME_GUEST is what memory files hold, and not a test's */
};

/* One tree of one TD. */
struct check_tree {
	struct mmu *mmu;
	struct vm *vm; /* NULL: nothing says what leaves may cover */
	bool private;
	u64 pages[PG_LEVEL_NUM];
	u64 tables;
	u64 external; /* S-EPT pages but the root */
};

/** check_broken - say what is wrong. Return: @number */
__printf(3, 4) int check_broken(struct check *c, int number, const char *fmt, ...);
/** check_use_4k - the module has @pfn as a 4K page; @number is broken if it had it already */
int check_use_4k(struct check *c, pfn_t pfn, int number, const char *what);

/* trees.c; Return: 0 or the number of what is broken */
/** check_trees - 1, 2, 4, 5 and 6 of one TD, whose VM is @vm or NULL; counts its leaves and tables */
int check_trees(struct check *c, struct td *td, struct mmu *mmu, struct vm *vm);
/** check_cache - count what waits in a vCPU's cache; the module's side counts as used at 4K */
int check_cache(struct check *c, const struct mmu_vcpu_cache *cache);

/* files.c */
/** check_files - 9 of the files and pools of all VMs; counts the frames that they hold */
int check_files(struct check *c, struct vm *const *vms, u32 nr_vms);

#endif
