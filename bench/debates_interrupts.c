/* SPDX-License-Identifier: MIT */
/*
 * Thread 004: a DEMOTE that gives way to interrupts starts again from scratch. How often, and does it
 * end? Asked of the module directly, since the host doesn't ask one without feature bit 51 at all.
 */
#include <errno.h>

#include "bench/debates.h"

#define TRIES 10000 /* then the host gives up */
#define STORM_SPLITS 5000

static const char *const modules[] = {"1.5.05", "1.5.25", "1.5.28"};

struct victim {
	struct debate_td t;
	struct mmu_vcpu_cache cache;
	pfn_t table;
	bool wrong;
};

struct pending {
	const char *what;
	u32 kind;
	bool masked;
	u32 tries; /* so many find it pending */
};

static const struct pending cases[] = {
	{"nothing", 0, false, 0},
	{"an interrupt, at the first try", LP_INTR, false, 1},
	{"an interrupt, at 100 tries", LP_INTR, false, 100},
	{"an interrupt, at every try", LP_INTR, false, TRIES},
	{"an interrupt, at every try, interrupts off", LP_INTR, true, TRIES},
	{"an NMI, at every try, interrupts off", LP_NMI, true, TRIES},
};

static u64 call(enum tdh_leaf leaf, u64 rcx, u64 rdx, u64 r8)
{
	struct tdx_regs r = {.rax = leaf, .rcx = rcx, .rdx = rdx, .r8 = r8};

	return seamcall(lp_current(), &r);
}

static u64 mem_call(struct victim *v, enum tdh_leaf leaf)
{
	hpa_t tdr = td_tdr(vm_td(v->t.vm[0]));

	return leaf == TDH_MEM_TRACK ? call(leaf, tdr, 0, 0)
				     : call(leaf, tdx_page_info(0, 1), tdr, fn_to_addr(v->table));
}

static int up(struct victim *v, const char *module)
{
	struct debate_td_config cfg = {.profile = module,
				       .nr_vms = 1,
				       .lps = 1,
				       .host_bytes = SIZE_1G / 2,
				       .vm = {.memory_bytes = SIZE_2M, .nr_vcpus = 1}};
	int err = debate_td_up(&v->t, &cfg);

	if (!err)
		err = host_alloc(v->t.m.host, PG_LEVEL_4K, FRAME_SEPT_TABLE, &v->table);
	if (err)
		return err;
	mmu_cache_init(&v->cache, vm_mmu(v->t.vm[0]));
	v->wrong = !debate_map(v->t.vm[0], &v->cache, 0, PG_LEVEL_2M);
	return 0;
}

static void down(struct victim *v)
{
	mmu_cache_destroy(&v->cache);
	host_free(v->t.m.host, v->table, PG_LEVEL_4K, FRAME_SEPT_TABLE);
	debate_td_down(&v->t);
}

static void block(struct victim *v)
{
	v->wrong |= mem_call(v, TDH_MEM_RANGE_BLOCK) != TDX_SUCCESS;
	v->wrong |= mem_call(v, TDH_MEM_TRACK) != TDX_SUCCESS;
}

/* As it was: one open 2M leaf, which the mirror has all the time. */
static void restore(struct victim *v, bool was_split)
{
	lp_take_interrupts(lp_current());
	if (was_split) {
		block(v);
		v->wrong |= mem_call(v, TDH_MEM_PAGE_PROMOTE) != TDX_SUCCESS;
	} else {
		v->wrong |= mem_call(v, TDH_MEM_RANGE_UNBLOCK) != TDX_SUCCESS;
	}
	/* The page is the host's again; a DEMOTE that failed has written to it, too. */
	host_retag(v->t.m.host, v->table, PG_LEVEL_4K, 0);
}

static bool is_interrupted(u64 status)
{
	return tdx_status_class(status) == TDX_INTERRUPTED_RESTARTABLE;
}

/* DEMOTE until it is through. Return: restarts, TRIES if it never was */
static u32 demote(struct victim *v, const struct pending *p)
{
	struct lp *lp = lp_current();
	u32 restarts = 0;
	u64 status;

	for (;;) {
		if (p && restarts < p->tries)
			lp_interrupt(lp, p->kind);
		status = mem_call(v, TDH_MEM_PAGE_DEMOTE);
		if (!is_interrupted(status) || ++restarts == TRIES)
			break;
		/* The host serves what is pending, and tries again. */
		lp_take_interrupts(lp);
	}
	v->wrong |= status != TDX_SUCCESS && restarts < TRIES;
	return restarts;
}

static void print_case(FILE *out, struct victim *v, const char *module, const struct pending *p)
{
	u64 start;
	u32 restarts;
	double us;

	block(v);
	lp_current()->intr_masked = p->masked;
	start = host_now_ns();
	restarts = demote(v, p);
	us = (double)(host_now_ns() - start) / 1e3 / (restarts + (restarts < TRIES));
	lp_current()->intr_masked = false;
	fprintf(out, "| %s | %s | %u | %s | ~%.2f |\n", module, p->what, restarts,
		restarts < TRIES ? "split" : "given up", us);
	restore(v, restarts < TRIES);
}

static int print_cases(FILE *out, const char *module)
{
	struct victim v = {0};
	int err = up(&v, module);

	for (u32 i = 0; i < 4 && !err && !v.wrong; i++) { /* to warm up */
		block(&v);
		restore(&v, demote(&v, NULL) < TRIES);
	}
	for (u32 i = 0; i < ARRAY_SIZE(cases) && !err && !v.wrong; i++)
		print_case(out, &v, module, &cases[i]);
	if (err)
		debate_td_down(&v.t);
	else
		down(&v);
	return err ? err : v.wrong ? -EIO : 0;
}

/* ---- a storm ---------------------------------------------------------------------------------*/
struct storm {
	struct sync_thread thread;
	struct lp *lp;
	u64 period_ns;
	u32 stop;
	u64 sent;
};

static void storm_main(void *arg)
{
	struct storm *s = arg;
	u64 next = host_now_ns();

	while (!sync_load(&s->stop)) {
		if (host_now_ns() < next)
			continue;
		lp_interrupt(s->lp, LP_INTR);
		sync_store(&s->sent, s->sent + 1);
		next = host_now_ns() + s->period_ns;
	}
}

static int print_storm(FILE *out, const char *module, u32 period_us)
{
	struct storm s = {.period_ns = period_us * 1000ULL};
	struct victim v = {0};
	u64 restarts = 0, most = 0;
	int err = up(&v, module);

	s.lp = lp_current();
	if (!err)
		err = sync_thread_create(&s.thread, storm_main, &s);
	if (err) {
		debate_td_down(&v.t);
		return err;
	}
	while (!sync_load(&s.sent))
		sync_relax();
	for (u32 i = 0; i < STORM_SPLITS && !v.wrong; i++) {
		u32 n;

		block(&v);
		lp_take_interrupts(lp_current());
		n = demote(&v, NULL);
		restarts += n;
		most = n > most ? n : most;
		/* PROMOTE may be interrupted, too. */
		block(&v);
		while (is_interrupted(mem_call(&v, TDH_MEM_PAGE_PROMOTE)))
			lp_take_interrupts(lp_current());
		host_retag(v.t.m.host, v.table, PG_LEVEL_4K, 0);
	}
	sync_store(&s.stop, 1);
	sync_thread_join(&s.thread);
	lp_take_interrupts(lp_current());
	down(&v);
	fprintf(out, "| %s | every %u us | ~%.2f | ~%lu |\n", module, period_us,
		(double)restarts / STORM_SPLITS, most);
	return v.wrong ? -EIO : 0;
}

static const char text[] =
	"\n### A module without feature bit 51: how often is a DEMOTE interrupted?\n\n"
	"Such a module looks for interrupts once before it commits, and starts again from scratch "
	"if one is pending.\nThe module is asked directly here: the host refuses huge pages on it. "
	"It gives up after %d tries. Times\nare in us a try.\n\n"
	"| module | pending | restarts | end | a try |\n|---|---|---:|---|---:|\n";

static const char storm_text[] =
	"\nA thread makes interrupts pending at a fixed rate, over %d DEMOTEs:\n\n"
	"| module | interrupts | restarts, mean | restarts, worst |\n|---|---|---:|---:|\n";

static const char conclusion[] = "\nConclusion: without bit 51 restarts are as many as tries that "
				 "meet an interrupt, with no "
				 "bound, and\ninterrupts off don't help against NMIs; with it "
				 "there are none. One that comes "
				 "less often than a try takes\ncosts a restart now and then; one "
				 "that comes more often stops "
				 "the split for as long as it lasts.\n";

int debate_interrupts(FILE *out)
{
	static const u32 periods_us[] = {100, 10, 1};
	int err = 0;

	fprintf(out, text, TRIES);
	for (u32 i = 0; i < ARRAY_SIZE(modules) && !err; i++)
		err = print_cases(out, modules[i]);
	fprintf(out, storm_text, STORM_SPLITS);
	for (u32 i = 0; i < ARRAY_SIZE(periods_us) && !err; i++)
		err = print_storm(out, "1.5.25", periods_us[i]);
	if (!err)
		err = print_storm(out, "1.5.28", periods_us[ARRAY_SIZE(periods_us) - 1]);
	fputs(conclusion, out);
	return err;
}
