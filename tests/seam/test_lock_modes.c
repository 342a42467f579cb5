/* SPDX-License-Identifier: MIT */
/*
 * Every lock of the module, held by another thread in either mode, met by a leaf that wants it in
 * either mode: BUSY with the operand that names the lock, at once, and only where the modes conflict.
 * The thread stands for a leaf that is in the middle of its work; nobody waits for it but the test.
 *
 * What the two threads do in the middle of a leaf is test_life_busy.c's.
 */
#include "fixture.h"
#include "seam/checks.h"

#define PAGE_4K 0x50000000ULL
#define PAGE_2M 0x60000000ULL
#define TABLE 0x40100000ULL
#define NEW_PAIR 0xB0100000ULL

/* ---- a thread that holds a lock ------------------------------------------------------------------*/

struct holder {
	u16 *word;
	u64 *entry; /* or an S-EPT entry's own lock */
	enum lock_mode mode;
	u32 held, release;
	struct sync_thread thread;
};

static void hold(void *arg)
{
	struct holder *h = arg;

	if (h->entry)
		sync_fetch_or(h->entry, SEPT_LOCK);
	else
		assert_true(hp_lock_host(h->word, h->mode));
	sync_store_release(&h->held, 1);	/* pairs with the acquire in holder_start() */
	while (!sync_load_acquire(&h->release)) /* pairs with holder_end() */
		sync_relax();
	if (h->entry)
		sync_fetch_and(h->entry, ~SEPT_LOCK);
	else
		hp_unlock(h->word, h->mode);
}

static void holder_start(struct holder *h)
{
	h->held = h->release = 0;
	assert_int_equal(sync_thread_create(&h->thread, hold, h), 0);
	while (!sync_load_acquire(&h->held)) /* pairs with hold() */
		sync_relax();
}

static void holder_end(struct holder *h)
{
	sync_store_release(&h->release, 1); /* pairs with hold() */
	sync_thread_join(&h->thread);
}

/* ---- the locks -------------------------------------------------------------------------------*/

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

static u16 *word_tdr(const struct fixture *f)
{
	return pamt_word(f, f->tdr, 0);
}

static u16 *word_tdr_2m(const struct fixture *f)
{
	return pamt_word(f, f->tdr, 1);
}

static u16 *word_tdr_1g(const struct fixture *f)
{
	return pamt_word(f, f->tdr, 2);
}

static u16 *word_op_state(const struct fixture *f)
{
	return &tdcs_of(f)->op_state_lock;
}

static u16 *word_tree(const struct fixture *f)
{
	return &tdcs_of(f)->sept_lock;
}

static u16 *word_epoch(const struct fixture *f)
{
	return &tdcs_of(f)->epoch_lock;
}

static u16 *word_tdvpr(const struct fixture *f)
{
	return pamt_word(f, f->tdvpr[0], 0);
}

static u16 *word_table(const struct fixture *f)
{
	return pamt_word(f, TABLE, 0);
}

static u16 *word_mapped_page(const struct fixture *f)
{
	return pamt_word(f, PAGE_4K, 0);
}

static u16 *word_free_page(const struct fixture *f)
{
	return pamt_word(f, PAGE_4K + PAGE_SIZE, 0);
}

static u16 *word_free_2m(const struct fixture *f)
{
	return pamt_word(f, PAGE_2M, 1);
}

static u16 *word_block_2m(const struct fixture *f)
{
	return pamt_word(f, PAGE_4K, 1);
}

static u16 *word_kot(const struct fixture *f)
{
	return &f->seam->kot_lock;
}

#define ANY_TD UINT64_MAX     /* stands for the TDR's address */
#define ANY_VCPU (ANY_TD - 1) /* for vCPU 0's */
#define NONE UINT32_MAX

/* A call that takes the lock, and what it says when it gets it: something that changes nothing. */
struct taker {
	unsigned int leaf;
	u64 rcx, rdx, r8;
	unsigned int operand; /* named when busy */
	u64 status;
};

struct lock_row {
	const char *name;
	u16 *(*word)(const struct fixture *f);
	bool host_priority;
	struct taker shared, exclusive; /* leaf NONE: no leaf takes it like that */
};

#define NOBODY                      \
	{                           \
		NONE, 0, 0, 0, 0, 0 \
	}
#define SEPT_RD_ROOT(operand)                             \
	{                                                 \
		TDH_MEM_SEPT_RD, 3, ANY_TD, 0, operand, 0 \
	}
/* Fails at the lifecycle, after the TDR. */
#define TDR_EXCLUSIVE                                                                            \
	{                                                                                        \
		TDH_MNG_KEY_CONFIG, ANY_TD, 0, 0, TDX_OPERAND_RCX, TDX_LIFECYCLE_STATE_INCORRECT \
	}

static const struct lock_row locks[] = {
	{"TDR", word_tdr, true, SEPT_RD_ROOT(TDX_OPERAND_RDX), TDR_EXCLUSIVE},
	{"PAMT_2M above the TDR",
	 word_tdr_2m,
	 true,
	 SEPT_RD_ROOT(TDX_OPERAND_RDX),
	 {TDH_PHYMEM_PAMT_REMOVE, TDR_PA | 1, 0, 0, TDX_OPERAND_RCX, TDX_PAMT_PAGE_NOT_EMPTY}},
	{"PAMT_1G above the TDR", word_tdr_1g, true, SEPT_RD_ROOT(TDX_OPERAND_RDX), NOBODY},
	{"OP_STATE", word_op_state, true, SEPT_RD_ROOT(TDX_OPERAND_OP_STATE), NOBODY},
	{"SEPT_TREE",
	 word_tree,
	 true,
	 SEPT_RD_ROOT(TDX_OPERAND_SEPT_TREE),
	 {TDH_MEM_RANGE_UNBLOCK, 3, ANY_TD, 0, TDX_OPERAND_SEPT_TREE,
	  TDX_EPT_ENTRY_STATE_INCORRECT | 1}},
	{"TD_EPOCH",
	 word_epoch,
	 false,
	 {TDH_VP_ENTER, ANY_VCPU, 0, 0, TDX_OPERAND_TD_EPOCH, TDX_EXIT_EXTERNAL_INTERRUPT},
	 {TDH_MEM_TRACK, ANY_TD, 0, 0, TDX_OPERAND_TD_EPOCH, 0}},
	{"TDVPR",
	 word_tdvpr,
	 true,
	 {TDH_VP_ENTER, ANY_VCPU, 0, 0, TDX_OPERAND_RCX, TDX_EXIT_EXTERNAL_INTERRUPT},
	 {TDH_VP_INIT, ANY_VCPU, 0, 0, TDX_OPERAND_RCX, TDX_OP_STATE_INCORRECT | 2}},
	{"PAMT of an S-EPT page",
	 word_table,
	 true,
	 {TDH_PHYMEM_PAGE_RDMD, TABLE, 0, 0, TDX_OPERAND_RCX, 0},
	 {TDH_MEM_SEPT_REMOVE, 0x200001, ANY_TD, 0, TDX_OPERAND_RCX,
	  TDX_GPA_RANGE_NOT_BLOCKED | 1}},
	{"PAMT of a mapped page",
	 word_mapped_page,
	 true,
	 {TDH_PHYMEM_PAGE_RDMD, PAGE_4K, 0, 0, TDX_OPERAND_RCX, 0},
	 {TDH_MEM_PAGE_REMOVE, 0x200000, ANY_TD, 0, TDX_OPERAND_RCX,
	  TDX_GPA_RANGE_NOT_BLOCKED | 1}},
	{"PAMT of a free page",
	 word_free_page,
	 true,
	 {TDH_PHYMEM_PAGE_WBINVD, PAGE_4K + PAGE_SIZE, 0, 0, TDX_OPERAND_RCX, 0},
	 {TDH_PHYMEM_PAGE_RECLAIM, PAGE_4K + PAGE_SIZE, 0, 0, TDX_OPERAND_RCX,
	  TDX_PAGE_METADATA_INCORRECT | 1}},
	{"PAMT_2M of a free block",
	 word_free_2m,
	 true,
	 {TDH_MEM_PAGE_AUG, 0x201000, ANY_TD, PAGE_2M, TDX_OPERAND_R8,
	  TDX_MISSING_PAMT_PAGE_PAIR | 8},
	 {TDH_PHYMEM_PAMT_REMOVE, PAGE_2M | 1, 0, 0, TDX_OPERAND_RCX, TDX_NO_PAMT_PAGE_PAIR | 1}},
	{"PAMT_2M above a used page",
	 word_block_2m,
	 true,
	 {TDH_PHYMEM_PAGE_RDMD, PAGE_4K, 0, 0, TDX_OPERAND_RCX, 0},
	 {TDH_MEM_PAGE_AUG, 0x400001, ANY_TD, PAGE_4K, TDX_OPERAND_R8,
	  TDX_PAGE_METADATA_INCORRECT | 8}},
	{"KOT",
	 word_kot,
	 false,
	 {TDH_PHYMEM_CACHE_WB, 0, 0, 0, TDX_OPERAND_KOT, TDX_NO_HKID_READY_TO_WBCACHE},
	 {TDH_MNG_CREATE, PAGE_4K + PAGE_SIZE, TD_HKID, 0, TDX_OPERAND_KOT, TDX_HKID_NOT_FREE}},
};

static void setup(struct fixture *f)
{
	fixture_create(f, &(struct fixture_config){.profile = "1.5.25", .dynamic_pamt = true});
	fixture_tables(f);
	fixture_ok(f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_pair(f, PAGE_4K);
	fixture_ok(f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
}

static u64 operand_of(const struct fixture *f, u64 value)
{
	if (value == ANY_TD)
		return f->tdr;
	return value == ANY_VCPU ? f->tdvpr[0] : value;
}

static void do_nothing(struct fixture *f, struct lp *lp, void *arg)
{
	(void)f;
	(void)lp;
	(void)arg;
}

static u64 take(struct fixture *f, const struct taker *t)
{
	if (t->leaf == TDH_VP_ENTER)
		return fixture_enter(f, 0, do_nothing, NULL);
	return fixture_mem(f, t->leaf, operand_of(f, t->rcx), operand_of(f, t->rdx), t->r8);
}

static void meet(struct fixture *f, const struct lock_row *row, enum lock_mode held,
		 const struct taker *t, enum lock_mode wanted)
{
	struct holder h = {.word = row->word(f), .mode = held};
	bool conflict = held == MODE_EXCLUSIVE || wanted == MODE_EXCLUSIVE;
	u64 status, want;

	if (t->leaf == NONE)
		return;
	holder_start(&h);
	status = take(f, t);
	want = conflict ? TDX_OPERAND_BUSY | t->operand : t->status;
	if (status != want)
		fail_msg("%s held %d, wanted %d by %s: %#llx, not %#llx", row->name, held, wanted,
			 tdh_leaf_name(t->leaf), (unsigned long long)status,
			 (unsigned long long)want);
	assert_int_equal(*h.word & LOCK_WORD_HOST_PRIORITY,
			 conflict && row->host_priority ? LOCK_WORD_HOST_PRIORITY : 0);
	holder_end(&h);
	/* Who comes next gets it, and the waiter's bit is gone. */
	status = take(f, t);
	if (status != t->status)
		fail_msg("%s after %d: %#llx, not %#llx", row->name, held,
			 (unsigned long long)status, (unsigned long long)t->status);
	assert_int_equal(*row->word(f), 0);
}

static void check_modes(enum lock_mode held, enum lock_mode wanted)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(locks); i++) {
		struct fixture f;

		setup(&f);
		meet(&f, &locks[i], held,
		     wanted == MODE_SHARED ? &locks[i].shared : &locks[i].exclusive, wanted);
		fixture_destroy(&f);
	}
}

/* Shared and shared get on with each other. */
static void test_shared_shared(void **state)
{
	(void)state;
	check_modes(MODE_SHARED, MODE_SHARED);
}

/* Who shares a lock keeps out who wants it alone. */
static void test_shared_exclusive(void **state)
{
	(void)state;
	check_modes(MODE_SHARED, MODE_EXCLUSIVE);
}

/* Who has a lock alone keeps out who would share it. */
static void test_exclusive_shared(void **state)
{
	(void)state;
	check_modes(MODE_EXCLUSIVE, MODE_SHARED);
}

/* Who has a lock alone keeps out who wants it alone. */
static void test_exclusive_exclusive(void **state)
{
	(void)state;
	check_modes(MODE_EXCLUSIVE, MODE_EXCLUSIVE);
}

/* ---- the lock of an S-EPT entry ----------------------------------------------------------------*/

/*
 * An entry that another LP works on is BUSY|RCX with details to a host, and BUSY|RCX to a guest. The
 * host's failure leaves host priority: a guest stays BUSY when the entry is free again, until a host
 * has had it. A guest's failure leaves nothing.
 */
static void test_entry(void **state)
{
	struct holder h = {0};
	struct fixture f;
	u64 *table;

	(void)state;
	setup(&f);
	table = host_ptr(f.host, TABLE);
	h.entry = &table[0];
	holder_start(&h);
	assert_int_equal(fixture_accept(&f, 0x200000), TDX_OPERAND_BUSY | 1);
	assert_int_equal(*h.entry & SEPT_HOST_PRIORITY, 0);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000, f.tdr, 0, TDX_OPERAND_BUSY | 1,
		       0x80000000000000F0 | PAGE_4K, 0x200);
	assert_int_equal(*h.entry & SEPT_HOST_PRIORITY, SEPT_HOST_PRIORITY);
	holder_end(&h);
	assert_int_equal(fixture_accept(&f, 0x200000), TDX_OPERAND_BUSY | 1);
	/* the neighbour's lock is its own */
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x201000, PAGE_4K + PAGE_SIZE);
	assert_int_equal(fixture_accept(&f, 0x201000), 0);
	/* any leaf that gets the entry will do, also one that fails later */
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000, f.tdr, 0, TDX_GPA_RANGE_NOT_BLOCKED | 1,
		       0x80000000000000F0 | PAGE_4K, 0x200);
	assert_int_equal(fixture_accept(&f, 0x200000), 0);
	fixture_destroy(&f);
}

/* ---- INTERRUPTED_BUSY: another host waits for the tree that DEMOTE or PROMOTE has ---------------*/

struct waiter {
	struct fixture *f;
	u32 stop;
	u64 nr_calls, nr_busy;
	struct sync_thread thread;
};

/* UNBLOCK of the root's own entry, which isn't blocked: wants the tree alone, and changes nothing. */
static void want_tree(void *arg)
{
	struct waiter *w = arg;

	while (!sync_load(&w->stop)) {
		struct tdx_regs r = {.rax = TDH_MEM_RANGE_UNBLOCK, .rcx = 3, .rdx = w->f->tdr};

		w->nr_busy += tdx_status_class(seamcall(w->f->lp[2], &r)) == TDX_OPERAND_BUSY;
		sync_add_relaxed(&w->nr_calls, 1);
	}
}

#define SPLIT_TRIES 3000000ULL

struct outcome {
	u64 ok, interrupted_busy, others;
};

/* A call until it isn't the other that has the tree. */
static u64 split_or_merge(struct fixture *f, unsigned int leaf, struct outcome *o)
{
	for (u64 i = 0; i < SPLIT_TRIES; i++) {
		u64 status = fixture_mem(f, leaf, 0x400001, f->tdr, TABLE + PAGE_SIZE);

		if (status == (TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE))
			continue;
		if (status == TDX_INTERRUPTED_BUSY) {
			/* to be called again as it was */
			assert_int_equal(f->r.rcx, 0x400001);
			assert_int_equal(f->r.rdx, f->tdr);
			o->interrupted_busy++;
			continue;
		}
		if (status)
			o->others++;
		o->ok += !status;
		return status;
	}
	return TDX_OPERAND_BUSY;
}

/* Splits and merges a page of a TD that is being built, while another LP wants the tree. */
static void split_and_merge(const char *profile, u64 rounds, bool until_seen,
			    struct outcome *demote, struct outcome *promote)
{
	struct fixture f, other;
	struct waiter w = {.f = &other};

	*demote = *promote = (struct outcome){0};
	fixture_create(&f, &(struct fixture_config){.profile = profile, .initialized_only = true});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	other = f; /* f.r is not for two threads */
	assert_int_equal(sync_thread_create(&w.thread, want_tree, &w), 0);
	while (!sync_load(&w.nr_calls))
		sync_relax();
	for (u64 i = 0; i < rounds; i++) {
		split_or_merge(&f, TDH_MEM_PAGE_DEMOTE, demote);
		split_or_merge(&f, TDH_MEM_PAGE_PROMOTE, promote);
		if (until_seen && demote->interrupted_busy && promote->interrupted_busy)
			break;
	}
	sync_store(&w.stop, 1);
	sync_thread_join(&w.thread);
	assert_int_equal(demote->others, 0);
	assert_int_equal(promote->others, 0);
	fixture_destroy(&f);
}

/* In 1.5.25 both give way to a host that has failed to get the tree, and say so. */
static void test_interrupted_busy(void **state)
{
	struct outcome demote, promote;

	(void)state;
	split_and_merge("1.5.25", 2000000, true, &demote, &promote);
	assert_true(demote.interrupted_busy > 0);
	assert_true(promote.interrupted_busy > 0);
}

/* In 1.5.28 and 1.5.05 nobody gives way. */
static void test_never_interrupted_busy(void **state)
{
	static const char *const profiles[] = {"1.5.28", "1.5.05", "next"};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(profiles); i++) {
		struct outcome demote, promote;

		split_and_merge(profiles[i], 300, false, &demote, &promote);
		assert_int_equal(demote.interrupted_busy, 0);
		assert_int_equal(promote.interrupted_busy, 0);
		assert_int_equal(demote.ok, 300);
		assert_int_equal(promote.ok, 300);
	}
}

/* ---- INTERRUPTED_RESTARTABLE, by version ------------------------------------------------------*/

/*
 * What a pending interrupt does to a split and to a merge, by version: an INTR counts while the host
 * takes interrupts, an NMI always; the inputs are as they were, and the same call works later.
 */
static void test_interrupts_by_version(void **state)
{
	static const struct {
		const char *profile;
		bool demote, promote;
	} rows[] = {
		{"1.5.05", true, true},
		{"1.5.25", true, true},
		{"1.5.28", false, true},
		{"next", false, true},
	};
	static const struct {
		u32 kind;
		bool masked, counts;
	} kinds[] = {
		{LP_INTR, false, true},
		{LP_INTR, true, false},
		{LP_NMI, false, true},
		{LP_NMI, true, true},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(rows) * ARRAY_SIZE(kinds); i++) {
		unsigned int k = i % ARRAY_SIZE(kinds), v = i / ARRAY_SIZE(kinds);
		struct fixture f;
		struct lp *lp;

		fixture_create(&f, &(struct fixture_config){.profile = rows[v].profile,
							    .initialized_only = true});
		fixture_tables(&f);
		fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
		lp = f.lp[FIXTURE_HOST_LP];
		lp->intr_masked = kinds[k].masked;
		lp_interrupt(lp, kinds[k].kind);
		if (kinds[k].counts && rows[v].demote) {
			fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr | 1, TABLE,
				       TDX_INTERRUPTED_RESTARTABLE, 0x400001, f.tdr | 1);
			assert_int_equal(f.r.r8, TABLE);
			lp_take_interrupts(lp);
		}
		fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, TABLE, 0, 0, 0);
		lp_interrupt(lp, kinds[k].kind);
		if (kinds[k].counts && rows[v].promote) {
			fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0,
				       TDX_INTERRUPTED_RESTARTABLE, 0x400001, f.tdr);
			lp_take_interrupts(lp);
		}
		fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, 0, TABLE, 0);
		fixture_destroy(&f);
	}
}

/* An interrupt hides what is checked after it, and is hidden by what is checked before. */
static void test_interrupt_in_the_order_of_checks(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.profile = "1.5.25",
						    .initialized_only = true,
						    .dynamic_pamt = true});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	lp_interrupt(f.lp[FIXTURE_HOST_LP], LP_NMI);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, 0x123, TDX_OPERAND_INVALID | 8, 0,
		       0);
	/* R12 and R13 are 0, in no TDMR: not looked at yet */
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, TABLE, TDX_INTERRUPTED_RESTARTABLE,
		       0x400001, f.tdr);
	lp_take_interrupts(f.lp[FIXTURE_HOST_LP]);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, TABLE,
		       TDX_OPERAND_ADDR_RANGE_ERROR | 12, 0, 0);
	lp_interrupt(f.lp[FIXTURE_HOST_LP], LP_NMI);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x200001, f.tdr, 0,
		       TDX_EPT_INVALID_PROMOTE_CONDITIONS | 1, 0x407, 0x8401);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_shared),
		cmocka_unit_test(test_shared_exclusive),
		cmocka_unit_test(test_exclusive_shared),
		cmocka_unit_test(test_exclusive_exclusive),
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_interrupted_busy),
		cmocka_unit_test(test_never_interrupted_busy),
		cmocka_unit_test(test_interrupts_by_version),
		cmocka_unit_test(test_interrupt_in_the_order_of_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
