/* SPDX-License-Identifier: MIT */
/*
 * The order of checks: every memory leaf that takes RCX page_info and RDX TDR is called with one
 * operand or state wrong, and everything that is checked later wrong as well.
 */
#include "fixture.h"
#include "seam/internal.h"
#include "seam/pamt.h"

#define PAGE_4K 0x50000000ULL
#define PAGE_2M 0x60000000ULL
#define TABLE 0x40100000ULL
#define BAD_GPA 0xFFFULL

/* Leaf, lowest and highest level (9: the root's), how the tree is locked, op_states allowed. */
struct row {
	unsigned int leaf;
	unsigned int min, max;
	bool tree_exclusive;
	unsigned int op_states;
};

#define S(n) (1u << (n))
#define CHANGE (S(1) | S(2) | S(3) | S(4) | S(5) | S(8) | S(9))
#define UP_TO_10 0x7FEu

static const struct row rows[] = {
	{TDH_MEM_SEPT_ADD, 1, 9, false, S(1) | S(2) | S(3) | S(6) | S(7) | S(8) | S(9)},
	{TDH_MEM_PAGE_AUG, 0, 1, false, S(1) | S(2) | S(3) | S(9)},
	{TDH_MEM_RANGE_BLOCK, 0, 9, true, CHANGE},
	{TDH_MEM_RANGE_UNBLOCK, 0, 9, true, CHANGE},
	{TDH_MEM_PAGE_REMOVE, 0, 2, false, CHANGE | S(10)},
	{TDH_MEM_SEPT_REMOVE, 1, 9, true, UP_TO_10},
	{TDH_MEM_SEPT_RD, 0, 9, false, UP_TO_10},
	{TDH_MEM_PAGE_DEMOTE, 1, 2, false, CHANGE},
	{TDH_MEM_PAGE_PROMOTE, 1, 2, true, CHANGE},
	{TDH_MEM_PAGE_RELOCATE, 0, 0, false, CHANGE},
};

#define for_each_row(row) for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++)

static struct tdr *tdr_of(const struct fixture *f)
{
	return host_ptr(f->host, f->tdr);
}

static struct tdcs *tdcs_of(const struct fixture *f)
{
	return host_ptr(f->host, tdr_of(f)->tdcx_pa[0]);
}

static u16 *pamt_lock_of(const struct fixture *f, hpa_t hpa, u32 level)
{
	struct pamt_ref ref;

	pamt_find(f->seam, hpa, level, &ref);
	return &ref.entry->lock;
}

static u64 *raw_entry(const struct fixture *f, gpa_t gpa, unsigned int level)
{
	u64 *table = host_ptr(f->host, tdr_of(f)->tdcx_pa[3]);

	for (unsigned int at = tdcs_of(f)->sept_levels - 1;; at--) {
		u64 *entry = &table[gpa >> (12 + 9 * at) & 511];

		if (at == level)
			return entry;
		table = host_ptr(f->host, *entry & GENMASK_ULL(45, 12));
	}
}

static void setup(struct fixture *f, bool dynamic_pamt)
{
	fixture_create(f, &(struct fixture_config){.dynamic_pamt = dynamic_pamt});
	fixture_tables(f);
	fixture_pair(f, PAGE_4K);
}

/* A bad TDR is told before a bad GPA; the wrong format, place and type of page in that order. */
static void tdr_operand(bool dynamic_pamt)
{
	struct fixture f;

	setup(&f, dynamic_pamt);
	for_each_row(row)
	{
		static const u64 wrong_format[] = {0x50000800, 0x8000050000000, 0x10000050000000,
						   0xFFFFFFFFFFFFFFFF};

		for (unsigned int i = 0; i < ARRAY_SIZE(wrong_format); i++)
			fixture_expect(&f, row->leaf, BAD_GPA, wrong_format[i], 0x123,
				       TDX_OPERAND_INVALID | 2, 0, 0);
		fixture_expect(&f, row->leaf, BAD_GPA, TDMR_BASE + TDMR_SIZE, 0x123,
			       TDX_OPERAND_ADDR_RANGE_ERROR | 2, 0, 0);
		fixture_expect(&f, row->leaf, BAD_GPA, 0x1000, 0x123,
			       TDX_OPERAND_ADDR_RANGE_ERROR | 2, 0, 0);
		fixture_expect(&f, row->leaf, BAD_GPA, PAGE_4K, 0x123,
			       TDX_PAGE_METADATA_INCORRECT | 2, 0, 0);
		/* No pair there: a TDR isn't looked for as a free page, so none is missed. */
		fixture_expect(&f, row->leaf, BAD_GPA, PAGE_2M, 0x123,
			       TDX_PAGE_METADATA_INCORRECT | 2, 0, 0);
		fixture_expect(&f, row->leaf, BAD_GPA, f.tdr + PAGE_SIZE, 0x123,
			       TDX_PAGE_METADATA_INCORRECT | 2, 0, 0);
	}
	fixture_destroy(&f);
}

static void test_tdr_operand_static(void **state)
{
	(void)state;
	tdr_operand(false);
}

static void test_tdr_operand_dynamic(void **state)
{
	(void)state;
	tdr_operand(true);
}

/* Each lock on the way to the TDR, held exclusive, is OPERAND_BUSY|RDX before the TD's state. */
static void test_tdr_busy(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	tdr_of(&f)->fatal = 1;
	for_each_row(row)
	{
		for (u32 level = 0; level < 3; level++) {
			u16 *lock = pamt_lock_of(&f, f.tdr, level);

			*lock = LOCK_WORD_EXCLUSIVE;
			fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, TDX_OPERAND_BUSY | 2,
				       0, 0);
			assert_int_equal(*lock, LOCK_WORD_EXCLUSIVE | LOCK_WORD_HOST_PRIORITY);
			*lock = 0;
		}
		fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, TDX_TD_FATAL, 0, 0);
	}
	fixture_destroy(&f);
}

/* The TD's state comes between TDR and GPA: fatal, keys, pages, op_state lock, op_state. */
static void test_td_state(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	for_each_row(row)
	{
		struct tdr *tdr = tdr_of(&f);
		struct tdcs *tdcs = tdcs_of(&f);

		tdcs->op_state = 0;
		tdcs->op_state_lock = LOCK_WORD_EXCLUSIVE;
		tdr->num_tdcx = 5;
		tdr->lifecycle = TD_BLOCKED;
		tdr->fatal = 1;
		fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, TDX_TD_FATAL, 0, 0);
		tdr->fatal = 0;
		fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, TDX_TD_KEYS_NOT_CONFIGURED, 0,
			       0);
		tdr->lifecycle = TD_KEYS_CONFIGURED;
		fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, TDX_TDCS_NOT_ALLOCATED, 0, 0);
		tdr->num_tdcx = 6;
		fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, TDX_OPERAND_BUSY | 172, 0, 0);
		tdcs->op_state_lock = 0;
		for (unsigned int op = 0; op < 12; op++) {
			u64 wanted = row->op_states >> op & 1 ? TDX_OPERAND_INVALID | 1
							      : TDX_OP_STATE_INCORRECT | op;

			tdcs->op_state = op;
			fixture_expect(&f, row->leaf, BAD_GPA, f.tdr, 0x123, wanted, 0, 0);
		}
		tdcs->op_state = 2;
	}
	fixture_destroy(&f);
}

/* page_info: levels out of the leaf's range, reserved bits, alignment and the shared bit. */
static void test_page_info(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	for_each_row(row)
	{
		unsigned int max = row->max == 9 ? 3 : row->max;
		u64 size = 0x1000ULL << 9 * row->min;

		for (unsigned int level = 0; level < 8; level++) {
			if (level >= row->min && level <= max)
				continue;
			fixture_expect(&f, row->leaf, level, f.tdr, 0x123, TDX_OPERAND_INVALID | 1,
				       0, 0);
		}
		fixture_expect(&f, row->leaf, row->min | 8, f.tdr, 0x123, TDX_OPERAND_INVALID | 1,
			       0, 0);
		fixture_expect(&f, row->leaf, row->min | 1ULL << 52, f.tdr, 0x123,
			       TDX_OPERAND_INVALID | 1, 0, 0);
		if (row->min)
			fixture_expect(&f, row->leaf, row->min | size / 2, f.tdr, 0x123,
				       TDX_OPERAND_INVALID | 1, 0, 0);
		tdcs_of(&f)->sept_lock = LOCK_WORD_EXCLUSIVE;
		fixture_expect(&f, row->leaf, row->min | 1ULL << 47, f.tdr, 0x123,
			       TDX_OPERAND_INVALID | 1, 0, 0);
		fixture_expect(&f, row->leaf, row->min, f.tdr, 0x123, TDX_OPERAND_BUSY | 146, 0, 0);
		tdcs_of(&f)->sept_lock = 0;
	}
	fixture_destroy(&f);
}

/* A reader of the tree stops exactly the leaves that need it exclusive. */
static void test_tree_lock_mode(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	for_each_row(row)
	{
		u64 status;

		tdcs_of(&f)->sept_lock = LOCK_WORD_READER;
		status = fixture_mem(&f, row->leaf, 0x80000000000 | row->min, f.tdr, 0x123);
		if (row->tree_exclusive)
			assert_int_equal(status, TDX_OPERAND_BUSY | 146);
		else
			assert_int_equal(status, TDX_EPT_WALK_FAILED | 1);
		assert_int_equal(tdcs_of(&f)->sept_lock & ~LOCK_WORD_HOST_PRIORITY,
				 LOCK_WORD_READER);
		tdcs_of(&f)->sept_lock = 0;
	}
	fixture_destroy(&f);
}

/* A held entry is OPERAND_BUSY|RCX with details, and has host priority until a host succeeds. */
static void test_entry_busy(void **state)
{
	struct fixture f;
	u64 *entry;

	(void)state;
	setup(&f, false);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, PAGE_2M);
	entry = raw_entry(&f, 0x200000, 1);
	for_each_row(row)
	{
		if (row->min > 1 || row->max < 1)
			continue;
		*entry |= 1ULL << 11;
		fixture_expect(&f, row->leaf, 0x200001, f.tdr, 0x123, TDX_OPERAND_BUSY | 1,
			       0x80000000600000F0, 0x201);
		assert_int_equal(*entry >> 52 & 1, 1);
		*entry &= ~(1ULL << 11);
		assert_int_equal(fixture_accept(&f, 0x200001), TDX_OPERAND_BUSY | 1);
		fixture_ok(&f, TDH_MEM_SEPT_RD, 0x200001, 0);
		assert_int_equal(*entry >> 52 & 1, 0);
	}
	assert_int_equal(fixture_accept(&f, 0x200001), 0);
	fixture_destroy(&f);
}

/* ---- states ----------------------------------------------------------------------------------*/

struct state_row {
	unsigned int encoding, public_number;
	bool is_leaf, rwx;
	u64 leaves; /* a bit per host leaf number below 64 */
};

#define L(n) (1ULL << (n))

static const struct state_row states[] = {
	{0x0E, 0, false, false, L(2) | L(3) | L(6) | L(25)},
	{0x0C, 5, false, false, L(6) | L(25)},
	{0x00, 132, false, true, L(3) | L(7) | L(23) | L(25) | L(30)},
	{0x08, 129, false, false, L(23) | L(25) | L(30) | L(39)},
	{0x60, 4, true, true, L(5) | L(7) | L(12) | L(14) | L(15) | L(16) | L(25) | L(29)},
	{0x68, 1, true, false, L(5) | L(15) | L(25) | L(29) | L(39)},
	{0x64, 8, true, true, L(5) | L(7) | L(12) | L(25) | L(29)},
	{0x66, 9, true, true, L(5) | L(12) | L(25)},
	{0x63, 11, true, true, L(5) | L(12) | L(14) | L(25)},
	{0x67, 12, true, true, L(5) | L(12) | L(25)},
	{0x70, 2, true, false, L(5) | L(7) | L(15) | L(25) | L(29)},
	{0x78, 3, true, false, L(5) | L(15) | L(25) | L(29) | L(39)},
	{0x74, 16, true, false, L(5) | L(7) | L(25) | L(29)},
	{0x76, 17, true, false, L(5) | L(25)},
	{0x73, 19, true, false, L(5) | L(25)},
	{0x77, 20, true, false, L(5) | L(25)},
};

/* The entry in that state: bits 9, 53 to 56, 6, 7 from the encoding; RWX, Xu; memory type WB. */
static u64 raw_state(const struct state_row *s, hpa_t hpa)
{
	u64 e = s->encoding;
	u64 raw = 1ULL << 63 | (e & 1) << 9 | (e >> 1 & 0xF) << 53 | (e >> 5 & 3) << 6;

	if (s->rwx)
		raw |= 0x407;
	if (s->is_leaf)
		raw |= 0x30;
	if (e == 0x0E || e == 0x0C)
		return raw;
	return raw | hpa | (u64)TD_HKID << 46;
}

static bool is_blocked(const struct state_row *s)
{
	return s->public_number == 1 || s->public_number == 3 || s->public_number == 129;
}

/*
 * Every leaf in every state of an entry: it gets past the state check exactly where the table says,
 * and tells level, state and what may be seen of the entry where it doesn't.
 */
static void test_leaf_by_state(void **state)
{
	struct fixture f;
	u64 *entry, saved;

	(void)state;
	setup(&f, false);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	entry = raw_entry(&f, 0x200000, 1);
	saved = *entry;
	for (const struct state_row *s = states; s < states + ARRAY_SIZE(states); s++) {
		u64 level = s->is_leaf ? 0 : 1;
		u64 raw = raw_state(s, s->is_leaf ? PAGE_4K : TABLE);
		u64 seen = s->is_leaf ? (raw & 0x8000000000000000) | (raw & 0x4FF) | PAGE_4K
				      : (s->rwx ? 0x407 : 0);

		if (s->encoding == 0x0E)
			seen = 0x8000000000000000;
		entry = raw_entry(&f, 0x200000, s->is_leaf ? 0 : 1);
		for_each_row(row)
		{
			u64 status;

			if (level < row->min || level > row->max)
				continue;
			*entry = raw;
			status = fixture_mem(&f, row->leaf, 0x200000 | level, f.tdr, 0x123);
			if (row->leaf == TDH_MEM_RANGE_BLOCK && is_blocked(s)) {
				assert_int_equal(status, TDX_GPA_RANGE_ALREADY_BLOCKED | 1);
			} else if (s->leaves >> row->leaf & 1) {
				assert_int_not_equal(tdx_status_class(status),
						     row->leaf == TDH_MEM_SEPT_ADD &&
								     s->encoding == 0
							     ? 0
							     : TDX_EPT_ENTRY_STATE_INCORRECT);
				continue;
			} else {
				assert_int_equal(status, TDX_EPT_ENTRY_STATE_INCORRECT | 1);
			}
			assert_int_equal(f.r.rcx, seen);
			assert_int_equal(f.r.rdx, level | (u64)s->public_number << 8);
			assert_int_equal(*entry, raw);
		}
		*entry = s->is_leaf ? raw_state(&states[10], PAGE_4K) : saved;
	}
	fixture_destroy(&f);
}

/* What ACCEPT does in every state of the entry it asks for. */
static void test_accept_by_state(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	for (const struct state_row *s = states; s < states + ARRAY_SIZE(states); s++) {
		u64 level = s->is_leaf ? 0 : 1;
		u64 *entry = raw_entry(&f, 0x200000, (unsigned int)level);
		u64 saved = *entry, page_info = 0x200000 | level;

		*entry = raw_state(s, s->is_leaf ? PAGE_4K : TABLE);
		switch (s->public_number) {
		case 132:
		case 129:
		case 5:
			assert_int_equal(fixture_accept(&f, page_info),
					 TDX_PAGE_SIZE_MISMATCH | level);
			break;
		case 4:
		case 8:
		case 9:
		case 11:
		case 12:
			assert_int_equal(fixture_accept(&f, page_info),
					 TDX_PAGE_ALREADY_ACCEPTED | level);
			break;
		case 2:
			assert_int_equal(fixture_accept(&f, page_info), 0);
			assert_int_equal(*entry, raw_state(&states[4], PAGE_4K));
			break;
		case 19:
			assert_int_equal(fixture_accept(&f, page_info), 0);
			assert_int_equal(*entry, raw_state(&states[8], PAGE_4K));
			break;
		default:
			assert_int_equal(fixture_accept_exits(&f, page_info),
					 1 | level << 32 | level << 35 |
						 (u64)s->public_number << 38 |
						 (u64)s->is_leaf << 46);
		}
		*entry = saved;
	}
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tdr_operand_static),
		cmocka_unit_test(test_tdr_operand_dynamic),
		cmocka_unit_test(test_tdr_busy),
		cmocka_unit_test(test_td_state),
		cmocka_unit_test(test_page_info),
		cmocka_unit_test(test_tree_lock_mode),
		cmocka_unit_test(test_entry_busy),
		cmocka_unit_test(test_leaf_by_state),
		cmocka_unit_test(test_accept_by_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
