/* SPDX-License-Identifier: MIT */
/* observe/file: a text file that is written once, in big pieces, compressed by zstd or plain. */
#ifndef OBSERVE_FILE_H
#define OBSERVE_FILE_H

#include <stddef.h>

struct out_file;

/** out_file_open - make or empty the file at @path; .zst: compressed. Return: 0, or -errno */
int out_file_open(const char *path, struct out_file **out);
/* What goes wrong is kept for out_file_close(); what comes after it is dropped. */
void out_file_put(struct out_file *f, const char *bytes, size_t n);
/** out_file_close - write the rest; @f is gone. Return: 0, or the first -errno */
int out_file_close(struct out_file *f);

#endif
