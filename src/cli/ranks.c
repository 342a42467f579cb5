/* SPDX-License-Identifier: MIT */
/* A command under mpirun: who speaks, and what exit status comes out. */
#include "cli/ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cli/cli.h"

int cli_ranks_join(struct cli_ranks *r, const char *command)
{
	char why[128] = "no memory";
	u32 index;
	int err;

	r->command = command;
	if (!ranks_expected(&index))
		return 0;
	err = ranks_join(&r->ranks, why, sizeof(why));
	if (!err) {
		r->joined = true;
		return 0;
	}
	/* All have the same to say; mpirun ends all when the first has an exit status. */
	return index && err == -ENOSYS ? -1
				       : cli_error(EXIT_CANT_RUN, "%s: mpirun: %s", command, why);
}

bool cli_ranks_speaks(const struct cli_ranks *r)
{
	return !r->joined || !r->ranks.index;
}

int cli_ranks_hush(const struct cli_ranks *r)
{
	int null, kept;

	if (cli_ranks_speaks(r))
		return -1;
	fflush(NULL);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	return kept;
}

void cli_ranks_speak(int kept)
{
	if (kept < 0)
		return;
	fflush(NULL);
	dup2(kept, STDERR_FILENO);
	close(kept);
}

void cli_ranks_note(const struct cli_ranks *r, u32 rank, const char *what)
{
	fprintf(stderr, "septum: %s: rank %u %s\n", r->command, rank, what);
}

int cli_ranks_leave(struct cli_ranks *r, int status)
{
	if (!r->joined)
		return status;
	ranks_leave(&r->ranks);
	if (!r->ranks.index) {
		if (status && !r->ranks.die_as_one)
			fprintf(stderr,
				"septum: %s: exit status %d, in place of which mpirun "
				"--enable-recovery answers 0\n",
				r->command, status);
		return status;
	}
	/* What mpirun answers is rank 0's to say, if that still can. */
	if (!r->ranks.deserted)
		return EXIT_GOOD;
	return cli_error(EXIT_CANT_RUN, "%s: rank %u: rank 0 isn't heard any more", r->command,
			 r->ranks.index);
}
