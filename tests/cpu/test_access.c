/* SPDX-License-Identifier: MIT */
/* Guest accesses: what the TLB keeps and when it lets go, interrupts, machine checks, exits. */
#include "cpu/tlb.h"
#include "tables.h"

static enum lp_access write_word(struct world *w, gpa_t gpa, u64 value)
{
	return lp_guest_write(w->lp, gpa, &value, 1);
}

static enum lp_access read_word(struct world *w, gpa_t gpa, u64 *value)
{
	return lp_guest_read(w->lp, gpa, value, 1);
}

/* A private block of @level at @gpa: mapped, zero, under the TD's key. */
static pfn_t map_private(struct world *w, gpa_t gpa, enum pg_level level)
{
	pfn_t pfn = new_frame(w->host, level);

	host_zero(w->host, pfn, level, KEY);
	map(w, gpa, (int)level, pfn, RWX);
	return pfn;
}

/* What is written is read back, at each leaf size, and lies in the frame the tables name. */
static void bytes_go_where_the_tables_say(void **state)
{
	const gpa_t gpas[] = {0x5008, 0x40345678, 0x89ABCDE8};

	(void)state;
	for (int level = PG_LEVEL_4K; level <= PG_LEVEL_1G; level++) {
		struct world w = make_world(4, 47, NO_BUGS);
		gpa_t gpa = gpas[level - 1];
		pfn_t block = map_private(&w, gpa, (enum pg_level)level);
		u64 offset = gpa & ((4096ULL << 9 * (level - 1)) - 1), value = 0;

		assert_int_equal(write_word(&w, gpa, 0xC0FFEE), LP_ACCESS_OK);
		assert_int_equal(read_word(&w, gpa, &value), LP_ACCESS_OK);
		assert_int_equal(value, 0xC0FFEE);
		assert_int_equal(*(u64 *)host_ptr(w.host, fn_to_addr(block) + offset), 0xC0FFEE);
		end_world(&w);
	}
}

/* Words of one page move together, under the translation's key: the host can't read them. */
static void accesses_use_the_key(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	u64 in[4] = {1, 2, 3, 4}, out[4] = {};
	gpa_t shared = 1ULL << 47 | 0x9000;
	pfn_t p, s;

	(void)state;
	p = map_private(&w, 0x5000, PG_LEVEL_4K);
	assert_int_equal(lp_guest_write(w.lp, 0x5100, in, 4), LP_ACCESS_OK);
	assert_int_equal(lp_guest_read(w.lp, 0x5100, out, 4), LP_ACCESS_OK);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(host_read(w.host, fn_to_addr(p) + 0x100, 0, out, 4), 0);
	assert_int_equal(out[0], HOST_PRIVATE_PATTERN);

	s = new_frame(w.host, PG_LEVEL_4K);
	map(&w, shared, PG_LEVEL_4K, s, RWX);
	assert_int_equal(lp_guest_write(w.lp, shared, in, 4), LP_ACCESS_OK);
	assert_int_equal(host_read(w.host, fn_to_addr(s), 0, out, 4), 0);
	assert_memory_equal(in, out, sizeof(in));
	end_world(&w);
}

/* No translation: the guest must exit, and the exit says where, and whether it wrote. */
static void violation_exits(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	u64 value;

	(void)state;
	assert_int_equal(read_word(&w, 0x7010, &value), LP_ACCESS_EXIT);
	assert_int_equal(w.lp->exit.kind, LP_EXIT_EPT_VIOLATION);
	assert_int_equal(w.lp->exit.gpa, 0x7010);
	assert_false(w.lp->exit.write);
	assert_int_equal(write_word(&w, 1ULL << 47 | 0x7010, 1), LP_ACCESS_EXIT);
	assert_int_equal(w.lp->exit.gpa, 1ULL << 47 | 0x7010);
	assert_true(w.lp->exit.write);
	/* A violation leaves nothing in the TLB: once mapped, the access works. */
	map_private(&w, 0x7000, PG_LEVEL_4K);
	assert_int_equal(read_word(&w, 0x7010, &value), LP_ACCESS_OK);
	end_world(&w);
}

/* A write through a read-only translation is a violation, until the tables allow it. */
static void write_needs_the_right(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	u64 value;

	(void)state;
	map_private(&w, 0x5000, PG_LEVEL_4K);
	*entry_of(&w, 0x5000, PG_LEVEL_4K) &= ~2ULL;
	assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_OK);
	assert_int_equal(write_word(&w, 0x5000, 1), LP_ACCESS_EXIT);
	assert_true(w.lp->exit.write);
	*entry_of(&w, 0x5000, PG_LEVEL_4K) |= 2;
	assert_int_equal(write_word(&w, 0x5000, 1), LP_ACCESS_OK);
	end_world(&w);
}

/*
 * Guarantee 1, at each leaf size: a translation serves on although its entry is gone, and is known to
 * be stale; only the flush of its own TD drops it.
 */
static void stale_until_flushed(void **state)
{
	(void)state;
	for (int level = PG_LEVEL_4K; level <= PG_LEVEL_1G; level++) {
		struct world w = make_world(4, 47, NO_BUGS);
		gpa_t gpa = 0x40005000;
		u64 value = 0;

		map_private(&w, gpa, (enum pg_level)level);
		assert_false(lp_tlb_is_stale(w.lp, gpa)); /* nothing held */
		assert_int_equal(write_word(&w, gpa, 77), LP_ACCESS_OK);
		assert_false(lp_tlb_is_stale(w.lp, gpa));
		*entry_of(&w, gpa, level) = 0x80E0000000000000ULL;
		assert_int_equal(read_word(&w, gpa, &value), LP_ACCESS_OK);
		assert_int_equal(value, 77);
		assert_true(lp_tlb_is_stale(w.lp, gpa));
		lp_tlb_flush(w.lp, 2);
		assert_int_equal(read_word(&w, gpa, &value), LP_ACCESS_OK);
		lp_tlb_flush(w.lp, 1);
		assert_false(lp_tlb_is_stale(w.lp, gpa));
		assert_int_equal(read_word(&w, gpa, &value), LP_ACCESS_EXIT);
		end_world(&w);
	}
}

/* A held translation is stale when the tables name another frame, key or right; not when split. */
static void what_is_stale(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	pfn_t block = map_private(&w, 0x40000000, PG_LEVEL_2M);
	u64 leaf = *entry_of(&w, 0x40000000, PG_LEVEL_2M), value;
	gpa_t gpa = 0x40003000;

	(void)state;
	assert_int_equal(read_word(&w, gpa, &value), LP_ACCESS_OK);
	*entry_of(&w, gpa, PG_LEVEL_2M) = leaf + SIZE_2M;
	assert_true(lp_tlb_is_stale(w.lp, gpa));
	*entry_of(&w, gpa, PG_LEVEL_2M) = leaf + (1ULL << 46);
	assert_true(lp_tlb_is_stale(w.lp, gpa));
	*entry_of(&w, gpa, PG_LEVEL_2M) = leaf & ~2ULL;
	assert_true(lp_tlb_is_stale(w.lp, gpa));
	/* The same frames, through a table of 4K entries. */
	*entry_of(&w, gpa, PG_LEVEL_2M) = 0;
	map(&w, gpa, PG_LEVEL_4K, block + 3, RWX);
	assert_false(lp_tlb_is_stale(w.lp, gpa));
	end_world(&w);
}

/* Two TDs on one LP keep their own translations of the same GPA. */
static void asids_separate(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	struct ept_context first = w.lp->ept, second = first;
	u64 value;

	(void)state;
	second.asid = 2;
	second.sept_root = fn_to_addr(new_frame(w.host, PG_LEVEL_4K));
	map_private(&w, 0x5000, PG_LEVEL_4K);
	assert_int_equal(write_word(&w, 0x5000, 1), LP_ACCESS_OK);
	w.lp->ept = second;
	assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_EXIT);
	map_private(&w, 0x5000, PG_LEVEL_4K);
	assert_int_equal(write_word(&w, 0x5000, 2), LP_ACCESS_OK);
	w.lp->ept = first;
	assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_OK);
	assert_int_equal(value, 1);
	w.lp->ept = second;
	assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_OK);
	assert_int_equal(value, 2);
	/* Each kept its own without another walk: one TD's flush leaves the other's. */
	*entry_of(&w, 0x5000, PG_LEVEL_4K) = 0;
	lp_tlb_flush(w.lp, first.asid);
	assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_OK);
	end_world(&w);
}

/* More than there are words for flushes: whatever the hash, some push others out. */
#define MANY_ASIDS (3 * TLB_FLUSH_WORDS)

static u64 nth_asid(u32 i)
{
	return (u64)(i + 1) * PAGE_SIZE * 3 | 1;
}

/* Looks through the eyes of TD @i, which has no translation in its tables at the moment. */
static bool is_held(struct world *w, u32 i, gpa_t gpa)
{
	w->lp->ept.asid = nth_asid(i);
	return lp_tlb_is_stale(w->lp, gpa);
}

/* Every TD reads @gpa once, and then its entry goes. @held: whose translation is still there. */
static void fill_all(struct world *w, gpa_t gpa, int level, u64 leaf, bool held[MANY_ASIDS])
{
	u64 value;

	*entry_of(w, gpa, level) = leaf;
	for (u32 i = 0; i < MANY_ASIDS; i++) {
		w->lp->ept.asid = nth_asid(i);
		assert_int_equal(read_word(w, gpa, &value), LP_ACCESS_OK);
	}
	*entry_of(w, gpa, level) = 0;
	for (u32 i = 0; i < MANY_ASIDS; i++)
		held[i] = is_held(w, i, gpa);
}

/*
 * A flush takes all of its TD and nothing of another's, however many TDs an LP has seen and in
 * whatever order they were flushed; what has been flushed stays gone. At each leaf size.
 */
static void flushes_of_many_tds(void **state)
{
	(void)state;
	for (int level = PG_LEVEL_4K; level <= PG_LEVEL_1G; level++) {
		struct world w = make_world(4, 47, NO_BUGS);
		gpa_t gpa = 0x40005000;
		bool held[MANY_ASIDS];
		u64 leaf;

		map_private(&w, gpa, (enum pg_level)level);
		leaf = *entry_of(&w, gpa, level);
		for (u32 round = 0; round < 4; round++) {
			u32 nr_held = 0;

			fill_all(&w, gpa, level, leaf, held);
			for (u32 i = 0; i < MANY_ASIDS; i++)
				nr_held += held[i];
			/* Slots are shared: a later fill may have taken an earlier one's. */
			assert_true(nr_held >= TLB_1G_ENTRIES / 2);
			for (u32 i = 0; i < MANY_ASIDS; i++) {
				u32 which = i * 101 % MANY_ASIDS;

				if ((i + round) % 3)
					continue;
				lp_tlb_flush(w.lp, nth_asid(which));
				held[which] = false;
			}
			for (u32 i = 0; i < MANY_ASIDS; i++)
				assert_int_equal(is_held(&w, i, gpa), held[i]);
		}
		end_world(&w);
	}
}

/* Repeated accesses walk once; more pages than the TLB holds still translate right. */
static void hits_and_evictions(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	u64 n = TLB_4K_ENTRIES + 100, value;

	(void)state;
	for (u64 i = 0; i < n; i++) {
		map_private(&w, fn_to_addr(i), PG_LEVEL_4K);
		assert_int_equal(write_word(&w, fn_to_addr(i), i + 1), LP_ACCESS_OK);
	}
	assert_int_equal(w.lp->tlb_misses, n);
	for (u64 i = 0; i < n; i++) {
		assert_int_equal(read_word(&w, fn_to_addr(i), &value), LP_ACCESS_OK);
		assert_int_equal(value, i + 1);
	}
	assert_true(w.lp->tlb_hits >= TLB_4K_ENTRIES - 100);
	assert_int_equal(w.lp->tlb_hits + w.lp->tlb_misses, 2 * n);
	end_world(&w);
}

/* ---- interrupts ------------------------------------------------------------------------------*/

/* Guarantee 2: what is pending stops the next access, whatever the host masks; then it goes on. */
static void interrupt_stops_next_access(void **state)
{
	const u32 kinds[] = {LP_INTR, LP_NMI, LP_INTR | LP_NMI};

	(void)state;
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		struct world w = make_world(4, 47, NO_BUGS);
		u64 value = 5;

		map_private(&w, 0x5000, PG_LEVEL_4K);
		w.lp->intr_masked = i % 2;
		assert_int_equal(lp_guest_poll(w.lp), LP_ACCESS_OK);
		assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_OK);
		lp_interrupt(w.lp, kinds[i / 2]);
		assert_int_equal(write_word(&w, 0x5000, 9), LP_ACCESS_EXIT);
		assert_int_equal(w.lp->exit.kind, LP_EXIT_INTERRUPT);
		assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_EXIT);
		assert_int_equal(lp_guest_poll(w.lp), LP_ACCESS_EXIT);
		assert_int_equal(lp_take_interrupts(w.lp), kinds[i / 2]);
		assert_int_equal(lp_take_interrupts(w.lp), 0);
		assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_OK);
		assert_int_equal(value, 0); /* the stopped write didn't happen */
		end_world(&w);
	}
}

/* The host's mask hides an interrupt from the module, never an NMI. */
static void mask_stops_intr_not_nmi(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);

	(void)state;
	assert_false(lp_interrupted(w.lp));
	lp_interrupt(w.lp, LP_INTR);
	assert_true(lp_interrupted(w.lp));
	w.lp->intr_masked = true;
	assert_false(lp_interrupted(w.lp));
	lp_interrupt(w.lp, LP_NMI);
	assert_true(lp_interrupted(w.lp));
	assert_int_equal(lp_take_interrupts(w.lp), LP_INTR | LP_NMI);
	assert_false(lp_interrupted(w.lp));
	end_world(&w);
}

struct kick {
	struct world w;
	u64 why; /* plain: written before the kick, read after it is seen */
	u32 exits;
};

static void spin_in_guest(void *arg)
{
	struct kick *k = arg;
	u64 value;

	while (read_word(&k->w, 0x5000, &value) == LP_ACCESS_OK)
		;
	if (k->w.lp->exit.kind == LP_EXIT_INTERRUPT && k->why == 42)
		sync_fetch_add(&k->exits, 1);
}

/* An interrupt from another thread gets a guest out that never stops by itself, and it sees why. */
static void kick_from_another_thread(void **state)
{
	struct kick k = {.w = make_world(4, 47, NO_BUGS)};
	struct sync_thread t;

	(void)state;
	map_private(&k.w, 0x5000, PG_LEVEL_4K);
	assert_int_equal(sync_thread_create(&t, spin_in_guest, &k), 0);
	k.why = 42;
	lp_interrupt(k.w.lp, LP_INTR);
	sync_thread_join(&t);
	assert_int_equal(k.exits, 1);
	end_world(&k.w);
}

/* ---- wrong keys, planted bugs ----------------------------------------------------------------*/

/* A frame under another key, or broken by a foreign write, is a machine check to the guest. */
static void machine_checks(void **state)
{
	struct world w = make_world(4, 47, NO_BUGS);
	pfn_t broken = map_private(&w, 0x5000, PG_LEVEL_4K);
	pfn_t stolen = map_private(&w, 0x6000, PG_LEVEL_4K);
	u64 value, foreign = 666;

	(void)state;
	assert_int_equal(write_word(&w, 0x5000, 1), LP_ACCESS_OK);
	assert_int_equal(host_write(w.host, fn_to_addr(broken) + 8, 0, &foreign, 1), 0);
	assert_int_equal(read_word(&w, 0x5000, &value), LP_ACCESS_MC);
	host_zero(w.host, stolen, PG_LEVEL_4K, KEY + 1);
	assert_int_equal(read_word(&w, 0x6000, &value), LP_ACCESS_MC);
	/* The page beside them is well. */
	map_private(&w, 0x7000, PG_LEVEL_4K);
	assert_int_equal(read_word(&w, 0x7000, &value), LP_ACCESS_OK);
	end_world(&w);
}

/*
 * The planted walker bug crosses the bytes of frames 6 and 7 of every 64, in small and huge leaves;
 * without it, and outside the checking build, they stay apart.
 */
static void wrong_pfn_mixes_neighbours(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		bool planted = i % 2, huge = i / 2;
		struct world w = make_world(4, 47, planted ? bug_set_of(BUG_WRONG_PFN) : NO_BUGS);
		pfn_t block = new_frame(w.host, PG_LEVEL_2M);
		u64 wrong = 0, value;

		host_zero(w.host, block, PG_LEVEL_2M, KEY);
		for (u64 fn = 0; fn < 512; fn++) {
			if (!huge)
				map(&w, fn_to_addr(fn), PG_LEVEL_4K, block + fn, RWX);
		}
		if (huge)
			map(&w, 0, PG_LEVEL_2M, block, RWX);
		for (u64 fn = 0; fn < 512; fn++)
			assert_int_equal(write_word(&w, fn_to_addr(fn), fn), LP_ACCESS_OK);
		for (u64 fn = 0; fn < 512; fn++) {
			assert_int_equal(read_word(&w, fn_to_addr(fn), &value), LP_ACCESS_OK);
			if (value != fn) {
				assert_int_equal(fn % 64, 6);
				wrong++;
			}
		}
#ifdef SEPTUM_CHECK
		assert_int_equal(wrong, planted ? 8 : 0);
#else
		assert_int_equal(wrong, 0);
#endif
		end_world(&w);
	}
}

/* LPs spread over the packages in order, each package getting its share. */
static void packages(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 6, .packages = 2};
	struct host *host;
	struct lp *lp;

	(void)state;
	assert_int_equal(host_create(&cfg, &host), 0);
	for (u32 i = 0; i < 6; i++) {
		assert_int_equal(lp_create(host, i, &lp), 0);
		assert_int_equal(lp->id, i);
		assert_int_equal(lp->package, i / 3);
		lp_destroy(lp);
	}
	host_destroy(host);
}

/* An LP in memory that outlives its host has an empty TLB, whatever the LP before it has left. */
static void tlb_of_an_earlier_host(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct host_memory *memory = NULL;
	const struct ept_translation tr = {.pfn = 512, .level = PG_LEVEL_4K, .writable = true};
	struct ept_translation found;

	(void)state;
	assert_int_equal(host_memory_fit(&memory, SIZE_1G), 0);
	cfg.memory = memory;
	for (u64 round = 0; round < 4; round++) {
		struct host *host;
		struct lp *lp;

		assert_int_equal(host_create(&cfg, &host), 0);
		assert_int_equal(lp_create(host, 0, &lp), 0);
		assert_int_equal(lp->tlb_misses, 0);
		assert_false(lp_interrupted(lp));
		lp->ept.asid = 0x1000;
		assert_false(tlb_lookup(lp, 0x5000, &found));
		/* Also of an asid whose word in tlb_flush is another's. */
		for (u64 i = 0; i < round; i++)
			lp_tlb_flush(lp, 0x1000 + (i << 40));
		assert_false(tlb_lookup(lp, 0x5000, &found));
		tlb_fill(lp, 0x5000, &tr);
		assert_true(tlb_lookup(lp, 0x5000, &found));
		assert_int_equal(found.pfn, 512);
		lp_interrupt(lp, LP_INTR);
		lp_destroy(lp);
		host_destroy(host);
	}
	host_memory_destroy(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_go_where_the_tables_say),
		cmocka_unit_test(accesses_use_the_key),
		cmocka_unit_test(violation_exits),
		cmocka_unit_test(write_needs_the_right),
		cmocka_unit_test(stale_until_flushed),
		cmocka_unit_test(what_is_stale),
		cmocka_unit_test(asids_separate),
		cmocka_unit_test(flushes_of_many_tds),
		cmocka_unit_test(hits_and_evictions),
		cmocka_unit_test(interrupt_stops_next_access),
		cmocka_unit_test(mask_stops_intr_not_nmi),
		cmocka_unit_test(kick_from_another_thread),
		cmocka_unit_test(machine_checks),
		cmocka_unit_test(wrong_pfn_mixes_neighbours),
		cmocka_unit_test(packages),
		cmocka_unit_test(tlb_of_an_earlier_host),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
