/* SPDX-License-Identifier: MIT */
/*
 * Replay of event streams: of a stream as it was recorded, and of that stream with something changed
 * in it, which the replay must find at its line.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "observe/tour.h"
#include "script/events_replay.h"

#define MAX_LINES 512
#define MAX_LINE 4096

/* The tour's stream, line by line; tests work on copies. */
static struct {
	char path[64];
	char *line[MAX_LINES];
	u32 nr_lines;
} tour;

struct outcome {
	int error;
	char err[512];
	struct events_replay replay;
};

static void replay_file(const char *path, struct outcome *o)
{
	memset(o, 0, sizeof(*o));
	o->error = events_replay(path, &o->replay, o->err, sizeof(o->err));
}

static void replay_text(const char *text, size_t length, struct outcome *o)
{
	char path[64];
	FILE *out;

	snprintf(path, sizeof(path), "/tmp/test-replay-%d.txt", (int)getpid());
	out = fopen(path, "w");
	assert_non_null(out);
	assert_int_equal(fwrite(text, 1, length, out), length);
	assert_int_equal(fclose(out), 0);
	replay_file(path, o);
	unlink(path);
}

/*
 * The tour with line number @at (from 1) replaced by @text, which may be several lines or "" for
 * none, and the last line counting right.
 */
static void replay_with(u32 at, const char *text, struct outcome *o)
{
	size_t size = (size_t)(tour.nr_lines + 4) * MAX_LINE, used = 0;
	char *all = malloc(size);
	u32 lines = 0;

	assert_non_null(all);
	for (u32 i = 1; i < tour.nr_lines; i++)
		used += (size_t)snprintf(all + used, size - used, "%s%s",
					 i == at ? text : tour.line[i - 1],
					 i == at && !text[0] ? "" : "\n");
	for (size_t i = 0; i < used; i++)
		lines += all[i] == '\n';
	used += (size_t)snprintf(all + used, size - used, "end %u\n", lines);
	replay_text(all, used, o);
	free(all);
}

static int record_tour(void **state)
{
	char buffer[MAX_LINE];
	FILE *in;

	(void)state;
	snprintf(tour.path, sizeof(tour.path), "/tmp/test-tour-%d.txt", (int)getpid());
	tour_record(tour.path);
	in = fopen(tour.path, "r");
	assert_non_null(in);
	while (fgets(buffer, sizeof(buffer), in)) {
		buffer[strcspn(buffer, "\n")] = '\0';
		assert_true(tour.nr_lines < MAX_LINES);
		tour.line[tour.nr_lines++] = strdup(buffer);
	}
	fclose(in);
	return 0;
}

static int drop_tour(void **state)
{
	(void)state;
	for (u32 i = 0; i < tour.nr_lines; i++)
		free(tour.line[i]);
	unlink(tour.path);
	return 0;
}

/* Number of the first line that holds @word, from line @from on; fails if there is none. */
static u32 find_line(u32 from, const char *word)
{
	for (u32 i = from; i <= tour.nr_lines; i++)
		if (strstr(tour.line[i - 1], word))
			return i;
	fail_msg("no line of the tour has '%s'", word);
	return 0;
}

/* ---- as recorded -----------------------------------------------------------------------------*/

/* A stream of every kind of line answers the same when it is made again. */
static void same_answers(void **state)
{
	static const char *const kinds[] = {"machine ",
					    "mem ",
					    "tdmr-init-all",
					    "call ",
					    "enter ",
					    " -> TDX_SUCCESS rcx=0xc00 r10=0x77",
					    "guest ",
					    " -> EXIT",
					    "guest lp=0 interrupt TDG.MEM.PAGE.ACCEPT",
					    "ve ",
					    "exit lp=0 tdcall",
					    "exit lp=0 interrupt",
					    "exit lp=0 nmi",
					    "exit lp=0 read=",
					    " interrupt TDH.MEM.PAGE.DEMOTE",
					    "version=1",
					    "SEAMCALL rax=",
					    "TDCALL rax=",
					    "call lp=0 TDH.VP.ENTER",
					    "TDX_PREVIOUS_TLB_EPOCH_BUSY",
					    "TDX_OPERAND_BUSY",
					    "TDX_NON_RECOVERABLE_VCPU",
					    "end "};
	struct outcome o;
	u64 calls = 0, guests = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		find_line(1, kinds[i]);
	for (u32 i = 0; i < tour.nr_lines; i++) {
		calls += !strncmp(tour.line[i], "call ", 5) || !strncmp(tour.line[i], "enter ", 6);
		guests += !strncmp(tour.line[i], "guest ", 6);
	}
	replay_file(tour.path, &o);
	assert_int_equal(o.error, 0);
	assert_false(o.replay.differs);
	assert_int_equal(o.replay.contended, 0);
	assert_int_equal(o.replay.seamcalls, calls);
	assert_int_equal(o.replay.tdcalls, guests);
	assert_int_equal(o.replay.lines, tour.nr_lines - 1);
}

/* ---- an answer changed -----------------------------------------------------------------------*/

/* @line with the last digit of its answer's last number, or of its status, another one. */
static bool change_answer(const char *line, char *changed)
{
	char *arrow, *last;

	strcpy(changed, line);
	arrow = strstr(changed, " -> ");
	if (!arrow)
		return false;
	last = changed + strlen(changed) - 1;
	if (strstr(arrow, "=0x") || strstr(arrow, "|0x"))
		*last = *last == '5' ? '6' : '5';
	else if (strstr(arrow, " EXIT"))
		strcpy(arrow, " -> TDX_SUCCESS");
	else
		strcpy(arrow, " -> TDX_PENDING_INTERRUPT");
	return true;
}

/* Whichever answer is changed, the replay stops at that line and says what it found. */
static void changed_answer(void **state)
{
	char changed[MAX_LINE];
	u32 tried = 0;

	(void)state;
	for (u32 at = 3; at < tour.nr_lines; at++) {
		struct outcome o;

		if (!change_answer(tour.line[at - 1], changed))
			continue;
		replay_with(at, changed, &o);
		if (o.error || !o.replay.differs || o.replay.line != at)
			fail_msg("line %u as '%s': error %d (%s), difference at line %" PRIu64, at,
				 changed, o.error, o.err, o.replay.line);
		assert_string_not_equal(o.replay.expected, o.replay.found);
		tried++;
	}
	assert_true(tried > 80);
}

/* A call that is left out is missed later at the latest: nothing hangs on what isn't made again. */
static void missing_call(void **state)
{
	u32 at = find_line(1, "TDH.MEM.SEPT.ADD");
	struct outcome o;

	(void)state;
	replay_with(at, "", &o);
	assert_int_equal(o.error, 0);
	assert_true(o.replay.differs);
	assert_int_equal(o.replay.line, at); /* the next SEPT.ADD has moved here */
}

/* The bytes that PAGE.ADD copies are part of the stream: MEM.RD tells when one is another. */
static void changed_memory(void **state)
{
	char changed[MAX_LINE], *byte;
	struct outcome o;
	u32 at = find_line(1, ":0700000000000000"), rd = find_line(1, "TDH.MEM.RD");

	(void)state;
	strcpy(changed, tour.line[at - 1]);
	byte = strstr(changed, ":07");
	byte[2] = '8';
	replay_with(at, changed, &o);
	assert_int_equal(o.error, 0);
	assert_int_equal(o.replay.line, rd);
	assert_string_equal(o.replay.expected, "TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x7");
	assert_string_equal(o.replay.found, "TDX_SUCCESS rcx=0x0 rdx=0x0 r8=0x8");
}

/* A difference names line, processor, call, and both answers. */
static void difference_in_words(void **state)
{
	u32 at = find_line(1, "guest lp=0 TDG.MEM.PAGE.ACCEPT rcx=0x2000 -> TDX_SUCCESS");
	struct outcome o;

	(void)state;
	replay_with(at, "guest lp=0 TDG.MEM.PAGE.ACCEPT rcx=0x2000 -> EXIT", &o);
	assert_int_equal(o.replay.line, at);
	assert_string_equal(o.replay.call, "lp=0 TDG.MEM.PAGE.ACCEPT rcx=0x2000");
	assert_string_equal(o.replay.expected, "EXIT");
	assert_string_equal(o.replay.found, "TDX_SUCCESS");
}

/* What differs in how a vCPU comes and goes is found as well. */
static void changed_course(void **state)
{
	static const struct {
		const char *line, *by, *expected, *found;
	} changes[] = {
		{"call lp=0 TDH.VP.ENTER", "enter lp=0 TDH.VP.ENTER rcx=", "the vCPU is let in",
		 "TDX_SUCCESS|0x30"},
		{"ve lp=0 read=0x2000", "exit lp=0 read=0x2000 served=0 -> TDX_SUCCESS|0x30",
		 "TDX_SUCCESS|0x30", "#VE"},
		{"exit lp=0 read=0x40000000", "ve lp=0 read=0x40000000 served=3", "#VE",
		 "TDX_SUCCESS|0x30"},
		{"enter lp=0 ", "call lp=0 TDH.VP.ENTER rcx=", NULL, "the vCPU is let in"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		u32 at = find_line(1, changes[i].line);
		const char *tdvpr = strstr(tour.line[at - 1], "rcx=");
		char changed[MAX_LINE];
		struct outcome o;

		snprintf(changed, sizeof(changed), "%s%.*s%s", changes[i].by,
			 strstr(changes[i].by, "rcx=") ? (int)strcspn(tdvpr + 4, " ") : 0,
			 tdvpr ? tdvpr + 4 : "",
			 strstr(changes[i].by, "call") ? " -> TDX_OPERAND_INVALID" : "");
		replay_with(at, changed, &o);
		if (o.error || o.replay.line != at)
			fail_msg("'%s': %s, difference at line %" PRIu64, changed, o.err,
				 o.replay.line);
		if (changes[i].expected)
			assert_non_null(strstr(o.replay.expected, changes[i].expected));
		assert_non_null(strstr(o.replay.found, changes[i].found));
	}
}

/* ---- contention ------------------------------------------------------------------------------*/

/* "busy" beside another call isn't made again; "busy" alone is, and answers as it did. */
static void contended(void **state)
{
	u32 at = find_line(1, "TDH.MEM.PAGE.AUG");
	char changed[MAX_LINE];
	struct outcome o;

	(void)state;
	snprintf(changed, sizeof(changed), "call lp=1 overlap=1 TDH.SYS.RD -> TDX_SYS_BUSY\n%s",
		 tour.line[at - 1]);
	replay_with(at, changed, &o);
	assert_int_equal(o.error, 0);
	assert_false(o.replay.differs);
	assert_int_equal(o.replay.contended, 1);

	snprintf(changed, sizeof(changed), "call lp=1 TDH.SYS.RD -> TDX_SYS_BUSY\n%s",
		 tour.line[at - 1]);
	replay_with(at, changed, &o);
	assert_int_equal(o.replay.line, at);
	assert_int_equal(o.replay.contended, 0);
}

/* No other answer is left out for meeting another call, and none of VP.ENTER's good ones. */
static void overlapping_isnt_contended(void **state)
{
	char changed[MAX_LINE];

	(void)state;
	for (u32 at = 3; at < tour.nr_lines; at++) {
		char *lp = strstr(tour.line[at - 1], " lp=");
		struct outcome o;

		if (!lp || strstr(tour.line[at - 1], "BUSY"))
			continue;
		snprintf(changed, sizeof(changed), "%.*s overlap=3%s",
			 (int)(lp + 5 - tour.line[at - 1]), tour.line[at - 1], lp + 5);
		if (at % 4)
			continue;
		replay_with(at, changed, &o);
		assert_int_equal(o.error, 0);
		assert_false(o.replay.differs);
		assert_int_equal(o.replay.contended, 0);
	}
}

/* A guest's "busy" is always another call's doing. */
static void contended_guest(void **state)
{
	u32 at = find_line(1, "guest lp=0 TDG.MEM.PAGE.ACCEPT rcx=0x2000 ");
	char changed[MAX_LINE];
	struct outcome o;

	(void)state;
	snprintf(changed, sizeof(changed),
		 "guest lp=0 TDG.MEM.PAGE.ACCEPT rcx=0x2000 -> TDX_OPERAND_BUSY|0x1\n%s",
		 tour.line[at - 1]);
	replay_with(at, changed, &o);
	assert_int_equal(o.error, 0);
	assert_false(o.replay.differs);
	assert_int_equal(o.replay.contended, 1);
}

/* ---- bad streams -----------------------------------------------------------------------------*/

static void expect_refused(const struct outcome *o, u32 line, const char *words)
{
	char where[32];

	snprintf(where, sizeof(where), ": line %u: ", line);
	if (o->error != -EINVAL || !strstr(o->err, where) || !strstr(o->err, words))
		fail_msg("error %d, '%s', expected '%s' and '%s'", o->error, o->err, where, words);
}

/* A stream cut off at any line, or in the middle of one, is refused where it ends. */
static void truncated(void **state)
{
	char *all = malloc((size_t)tour.nr_lines * MAX_LINE);
	size_t length = 0;

	(void)state;
	for (u32 i = 0; i + 1 < tour.nr_lines; i++) {
		struct outcome o;
		size_t before = length;

		length += (size_t)sprintf(all + length, "%s\n", tour.line[i]);
		replay_text(all, length, &o);
		expect_refused(&o, i + 2, i ? "expected 'end'" : "expected 'machine'");
		replay_text(all, before + 3, &o);
		expect_refused(&o, i + 1, "expected ");
	}
	free(all);
}

/* What can't be read, or can't be so, is named with its line and what was expected. */
static void refused_lines(void **state)
{
	static const struct {
		const char *line, *words;
	} bad[] = {
		{"", "found '', expected call, enter"},
		{"calll lp=2 TDH.SYS.INIT -> TDX_SUCCESS", "found 'calll', expected call"},
		{"call  lp=2 TDH.SYS.INIT -> TDX_SUCCESS", "found '', expected lp="},
		{"call lp=2 TDH.SYS.INIT -> TDX_SUCCESS ", "found '', expected the end"},
		{"call", "the line ends, expected lp="},
		{"call lp=3 TDH.SYS.INIT -> TDX_SUCCESS", "found 'lp=3', expected lp="},
		{"call lp=x TDH.SYS.INIT -> TDX_SUCCESS", "found 'lp=x'"},
		{"call lp=2 overlap= TDH.SYS.INIT -> TDX_SUCCESS", "found 'overlap='"},
		{"call lp=2 TDH.SYS.INITS -> TDX_SUCCESS",
		 "found 'TDH.SYS.INITS', expected a host's leaf"},
		{"call lp=2 TDG.VP.INFO -> TDX_SUCCESS",
		 "found 'TDG.VP.INFO', expected a host's leaf"},
		{"call lp=2 SEAMCALL -> TDX_SUCCESS", "found '->', expected rax="},
		{"call lp=2 TDH.SYS.RD version=256 -> TDX_SUCCESS", "found 'version=256'"},
		{"call lp=2 TDH.SYS.RD rax=1 -> TDX_SUCCESS", "found 'rax=1', expected a register"},
		{"call lp=2 TDH.SYS.RD r=1 -> TDX_SUCCESS", "found 'r=1', expected a register"},
		{"call lp=2 TDH.SYS.RD rdx= -> TDX_SUCCESS",
		 "found 'rdx=', expected a register's value"},
		{"call lp=2 TDH.SYS.RD rdx=0x1g -> TDX_SUCCESS", "found 'rdx=0x1g'"},
		{"call lp=2 TDH.SYS.RD rdx=0x:1 -> TDX_SUCCESS", "found 'rdx=0x:1'"},
		{"call lp=2 TDH.SYS.RD rdx=0x10000000000000000 -> TDX_SUCCESS", "64 bits"},
		{"call lp=2 TDH.SYS.RD rdx=0x1", "the line ends, expected a register or ->"},
		{"call lp=2 TDH.SYS.RD rdx=0x1 ->", "the line ends, expected a status"},
		{"call lp=2 TDH.SYS.RD -> TDX_SUCESS", "found 'TDX_SUCESS', expected a status"},
		{"call lp=2 TDH.SYS.RD -> TDX_SUCCESS|0x100000000", "expected bits 31:0"},
		{"call lp=2 TDH.SYS.RD -> TDX_SUCCESS r8=1 9", "found '9', expected the end"},
		{"call lp=2 TDH.SYS.RD -> EXIT", "found 'EXIT', expected a status"},
		{"enter lp=0 TDH.SYS.RD", "found 'TDH.SYS.RD', expected TDH.VP.ENTER"},
		{"enter lp=0 TDH.VP.ENTER rcx=0x1 TDX", "found 'TDX', expected a register or ->"},
		{"guest lp=0 TDH.SYS.RD -> TDX_SUCCESS",
		 "found 'TDH.SYS.RD', expected a guest's leaf"},
		{"guest lp=0 TDG.VP.INFO -> EXIT rcx=0x1", "found 'rcx=0x1', expected the end"},
		{"ve lp=0 write=0x1000", "the line ends, expected served="},
		{"ve lp=0 tdcall", "found 'tdcall', expected read="},
		{"exit lp=0 -> TDX_SUCCESS", "found '->', expected tdcall, interrupt, nmi"},
		{"exit lp=0 tdcall", "the line ends, expected a register or ->"},
		{"mem 0x1001 8", "found '0x1001', expected an address"},
		{"mem 0x100000000000 8", "found '0x100000000000', expected an address"},
		{"mem 0x1000 12", "found '12', expected a number of bytes"},
		{"mem 0x1000 1032", "found '1032', expected a number of bytes"},
		{"mem 0x1f00 512", "found '512', expected a number of bytes"},
		{"mem 0x1000 8 0x0:00", "found '0x0:00', expected whole words"},
		{"mem 0x1000 8 0x8:0000000000000000", "expected whole words"},
		{"mem 0x1000 8 0x0:00000000000000zz", "expected OFFSET:BYTES"},
		{"mem 0x1000 8 8", "found '8', expected OFFSET:BYTES"},
		{"tdmr-init-all 1", "found '1', expected the end"},
		{"end 3", "found '3', expected the number of lines"},
		{"end", "the line ends, expected the number of lines"},
		{"\t\x01\xff", "expected call, enter"},
		/* Well formed, but nobody is inside. */
		{"guest lp=1 TDG.VP.INFO -> EXIT", "expected a vCPU inside LP 1"},
		{"exit lp=1 tdcall -> TDX_SUCCESS", "expected a vCPU inside LP 1"},
		{"ve lp=1 write=0x1000 served=0", "expected a vCPU inside LP 1"},
	};
	u32 at = find_line(1, "TDH.MNG.KEY.CONFIG");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[MAX_LINE];
		struct outcome o;

		/* A line of its own before one of the tour's. */
		snprintf(text, sizeof(text), "%s\n%s", bad[i].line, tour.line[at - 1]);
		replay_with(at, text, &o);
		expect_refused(&o, at, bad[i].words);
	}
}

/* While a vCPU is inside, what can't be then is refused. */
static void refused_while_inside(void **state)
{
	static const struct {
		const char *line, *words;
	} bad[] = {
		{"call lp=0 TDH.SYS.RD -> TDX_SUCCESS",
		 "expected none while a vCPU is inside LP 0"},
		{"enter lp=0 TDH.VP.ENTER", "expected none while a vCPU is inside LP 0"},
		{"exit lp=0 tdcall -> TDX_SUCCESS", "expected one that exits before"},
		{"guest lp=0 TDG.VP.VMCALL -> EXIT\n"
		 "exit lp=0 read=0x1000 served=0 -> TDX_SUCCESS",
		 "expected the exit of the guest's TDCALL"},
		{"guest lp=0 TDG.VP.VMCALL -> EXIT\nguest lp=0 TDG.VP.VMCALL -> EXIT",
		 "expected the exit of the one before"},
	};
	u32 at = find_line(1, "guest lp=0 TDG.VP.INFO");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct outcome o;

		replay_with(at, bad[i].line, &o);
		expect_refused(&o, at + (strchr(bad[i].line, '\n') != NULL), bad[i].words);
	}
}

/* An answer to TDG.VP.VMCALL stands where one is open, and only there. */
static void vmcall_answers(void **state)
{
	u32 with = find_line(1, " -> TDX_SUCCESS rcx=0xc00"), without = find_line(1, "enter lp=0");
	char changed[MAX_LINE];
	struct outcome o;

	(void)state;
	strcpy(changed, tour.line[with - 1]);
	*strstr(changed, " -> ") = '\0';
	replay_with(with, changed, &o);
	expect_refused(&o, with, "expected -> and what the vCPU's TDG.VP.VMCALL is answered");
	snprintf(changed, sizeof(changed), "%s -> TDX_SUCCESS", tour.line[without - 1]);
	replay_with(without, changed, &o);
	expect_refused(&o, without, "the vCPU has no TDG.VP.VMCALL open");
}

/* The host's bytes never go where the module keeps its own. */
static void memory_of_the_module(void **state)
{
	u32 at = find_line(1, "TDH.MNG.KEY.CONFIG");
	u64 tdr = strtoull(strstr(tour.line[at - 1], "rcx=") + 4, NULL, 16);
	u64 memory =
		strtoull(strstr(tour.line[find_line(1, "machine") - 1], "memory=") + 7, NULL, 16);
	/* Its PAMT lies at the top, and has 16 bytes for each page. */
	const u64 places[] = {tdr, memory - memory / PAGE_SIZE * 16};
	char text[MAX_LINE];
	struct outcome o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(text, sizeof(text), "mem 0x%" PRIx64 " 8\n%s", places[i],
			 tour.line[at - 1]);
		replay_with(at, text, &o);
		expect_refused(&o, at, "expected memory that the module doesn't own");
	}
	snprintf(text, sizeof(text), "mem 0x%x 8 0x0:0102030405060708\n%s", 0x10000,
		 tour.line[at - 1]);
	replay_with(at, text, &o);
	assert_int_equal(o.error, 0);
	assert_false(o.replay.differs);
}

/* A head that this module can't serve is refused before anything is made. */
static void refused_heads(void **state)
{
	static const struct {
		u32 line;
		const char *text, *words;
	} bad[] = {
		{1, "septum-events 2", "found '2', expected version 1"},
		{1, "10\t0\tw\t6", "expected 'septum-events', the head"},
		{2, "call lp=0 TDH.SYS.INIT -> TDX_SUCCESS", "found 'call', expected 'machine'"},
		{2, "machine memory=0x1000 lps=1 packages=1", "expected whole GiBs"},
		{2, "machine memory=0x40000000 lps=0 packages=1", "expected an LP in each package"},
		{2, "machine memory=0x40000000 lps=1 packages=2", "expected an LP in each package"},
		{2, "machine memory=0x40000000 lps=4000 packages=1", "found 'lps=4000'"},
		{2, "machine memory=0x40000000 lps=1 packages=1 profile=9.9 dpamt=on",
		 "found 'profile=9.9', expected profile= and"},
		{2, "machine memory=0x40000000 lps=1 packages=1 profile=1.5.28 dpamt=yes",
		 "found 'dpamt=yes'"},
		{2,
		 "machine memory=0x40000000 lps=1 packages=1 profile=1.5.28 dpamt=on hkid-start=52 "
		 "hkid-bits=6 private-hkid=32",
		 "found 'hkid-start=52', expected hkid-start=46"},
		{2,
		 "machine memory=0x40000000 lps=1 packages=1 profile=1.5.28 dpamt=on hkid-start=46 "
		 "hkid-bits=6 private-hkid=32 bugs=nonesuch",
		 "expected planted bugs that this build knows"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct outcome o;

		replay_with(bad[i].line, bad[i].text, &o);
		expect_refused(&o, bad[i].line, bad[i].words);
	}
}

/* Files that aren't streams at all. */
static void no_streams(void **state)
{
	struct outcome o;

	(void)state;
	replay_text("", 0, &o);
	expect_refused(&o, 1, "the file ends, expected 'septum-events'");
	replay_text("septum-events 1\n", 16, &o);
	expect_refused(&o, 2, "the file ends, expected 'machine'");
	replay_file("/nonexistent", &o);
	assert_int_equal(o.error, -ENOENT);
	assert_non_null(strstr(o.err, "expected an event stream"));
	replay_file("/tmp", &o);
	assert_int_equal(o.error, -EISDIR);
}

/* A machine that there is no room for is another matter than a bad file. */
static void no_room(void **state)
{
	struct outcome o;

	(void)state;
	replay_with(2,
		    "machine memory=0x400000000000 lps=1 packages=1 profile=1.5.28 dpamt=on "
		    "hkid-start=46 hkid-bits=6 private-hkid=32",
		    &o);
	/* Where 64 TiB can be reserved, the calls for another machine's memory differ. */
	assert_true(o.error == -ENOMEM || o.error == 0 || o.error == -EINVAL);
	if (o.error == -ENOMEM)
		assert_non_null(strstr(o.err, "no room"));
}

/* Any bytes: a difference or a refusal, and never a crash or a hang. */
static void random_bytes(void **state)
{
	static const char letters[] = "0123456789abcdefx=|-> TDXHG.rlpcuensvmi\n";
	size_t size = (size_t)tour.nr_lines * MAX_LINE, length = 0;
	char *all = malloc(size), *text = malloc(size);
	const u64 seed = 11;
	struct rng rng;

	(void)state;
	print_message("seed %" PRIu64 "\n", seed);
	rng_init(&rng, seed);
	for (u32 i = 0; i < tour.nr_lines; i++)
		length += (size_t)sprintf(all + length, "%s\n", tour.line[i]);
	for (int round = 0; round < 600; round++) {
		struct outcome o;

		memcpy(text, all, length);
		for (u64 n = 1 + rng_below(&rng, 3); n; n--)
			text[200 + rng_below(&rng, length - 200)] =
				letters[rng_below(&rng, sizeof(letters) - 1)];
		replay_text(text, length, &o);
		assert_true(o.error == 0 || o.error == -EINVAL);
		assert_true(!o.error || o.err[0]);
	}
	free(all);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_answers),
		cmocka_unit_test(changed_answer),
		cmocka_unit_test(missing_call),
		cmocka_unit_test(changed_memory),
		cmocka_unit_test(difference_in_words),
		cmocka_unit_test(changed_course),
		cmocka_unit_test(contended),
		cmocka_unit_test(overlapping_isnt_contended),
		cmocka_unit_test(contended_guest),
		cmocka_unit_test(truncated),
		cmocka_unit_test(refused_lines),
		cmocka_unit_test(refused_while_inside),
		cmocka_unit_test(vmcall_answers),
		cmocka_unit_test(memory_of_the_module),
		cmocka_unit_test(refused_heads),
		cmocka_unit_test(no_streams),
		cmocka_unit_test(no_room),
		cmocka_unit_test(random_bytes),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, record_tour, drop_tour);
}
