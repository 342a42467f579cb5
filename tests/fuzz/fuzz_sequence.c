/* SPDX-License-Identifier: MIT */
/*
 * Any bytes are a machine and a sequence of operations, each of which answers what the specification
 * says, and leaves what it says (src/explore/sequence.h). A finding is printed as `septum sequence
 * --replay` takes it.
 */
#include <string.h>

#include "explore/sequence.h"
#include "fuzz_file.h"

#define MOST_OPS 64

static _Noreturn void found(const struct sequence *s, const struct sequence_outcome *out)
{
	size_t size = sequence_print(s, NULL, 0) + 1;
	char *text = malloc(size);

	if (text)
		sequence_print(s, text, size);
	fprintf(stderr, "operation %u: %s\nseptum sequence --replay '%s'\n", out->at, out->text,
		text ? text : "");
	abort();
}

/* What is printed is read again as the same. */
static void check_text(const struct sequence *s)
{
	size_t size = sequence_print(s, NULL, 0) + 1, bad;
	char *text = malloc(size), *second = malloc(size), why[200];
	struct sequence again;

	if (!text || !second)
		abort();
	sequence_print(s, text, size);
	if (sequence_parse(&again, text, &bad, why, sizeof(why)))
		abort();
	sequence_print(&again, second, size);
	if (again.nr != s->nr || strcmp(text, second))
		abort();
	sequence_free(&again);
	free(second);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence_machine *m = sequence_machine_create();
	struct sequence_outcome out;
	struct sequence s;

	if (!m || sequence_from_bytes(&s, data, size))
		abort();
	if (s.nr > MOST_OPS)
		s.nr = MOST_OPS;
	check_text(&s);
	if (sequence_run(m, &s, &NO_BUGS, &out))
		abort();
	if (out.failed)
		found(&s, &out);
	sequence_free(&s);
	sequence_machine_destroy(m);
	return 0;
}
