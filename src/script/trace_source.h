/* SPDX-License-Identifier: MIT */
/*
 * script/trace_source: the lines of a text file that may be compressed with zstd. Holds a window of
 * the file, so its size doesn't matter.
 */
#ifndef SCRIPT_TRACE_SOURCE_H
#define SCRIPT_TRACE_SOURCE_H

#include "base/types.h"

/* A line longer than this is an error: an event takes at most 60 bytes. */
#define TRACE_MAX_LINE 4096

struct trace_source;

/* What a file should hold, for complaints. */
struct trace_source_form {
	const char *file, *line; /* "a trace", "delta, vcpu, access, gfn" */
};

/**
 * trace_source_open - open the regular file at @path, which outlives the source as @form does
 *
 * Return: 0, or -errno with one line in @err.
 */
int trace_source_open(const char *path, const struct trace_source_form *form, char *err,
		      size_t err_size, struct trace_source **out);
void trace_source_close(struct trace_source *s);

/**
 * trace_source_line - the next line, without its newline
 *
 * @line stays valid until the next call. The last line need not end in a newline.
 * Return: 1 with a line, 0 at the end, -errno with one line in @err.
 */
int trace_source_line(struct trace_source *s, const char **line, size_t *length);

/** trace_source_line_number - number of the line that was handed out last; 1 is the first */
u64 trace_source_line_number(const struct trace_source *s);

#endif
