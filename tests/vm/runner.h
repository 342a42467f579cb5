/* SPDX-License-Identifier: MIT */
/* Several vCPUs of a rig, each on a thread of its own. */
#ifndef TESTS_VM_RUNNER_H
#define TESTS_VM_RUNNER_H

#include <stdlib.h>

#include "vm/rig.h"

#define MAX_VCPUS RIG_LPS

/* One vCPU on its thread, performing a program. */
struct runner {
	struct sync_thread thread;
	struct rig *rig;
	u32 vcpu;
	const struct op *ops;
	u64 results[MAX_OPS];
	struct program program;
	int ret;
};

static inline void runner_main(void *arg)
{
	struct runner *t = arg;

	t->ret = program_run(t->rig->vm, t->vcpu, t->ops, &t->program, t->results);
}

static inline struct runner *start(struct rig *r, u32 vcpu, const struct op *ops)
{
	struct runner *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->rig = r;
	t->vcpu = vcpu;
	t->ops = ops;
	assert_int_equal(sync_thread_create(&t->thread, runner_main, t), 0);
	return t;
}

static inline int finish(struct runner *t)
{
	int ret;

	sync_thread_join(&t->thread);
	ret = t->ret;
	free(t);
	return ret;
}

static inline void wait_for(const u64 *flag, u64 value)
{
	while (sync_load_acquire(flag) != value)
		sync_relax();
}

#endif
