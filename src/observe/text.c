/* SPDX-License-Identifier: MIT */
/* observe/text: spelling. Written by hand: a stream has some million registers. */
#include "observe/text.h"

#include <string.h>

#define RAX_LEAF 0xFFFFULL
#define RAX_VERSION 0xFF0000ULL
#define RAX_VERSION_SHIFT 16

static const char *const reg_names[TEXT_NR_REGS] = {"rax", "rcx", "rdx", "rbx", "rbp",
						    "rsi", "rdi", "r8",	 "r9",	"r10",
						    "r11", "r12", "r13", "r14", "r15"};

static void put(struct text *t, const char *s, size_t n)
{
	if (n > (size_t)(t->end - t->at))
		n = (size_t)(t->end - t->at);
	memcpy(t->at, s, n);
	t->at += n;
	*t->at = '\0';
}

void text_string(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

void text_decimal(struct text *t, u64 value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	put(t, digits + at, sizeof(digits) - at);
}

static char hex_digit(u64 value)
{
	return "0123456789abcdef"[value & 0xF];
}

void text_hex(struct text *t, u64 value)
{
	char digits[18];
	size_t at = sizeof(digits);

	do {
		digits[--at] = hex_digit(value);
		value >>= 4;
	} while (value);
	digits[--at] = 'x';
	digits[--at] = '0';
	put(t, digits + at, sizeof(digits) - at);
}

void text_bytes(struct text *t, const u8 *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char pair[2] = {hex_digit(bytes[i] >> 4), hex_digit(bytes[i])};

		put(t, pair, sizeof(pair));
	}
}

const char *text_reg_name(unsigned int reg)
{
	return reg_names[reg];
}

void text_leaf(struct text *t, u64 rax, bool guest)
{
	unsigned int leaf = (unsigned int)(rax & RAX_LEAF);
	const char *name = guest ? tdg_leaf_name(leaf) : tdh_leaf_name(leaf);

	if (!name || (rax & ~(RAX_LEAF | RAX_VERSION))) {
		text_string(t, guest ? "TDCALL rax=" : "SEAMCALL rax=");
		text_hex(t, rax);
		return;
	}
	text_string(t, name);
	if (rax & RAX_VERSION) {
		text_string(t, " version=");
		text_decimal(t, (rax & RAX_VERSION) >> RAX_VERSION_SHIFT);
	}
}

void text_operands(struct text *t, const struct tdx_regs *regs, const struct tdx_regs *base)
{
	const u64 *values = (const u64 *)(const void *)regs;
	const u64 *others = (const u64 *)(const void *)base;

	for (unsigned int i = 1; i < TEXT_NR_REGS; i++) {
		if (values[i] == (others ? others[i] : 0))
			continue;
		put(t, " ", 1);
		text_string(t, reg_names[i]);
		put(t, "=", 1);
		text_hex(t, values[i]);
	}
}

void text_status(struct text *t, u64 rax)
{
	const char *name = tdx_status_name(rax);

	if (!name) {
		text_hex(t, rax);
		return;
	}
	text_string(t, name);
	if ((u32)rax) {
		put(t, "|", 1);
		text_hex(t, (u32)rax);
	}
}
