/* SPDX-License-Identifier: MIT */
/*
 * The host's own view of a file: touching shared pages, holding them, and what that keeps from
 * going.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/sync.h"
#include "gmem/gmem.h"

static struct host *host;

static int setup(void **state)
{
	struct host_config cfg = {.memory_bytes = 2 * SIZE_1G, .lps = 1};

	(void)state;
	sync_thread_enter();
	return host_create(&cfg, &host);
}

static int teardown(void **state)
{
	u64 used = host_frames_used(host);

	(void)state;
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return used != 0;
}

static struct gmem_file *make(struct gmem_config cfg, u64 pages)
{
	struct gmem_file *f;

	cfg.size = fn_to_addr(pages);
	assert_int_equal(gmem_create(host, &cfg, &f), 0);
	return f;
}

static int convert(struct gmem_file *f, u64 index, u64 nr, bool to_private, u64 *error_offset)
{
	struct gmem_set_attributes arg = {.offset = fn_to_addr(index),
					  .size = fn_to_addr(nr),
					  .attributes = to_private ? GMEM_ATTRIBUTE_PRIVATE : 0};
	int err = gmem_set_attributes(f, &arg);

	*error_offset = arg.error_offset;
	return err;
}

/* Row 86: a host's touch of a private page is -EFAULT; once shared it may; and not afterwards. */
static void test_touch(void **state)
{
	struct gmem_file *f = make((struct gmem_config){.backing = GMEM_THP}, 1024);
	u64 words[4] = {1, 2, 3, 4}, read[4];

	(void)state;
	assert_int_equal(gmem_host_read(f, 0, read, 1), -EFAULT);
	assert_int_equal(gmem_host_write(f, 0, words, 1), -EFAULT);
	assert_int_equal(gmem_pin(f, 0), -EFAULT);
	assert_int_equal(gmem_frames(f), 0);
	assert_int_equal(gmem_convert(f, 10, 4, false), 0);
	assert_int_equal(gmem_host_read(f, fn_to_addr(10), read, 4), 0);
	assert_int_equal(read[3], 0);
	assert_int_equal(gmem_host_write(f, fn_to_addr(11) + 64, words, 4), 0);
	assert_int_equal(gmem_host_read(f, fn_to_addr(11) + 64, read, 4), 0);
	assert_memory_equal(words, read, sizeof(words));
	assert_int_equal(gmem_host_read(f, fn_to_addr(9), read, 1), -EFAULT);
	assert_int_equal(gmem_host_read(f, fn_to_addr(14), read, 1), -EFAULT);
	assert_int_equal(gmem_stats(f).host_mapped, 2);
	assert_int_equal(gmem_convert(f, 11, 1, true), 0);
	assert_int_equal(gmem_stats(f).host_mapped, 1);
	assert_int_equal(gmem_host_read(f, fn_to_addr(11) + 64, read, 4), -EFAULT);
	/* What it held doesn't come back with it. */
	assert_int_equal(gmem_convert(f, 11, 1, false), 0);
	assert_int_equal(gmem_host_read(f, fn_to_addr(11) + 64, read, 4), 0);
	assert_int_equal(read[0], 0);
	gmem_release(f);
}

/* Words lie inside one page of the file, aligned. */
static void test_bad_touch(void **state)
{
	struct gmem_file *f = make((struct gmem_config){.init_shared = true}, 512);
	u64 words[600] = {0};

	(void)state;
	assert_int_equal(gmem_host_read(f, SIZE_2M, words, 1), -EINVAL);
	assert_int_equal(gmem_host_read(f, UINT64_MAX - 7, words, 1), -EINVAL);
	assert_int_equal(gmem_host_read(f, 4, words, 1), -EINVAL);
	assert_int_equal(gmem_host_read(f, 8, words, 512), -EINVAL);
	assert_int_equal(gmem_host_read(f, 0, words, 513), -EINVAL);
	assert_int_equal(gmem_host_read(f, 0, words, UINT32_MAX), -EINVAL);
	assert_int_equal(gmem_host_write(f, 0, words, 0), -EINVAL);
	assert_int_equal(gmem_pin(f, 512), -EINVAL);
	assert_int_equal(gmem_frames(f), 0);
	assert_int_equal(gmem_host_read(f, SIZE_4K, words, 512), 0);
	assert_int_equal(gmem_host_read(f, SIZE_2M - 8, words, 1), 0);
	gmem_release(f);
}

/*
 * Row 81: somebody holds a shared page: -EAGAIN with its offset, and all is as it was; then it
 * goes.
 */
static void test_pinned(void **state)
{
	(void)state;
	for (int refs = 0; refs <= GMEM_REFS_COUNTED; refs++) {
		for (int backing = 0; backing <= GMEM_4K; backing++) {
			struct gmem_file *f =
				make((struct gmem_config){.backing = (enum gmem_backing)backing,
							  .folio_refs = (enum gmem_folio_refs)refs},
				     1024);
			u64 word = 9, at;

			assert_int_equal(gmem_convert(f, 500, 100, false), 0);
			assert_int_equal(gmem_pin(f, 540), 0);
			assert_int_equal(gmem_pin(f, 530), 0);
			assert_int_equal(gmem_pin(f, 530), 0);
			assert_int_equal(gmem_host_write(f, fn_to_addr(510), &word, 1), 0);
			assert_int_equal(convert(f, 0, 1024, true, &at), -EAGAIN);
			assert_int_equal(at, fn_to_addr(530));
			assert_int_equal(gmem_nr_ranges(f), 3);
			assert_int_equal(gmem_host_read(f, fn_to_addr(510), &word, 1), 0);
			assert_int_equal(word, 9);
			/* Pages beside it may go. */
			assert_int_equal(convert(f, 500, 30, true, &at), 0);
			assert_int_equal(convert(f, 531, 100, true, &at), -EAGAIN);
			assert_int_equal(at, fn_to_addr(540));
			gmem_unpin(f, 540);
			assert_int_equal(convert(f, 531, 100, true, &at), 0);
			gmem_unpin(f, 530);
			assert_int_equal(convert(f, 530, 1, true, &at), -EAGAIN);
			gmem_unpin(f, 530);
			assert_int_equal(convert(f, 530, 1, true, &at), 0);
			assert_int_equal(gmem_nr_ranges(f), 1);
			gmem_release(f);
		}
	}
}

/*
 * Holding pages asks for no split and stands in the way of none: others of the huge page convert.
 */
static void test_pin_beside_conversion(void **state)
{
	struct gmem_file *f = make((struct gmem_config){.backing = GMEM_THP}, 512);

	(void)state;
	assert_int_equal(gmem_convert(f, 7, 1, false), 0);
	assert_int_equal(gmem_pin(f, 7), 0);
	assert_int_equal(gmem_convert(f, 300, 10, false), 0);
	assert_int_equal(gmem_convert(f, 300, 10, true), 0);
	assert_int_equal(gmem_folio_level(f, 300), PG_LEVEL_4K);
	gmem_unpin(f, 7);
	assert_int_equal(gmem_convert(f, 7, 1, true), 0);
	assert_int_equal(gmem_folio_level(f, 300), PG_LEVEL_2M);
	gmem_release(f);
}

/*
 * Row 92: the file is closed while a shared page is held: its huge page goes back to the pool with
 * the last of them, the others at once.
 */
static void test_last_put(void **state)
{
	struct gmem_config cfg = {.backing = GMEM_HUGETLB_2M};
	struct gmem_file *f;
	u64 missing, word = 5;

	(void)state;
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_2M, 3, true, &cfg.pool, &missing), 0);
	for (int refs = 0; refs <= GMEM_REFS_COUNTED; refs++) {
		cfg.folio_refs = (enum gmem_folio_refs)refs;
		f = make(cfg, 3 * 512);
		assert_int_equal(gmem_convert(f, 0, 3 * 512, false), 0);
		for (u64 i = 0; i < 3; i++)
			assert_int_equal(gmem_host_write(f, i * SIZE_2M, &word, 1), 0);
		assert_int_equal(gmem_pin(f, 3), 0);
		assert_int_equal(gmem_pin(f, 3), 0);
		assert_int_equal(gmem_pin(f, 4), 0);
		assert_int_equal(gmem_pin(f, 1030), 0);
		assert_int_equal(hugetlb_stats(cfg.pool).free, 0);
		gmem_release(f);
		assert_int_equal(hugetlb_stats(cfg.pool).free, 1);
		gmem_unpin(f, 3);
		gmem_unpin(f, 4);
		assert_int_equal(hugetlb_stats(cfg.pool).free, 1);
		gmem_unpin(f, 3);
		assert_int_equal(hugetlb_stats(cfg.pool).free, 2);
		gmem_unpin(f, 1030);
		assert_int_equal(hugetlb_stats(cfg.pool).free, 3);
		assert_int_equal(hugetlb_stats(cfg.pool).reserved, 0);
	}
	hugetlb_pool_destroy(cfg.pool);
}

/* ---- threads ---------------------------------------------------------------------------------*/
#define HOLDERS 3
#define HELD_PAGES 600

struct holder {
	struct sync_thread thread;
	struct gmem_file *file;
	u32 *stop;
	u64 salt;
	u64 touched, wrong;
};

/* Holds, writes and reads shared pages; what is private it may not touch. */
static void hold_pages(void *arg)
{
	struct holder *h = arg;

	for (u64 i = h->salt; !sync_load(h->stop); i += 7) {
		u64 index = i % HELD_PAGES, at = fn_to_addr(index) + h->salt * 8, word = ~i;

		if (gmem_pin(h->file, index))
			continue;
		/* Held, so it stays shared: what this thread writes it must read. */
		h->wrong += gmem_host_write(h->file, at, &i, 1) != 0;
		h->wrong += gmem_host_read(h->file, at, &word, 1) != 0;
		h->wrong += word != i;
		gmem_unpin(h->file, index);
		h->touched++;
	}
}

/* Conversions to and fro while others hold pages: who holds one keeps it and its bytes, and -EAGAIN
 * is all that comes of it. At the end the file goes with the last of them. */
static void test_race(void **state)
{
	static struct holder holder[HOLDERS];
	struct gmem_file *f = make((struct gmem_config){.init_shared = true}, HELD_PAGES);
	u32 stop = 0;

	(void)state;
	for (u64 i = 0; i < HOLDERS; i++) {
		holder[i] = (struct holder){.file = f, .stop = &stop, .salt = i};
		assert_int_equal(sync_thread_create(&holder[i].thread, hold_pages, &holder[i]), 0);
	}
	for (u64 round = 0; round < 400; round++) {
		u64 at = round * 37 % (HELD_PAGES - 40);
		int err = gmem_convert(f, at, 40, true);

		assert_true(!err || err == -EAGAIN);
		err = gmem_punch_hole(f, at, 3);
		assert_true(!err || err == -EAGAIN);
		assert_int_equal(gmem_convert(f, at, 40, false), 0);
	}
	sync_store(&stop, 1);
	for (u64 i = 0; i < HOLDERS; i++) {
		sync_thread_join(&holder[i].thread);
		assert_int_equal(holder[i].wrong, 0);
	}
	gmem_release(f);
}

struct dropper {
	struct sync_thread thread;
	struct gmem_file *file;
	u32 *go;
	u64 first, nr;
};

static void drop_pages(void *arg)
{
	struct dropper *d = arg;

	while (!sync_load_acquire(d->go))
		sync_relax();
	for (u64 i = 0; i < d->nr; i++)
		gmem_unpin(d->file, d->first + i);
}

/* Row 92 with threads: the last references go while the file is closed; all of it goes, once. */
static void test_race_for_last_put(void **state)
{
	(void)state;
	for (u32 round = 0; round < 40; round++) {
		struct gmem_file *f = make((struct gmem_config){.init_shared = true}, 600);
		static struct dropper dropper[HOLDERS];
		u32 go = 0;

		for (u64 i = 0; i < HOLDERS; i++) {
			dropper[i] = (struct dropper){
				.file = f, .go = &go, .first = 500 + i * 5, .nr = 20};
			for (u64 page = 0; page < 20; page++)
				assert_int_equal(gmem_pin(f, dropper[i].first + page), 0);
			assert_int_equal(
				sync_thread_create(&dropper[i].thread, drop_pages, &dropper[i]), 0);
		}
		sync_store_release(&go, 1);
		gmem_release(f);
		for (u64 i = 0; i < HOLDERS; i++)
			sync_thread_join(&dropper[i].thread);
		assert_int_equal(host_frames_used(host), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_touch),
		cmocka_unit_test(test_bad_touch),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_pin_beside_conversion),
		cmocka_unit_test(test_last_put),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_race_for_last_put),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
