/* SPDX-License-Identifier: MIT */
/* The protocol between a file and who is bound to it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/sync.h"
#include "gmem/gmem.h"

static struct host *host;

static int setup(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};

	(void)state;
	sync_thread_enter();
	return host_create(&cfg, &host);
}

static int teardown(void **state)
{
	(void)state;
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return 0;
}

/* A client that writes down what it is told, and how much the file held then. */
struct client {
	struct gmem_file *file;
	char log[512];
	int prepare;
};

static void note(struct client *c, const char *what, u64 index, u64 nr)
{
	size_t n = strlen(c->log);

	snprintf(c->log + n, sizeof(c->log) - n, "%s %llu+%llu held %llu; ", what,
		 (unsigned long long)index, (unsigned long long)nr,
		 (unsigned long long)gmem_frames(c->file));
}

static void on_begin(void *client, u64 index, u64 nr)
{
	note(client, "begin", index, nr);
}

static int on_prepare(void *client, u64 index, u64 nr)
{
	struct client *c = client;

	note(c, "prepare", index, nr);
	return c->prepare;
}

static void on_commit(void *client, u64 index, u64 nr)
{
	note(client, "commit", index, nr);
}

static void on_end(void *client, u64 index, u64 nr)
{
	note(client, "end", index, nr);
}

static const struct gmem_client_ops ops = {
	.begin = on_begin, .prepare = on_prepare, .commit = on_commit, .end = on_end};

static void make(struct client *c, u64 pages)
{
	enum pg_level level;
	pfn_t pfn;

	memset(c, 0, sizeof(*c));
	assert_int_equal(gmem_create(host, fn_to_addr(pages), GMEM_THP, &c->file), 0);
	assert_int_equal(gmem_get_pfn(c->file, 512, &pfn, &level), 0);
}

static void unmake(struct client *c)
{
	gmem_unbind(c->file, c);
	gmem_destroy(c->file);
}

/* A hole tells its client begin, prepare, commit, and end; frames go between the last two. */
static void test_order(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_punch_hole(c.file, 512, 512), 0);
	assert_string_equal(c.log, "begin 512+512 held 512; prepare 512+512 held 512; "
				   "commit 512+512 held 512; end 512+512 held 0; ");
	unmake(&c);
}

/* When prepare fails its error comes back, end is told, and the file is as it was. */
static void test_prepare_fails(void **state)
{
	struct client c;
	enum pg_level level;
	pfn_t before, after;

	(void)state;
	make(&c, 2048);
	assert_int_equal(gmem_get_pfn(c.file, 512, &before, &level), 0);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	c.prepare = -ENOMEM;
	assert_int_equal(gmem_punch_hole(c.file, 512, 512), -ENOMEM);
	assert_string_equal(c.log, "begin 512+512 held 512; prepare 512+512 held 512; "
				   "end 512+512 held 512; ");
	assert_int_equal(gmem_get_pfn(c.file, 512, &after, &level), 0);
	assert_int_equal(before, after);
	/* The same again works once what was missing is there. */
	c.prepare = 0;
	assert_int_equal(gmem_punch_hole(c.file, 512, 512), 0);
	assert_int_equal(gmem_frames(c.file), 0);
	unmake(&c);
}

/* A refused hole tells nobody. */
static void test_refused_is_silent(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_punch_hole(c.file, 513, 0), -EINVAL);
	assert_int_equal(gmem_punch_hole(c.file, 0, 5000), -EINVAL);
	assert_string_equal(c.log, "");
	unmake(&c);
}

/* A client hears of the part that it is bound to, and of nothing outside. */
static void test_clipped(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048);
	assert_int_equal(gmem_bind(c.file, 600, 1000, &ops, &c), 0);
	assert_int_equal(gmem_punch_hole(c.file, 0, 512), 0);
	assert_int_equal(gmem_punch_hole(c.file, 1600, 448), 0);
	assert_string_equal(c.log, "");
	assert_int_equal(gmem_punch_hole(c.file, 512, 512), 0);
	assert_string_equal(c.log, "begin 600+424 held 512; prepare 600+424 held 512; "
				   "commit 600+424 held 512; end 600+424 held 0; ");
	unmake(&c);
}

/* One binding a file: a second one waits until the first has gone. Bad ranges are refused. */
static void test_binding(void **state)
{
	struct client c, other;

	(void)state;
	make(&c, 2048);
	assert_int_equal(gmem_bind(c.file, 0, 0, &ops, &c), -EINVAL);
	assert_int_equal(gmem_bind(c.file, 2048, 1, &ops, &c), -EINVAL);
	assert_int_equal(gmem_bind(c.file, 1, UINT64_MAX, &ops, &c), -EINVAL);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_bind(c.file, 0, 1, &ops, &other), -EBUSY);
	gmem_unbind(c.file, &other);
	assert_int_equal(gmem_bind(c.file, 0, 1, &ops, &other), -EBUSY);
	gmem_unbind(c.file, &c);
	assert_int_equal(gmem_bind(c.file, 0, 1, &ops, &other), 0);
	gmem_unbind(c.file, &other);
	assert_int_equal(gmem_punch_hole(c.file, 512, 512), 0);
	assert_string_equal(c.log, "");
	unmake(&c);
}

/* Attributes are set without conversion only while nobody is bound. */
static void test_set_private_needs_unbound(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_set_private(c.file, 0, 1, false), -EBUSY);
	assert_true(gmem_is_private(c.file, 0));
	gmem_unbind(c.file, &c);
	assert_int_equal(gmem_set_private(c.file, 0, 1, false), 0);
	unmake(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_prepare_fails),
		cmocka_unit_test(test_refused_is_silent),
		cmocka_unit_test(test_clipped),
		cmocka_unit_test(test_binding),
		cmocka_unit_test(test_set_private_needs_unbound),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
