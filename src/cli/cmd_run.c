/* SPDX-License-Identifier: MIT */
/* `septum run`: reads the trace, replays it once or at both sizes, prints. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/run.h"
#include "script/trace_read.h"

#define DEFAULT_MEMORY_STEP (128ULL << 20)

/* Traces name gfns and vCPUs; what the command line leaves open comes from there. */
static int load(struct run_config *cfg, struct trace **trace)
{
	struct trace_limits limits = {.memory_bytes = cfg->memory_bytes, .nr_vcpus = cfg->nr_vcpus};
	char why[256];
	int err = trace_read(cfg->input, &limits, trace, why, sizeof(why));

	if (err == -ENOMEM)
		return cli_error(EXIT_CANT_RUN, "run: %s: out of memory", cfg->input);
	if (err)
		return cli_error(EXIT_BAD_USE, "run: %s", why);
	if (!cfg->memory_bytes)
		cfg->memory_bytes =
			ALIGN_UP(fn_to_addr((*trace)->max_gfn + 1), DEFAULT_MEMORY_STEP);
	if (!cfg->nr_vcpus)
		cfg->nr_vcpus = (*trace)->nr_vcpus;
	return 0;
}

static int check_range(const char *option, u64 gpa, u64 size, u64 event,
		       const struct run_config *cfg, const struct trace *trace)
{
	if (size > cfg->memory_bytes || gpa > cfg->memory_bytes - size)
		return cli_error(EXIT_BAD_USE,
				 "run: %s 0x%" PRIx64 ":%" PRIu64
				 ": outside memory, which ends at 0x%" PRIx64,
				 option, gpa, size, cfg->memory_bytes);
	if (event > trace->nr_events)
		return cli_error(EXIT_BAD_USE,
				 "run: %s ...@%" PRIu64 ": the trace has %" PRIu64 " events",
				 option, event, trace->nr_events);
	return 0;
}

static const char *conversion_option(const struct replay_conversion *c)
{
	return c->to_private ? "--unshare" : "--share";
}

static int check_ranges(const struct run_config *cfg, const struct trace *trace)
{
	int status = 0;

	for (u32 i = 0; i < cfg->nr_discards && !status; i++) {
		const struct replay_discard *d = &cfg->discards[i];

		status = check_range("--discard", d->gpa, d->size, d->event, cfg, trace);
	}
	for (u32 i = 0; i < cfg->nr_conversions && !status; i++) {
		const struct replay_conversion *c = &cfg->conversions[i];

		status = check_range(conversion_option(c), c->gpa, c->size, c->event, cfg, trace);
	}
	for (u32 i = 0; i < cfg->nr_failures && !status; i++) {
		const struct replay_failure *f = &cfg->failures[i];

		status = check_range("--fail", ALIGN_DOWN(f->gpa, SIZE_4K), SIZE_4K, f->event, cfg,
				     trace);
	}
	return status;
}

/* The one line that reproduces a failed run. */
static void print_reproducer(const struct run_config *cfg)
{
	const char *option, *word;
	char value[RUN_PLANNED_WORDS];

	fprintf(stderr,
		"to reproduce: septum run %s --pages %s --accept %s --accept-level %s --module %s "
		"--dpamt %s --promote %s --split-range %s --split-metadata %s "
		"--demote-lock %s --memory %" PRIu64 " --vcpus %u --seed %" PRIu64,
		cfg->input, run_page_word(cfg->pages), run_accept_word(cfg->accept),
		run_page_word(cfg->accept_level), cfg->profile->name,
		cfg->dynamic_pamt ? "on" : "off", run_promote_word(cfg->promote),
		run_split_where_word(cfg->split_where),
		run_split_metadata_word(cfg->split_metadata),
		run_demote_lock_word(cfg->demote_lock), cfg->memory_bytes, cfg->nr_vcpus,
		cfg->seed);
	for (u32 i = 0; run_choice(cfg, i, &option, &word); i++)
		fprintf(stderr, " --%s %s", option, word);
	if (run_is_hugetlb(cfg))
		fprintf(stderr, " --pool %" PRIu64, cfg->pool_pages);
	for (u32 i = 0; run_planned(cfg, i, &option, value, sizeof(value)); i++)
		fprintf(stderr, " --%s %s", option, value);
#ifdef SEPTUM_CHECK
	for (int b = 0; b < BUG_COUNT; b++)
		if (bug_set_has(&cfg->planted_bugs, (enum planted_bug)b))
			fprintf(stderr, " --bug %s", bug_name((enum planted_bug)b));
#endif
	fputc('\n', stderr);
}

static int run_compare(const struct run_config *cfg, const struct trace *trace)
{
	static const enum pg_level sizes[] = {PG_LEVEL_4K, PG_LEVEL_2M};
	struct run_result results[ARRAY_SIZE(sizes)];
	int status;

	/*
	 * The first replay in a process pays for memory that the machine's kernel must find; one that
	 * isn't shown does, so that the two that are stand on equal ground.
	 */
	status = run_execute(cfg, trace, &results[0]);
	for (u32 i = 0; !status && i < ARRAY_SIZE(sizes); i++) {
		struct run_config one = *cfg;

		one.pages = sizes[i];
		one.accept_level = sizes[i];
		status = run_execute(&one, trace, &results[i]);
	}
	if (status)
		return status;
	run_report(stdout, cfg, trace, results, ARRAY_SIZE(sizes));
	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
		if (!run_is_good(&results[i]))
			status = EXIT_WRONG;
	return status;
}

static int run_single(const struct run_config *cfg, const struct trace *trace)
{
	struct run_result result;
	int status = run_execute(cfg, trace, &result);

	if (status)
		return status;
	run_report(cfg->json ? stderr : stdout, cfg, trace, &result, 1);
	if (cfg->json)
		status = cli_write_json(run_json(cfg, trace, &result), cfg->json);
	if (result.events_error)
		status = cli_error(EXIT_CANT_RUN, "run: --events %s: writing failed: %s",
				   cfg->events, strerror(-result.events_error));
	if (!run_is_good(&result)) {
		print_reproducer(cfg);
		status = EXIT_WRONG;
	}
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run_config cfg;
	struct trace *trace;
	int status = run_parse(argc, argv, &cfg);

	if (status)
		return status < 0 ? EXIT_GOOD : status;
	status = load(&cfg, &trace);
	if (status)
		return status;
	run_plan_for_bugs(&cfg, trace);
	status = check_ranges(&cfg, trace);
	if (!status)
		status = run_plan_memory(&cfg);
	if (!status)
		status = cfg.compare ? run_compare(&cfg, trace) : run_single(&cfg, trace);
	trace_free(trace);
	return status;
}
