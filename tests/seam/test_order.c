/* SPDX-License-Identifier: MIT */
/*
 * The order of checks of leaves that don't start as most do (test_mem_checks.c has those), of the
 * page that a leaf is given, and of what is checked last. Every failure is produced with all that is
 * checked later wrong as well. failures.md lists which test produces which.
 */
#include "fixture.h"
#include "seam/checks.h"

#define PAGE_4K 0x50000000ULL
#define PAGE_2M 0x60000000ULL
#define TABLE 0x40100000ULL
#define FREE_TABLE 0x40101000ULL
#define OUTSIDE (TDMR_BASE + TDMR_SIZE)
#define UNPAIRED 0x58000000ULL

static struct tdr *tdr_of(const struct fixture *f)
{
	return host_ptr(f->host, f->tdr);
}

static struct tdcs *tdcs_of(const struct fixture *f)
{
	return host_ptr(f->host, tdr_of(f)->tdcx_pa[0]);
}

static u16 *pamt_word(const struct fixture *f, hpa_t hpa, u32 level)
{
	struct pamt_ref ref;

	assert_true(pamt_find(f->seam, hpa, level, &ref));
	return &ref.entry->lock;
}

/* A 4K page at GPA 0x200000, a 2M page at 0x400000, both PENDING, a table for 0x600000. */
static void setup(struct fixture *f, const struct fixture_config *cfg)
{
	fixture_create(f, cfg);
	fixture_tables(f);
	fixture_ok(f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_pair(f, PAGE_4K);
	fixture_ok(f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	fixture_ok(f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
}

static void block_and_track(struct fixture *f, u64 page_info)
{
	fixture_ok(f, TDH_MEM_RANGE_BLOCK, page_info, 0);
	assert_int_equal(fixture_mem(f, TDH_MEM_TRACK, f->tdr, 0, 0), 0);
}

/* ---- TDR and TD state ------------------------------------------------------------------------*/

#define S(n) (1u << (n))
#define UP_TO(n) (S((n) + 1) - 2)

struct td_row {
	unsigned int leaf;
	bool tdr_in_rcx;
	bool exclusive; /* the TDR; then the op_state lock isn't taken */
	unsigned int op_states;
};

static const struct td_row td_rows[] = {
	{TDH_MEM_TRACK, true, false, UP_TO(9)},
	{TDH_MR_FINALIZE, true, true, S(1)},
	{TDH_MEM_PAGE_ADD, false, true, S(1)},
	{TDH_MR_EXTEND, false, true, S(1)},
	{TDH_MEM_RD, false, false, UP_TO(10)},
	{TDH_MEM_WR, false, false, S(1) | S(2) | S(3) | S(6) | S(7) | S(8) | S(9) | S(10)},
};

#define for_each_td_row(row) \
	for (const struct td_row *row = td_rows; row < td_rows + ARRAY_SIZE(td_rows); row++)

/* The leaf on TDR @tdr, everything else wrong. */
static u64 on_td(struct fixture *f, const struct td_row *row, u64 tdr)
{
	u64 status;

	f->r = (struct tdx_regs){.rcx = row->tdr_in_rcx ? tdr : 0xFFF,
				 .rdx = row->tdr_in_rcx ? 0xFFF : tdr,
				 .r8 = 0x123,
				 .r9 = 0x123};
	status = fixture_call(f, row->leaf);
	if (!row->tdr_in_rcx)
		assert_int_equal(f->r.rcx | f->r.rdx, 0);
	return status;
}

/* The TDR operand: format, place, locks, type. */
static void test_tdr_operand(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	for_each_td_row(row)
	{
		unsigned int op = row->tdr_in_rcx ? 1 : 2;
		static const u64 wrong_format[] = {0x50000800, 0x8000050000000, 0x10000050000000,
						   0xFFFFFFFFFFFFFFFF};
		u16 *lock = pamt_word(&f, PAGE_4K, 0);

		for (unsigned int i = 0; i < ARRAY_SIZE(wrong_format); i++)
			assert_int_equal(on_td(&f, row, wrong_format[i]), TDX_OPERAND_INVALID | op);
		assert_int_equal(on_td(&f, row, OUTSIDE), TDX_OPERAND_ADDR_RANGE_ERROR | op);
		*lock = LOCK_WORD_EXCLUSIVE;
		assert_int_equal(on_td(&f, row, PAGE_4K), TDX_OPERAND_BUSY | op);
		*lock = LOCK_WORD_READER;
		assert_int_equal(on_td(&f, row, PAGE_4K),
				 (row->exclusive ? TDX_OPERAND_BUSY : TDX_PAGE_METADATA_INCORRECT) |
					 op);
		*lock = 0;
		assert_int_equal(on_td(&f, row, PAGE_4K), TDX_PAGE_METADATA_INCORRECT | op);
	}
	fixture_destroy(&f);
}

/* The TD: fatal, keys, pages, the lock on its op_state (unless the TDR is had alone), op_state. */
static void test_td_state(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	for_each_td_row(row)
	{
		struct tdr *tdr = tdr_of(&f);
		struct tdcs *tdcs = tdcs_of(&f);

		tdcs->op_state = 0;
		tdcs->op_state_lock = LOCK_WORD_EXCLUSIVE;
		tdr->num_tdcx = 5;
		tdr->lifecycle = TD_BLOCKED;
		tdr->fatal = 1;
		assert_int_equal(on_td(&f, row, f.tdr), TDX_TD_FATAL);
		tdr->fatal = 0;
		assert_int_equal(on_td(&f, row, f.tdr), TDX_TD_KEYS_NOT_CONFIGURED);
		tdr->lifecycle = TD_KEYS_CONFIGURED;
		assert_int_equal(on_td(&f, row, f.tdr), TDX_TDCS_NOT_ALLOCATED);
		tdr->num_tdcx = 6;
		assert_int_equal(on_td(&f, row, f.tdr),
				 row->exclusive ? TDX_OP_STATE_INCORRECT : TDX_OPERAND_BUSY | 172);
		tdcs->op_state_lock = 0;
		for (unsigned int op = 0; op < 12; op++) {
			u64 status;

			tdcs->op_state = op;
			/* FINALIZE and TRACK would change the TD: only see them refused */
			if (row->tdr_in_rcx && row->op_states >> op & 1)
				continue;
			status = on_td(&f, row, f.tdr);
			if (row->op_states >> op & 1)
				assert_true(status == (TDX_OPERAND_INVALID | 1) ||
					    status == TDX_TD_NON_DEBUG);
			else
				assert_int_equal(status, TDX_OP_STATE_INCORRECT | op);
		}
		tdcs->op_state = 2;
	}
	fixture_destroy(&f);
}

/* ---- the page that a leaf is given -------------------------------------------------------------*/

struct new_page_row {
	unsigned int leaf;
	u64 page_info;
	u64 pair; /* R12 and R13 as well, for what comes later */
};

static const struct new_page_row new_page_rows[] = {
	{TDH_MEM_SEPT_ADD, 0x600001, 0},	{TDH_MEM_PAGE_AUG, 0x201000, 0},
	{TDH_MEM_PAGE_ADD, 0x201000, 0},	{TDH_MEM_PAGE_RELOCATE, 0x200000, 0},
	{TDH_MEM_PAGE_DEMOTE, 0x400001, 0x123},
};

static u64 give(struct fixture *f, const struct new_page_row *row, hpa_t page)
{
	f->r = (struct tdx_regs){.rcx = row->page_info,
				 .rdx = f->tdr,
				 .r8 = page,
				 .r9 = SOURCE_PA,
				 .r12 = row->pair,
				 .r13 = row->pair};
	fixture_call(f, row->leaf);
	assert_int_equal(f->r.rcx | f->r.rdx, 0);
	return f->r.rax;
}

/*
 * A new 4K page, with Dynamic PAMT: format, place, a lock on the way, no pair, not free, a PAMT page.
 * The TD is being built, where every one of the leaves can be called.
 */
static void test_new_page(void **state)
{
	struct fixture f;
	u64 pair_page;

	(void)state;
	setup(&f, &(struct fixture_config){.dynamic_pamt = true, .initialized_only = true});
	/* a PAMT page whose own block has a pair */
	pair_page = f.next_pair;
	fixture_pair(&f, PAIR_BASE);
	for (const struct new_page_row *row = new_page_rows;
	     row < new_page_rows + ARRAY_SIZE(new_page_rows); row++) {
		static const u64 wrong_format[] = {0x123, 0x8400050001000, 0x10000050001000,
						   0x4000000050001000};

		for (unsigned int i = 0; i < ARRAY_SIZE(wrong_format); i++)
			assert_int_equal(give(&f, row, wrong_format[i]), TDX_OPERAND_INVALID | 8);
		assert_int_equal(give(&f, row, OUTSIDE), TDX_OPERAND_ADDR_RANGE_ERROR | 8);
		*pamt_word(&f, UNPAIRED, 1) = LOCK_WORD_EXCLUSIVE;
		assert_int_equal(give(&f, row, UNPAIRED), TDX_OPERAND_BUSY | 8);
		*pamt_word(&f, UNPAIRED, 1) = 0;
		assert_int_equal(give(&f, row, UNPAIRED), TDX_MISSING_PAMT_PAGE_PAIR | 8);
		*pamt_word(&f, PAGE_4K + 0x5000, 0) = LOCK_WORD_READER;
		assert_int_equal(give(&f, row, PAGE_4K + 0x5000), TDX_OPERAND_BUSY | 8);
		*pamt_word(&f, PAGE_4K + 0x5000, 0) = 0;
		assert_int_equal(give(&f, row, TABLE), TDX_PAGE_METADATA_INCORRECT | 8);
		assert_int_equal(give(&f, row, PAGE_2M + 0x5000), TDX_PAGE_METADATA_INCORRECT | 8);
		assert_int_equal(give(&f, row, pair_page), TDX_PAGE_METADATA_INCORRECT | 8);
		assert_int_equal(give(&f, row, f.tdr), TDX_OPERAND_BUSY | 8);
	}
	fixture_destroy(&f);
}

/* A new 2M page: aligned to 2M, in a TDMR, its block not locked, without a pair, no PAMT page inside. */
static void test_new_2m_page(void **state)
{
	const struct new_page_row row = {TDH_MEM_PAGE_AUG, 0x600001, 0};
	struct fixture f;

	(void)state;
	setup(&f, &(struct fixture_config){.dynamic_pamt = true});
	assert_int_equal(give(&f, &row, PAGE_4K + PAGE_SIZE), TDX_OPERAND_INVALID | 8);
	assert_int_equal(give(&f, &row, OUTSIDE), TDX_OPERAND_ADDR_RANGE_ERROR | 8);
	*pamt_word(&f, PAGE_4K, 1) = LOCK_WORD_READER;
	assert_int_equal(give(&f, &row, PAGE_4K), TDX_OPERAND_BUSY | 8);
	*pamt_word(&f, PAGE_4K, 1) = 0;
	assert_int_equal(give(&f, &row, PAGE_4K), TDX_PAGE_METADATA_INCORRECT | 8);
	assert_int_equal(give(&f, &row, PAGE_2M), TDX_PAGE_METADATA_INCORRECT | 8);
	assert_int_equal(give(&f, &row, PAIR_BASE), TDX_PAGE_METADATA_INCORRECT | 8);
	assert_int_equal(give(&f, &row, ALIGN_DOWN(f.tdr, SIZE_2M)), TDX_OPERAND_BUSY | 8);
	assert_int_equal(give(&f, &row, PAGE_2M + SIZE_2M), 0);
	fixture_destroy(&f);
}

/* ---- pages that the entry refers to ------------------------------------------------------------*/

/* REMOVE: the page's metadata is locked before BLOCK and TRACK are asked for. */
static void test_remove(void **state)
{
	struct fixture f;
	u16 *lock;

	(void)state;
	setup(&f, NULL);
	lock = pamt_word(&f, PAGE_4K, 0);
	*lock = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000, f.tdr, 0, TDX_OPERAND_BUSY | 1, 0, 0);
	*lock = 0;
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000, f.tdr, 0, TDX_GPA_RANGE_NOT_BLOCKED | 1,
		       0x80000000000000F0 | PAGE_4K, 0x200);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200000, 0);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000, f.tdr, 0, TDX_TLB_TRACKING_NOT_DONE | 1,
		       0, 0);
	fixture_destroy(&f);
}

/* SEPT.REMOVE: the same for the table's page; whether the table is empty comes last. */
static void test_sept_remove(void **state)
{
	struct fixture f;
	u16 *lock;

	(void)state;
	setup(&f, NULL);
	lock = pamt_word(&f, TABLE, 0);
	*lock = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, TDX_OPERAND_BUSY | 1, 0, 0);
	*lock = 0;
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, TDX_GPA_RANGE_NOT_BLOCKED | 1,
		       0x407, 0x8401);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200001, 0);
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, TDX_TLB_TRACKING_NOT_DONE | 1,
		       0, 0);
	assert_int_equal(fixture_mem(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, TDX_EPT_PAGE_NOT_FREE | 1, 0,
		       0x8101);
	fixture_destroy(&f);
}

/* RELOCATE: onto itself, the old page's lock, BLOCK, TRACK, and only then the new page. */
static void test_relocate(void **state)
{
	struct fixture f;
	u16 *lock;

	(void)state;
	setup(&f, NULL);
	lock = pamt_word(&f, PAGE_4K, 0);
	*lock = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, PAGE_4K, TDX_OPERAND_INVALID | 8,
		       0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, 0x123, TDX_OPERAND_BUSY | 1, 0,
		       0);
	*lock = 0;
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, 0x123,
		       TDX_GPA_RANGE_NOT_BLOCKED | 1, 0x80000000000000F0 | PAGE_4K, 0x200);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200000, 0);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, 0x123,
		       TDX_TLB_TRACKING_NOT_DONE | 1, 0, 0);
	assert_int_equal(fixture_mem(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, 0x123, TDX_OPERAND_INVALID | 8,
		       0, 0);
	fixture_destroy(&f);
}

/* DEMOTE: the lock on the page that is split comes after R8 and before R12. */
static void test_demote(void **state)
{
	struct fixture f;
	u16 *lock;

	(void)state;
	setup(&f, &(struct fixture_config){.dynamic_pamt = true});
	lock = pamt_word(&f, PAGE_2M, 1);
	*lock = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, 0x123,
		       TDX_GPA_RANGE_NOT_BLOCKED | 1, 0x80000000000000F0 | PAGE_2M, 0x201);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x400001, 0);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, 0x123,
		       TDX_TLB_TRACKING_NOT_DONE | 1, 0, 0);
	assert_int_equal(fixture_mem(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, 0x123, TDX_OPERAND_INVALID | 8, 0,
		       0);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, FREE_TABLE, TDX_OPERAND_BUSY | 1,
		       0, 0);
	*lock = 0;
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, FREE_TABLE,
		       TDX_OPERAND_ADDR_RANGE_ERROR | 12, 0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 0x400001, f.tdr, 0, 0, 0x80000000000000F0 | PAGE_2M,
		       0x301);
	fixture_destroy(&f);
}

/* PROMOTE: the table page's lock, BLOCK, TRACK, the children, an interrupt, the merged page's lock. */
static void test_promote(void **state)
{
	struct fixture f;
	u16 *table, *page;

	(void)state;
	setup(&f, NULL);
	block_and_track(&f, 0x400001);
	fixture_ok(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, FREE_TABLE);
	assert_int_equal(fixture_accept(&f, 0x407000), 0);
	lp_interrupt(f.lp[FIXTURE_HOST_LP], LP_NMI);
	table = pamt_word(&f, FREE_TABLE, 0);
	page = pamt_word(&f, PAGE_2M, 1);
	*table = LOCK_WORD_READER;
	*page = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, TDX_OPERAND_BUSY | 1, 0, 0);
	*table = 0;
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, TDX_GPA_RANGE_NOT_BLOCKED | 1,
		       0x407, 0x8401);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x400001, 0);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, TDX_TLB_TRACKING_NOT_DONE | 1,
		       0, 0);
	assert_int_equal(fixture_mem(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0,
		       TDX_EPT_INVALID_PROMOTE_CONDITIONS | 1, 0, 0x8101);
	fixture_ok(&f, TDH_MEM_RANGE_UNBLOCK, 0x400001, 0);
	for (u64 i = 0; i < 512; i++) {
		if (i != 7)
			assert_int_equal(fixture_accept(&f, 0x400000 + i * PAGE_SIZE), 0);
	}
	block_and_track(&f, 0x400001);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, TDX_INTERRUPTED_RESTARTABLE,
		       0x400001, f.tdr);
	lp_take_interrupts(f.lp[FIXTURE_HOST_LP]);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, TDX_OPERAND_BUSY | 1, 0, 0);
	*page = 0;
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, 0, FREE_TABLE, 0);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 0x400001, f.tdr, 0, 0, 0x80000000000004F7 | PAGE_2M,
		       0x401);
	fixture_destroy(&f);
}

/* Children may differ in A and in host priority; a lock that somebody holds is a difference. */
static void test_promote_children(void **state)
{
	struct fixture f;
	u64 *child;

	(void)state;
	setup(&f, NULL);
	block_and_track(&f, 0x400001);
	fixture_ok(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, FREE_TABLE);
	block_and_track(&f, 0x400001);
	child = host_ptr(f.host, FREE_TABLE);
	child[9] |= SEPT_LOCK;
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0,
		       TDX_EPT_INVALID_PROMOTE_CONDITIONS | 1, 0, 0x8101);
	child[9] &= ~SEPT_LOCK;
	child[9] |= 1ULL << 58; /* an alias of an L2 VM's */
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0,
		       TDX_EPT_INVALID_PROMOTE_CONDITIONS | 1, 0, 0x8101);
	child[9] &= ~(1ULL << 58);
	child[9] |= SEPT_ACCESSED | SEPT_HOST_PRIORITY;
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, 0, FREE_TABLE, 0);
	fixture_destroy(&f);
}

/* ---- MEM.RD, MEM.WR ----------------------------------------------------------------------------*/

/* Kind of TD, alignment, tree, walk, entry. */
static void test_debug_access(void **state)
{
	static const unsigned int leaves[] = {TDH_MEM_RD, TDH_MEM_WR};
	struct fixture f;
	u64 *entry;

	(void)state;
	setup(&f, &(struct fixture_config){.attributes = TD_ATTR_DEBUG});
	assert_int_equal(fixture_accept(&f, 0x200000), 0);
	entry = host_ptr(f.host, TABLE);
	for (unsigned int i = 0; i < ARRAY_SIZE(leaves); i++) {
		tdcs_of(&f)->attributes = 0;
		tdcs_of(&f)->sept_lock = LOCK_WORD_EXCLUSIVE;
		*entry |= SEPT_LOCK;
		fixture_expect(&f, leaves[i], 0x200004, f.tdr, 5, TDX_TD_NON_DEBUG, 0, 0);
		tdcs_of(&f)->attributes = TD_ATTR_DEBUG;
		fixture_expect(&f, leaves[i], 0x200004, f.tdr, 5, TDX_OPERAND_INVALID | 1, 0, 0);
		fixture_expect(&f, leaves[i], 0x800000200008, f.tdr, 5, TDX_OPERAND_INVALID | 1, 0,
			       0);
		fixture_expect(&f, leaves[i], 0x200008, f.tdr, 5, TDX_OPERAND_BUSY | 146, 0, 0);
		tdcs_of(&f)->sept_lock = 0;
		fixture_expect(&f, leaves[i], 0x201008, f.tdr, 5, TDX_EPT_ENTRY_NOT_PRESENT | 1,
			       0x8000000000000000, 0);
		fixture_expect(&f, leaves[i], 0x200008, f.tdr, 5, TDX_OPERAND_BUSY | 1,
			       0x80000000000004F7 | PAGE_4K, 0x400);
		assert_int_equal(f.r.r8, 0);
		*entry &= ~SEPT_LOCK;
		fixture_expect(&f, leaves[i], 0x200008, f.tdr, 5, 0, 0, 0);
	}
	fixture_destroy(&f);
}

/* ---- PAMT.ADD, PAMT.REMOVE, RDMD, RECLAIM, WBINVD: locks ---------------------------------------*/

/* Who is busy is named: the block, the first page, the second page, the owner. */
static void test_phymem_busy(void **state)
{
	const hpa_t pair = 0xB0100000;
	struct fixture f;
	u16 *lock;

	(void)state;
	setup(&f, &(struct fixture_config){.dynamic_pamt = true});
	fixture_pair(&f, pair);
	lock = pamt_word(&f, UNPAIRED, 1);
	*lock = LOCK_WORD_READER;
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_ADD, UNPAIRED | 1, f.tdr, f.tdr),
			 TDX_OPERAND_BUSY | 1);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_REMOVE, UNPAIRED | 1, 0, 0),
			 TDX_OPERAND_BUSY | 1);
	*lock = 0;
	lock = pamt_word(&f, pair, 0);
	*lock = LOCK_WORD_EXCLUSIVE;
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_ADD, UNPAIRED | 1, pair, f.tdr),
			 TDX_OPERAND_BUSY | 2);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_ADD, UNPAIRED | 1, pair + PAGE_SIZE, pair),
			 TDX_OPERAND_BUSY | 8);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, pair, 0, 0), TDX_OPERAND_BUSY | 1);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_WBINVD, pair, 0, 0), TDX_OPERAND_BUSY | 1);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RECLAIM, pair, 0, 0),
			 TDX_OPERAND_BUSY | 1);
	*lock = 0;
	lock = pamt_word(&f, f.tdr, 0);
	*lock = LOCK_WORD_EXCLUSIVE;
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RECLAIM, PAGE_4K, 0, 0),
			 TDX_OPERAND_BUSY | 128);
	assert_int_equal(f.r.rcx, 3);
	assert_int_equal(f.r.rdx, f.tdr);
	assert_int_equal(fixture_mem(&f, TDH_VP_ENTER, f.tdvpr[0], 0, 0), TDX_OPERAND_BUSY | 128);
	*lock = 0;
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tdr_operand),  cmocka_unit_test(test_td_state),
		cmocka_unit_test(test_new_page),     cmocka_unit_test(test_new_2m_page),
		cmocka_unit_test(test_remove),	     cmocka_unit_test(test_sept_remove),
		cmocka_unit_test(test_relocate),     cmocka_unit_test(test_demote),
		cmocka_unit_test(test_promote),	     cmocka_unit_test(test_promote_children),
		cmocka_unit_test(test_debug_access), cmocka_unit_test(test_phymem_busy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
