/* SPDX-License-Identifier: MIT */
/* Running seamcall scripts: what is printed, what is counted, and what can't be done where it stands. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "script/seamcall.h"

#define HOST "host memory=4G dpamt=off lps=2\n"
#define TD HOST "td t vcpus=2\n"
/* A 2M page at GPA 0x200000, frame 0x40000000, not accepted. */
#define PAGE                                       \
	"TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0\n" \
	"TDH.MEM.SEPT.ADD rcx=0x2 rdx=$t r8=$p1\n" \
	"TDH.MEM.PAGE.AUG rcx=0x200001 rdx=$t r8=0x40000000\n"
#define PAGE_LINES                                               \
	"TDH.MEM.SEPT.ADD rax=0x0 TDX_SUCCESS rcx=0x0 rdx=0x0\n" \
	"TDH.MEM.SEPT.ADD rax=0x0 TDX_SUCCESS rcx=0x0 rdx=0x0\n" \
	"TDH.MEM.PAGE.AUG rax=0x0 TDX_SUCCESS rcx=0x0 rdx=0x0\n"

struct result {
	int err;
	char *text;
	struct seamcall_run run;
	struct seamcall_error error;
};

static struct result run(const char *script_text)
{
	struct result r = {.run = {.name = "test.sc"}};
	struct seamcall_script *script;
	size_t length;

	if (seamcall_parse(script_text, strlen(script_text), &script, &r.error))
		fail_msg("%s%u:%u: %s", script_text, r.error.line, r.error.column, r.error.text);
	r.run.out = open_memstream(&r.text, &length);
	assert_non_null(r.run.out);
	r.err = seamcall_run(script, &r.run, &r.error);
	fclose(r.run.out);
	seamcall_free(script);
	return r;
}

static void prints(const char *script, const char *expected)
{
	struct result r = run(script);

	if (r.err)
		fail_msg("%s%u:%u: %s", script, r.error.line, r.error.column, r.error.text);
	assert_string_equal(r.text, expected);
	free(r.text);
}

/* The run of @script stops at @line with a complaint that contains @words. */
static void stops(const char *script, unsigned int line, const char *words)
{
	struct result r = run(script);

	assert_int_equal(r.err, -EINVAL);
	if (r.error.line != line || !strstr(r.error.text, words))
		fail_msg("%s\ngot %u: %s\nwant %u: %s", script, r.error.line, r.error.text, line,
			 words);
	free(r.text);
}

/* Every call prints leaf, rax, status and the registers that the manual defines for its outcome. */
static void test_call_lines(void **state)
{
	(void)state;
	prints(TD "TDH.MEM.TRACK rcx=$t\n"
		  "TDH.MEM.SEPT.RD rcx=0x3 rdx=$t\n"
		  "TDH.PHYMEM.PAGE.RDMD rcx=$t\n"
		  "TDH.PHYMEM.PAGE.RECLAIM rcx=0x40000000\n",
	       "TDH.MEM.TRACK rax=0x0 TDX_SUCCESS\n"
	       "TDH.MEM.SEPT.RD rax=0x0 TDX_SUCCESS rcx=0x8000000000000000 rdx=0x3\n"
	       "TDH.PHYMEM.PAGE.RDMD rax=0x0 TDX_SUCCESS rcx=0x4 rdx=0x0 r8=0x0 r9=0x0 r10=0x0 "
	       "r11=0x0\n"
	       "TDH.PHYMEM.PAGE.RECLAIM rax=0xc000030000000001 TDX_PAGE_METADATA_INCORRECT rcx=0x0 "
	       "rdx=0x0 r8=0x0 r9=0x0\n");
}

/* A leaf may be called by number; one that isn't there answers OPERAND_INVALID for RAX. */
static void test_calls_by_number(void **state)
{
	(void)state;
	prints(TD "SEAMCALL rax=38 rcx=$t\nSEAMCALL rax=0xffff\n"
		  "TDH.MEM.TRACK version=1 rcx=$t\n",
	       "TDH.MEM.TRACK rax=0x0 TDX_SUCCESS\n"
	       "SEAMCALL rax=0xc000010000000000 TDX_OPERAND_INVALID\n"
	       "TDH.MEM.TRACK rax=0xc000010000000000 TDX_OPERAND_INVALID\n");
}

/* A guest's lines begin with its vCPU; accesses show what was read, a TD exit its registers. */
static void test_guest_lines(void **state)
{
	(void)state;
	prints(TD PAGE "enter t.1\n"
		       "t.1: TDG.MEM.PAGE.ACCEPT rcx=0x200001\n"
		       "t.1: write 0x200008 0x1234\nt.1: read 0x200008\n"
		       "t.1: read 0x400000\n"
		       "enter t.1\nexit t.1\n",
	       PAGE_LINES "t.1: TDG.MEM.PAGE.ACCEPT rax=0x0 TDX_SUCCESS\n"
			  "t.1: write 0x200008 0x1234\nt.1: read 0x200008 0x1234\n"
			  "t.1: read EXIT rax=0x30 rcx=0x1 rdx=0x0 r8=0x400000\n"
			  "t.1: TDH.VP.ENTER EXIT rax=0x1 rcx=0x0 rdx=0x0 r8=0x0\n");
}

/* Two vCPUs inside at once keep their own state, while host calls go on from a third place. */
static void test_two_inside(void **state)
{
	(void)state;
	prints("host memory=1G dpamt=off lps=3\ntd t vcpus=2\nlp 2\n"
	       "enter t.0\nenter t.1\n"
	       "t.1: TDG.VP.INFO -> TDX_SUCCESS r9=1\nt.0: TDG.VP.INFO -> TDX_SUCCESS r9=0\n"
	       "TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS\n"
	       "TDH.MEM.TRACK rcx=$t -> TDX_PREVIOUS_TLB_EPOCH_BUSY\n",
	       "t.1: TDG.VP.INFO rax=0x0 TDX_SUCCESS rcx=0x30 rdx=0x10000000 r8=0x200000002 r9=0x1 "
	       "r10=0x1 r11=0x0\n"
	       "t.0: TDG.VP.INFO rax=0x0 TDX_SUCCESS rcx=0x30 rdx=0x10000000 r8=0x200000002 r9=0x0 "
	       "r10=0x1 r11=0x0\n"
	       "TDH.MEM.TRACK rax=0x0 TDX_SUCCESS\n"
	       "TDH.MEM.TRACK rax=0x8000020100000000 TDX_PREVIOUS_TLB_EPOCH_BUSY\n");
}

/* An expectation that fails is printed under its line and counted; the run goes on. */
static void test_failures(void **state)
{
	struct result r = run(TD "TDH.MEM.TRACK rcx=$t -> TDX_OPERAND_BUSY # no\n"
				 "TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS\n"
				 "TDH.MEM.TRACK rcx=$t -> EXIT\n"
				 "TDH.MEM.SEPT.RD rcx=0x3 rdx=$t -> TDX_SUCCESS rdx=0x103/0x1ff\n"
				 "TDH.MEM.SEPT.RD rcx=0x3 rdx=$t -> TDX_SUCCESS rdx=0x103/0xff\n");

	(void)state;
	assert_int_equal(r.err, 0);
	assert_int_equal(r.run.expectations, 5);
	assert_int_equal(r.run.failures, 3);
	assert_non_null(strstr(r.text, "TDH.MEM.TRACK rax=0x0 TDX_SUCCESS\n"
				       "    expected TDX_OPERAND_BUSY (test.sc:3)\n"
				       "TDH.MEM.TRACK rax=0x0 TDX_SUCCESS\n"
				       "TDH.MEM.TRACK rax=0x0 TDX_SUCCESS\n"
				       "    expected EXIT (test.sc:5)\n"));
	assert_non_null(strstr(r.text, "    expected TDX_SUCCESS rdx=0x103/0x1ff (test.sc:6)\n"));
	free(r.text);
}

/* A status by name leaves the operand open, by name and operand or by number it doesn't. */
static void test_status_forms(void **state)
{
	struct result r = run(TD "TDH.MEM.TRACK rcx=1 -> TDX_OPERAND_INVALID\n"
				 "TDH.MEM.TRACK rcx=1 -> TDX_OPERAND_INVALID|RCX\n"
				 "TDH.MEM.TRACK rcx=1 -> TDX_OPERAND_INVALID|RDX\n"
				 "TDH.MEM.TRACK rcx=1 -> 0xC000010000000001\n"
				 "TDH.MEM.TRACK rcx=1 -> 0xC000010000000000\n");

	(void)state;
	assert_int_equal(r.err, 0);
	assert_int_equal(r.run.failures, 2);
	free(r.text);
}

/* Statements that make no sense where they stand end the run, with line and reason. */
static void test_misplaced_statements(void **state)
{
	(void)state;
	stops(TD "t.0: read 0x200000\n", 3, "t.0 outside");
	stops(TD "exit t.0\n", 3, "t.0 outside");
	stops(TD "enter t.0\nenter t.0\n", 4, "t.0 inside");
	stops(TD "enter t.0\nTDH.MEM.TRACK rcx=$t\n", 4, "t.0 is inside of");
	stops(TD "enter t.0\nenter t.1\npamt 0\n", 5, "every logical processor");
	stops(TD "enter t.0\ntd u\n", 4, "inside the logical processors that TD u needs");
	stops("host memory=1G raw\ntd t\n", 2, "TDH.MNG.CREATE answering");
	stops(TD "poke $t 1\n", 3, "PT_TDR");
	stops(TD "release $p0\n", 3, "isn't held");
	stops(TD "hold $t\nhold $t\n", 4, "held already");
	stops("host raw\nhold 0\n", 2, "no metadata");
}

/* After an exit the guest drops its TDCALL, and is outside. */
static void test_exit_drops_the_call(void **state)
{
	(void)state;
	stops(TD PAGE "enter t.0\nt.0: TDG.MEM.PAGE.ACCEPT rcx=0x200000 -> EXIT rax=0x30\n"
		      "t.0: TDG.VP.INFO\n",
	      8, "t.0 outside");
}

/* hold makes others meet BUSY and release ends it, in the fixed PAMT and in a pair of pages. */
static void test_hold(void **state)
{
	static const char *const hosts[] = {"host memory=4G dpamt=off lps=1\n",
					    "host memory=4G dpamt=on lps=1\n"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		char script[1024];
		struct result r;

		snprintf(script, sizeof(script),
			 "%std t\nhold $t\nTDH.MEM.TRACK rcx=$t -> TDX_OPERAND_BUSY|RCX\n"
			 "release $t\nTDH.MEM.TRACK rcx=$t -> TDX_SUCCESS\n"
			 "hold $t shared\nhold $t shared\nTDH.MEM.TRACK rcx=$t -> TDX_SUCCESS\n"
			 "TDH.MNG.VPFLUSHDONE rcx=$t -> TDX_OPERAND_BUSY|RCX\n"
			 "release $t\nTDH.MNG.VPFLUSHDONE rcx=$t -> TDX_OPERAND_BUSY|RCX\n"
			 "release $t\nTDH.MNG.VPFLUSHDONE rcx=$t -> TDX_FLUSHVP_NOT_DONE\n",
			 hosts[i]);
		r = run(script);
		assert_int_equal(r.err, 0);
		if (r.run.failures)
			fail_msg("%s", r.text);
		free(r.text);
	}
}

/* What the host answers to a VP.VMCALL reaches the registers that the guest has shared. */
static void test_vmcall_answer(void **state)
{
	(void)state;
	prints(TD "enter t.0\nt.0: TDG.VP.VMCALL rcx=0x1c00 r10=1 r11=2 r12=3\n"
		  "enter t.0 r10=7 r11=8 r13=9\n",
	       "t.0: TDG.VP.VMCALL EXIT rax=0x4d rcx=0x1c00 rdx=0x0 r8=0x0 r10=0x1 r11=0x2 "
	       "r12=0x3\n"
	       "t.0: TDG.VP.VMCALL rax=0x0 TDX_SUCCESS r10=0x7 r11=0x8 r12=0x0\n");
}

/* The directives that look around show states, types and owners by their names. */
static void test_looking_around(void **state)
{
	(void)state;
	prints(TD PAGE "sept $t 0x200000\npamt 0x40001000\npamt $t\npamt 0\npoke $p9 5\npeek $p9\n",
	       PAGE_LINES "sept $t 0x200000\n"
			  "    level=3 NL_MAPPED 0x8008400008000407\n"
			  "    level=2 NL_MAPPED 0x8008400008001407\n"
			  "    level=1 PENDING 0x81084000400000f0\n"
			  "pamt 0x40001000 type=PT_REG size=2M owner=0x200000 BEPOCH=0x0\n"
			  "pamt 0x200000 type=PT_TDR size=4K owner=0x0 BEPOCH=0x0\n"
			  "pamt 0x0 type=PT_NDA size=4K owner=0x0 BEPOCH=0x0\n"
			  "peek 0x8009000 0x5\n");
}

/* Two runs of one script print the same, vCPUs inside and all. */
static void test_deterministic(void **state)
{
	const char *script =
		TD PAGE "enter t.0\nenter t.1\n"
			"t.0: TDG.MEM.PAGE.ACCEPT rcx=0x200001\n"
			"t.1: read 0x200000\nt.1: write 0x200000 5\nt.0: read 0x200000\n"
			"t.0: read 0x400000\n";
	struct result first = run(script);

	(void)state;
	for (int i = 0; i < 50; i++) {
		struct result again = run(script);

		assert_string_equal(first.text, again.text);
		free(again.text);
	}
	free(first.text);
}

/* Any registers at all, in any leaf, host's or guest's, get an answer. */
static void test_any_registers(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 7);
	for (int round = 0; round < 40; round++) {
		char *text;
		size_t length;
		FILE *out = open_memstream(&text, &length);
		struct result r;

		fputs("host memory=4G dpamt=on lps=3\ntd t vcpus=1 debug=on\nlp 2\n" PAGE, out);
		for (int i = 0; i < 200; i++) {
			u64 leaf = rng_below(&rng, 64);

			/* VP.ENTER has its own way in; shutting down would end the fun. */
			if (leaf == TDH_VP_ENTER || leaf == TDH_SYS_SHUTDOWN ||
			    leaf == TDH_SYS_LP_SHUTDOWN)
				continue;
			fprintf(out, "SEAMCALL rax=%llu rcx=0x%llx rdx=$t r8=0x%llx\n",
				(unsigned long long)leaf,
				(unsigned long long)(rng_u64(&rng) >> rng_below(&rng, 64)),
				(unsigned long long)(rng_u64(&rng) >> rng_below(&rng, 64)));
		}
		fclose(out);
		r = run(text);
		assert_int_equal(r.err, 0);
		free(r.text);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call_lines),
		cmocka_unit_test(test_calls_by_number),
		cmocka_unit_test(test_guest_lines),
		cmocka_unit_test(test_two_inside),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_status_forms),
		cmocka_unit_test(test_misplaced_statements),
		cmocka_unit_test(test_exit_drops_the_call),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_vmcall_answer),
		cmocka_unit_test(test_looking_around),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_any_registers),
	};
	int failed;

	sync_thread_enter();
	failed = cmocka_run_group_tests_name("script_seamcall_run", tests, NULL, NULL);
	sync_thread_leave();
	return failed;
}
