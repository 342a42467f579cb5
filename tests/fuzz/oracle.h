/* SPDX-License-Identifier: MIT */
/*
 * What must hold of the module after any call, looked at from inside.
 *
 *  1. RAX is a status that the module has, its reserved bits 0.
 *  2. Nobody inside: no lock is held, in module, PAMT, TDCS or S-EPT.
 *  3. A call that answered an error has changed nothing: PAMT (host-priority bits apart), S-EPT (the
 *     same), TDR, TDCS and TDVPS, and what the host keeps in its own pages.
 */
#ifndef TESTS_FUZZ_ORACLE_H
#define TESTS_FUZZ_ORACLE_H

#include "machine.h"

/* Pages that begin as the host's, with something in them. */
#define ORACLE_PAGES 12

struct oracle_view {
	u64 module;		 /* digest of all that the module keeps in host frames */
	u64 pages[ORACLE_PAGES]; /* of each page's first words and tag */
};

/** oracle_prepare - put something into the host's pages */
void oracle_prepare(struct fuzz_machine *m);
void oracle_look(const struct fuzz_machine *m, struct oracle_view *view);
/**
 * oracle_check_unchanged - (3), for a call that answered an error
 *
 * @offered: a page that the leaf may have overwritten (a table for DEMOTE), or TDX_NULL_PA.
 */
void oracle_check_unchanged(const struct fuzz_machine *m, const struct oracle_view *before,
			    const char *leaf, u64 status, hpa_t offered);
/** oracle_check_status - (1) */
void oracle_check_status(const char *leaf, u64 status);
/** oracle_check_locks - (2) */
void oracle_check_locks(const struct fuzz_machine *m, const char *leaf);

#endif
