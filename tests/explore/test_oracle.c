/* SPDX-License-Identifier: MIT */
/*
 * The oracle itself: every one of its lines is broken once, by a planted bug or by a hand that reaches
 * into the machine (or into the specification) in the middle of an execution, and is the one reported.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "explore/run.h"
#include "mmu/internal.h"
#include "mmu/spte.h"
#include "seam/sept.h"
#include "tdx/internal.h"
#include "vm/internal.h"

#define A "machine memory=1G\ntd a vcpus=2 memory=8M\n"
#define MAPPED A "setup\na.0: accept 0x200000 2m\na.0: write 0x200000\na.0: write 0x201000\n"

/* Asked before every step once the threads run: true when the damage is done. */
struct damage {
	const char *line; /* of the oracle */
	const char *text;
	bool (*break_it)(struct world *w, const struct sched_view *v);
	struct explore_injection injection;
};

struct hand {
	struct explore_machine *m;
	const struct damage *damage;
	bool done;
};

static int choose(void *ctx, const struct sched_view *v)
{
	struct hand *h = ctx;

	if (!h->done)
		h->done = h->damage->break_it(explore_world(h->m), v);
	return (int)sched_default(v);
}

static const struct sched_policy meddling = {.choose = choose};

static struct oracle_run *run_of(struct world *w, gfn_t gfn)
{
	return &w->td[0].run[oracle_run_at(&w->td[0], gfn)];
}

/* The entry that the running thread has open, if @leaf opened it. */
static struct open_entry *open_by(struct world *w, const struct sched_view *v, u32 leaf)
{
	struct open_entry *open = &w->caller[v->running].open;

	return open->leaf == leaf ? open : NULL;
}

/* ---- the hands -------------------------------------------------------------------------------*/
static bool other_bytes(struct world *w, const struct sched_view *v)
{
	enum pg_level level;
	u64 entry = oracle_sept(w, &w->td[0], 0x201, &level);
	u64 *word = host_ptr(w->m.host, ALIGN_DOWN(sept_hpa(entry), level_size(level)) + PAGE_SIZE);

	(void)v;
	*word = 3;
	return true;
}

static u64 *entry_of(struct world *w, gfn_t gfn, enum pg_level level)
{
	const u64 *table = w->td[0].sept_root;

	for (enum pg_level at = w->td[0].root_level; at > level; at--)
		table = host_ptr(w->m.host, sept_hpa(table[level_index(gfn, at)]));
	return (u64 *)(uintptr_t)table + level_index(gfn, level);
}

/* The page moves, and the vCPU's TLB doesn't know. */
static bool other_frame(struct world *w, const struct sched_view *v)
{
	(void)v;
	*entry_of(w, 0x200, PG_LEVEL_2M) += SIZE_2M;
	return true;
}

static bool poison(struct world *w, const struct sched_view *v)
{
	enum pg_level level;
	u64 entry = oracle_sept(w, &w->td[0], 0x201, &level);
	hpa_t hpa = ALIGN_DOWN(sept_hpa(entry), level_size(level)) + PAGE_SIZE;
	u64 word = 1;

	(void)v;
	host_write(w->m.host, hpa, 0, &word, 1);
	return true;
}

static bool other_side(struct world *w, const struct sched_view *v)
{
	(void)v;
	run_of(w, 0x201)->private = false;
	return true;
}

static bool side_of_another(struct world *w, const struct sched_view *v)
{
	(void)v;
	run_of(w, 0x202)->private = false;
	return true;
}

static bool not_accepted(struct world *w, const struct sched_view *v)
{
	(void)v;
	run_of(w, 0x201)->accepted = false;
	return true;
}

static bool nobody_asked(struct world *w, const struct sched_view *v)
{
	(void)v;
	if (!run_of(w, 0x200)->removing)
		return false;
	run_of(w, 0x200)->removing = 0;
	return true;
}

static bool back_again(struct world *w, const struct sched_view *v)
{
	struct oracle_run *r = run_of(w, 0x200);

	(void)v;
	if (!r->removing || !r->removed_at)
		return false;
	r->accepted = true;
	r->accepted_at = 0;
	return true;
}

static bool held(struct world *w, const struct sched_view *v)
{
	struct oracle_run *r = run_of(w, 0x200);

	(void)v;
	if (!r->to_private)
		return false;
	r->pins[0] = 1;
	return true;
}

static bool half_done(struct world *w, const struct sched_view *v)
{
	struct oracle_run *r = run_of(w, 0x200);

	(void)v;
	if (!r->to_shared)
		return false;
	r->removed_at = w->moment + 1;
	return true;
}

static bool held_in_hole(struct world *w, const struct sched_view *v)
{
	struct oracle_run *r = run_of(w, 0x200);

	(void)v;
	if (!r->removing)
		return false;
	r->pins[0] = 1;
	return true;
}

/* The mirror's entry, by hand. */
static u64 *mirror_of(struct world *w, gfn_t gfn, enum pg_level level)
{
	struct mmu *mmu = w->td[0].vm->mmu;
	struct mmu_page *sp = mmu->mirror_root;

	while (sp->level > level) {
		u64 spte = sp->spt[level_index(gfn, sp->level)];

		if (!spte_is_table(spte, sp->level))
			return NULL;
		sp = mmu_spte_child(mmu, spte);
	}
	return &sp->spt[level_index(gfn, level)];
}

static struct world_actor *at_work(struct world *w, enum program_op_kind kind)
{
	for (u32 i = 0; i <= w->program->nr_threads; i++)
		if (w->actor[i].op && w->actor[i].op->kind == kind)
			return &w->actor[i];
	return NULL;
}

/* A leaf in place of the table that a split has made. */
static bool large_again(struct world *w, const struct sched_view *v)
{
	struct world_actor *a = at_work(w, OP_SPLIT);
	u64 *first;

	(void)v;
	if (!a || !a->leaves.split_at)
		return false;
	first = mirror_of(w, 0x200, PG_LEVEL_4K);
	*mirror_of(w, 0x200, PG_LEVEL_2M) = spte_make_leaf(spte_pfn(*first), PG_LEVEL_2M);
	return true;
}

/* The same, and a fault seems to have made it before the split was over. */
static bool large_behind_the_walk(struct world *w, const struct sched_view *v)
{
	struct world_actor *a = at_work(w, OP_SPLIT);

	if (!large_again(w, v))
		return false;
	a->leaves.large[0] = (struct world_large){0x200, true, a->leaves.split_at - 1};
	a->leaves.nr_large = 1;
	return true;
}

static bool small_again(struct world *w, const struct sched_view *v)
{
	u64 *entry = mirror_of(w, 0x200, PG_LEVEL_2M);

	(void)v;
	if (!at_work(w, OP_PROMOTE) || !spte_is_leaf(*entry, PG_LEVEL_2M))
		return false;
	*entry = SPTE_NONE;
	return true;
}

/* The leaf that memory failure has taken away. */
static bool mapped_again(struct world *w, const struct sched_view *v)
{
	u64 *entry = mirror_of(w, 0x200, PG_LEVEL_4K);

	(void)v;
	if (!at_work(w, OP_FAIL) || !entry || *entry != SPTE_NONE)
		return false;
	*entry = spte_make_leaf(spte_pfn(entry[1]) - 1, PG_LEVEL_4K);
	return true;
}

static bool has_failed(struct world *w, const struct sched_view *v)
{
	(void)v;
	run_of(w, 0x200)->lost = true;
	return true;
}

static bool has_failed_once_mapped(struct world *w, const struct sched_view *v)
{
	const u64 *entry = mirror_of(w, 0x200, PG_LEVEL_2M);

	return entry && spte_is_leaf(*entry, PG_LEVEL_2M) && has_failed(w, v);
}

/* One page more than was written back. */
static bool one_more_given_back(struct world *w, const struct sched_view *v)
{
	struct world_unwritten *u = &w->caller[v->running].unwritten;

	if (!u->left)
		return false;
	u->left++;
	return true;
}

static bool kept_frame(struct world *w, const struct sched_view *v)
{
	pfn_t pfn;

	(void)v;
	return !host_alloc(w->m.host, PG_LEVEL_4K, FRAME_OTHER, &pfn);
}

/* What the TD that lives has is looked at beside one that died, and so is the host. */
static bool miscounted_beside_dead(struct world *w, const struct sched_view *v)
{
	(void)v;
	if (!vm_is_dead(w->td[0].vm))
		return false;
	w->td[1].vm->mmu->stats.pages[PG_LEVEL_4K]++;
	return true;
}

static bool kept_frame_of_dead(struct world *w, const struct sched_view *v)
{
	return vm_is_dead(w->td[0].vm) && kept_frame(w, v);
}

static bool barred(struct world *w, const struct sched_view *v)
{
	struct world_caller *c = &w->caller[v->running];

	/* The fault has looked already, and goes on to AUG. */
	if (!open_by(w, v, TDH_MEM_PAGE_AUG))
		return false;
	mmu_slot_set_guest_inhibit(vm_slot(w->td[0].vm), 0x200, PG_LEVEL_2M);
	c->was_inhibited = true;
	c->fault_gfn = 0x200;
	return true;
}

static bool unheard_of(struct world *w, const struct sched_view *v)
{
	struct open_entry *open = open_by(w, v, TDH_MEM_PAGE_AUG);

	if (open)
		open->leaf = 0;
	return open;
}

static bool taken_out(struct world *w, const struct sched_view *v)
{
	struct open_entry *open = open_by(w, v, TDH_MEM_PAGE_AUG);

	if (open)
		*entry_of(w, open->gfn, open->level) = sept_states[SEPT_FREE].raw;
	return open;
}

static bool left_blocked(struct world *w, const struct sched_view *v)
{
	struct world_caller *c = &w->caller[v->running];

	if (!c->td)
		return false;
	c->open = (struct open_entry){TDH_MEM_RANGE_BLOCK, &w->td[0], 0x200, PG_LEVEL_2M};
	return true;
}

static bool uncounted(struct world *w, const struct sched_view *v)
{
	if (!open_by(w, v, TDH_MEM_SEPT_ADD))
		return false;
	for (u64 i = 0; i < w->m.host->nr_frames / PTRS_PER_TABLE; i++)
		w->m.tdx->pamt_refs[i] = 0;
	return true;
}

static bool without_reason(struct world *w, const struct sched_view *v)
{
	(void)v;
	if (!w->out->seamcalls)
		return false;
	w->injected = false;
	w->td[0].may_die = false;
	return w->out->seamcalls >= w->setup.injection.seamcall;
}

static bool no_memory_without_reason(struct world *w, const struct sched_view *v)
{
	(void)v;
	w->injected = false;
	return true;
}

static bool warning(struct world *w, const struct sched_view *v)
{
	(void)v;
	w->m.warn(w->m.warn_ctx, "something");
	return true;
}

static bool miscounted(struct world *w, const struct sched_view *v)
{
	(void)v;
	w->td[0].vm->mmu->stats.pages[PG_LEVEL_4K]++;
	return true;
}

static bool lock_of_nobody(struct world *w, const struct sched_view *v)
{
	(void)v;
	w->td[0].vm->mmu->lock.writer = 31;
	return true;
}

/* It has been kicked, and has made the one access that may come after. */
static bool kicked_long_ago(struct world *w, const struct sched_view *v)
{
	u32 entries = w->td[0].vm->vcpus[0].entries;

	(void)v;
	if (entries & 1)
		w->td[0].visit[0] =
			(struct world_visit){.kicked = true, .entries = entries, .accesses = 1};
	return entries & 1;
}

static bool held_out_and_inside(struct world *w, const struct sched_view *v)
{
	if (!open_by(w, v, TDH_MEM_RANGE_BLOCK))
		return false;
	w->td[0].vm->td->hold_off = 1;
	w->td[0].visit[1].inside = true;
	return true;
}

/* A table that is free already goes, before every step: some time somebody reads. */
static bool freed_too_early(struct world *w, const struct sched_view *v)
{
	(void)v;
	/* The host's last frame is no table. */
	w->retired[0] = (struct world_retired){w->m.host->nr_frames - 1, UINT64_MAX};
	w->nr_retired = 1;
	return false;
}

/* Inside for ever: who kicks it waits for that. */
static bool never_leaves(struct world *w, const struct sched_view *v)
{
	(void)v;
	w->td[0].vm->vcpus[1].entries |= 1;
	return true;
}

static bool endless_invalidation(struct world *w, const struct sched_view *v)
{
	struct mmu *mmu = w->td[0].vm->mmu;

	(void)v;
	mmu->invalidate_in_progress = 1;
	mmu->invalidate_start = 0;
	mmu->invalidate_end = mmu->gfn_limit;
	return true;
}

static bool wrong_order(struct world *w, const struct sched_view *v)
{
	struct sync_mutex inner, outer;

	(void)w;
	(void)v;
	sync_mutex_init(&inner, LOCK_HOST_ALLOC);
	sync_mutex_init(&outer, LOCK_DPAMT);
	sync_mutex_lock(&inner);
	sync_mutex_lock(&outer);
	return true;
}

static bool crash(struct world *w, const struct sched_view *v)
{
	(void)w;
	(void)v;
	raise(SIGSEGV);
	return true;
}

#define READ MAPPED "thread a.0\nread 0x200000\nexit\nread 0x201000\n"
#define PUNCH MAPPED "thread host\npunch a 0x200000 4K\n"
#define ACCEPT A "thread a.0\naccept 0x200000 2m\nread 0x200000\n"
#define SPLIT MAPPED "thread host\nsplit a 0x200000 2M\n"
#define TWO                                                          \
	A "td b vcpus=1 memory=8M\nsetup\na.0: accept 0x200000 2m\n" \
	  "thread host\npunch a 0x200000 4K\nthread b.0\naccept 0x200000 4k\nread 0x200000\n"
#define FATAL                                                         \
	{                                                             \
		.seamcall = 1, .seamcall_status = TDX_OPERAND_INVALID \
	}
#define SHARE MAPPED "thread host\nconvert a 0x200000 4K shared\n"

static const struct damage damages[] = {
	{"stale-translation", READ, other_frame, {0}},
	{"bytes", READ, other_bytes, {0}},
	{"machine-check", READ, poison, {0}},
	{"wrong-side", READ, other_side, {0}},
	{"attribute", READ, side_of_another, {0}},
	{"accepted", READ, not_accepted, {0}},
	{"lost", PUNCH, nobody_asked, {0}},
	{"kept", PUNCH, back_again, {0}},
	{"held",
	 A "setup\na.0: share 0x200000 4K\nthread host\nconvert a 0x200000 4K private\n",
	 held,
	 {0}},
	{"held",
	 A "setup\na.0: share 0x200000 4K\nthread host\npunch a 0x200000 4K\n",
	 held_in_hole,
	 {0}},
	{"split", SPLIT, large_again, {0}},
	{"split", SPLIT, large_behind_the_walk, {0}},
	{"promoted",
	 MAPPED "host: split a 0x200000 2M\nthread host\npromote a 0x200000 2m\n",
	 small_again,
	 {0}},
	{"failed", MAPPED "thread host\nfail a 0x200000\n", mapped_again, {0}},
	{"failed", READ, has_failed, {0}},
	{"failed", ACCEPT, has_failed, {0}},
	{"failed", ACCEPT, has_failed_once_mapped, {0}},
	{"written-back", PUNCH, one_more_given_back, {0}},
	{"half-done", SHARE, half_done, {.fail_alloc = 2}},
	{"level", ACCEPT, barred, {0}},
	{"hook", ACCEPT, unheard_of, {0}},
	{"mirror", ACCEPT, taken_out, {0}},
	{"blocked-left",
	 MAPPED "thread host\nkick a.1\npromote a 0x400000 2m\n",
	 left_blocked,
	 {0}},
	{"pair", A "thread a.0\naccept 0x200000 4k\n", uncounted, {0}},
	{"refused", SHARE, no_memory_without_reason, {.fail_alloc = 1}},
	{"dead", PUNCH, without_reason, {.seamcall = 2, .seamcall_status = TDX_OPERAND_INVALID}},
	{"warned", READ, warning, {0}},
	{"invariant", READ, miscounted, {0}},
	{"invariant", TWO, miscounted_beside_dead, FATAL},
	{"leak", READ, kept_frame, {0}},
	{"leak", TWO, kept_frame_of_dead, FATAL},
	{"kicked", MAPPED "thread a.0\nread 0x200000\nread 0x200000\n", kicked_long_ago, {0}},
	{"held-out", PUNCH, held_out_and_inside, {0}},
	/* Attributes of both kinds: faults read a tree of them. */
	{"readers",
	 A "setup\na.0: share 0x400000 4K\nthread a.0\naccept 0x200000 2m\n",
	 freed_too_early,
	 {0}},
	{"deadlock", A "thread a.0\naccept 0x200000 2m\n", lock_of_nobody, {0}},
	{"lost-wakeup", PUNCH, never_leaves, {0}},
	{"livelock", ACCEPT, endless_invalidation, {0}},
	{"lock-order", READ, wrong_order, {0}},
	{"crash", READ, crash, {0}},
};

/* Each line of the oracle, and no other, reports what breaks it. */
static void test_every_line(void **state)
{
	static const char *const lines[] = {
#define ORACLE(sym, name, sentence) [sym] = name,
#include "explore/oracle.def"
#undef ORACLE
	};
	bool reported[ORACLE_LINE_COUNT] = {false};
	/* Here, since the test's frame catches signals too from its begin on. */
	struct explore_machine *m = explore_machine_create();
	u32 wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		const struct damage *d = &damages[i];
		const struct explore_setup s = {.injection = d->injection, .max_steps = 300000};
		struct hand h = {.m = m, .damage = d};
		struct explore_outcome out = run_text(m, d->text, &s, &meddling, &h);

		if (!out.failed || strcmp(out.oracle, d->line)) {
			print_error("%s: reported as '%s': %s\n", d->line, out.oracle, out.text);
			wrong++;
		}
		for (u32 l = 0; l < ORACLE_LINE_COUNT; l++)
			reported[l] |= !strcmp(lines[l], out.oracle);
	}
	assert_int_equal(wrong, 0);
	for (u32 l = 0; l < ORACLE_LINE_COUNT; l++)
		if (!reported[l])
			fail_msg("nothing here breaks '%s'", lines[l]);
	explore_machine_destroy(m);
}

/* The same programs without a hand in them are fine: it is the damage that is reported. */
static void test_no_damage(void **state)
{
	struct explore_machine *m = explore_machine_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		struct explore_outcome out = run_text(m, damages[i].text, NULL, NULL, NULL);

		assert_fine(&out);
	}
	explore_machine_destroy(m);
}

#ifdef SEPTUM_CHECK
/* @text with the bug called @name fails in @line by one of some seeds, and without it by none. */
static void catches(struct explore_machine *m, const char *name, const char *line, const char *text)
{
	struct explore_setup s = {.planted_bugs = bug_set_of((enum planted_bug)bug_by_name(name))};
	struct explore_outcome out = {0};

	for (u64 seed = 1; seed < 500 && !out.failed; seed++) {
		struct sched_random random;

		sched_random_init(&random, seed, 60);
		out = run_text(m, text, &s, &sched_random, &random);
		if (out.failed)
			break;
		sched_random_init(&random, seed, 60);
		out = run_text(m, text, NULL, &sched_random, &random);
		assert_fine(&out);
	}
	if (!out.failed || strcmp(out.oracle, line))
		fail_msg("%s: reported as '%s': %s", name, out.oracle, out.text);
}

/* Bugs that are planted in the code are found, each by the line that names what goes wrong. */
static void test_planted(void **state)
{
	struct explore_machine *m = explore_machine_create();

	(void)state;
	catches(m, "skip-track", "stale-translation",
		MAPPED
		"thread a.0\nread 0x200000\nread 0x201000\nthread host\nsplit a 0x200000 2M\n"
		"finally\na.0: read 0x201000\n");
	catches(m, "skip-kick", "stale-translation",
		MAPPED "thread a.0\nread 0x200000\nread 0x201000\nread 0x200000\nread 0x201000\n"
		       "thread host\nsplit a 0x200000 2M\n");
	catches(m, "stale-tlb", "stale-translation",
		MAPPED "thread host\nsplit a 0x200000 2M\nfinally\na.0: read 0x201000\n");
	catches(m, "wrong-pfn", "bytes",
		A
		"thread a.0\naccept 0x200000 2m\nwrite 0x206000\nwrite 0x207000\nread 0x206000\n");
	catches(m, "dirty-splits-nothing", "split", SPLIT);
	catches(m, "promotion-in-name", "promoted",
		MAPPED "host: split a 0x200000 2M\nthread host\npromote a 0x200000 2m\n");
	catches(m, "failure-keeps-mapping", "failed", MAPPED "thread host\nfail a 0x200000\n");
	catches(m, "failure-ignored", "failed", MAPPED "thread host\nfail a 0x200000\n");
	catches(m, "no-writeback", "written-back", PUNCH);
	catches(m, "key-mixup", "machine-check",
		A "thread a.0\naccept 0x205000 4k\nread 0x205000\n");
	explore_machine_destroy(m);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_line),
		cmocka_unit_test(test_no_damage),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_planted),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
