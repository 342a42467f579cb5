/* SPDX-License-Identifier: MIT */
/*
 * script/seamcall: the language of `septum seamcall`. One SEAMCALL, TDCALL or directive a line; a
 * script is parsed as a whole, then run on a machine of its own.
 *
 * Guarantees:
 *  1. Any bytes make either a script or an error with line, column, what was found and expected;
 *     nothing runs when there is an error of form.
 *  2. A run is deterministic: one thread works at any time. A vCPU that is inside waits between
 *     its statements, in the middle of VP.ENTER.
 *  3. After the end of a run, good or bad, every vCPU is outside and the machine is gone.
 *
 * Addresses that the language names are fixed (see seamcall_layout.h), so that a symbol is a number
 * as soon as it is parsed.
 */
#ifndef SCRIPT_SEAMCALL_H
#define SCRIPT_SEAMCALL_H

#include <stdio.h>

#include "base/types.h"
#include "septum/abi.h"

struct seamcall_script;

struct seamcall_error {
	u32 line, column; /* from 1; 0: not about a place in the script */
	char text[224];	  /* "found X, expected Y" */
};

/**
 * seamcall_parse - @length bytes at @text to a script
 *
 * Return: 0 and the script in @out (seamcall_free() it); -EINVAL or -ENOMEM with @error filled.
 */
int seamcall_parse(const char *text, size_t length, struct seamcall_script **out,
		   struct seamcall_error *error);
void seamcall_free(struct seamcall_script *script);

/* What one call, access or exit answered; valid only during the callback. */
struct seamcall_answer {
	u32 line;
	u32 lp;
	const char *who;    /* "t.0", or NULL for a host call */
	const char *what;   /* leaf name, "read" or "write" */
	const char *status; /* name; NULL when rax isn't one that is known */
	bool exit;	    /* a TD exit: registers as VP.ENTER gives them to the host */
	bool is_call;	    /* registers matter; else @text does */
	struct tdx_regs regs;
	u32 outputs; /* a bit per enum sc_reg, beside rax */
	const char *text;
	const char *expected; /* what the script expected, as text; NULL: nothing */
	bool agrees;
};

struct seamcall_run {
	const char *name; /* of the script, for messages */
	FILE *out;	  /* the lines; NULL: none */
	/* Beside @out, called after each line; may be NULL. */
	void (*answer)(void *ctx, const struct seamcall_answer *answer);
	void *ctx;

	/* filled by the run */
	u64 calls, expectations, failures;
};

/**
 * seamcall_run - run @script on a new machine
 *
 * A failed expectation doesn't stop the run: see @run->failures.
 * Return: 0; -EINVAL for a statement that can't be done where it stands; -ENOMEM when the machine
 * can't be had. @error is filled unless 0.
 */
int seamcall_run(const struct seamcall_script *script, struct seamcall_run *run,
		 struct seamcall_error *error);

/** seamcall_list - one line for each leaf: name, number, versions, operands, outputs, statuses */
void seamcall_list(FILE *out);

#endif
