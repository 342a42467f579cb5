/* SPDX-License-Identifier: MIT */
/* Each operation of a program alone: what it does to the machine, seen when it ends. */
#include <errno.h>

#include "explore/run.h"
#include "vm/internal.h"

#define A "machine memory=1G\ntd a vcpus=2 memory=8M\n"

/* A program of one thread; `line` has just ended when `holds` is asked. */
struct effect {
	const char *text;
	u64 line;
	bool (*holds)(struct world *w);
};

struct look {
	struct explore_machine *m;
	const struct effect *effect;
	bool asked, held;
};

static void on_mark(void *ctx, u32 thread, const char *name, u64 arg)
{
	struct look *l = ctx;

	(void)thread;
	if (strcmp(name, EXPLORE_MARK_END) || arg != l->effect->line)
		return;
	l->asked = true;
	l->held = l->effect->holds(explore_world(l->m));
}

static int on_choice(void *ctx, const struct sched_view *v)
{
	(void)ctx;
	return (int)sched_default(v);
}

static const struct sched_policy looking = {.choose = on_choice, .mark = on_mark};

static enum pg_level level_of(struct world *w, gfn_t gfn, bool private)
{
	struct mmu_mapping m;

	return mmu_lookup(vm_mmu(w->td[0].vm), gfn, private, &m) ? m.level : PG_LEVEL_NONE;
}

static const struct oracle_run *run_of(struct world *w, gfn_t gfn)
{
	return &w->td[0].run[oracle_run_at(&w->td[0], gfn)];
}

static bool is_accepted_2m(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_2M && run_of(w, 0x200)->accepted &&
	       run_of(w, 0x201)->accepted;
}

static bool is_accepted_4k(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_4K && run_of(w, 0x200)->accepted &&
	       !run_of(w, 0x201)->accepted;
}

static bool is_written(struct world *w)
{
	return run_of(w, 0x200)->value == 0x5EED000000000005ULL;
}

static bool is_pending(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_2M && !run_of(w, 0x200)->accepted;
}

static bool is_shared(struct world *w)
{
	struct gmem_file *file = vm_file(w->td[0].vm);

	return !gmem_is_private(file, 0x200) && !run_of(w, 0x200)->private &&
	       w->td[0].view[oracle_run_at(&w->td[0], 0x200)] && gmem_is_private(file, 0x201);
}

static bool is_private_again(struct world *w)
{
	return gmem_is_private(vm_file(w->td[0].vm), 0x200) && run_of(w, 0x200)->private &&
	       !run_of(w, 0x200)->accepted && !w->td[0].view[oracle_run_at(&w->td[0], 0x200)];
}

static bool is_gone(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_NONE && !run_of(w, 0x200)->accepted &&
	       level_of(w, 0x201, true) == PG_LEVEL_4K && run_of(w, 0x201)->accepted;
}

static bool is_unmapped_and_kept(struct world *w)
{
	return is_gone(w) && gmem_folio_level(vm_file(w->td[0].vm), 0x200) == PG_LEVEL_2M;
}

static bool is_split(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_4K && run_of(w, 0x200)->accepted &&
	       mmu_stats(vm_mmu(w->td[0].vm))->splits == 1;
}

static bool is_promoted(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_2M &&
	       mmu_stats(vm_mmu(w->td[0].vm))->promotes == 1;
}

static bool is_refused(struct world *w)
{
	return level_of(w, 0x200, true) == PG_LEVEL_NONE &&
	       mmu_stats(vm_mmu(w->td[0].vm))->promotes == 0;
}

static bool has_failed(struct world *w)
{
	return gmem_stats(vm_file(w->td[0].vm)).failed_pages == 1 && run_of(w, 0x200)->failed;
}

static bool host_has_written(struct world *w)
{
	u64 word = 0;

	return !gmem_host_read(vm_file(w->td[0].vm), 0x200000, &word, 1) &&
	       word == 0x5EED000000000006ULL && run_of(w, 0x200)->value == word;
}

static bool is_pinned(struct world *w)
{
	return oracle_is_pinned(run_of(w, 0x200)) &&
	       gmem_convert(vm_file(w->td[0].vm), 0x200, 1, true) == -EAGAIN;
}

static bool is_let_go(struct world *w)
{
	return !oracle_is_pinned(run_of(w, 0x200));
}

static bool has_reference(struct world *w)
{
	return tdx_pamt_refs(w->m.tdx, w->pamt_range) == 1 && w->held[7];
}

static bool has_none(struct world *w)
{
	return tdx_pamt_refs(w->m.tdx, w->pamt_range) == 0 && !w->held[7];
}

static bool has_second_td(struct world *w)
{
	return w->td[1].vm && td_is_runnable(vm_td(w->td[1].vm));
}

static bool lacks_second_td(struct world *w)
{
	return !w->td[1].vm;
}

static bool is_outside(struct world *w)
{
	return !(w->td[0].vm->vcpus[0].entries & 1) && w->td[0].vm->vcpus[0].stopped;
}

static bool always(struct world *w)
{
	(void)w;
	return true;
}

static const struct effect effects[] = {
	{A "thread a.0\naccept 0x200000 2m\nread 0x201000\n", 4, is_accepted_2m},
	{A "thread a.0\naccept 0x200000 4k\nfinally\na.0: accept 0x201000 4k\n", 4, is_accepted_4k},
	{A "thread a.0\naccept 0x200000 2m\nwrite 0x200000\n", 5, is_written},
	{A "thread a.0\naccept 0x200000 2m\nwrite 0x200000\nread 0x200000\n", 6, is_written},
	{"machine memory=1G\ntd a accept=touch\nthread a.0\ntouch 0x200000\n", 4, is_pending},
	{A "thread a.0\nshare 0x200000 4K\nwrite 0x200000\n", 4, is_shared},
	{A "thread a.0\nshare 0x200000 4K\nunshare 0x200000 4K\n", 5, is_private_again},
	{A "thread a.0\naccept 0x200000 2m\ndiscard 0x200000 4K\n", 5, is_gone},
	{A "thread a.0\nexit\naccept 0x200000 2m\n", 4, is_outside},
	{A "thread host\nconvert a 0x200000 4K shared\n", 4, is_shared},
	{A "thread host\nconvert a 0x200000 4K shared\nconvert a 0x200000 4K private\n", 5,
	 is_private_again},
	{A "setup\na.0: accept 0x200000 2m\nthread host\npunch a 0x200000 4K\n", 6, is_gone},
	{A "setup\na.0: accept 0x200000 2m\nthread host\nsplit a 0x200000 2M\n", 6, is_split},
	{A "setup\na.0: accept 0x200000 2m\nhost: split a 0x200000 2M\nthread host\n"
	   "promote a 0x200000 2m\n",
	 7, is_promoted},
	{A "thread host\npromote a 0x200000 2m\n", 4, is_refused},
	{A "setup\na.0: accept 0x200000 2m\nthread host\nzap a 0x200000 4K\n", 6,
	 is_unmapped_and_kept},
	{A "thread host\nkick a.1\n", 4, always},
	{A "setup\na.0: accept 0x200000 2m\nthread host\nfail a 0x200000\n", 6, has_failed},
	{A "setup\na.0: share 0x200000 4K\nthread host\nhost-write a 0x200000\n", 6,
	 host_has_written},
	{A "setup\na.0: share 0x200000 4K\na.0: write 0x200000\nthread host\n"
	   "host-read a 0x200000\n",
	 7, is_written},
	{A "thread host\nhost-read a 0x200000\nhost-write a 0x200000\npin a 0x200000\n", 6,
	 is_let_go},
	{A "setup\na.0: share 0x200000 4K\nthread host\npin a 0x200000\n", 6, is_pinned},
	{A "setup\na.0: share 0x200000 4K\nthread host\npin a 0x200000\nunpin a 0x200000\n", 7,
	 is_let_go},
	{A "thread host\npamt-get 7\n", 4, has_reference},
	{A "thread host\npamt-get 7\npamt-put 7\n", 5, has_none},
	{A "td b later\nthread host\ncreate b\nfinally\nb.0: accept 0x200000 2m\n", 5,
	 has_second_td},
	{A "td b\nthread host\nteardown b\n", 5, lacks_second_td},
};

/* Every operation does what the language says, and the oracle agrees. */
static void test_effects(void **state)
{
	u64 seen = 0;

	for (size_t i = 0; i < ARRAY_SIZE(effects); i++) {
		struct look l = {.m = *state, .effect = &effects[i]};
		struct program *p = malloc(sizeof(*p));
		struct explore_outcome out = run_text(*state, effects[i].text, NULL, &looking, &l);

		if (out.failed)
			fail_msg("%s%s: %s", effects[i].text, out.oracle, out.text);
		if (!l.asked || !l.held)
			fail_msg("%sline %u: %s", effects[i].text, (u32)effects[i].line,
				 l.asked ? "has another effect" : "never ended");
		run_parse(p, effects[i].text);
		for (u32 t = 0; t < p->nr_threads; t++)
			for (u32 o = 0; o < p->thread[t].nr_ops; o++)
				seen |= BIT_ULL(p->thread[t].op[o].kind);
		free(p);
	}
	assert_int_equal(seen, BIT_ULL(PROGRAM_OP_COUNT) - 1);
}

/* A guest whose ACCEPT at 2M meets 4K mappings accepts those pages that the program names. */
static void test_accept_falls_back(void **state)
{
	struct explore_outcome out =
		run_text(*state,
			 A "setup\na.0: accept 0x201000 4k\nthread a.0\naccept 0x200000 2m\n"
			   "write 0x200000\nwrite 0x2ff000\nread 0x201000\n",
			 NULL, NULL, NULL);

	assert_fine(&out);
	assert_int_equal(out.operations, 5);
}

/* What was given back reads as zero once it is accepted again, and a page that has failed as nothing. */
static void test_contents_go(void **state)
{
	struct explore_outcome out = run_text(
		*state,
		"machine memory=1G\ntd a accept=touch\nthread a.0\nwrite 0x200000\n"
		"discard 0x200000 4K\nread 0x200000\nshare 0x200000 4K\nread 0x200000\n"
		"write 0x200000\nunshare 0x200000 4K\nread 0x200000\nexit\nread 0x200000\n",
		NULL, NULL, NULL);

	assert_fine(&out);
	out = run_text(
		*state,
		A "setup\na.0: accept 0x200000 2m\na.0: write 0x201000\nhost: fail a 0x200000\n"
		  "thread a.0\nread 0x200000\nwrite 0x200000\nread 0x201000\n",
		NULL, NULL, NULL);
	assert_fine(&out);
}

/* An access before accept stops a TD without #VE, and nothing allows that. */
static void test_access_before_accept(void **state)
{
	struct explore_outcome out =
		run_text(*state, A "thread a.0\nread 0x200000\n", NULL, NULL, NULL);

	assert_true(out.failed);
	assert_string_equal(out.oracle, "dead");
	assert_non_null(strstr(out.text, "access before accept"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_effects),
		cmocka_unit_test(test_accept_falls_back),
		cmocka_unit_test(test_contents_go),
		cmocka_unit_test(test_access_before_accept),
	};

	return cmocka_run_group_tests(tests, run_set_up, run_tear_down);
}
