/* SPDX-License-Identifier: MIT */
/*
 * The lock-order checker of checking builds: what it must let pass, and what it must stop, each in a
 * child process whose last words are read.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sync.h"

static struct sync_mutex outer, roots, pamt, alloc, other_alloc;
static struct sync_rwlock mmu, other_mmu;

static int set_up(void **state)
{
	(void)state;
	sync_mutex_init(&outer, LOCK_GMEM_INVALIDATE);
	sync_mutex_init(&roots, LOCK_MMU_ROOTS);
	sync_mutex_init(&pamt, LOCK_DPAMT);
	sync_mutex_init(&alloc, LOCK_HOST_ALLOC);
	sync_mutex_init(&other_alloc, LOCK_HOST_ALLOC);
	sync_rwlock_init(&mmu, LOCK_MMU);
	sync_rwlock_init(&other_mmu, LOCK_MMU);
	return 0;
}

#ifdef SEPTUM_CHECK
/* Runs @wrong in a child; it must be aborted, and say every one of @words (NULL at the end). */
static void expect_abort(void (*wrong)(void), const char *const *words)
{
	char text[1024] = "";
	size_t len = 0;
	int pipe_fd[2], status;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe(pipe_fd), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		dup2(pipe_fd[1], STDERR_FILENO);
		close(pipe_fd[0]);
		wrong();
		_exit(0);
	}
	close(pipe_fd[1]);
	while (len < sizeof(text) - 1 &&
	       (n = read(pipe_fd[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(pipe_fd[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	for (; *words; words++) {
		if (!strstr(text, *words))
			fail_msg("\"%s\" isn't in: %s", *words, text);
	}
}

#define EXPECT_ABORT(wrong, ...) \
	expect_abort(wrong, (const char *const[]){__VA_ARGS__, "docs/locking.md", NULL})
#else
#define EXPECT_ABORT(wrong, ...) \
	do {                     \
		(void)(wrong);   \
		skip();          \
	} while (0)
#endif

/* ---- what passes -----------------------------------------------------------------------------*/

/* Locks taken outermost first, and released in any order, are fine. */
static void right_order_passes(void **state)
{
	(void)state;
	sync_mutex_lock(&outer);
	sync_read_lock(&mmu);
	sync_mutex_lock(&roots);
	sync_mutex_lock(&alloc);
	sync_mutex_assert_held(&outer);
	sync_rwlock_assert_read(&mmu);
	sync_mutex_unlock(&outer);
	sync_mutex_unlock(&roots);
	sync_read_unlock(&mmu);
	sync_mutex_unlock(&alloc);
}

/* A try-lock can't deadlock, so it may go against the order. */
static void trylock_against_the_order_passes(void **state)
{
	(void)state;
	sync_mutex_lock(&alloc);
	assert_true(sync_mutex_trylock(&roots));
	assert_true(sync_mutex_trylock(&outer));
	sync_mutex_unlock(&outer);
	sync_mutex_unlock(&roots);
	sync_mutex_unlock(&alloc);
}

/* Held for writing is held for reading, for an assertion. */
static void write_lock_counts_as_read(void **state)
{
	(void)state;
	sync_write_lock(&mmu);
	sync_rwlock_assert_read(&mmu);
	sync_rwlock_assert_write(&mmu);
	sync_write_unlock(&mmu);
}

/* The short innermost locks may be waited for inside a read section. */
static void leaf_lock_inside_rcu_passes(void **state)
{
	(void)state;
	sync_read_lock(&mmu);
	sync_rcu_read_lock();
	sync_mutex_lock(&pamt);
	sync_mutex_lock(&alloc);
	sync_mutex_unlock(&alloc);
	sync_mutex_unlock(&pamt);
	sync_rcu_read_unlock();
	sync_read_unlock(&mmu);
}

/* ---- what doesn't ----------------------------------------------------------------------------*/

static void take_inner_then_outer(void)
{
	sync_mutex_lock(&alloc);
	sync_mutex_lock(&outer);
}

/* Waiting for an outer lock with an inner one held is stopped; both are named. */
static void inverted_order_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(take_inner_then_outer, "waiting for gmem.invalidate_lock",
		     "holding host.alloc_lock");
}

static void take_two_of_a_class(void)
{
	sync_mutex_lock(&alloc);
	sync_mutex_lock(&other_alloc);
}

/* Two locks of one class have no order between them: waiting for the second is stopped. */
static void same_class_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(take_two_of_a_class, "waiting for host.alloc_lock", "holding host.alloc_lock");
}

static void read_two_mmus(void)
{
	sync_read_lock(&mmu);
	sync_read_lock(&other_mmu);
}

/* Read locks are locks: two readers of two VMs can deadlock with two writers. */
static void read_locks_have_order(void **state)
{
	(void)state;
	EXPECT_ABORT(read_two_mmus, "waiting for mmu.lock", "holding mmu.lock", "(read)");
}

static void wait_behind_trylock(void)
{
	sync_mutex_lock(&alloc);
	if (sync_mutex_trylock(&outer))
		sync_mutex_lock(&roots);
}

/* A lock that a try got is held like any other when the thread then waits. */
static void trylocked_locks_count(void **state)
{
	(void)state;
	EXPECT_ABORT(wait_behind_trylock, "waiting for mmu.roots_lock", "holding host.alloc_lock");
}

static void take_mmu_inside_rcu(void)
{
	sync_rcu_read_lock();
	sync_read_lock(&mmu);
}

/* A lock that is held for long walks may not be waited for inside a read section. */
static void long_lock_inside_rcu_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(take_mmu_inside_rcu, "waiting for mmu.lock", "RCU");
}

static void barrier_with_lock(void)
{
	sync_mutex_lock(&alloc);
	sync_rcu_barrier();
}

/* Guarantee 4: callbacks run on the barrier's caller, so it may hold no lock. */
static void barrier_with_lock_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(barrier_with_lock, "waiting for RCU callbacks", "host.alloc_lock");
}

static void barrier_inside_rcu(void)
{
	sync_rcu_read_lock();
	sync_rcu_barrier();
}

/* A reader that waits for readers waits for itself. */
static void barrier_inside_rcu_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(barrier_inside_rcu, "waiting for RCU callbacks", "1 RCU read sections");
}

static void callback_that_waits(struct sync_rcu_head *head)
{
	(void)head;
	sync_rcu_barrier();
}

static void barrier_in_callback(void)
{
	struct sync_rcu_head head;

	sync_rcu_call(&head, callback_that_waits);
	sync_rcu_barrier();
}

/* A callback that waits for callbacks waits for itself. */
static void barrier_in_callback_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(barrier_in_callback, "waiting for RCU callbacks", "callback");
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void sleep_inside_rcu(void)
{
	struct sync_waitq q;

	sync_waitq_init(&q);
	sync_rcu_read_lock();
	sync_wait(&q, never, NULL);
}

/* A reader that sleeps holds up every callback: it is stopped before it does. */
static void sleep_inside_rcu_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(sleep_inside_rcu, "sleeping inside an RCU read section");
}

static void unlock_unheld(void)
{
	sync_mutex_unlock(&alloc);
}

static void unlock_other_mode(void)
{
	sync_read_lock(&mmu);
	sync_write_unlock(&mmu);
}

/* Releasing a lock that isn't held, or is held in the other mode, is stopped. */
static void wrong_release_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(unlock_unheld, "releasing host.alloc_lock", "held, oldest first: nothing");
	EXPECT_ABORT(unlock_other_mode, "releasing mmu.lock");
}

static void assert_unheld(void)
{
	sync_mutex_assert_held(&alloc);
}

static void assert_write_as_reader(void)
{
	sync_read_lock(&mmu);
	sync_rwlock_assert_write(&mmu);
}

static void assert_other_instance(void)
{
	sync_write_lock(&mmu);
	sync_rwlock_assert_read(&other_mmu);
}

static void assert_reader_outside(void)
{
	sync_rcu_assert_held();
}

/* Assertions fail for a lock not held, held too weakly, another of its class, or no read section. */
static void assertions_can_fail(void **state)
{
	(void)state;
	EXPECT_ABORT(assert_unheld, "host.alloc_lock must be held");
	EXPECT_ABORT(assert_write_as_reader, "mmu.lock must be held for writing");
	EXPECT_ABORT(assert_other_instance, "mmu.lock must be held");
	EXPECT_ABORT(assert_reader_outside, "an RCU read section must be open");
}

static void leave_twice(void)
{
	sync_rcu_read_lock();
	sync_rcu_read_unlock();
	sync_rcu_read_unlock();
}

/* Read sections are counted: one end too many is stopped. */
static void unbalanced_rcu_is_stopped(void **state)
{
	(void)state;
	EXPECT_ABORT(leave_twice, "never entered");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_order_passes),
		cmocka_unit_test(trylock_against_the_order_passes),
		cmocka_unit_test(write_lock_counts_as_read),
		cmocka_unit_test(leaf_lock_inside_rcu_passes),
		cmocka_unit_test(inverted_order_is_stopped),
		cmocka_unit_test(same_class_is_stopped),
		cmocka_unit_test(read_locks_have_order),
		cmocka_unit_test(trylocked_locks_count),
		cmocka_unit_test(long_lock_inside_rcu_is_stopped),
		cmocka_unit_test(barrier_with_lock_is_stopped),
		cmocka_unit_test(barrier_inside_rcu_is_stopped),
		cmocka_unit_test(barrier_in_callback_is_stopped),
		cmocka_unit_test(sleep_inside_rcu_is_stopped),
		cmocka_unit_test(wrong_release_is_stopped),
		cmocka_unit_test(assertions_can_fail),
		cmocka_unit_test(unbalanced_rcu_is_stopped),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, set_up, NULL);
}
