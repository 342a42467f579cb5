/* SPDX-License-Identifier: MIT */
/* observe/file: collect, compress, write. */
#include "observe/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/types.h"

#define PIECE (256u * 1024)
/* Lines repeat each other: a higher level gains little, and takes the time of the run. */
#define LEVEL 1

struct out_file {
	int fd;
	int error;
	ZSTD_CStream *zstd; /* NULL: plain */
	size_t used;
	char plain[PIECE];
	char packed[PIECE];
};

static bool is_zstd_name(const char *path)
{
	size_t n = strlen(path);

	return n >= 4 && !strcmp(path + n - 4, ".zst");
}

static int start_compressor(struct out_file *f)
{
	f->zstd = ZSTD_createCStream();
	if (!f->zstd)
		return -ENOMEM;
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_compressionLevel, LEVEL);
	/* So that a changed byte doesn't pass as another line. */
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_checksumFlag, 1);
	return 0;
}

static void destroy(struct out_file *f)
{
	ZSTD_freeCStream(f->zstd);
	free(f);
}

int out_file_open(const char *path, struct out_file **out)
{
	struct out_file *f = malloc(sizeof(*f));
	int err = 0;

	if (!f)
		return -ENOMEM;
	memset(f, 0, offsetof(struct out_file, plain));
	if (is_zstd_name(path))
		err = start_compressor(f);
	if (!err) {
		f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		err = f->fd < 0 ? -errno : 0;
	}
	if (err) {
		destroy(f);
		return err;
	}
	*out = f;
	return 0;
}

static void write_out(struct out_file *f, const char *bytes, size_t n)
{
	while (n && !f->error) {
		ssize_t done = write(f->fd, bytes, n);

		if (done >= 0) {
			bytes += done;
			n -= (size_t)done;
		} else if (errno != EINTR) {
			f->error = -errno;
		}
	}
}

/* What was collected goes to the file; with ZSTD_e_end the frame ends. */
static void flush(struct out_file *f, ZSTD_EndDirective how)
{
	ZSTD_inBuffer in = {f->plain, f->used, 0};
	size_t left;

	f->used = 0;
	if (!f->zstd) {
		write_out(f, f->plain, in.size);
		return;
	}
	do {
		ZSTD_outBuffer out = {f->packed, sizeof(f->packed), 0};

		left = ZSTD_compressStream2(f->zstd, &out, &in, how);
		if (ZSTD_isError(left)) {
			f->error = f->error ? f->error : -ENOMEM;
			return;
		}
		write_out(f, f->packed, out.pos);
	} while (!f->error && (how == ZSTD_e_end ? left != 0 : in.pos < in.size));
}

void out_file_put(struct out_file *f, const char *bytes, size_t n)
{
	while (n && !f->error) {
		size_t some = min_u64(n, sizeof(f->plain) - f->used);

		memcpy(f->plain + f->used, bytes, some);
		f->used += some;
		bytes += some;
		n -= some;
		if (f->used == sizeof(f->plain))
			flush(f, ZSTD_e_continue);
	}
}

int out_file_close(struct out_file *f)
{
	int err;

	if (!f->error)
		flush(f, ZSTD_e_end);
	/* A file on a network tells only now that it couldn't be written. */
	if (close(f->fd) && !f->error)
		f->error = -errno;
	err = f->error;
	destroy(f);
	return err;
}
