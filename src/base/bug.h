/* SPDX-License-Identifier: MIT */
/*
 * base/bug: bugs planted on purpose, to prove that the checkers catch them. Compiled only into the
 * checking build (SEPTUM_CHECK); elsewhere bug_planted() is constant false and no name is known.
 * The set of one host hangs from its struct host.
 */
#ifndef BASE_BUG_H
#define BASE_BUG_H

#include <stdbool.h>

#include "base/types.h"

enum planted_bug {
#define PLANTED_BUG(sym, name, what) sym,
#include "base/bugs.def"
#undef PLANTED_BUG
	BUG_COUNT,
};

struct bug_set {
	u64 planted; /* bit per enum planted_bug; set before the host runs, constant after */
};

#ifdef SEPTUM_CHECK
static inline bool bug_planted(const struct bug_set *set, enum planted_bug bug)
{
	return set->planted >> bug & 1;
}
#else
#define bug_planted(set, bug) ((void)(set), false)
#endif

/** bug_by_name - number of the bug called @name, or -1 */
int bug_by_name(const char *name);
const char *bug_name(enum planted_bug bug);
const char *bug_what(enum planted_bug bug);

#endif
