/* SPDX-License-Identifier: MIT */
/* Any bytes are a memory trace or one line that says why not, compressed or not. */
#include "fuzz_file.h"
#include "script/trace_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct trace_limits limits[] = {{0}, {.memory_bytes = 1 << 28, .nr_vcpus = 2}};
	const struct fuzz_file f = fuzz_file_open(data, size);

	for (unsigned int i = 0; i < ARRAY_SIZE(limits); i++) {
		char err[300] = "";
		struct trace *trace;

		if (trace_read(f.path, &limits[i], &trace, err, sizeof(err)))
			fuzz_expect_line(err, sizeof(err));
		else
			trace_free(trace);
	}
	fuzz_file_close(&f);
	return 0;
}
