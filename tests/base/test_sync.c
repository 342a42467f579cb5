/* SPDX-License-Identifier: MIT */
/* Guarantees of base/sync.h, by number, with real threads. A lost wake-up or a deadlock hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/sync.h"

#define THREADS 4

static void start_all(struct sync_thread *t, unsigned int n, void (*fn)(void *arg), void *arg)
{
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(sync_thread_create(&t[i], fn, arg), 0);
}

static void join_all(struct sync_thread *t, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		sync_thread_join(&t[i]);
}

/* ---- locks -----------------------------------------------------------------------------------*/

struct counted {
	struct sync_mutex m;
	struct sync_rwlock rw;
	u64 a, b; /* plain: only the lock makes them agree */
	u32 odd;  /* times a reader found them apart */
};

static void add_under_mutex(void *arg)
{
	struct counted *c = arg;

	for (int i = 0; i < 20000; i++) {
		sync_mutex_lock(&c->m);
		sync_mutex_assert_held(&c->m);
		c->a++;
		sync_mutex_unlock(&c->m);
	}
}

/* A mutex keeps the plain increments of several threads apart. */
static void mutex_excludes(void **state)
{
	struct sync_thread t[THREADS];
	struct counted c = {};

	(void)state;
	sync_mutex_init(&c.m, LOCK_MMU_ROOTS);
	start_all(t, THREADS, add_under_mutex, &c);
	join_all(t, THREADS);
	assert_int_equal(c.a, THREADS * 20000);
	sync_mutex_destroy(&c.m);
}

static void try_mutex(void *arg)
{
	struct counted *c = arg;

	if (sync_mutex_trylock(&c->m)) {
		c->a++;
		sync_mutex_unlock(&c->m);
	}
}

/* A try-lock fails at once while another thread holds the mutex, and succeeds once it is free. */
static void trylock_never_waits(void **state)
{
	struct counted c = {};
	struct sync_thread t;

	(void)state;
	sync_mutex_init(&c.m, LOCK_MMU_ROOTS);
	sync_mutex_lock(&c.m);
	start_all(&t, 1, try_mutex, &c);
	join_all(&t, 1);
	sync_mutex_unlock(&c.m);
	assert_int_equal(c.a, 0);
	start_all(&t, 1, try_mutex, &c);
	join_all(&t, 1);
	assert_int_equal(c.a, 1);
	sync_mutex_destroy(&c.m);
}

static void write_pair(void *arg)
{
	struct counted *c = arg;

	for (int i = 0; i < 5000; i++) {
		sync_write_lock(&c->rw);
		sync_rwlock_assert_write(&c->rw);
		c->a++;
		c->b++;
		sync_write_unlock(&c->rw);
	}
}

static void read_pair(void *arg)
{
	struct counted *c = arg;

	for (int i = 0; i < 5000; i++) {
		sync_read_lock(&c->rw);
		sync_rwlock_assert_read(&c->rw);
		if (c->a != c->b)
			sync_fetch_add(&c->odd, 1);
		sync_read_unlock(&c->rw);
	}
}

/* A reader never sees a writer's work half done, and writers exclude each other. */
static void rwlock_excludes(void **state)
{
	struct sync_thread writers[2], readers[2];
	struct counted c = {};

	(void)state;
	sync_rwlock_init(&c.rw, LOCK_MMU);
	start_all(writers, 2, write_pair, &c);
	start_all(readers, 2, read_pair, &c);
	join_all(writers, 2);
	join_all(readers, 2);
	assert_int_equal(c.odd, 0);
	assert_int_equal(c.a, 10000);
	assert_int_equal(c.b, 10000);
	assert_false(sync_rwlock_contended(&c.rw));
	sync_rwlock_destroy(&c.rw);
}

struct meeting {
	struct sync_rwlock rw;
	u32 inside;
	u32 writer_was_in, late_reader_in, late_saw_writer;
};

static void meet_as_reader(void *arg)
{
	struct meeting *m = arg;

	sync_read_lock(&m->rw);
	sync_fetch_add(&m->inside, 1);
	while (sync_load_acquire(&m->inside) < 3) /* pairs with the others' fetch_add */
		sync_relax();
	sync_read_unlock(&m->rw);
}

/* Readers hold the lock together: each waits inside for all the others. */
static void readers_share(void **state)
{
	struct sync_thread t[3];
	struct meeting m = {};

	(void)state;
	sync_rwlock_init(&m.rw, LOCK_MMU);
	start_all(t, 3, meet_as_reader, &m);
	join_all(t, 3);
	assert_int_equal(m.inside, 3);
	sync_rwlock_destroy(&m.rw);
}

static void waiting_writer(void *arg)
{
	struct meeting *m = arg;

	sync_write_lock(&m->rw);
	m->writer_was_in = 1;
	sync_write_unlock(&m->rw);
}

static void late_reader(void *arg)
{
	struct meeting *m = arg;

	sync_read_lock(&m->rw);
	m->late_saw_writer = m->writer_was_in;
	sync_fetch_add(&m->late_reader_in, 1);
	sync_read_unlock(&m->rw);
}

/*
 * Guarantee 2: a reader that comes while a writer waits stays behind it, and the holder learns that
 * somebody waits.
 */
static void writers_come_first(void **state)
{
	struct sync_thread writer, reader;
	struct meeting m = {};

	(void)state;
	sync_rwlock_init(&m.rw, LOCK_MMU);
	sync_read_lock(&m.rw);
	assert_false(sync_rwlock_contended(&m.rw));
	start_all(&writer, 1, waiting_writer, &m);
	while (!sync_rwlock_contended(&m.rw))
		sync_relax();
	/*
	 * The writer has said that it waits, but may not be queued yet: readers pass until it is.
	 * A try of the lock's own kind tells when.
	 */
	while (!pthread_rwlock_tryrdlock(&m.rw.rw)) {
		pthread_rwlock_unlock(&m.rw.rw);
		sync_relax();
	}
	start_all(&reader, 1, late_reader, &m);
	while (sync_load(&m.rw.waiters) < 2 && !sync_load(&m.late_reader_in))
		sync_relax();
	assert_int_equal(sync_load(&m.late_reader_in), 0);
	sync_read_unlock(&m.rw);
	join_all(&writer, 1);
	join_all(&reader, 1);
	assert_int_equal(m.late_saw_writer, 1);
	sync_rwlock_destroy(&m.rw);
}

/* ---- wait and wake ---------------------------------------------------------------------------*/

#define TURNS 20000

struct game {
	struct sync_waitq q;
	u32 turn; /* odd: the second player's */
};

struct player {
	struct game *game;
	u32 parity, looks;
};

/*
 * Dawdles between its look and its answer, each time for another while, so that the other player's
 * move often falls in between: where a wake-up would be lost.
 */
static bool is_my_turn(void *arg)
{
	struct player *p = arg;
	u32 turn = sync_load_acquire(&p->game->turn); /* pairs with play()'s store */

	for (u32 i = 0; i < p->looks % 499; i++)
		__builtin_ia32_pause();
	p->looks++;
	return turn % 2 == p->parity;
}

static void play(void *arg)
{
	struct player *p = arg;

	for (int i = 0; i < TURNS; i++) {
		sync_wait(&p->game->q, is_my_turn, p);
		sync_store_release(&p->game->turn, p->game->turn + 1); /* pairs with is_my_turn() */
		sync_wake_all(&p->game->q);
	}
}

/* No wake-up is lost between a waiter's look and its sleep: two threads take turns to the end. */
static void turns_never_stall(void **state)
{
	struct game g = {};
	struct player first = {&g, 0, 0}, second = {&g, 1, 250};
	struct sync_thread t;

	(void)state;
	sync_waitq_init(&g.q);
	start_all(&t, 1, play, &second);
	play(&first);
	join_all(&t, 1);
	assert_int_equal(g.turn, 2 * TURNS);
	assert_int_equal(g.q.sleepers, 0);
	sync_waitq_destroy(&g.q);
}

static bool is_odd(void *arg)
{
	/* pairs with wake_wakes_all()'s store */
	return sync_load_acquire(&((struct game *)arg)->turn) & 1;
}

static void wait_for_odd(void *arg)
{
	struct game *g = arg;

	sync_wait(&g->q, is_odd, g);
}

/* One wake-up is enough for everybody who waits. */
static void wake_wakes_all(void **state)
{
	struct sync_thread t[THREADS];
	struct game g = {};

	(void)state;
	sync_waitq_init(&g.q);
	start_all(t, THREADS, wait_for_odd, &g);
	while (sync_load(&g.q.sleepers) < THREADS)
		sync_relax();
	sync_store_release(&g.turn, 1); /* pairs with is_odd() */
	sync_wake_all(&g.q);
	join_all(t, THREADS);
	assert_int_equal(g.q.sleepers, 0);
	sync_waitq_destroy(&g.q);
}

/* ---- RCU -------------------------------------------------------------------------------------*/

#define ALIVE 0xA11FEULL
#define ROUNDS 200
#define OBJECTS (5 * ROUNDS + 1)

struct object {
	struct sync_rcu_head rcu;
	struct world *world;
	u64 number;
	u64 alive; /* plain: only the grace period keeps the callback's store after every reader */
};

struct world {
	struct object *shared;
	u64 buried, order_errors;
	u32 stop, dead_seen;
	struct object objects[OBJECTS];
};

/* Marks the object instead of freeing it: a reader that still has it sees the mark for sure. */
static void bury(struct sync_rcu_head *head)
{
	struct object *o = container_of(head, struct object, rcu);

	if (o->number != o->world->buried)
		o->world->order_errors++;
	o->alive = 0;
	sync_fetch_add(&o->world->buried, 1);
}

static void read_objects(void *arg)
{
	struct world *w = arg;

	while (!sync_load(&w->stop)) {
		const struct object *o;

		sync_rcu_read_lock();
		sync_rcu_assert_held();
		o = sync_load_acquire(&w->shared); /* pairs with the updater's xchg */
		for (int i = 0; i < 10; i++) {
			if (*(const volatile u64 *)&o->alive != ALIVE)
				sync_fetch_add(&w->dead_seen, 1);
			sync_relax();
		}
		sync_rcu_read_unlock();
	}
}

/*
 * Guarantees 3 and 4: what a reader has found stays alive until its section ends, every callback has
 * run when the barrier returns, and they run in the order they were queued.
 */
static void grace_periods_protect_readers(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sync_thread readers[2];

	(void)state;
	assert_non_null(w);
	for (u64 i = 0; i < OBJECTS; i++)
		w->objects[i] = (struct object){.world = w, .number = i, .alive = ALIVE};
	w->shared = &w->objects[0];
	start_all(readers, 2, read_objects, w);
	for (u64 nr = 1; nr < OBJECTS; nr++) {
		struct object *old = sync_xchg(&w->shared, &w->objects[nr]);

		sync_rcu_call(&old->rcu, bury);
		if (nr % 5 == 0) {
			sync_rcu_barrier();
			assert_int_equal(sync_load(&w->buried), nr);
		}
	}
	sync_store(&w->stop, 1);
	join_all(readers, 2);
	assert_int_equal(w->dead_seen, 0);
	assert_int_equal(w->order_errors, 0);
	free(w);
}

struct held_section {
	struct sync_rcu_head rcu;
	struct sync_waitq q;
	u32 reader_in, queued, reader_left, callback_ran, ran_too_early;
};

static void hold_section(void *arg)
{
	struct held_section *h = arg;

	sync_rcu_read_lock();
	sync_rcu_read_lock(); /* sections nest: the inner end doesn't open the way */
	sync_fetch_add(&h->reader_in, 1);
	sync_rcu_read_unlock();
	/* Gives a callback that doesn't wait every chance to run before the section ends. */
	for (int i = 0; i < 5000;) {
		i += sync_load_acquire(&h->queued) != 0; /* pairs with the test's store */
		sync_relax();
	}
	h->reader_left = 1;
	sync_rcu_read_unlock();
}

static void callback_after_reader(struct sync_rcu_head *head)
{
	struct held_section *h = container_of(head, struct held_section, rcu);

	h->ran_too_early = !h->reader_left;
	sync_fetch_add(&h->callback_ran, 1);
	sync_wake_all(&h->q);
}

static bool callback_has_run(void *arg)
{
	/* pairs with callback_after_reader()'s fetch_add */
	return sync_load_acquire(&((struct held_section *)arg)->callback_ran);
}

/* Guarantee 4: a callback waits for an open section, and then runs although nobody asks. */
static void callback_runs_by_itself_after_the_section(void **state)
{
	struct held_section h = {};
	struct sync_thread reader;

	(void)state;
	sync_waitq_init(&h.q);
	start_all(&reader, 1, hold_section, &h);
	while (!sync_load_acquire(&h.reader_in)) /* pairs with hold_section()'s fetch_add */
		sync_relax();
	sync_rcu_call(&h.rcu, callback_after_reader);
	sync_store_release(&h.queued, 1); /* pairs with hold_section()'s load */
	sync_wait(&h.q, callback_has_run, &h);
	assert_int_equal(h.ran_too_early, 0);
	join_all(&reader, 1);
	sync_rcu_barrier(); /* the callback may still be in sync_wake_all() */
	sync_waitq_destroy(&h.q);
}

/* A barrier with nothing queued returns. */
static void empty_barrier(void **state)
{
	(void)state;
	sync_rcu_barrier();
	sync_rcu_barrier();
}

/* ---- threads ---------------------------------------------------------------------------------*/

static void check_local(void *arg)
{
	u32 *errors = arg;
	int mine;

	if (sync_local())
		sync_fetch_add(errors, 1);
	sync_set_local(&mine);
	if (sync_local() != &mine)
		sync_fetch_add(errors, 1);
}

/* Each thread has a word of its own, NULL until it sets it. */
static void local_word_is_per_thread(void **state)
{
	struct sync_thread t[2];
	u32 errors = 0;
	int mine;

	(void)state;
	sync_set_local(&mine);
	start_all(t, 2, check_local, &errors);
	join_all(t, 2);
	assert_int_equal(errors, 0);
	assert_ptr_equal(sync_local(), &mine);
	sync_set_local(NULL);
}

/* Entering twice is entering once; a thread that left may come back, and read sections work. */
static void enter_is_idempotent(void **state)
{
	(void)state;
	sync_thread_enter();
	sync_thread_enter();
	sync_thread_leave();
	sync_thread_leave();
	sync_rcu_read_lock();
	sync_rcu_read_unlock();
	sync_thread_enter();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutex_excludes),
		cmocka_unit_test(trylock_never_waits),
		cmocka_unit_test(rwlock_excludes),
		cmocka_unit_test(readers_share),
		cmocka_unit_test(writers_come_first),
		cmocka_unit_test(turns_never_stall),
		cmocka_unit_test(wake_wakes_all),
		cmocka_unit_test(grace_periods_protect_readers),
		cmocka_unit_test(callback_runs_by_itself_after_the_section),
		cmocka_unit_test(empty_barrier),
		cmocka_unit_test(local_word_is_per_thread),
		cmocka_unit_test(enter_is_idempotent),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
