/* SPDX-License-Identifier: MIT */
/* Options of `septum run`: words to a struct run_config, and what is wrong with them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/run.h"

static const struct run_word page_words[] = {
	{"2m", PG_LEVEL_2M}, {"4k", PG_LEVEL_4K}, {"1g", PG_LEVEL_1G}, {NULL, 0}};
static const struct run_word accept_level_words[] = {
	{"2m", PG_LEVEL_2M}, {"4k", PG_LEVEL_4K}, {NULL, 0}};
static const struct run_word accept_words[] = {
	{"lazy", ACCEPT_LAZY}, {"eager", ACCEPT_EAGER}, {"touch", ACCEPT_TOUCH}, {NULL, 0}};
static const struct run_word promote_words[] = {
	{"off", VM_PROMOTE_OFF}, {"idle", VM_PROMOTE_IDLE}, {"now", VM_PROMOTE_NOW}, {NULL, 0}};
static const struct run_word split_where_words[] = {{"ends", MMU_SPLIT_ENDS},
						    {"walk", MMU_SPLIT_WALK},
						    {"two-walks", MMU_SPLIT_TWO_WALKS},
						    {NULL, 0}};
static const struct run_word split_metadata_words[] = {{"page", MMU_META_PAGE},
						       {"vm-cache", MMU_META_VM_CACHE},
						       {"prealloc", MMU_META_PREALLOC},
						       {NULL, 0}};
static const struct run_word demote_lock_words[] = {
	{"always", TD_DEMOTE_LOCK_ALWAYS}, {"retry", TD_DEMOTE_LOCK_SECOND_TRY}, {NULL, 0}};
static const struct run_word switch_words[] = {{"on", true}, {"off", false}, {NULL, 0}};

static const char *word_of(const struct run_word *words, int value)
{
	for (; words->word; words++)
		if (words->value == value)
			return words->word;
	return "?";
}

const char *run_page_word(enum pg_level level)
{
	return word_of(page_words, (int)level);
}

const char *run_accept_word(enum accept_mode mode)
{
	return word_of(accept_words, (int)mode);
}

const char *run_promote_word(enum vm_promote promote)
{
	return word_of(promote_words, (int)promote);
}

const char *run_split_where_word(enum mmu_split_where where)
{
	return word_of(split_where_words, (int)where);
}

const char *run_split_metadata_word(enum mmu_split_metadata metadata)
{
	return word_of(split_metadata_words, (int)metadata);
}

const char *run_demote_lock_word(enum td_demote_lock lock)
{
	return word_of(demote_lock_words, (int)lock);
}

int run_bad_word(const char *option, const char *value, const struct run_word *words)
{
	char list[128];
	size_t used = 0;

	list[0] = '\0';
	for (const struct run_word *w = words; w->word; w++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 w == words ? "" : (w[1].word ? ", " : " or "), w->word);
	return cli_error(EXIT_BAD_USE, "run: %s '%s': expected %s", option, value, list);
}

static int parse_word(const char *option, const char *value, const struct run_word *words, int *out)
{
	for (const struct run_word *w = words; w->word; w++)
		if (!strcmp(w->word, value)) {
			*out = w->value;
			return 0;
		}
	return run_bad_word(option, value, words);
}

static int parse_level(const char *option, const char *value, const struct run_word *words,
		       enum pg_level *level)
{
	int v = 0, status = parse_word(option, value, words, &v);

	if (!status)
		*level = (enum pg_level)v;
	return status;
}

static int parse_memory(const char *value, struct run_config *cfg)
{
	if (cli_parse_size(value, &cfg->memory_bytes) || !cfg->memory_bytes)
		return cli_error(EXIT_BAD_USE, "run: --memory '%s': expected a size such as 2G",
				 value);
	if (!IS_ALIGNED(cfg->memory_bytes, SIZE_4K))
		return cli_error(EXIT_BAD_USE, "run: --memory '%s': expected a multiple of 4K",
				 value);
	if (cfg->memory_bytes > RUN_MAX_MEMORY)
		return cli_error(EXIT_BAD_USE, "run: --memory '%s': expected at most 16T", value);
	return 0;
}

static int parse_vcpus(const char *value, struct run_config *cfg)
{
	u64 n;

	if (cli_parse_u64(value, &n) || n < 1 || n > 512)
		return cli_error(EXIT_BAD_USE, "run: --vcpus '%s': expected a number from 1 to 512",
				 value);
	cfg->nr_vcpus = (u32)n;
	return 0;
}

static int parse_module(const char *value, struct run_config *cfg)
{
	char list[128];
	size_t used = 0;

	cfg->profile = seam_profile_by_name(value);
	if (cfg->profile)
		return 0;
	list[0] = '\0';
	for (unsigned int i = 0; seam_profile_at(i); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 seam_profile_at(i)->name);
	return cli_error(EXIT_BAD_USE, "run: --module '%s': expected one of %s", value, list);
}

/* GPA:SIZE@EVENT, and /STEP where @step isn't NULL. */
static bool parse_range(const char *value, u64 *gpa, u64 *size, u64 *event, u64 *step)
{
	char words[4][32];
	int n = sscanf(value, "%31[^:]:%31[^@]@%31[^/]/%31s", words[0], words[1], words[2],
		       words[3]);
	bool has_step = strchr(value, '/');

	if (n != (has_step ? 4 : 3) || (has_step && !step))
		return false;
	return !cli_parse_u64(words[0], gpa) && !cli_parse_size(words[1], size) &&
	       !cli_parse_u64(words[2], event) && (!has_step || !cli_parse_size(words[3], step));
}

/* What of memory, and when: whole pages, an event that there can be. */
static int check_range(const char *option, const char *value, u64 gpa, u64 size, u64 event)
{
	if (!size || !IS_ALIGNED(gpa | size, SIZE_4K))
		return cli_error(EXIT_BAD_USE, "run: %s '%s': expected whole 4K pages", option,
				 value);
	if (!event)
		return cli_error(EXIT_BAD_USE, "run: %s '%s': events are counted from 1", option,
				 value);
	return 0;
}

static int parse_discard(const char *value, struct run_config *cfg)
{
	struct replay_discard *d = &cfg->discards[cfg->nr_discards];
	int status;

	if (cfg->nr_discards == RUN_MAX_DISCARDS)
		return cli_error(EXIT_BAD_USE, "run: --discard: expected at most %d of them",
				 RUN_MAX_DISCARDS);
	if (!parse_range(value, &d->gpa, &d->size, &d->event, NULL))
		return cli_error(
			EXIT_BAD_USE,
			"run: --discard '%s': expected GPA:SIZE@EVENT, as 0x200000:2M@1000", value);
	status = check_range("--discard", value, d->gpa, d->size, d->event);
	cfg->nr_discards += !status;
	return status;
}

static int parse_conversion(const char *option, const char *value, bool to_private,
			    struct run_config *cfg)
{
	struct replay_conversion *c = &cfg->conversions[cfg->nr_conversions];
	int status;

	if (cfg->nr_conversions == RUN_MAX_CONVERSIONS)
		return cli_error(EXIT_BAD_USE,
				 "run: %s: expected at most %d of --share and --unshare", option,
				 RUN_MAX_CONVERSIONS);
	*c = (struct replay_conversion){.to_private = to_private};
	if (!parse_range(value, &c->gpa, &c->size, &c->event, &c->step))
		return cli_error(EXIT_BAD_USE,
				 "run: %s '%s': expected GPA:SIZE@EVENT[/STEP], as "
				 "0x200000:2M@1000/256K",
				 option, value);
	status = check_range(option, value, c->gpa, c->size, c->event);
	if (!status && strchr(value, '/') && (!c->step || !IS_ALIGNED(c->step, SIZE_4K)))
		status = cli_error(EXIT_BAD_USE, "run: %s '%s': expected a step of whole 4K pages",
				   option, value);
	cfg->nr_conversions += !status;
	return status;
}

static int parse_bug(const char *value, struct run_config *cfg)
{
#ifdef SEPTUM_CHECK
	const char *words[BUG_COUNT + 1] = {NULL};
	const char *near;
	int bug = bug_by_name(value);

	if (bug >= 0) {
		bug_set_add(&cfg->planted_bugs, (enum planted_bug)bug);
		return 0;
	}
	for (int i = 0; i < BUG_COUNT; i++)
		words[i] = bug_name((enum planted_bug)i);
	near = cli_nearest(value, words);
	return cli_error(EXIT_BAD_USE, "run: --bug '%s': unknown%s%s", value,
			 near ? ": did you mean " : ": expected one of those that --help lists",
			 near ? near : "");
#else
	(void)cfg;
	return cli_error(EXIT_BAD_USE,
			 "run: --bug '%s': bugs are planted in the checking build only "
			 "(./dev build check, then build-check/septum)",
			 value);
#endif
}

enum option_id {
	OPT_PAGES,
	OPT_MEMORY,
	OPT_VCPUS,
	OPT_ACCEPT,
	OPT_ACCEPT_LEVEL,
	OPT_MODULE,
	OPT_DPAMT,
	OPT_CHOICE, /* between words, about memory */
	OPT_POOL,
	OPT_FAIL,
	OPT_FAIL_ALLOC,
	OPT_DISCARD,
	OPT_SHARE,
	OPT_UNSHARE,
	OPT_PROMOTE,
	OPT_SPLIT_RANGE,
	OPT_SPLIT_METADATA,
	OPT_DEMOTE_LOCK,
	OPT_COMPARE,
	OPT_SEED,
	OPT_JSON,
	OPT_EVENTS,
	OPT_BUG,
	OPT_HELP,
	OPT_LATER,
};

struct option_row {
	const char *name;
	enum option_id id;
	const char *argument; /* NULL: takes none */
	const char *what;     /* for OPT_LATER: what it waits for */
};

static const struct option_row options[] = {
	{"--pages", OPT_PAGES, "2m|4k|1g", "largest private mapping allowed (default 2m)"},
	{"--memory", OPT_MEMORY, "SIZE", "guest memory (default: what the trace needs)"},
	{"--vcpus", OPT_VCPUS, "N", "vCPUs (default: as many as the trace names)"},
	{"--accept", OPT_ACCEPT, "lazy|eager|touch",
	 "accept at first use; all at start; or touch first and accept on #VE"},
	{"--accept-level", OPT_ACCEPT_LEVEL, "2m|4k",
	 "size the guest tries first (default as --pages, 2m for 1g)"},
	{"--module", OPT_MODULE, "PROFILE", "1.5.28 (default), 1.5.05, 1.5.25 or next (not real)"},
	{"--dpamt", OPT_DPAMT, "on|off", "Dynamic PAMT (default on where the module has it)"},
	{"--backing", OPT_CHOICE, "thp|4k|hugetlb-2m|hugetlb-1g",
	 "what the memory file is made of (default thp)"},
	{"--pool", OPT_POOL, "N|SIZE",
	 "huge pages in the pool of a HugeTLB backing (default what memory needs)"},
	{"--vmemmap", OPT_CHOICE, "on|off",
	 "HugeTLB vmemmap optimisation: a pool saves page descriptors (default on)"},
	{"--folio-split", OPT_CHOICE, "nonuniform|uniform",
	 "folios of a huge page with shared pages: 2M where none is, or 4K all over"},
	{"--folio-refs", OPT_CHOICE, "split|counted",
	 "split folios to count references to shared pages, or count without splitting"},
	{"--restructure", OPT_CHOICE, "prealloc|late",
	 "allocate what that needs before the point of no return, or when needed"},
	{"--convert-order", OPT_CHOICE, "split-folio-zap|zap-folio|folio-zap",
	 "order of the steps of a conversion: S-EPT split, folio split, zap"},
	{"--mapping-check", OPT_CHOICE, "mmu|tdx|trust",
	 "who checks that a mapping is contiguous and homogeneous (default mmu)"},
	{"--mapping-form", OPT_CHOICE, "original|folio",
	 "a mapping is at most as large as its huge page was, or as its folio is"},
	{"--fail", OPT_FAIL, "GPA@EVENT",
	 "before event EVENT the memory of that page fails; repeatable"},
	{"--fail-alloc", OPT_FAIL_ALLOC, "N@EVENT",
	 "the host's allocation number N from event EVENT on fails (checking build); repeatable"},
	{"--failure-scope", OPT_CHOICE, "page|folio",
	 "what is lost then: the page, or its whole huge page (default page)"},
	{"--discard", OPT_DISCARD, "GPA:SIZE@EVENT",
	 "before event EVENT the guest gives memory back, and accepts it anew; repeatable"},
	{"--share", OPT_SHARE, "GPA:SIZE@EVENT[/STEP]",
	 "before event EVENT the guest shares memory by MapGPA, STEP bytes at a time; repeatable"},
	{"--unshare", OPT_UNSHARE, "GPA:SIZE@EVENT[/STEP]",
	 "likewise, memory becomes private again, and is accepted at once"},
	{"--promote", OPT_PROMOTE, "off|idle|now",
	 "merge mappings to 2M, and 1G: not at all, by a thread, or by the vCPU that finds them"},
	{"--split-range", OPT_SPLIT_RANGE, "ends|walk|two-walks",
	 "where a split before a removal looks (default ends)"},
	{"--split-metadata", OPT_SPLIT_METADATA, "page|vm-cache|prealloc",
	 "where the pages that a split needs come from (default page)"},
	{"--demote-lock", OPT_DEMOTE_LOCK, "always|retry",
	 "when a split takes the lock of Dynamic PAMT (default always)"},
	{"--compare", OPT_COMPARE, NULL, "replay at 4K and at 2M, and show both side by side"},
	{"--seed", OPT_SEED, "N", "seed of the values that the guest writes (default 1)"},
	{"--json", OPT_JSON, "FILE", "write one JSON object (- for standard output)"},
	{"--events", OPT_EVENTS, "FILE",
	 "write every SEAMCALL with its registers, for septum seamcall --replay (.zst: "
	 "compressed)"},
	{"--bug", OPT_BUG, "NAME", "plant a bug (checking build); repeatable"},
	{"--help", OPT_HELP, NULL, "this text"},
	{"--time", OPT_LATER, "", "virtual time"},
};

static void help(void)
{
	puts("usage: septum run INPUT [options]\n\n"
	     "Replays a guest's memory trace (.tsv or .tsv.zst) inside a TD: private memory is "
	     "mapped\n"
	     "on demand by the TDP MMU through the software TDX module, and every page written is\n"
	     "checked at every later read.\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		char head[64];

		if (options[i].id == OPT_LATER)
			continue;
		snprintf(head, sizeof(head), "%s %s", options[i].name,
			 options[i].argument ? options[i].argument : "");
		if (strlen(head) > 38)
			printf("  %s\n  %-38s %s\n", head, "", options[i].what);
		else
			printf("  %-38s %s\n", head, options[i].what);
	}
#ifdef SEPTUM_CHECK
	puts("\nBugs that can be planted:");
	for (int i = 0; i < BUG_COUNT; i++)
		printf("  %-28s %s\n", bug_name((enum planted_bug)i),
		       bug_what((enum planted_bug)i));
#endif
	puts("\nExit status: 0 good, 1 something is wrong with the run (integrity error, dead VM, "
	     "leak),\n"
	     "2 bad usage or bad input, 4 can't run here.");
}

static const struct option_row *find_option(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (strlen(options[i].name) == length && !strncmp(options[i].name, name, length))
			return &options[i];
	return NULL;
}

static int unknown_option(const char *word, size_t length)
{
	const char *words[ARRAY_SIZE(options) + 1] = {NULL};
	char name[40];
	const char *near;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		words[i] = options[i].name;
	snprintf(name, sizeof(name), "%.*s", (int)length, word);
	near = cli_nearest(name, words);
	return cli_error(EXIT_BAD_USE, "run: unknown option '%s': %s%s", name,
			 near ? "did you mean " : "'septum run --help' lists them",
			 near ? near : "");
}

static int apply(const struct option_row *row, const char *value, struct run_config *cfg)
{
	int v = 0, status = 0;

	switch (row->id) {
	case OPT_PAGES:
		return parse_level(row->name, value, page_words, &cfg->pages);
	case OPT_ACCEPT_LEVEL:
		return parse_level(row->name, value, accept_level_words, &cfg->accept_level);
	case OPT_MEMORY:
		return parse_memory(value, cfg);
	case OPT_VCPUS:
		return parse_vcpus(value, cfg);
	case OPT_ACCEPT:
		status = parse_word(row->name, value, accept_words, &v);
		cfg->accept = (enum accept_mode)v;
		return status;
	case OPT_MODULE:
		return parse_module(value, cfg);
	case OPT_DPAMT:
		status = parse_word(row->name, value, switch_words, &v);
		cfg->dynamic_pamt = v;
		cfg->dynamic_pamt_chosen = true;
		return status;
	case OPT_CHOICE:
		return run_parse_choice(row->name, value, cfg);
	case OPT_POOL:
		return run_parse_pool(value, cfg);
	case OPT_FAIL:
		return run_parse_failure(value, cfg);
	case OPT_FAIL_ALLOC:
		return run_parse_failed_alloc(value, cfg);
	case OPT_DISCARD:
		return parse_discard(value, cfg);
	case OPT_SHARE:
	case OPT_UNSHARE:
		return parse_conversion(row->name, value, row->id == OPT_UNSHARE, cfg);
	case OPT_PROMOTE:
		status = parse_word(row->name, value, promote_words, &v);
		cfg->promote = (enum vm_promote)v;
		return status;
	case OPT_SPLIT_RANGE:
		status = parse_word(row->name, value, split_where_words, &v);
		cfg->split_where = (enum mmu_split_where)v;
		return status;
	case OPT_SPLIT_METADATA:
		status = parse_word(row->name, value, split_metadata_words, &v);
		cfg->split_metadata = (enum mmu_split_metadata)v;
		return status;
	case OPT_DEMOTE_LOCK:
		status = parse_word(row->name, value, demote_lock_words, &v);
		cfg->demote_lock = (enum td_demote_lock)v;
		return status;
	case OPT_COMPARE:
		cfg->compare = true;
		return 0;
	case OPT_SEED:
		if (cli_parse_u64(value, &cfg->seed))
			return cli_error(EXIT_BAD_USE, "run: --seed '%s': expected a number",
					 value);
		return 0;
	case OPT_JSON:
		cfg->json = value;
		return 0;
	case OPT_EVENTS:
		cfg->events = value;
		return 0;
	case OPT_BUG:
		return parse_bug(value, cfg);
	case OPT_HELP:
		help();
		return -1;
	case OPT_LATER:
		break;
	}
	return cli_error(EXIT_BAD_USE, "run: %s comes later, with %s: this version doesn't have it",
			 row->name, row->what);
}

/* "--name value" or "--name=value"; *@at moves past what was used. */
static int parse_option(int argc, char **argv, int *at, struct run_config *cfg)
{
	const char *word = argv[*at], *equals = strchr(word, '=');
	size_t length = equals ? (size_t)(equals - word) : strlen(word);
	const struct option_row *row = find_option(word, length);
	const char *value = equals ? equals + 1 : NULL;

	if (!row)
		return unknown_option(word, length);
	if (!row->argument && value)
		return cli_error(EXIT_BAD_USE, "run: %s takes no value, found '%s'", row->name,
				 value);
	if (row->argument && !value && row->id != OPT_LATER) {
		if (*at + 1 >= argc)
			return cli_error(EXIT_BAD_USE, "run: %s: expected a value: %s", row->name,
					 row->argument);
		value = argv[++*at];
	}
	return apply(row, value, cfg);
}

/* What can't be had together. */
static int check_choices(struct run_config *cfg)
{
	if (cfg->compare && (cfg->pages != PG_LEVEL_NONE || cfg->accept_level != PG_LEVEL_NONE))
		return cli_error(EXIT_BAD_USE,
				 "run: --compare chooses both sizes itself: expected no "
				 "--pages or --accept-level beside it");
	if (cfg->compare && cfg->json)
		return cli_error(EXIT_BAD_USE, "run: --compare and --json: expected one of them; "
					       "run each size with its own --json");
	if (cfg->compare && cfg->events)
		return cli_error(EXIT_BAD_USE, "run: --compare and --events: expected one of them; "
					       "run each size with its own --events");
	if (cfg->dynamic_pamt_chosen && cfg->dynamic_pamt && !cfg->profile->dynamic_pamt)
		return cli_error(EXIT_BAD_USE, "run: --dpamt on: module %s has no Dynamic PAMT",
				 cfg->profile->name);
	if (!cfg->profile->dynamic_pamt)
		cfg->dynamic_pamt = false;
	if (cfg->pages == PG_LEVEL_NONE)
		cfg->pages = PG_LEVEL_2M;
	if (cfg->accept_level == PG_LEVEL_NONE)
		cfg->accept_level = cfg->pages == PG_LEVEL_4K ? PG_LEVEL_4K : PG_LEVEL_2M;
	return run_check_choices(cfg);
}

/* ---- planned events, as words ------------------------------------------------------------------*/
static void conversion_words(const struct replay_conversion *c, char *value, size_t size)
{
	int used = snprintf(value, size, "0x%" PRIx64 ":%" PRIu64 "@%" PRIu64, c->gpa, c->size,
			    c->event);

	if (c->step)
		snprintf(value + used, size - (size_t)used, "/%" PRIu64, c->step);
}

static void failure_words(const struct replay_failure *f, const char **option, char *value,
			  size_t size)
{
	*option = f->allocation ? "fail-alloc" : "fail";
	if (f->allocation)
		snprintf(value, size, "%" PRIu64 "@%" PRIu64, f->allocation, f->event);
	else
		snprintf(value, size, "0x%" PRIx64 "@%" PRIu64, f->gpa, f->event);
}

bool run_planned(const struct run_config *cfg, u32 i, const char **option, char *value, size_t size)
{
	if (i < cfg->nr_discards) {
		const struct replay_discard *d = &cfg->discards[i];

		*option = "discard";
		snprintf(value, size, "0x%" PRIx64 ":%" PRIu64 "@%" PRIu64, d->gpa, d->size,
			 d->event);
		return true;
	}
	i -= cfg->nr_discards;
	if (i < cfg->nr_conversions) {
		*option = cfg->conversions[i].to_private ? "unshare" : "share";
		conversion_words(&cfg->conversions[i], value, size);
		return true;
	}
	i -= cfg->nr_conversions;
	if (i >= cfg->nr_failures)
		return false;
	failure_words(&cfg->failures[i], option, value, size);
	return true;
}

int run_parse(int argc, char **argv, struct run_config *cfg)
{
	*cfg = (struct run_config){.profile = seam_profile_at(0), .dynamic_pamt = true, .seed = 1};
	for (int at = 1; at < argc; at++) {
		int status = 0;

		if (argv[at][0] == '-' && argv[at][1])
			status = parse_option(argc, argv, &at, cfg);
		else if (cfg->input)
			status = cli_error(EXIT_BAD_USE, "run: '%s': expected one INPUT, have '%s'",
					   argv[at], cfg->input);
		else
			cfg->input = argv[at];
		if (status)
			return status;
	}
	if (!cfg->input)
		return cli_error(EXIT_BAD_USE, "run: expected a trace: septum run INPUT [options]");
	return check_choices(cfg);
}
