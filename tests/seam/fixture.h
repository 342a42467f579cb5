/* SPDX-License-Identifier: MIT */
/*
 * A host of 4 GiB with the module up, one TDMR from 1 to 3 GiB, and one TD brought up by leaves;
 * for the module's tests. Host calls come from an LP of their own; vCPU i enters on LP i.
 *
 * Places: TDR, control pages and the fixture's own S-EPT pages from 1 GiB on, PAMT pairs from
 * PAIR_BASE on; buffers and PAMT areas below 1 GiB, outside the TDMR.
 */
#ifndef TESTS_SEAM_FIXTURE_H
#define TESTS_SEAM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/lp.h"
#include "host/host.h"
#include "seam/seam.h"

#define FIXTURE_LPS 4
#define FIXTURE_HOST_LP 3
#define FIXTURE_VCPUS 2

#define TDMR_BASE 0x40000000ULL
#define TDMR_SIZE 0x80000000ULL
#define TDR_PA 0x40000000ULL
#define PAIR_BASE 0xB0000000ULL
#define SOURCE_PA 0x00300000ULL /* a shared page of the host's */

#define GLOBAL_HKID 32
#define TD_HKID 33

struct fixture_config {
	const char *profile; /* NULL: the default */
	bool dynamic_pamt;
	bool wide;	       /* GPAW 52, 5-level S-EPT */
	bool initialized_only; /* stop before MR.FINALIZE */
	u64 attributes;
	struct bug_set planted_bugs;
	hpa_t reserved_base; /* a reserved area of the TDMR: base, size; none if 0 */
	u64 reserved_size;
};

struct fixture {
	struct host *host;
	struct seam *seam;
	struct lp *lp[FIXTURE_LPS];
	hpa_t tdr;
	hpa_t tdvpr[FIXTURE_VCPUS];
	hpa_t next_page; /* control pages */
	hpa_t next_pair;
	bool dynamic_pamt;
	struct tdx_regs r; /* of the last host call, after it */
};

void fixture_create(struct fixture *f, const struct fixture_config *cfg);
void fixture_destroy(struct fixture *f);

/** fixture_call - a SEAMCALL with the registers in f->r; returns the status */
u64 fixture_call(struct fixture *f, unsigned int leaf);
/** fixture_mem - a leaf with RCX, RDX, R8, all others 0 */
u64 fixture_mem(struct fixture *f, unsigned int leaf, u64 rcx, u64 rdx, u64 r8);
/** fixture_ok - fixture_mem() on the TD, which must succeed */
void fixture_ok(struct fixture *f, unsigned int leaf, u64 rcx, u64 r8);
/** fixture_expect - fixture_mem(), and RAX, RCX, RDX that must come out */
void fixture_expect_at(struct fixture *f, unsigned int leaf, u64 rcx, u64 rdx, u64 r8, u64 rax,
		       u64 out_rcx, u64 out_rdx, const char *file, int line);
#define fixture_expect(f, leaf, rcx, rdx, r8, rax, out_rcx, out_rdx) \
	fixture_expect_at(f, leaf, rcx, rdx, r8, rax, out_rcx, out_rdx, __FILE__, __LINE__)

/** fixture_pair - with Dynamic PAMT, give the 2M block of @hpa a pair */
void fixture_pair(struct fixture *f, hpa_t hpa);
/** fixture_enter - run @fn as the guest of vCPU @vcpu; returns VP.ENTER's RAX, the rest in f->r */
typedef void (*fixture_guest_fn)(struct fixture *f, struct lp *lp, void *arg);
u64 fixture_enter(struct fixture *f, unsigned int vcpu, fixture_guest_fn fn, void *arg);
/**
 * fixture_tdcall - enter @vcpu, make one TDCALL, leave
 *
 * Return: true when it completed (registers in @r); false when it exited (VP.ENTER's in f->r).
 */
bool fixture_tdcall(struct fixture *f, unsigned int vcpu, struct tdx_regs *r);
/** fixture_accept - ACCEPT that completes, on vCPU 0; returns its status */
u64 fixture_accept(struct fixture *f, u64 page_info);
/** fixture_accept_exits - ACCEPT that exits; returns the extended exit qualification */
u64 fixture_accept_exits(struct fixture *f, u64 page_info);

/** fixture_tables - S-EPT tables down to level 0 of GPA 0 to 1G, and level 1 of what is asked */
void fixture_tables(struct fixture *f);
u64 fixture_sept_entry(struct fixture *f, gpa_t gpa, enum pg_level level);

#endif
