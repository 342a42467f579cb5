/* SPDX-License-Identifier: MIT */
/*
 * explore/ranks: messages by MPI.
 *
 * A message is less than what any transport sends without asking the receiver first, so it arrives
 * whole or, if its sender dies, not at all, and neither side ever waits in MPI for another that may
 * be dead. Errors are answered, not fatal. Processes that a rank forks never come here.
 */
#include "explore/ranks.h"

#include <errno.h>
#include <mpi.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_RANKS 65536
#define MOST_FLUSH_MS 1000
#define TAG 1

struct sent {
	struct sent *next;
	MPI_Request request;
	struct ranks_message message;
};

struct mpi {
	struct sent *sent; /* not yet gone, the newest first */
};

/* Forgets what has gone; what was sent to the dead may never go. */
static void reap(struct mpi *mpi)
{
	struct sent **at = &mpi->sent;

	while (*at) {
		struct sent *s = *at;
		int gone;

		if (MPI_Test(&s->request, &gone, MPI_STATUS_IGNORE) != MPI_SUCCESS)
			gone = true;
		if (gone) {
			*at = s->next;
			free(s);
		} else {
			at = &s->next;
		}
	}
}

static int mpi_send(void *ctx, u32 to, const struct ranks_message *m)
{
	size_t n = offsetof(struct ranks_message, bytes) + m->nr;
	struct mpi *mpi = ctx;
	struct sent *s;

	reap(mpi);
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	memcpy(&s->message, m, n);
	/* An error is the receiver's death: that it isn't heard will show it. */
	if (MPI_Isend(&s->message, (int)n, MPI_BYTE, (int)to, TAG, MPI_COMM_WORLD, &s->request) !=
	    MPI_SUCCESS) {
		free(s);
		return 0;
	}
	s->next = mpi->sent;
	mpi->sent = s;
	return 0;
}

static bool mpi_receive(void *ctx, u32 *from, struct ranks_message *m)
{
	struct mpi *mpi = ctx;
	MPI_Status status;
	int there, n;

	reap(mpi);
	for (;;) {
		if (MPI_Iprobe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &there, &status) !=
			    MPI_SUCCESS ||
		    !there)
			return false;
		if (MPI_Recv(m, (int)sizeof(*m), MPI_BYTE, status.MPI_SOURCE, TAG, MPI_COMM_WORLD,
			     &status) != MPI_SUCCESS ||
		    MPI_Get_count(&status, MPI_BYTE, &n) != MPI_SUCCESS)
			continue;
		if ((size_t)n >= offsetof(struct ranks_message, bytes) &&
		    (size_t)n == offsetof(struct ranks_message, bytes) + m->nr)
			break;
	}
	*from = (u32)status.MPI_SOURCE;
	return true;
}

/* With a rank dead, MPI_Finalize() may wait for it for ever; its processes then end without. */
static void mpi_close(void *ctx, bool together)
{
	struct mpi *mpi = ctx;

	for (u32 i = 0; mpi->sent && i < MOST_FLUSH_MS; i++) {
		reap(mpi);
		if (mpi->sent)
			poll(NULL, 0, 1);
	}
	if (together)
		MPI_Finalize();
	/* What hasn't gone is MPI's still, if it wasn't told that this is the end. */
	while (together && mpi->sent) {
		struct sent *s = mpi->sent;

		mpi->sent = s->next;
		free(s);
	}
	free(mpi);
}

/* mpirun --enable-recovery, or the same said by its variable or file, tells us by this. */
static bool recovers(void)
{
	const char *said = getenv("OMPI_MCA_orte_enable_recovery");

	return said && (!strcmp(said, "1") || !strcmp(said, "true"));
}

int ranks_join(struct ranks *r, char *why, size_t size)
{
	struct mpi *mpi = calloc(1, sizeof(*mpi));
	int index = 0, nr = 0, err;

	memset(r, 0, sizeof(*r));
	if (!mpi)
		return -ENOMEM;
	if (MPI_Init(NULL, NULL) != MPI_SUCCESS ||
	    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN) != MPI_SUCCESS ||
	    MPI_Comm_rank(MPI_COMM_WORLD, &index) != MPI_SUCCESS ||
	    MPI_Comm_size(MPI_COMM_WORLD, &nr) != MPI_SUCCESS || nr > MOST_RANKS) {
		snprintf(why, size, "MPI can't be started");
		free(mpi);
		return -EIO;
	}
	r->link = (struct ranks_link){mpi, mpi_receive, mpi_send, mpi_close};
	r->index = (u32)index;
	r->size = (u32)nr;
	r->die_as_one = !recovers();
	err = ranks_begin(r);
	if (err)
		snprintf(why, size, "no memory");
	return err;
}
