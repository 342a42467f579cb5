/* SPDX-License-Identifier: MIT */
/* A machine with a pool, one file on it, and VMs whose slots are in that file. */
#ifndef TESTS_VM_FILES_H
#define TESTS_VM_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "check/invariants.h"
#include "vm/program.h"

#define MB (1ULL << 20)
#define GB (1ULL << 30)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))
#define SHARED(a) (BIT_ULL(47) | (a))
#define FILES_VMS 2
#define FILES_LPS 6

struct files_config {
	u64 bytes;		 /* of the file */
	struct gmem_config file; /* the rest of it; a pool for all of it is made */
	u32 nr_vms;
	/* Slots of every VM; NULL: one, of all the file at gfn 0. Their file is filled in. */
	const struct vm_slot_config *slots;
	u32 nr_slots;
	u64 machine_bytes; /* 0: as much as the file and 256 MiB */
	u64 spare_pages;   /* of the pool, beyond what the file needs */
	bool vmemmap, dynamic_pamt, vm_memory_attributes;
	struct bug_set planted_bugs;
	struct vm_config vm; /* the rest of it */
};

struct files {
	struct machine m;
	struct hugetlb_pool *pool;
	struct gmem_file *file;
	struct vm *vm[FILES_VMS];
	u32 nr_vms;
	/* Of each vCPU: what it asked last is answered there when it runs again. */
	struct program program[FILES_VMS][FILES_LPS];
	u64 frames_before;
	u64 failed; /* frames that a test has made fail */
};

/* For files.failed: as many as there are. */
#define FILES_ANY_FAILED (~0ULL)

static inline struct files_config files_config(enum gmem_backing backing, u64 bytes)
{
	return (struct files_config){
		.bytes = bytes,
		.file = {.backing = backing},
		.nr_vms = 1,
		.vm = {.nr_vcpus = 1,
		       .max_level = PG_LEVEL_1G,
		       .gpaw = 48,
		       .sept_ve_disable = true},
	};
}

static inline void files_make_file(struct files *f, const struct files_config *c)
{
	struct gmem_config gc = c->file;
	enum pg_level level = gc.backing == GMEM_HUGETLB_1G ? PG_LEVEL_1G : PG_LEVEL_2M;
	u64 missing;

	gc.size = c->bytes;
	if (gc.backing >= GMEM_HUGETLB_2M)
		assert_int_equal(hugetlb_pool_create(f->m.host, level,
						     c->bytes / level_size(level) + c->spare_pages,
						     c->vmemmap, &gc.pool, &missing),
				 0);
	f->pool = gc.pool;
	assert_int_equal(gmem_create(f->m.host, &gc, &f->file), 0);
}

static inline void files_make_vm(struct files *f, const struct files_config *c)
{
	struct vm_slot_config slots[8] = {{.npages = addr_to_fn(c->bytes)}};
	struct vm_config vc = c->vm;

	vc.slots = slots;
	vc.nr_slots = c->slots ? c->nr_slots : 1;
	for (u32 i = 0; i < vc.nr_slots; i++) {
		if (c->slots)
			slots[i] = c->slots[i];
		slots[i].file = f->file;
	}
	vc.first_lp = f->nr_vms * vc.nr_vcpus;
	vc.promoter_lp = FILES_LPS - 1 - f->nr_vms;
	assert_int_equal(vm_create(&f->m, &vc, &f->vm[f->nr_vms]), 0);
	f->nr_vms++;
}

static inline void files_up(struct files *f, const struct files_config *c)
{
	struct machine_config mc = {
		.memory_bytes = c->machine_bytes ? c->machine_bytes : c->bytes + 256 * MB,
		.lps = FILES_LPS,
		.profile = seam_profile_at(0),
		.dynamic_pamt = c->dynamic_pamt,
		.planted_bugs = c->planted_bugs,
		.vm_memory_attributes = c->vm_memory_attributes,
	};

	memset(f, 0, sizeof(*f));
	assert_int_equal(machine_create(&mc, &f->m), 0);
	f->frames_before = host_frames_used(f->m.host);
	files_make_file(f, c);
	while (f->nr_vms < c->nr_vms)
		files_make_vm(f, c);
}

static inline void files_check(struct files *f)
{
	char why[200] = "";

	check_vms(&f->m, f->vm, f->nr_vms, why, sizeof(why));
	assert_string_equal(why, "");
}

/* The last VM goes. */
static inline void files_drop_vm(struct files *f)
{
	vm_destroy(f->vm[--f->nr_vms]);
}

/* Every test ends here: all is sound, and then nothing is left but frames that failed. */
static inline void files_down(struct files *f)
{
	for (u32 i = 0; i < f->nr_vms; i++)
		if (!vm_why_dead(f->vm[i]))
			files_check(f);
	while (f->nr_vms)
		files_drop_vm(f);
	gmem_release(f->file);
	assert_int_equal(seam_pamt_in_use(f->m.seam), 0);
	assert_int_equal(tdx_dpamt_pages(f->m.tdx), 0);
	if (f->pool)
		hugetlb_pool_destroy(f->pool);
	if (f->failed == FILES_ANY_FAILED)
		f->failed = sync_load(&f->m.host->used[FRAME_FAILED]);
	assert_int_equal(host_frames_used(f->m.host), f->frames_before + f->failed);
	machine_destroy(&f->m);
}

static inline u64 files_ok(const struct files *f, enum tdh_leaf leaf)
{
	return tdx_leaf_stats(f->m.tdx, leaf).ok;
}

static inline u64 files_pages(const struct files *f, u32 vm, enum pg_level level)
{
	return sync_load(&mmu_stats(vm_mmu(f->vm[vm]))->pages[level]);
}

static inline enum pg_level files_level(const struct files *f, u32 vm, gpa_t gpa)
{
	struct mmu_mapping m;

	return mmu_lookup(vm_mmu(f->vm[vm]), addr_to_fn(gpa), true, &m) ? m.level : PG_LEVEL_NONE;
}

/* Runs @ops on vCPU 0 of VM @vm in the calling thread; Return: vcpu_run()'s. */
static inline int files_run(struct files *f, u32 vm, const struct op *ops, u64 *results)
{
	return program_run(f->vm[vm], 0, ops, &f->program[vm][0], results);
}

/* One vCPU on a thread of its own. */
struct files_runner {
	struct sync_thread thread;
	struct files *f;
	u32 vm, vcpu;
	const struct op *ops;
	u64 results[MAX_OPS];
	int ret;
};

static inline void files_runner_main(void *arg)
{
	struct files_runner *t = arg;
	struct files *f = t->f;

	t->ret =
		program_run(f->vm[t->vm], t->vcpu, t->ops, &f->program[t->vm][t->vcpu], t->results);
}

static inline struct files_runner *files_start(struct files *f, u32 vm, u32 vcpu,
					       const struct op *ops)
{
	struct files_runner *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->f = f;
	t->vm = vm;
	t->vcpu = vcpu;
	t->ops = ops;
	assert_int_equal(sync_thread_create(&t->thread, files_runner_main, t), 0);
	return t;
}

/* To be freed by who looks at its results. */
static inline int files_finish(struct files_runner *t)
{
	sync_thread_join(&t->thread);
	return t->ret;
}

#endif
