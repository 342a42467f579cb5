/* SPDX-License-Identifier: MIT */
/*
 * One run of a sequence: the machine, one operation after another, injected failures, the end. On one
 * coroutine of a scheduler: nobody else runs, and a run that can't go on is told from one that is slow.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sync.h"
#include "explore/sequence_impl.h"
#include "tdx/internal.h"

#define CHECK_EVERY 256 /* operations */
/* Of an operation, on average: far more than any takes. */
#define MAX_STEPS 200000ULL
#define POOL_SPARE 2

struct sequence_machine {
	struct sched *sched;
	struct host_memory *memory; /* of all runs, one after another */
	struct seq_run run;
};

struct sequence_machine *sequence_machine_create(void)
{
	struct sequence_machine *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	sync_thread_enter();
	m->sched = sched_create();
	if (!m->sched) {
		free(m);
		return NULL;
	}
	return m;
}

void sequence_machine_destroy(struct sequence_machine *m)
{
	sched_destroy(m->sched);
	host_memory_destroy(m->memory);
	free(m);
}

void seq_fail(struct seq_run *r, const char *fmt, ...)
{
	va_list args;

	r->out->failed = true;
	va_start(args, fmt);
	vsnprintf(r->out->text, sizeof(r->out->text), fmt, args);
	va_end(args);
	sched_fail("%s", r->out->text);
}

bool seq_is_guests(const struct sequence_op *op)
{
	return op->kind <= SEQ_EXIT;
}

u32 seq_guest_td(struct seq_run *r, const struct sequence_op *op)
{
	u32 td = seq_td(r, op), page = seq_page_of(r, op);

	if (op->kind >= SEQ_SHARE || (op->kind >= SEQ_WRITE && seq_file(r, td)->page[page].shared))
		return td;
	return seq_owner(r, td, page);
}

/* ---- injection -------------------------------------------------------------------------------*/
void seq_arm(struct seq_run *r, const struct sequence_op *op)
{
	/* Memory that fails can't be saved by being put off: what is left then is another rule. */
	bool armed = op->kind != SEQ_FAIL;

	r->busy_left = armed ? op->busy : 0;
	r->hit_busy = false;
	r->may_fail = armed && op->alloc;
	r->injected |= r->may_fail;
	host_fail_alloc_at(r->m.host, armed ? op->alloc : 0);
}

void seq_disarm(struct seq_run *r)
{
	host_fail_alloc_at(r->m.host, 0);
	r->busy_left = 0;
	r->may_fail = false;
}

/* Those that contend with guests or other hosts for more than a moment. */
static bool may_be_busy(u64 leaf)
{
	switch (leaf & 0xFFFF) {
	case TDH_MEM_PAGE_AUG:
	case TDH_MEM_SEPT_ADD:
	case TDH_MEM_RANGE_BLOCK:
	case TDH_MEM_RANGE_UNBLOCK:
	case TDH_MEM_TRACK:
	case TDH_MEM_PAGE_REMOVE:
	case TDH_MEM_PAGE_DEMOTE:
	case TDH_MEM_PAGE_PROMOTE:
	case TDH_PHYMEM_PAMT_ADD:
		return true;
	default:
		return false;
	}
}

/* Listens so as to be found from a host, which is all that a SEAMCALL names. */
static void on_event(void *ctx, enum trace_point point, const void *event)
{
	(void)ctx;
	(void)point;
	(void)event;
}

static struct seq_run *run_of(const struct host *host)
{
	for (u32 i = 0; i < host->tracer.count; i++)
		if (host->tracer.listener[i].fn == on_event)
			return host->tracer.listener[i].ctx;
	return NULL;
}

static u64 busy_seamcall(struct lp *lp, struct tdx_regs *regs)
{
	struct seq_run *r = run_of(lp->host);

	if (!r->busy_left || !may_be_busy(regs->rax) || --r->busy_left)
		return seamcall(lp, regs);
	r->hit_busy = true;
	r->may_fail = true;
	r->injected = true;
	*regs = (struct tdx_regs){.rax = TDX_OPERAND_BUSY | TDX_OPERAND_RCX};
	return regs->rax;
}

static int watch(void *watcher, struct host *host)
{
	const struct trace_listener l = {.fn = on_event, .ctx = watcher};

	return trace_listen(&host->tracer, &l);
}

static void warned(void *ctx, const char *what)
{
	struct seq_run *r = ctx;

	if (!r->may_fail)
		seq_fail(r, "warned of: %s", what);
}

/* ---- the machine -----------------------------------------------------------------------------*/
static bool is_busy_somewhere(const struct sequence *s)
{
	for (u32 i = 0; i < s->nr; i++)
		if (s->op[i].busy)
			return true;
	return false;
}

static bool has_pool(const struct seq_run *r)
{
	return seq_value(r, SEQ_BACKING) >= GMEM_HUGETLB_2M;
}

static bool is_1g(const struct seq_run *r)
{
	return seq_value(r, SEQ_BACKING) == GMEM_HUGETLB_1G;
}

static u64 file_bytes(const struct seq_run *r)
{
	return is_1g(r) ? SIZE_1G : fn_to_addr(r->nr_pages);
}

static u32 nr_files(const struct seq_run *r)
{
	return seq_value(r, SEQ_TDS) && !seq_value(r, SEQ_FILE) ? 2 : 1;
}

static const struct seam_profile *profile(const struct seq_run *r)
{
	static const char *const names[] = {"1.5.28", "next", "1.5.25", "1.5.05"};

	return seam_profile_by_name(names[seq_value(r, SEQ_MODULE)]);
}

/* Memory that fails stays with the pool: it must have other pages then. */
static int make_pool(struct seq_run *r)
{
	enum pg_level level = is_1g(r) ? PG_LEVEL_1G : PG_LEVEL_2M;
	u64 pages = nr_files(r) * (file_bytes(r) / level_size(level)), missing;

	if (!has_pool(r))
		return 0;
	pages += is_1g(r) ? POOL_SPARE : 2 * SEQ_MAX_FAILURES;
	return hugetlb_pool_create(r->m.host, level, pages, seq_value(r, SEQ_VMEMMAP), &r->pool,
				   &missing);
}

static void choose(struct seq_run *r)
{
	static const enum pg_level levels[] = {PG_LEVEL_2M, PG_LEVEL_4K, PG_LEVEL_1G};
	u64 features = profile(r)->features0;

	r->nr_pages = seq_pages(r->s);
	r->max_level = levels[seq_value(r, SEQ_PAGES)];
	/* 1G would be two TDs' at once. */
	if (seq_value(r, SEQ_FILE) && r->max_level == PG_LEVEL_1G)
		r->max_level = PG_LEVEL_2M;
	/* Without a DEMOTE that gets done, no huge page. */
	if (!(features & TDX_FEATURES0_ENHANCED_DEMOTE_INTERRUPTIBILITY))
		r->max_level = PG_LEVEL_4K;
	r->loose = seq_value(r, SEQ_PROMOTE);
}

static void make_machine(struct seq_run *r)
{
	struct machine_config mc = {
		.memory_bytes = SIZE_1G * (is_1g(r) ? 1 + nr_files(r) + POOL_SPARE : 1),
		.lps = SEQ_MAX_TDS * SEQ_MAX_VCPUS,
		.profile = profile(r),
		.dynamic_pamt = !seq_value(r, SEQ_DPAMT) && profile(r)->dynamic_pamt,
		.planted_bugs = r->planted_bugs,
		.memory = r->memory,
		.warn = warned,
		.warn_ctx = r,
	};
	int err;

	if (is_busy_somewhere(r->s)) {
		mc.seamcall = busy_seamcall;
		mc.watch = watch;
		mc.watcher = r;
	}
	err = machine_create(&mc, &r->m);
	if (err)
		seq_fail(r, "no machine: %s", strerror(-err));
	r->frames_before = host_frames_used(r->m.host);
	err = make_pool(r);
	if (!err)
		err = host_alloc(r->m.host, PG_LEVEL_2M, FRAME_OTHER, &r->pamt_range);
	if (err)
		seq_fail(r, "no memory for the machine's parts: %s", strerror(-err));
}

static void end_machine(struct seq_run *r)
{
	u64 failed;

	for (u32 td = 0; td < SEQ_MAX_TDS; td++)
		seq_teardown(r, td);
	sync_rcu_barrier();
	if (seam_pamt_in_use(r->m.seam))
		seq_fail(r, "all TDs are gone, and the module has %" PRIu64 " pages",
			 seam_pamt_in_use(r->m.seam));
	if (tdx_dpamt_pages(r->m.tdx))
		seq_fail(r, "all TDs are gone, and %" PRIu64 " pages are Dynamic PAMT pairs",
			 tdx_dpamt_pages(r->m.tdx));
	host_free(r->m.host, r->pamt_range, PG_LEVEL_2M, FRAME_OTHER);
	if (r->pool)
		hugetlb_pool_destroy(r->pool);
	failed = sync_load(&r->m.host->used[FRAME_FAILED]);
	if (host_frames_used(r->m.host) != r->frames_before + failed)
		seq_fail(r, "all is gone, and %" PRId64 " frames weren't given back",
			 (s64)(host_frames_used(r->m.host) - r->frames_before - failed));
	machine_destroy(&r->m);
}

/* ---- the run ---------------------------------------------------------------------------------*/
static void step(struct seq_run *r)
{
	const struct sequence_op *op = &r->s->op[r->at];
	u32 began = r->at;

	if (seq_is_guests(op)) {
		seq_guest_ops(r);
	} else {
		seq_arm(r, op);
		seq_host_op(r, op);
		seq_disarm(r);
		r->at++;
	}
	/* Table pages that are gone: before a reader of this thread's own could come, nobody is left. */
	sync_rcu_barrier();
	for (u32 td = 0; td < SEQ_MAX_TDS; td++)
		if (r->vm[td] && vm_why_dead(r->vm[td]))
			seq_fail(r, "TD %c was stopped: %s", 'a' + (int)td, vm_why_dead(r->vm[td]));
	r->since_check += r->at - began;
	if (r->since_check >= CHECK_EVERY)
		seq_check(r);
}

static void run_main(void *arg)
{
	struct seq_run *r = arg;

	choose(r);
	make_machine(r);
	for (u32 td = 0; td <= seq_value(r, SEQ_TDS); td++)
		seq_create(r, td);
	while (r->at < r->s->nr)
		step(r);
	seq_check(r);
	end_machine(r);
}

int sequence_run(struct sequence_machine *m, const struct sequence *s, const struct bug_set *bugs,
		 struct sequence_outcome *out)
{
	const struct sched_config cfg = {
		.policy = &sched_run_until_blocked,
		.max_steps = (s->nr + 100) * MAX_STEPS,
	};
	const struct machine_config largest = {
		.memory_bytes = SIZE_1G * (1 + SEQ_MAX_TDS + POOL_SPARE),
	};
	struct sched_result result;
	struct seq_run *r = &m->run;

	/* Outside of the run: what is got inside belongs to its program. */
	if (host_memory_fit(&m->memory, machine_host_bytes(&largest)))
		return -ENOMEM;
	memset(r, 0, sizeof(*r));
	memset(out, 0, sizeof(*out));
	r->memory = m->memory;
	r->s = s;
	r->out = out;
	r->planted_bugs = *bugs;
	result = sched_run(m->sched, &cfg, run_main, r);
	out->at = r->at;
	out->operations = r->at;
	if (result.outcome == SCHED_DONE)
		return 0;
	if (!out->failed)
		snprintf(out->text, sizeof(out->text), "%s: %s", sched_outcome_name(result.outcome),
			 result.report);
	out->failed = true;
	sched_give_back(m->sched);
	return 0;
}
