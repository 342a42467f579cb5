/* SPDX-License-Identifier: MIT */
/* base/trace: hands an event to everybody who listens, in the order they came. */
#include "base/trace.h"

#include <errno.h>

int trace_listen(struct tracer *t, const struct trace_listener *l)
{
	if (t->count == TRACE_MAX_LISTENERS)
		return -ENOSPC;
	t->listener[t->count++] = *l;
	return 0;
}

void trace_dispatch(const struct tracer *t, enum trace_point point, const void *event)
{
	for (u32 i = 0; i < t->count; i++)
		t->listener[i].fn(t->listener[i].ctx, point, event);
}
