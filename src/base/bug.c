/* SPDX-License-Identifier: MIT */
/* base/bug: names of the planted bugs. A build without them knows none by name. */
#include "base/bug.h"

#include <string.h>

static const struct {
	const char *name, *what;
} bugs[] = {
#define PLANTED_BUG(sym, name, what) [sym] = {name, what},
#include "base/bugs.def"
#undef PLANTED_BUG
};

_Static_assert(ARRAY_SIZE(bugs) == BUG_COUNT, "every planted bug has a name");

#ifdef SEPTUM_CHECK
int bug_by_name(const char *name)
{
	for (int i = 0; i < BUG_COUNT; i++) {
		if (!strcmp(bugs[i].name, name))
			return i;
	}
	return -1;
}
#else
int bug_by_name(const char *name)
{
	(void)name;
	return -1;
}
#endif

const char *bug_name(enum planted_bug bug)
{
	return bugs[bug].name;
}

const char *bug_what(enum planted_bug bug)
{
	return bugs[bug].what;
}
