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

#define BUG_WORD_BITS 64
#define BUG_WORDS ((BUG_COUNT + BUG_WORD_BITS - 1) / BUG_WORD_BITS)

/* A bit per enum planted_bug; a host's is set before it runs, and constant after. */
struct bug_set {
	u64 word[BUG_WORDS];
};

#define NO_BUGS ((struct bug_set){{0}})

static inline bool bug_set_has(const struct bug_set *set, enum planted_bug bug)
{
	return set->word[bug / BUG_WORD_BITS] >> bug % BUG_WORD_BITS & 1;
}

static inline void bug_set_add(struct bug_set *set, enum planted_bug bug)
{
	set->word[bug / BUG_WORD_BITS] |= BIT_ULL(bug % BUG_WORD_BITS);
}

static inline struct bug_set bug_set_of(enum planted_bug bug)
{
	struct bug_set set = NO_BUGS;

	bug_set_add(&set, bug);
	return set;
}

static inline bool bug_set_is_empty(const struct bug_set *set)
{
	u64 any = 0;

	for (u32 i = 0; i < BUG_WORDS; i++)
		any |= set->word[i];
	return !any;
}

#ifdef SEPTUM_CHECK
static inline bool bug_planted(const struct bug_set *set, enum planted_bug bug)
{
	return bug_set_has(set, bug);
}
#else
#define bug_planted(set, bug) ((void)(set), false)
#endif

/** bug_by_name - number of the bug called @name, or -1 */
int bug_by_name(const char *name);
const char *bug_name(enum planted_bug bug);
const char *bug_what(enum planted_bug bug);

#endif
