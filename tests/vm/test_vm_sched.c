/* SPDX-License-Identifier: MIT */
/* The real thing under base/sched: a machine, a TD and its vCPUs as coroutines, in chosen orders. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sched.h"
#include "observe/events.h"
#include "vm/runner.h"

#define MB (1ULL << 20)

/* What a listener hears, the file of --events and every step of the run, each folded into a number. */
struct stream {
	u64 heard, file, steps;
	u64 nr_events;
	struct events *events;
};

static void fold(u64 *hash, const void *bytes, size_t size)
{
	const u8 *p = bytes;

	for (size_t i = 0; i < size; i++)
		*hash = (*hash ^ p[i]) * 0x100000001B3ULL;
}

static void fold_file(u64 *hash, const char *path)
{
	FILE *f = fopen(path, "r");
	char bytes[4096];
	size_t n;

	assert_non_null(f);
	while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
		fold(hash, bytes, n);
	fclose(f);
}

static void on_event(void *ctx, enum trace_point point, const void *event)
{
	struct stream *s = ctx;

	fold(&s->heard, &point, sizeof(point));
	s->nr_events++;
	if (point == TRACE_SPTE_CHANGED) {
		const struct trace_spte *e = event;

		fold(&s->heard, &e->gfn, sizeof(e->gfn));
		fold(&s->heard, &e->new_spte, sizeof(e->new_spte));
	} else if (point <= TRACE_TDCALL) {
		const struct trace_seamcall *e = event;

		fold(&s->heard, &e->lp, sizeof(e->lp));
		fold(&s->heard, &e->leaf, sizeof(e->leaf));
		fold(&s->heard, e->in, sizeof(*e->in));
		if (e->out)
			fold(&s->heard, e->out, sizeof(*e->out));
	}
}

static int listen_to(void *ctx, struct host *host)
{
	const struct trace_listener l = {.fn = on_event, .ctx = ctx};
	const struct events_machine machine = {.memory_bytes = host->memory_bytes,
					       .nr_lps = host->nr_lps,
					       .nr_packages = host->nr_packages,
					       .profile = "test"};
	struct stream *s = ctx;
	int err = trace_listen(&host->tracer, &l);

	return err ? err : events_listen(s->events, &machine, &host->tracer);
}

/* Folds each step into the stream, and lets another policy choose. */
struct folding {
	struct stream *stream;
	struct sched_random random;
};

static int choose_and_fold(void *ctx, const struct sched_view *v)
{
	struct folding *f = ctx;
	int choice = sched_random.choose(&f->random, v);
	const struct sched_op *op = &v->thread[choice].op;
	u32 step[] = {(u32)choice, op->kind, op->object, op->queued};

	fold(&f->stream->steps, step, sizeof(step));
	return choice;
}

static const struct sched_policy folding = {.choose = choose_and_fold};

/* ---- two vCPUs in one block, one of which gives pages back ------------------------------------------*/
static const struct op ops_of[2][8] = {
	{ACCEPT_AT(4K, 4 * MB), WRITE_AT(4 * MB, 7), READ_AT(4 * MB), DISCARD_AT(4 * MB, 4096),
	 ACCEPT_AT(4K, 4 * MB), STOP},
	{ACCEPT_AT(4K, 4 * MB + 4096), WRITE_AT(4 * MB + 4096, 9), READ_AT(4 * MB + 4096),
	 DISCARD_AT(4 * MB + 4096, 4096), STOP},
};

struct scene {
	struct stream *stream;
	bool dynamic_pamt, convert;
	u64 read[2];
	int ret[2];
	char why[200];
};

static void scene_main(void *arg)
{
	struct scene *scene = arg;
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	struct runner *t[2];
	struct rig r = {0};

	mc.lps = 2;
	mc.dynamic_pamt = scene->dynamic_pamt;
	mc.watch = listen_to;
	mc.watcher = scene->stream;
	vc.nr_vcpus = 2;
	vc.file.backing = GMEM_4K;
	if (machine_create(&mc, &r.m) || vm_create(&r.m, &vc, &r.vm))
		sched_fail("no VM");
	for (u32 i = 0; i < 2; i++) {
		t[i] = calloc(1, sizeof(*t[i]));
		t[i]->rig = &r;
		t[i]->vcpu = i;
		t[i]->ops = ops_of[i];
		sync_thread_create(&t[i]->thread, runner_main, t[i]);
	}
	for (u32 i = 0; i < 2; i++) {
		sync_thread_join(&t[i]->thread);
		scene->ret[i] = t[i]->ret;
		scene->read[i] = t[i]->results[2];
		free(t[i]);
	}
	if (check_vm(&r.m, r.vm, scene->why, sizeof(scene->why)))
		sched_fail("%s", scene->why);
	vm_destroy(r.vm);
	machine_destroy(&r.m);
}

static struct stream run_scene(struct sched *s, u64 seed, u32 one_in, bool dynamic_pamt)
{
	struct stream stream = {.heard = 1, .file = 1, .steps = 1};
	struct scene scene = {.stream = &stream, .dynamic_pamt = dynamic_pamt};
	struct folding f = {.stream = &stream};
	const struct sched_config cfg = {.policy = &folding, .ctx = &f, .max_steps = 10000000};
	char path[] = "/tmp/septum-sched-XXXXXX";
	struct sched_result r;

	close(mkstemp(path));
	assert_int_equal(events_open(path, &stream.events), 0);
	sched_random_init(&f.random, seed, one_in);
	r = sched_run(s, &cfg, scene_main, &scene);
	assert_int_equal(events_close(stream.events), 0);
	fold_file(&stream.file, path);
	unlink(path);
	if (r.outcome != SCHED_DONE)
		fail_msg("seed %" PRIu64 ": %s", seed, r.report);
	assert_int_equal(scene.ret[0], 0);
	assert_int_equal(scene.ret[1], 0);
	assert_int_equal(scene.read[0], 7);
	assert_int_equal(scene.read[1], 9);
	return stream;
}

/* One seed gives the same steps and the same event stream, bit for bit, in a heap that has changed. */
static void test_same_seed_same_events(void **state)
{
	struct sched *s = sched_create();
	u64 first_events = 0, different = 0;

	(void)state;
	for (u64 seed = 1; seed <= 8; seed++) {
		struct stream a = run_scene(s, seed, 1 + (u32)seed % 3 * 4, seed & 1);
		void *noise = malloc(1000 * seed);
		struct stream b = run_scene(s, seed, 1 + (u32)seed % 3 * 4, seed & 1);

		free(noise);
		assert_true(a.nr_events > 50);
		assert_int_equal(a.nr_events, b.nr_events);
		assert_int_equal(a.heard, b.heard);
		assert_int_equal(a.file, b.file);
		assert_int_equal(a.steps, b.steps);
		different += seed > 1 && a.heard != first_events;
		first_events = a.heard;
	}
	assert_true(different);
	sched_destroy(s);
}

#define PRINT_STREAM "print-stream"

static int print_stream(void)
{
	struct sched *s = sched_create();

	for (u64 seed = 1; seed <= 3; seed++) {
		struct stream a = run_scene(s, seed, 3, true);

		printf("%" PRIx64 "-%" PRIx64 "-%" PRIx64 " ", a.heard, a.file, a.steps);
	}
	puts("");
	sched_destroy(s);
	return 0;
}

/* And in another process, where everything lies at other addresses. */
static void test_same_seed_same_events_elsewhere(void **state)
{
	char self[200] = "", line[2][200] = {"", ""};

	(void)state;
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 20) > 0);
	strcat(self, " " PRINT_STREAM);
	for (int i = 0; i < 2; i++) {
		FILE *f = popen(self, "r");

		assert_non_null(f);
		assert_non_null(fgets(line[i], sizeof(line[i]), f));
		assert_int_equal(pclose(f), 0);
	}
	assert_string_equal(line[0], line[1]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_seed_same_events),
		cmocka_unit_test(test_same_seed_same_events_elsewhere),
	};

	if (argc > 1 && !strcmp(argv[1], PRINT_STREAM))
		return print_stream();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
