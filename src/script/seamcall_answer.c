/* SPDX-License-Identifier: MIT */
/* Answers: does one agree with what the script expected, and how does it read. */
#include <stdio.h>

#include "script/seamcall_answer.h"

static bool regs_agree(const struct seamcall_script *script, const struct sc_expect *expect,
		       struct seamcall_answer *answer)
{
	for (u32 i = 0; i < expect->regs.count; i++) {
		const struct sc_assign *assign = &script->assigns[expect->regs.first + i];
		u64 got = *sc_reg_of(&answer->regs, assign->reg);

		if ((got ^ assign->value) & assign->mask)
			return false;
	}
	return true;
}

static bool agrees(const struct seamcall_script *script, const struct sc_expect *expect,
		   enum sc_expect_kind came, u64 value, struct seamcall_answer *answer)
{
	bool status = came == SC_EXPECT_STATUS;

	switch (expect->kind) {
	case SC_EXPECT_NOTHING:
		break;
	case SC_EXPECT_CLASS:
		if (!status || tdx_status_class(answer->regs.rax) != expect->value)
			return false;
		break;
	case SC_EXPECT_STATUS:
		if (!status || answer->regs.rax != expect->value)
			return false;
		break;
	case SC_EXPECT_VALUE:
		if (came != SC_EXPECT_VALUE || value != expect->value)
			return false;
		break;
	case SC_EXPECT_OK:
		if (came != SC_EXPECT_OK && came != SC_EXPECT_VALUE)
			return false;
		break;
	default:
		if (came != expect->kind)
			return false;
	}
	return regs_agree(script, expect, answer);
}

static void print(FILE *out, const struct seamcall_run *run, const struct seamcall_answer *answer)
{
	const u64 *regs = (const u64 *)(const void *)&answer->regs;

	if (answer->who)
		fprintf(out, "%s: ", answer->who);
	fputs(answer->what, out);
	if (answer->is_call && answer->exit)
		fprintf(out, " EXIT rax=0x%llx", (unsigned long long)regs[SC_RAX]);
	else if (answer->is_call)
		fprintf(out, " rax=0x%llx %s", (unsigned long long)regs[SC_RAX],
			answer->status ? answer->status : "UNKNOWN_STATUS");
	else
		fprintf(out, " %s", answer->text);
	for (unsigned int i = SC_RCX; answer->is_call && i < SC_REG_COUNT; i++)
		if (answer->outputs >> i & 1)
			fprintf(out, " %s=0x%llx", sc_reg_name(i), (unsigned long long)regs[i]);
	fputc('\n', out);
	if (!answer->agrees)
		fprintf(out, "    expected %s (%s:%u)\n", answer->expected, run->name,
			answer->line);
}

void sc_answer(struct seamcall_run *run, const struct seamcall_script *script,
	       const struct sc_statement *st, enum sc_expect_kind came, u64 value,
	       struct seamcall_answer *answer)
{
	const struct sc_expect *expect = &st->expect;
	char expected[512];

	answer->line = st->line;
	answer->agrees = agrees(script, expect, came, value, answer);
	if (answer->is_call)
		answer->status = tdx_status_name(answer->regs.rax);
	if (expect->kind != SC_EXPECT_NOTHING) {
		snprintf(expected, sizeof(expected), "%.*s", (int)min_u64(expect->length, 511),
			 expect->text);
		answer->expected = expected;
		run->expectations++;
		run->failures += !answer->agrees;
	}
	if (run->out)
		print(run->out, run, answer);
	if (run->answer)
		run->answer(run->ctx, answer);
}
