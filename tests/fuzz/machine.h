/* SPDX-License-Identifier: MIT */
/*
 * A host with the module on it, and a TD, brought by leaves alone to where an input wants to begin.
 *
 *   0 - 1 GiB   buffers of the host's, PAMT areas; in no TDMR
 *   1 - 2 GiB   TDMR 0: all that the TD has
 *   3 - 4 GiB   TDMR 1, up to the end of memory; nothing in it
 *
 * Four LPs in two packages; vCPU i belongs on LP i.
 */
#ifndef TESTS_FUZZ_MACHINE_H
#define TESTS_FUZZ_MACHINE_H

#include "cpu/lp.h"
#include "host/host.h"
#include "seam/seam.h"

#define MACHINE_LPS 4
#define MACHINE_VCPUS 2
#define MACHINE_BYTES (4ULL << 30)

#define LIST_PA 0x00100000ULL
#define INFO_PA 0x00101000ULL
#define PARAMS_PA 0x00104000ULL
#define SOURCE_PA 0x00105000ULL
#define SPARE_PA 0x00106000ULL

#define TDMR0_BASE 0x40000000ULL
#define TDMR1_BASE 0xC0000000ULL
/* 2M blocks of TDMR 0. The first two have a Dynamic PAMT pair, the others don't. */
#define CONTROL_BLOCK TDMR0_BASE  /* TDR and other pages of the TD, then FREE_PAGES */
#define DATA_BLOCK 0x40200000ULL  /* 4K pages for the guest */
#define HUGE_BLOCKS 0x40400000ULL /* two 2M pages of the guest's */
#define FREE_BLOCKS 0x40800000ULL /* two that nobody has */
#define PAIR_BLOCK 0x40C00000ULL  /* pages for pairs */
#define FREE_PAGES (CONTROL_BLOCK + 64 * PAGE_SIZE)

#define GLOBAL_HKID 32
#define TD_HKID 33

/* How far the way has gone; each stage includes those before it. */
enum machine_stage {
	STAGE_LOADED,
	STAGE_LPS,	   /* SYS.INIT, LP.INIT */
	STAGE_CONFIGURED,  /* SYS.CONFIG, KEY.CONFIG on one package */
	STAGE_READY,	   /* KEY.CONFIG, some TDMR.INIT */
	STAGE_TDMRS,	   /* all of TDMR.INIT */
	STAGE_CREATED,	   /* MNG.CREATE */
	STAGE_KEYS,	   /* MNG.KEY.CONFIG */
	STAGE_ALLOCATED,   /* MNG.ADDCX */
	STAGE_INITIALIZED, /* MNG.INIT */
	STAGE_BUILT,	   /* vCPUs, tables, pages */
	STAGE_RUNNABLE,	   /* MR.FINALIZE */
	STAGE_RUN,	   /* some pages accepted, one 2M page blocked and tracked */
	STAGE_FLUSHED,	   /* VP.FLUSH, VPFLUSHDONE */
	STAGE_TEARDOWN,	   /* CACHE.WB, KEY.FREEID */
	STAGE_COUNT,
};

struct machine_choice {
	const struct seam_profile *profile;
	bool dynamic_pamt;
	bool wide; /* GPAW 52, 5-level S-EPT */
	u64 attributes;
	bool flexible_ve;
	enum machine_stage stage;
};

struct fuzz_machine {
	struct host *host;
	struct seam *seam;
	struct lp *lp[MACHINE_LPS];
	struct machine_choice choice;
	hpa_t tdr;
	hpa_t tdvpr[MACHINE_VCPUS];
	hpa_t next_page; /* of CONTROL_BLOCK */
	hpa_t next_pair;
};

/** fuzz_machine_create - aborts when a leaf on the way fails */
void fuzz_machine_create(struct fuzz_machine *m, const struct machine_choice *choice);
void fuzz_machine_destroy(struct fuzz_machine *m);

/** fuzz_write - host memory at @hpa, @bytes a multiple of 8 up to 4K */
void fuzz_write(struct fuzz_machine *m, hpa_t hpa, const void *from, size_t bytes);
/** fuzz_fail - says why, and aborts: what the fuzzer takes for a finding */
_Noreturn void fuzz_fail(const char *fmt, ...) __printf(1, 2);

#endif
