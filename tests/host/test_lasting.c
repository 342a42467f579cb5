/* SPDX-License-Identifier: MIT */
/* Memory that outlives its hosts: each begins as if nobody had been there before. */
#include <errno.h>
#include <string.h>

#include "base/rng.h"
#include "base/sparse.h"
#include "host/as_new.h"

#if defined(__SANITIZE_ADDRESS__)
#define OUTLIVES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OUTLIVES 0
#endif
#endif
#ifndef OUTLIVES
#define OUTLIVES 1
#endif

#define GIB 3
#define HELD 64

static struct host *host_in(struct host_memory *m, u64 bytes)
{
	const struct host_config cfg = {.memory_bytes = bytes, .lps = 1, .memory = m};
	struct host *host;

	assert_int_equal(host_create(&cfg, &host), 0);
	return host;
}

static struct host_memory *memory_of(u64 bytes)
{
	struct host_memory *m = NULL;

	assert_int_equal(host_memory_fit(&m, bytes), 0);
	return m;
}

/* One thing that a user of a block does to it. */
static void use_frame(struct host *host, struct rng *rng, pfn_t pfn)
{
	u64 word = rng_u64(rng) | 1;
	u16 hkid = rng_below(rng, 2) ? 33 : 0;

	switch (rng_below(rng, 6)) {
	case 0:
		host_zero(host, pfn, PG_LEVEL_4K, hkid);
		break;
	case 1:
		host_retag(host, pfn, PG_LEVEL_4K, hkid);
		break;
	case 2:
		host_poison(host, pfn);
		break;
	case 3:
		host_frame_dirty(host, pfn);
		memset(host_frame_ptr(host, pfn), (int)word | 1, PAGE_SIZE);
		break;
	case 4:
		host->private[pfn] = host;
		break;
	default:
		host_write(host, fn_to_addr(pfn), host_tag(host, pfn) & TAG_HKID, &word, 1);
	}
}

static void use_block(struct host *host, struct rng *rng, pfn_t pfn, enum pg_level level)
{
	for (int i = 0; i < 4; i++) {
		pfn_t frame = pfn + rng_below(rng, pages_per_level(level));

		/* Who holds a large block as such has no words for its frames. */
		if (level == PG_LEVEL_4K || rng_below(rng, 2))
			use_frame(host, rng, level == PG_LEVEL_4K ? pfn : frame);
	}
	if (level == PG_LEVEL_2M)
		host_zero(host, pfn, level, 40);
	for (pfn_t at = pfn; level != PG_LEVEL_4K && at < pfn + pages_per_level(level); at++)
		host->private[at] = NULL;
}

/* The life of a host: blocks come and go, some stay. */
static void live(struct host *host, struct rng *rng)
{
	pfn_t held[HELD];
	enum pg_level level[HELD];
	u32 nr = 0;

	assert_int_equal(host_reserve(host, host->nr_frames - 1024, 1024, FRAME_PAMT), 0);
	for (int i = 0; i < 200; i++) {
		if (nr == HELD || (nr && rng_below(rng, 3) == 0)) {
			u32 at = (u32)rng_below(rng, nr);

			host_retag(host, held[at], level[at], 0);
			host_free(host, held[at], level[at], FRAME_OTHER);
			held[at] = held[--nr];
			level[at] = level[nr];
			continue;
		}
		level[nr] = rng_below(rng, 40) ? (rng_below(rng, 4) ? PG_LEVEL_4K : PG_LEVEL_2M)
					       : PG_LEVEL_1G;
		if (host_alloc(host, level[nr], FRAME_OTHER, &held[nr]))
			continue;
		if (level[nr] != PG_LEVEL_1G)
			use_block(host, rng, held[nr], level[nr]);
		else
			host_zero(host, held[nr], PG_LEVEL_1G, 41);
		if (level[nr] == PG_LEVEL_2M && rng_below(rng, 2)) {
			host_divide(host, held[nr]);
			level[nr] = PG_LEVEL_4K;
			host->private[held[nr] + 5] = host;
		}
		nr++;
	}
}

/* Whatever a host did, and whether it ended or was left: the next finds every bit zero. */
static void next_host_finds_nothing(void **state)
{
	struct host_memory *m = memory_of(GIB * SIZE_1G);

	(void)state;
	for (u64 seed = 1; OUTLIVES && seed <= 60; seed++) {
		struct host *host = host_in(m, (1 + seed % GIB) * SIZE_1G);
		struct rng rng;

		print_message("seed %u\n", (unsigned int)seed);
		rng_init(&rng, seed);
		live(host, &rng);
		if (seed % 2)
			host_destroy(host);
		else
			free(host); /* as whoever cuts a program short gives its memory back */
		assert_as_new(m);
	}
	host_memory_destroy(m);
}

/* A lock that a host was left with, in a page that isn't dirty: an area's, or one handed out. */
static void lock_in_a_clean_page(void **state)
{
	struct host_memory *m = memory_of(SIZE_1G);

	(void)state;
	for (int in_area = 0; OUTLIVES && in_area < 2; in_area++) {
		struct host *host = host_in(m, SIZE_1G);
		pfn_t pfn = host->nr_frames - 700;

		assert_int_equal(host_reserve(host, host->nr_frames - 1024, 1024, FRAME_PAMT), 0);
		if (!in_area) {
			assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_PAMT, &pfn), 0);
			host_zero(host, pfn, PG_LEVEL_4K, 1);
		}
		*(u16 *)host_ptr(host, fn_to_addr(pfn) + 16) = 4;
		free(host);
		assert_as_new(m);
	}
	host_memory_destroy(m);
}

/* Frames are handed out in the same order by every host, at the same addresses. */
static void hosts_are_alike(void **state)
{
	struct host_memory *m = memory_of(GIB * SIZE_1G);
	struct host *host;
	void *first[50];
	pfn_t pfn;

	(void)state;
	for (int round = 0; OUTLIVES && round < 3; round++) {
		host = host_in(m, SIZE_1G);
		for (int i = 0; i < 50; i++) {
			assert_int_equal(host_alloc(host, i % 5 ? PG_LEVEL_4K : PG_LEVEL_2M,
						    FRAME_OTHER, &pfn),
					 0);
			if (!round)
				first[i] = host_frame_ptr(host, pfn);
			assert_ptr_equal(host_frame_ptr(host, pfn), first[i]);
		}
		host_destroy(host);
	}
	host_memory_destroy(m);
}

/* It holds hosts up to its size, grows when asked to, and refuses what is no size. */
static void sizes(void **state)
{
	struct host_memory *m = NULL, *same;
	struct host_config cfg = {.memory_bytes = 2 * SIZE_1G, .lps = 1};
	struct host *host = NULL;

	(void)state;
	assert_int_equal(host_memory_fit(&m, 0), -EINVAL);
	assert_int_equal(host_memory_fit(&m, SIZE_2M), -EINVAL);
	assert_null(m);
	assert_int_equal(host_memory_fit(&m, SIZE_1G), 0);
	assert_int_equal(!!m, OUTLIVES);
	if (OUTLIVES) {
		same = m;
		cfg.memory = m;
		assert_int_equal(host_create(&cfg, &host), -EINVAL);
		assert_null(host);
		assert_int_equal(host_memory_fit(&m, SIZE_1G), 0);
		assert_ptr_equal(m, same);
		assert_int_equal(host_memory_fit(&m, 2 * SIZE_1G), 0);
		host_destroy(host_in(m, 2 * SIZE_1G));
		host_destroy(host_in(m, SIZE_1G));
	}
	host_memory_destroy(m);
	host_memory_destroy(NULL);
}

/* A kept block is zero once, and then as the last host left it; a host of its own memory has none. */
static void kept_blocks(void **state)
{
	struct host_memory *m = memory_of(SIZE_1G);
	struct host *host = host_in(NULL, SIZE_1G);
	bool kept = true;
	u8 *block;

	(void)state;
	assert_null(host_keep(host, 0, 5000, &kept));
	host_destroy(host);
	for (u8 round = 0; OUTLIVES && round < 3; round++) {
		host = host_in(m, SIZE_1G);
		for (u64 i = 0; i <= round; i++) {
			block = host_keep(host, i, 5000, &kept);
			assert_non_null(block);
			assert_int_equal(kept, i < round);
			assert_int_equal(block[4999], kept ? round : 0);
			block[4999] = (u8)(round + 1);
		}
		assert_null(host_keep(host, 1000000, 5000, &kept));
		if (round)
			host_destroy(host);
		else
			free(host);
	}
	host_memory_destroy(m);
}

/* Sparse arrays begin as zero, whether the heap has them or a mapping, and after one was used. */
static void sparse_arrays(void **state)
{
	static const u64 sizes[] = {1, 4096, SPARSE_HEAP_BYTES, SPARSE_HEAP_BYTES + 1, SIZE_1G};

	(void)state;
	for (u32 i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		u64 bytes = sizes[i / 2];
		u8 *array = sparse_alloc(bytes);

		assert_non_null(array);
		for (u64 at = 0; at < min_u64(bytes, 1 << 20); at++)
			assert_int_equal(array[at], 0);
		assert_int_equal(array[bytes - 1], 0);
		memset(array, 0xA5, min_u64(bytes, 1 << 20));
		sparse_free(array, bytes);
	}
	sparse_free(NULL, 1);
	sparse_free(NULL, SIZE_1G);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(next_host_finds_nothing),
		cmocka_unit_test(lock_in_a_clean_page),
		cmocka_unit_test(hosts_are_alike),
		cmocka_unit_test(sizes),
		cmocka_unit_test(kept_blocks),
		cmocka_unit_test(sparse_arrays),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
