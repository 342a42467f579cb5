/* SPDX-License-Identifier: MIT */
/* What the fuzzer has found worth keeping runs as a test, in every build. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fuzz/source_dir.h"
#include "fuzz_target.h"

#define CORPUS SEPTUM_SOURCE_DIR "/tests/fuzz/corpus/" FUZZ_TARGET
#define INPUT_MAX 65536

static void run_file(const char *name)
{
	static uint8_t data[INPUT_MAX];
	char path[1024];
	size_t size;
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", CORPUS, name);
	in = fopen(path, "rb");
	if (!in)
		fail_msg("%s can't be read", path);
	size = fread(data, 1, sizeof(data), in);
	fclose(in);
	fprintf(stderr, "%s\n", name); /* the last one printed is the one that aborts */
	LLVMFuzzerTestOneInput(data, size);
}

/* Every input of the corpus leaves the oracles content, and there are some. */
static void test_corpus(void **state)
{
	DIR *folder = opendir(CORPUS);
	const struct dirent *file;
	unsigned int files = 0;

	(void)state;
	assert_non_null(folder);
	while ((file = readdir(folder))) {
		if (file->d_name[0] == '.')
			continue;
		run_file(file->d_name);
		files++;
	}
	closedir(folder);
	assert_true(files > 0);
}

/* An input of no bytes, and one of one byte, begin and end. */
static void test_shortest_inputs(void **state)
{
	const uint8_t byte = 0x0B;

	(void)state;
	assert_int_equal(LLVMFuzzerTestOneInput(&byte, 0), 0);
	assert_int_equal(LLVMFuzzerTestOneInput(&byte, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus),
		cmocka_unit_test(test_shortest_inputs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
