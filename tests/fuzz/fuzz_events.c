/* SPDX-License-Identifier: MIT */
/*
 * Any bytes are an event stream or one line that says why not; what can be read, of no huge machine, can
 * be replayed up to a difference.
 */
#include "fuzz_file.h"
#include "script/events_replay.h"

#define MOST_MEMORY (8ULL << 30)
#define MOST_LPS 16

static bool read_all(const char *path, struct events_head *head)
{
	static struct events_record record;
	struct events_reader *reader;
	char err[300] = "";
	int ret = events_reader_open(path, err, sizeof(err), head, &reader);

	if (!ret) {
		do {
			ret = events_reader_next(reader, &record);
		} while (ret > 0);
		events_reader_close(reader);
	}
	if (ret)
		fuzz_expect_line(err, sizeof(err));
	return !ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fuzz_file f = fuzz_file_open(data, size);
	struct events_replay replay = {0};
	struct events_head head = {0};
	char err[300] = "";

	if (read_all(f.path, &head) && head.memory_bytes <= MOST_MEMORY &&
	    head.nr_lps <= MOST_LPS && events_replay(f.path, &replay, err, sizeof(err)))
		fuzz_expect_line(err, sizeof(err));
	fuzz_file_close(&f);
	return 0;
}
