/* SPDX-License-Identifier: MIT */
/*
 * script/events_read: the lines of an event stream, as `septum run --events` writes it. Holds one
 * line at a time.
 *
 * Any bytes make records or an error with the line, what was found and what was expected. What a
 * record says fits the machine of the stream's head: its processor exists, its memory is memory.
 */
#ifndef SCRIPT_EVENTS_READ_H
#define SCRIPT_EVENTS_READ_H

#include "base/bug.h"
#include "base/trace.h"
#include "base/types.h"
#include "septum/abi.h"

struct seam_profile;

struct events_head {
	u64 memory_bytes;
	u32 nr_lps, nr_packages;
	const struct seam_profile *profile;
	bool dynamic_pamt;
	struct bug_set planted_bugs;
};

enum events_kind {
	EVENTS_CALL,  /* a host leaf: in, out, interrupt */
	EVENTS_ENTER, /* VP.ENTER has let the vCPU in: in; out if answers */
	EVENTS_EXIT,  /* and has returned by a TD exit: stop, gpa, served, out */
	EVENTS_GUEST, /* a guest leaf: in, interrupt; out if answers, else it exits */
	EVENTS_VE,    /* a guest's access ended in a #VE: stop, gpa, served */
	EVENTS_MEMORY,
	EVENTS_TDMR_INIT_ALL,
};

#define EVENTS_MEMORY_MAX 1024

struct events_record {
	enum events_kind kind;
	u64 line; /* of the file, from 1 */
	u32 lp;
	u64 overlap;
	bool interrupt; /* one was pending when the leaf looked */
	bool answers;
	struct tdx_regs in, out;
	enum trace_stop stop;
	gpa_t gpa;
	u64 served;
	/* EVENTS_MEMORY: whole words of one page */
	hpa_t hpa;
	u32 size;
	u64 words[EVENTS_MEMORY_MAX / sizeof(u64)];
};

struct events_reader;

/**
 * events_reader_open - open the stream at @path and read its head
 *
 * Return: 0; -errno with one line in @err, which later errors of this reader go to as well.
 */
int events_reader_open(const char *path, char *err, size_t err_size, struct events_head *head,
		       struct events_reader **out);
void events_reader_close(struct events_reader *r);
/**
 * events_reader_next - the next record
 *
 * Return: 1; 0 when the stream has ended as it should; -errno with the error's text.
 */
int events_reader_next(struct events_reader *r, struct events_record *rec);
/** events_reader_refuse - a record that can't be so: "FILE: line N: ..." as text; Return: -EINVAL */
int events_reader_refuse(struct events_reader *r, u64 line, const char *fmt, ...) __printf(3, 4);

#endif
