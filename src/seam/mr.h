/* SPDX-License-Identifier: MIT */
/*
 * seam/mr: the build-time measurement MRTD, a SHA-384 that runs from MNG.INIT to MR.FINALIZE. The
 * running state is libcrypto's plain struct in TDCS, so that no leaf allocates. The TDR is held
 * exclusive by all that call it.
 */
#ifndef SEAM_MR_H
#define SEAM_MR_H

#include "seam/td.h"

#define MR_CHUNK 256u

/** mrtd_init - start the running hash; MNG.INIT */
void mrtd_init(struct tdcs *tdcs);
/** mrtd_extend_page_add - a page was added at @gpa */
void mrtd_extend_page_add(struct tdcs *tdcs, gpa_t gpa);
/** mrtd_extend_chunk - MR_CHUNK bytes of content at @gpa */
void mrtd_extend_chunk(struct tdcs *tdcs, gpa_t gpa, const void *chunk);
/** mrtd_finalize - end the hash; the value is in @tdcs->mrtd */
void mrtd_finalize(struct tdcs *tdcs);

#endif
