/* SPDX-License-Identifier: MIT */
/*
 * cli/ranks: what commands share that mpirun may start as several processes. All read the same command
 * line and work; rank 0 speaks for all.
 */
#ifndef CLI_RANKS_H
#define CLI_RANKS_H

#include "explore/ranks.h"

struct cli_ranks {
	const char *command; /* a word, for complaints */
	bool joined;	     /* mpirun started us */
	struct ranks ranks;
};

/**
 * cli_ranks_join - joins the others, if mpirun started us
 *
 * Return: 0; an exit status, with the reason told; -1: rank 0 tells it
 */
int cli_ranks_join(struct cli_ranks *r, const char *command);
/** cli_ranks_speaks - is what comes out this process's to tell? */
bool cli_ranks_speaks(const struct cli_ranks *r);
/**
 * cli_ranks_hush - ranks 1 and up say nothing of a command line that rank 0 reads too
 *
 * Return: for cli_ranks_speak(), which gives standard error back; their standard output is gone
 */
int cli_ranks_hush(const struct cli_ranks *r);
void cli_ranks_speak(int kept);
void cli_ranks_note(const struct cli_ranks *r, u32 rank, const char *what);
/** cli_ranks_leave - Return: this process's exit status, if rank 0's is @status */
int cli_ranks_leave(struct cli_ranks *r, int status);

#endif
