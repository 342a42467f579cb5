/* SPDX-License-Identifier: MIT */
/* Every script of tests/vectors and examples, run as a user runs it: each line must agree. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sync.h"
#include "script/seamcall.h"
#include "script/seamcall_leaves.h"
#include "script/source_dir.h"

#define SCRIPTS_MAX 256
#define SCRIPT_MAX (1 << 20)

static const char *const folders[] = {SEPTUM_SOURCE_DIR "/tests/vectors",
				      SEPTUM_SOURCE_DIR "/examples"};

static char *read_script(const char *path, size_t *length)
{
	FILE *in = fopen(path, "r");
	char *text = malloc(SCRIPT_MAX);

	assert_non_null(in);
	assert_non_null(text);
	*length = fread(text, 1, SCRIPT_MAX, in);
	fclose(in);
	return text;
}

/* The first disagreement is what counts: later ones often follow from it. */
struct first_failure {
	char text[768];
};

static void note_failure(void *ctx, const struct seamcall_answer *answer)
{
	struct first_failure *first = ctx;

	if (answer->agrees || first->text[0])
		return;
	snprintf(first->text, sizeof(first->text),
		 "line %u: %s found %s rax=0x%llx rcx=0x%llx rdx=0x%llx r8=0x%llx, expected %s",
		 answer->line, answer->what, answer->exit ? "EXIT" : "",
		 (unsigned long long)answer->regs.rax, (unsigned long long)answer->regs.rcx,
		 (unsigned long long)answer->regs.rdx, (unsigned long long)answer->regs.r8,
		 answer->expected);
}

/* A script of ours runs to its end, expects something, and every expectation is met. */
static void test_script(void **state)
{
	const char *path = *state;
	struct first_failure first = {""};
	struct seamcall_run run = {.name = path, .answer = note_failure, .ctx = &first};
	struct seamcall_script *script;
	struct seamcall_error error;
	size_t length;
	char *text = read_script(path, &length);

	if (seamcall_parse(text, length, &script, &error))
		fail_msg("%s:%u:%u: %s", path, error.line, error.column, error.text);
	free(text);
	if (seamcall_run(script, &run, &error))
		fail_msg("%s:%u:%u: %s", path, error.line, error.column, error.text);
	seamcall_free(script);
	if (run.failures)
		fail_msg("%s: %llu of %llu disagree; first %s", path,
			 (unsigned long long)run.failures, (unsigned long long)run.expectations,
			 first.text);
	assert_true(run.expectations > 0);
}

/* The text of a script that names @leaf at the start of a call. */
static bool mentions(const char *text, size_t length, const char *leaf)
{
	size_t n = strlen(leaf);

	for (const char *at = text; (at = memmem(at, length - (size_t)(at - text), leaf, n));
	     at++) {
		const char *line = at;

		while (line > text && line[-1] != '\n')
			line--;
		if (!memchr(line, '#', (size_t)(at - line)) && (at[n] == ' ' || at[n] == '\n'))
			return true;
	}
	return false;
}

static char *paths[SCRIPTS_MAX];
static size_t nr_paths;

/* Each leaf that the module has is called by one of the examples. */
static void test_every_leaf_has_an_example(void **state)
{
	(void)state;
	for (unsigned int i = 0; sc_leaf_at(i); i++) {
		const char *name = sc_leaf_at(i)->name;
		bool found = !strcmp(name, "TDH.VP.ENTER"); /* what `enter` calls */

		for (size_t j = 0; j < nr_paths && !found; j++) {
			size_t length;
			char *text;

			if (!strstr(paths[j], "/examples/"))
				continue;
			text = read_script(paths[j], &length);
			found = mentions(text, length, name);
			free(text);
		}
		if (!found)
			fail_msg("no script of examples/ calls %s", name);
	}
}

static int is_script(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && !strcmp(dot, ".sc");
}

static void find_scripts(const char *folder)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, is_script, alphasort);

	for (int i = 0; i < n; i++) {
		if (nr_paths < SCRIPTS_MAX &&
		    asprintf(&paths[nr_paths], "%s/%s", folder, entries[i]->d_name) >= 0)
			nr_paths++;
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

int main(void)
{
	static struct CMUnitTest tests[SCRIPTS_MAX + 1];
	int failed;

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		find_scripts(folders[i]);
	for (size_t i = 0; i < nr_paths; i++)
		tests[i] = (struct CMUnitTest){.name = paths[i] + strlen(SEPTUM_SOURCE_DIR) + 1,
					       .test_func = test_script,
					       .initial_state = paths[i]};
	tests[nr_paths] = (struct CMUnitTest)cmocka_unit_test(test_every_leaf_has_an_example);
	sync_thread_enter();
	failed =
		_cmocka_run_group_tests("script_seamcall_scripts", tests, nr_paths + 1, NULL, NULL);
	sync_thread_leave();
	for (size_t i = 0; i < nr_paths; i++)
		free(paths[i]);
	return failed;
}
