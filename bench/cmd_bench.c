/* SPDX-License-Identifier: MIT */
/* `septum bench`: picks benchmarks, runs them, prints medians beside their floors. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/bench.h"
#include "cli/cli.h"

static const struct benchmark *const benchmarks[] = {
	&bench_fault_4k,
	&bench_fault_2m,
	&bench_seamcall_aug_4k,
	&bench_seamcall_demote_2m,
	&bench_seamcall_sept_rd,
	&bench_seamcall_script_lines,
	&bench_walk,
	&bench_mmu_map_4k,
	&bench_mmu_zap_2m,
	&bench_mmu_walk,
	&bench_mmu_split_2m,
	&bench_mmu_merge_2m,
	&bench_split_2m,
	&bench_split_2m_host,
	&bench_promote_2m,
	&bench_convert_4k,
	&bench_punch_split_12t,
	&bench_host_start_1g,
	&bench_host_start_16t,
	&bench_explore_switch,
	&bench_explore_search,
	&bench_big_td,
};

const struct benchmark *bench_at(u32 i)
{
	return i < ARRAY_SIZE(benchmarks) ? benchmarks[i] : NULL;
}

struct summary {
	double median, p99, floor, ratio, instructions;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double sorted_at(double *values, u32 nr, u32 percent)
{
	qsort(values, nr, sizeof(values[0]), by_value);
	return values[nr * percent / 100];
}

/* p99: what all but the worst hundredth of the samples reach. */
static struct summary summarize(const struct benchmark *b, struct bench_samples *s)
{
	struct summary sum = {0};

	sum.median = sorted_at(s->op, s->nr, 50);
	sum.p99 = sorted_at(s->op, s->nr, b->more_is_better ? 1 : 99);
	if (s->has_instructions)
		sum.instructions = sorted_at(s->instructions, s->nr, 50);
	if (s->has_floor) {
		sum.floor = sorted_at(s->floor, s->nr, 50);
		sum.ratio = sum.floor > 0 ? sum.median / sum.floor : 0;
	}
	return sum;
}

static json_t *machine_json(void)
{
	struct utsname name;
	json_t *machine = json_object();

	json_object_set_new(machine, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	if (!uname(&name)) {
		json_object_set_new(machine, "kernel", json_string(name.release));
		json_object_set_new(machine, "arch", json_string(name.machine));
	}
	json_object_set_new(machine, "build",
#ifdef SEPTUM_CHECK
			    json_string("checking")
#else
			    json_string("release")
#endif
	);
	return machine;
}

static void list(void)
{
	for (u32 i = 0; bench_at(i); i++)
		printf("%-22s %-8s %s\n%-31s floor: %s\n", bench_at(i)->name, bench_at(i)->unit,
		       bench_at(i)->what, "", bench_at(i)->floor ? bench_at(i)->floor : "none");
}

static void help(void)
{
	puts("usage: septum bench [NAME...] [options]\n"
	     "       septum bench debates\n\n"
	     "Measures, with the floor beside each figure: the same stores and atomic operations "
	     "with\n"
	     "no logic around them, sampled in the same run. Compare by ratio: machines are "
	     "noisy.\n"
	     "'debates' writes docs/debates.md to standard output.\n\n"
	     "  --list       name every benchmark\n"
	     "  --json FILE  write one JSON object (- for standard output)\n"
	     "  --help       this text");
}

static void print_row(FILE *text, const struct benchmark *b, const struct bench_samples *s,
		      const struct summary *sum)
{
	fprintf(text, "%-22s %12.1f %12.1f", b->name, sum->median, sum->p99);
	if (s->has_floor)
		fprintf(text, " %12.1f %8.2f", sum->floor, sum->ratio);
	else
		fprintf(text, " %12s %8s", "-", "-");
	if (s->has_instructions)
		fprintf(text, " %12.0f", sum->instructions);
	fprintf(text, "  %s\n", b->unit);
}

static json_t *json_row(const struct benchmark *b, const struct bench_samples *s,
			const struct summary *sum)
{
	json_t *row = json_pack("{s:s, s:s, s:f, s:f, s:i}", "name", b->name, "unit", b->unit,
				"median", sum->median, "p99", sum->p99, "samples", (int)s->nr);

	if (s->has_floor) {
		json_object_set_new(row, "floor", json_real(sum->floor));
		json_object_set_new(row, "ratio", json_real(sum->ratio));
	}
	if (s->has_instructions)
		json_object_set_new(row, "instructions", json_real(sum->instructions));
	if (s->more)
		json_object_update(row, s->more);
	return row;
}

static void samples_free(struct bench_samples *s)
{
	json_decref(s->more);
	free(s->report);
	free(s);
}

static int measure(const struct benchmark *b, FILE *text, json_t *rows)
{
	struct bench_samples *samples = calloc(1, sizeof(*samples));
	struct summary sum;
	int err;

	if (!samples)
		return cli_error(EXIT_CANT_RUN, "bench: out of memory");
	bench_open(samples);
	err = b->run(samples);
	bench_close(samples);
	if (err || !samples->nr) {
		samples_free(samples);
		return cli_error(err == -ENOMEM ? EXIT_CANT_RUN : EXIT_WRONG, "bench: %s: %s",
				 b->name, err ? strerror(-err) : "no sample");
	}
	sum = summarize(b, samples);
	print_row(text, b, samples, &sum);
	if (samples->report)
		fputs(samples->report, text);
	fflush(text);
	json_array_append_new(rows, json_row(b, samples, &sum));
	samples_free(samples);
	return 0;
}

/* The heading has a column for instructions where the rows have one. */
static void print_heading(FILE *text)
{
	struct bench_samples probe;

	bench_open(&probe);
	bench_close(&probe);
	fprintf(text, "%-22s %12s %12s %12s %8s%s\n", "benchmark", "median", "p99", "floor",
		"ratio", probe.has_instructions ? " instructions" : "");
}

static const struct benchmark *find(const char *name)
{
	for (u32 i = 0; bench_at(i); i++)
		if (!strcmp(bench_at(i)->name, name))
			return bench_at(i);
	return NULL;
}

static int unknown(const char *name)
{
	const char *words[ARRAY_SIZE(benchmarks) + 1] = {NULL};
	const char *near;

	for (u32 i = 0; bench_at(i); i++)
		words[i] = bench_at(i)->name;
	near = cli_nearest(name, words);
	return cli_error(EXIT_BAD_USE, "bench: unknown benchmark '%s': %s%s", name,
			 near ? "did you mean " : "'septum bench --list' names them",
			 near ? near : "");
}

static int write_debates(int argc)
{
	int err;

	if (argc > 2)
		return cli_error(EXIT_BAD_USE, "bench: debates takes nothing else");
	err = bench_debates(stdout);
	if (!err)
		return EXIT_GOOD;
	return cli_error(err == -ENOMEM ? EXIT_CANT_RUN : EXIT_WRONG, "bench: debates: %s",
			 strerror(-err));
}

int cmd_bench(int argc, char **argv)
{
	const struct benchmark *chosen[ARRAY_SIZE(benchmarks)];
	const char *json = NULL;
	u32 nr = 0;
	json_t *rows;
	FILE *text;

	if (argc > 1 && !strcmp(argv[1], "debates"))
		return write_debates(argc);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			help();
			return EXIT_GOOD;
		}
		if (!strcmp(argv[i], "--list")) {
			list();
			return EXIT_GOOD;
		}
		if (!strcmp(argv[i], "--json")) {
			/* A bare --json at the end means standard output. */
			json = i + 1 < argc ? argv[++i] : "-";
			continue;
		}
		if (argv[i][0] == '-')
			return cli_error(
				EXIT_BAD_USE,
				"bench: unknown option '%s': expected --list, --json or --help",
				argv[i]);
		if (!find(argv[i]))
			return unknown(argv[i]);
		if (nr == ARRAY_SIZE(chosen))
			return cli_error(EXIT_BAD_USE, "bench: '%s': expected each name once",
					 argv[i]);
		chosen[nr++] = find(argv[i]);
	}
	if (!nr)
		for (u32 i = 0; bench_at(i); i++)
			if (!bench_at(i)->by_name)
				chosen[nr++] = bench_at(i);
	text = json ? stderr : stdout;
	rows = json_array();
	print_heading(text);
	for (u32 i = 0; i < nr; i++) {
		int status = measure(chosen[i], text, rows);

		if (status) {
			json_decref(rows);
			return status;
		}
	}
	if (!json) {
		json_decref(rows);
		return EXIT_GOOD;
	}
	return cli_write_json(json_pack("{s:s, s:o, s:o}", "schema", "septum.bench/1", "machine",
					machine_json(), "benchmarks", rows),
			      json);
}
