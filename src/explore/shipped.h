/* SPDX-License-Identifier: MIT */
/* explore/shipped: the programs of programs/, built in. The table is made by embed.py. */
#ifndef EXPLORE_SHIPPED_H
#define EXPLORE_SHIPPED_H

#include <stddef.h>

#include "base/types.h"

struct shipped_program {
	const char *name; /* of the file, without ending */
	const char *text;
	size_t length;
};

extern const struct shipped_program shipped_programs[]; /* by name */
extern const u32 shipped_nr;

#endif
