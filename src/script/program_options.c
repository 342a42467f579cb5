/* SPDX-License-Identifier: MIT */
/*
 * script/program: what a machine and a TD are made of, by the option names of `septum run`. A row of
 * a table an option: the same row parses and prints it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "script/program_impl.h"

#define DEFAULT_MACHINE_MEMORY SIZE_1G
#define DEFAULT_TD_MEMORY (8ULL << 20)
#define MAX_MACHINE_MEMORY (64 * SIZE_1G)

const struct program_value program_levels[] = {
	{"4k", PG_LEVEL_4K}, {"2m", PG_LEVEL_2M}, {"1g", PG_LEVEL_1G}, {NULL, 0}};

static const struct program_value switch_words[] = {{"on", true}, {"off", false}, {NULL, 0}};
static const struct program_value accept_words[] = {{"lazy", false}, {"touch", true}, {NULL, 0}};
static const struct program_value backing_words[] = {{"thp", GMEM_THP},
						     {"4k", GMEM_4K},
						     {"hugetlb-2m", GMEM_HUGETLB_2M},
						     {"hugetlb-1g", GMEM_HUGETLB_1G},
						     {NULL, 0}};
static const struct program_value promote_words[] = {
	{"off", VM_PROMOTE_OFF}, {"idle", VM_PROMOTE_IDLE}, {"now", VM_PROMOTE_NOW}, {NULL, 0}};
static const struct program_value split_range_words[] = {{"ends", MMU_SPLIT_ENDS},
							 {"walk", MMU_SPLIT_WALK},
							 {"two-walks", MMU_SPLIT_TWO_WALKS},
							 {NULL, 0}};
static const struct program_value split_metadata_words[] = {{"page", MMU_META_PAGE},
							    {"vm-cache", MMU_META_VM_CACHE},
							    {"prealloc", MMU_META_PREALLOC},
							    {NULL, 0}};
static const struct program_value demote_lock_words[] = {
	{"always", TD_DEMOTE_LOCK_ALWAYS}, {"retry", TD_DEMOTE_LOCK_SECOND_TRY}, {NULL, 0}};
static const struct program_value folio_split_words[] = {
	{"nonuniform", GMEM_SPLIT_NONUNIFORM}, {"uniform", GMEM_SPLIT_UNIFORM}, {NULL, 0}};
static const struct program_value folio_refs_words[] = {
	{"split", GMEM_REFS_SPLIT}, {"counted", GMEM_REFS_COUNTED}, {NULL, 0}};
static const struct program_value restructure_words[] = {
	{"prealloc", GMEM_RESTRUCTURE_PREALLOC}, {"late", GMEM_RESTRUCTURE_LATE}, {NULL, 0}};
static const struct program_value convert_order_words[] = {{"split-folio-zap",
							    GMEM_ORDER_SPLIT_FOLIO_ZAP},
							   {"zap-folio", GMEM_ORDER_ZAP_FOLIO},
							   {"folio-zap", GMEM_ORDER_FOLIO_ZAP},
							   {NULL, 0}};
static const struct program_value mapping_check_words[] = {
	{"mmu", VM_CHECK_MMU}, {"tdx", VM_CHECK_TDX}, {"trust", VM_CHECK_TRUST}, {NULL, 0}};

enum td_option {
	TD_PAGES,
	TD_ACCEPT,
	TD_BACKING,
	TD_PROMOTE,
	TD_SPLIT_RANGE,
	TD_SPLIT_METADATA,
	TD_DEMOTE_LOCK,
	TD_FOLIO_SPLIT,
	TD_FOLIO_REFS,
	TD_RESTRUCTURE,
	TD_CONVERT_ORDER,
	TD_MAPPING_CHECK,
	TD_OPTIONS, /* those that are a word each */
};

static const struct {
	const char *name;
	const struct program_value *values;
} td_options[TD_OPTIONS] = {
	[TD_PAGES] = {"pages", program_levels},
	[TD_ACCEPT] = {"accept", accept_words},
	[TD_BACKING] = {"backing", backing_words},
	[TD_PROMOTE] = {"promote", promote_words},
	[TD_SPLIT_RANGE] = {"split-range", split_range_words},
	[TD_SPLIT_METADATA] = {"split-metadata", split_metadata_words},
	[TD_DEMOTE_LOCK] = {"demote-lock", demote_lock_words},
	[TD_FOLIO_SPLIT] = {"folio-split", folio_split_words},
	[TD_FOLIO_REFS] = {"folio-refs", folio_refs_words},
	[TD_RESTRUCTURE] = {"restructure", restructure_words},
	[TD_CONVERT_ORDER] = {"convert-order", convert_order_words},
	[TD_MAPPING_CHECK] = {"mapping-check", mapping_check_words},
};

static int get_td_option(const struct program_td *td, enum td_option option)
{
	switch (option) {
	case TD_PAGES:
		return (int)td->config.max_level;
	case TD_ACCEPT:
		return td->touch;
	case TD_BACKING:
		return (int)td->config.file.backing;
	case TD_PROMOTE:
		return (int)td->config.promote;
	case TD_SPLIT_RANGE:
		return (int)td->config.split_where;
	case TD_SPLIT_METADATA:
		return (int)td->config.split_metadata;
	case TD_DEMOTE_LOCK:
		return (int)td->config.demote_lock;
	case TD_FOLIO_SPLIT:
		return (int)td->config.file.folio_split;
	case TD_FOLIO_REFS:
		return (int)td->config.file.folio_refs;
	case TD_RESTRUCTURE:
		return (int)td->config.file.restructure;
	case TD_CONVERT_ORDER:
		return (int)td->config.file.convert_order;
	case TD_MAPPING_CHECK:
		return (int)td->config.mapping_check;
	case TD_OPTIONS:
		break;
	}
	return 0;
}

static void set_td_option(struct program_td *td, enum td_option option, int value)
{
	switch (option) {
	case TD_PAGES:
		td->config.max_level = (enum pg_level)value;
		break;
	case TD_ACCEPT:
		td->touch = value;
		td->config.sept_ve_disable = !value;
		break;
	case TD_BACKING:
		td->config.file.backing = (enum gmem_backing)value;
		break;
	case TD_PROMOTE:
		td->config.promote = (enum vm_promote)value;
		break;
	case TD_SPLIT_RANGE:
		td->config.split_where = (enum mmu_split_where)value;
		break;
	case TD_SPLIT_METADATA:
		td->config.split_metadata = (enum mmu_split_metadata)value;
		break;
	case TD_DEMOTE_LOCK:
		td->config.demote_lock = (enum td_demote_lock)value;
		break;
	case TD_FOLIO_SPLIT:
		td->config.file.folio_split = (enum gmem_folio_split)value;
		break;
	case TD_FOLIO_REFS:
		td->config.file.folio_refs = (enum gmem_folio_refs)value;
		break;
	case TD_RESTRUCTURE:
		td->config.file.restructure = (enum gmem_restructure)value;
		break;
	case TD_CONVERT_ORDER:
		td->config.file.convert_order = (enum gmem_convert_order)value;
		break;
	case TD_MAPPING_CHECK:
		td->config.mapping_check = (enum vm_mapping_check)value;
		break;
	case TD_OPTIONS:
		break;
	}
}

static const char *value_word(const struct program_value *values, int value)
{
	while (values->value != value)
		values++;
	return values->word;
}

enum pg_level program_pool_level(const struct program_td *td)
{
	switch (td->config.file.backing) {
	case GMEM_HUGETLB_2M:
		return PG_LEVEL_2M;
	case GMEM_HUGETLB_1G:
		return PG_LEVEL_1G;
	default:
		return PG_LEVEL_NONE;
	}
}

void program_default_machine(struct machine_config *m)
{
	*m = (struct machine_config){
		.memory_bytes = DEFAULT_MACHINE_MEMORY,
		.profile = seam_profile_at(0),
		.dynamic_pamt = true,
	};
}

void program_default_td(struct program_td *td)
{
	td->memory_bytes = DEFAULT_TD_MEMORY;
	td->nr_vcpus = 1;
	td->config = (struct vm_config){
		.max_level = PG_LEVEL_2M,
		.file = {.backing = GMEM_THP},
		.gpaw = 48,
		.sept_ve_disable = true,
	};
}

/* ---- words -----------------------------------------------------------------------------------*/

/* Divides "name=value"; @value has length 0 without one. */
static struct program_word name_of(const struct program_word *w, struct program_word *value)
{
	const char *equals = memchr(w->text, '=', w->length);
	size_t length = equals ? (size_t)(equals - w->text) : w->length;

	*value = (struct program_word){w->text + length, 0, w->column + (u32)length};
	if (equals) {
		value->text++;
		value->column++;
		value->length = w->length - length - 1;
	}
	return (struct program_word){w->text, length, w->column};
}

static int parse_memory(struct program_parser *ps, const struct program_word *value, u64 most,
			u64 *bytes)
{
	char shown[64];
	int err = program_parse_bytes(ps, value, "a size", bytes);

	if (!err && (!*bytes || *bytes > most))
		return program_complain(ps, value, "%s: expected a size from 4K to %lluM",
					program_show(value, shown, sizeof(shown)),
					(unsigned long long)most >> 20);
	return err;
}

static int parse_profile(struct program_parser *ps, const struct program_word *value)
{
	const char *names[16];
	u32 n = 0;

	for (; seam_profile_at(n); n++) {
		names[n] = seam_profile_at(n)->name;
		if (program_word_is(value, names[n])) {
			ps->p->machine.profile = seam_profile_at(n);
			return 0;
		}
	}
	names[n] = NULL;
	return program_unknown(ps, value, "module", names);
}

static int parse_machine_word(struct program_parser *ps, const struct program_word *w)
{
	static const char *const names[] = {"memory", "dpamt", "module", NULL};
	struct program_word value, name = name_of(w, &value);
	int on, err;

	if (program_word_is(&name, "memory"))
		return parse_memory(ps, &value, MAX_MACHINE_MEMORY, &ps->p->machine.memory_bytes);
	if (program_word_is(&name, "module"))
		return parse_profile(ps, &value);
	if (!program_word_is(&name, "dpamt"))
		return program_unknown(ps, &name, "option", names);
	err = program_parse_value(ps, &value, "dpamt", switch_words, &on);
	if (!err)
		ps->p->machine.dynamic_pamt = on;
	return err;
}

int program_parse_machine(struct program_parser *ps, u32 first)
{
	const struct machine_config *m = &ps->p->machine;
	int err = 0;

	for (u32 i = first; i < ps->nr_words && !err; i++)
		err = parse_machine_word(ps, &ps->word[i]);
	if (!err && m->dynamic_pamt && !m->profile->dynamic_pamt)
		return program_complain(ps, NULL,
					"module %s has no Dynamic PAMT: expected dpamt=off",
					m->profile->name);
	return err;
}

static int parse_vcpus(struct program_parser *ps, const struct program_word *value,
		       struct program_td *td)
{
	char shown[64];
	u64 n;
	int err = program_parse_number(ps, value, &n);

	if (err)
		return err;
	if (!n || n > PROGRAM_MAX_VCPUS)
		return program_complain(ps, value, "%s: expected 1 to %d vCPUs",
					program_show(value, shown, sizeof(shown)),
					PROGRAM_MAX_VCPUS);
	td->nr_vcpus = (u32)n;
	return 0;
}

static int parse_td_word(struct program_parser *ps, struct program_td *td,
			 const struct program_word *w)
{
	const char *names[3 + TD_OPTIONS + 1] = {"memory", "vcpus", "later"};
	struct program_word value, name = name_of(w, &value);
	int chosen, err;

	if (program_word_is(w, "later")) {
		td->later = true;
		return 0;
	}
	if (program_word_is(&name, "memory"))
		return parse_memory(ps, &value, ps->p->machine.memory_bytes, &td->memory_bytes);
	if (program_word_is(&name, "vcpus"))
		return parse_vcpus(ps, &value, td);
	for (enum td_option i = 0; i < TD_OPTIONS; i++) {
		names[i + 3] = td_options[i].name;
		if (!program_word_is(&name, td_options[i].name))
			continue;
		err = program_parse_value(ps, &value, td_options[i].name, td_options[i].values,
					  &chosen);
		if (!err)
			set_td_option(td, i, chosen);
		return err;
	}
	return program_unknown(ps, &name, "option", names);
}

int program_parse_td(struct program_parser *ps, struct program_td *td, u32 first)
{
	int err = 0;

	u64 huge;

	for (u32 i = first; i < ps->nr_words && !err; i++)
		err = parse_td_word(ps, td, &ps->word[i]);
	huge = program_pool_level(td) ? level_size(program_pool_level(td)) : PAGE_SIZE;
	if (!err && !IS_ALIGNED(td->memory_bytes, huge))
		return program_complain(ps, NULL,
					"backing=%s: expected memory=, a multiple of that",
					value_word(backing_words, (int)td->config.file.backing));
	return err;
}

/* ---- and back --------------------------------------------------------------------------------*/
size_t program_print_bytes(u64 bytes, char *text, size_t size)
{
	static const char *const suffixes[] = {"", "K", "M", "G", "T"};
	u32 n = 0;

	while (n < 4 && bytes && !(bytes & 1023)) {
		bytes >>= 10;
		n++;
	}
	return (size_t)snprintf(text, size, "%llu%s", (unsigned long long)bytes, suffixes[n]);
}

size_t program_print_machine(const struct machine_config *m, char *text, size_t size)
{
	char memory[24];

	program_print_bytes(m->memory_bytes, memory, sizeof(memory));
	return (size_t)snprintf(text, size, " memory=%s dpamt=%s module=%s", memory,
				m->dynamic_pamt ? "on" : "off", m->profile->name);
}

size_t program_print_td(const struct program_td *td, char *text, size_t size)
{
	struct program_td plain = {.nr_vcpus = 1};
	char memory[24];
	size_t n;

	program_default_td(&plain);
	program_print_bytes(td->memory_bytes, memory, sizeof(memory));
	n = (size_t)snprintf(text, size, " vcpus=%u memory=%s%s", td->nr_vcpus, memory,
			     td->later ? " later" : "");
	for (enum td_option i = 0; i < TD_OPTIONS; i++) {
		int value = get_td_option(td, i);

		if (value != get_td_option(&plain, i))
			n += (size_t)snprintf(n < size ? text + n : NULL, n < size ? size - n : 0,
					      " %s=%s", td_options[i].name,
					      value_word(td_options[i].values, value));
	}
	return n;
}
