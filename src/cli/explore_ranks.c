/* SPDX-License-Identifier: MIT */
/* septum explore under mpirun: rank 0 speaks for all. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/explore.h"

int explore_ranks_join(struct explore_command *c, struct ranks *ranks)
{
	char why[128] = "no memory";
	u32 index;
	int err;

	if (!ranks_expected(&index))
		return 0;
	err = ranks_join(ranks, why, sizeof(why));
	if (!err) {
		c->ranks = ranks;
		return 0;
	}
	/* All have the same to say; mpirun ends all when the first has an exit status. */
	return index && err == -ENOSYS ? -1 : cli_error(EXIT_CANT_RUN, "explore: mpirun: %s", why);
}

/* Return: where standard error is kept meanwhile; -1: nothing was changed */
int explore_ranks_hush(const struct explore_command *c)
{
	int null, kept;

	if (!c->ranks || !c->ranks->index)
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

void explore_ranks_speak(int kept)
{
	if (kept < 0)
		return;
	fflush(NULL);
	dup2(kept, STDERR_FILENO);
	close(kept);
}

void explore_ranks_note(void *ctx, u32 rank, const char *what)
{
	(void)ctx;
	fprintf(stderr, "septum: explore: rank %u %s\n", rank, what);
}

int explore_ranks_leave(const struct explore_command *c, int status)
{
	if (!c->ranks)
		return status;
	ranks_leave(c->ranks);
	if (!c->ranks->index) {
		if (status && !c->ranks->die_as_one)
			fprintf(stderr,
				"septum: explore: exit status %d, in place of which mpirun "
				"--enable-recovery answers 0\n",
				status);
		return status;
	}
	/* What mpirun answers is rank 0's to say, if that still can. */
	if (!c->ranks->deserted)
		return EXIT_GOOD;
	return cli_error(EXIT_CANT_RUN, "explore: rank %u: rank 0 isn't heard any more",
			 c->ranks->index);
}
