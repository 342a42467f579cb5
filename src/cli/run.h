/* SPDX-License-Identifier: MIT */
/*
 * `septum run`: its choices, and what one replay found. Options fill a struct run_config, run_exec
 * turns it into a struct run_result, run_report prints that for people and as JSON.
 */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <jansson.h>

#include "guest/replay.h"
#include "vm/vm.h"

#define RUN_MAX_DISCARDS 64
#define RUN_MAX_CONVERSIONS 64
#define RUN_MAX_FAILURES 64

#define RUN_MAX_MEMORY (16 * 1024 * SIZE_1G)

enum run_vmemmap { RUN_VMEMMAP_UNSAID, RUN_VMEMMAP_ON, RUN_VMEMMAP_OFF };

struct run_config {
	const char *input;
	enum pg_level pages;	    /* largest private mapping allowed */
	enum pg_level accept_level; /* PG_LEVEL_NONE: as pages */
	enum accept_mode accept;
	struct gmem_config file; /* the choices; its size and pool are a run's */
	enum vm_mapping_check mapping_check;
	enum run_vmemmap vmemmap;
	const char *pool_word; /* --pool; NULL: what memory needs */
	u64 pool_pages;	       /* from run_plan_memory() on */
	const struct seam_profile *profile;
	bool dynamic_pamt, dynamic_pamt_chosen;
	u64 memory_bytes; /* 0: from the input */
	u32 nr_vcpus;	  /* 0: from the input */
	u64 seed;
	bool compare; /* 4K beside 2M */
	struct replay_discard discards[RUN_MAX_DISCARDS];
	u32 nr_discards;
	struct replay_conversion conversions[RUN_MAX_CONVERSIONS];
	u32 nr_conversions;
	struct replay_failure failures[RUN_MAX_FAILURES];
	u32 nr_failures;
	enum vm_promote promote;
	enum mmu_split_where split_where;
	enum mmu_split_metadata split_metadata;
	enum td_demote_lock demote_lock;
	struct bug_set planted_bugs;
	const char *json;   /* NULL: none */
	const char *events; /* likewise */
};

struct run_leaf {
	const char *name;
	struct tdx_leaf_stats stats;
};

#define RUN_MAX_LEAVES 64

struct run_result {
	struct replay_stats replay;
	struct vm_stats vm;
	struct mmu_stats mmu; /* at the end of the guest's run, before teardown */
	struct run_leaf leaves[RUN_MAX_LEAVES];
	u32 nr_leaves;
	u64 private_bytes, shared_bytes;
	struct gmem_stats file;	   /* at the end of the guest's run, as is */
	struct hugetlb_stats pool; /* of a HugeTLB backing */
	u64 sept_table_pages, pamt_static_bytes, dpamt_pages;
	u64 wall_ns, zeroing_ns, first_touch_ns, mmu_and_module_ns;
	/* what teardown left behind: all 0 */
	u64 frames_leaked, pamt_leaked;
	char dead[160]; /* why the VM died; empty if it lived */
	/* What of check/invariants.h was broken at the guest's end; or empty. */
	char invariant[160];
	/* Of what shouldn't have happened, and was refused or made good; atomic. */
	u64 warnings;
	char first_warning[160];
	int events_error; /* -errno: the event stream isn't whole */
};

/** run_parse - Return: 0; an exit status after its complaint; -1 after --help */
int run_parse(int argc, char **argv, struct run_config *cfg);
#define RUN_PLANNED_WORDS 96
/**
 * run_planned - option (without its dashes) and value of planned event number @i, of all kinds
 *
 * @size: of @value, at least RUN_PLANNED_WORDS. Return: false past the last one.
 */
bool run_planned(const struct run_config *cfg, u32 i, const char **option, char *value,
		 size_t size);
/** run_plan_for_bugs - give a run with a bug in the removal path something to remove */
void run_plan_for_bugs(struct run_config *cfg, const struct trace *trace);

const char *run_page_word(enum pg_level level);
const char *run_accept_word(enum accept_mode mode);
const char *run_promote_word(enum vm_promote promote);
const char *run_split_where_word(enum mmu_split_where where);
const char *run_split_metadata_word(enum mmu_split_metadata metadata);
const char *run_demote_lock_word(enum td_demote_lock lock);

/* ---- memory: what its file is made of, and how that behaves (run_memory*.c) ---------------------*/
/** run_is_hugetlb - memory comes from a pool of huge pages, whose size is run_pool_level() */
static inline bool run_is_hugetlb(const struct run_config *cfg)
{
	return cfg->file.backing == GMEM_HUGETLB_2M || cfg->file.backing == GMEM_HUGETLB_1G;
}

static inline enum pg_level run_pool_level(const struct run_config *cfg)
{
	return cfg->file.backing == GMEM_HUGETLB_1G ? PG_LEVEL_1G : PG_LEVEL_2M;
}

/* A word of an option, and the value that it stands for. */
struct run_word {
	const char *word; /* NULL after the last one */
	int value;
};

/** run_bad_word - complains of @value, and lists the words that would do; an exit status */
int run_bad_word(const char *option, const char *value, const struct run_word *words);
/* Each takes the value of its option. Return: 0, or an exit status after a complaint. */
int run_parse_choice(const char *option, const char *value, struct run_config *cfg);
int run_parse_failed_alloc(const char *value, struct run_config *cfg);
int run_parse_failure(const char *value, struct run_config *cfg);
int run_parse_pool(const char *value, struct run_config *cfg);
/** run_choice - option (without its dashes) and word of choice number @i; false past the last one */
bool run_choice(const struct run_config *cfg, u32 i, const char **option, const char **word);
/** run_check_choices - what can't be had together; 0, or an exit status after its complaint */
int run_check_choices(const struct run_config *cfg);
/** run_plan_memory - memory_bytes is known: the pool that it needs; likewise */
int run_plan_memory(struct run_config *cfg);
/** run_machine_bytes - host memory that a run needs */
u64 run_machine_bytes(const struct run_config *cfg);

/* A run's file, and the pool that it comes from (NULL without HugeTLB backing). */
struct run_memory {
	struct hugetlb_pool *pool;
	struct gmem_file *file;
};

/** run_memory_create - Return: 0; -ENOMEM */
int run_memory_create(const struct run_config *cfg, struct host *host, struct run_memory *mem);
/** run_memory_destroy - nothing is bound any more */
void run_memory_destroy(struct run_memory *mem);
/* Where run_fail() makes things fail; the VM has one slot. */
struct run_memory_failing {
	struct host *host;
	struct vm *vm;
};

/** run_fail - replay_config.fail; @ctx: struct run_memory_failing */
struct replay_loss run_fail(void *ctx, const struct replay_failure *failure);

/**
 * run_execute - one replay, from an empty host to an empty host
 *
 * Return: 0 (look into @result for what went wrong in it), or an exit status after its complaint.
 */
int run_execute(const struct run_config *cfg, const struct trace *trace, struct run_result *result);
/** run_is_good - nothing wrong: no integrity error, VM alive and sound to the end, nothing left behind */
bool run_is_good(const struct run_result *result);

json_t *run_json(const struct run_config *cfg, const struct trace *trace,
		 const struct run_result *result);
/** run_report - the table for people: @n results side by side, and one line on what it means */
void run_report(FILE *out, const struct run_config *cfg, const struct trace *trace,
		const struct run_result *result, u32 n);

#endif
