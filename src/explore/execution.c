/* SPDX-License-Identifier: MIT */
/* One execution: the machine, set-up, threads, the end; and the policy that looks on. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sched_impl.h"
#include "explore/world.h"
#include "vm/internal.h"

#define DEFAULT_MAX_STEPS 1000000
#define SIGNAL_STACK_BYTES (1U << 17)

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

struct explore_machine {
	struct sched *sched;
	struct host_memory *memory; /* of all executions, one after another */
	struct world world;
	void *signal_stack;
	stack_t old_stack;
	struct sigaction old_action[ARRAY_SIZE(crash_signals)];
};

/* ---- crashes ---------------------------------------------------------------------------------
 * An assertion, or an access that goes astray, ends the run that it happens in. The stack of its own
 * is for a coroutine that has run out of it.
 */
static void on_crash(int number)
{
	if (sched_active())
		sched_fail("signal %d: %s", number, strsignal(number));
	signal(number, SIG_DFL);
	raise(number);
}

static int catch_crashes(struct explore_machine *m)
{
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_NODEFER | SA_ONSTACK};
	stack_t stack = {.ss_size = SIGNAL_STACK_BYTES};

	m->signal_stack = malloc(SIGNAL_STACK_BYTES);
	stack.ss_sp = m->signal_stack;
	if (!m->signal_stack || sigaltstack(&stack, &m->old_stack))
		return -ENOMEM;
	for (u32 i = 0; i < ARRAY_SIZE(crash_signals); i++)
		sigaction(crash_signals[i], &action, &m->old_action[i]);
	return 0;
}

static void leave_crashes(struct explore_machine *m)
{
	for (u32 i = 0; i < ARRAY_SIZE(crash_signals); i++)
		sigaction(crash_signals[i], &m->old_action[i], NULL);
	sigaltstack(&m->old_stack, NULL);
}

/* ---- what executions share -------------------------------------------------------------------*/
struct explore_machine *explore_machine_create(void)
{
	struct explore_machine *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	sync_thread_enter();
	m->sched = sched_create();
	if (!m->sched || catch_crashes(m)) {
		if (m->sched)
			sched_destroy(m->sched);
		free(m->signal_stack);
		free(m);
		return NULL;
	}
	return m;
}

void explore_machine_destroy(struct explore_machine *m)
{
	leave_crashes(m);
	sched_destroy(m->sched);
	host_memory_destroy(m->memory);
	free(m->world.enabled);
	free(m->signal_stack);
	free(m);
}

struct sched *explore_sched(struct explore_machine *m)
{
	return m->sched;
}

struct world *explore_world(struct explore_machine *m)
{
	return &m->world;
}

u64 explore_state_hash(const struct explore_machine *m)
{
	return oracle_hash(&m->world);
}

/* ---- the policy ------------------------------------------------------------------------------*/

/* A delayed thread isn't shown while others can go on. Return: false: show all */
static bool hide_delayed(struct world *w, const struct sched_view *v, struct sched_view *shown)
{
	u32 n = 0;

	if (!w->delaying || v->nr_enabled == 1)
		return false;
	if (w->enabled_room < v->nr_enabled) {
		u32 *p = realloc(w->enabled, v->nr_threads * sizeof(*p));

		if (!p)
			return false;
		w->enabled = p;
		w->enabled_room = v->nr_threads;
	}
	for (u32 i = 0; i < v->nr_enabled; i++)
		if (v->enabled[i] != w->delayed)
			w->enabled[n++] = v->enabled[i];
	*shown = *v;
	shown->enabled = w->enabled;
	shown->nr_enabled = n;
	return n;
}

static int choose(void *ctx, const struct sched_view *v)
{
	struct world *w = ctx;
	struct sched_view shown;
	int choice;

	oracle_step(w);
	choice = w->policy->choose(w->policy_ctx, hide_delayed(w, v, &shown) ? &shown : v);
	if (w->delaying && choice == (int)w->delayed)
		w->delaying = false;
	return choice;
}

static void mark(void *ctx, u32 thread, const char *name, u64 arg)
{
	struct world *w = ctx;

	if (name[0] == 'k' && !strcmp(name, "kick"))
		inject_kick(w, thread);
	if (name[0] == 'k' && !strcmp(name, "kicked") && w->caller[thread % WORLD_MAX_CALLERS].td)
		oracle_kicked(w->caller[thread % WORLD_MAX_CALLERS].td, (u32)arg);
	if (w->policy->mark)
		w->policy->mark(w->policy_ctx, thread, name, arg);
}

static const struct sched_policy looking_on = {.choose = choose, .mark = mark};

/* ---- set-up ----------------------------------------------------------------------------------*/
static int watch(void *watcher, struct host *host)
{
	oracle_watch(watcher, host);
	return 0;
}

static void warned(void *ctx, const char *what)
{
	struct world *w = ctx;

	if (!w->injected)
		oracle_fail(w, ORACLE_WARNED, "%s", what);
}

/* vCPUs of all TDs, their promoters, host threads; the machine adds one for the main thread. */
static u32 place_lps(struct world *w)
{
	const struct program *p = w->program;
	u32 lps = 0;

	for (u32 i = 0; i < p->nr_tds; i++) {
		w->td[i].first_lp = lps;
		lps += p->td[i].nr_vcpus;
		w->td[i].promoter_lp = lps;
		lps += p->td[i].config.promote == VM_PROMOTE_IDLE;
	}
	return lps;
}

static int make_machine(struct world *w)
{
	const struct program *p = w->program;
	struct machine_config mc = p->machine;
	u32 lp = place_lps(w), hosts = 0;
	int err;

	for (u32 i = 0; i < p->nr_threads; i++)
		hosts += !p->thread[i].is_vcpu;
	mc.lps = lp + hosts;
	mc.memory = w->memory;
	mc.planted_bugs = w->setup.planted_bugs;
	mc.seamcall = world_seamcall;
	mc.watch = watch;
	mc.watcher = w;
	mc.warn = warned;
	mc.warn_ctx = w;
	err = machine_create(&mc, &w->m);
	if (err)
		return err;
	w->frames_before = host_frames_used(w->m.host);
	for (u32 i = 0; i < p->nr_threads; i++)
		if (!p->thread[i].is_vcpu)
			w->actor[i + 1].lp = w->m.lps[lp++];
	return 0;
}

int world_make_td(struct world *w, u32 i)
{
	struct world_td *td = &w->td[i];
	struct vm_config vc = td->program->config;
	struct vm *vm;
	int err;

	vc.memory_bytes = td->program->memory_bytes;
	vc.nr_vcpus = td->program->nr_vcpus;
	vc.first_lp = td->first_lp;
	vc.promoter_lp = td->promoter_lp;
	vc.file.pool = td->pool;
	/* A table page less to fill up with is a lock less to switch at. */
	vc.cache_capacity = MMU_CACHE_MIN;
	err = vm_create(&w->m, &vc, &vm);
	if (err)
		return err;
	td->vm = vm;
	oracle_td_made(w, td);
	return 0;
}

void world_end_td(struct world *w, u32 i)
{
	struct vm *vm = w->td[i].vm;

	w->caller[sched_running() % WORLD_MAX_CALLERS].td = &w->td[i];
	w->td[i].dying = true;
	vm_destroy(vm);
	w->td[i].vm = NULL;
}

static int make_pools(struct world *w)
{
	u64 missing;
	int err = 0;

	for (u32 i = 0; i < w->program->nr_tds && !err; i++) {
		struct world_td *td = &w->td[i];
		enum pg_level level = program_pool_level(td->program);

		if (level)
			err = hugetlb_pool_create(w->m.host, level,
						  td->program->memory_bytes / level_size(level),
						  true, &td->pool, &missing);
	}
	return err;
}

static bool uses_pamt_range(const struct program_op *ops, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		if (ops[i].kind == OP_PAMT_GET || ops[i].kind == OP_PAMT_PUT)
			return true;
	return false;
}

static int make_pamt_range(struct world *w)
{
	const struct program *p = w->program;
	bool wanted = uses_pamt_range(p->setup, p->nr_setup) ||
		      uses_pamt_range(p->finally, p->nr_finally);
	int err;

	for (u32 i = 0; i < p->nr_threads; i++)
		wanted |= uses_pamt_range(p->thread[i].op, p->thread[i].nr_ops);
	if (!wanted)
		return 0;
	err = host_alloc(w->m.host, PG_LEVEL_2M, FRAME_OTHER, &w->pamt_range);
	w->has_pamt_range = !err;
	return err;
}

/* ---- the end ---------------------------------------------------------------------------------*/
static void end_machine(struct world *w)
{
	for (u32 i = 0; i < w->program->nr_tds; i++)
		if (w->td[i].vm)
			world_end_td(w, i);
	for (u32 i = 0; i < w->program->nr_tds; i++)
		if (w->td[i].pool)
			hugetlb_pool_destroy(w->td[i].pool);
	if (w->has_pamt_range)
		host_free(w->m.host, w->pamt_range, PG_LEVEL_2M, FRAME_OTHER);
	sync_rcu_barrier();
	oracle_all_gone(w);
	machine_destroy(&w->m);
}

/* ---- threads ---------------------------------------------------------------------------------*/
static bool is_guests(const struct program_op *op)
{
	return op->kind <= OP_EXIT;
}

static void perform_serially(struct world *w, const struct program_op *ops, u32 nr)
{
	for (u32 i = 0; i < nr; i++) {
		if (is_guests(&ops[i]))
			world_guest_ops(&w->actor[0], ops[i].td, ops[i].vcpu, &ops[i], 1);
		else
			world_host_op(&w->actor[0], &ops[i]);
	}
}

static void actor_main(void *arg)
{
	struct world_actor *a = arg;
	const struct program_thread *t = a->thread;

	if (t->is_vcpu) {
		world_guest_ops(a, t->td, t->vcpu, t->op, t->nr_ops);
		return;
	}
	lp_set_current(a->lp);
	for (u32 i = 0; i < t->nr_ops; i++)
		world_host_op(a, &t->op[i]);
}

static void run_threads(struct world *w)
{
	u32 nr = w->program->nr_threads;

	for (u32 i = 1; i <= nr; i++)
		if (sync_thread_create(&w->actor[i].handle, actor_main, &w->actor[i]))
			sched_fail("no memory for a thread");
	for (u32 i = 1; i <= nr; i++)
		sync_thread_join(&w->actor[i].handle);
}

static void world_main(void *arg)
{
	struct world *w = arg;
	const struct program *p = w->program;
	int err = make_machine(w);

	if (!err)
		err = make_pools(w);
	for (u32 i = 0; i < p->nr_tds && !err; i++)
		if (!p->td[i].later)
			err = world_make_td(w, i);
	if (!err)
		err = make_pamt_range(w);
	w->set_up_error = err;
	if (err)
		sched_fail("set-up: %s", strerror(-err));
	perform_serially(w, p->setup, p->nr_setup);
	inject_begin(w);
	run_threads(w);
	inject_end(w);
	perform_serially(w, p->finally, p->nr_finally);
	sync_mark(EXPLORE_MARK_REST, 0);
	oracle_at_rest(w);
	end_machine(w);
}

/* ---- an execution ----------------------------------------------------------------------------*/
static void prepare(struct world *w, const struct explore_setup *setup, struct explore_outcome *out)
{
	const struct program *p = setup->program;
	u32 *enabled = w->enabled, room = w->enabled_room;

	memset(w, 0, offsetof(struct world, runs));
	memset(out, 0, sizeof(*out));
	w->enabled = enabled;
	w->enabled_room = room;
	w->program = p;
	w->setup = *setup;
	w->out = out;
	for (u32 i = 0; i < p->nr_tds; i++)
		w->td[i].program = &p->td[i];
	for (u32 i = 0; i <= p->nr_threads; i++)
		w->actor[i] = (struct world_actor){
			.w = w, .index = i, .thread = i ? &p->thread[i - 1] : NULL};
	oracle_plan(w);
}

static void name_failure(struct explore_outcome *out, const struct sched_result *r)
{
	const char *name = "crash";

	if (r->outcome == SCHED_DEADLOCK)
		name = strstr(r->report, "nobody has woken it") ? "lost-wakeup" : "deadlock";
	else if (r->outcome == SCHED_LIVELOCK || r->outcome == SCHED_STEP_LIMIT)
		name = "livelock";
	else if (!strncmp(r->report, "lock order", 10))
		name = "lock-order";
	snprintf(out->oracle, sizeof(out->oracle), "%s", name);
	snprintf(out->text, sizeof(out->text), "%s", r->report);
}

int explore_execute(struct explore_machine *m, const struct explore_setup *setup,
		    const struct sched_policy *policy, void *policy_ctx,
		    struct sched_schedule *record, struct explore_outcome *out)
{
	struct world *w = &m->world;
	const struct sched_config cfg = {
		.policy = &looking_on,
		.ctx = w,
		.max_steps = setup->max_steps ? setup->max_steps : DEFAULT_MAX_STEPS,
		.record = record,
	};
	struct sched_result r;
	int err;

	/* Outside of the run: what is got inside belongs to its program. */
	err = host_memory_fit(&m->memory, machine_host_bytes(&setup->program->machine));
	if (err)
		return err == -ENOMEM ? -ENOMEM : -EIO;
	prepare(w, setup, out);
	w->memory = m->memory;
	w->sched = m->sched;
	w->policy = policy;
	w->policy_ctx = policy_ctx;
	r = sched_run(m->sched, &cfg, world_main, w);
	out->steps = r.steps;
	out->decisions = r.decisions;
	out->switches = r.switches;
	if (r.outcome == SCHED_DONE)
		return 0;
	sched_give_back(m->sched);
	memset(&w->m, 0, sizeof(w->m));
	if (w->set_up_error)
		return w->set_up_error == -ENOMEM ? -ENOMEM : -EIO;
	out->failed = r.outcome != SCHED_STOPPED;
	if (out->failed && !w->failed)
		name_failure(out, &r);
	return 0;
}
