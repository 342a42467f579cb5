/* SPDX-License-Identifier: MIT */
/* The language of explore programs: what is taken, what is refused and where, and the way back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "base/rng.h"
#include "script/program.h"
#include "script/source_dir.h"

#define M "machine memory=1G\n"
#define A M "td a vcpus=2 memory=8M\n"
#define T A "thread a.0\n"
#define H A "thread host\n"

static struct program *taken(const char *text)
{
	struct program *p = malloc(sizeof(*p));
	struct program_error e;

	if (program_parse("test", text, strlen(text), p, &e))
		fail_msg("%s%u:%u: %s", text, e.line, e.column, e.what);
	return p;
}

/* @text is refused at @line:@column, with the words @what. */
static void refused(const char *text, u32 line, u32 column, const char *what)
{
	struct program *p = malloc(sizeof(*p));
	struct program_error e;

	assert_int_equal(program_parse("test", text, strlen(text), p, &e), -EINVAL);
	if (e.line != line || e.column != column || strcmp(e.what, what))
		fail_msg("%s\ngot %u:%u: %s\nwant %u:%u: %s", text, e.line, e.column, e.what, line,
			 column, what);
	free(p);
}

/* Every line means what it says. */
static void test_meaning(void **state)
{
	struct program *p = taken("# all of it\n"
				  "machine memory=2G dpamt=off module=1.5.25\r\n"
				  "td a vcpus=2 memory=8M pages=4k split-range=walk promote=now\n"
				  "\ttd  b\tvcpus=1   later  # comment\n"
				  "setup\n"
				  "  a.1: accept 2M 2m\n"
				  "  host: punch a 0x200000 4K\n"
				  "thread a.0\n"
				  "share 0x1000 8K\n"
				  "exit\n"
				  "thread host.2\n"
				  "convert a 0x201000 4096 private\n"
				  "kick a.1\n"
				  "create b\n"
				  "pamt-get 511\n"
				  "finally\n"
				  "b.0: read 0x200000\n");

	(void)state;
	assert_int_equal(p->machine.memory_bytes, 2 * SIZE_1G);
	assert_false(p->machine.dynamic_pamt);
	assert_string_equal(p->machine.profile->name, "1.5.25");
	assert_int_equal(p->nr_tds, 2);
	assert_int_equal(p->td[0].config.max_level, PG_LEVEL_4K);
	assert_int_equal(p->td[0].config.split_where, MMU_SPLIT_WALK);
	assert_int_equal(p->td[0].config.promote, VM_PROMOTE_NOW);
	assert_false(p->td[0].later);
	assert_true(p->td[1].later);
	assert_int_equal(p->td[1].memory_bytes, 8ULL << 20);
	assert_int_equal(p->nr_setup, 2);
	assert_int_equal(p->setup[0].kind, OP_ACCEPT);
	assert_int_equal(p->setup[0].vcpu, 1);
	assert_int_equal(p->setup[0].gpa, SIZE_2M);
	assert_int_equal(p->setup[0].level, PG_LEVEL_2M);
	assert_int_equal(p->setup[1].kind, OP_PUNCH);
	assert_int_equal(p->setup[1].size, SIZE_4K);
	assert_int_equal(p->nr_threads, 2);
	assert_true(p->thread[0].is_vcpu);
	assert_int_equal(p->thread[0].nr_ops, 2);
	assert_int_equal(p->thread[0].op[0].kind, OP_SHARE);
	assert_int_equal(p->thread[0].op[0].size, 8192);
	assert_int_equal(p->thread[0].op[1].kind, OP_EXIT);
	assert_false(p->thread[1].is_vcpu);
	assert_string_equal(p->thread[1].name, "host.2");
	assert_int_equal(p->thread[1].op[0].kind, OP_CONVERT);
	assert_true(p->thread[1].op[0].private);
	assert_int_equal(p->thread[1].op[1].vcpu, 1);
	assert_int_equal(p->thread[1].op[2].td, 1);
	assert_int_equal(p->thread[1].op[3].number, 511);
	assert_int_equal(p->nr_finally, 1);
	assert_int_equal(p->finally[0].td, 1);
	assert_int_equal(p->finally[0].line, 17);
	free(p);
}

/* Every policy of a TD has its words. */
static void test_policies(void **state)
{
	static const char *const words[] = {"pages=4k",
					    "pages=2m",
					    "pages=1g",
					    "accept=lazy",
					    "accept=touch",
					    "backing=thp",
					    "backing=4k",
					    "backing=hugetlb-2m",
					    "promote=off",
					    "promote=idle",
					    "promote=now",
					    "split-range=ends",
					    "split-range=walk",
					    "split-range=two-walks",
					    "split-metadata=page",
					    "split-metadata=vm-cache",
					    "split-metadata=prealloc",
					    "demote-lock=always",
					    "demote-lock=retry",
					    "folio-split=nonuniform",
					    "folio-split=uniform",
					    "folio-refs=split",
					    "folio-refs=counted",
					    "restructure=prealloc",
					    "restructure=late",
					    "convert-order=split-folio-zap",
					    "convert-order=zap-folio",
					    "convert-order=folio-zap",
					    "mapping-check=mmu",
					    "mapping-check=tdx",
					    "mapping-check=trust"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char text[200];

		snprintf(text, sizeof(text), M "td a %s\nthread a.0\n", words[i]);
		free(taken(text));
	}
}

#define NOTHING                                                                             \
	"nothing but blank lines and comments: expected a program: a machine first, as in " \
	"'machine memory=1G'"

/* A complaint names line, place, word and what was expected. */
static void test_complaints(void **state)
{
	(void)state;
	refused("", 1, 1, NOTHING);
	refused("# a\n\n", 2, 1, NOTHING);
	refused("td a\n", 1, 1, "'td': expected a machine first, as in 'machine memory=1G'");
	refused(M "machine memory=1G\n", 2, 1, "expected one machine");
	refused("machine memroy=1G\n", 1, 9, "unknown option 'memroy': did you mean 'memory'?");
	refused("machine memory=1Q\n", 1, 16, "'1Q': expected a size, such as 0x200000 or 4K");
	refused("machine memory=0\n", 1, 16, "'0': expected a size from 4K to 65536M");
	refused("machine module=9\n", 1, 16,
		"unknown module '9': expected 1.5.28, 1.5.05, 1.5.25 or next");
	refused("machine module=1.5.05\n", 1, 22,
		"module 1.5.05 has no Dynamic PAMT: expected dpamt=off");
	refused(M "td a vcpus=9\n", 2, 12, "'9': expected 1 to 4 vCPUs");
	refused(M "td A\n", 2, 4, "'A': expected a name of letters a to z and digits, 15 at most");
	refused(M "td host\n", 2, 4, "'host' is the host: expected another name");
	refused(M "td a\ntd a\n", 3, 4, "'a': there is such a TD");
	refused(M "td a pages=3k\n", 2, 12, "unknown pages '3k': did you mean '4k'?");
	refused(M "td a memory=3M backing=hugetlb-2m\n", 2, 34,
		"backing=hugetlb-2m: expected memory=, a multiple of that");
	refused(M "td a\nsteup\n", 3, 1, "unknown line 'steup': did you mean 'setup'?");
	refused(A "setup\nfoo: read 0\n", 4, 1, "'foo': expected a vCPU, such as a.0, or 'host'");
	refused(A "setup\nread 0\n", 4, 1,
		"expected who does it, as in 'a.0: accept 0x200000 4k' or 'host: punch a 0x200000 "
		"4K'");
	refused(A "setup\na.2: read 0\n", 4, 1, "'a.2': TD a has vCPUs a.0 to a.1");
	refused(A "setup\na.0:\n", 4, 5, "expected an operation");
	refused(A "setup x\n", 3, 7, "expected nothing after 'setup'");
	refused(T "setup\n", 4, 1, "expected 'setup' once, before threads");
	refused(T "td b\n", 4, 1, "'td' after a section: expected TDs before 'setup' and threads");
	refused(T "finally\nthread host\n", 5, 1,
		"'thread' after 'finally': expected threads before it");
	refused(T "finally\nfinally\n", 5, 1, "expected 'finally' once");
	refused(T "thread a.0\n", 4, 8, "there is a thread 'a.0': expected another name");
	refused(A "thread b.0\n", 3, 8, "'b.0': expected a vCPU, such as a.0, or 'host'");
	refused(A "thread\n", 3, 7, "expected one name, as in 'thread a.0' or 'thread host'");
	refused(T "acept 0x200000 4k\n", 4, 1, "unknown operation 'acept': did you mean 'accept'?");
	refused(T "punch a 0 4K\n", 4, 1, "'punch' is for host threads: expected one of a vCPU's");
	refused(H "read 0\n", 4, 1, "'read' is for vCPUs: expected one of the host's");
	refused(T "accept 0x200000\n", 4, 16, "accept: expected a level, 4k, 2m or 1g");
	refused(T "accept 0x200000 1g\n", 4, 17,
		"'1g': no ACCEPT is that large: expected 4k or 2m");
	refused(T "accept 0x201000 2m\n", 4, 17, "'2m': address 0x201000 isn't a multiple of that");
	refused(T "accept 0x200000 2m 4\n", 4, 20, "accept: expected nothing after 2 arguments");
	refused(T "read 0x200001\n", 4, 6,
		"'0x200001': expected an address that is a multiple of 4K");
	refused(T "read 8M\n", 4, 6, "'8M': expected memory inside the 8M of TD a");
	refused(T "share 0x7ff000 8K\n", 4, 16, "'8K': expected memory inside the 8M of TD a");
	refused(T "share 0 0\n", 4, 9, "'0': expected at least 4K inside the 8M of TD a");
	refused(T "share 0 18446744073709551616\n", 4, 9,
		"'18446744073709551616': expected a size, such as 0x200000 or 4K");
	refused(H "punch b 0 4K\n", 4, 7, "unknown TD 'b': did you mean 'a'?");
	refused(H "convert a 0 4K privat\n", 4, 16,
		"unknown side 'privat': did you mean 'private'?");
	refused(H "promote a 0 4k\n", 4, 13,
		"'4k': nothing is promoted to that: expected 2m or 1g");
	refused(H "kick a\n", 4, 6, "'a': expected a vCPU, such as a.0");
	refused(H "pamt-get 512\n", 4, 10, "'512': expected a page from 0 to 511");
	refused(A, 2, 1, "the program ends without a thread: expected one, as in 'thread a.0'");
	refused(T "touch 0\n", 4, 1,
		"'touch 0x0': it ends in a #VE: expected accept=touch on the line of TD a");
	refused(M "\x01\xff\n", 2, 1, "unknown line '\?\?': expected td, setup, thread or finally");
}

/* What only the whole program shows: TDs that aren't there, references that nobody holds. */
static void test_the_whole(void **state)
{
	(void)state;
	refused(H "create a\n", 4, 1,
		"'create a': TD a is made before set-up: expected 'later' on its line");
	refused(H "teardown a\n  punch a 0 4K\n", 5, 3,
		"'punch a 0x0 4K': TD a isn't there: expected 'create' first");
	refused(H "teardown a\nfinally\na.0: read 0\n", 6, 6,
		"'read 0x0': TD a isn't there: expected 'create' first");
	refused(H "teardown a\nthread a.0\nread 0\n", 6, 1,
		"'read 0x0': another thread creates or tears down TD a");
	refused(H "teardown a\nthread a.0\n", 5, 8,
		"'a.0': another thread creates or tears down its TD");
	refused(M "td a\ntd b later\nthread b.0\n", 4, 8,
		"'b.0' runs before its TD is made: expected 'create' first, and its vCPUs in "
		"'finally'");
	refused(M "td a\ntd b later\nthread host\ncreate b\ncreate b\n", 6, 1,
		"'create b': TD b is there already: expected 'teardown' first");
	refused(H "pamt-put 3\n", 4, 1,
		"'pamt-put 3': nobody holds that page: expected 'pamt-get' first");
	refused(H "pamt-get 3\n\tpamt-get 3\n", 5, 2,
		"'pamt-get 3': that page is held already: expected 'pamt-put' first");
	refused(H "pamt-get 3\nthread host.2\npamt-get 3\n", 6, 1,
		"'pamt-get 3': another thread uses that page: expected one thread a page");
	free(taken(A "setup\nhost: pamt-get 3\nthread host\npamt-put 3\n"));
	free(taken(M "td a\ntd b later\nthread host\ncreate b\nteardown b\ncreate b\nfinally\n"
		     "b.0: read 0\n"));
}

/* Too much of anything is a complaint, not an overrun. */
static void test_limits(void **state)
{
	struct program *p = malloc(sizeof(*p));
	struct program_error e;
	char *text = malloc(1 << 16);
	size_t n;

	(void)state;
	n = (size_t)sprintf(text, H);
	for (int i = 0; i <= PROGRAM_MAX_OPS; i++)
		n += (size_t)sprintf(text + n, "punch a 0 4K\n");
	assert_int_equal(program_parse("t", text, n, p, &e), -EINVAL);
	assert_string_equal(e.what, "expected at most 64 operations");
	n = (size_t)sprintf(text, A);
	for (int i = 0; i <= PROGRAM_MAX_THREADS; i++)
		n += (size_t)sprintf(text + n, "thread host.%d\n", i);
	assert_int_equal(program_parse("t", text, n, p, &e), -EINVAL);
	assert_string_equal(e.what, "expected at most 8 threads");
	n = (size_t)sprintf(text, M "td");
	for (int i = 0; i < 40; i++)
		n += (size_t)sprintf(text + n, " x");
	assert_int_equal(program_parse("t", text, n, p, &e), -EINVAL);
	assert_string_equal(e.what, "more than 24 words: expected fewer");
	memset(text, 'x', 1 << 16);
	assert_int_equal(program_parse("t", text, 1 << 16, p, &e), -EINVAL);
	free(text);
	free(p);
}

/* What is printed parses to the same, and prints the same again. */
static void goes_round(const char *name, const char *text, size_t length)
{
	struct program *p = malloc(sizeof(*p)), *q = malloc(sizeof(*q));
	char *first = malloc(1 << 16), *second = malloc(1 << 16);
	struct program_error e;
	size_t n;

	if (program_parse(name, text, length, p, &e))
		fail_msg("%s:%u:%u: %s", name, e.line, e.column, e.what);
	n = program_print(p, first, 1 << 16);
	assert_int_equal(n, strlen(first));
	assert_int_equal(program_print(p, NULL, 0), n);
	if (program_parse(name, first, n, q, &e))
		fail_msg("%s\n%s:%u:%u: %s", first, name, e.line, e.column, e.what);
	program_print(q, second, 1 << 16);
	assert_string_equal(first, second);
	assert_int_equal(p->nr_threads, q->nr_threads);
	assert_int_equal(p->nr_setup, q->nr_setup);
	for (u32 t = 0; t < p->nr_threads; t++)
		for (u32 i = 0; i < p->thread[t].nr_ops; i++) {
			p->thread[t].op[i].line = q->thread[t].op[i].line;
			p->thread[t].op[i].column = q->thread[t].op[i].column;
			assert_memory_equal(&p->thread[t].op[i], &q->thread[t].op[i],
					    sizeof(struct program_op));
		}
	for (u32 i = 0; i < p->nr_tds; i++)
		assert_memory_equal(&p->td[i], &q->td[i], sizeof(struct program_td));
	free(first);
	free(second);
	free(p);
	free(q);
}

/* Every shipped program is right, and goes through the printer and back. */
static void test_shipped(void **state)
{
	DIR *dir = opendir(SEPTUM_SOURCE_DIR "/programs");
	struct dirent *d;
	char *text = malloc(1 << 16);
	u32 nr = 0;

	(void)state;
	assert_non_null(dir);
	while ((d = readdir(dir))) {
		char path[600];
		FILE *f;

		if (!strstr(d->d_name, ".prog"))
			continue;
		snprintf(path, sizeof(path), SEPTUM_SOURCE_DIR "/programs/%s", d->d_name);
		f = fopen(path, "r");
		assert_non_null(f);
		goes_round(d->d_name, text, fread(text, 1, 1 << 16, f));
		fclose(f);
		nr++;
	}
	assert_true(nr >= 40);
	closedir(dir);
	free(text);
}

/* Any bytes: a complaint or a program, and nothing else; programs of mutated text, too. */
static void test_any_bytes(void **state)
{
	static const char good[] = A "setup\na.0: accept 0x200000 2m\nthread a.0\nread 0x200000\n"
				     "share 0x201000 4K\nthread host\npunch a 0x200000 4K\n"
				     "convert a 0x202000 8K shared\nkick a.1\nfinally\na.1: exit\n";
	struct program *p = malloc(sizeof(*p));
	struct program_error e;
	struct rng rng;
	u32 taken_ones = 0;

	(void)state;
	rng_init(&rng, 7);
	for (u32 i = 0; i < 20000; i++) {
		char text[sizeof(good)];
		size_t n = sizeof(good) - 1;

		memcpy(text, good, n);
		for (u64 k = rng_below(&rng, 4); k > 0; k--)
			text[rng_below(&rng, n)] = (char)rng_u64(&rng);
		if (i % 5 == 0)
			for (size_t b = 0; b < n; b++)
				text[b] = (char)rng_u64(&rng);
		n = rng_below(&rng, 8) ? n : rng_below(&rng, n);
		if (!program_parse("t", text, n, p, &e)) {
			taken_ones++;
			continue;
		}
		assert_true(strlen(e.what) > 0 && strlen(e.what) < sizeof(e.what));
	}
	assert_true(taken_ones > 100);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meaning),	   cmocka_unit_test(test_policies),
		cmocka_unit_test(test_complaints), cmocka_unit_test(test_the_whole),
		cmocka_unit_test(test_limits),	   cmocka_unit_test(test_shipped),
		cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
