/* SPDX-License-Identifier: MIT */
/*
 * script/events_replay: an event stream's calls, made again on a machine of its own, one at a time,
 * and the first answer that differs.
 *
 * Left out are calls whose answer came from another call that was in the middle: a host's "busy"
 * beside others, and a guest's "busy" always, since a guest meets nothing else than such a call, or
 * the priority mark that one left behind. They changed nothing. Everything else is made again.
 */
#ifndef SCRIPT_EVENTS_REPLAY_H
#define SCRIPT_EVENTS_REPLAY_H

#include "base/types.h"
#include "script/events_read.h"

#define EVENTS_TEXT_MAX 2048

struct events_replay {
	/* Called now and then with the line that is reached; may be NULL. */
	void (*progress)(void *ctx, u64 line);
	void *ctx;

	/* filled in */
	struct events_head head;
	u64 lines;
	u64 seamcalls, tdcalls; /* made again */
	u64 contended;		/* not made again */
	bool differs;
	/* The first call that was answered differently, what the file says and what came. */
	u64 line;
	char call[EVENTS_TEXT_MAX], expected[EVENTS_TEXT_MAX], found[EVENTS_TEXT_MAX];
};

/**
 * events_replay - replay the stream at @path, up to the first difference
 *
 * Return: 0, and see @replay->differs; -EINVAL or another -errno for a file that can't be read, with
 * one line in @err; -ENOMEM or -EAGAIN when the machine can't be had, likewise.
 */
int events_replay(const char *path, struct events_replay *replay, char *err, size_t err_size);

#endif
