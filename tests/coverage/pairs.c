/* SPDX-License-Identifier: MIT */
/*
 * Which leaf has met which state of an S-EPT entry, as the module and the processor saw it: linked into
 * every unit test of a coverage build, around the walks that all leaves and accesses go through. At
 * its end a program writes a line a pair into $SEPTUM_PAIRS/PROGRAM-PID; without that, nothing.
 *
 * A leaf meets the entry that its walk ends at ("end"), and the tables on the way there ("through"):
 * what acts on 4K alone can't end at an entry with a table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/lp.h"
#include "seam/internal.h"
#include "seam/sept.h"

/* Beside the module's leaves; numbers that no leaf has. */
enum { GUEST_READ = 62, GUEST_WRITE = 63, NR_LEAVES = 64 };

/* A bit a state: [guest] by TDCALL number and the two accesses, [host] by SEAMCALL number. */
static struct {
	u32 end[NR_LEAVES], through[NR_LEAVES];
} met_by_host, met_by_guest;

static void note(u32 *states, enum sept_state_id id)
{
	__atomic_fetch_or(states, 1u << id, __ATOMIC_RELAXED);
}

static void note_walk(const struct leaf_ctx *ctx)
{
	/* VP.ENTER looks again at what the guest's access met, which has been noted. */
	if (ctx->leaf == TDH_VP_ENTER)
		return;
	u32 *end = (ctx->vcpu ? met_by_guest.end : met_by_host.end) + ctx->leaf;
	u32 *through = (ctx->vcpu ? met_by_guest.through : met_by_host.through) + ctx->leaf;

	if (!ctx->entry) /* a broken root: it met nothing */
		return;
	note(end, ctx->state->id);
	if (ctx->found_level < ctx->tdcs->sept_levels - 1)
		note(through, SEPT_NL_MAPPED);
}

bool __real_sept_walk(struct leaf_ctx *ctx, u32 level);
bool __wrap_sept_walk(struct leaf_ctx *ctx, u32 level);
bool __wrap_sept_walk(struct leaf_ctx *ctx, u32 level)
{
	bool reached = __real_sept_walk(ctx, level);

	note_walk(ctx);
	return reached;
}

bool __real_sept_walk_to_present(struct leaf_ctx *ctx);
bool __wrap_sept_walk_to_present(struct leaf_ctx *ctx);
bool __wrap_sept_walk_to_present(struct leaf_ctx *ctx)
{
	bool present = __real_sept_walk_to_present(ctx);

	note_walk(ctx);
	return present;
}

bool __real_sept_walk_and_lock_guest(struct leaf_ctx *ctx, bool *locked);
bool __wrap_sept_walk_and_lock_guest(struct leaf_ctx *ctx, bool *locked);
bool __wrap_sept_walk_and_lock_guest(struct leaf_ctx *ctx, bool *locked)
{
	bool reached = __real_sept_walk_and_lock_guest(ctx, locked);

	note_walk(ctx);
	return reached;
}

/* The processor's walk says nothing of entries: the same once more, before it. */
static void note_access(const struct lp *lp, gpa_t gpa, u32 leaf)
{
	pfn_t table = addr_to_fn(lp->ept.sept_root);
	u64 entry;

	for (enum pg_level level = lp->ept.levels;; level--) {
		const u64 *entries = host_frame_ptr(lp->host, table);

		entry = sync_load_quiet(&entries[level_index(addr_to_fn(gpa), level)]);
		table = addr_to_fn(sept_hpa(entry));
		if (level == PG_LEVEL_4K || (entry & SEPT_LEAF) || !(entry & SEPT_RWX) ||
		    table >= lp->host->nr_frames)
			break;
		note(&met_by_guest.through[leaf], sept_state_of(entry)->id);
	}
	note(&met_by_guest.end[leaf], sept_state_of(entry)->id);
}

bool __real_ept_walk(const struct lp *lp, gpa_t gpa, bool write, struct ept_translation *out);
bool __wrap_ept_walk(const struct lp *lp, gpa_t gpa, bool write, struct ept_translation *out);
bool __wrap_ept_walk(const struct lp *lp, gpa_t gpa, bool write, struct ept_translation *out)
{
	/* Not shared addresses, nor tables that a test has made without a module. */
	if (lp->module && lp->ept.sept_root && !(gpa >> lp->ept.shared_bit))
		note_access(lp, gpa, write ? GUEST_WRITE : GUEST_READ);
	return __real_ept_walk(lp, gpa, write, out);
}

static void write_states(FILE *to, const char *side, u32 leaf, const char *how, u32 states)
{
	for (unsigned int i = 0; i < SEPT_STATE_COUNT; i++) {
		if (states >> i & 1)
			fprintf(to, "%s %u %s %s\n", side, leaf, how, sept_states[i].name);
	}
}

static __attribute__((destructor)) void write_pairs(void)
{
	const char *folder = getenv("SEPTUM_PAIRS");
	char path[512];
	FILE *to;

	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/%s-%d", folder, program_invocation_short_name,
		 (int)getpid());
	to = fopen(path, "w");
	if (!to) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return;
	}
	for (u32 leaf = 0; leaf < NR_LEAVES; leaf++) {
		write_states(to, "host", leaf, "end", met_by_host.end[leaf]);
		write_states(to, "host", leaf, "through", met_by_host.through[leaf]);
		write_states(to, "guest", leaf, "end", met_by_guest.end[leaf]);
		write_states(to, "guest", leaf, "through", met_by_guest.through[leaf]);
	}
	fclose(to);
}
