/* SPDX-License-Identifier: MIT */
/* What the memory leaves do when they succeed, and what differs between module versions. */
#include "fixture.h"

#include <openssl/evp.h>
#include <string.h>

#include "seam/internal.h"

#define PAGE_4K 0x50000000ULL
#define PAGE_2M 0x60000000ULL
#define TABLE 0x40100000ULL
#define FREE 0x8000000000000000ULL

static struct tdr *tdr_of(const struct fixture *f)
{
	return host_ptr(f->host, f->tdr);
}

static struct tdcs *tdcs_of(const struct fixture *f)
{
	return host_ptr(f->host, tdr_of(f)->tdcx_pa[0]);
}

static void setup(struct fixture *f, const struct fixture_config *cfg)
{
	fixture_create(f, cfg);
	fixture_tables(f);
	fixture_ok(f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_pair(f, PAGE_4K);
}

static void block_and_track(struct fixture *f, u64 page_info)
{
	fixture_ok(f, TDH_MEM_RANGE_BLOCK, page_info, 0);
	assert_int_equal(fixture_mem(f, TDH_MEM_TRACK, f->tdr, 0, 0), 0);
}

static void expect_state(struct fixture *f, u64 page_info, u64 rcx, u64 state)
{
	fixture_expect(f, TDH_MEM_SEPT_RD, page_info, f->tdr, 0, 0, rcx,
		       state << 8 | (page_info & 7));
}

/* PENDING -> PENDING_BLOCKED -> PENDING -> MAPPED -> BLOCKED -> MAPPED -> BLOCKED -> FREE. */
static void test_life_of_a_4k_page(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	expect_state(&f, 0x203000, FREE, 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x203000, PAGE_4K);
	expect_state(&f, 0x203000, 0x80000000000000F0 | PAGE_4K, 2);
	block_and_track(&f, 0x203000);
	expect_state(&f, 0x203000, 0x80000000000000F0 | PAGE_4K, 3);
	fixture_ok(&f, TDH_MEM_RANGE_UNBLOCK, 0x203000, 0);
	expect_state(&f, 0x203000, 0x80000000000000F0 | PAGE_4K, 2);
	assert_int_equal(fixture_accept(&f, 0x203000), 0);
	expect_state(&f, 0x203000, 0x80000000000004F7 | PAGE_4K, 4);
	block_and_track(&f, 0x203000);
	expect_state(&f, 0x203000, 0x80000000000000F0 | PAGE_4K, 1);
	fixture_ok(&f, TDH_MEM_RANGE_UNBLOCK, 0x203000, 0);
	expect_state(&f, 0x203000, 0x80000000000004F7 | PAGE_4K, 4);
	block_and_track(&f, 0x203000);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x203000, f.tdr, 0, 0, PAGE_4K, 0);
	expect_state(&f, 0x203000, FREE, 0);
	fixture_destroy(&f);
}

/* NL_MAPPED -> NL_BLOCKED -> NL_MAPPED -> NL_BLOCKED -> FREE, the table page given back. */
static void test_life_of_a_table(void **state)
{
	struct fixture f;
	u64 before;

	(void)state;
	setup(&f, NULL);
	before = tdr_of(&f)->chldcnt;
	expect_state(&f, 0x200001, 0x407, 132);
	block_and_track(&f, 0x200001);
	expect_state(&f, 0x200001, 0, 129);
	fixture_ok(&f, TDH_MEM_RANGE_UNBLOCK, 0x200001, 0);
	expect_state(&f, 0x200001, 0x407, 132);
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, TDX_GPA_RANGE_NOT_BLOCKED | 1,
		       0x407, 0x8401);
	block_and_track(&f, 0x200001);
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, 0, TABLE, 0);
	expect_state(&f, 0x200001, FREE, 0);
	assert_int_equal(tdr_of(&f)->chldcnt, before - 1);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_destroy(&f);
}

/* While the TD is built nothing needs BLOCK or TRACK: REMOVE, SEPT.REMOVE, DEMOTE, PROMOTE work. */
static void test_build_time_needs_no_block(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &(struct fixture_config){.initialized_only = true});
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	fixture_ok(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, TABLE + PAGE_SIZE);
	expect_state(&f, 0x5FF000, 0x80000000000000F0 | (PAGE_2M + 0x1FF000), 2);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, 0, TABLE + PAGE_SIZE, 0);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x400001, f.tdr, 0, 0, PAGE_2M, 0);
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE, 0x200001, f.tdr, 0, 0, TABLE, 0);
	fixture_destroy(&f);
}

/* SEPT.ADD: ALLOW_EXISTING, versions, the bit that is ignored, and what version 1 hands back. */
static void test_sept_add_variants(void **state)
{
	const u64 v1 = TDH_MEM_SEPT_ADD | 1 << 16, v2 = TDH_MEM_SEPT_ADD | 2 << 16;
	struct fixture f;
	u64 td;

	(void)state;
	setup(&f, NULL);
	td = f.tdr;
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x200001, td, 0x123, TDX_EPT_ENTRY_STATE_INCORRECT | 1,
		       0x407, 0x8401);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x200001, td | 1, 0x123, 0, 0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x200001, td | 1, TDX_NULL_PA, TDX_OPERAND_INVALID | 8,
		       0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x200001, td | 4, TABLE, TDX_OPERAND_INVALID | 2, 0,
		       0);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x400001, td, TABLE | 0x800, TDX_OPERAND_INVALID | 8,
		       0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x400001, td, TABLE, TDX_PAGE_METADATA_INCORRECT | 8,
		       0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x400001, td, FREE | 0x40108000, 0, 0, 0);
	fixture_expect(&f, (unsigned int)v1, 0x400001, td | 1, TDX_NULL_PA, 0, 0, 0);
	assert_int_equal(f.r.r8, TDX_NULL_PA);
	fixture_expect(&f, (unsigned int)v1, 0x600001, td, 0x40109000, 0, 0, 0);
	assert_int_equal(f.r.r8, TDX_NULL_PA);
	fixture_expect(&f, (unsigned int)v1, 0x600001, td, 0x4010A000,
		       TDX_EPT_ENTRY_STATE_INCORRECT | 1, 0x407, 0x8401);
	assert_int_equal(f.r.r8, FREE | 0x4010A000);
	fixture_expect(&f, (unsigned int)v2, 0x600001, td, 0x4010A000, TDX_OPERAND_INVALID, 0, 0);
	assert_int_equal(f.r.r9, 0);
	fixture_expect(&f, TDH_MEM_SEPT_REMOVE | 2 << 16, 0x600001, td, 0, TDX_OPERAND_INVALID, 0,
		       0);
	assert_int_equal(f.r.r9, TDX_NULL_PA);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE | 2 << 16, 0x600001, td, 0, TDX_OPERAND_INVALID, 0,
		       0);
	assert_int_equal(f.r.r11, TDX_NULL_PA);
	fixture_destroy(&f);
}

/* A 5-level TD takes GPAs up to bit 50, its root's entries are level 4, and bit 51 is SHARED. */
static void test_five_levels(void **state)
{
	const u64 gpa = 1ULL << 50;
	struct fixture f;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.wide = true});
	fixture_expect(&f, TDH_MEM_SEPT_RD, gpa, f.tdr, 0, TDX_EPT_WALK_FAILED | 1, FREE, 4);
	for (u64 level = 4; level > 0; level--)
		fixture_ok(&f, TDH_MEM_SEPT_ADD, gpa | level, TABLE + level * PAGE_SIZE);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, gpa, PAGE_4K);
	expect_state(&f, gpa, 0x80000000000000F0 | PAGE_4K, 2);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 1ULL << 51, f.tdr, 0, TDX_OPERAND_INVALID | 1, 0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 5, f.tdr, 0, TDX_OPERAND_INVALID | 1, 0, 0);
	fixture_destroy(&f);
}

/* RELOCATE moves content and owner, un-blocks, and gives the old page back. */
static void test_relocate(void **state)
{
	const hpa_t to = 0x50007000;
	struct fixture f;
	u64 word = 0x1122334455667788, got;

	(void)state;
	setup(&f, NULL);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	assert_int_equal(fixture_accept(&f, 0x200000), 0);
	assert_int_equal(host_write(f.host, PAGE_4K + 64, TD_HKID, &word, 1), 0);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, PAGE_4K, TDX_OPERAND_INVALID | 8,
		       0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, 0x123,
		       TDX_GPA_RANGE_NOT_BLOCKED | 1, 0x80000000000004F7 | PAGE_4K, 0x400);
	block_and_track(&f, 0x200000);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, TABLE,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, to, 0, PAGE_4K, 0);
	expect_state(&f, 0x200000, 0x80000000000004F7 | to, 4);
	assert_int_equal(host_read(f.host, to + 64, TD_HKID, &got, 1), 0);
	assert_int_equal(got, word);
	fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, PAGE_4K, 0, 0);
	assert_int_equal(f.r.rcx, PT_NDA);
	fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, to, 0, 0);
	assert_int_equal(f.r.rcx, PT_REG);
	assert_int_equal(f.r.r9, 0);
	fixture_destroy(&f);
}

/* A relocated PENDING page is PENDING still, and ACCEPT zeroes the new frame. */
static void test_relocate_pending(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	block_and_track(&f, 0x200000);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, 0x50007000, 0, PAGE_4K, 0);
	expect_state(&f, 0x200000, 0x80000000500070F0, 2);
	assert_int_equal(host_tag(f.host, 0x50007), 0);
	assert_int_equal(fixture_accept(&f, 0x200000), 0);
	assert_int_equal(host_tag(f.host, 0x50007), TD_HKID);
	fixture_destroy(&f);
}

/* MEM.RD and MEM.WR reach present leaves of any size of a debug TD, and no others. */
static void test_debug_access(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &(struct fixture_config){.attributes = TD_ATTR_DEBUG});
	fixture_expect(&f, TDH_MEM_RD, 0x400004, f.tdr, 0, TDX_OPERAND_INVALID | 1, 0, 0);
	fixture_expect(&f, TDH_MEM_RD, 0x400008, f.tdr, 7, TDX_EPT_ENTRY_NOT_PRESENT | 1, FREE, 1);
	assert_int_equal(f.r.r8, 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	fixture_expect(&f, TDH_MEM_RD, 0x400008, f.tdr, 0, TDX_EPT_ENTRY_NOT_PRESENT | 1,
		       0x80000000600000F0, 0x201);
	assert_int_equal(fixture_accept(&f, 0x400001), 0);
	fixture_expect(&f, TDH_MEM_WR, 0x407008, f.tdr, 0xABCD, 0, 0, 0);
	assert_int_equal(f.r.r8, 0);
	fixture_expect(&f, TDH_MEM_RD, 0x407008, f.tdr, 0, 0, 0, 0);
	assert_int_equal(f.r.r8, 0xABCD);
	fixture_destroy(&f);

	setup(&f, NULL);
	fixture_expect(&f, TDH_MEM_RD, 0x400004, f.tdr, 0, TDX_TD_NON_DEBUG, 0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 0x400001, f.tdr | 1, 0, TDX_OPERAND_INVALID | 2, 0, 0);
	fixture_destroy(&f);
}

static u64 page_add(struct fixture *f, u64 gpa, u64 hpa, u64 source)
{
	f->r = (struct tdx_regs){.rcx = gpa, .rdx = f->tdr, .r8 = hpa, .r9 = source};
	return fixture_call(f, TDH_MEM_PAGE_ADD);
}

static void hash_record(EVP_MD_CTX *md, const char *name, u64 gpa)
{
	u8 record[128] = {0};

	memcpy(record, name, strlen(name));
	memcpy(record + 16, &gpa, 8);
	EVP_DigestUpdate(md, record, sizeof(record));
}

/* PAGE.ADD copies under the TD's key; MRTD is the SHA-384 of the steps and what MR.EXTEND read. */
static void test_page_add_and_mrtd(void **state)
{
	struct fixture f;
	u64 words[512], got;
	u8 digest[48];
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	(void)state;
	for (u64 i = 0; i < 512; i++)
		words[i] = i * 0x0101010101010101ULL;
	setup(&f, &(struct fixture_config){.initialized_only = true});
	host_write(f.host, SOURCE_PA, 0, words, 512);
	assert_int_equal(page_add(&f, 0x200000, PAGE_4K, SOURCE_PA), 0);
	expect_state(&f, 0x200000, 0x80000000000004F7 | PAGE_4K, 4);
	assert_int_equal(host_read(f.host, PAGE_4K + 8, TD_HKID, &got, 1), 0);
	assert_int_equal(got, words[1]);
	assert_int_equal(fixture_mem(&f, TDH_MR_EXTEND, 0x200100, f.tdr, 0), 0);
	assert_int_equal(fixture_mem(&f, TDH_MR_EXTEND, 0x200180, f.tdr, 0),
			 TDX_OPERAND_INVALID | 1);
	fixture_expect(&f, TDH_MR_EXTEND, 0x201000, f.tdr, 0, TDX_EPT_ENTRY_NOT_PRESENT | 1, FREE,
		       0);
	fixture_expect(&f, TDH_MR_EXTEND, 0x400000, f.tdr, 0, TDX_EPT_ENTRY_NOT_PRESENT | 1, FREE,
		       1);
	tdcs_of(&f)->num_vcpus = 0;
	assert_int_equal(fixture_mem(&f, TDH_MR_FINALIZE, f.tdr, 0, 0), TDX_NO_VCPUS);
	tdcs_of(&f)->num_vcpus = FIXTURE_VCPUS;
	assert_int_equal(fixture_mem(&f, TDH_MR_FINALIZE, f.tdr, 0, 0), 0);

	EVP_DigestInit_ex(md, EVP_sha384(), NULL);
	hash_record(md, "MEM.PAGE.ADD", 0x200000);
	hash_record(md, "MR.EXTEND", 0x200100);
	EVP_DigestUpdate(md, &words[32], 256);
	EVP_DigestFinal_ex(md, digest, NULL);
	EVP_MD_CTX_free(md);
	assert_memory_equal(tdcs_of(&f)->mrtd, digest, sizeof(digest));
	assert_int_equal(page_add(&f, 0x201000, PAGE_4K + 0x1000, SOURCE_PA),
			 TDX_OP_STATE_INCORRECT | 2);
	fixture_destroy(&f);
}

/* PAGE.ADD checks the entry, then the source, then the target. */
static void test_page_add_errors(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &(struct fixture_config){.initialized_only = true});
	assert_int_equal(page_add(&f, 0x200001, 0x123, 0x123), TDX_OPERAND_INVALID | 1);
	assert_int_equal(page_add(&f, 0x400000, 0x123, 0x123), TDX_EPT_WALK_FAILED | 1);
	assert_int_equal(f.r.rdx, 1);
	assert_int_equal(page_add(&f, 0x200000, 0x123, 0x123), TDX_OPERAND_INVALID | 9);
	assert_int_equal(page_add(&f, 0x200000, 0x123, SOURCE_PA | 33ULL << 46),
			 TDX_OPERAND_INVALID | 9);
	assert_int_equal(page_add(&f, 0x200000, 0x123, 1ULL << 52), TDX_OPERAND_INVALID | 9);
	/* A shared key id is none of the module's business, nor is whether memory is there. */
	assert_int_equal(page_add(&f, 0x200000, 0x123, SOURCE_PA | 1ULL << 46),
			 TDX_OPERAND_INVALID | 8);
	assert_int_equal(page_add(&f, 0x200000, 0x123, 1ULL << 40), TDX_OPERAND_INVALID | 8);
	assert_int_equal(page_add(&f, 0x200000, 0x123, SOURCE_PA), TDX_OPERAND_INVALID | 8);
	assert_int_equal(page_add(&f, 0x200000, TABLE, SOURCE_PA), TDX_PAGE_METADATA_INCORRECT | 8);
	assert_int_equal(page_add(&f, 0x200000, PAGE_4K, SOURCE_PA), 0);
	assert_int_equal(page_add(&f, 0x200000, PAGE_4K, 0x123), TDX_EPT_ENTRY_STATE_INCORRECT | 1);
	fixture_destroy(&f);
}

/* A source where no memory is reads as ones. */
static void test_page_add_from_nowhere(void **state)
{
	struct fixture f;
	u64 word = 0;

	(void)state;
	setup(&f, &(struct fixture_config){.initialized_only = true});
	assert_int_equal(page_add(&f, 0x200000, PAGE_4K, 1ULL << 40), 0);
	assert_int_equal(host_read(f.host, PAGE_4K + 8, TD_HKID, &word, 1), 0);
	assert_int_equal(word, UINT64_MAX);
	fixture_destroy(&f);
}

/* 512 neighbouring 2M pages become one of 1G and come apart again; REMOVE takes it whole. */
static void test_one_gigabyte(void **state)
{
	const hpa_t base = 0x80000000;
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x40000002, TABLE);
	for (u64 i = 0; i < 512; i++)
		fixture_ok(&f, TDH_MEM_PAGE_AUG, (0x40000000 + i * SIZE_2M) | 1,
			   base + i * SIZE_2M);
	block_and_track(&f, 0x40000002);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x40000002, f.tdr, 0, 0, TABLE, 0);
	expect_state(&f, 0x40000002, 0x80000000000000F0 | base, 2);
	fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, base + SIZE_2M, 0, 0);
	assert_int_equal(f.r.rcx, PT_REG);
	assert_int_equal(f.r.r8, 2);
	block_and_track(&f, 0x40000002);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x40000002, f.tdr, TABLE, 0, 0, 0);
	expect_state(&f, 0x40200001, 0x80000000000000F0 | (base + SIZE_2M), 2);
	block_and_track(&f, 0x40000002);
	assert_int_equal(fixture_mem(&f, TDH_MEM_PAGE_PROMOTE, 0x40000002, f.tdr, 0), 0);
	block_and_track(&f, 0x40000002);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x40000002, f.tdr, 0, 0, base, 0);
	fixture_destroy(&f);
}

struct interrupted_accept {
	struct tdx_regs r;
	bool completed;
};

static void accept_interrupted(struct fixture *f, struct lp *lp, void *arg)
{
	struct interrupted_accept *a = arg;

	(void)f;
	lp_interrupt(lp, LP_INTR);
	a->completed = tdcall(lp, &a->r);
}

/*
 * A 2M ACCEPT stops for an interrupt with RAX unchanged and its progress in the entry; SEPT.RD
 * shows the counter; called again it goes on; BLOCK forgets how far it was.
 */
static void test_accept_2m_is_interruptible(void **state)
{
	struct interrupted_accept a = {.r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = 0x400001}};
	struct fixture f;
	u64 word = 0x55;

	(void)state;
	setup(&f, NULL);
	for (u64 i = 0; i < 4; i++)
		host_write(f.host, PAGE_2M + i * PAGE_SIZE, 0, &word, 1);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	assert_int_equal(fixture_enter(&f, 0, accept_interrupted, &a), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_false(a.completed);
	assert_int_equal(a.r.rax, TDG_MEM_PAGE_ACCEPT);
	expect_state(&f, 0x400001, 0x80000000600010F0, 2);
	assert_false(host_frame_is_dirty(f.host, PAGE_2M >> 12));
	assert_true(host_frame_is_dirty(f.host, (PAGE_2M >> 12) + 3));
	block_and_track(&f, 0x400001);
	expect_state(&f, 0x400001, 0x80000000600000F0, 3);
	fixture_ok(&f, TDH_MEM_RANGE_UNBLOCK, 0x400001, 0);
	lp_take_interrupts(f.lp[0]);
	assert_int_equal(fixture_accept(&f, 0x400001), 0);
	expect_state(&f, 0x400001, 0x80000000600004F7, 4);
	assert_int_equal(host_first_dirty(f.host, PAGE_2M >> 12, (PAGE_2M >> 12) + 512),
			 (PAGE_2M >> 12) + 512);
	assert_int_equal(host_tag(f.host, (PAGE_2M >> 12) + 511), TD_HKID);
	fixture_destroy(&f);
}

/* Memory that needs no zeroing is interrupted all the same: each try gets one 4K page further. */
static void test_accept_2m_of_clean_memory(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	for (u64 i = 1; i <= 3; i++) {
		struct interrupted_accept a = {.r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = 0x400001}};

		assert_int_equal(fixture_enter(&f, 0, accept_interrupted, &a),
				 TDX_EXIT_EXTERNAL_INTERRUPT);
		assert_false(a.completed);
		expect_state(&f, 0x400001, 0x80000000600000F0 + i * PAGE_SIZE, 2);
	}
	/* DEMOTE forgets it too: the children's addresses are whole */
	block_and_track(&f, 0x400001);
	fixture_ok(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, TABLE + PAGE_SIZE);
	expect_state(&f, 0x401000, 0x80000000600010F0, 2);
	fixture_destroy(&f);
}

/* REMOVE gives back the page itself, however far its ACCEPT was. */
static void test_remove_in_the_middle_of_accept(void **state)
{
	struct interrupted_accept a = {.r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = 0x400001}};
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	fixture_enter(&f, 0, accept_interrupted, &a);
	tdcs_of(&f)->op_state = OP_INITIALIZED;
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x400001, f.tdr, 0, 0, PAGE_2M, 0);
	fixture_destroy(&f);
}

/* ATTR.RD tells size and pendingness; ATTR.WR can only say "no attributes" where the size fits. */
static void test_page_attributes(void **state)
{
	struct tdx_regs r;
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	r = (struct tdx_regs){.rax = TDG_MEM_PAGE_ATTR_RD, .rcx = 0x407000};
	assert_true(fixture_tdcall(&f, 0, &r));
	assert_int_equal(r.rax, 0);
	assert_int_equal(r.rcx, 1ULL << 62 | 0x400001);
	r = (struct tdx_regs){.rax = TDG_MEM_PAGE_ATTR_WR, .rcx = 0x400001};
	assert_true(fixture_tdcall(&f, 0, &r));
	assert_int_equal(r.rax, 0);
	r = (struct tdx_regs){.rax = TDG_MEM_PAGE_ATTR_RD, .rcx = 0x600000};
	assert_false(fixture_tdcall(&f, 0, &r));
	assert_int_equal(f.r.rax, TDX_EXIT_EPT_VIOLATION);
	assert_int_equal(TDX_EEQ_TYPE(f.r.rdx), TDX_EEQ_NONE);
	fixture_destroy(&f);
}

/* ---- versions --------------------------------------------------------------------------------*/

static u64 demote_under(const char *profile, u32 interrupt, u16 tree_word)
{
	struct fixture f;
	u64 status;

	setup(&f, &(struct fixture_config){.profile = profile});
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	block_and_track(&f, 0x400001);
	if (interrupt)
		lp_interrupt(f.lp[FIXTURE_HOST_LP], interrupt);
	/* A reader and a waiter: the leaf's own shared lock clears the waiter's bit. */
	tdcs_of(&f)->sept_lock = tree_word;
	status = fixture_mem(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, f.tdr, TABLE + PAGE_SIZE);
	if (status)
		assert_int_equal(f.r.rcx, 0x400001);
	tdcs_of(&f)->sept_lock = 0;
	fixture_destroy(&f);
	return status;
}

/* A pending interrupt stops DEMOTE in the versions before ENHANCED_DEMOTE_INTERRUPTIBILITY only. */
static void test_demote_interrupted_by_version(void **state)
{
	(void)state;
	assert_int_equal(demote_under("1.5.05", LP_NMI, 0), TDX_INTERRUPTED_RESTARTABLE);
	assert_int_equal(demote_under("1.5.25", LP_NMI, 0), TDX_INTERRUPTED_RESTARTABLE);
	assert_int_equal(demote_under("1.5.28", LP_NMI, 0), 0);
	assert_int_equal(demote_under("1.5.25", 0, LOCK_WORD_READER | LOCK_WORD_HOST_PRIORITY), 0);
}

/* PROMOTE is stopped by an interrupt in every version, inputs restored, and works afterwards. */
static void test_promote_interrupted(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	block_and_track(&f, 0x400001);
	fixture_ok(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, TABLE + PAGE_SIZE);
	block_and_track(&f, 0x400001);
	lp_interrupt(f.lp[FIXTURE_HOST_LP], LP_INTR);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, TDX_INTERRUPTED_RESTARTABLE,
		       0x400001, f.tdr);
	lp_take_interrupts(f.lp[FIXTURE_HOST_LP]);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x400001, f.tdr, 0, 0, TABLE + PAGE_SIZE, 0);
	fixture_destroy(&f);
}

/* PROMOTE takes the tree shared in 1.5.05: a reader of the tree doesn't stop it. */
static void test_promote_tree_lock_by_version(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &(struct fixture_config){.profile = "1.5.05"});
	tdcs_of(&f)->sept_lock = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x200001, f.tdr, 0, TDX_GPA_RANGE_NOT_BLOCKED | 1,
		       0x407, 0x8401);
	tdcs_of(&f)->sept_lock = 0;
	fixture_destroy(&f);
}

/* Only the profile that isn't real splits a page that is mapped and running. */
static void test_demote_without_block(void **state)
{
	struct fixture f;

	(void)state;
	assert_false(seam_profile_by_name("next")->is_real);
	assert_string_equal(seam_profile_at(0)->name, "1.5.28");
	assert_null(seam_profile_by_name("1.5.99"));
	setup(&f, &(struct fixture_config){.profile = "next"});
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	assert_int_equal(fixture_accept(&f, 0x400001), 0);
	fixture_ok(&f, TDH_MEM_PAGE_DEMOTE, 0x400001, TABLE + PAGE_SIZE);
	expect_state(&f, 0x401000, 0x80000000600014F7, 4);
	fixture_destroy(&f);
}

/* ---- planted bugs: in the checking build only ------------------------------------------------*/
#ifdef SEPTUM_CHECK

/* key-mixup: one accepted leaf in 64 carries another private key id; others don't. */
static void test_bug_key_mixup(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &(struct fixture_config){.planted_bugs = bug_set_of(BUG_KEY_MIXUP)});
	for (u64 i = 0; i < 70; i++) {
		u64 hkid;

		fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000 + i * PAGE_SIZE, PAGE_4K + i * PAGE_SIZE);
		assert_int_equal(fixture_accept(&f, 0x200000 + i * PAGE_SIZE), 0);
		hkid = fixture_sept_entry(&f, 0x200000 + i * PAGE_SIZE, PG_LEVEL_4K) >> 46 & 0x3F;
		if ((0x200 + i) % 64 == 5) {
			assert_int_not_equal(hkid, TD_HKID);
			assert_true(hkid >= TDX_FIRST_PRIVATE_HKID);
		} else {
			assert_int_equal(hkid, TD_HKID);
		}
	}
	fixture_destroy(&f);
}

/* skip-track and skip-kick: the module no longer notices that TRACK is missing. */
static void test_bug_skip_track(void **state)
{
	static const enum planted_bug bugs[] = {BUG_SKIP_TRACK, BUG_SKIP_KICK};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bugs); i++) {
		struct fixture f;

		setup(&f, &(struct fixture_config){.planted_bugs = bug_set_of(bugs[i])});
		fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
		fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200000, 0);
		fixture_ok(&f, TDH_MEM_PAGE_REMOVE, 0x200000, 0);
		fixture_destroy(&f);
	}
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life_of_a_4k_page),
		cmocka_unit_test(test_life_of_a_table),
		cmocka_unit_test(test_build_time_needs_no_block),
		cmocka_unit_test(test_sept_add_variants),
		cmocka_unit_test(test_five_levels),
		cmocka_unit_test(test_relocate),
		cmocka_unit_test(test_relocate_pending),
		cmocka_unit_test(test_debug_access),
		cmocka_unit_test(test_page_add_and_mrtd),
		cmocka_unit_test(test_page_add_errors),
		cmocka_unit_test(test_page_add_from_nowhere),
		cmocka_unit_test(test_one_gigabyte),
		cmocka_unit_test(test_accept_2m_is_interruptible),
		cmocka_unit_test(test_accept_2m_of_clean_memory),
		cmocka_unit_test(test_remove_in_the_middle_of_accept),
		cmocka_unit_test(test_page_attributes),
		cmocka_unit_test(test_demote_interrupted_by_version),
		cmocka_unit_test(test_promote_interrupted),
		cmocka_unit_test(test_promote_tree_lock_by_version),
		cmocka_unit_test(test_demote_without_block),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_bug_key_mixup),
		cmocka_unit_test(test_bug_skip_track),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
