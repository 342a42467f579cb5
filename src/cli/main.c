/* SPDX-License-Identifier: MIT */
/* The `septum` command: finds the subcommand and hands over. */
#include <string.h>

#include "base/sync.h"
#include "cli/cli.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"run", cmd_run, "replay a guest's memory trace inside a TD"},
	{"seamcall", cmd_seamcall, "talk to the software TDX module, one call a line"},
	{"explore", cmd_explore, "try the orders of a small program's steps"},
	{"sequence", cmd_sequence,
	 "hold random operations, by the million, against a specification"},
	{"bench", cmd_bench, "measure, with the floor beside each figure"},
};

static void usage(FILE *out)
{
	fputs("usage: septum COMMAND [options]\n\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].what);
	fputs("\n'septum COMMAND --help' tells the options of each.\n"
	      "Exit status: 0 good, 1 something is wrong with what was run, 2 bad usage or bad "
	      "input,\n"
	      "4 can't run here.\n",
	      out);
}

static int unknown_command(const char *word)
{
	const char *words[ARRAY_SIZE(commands) + 1] = {NULL};
	const char *near;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		words[i] = commands[i].name;
	near = cli_nearest(word, words);
	if (near)
		return cli_error(EXIT_BAD_USE, "unknown command '%s': did you mean '%s'?", word,
				 near);
	return cli_error(EXIT_BAD_USE,
			 "unknown command '%s': expected run, seamcall, explore, sequence or bench",
			 word);
}

static int command(int argc, char **argv)
{
	int status;

	if (argc < 2) {
		usage(stderr);
		return EXIT_BAD_USE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return EXIT_GOOD;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("septum " SEPTUM_VERSION);
		return EXIT_GOOD;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		sync_thread_enter();
		status = commands[i].run(argc - 1, argv + 1);
		sync_thread_leave();
		return status;
	}
	return unknown_command(argv[1]);
}

int main(int argc, char **argv)
{
	return cli_end(command(argc, argv));
}
