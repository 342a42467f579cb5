/* SPDX-License-Identifier: MIT */
#include "explore/ranks_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool play_receive(void *ctx, u32 *from, struct ranks_message *m)
{
	struct ranks_play *p = ctx;

	if (!p->lines || (p->only_asked && ranks_play_said(p, 0, RANKS_ASK) == p->heard))
		return false;
	p->heard++;
	*from = p->line->from;
	*m = p->line->m;
	p->line++;
	p->lines--;
	return true;
}

static int play_send(void *ctx, u32 to, const struct ranks_message *m)
{
	struct ranks_play *p = ctx;

	assert_true(p->nr_said < ARRAY_SIZE(p->said));
	p->said[p->nr_said++] = (struct line){to, *m};
	return 0;
}

static void play_close(void *ctx, bool together)
{
	struct ranks_play *p = ctx;

	assert_false(p->closed);
	p->closed = true;
	p->together = together;
}

struct ranks_link ranks_play_link(struct ranks_play *p)
{
	return (struct ranks_link){p, play_receive, play_send, play_close};
}

u32 ranks_play_said(const struct ranks_play *p, u32 to, enum ranks_kind kind)
{
	u32 nr = 0;

	for (u32 i = 0; i < p->nr_said; i++)
		nr += p->said[i].from == to && p->said[i].m.kind == kind;
	return nr;
}

struct line line_ask(u32 from, u64 fingerprint)
{
	return (struct line){from, {.kind = RANKS_ASK, .count = fingerprint}};
}

struct line line_part(u32 from, u32 task, const void *bytes, size_t n, u64 at, u64 whole)
{
	struct line l = {from, {.kind = RANKS_PART, .task = task, .count = whole, .at = at}};

	assert_true(n <= sizeof(l.m.bytes));
	l.m.nr = (u32)n;
	memcpy(l.m.bytes, bytes, n);
	return l;
}
