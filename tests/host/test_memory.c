/* SPDX-License-Identifier: MIT */
/* Making a host: refusals, and what an empty or hardly used one costs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/host.h"

/* The sanitizers' shadow memory leaves no room for 16 TiB, and counts as resident. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static u64 resident_bytes(void)
{
	unsigned long size, resident;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
	fclose(f);
	return (u64)resident * (u64)sysconf(_SC_PAGESIZE);
}

/* A size that isn't a positive multiple of 1G is -EINVAL; one with no room is -ENOMEM. */
static void refusals(void **state)
{
	struct host_config cfg = {.lps = 1};
	struct host *host = NULL;

	(void)state;
	assert_int_equal(host_create(&cfg, &host), -EINVAL);
	cfg.memory_bytes = SIZE_1G + SIZE_4K;
	assert_int_equal(host_create(&cfg, &host), -EINVAL);
	cfg.memory_bytes = ALIGN_DOWN(~0ULL, SIZE_1G);
	assert_int_equal(host_create(&cfg, &host), -EINVAL);
	assert_null(host);
	if (SANITIZED)
		return; /* ASan aborts on an impossible mmap */
	cfg.memory_bytes = 1ULL << 50;
	assert_int_equal(host_create(&cfg, &host), -ENOMEM);
	assert_null(host);
}

/* What the configuration says is what the host has; packages default to one. */
static void configuration(void **state)
{
	struct host_config cfg = {.memory_bytes = 3 * SIZE_1G, .lps = 5, .planted_bugs = {{4}}};
	struct host *host;

	(void)state;
	assert_int_equal(host_create(&cfg, &host), 0);
	assert_int_equal(host->memory_bytes, 3 * SIZE_1G);
	assert_int_equal(host->nr_frames, 3 * 262144);
	assert_int_equal(host->nr_lps, 5);
	assert_int_equal(host->nr_packages, 1);
	assert_int_equal(host->bugs.word[0], 4);
	assert_int_equal(host_frames_used(host), 0);
	assert_ptr_equal(host_frame_ptr(host, 3), host->memory + 0x3000);
	host_destroy(host);
}

/*
 * Guarantee 1: a host of 16 TiB with frames of each size in use, at its ends and in between, stays
 * below 32 MiB.
 */
static void huge_host_is_lazy(void **state)
{
	struct host_config cfg = {.memory_bytes = (SANITIZED ? 256 : 16384) * SIZE_1G, .lps = 1};
	struct host *host;
	u64 one = 1;
	pfn_t pfn;

	(void)state;
	assert_int_equal(host_create(&cfg, &host), 0);
	assert_int_equal(host_reserve(host, host->nr_frames - 16 * 262144ULL, 16 * 262144ULL,
				      FRAME_PAMT),
			 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn), 0);
		assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_OTHER, &pfn), 0);
		assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_OTHER, &pfn), 0);
	}
	assert_int_equal(host_write(host, host->memory_bytes - 8, 0, &one, 1), 0);
	assert_int_equal(host_write(host, 0, 0, &one, 1), 0);
	assert_int_equal(host_first_dirty(host, 1, host->nr_frames), host->nr_frames - 1);
	if (!SANITIZED)
		assert_true(resident_bytes() < 32ULL << 20);
	host_destroy(host);
}

/* A destroyed host leaves nothing behind: thousands in a row don't grow the program. */
static void hosts_come_and_go(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	u64 before = resident_bytes();
	struct host *host;
	u64 one = 1;
	pfn_t pfn;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(host_create(&cfg, &host), 0);
		assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn), 0);
		assert_int_equal(host_write(host, fn_to_addr(pfn), 0, &one, 1), 0);
		host_destroy(host);
	}
	if (!SANITIZED)
		assert_true(resident_bytes() < before + (4ULL << 20));
}

/* Every use has a name of its own. */
static void uses_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < FRAME_USE_COUNT; i++) {
		for (int j = 0; j < i; j++)
			assert_string_not_equal(frame_use_name((enum frame_use)i),
						frame_use_name((enum frame_use)j));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals),	     cmocka_unit_test(configuration),
		cmocka_unit_test(huge_host_is_lazy), cmocka_unit_test(hosts_come_and_go),
		cmocka_unit_test(uses_have_names),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
