/* SPDX-License-Identifier: MIT */
/*
 * check: what must hold of a machine and its VMs whenever nothing runs. May look at everything;
 * nothing but cli and tests include it.
 *
 *  1. Mirror and S-EPT are the same tree: what one has at a gfn, a level and a frame the other has.
 *  2. Nothing is half done: no FROZEN, blocked or locked entry, no vCPU held out, no invalidation.
 *  3. Each 2M range of host memory has as many pages used at 4K (control pages, S-EPT pages, private
 *     leaves) as are counted, none beside a 2M leaf, and a Dynamic PAMT pair if and only if it has
 *     some.
 *  4. No leaf covers gfns of both attributes or of the other one, and none leaves its slot or the
 *     contiguous memory of its file: its folio, or the huge page that this is part of, as the file's
 *     form says. That a block is inhibited keeps faults from mapping it large, and a promotion lifts
 *     that; so nothing is asked of leaves here.
 *  5. The counts of leaves and tables are what is in the trees.
 *  6. Every S-EPT page belongs to one mirror table.
 *  8. Nothing that was allocated ahead is lost: frames in use for a purpose are those in trees, in
 *     the module, in caches, in files.
 *  9. A pool's huge pages in use are those that its files hold, no more are reserved than free, and
 *     none is counted twice.
 *
 * (7, that data stay what they were, is for the guest to see: guest/replay checks each read.)
 *
 * A VM that is dead may have broken any of them, and so may what it shares with others: with one
 * among @vms nothing is looked at. What is refused and warned of, a pair that the module doesn't give
 * back, shows as a count too high (3).
 */
#ifndef CHECK_INVARIANTS_H
#define CHECK_INVARIANTS_H

#include "vm/vm.h"

/* What TDs stand on. */
struct check_host {
	struct host *host;
	const struct seam *seam;
	const struct tdx_module *tdx;
};

/* A TD without a VM around it: who drives it by hand says what belongs to it. */
struct check_td {
	struct td *td;
	struct mmu *mmu;
	const struct mmu_vcpu_cache *caches; /* those of its vCPUs */
	u32 nr_caches;
};

/**
 * check_tds - hold all @nr_tds TDs of a host, which no VM owns, against the invariants
 *
 * As check_vms(), but for what only a memory file knows: which gfns a leaf may cover, and how many
 * frames the guests have. The caller knows that the TDs live.
 */
int check_tds(const struct check_host *h, const struct check_td *tds, u32 nr_tds, char *why,
	      size_t size);

/**
 * check_vms - hold @m and its VMs against the invariants
 *
 * @vms: all @nr_vms of the machine, which have all its files, and those all its pools. Nothing runs: no
 * vCPU, no promoter that has something left, and nobody inside a call. Changes nothing; takes no lock
 * but a pool's. Costs a visit of every entry of every table.
 * Return: 0; the number of the one that is broken, its text in @why; -ENOMEM.
 */
int check_vms(struct machine *m, struct vm *const *vms, u32 nr_vms, char *why, size_t size);

/** check_vm - likewise, for a machine with one VM */
static inline int check_vm(struct machine *m, struct vm *vm, char *why, size_t size)
{
	return check_vms(m, &vm, 1, why, size);
}

#endif
