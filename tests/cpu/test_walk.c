/* SPDX-License-Identifier: MIT */
/* The EPT walker: every leaf size under 4 and 5 levels, both roots, and each kind of violation. */
#include "tables.h"

static const struct {
	u32 levels, shared_bit;
	gpa_t gpa; /* private, with a different index at every level, and an offset */
} shapes[] = {
	{4, 47, 0x0000123456789ABCULL},
	{5, 51, 0x0005123456789ABCULL},
	{5, 47, 0x0000123456789ABCULL},
};

/* The frame of a GPA is found at each leaf size, inside the leaf, with key id, size and access. */
static void every_leaf_size(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(shapes); i++) {
		for (int level = PG_LEVEL_4K; level <= PG_LEVEL_1G; level++) {
			struct world w =
				make_world(shapes[i].levels, shapes[i].shared_bit, NO_BUGS);
			gpa_t gpa = shapes[i].gpa;
			pfn_t block = new_frame(w.host, (enum pg_level)level);
			u64 inside = gpa >> 12 & ((1ULL << 9 * (level - 1)) - 1);
			struct ept_translation tr;

			assert_false(ept_walk(w.lp, gpa, false, &tr));
			map(&w, gpa, level, block, RWX);
			assert_true(ept_walk(w.lp, gpa, true, &tr));
			assert_int_equal(tr.pfn, block + inside);
			assert_int_equal(tr.level, level);
			assert_int_equal(tr.hkid, KEY);
			assert_true(tr.writable);
			/* The neighbour block is another entry. */
			assert_false(
				ept_walk(w.lp, gpa + (4096ULL << 9 * (level - 1)), false, &tr));
			end_world(&w);
		}
	}
}

/* A 4K entry is a leaf with and without the leaf bit. */
static void leaf_bit_is_ignored_at_4k(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	pfn_t pfn = new_frame(w.host, PG_LEVEL_4K);
	struct ept_translation tr;

	(void)state;
	map(&w, 0x5000, PG_LEVEL_4K, pfn, RWX);
	*entry_of(&w, 0x5000, PG_LEVEL_4K) &= ~LEAF;
	assert_true(ept_walk(w.lp, 0x5000, true, &tr));
	assert_int_equal(tr.pfn, pfn);
	end_world(&w);
}

/* A shared GPA goes to the shared root by its whole address, and has key id 0. */
static void shared_alias(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct world w = make_world(shapes[i].levels, shapes[i].shared_bit, NO_BUGS);
		gpa_t private = shapes[i].gpa, shared = private | 1ULL << shapes[i].shared_bit;
		pfn_t p = new_frame(w.host, PG_LEVEL_4K), s = new_frame(w.host, PG_LEVEL_4K);
		struct ept_translation tr;

		map(&w, private, PG_LEVEL_4K, p, RWX);
		assert_false(ept_walk(w.lp, shared, false, &tr));
		map(&w, shared, PG_LEVEL_4K, s, RWX);
		assert_true(ept_walk(w.lp, shared, false, &tr));
		assert_int_equal(tr.pfn, s);
		assert_int_equal(tr.hkid, 0);
		assert_true(ept_walk(w.lp, private, false, &tr));
		assert_int_equal(tr.pfn, p);
		assert_int_equal(tr.hkid, KEY);
		w.lp->ept.shared_root = 0;
		assert_false(ept_walk(w.lp, shared, false, &tr));
		end_world(&w);
	}
}

/* Address bits above the shared bit exist in no translation. */
static void gpa_beyond_width(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct world w = make_world(shapes[i].levels, shapes[i].shared_bit, NO_BUGS);
		struct ept_translation tr;

		map(&w, 0, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K), RWX);
		map(&w, 1ULL << shapes[i].shared_bit, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K),
		    RWX);
		assert_true(ept_walk(w.lp, 0, false, &tr));
		for (u32 bit = shapes[i].shared_bit + 1; bit < 64; bit++) {
			/* Where the tables reach that far they do have an entry for it. */
			if (bit < 12 + 9 * shapes[i].levels)
				map(&w, 1ULL << bit, PG_LEVEL_4K, 5, RWX);
			assert_false(ept_walk(w.lp, 1ULL << bit, false, &tr));
			assert_false(ept_walk(w.lp, 1ULL << bit | 1ULL << shapes[i].shared_bit,
					      false, &tr));
		}
		end_world(&w);
	}
}

/* An entry without any access bit is not present, at every level, whatever else it holds. */
static void no_access_is_not_present(void **state)
{
	(void)state;
	for (int level = PG_LEVEL_4K; level <= PG_LEVEL_512G; level++) {
		struct world w = make_world(4, 47, NO_BUGS);
		struct ept_translation tr;

		map(&w, 0x5000, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K), RWX);
		assert_true(ept_walk(w.lp, 0x5000, false, &tr));
		*entry_of(&w, 0x5000, level) &= ~RWX;
		assert_false(ept_walk(w.lp, 0x5000, false, &tr));
		end_world(&w);
	}
	/* A pending and a free S-EPT entry, as the module keeps them. */
	struct world w = make_world(4, 47, NO_BUGS);
	struct ept_translation tr;

	map(&w, 0x5000, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K), RWX);
	*entry_of(&w, 0x5000, PG_LEVEL_4K) = 0x81084000600000F0ULL;
	assert_false(ept_walk(w.lp, 0x5000, false, &tr));
	*entry_of(&w, 0x5000, PG_LEVEL_4K) = 0x80E0000000000000ULL;
	assert_false(ept_walk(w.lp, 0x5000, false, &tr));
	end_world(&w);
}

/* An access needs its right at every level of the walk. */
static void rights_of_all_levels_count(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	struct ept_translation tr;

	(void)state;
	map(&w, 0x5000, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K), 5);
	assert_true(ept_walk(w.lp, 0x5000, false, &tr));
	assert_false(tr.writable);
	assert_false(ept_walk(w.lp, 0x5000, true, &tr));

	map(&w, 0x6000, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K), RWX);
	assert_true(ept_walk(w.lp, 0x6000, true, &tr));
	*entry_of(&w, 0x6000, PG_LEVEL_1G) &= ~2ULL;
	assert_false(ept_walk(w.lp, 0x6000, true, &tr));
	assert_true(ept_walk(w.lp, 0x6000, false, &tr));
	assert_false(tr.writable);

	map(&w, 0x40005000, PG_LEVEL_4K, new_frame(w.host, PG_LEVEL_4K), 4); /* execute only */
	assert_false(ept_walk(w.lp, 0x40005000, false, &tr));
	end_world(&w);
}

/* An entry that points past the end of memory is a violation, not a wild access. */
static void entry_beyond_memory(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	struct ept_translation tr;

	(void)state;
	map(&w, 0x5000, PG_LEVEL_4K, w.host->nr_frames, RWX);
	assert_false(ept_walk(w.lp, 0x5000, false, &tr));
	map(&w, 0x5000, PG_LEVEL_4K, w.host->nr_frames - 1, RWX);
	assert_true(ept_walk(w.lp, 0x5000, false, &tr));
	*entry_of(&w, 0x5000, PG_LEVEL_2M) = 0x00003FFFFFFFF007ULL;
	assert_false(ept_walk(w.lp, 0x5000, false, &tr));
	end_world(&w);
}

/* The leaf bit makes no leaf above 1G: there it leads to a table like any other entry. */
static void no_leaf_above_1g(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	pfn_t pfn = new_frame(w.host, PG_LEVEL_4K);
	struct ept_translation tr;

	(void)state;
	map(&w, 0x5000, PG_LEVEL_4K, pfn, RWX);
	*entry_of(&w, 0x5000, PG_LEVEL_512G) |= LEAF;
	assert_true(ept_walk(w.lp, 0x5000, false, &tr));
	assert_int_equal(tr.pfn, pfn);
	end_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_leaf_size),
		cmocka_unit_test(leaf_bit_is_ignored_at_4k),
		cmocka_unit_test(shared_alias),
		cmocka_unit_test(gpa_beyond_width),
		cmocka_unit_test(no_access_is_not_present),
		cmocka_unit_test(rights_of_all_levels_count),
		cmocka_unit_test(entry_beyond_memory),
		cmocka_unit_test(no_leaf_above_1g),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
