/* SPDX-License-Identifier: MIT */
/* An MMU's beginning: what isn't made, and what is left of it. */
#include "mmu/rig.h"

static struct host *host;

static int setup(void **state)
{
	const struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};

	(void)state;
	sync_thread_enter();
	return host_create(&cfg, &host);
}

static int teardown(void **state)
{
	(void)state;
	host_destroy(host);
	return 0;
}

/* Nothing is asked of it: these MMUs map nothing private. */
static const struct mmu_external_ops no_ops;

static struct mmu_config good_config(void)
{
	return (struct mmu_config){.host = host,
				   .root_level = PG_LEVEL_512G,
				   .shared_bit = RIG_SHARED_BIT,
				   .external = &no_ops};
}

#ifdef SEPTUM_CHECK
/* An MMU has a page for each of its two roots. Without either it isn't made, and the other is free again. */
static void no_memory_for_a_root(void **state)
{
	const struct mmu_config cfg = good_config();
	struct mmu *mmu = NULL;

	(void)state;
	for (u64 n = 1; n <= 2; n++) {
		host_fail_alloc_at(host, n);
		assert_int_equal(mmu_create(&cfg, &mmu), -ENOMEM);
		host_fail_alloc_at(host, 0);
		sync_rcu_barrier();
		assert_null(mmu);
		assert_int_equal(host_frames_used(host), 0);
	}
	host_fail_alloc_at(host, 3);
	assert_int_equal(mmu_create(&cfg, &mmu), 0);
	host_fail_alloc_at(host, 0);
	assert_int_equal(host_frames_used(host), 2);
	mmu_destroy(mmu);
	sync_rcu_barrier();
	assert_int_equal(host_frames_used(host), 0);
}
#endif

/* A shared bit inside a page, or that no table of this height has, makes no MMU. */
static void shared_bit_must_fit(void **state)
{
	static const unsigned int bad[] = {1, PAGE_SHIFT - 1, 48, 63};
	struct mmu_config cfg = good_config();
	struct mmu *mmu = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cfg.shared_bit = bad[i];
		assert_int_equal(mmu_create(&cfg, &mmu), -EINVAL);
	}
	assert_null(mmu);
	assert_int_equal(host_frames_used(host), 0);
}

static void fail_on_leaf(void *ctx, const struct mmu_mapping *m)
{
	(void)ctx;
	fail_msg("a leaf at gfn %#llx", (unsigned long long)m->gfn);
}

/* An MMU without a mirror has no private leaf to show and no table to promote. */
static void no_mirror(void **state)
{
	struct mmu_config cfg = good_config();
	struct mmu *mmu;

	(void)state;
	cfg.external = NULL;
	assert_int_equal(mmu_create(&cfg, &mmu), 0);
	mmu_for_each_leaf(mmu, true, fail_on_leaf, NULL);
	sync_write_lock(mmu_lock(mmu));
	assert_int_equal(mmu_promote(mmu, 0, PG_LEVEL_2M), -EAGAIN);
	assert_false(mmu_is_promotable(mmu, 0, PG_LEVEL_2M));
	sync_write_unlock(mmu_lock(mmu));
	mmu_destroy(mmu);
	sync_rcu_barrier();
	assert_int_equal(host_frames_used(host), 0);
}

/* A slot so large that its words don't fit into an address space is -ENOMEM, and holds nothing. */
static void slot_beyond_address_space(void **state)
{
	struct mmu_slot slot;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 0, 1ULL << 58, 0), -ENOMEM);
	for (unsigned int level = 0; level < ARRAY_SIZE(slot.disallow_lpage); level++)
		assert_null(slot.disallow_lpage[level]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef SEPTUM_CHECK
		cmocka_unit_test_setup_teardown(no_memory_for_a_root, setup, teardown),
#endif
		cmocka_unit_test_setup_teardown(shared_bit_must_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(no_mirror, setup, teardown),
		cmocka_unit_test_setup_teardown(slot_beyond_address_space, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
