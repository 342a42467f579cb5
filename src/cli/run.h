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

struct run_config {
	const char *input;
	enum pg_level pages;	    /* largest private mapping allowed */
	enum pg_level accept_level; /* PG_LEVEL_NONE: as pages */
	enum accept_mode accept;
	enum gmem_backing backing;
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
	enum vm_promote promote;
	enum mmu_split_where split_where;
	enum mmu_split_metadata split_metadata;
	enum td_demote_lock demote_lock;
	u64 planted_bugs;
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
/** run_plan_for_bugs - give a run with a bug in the removal path something to remove */
void run_plan_for_bugs(struct run_config *cfg, const struct trace *trace);

const char *run_page_word(enum pg_level level);
const char *run_accept_word(enum accept_mode mode);
const char *run_backing_word(enum gmem_backing backing);
const char *run_promote_word(enum vm_promote promote);
const char *run_split_where_word(enum mmu_split_where where);
const char *run_split_metadata_word(enum mmu_split_metadata metadata);
const char *run_demote_lock_word(enum td_demote_lock lock);

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
