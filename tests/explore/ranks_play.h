/* SPDX-License-Identifier: MIT */
/* A link between ranks that plays what others say from a list, and keeps what is said to them. */
#ifndef TESTS_EXPLORE_RANKS_PLAY_H
#define TESTS_EXPLORE_RANKS_PLAY_H

#include "explore/ranks.h"

struct line {
	u32 from; /* of what is said: to whom */
	struct ranks_message m;
};

struct ranks_play {
	const struct line *line; /* what is still to be heard */
	u32 lines;
	bool only_asked; /* each line is the answer to an ASK */
	u32 heard;
	struct line said[64];
	u32 nr_said;
	bool closed, together;
};

struct ranks_link ranks_play_link(struct ranks_play *p);
/* How often @kind was said to @to. */
u32 ranks_play_said(const struct ranks_play *p, u32 to, enum ranks_kind kind);
struct line line_ask(u32 from, u64 fingerprint);
/* @n bytes of a report of @whole, from its byte @at on. */
struct line line_part(u32 from, u32 task, const void *bytes, size_t n, u64 at, u64 whole);

#endif
