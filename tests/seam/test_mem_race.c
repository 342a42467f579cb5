/* SPDX-License-Identifier: MIT */
/* The memory leaves from several LPs at once: each call succeeds or is BUSY; nothing is lost. */
#include "fixture.h"
#include "seam/checks.h"

#define PAGES 0x50000000ULL
#define TABLE 0x40100000ULL
#define ROUNDS 300
#define WORKERS 2
#define BATCH 8
#define MAX_TRIES 1000000

struct worker {
	struct fixture *f;
	struct sync_thread thread;
	struct lp *lp;
	u64 first_page; /* of the GPAs it works on, in the block at 2M */
	u64 failed;	/* a status that should not have come, 0 if none */
	const u32 *stop;
};

/* Calls until it isn't busy; another LP gets on meanwhile. */
static u64 call(struct worker *w, unsigned int leaf, u64 rcx, u64 r8)
{
	for (unsigned int i = 0; i < MAX_TRIES; i++) {
		struct tdx_regs r = {.rax = leaf, .rcx = rcx, .rdx = w->f->tdr, .r8 = r8};
		u64 status = seamcall(w->lp, &r);

		if (tdx_status_class(status) != TDX_OPERAND_BUSY &&
		    tdx_status_class(status) != TDX_PREVIOUS_TLB_EPOCH_BUSY &&
		    tdx_status_class(status) != TDX_TLB_TRACKING_NOT_DONE)
			return status;
		sync_relax();
	}
	return TDX_OPERAND_BUSY;
}

static void check(struct worker *w, u64 status)
{
	if (status && !w->failed)
		w->failed = status;
}

static void map_and_remove(void *arg)
{
	struct worker *w = arg;

	for (unsigned int round = 0; round < ROUNDS && !w->failed; round++) {
		for (u64 i = 0; i < BATCH; i++)
			check(w,
			      call(w, TDH_MEM_PAGE_AUG, 0x200000 + (w->first_page + i) * PAGE_SIZE,
				   PAGES + (w->first_page + i) * PAGE_SIZE));
		for (u64 i = 0; i < BATCH; i++)
			check(w, call(w, TDH_MEM_RANGE_BLOCK,
				      0x200000 + (w->first_page + i) * PAGE_SIZE, 0));
		check(w, call(w, TDH_MEM_TRACK, w->f->tdr, 0));
		for (u64 i = 0; i < BATCH; i++)
			check(w, call(w, TDH_MEM_PAGE_REMOVE,
				      0x200000 + (w->first_page + i) * PAGE_SIZE, 0));
	}
}

/* Accepts whatever it finds, and leaves after each: no status but those of a page in between. */
static void accept_all(struct fixture *f, struct lp *lp, void *arg)
{
	struct worker *w = arg;

	(void)f;
	for (u64 page = 0; page < WORKERS * BATCH; page++) {
		struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT,
				     .rcx = 0x200000 + page * PAGE_SIZE};

		if (!tdcall(lp, &r))
			return;
		if (tdx_status_class(r.rax) != TDX_OPERAND_BUSY &&
		    tdx_status_class(r.rax) != TDX_PAGE_ALREADY_ACCEPTED)
			check(w, r.rax);
	}
}

static void guest_worker(void *arg)
{
	struct worker *w = arg;

	while (!sync_load_acquire(w->stop)) {
		struct fixture local = *w->f; /* f->r is not for two threads */
		u64 status = fixture_enter(&local, 0, accept_all, w);

		if (tdx_is_error(status) && tdx_status_class(status) != TDX_OPERAND_BUSY)
			check(w, status);
	}
}

/*
 * Two LPs map, block, track and remove their pages while a vCPU accepts them: only BUSY and its kin
 * come in between, and afterwards no page, child count, lock or vCPU count is left over.
 */
static void race(bool dynamic_pamt)
{
	struct worker host[WORKERS], guest;
	struct fixture f;
	struct pamt_ref tdr;
	const struct tdcs *tdcs;
	u64 in_use;
	u32 stop = 0;

	fixture_create(&f, &(struct fixture_config){.dynamic_pamt = dynamic_pamt});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_pair(&f, PAGES);
	in_use = seam_pamt_in_use(f.seam);
	guest = (struct worker){.f = &f, .stop = &stop};
	sync_thread_create(&guest.thread, guest_worker, &guest);
	for (unsigned int i = 0; i < WORKERS; i++) {
		host[i] = (struct worker){.f = &f, .lp = f.lp[2 + i], .first_page = i * BATCH};
		sync_thread_create(&host[i].thread, map_and_remove, &host[i]);
	}
	for (unsigned int i = 0; i < WORKERS; i++) {
		sync_thread_join(&host[i].thread);
		assert_int_equal(host[i].failed, 0);
	}
	sync_store_release(&stop, 1);
	sync_thread_join(&guest.thread);
	assert_int_equal(guest.failed, 0);

	assert_int_equal(seam_pamt_in_use(f.seam), in_use);
	tdcs = host_ptr(f.host, ((struct tdr *)host_ptr(f.host, f.tdr))->tdcx_pa[0]);
	assert_false(lock_word_is_held(tdcs->sept_lock));
	assert_false(lock_word_is_held(tdcs->op_state_lock));
	assert_false(lock_word_is_held(tdcs->epoch_lock));
	assert_int_equal(tdcs->refcount[0] | tdcs->refcount[1], 0);
	pamt_find(f.seam, f.tdr, 0, &tdr);
	assert_false(lock_word_is_held(tdr.entry->lock));
	for (u64 i = 0; i < WORKERS * BATCH; i++)
		assert_int_equal(fixture_sept_entry(&f, 0x200000 + i * PAGE_SIZE, PG_LEVEL_4K) &
					 ~SEPT_HOST_PRIORITY,
				 0x80E0000000000000);
	fixture_destroy(&f);
}

static void test_race_static(void **state)
{
	(void)state;
	race(false);
}

static void test_race_dynamic(void **state)
{
	(void)state;
	race(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_race_static),
		cmocka_unit_test(test_race_dynamic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
