/* SPDX-License-Identifier: MIT */
/*
 * cli: the `septum` command. Parses options, calls the rooms, prints. What every subcommand shares
 * stands here: exit statuses, complaints, number and size words, JSON output.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "base/types.h"

enum exit_status {
	EXIT_GOOD = 0,
	EXIT_WRONG = 1,	   /* something is wrong with what was run */
	EXIT_BAD_USE = 2,  /* bad usage or bad input */
	EXIT_CANT_RUN = 4, /* this machine can't, and why */
};

int cmd_run(int argc, char **argv);
int cmd_seamcall(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_sequence(int argc, char **argv);
int cmd_explore(int argc, char **argv);

/** cli_error - one line "septum: what, where, expected" on standard error; returns @status */
int cli_error(int status, const char *fmt, ...) __printf(2, 3);

/**
 * cli_parse_size - "4096", "4K", "2M", "1G", "16T" to bytes
 *
 * Return: 0, or -EINVAL for anything else (sign, blank, overflow, other suffix).
 */
int cli_parse_size(const char *word, u64 *bytes);
/** cli_parse_u64 - decimal or 0x number, nothing before or after; 0 or -EINVAL */
int cli_parse_u64(const char *word, u64 *value);
/** cli_nearest - the word of @words (NULL-terminated) most like @word, or NULL if none is near */
const char *cli_nearest(const char *word, const char *const *words);

/** cli_shell_word - @word as a shell reads it, in quotes where it needs them; from malloc(), or NULL */
char *cli_shell_word(const char *word);

/**
 * cli_write_json - write @root, which is consumed, to @path ("-": standard output)
 *
 * Return: 0 or an exit status, after its complaint; what fails on standard output cli_end() tells.
 */
int cli_write_json(json_t *root, const char *path);

/**
 * cli_end - what a command's exit status is, now that standard output must be written
 *
 * Says so and answers EXIT_CANT_RUN if what was printed is lost. A reader that wants no more, as head(1), is
 * no loss.
 */
int cli_end(int status);

#endif
