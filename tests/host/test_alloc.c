/* SPDX-License-Identifier: MIT */
/* The frame allocator against a flat model of who owns which frame, and at its limits. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/rng.h"
#include "host/host.h"

#define FRAMES_2M 512ULL
#define FRAMES_1G 262144ULL

static struct host *make_host(u64 bytes)
{
	struct host_config cfg = {.memory_bytes = bytes, .lps = 1};
	struct host *host;

	assert_int_equal(host_create(&cfg, &host), 0);
	return host;
}

/* ---- property test ---------------------------------------------------------------------------*/

#define GIGS 6
#define MAX_LIVE 4096

struct block {
	pfn_t pfn;
	u64 count;
	enum pg_level level; /* PG_LEVEL_NONE: a reserved range */
	enum frame_use use;
};

struct model {
	struct host *host;
	struct rng rng;
	u64 seed, step;
	u8 owned[GIGS * FRAMES_1G];
	u32 used_2m[GIGS * 512]; /* owned frames of each 2M block */
	u64 total, by_use[FRAME_USE_COUNT];
	struct block live[MAX_LIVE];
	u32 nr_live;
};

#define CHECK(m, cond)                                                                     \
	do {                                                                               \
		if (!(cond))                                                               \
			fail_msg("seed %llu step %llu: %s", (unsigned long long)(m)->seed, \
				 (unsigned long long)(m)->step, #cond);                    \
	} while (0)

/* Moves [@pfn, @pfn + @count) from not owned to owned, or back; a frame on the wrong side fails. */
static void model_set(struct model *m, const struct block *b, bool owned)
{
	for (u64 i = b->pfn; i < b->pfn + b->count; i++) {
		CHECK(m, m->owned[i] != owned);
		m->owned[i] = owned;
	}
	for (u64 i = b->pfn; i < b->pfn + b->count;) {
		u64 end = min_u64(ALIGN_DOWN(i, FRAMES_2M) + FRAMES_2M, b->pfn + b->count);

		m->used_2m[i / FRAMES_2M] += (u32)(owned ? end - i : i - end);
		i = end;
	}
	m->total += owned ? b->count : 0 - b->count;
	m->by_use[b->use] += owned ? b->count : 0 - b->count;
}

static bool model_range_free(const struct model *m, pfn_t pfn, u64 count)
{
	for (u64 i = pfn / FRAMES_2M; i < (pfn + count) / FRAMES_2M; i++) {
		if (m->used_2m[i])
			return false;
	}
	return true;
}

static bool model_has_free(const struct model *m, enum pg_level level)
{
	u64 step = level == PG_LEVEL_1G ? 512 : 1;

	for (u64 i = 0; i < ARRAY_SIZE(m->used_2m); i += step) {
		if (level == PG_LEVEL_4K ? m->used_2m[i] < FRAMES_2M
					 : model_range_free(m, i * FRAMES_2M, step * FRAMES_2M))
			return true;
	}
	return false;
}

static void add_live(struct model *m, const struct block *b)
{
	model_set(m, b, true);
	m->live[m->nr_live++] = *b;
}

static void random_alloc(struct model *m)
{
	u64 dice = rng_below(&m->rng, 100);
	struct block b = {
		.level = dice < 70   ? PG_LEVEL_4K
			 : dice < 97 ? PG_LEVEL_2M
				     : PG_LEVEL_1G,
		.use = (enum frame_use)rng_below(&m->rng, FRAME_USE_COUNT),
	};
	int err = host_alloc(m->host, b.level, b.use, &b.pfn);

	if (err) {
		CHECK(m, err == -ENOMEM);
		CHECK(m, !model_has_free(m, b.level));
		return;
	}
	b.count = pages_per_level(b.level);
	CHECK(m, b.pfn % b.count == 0);
	CHECK(m, b.pfn + b.count <= GIGS * FRAMES_1G);
	add_live(m, &b);
}

static void random_reserve(struct model *m)
{
	struct block b = {.level = PG_LEVEL_NONE, .use = FRAME_PAMT};
	u64 blocks =
		rng_below(&m->rng, 2) ? 1 + rng_below(&m->rng, 40) : 1 + rng_below(&m->rng, 1200);
	u64 at = rng_below(&m->rng, GIGS * 512 - blocks + 1);
	int err;

	b.pfn = at * FRAMES_2M;
	b.count = blocks * FRAMES_2M;
	err = host_reserve(m->host, b.pfn, b.count, b.use);
	CHECK(m, err == (model_range_free(m, b.pfn, b.count) ? 0 : -EBUSY));
	if (!err)
		add_live(m, &b);
}

static void free_live(struct model *m, u32 i)
{
	struct block b = m->live[i];

	m->live[i] = m->live[--m->nr_live];
	if (b.level == PG_LEVEL_NONE)
		host_unreserve(m->host, b.pfn, b.count, b.use);
	else
		host_free(m->host, b.pfn, b.level, b.use);
	model_set(m, &b, false);
}

static void check_counts(struct model *m)
{
	CHECK(m, host_frames_used(m->host) == m->total);
	for (int use = 0; use < FRAME_USE_COUNT; use++)
		CHECK(m, m->host->used[use] == m->by_use[use]);
}

/* When all is free every 1G block is whole again, and each is handed out once. */
static void check_whole_again(struct model *m)
{
	struct block b = {.count = FRAMES_1G, .level = PG_LEVEL_1G, .use = FRAME_OTHER};

	CHECK(m, m->total == 0);
	for (int i = 0; i < GIGS; i++) {
		CHECK(m, host_alloc(m->host, b.level, b.use, &b.pfn) == 0);
		add_live(m, &b);
	}
	CHECK(m, host_alloc(m->host, PG_LEVEL_4K, b.use, &b.pfn) == -ENOMEM);
	while (m->nr_live)
		free_live(m, m->nr_live - 1);
}

/*
 * Guarantee 4, for random sequences: blocks never overlap, are aligned and inside memory; -ENOMEM and
 * -EBUSY come exactly when the model has no room; counts agree; everything coalesces.
 */
static void allocator_agrees_with_model(void **state)
{
	struct model *m = malloc(sizeof(*m));

	(void)state;
	assert_non_null(m);
	for (u64 seed = 1; seed <= 4; seed++) {
		memset(m, 0, sizeof(*m));
		m->host = make_host(GIGS * SIZE_1G);
		m->seed = seed;
		rng_init(&m->rng, seed);
		for (m->step = 0; m->step < 6000; m->step++) {
			/* Phases that grow and phases that shrink, so that both ends are met. */
			u64 grow = m->step / 1000 % 2 ? 30 : 70;
			u64 dice = rng_below(&m->rng, 100);

			if (dice < grow && m->nr_live < MAX_LIVE)
				random_alloc(m);
			else if (dice > 97 && m->nr_live < MAX_LIVE)
				random_reserve(m);
			else if (m->nr_live)
				free_live(m, (u32)rng_below(&m->rng, m->nr_live));
			check_counts(m);
		}
		while (m->nr_live)
			free_live(m, (u32)rng_below(&m->rng, m->nr_live));
		check_whole_again(m);
		host_destroy(m->host);
	}
	free(m);
}

/* ---- limits ----------------------------------------------------------------------------------*/

/* A host gives out exactly its frames; one given back is the one that can be had again. */
static void exhaustion(void **state)
{
	struct host *host = make_host(SIZE_1G);
	pfn_t pfn, freed = 0x3039;

	(void)state;
	for (u64 i = 0; i < FRAMES_1G; i++)
		assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &pfn), 0);
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &pfn), -ENOMEM);
	assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &pfn), -ENOMEM);
	assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_GUEST, &pfn), -ENOMEM);
	assert_int_equal(host_frames_used(host), FRAMES_1G);
	host_free(host, freed, PG_LEVEL_4K, FRAME_GUEST);
	assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &pfn), -ENOMEM);
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &pfn), 0);
	assert_int_equal(pfn, freed);
	for (pfn = 0; pfn < FRAMES_1G; pfn++)
		host_free(host, pfn, PG_LEVEL_4K, FRAME_GUEST);
	assert_int_equal(host_frames_used(host), 0);
	assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_GUEST, &pfn), 0);
	host_destroy(host);
}

/* 4K frames fill a divided 2M block, whatever they are for, before another is divided. */
static void small_frames_share_blocks(void **state)
{
	struct host *host = make_host(SIZE_1G);
	pfn_t first, pfn, lone;

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &first), 0);
	for (u64 i = 1; i < FRAMES_2M; i++) {
		assert_int_equal(host_alloc(host, PG_LEVEL_4K,
					    i % 2 ? FRAME_SEPT_TABLE : FRAME_GUEST, &pfn),
				 0);
		assert_int_equal(pfn / FRAMES_2M, first / FRAMES_2M);
	}
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &lone), 0);
	assert_int_not_equal(lone / FRAMES_2M, first / FRAMES_2M);
	for (u64 i = 0; i < FRAMES_2M - 2; i++)
		assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &pfn), 0);
	assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &pfn), -ENOMEM);
	host_destroy(host);
}

/* ---- fixed ranges ----------------------------------------------------------------------------*/

/* A reserved range that ends inside 1G blocks on both sides is out of reach until it comes back. */
static void reserved_range_is_out_of_reach(void **state)
{
	struct host *host = make_host(4 * SIZE_1G);
	pfn_t start = FRAMES_1G - 3 * FRAMES_2M, end = 3 * FRAMES_1G + 70 * FRAMES_2M, pfn;
	u64 n = 0;

	(void)state;
	assert_int_equal(host_reserve(host, start, end - start, FRAME_PAMT), 0);
	assert_int_equal(host->used[FRAME_PAMT], end - start);
	while (!host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &pfn)) {
		assert_true(pfn + FRAMES_2M <= start || pfn >= end);
		n++;
	}
	assert_int_equal(n, 4 * 512 - (end - start) / FRAMES_2M);
	host_unreserve(host, start, end - start, FRAME_PAMT);
	assert_int_equal(host->used[FRAME_PAMT], 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_GUEST, &pfn), 0);
	host_destroy(host);
}

/* A reserve that meets one used frame answers -EBUSY and takes nothing. */
static void refused_reserve_takes_nothing(void **state)
{
	struct host *host = make_host(2 * SIZE_1G);
	pfn_t pfn, other;

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &pfn), 0);
	other = pfn < FRAMES_1G ? FRAMES_1G : 0;
	assert_int_equal(host_reserve(host, 0, 2 * FRAMES_1G, FRAME_PAMT), -EBUSY);
	assert_int_equal(host_reserve(host, fn_align_down(pfn, PG_LEVEL_2M), FRAMES_2M, FRAME_PAMT),
			 -EBUSY);
	assert_int_equal(host->used[FRAME_PAMT], 0);
	assert_int_equal(host_reserve(host, other, FRAMES_1G, FRAME_PAMT), 0);
	assert_int_equal(host_reserve(host, other, FRAMES_1G, FRAME_PAMT), -EBUSY);
	host_destroy(host);
}

/* What isn't a range of 2M blocks inside memory is refused. */
static void bad_ranges(void **state)
{
	struct host *host = make_host(SIZE_1G);

	(void)state;
	assert_int_equal(host_reserve(host, 0, 0, FRAME_PAMT), -EINVAL);
	assert_int_equal(host_reserve(host, 1, FRAMES_2M, FRAME_PAMT), -EINVAL);
	assert_int_equal(host_reserve(host, 0, FRAMES_2M + 1, FRAME_PAMT), -EINVAL);
	assert_int_equal(host_reserve(host, FRAMES_1G, FRAMES_2M, FRAME_PAMT), -EINVAL);
	assert_int_equal(host_reserve(host, FRAMES_1G - FRAMES_2M, 2 * FRAMES_2M, FRAME_PAMT),
			 -EINVAL);
	assert_int_equal(host_reserve(host, FRAMES_2M, 0 - FRAMES_2M, FRAME_PAMT), -EINVAL);
	assert_int_equal(host_frames_used(host), 0);
	host_destroy(host);
}

/* ---- misuse ----------------------------------------------------------------------------------*/

/* Runs host_free(@host, @pfn, @level) in a child: true if it was aborted. */
static bool free_aborts(struct host *host, pfn_t pfn, enum pg_level level)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		close(STDERR_FILENO);
		host_free(host, pfn, level, FRAME_GUEST);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* Freeing twice, at another size, unaligned or outside memory is stopped, at every size. */
static void wrong_free_is_stopped(void **state)
{
	struct host *host = make_host(4 * SIZE_1G);
	pfn_t small, big, huge;

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_GUEST, &small), 0);
	assert_int_equal(host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &big), 0);
	assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_GUEST, &huge), 0);
	assert_false(free_aborts(host, small, PG_LEVEL_4K));
	assert_false(free_aborts(host, big, PG_LEVEL_2M));
	assert_false(free_aborts(host, huge, PG_LEVEL_1G));
	assert_true(free_aborts(host, small + 1, PG_LEVEL_4K));
	assert_true(free_aborts(host, big, PG_LEVEL_4K));
	assert_true(free_aborts(host, huge, PG_LEVEL_4K));
	assert_true(free_aborts(host, huge, PG_LEVEL_2M));
	assert_true(free_aborts(host, fn_align_down(small, PG_LEVEL_2M), PG_LEVEL_2M));
	assert_true(free_aborts(host, fn_align_down(small, PG_LEVEL_1G), PG_LEVEL_1G));
	assert_true(free_aborts(host, big + 1, PG_LEVEL_2M));
	assert_true(free_aborts(host, 4 * FRAMES_1G, PG_LEVEL_4K));
	host_free(host, big, PG_LEVEL_2M, FRAME_GUEST);
	assert_true(free_aborts(host, big, PG_LEVEL_2M));
	host_free(host, huge, PG_LEVEL_1G, FRAME_GUEST);
	assert_true(free_aborts(host, huge, PG_LEVEL_1G));
	host_destroy(host);
}

/* Checking builds stop a frame that is freed with a private key id, however deep in the block. */
static void private_frame_is_not_freed(void **state)
{
	struct host *host = make_host(2 * SIZE_1G);
	pfn_t big;

	(void)state;
	assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_GUEST, &big), 0);
	host_retag(host, big + 5 * FRAMES_2M + 77, PG_LEVEL_4K, 33);
#ifdef SEPTUM_CHECK
	assert_true(free_aborts(host, big, PG_LEVEL_1G));
#endif
	host_retag(host, big + 5 * FRAMES_2M + 77, PG_LEVEL_4K, 0);
	host_free(host, big, PG_LEVEL_1G, FRAME_GUEST);
	assert_int_equal(host_frames_used(host), 0);
	host_destroy(host);
}

/* ---- threads ---------------------------------------------------------------------------------*/

struct churn {
	struct host *host;
	u32 errors, next_seed;
};

static void churn(void *arg)
{
	struct churn *c = arg;
	struct rng rng;
	pfn_t held[32];
	enum pg_level level[32] = {};

	rng_init(&rng, sync_fetch_add(&c->next_seed, 1));
	for (int i = 0; i < 4000; i++) {
		u64 slot = rng_below(&rng, ARRAY_SIZE(held));
		u64 mark = rng_u64(&rng);

		if (level[slot]) {
			host_free(c->host, held[slot], level[slot], FRAME_GUEST);
			level[slot] = PG_LEVEL_NONE;
			continue;
		}
		level[slot] = rng_below(&rng, 8) ? PG_LEVEL_4K : PG_LEVEL_2M;
		if (host_alloc(c->host, level[slot], FRAME_GUEST, &held[slot])) {
			level[slot] = PG_LEVEL_NONE;
			continue;
		}
		/* A frame that two threads own shows as a foreign mark (or a race, to TSan). */
		*(u64 *)host_frame_ptr(c->host, held[slot]) = mark;
		if (*(u64 *)host_frame_ptr(c->host, held[slot]) != mark)
			sync_fetch_add(&c->errors, 1);
	}
	for (u64 slot = 0; slot < ARRAY_SIZE(held); slot++) {
		if (level[slot])
			host_free(c->host, held[slot], level[slot], FRAME_GUEST);
	}
}

/* Threads that allocate and free at once never own the same frame, and lose none. */
static void concurrent_churn(void **state)
{
	struct churn c = {.host = make_host(SIZE_1G), .next_seed = 1};
	struct sync_thread t[4];
	pfn_t pfn;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(sync_thread_create(&t[i], churn, &c), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		sync_thread_join(&t[i]);
	assert_int_equal(c.errors, 0);
	assert_int_equal(host_frames_used(c.host), 0);
	assert_int_equal(host_alloc(c.host, PG_LEVEL_1G, FRAME_GUEST, &pfn), 0);
	host_destroy(c.host);
}

#ifdef SEPTUM_CHECK
/* The n-th allocation fails, once, with nothing taken; those after it are as ever. */
static void nth_allocation_fails(void **state)
{
	struct host *host = make_host(SIZE_1G);
	pfn_t pfn[5];

	(void)state;
	for (u64 n = 1; n <= 5; n++) {
		host_fail_alloc_at(host, n);
		for (u64 i = 1; i <= 5; i++)
			assert_int_equal(host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn[i - 1]),
					 i == n ? -ENOMEM : 0);
		assert_int_equal(host_frames_used(host), 4);
		for (u64 i = 1; i <= 5; i++)
			if (i != n)
				host_free(host, pfn[i - 1], PG_LEVEL_4K, FRAME_OTHER);
	}
	host_fail_alloc_at(host, 2);
	assert_false(host_alloc_fails(host));
	assert_true(host_alloc_fails(host));
	assert_false(host_alloc_fails(host));
	host_fail_alloc_at(host, 1);
	host_fail_alloc_at(host, 0);
	assert_false(host_alloc_fails(host));
	host_destroy(host);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_free_is_stopped),
		cmocka_unit_test(private_frame_is_not_freed),
		cmocka_unit_test(allocator_agrees_with_model),
		cmocka_unit_test(exhaustion),
		cmocka_unit_test(small_frames_share_blocks),
		cmocka_unit_test(reserved_range_is_out_of_reach),
		cmocka_unit_test(refused_reserve_takes_nothing),
		cmocka_unit_test(bad_ranges),
		cmocka_unit_test(concurrent_churn),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(nth_allocation_fails),
#endif
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
