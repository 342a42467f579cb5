/* SPDX-License-Identifier: MIT */
/*
 * Two TDs on one file against a flat model of who owns which byte (explore/sequence.h): random accepts,
 * writes, conversions, holes, failing memory, held pages, dirty tracking and promotions. Each page's word
 * is what the model says, from whichever side it may be reached, and unreachable from the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "explore/sequence.h"

#define STEPS 500

static void run_model(struct sequence_machine *m, const u8 *option, u64 seed)
{
	struct sequence_outcome out;
	struct sequence s;
	char text[2000];

	assert_int_equal(sequence_random(&s, seed, STEPS), 0);
	for (u32 i = 0; i < SEQUENCE_OPTION_COUNT; i++)
		s.option[i] = option[i];
	assert_int_equal(sequence_run(m, &s, &NO_BUGS, &out), 0);
	if (out.failed) {
		s.nr = 0;
		sequence_print(&s, text, sizeof(text));
		fail_msg("%s seed %llu operation %u: %s", text, (unsigned long long)seed, out.at,
			 out.text);
	}
	sequence_free(&s);
}

/* For every backing, folio policy and form, and ways to split and promote that change with them. */
static void test_model(void **state)
{
	struct sequence_machine *m = sequence_machine_create();

	(void)state;
	assert_non_null(m);
	for (u8 i = 0; i < 24; i++) {
		u8 round = i / 4;
		const u8 option[SEQUENCE_OPTION_COUNT] = {
			[SEQ_TDS] = 1,
			[SEQ_BLOCKS] = 3,
			[SEQ_FILE] = 1,
			[SEQ_BACKING] = i % 4,
			[SEQ_DPAMT] = round & 1,
			[SEQ_VMEMMAP] = round & 1,
			[SEQ_PROMOTE] = round & 1,
			[SEQ_FOLIO_SPLIT] = i / 8 & 1,
			[SEQ_FOLIO_REFS] = round % 3 == 2,
			[SEQ_MAPPING_FORM] = round % 3 == 1,
			[SEQ_RESTRUCTURE] = round % 3 == 0,
			[SEQ_CONVERT_ORDER] = i / 8,
			[SEQ_SPLIT_RANGE] = round % 3,
			[SEQ_SPLIT_METADATA] = i / 8,
			[SEQ_MAPPING_CHECK] = round % 2,
		};

		run_model(m, option, 100 + i);
	}
	sequence_machine_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
