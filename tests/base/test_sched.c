/* SPDX-License-Identifier: MIT */
/*
 * Guarantees of base/sched.h: programs of many threads on one, in orders that are chosen. In every
 * build atomics are places to switch here, since the macro is set for this file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#ifndef SYNC_ATOMICS_SWITCH
#define SYNC_ATOMICS_SWITCH 1
#endif
#include "base/sched.h"
#include "base/sync.h"

/* ---- a log of all steps --------------------------------------------------------------------------*/
#define MAX_LOG 20000

/* Asks another policy, and writes down what is done. */
struct logger {
	const struct sched_policy *policy;
	void *ctx;
	u32 nr;
	struct {
		u32 thread, object;
		enum sched_kind kind;
		bool queued;
	} step[MAX_LOG];
	u32 nr_marks;
	const char *marks[16];
};

static int choose_and_log(void *ctx, const struct sched_view *v)
{
	struct logger *l = ctx;
	int choice = l->policy->choose(l->ctx, v);

	if (choice != SCHED_STOP && l->nr < MAX_LOG) {
		const struct sched_op *op = &v->thread[choice].op;

		l->step[l->nr].thread = (u32)choice;
		l->step[l->nr].kind = op->kind;
		l->step[l->nr].object = op->object;
		l->step[l->nr++].queued = op->queued;
	}
	for (u32 i = 0; i < v->nr_enabled; i++) {
		assert_true(v->thread[v->enabled[i]].enabled);
		assert_true(!i || v->enabled[i] > v->enabled[i - 1]);
	}
	return choice;
}

static void log_mark(void *ctx, u32 thread, const char *name, u64 arg)
{
	struct logger *l = ctx;

	(void)thread;
	(void)arg;
	l->marks[l->nr_marks++ % 16] = name;
}

static const struct sched_policy logging = {.choose = choose_and_log, .mark = log_mark};

static struct logger log_a, log_b;

static struct sched_result run_logged(struct sched *s, struct logger *l,
				      const struct sched_policy *policy, void *ctx,
				      struct sched_schedule *record, void (*main_fn)(void *arg),
				      void *arg)
{
	const struct sched_config cfg = {
		.policy = &logging, .ctx = l, .record = record, .max_steps = 1000000};

	memset(l, 0, sizeof(*l));
	l->policy = policy;
	l->ctx = ctx;
	return sched_run(s, &cfg, main_fn, arg);
}

static struct sched_result run(struct sched *s, const struct sched_policy *policy, void *ctx,
			       void (*main_fn)(void *arg), void *arg)
{
	const struct sched_config cfg = {.policy = policy, .ctx = ctx, .max_steps = 1000000};

	return sched_run(s, &cfg, main_fn, arg);
}

static void assert_same_log(const struct logger *a, const struct logger *b)
{
	assert_int_equal(a->nr, b->nr);
	assert_memory_equal(a->step, b->step, a->nr * sizeof(a->step[0]));
}

/* FNV-1a over all steps, as one number that another process can print. */
static u64 hash_of(const struct logger *l)
{
	const u8 *bytes = (const u8 *)l->step;
	u64 hash = 0xCBF29CE484222325ULL;

	for (size_t i = 0; i < l->nr * sizeof(l->step[0]); i++)
		hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
	return hash;
}

static struct sched *sched_up(void)
{
	struct sched *s = sched_create();

	assert_non_null(s);
	return s;
}

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

/* Depth-first search over all choices: the choice at each decision, and how many there were. */
struct search {
	u32 nr;
	struct {
		u32 taken, of;
	} at[64];
	u32 decision;
};

static int choose_next(void *ctx, const struct sched_view *v)
{
	struct search *d = ctx;

	if (d->decision == d->nr) {
		assert_true(d->nr < 64);
		d->at[d->nr].taken = 0;
		d->at[d->nr++].of = v->nr_enabled;
	}
	assert_int_equal(d->at[d->decision].of, v->nr_enabled);
	return (int)v->enabled[d->at[d->decision++].taken];
}

static const struct sched_policy search_policy = {.choose = choose_next};

/* To the next leaf of the tree; false after the last. */
static bool search_next(struct search *d)
{
	d->decision = 0;
	while (d->nr && d->at[d->nr - 1].taken + 1 == d->at[d->nr - 1].of)
		d->nr--;
	if (!d->nr)
		return false;
	d->at[d->nr - 1].taken++;
	return true;
}

struct two {
	u64 a, b, seen_a, seen_b;
	struct sync_mutex m;
};

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

static void both(void *arg, void (*fn_a)(void *arg), void (*fn_b)(void *arg))
{
	struct sync_thread a, b;

	sync_thread_create(&a, fn_a, arg);
	sync_thread_create(&b, fn_b, arg);
	sync_thread_join(&a);
	sync_thread_join(&b);
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

static void lost_update(void *arg)
{
	struct two *p = arg;

	sync_store(&p->a, sync_load(&p->a) + 1);
}

static void lost_update_main(void *arg)
{
	memset(arg, 0, sizeof(struct two));
	both(arg, lost_update, lost_update);
}

static void locked_update(void *arg)
{
	struct two *p = arg;

	sync_mutex_lock(&p->m);
	sync_store(&p->a, sync_load(&p->a) + 1);
	sync_mutex_unlock(&p->m);
}

static void locked_update_main(void *arg)
{
	struct two *p = arg;

	memset(arg, 0, sizeof(struct two));
	sync_mutex_init(&p->m, LOCK_MMU_ROOTS);
	both(arg, locked_update, locked_update);
	sync_mutex_destroy(&p->m);
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
