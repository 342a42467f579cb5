/* SPDX-License-Identifier: MIT */
/* Any bytes are an explore program or an error with its line; a program, printed, is that program. */
#include <string.h>

#include "fuzz_file.h"
#include "script/program.h"

static char *print(const struct program *p)
{
	size_t size = program_print(p, NULL, 0) + 1;
	char *text = malloc(size);

	if (!text || program_print(p, text, size) != size - 1 || strlen(text) != size - 1)
		abort();
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct program *p = malloc(sizeof(*p)), *again = malloc(sizeof(*again));
	struct program_error error = {0};

	if (!p || !again)
		abort();
	if (program_parse("fuzz", (const char *)data, size, p, &error)) {
		fuzz_expect_line(error.what, sizeof(error.what));
	} else {
		char *text = print(p), *second;

		if (program_parse("fuzz", text, strlen(text), again, &error))
			abort();
		second = print(again);
		if (strcmp(text, second))
			abort();
		free(second);
		free(text);
	}
	free(again);
	free(p);
	return 0;
}
