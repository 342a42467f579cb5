/* SPDX-License-Identifier: MIT */
/*
 * bench/debates: what the files of docs/debates.md share. A file a question: it makes what it
 * measures, prints its tables, and says in one line what follows from them.
 *
 * A count is exact and the same in every run, or it stands behind a "~", as every time does: then it
 * is of the machine and the run that wrote the page.
 */
#ifndef BENCH_DEBATES_H
#define BENCH_DEBATES_H

#include <stdio.h>

#include "bench/guest.h"
#include "vm/vm.h"

#define DEBATE_SAMPLES 64

/* Times of one kind. */
struct debate_times {
	double us[DEBATE_SAMPLES];
	u32 nr; /* what comes when it is full isn't kept */
};

void debate_note(struct debate_times *t, u64 ns);
double debate_median(struct debate_times *t);

/** debate_floor_us - @atomics read-modify-writes and @stores, @loads: a loop, the median of some */
double debate_floor_us(u32 atomics, u32 stores, u64 loads);

/* What a split of a 2M leaf can't do without: as benchmark split-2m has it. */
#define DEBATE_SPLIT_ATOMICS 58
#define DEBATE_SPLIT_STORES 2063

/* ---- a TD whose memory a host thread maps and splits (debates_td.c) ---------------------------*/
struct debate_td_config {
	const char *profile;
	bool dynamic_pamt;
	u32 nr_vms;
	u32 lps; /* for vCPUs and other threads; the calling thread has one more */
	u64 host_bytes;
	/* memory_bytes, nr_vcpus and policies; max_level unless it is 2M; the rest is filled in */
	struct vm_config vm;
};

#define DEBATE_VMS 2

struct debate_td {
	struct machine m;
	struct vm *vm[DEBATE_VMS]; /* vCPU i of VM v is on LP v * nr_vcpus + i */
	u32 nr_vms;
	bool is_up;
};

/** debate_td_machine - the machine alone; then debate_td_vms(). Return: 0 or -errno */
int debate_td_machine(struct debate_td *t, const struct debate_td_config *cfg);
int debate_td_vms(struct debate_td *t, const struct debate_td_config *cfg);
static inline int debate_td_up(struct debate_td *t, const struct debate_td_config *cfg)
{
	int err = debate_td_machine(t, cfg);

	return err ? err : debate_td_vms(t, cfg);
}
void debate_td_down(struct debate_td *t);

/** debate_map - what a fault of @vm's would map; false if that isn't what happened */
bool debate_map(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, enum pg_level level);
/** debate_map_pfn - likewise, to a frame of the caller's */
bool debate_map_pfn(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, pfn_t pfn,
		    enum pg_level level);
/** debate_split - under the write lock, to 4K; or under the read lock, and @retries grows */
bool debate_split(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, bool shared,
		  u64 *retries);

bool debate_promote(struct vm *vm, gfn_t gfn);
/**
 * debate_warm_up - split, as debate_split(), and promote the first @nr blocks of @vm
 *
 * What comes after finds the memory that it needs touched, and the code warm.
 */
bool debate_warm_up(struct vm *vm, struct mmu_vcpu_cache *cache, u32 nr, bool shared);

/* Times of the calls that a thread makes: lp->guest of an LP that runs no guest leads here. */
enum debate_part {
	PART_BLOCK,
	PART_TRACK,
	PART_WAIT, /* between calls: for vCPUs to leave, and for a lock */
	PART_DEMOTE,
	DEBATE_PARTS,
};

struct debate_calls {
	u64 ns[DEBATE_PARTS];
	u64 last_end;	/* of a TRACK or a DEMOTE; 0: none yet in this split */
	u32 busy_first; /* so many DEMOTEs of each split are answered BUSY, and not made */
	u32 demotes;	/* of this split */
};

/** debate_timed_seamcall - for machine_config.seamcall */
u64 debate_timed_seamcall(struct lp *lp, struct tdx_regs *r);

/* ---- a TD on a pool of huge pages (debates_file.c) --------------------------------------------*/
struct debate_file {
	struct debate_td td;
	struct hugetlb_pool *pool;
	struct gmem_file *file;
	struct bench_guest guest;
	u64 nr_pages;
};

struct debate_file_config {
	enum pg_level page;	 /* of the pool: 2M or 1G */
	u64 huge_pages;		 /* of the TD, all of the pool */
	struct gmem_config file; /* policies; the rest is filled in */
	enum vm_mapping_check check;
	enum vm_promote promote;
	bool dense; /* descriptors aren't optimised away */
};

/** debate_file_up - made, with all memory accepted, mapped as large as it can be */
int debate_file_up(struct debate_file *d, const struct debate_file_config *cfg);
void debate_file_down(struct debate_file *d);

const char *debate_folio_split_word(enum gmem_folio_split split);
const char *debate_restructure_word(enum gmem_restructure restructure);
const char *debate_order_word(enum gmem_convert_order order);
const char *debate_check_word(enum vm_mapping_check check);
const char *debate_form_word(enum gmem_mapping_form form);

/* ---- the questions ---------------------------------------------------------------------------*/
int debate_folio(FILE *out);	   /* 001: debates_folio.c */
int debate_loss(FILE *out);	   /* 001: debates_loss.c */
int debate_mapping(FILE *out);	   /* 001: debates_mapping.c */
int debate_split_lock(FILE *out);  /* 004: debates_lock.c */
int debate_interrupts(FILE *out);  /* 004: debates_interrupts.c */
int debate_cache(FILE *out);	   /* 002: debates_cache.c */
int debate_contention(FILE *out);  /* 002: debates_contention.c */
int debate_demote_lock(FILE *out); /* debates_pamt_lock.c */

#endif
