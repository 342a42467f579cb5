/* SPDX-License-Identifier: MIT */
/* What a replay found: a table for people, an object (septum.run/1) for programs. */
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/run.h"

/* ---- JSON ------------------------------------------------------------------------------------*/
static json_t *number(u64 value)
{
	return json_integer((json_int_t)value);
}

static json_t *seconds(u64 ns)
{
	return json_real((double)ns / 1e9);
}

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

/* Events that options plan: a list for each option that was given. */
static void add_planned(json_t *policy, const struct run_config *cfg)
{
	char value[RUN_PLANNED_WORDS];
	const char *option;

	for (u32 i = 0; run_planned(cfg, i, &option, value, sizeof(value)); i++) {
		if (!json_object_get(policy, option))
			json_object_set_new(policy, option, json_array());
		json_array_append_new(json_object_get(policy, option), json_string(value));
	}
}

static json_t *json_policy(const struct run_config *cfg)
{
	json_t *policy =
		json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:b, s:s, s:s, s:s, s:s, s:s, s:s}",
			  "pages", run_page_word(cfg->pages), "memory",
			  (json_int_t)cfg->memory_bytes, "vcpus", (json_int_t)cfg->nr_vcpus,
			  "accept", run_accept_word(cfg->accept), "accept-level",
			  run_page_word(cfg->accept_level), "module", cfg->profile->name,
			  "module_is_real", cfg->profile->is_real, "dpamt",
			  on_off(cfg->dynamic_pamt), "promote", run_promote_word(cfg->promote),
			  "split-range", run_split_where_word(cfg->split_where), "split-metadata",
			  run_split_metadata_word(cfg->split_metadata), "demote-lock",
			  run_demote_lock_word(cfg->demote_lock), "time", "real");
	const char *option, *word;

	for (u32 i = 0; run_choice(cfg, i, &option, &word); i++)
		json_object_set_new(policy, option, json_string(word));
	if (run_is_hugetlb(cfg))
		json_object_set_new(policy, "pool", number(cfg->pool_pages));
	add_planned(policy, cfg);
	return policy;
}

struct json_row {
	const char *name;
	u64 value;
};

static json_t *json_rows(const struct json_row *rows, size_t n)
{
	json_t *object = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(object, rows[i].name, number(rows[i].value));
	return object;
}

static json_t *json_guest(const struct run_config *cfg, const struct trace *trace,
			  const struct run_result *res)
{
	const struct replay_stats *r = &res->replay;
	const struct json_row rows[] = {
		{"vcpus", cfg->nr_vcpus},
		{"memory_bytes", cfg->memory_bytes},
		{"accesses", r->accesses},
		{"pages_touched", trace->pages_touched},
		{"accepts_4k", r->accepts_4k},
		{"accepts_2m", r->accepts_2m},
		{"size_mismatches", r->size_mismatches},
		{"discards", r->discards},
		{"conversions_to_shared", res->vm.conversions_to_shared},
		{"conversions_to_private", res->vm.conversions_to_private},
		{"pages_to_shared", res->vm.pages_to_shared},
		{"pages_to_private", res->vm.pages_to_private},
		{"machine_checks", r->machine_checks},
		{"accesses_left_out", r->accesses_left_out},
	};

	return json_rows(rows, ARRAY_SIZE(rows));
}

static json_t *json_exits(const struct vm_stats *vm)
{
	const struct json_row rows[] = {
		{"ept_violation", vm->exits_ept_violation},
		{"accept_violation", vm->exits_accept_violation},
		{"map_gpa", vm->exits_map_gpa},
		{"total", vm->exits_total},
	};

	return json_rows(rows, ARRAY_SIZE(rows));
}

static json_t *json_mappings(const struct run_result *res)
{
	const struct json_row rows[] = {
		{"pages_4k", res->mmu.pages[PG_LEVEL_4K]},
		{"pages_2m", res->mmu.pages[PG_LEVEL_2M]},
		{"pages_1g", res->mmu.pages[PG_LEVEL_1G]},
		{"private_bytes", res->private_bytes},
		{"shared_bytes", res->shared_bytes},
	};

	return json_rows(rows, ARRAY_SIZE(rows));
}

static json_t *json_mmu(const struct mmu_stats *mmu)
{
	const struct json_row rows[] = {
		{"faults_fixed", mmu->faults_fixed},
		{"faults_retry", mmu->faults_retry},
		{"faults_spurious", mmu->faults_spurious},
		{"splits", mmu->splits},
		{"split_entries_visited", mmu->split_entries_visited},
		{"promotes", mmu->promotes},
		{"zaps", mmu->zaps},
	};

	return json_rows(rows, ARRAY_SIZE(rows));
}

static json_t *json_seamcalls(const struct run_result *res)
{
	json_t *rows = json_object();

	for (u32 i = 0; i < res->nr_leaves; i++) {
		const struct tdx_leaf_stats *s = &res->leaves[i].stats;

		json_object_set_new(rows, res->leaves[i].name,
				    json_pack("{s:o, s:o, s:o, s:o}", "calls", number(s->calls),
					      "ok", number(s->ok), "busy", number(s->busy),
					      "errors", number(s->errors)));
	}
	return rows;
}

static json_t *json_pool(const struct hugetlb_stats *pool)
{
	const struct json_row rows[] = {
		{"page_size_bytes", level_size(pool->level)},
		{"total", pool->total},
		{"free", pool->free},
		{"reserved", pool->reserved},
		{"in_use", pool->total - pool->free - pool->broken},
		{"broken", pool->broken},
		{"vmemmap_restored", pool->vmemmap_restored},
	};

	return json_rows(rows, ARRAY_SIZE(rows));
}

static void add_folios(json_t *memory, const struct gmem_stats *file)
{
	const struct json_row rows[] = {
		{"folio_splits", file->folio_splits},	  {"folio_merges", file->folio_merges},
		{"folios_4k", file->folios[PG_LEVEL_4K]}, {"folios_2m", file->folios[PG_LEVEL_2M]},
		{"folios_1g", file->folios[PG_LEVEL_1G]}, {"pages_failed", file->failed_pages},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		json_object_set_new(memory, rows[i].name, number(rows[i].value));
}

static json_t *json_memory(const struct run_config *cfg, const struct run_result *res)
{
	json_t *memory =
		json_pack("{s:o, s:o, s:o}", "mirror_table_pages", number(res->mmu.mirror_tables),
			  "sept_table_pages", number(res->sept_table_pages), "pamt_static_bytes",
			  number(res->pamt_static_bytes));

	if (cfg->dynamic_pamt)
		json_object_set_new(memory, "dpamt_pages", number(res->dpamt_pages));
	add_folios(memory, &res->file);
	if (run_is_hugetlb(cfg)) {
		json_object_set_new(memory, "vmemmap_saved_bytes",
				    number(res->pool.vmemmap_saved_bytes));
		json_object_set_new(memory, "hugetlb_pool", json_pool(&res->pool));
	}
	return memory;
}

static json_t *json_outcome(const struct run_result *res)
{
	json_t *outcome =
		json_pack("{s:b, s:o, s:o}", "good", run_is_good(res), "frames_leaked",
			  number(res->frames_leaked), "pamt_leaked", number(res->pamt_leaked));

	if (res->dead[0])
		json_object_set_new(outcome, "vm_dead", json_string(res->dead));
	if (res->invariant[0])
		json_object_set_new(outcome, "invariant", json_string(res->invariant));
	if (res->warnings) {
		json_object_set_new(outcome, "warnings", number(res->warnings));
		json_object_set_new(outcome, "first_warning", json_string(res->first_warning));
	}
	return outcome;
}

json_t *run_json(const struct run_config *cfg, const struct trace *trace,
		 const struct run_result *res)
{
	const struct replay_stats *r = &res->replay;
	json_t *root = json_object();

	json_object_set_new(root, "schema", json_string("septum.run/1"));
	json_object_set_new(root, "input", json_string(cfg->input));
	json_object_set_new(root, "seed", number(cfg->seed));
	json_object_set_new(root, "policy", json_policy(cfg));
	json_object_set_new(root, "guest", json_guest(cfg, trace, res));
	json_object_set_new(root, "exits", json_exits(&res->vm));
	json_object_set_new(root, "mappings", json_mappings(res));
	json_object_set_new(root, "mmu", json_mmu(&res->mmu));
	json_object_set_new(root, "seamcalls", json_seamcalls(res));
	json_object_set_new(root, "memory", json_memory(cfg, res));
	json_object_set_new(root, "integrity",
			    json_pack("{s:o, s:o}", "checks", number(r->checks), "errors",
				      number(r->errors)));
	json_object_set_new(root, "outcome", json_outcome(res));
	json_object_set_new(root, "time",
			    json_pack("{s:o, s:o, s:o, s:o}", "wall_seconds", seconds(res->wall_ns),
				      "mmu_and_module_seconds", seconds(res->mmu_and_module_ns),
				      "zeroing_seconds",
				      seconds(res->zeroing_ns + res->first_touch_ns),
				      "first_touch_seconds", seconds(res->first_touch_ns)));
	return root;
}

/* ---- the table -------------------------------------------------------------------------------*/
/* 1234567 as "1,234,567". */
static const char *grouped(u64 value, char *buf, size_t size)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, value);
	size_t out = 0;

	for (int i = 0; i < n && out + 2 < size; i++) {
		if (i && (n - i) % 3 == 0)
			buf[out++] = ',';
		buf[out++] = digits[i];
	}
	buf[out] = '\0';
	return buf;
}

static u64 leaf_ok(const struct run_result *res, unsigned int leaf)
{
	for (u32 i = 0; i < res->nr_leaves; i++)
		if (!strcmp(res->leaves[i].name, tdh_leaf_name(leaf)))
			return res->leaves[i].stats.ok;
	return 0;
}

static u64 violations(const struct run_result *res)
{
	return res->vm.exits_ept_violation;
}

static u64 augs(const struct run_result *res)
{
	return leaf_ok(res, TDH_MEM_PAGE_AUG);
}

static u64 accepts_4k(const struct run_result *res)
{
	return res->replay.accepts_4k;
}

static u64 accepts_2m(const struct run_result *res)
{
	return res->replay.accepts_2m;
}

static u64 leaves_4k(const struct run_result *res)
{
	return res->mmu.pages[PG_LEVEL_4K];
}

static u64 leaves_2m(const struct run_result *res)
{
	return res->mmu.pages[PG_LEVEL_2M];
}

static u64 leaves_1g(const struct run_result *res)
{
	return res->mmu.pages[PG_LEVEL_1G];
}

static u64 folio_splits(const struct run_result *res)
{
	return res->file.folio_splits;
}

static u64 machine_checks(const struct run_result *res)
{
	return res->replay.machine_checks;
}

static u64 pages_failed(const struct run_result *res)
{
	return res->file.failed_pages;
}

static u64 vmemmap_saved(const struct run_result *res)
{
	return res->pool.vmemmap_saved_bytes / PAGE_SIZE;
}

static u64 splits(const struct run_result *res)
{
	return res->mmu.splits;
}

static u64 promotes(const struct run_result *res)
{
	return res->mmu.promotes;
}

static u64 conversions(const struct run_result *res)
{
	return res->vm.conversions_to_shared + res->vm.conversions_to_private;
}

static u64 sept_tables(const struct run_result *res)
{
	return res->sept_table_pages;
}

static u64 dpamt_pages(const struct run_result *res)
{
	return res->dpamt_pages;
}

static u64 mmu_and_module(const struct run_result *res)
{
	return res->mmu_and_module_ns;
}

static u64 first_touch(const struct run_result *res)
{
	return res->first_touch_ns;
}

static u64 wall(const struct run_result *res)
{
	return res->wall_ns;
}

static u64 checks(const struct run_result *res)
{
	return res->replay.checks;
}

static u64 errors(const struct run_result *res)
{
	return res->replay.errors;
}

static const struct report_row {
	const char *label;
	u64 (*value)(const struct run_result *res);
	bool is_ns;
	const char *note;
	bool is_optional; /* says nothing where it is 0 */
} report_rows[] = {
	{"EPT-violation exits", violations, false, "", false},
	{"TDH.MEM.PAGE.AUG, successful", augs, false, "", false},
	{"accepts at 4K", accepts_4k, false, "by the guest", false},
	{"accepts at 2M", accepts_2m, false, "by the guest", false},
	{"leaves of 4K at the end", leaves_4k, false, "", false},
	{"leaves of 2M at the end", leaves_2m, false, "", false},
	{"leaves of 1G at the end", leaves_1g, false, "", true},
	{"conversions", conversions, false, "MapGPA", true},
	{"huge leaves split", splits, false, "", true},
	{"huge leaves put back", promotes, false, "", true},
	{"huge pages in several folios", folio_splits, false, "so often were they taken apart",
	 true},
	{"pages whose memory failed", pages_failed, false, "", true},
	{"machine checks", machine_checks, false, "taken by the guest", true},
	{"descriptor pages saved", vmemmap_saved, false, "HugeTLB vmemmap optimisation", true},
	{"S-EPT table pages", sept_tables, false, "and as many in the mirror, and the root", false},
	{"Dynamic PAMT pages", dpamt_pages, false, "8 KiB for each 2M range in use at 4K", false},
	{"MMU and module", mmu_and_module, true, "exit to entry, and ACCEPT; all vCPUs", false},
	{"first touch of host memory", first_touch, true, "the same work on any host; all vCPUs",
	 false},
	{"wall", wall, true, "", false},
	{"reads checked", checks, false, "each read that follows a write", false},
	{"integrity errors", errors, false, "", false},
};

/* What not every run has. */
static bool is_left_out(const struct report_row *row, const struct run_config *cfg,
			const struct run_result *results, u32 n)
{
	if (row->value == dpamt_pages)
		return !cfg->dynamic_pamt;
	if (!row->is_optional)
		return false;
	for (u32 i = 0; i < n; i++)
		if (row->value(&results[i]))
			return false;
	return true;
}

static const char *level_word(enum pg_level level)
{
	return level == PG_LEVEL_1G ? "1G" : level == PG_LEVEL_2M ? "2M" : "4K";
}

static void table(FILE *out, const struct run_config *cfg, const struct run_result *results, u32 n)
{
	char buf[32];

	fprintf(out, "  %-30s", "private memory mapped at");
	if (n == 1)
		fprintf(out, "%14s", level_word(cfg->pages));
	else
		fprintf(out, "%14s%14s", "4K", "2M");
	fputc('\n', out);
	for (size_t r = 0; r < ARRAY_SIZE(report_rows); r++) {
		const struct report_row *row = &report_rows[r];

		if (is_left_out(row, cfg, results, n))
			continue;
		fprintf(out, "  %-30s", row->label);
		for (u32 i = 0; i < n; i++)
			if (row->is_ns)
				fprintf(out, "%11.1f ms", (double)row->value(&results[i]) / 1e6);
			else
				fprintf(out, "%14s",
					grouped(row->value(&results[i]), buf, sizeof(buf)));
		fprintf(out, "%s%s\n", *row->note ? "   " : "", row->note);
	}
}

/* MMU and module, as a share of the replay's wall time on all vCPUs. */
static double share(const struct run_config *cfg, const struct run_result *res)
{
	double total = (double)res->wall_ns * (double)cfg->nr_vcpus;

	return total > 0 ? 100.0 * (double)res->mmu_and_module_ns / total : 0;
}

static double ratio(u64 a, u64 b)
{
	return (double)a / (double)max_u64(b, 1);
}

static void what_it_means(FILE *out, const struct run_config *cfg, const struct run_result *results,
			  u32 n)
{
	if (n == 2)
		fprintf(out,
			"2M mappings: %.0f times fewer exits, %.0f times less time in MMU and "
			"module "
			"(%.1f%% of vCPU time, then %.2f%%), %.0f times fewer table pages.\n",
			ratio(results[0].vm.exits_ept_violation, results[1].vm.exits_ept_violation),
			ratio(results[0].mmu_and_module_ns, results[1].mmu_and_module_ns),
			share(cfg, &results[0]), share(cfg, &results[1]),
			ratio(results[0].sept_table_pages, results[1].sept_table_pages));
	else
		fprintf(out,
			"MMU and module took %.2f%% of the vCPUs' time, first touch of host memory "
			"%.1f%%.\n",
			share(cfg, results),
			100.0 * ratio(results->first_touch_ns, results->wall_ns * cfg->nr_vcpus));
}

static void what_went_wrong(FILE *out, const struct run_result *res)
{
	char buf[32];

	if (res->dead[0])
		fprintf(out, "WRONG: the VM died: %s\n", res->dead);
	if (res->invariant[0])
		fprintf(out, "WRONG: when all was quiet, %s\n", res->invariant);
	if (res->replay.errors)
		fprintf(out, "WRONG: %s reads found something else than what was written\n",
			grouped(res->replay.errors, buf, sizeof(buf)));
	if (res->replay.discards_refused)
		fprintf(out, "WRONG: %s discards were refused by the host\n",
			grouped(res->replay.discards_refused, buf, sizeof(buf)));
	if (res->replay.conversions_refused)
		fprintf(out, "WRONG: %s conversions were refused by the host\n",
			grouped(res->replay.conversions_refused, buf, sizeof(buf)));
	if (res->warnings)
		fprintf(out, "warning: %s (%s in all)\n", res->first_warning,
			grouped(res->warnings, buf, sizeof(buf)));
	if (res->frames_leaked)
		fprintf(out, "WRONG: %s host frames are still in use after teardown\n",
			grouped(res->frames_leaked, buf, sizeof(buf)));
	if (res->pamt_leaked)
		fprintf(out, "WRONG: %s pages aren't PT_NDA after teardown\n",
			grouped(res->pamt_leaked, buf, sizeof(buf)));
}

void run_report(FILE *out, const struct run_config *cfg, const struct trace *trace,
		const struct run_result *results, u32 n)
{
	const char *option, *backing;
	char accesses[32], pages[32];

	/* The first choice. */
	run_choice(cfg, 0, &option, &backing);
	fprintf(out, "%s: %s accesses of %u vCPUs to %s pages, in a TD of %" PRIu64 " MiB\n",
		cfg->input, grouped(trace->nr_events, accesses, sizeof(accesses)), cfg->nr_vcpus,
		grouped(trace->pages_touched, pages, sizeof(pages)), cfg->memory_bytes >> 20);
	fprintf(out, "module %s%s, Dynamic PAMT %s, backing %s, accept %s at %s\n\n",
		cfg->profile->name, cfg->profile->is_real ? "" : " (not a real module)",
		on_off(cfg->dynamic_pamt), backing, run_accept_word(cfg->accept),
		n == 2 ? "the mapping's size" : run_page_word(cfg->accept_level));
	table(out, cfg, results, n);
	fputc('\n', out);
	what_it_means(out, cfg, results, n);
	for (u32 i = 0; i < n; i++)
		what_went_wrong(out, &results[i]);
}
