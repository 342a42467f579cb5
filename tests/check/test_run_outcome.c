/* SPDX-License-Identifier: MIT */
/* What `septum run` makes of a broken invariant and of a warning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/run.h"

static const struct run_config cfg = {
	.input = "trace", .pages = PG_LEVEL_2M, .memory_bytes = 1 << 30, .nr_vcpus = 1};
static const struct trace trace;

static struct run_config config(void)
{
	struct run_config c = cfg;

	c.profile = seam_profile_at(0);
	c.accept_level = PG_LEVEL_2M;
	return c;
}

static json_t *outcome_of(const struct run_result *res)
{
	struct run_config c = config();
	json_t *root = run_json(&c, &trace, res);
	json_t *outcome = json_deep_copy(json_object_get(root, "outcome"));

	json_decref(root);
	return outcome;
}

static char *report_of(const struct run_result *res)
{
	struct run_config c = config();
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	run_report(out, &c, &trace, res, 1);
	fclose(out);
	return text;
}

/* A broken invariant makes the run wrong: not good, named in the JSON and in a line of the report. */
static void test_broken(void **state)
{
	static struct run_result res = {.invariant = "invariant 2: the vCPUs are held out"};
	json_t *outcome = outcome_of(&res);
	char *text = report_of(&res);

	(void)state;
	assert_false(run_is_good(&res));
	assert_true(json_is_false(json_object_get(outcome, "good")));
	assert_string_equal(json_string_value(json_object_get(outcome, "invariant")),
			    "invariant 2: the vCPUs are held out");
	assert_non_null(strstr(text, "WRONG: when all was quiet, invariant 2: the vCPUs are held"));
	json_decref(outcome);
	free(text);
}

/* A warning is said with its count, and leaves the run good: what it is about was made good. */
static void test_warned(void **state)
{
	static struct run_result res = {.warnings = 3, .first_warning = "a pair stays"};
	json_t *outcome = outcome_of(&res);
	char *text = report_of(&res);

	(void)state;
	assert_true(run_is_good(&res));
	assert_int_equal(json_integer_value(json_object_get(outcome, "warnings")), 3);
	assert_string_equal(json_string_value(json_object_get(outcome, "first_warning")),
			    "a pair stays");
	assert_null(json_object_get(outcome, "invariant"));
	assert_non_null(strstr(text, "warning: a pair stays (3 in all)"));
	assert_null(strstr(text, "WRONG"));
	json_decref(outcome);
	free(text);
}

/* A run with neither says nothing of them. */
static void test_good(void **state)
{
	static const struct run_result res;
	json_t *outcome = outcome_of(&res);
	char *text = report_of(&res);

	(void)state;
	assert_true(run_is_good(&res));
	assert_null(json_object_get(outcome, "invariant"));
	assert_null(json_object_get(outcome, "warnings"));
	assert_null(strstr(text, "warning"));
	json_decref(outcome);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_warned),
		cmocka_unit_test(test_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
