/* SPDX-License-Identifier: MIT */
/*
 * observe/events: the stream of `septum run --events`. Listens to a host's trace points and writes
 * every SEAMCALL and TDCALL as a line of text, with what else a replay needs: the memory that a call
 * reads, why a guest stopped, which calls met others. man/septum-seamcall.1 has the format.
 *
 * Guarantees:
 *  1. The calls stand in the one order of base/trace.h: made one by one in the order of the file
 *     they answer what the file says, those apart that were answered "busy" beside another call.
 *  2. The last line counts the others. A file that doesn't end in it isn't whole.
 *  3. The first thing that goes wrong with the file is kept, and events_close() tells it; the run
 *     goes on.
 *
 * Lock: observe.stream_lock, innermost, guards what was collected and the file. Writing happens with
 * it held, some hundred KiB at a time.
 */
#ifndef OBSERVE_EVENTS_H
#define OBSERVE_EVENTS_H

#include "base/bug.h"
#include "base/trace.h"
#include "base/types.h"

#define EVENTS_VERSION 1

/* What the first lines say about the machine. */
struct events_machine {
	u64 memory_bytes;
	u32 nr_lps, nr_packages;
	const char *profile;
	bool dynamic_pamt; /* what SYS.CONFIG asks for; for the reader, a replay does as the calls say */
	struct bug_set planted_bugs;
};

struct events;

/**
 * events_open - make the file at @path; zstd if the name ends in .zst
 *
 * Return: 0, or -errno.
 */
int events_open(const char *path, struct events **out);
/**
 * events_listen - write the head, and listen from now on
 *
 * Before the module is loaded. Return: 0; -ENOMEM; -ENOSPC when too many listen already.
 */
int events_listen(struct events *e, const struct events_machine *machine, struct tracer *t);
/**
 * events_close - write what is left, and the last line; @e is gone
 *
 * After the host's last call. Return: 0, or the -errno of the first thing that went wrong.
 */
int events_close(struct events *e);

#endif
