/* SPDX-License-Identifier: MIT */
/* Bytes from a file, unpacked if need be, cut into lines. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "script/trace_source.h"

#define INPUT_SIZE (128u * 1024)
#define TEXT_SIZE (256u * 1024)

struct trace_source {
	const char *path;
	const struct trace_source_form *form;
	char *err;
	size_t err_size;
	int fd;
	bool at_eof;	    /* of the file */
	u64 offset;	    /* in the file, of the end of what input holds */
	ZSTD_DStream *zstd; /* NULL: plain text */
	bool in_frame;
	u64 line_number;
	ZSTD_inBuffer in;
	size_t text_start, text_end; /* what text holds and no line has taken */
	u8 input[INPUT_SIZE];
	char text[TEXT_SIZE];
};

/* Tells what is wrong with the file as a whole, and returns @error. */
static __printf(3, 4) int complain(const struct trace_source *s, int error, const char *fmt, ...)
{
	va_list args;
	int n = snprintf(s->err, s->err_size, "%s: ", s->path);

	if (n < 0 || (size_t)n >= s->err_size)
		return error;
	va_start(args, fmt);
	vsnprintf(s->err + n, s->err_size - (size_t)n, fmt, args);
	va_end(args);
	return error;
}

/* Offset in the file of the next byte that the decompressor will look at. */
static u64 input_offset(const struct trace_source *s)
{
	return s->offset - (s->in.size - s->in.pos);
}

/* Reads more of the file, once everything read so far has been used up. */
static int fill_input(struct trace_source *s)
{
	ssize_t n;

	do
		n = read(s->fd, s->input, sizeof(s->input));
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		int error = -errno;

		return complain(s, error, "byte %" PRIu64 ": can't read (%s)", s->offset,
				strerror(-error));
	}
	s->at_eof = n == 0;
	s->offset += (u64)n;
	s->in = (ZSTD_inBuffer){.src = s->input, .size = (size_t)n, .pos = 0};
	return 0;
}

/* A frame's magic number, or that of one that decompressors skip. */
static bool is_zstd(const u8 *b, size_t n)
{
	static const u8 frame[4] = {0x28, 0xb5, 0x2f, 0xfd}, skippable[3] = {0x2a, 0x4d, 0x18};

	if (n < 4)
		return false;
	return !memcmp(b, frame, 4) || ((b[0] & 0xf0) == 0x50 && !memcmp(b + 1, skippable, 3));
}

static bool has_zstd_name(const char *path)
{
	size_t n = strlen(path);

	return n >= 4 && !strcmp(path + n - 4, ".zst");
}

static int start_decompressor(struct trace_source *s)
{
	s->zstd = ZSTD_createDStream();
	return s->zstd ? 0 : complain(s, -ENOMEM, "out of memory");
}

/* Looks at the first bytes. A misnamed text file is read as what it is. */
static int recognise(struct trace_source *s)
{
	int error = fill_input(s);
	const u8 *b = s->input;

	if (error)
		return error;
	if (is_zstd(b, s->in.size))
		return start_decompressor(s);
	if (has_zstd_name(s->path) && s->in.size && !isalnum(b[0]))
		return complain(s, -EINVAL,
				"byte 0: starts with 0x%02x (expected the zstd magic number "
				"28 b5 2f fd, or text)",
				b[0]);
	return 0;
}

static int open_regular(struct trace_source *s)
{
	struct stat st;

	/* Non-blocking, so that a FIFO is refused below instead of waited for. */
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (s->fd < 0 || fstat(s->fd, &st) < 0) {
		int error = -errno;

		return complain(s, error, "can't open (%s), expected %s", strerror(-error),
				s->form->file);
	}
	if (S_ISDIR(st.st_mode))
		return complain(s, -EISDIR, "is a directory (expected %s file)", s->form->file);
	if (!S_ISREG(st.st_mode))
		return complain(s, -EINVAL, "isn't a regular file (expected %s file)",
				s->form->file);
	return 0;
}

int trace_source_open(const char *path, const struct trace_source_form *form, char *err,
		      size_t err_size, struct trace_source **out)
{
	struct trace_source *s = malloc(sizeof(*s));
	int error;

	if (!s) {
		snprintf(err, err_size, "%s: out of memory", path);
		return -ENOMEM;
	}
	/* All but the buffers. */
	memset(s, 0, offsetof(struct trace_source, input));
	s->path = path;
	s->form = form;
	s->err = err;
	s->err_size = err_size;
	s->fd = -1;
	error = open_regular(s);
	if (!error)
		error = recognise(s);
	if (error) {
		trace_source_close(s);
		return error;
	}
	*out = s;
	return 0;
}

void trace_source_close(struct trace_source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	ZSTD_freeDStream(s->zstd);
	free(s);
}

/* Unpacks from input into the free end of text. */
static int unpack(struct trace_source *s)
{
	ZSTD_outBuffer out = {.dst = s->text, .size = TEXT_SIZE, .pos = s->text_end};
	size_t taken = s->in.pos, left = ZSTD_decompressStream(s->zstd, &out, &s->in);

	if (ZSTD_isError(left))
		return complain(s, -EINVAL,
				"byte %" PRIu64 ": bad compressed data: %s (expected zstd frames)",
				input_offset(s), ZSTD_getErrorName(left));
	/* A call that did nothing asks for the next frame, which need not exist. */
	if (s->in.pos != taken || out.pos != s->text_end)
		s->in_frame = left != 0;
	s->text_end = out.pos;
	return 0;
}

/* Plain text is copied: the window has lines of both kinds in one place. */
static void copy_plain(struct trace_source *s)
{
	size_t n = s->in.size - s->in.pos;

	if (n > TEXT_SIZE - s->text_end)
		n = TEXT_SIZE - s->text_end;
	memcpy(s->text + s->text_end, s->input + s->in.pos, n);
	s->in.pos += n;
	s->text_end += n;
}

/*
 * Adds to text, which has room. Return: 1; 0 when the file has ended; -errno.
 *
 * A decompressor that has taken all its input may still hold output, which it hands out only when
 * called again; so the end of the file counts only once a call has added nothing.
 */
static int fill_text(struct trace_source *s)
{
	size_t before = s->text_end;
	int error;

	for (;;) {
		if (s->zstd) {
			error = unpack(s);
			if (error)
				return error;
		} else {
			copy_plain(s);
		}
		if (s->text_end > before)
			return 1;
		if (s->in.pos < s->in.size)
			continue;
		if (s->at_eof)
			break;
		error = fill_input(s);
		if (error)
			return error;
	}
	if (s->in_frame)
		return complain(s, -EINVAL,
				"byte %" PRIu64 ": the file ends inside a zstd frame (expected the "
				"rest of it: the file is truncated)",
				s->offset);
	return 0;
}

static void move_to_front(struct trace_source *s)
{
	memmove(s->text, s->text + s->text_start, s->text_end - s->text_start);
	s->text_end -= s->text_start;
	s->text_start = 0;
}

static int take_line(struct trace_source *s, size_t length, size_t newline, const char **line,
		     size_t *out)
{
	s->line_number++;
	if (length > TRACE_MAX_LINE)
		return complain(s, -EINVAL, "line %" PRIu64 ": longer than %d bytes (expected %s)",
				s->line_number, TRACE_MAX_LINE, s->form->line);
	*line = s->text + s->text_start;
	*out = length;
	s->text_start += length + newline;
	return 1;
}

int trace_source_line(struct trace_source *s, const char **line, size_t *length)
{
	for (;;) {
		const char *start = s->text + s->text_start;
		size_t have = s->text_end - s->text_start;
		const char *newline = memchr(start, '\n', have);
		int more;

		if (newline)
			return take_line(s, (size_t)(newline - start), 1, line, length);
		if (have > TRACE_MAX_LINE)
			return take_line(s, have, 0, line, length);
		move_to_front(s);
		more = fill_text(s);
		if (more < 0)
			return more;
		if (!more)
			return have ? take_line(s, have, 0, line, length) : 0;
	}
}

u64 trace_source_line_number(const struct trace_source *s)
{
	return s->line_number;
}
