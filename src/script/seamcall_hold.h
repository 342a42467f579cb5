/* SPDX-License-Identifier: MIT */
/*
 * script: a page held as a leaf on another processor holds it while it is in the middle. That is how
 * a script, which makes one call at a time, meets OPERAND_BUSY.
 *
 * What is taken is the lock of the page's PAMT entry, in the format that the module documents (bit 0
 * exclusive, bits 15:2 readers), where this machine's TDMR has its PAMT.
 */
#ifndef SCRIPT_SEAMCALL_HOLD_H
#define SCRIPT_SEAMCALL_HOLD_H

#include "base/types.h"

struct sc_machine;

#define SC_MAX_HOLDS 16

struct sc_hold {
	hpa_t page;
	u16 *lock;
	bool shared;
};

/**
 * sc_hold - hold the page at @hpa, exclusively unless @shared
 *
 * Return: 0; -EBUSY when somebody else holds it; -ENOSPC after SC_MAX_HOLDS; -ENOENT when the module
 * has no metadata for it yet; -EAGAIN when a vCPU is inside every processor.
 */
int sc_hold(struct sc_machine *m, hpa_t hpa, bool shared);
/** sc_release - take back the last sc_hold() of @hpa; -ENOENT when there is none */
int sc_release(struct sc_machine *m, hpa_t hpa);

#endif
