/* SPDX-License-Identifier: MIT */
/*
 * script/trace_read: reads a recorded memory trace (.tsv, or .tsv.zst) into memory.
 *
 * One event a line, four fields parted by one tab each:
 *
 *	delta	instructions since the previous event, all vCPUs together; decimal
 *	vcpu	0 to 511; decimal
 *	access	r or w
 *	gfn	guest frame number, below 2^40; lower-case hex without prefix
 *
 * The newline of the last line may be missing. Whether a file is compressed is seen from its first
 * bytes, not from its name. The whole file is checked before anything is handed out.
 */
#ifndef SCRIPT_TRACE_READ_H
#define SCRIPT_TRACE_READ_H

#include "base/types.h"
#include "guest/replay.h"

#define TRACE_MAX_VCPUS 512
#define TRACE_GFN_BITS 40

/* What the machine that shall replay the trace has; 0: whatever the trace names. */
struct trace_limits {
	u64 memory_bytes;
	u32 nr_vcpus;
};

/**
 * trace_read - read the trace at @path
 *
 * Return: 0, and a trace for trace_free(). On error one line without newline in @err, which names
 * the file, the line (or the byte offset in a compressed file), what was found and what was
 * expected: -EINVAL for bad input, -ENOMEM, or what opening and reading the file gave.
 */
int trace_read(const char *path, const struct trace_limits *limits, struct trace **out, char *err,
	       size_t err_size);
void trace_free(struct trace *trace);

#endif
