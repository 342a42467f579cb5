/* SPDX-License-Identifier: MIT */
/*
 * Any bytes are a seamcall script or an error with its place; what is a script, and asks for no huge
 * machine, runs to its end.
 */
#include "fuzz_file.h"
#include "script/seamcall.h"
#include "script/seamcall_script.h"

#define MOST_MEMORY (8ULL << 30)
#define MOST_LPS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seamcall_run run = {.name = "fuzz"};
	struct seamcall_error error = {0};
	struct seamcall_script *script;

	if (seamcall_parse((const char *)data, size, &script, &error)) {
		fuzz_expect_line(error.text, sizeof(error.text));
		return 0;
	}
	if (script->host.memory <= MOST_MEMORY && script->host.lps <= MOST_LPS &&
	    seamcall_run(script, &run, &error))
		fuzz_expect_line(error.text, sizeof(error.text));
	seamcall_free(script);
	return 0;
}
