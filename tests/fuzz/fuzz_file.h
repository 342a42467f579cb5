/* SPDX-License-Identifier: MIT */
/* For fuzzers of readers that want a file: bytes under a path, in memory. */
#ifndef TESTS_FUZZ_FUZZ_FILE_H
#define TESTS_FUZZ_FUZZ_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz_target.h"

struct fuzz_file {
	int fd;
	char path[64];
};

static inline struct fuzz_file fuzz_file_open(const uint8_t *data, size_t size)
{
	struct fuzz_file f = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};

	if (f.fd < 0)
		abort();
	for (size_t at = 0; at < size;) {
		ssize_t n = write(f.fd, data + at, size - at);

		if (n < 0)
			abort();
		at += (size_t)n;
	}
	snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

static inline void fuzz_file_close(const struct fuzz_file *f)
{
	close(f->fd);
}

/* An error says why, in one line. */
static inline void fuzz_expect_line(const char *text, size_t size)
{
	size_t length = 0;

	for (; length < size && text[length]; length++)
		if (text[length] == '\n')
			abort();
	if (!length || length == size)
		abort();
}

#endif
