/* SPDX-License-Identifier: MIT */
/*
 * observe/text: how calls and answers are spelt in an event stream; also by who reads one and tells
 * about it.
 */
#ifndef OBSERVE_TEXT_H
#define OBSERVE_TEXT_H

#include "base/types.h"
#include "septum/abi.h"

/* Text that grows; what doesn't fit is left out, and the text stays terminated. */
struct text {
	char *at, *end; /* end: the last byte, for the terminator */
};

/* Room for any call with its answer. */
#define TEXT_CALL_MAX 1536

static inline struct text text_in(char *buffer, size_t size)
{
	buffer[0] = '\0';
	return (struct text){buffer, buffer + size - 1};
}

void text_string(struct text *t, const char *s);
void text_decimal(struct text *t, u64 value);
/** text_hex - 0x and as few digits as do */
void text_hex(struct text *t, u64 value);
/** text_bytes - two digits a byte */
void text_bytes(struct text *t, const u8 *bytes, size_t n);

/* Registers in the order of struct tdx_regs. */
#define TEXT_NR_REGS (sizeof(struct tdx_regs) / sizeof(u64))
const char *text_reg_name(unsigned int reg);

/** text_leaf - a leaf by name, its version if it isn't 0, or SEAMCALL or TDCALL with all of RAX */
void text_leaf(struct text *t, u64 rax, bool guest);
/** text_operands - " rcx=0x1" for each register but RAX that differs from @base's (NULL: from 0) */
void text_operands(struct text *t, const struct tdx_regs *regs, const struct tdx_regs *base);
/** text_status - TDX_NAME, TDX_NAME|0x1 with bits 31:0, or a number */
void text_status(struct text *t, u64 rax);

#endif
