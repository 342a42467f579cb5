/* SPDX-License-Identifier: MIT */
/*
 * Options of `septum run` about the file that memory comes from: what it is made of, thread 001's
 * questions, its pool, memory that fails. A table says which word is which value of which choice.
 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/run.h"

/* ---- choices between words -------------------------------------------------------------------*/
#define MAX_WORDS 5

struct choice {
	const char *option;
	size_t at; /* of an enum in struct run_config */
	struct run_word words[MAX_WORDS];
};

static const struct choice choices[] = {
	{"--backing",
	 offsetof(struct run_config, file.backing),
	 {{"thp", GMEM_THP},
	  {"4k", GMEM_4K},
	  {"hugetlb-2m", GMEM_HUGETLB_2M},
	  {"hugetlb-1g", GMEM_HUGETLB_1G}}},
	{"--folio-split",
	 offsetof(struct run_config, file.folio_split),
	 {{"nonuniform", GMEM_SPLIT_NONUNIFORM}, {"uniform", GMEM_SPLIT_UNIFORM}}},
	{"--folio-refs",
	 offsetof(struct run_config, file.folio_refs),
	 {{"split", GMEM_REFS_SPLIT}, {"counted", GMEM_REFS_COUNTED}}},
	{"--restructure",
	 offsetof(struct run_config, file.restructure),
	 {{"prealloc", GMEM_RESTRUCTURE_PREALLOC}, {"late", GMEM_RESTRUCTURE_LATE}}},
	{"--convert-order",
	 offsetof(struct run_config, file.convert_order),
	 {{"split-folio-zap", GMEM_ORDER_SPLIT_FOLIO_ZAP},
	  {"zap-folio", GMEM_ORDER_ZAP_FOLIO},
	  {"folio-zap", GMEM_ORDER_FOLIO_ZAP}}},
	{"--mapping-check",
	 offsetof(struct run_config, mapping_check),
	 {{"mmu", VM_CHECK_MMU}, {"tdx", VM_CHECK_TDX}, {"trust", VM_CHECK_TRUST}}},
	{"--mapping-form",
	 offsetof(struct run_config, file.mapping_form),
	 {{"original", GMEM_FORM_ORIGINAL}, {"folio", GMEM_FORM_FOLIO}}},
	{"--failure-scope",
	 offsetof(struct run_config, file.failure_scope),
	 {{"page", GMEM_FAILURE_PAGE}, {"folio", GMEM_FAILURE_FOLIO}}},
	/* The last one: it says nothing unless a pool is the backing. */
	{"--vmemmap",
	 offsetof(struct run_config, vmemmap),
	 {{"on", RUN_VMEMMAP_ON}, {"off", RUN_VMEMMAP_OFF}}},
};

static const struct choice *find_choice(const char *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(choices); i++)
		if (!strcmp(choices[i].option, option))
			return &choices[i];
	return NULL;
}

/* All the fields are enums, of the size of an int. */
static int choice_value(const struct choice *c, const struct run_config *cfg)
{
	int value;

	memcpy(&value, (const char *)cfg + c->at, sizeof(value));
	return value;
}

int run_parse_choice(const char *option, const char *value, struct run_config *cfg)
{
	const struct choice *c = find_choice(option);

	for (const struct run_word *w = c->words; w->word; w++)
		if (!strcmp(w->word, value)) {
			memcpy((char *)cfg + c->at, &w->value, sizeof(w->value));
			return 0;
		}
	return run_bad_word(option, value, c->words);
}

bool run_choice(const struct run_config *cfg, u32 i, const char **option, const char **word)
{
	u32 nr = ARRAY_SIZE(choices) - !run_is_hugetlb(cfg);
	int value;

	if (i >= nr)
		return false;
	value = choice_value(&choices[i], cfg);
	*option = choices[i].option + 2;
	*word = "?";
	for (const struct run_word *w = choices[i].words; w->word; w++)
		if (w->value == value)
			*word = w->word;
	return true;
}

/* ---- failures --------------------------------------------------------------------------------*/
/* WHAT@EVENT. */
static bool parse_at_event(const char *value, u64 *what, u64 *event)
{
	const char *at = strchr(value, '@');
	char word[32];

	if (!at || (size_t)(at - value) >= sizeof(word))
		return false;
	snprintf(word, sizeof(word), "%.*s", (int)(at - value), value);
	return !cli_parse_u64(word, what) && !cli_parse_u64(at + 1, event);
}

static int add_failure(const char *option, const char *value, const struct replay_failure *f,
		       struct run_config *cfg)
{
	if (!f->event)
		return cli_error(EXIT_BAD_USE, "run: %s '%s': events are counted from 1", option,
				 value);
	if (cfg->nr_failures == RUN_MAX_FAILURES)
		return cli_error(EXIT_BAD_USE, "run: %s: expected at most %d failures", option,
				 RUN_MAX_FAILURES);
	cfg->failures[cfg->nr_failures++] = *f;
	return 0;
}

int run_parse_failure(const char *value, struct run_config *cfg)
{
	struct replay_failure f = {0};

	if (!parse_at_event(value, &f.gpa, &f.event))
		return cli_error(EXIT_BAD_USE,
				 "run: --fail '%s': expected GPA@EVENT, as 0x200000@1000", value);
	return add_failure("--fail", value, &f, cfg);
}

int run_parse_failed_alloc(const char *value, struct run_config *cfg)
{
#ifdef SEPTUM_CHECK
	struct replay_failure f = {0};

	if (!parse_at_event(value, &f.allocation, &f.event) || !f.allocation)
		return cli_error(EXIT_BAD_USE,
				 "run: --fail-alloc '%s': expected N@EVENT, as 3@1000, counted "
				 "from 1",
				 value);
	return add_failure("--fail-alloc", value, &f, cfg);
#else
	(void)cfg;
	return cli_error(EXIT_BAD_USE,
			 "run: --fail-alloc '%s': allocations fail on demand in the checking build "
			 "only (./dev build check, then build-check/septum)",
			 value);
#endif
}

/* ---- the pool --------------------------------------------------------------------------------*/

/* Pages, or bytes with a suffix: what those are in pages shows when the backing is known. */
int run_parse_pool(const char *value, struct run_config *cfg)
{
	u64 size;

	if (cli_parse_size(value, &size) || !size)
		return cli_error(EXIT_BAD_USE,
				 "run: --pool '%s': expected a number of huge pages, or a size "
				 "such as 4G",
				 value);
	cfg->pool_word = value;
	return 0;
}

int run_check_choices(const struct run_config *cfg)
{
	const char *option = cfg->vmemmap == RUN_VMEMMAP_UNSAID ? "--pool" : "--vmemmap";

	if (run_is_hugetlb(cfg) || (cfg->vmemmap == RUN_VMEMMAP_UNSAID && !cfg->pool_word))
		return 0;
	return cli_error(EXIT_BAD_USE,
			 "run: %s: expected it beside --backing hugetlb-2m or hugetlb-1g only",
			 option);
}

static int plan_pool(struct run_config *cfg, u64 needed, enum pg_level level)
{
	const char *unit = level == PG_LEVEL_1G ? "1G" : "2M";
	u64 size;

	cfg->pool_pages = needed;
	if (!cfg->pool_word)
		return 0;
	cli_parse_size(cfg->pool_word, &size);
	if (strpbrk(cfg->pool_word, "KMGT")) {
		if (!IS_ALIGNED(size, level_size(level)))
			return cli_error(EXIT_BAD_USE,
					 "run: --pool '%s': expected a multiple of %s, its pages",
					 cfg->pool_word, unit);
		size /= level_size(level);
	}
	if (size < needed)
		return cli_error(EXIT_BAD_USE,
				 "run: --pool '%s': %" PRIu64 " %s of %s missing: expected at "
				 "least %" PRIu64 " for %" PRIu64 " MiB of memory",
				 cfg->pool_word, needed - size,
				 needed - size == 1 ? "page" : "pages", unit, needed,
				 cfg->memory_bytes >> 20);
	if (size > RUN_MAX_MEMORY / level_size(level))
		return cli_error(EXIT_BAD_USE, "run: --pool '%s': expected at most 16T",
				 cfg->pool_word);
	cfg->pool_pages = size;
	return 0;
}

int run_plan_memory(struct run_config *cfg)
{
	enum pg_level level = run_pool_level(cfg);
	u64 needed;

	if (!run_is_hugetlb(cfg))
		return 0;
	if (cfg->vmemmap == RUN_VMEMMAP_UNSAID)
		cfg->vmemmap = RUN_VMEMMAP_ON;
	needed = ALIGN_UP(cfg->memory_bytes, level_size(level)) / level_size(level);
	return plan_pool(cfg, needed, level);
}
