/* SPDX-License-Identifier: MIT */
/* base/trace: hands events to everybody who listens; who runs, for the order of calls. */
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

static struct trace_cut *cut_of(struct trace_order *o, const void *where)
{
	/* Entries of a table are words, tables are pages: both ends of the address tell them apart. */
	return &o->cut[((uintptr_t)where >> 3 ^ (uintptr_t)where >> 12) % TRACE_CUTS];
}

void trace_step_end_cut(struct trace_call *c, const void *where)
{
	struct trace_order *o = c->order;

	if (!o)
		return;
	c->place = o->now += TRACE_PLACE_STEP;
	*cut_of(o, where) = (struct trace_cut){where, c->place};
	sync_mutex_unlock(&o->lock);
}

void trace_step_end_before_cut(struct trace_call *c, const void *where)
{
	struct trace_order *o = c->order;
	const struct trace_cut *cut;

	if (!o)
		return;
	cut = cut_of(o, where);
	/* When the slot went to another, the call's own step is as late as we know. */
	if (cut->where == where && cut->place > c->place)
		c->place = cut->place - 1;
	sync_mutex_unlock(&o->lock);
}

void trace_call_begin(const struct tracer *t, struct trace_call *c)
{
	struct trace_order *o = t->order;

	*c = (struct trace_call){.order = o};
	if (!o)
		return;
	sync_mutex_lock(&o->lock);
	c->begun = o->now;
	c->beside = o->running++;
	c->number = ++o->started;
	c->older = o->newest;
	if (c->older)
		c->older->newer = c;
	else
		o->oldest = c;
	o->newest = c;
	sync_mutex_unlock(&o->lock);
}

u64 trace_call_end(struct trace_call *c)
{
	struct trace_order *o = c->order;

	if (c->older)
		c->older->newer = c->newer;
	else
		o->oldest = c->newer;
	if (c->newer)
		c->newer->older = c->older;
	else
		o->newest = c->older;
	o->running--;
	return c->beside + o->started - c->number;
}
