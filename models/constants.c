/* SPDX-License-Identifier: MIT */
/*
 * models/constants: prints what the Promela models know of the tables of this tree, as macros: the
 * states of a secure EPT entry and which leaf may act in which, the module's statuses, the changes
 * of an MMU entry, the lock order. A model that names what no table has isn't accepted by spin.
 *
 * Everything becomes a small number, since Promela has no 64-bit values: a status is its place in
 * the table.
 */
#include <stdbool.h>
#include <stdio.h>

#include "base/sync.h"
#include "mmu/spte.h"
#include "seam/sept.h"

/* ---- conditions: (a || b || ...), false when nothing holds ------------------------------------*/
static void begin_condition(const char *name, const char *parameters)
{
	printf("#define %s(%s) (false", name, parameters);
}

static void end_condition(void)
{
	printf(")\n");
}

/* ---- secure EPT ------------------------------------------------------------------------------*/
static const struct {
	const char *name;
	u32 bit;
} predicates[] = {
	{"SEPT_IS_LEAF", SEPT_IS_LEAF},
	{"SEPT_IS_GUEST_ACCESSIBLE", SEPT_IS_GUEST_ACCESSIBLE},
	{"SEPT_IS_BLOCKED", SEPT_IS_BLOCKED},
	{"SEPT_IS_PENDING", SEPT_IS_PENDING},
	{"SEPT_NEEDS_TRACKING", SEPT_NEEDS_TRACKING},
	{"SEPT_IS_FREE", SEPT_IS_FREE},
	{"SEPT_IS_ACCEPTABLE", SEPT_IS_ACCEPTABLE},
};

static const struct {
	const char *name;
	unsigned int number;
	bool guest;
} leaves[] = {
#define TDH_LEAF(sym, nr, name) {#sym, nr, false},
#include "septum/tdh_leaves.def"
#undef TDH_LEAF
#define TDG_LEAF(sym, nr, name) {#sym, nr, true},
#include "septum/tdg_leaves.def"
#undef TDG_LEAF
};

static void print_states(void)
{
	printf("#define SEPT_STATES %u\n", SEPT_STATE_COUNT);
	for (unsigned int i = 0; i < SEPT_STATE_COUNT; i++)
		printf("#define SEPT_%s %u\n", sept_states[i].name, i);
}

static void print_predicates(void)
{
	for (unsigned int p = 0; p < sizeof(predicates) / sizeof(predicates[0]); p++) {
		begin_condition(predicates[p].name, "s");
		for (unsigned int i = 0; i < SEPT_STATE_COUNT; i++)
			if (sept_is(&sept_states[i], predicates[p].bit))
				printf(" || (s) == %u", i);
		end_condition();
	}
}

/* LEAF_MAY_ACT(state): the state check of a leaf passes; only for leaves that look at a state. */
static void print_leaves(void)
{
	for (unsigned int l = 0; l < sizeof(leaves) / sizeof(leaves[0]); l++) {
		char name[64];
		bool any = false;

		snprintf(name, sizeof(name), "%s_MAY_ACT", leaves[l].name);
		for (unsigned int i = 0; i < SEPT_STATE_COUNT; i++) {
			const struct sept_state *s = &sept_states[i];

			if (!((leaves[l].guest ? s->guest_leaves : s->host_leaves) >>
				      leaves[l].number &
			      1))
				continue;
			if (!any)
				begin_condition(name, "s");
			any = true;
			printf(" || (s) == %u", i);
		}
		if (any)
			end_condition();
	}
}

/* WHEN_x(state): the state that follows; a chain of conditions that ends in the state itself. */
static void print_following(const char *name,
			    enum sept_state_id (*next)(const struct sept_state *s))
{
	unsigned int open = 0;

	printf("#define %s(s) ", name);
	for (unsigned int i = 0; i < SEPT_STATE_COUNT; i++) {
		if (next(&sept_states[i]) == i)
			continue;
		printf("((s) == %u -> %u : ", i, next(&sept_states[i]));
		open++;
	}
	printf("(s)");
	while (open--)
		printf(")");
	printf("\n");
}

static enum sept_state_id when_blocked(const struct sept_state *s)
{
	return s->blocked;
}

static enum sept_state_id when_unblocked(const struct sept_state *s)
{
	return s->unblocked;
}

static enum sept_state_id when_accepted(const struct sept_state *s)
{
	return s->accepted;
}

/* ---- statuses, MMU entries, locks ------------------------------------------------------------*/
static void print_statuses(void)
{
	static const char *const names[] = {
#define TDX_STATUS(sym, value) #sym,
#include "septum/statuses.def"
#undef TDX_STATUS
	};

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		printf("#define TDX_%s %u\n", names[i], i);
}

static const struct {
	unsigned int from, to, flags;
} changes[] = {
#define SPTE_CHANGE(from, to, flags) {SPTE_KIND_##from, SPTE_KIND_##to, flags},
#include "mmu/spte_changes.def"
#undef SPTE_CHANGE
};

static void print_changes_with(const char *name, unsigned int flag)
{
	begin_condition(name, "from, to");
	for (unsigned int i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		if (changes[i].flags & flag)
			printf(" || ((from) == %u && (to) == %u)", changes[i].from, changes[i].to);
	end_condition();
}

static void print_changes(void)
{
	printf("#define SPTE_NONE %u\n#define SPTE_LEAF %u\n", SPTE_KIND_NONE, SPTE_KIND_LEAF);
	printf("#define SPTE_TABLE %u\n#define SPTE_FROZEN %u\n", SPTE_KIND_TABLE,
	       SPTE_KIND_FROZEN);
	print_changes_with("SPTE_CHANGE_IS_LEGAL", CHANGE_LEGAL);
	print_changes_with("SPTE_CHANGE_MAY_BE_SHARED", CHANGE_SHARED);
	print_changes_with("SPTE_CHANGE_HAS_HOOK", CHANGE_HOOK);
	print_changes_with("SPTE_CHANGE_IS_SPLIT", CHANGE_SPLIT);
	print_changes_with("SPTE_CHANGE_IS_PROMOTION", CHANGE_PROMOTE);
}

/* From 1 on: 0 is a process that holds none. */
static void print_lock_order(void)
{
#define LOCK_CLASS(sym, name) printf("#define %s %u\n", #sym, (unsigned int)(sym) + 1);
#include "base/lock_order.def"
#undef LOCK_CLASS
}

int main(void)
{
	printf("/* Printed by models/constants.c from the tables of the tree. */\n");
	print_states();
	print_predicates();
	print_leaves();
	print_following("SEPT_WHEN_BLOCKED", when_blocked);
	print_following("SEPT_WHEN_UNBLOCKED", when_unblocked);
	print_following("SEPT_WHEN_ACCEPTED", when_accepted);
	print_statuses();
	print_changes();
	print_lock_order();
	printf("#define PTRS_PER_TABLE %u\n", PTRS_PER_TABLE);
	return 0;
}
