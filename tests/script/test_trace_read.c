/* SPDX-License-Identifier: MIT */
/* The trace reader: what it accepts, what the shipped trace holds, and every kind of bad input. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <cmocka.h>

#include "base/rng.h"
#include "script/source_dir.h"
#include "script/trace_read.h"

#define SHIPPED SEPTUM_SOURCE_DIR "/traces/debian12-2vcpu-2g.tsv.zst"

/* ---- files -----------------------------------------------------------------------------------*/
static char dir[] = "/tmp/septum-trace-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

/* Path of the one file that a test works on. */
static const char *test_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void write_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static size_t pack(void *out, size_t out_size, const void *bytes, size_t n)
{
	size_t packed = ZSTD_compress(out, out_size, bytes, n, 3);

	assert_false(ZSTD_isError(packed));
	return packed;
}

static const struct trace_limits no_limits;

/* Reads @text as a file; the trace, or NULL with the complaint in @err. */
static struct trace *read_bytes(const char *name, const void *bytes, size_t n,
				const struct trace_limits *limits, char err[256], int *ret)
{
	const char *path = test_path(name);
	struct trace *t = NULL;

	write_file(path, bytes, n);
	err[0] = 0;
	*ret = trace_read(path, limits, &t, err, 256);
	unlink(path);
	return *ret ? NULL : t;
}

static struct trace *read_good(const char *text)
{
	char err[256];
	struct trace *t;
	int ret;

	t = read_bytes("good.tsv", text, strlen(text), &no_limits, err, &ret);
	if (!t)
		fail_msg("refused: %s", err);
	return t;
}

/* The bytes are refused with -EINVAL, by one line that starts with the path and holds @part. */
static void expect_bad_bytes(const char *name, const void *bytes, size_t n,
			     const struct trace_limits *limits, const char *part)
{
	char err[256];
	int ret;
	struct trace *t = read_bytes(name, bytes, n, limits, err, &ret);
	const char *path = test_path(name);

	if (t)
		fail_msg("accepted, but '%s' was due", part);
	assert_int_equal(ret, -EINVAL);
	assert_null(strchr(err, '\n'));
	if (strncmp(err, path, strlen(path)) || !strstr(err, part) || !strstr(err, "expected"))
		fail_msg("'%s' is not about '%s'", err, part);
}

static void expect_bad(const char *text, const char *part)
{
	expect_bad_bytes("bad.tsv", text, strlen(text), &no_limits, part);
}

/* ---- good input ------------------------------------------------------------------------------*/

/* The shipped trace has the facts that its README states. */
static void test_shipped_facts(void **state)
{
	u64 wrote = 0, blocks = 0, full_blocks = 0, last_number = 0;
	u16 *touched = calloc(0x80000 / 512, sizeof(*touched));
	u8 *seen = calloc(0x80000, 1);
	struct trace *t;
	char err[256];

	(void)state;
	if (trace_read(SHIPPED, &no_limits, &t, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(t->nr_vcpus, 2);
	assert_int_equal(t->nr_events, 745168);
	assert_int_equal(t->nr_vcpu_events[0], 378696);
	assert_int_equal(t->nr_vcpu_events[1], 366472);
	assert_int_equal(t->pages_touched, 203035);
	assert_int_equal(t->pages_written, 201083);
	assert_int_equal(t->instructions, 41514890624ULL);
	assert_int_equal(t->reads_after_write, 401262);
	assert_true(t->max_gfn < 0x80000);
	for (u32 v = 0; v < 2; v++) {
		for (u64 i = 0; i < t->nr_vcpu_events[v]; i++) {
			const struct trace_access *a = &t->events[v][i];
			gfn_t gfn = trace_access_gfn(a);

			last_number = max_u64(last_number, a->number);
			if (!(seen[gfn] & 1))
				touched[gfn / 512]++;
			seen[gfn] |= a->write ? 3 : 1;
		}
	}
	for (u32 b = 0; b < 0x80000 / 512; b++) {
		blocks += touched[b] != 0;
		full_blocks += touched[b] == 512;
	}
	for (u32 g = 0; g < 0x80000; g++)
		wrote += seen[g] >> 1;
	assert_int_equal(last_number, 745168);
	assert_int_equal(wrote, 201083);
	assert_int_equal(blocks, 399);
	assert_int_equal(full_blocks, 389);
	trace_free(t);
	free(touched);
	free(seen);
}

/* Every field arrives as it was written, events of each vCPU in order, numbers across all. */
static void test_fields(void **state)
{
	struct trace *t = read_good("7\t0\tw\t6\n0\t511\tr\tffffffffff\n10\t0\tr\t6\n3\t1\tr\t0\n");
	const struct trace_access *a;

	(void)state;
	assert_int_equal(t->nr_vcpus, 512);
	assert_int_equal(t->nr_events, 4);
	assert_int_equal(t->nr_vcpu_events[0], 2);
	assert_int_equal(t->nr_vcpu_events[1], 1);
	assert_int_equal(t->nr_vcpu_events[2], 0);
	assert_int_equal(t->nr_vcpu_events[511], 1);
	assert_int_equal(t->max_gfn, 0xffffffffff);
	assert_int_equal(t->pages_touched, 3);
	assert_int_equal(t->pages_written, 1);
	assert_int_equal(t->instructions, 20);
	assert_int_equal(t->reads_after_write, 1);
	a = t->events[0];
	assert_int_equal(a[0].instructions, 7);
	assert_int_equal(a[0].number, 1);
	assert_int_equal(trace_access_gfn(&a[0]), 6);
	assert_true(a[0].write);
	assert_false(a[0].follows_write);
	assert_int_equal(a[1].instructions, 17);
	assert_int_equal(a[1].number, 3);
	assert_false(a[1].write);
	assert_true(a[1].follows_write);
	a = t->events[511];
	assert_int_equal(a[0].number, 2);
	assert_int_equal(trace_access_gfn(&a[0]), 0xffffffffff);
	assert_int_equal(a[0].instructions, 7);
	trace_free(t);
}

/* A complete last line counts, newline or not. */
static void test_no_final_newline(void **state)
{
	struct trace *t = read_good("0\t0\tw\t6\n1\t0\tr\t7");

	(void)state;
	assert_int_equal(t->nr_events, 2);
	assert_int_equal(trace_access_gfn(&t->events[0][1]), 7);
	trace_free(t);
}

/* A read follows a write if any vCPU wrote the page at an earlier event; a flat model agrees. */
static void test_follows_write_against_model(void **state)
{
	enum { GFNS = 3000, EVENTS = 20000 };
	const u64 seed = 20;
	struct rng rng;
	char *text = malloc(EVENTS * 32), err[256];
	u8 *written = calloc(GFNS, 1), *expected = calloc(EVENTS + 1, 1);
	size_t n = 0;
	u64 total = 0;
	struct trace *t;
	int ret;

	(void)state;
	rng_init(&rng, seed);
	for (u32 i = 1; i <= EVENTS; i++) {
		u64 g = rng_below(&rng, GFNS);
		bool write = rng_below(&rng, 2);

		/* Far apart, so that pages of many blocks are told apart. */
		n += (size_t)sprintf(text + n, "1\t%u\t%c\t%llx\n", (unsigned)rng_below(&rng, 3),
				     write ? 'w' : 'r', (unsigned long long)(g * 0x3001));
		expected[i] = !write && written[g];
		total += expected[i];
		written[g] |= write;
	}
	t = read_bytes("model.tsv", text, n, &no_limits, err, &ret);
	assert_non_null(t);
	for (u32 v = 0; v < 3; v++)
		for (u64 i = 0; i < t->nr_vcpu_events[v]; i++)
			if (t->events[v][i].follows_write != expected[t->events[v][i].number])
				fail_msg("seed %llu event %u", (unsigned long long)seed,
					 t->events[v][i].number);
	assert_int_equal(t->reads_after_write, total);
	trace_free(t);
	free(text);
	free(written);
	free(expected);
}

/* Compressed bytes are recognised under any name, several frames in a row are one text. */
static void test_compressed(void **state)
{
	static const char one[] = "1\t0\tw\t6\n2\t0\tr", two[] = "\t6\n3\t0\tr\t8\n";
	u8 packed[1024];
	size_t n = pack(packed, sizeof(packed), one, sizeof(one) - 1);
	struct trace *t;
	char err[256];
	int ret;

	(void)state;
	n += pack(packed + n, sizeof(packed) - n, two, sizeof(two) - 1);
	t = read_bytes("misnamed.tsv", packed, n, &no_limits, err, &ret);
	assert_non_null(t);
	assert_int_equal(t->nr_events, 3);
	assert_int_equal(t->reads_after_write, 1);
	trace_free(t);
	t = read_bytes("misnamed.tsv.zst", "1\t0\tw\t6\n", 8, &no_limits, err, &ret);
	assert_non_null(t);
	trace_free(t);
}

/* Limits that the trace keeps to are no obstacle: the last gfn of memory, the last vCPU. */
static void test_within_limits(void **state)
{
	const struct trace_limits limits = {.memory_bytes = 0x8000, .nr_vcpus = 2};
	struct trace *t;
	char err[256];
	int ret;

	(void)state;
	t = read_bytes("fits.tsv", "1\t1\tw\t7\n", 8, &limits, err, &ret);
	assert_non_null(t);
	trace_free(t);
}

/* ---- bad input -------------------------------------------------------------------------------*/

/* Every way in which a line can be wrong is refused with its line, what was found, what was due. */
static void test_bad_lines(void **state)
{
	(void)state;
	expect_bad("0\t0\tq\t6\n", ": line 1: access 'q' (expected r or w)");
	expect_bad("0\t0\tw\t6\n0\t0\trw\t6\n", ": line 2: access 'rw'");
	expect_bad("0\t0\t\t6\n", ": line 1: access ''");
	expect_bad("0\t0\tw\n", ": line 1: ends after access 'w'");
	expect_bad("0\t0\n", ": line 1: ends after vcpu '0'");
	expect_bad("0\n", ": line 1: ends after delta '0'");
	expect_bad("0 0 w 6\n", ": line 1: ends after delta '0 0 w 6'");
	expect_bad("0\t0\tw\t6\t9\n", ": line 1: a fifth field '9'");
	expect_bad("0\t0\tw\t6\t\n", ": line 1: a fifth field ''");
	expect_bad("\t0\tw\t6\n", ": line 1: delta ''");
	expect_bad("0\t\tw\t6\n", ": line 1: vcpu ''");
	expect_bad("0\t0\tw\t\n", ": line 1: gfn ''");
	expect_bad("-1\t0\tw\t6\n", ": line 1: delta '-1'");
	expect_bad("+1\t0\tw\t6\n", ": line 1: delta '+1'");
	expect_bad("1a\t0\tw\t6\n", ": line 1: delta '1a'");
	expect_bad("0\tx\tw\t6\n", ": line 1: vcpu 'x'");
	expect_bad("0\t0\tw\t0x6\n", ": line 1: gfn '0x6'");
	expect_bad("0\t0\tw\t6F\n", ": line 1: gfn '6F' (expected lower-case hex digits)");
	expect_bad("0\t0\tw\t6 \n", ": line 1: gfn '6 '");
	expect_bad("0\t0\tw\t6\r\n", ": line 1: gfn '6\\x0d'");
	expect_bad("0\t0\tw\t6\n\n0\t0\tw\t6\n", ": line 2: empty");
	expect_bad("0\t0\tw\t6\n# a note\n", ": line 2: ends after delta '# a note'");
	expect_bad("0\t0\tw\t6\n0\t0\tw", ": line 2: ends after access 'w'");
	expect_bad_bytes("bad.tsv", "0\t0\tw\t6\0\n", 9, &no_limits, ": line 1: gfn '6\\x00'");
	expect_bad_bytes("bad.tsv", "0\t0\t\0\t6\n", 8, &no_limits, ": line 1: access '\\x00'");
}

/* Numbers beyond what a field holds are refused, however long they are; the largest are taken. */
static void test_large_numbers(void **state)
{
	struct trace *t;

	(void)state;
	expect_bad("18446744073709551616\t0\tw\t6\n", ": line 1: delta '184467440737...'");
	expect_bad("0\t512\tw\t6\n", ": line 1: vcpu '512' (expected 511 at most)");
	expect_bad("0\t99999999999999999999999\tw\t6\n", ": line 1: vcpu '999999999999...'");
	expect_bad("0\t0\tw\t10000000000\n", ": line 1: gfn '10000000000' (expected ffffffffff");
	expect_bad("0\t0\tw\tfffffffffffffffffffff\n", ": line 1: gfn 'ffffffffffff...'");
	expect_bad("18446744073709551615\t0\tw\t6\n1\t0\tw\t6\n", ": line 2: delta 1 ");
	t = read_good("18446744073709551615\t511\tw\tffffffffff\n0\t0\tw\t0\n");
	assert_int_equal(t->instructions, UINT64_MAX);
	trace_free(t);
}

/* What the machine doesn't have is refused by the line that names it, and the limit is named. */
static void test_outside_limits(void **state)
{
	const struct trace_limits limits = {.memory_bytes = 0x8000, .nr_vcpus = 2};
	static const char gfn[] = "0\t0\tw\t7\n0\t0\tr\t8\n", vcpu[] = "0\t1\tw\t7\n0\t2\tr\t7\n";

	(void)state;
	expect_bad_bytes("bad.tsv", gfn, sizeof(gfn) - 1, &limits,
			 ": line 2: gfn 8 (expected below 8, the end of 32768 bytes of memory)");
	expect_bad_bytes("bad.tsv", vcpu, sizeof(vcpu) - 1, &limits,
			 ": line 2: vcpu 2 (expected below 2");
}

/* A file without events is no trace, packed or not. */
static void test_empty(void **state)
{
	u8 packed[64];

	(void)state;
	expect_bad("", ": line 1: the file is empty");
	expect_bad("\n", ": line 1: empty");
	expect_bad_bytes("bad.tsv.zst", packed, pack(packed, sizeof(packed), "", 0), &no_limits,
			 ": line 1: the file is empty");
	expect_bad_bytes("bad.tsv.zst", "", 0, &no_limits, ": line 1: the file is empty");
}

/* A compressed file cut short anywhere is refused, never taken for a shorter trace. */
static void test_truncated_frames(void **state)
{
	static const char text[] = "1\t0\tw\t6\n2\t0\tr\t6\n3\t1\tr\t8\n4\t1\tw\t7\n";
	u8 packed[256];
	size_t n = pack(packed, sizeof(packed), text, sizeof(text) - 1);
	char part[64];

	(void)state;
	for (size_t cut = 4; cut < n; cut++) {
		snprintf(part, sizeof(part), ": byte %zu: the file ends inside a zstd frame", cut);
		expect_bad_bytes("cut.tsv.zst", packed, cut, &no_limits, part);
	}
	for (size_t cut = 1; cut < 4; cut++)
		expect_bad_bytes("cut.tsv.zst", packed, cut, &no_limits,
				 ": byte 0: starts with 0x28");
}

/* Bytes that zstd can't unpack are refused with their place in the compressed file. */
static void test_garbled_frames(void **state)
{
	static const char text[] = "1\t0\tw\t6\n2\t0\tr\t6\n3\t1\tr\t8\n4\t1\tw\t7\n";
	u8 packed[256];
	size_t n = pack(packed, sizeof(packed), text, sizeof(text) - 1);
	char part[64];

	(void)state;
	snprintf(part, sizeof(part), ": byte %zu: bad compressed data", n);
	memcpy(packed + n, "garbage", 7);
	expect_bad_bytes("bad.tsv.zst", packed, n + 7, &no_limits, part);
	packed[4] |= 0x08; /* a reserved bit of the frame header */
	expect_bad_bytes("bad.tsv.zst", packed, n, &no_limits, ": byte ");
	expect_bad_bytes("bad.tsv.zst",
			 "\x7f"
			 "ELF and more",
			 13, &no_limits, ": byte 0: starts with 0x7f");
}

/* A line without an end is refused by its number, wherever the window of the reader stands. */
static void test_long_lines(void **state)
{
	enum { N = 1 << 20 };
	char *text = malloc(N);

	(void)state;
	memset(text, '1', N);
	expect_bad_bytes("bad.tsv", text, N, &no_limits, ": line 1: longer than 4096 bytes");
	memcpy(text, "0\t0\tw\t6\n", 8);
	expect_bad_bytes("bad.tsv", text, N, &no_limits, ": line 2: longer than 4096 bytes");
	memset(text, '\n', N);
	expect_bad_bytes("bad.tsv", text, N, &no_limits, ": line 1: empty");
	free(text);
}

/* What isn't a readable file is refused with the system's reason and its name. */
static void test_not_a_file(void **state)
{
	struct trace *t;
	char err[256];

	(void)state;
	assert_int_equal(trace_read("/nonexistent/x.tsv", &no_limits, &t, err, sizeof(err)),
			 -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/x.tsv: can't open (No such file"));
	assert_int_equal(trace_read(dir, &no_limits, &t, err, sizeof(err)), -EISDIR);
	assert_non_null(strstr(err, ": is a directory (expected a trace file)"));
	assert_int_equal(mkfifo(test_path("fifo"), 0600), 0);
	assert_int_equal(trace_read(test_path("fifo"), &no_limits, &t, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "fifo: isn't a regular file"));
	unlink(test_path("fifo"));
	if (geteuid() != 0) {
		write_file(test_path("locked"), "x", 1);
		chmod(test_path("locked"), 0);
		assert_int_equal(trace_read(test_path("locked"), &no_limits, &t, err, sizeof(err)),
				 -EACCES);
		unlink(test_path("locked"));
	}
}

/* Random damage to a packed or plain trace is read or refused in one line, and never more. */
static void test_random_damage(void **state)
{
	static const char text[] = "1\t0\tw\t6\n22\t0\tr\t6\n333\t1\tr\t1ff8\n4\t1\tw\t7\n";
	const u64 seed = 7;
	struct rng rng;

	(void)state;
	rng_init(&rng, seed);
	for (u32 i = 0; i < 2000; i++) {
		u8 bytes[256];
		char err[256];
		size_t n = sizeof(text) - 1;
		struct trace *t;
		int ret;

		memcpy(bytes, text, n);
		if (i & 1)
			n = pack(bytes, sizeof(bytes), text, n);
		for (u64 k = rng_below(&rng, 4); k; k--)
			bytes[rng_below(&rng, n)] = (u8)rng_u64(&rng);
		if (rng_below(&rng, 4) == 0)
			n = rng_below(&rng, n);
		t = read_bytes("fuzz", bytes, n, &no_limits, err, &ret);
		if (ret && ret != -EINVAL)
			fail_msg("seed %llu run %u: %d", (unsigned long long)seed, i, ret);
		if (ret && (!err[0] || strchr(err, '\n')))
			fail_msg("seed %llu run %u: '%s'", (unsigned long long)seed, i, err);
		trace_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shipped_facts),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_no_final_newline),
		cmocka_unit_test(test_follows_write_against_model),
		cmocka_unit_test(test_compressed),
		cmocka_unit_test(test_within_limits),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_large_numbers),
		cmocka_unit_test(test_outside_limits),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_truncated_frames),
		cmocka_unit_test(test_garbled_frames),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_not_a_file),
		cmocka_unit_test(test_random_damage),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
