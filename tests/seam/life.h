/* SPDX-License-Identifier: MIT */
/*
 * A host of 4 GiB in two packages with the module loaded and nothing done yet, for tests of the life
 * cycle: every step is the test's. Host calls name their LP; LPs 0 and 1 are in package 0, 2 and 3 in
 * package 1.
 *
 * Places are those of fixture.h: TDMR from 1 to 3 GiB, buffers and PAMT areas below.
 */
#ifndef TESTS_SEAM_LIFE_H
#define TESTS_SEAM_LIFE_H

#include "fixture.h"

#define LIFE_LIST_PA 0x00100000ULL
#define LIFE_INFO_PA 0x00101000ULL
#define LIFE_PARAMS_PA 0x00140000ULL

#define PKG0_LP 0u
#define PKG1_LP 2u

struct life {
	struct host *host;
	struct seam *seam;
	struct lp *lp[FIXTURE_LPS];
	bool dynamic_pamt;
	hpa_t next_page;
	struct tdx_regs r; /* after the last call */
};

/* How far life_td() takes a TD. */
enum life_stage {
	LIFE_CREATED,	  /* MNG.CREATE */
	LIFE_KEYS,	  /* MNG.KEY.CONFIG on both packages */
	LIFE_TDCX,	  /* all TDCX pages */
	LIFE_INITIALIZED, /* MNG.INIT */
};

void life_create(struct life *l, const char *profile, bool dynamic_pamt);
void life_destroy(struct life *l);

/** life_write - host memory at @hpa, @bytes a multiple of 8 up to 4K */
void life_write(struct life *l, hpa_t hpa, const void *from, size_t bytes);
/** life_tdmr_info - the one TDMR of fixture.h */
struct tdmr_info life_tdmr_info(bool dynamic_pamt);
/** life_offer_tdmrs - write @count entries and the list that names them */
void life_offer_tdmrs(struct life *l, const struct tdmr_info *info, unsigned int count);
struct td_params life_td_params(void);

/** life_call - a leaf with RCX, RDX, R8 from LP @lp; the status, registers in l->r */
u64 life_call(struct life *l, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8);
/** life_must - life_call() that succeeds */
void life_must(struct life *l, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8);
#define life_expect(l, lp, rax, rcx, rdx, r8, status) \
	life_expect_at(l, lp, rax, rcx, rdx, r8, status, __FILE__, __LINE__)
void life_expect_at(struct life *l, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8, u64 status,
		    const char *file, int line);

/** life_module_up - SYS.INIT to the last SYS.TDMR.INIT */
void life_module_up(struct life *l);
/** life_page - a page that nobody has; with Dynamic PAMT its block has a pair */
hpa_t life_page(struct life *l);
/** life_td - a TD under @hkid up to @stage; returns its TDR */
hpa_t life_td(struct life *l, u16 hkid, enum life_stage stage);
/** life_vcpu - VP.CREATE and ADDCX to @pages pages in all; @lp >= 0: VP.INIT there */
hpa_t life_vcpu(struct life *l, hpa_t tdr, unsigned int pages, int lp);
/** life_release - VPFLUSHDONE, write-back on both packages, KEY.FREEID */
void life_release(struct life *l, hpa_t tdr);

/** life_enter - VP.ENTER of @tdvpr on LP @lp with @run as the guest; exit registers in l->r */
u64 life_enter(struct life *l, unsigned int lp, hpa_t tdvpr, const struct guest_ops *ops,
	       void *guest);

#endif
