/* SPDX-License-Identifier: MIT */
/* Page tables for the tests of cpu, written entry by entry, as their owners would. */
#ifndef TESTS_CPU_TABLES_H
#define TESTS_CPU_TABLES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu/lp.h"

#define KEY 33
/* Where the hardware has the key id in an address: bits 51:46. */
#define KEY_BITS ((u64)KEY << 46)
#define RWX 7ULL
#define LEAF 0x80ULL

/* A host with one LP whose context has an empty S-EPT and an empty shared EPT. */
struct world {
	struct host *host;
	struct lp *lp;
};

static inline pfn_t new_frame(struct host *host, enum pg_level level)
{
	pfn_t pfn;

	assert_int_equal(host_alloc(host, level, FRAME_OTHER, &pfn), 0);
	return pfn;
}

static inline struct world make_world(u32 levels, u32 shared_bit, struct bug_set planted_bugs)
{
	struct host_config cfg = {
		.memory_bytes = 8 * SIZE_1G, .lps = 2, .planted_bugs = planted_bugs};
	struct world w;

	assert_int_equal(host_create(&cfg, &w.host), 0);
	assert_int_equal(lp_create(w.host, 0, &w.lp), 0);
	new_frame(w.host,
		  PG_LEVEL_1G); /* frame 0 is nobody's: a bare 0 must not pass for a table */
	w.lp->ept = (struct ept_context){
		.asid = 1,
		.sept_root = fn_to_addr(new_frame(w.host, PG_LEVEL_4K)),
		.shared_root = fn_to_addr(new_frame(w.host, PG_LEVEL_4K)),
		.levels = levels,
		.shared_bit = shared_bit,
		.hkid = KEY,
	};
	return w;
}

static inline void end_world(struct world *w)
{
	lp_destroy(w->lp);
	host_destroy(w->host);
}

static inline bool is_shared_gpa(const struct world *w, gpa_t gpa)
{
	return gpa >> w->lp->ept.shared_bit & 1;
}

/* The entry of @gpa at @level; missing tables above it are made. */
static inline u64 *entry_of(struct world *w, gpa_t gpa, int level)
{
	bool shared = is_shared_gpa(w, gpa);
	hpa_t table = shared ? w->lp->ept.shared_root : w->lp->ept.sept_root;

	for (int l = (int)w->lp->ept.levels;; l--) {
		u64 *entry = (u64 *)host_ptr(w->host, table) + (gpa >> (12 + 9 * (l - 1)) & 511);

		if (l == level)
			return entry;
		if (!*entry)
			*entry = fn_to_addr(new_frame(w->host, PG_LEVEL_4K)) | RWX |
				 (shared ? 0 : KEY_BITS);
		table = *entry & 0x00003FFFFFFFF000ULL;
	}
}

/* Maps the block of @level at @gpa to @pfn with access bits @rwx. */
static inline void map(struct world *w, gpa_t gpa, int level, pfn_t pfn, u64 rwx)
{
	*entry_of(w, gpa, level) =
		fn_to_addr(pfn) | rwx | LEAF | (is_shared_gpa(w, gpa) ? 0 : KEY_BITS);
}

#endif
