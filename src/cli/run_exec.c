/* SPDX-License-Identifier: MIT */
/* One replay, from an empty host to an empty host, and what it found. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check/invariants.h"
#include "cli/cli.h"
#include "cli/run.h"
#include "observe/events.h"

/* One thread a vCPU, and what it came to. */
struct vcpu_thread {
	struct sync_thread thread;
	struct machine *machine;
	struct vm *vm;
	struct replay *replay;
	u32 index;
	int result;
	u32 *running; /* of all; the last one to stop ends the progress line */
};

static const char *why_stopped(int err)
{
	switch (err) {
	case -ENOMEM:
		return "a vCPU stopped on a fault that the host has no memory for";
	case -EHWPOISON:
		return "a vCPU stopped on memory that has failed, by no plan";
	default:
		return "a vCPU stopped on a fault that memory and attributes don't allow";
	}
}

static void vcpu_main(void *arg)
{
	struct vcpu_thread *t = arg;
	struct vcpu *vcpu = vm_vcpu(t->vm, t->index);

	lp_set_current(t->machine->lps[t->index]);
	do {
		t->result = vcpu_run(vcpu, &replay_guest_ops, replay_guest(t->replay, t->index));
	} while (t->result == -EHWPOISON &&
		 replay_machine_check(t->replay, t->index, vcpu_fault_gpa(vcpu)));
	/* A vCPU that can't go on must not leave others waiting for it in the guest. */
	if (t->result && !vm_why_dead(t->vm))
		vm_bugged(t->vm, why_stopped(t->result));
	sync_fetch_sub(t->running, 1);
}

/* Makes memory fail where the plan says, on an LP of its own. */
struct failing_thread {
	struct sync_thread thread;
	struct lp *lp;
	struct replay *replay;
};

static void failing_main(void *arg)
{
	struct failing_thread *t = arg;

	lp_set_current(t->lp);
	replay_inject_failures(t->replay);
}

/* Ticks until the vCPUs have stopped; only where a person watches. */
static void show_progress(const struct replay *replay, u64 nr_events, const u32 *running)
{
	const struct timespec tick = {.tv_nsec = 100 * 1000 * 1000};

	if (!isatty(STDERR_FILENO))
		return;
	while (sync_load(running)) {
		u64 done = replay_events_done(replay);

		fprintf(stderr, "\rreplay: %3u%%",
			nr_events ? (unsigned int)(100 * done / nr_events) : 100);
		nanosleep(&tick, NULL);
	}
	fputs("\r            \r", stderr);
}

static int run_vcpus(struct machine *m, struct vm *vm, struct replay *replay, u32 nr_vcpus,
		     u64 nr_events)
{
	struct vcpu_thread *threads = calloc(nr_vcpus, sizeof(*threads));
	u32 running = nr_vcpus, started;
	int err = 0;

	if (!threads)
		return -ENOMEM;
	for (started = 0; started < nr_vcpus; started++) {
		struct vcpu_thread *t = &threads[started];

		*t = (struct vcpu_thread){.machine = m,
					  .vm = vm,
					  .replay = replay,
					  .index = started,
					  .running = &running};
		err = sync_thread_create(&t->thread, vcpu_main, t);
		if (err) {
			vm_bugged(vm, "a vCPU thread can't be made");
			sync_fetch_sub(&running, nr_vcpus - started);
			break;
		}
	}
	show_progress(replay, nr_events, &running);
	for (u32 i = 0; i < started; i++)
		sync_thread_join(&threads[i].thread);
	free(threads);
	return err;
}

/* The same beside the thread that makes memory fail, if some is to. */
static int run_threads(const struct run_config *cfg, struct machine *m, struct vm *vm,
		       struct replay *replay, u64 nr_events)
{
	struct failing_thread failing = {.replay = replay};
	int err;

	if (!cfg->nr_failures)
		return run_vcpus(m, vm, replay, cfg->nr_vcpus, nr_events);
	failing.lp = m->lps[cfg->nr_vcpus + 1];
	err = sync_thread_create(&failing.thread, failing_main, &failing);
	if (err)
		return err;
	err = run_vcpus(m, vm, replay, cfg->nr_vcpus, nr_events);
	replay_stop_failures(replay);
	sync_thread_join(&failing.thread);
	return err;
}

static void count_leaves(const struct machine *m, struct run_result *res)
{
	for (unsigned int leaf = 0; leaf < 256 && res->nr_leaves < RUN_MAX_LEAVES; leaf++) {
		struct tdx_leaf_stats s;

		if (!tdh_leaf_name(leaf))
			continue;
		s = tdx_leaf_stats(m->tdx, leaf);
		if (!s.calls)
			continue;
		res->leaves[res->nr_leaves++] =
			(struct run_leaf){.name = tdh_leaf_name(leaf), .stats = s};
	}
}

static void add_leaf(void *bytes, const struct mmu_mapping *m)
{
	*(u64 *)bytes += level_size(m->level);
}

/* What stands at the end of the guest's run, while everything is still mapped. */
static void look_at_guest(const struct machine *m, struct vm *vm, const struct replay *replay,
			  struct run_result *res)
{
	u64 zeroing = sync_load(&m->host->zeroing_ns);

	res->replay = replay_stats(replay);
	res->vm = vm_stats(vm);
	res->mmu = *mmu_stats(vm_mmu(vm));
	mmu_for_each_leaf(vm_mmu(vm), true, add_leaf, &res->private_bytes);
	mmu_for_each_leaf(vm_mmu(vm), false, add_leaf, &res->shared_bytes);
	/* The root of the S-EPT is a TDCX page. */
	res->file = gmem_stats(vm_file(vm));
	res->sept_table_pages = res->mmu.external_tables;
	res->pamt_static_bytes = tdx_pamt_static_bytes(m->tdx);
	res->dpamt_pages = tdx_dpamt_pages(m->tdx);
	res->zeroing_ns = zeroing;
	res->first_touch_ns = sync_load(&m->host->first_touch_ns);
	res->mmu_and_module_ns = res->vm.outside_ns + res->replay.accept_ns;
	res->mmu_and_module_ns -= min_u64(zeroing, res->mmu_and_module_ns);
	if (vm_why_dead(vm))
		snprintf(res->dead, sizeof(res->dead), "%s", vm_why_dead(vm));
}

/* Any thread, any lock held. The text is read when all have ended. */
static void on_warn(void *ctx, const char *what)
{
	struct run_result *res = ctx;

	if (!sync_fetch_add(&res->warnings, 1))
		snprintf(res->first_warning, sizeof(res->first_warning), "%s", what);
}

static int replay_on(const struct run_config *cfg, const struct trace *trace, struct machine *m,
		     struct vm *vm, struct run_result *res)
{
	struct run_memory_failing failing = {.host = m->host, .vm = vm};
	struct replay_config rc = {
		.trace = trace,
		.memory_bytes = cfg->memory_bytes,
		.nr_vcpus = cfg->nr_vcpus,
		.accept = cfg->accept,
		.accept_level = cfg->accept_level,
		.seed = cfg->seed,
		.discards = cfg->discards,
		.nr_discards = cfg->nr_discards,
		.conversions = cfg->conversions,
		.nr_conversions = cfg->nr_conversions,
		.failures = cfg->failures,
		.nr_failures = cfg->nr_failures,
		.fail = run_fail,
		.fail_ctx = &failing,
		.shared_bit = td_shared_bit(vm_td(vm)),
		.report = stderr,
	};
	struct replay *replay;
	u64 start;
	int err = replay_create(&rc, &replay);

	if (err)
		return err;
	start = host_now_ns();
	err = run_threads(cfg, m, vm, replay, trace->nr_events);
	res->wall_ns = host_now_ns() - start;
	if (!err) {
		look_at_guest(m, vm, replay, res);
		/* What is broken is in the result; only if it can't be looked for the run can't go on. */
		err = check_vm(m, vm, res->invariant, sizeof(res->invariant));
		err = err < 0 ? err : 0;
	}
	replay_destroy(replay);
	return err;
}

/* ---- the event stream ------------------------------------------------------------------------*/
struct recording {
	const struct run_config *cfg;
	struct events *events;
};

static int start_recording(void *watcher, struct host *host)
{
	struct recording *r = watcher;
	struct events_machine machine = {
		.memory_bytes = host->memory_bytes,
		.nr_lps = host->nr_lps,
		.nr_packages = host->nr_packages,
		.profile = r->cfg->profile->name,
		.dynamic_pamt = r->cfg->dynamic_pamt,
		.planted_bugs = r->cfg->planted_bugs,
	};

	return events_listen(r->events, &machine, &host->tracer);
}

static int open_events(const struct run_config *cfg, struct events **events)
{
	int err = cfg->events ? events_open(cfg->events, events) : 0;

	if (err)
		return cli_error(EXIT_BAD_USE, "run: --events %s: can't be written: %s",
				 cfg->events, strerror(-err));
	return 0;
}

/* ---- one replay ------------------------------------------------------------------------------*/
static int run_vm(const struct run_config *cfg, const struct trace *trace, struct machine *m,
		  const struct run_memory *mem, struct run_result *res)
{
	const struct vm_slot_config slot = {.npages = addr_to_fn(cfg->memory_bytes),
					    .file = mem->file};
	struct vm_config vc = {
		.slots = &slot,
		.nr_slots = 1,
		.mapping_check = cfg->mapping_check,
		.nr_vcpus = cfg->nr_vcpus,
		.max_level = cfg->pages,
		.gpaw = 48,
		.split_where = cfg->split_where,
		.split_metadata = cfg->split_metadata,
		.demote_lock = cfg->demote_lock,
		.promote = cfg->promote,
		.promoter_lp = cfg->nr_vcpus,
		/* A guest that touches before it accepts needs the #VE; Linux's wants none. */
		.sept_ve_disable = cfg->accept != ACCEPT_TOUCH,
	};
	struct vm *vm;
	int err = vm_create(m, &vc, &vm);

	if (err)
		return err;
	err = replay_on(cfg, trace, m, vm, res);
	if (mem->pool)
		res->pool = hugetlb_stats(mem->pool);
	vm_destroy(vm);
	return err;
}

/* Frames that failed are nobody's, and stay so. */
static u64 frames_in_use(const struct host *host)
{
	return host_frames_used(host) - sync_load(&host->used[FRAME_FAILED]);
}

/* From a machine to a machine where nothing of the TD is left. */
static int run_td(const struct run_config *cfg, const struct trace *trace, struct machine *m,
		  struct run_result *res)
{
	u64 frames = frames_in_use(m->host);
	struct run_memory mem;
	int err = run_memory_create(cfg, m->host, &mem);

	if (!err) {
		err = run_vm(cfg, trace, m, &mem, res);
		run_memory_destroy(&mem);
	}
	count_leaves(m, res);
	res->frames_leaked = frames_in_use(m->host) - frames;
	res->pamt_leaked = seam_pamt_in_use(m->seam);
	return err;
}

int run_execute(const struct run_config *cfg, const struct trace *trace, struct run_result *res)
{
	struct recording recording = {.cfg = cfg};
	struct machine_config mc = {
		.memory_bytes = run_machine_bytes(cfg),
		/* One more for the promoter's thread, and one for memory that fails. */
		.lps = cfg->nr_vcpus + 1 + !!cfg->nr_failures,
		.profile = cfg->profile,
		.dynamic_pamt = cfg->dynamic_pamt,
		.planted_bugs = cfg->planted_bugs,
		.watch = cfg->events ? start_recording : NULL,
		.watcher = &recording,
		.warn = on_warn,
		.warn_ctx = res,
	};
	bool is_up = false;
	struct machine m;
	int err;

	memset(res, 0, sizeof(*res));
	err = open_events(cfg, &recording.events);
	if (err)
		return err;
	err = machine_create(&mc, &m);
	if (!err) {
		is_up = true;
		err = run_td(cfg, trace, &m, res);
		machine_destroy(&m);
	}
	if (recording.events)
		res->events_error = events_close(recording.events);
	if (err == -ENOMEM && !is_up)
		return cli_error(
			EXIT_CANT_RUN,
			"run: no room for %" PRIu64 " MiB of address space, the host's memory: "
			"raise 'ulimit -v' or allow overcommit, or choose a smaller --memory",
			mc.memory_bytes >> 20);
	if (err == -ENOMEM)
		return cli_error(EXIT_CANT_RUN, "run: out of memory");
	if (err)
		return cli_error(EXIT_WRONG, "run: the %s doesn't come up: %s",
				 is_up ? "TD" : "machine", strerror(-err));
	return 0;
}

bool run_is_good(const struct run_result *res)
{
	return !res->replay.errors && !res->replay.discards_refused &&
	       !res->replay.conversions_refused && !res->dead[0] && !res->invariant[0] &&
	       !res->frames_leaked && !res->pamt_leaked;
}
