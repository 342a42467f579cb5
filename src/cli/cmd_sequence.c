/* SPDX-License-Identifier: MIT */
/* septum sequence: random operations by the million, each held against a flat specification. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "cli/cli.h"
#include "cli/ranks.h"
#include "explore/campaign.h"

#define DEFAULT_OPS 1000000
#define DEFAULT_LENGTH 500
#define MOST_LENGTH 100000

struct sequence_command {
	struct campaign campaign;
	u64 ops;
	const char *bug, *json;
	const char *state; /* a file that says which seed is next, and what is left to do */
	const char *replay;
	bool has_seed;
	bool quiet; /* no progress */
	struct cli_ranks ranks;
	bool state_lost;
};

static void help(FILE *out)
{
	fputs("usage: septum sequence [options]           random sequences of operations\n"
	      "       septum sequence --replay TEXT        one, as a failure prints it\n"
	      "\n"
	      "Faults, accepts, accesses, conversions, holes, splits, promotions, failing memory, "
	      "held "
	      "pages,\n"
	      "TDs that come and go, on random machines, one operation at a time; allocations and "
	      "SEAMCALLs\n"
	      "fail now and then. Each answer, and each page touched, is held against a flat "
	      "specification.\n"
	      "What fails is made as small as it gets, and printed with the line that replays it.\n"
	      "\n"
	      "  --ops N        so many operations (1000000)\n"
	      "  --seed N       of the first sequence; the next one's is one more (1)\n"
	      "  --length N     operations of a sequence, each on a machine of its own (500)\n"
	      "  --jobs N       processes at a time (as many as there are CPUs)\n"
	      "  --state FILE   go on where a campaign with this file was stopped, or with the "
	      "seeds "
	      "after it\n"
	      "                 (no other --seed then)\n"
	      "  --bug NAME     plant a bug (checking build; septum explore --bugs lists them)\n"
	      "  --json FILE    write one JSON object (- for standard output)\n"
	      "\n"
	      "mpirun --enable-recovery -n N septum sequence ...: rank 0 hands ranges of seeds out "
	      "to the\n"
	      "others, again where one dies.\n"
	      "\n"
	      "Exit status: 0 nothing was found, 1 something was, 2 bad usage, 4 can't run here.\n",
	      out);
}

/* ---- options ---------------------------------------------------------------------------------*/
static const char *const option_words[] = {"--ops",    "--seed", "--length", "--jobs", "--state",
					   "--replay", "--bug",	 "--json",   "--help", NULL};

static int take_count(const char *option, const char *word, u64 least, u64 most, u64 *value)
{
	if (cli_parse_u64(word, value) || *value < least || *value > most)
		return cli_error(EXIT_BAD_USE,
				 "sequence: %s '%s': expected a number from %llu to %llu", option,
				 word, (unsigned long long)least, (unsigned long long)most);
	return 0;
}

static int take_bug(struct sequence_command *c, const char *word)
{
#ifdef SEPTUM_CHECK
	const char *words[BUG_COUNT + 1] = {NULL};
	const char *near;
	int bug = bug_by_name(word);

	for (int i = 0; i < BUG_COUNT; i++)
		words[i] = bug_name((enum planted_bug)i);
	near = cli_nearest(word, words);
	if (bug < 0)
		return cli_error(EXIT_BAD_USE, "sequence: --bug '%s': no such bug: %s%s", word,
				 near ? "did you mean " : "expected one of septum explore --bugs",
				 near ? near : "");
	bug_set_add(&c->campaign.planted_bugs, (enum planted_bug)bug);
	c->bug = word;
	return 0;
#else
	(void)c;
	return cli_error(EXIT_BAD_USE,
			 "sequence: --bug '%s': this build has no planted bugs: expected the "
			 "checking build (./dev build check)",
			 word);
#endif
}

static int take_value(struct sequence_command *c, const char *option, const char *word)
{
	u64 value = 0;
	int status = 0;

	if (!strcmp(option, "--ops")) {
		status = take_count(option, word, 1, UINT64_MAX / 2, &c->ops);
	} else if (!strcmp(option, "--seed")) {
		status = take_count(option, word, 0, UINT64_MAX / 2, &c->campaign.seed);
		c->has_seed = true;
	} else if (!strcmp(option, "--length")) {
		status = take_count(option, word, 1, MOST_LENGTH, &value);
		c->campaign.length = (u32)value;
	} else if (!strcmp(option, "--jobs")) {
		status = take_count(option, word, 1, CAMPAIGN_MAX_JOBS, &value);
		c->campaign.jobs = (u32)value;
	} else if (!strcmp(option, "--bug")) {
		status = take_bug(c, word);
	} else if (!strcmp(option, "--state")) {
		c->state = word;
	} else if (!strcmp(option, "--replay")) {
		c->replay = word;
	} else {
		c->json = word;
	}
	return status;
}

/* -1: help was asked for and given. */
static int parse_options(int argc, char **argv, struct sequence_command *c)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *equals = strchr(word, '=');
		size_t n = equals ? (size_t)(equals - word) : strlen(word);
		const char *option = NULL, *near;
		int status;

		if (!strcmp(word, "--help")) {
			help(stdout);
			return -1;
		}
		for (size_t o = 0; option_words[o]; o++)
			if (strlen(option_words[o]) == n && !strncmp(option_words[o], word, n))
				option = option_words[o];
		near = cli_nearest(word, option_words);
		if (!option || !strcmp(option, "--help"))
			return cli_error(EXIT_BAD_USE, "sequence: unknown word '%s': %s%s", word,
					 near ? "did you mean "
					      : "expected an option of septum sequence --help",
					 near ? near : "");
		if (!equals && ++i == argc)
			return cli_error(EXIT_BAD_USE, "sequence: %s: expected a value", option);
		status = take_value(c, option, equals ? equals + 1 : argv[i]);
		if (status)
			return status;
	}
	return 0;
}

/* ---- what is done and what is left -----------------------------------------------------------*/

/* Two numbers: the next seed, and the operations that the campaign still has to do; 0: it is over. */
static int read_state(struct sequence_command *c)
{
	unsigned long long seed, left;
	FILE *f;
	int n;

	if (!c->state)
		return 0;
	f = fopen(c->state, "r");
	if (!f)
		return errno == ENOENT ? 0
				       : cli_error(EXIT_BAD_USE, "sequence: %s: can't be read: %s",
						   c->state, strerror(errno));
	n = fscanf(f, "%llu %llu", &seed, &left);
	fclose(f);
	if (n != 2)
		return cli_error(EXIT_BAD_USE,
				 "sequence: %s: expected two numbers: the next seed, and the "
				 "operations that are left",
				 c->state);
	if (c->has_seed && c->campaign.seed != seed)
		return cli_error(EXIT_BAD_USE,
				 "sequence: --seed %llu: %s goes on with seed %llu: expected that, "
				 "no --seed, or another file",
				 (unsigned long long)c->campaign.seed, c->state, seed);
	c->campaign.seed = seed;
	if (left)
		c->ops = left;
	return 0;
}

/* Who is stopped in the middle, or has no room on the disk, must leave the old state or the new one. */
static int replace_state(const struct sequence_command *c, const char *beside, u64 next)
{
	u64 done = (next - c->campaign.seed) * c->campaign.length;
	FILE *f = fopen(beside, "w");
	int err = 0;

	if (!f)
		return -errno;
	if (fprintf(f, "%llu %llu\n", (unsigned long long)next,
		    (unsigned long long)(done < c->ops ? c->ops - done : 0)) < 0)
		err = -errno;
	if (fclose(f) && !err)
		err = -errno;
	if (!err && rename(beside, c->state))
		err = -errno;
	if (err)
		unlink(beside);
	return err;
}

/* Return: 0 or an exit status, told of the first time. */
static int write_state(struct sequence_command *c, u64 next)
{
	char beside[PATH_MAX];
	int err;

	if (!c->state || c->state_lost)
		return c->state_lost ? EXIT_CANT_RUN : 0;
	err = snprintf(beside, sizeof(beside), "%s.new", c->state) < (int)sizeof(beside)
		      ? replace_state(c, beside, next)
		      : -ENAMETOOLONG;
	if (!err)
		return 0;
	c->state_lost = true;
	return cli_error(EXIT_CANT_RUN, "sequence: --state %s: can't be written: %s", c->state,
			 strerror(-err));
}

static void progress(void *ctx, u64 next, u64 operations)
{
	struct sequence_command *c = ctx;

	write_state(c, next);
	if (!c->quiet)
		fprintf(stderr, "\r%llu of %llu operations", (unsigned long long)operations,
			(unsigned long long)c->ops);
}

/* ---- reports ---------------------------------------------------------------------------------*/
static char *text_of(const struct sequence *s)
{
	size_t size = sequence_print(s, NULL, 0) + 1;
	char *text = malloc(size);

	if (text)
		sequence_print(s, text, size);
	return text;
}

static void report_failure(const struct sequence_command *c, const struct campaign_result *r,
			   const char *smallest)
{
	char *quoted = cli_shell_word(smallest ? smallest : "");

	fprintf(stderr, "septum: sequence: seed %llu", (unsigned long long)r->failed_seed);
	if (r->outcome.at != UINT32_MAX)
		fprintf(stderr, ", operation %u", r->outcome.at);
	fprintf(stderr, ": %s\n", r->outcome.text);
	fprintf(stderr, "made small, %u operations: %s\n", r->smallest.nr,
		r->smallest_outcome.failed ? r->smallest_outcome.text
					   : "it doesn't fail by itself");
	fprintf(stderr, "reproduce: septum sequence%s%s --replay %s\n", c->bug ? " --bug " : "",
		c->bug ? c->bug : "", quoted ? quoted : "");
	free(quoted);
	fprintf(stderr, "       or: septum sequence%s%s --seed %llu --length %u --ops %u\n",
		c->bug ? " --bug " : "", c->bug ? c->bug : "", (unsigned long long)r->failed_seed,
		c->campaign.length, c->campaign.length);
}

static json_t *json_of(const struct sequence_command *c, const struct campaign_result *r,
		       const char *smallest)
{
	json_t *root = json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f}", "schema",
				 "septum.sequence/1", "seed", (json_int_t)c->campaign.seed,
				 "length", (json_int_t)c->campaign.length, "next_seed",
				 (json_int_t)r->next, "operations", (json_int_t)r->operations,
				 "seconds", r->seconds, "operations_per_second",
				 r->seconds > 0 ? (double)r->operations / r->seconds : 0);

	if (root && c->bug)
		json_object_set_new(root, "bug", json_string(c->bug));
	if (root && r->failed)
		json_object_set_new(root, "failure",
				    json_pack("{s:I, s:s, s:s, s:I}", "seed",
					      (json_int_t)r->failed_seed, "text", r->outcome.text,
					      "sequence", smallest ? smallest : "", "operations",
					      (json_int_t)r->smallest.nr));
	return root;
}

static int report(const struct sequence_command *c, const struct campaign_result *r)
{
	char *smallest = r->failed ? text_of(&r->smallest) : NULL;
	FILE *out = c->json && !strcmp(c->json, "-") ? stderr : stdout;
	int status = EXIT_GOOD;

	if (!c->quiet)
		fputc('\n', stderr);
	fprintf(out, "%llu operations in %.1f s, %.0f a second; next seed %llu\n",
		(unsigned long long)r->operations, r->seconds,
		r->seconds > 0 ? (double)r->operations / r->seconds : 0,
		(unsigned long long)r->next);
	if (r->failed)
		report_failure(c, r, smallest);
	if (c->json)
		status = cli_write_json(json_of(c, r, smallest), c->json);
	free(smallest);
	if (status)
		return status;
	return r->failed ? EXIT_WRONG : c->state_lost ? EXIT_CANT_RUN : EXIT_GOOD;
}

/* ---- the command -----------------------------------------------------------------------------*/
static int replay(const struct sequence_command *c)
{
	struct sequence_outcome out;
	struct sequence s;
	char why[200];
	size_t bad;
	int err = sequence_parse(&s, c->replay, &bad, why, sizeof(why));

	if (err == -EINVAL)
		return cli_error(EXIT_BAD_USE, "sequence: --replay: character %zu ('%.20s'): %s",
				 bad + 1, c->replay + bad, why);
	if (!err) {
		err = campaign_try(&s, &c->campaign.planted_bugs, 0, &out);
		sequence_free(&s);
	}
	if (err)
		return cli_error(EXIT_CANT_RUN, "sequence: %s", strerror(-err));
	if (!out.failed) {
		printf("%llu operations, nothing found\n", (unsigned long long)out.operations);
		return EXIT_GOOD;
	}
	if (out.at == UINT32_MAX)
		return cli_error(EXIT_WRONG, "sequence: %s", out.text);
	return cli_error(EXIT_WRONG, "sequence: operation %u: %s", out.at, out.text);
}

static u64 sequences_of(const struct sequence_command *c)
{
	return c->ops / c->campaign.length + (c->ops % c->campaign.length != 0);
}

static void note(void *ctx, u32 rank, const char *what)
{
	const struct sequence_command *c = ctx;

	cli_ranks_note(&c->ranks, rank, what);
}

static int campaign(struct sequence_command *c)
{
	bool speaks = cli_ranks_speaks(&c->ranks);
	struct campaign_result result;
	struct campaign asked;
	int status = EXIT_GOOD;

	c->campaign.sequences = sequences_of(c);
	asked = c->campaign;
	/* The others' machines needn't have the file: rank 0 tells them what is left. */
	if (speaks)
		status = read_state(c);
	/* Before the work, not after it. */
	if (speaks && !status)
		status = write_state(c, c->campaign.seed);
	if (status)
		return status;
	c->campaign.sequences = sequences_of(c);
	c->campaign.progress = progress;
	c->campaign.ctx = c;
	status = c->ranks.joined
			 ? campaign_run_ranked(&c->ranks.ranks, &asked, &c->campaign, note, &result)
			 : campaign_run(&c->campaign, &result);
	if (!speaks)
		return EXIT_GOOD;
	if (status)
		return cli_error(EXIT_CANT_RUN, "sequence: %s", strerror(-status));
	status = report(c, &result);
	sequence_free(&result.smallest);
	return status;
}

static int work(struct sequence_command *c)
{
	if (!c->replay)
		return campaign(c);
	/* One sequence is rank 0's alone, and may take longer than the others wait for a word. */
	if (c->ranks.joined)
		ranks_leave(&c->ranks.ranks);
	return cli_ranks_speaks(&c->ranks) ? replay(c) : EXIT_GOOD;
}

int cmd_sequence(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct sequence_command c = {
		.campaign = {.seed = 1,
			     .length = DEFAULT_LENGTH,
			     .jobs = cpus < 1			? 1
				     : cpus > CAMPAIGN_MAX_JOBS ? CAMPAIGN_MAX_JOBS
								: (u32)cpus},
		.ops = DEFAULT_OPS,
		.quiet = !isatty(STDERR_FILENO),
	};
	int status = cli_ranks_join(&c.ranks, "sequence");

	if (!status) {
		int kept = cli_ranks_hush(&c.ranks);

		status = parse_options(argc, argv, &c);
		cli_ranks_speak(kept);
	}
	if (!status)
		status = work(&c);
	return cli_ranks_leave(&c.ranks, status < 0 ? EXIT_GOOD : status);
}
