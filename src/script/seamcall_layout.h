/* SPDX-License-Identifier: MIT */
/*
 * Where the seamcall tool keeps its things in the script's physical memory. All of it lies below
 * SC_TOOL_END, where every 2M range has its Dynamic PAMT pair; from there up memory is the script's.
 *
 *   0x00001000  array of TDMR_INFO pointers, TDMR_INFO
 *   0x00010000  TD_PARAMS, a page a TD
 *   0x00100000  the Dynamic PAMT pairs of everything below SC_TOOL_END, two pages a 2M range
 *   0x00200000  TD n: 2M each: TDR, 6 TDCX, then 6 pages a vCPU
 *   0x08000000  $p0, $p1, ...
 *   0x10000000  SC_TOOL_END
 *
 * A TDR starts its 2M range. PAMT areas lie above the script's memory, outside the TDMR.
 */
#ifndef SCRIPT_SEAMCALL_LAYOUT_H
#define SCRIPT_SEAMCALL_LAYOUT_H

#include "base/types.h"
#include "septum/abi.h"

#define SC_TDMR_LIST 0x1000ULL
#define SC_TDMR_INFO 0x2000ULL
#define SC_TD_PARAMS 0x10000ULL
#define SC_PAIRS 0x100000ULL
#define SC_TD_BASE 0x200000ULL
#define SC_FREE_PAGES 0x8000000ULL
#define SC_TOOL_END 0x10000000ULL

#define SC_NR_FREE_PAGES ((SC_TOOL_END - SC_FREE_PAGES) / SIZE_4K)
#define SC_MAX_LPS 64
/* One key id is the module's own. */
#define SC_MAX_TDS (TDX_FIRST_PRIVATE_HKID - 1)
#define SC_GLOBAL_HKID TDX_FIRST_PRIVATE_HKID

_Static_assert(SC_PAIRS + SC_TOOL_END / SIZE_2M * 2 * SIZE_4K <= SC_TD_BASE, "pairs fit");
_Static_assert(SC_TD_BASE + SC_MAX_TDS * SIZE_2M <= SC_FREE_PAGES, "TDs fit");
_Static_assert((1 + TDX_TDCS_PAGES + SC_MAX_LPS * TDX_TDVPS_PAGES) * SIZE_4K <= SIZE_2M,
	       "a TD's pages fit");

static inline hpa_t sc_td_tdr(u32 td)
{
	return SC_TD_BASE + td * SIZE_2M;
}

static inline u16 sc_td_hkid(u32 td)
{
	return (u16)(SC_GLOBAL_HKID + 1 + td);
}

static inline hpa_t sc_td_params(u32 td)
{
	return SC_TD_PARAMS + td * SIZE_4K;
}

/* First page of vCPU @vcpu: its TDVPR; the pages for VP.ADDCX follow. */
static inline hpa_t sc_td_tdvpr(u32 td, u32 vcpu)
{
	return sc_td_tdr(td) + (1 + TDX_TDCS_PAGES + (u64)vcpu * TDX_TDVPS_PAGES) * SIZE_4K;
}

static inline hpa_t sc_free_page(u64 n)
{
	return SC_FREE_PAGES + n * SIZE_4K;
}

static inline hpa_t sc_pair_page(u64 range, u32 which)
{
	return SC_PAIRS + (range * 2 + which) * SIZE_4K;
}

#endif
