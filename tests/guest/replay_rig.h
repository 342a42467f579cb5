/* SPDX-License-Identifier: MIT */
/* Traces for a test, and a run of the replay guest in a world of its own (world.h). */
#ifndef TESTS_GUEST_REPLAY_RIG_H
#define TESTS_GUEST_REPLAY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

/* ---- traces ----------------------------------------------------------------------------------*/
struct event {
	u32 vcpu;
	bool write;
	gfn_t gfn;
};

/* A trace of @n events, as the reader would make it. */
static inline struct trace *make_trace(const struct event *e, u64 n, u32 nr_vcpus)
{
	struct trace *t = calloc(1, sizeof(*t));
	u8 *written;

	t->nr_vcpus = nr_vcpus;
	t->nr_events = n;
	t->events = calloc(nr_vcpus, sizeof(*t->events));
	t->nr_vcpu_events = calloc(nr_vcpus, sizeof(*t->nr_vcpu_events));
	for (u32 v = 0; v < nr_vcpus; v++)
		t->events[v] = calloc(n, sizeof(**t->events));
	for (u64 i = 0; i < n; i++)
		t->max_gfn = max_u64(t->max_gfn, e[i].gfn);
	written = calloc(t->max_gfn + 1, 1);
	for (u64 i = 0; i < n; i++) {
		bool follows = !e[i].write && written[e[i].gfn];

		t->events[e[i].vcpu][t->nr_vcpu_events[e[i].vcpu]++] =
			(struct trace_access){.number = (u32)i + 1,
					      .gfn_low = (u32)e[i].gfn,
					      .write = e[i].write,
					      .follows_write = follows};
		t->reads_after_write += follows;
		written[e[i].gfn] |= e[i].write;
	}
	free(written);
	return t;
}

static inline void free_trace(struct trace *t)
{
	for (u32 v = 0; v < t->nr_vcpus; v++)
		free(t->events[v]);
	free(t->events);
	free(t->nr_vcpu_events);
	free(t);
}

/* @n events of @nr_vcpus vCPUs on pages below @gfns, often the same few. */
static inline struct trace *random_trace(u64 seed, u64 n, u32 nr_vcpus, u64 gfns)
{
	struct event *e = calloc(n, sizeof(*e));
	struct trace *t;
	struct rng rng;

	rng_init(&rng, seed);
	for (u64 i = 0; i < n; i++)
		e[i] = (struct event){
			.vcpu = (u32)rng_below(&rng, nr_vcpus),
			.write = rng_below(&rng, 2),
			.gfn = rng_below(&rng, rng_below(&rng, 2) ? gfns : min_u64(gfns, 16)),
		};
	t = make_trace(e, n, nr_vcpus);
	free(e);
	return t;
}

/* ---- running ---------------------------------------------------------------------------------*/
static inline struct replay_config config_of(const struct trace *t, const struct world *w)
{
	return (struct replay_config){
		.trace = t,
		.memory_bytes = fn_to_addr(w->nr_gfns),
		.nr_vcpus = w->nr_vcpus,
		.accept = ACCEPT_LAZY,
		.accept_level = PG_LEVEL_2M,
		.seed = 1,
		.shared_bit = WORLD_SHARED_BIT,
	};
}

static inline struct replay_stats run(struct world *w, const struct replay_config *cfg)
{
	struct replay_stats s;
	struct replay *r;

	assert_int_equal(replay_create(cfg, &r), 0);
	world_run(w, r);
	s = replay_stats(r);
	assert_int_equal(replay_events_done(r), s.accesses);
	replay_destroy(r);
	return s;
}

static inline void expect_clean(const struct world *w, const struct trace *t,
				const struct replay_stats *s)
{
	for (u32 i = 0; i < w->nr_vcpus; i++)
		assert_false(w->vcpu[i].killed);
	assert_int_equal(s->errors, 0);
	assert_int_equal(s->accesses, t->nr_events);
	assert_int_equal(s->checks, t->reads_after_write);
	assert_int_equal(w->stops, w->nr_vcpus);
}

#endif
