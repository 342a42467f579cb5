/* SPDX-License-Identifier: MIT */
/* What memory holds under which key id, and what is written or populated for it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "host/host.h"

#define KEY 33
#define OTHER_KEY 34
#define FRAMES_2M 512ULL

static int make_host(void **state)
{
	struct host_config cfg = {.memory_bytes = 2 * SIZE_1G, .lps = 1};

	return host_create(&cfg, (struct host **)state);
}

static int end_host(void **state)
{
	host_destroy(*state);
	return 0;
}

static void put(struct host *host, pfn_t pfn, u16 key, u64 value)
{
	assert_int_equal(host_write(host, fn_to_addr(pfn) + 64, key, &value, 1), 0);
}

/* Reads the word that put() writes; it must be there, under that key. */
static u64 get(struct host *host, pfn_t pfn, u16 key)
{
	u64 value = 0xBAD;

	assert_int_equal(host_read(host, fn_to_addr(pfn) + 64, key, &value, 1), 0);
	return value;
}

static bool is_machine_check(struct host *host, pfn_t pfn, u16 key)
{
	u64 value;

	return host_read(host, fn_to_addr(pfn) + 64, key, &value, 1) == -EHWPOISON;
}

/* The operating system has a page behind the frame. */
static bool is_populated(struct host *host, pfn_t pfn)
{
	unsigned char there;

	assert_int_equal(mincore(host_frame_ptr(host, pfn), PAGE_SIZE, &there), 0);
	return there & 1;
}

/* ---- lazy zero -------------------------------------------------------------------------------*/

/* A frame never written reads as zero, under its key, and uses no memory. */
static void untouched_reads_zero(void **state)
{
	struct host *host = *state;
	u64 words[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	assert_int_equal(host_read(host, 0x5000, 0, words, 8), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(words[i], 0);
	host_zero(host, 512, PG_LEVEL_2M, KEY);
	assert_int_equal(get(host, 600, KEY), 0);
	assert_false(is_populated(host, 5));
	assert_false(is_populated(host, 600));
}

/* Words land where they were written and nowhere else; the frame is dirty from then on. */
static void words_land(void **state)
{
	struct host *host = *state;
	u64 in[3] = {11, 22, 33}, out[5];

	assert_false(host_frame_is_dirty(host, 7));
	assert_int_equal(host_write(host, 0x7010, 0, in, 3), 0);
	assert_true(host_frame_is_dirty(host, 7));
	assert_false(host_frame_is_dirty(host, 6));
	assert_false(host_frame_is_dirty(host, 8));
	assert_int_equal(host_read(host, 0x7008, 0, out, 5), 0);
	assert_int_equal(out[0], 0);
	assert_int_equal(out[1], 11);
	assert_int_equal(out[2], 22);
	assert_int_equal(out[3], 33);
	assert_int_equal(out[4], 0);
}

/* Zeroing a clean frame writes nothing: only its tag changes. */
static void clean_frame_is_not_written(void **state)
{
	struct host *host = *state;

	host_zero(host, 1024, PG_LEVEL_4K, KEY);
	host_zero(host, 2048, PG_LEVEL_2M, KEY);
	host_zero(host, 262144, PG_LEVEL_1G, KEY);
	assert_false(is_populated(host, 1024));
	assert_false(is_populated(host, 2048));
	assert_int_equal(host->zeroing_ns, 0);
	assert_int_equal(host_tag(host, 1024), KEY);
	assert_int_equal(host_tag(host, 1025), 0);
	assert_int_equal(host_tag(host, 2048 + 511), KEY);
	assert_int_equal(host_tag(host, 2048 + 512), 0);
	assert_int_equal(host_tag(host, 2 * 262144 - 1), KEY);
}

/* Zeroing dirty frames clears their bytes and leaves them clean, at every size; neighbours stay. */
static void dirty_frames_are_zeroed(void **state)
{
	struct host *host = *state;
	const pfn_t dirty[] = {511, 512, 513, 575, 576, 1023, 1024};

	for (unsigned int i = 0; i < ARRAY_SIZE(dirty); i++)
		put(host, dirty[i], 0, 100 + i);
	host_zero(host, 513, PG_LEVEL_4K, 0);
	assert_int_equal(get(host, 512, 0), 101);
	assert_int_equal(get(host, 513, 0), 0);
	assert_int_equal(get(host, 575, 0), 103);
	assert_false(host_frame_is_dirty(host, 513));
	assert_true(host_frame_is_dirty(host, 512));

	host_zero(host, 512, PG_LEVEL_2M, KEY);
	for (unsigned int i = 1; i < ARRAY_SIZE(dirty) - 1; i++) {
		assert_false(host_frame_is_dirty(host, dirty[i]));
		assert_int_equal(*(u64 *)(host_frame_ptr(host, dirty[i]) + 64), 0);
		assert_int_equal(get(host, dirty[i], KEY), 0);
	}
	assert_int_equal(get(host, 511, 0), 100);
	assert_int_equal(get(host, 1024, 0), 106);
	assert_true(host->zeroing_ns > 0);
	host_zero(host, 0, PG_LEVEL_1G, 0);
	assert_int_equal(host_first_dirty(host, 0, 2 * 262144), 2 * 262144);
}

/* What the owner writes through a pointer counts once it has said so. */
static void owner_writes_through_pointer(void **state)
{
	struct host *host = *state;

	host_frame_dirty(host, 9);
	*(u64 *)(host_frame_ptr(host, 9) + 64) = 99;
	assert_int_equal(get(host, 9, 0), 99);
	host_zero(host, 9, PG_LEVEL_4K, 0);
	assert_int_equal(get(host, 9, 0), 0);
}

/* The first write to a clean frame is accounted apart; later ones aren't. */
static void first_touch_is_accounted(void **state)
{
	struct host *host = *state;
	u64 after_first;

	put(host, 3, 0, 1);
	after_first = host->first_touch_ns;
	assert_true(after_first > 0);
	put(host, 3, 0, 2);
	assert_int_equal(host->first_touch_ns, after_first);
	assert_int_equal(host->zeroing_ns, 0);
}

/* The search for dirty frames honours both ends and finds every position of a word. */
static void first_dirty_finds(void **state)
{
	struct host *host = *state;
	u64 all = host->nr_frames;

	assert_int_equal(host_first_dirty(host, 0, all), all);
	assert_int_equal(host_first_dirty(host, 5, 5), 5);
	for (pfn_t pfn = 1000; pfn < 1130; pfn += 13)
		host_frame_dirty(host, pfn);
	assert_int_equal(host_first_dirty(host, 0, all), 1000);
	assert_int_equal(host_first_dirty(host, 0, 1000), 1000);
	assert_int_equal(host_first_dirty(host, 0, 999), 999);
	for (pfn_t pfn = 1000; pfn + 13 < 1130; pfn += 13)
		assert_int_equal(host_first_dirty(host, pfn + 1, all), pfn + 13);
	assert_int_equal(host_first_dirty(host, 1118, all), all);
}

/* ---- key ids ---------------------------------------------------------------------------------*/

/* The owner's key gives the bytes; the host gets a fixed pattern; another key, a machine check. */
static void key_decides_what_is_read(void **state)
{
	struct host *host = *state;

	host_zero(host, 40, PG_LEVEL_4K, KEY);
	put(host, 40, KEY, 0x1234);
	assert_int_equal(get(host, 40, KEY), 0x1234);
	assert_int_equal(get(host, 40, 0), HOST_PRIVATE_PATTERN);
	assert_true(is_machine_check(host, 40, OTHER_KEY));
	/* ... and looking has changed nothing. */
	assert_int_equal(get(host, 40, KEY), 0x1234);
	/* A TD that reads the host's memory under its key finds no integrity either. */
	put(host, 41, 0, 0x77);
	assert_true(is_machine_check(host, 41, KEY));
	assert_int_equal(get(host, 41, 0), 0x77);
}

/* A write under a foreign key makes the owner's next read a machine check, and changes no byte. */
static void foreign_write_poisons(void **state)
{
	struct host *host = *state;
	const u16 writers[] = {0, OTHER_KEY};

	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++) {
		pfn_t pfn = 50 + i;

		host_zero(host, pfn, PG_LEVEL_4K, KEY);
		put(host, pfn, KEY, 1);
		put(host, pfn, writers[i], 2);
		assert_int_equal(*(u64 *)(host_frame_ptr(host, pfn) + 64), 1);
		assert_true(is_machine_check(host, pfn, KEY));
		assert_int_equal(host_tag(host, pfn), KEY | TAG_POISONED);
		/* The owner's own write doesn't heal what the other broke. */
		put(host, pfn, KEY, 3);
		assert_true(is_machine_check(host, pfn, KEY));
		assert_int_equal(get(host, pfn, 0), HOST_PRIVATE_PATTERN);
		/* The frames beside it are well. */
		assert_int_equal(host_tag(host, pfn + 2), 0);
	}
}

/* Private writes to the host's memory break it for the host. */
static void private_write_poisons_the_host(void **state)
{
	struct host *host = *state;

	put(host, 60, 0, 1);
	put(host, 60, KEY, 2);
	assert_true(is_machine_check(host, 60, 0));
	assert_true(is_machine_check(host, 60, KEY));
}

/* Full-line stores make a poisoned frame good again, at 4K and for a whole block. */
static void full_stores_heal(void **state)
{
	struct host *host = *state;

	host_zero(host, 512, PG_LEVEL_2M, KEY);
	for (pfn_t pfn = 520; pfn < 523; pfn++) {
		put(host, pfn, KEY, 1);
		put(host, pfn, 0, 2);
	}
	host_zero(host, 520, PG_LEVEL_4K, KEY);
	assert_int_equal(get(host, 520, KEY), 0);
	host_retag(host, 521, PG_LEVEL_4K, OTHER_KEY);
	assert_int_equal(get(host, 521, OTHER_KEY), 1);
	assert_true(is_machine_check(host, 522, KEY));
	host_zero(host, 512, PG_LEVEL_2M, KEY);
	for (pfn_t pfn = 520; pfn < 523; pfn++)
		assert_int_equal(get(host, pfn, KEY), 0);
}

/*
 *      tag_2m     KEY ............ KEY | mixed: KEY KEY OTHER KEY ... | KEY
 *
 * A block's tags are one while they agree; a frame that differs leaves the other 511 as they were,
 * and a block-wide change makes them one again.
 */
static void blocks_are_uniform_until_they_arent(void **state)
{
	struct host *host = *state;
	pfn_t block = 3 * FRAMES_2M;

	host_zero(host, block, PG_LEVEL_2M, KEY);
	assert_int_equal(host->tag_2m[3], KEY);
	host_retag(host, block + 2, PG_LEVEL_4K, KEY); /* no change, no break */
	assert_int_equal(host->tag_2m[3], KEY);
	host_retag(host, block + 2, PG_LEVEL_4K, OTHER_KEY);
	assert_int_equal(host->tag_2m[3], TAG_MIXED);
	for (pfn_t i = 0; i < FRAMES_2M; i++)
		assert_int_equal(host_tag(host, block + i), i == 2 ? OTHER_KEY : KEY);
	assert_int_equal(host_tag(host, block - 1), 0);
	assert_int_equal(host_tag(host, block + FRAMES_2M), 0);
	host_retag(host, block, PG_LEVEL_2M, 0);
	assert_int_equal(host->tag_2m[3], 0);
	/* What the words held before doesn't come back with the next break. */
	host_retag(host, block + 9, PG_LEVEL_4K, KEY);
	assert_int_equal(host_tag(host, block + 2), 0);
}

/* ---- races -----------------------------------------------------------------------------------*/

#define ROUNDS 5000
#define WORKERS 2

struct race {
	struct host *host;
	u32 next_worker, arrived, round, errors;
};

/*
 * All workers come here; the last one prepares the next round. They spin, so that they set off
 * together: a sleeper would be late for the race.
 */
static void meet(struct race *r, void (*prepare)(struct race *r))
{
	u32 round = sync_load_acquire(&r->round); /* pairs with the fetch_add below */

	if (sync_fetch_add(&r->arrived, 1) + 1 == WORKERS) {
		prepare(r);
		sync_store(&r->arrived, 0);
		sync_fetch_add(&r->round, 1);
		return;
	}
	for (u32 spins = 1; sync_load_acquire(&r->round) == round; spins++) {
		__builtin_ia32_pause();
		if (spins % 1024 == 0)
			sync_relax(); /* the last one may have no processor */
	}
}

static void run_race(struct host *host, void (*worker)(void *arg))
{
	struct race r = {.host = host};
	struct sync_thread t[WORKERS];

	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(sync_thread_create(&t[i], worker, &r), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		sync_thread_join(&t[i]);
	assert_int_equal(r.errors, 0);
}

/* Frame i of the block: worker i % WORKERS has retagged it, or (every 8th) nobody has. */
static void check_and_reset_tags(struct race *r)
{
	for (pfn_t i = 0; i < FRAMES_2M; i++) {
		u16 want = i % 8 == 7 ? KEY : (u16)(OTHER_KEY + i % WORKERS);

		if (host_tag(r->host, i) != want)
			sync_fetch_add(&r->errors, 1);
	}
	host_retag(r->host, 0, PG_LEVEL_2M, KEY);
}

static void retag_own_frames(void *arg)
{
	struct race *r = arg;
	u32 me = sync_fetch_add(&r->next_worker, 1);

	for (int round = 0; round < ROUNDS; round++) {
		for (pfn_t n = me; n < FRAMES_2M; n += WORKERS) {
			/* One upwards, one downwards: a breaker fills the words upwards. */
			pfn_t i = me % 2 ? FRAMES_2M - 1 - (n - me) : n;

			if (i % 8 == 7) { /* nobody's: must keep the block's tag throughout */
				if (host_tag(r->host, i) != KEY)
					sync_fetch_add(&r->errors, 1);
				continue;
			}
			host_retag(r->host, i, PG_LEVEL_4K, (u16)(OTHER_KEY + me));
			if (host_tag(r->host, i) != OTHER_KEY + me)
				sync_fetch_add(&r->errors, 1);
		}
		meet(r, check_and_reset_tags);
	}
}

/* Threads that break one uniform block at once lose none of each other's tags, round after round. */
static void concurrent_retags(void **state)
{
	host_retag(*state, 0, PG_LEVEL_2M, KEY);
	run_race(*state, retag_own_frames);
}

static void check_and_reset_poison(struct race *r)
{
	for (pfn_t i = 0; i < FRAMES_2M; i += FRAMES_2M - 1) {
		u16 want = i ? KEY | TAG_POISONED : OTHER_KEY;

		if (host_tag(r->host, i) != want)
			sync_fetch_add(&r->errors, 1);
	}
	host_zero(r->host, 0, PG_LEVEL_2M, KEY);
}

static void poison_or_retag(void *arg)
{
	struct race *r = arg;
	u32 me = sync_fetch_add(&r->next_worker, 1);
	u64 word = me;

	for (int round = 0; round < ROUNDS; round++) {
		if (me % 2)
			host_write(r->host, fn_to_addr(FRAMES_2M - 1), 0, &word, 1);
		else
			host_retag(r->host, 0, PG_LEVEL_4K, OTHER_KEY);
		meet(r, check_and_reset_poison);
	}
}

/* Poison of one frame and a new key for another, in one uniform block, at once: both happen. */
static void concurrent_poison_and_retag(void **state)
{
	host_retag(*state, 0, PG_LEVEL_2M, KEY);
	run_race(*state, poison_or_retag);
}

static void write_and_zero_own(void *arg)
{
	struct race *r = arg;
	u32 me = sync_fetch_add(&r->next_worker, 1);
	u64 word = me + 1, got = 0;

	for (int i = 0; i < 20000; i++) {
		host_write(r->host, fn_to_addr(me), 0, &word, 1);
		host_read(r->host, fn_to_addr(me), 0, &got, 1);
		if (got != word || !host_frame_is_dirty(r->host, me))
			sync_fetch_add(&r->errors, 1);
		host_zero(r->host, me, PG_LEVEL_4K, 0);
		host_read(r->host, fn_to_addr(me), 0, &got, 1);
		if (got || host_frame_is_dirty(r->host, me))
			sync_fetch_add(&r->errors, 1);
	}
}

/* Frames whose dirty bits share a word are written and zeroed at once without a bit being lost. */
static void concurrent_dirty_bits(void **state)
{
	run_race(*state, write_and_zero_own);
}

static void write_shared_words(void *arg)
{
	struct race *r = arg;
	u64 me = sync_fetch_add(&r->next_worker, 1), words[8], got[8];

	for (int i = 0; i < 8; i++)
		words[i] = me << 32 | (u64)i;
	for (int round = 0; round < 5000; round++) {
		host_write(r->host, 0x9000, 0, words, 8);
		host_read(r->host, 0x9000, 0, got, 8);
		for (u64 i = 0; i < 8; i++) {
			if ((got[i] & 0xFFFFFFFF) != i || got[i] >> 32 >= WORKERS)
				sync_fetch_add(&r->errors, 1);
		}
	}
}

/* Racing writers of one frame leave whole words: some writer's, for that place. */
static void concurrent_words(void **state)
{
	run_race(*state, write_shared_words);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_host, end_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(untouched_reads_zero),
		TEST(words_land),
		TEST(clean_frame_is_not_written),
		TEST(dirty_frames_are_zeroed),
		TEST(owner_writes_through_pointer),
		TEST(first_touch_is_accounted),
		TEST(first_dirty_finds),
		TEST(key_decides_what_is_read),
		TEST(foreign_write_poisons),
		TEST(private_write_poisons_the_host),
		TEST(full_stores_heal),
		TEST(blocks_are_uniform_until_they_arent),
		TEST(concurrent_retags),
		TEST(concurrent_poison_and_retag),
		TEST(concurrent_dirty_bits),
		TEST(concurrent_words),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
