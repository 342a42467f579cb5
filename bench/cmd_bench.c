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
	&bench_host_start_1g,
	&bench_host_start_16t,
};

const struct benchmark *bench_at(u32 i)
{
	return i < ARRAY_SIZE(benchmarks) ? benchmarks[i] : NULL;
}

struct summary {
	double median, p99, floor, ratio;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct summary summarize(struct bench_samples *s)
{
	struct summary sum = {0};

	qsort(s->op, s->nr, sizeof(s->op[0]), by_value);
	sum.median = s->op[s->nr / 2];
	sum.p99 = s->op[s->nr * 99 / 100];
	if (s->has_floor) {
		qsort(s->floor, s->nr, sizeof(s->floor[0]), by_value);
		sum.floor = s->floor[s->nr / 2];
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
		printf("%-20s %-6s %s\n%-27s floor: %s\n", bench_at(i)->name, bench_at(i)->unit,
		       bench_at(i)->what, "", bench_at(i)->floor ? bench_at(i)->floor : "none");
}

static void help(void)
{
	puts("usage: septum bench [NAME...] [options]\n\n"
	     "Measures, with the floor beside each figure: the same stores and atomic operations "
	     "with\n"
	     "no logic around them, sampled in the same run. Compare by ratio: machines are "
	     "noisy.\n\n"
	     "  --list       name every benchmark\n"
	     "  --json FILE  write one JSON object (- for standard output)\n"
	     "  --help       this text");
}

static int measure(const struct benchmark *b, FILE *text, json_t *rows)
{
	struct bench_samples *samples = calloc(1, sizeof(*samples));
	struct summary sum;
	json_t *row;
	int err;

	if (!samples)
		return cli_error(EXIT_CANT_RUN, "bench: out of memory");
	err = b->run(samples);
	if (err || !samples->nr) {
		free(samples);
		return cli_error(err == -ENOMEM ? EXIT_CANT_RUN : EXIT_WRONG, "bench: %s: %s",
				 b->name, err ? strerror(-err) : "no sample");
	}
	sum = summarize(samples);
	row = json_pack("{s:s, s:s, s:f, s:f, s:i}", "name", b->name, "unit", b->unit, "median",
			sum.median, "p99", sum.p99, "samples", (int)samples->nr);
	fprintf(text, "%-20s %12.1f %12.1f", b->name, sum.median, sum.p99);
	if (samples->has_floor) {
		json_object_set_new(row, "floor", json_real(sum.floor));
		json_object_set_new(row, "ratio", json_real(sum.ratio));
		fprintf(text, " %12.1f %8.2f", sum.floor, sum.ratio);
	} else {
		fprintf(text, " %12s %8s", "-", "-");
	}
	fprintf(text, "  %s\n", b->unit);
	json_array_append_new(rows, row);
	free(samples);
	return 0;
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

int cmd_bench(int argc, char **argv)
{
	const struct benchmark *chosen[ARRAY_SIZE(benchmarks)];
	const char *json = NULL;
	u32 nr = 0;
	json_t *rows;
	FILE *text;

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
		for (; bench_at(nr); nr++)
			chosen[nr] = bench_at(nr);
	text = json ? stderr : stdout;
	rows = json_array();
	fprintf(text, "%-20s %12s %12s %12s %8s\n", "benchmark", "median", "p99", "floor", "ratio");
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
