/* SPDX-License-Identifier: MIT */
/* script: one answer, compared with what the script expected, and printed. */
#ifndef SCRIPT_SEAMCALL_ANSWER_H
#define SCRIPT_SEAMCALL_ANSWER_H

#include "script/seamcall.h"
#include "script/seamcall_script.h"

/** sc_answer - compare @answer with the expectation of @st, print it, hand it on, and count it */
void sc_answer(struct seamcall_run *run, const struct seamcall_script *script,
	       const struct sc_statement *st, enum sc_expect_kind came, u64 value,
	       struct seamcall_answer *answer);

#endif
