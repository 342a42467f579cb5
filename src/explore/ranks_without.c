/* SPDX-License-Identifier: MIT */
/* explore/ranks: a build without MPI has nobody to join. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "explore/ranks.h"

int ranks_join(struct ranks *r, char *why, size_t size)
{
	memset(r, 0, sizeof(*r));
	snprintf(why, size, "this build is without MPI: install libopenmpi-dev and build it anew");
	return -ENOSYS;
}
