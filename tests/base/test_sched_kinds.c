/* SPDX-License-Identifier: MIT */
/* Guarantees of base/sched.h: what each kind of operation does, and the ends that a run can come to. */
#include "base/sched_rig.h"

static struct logger log_a;

/* ---- deadlock, and other ends ------------------------------------------------------------------*/
struct stuck {
	struct sync_mutex m;
	struct sync_waitq wq;
	struct sync_thread other;
	u64 flag;
};

static void want_mutex(void *arg)
{
	struct stuck *p = arg;

	sync_mark("fault", 0x40);
	sync_mutex_lock(&p->m);
	sync_mutex_unlock(&p->m);
}

static void join_with_mutex_main(void *arg)
{
	struct stuck *p = arg;

	memset(p, 0, sizeof(*p));
	sync_mutex_init(&p->m, LOCK_HOST_ALLOC);
	sync_mutex_lock(&p->m);
	sync_thread_create(&p->other, want_mutex, p);
	sync_thread_join(&p->other);
}

static bool flag_is_set(void *arg)
{
	return sync_load_acquire(&((struct stuck *)arg)->flag);
}

static void wait_for_flag(void *arg)
{
	struct stuck *p = arg;

	sync_wait(&p->wq, flag_is_set, p);
}

static void forgotten_wake_main(void *arg)
{
	struct stuck *p = arg;

	memset(p, 0, sizeof(*p));
	sync_waitq_init(&p->wq);
	sync_thread_create(&p->other, wait_for_flag, p);
	sync_store_release(&p->flag, 1);
	sync_thread_join(&p->other);
	sync_waitq_destroy(&p->wq);
}

/* Who waits for what stands in the report: the lock's class and holder, what the thread was doing. */
static void deadlock_is_reported(void **state)
{
	struct sched *s = sched_up();
	struct sched_result r;
	struct stuck p;

	(void)state;
	r = run(s, &sched_run_until_blocked, NULL, join_with_mutex_main, &p);
	assert_int_equal(r.outcome, SCHED_DEADLOCK);
	assert_non_null(strstr(r.report, "thread 0: waits: join 2\n"));
	assert_non_null(strstr(r.report,
			       "thread 2: waits: lock host.alloc_lock#1, held by thread 0 "
			       "(in fault 0x40)\n"));
	sched_destroy(s);
}

/* A change that nobody wakes for is missed in the order where the sleeper slept before it. */
static void forgotten_wake_is_found(void **state)
{
	struct sched *s = sched_up();
	struct search d = {0};
	u32 done = 0, stuck = 0;
	struct stuck p;

	(void)state;
	do {
		struct sched_result r = run(s, &search_policy, &d, forgotten_wake_main, &p);

		if (r.outcome == SCHED_DONE) {
			done++;
			continue;
		}
		assert_int_equal(r.outcome, SCHED_DEADLOCK);
		assert_non_null(strstr(r.report, "asleep: nobody has woken it"));
		stuck++;
	} while (search_next(&d));
	assert_true(done && stuck);
	sched_destroy(s);
}

static void spin_main(void *arg)
{
	while (!sync_load((u64 *)arg))
		sync_relax();
}

static void toggle_main(void *arg)
{
	u64 *word = arg;

	for (;;)
		sync_store(word, !sync_load(word));
}

static void fail_main(void *arg)
{
	(void)arg;
	sched_fail("gfn %d is lost", 77);
}

static int choose_stop(void *ctx, const struct sched_view *v)
{
	(void)ctx;
	(void)v;
	return SCHED_STOP;
}

static const struct sched_policy stopping = {.choose = choose_stop};

/* Each way to be cut short has its outcome, and the scheduler runs the next program afterwards. */
static void runs_can_be_cut(void **state)
{
	struct sched_config cfg = {.policy = &sched_run_until_blocked, .max_spins = 50};
	struct sched *s = sched_up();
	struct sched_result r;
	struct two p;
	u64 zero = 0;

	(void)state;
	for (u32 i = 0; i < 3; i++) {
		r = sched_run(s, &cfg, spin_main, &zero);
		assert_int_equal(r.outcome, SCHED_LIVELOCK);
		cfg.max_steps = 1000;
		r = sched_run(s, &cfg, toggle_main, &zero);
		assert_int_equal(r.outcome, SCHED_STEP_LIMIT);
		assert_int_equal(r.steps, 1001);
		r = run(s, &sched_run_until_blocked, NULL, fail_main, NULL);
		assert_int_equal(r.outcome, SCHED_FAILED);
		assert_string_equal(r.report, "gfn 77 is lost");
		r = run(s, &stopping, NULL, locked_update_main, &p);
		assert_int_equal(r.outcome, SCHED_STOPPED);
		r = run(s, &sched_run_until_blocked, NULL, locked_update_main, &p);
		assert_int_equal(r.outcome, SCHED_DONE);
		assert_int_equal(p.a, 2);
		cfg.max_steps = 0;
		zero = 0;
	}
	sched_destroy(s);
}

#ifdef SEPTUM_CHECK
static void disorderly_main(void *arg)
{
	struct sync_mutex a, b;

	(void)arg;
	sync_mutex_init(&a, LOCK_HOST_ALLOC);
	sync_mutex_init(&b, LOCK_MMU_ROOTS);
	sync_mutex_lock(&a);
	sync_mutex_lock(&b);
}

/* A breach of the lock order fails the run and not the program; what was held is forgotten with it. */
static void lock_order_fails_the_run(void **state)
{
	struct sched *s = sched_up();
	struct sched_result r;
	struct two p;

	(void)state;
	for (u32 i = 0; i < 2; i++) {
		r = run(s, &sched_run_until_blocked, NULL, disorderly_main, NULL);
		assert_int_equal(r.outcome, SCHED_FAILED);
		assert_non_null(strstr(r.report, "waiting for mmu.roots_lock while holding "
						 "host.alloc_lock"));
		r = run(s, &sched_run_until_blocked, NULL, locked_update_main, &p);
		assert_int_equal(r.outcome, SCHED_DONE);
	}
	sched_destroy(s);
}
#endif

/* ---- relaxing ----------------------------------------------------------------------------------*/
struct spinning {
	u64 flag, noise, turns;
};

static void spin_for_flag(void *arg)
{
	struct spinning *p = arg;

	while (!sync_load(&p->flag)) {
		p->turns++;
		sync_relax();
	}
}

static void write_then_flag(void *arg)
{
	struct spinning *p = arg;

	sync_store(&p->noise, 1);
	sync_store(&p->noise, 2);
	sync_store(&p->flag, 1);
}

static void spinning_main(void *arg)
{
	memset(arg, 0, sizeof(struct spinning));
	both(arg, spin_for_flag, write_then_flag);
}

/* Guarantee 3: a loop turns at most once for each write of another, so the search ends. */
static void loops_turn_as_often_as_others_write(void **state)
{
	struct sched *s = sched_up();
	struct search d = {0};
	struct spinning p;
	u64 most = 0;

	(void)state;
	do {
		assert_int_equal(run(s, &search_policy, &d, spinning_main, &p).outcome, SCHED_DONE);
		most = max_u64(most, p.turns);
	} while (search_next(&d));
	assert_in_range(most, 2, 4);
	sched_destroy(s);
}

static void spin_and_write(void *arg)
{
	struct spinning *p = arg;

	/* Each turn is news to the other: only fairness ends this. */
	while (!sync_load(&p->flag)) {
		sync_fetch_add(&p->noise, 1);
		sync_relax();
	}
}

static void fairness_main(void *arg)
{
	struct spinning *p = arg;
	struct sync_thread t;

	memset(p, 0, sizeof(*p));
	sync_thread_create(&t, spin_and_write, p);
	both(p, spin_and_write, write_then_flag);
	sync_thread_join(&t);
}

static int choose_lowest(void *ctx, const struct sched_view *v)
{
	(void)ctx;
	return (int)v->enabled[0];
}

static const struct sched_policy lowest_first = {.choose = choose_lowest};

/* Guarantee 3: two loops that give each other news don't starve a third thread. */
static void loops_starve_nobody(void **state)
{
	struct sched *s = sched_up();
	struct spinning p;

	(void)state;
	assert_int_equal(run(s, &lowest_first, NULL, fairness_main, &p).outcome, SCHED_DONE);
	sched_destroy(s);
}

/* ---- rwlock ------------------------------------------------------------------------------------*/
struct shared_lock {
	struct sync_rwlock rw;
	u64 readers, most_readers, writers, order, reader_after, writer_at;
	bool contended;
};

static void reader(void *arg)
{
	struct shared_lock *p = arg;

	sync_read_lock(&p->rw);
	p->most_readers = max_u64(p->most_readers, ++p->readers);
	if (p->writers)
		sched_fail("a reader beside a writer");
	p->contended |= sync_rwlock_contended(&p->rw);
	p->readers--;
	sync_read_unlock(&p->rw);
}

static void writer(void *arg)
{
	struct shared_lock *p = arg;

	sync_write_lock(&p->rw);
	if (p->writers++ || p->readers)
		sched_fail("a writer beside somebody");
	sync_load(&p->order);
	p->writers--;
	sync_write_unlock(&p->rw);
}

static void rwlock_main(void *arg)
{
	struct shared_lock *p = arg;
	struct sync_thread t;

	sync_rwlock_init(&p->rw, LOCK_MMU);
	sync_thread_create(&t, writer, p);
	both(p, reader, reader);
	sync_thread_join(&t);
	sync_rwlock_destroy(&p->rw);
}

/* Readers meet, a writer meets nobody, and who queues is seen: in some order, each. */
static void rwlock_shares_and_excludes(void **state)
{
	struct shared_lock p = {0};
	struct sched *s = sched_up();

	(void)state;
	for (u64 seed = 1; seed <= 300; seed++) {
		struct sched_random random;
		struct sched_result r;

		sched_random_init(&random, seed, 1);
		r = run(s, &sched_random, &random, rwlock_main, &p);
		assert_string_equal(r.report, "");
	}
	assert_int_equal(p.most_readers, 2);
	assert_true(p.contended);
	sched_destroy(s);
}

static void late_reader(void *arg)
{
	struct shared_lock *p = arg;

	sync_read_lock(&p->rw);
	p->reader_after = ++p->order;
	sync_read_unlock(&p->rw);
}

static void queueing_writer(void *arg)
{
	struct shared_lock *p = arg;

	sync_write_lock(&p->rw);
	p->writer_at = ++p->order;
	sync_write_unlock(&p->rw);
}

static void writer_first_main(void *arg)
{
	struct shared_lock *p = arg;
	struct sync_thread w, r;

	memset(p, 0, sizeof(*p));
	sync_rwlock_init(&p->rw, LOCK_MMU);
	sync_read_lock(&p->rw);
	sync_thread_create(&w, queueing_writer, p);
	while (!sync_rwlock_contended(&p->rw))
		sync_relax();
	sync_thread_create(&r, late_reader, p);
	sync_read_unlock(&p->rw);
	sync_thread_join(&w);
	sync_thread_join(&r);
	sync_rwlock_destroy(&p->rw);
}

/* A reader that comes while a writer queues goes after it, in every order. */
static void writers_that_queue_go_first(void **state)
{
	struct sched *s = sched_up();
	struct search d = {0};
	struct shared_lock p;

	(void)state;
	do {
		struct sched_result r = run(s, &search_policy, &d, writer_first_main, &p);

		assert_string_equal(r.report, "");
		assert_int_equal(p.writer_at, 1);
		assert_int_equal(p.reader_after, 2);
	} while (search_next(&d));
	sched_destroy(s);
}

/* ---- RCU ---------------------------------------------------------------------------------------*/
struct rcu_program {
	struct sync_rcu_head first, second;
	u64 *published;
	u64 value, order, first_at, second_at, called, ran_beside_late_reader;
};

static void first_ran(struct sync_rcu_head *head)
{
	struct rcu_program *p = container_of(head, struct rcu_program, first);

	p->first_at = ++p->order;
	p->value = 0; /* what a reader of *published must not see */
}

static void second_ran(struct sync_rcu_head *head)
{
	struct rcu_program *p = container_of(head, struct rcu_program, second);

	p->second_at = ++p->order;
}

static void rcu_reader(void *arg)
{
	struct rcu_program *p = arg;
	const u64 *seen;

	sync_rcu_read_lock();
	seen = sync_load_acquire(&p->published);
	sync_rcu_read_lock();
	sync_load(&p->called);
	sync_rcu_read_unlock();
	if (seen && *seen != 5)
		sched_fail("a reader's object is gone");
	if (!seen && p->first_at)
		p->ran_beside_late_reader++;
	sync_rcu_read_unlock();
}

static void rcu_retire(void *arg)
{
	struct rcu_program *p = arg;

	sync_store_release(&p->published, NULL);
	sync_rcu_call(&p->first, first_ran);
	sync_rcu_call(&p->second, second_ran);
	sync_store(&p->called, 1);
	sync_rcu_barrier();
	if (!p->first_at || !p->second_at)
		sched_fail("a barrier came back too early");
}

static void rcu_main(void *arg)
{
	struct rcu_program *p = arg;

	p->value = 5;
	p->order = p->first_at = p->second_at = 0;
	p->published = &p->value;
	both(p, rcu_reader, rcu_retire);
}

/*
 * Guarantee 4, in every order: a callback runs after the sections that were open at its call, in the
 * order of the calls, before a barrier comes back; and not always after sections that began later.
 */
static void callbacks_wait_for_readers(void **state)
{
	struct rcu_program p = {0};
	struct sched *s = sched_up();
	struct search d = {0};

	(void)state;
	do {
		struct sched_result r = run(s, &search_policy, &d, rcu_main, &p);

		assert_string_equal(r.report, "");
		assert_int_equal(p.first_at, 1);
		assert_int_equal(p.second_at, 2);
	} while (search_next(&d));
	assert_true(p.ran_beside_late_reader);
	sched_destroy(s);
}

static void leave_callback_main(void *arg)
{
	struct rcu_program *p = arg;

	sync_rcu_call(&p->first, first_ran);
}

/* A run isn't over before the callbacks that nobody waited for have run. */
static void callbacks_run_at_the_end(void **state)
{
	struct rcu_program p = {0};
	struct sched *s = sched_up();

	(void)state;
	assert_int_equal(run(s, &sched_run_until_blocked, NULL, leave_callback_main, &p).outcome,
			 SCHED_DONE);
	assert_int_equal(p.first_at, 1);
	sched_destroy(s);
}

/* ---- objects -----------------------------------------------------------------------------------*/
static void touch_freed(void *arg)
{
	u64 *word = malloc(64);

	(void)arg;
	for (u32 i = 0; i < 3; i++) {
		sync_store(word, i);
		sync_store(word, i);
		free(word);
		word = malloc(64);
	}
	free(word);
}

static void touch_freed_main(void *arg)
{
	both(arg, touch_freed, touch_freed);
}

/* What malloc() puts where something was freed is another object, whether it takes the place or not. */
static void freed_memory_is_another_object(void **state)
{
	struct sched *s = sched_up();
	u32 stores = 0;

	(void)state;
	run_logged(s, &log_a, &sched_run_until_blocked, NULL, NULL, touch_freed_main, NULL);
	for (u32 i = 0; i < log_a.nr; i++) {
		if (log_a.step[i].kind != SCHED_STORE)
			continue;
		/* Two stores to each, and each a number of its own, in order. */
		assert_int_equal(log_a.step[i].object, 1 + stores / 2);
		stores++;
	}
	assert_int_equal(stores, 12);
	sched_destroy(s);
}

/* What a condition reads depends on what it finds: both words, or as far as the first says no. */
struct two_words {
	struct sync_waitq wq;
	u64 first, second;
};

static bool both_set(void *arg)
{
	const struct two_words *w = arg;

	return sync_load(&w->first) && sync_load(&w->second);
}

static void wait_for_both(void *arg)
{
	struct two_words *w = arg;

	sync_wait(&w->wq, both_set, w);
}

static void two_words_main(void *arg)
{
	struct two_words *w = arg;
	struct sync_thread t;

	memset(w, 0, sizeof(*w));
	sync_waitq_init(&w->wq);
	sync_thread_create(&t, wait_for_both, w);
	sync_store(&w->first, 1ULL);
	sync_wake_all(&w->wq);
	sync_store(&w->second, 1ULL);
	sync_wake_all(&w->wq);
	sync_thread_join(&t);
	sync_waitq_destroy(&w->wq);
}

/* The most words that a waiting thread's operation has named so far; sched_random behind it. */
struct most_reads {
	struct sched_random random;
	u32 nr[SCHED_READS + 1]; /* decisions at which so many were named */
};

static int choose_and_look(void *ctx, const struct sched_view *v)
{
	struct most_reads *m = ctx;

	for (u32 i = 0; i < v->nr_threads; i++) {
		const struct sched_op *op = &v->thread[i].op;

		if (v->thread[i].ended || op->kind != SCHED_WAIT)
			continue;
		assert_in_range(op->nr_reads, 1, 2);
		assert_true(op->nr_reads < 2 || op->reads[0] != op->reads[1]);
		m->nr[op->nr_reads]++;
	}
	return sched_random.choose(&m->random, v);
}

static const struct sched_policy looking = {.choose = choose_and_look};

/* A thread that waits names the words that its condition would read now, in every state. */
static void a_condition_names_what_it_reads(void **state)
{
	struct sched *s = sched_up();
	struct two_words w;
	struct most_reads m;

	(void)state;
	memset(&m, 0, sizeof(m));
	for (u64 seed = 1; seed <= 50; seed++) {
		sched_random_init(&m.random, seed, 1);
		assert_int_equal(run(s, &looking, &m, two_words_main, &w).outcome, SCHED_DONE);
	}
	assert_true(m.nr[1] && m.nr[2]);
	sched_destroy(s);
}

#define OPERATION(what, writes, number, ...)                                           \
	{                                                                              \
		.kind = SCHED_##what, .write = writes, .object = number, ##__VA_ARGS__ \
	}
#define READS(what, ...) OPERATION(what, false, __VA_ARGS__)
#define WRITES(what, ...) OPERATION(what, true, __VA_ARGS__)

/* What sched_conflict() says of operations, both ways round. */
static void conflicts(void **state)
{
	static const struct {
		struct sched_op a, b;
		bool conflict;
	} pairs[] = {
		{READS(LOAD, 1), READS(LOAD, 1), false},
		{READS(LOAD, 1), WRITES(STORE, 1), true},
		{READS(LOAD, 1), WRITES(STORE, 2), false},
		{WRITES(RMW, 3), WRITES(RMW, 3), true},
		{WRITES(LOCK, 3), WRITES(LOCK, 3), true},
		{READS(RDLOCK, 3), READS(RDLOCK, 3), false},
		{READS(RDLOCK, 3), WRITES(WRLOCK, 3), true},
		{READS(RDLOCK, 3), READS(CONTENDED, 3), true},
		{READS(CONTENDED, 3), READS(CONTENDED, 3), false},
		{WRITES(WAIT, 3), WRITES(STORE, 9), true},
		{WRITES(WAIT, 3), READS(LOAD, 4), false},
		{WRITES(CREATE, 0), WRITES(CREATE, 0), true},
		{WRITES(END, 3), READS(JOIN, 3), true},
		{WRITES(END, 3), WRITES(STORE, 3), false},
		{READS(RCU_LOCK, 0), WRITES(RCU_CALL, 0), true},
		{READS(RCU_LOCK, 0), WRITES(CALLBACK, 0), false},
		{WRITES(RCU_UNLOCK, 0), WRITES(CALLBACK, 0), true},
		{WRITES(RCU_CALL, 0), WRITES(RCU_CALL, 0), true},
		{READS(RELAX, 0), WRITES(STORE, 3), false},
		{WRITES(RCU_UNLOCK, 0), WRITES(RCU_CALL, 0), false},
		/* Neighbours in a word, and a field that overlaps both. */
		{WRITES(STORE, 1, .bytes = 0x03), WRITES(RMW, 1, .bytes = 0x0C), false},
		{WRITES(STORE, 1, .bytes = 0x03), READS(LOAD, 1, .bytes = 0x0F), true},
		/* Shared holders of a lock come and go, somebody looks, somebody wants it alone. */
		{WRITES(JOINT, 1, .bytes = 3), WRITES(JOINT, 1, .bytes = 3), false},
		{WRITES(JOINT, 1, .bytes = 3), READS(LOAD, 1, .bytes = 3), true},
		{WRITES(JOINT, 1, .bytes = 3), WRITES(RMW, 1, .bytes = 3), true},
		/* A condition whose words are known. */
		{WRITES(WAIT, 3, .nr_reads = 2, .reads = {8, 9}), WRITES(STORE, 9, .bytes = 1),
		 true},
		{WRITES(WAIT, 3, .nr_reads = 2, .reads = {8, 9}), READS(LOAD, 9, .bytes = 1),
		 false},
		{WRITES(WAIT, 3, .nr_reads = 2, .reads = {8, 9}), WRITES(STORE, 7, .bytes = 1),
		 false},
		{WRITES(WAIT, 3, .nr_reads = 2, .reads = {8, 9}), WRITES(LOCK, 9), false},
		{WRITES(WAIT, 3, .nr_reads = 2, .reads = {8, 9}), WRITES(WAKE, 3), true},
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(pairs); i++) {
		assert_int_equal(sched_conflict(&pairs[i].a, &pairs[i].b), pairs[i].conflict);
		assert_int_equal(sched_conflict(&pairs[i].b, &pairs[i].a), pairs[i].conflict);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadlock_is_reported),
		cmocka_unit_test(forgotten_wake_is_found),
		cmocka_unit_test(runs_can_be_cut),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(lock_order_fails_the_run),
#endif
		cmocka_unit_test(loops_turn_as_often_as_others_write),
		cmocka_unit_test(loops_starve_nobody),
		cmocka_unit_test(rwlock_shares_and_excludes),
		cmocka_unit_test(writers_that_queue_go_first),
		cmocka_unit_test(callbacks_wait_for_readers),
		cmocka_unit_test(callbacks_run_at_the_end),
		cmocka_unit_test(freed_memory_is_another_object),
		cmocka_unit_test(a_condition_names_what_it_reads),
		cmocka_unit_test(conflicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
