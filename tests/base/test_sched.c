/* SPDX-License-Identifier: MIT */
/* Guarantees of base/sched.h: programs of many threads on one, in orders that are chosen. */
#include "base/sched_rig.h"

static struct logger log_a, log_b;

/* ---- a program with everything in it -----------------------------------------------------------*/
struct item {
	struct sync_rcu_head rcu;
	u64 value, looked;
};

struct everything {
	struct sync_mutex m;
	struct sync_rwlock rw;
	struct sync_waitq wq;
	struct item *item; /* changed by exchange, freed by RCU */
	u64 plain, shared, ready;
	u64 reads;
};

static void free_item(struct sync_rcu_head *head)
{
	struct item *item = container_of(head, struct item, rcu);

	item->value = 0;
	free(item);
}

static bool all_ready(void *arg)
{
	const struct everything *e = arg;

	return sync_load_acquire(&e->ready) == 3;
}

static void do_everything(void *arg)
{
	struct everything *e = arg;

	for (u64 i = 1; i <= 6; i++) {
		struct item *item = calloc(1, sizeof(*item)), *old;

		item->value = i;
		sync_mutex_lock(&e->m);
		e->plain++;
		sync_mutex_unlock(&e->m);
		if (sync_mutex_trylock(&e->m))
			sync_mutex_unlock(&e->m);
		sync_rcu_read_lock();
		old = sync_load_acquire(&e->item);
		if (old) {
			sync_fetch_add(&old->looked, 1);
			e->reads += old->value != 0;
		}
		sync_rcu_read_unlock();
		old = sync_xchg(&e->item, item);
		if (old)
			sync_rcu_call(&old->rcu, free_item);
		if (i & 1) {
			sync_read_lock(&e->rw);
			sync_fetch_add(&e->shared, 1);
			sync_read_unlock(&e->rw);
		} else {
			sync_write_lock(&e->rw);
			sync_store(&e->shared, sync_load(&e->shared) + 1);
			sync_write_unlock(&e->rw);
		}
	}
	sync_fetch_add(&e->ready, 1);
	sync_wake_all(&e->wq);
	sync_wait(&e->wq, all_ready, e);
	while (sync_load(&e->ready) != 3)
		sync_relax();
}

static void everything_main(void *arg)
{
	struct everything *e = arg;
	struct sync_thread t[3];

	memset(e, 0, sizeof(*e));
	sync_mutex_init(&e->m, LOCK_MMU_ROOTS);
	sync_rwlock_init(&e->rw, LOCK_MMU);
	sync_waitq_init(&e->wq);
	for (u32 i = 0; i < 3; i++)
		if (sync_thread_create(&t[i], do_everything, e))
			sched_fail("no thread");
	for (u32 i = 0; i < 3; i++)
		sync_thread_join(&t[i]);
	sync_rcu_barrier();
	free(e->item);
	sync_waitq_destroy(&e->wq);
	sync_rwlock_destroy(&e->rw);
	sync_mutex_destroy(&e->m);
}

static void run_everything(struct sched *s, struct logger *l, u64 seed)
{
	struct sched_random random;
	struct sched_result r;
	struct everything e;

	sched_random_init(&random, seed, 1);
	r = run_logged(s, l, &sched_random, &random, NULL, everything_main, &e);
	assert_string_equal(r.report, "");
	assert_int_equal(r.outcome, SCHED_DONE);
	assert_int_equal(e.plain, 18);
	assert_int_equal(e.shared, 18);
	assert_int_equal(r.decisions, l->nr);
}

/* Guarantee 1: one seed, one sequence of steps and objects, whatever was in the heap before. */
static void same_seed_same_steps(void **state)
{
	struct sched *s = sched_up();
	void *noise[64];

	(void)state;
	for (u64 seed = 1; seed <= 30; seed++) {
		struct sched *other = sched_up();

		run_everything(s, &log_a, seed);
		for (u32 i = 0; i < 64; i++)
			noise[i] = malloc(16 + 8 * ((i + seed) % 8));
		for (u32 i = 0; i < 64; i += 1 + (u32)seed % 3) {
			free(noise[i]);
			noise[i] = NULL;
		}
		run_everything(other, &log_b, seed);
		assert_same_log(&log_a, &log_b);
		for (u32 i = 0; i < 64; i++)
			free(noise[i]);
		sched_destroy(other);
	}
	run_everything(s, &log_b, 1);
	assert_true(hash_of(&log_a) != hash_of(&log_b));
	sched_destroy(s);
}

#define PRINT_HASH "print-hash"

static int print_hash(void)
{
	struct sched *s = sched_up();
	u64 sum = 0;

	for (u64 seed = 1; seed <= 10; seed++) {
		run_everything(s, &log_a, seed);
		sum = 31 * sum + hash_of(&log_a);
	}
	printf("%llx\n", (unsigned long long)sum);
	sched_destroy(s);
	return 0;
}

/* Guarantee 1 across processes: their addresses differ, their steps don't. */
static void same_seed_same_steps_elsewhere(void **state)
{
	char self[200] = "", line[2][64] = {"", ""};

	(void)state;
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 20) > 0);
	strcat(self, " " PRINT_HASH);
	for (int i = 0; i < 2; i++) {
		FILE *f = popen(self, "r");

		assert_non_null(f);
		assert_non_null(fgets(line[i], sizeof(line[i]), f));
		assert_int_equal(pclose(f), 0);
	}
	assert_string_equal(line[0], line[1]);
}

/* ---- every order, once ---------------------------------------------------------------------------*/

static void store_a_load_b(void *arg)
{
	struct two *p = arg;

	sync_store(&p->a, 1);
	p->seen_b = sync_load(&p->b);
}

static void store_b_load_a(void *arg)
{
	struct two *p = arg;

	sync_store(&p->b, 1);
	p->seen_a = sync_load(&p->a);
}

static void store_buffer_main(void *arg)
{
	memset(arg, 0, sizeof(struct two));
	both(arg, store_a_load_b, store_b_load_a);
}

/*
 * A search over all choices meets each outcome that sequential consistency allows, and no other
 * (guarantee 6): one of the two loads always sees the other's store.
 */
static void search_meets_every_order(void **state)
{
	u32 outcomes[4] = {0};
	struct search d = {0};
	struct sched *s = sched_up();
	struct two p;

	(void)state;
	do {
		assert_int_equal(run(s, &search_policy, &d, store_buffer_main, &p).outcome,
				 SCHED_DONE);
		outcomes[2 * p.seen_a + p.seen_b]++;
	} while (search_next(&d));
	assert_int_equal(outcomes[0], 0);
	assert_true(outcomes[1] && outcomes[2] && outcomes[3]);
	sched_destroy(s);
}

/* A load and a store lose an update in some order; with a mutex around them in none. */
static void search_finds_lost_updates(void **state)
{
	static void (*const mains[])(void *arg) = {locked_update_main, lost_update_main};
	struct sched *s = sched_up();

	(void)state;
	for (u32 i = 0; i < 2; i++) {
		struct search d = {0};
		u32 lost = 0, runs = 0;
		struct two p;

		do {
			assert_int_equal(run(s, &search_policy, &d, mains[i], &p).outcome,
					 SCHED_DONE);
			runs++;
			lost += p.a != 2;
		} while (search_next(&d));
		assert_true(runs > 5);
		assert_int_equal(lost != 0, i);
	}
	sched_destroy(s);
}

/* ---- policies ----------------------------------------------------------------------------------*/

/* A recorded schedule, printed, read and replayed, gives the same steps. */
static void schedules_replay(void **state)
{
	struct sched_schedule recorded = {0}, parsed;
	struct sched *s = sched_up();
	struct sched_replay replay;
	struct sched_random random;
	static char text[1 << 16];
	struct everything e;
	size_t bad;

	(void)state;
	for (u64 seed = 1; seed <= 20; seed++) {
		sched_random_init(&random, seed, 1 + (u32)seed % 4);
		run_logged(s, &log_a, &sched_random, &random, &recorded, everything_main, &e);
		assert_true(sched_schedule_print(&recorded, text, sizeof(text)) < sizeof(text));
		assert_int_equal(sched_schedule_parse(&parsed, text, &bad), 0);
		assert_int_equal(parsed.nr, recorded.nr);
		sched_replay_init(&replay, &parsed);
		run_logged(s, &log_b, &sched_replay, &replay, NULL, everything_main, &e);
		assert_same_log(&log_a, &log_b);
		assert_false(replay.left);
		sched_schedule_free(&parsed);
	}
	sched_schedule_free(&recorded);
	sched_destroy(s);
}

/* A schedule of another program says at which of its choices it didn't fit. */
static void foreign_schedules_are_refused(void **state)
{
	struct sched *s = sched_up();
	struct sched_replay replay;
	struct sched_schedule schedule;
	struct sched_result r;
	struct two p;
	size_t bad;

	(void)state;
	assert_int_equal(sched_schedule_parse(&schedule, "2@1,9@2", &bad), 0);
	sched_replay_init(&replay, &schedule);
	r = run(s, &sched_replay, &replay, locked_update_main, &p);
	assert_int_equal(r.outcome, SCHED_STOPPED);
	assert_true(replay.left);
	assert_int_equal(replay.next, 1);
	sched_schedule_free(&schedule);
	sched_destroy(s);
}

/* What isn't a schedule is refused where it isn't; an empty one is "-". */
static void schedules_are_parsed(void **state)
{
	static const struct {
		const char *text;
		size_t bad;
	} wrong[] = {
		{"", 0},     {"2", 1},	{"2@", 2},	     {"2@1,", 4},
		{"2@x", 2},  {"@3", 0}, {"2@5,3@5", 7},	     {"2@5 3@6", 3},
		{"-1@5", 0}, {"--", 0}, {"4294967296@1", 9}, {"2@18446744073709551616", 21},
	};
	struct sched_schedule s;
	char text[8];
	size_t bad;

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(sched_schedule_parse(&s, wrong[i].text, &bad), -22);
		assert_int_equal(bad, wrong[i].bad);
	}
	assert_int_equal(sched_schedule_parse(&s, "-", &bad), 0);
	assert_int_equal(sched_schedule_print(&s, text, sizeof(text)), 1);
	assert_string_equal(text, "-");
	assert_int_equal(sched_schedule_parse(&s, "2@10,3@40", &bad), 0);
	assert_int_equal(sched_schedule_print(&s, text, sizeof(text)), 9);
	assert_string_equal(text, "2@10,3@");
	sched_schedule_free(&s);
}

/*
 * PCT of depth 2 finds a lost update, which takes two ordering constraints, within few seeds; each
 * seed does the same twice.
 */
static void pct_finds_lost_updates(void **state)
{
	struct sched *s = sched_up();
	u32 found = 0;

	(void)state;
	for (u64 seed = 1; seed <= 200; seed++) {
		struct sched_pct pct;
		struct two p;

		sched_pct_init(&pct, seed, 2, 12);
		run_logged(s, &log_a, &sched_pct, &pct, NULL, lost_update_main, &p);
		found += p.a != 2;
		sched_pct_init(&pct, seed, 2, 12);
		run_logged(s, &log_b, &sched_pct, &pct, NULL, lost_update_main, &p);
		assert_same_log(&log_a, &log_b);
	}
	/* At least one in threads * length seeds, so the paper says; it is far more here. */
	assert_true(found >= 200 / (4 * 12));
	sched_destroy(s);
}

static void count_steps(void *arg)
{
	for (u32 i = 0; i < 10; i++)
		sync_load((u64 *)arg);
}

static void round_robin_main(void *arg)
{
	both(arg, count_steps, count_steps);
}

/* With a quantum of 1 the threads that can go on take turns, step by step. */
static void round_robin_takes_turns(void **state)
{
	struct sched_round_robin rr = {.quantum = 1};
	struct sched *s = sched_up();
	u32 turns = 0;
	u64 word = 0;

	(void)state;
	run_logged(s, &log_a, &sched_round_robin, &rr, NULL, round_robin_main, &word);
	for (u32 i = 1; i < log_a.nr; i++)
		turns += log_a.step[i].kind == SCHED_LOAD && log_a.step[i - 1].kind == SCHED_LOAD &&
			 log_a.step[i].thread != log_a.step[i - 1].thread;
	assert_in_range(turns, 17, 19);
	sched_destroy(s);
}

/* ---- what each thread has of its own -----------------------------------------------------------*/
struct own {
	u64 word, charged[2];
	struct sync_mutex m;
};

static void set_own(void *arg)
{
	char mine;

	sync_set_local(&mine);
	for (u32 i = 0; i < 5; i++) {
		sync_load((u64 *)arg);
		if (sync_local() != &mine)
			sched_fail("another thread's word");
	}
}

static void own_main(void *arg)
{
	sync_set_local(arg);
	both(arg, set_own, set_own);
	if (sync_local() != arg)
		sched_fail("main's word has changed");
}

/* sync_local() is the coroutine's, and outside of the run the caller's again. */
static void each_thread_has_its_word(void **state)
{
	struct sched_round_robin rr = {.quantum = 1};
	struct sched *s = sched_up();
	struct own own = {0};

	(void)state;
	sync_set_local(&own.charged);
	assert_string_equal(run(s, &sched_round_robin, &rr, own_main, &own).report, "");
	assert_ptr_equal(sync_local(), &own.charged);
	sync_set_local(NULL);
	sched_destroy(s);
}

static void hold_long(void *arg)
{
	struct own *own = arg;

	sync_mutex_lock(&own->m);
	sync_charge(1000);
	sync_mutex_unlock(&own->m);
	own->charged[0] = sched_clock(sync_sched, sched_running());
}

static void hold_shortly(void *arg)
{
	struct own *own = arg;

	sync_charge(10);
	sync_mutex_lock(&own->m);
	sync_charge(5);
	sync_mutex_unlock(&own->m);
	own->charged[1] = sched_clock(sync_sched, sched_running());
}

static void clocks_main(void *arg)
{
	struct own *own = arg;

	sync_mutex_init(&own->m, LOCK_MMU_ROOTS);
	sync_charge(100);
	both(own, hold_long, hold_shortly);
	if (sched_clock(sync_sched, SCHED_MAIN_THREAD) != 1105)
		sched_fail("main joined at another time");
	sync_mutex_destroy(&own->m);
}

/* Clocks start at the creator's, advance by charges, and wait where the thread waits. */
static void clocks_follow_waits(void **state)
{
	struct sched_round_robin rr = {.quantum = 1};
	struct sched *s = sched_up();
	struct own own = {0};

	(void)state;
	assert_string_equal(run(s, &sched_round_robin, &rr, clocks_main, &own).report, "");
	assert_int_equal(own.charged[0], 1100);
	assert_int_equal(own.charged[1], 1105);
	sync_charge(7); /* without a scheduler: nothing */
	sched_destroy(s);
}

static void marks_main(void *arg)
{
	(void)arg;
	sync_mark("fault", 1);
	sync_mark("zap", 2);
}

/* Marks reach the policy in order. */
static void marks_are_heard(void **state)
{
	struct sched *s = sched_up();

	(void)state;
	run_logged(s, &log_a, &sched_run_until_blocked, NULL, NULL, marks_main, NULL);
	assert_int_equal(log_a.nr_marks, 2);
	assert_string_equal(log_a.marks[0], "fault");
	assert_string_equal(log_a.marks[1], "zap");
	sched_destroy(s);
}

#define MANY 300

static void many_main(void *arg)
{
	struct sync_thread *t = calloc(MANY, sizeof(*t));

	for (u32 i = 0; i < MANY; i++)
		sync_thread_create(&t[i], locked_update, arg);
	for (u32 i = 0; i < MANY; i++)
		sync_thread_join(&t[i]);
	free(t);
}

/* Hundreds of threads at once, and thousands of runs on the same stacks. */
static void many_threads_many_runs(void **state)
{
	struct sched *s = sched_up();
	struct sched_random random;
	struct two p = {0};

	(void)state;
	sync_mutex_init(&p.m, LOCK_MMU_ROOTS);
	sched_random_init(&random, 5, 2);
	assert_string_equal(run(s, &sched_random, &random, many_main, &p).report, "");
	assert_int_equal(p.a, MANY);
	sync_mutex_destroy(&p.m);
	for (u32 i = 0; i < 3000; i++) {
		assert_int_equal(run(s, &sched_random, &random, locked_update_main, &p).outcome,
				 SCHED_DONE);
		assert_int_equal(p.a, 2);
	}
	sched_destroy(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_seed_same_steps),
		cmocka_unit_test(same_seed_same_steps_elsewhere),
		cmocka_unit_test(search_meets_every_order),
		cmocka_unit_test(search_finds_lost_updates),
		cmocka_unit_test(schedules_replay),
		cmocka_unit_test(foreign_schedules_are_refused),
		cmocka_unit_test(schedules_are_parsed),
		cmocka_unit_test(pct_finds_lost_updates),
		cmocka_unit_test(round_robin_takes_turns),
		cmocka_unit_test(each_thread_has_its_word),
		cmocka_unit_test(clocks_follow_waits),
		cmocka_unit_test(marks_are_heard),
		cmocka_unit_test(many_threads_many_runs),
	};

	if (argc > 1 && !strcmp(argv[1], PRINT_HASH))
		return print_hash();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
