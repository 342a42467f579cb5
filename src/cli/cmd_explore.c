/* SPDX-License-Identifier: MIT */
/* septum explore: reads its options and programs, and has them searched. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "cli/cli.h"
#include "cli/explore.h"
#include "explore/shipped.h"
#include "script/nearest.h"

#define DEFAULT_BOUND 2
#define MOST_BOUND 64
#define DEFAULT_PCT_RUNS 10000
#define PROGRAM_MAX_BYTES (1U << 20)
#define MOST_JOBS 256

static void help(FILE *out)
{
	fputs("usage: septum explore PROGRAM... [options]    a file, or the name of a shipped "
	      "program\n"
	      "       septum explore all [options]           all shipped programs\n"
	      "       septum explore --bugs                  the planted bugs, one a line\n"
	      "\n"
	      "Runs small programs of several threads over the real code, one step at a time, in "
	      "every\n"
	      "order that matters, and holds each against a specification of what a TD's memory "
	      "is.\n"
	      "Programs of two threads are searched exhaustively; larger ones too, up to a number "
	      "of\n"
	      "executions, and then by random priorities (PCT).\n"
	      "\n"
	      "  --bound N         most switches away from a thread that could go on (2)\n"
	      "  --runs N          most executions of a program; with --pct: so many (10000);\n"
	      "                    with --inject all: random schedules for each n (0)\n"
	      "  --pct             random priorities alone\n"
	      "  --seed N          of what is random (1)\n"
	      "  --schedule TEXT   one execution, by a schedule as a failure prints it\n"
	      "  --inject all      the n-th allocation fails, the n-th SEAMCALL is answered BUSY,\n"
	      "                    interrupted or an error, the n-th brings an interrupt, the "
	      "n-th\n"
	      "                    kick is late: for every n\n"
	      "  --inject WHAT     in every execution: alloc=N, seamcall=N:STATUS (a name, as\n"
	      "                    TDX_OPERAND_BUSY, or a number), interrupt=N, kick=N, each "
	      "once,\n"
	      "                    joined by commas\n"
	      "  --bug NAME        plant a bug (checking build); with all: until a program\n"
	      "                    shows it, a little of each first\n"
	      "  --jobs N          processes at a time (as many as there are CPUs)\n"
	      "  --json FILE       write one JSON object (- for standard output)\n"
	      "\n"
	      "SIGINT and SIGTERM end the search: what was found by then is told.\n"
	      "\n"
	      "mpirun --enable-recovery -n N septum explore ...: rank 0 hands the programs out to "
	      "the\n"
	      "others, again where one dies.\n"
	      "\n"
	      "Exit status: 0 nothing was found, 1 something was, 2 bad usage or a bad program, 4 "
	      "can't\n"
	      "run here.\n",
	      out);
}

/* ---- options ---------------------------------------------------------------------------------*/
static const char *const option_words[] = {"--bound",	 "--runs",   "--pct",  "--seed",
					   "--schedule", "--inject", "--bug",  "--bugs",
					   "--jobs",	 "--json",   "--help", NULL};

static int take_count(const char *option, const char *word, u64 least, u64 most, u64 *value)
{
	if (cli_parse_u64(word, value) || *value < least || *value > most)
		return cli_error(EXIT_BAD_USE,
				 "explore: %s '%s': expected a number from %llu to %llu", option,
				 word, (unsigned long long)least, (unsigned long long)most);
	return 0;
}

static int unknown_bug(const char *word)
{
	struct nearest near;

	nearest_begin(&near, word, strlen(word));
	for (int i = 0; i < BUG_COUNT; i++)
		nearest_offer(&near, bug_name((enum planted_bug)i));
	return cli_error(EXIT_BAD_USE, "explore: --bug '%s': no such bug: %s%s", word,
			 near.found[0] ? "did you mean " : "expected one of septum explore --bugs",
			 near.found);
}

static int take_bug(struct explore_command *c, const char *word)
{
#ifdef SEPTUM_CHECK
	int bug = bug_by_name(word);

	if (bug < 0)
		return unknown_bug(word);
	bug_set_add(&c->options.planted_bugs, (enum planted_bug)bug);
	c->bug = word;
	return 0;
#else
	(void)c;
	(void)unknown_bug;
	return cli_error(EXIT_BAD_USE,
			 "explore: --bug '%s': this build has no planted bugs: expected the "
			 "checking build (./dev build check)",
			 word);
#endif
}

static int take_schedule(struct explore_command *c, const char *word)
{
	size_t bad;
	int err = sched_schedule_parse(&c->schedule, word, &bad);

	if (err == -EINVAL)
		return cli_error(EXIT_BAD_USE,
				 "explore: --schedule '%s': character %zu: expected "
				 "THREAD@DECISION,... by ascending decision, or -",
				 word, bad + 1);
	if (err)
		return cli_error(EXIT_CANT_RUN, "explore: --schedule: no memory");
	c->options.mode = EXPLORE_REPLAY;
	c->options.schedule = &c->schedule;
	return 0;
}

/* @word is what stands where a status should. */
static int unknown_status(const char *whole, const char *word)
{
	struct nearest near;

	nearest_begin(&near, word, strcspn(word, "|,"));
#define TDX_STATUS(name, value) nearest_offer(&near, "TDX_" #name);
#include "septum/statuses.def"
#undef TDX_STATUS
	return cli_error(EXIT_BAD_USE,
			 "explore: --inject '%s': '%.*s': expected a status, by name or number%s%s",
			 whole, (int)strcspn(word, ","), word,
			 near.found[0] ? ": did you mean " : ", such as TDX_OPERAND_BUSY",
			 near.found);
}

static int take_injection(struct explore_command *c, const char *word)
{
	size_t bad;

	if (c->inject)
		return cli_error(EXIT_BAD_USE, "explore: --inject '%s': expected --inject once",
				 word);
	c->inject = word;
	if (!strcmp(word, "all")) {
		c->options.mode = EXPLORE_INJECT;
		return 0;
	}
	if (explore_injection_parse(&c->options.injection, word, &bad)) {
		if (bad && word[bad - 1] == ':' && word[bad])
			return unknown_status(word, word + bad);
		return cli_error(EXIT_BAD_USE,
				 "explore: --inject '%s': character %zu: expected all, or alloc=N, "
				 "seamcall=N:STATUS, interrupt=N, kick=N, each once, joined by "
				 "commas",
				 word, bad + 1);
	}
#ifndef SEPTUM_CHECK
	if (c->options.injection.fail_alloc)
		return cli_error(EXIT_BAD_USE,
				 "explore: --inject '%s': no allocation can be made to fail in "
				 "this build: expected the checking build (./dev build check)",
				 word);
#endif
	return 0;
}

static int take_value(struct explore_command *c, const char *option, const char *word)
{
	u64 value;
	int status = 0;

	if (!strcmp(option, "--bound")) {
		status = take_count(option, word, 0, MOST_BOUND, &value);
		c->options.bound = (u32)value;
		c->has_bound = true;
	} else if (!strcmp(option, "--runs")) {
		status = take_count(option, word, 1, UINT64_MAX, &c->options.runs);
	} else if (!strcmp(option, "--seed")) {
		status = take_count(option, word, 0, UINT64_MAX, &c->options.seed);
	} else if (!strcmp(option, "--jobs")) {
		status = take_count(option, word, 1, MOST_JOBS, &value);
		c->jobs = (u32)value;
	} else if (!strcmp(option, "--schedule")) {
		status = take_schedule(c, word);
	} else if (!strcmp(option, "--inject")) {
		status = take_injection(c, word);
	} else if (!strcmp(option, "--bug")) {
		status = take_bug(c, word);
	} else {
		c->json = word;
	}
	return status;
}

static int unknown_option(const char *word)
{
	const char *near = cli_nearest(word, option_words);

	if (near)
		return cli_error(EXIT_BAD_USE, "explore: unknown option '%s': did you mean %s?",
				 word, near);
	return cli_error(EXIT_BAD_USE,
			 "explore: unknown option '%s': expected one of septum explore --help",
			 word);
}

#ifdef SEPTUM_CHECK
static int print_bugs(const char *json)
{
	FILE *out = json && !strcmp(json, "-") ? stderr : stdout;
	json_t *rows = json_array();

	for (int i = 0; i < BUG_COUNT; i++) {
		enum planted_bug bug = (enum planted_bug)i;

		fprintf(out, "%-28s %s\n", bug_name(bug), bug_what(bug));
		json_array_append_new(rows, json_pack("{s:s, s:s}", "name", bug_name(bug), "what",
						      bug_what(bug)));
	}
	if (json)
		return cli_write_json(
			json_pack("{s:s, s:o}", "schema", "septum.bugs/1", "bugs", rows), json);
	json_decref(rows);
	return EXIT_GOOD;
}
#else
static int print_bugs(const char *json)
{
	(void)json;
	return cli_error(EXIT_CANT_RUN, "explore: --bugs: this build has no planted bugs: expected "
					"the checking build (./dev build check)");
}
#endif

/* --bugs, and what may stand beside it. Return: an exit status, negative: good */
static int list_bugs(int argc, char **argv)
{
	const char *json = NULL;
	int status;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--bugs"))
			continue;
		if (!strcmp(argv[i], "--help")) {
			help(stdout);
			return -1;
		}
		if (!strncmp(argv[i], "--json=", 7))
			json = argv[i] + 7;
		else if (strcmp(argv[i], "--json"))
			return cli_error(EXIT_BAD_USE,
					 "explore: --bugs: '%s': expected nothing beside it but "
					 "--json FILE",
					 argv[i]);
		else if (++i == argc)
			return cli_error(EXIT_BAD_USE, "explore: --json: expected a value");
		else
			json = argv[i];
	}
	status = print_bugs(json);
	return status ? status : -1;
}

/* ---- programs --------------------------------------------------------------------------------*/
static int add_program(struct explore_command *c, const char *word, const char *name,
		       const char *text, size_t length)
{
	struct explore_program *p = calloc(1, sizeof(*p)), **more;
	struct program_error error;

	if (c->nr == c->room) {
		u32 room = c->room ? 2 * c->room : 64;

		more = realloc(c->program, room * sizeof(struct explore_program *));
		if (more) {
			c->program = more;
			c->room = room;
		}
	}
	if (!p || c->nr == c->room) {
		free(p);
		return cli_error(EXIT_CANT_RUN, "explore: no memory");
	}
	c->program[c->nr++] = p;
	p->word = word;
	if (program_parse(name, text, length, &p->program, &error))
		return cli_error(EXIT_BAD_USE, "%s:%u:%u: %s", word, error.line, error.column,
				 error.what);
	return 0;
}

static int add_shipped(struct explore_command *c, const char *word)
{
	bool all = !strcmp(word, "all");

	for (u32 i = 0; i < shipped_nr; i++) {
		const struct shipped_program *s = &shipped_programs[i];
		int status;

		if (!all && strcmp(word, s->name))
			continue;
		status = add_program(c, s->name, s->name, s->text, s->length);
		if (status || !all)
			return status ? status : -1;
	}
	return all ? -1 : 0;
}

static int no_such_program(const char *word, int error)
{
	struct nearest near;

	nearest_begin(&near, word, strlen(word));
	nearest_offer(&near, "all");
	for (u32 i = 0; i < shipped_nr; i++)
		nearest_offer(&near, shipped_programs[i].name);
	if (near.found[0])
		return cli_error(EXIT_BAD_USE,
				 "explore: '%s': no such program and no such file: did you mean "
				 "'%s'?",
				 word, near.found);
	return cli_error(EXIT_BAD_USE,
			 "explore: '%s': expected a shipped program, all, or a file that can be "
			 "read: %s",
			 word, strerror(error));
}

static int add_file(struct explore_command *c, const char *word)
{
	const char *base = strrchr(word, '/') ? strrchr(word, '/') + 1 : word;
	size_t length, n = strlen(base);
	char name[sizeof(c->program[0]->program.name)];
	FILE *f = fopen(word, "r");
	int status;
	char *text;

	if (!f)
		return no_such_program(word, errno);
	text = malloc(PROGRAM_MAX_BYTES);
	length = text ? fread(text, 1, PROGRAM_MAX_BYTES, f) : 0;
	status = !text	     ? cli_error(EXIT_CANT_RUN, "explore: no memory")
		 : ferror(f) ? cli_error(EXIT_BAD_USE, "explore: %s: can't be read: %s", word,
					 strerror(errno))
		 : length == PROGRAM_MAX_BYTES
			 ? cli_error(EXIT_BAD_USE,
				     "explore: %s: expected a program of less than 1M", word)
			 : 0;
	fclose(f);
	if (n > 5 && !strcmp(base + n - 5, ".prog"))
		n -= 5;
	snprintf(name, sizeof(name), "%.*s", (int)n, base);
	if (!status)
		status = add_program(c, word, name, text, length);
	free(text);
	return status;
}

static int take_program(struct explore_command *c, const char *word)
{
	int status = add_shipped(c, word);

	c->all |= !strcmp(word, "all");
	if (status)
		return status < 0 ? 0 : status;
	return add_file(c, word);
}

/* ---- the command line ------------------------------------------------------------------------*/

/* -1: all that was asked for is done. */
static int take_option(struct explore_command *c, int argc, char **argv, int *at)
{
	char option[16];
	const char *word = argv[*at], *equals = strchr(word, '=');
	size_t n = equals ? (size_t)(equals - word) : strlen(word);

	if (!strcmp(word, "--help")) {
		help(stdout);
		return -1;
	}
	if (!strcmp(word, "--bugs"))
		return list_bugs(argc, argv);
	if (!strcmp(word, "--pct")) {
		c->options.mode = EXPLORE_PCT;
		c->pct = true;
		return 0;
	}
	snprintf(option, sizeof(option), "%.*s", (int)n, word);
	for (size_t i = 0; option_words[i]; i++) {
		if (strcmp(option_words[i], option) || strlen(option) != n)
			continue;
		if (!equals && ++*at == argc)
			return cli_error(EXIT_BAD_USE, "explore: %s: expected a value", option);
		return take_value(c, option, equals ? equals + 1 : argv[*at]);
	}
	return unknown_option(word);
}

static int parse(struct explore_command *c, int argc, char **argv)
{
	enum explore_mode mode;

	for (int i = 1; i < argc; i++) {
		int status = argv[i][0] == '-' && argv[i][1] ? take_option(c, argc, argv, &i)
							     : take_program(c, argv[i]);

		if (status)
			return status;
	}
	mode = c->options.mode;
	if (!c->nr)
		return cli_error(
			EXIT_BAD_USE,
			"explore: expected a program: a file, a shipped one's name, or all");
	if (c->pct && c->inject && !strcmp(c->inject, "all"))
		return cli_error(EXIT_BAD_USE,
				 "explore: --inject all: expected no --pct: it has random "
				 "schedules of its own (--runs)");
	if (c->options.schedule && (c->nr > 1 || mode != EXPLORE_REPLAY))
		return cli_error(EXIT_BAD_USE,
				 "explore: --schedule: expected one program, and neither --pct nor "
				 "--inject all");
	if (mode == EXPLORE_PCT && c->has_bound)
		return cli_error(EXIT_BAD_USE,
				 "explore: --bound: expected no --pct: random priorities have no "
				 "bound of preemptions");
	if (mode == EXPLORE_PCT && !c->options.runs)
		c->options.runs = DEFAULT_PCT_RUNS;
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void note(void *ctx, u32 rank, const char *what)
{
	const struct explore_output *o = ctx;

	cli_ranks_note(&o->command->ranks, rank, what);
}

static bool is_interrupted(void *ctx)
{
	const struct explore_output *o = ctx;

	return o->found || interrupt_came(&o->interrupt);
}

/* One search of each program, but those of which nothing more can come. Return: 0 or -errno */
static int search_programs(struct explore_command *c, struct explore_output *o,
			   const struct explore_crew *crew)
{
	struct explore_task *task = calloc(c->nr, sizeof(*task));
	u32 nr = 0;
	int err = -ENOMEM;

	for (u32 i = 0; task && i < c->nr; i++) {
		if (o->hunts && o->done[i])
			continue;
		if (o->hunts)
			o->program_of[nr] = i;
		task[nr++] = (struct explore_task){&c->program[i]->program, c->options};
	}
	if (task)
		err = c->ranks.joined ? explore_work_ranked(&c->ranks.ranks, task, nr, crew, note)
				      : explore_work(task, nr, crew);
	free(task);
	return err;
}

/* A planted bug shows in some programs, and soon: a little of all comes before much of any. */
static int hunt(struct explore_command *c, struct explore_output *o,
		const struct explore_crew *crew)
{
	static const u64 runs[] = {100, 600, 3000, 0};
	const struct explore_options asked = c->options;
	int err = 0;

	o->done = calloc(c->nr, sizeof(*o->done));
	o->program_of = calloc(c->nr, sizeof(*o->program_of));
	if (!o->done || !o->program_of)
		err = -ENOMEM;
	for (u32 i = 0; i < ARRAY_SIZE(runs) && !err && !o->found; i++) {
		o->last = !runs[i];
		if (asked.runs && runs[i] >= asked.runs)
			continue;
		if (o->last)
			memset(o->done, 0, c->nr * sizeof(*o->done));
		c->options.runs = o->last ? asked.runs : runs[i];
		err = search_programs(c, o, crew);
		c->options.injected = true;
	}
	c->options = asked;
	free(o->done);
	free(o->program_of);
	return err;
}

static int work(struct explore_command *c)
{
	bool json_to_stdout = c->json && !strcmp(c->json, "-");
	bool reports = cli_ranks_speaks(&c->ranks);
	struct explore_output o = {.command = c,
				   .out = json_to_stdout ? stderr : stdout,
				   .rows = c->json ? json_array() : NULL,
				   .shows_progress = isatty(STDERR_FILENO)};
	/* Under mpirun signals are its business. */
	const struct explore_crew crew = {.backend = &explore_backend_machine,
					  .jobs = c->jobs,
					  .ctx = &o,
					  .done = explore_output_report,
					  .progress = explore_output_progress,
					  .stop = c->ranks.joined ? NULL : is_interrupted};
	double began = now();
	int err, status;

	o.hunts = c->bug && c->all && c->options.mode == EXPLORE_AUTO && !c->inject &&
		  !c->ranks.joined;
	if (crew.stop)
		interrupt_hold(&o.interrupt);
	if (reports && c->options.mode != EXPLORE_REPLAY)
		explore_output_begin(&o);
	err = o.hunts ? hunt(c, &o, &crew) : search_programs(c, &o, &crew);
	o.interrupted = err == -EINTR && !o.found;
	err = err == -EINTR ? 0 : err;
	status = !reports ? EXIT_GOOD
		 : err	  ? cli_error(EXIT_CANT_RUN, "explore: %s", strerror(-err))
			  : explore_output_end(&o, now() - began);
	json_decref(o.rows);
	if (crew.stop)
		interrupt_let(&o.interrupt);
	return status;
}

int cmd_explore(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct explore_command c = {
		.options = {.mode = EXPLORE_AUTO, .bound = DEFAULT_BOUND, .seed = 1},
		.jobs = cpus < 1	   ? 1
			: cpus > MOST_JOBS ? MOST_JOBS
					   : (u32)cpus,
	};
	int status = cli_ranks_join(&c.ranks, "explore");

	if (!status) {
		int kept = cli_ranks_hush(&c.ranks);

		status = parse(&c, argc, argv);
		cli_ranks_speak(kept);
	}
	if (!status)
		status = work(&c);
	status = cli_ranks_leave(&c.ranks, status < 0 ? EXIT_GOOD : status);
	for (u32 i = 0; i < c.nr; i++)
		free(c.program[i]);
	free(c.program);
	sched_schedule_free(&c.schedule);
	return status;
}
