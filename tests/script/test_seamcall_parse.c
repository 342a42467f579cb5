/* SPDX-License-Identifier: MIT */
/* The seamcall language: what is refused, where, and with what advice. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "script/seamcall.h"
#include "script/seamcall_script.h"

#define HOST "host memory=4G dpamt=off lps=4\n"
#define TD HOST "td t vcpus=2\n"

static void parses(const char *text)
{
	struct seamcall_script *script;
	struct seamcall_error error;

	if (seamcall_parse(text, strlen(text), &script, &error))
		fail_msg("%s%u:%u: %s", text, error.line, error.column, error.text);
	seamcall_free(script);
}

/* @text is refused at @line:@column, and the complaint contains each of @words. */
static void refused(const char *text, unsigned int line, unsigned int column, const char *found,
		    const char *expected)
{
	struct seamcall_script *script;
	struct seamcall_error error;

	assert_int_equal(seamcall_parse(text, strlen(text), &script, &error), -EINVAL);
	if (error.line != line || error.column != column || !strstr(error.text, found) ||
	    !strstr(error.text, expected))
		fail_msg("%s\ngot %u:%u: %s\nwant %u:%u: %s ... %s", text, error.line, error.column,
			 error.text, line, column, found, expected);
}

/* Every form that the manual of the language shows is taken. */
static void test_forms(void **state)
{
	(void)state;
	parses("host memory=4G\n");
	parses("# a comment\n\n  host memory=16T dpamt=on lps=64 profile=1.5.28 # another\r\n");
	parses(HOST "td t gpaw=52 levels=5 vcpus=4 state=initialized debug=on sept_ve_disable=0\n");
	parses(HOST "td t raw\ntd u gpaw=48 levels=5\nlp 3\n");
	parses(TD "TDH.MEM.SEPT.ADD rcx=0x3 rdx=$t r8=$p0\n");
	parses(TD "TDH.MEM.SEPT.ADD version=1 rcx=3 rdx=$t+0x1 r8=$p1+$p0+5\n");
	parses(TD "TDH.MEM.TRACK rcx=$t -> TDX_SUCCESS rcx=0x1/0xff rdx=$t\n");
	parses(TD "TDH.MEM.TRACK rcx=$t -> TDX_OPERAND_BUSY|TD_EPOCH\n");
	parses(TD "TDH.MEM.TRACK rcx=$t -> TDX_OPERAND_BUSY|0xa9\n");
	parses(TD "TDH.MEM.TRACK rcx=$t -> 0x8000020100000000  # why\n");
	parses(TD "SEAMCALL rax=0xffff\nt.1: TDCALL rax=6 rcx=0x200001\n");
	parses(TD "enter t.0 r10=0 -> OK\nexit t.0 -> EXIT rax=1\n");
	parses(TD "t.0: write 0x200000 0x1234 -> EXIT rax=0x30\n");
	parses(TD "t.0: read 0x200000 -> 0x1234\nt.0: read 0x200000 -> VE\n");
	parses(TD "interrupt 0\nnmi 1\nclear 3\nmask 0\nunmask 0\n");
	parses(TD "sept $t 0x200000\npamt 0x40000000\npoke $t.params 5\npeek $tdmrs -> 5\n");
	parses(TD "TDH.MNG.CREATE rcx=$t rdx=$t.hkid\nTDH.VP.CREATE rcx=$t.1 rdx=$t\n");
}

/* A script without a machine, or with two, is refused. */
static void test_host_comes_first(void **state)
{
	(void)state;
	refused("", 0, 0, "end", "host");
	refused("\n\n# nothing\n", 3, 1, "end", "host");
	refused("td t\n", 1, 1, "'td'", "host memory=4G");
	refused(HOST HOST, 2, 1, "'host'", "one host");
}

/* Words that nobody knows are refused with the nearest that is known. */
static void test_suggestions(void **state)
{
	(void)state;
	refused(TD "TDH.MEM.PAGE.AUGG rcx=1\n", 3, 1, "'TDH.MEM.PAGE.AUGG'",
		"did you mean 'TDH.MEM.PAGE.AUG'?");
	refused(TD "tdh.mem.track rcx=1\n", 3, 1, "'tdh.mem.track'",
		"did you mean 'TDH.MEM.TRACK'?");
	refused(TD "TDH.MEM.TRACK rxc=1\n", 3, 15, "'rxc'", "did you mean 'rcx'?");
	refused(TD "TDH.MEM.TRACK RCX=1\n", 3, 15, "'RCX'", "did you mean 'rcx'?");
	refused(TD "TDH.MEM.TRACK rcx=$u\n", 3, 19, "'$u'", "did you mean '$t'?");
	refused(TD "TDH.MEM.TRACK rcx=$t -> TDX_SUCESS\n", 3, 25, "'TDX_SUCESS'",
		"did you mean 'TDX_SUCCESS'?");
	refused(TD "entre t.0\n", 3, 1, "'entre'", "did you mean 'enter'?");
	refused(TD "t.0: TDG.MEM.PAGE.ACEPT rcx=1\n", 3, 6, "'TDG.MEM.PAGE.ACEPT'",
		"did you mean 'TDG.MEM.PAGE.ACCEPT'?");
	refused("host memry=4G\n", 1, 6, "'memry'", "did you mean 'memory'?");
	refused(HOST "td t vcpu=2\n", 2, 6, "'vcpu'", "did you mean 'vcpus'?");
}

/* Values: 64 bits and not one more, no stray letters, no register twice. */
static void test_values(void **state)
{
	(void)state;
	parses(TD "TDH.MEM.TRACK rcx=0xffffffffffffffff\n");
	parses(TD "TDH.MEM.TRACK rcx=18446744073709551615\n");
	refused(TD "TDH.MEM.TRACK rcx=0x10000000000000000\n", 3, 19, "'0x10000000000000000'",
		"at most 64 bits");
	refused(TD "TDH.MEM.TRACK rcx=18446744073709551616\n", 3, 19, "'18446744073709551616'",
		"at most 64 bits");
	refused(TD "TDH.MEM.TRACK rcx=0xffffffffffffffff+1\n", 3, 39, "end of the line", "64 bits");
	refused(TD "TDH.MEM.TRACK rcx=0x12g4\n", 3, 19, "'0x12g4'", "a number");
	refused(TD "TDH.MEM.TRACK rcx=12a\n", 3, 19, "'12a'", "a number");
	refused(TD "TDH.MEM.TRACK rcx=0x\n", 3, 19, "'0x'", "a number");
	refused(TD "TDH.MEM.TRACK rcx=\n", 3, 19, "end of the line", "a number or a $symbol");
	refused(TD "TDH.MEM.TRACK rcx\n", 3, 18, "end of the line", "'='");
	refused(TD "TDH.MEM.TRACK rcx=1 rcx=2\n", 3, 21, "'rcx'", "each register once");
	refused(TD "TDH.MEM.TRACK rcx=-1\n", 3, 19, "'-'", "a number or a $symbol");
	refused(TD "TDH.MEM.TRACK rcx=$p99999\n", 3, 19, "'$p99999'", "$p32767");
	refused(TD "SEAMCALL rcx=1\n", 3, 15, "end of the line", "rax=");
}

/* Numbers of things that this machine doesn't have are refused. */
static void test_bounds(void **state)
{
	(void)state;
	refused(TD "lp 4\n", 3, 4, "'4'", "0 to 3");
	refused(TD "enter t.2\n", 3, 7, "'t.2'", "which has 2");
	refused(TD "t.2: read 0\n", 3, 1, "'t.2'", "which has 2");
	refused(TD "u.0: read 0\n", 3, 1, "'u.0'", "did you mean 't.0'?");
	refused(TD "TDH.VP.FLUSH rcx=$t.2\n", 3, 18, "'$t.2'", "which has 2");
	refused(HOST "td t vcpus=5\n", 2, 12, "'5'", "0 to 4");
	refused(HOST "td t vcpus=0\n", 2, 13, "end of the line", "vcpus=1");
	refused(TD "t.0: read 0x200004\n", 3, 11, "'0x200004'", "a multiple of 8");
	refused(TD "t.0: read 0x10000000000000\n", 3, 11, "'0x10000000000000'", "below");
	refused(TD "pamt 0x100000000\n", 3, 6, "'0x100000000'", "this host");
	refused("host memory=4G lps=0\n", 1, 6, "'memory'", "lps=1");
	refused("host memory=100M\n", 1, 13, "'100M'", "whole gibibytes");
	refused("host memory=17T\n", 1, 13, "'17T'", "whole gibibytes");
	refused("host memory=0G\n", 1, 13, "'0G'", "whole gibibytes");
	refused("host profile=9.9\n", 1, 14, "'9.9'", "1.5.25");
	refused("host dpamt=on profile=1.5.05\n", 1, 6, "'dpamt'", "no Dynamic PAMT");
}

/* Host and guest leaves don't mix, and a directive takes what it takes. */
static void test_places(void **state)
{
	(void)state;
	refused(TD "TDG.MEM.PAGE.ACCEPT rcx=0\n", 3, 1, "'TDG.MEM.PAGE.ACCEPT'", "a host's leaf");
	refused(TD "t.0: TDH.MEM.TRACK rcx=0\n", 3, 6, "'TDH.MEM.TRACK'", "a guest's leaf");
	refused(TD "lp 1 2\n", 3, 6, "'2'", "the end of the line");
	refused(TD "lp 1 -> TDX_SUCCESS\n", 3, 6, "'->'", "the end of the line");
	refused(TD "sept $p0 0x200000\n", 3, 6, "'$p0'", "a TD");
	refused(TD "t.0: write 0x200000\n", 3, 20, "end of the line", "a number");
	refused(HOST "td t\ntd t\n", 3, 4, "'t'", "a new name");
	refused(HOST "td p1\n", 2, 4, "'p1'", "a name for the TD");
	refused(HOST "td a_name_that_is_far_too_long\n", 2, 4, "'a_name", "a name for the TD");
}

/* Bytes that mean nothing are named; none of them ends the program. */
static void test_odd_bytes(void **state)
{
	static const char nul[] = HOST "lp \0001\n";
	struct seamcall_script *script;
	struct seamcall_error error;

	(void)state;
	assert_int_equal(seamcall_parse(nul, sizeof(nul) - 1, &script, &error), -EINVAL);
	assert_int_equal(error.line, 2);
	assert_int_equal(error.column, 4);
	assert_non_null(strstr(error.text, "byte 0x00"));
	refused(HOST "\xff\n", 2, 1, "byte 0xff", "a leaf");
	refused(HOST "%", 2, 1, "'%'", "a leaf");
}

/* One byte changed, cut or doubled anywhere in a good script never crashes the parser. */
static void test_mutations(void **state)
{
	static const char good[] =
		HOST "td t gpaw=48 vcpus=2 debug=on\nlp 2\nenter t.0 -> OK\n"
		     "TDH.MEM.SEPT.ADD version=1 rcx=0x3 rdx=$t+0x1 r8=$p0 -> TDX_SUCCESS rcx=1/2\n"
		     "t.0: write 0x200000 0x1234 -> EXIT rax=0x30\n"
		     "t.1: TDG.MEM.PAGE.ACCEPT rcx=0x200001 -> TDX_OPERAND_BUSY|RCX\n"
		     "sept $t 0x200000\npamt 0x40000000 # end\n";
	struct rng rng;
	char text[sizeof(good) + 1];

	(void)state;
	rng_init(&rng, 1);
	for (int round = 0; round < 20000; round++) {
		struct seamcall_script *script;
		struct seamcall_error error;
		size_t length = sizeof(good) - 1, at = rng_below(&rng, length);
		int err;

		memcpy(text, good, length);
		switch (rng_below(&rng, 3)) {
		case 0:
			text[at] = (char)rng_below(&rng, 256);
			break;
		case 1:
			length = at;
			break;
		default:
			memmove(text + at + 1, text + at, length - at);
			length++;
		}
		err = seamcall_parse(text, length, &script, &error);
		if (err) {
			assert_int_equal(err, -EINVAL);
			assert_true(error.line > 0 || length == 0);
		} else {
			seamcall_free(script);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),	    cmocka_unit_test(test_host_comes_first),
		cmocka_unit_test(test_suggestions), cmocka_unit_test(test_values),
		cmocka_unit_test(test_bounds),	    cmocka_unit_test(test_places),
		cmocka_unit_test(test_odd_bytes),   cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests_name("script_seamcall_parse", tests, NULL, NULL);
}
