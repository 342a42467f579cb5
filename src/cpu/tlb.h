/* SPDX-License-Identifier: MIT */
/*
 * cpu/tlb: the software TLB of one LP, private to cpu. One direct-mapped array a page size; entries
 * carry the context's asid, so two TDs on one LP don't see each other's.
 */
#ifndef CPU_TLB_H
#define CPU_TLB_H

#include "cpu/lp.h"

/** tlb_lookup - what the TLB holds for @gpa in lp->ept, whatever the tables say now */
bool tlb_lookup(const struct lp *lp, gpa_t gpa, struct ept_translation *out);
/** tlb_fill - keep @tr, the translation of @gpa in lp->ept, at its own size */
void tlb_fill(struct lp *lp, gpa_t gpa, const struct ept_translation *tr);

#endif
