/* SPDX-License-Identifier: MIT */
/* A raw module, and single steps of the life cycle. */
#include "life.h"

#include <string.h>

#define MEMORY_BYTES (4ULL << 30)
#define PAMT_4K_PA 0x01000000ULL
#define PAMT_2M_PA 0x03000000ULL
#define PAMT_1G_PA 0x03100000ULL

void life_create(struct life *l, const char *profile, bool dynamic_pamt)
{
	struct host_config cfg = {.memory_bytes = MEMORY_BYTES, .lps = FIXTURE_LPS, .packages = 2};

	sync_thread_enter();
	*l = (struct life){.dynamic_pamt = dynamic_pamt, .next_page = TDMR_BASE};
	assert_int_equal(host_create(&cfg, &l->host), 0);
	assert_int_equal(seam_create(l->host,
				     profile ? seam_profile_by_name(profile) : seam_profile_at(0),
				     &l->seam),
			 0);
	for (u32 i = 0; i < FIXTURE_LPS; i++) {
		assert_int_equal(lp_create(l->host, i, &l->lp[i]), 0);
		assert_int_equal(l->lp[i]->package, i / 2);
		seam_attach_lp(l->seam, l->lp[i]);
	}
}

void life_destroy(struct life *l)
{
	for (unsigned int i = 0; i < FIXTURE_LPS; i++)
		lp_destroy(l->lp[i]);
	seam_destroy(l->seam);
	host_destroy(l->host);
}

void life_write(struct life *l, hpa_t hpa, const void *from, size_t bytes)
{
	u64 words[512] = {0};

	memcpy(words, from, bytes);
	assert_int_equal(host_write(l->host, hpa, 0, words, (unsigned int)(bytes / 8)), 0);
}

struct tdmr_info life_tdmr_info(bool dynamic_pamt)
{
	return (struct tdmr_info){
		.base = TDMR_BASE,
		.size = TDMR_SIZE,
		.pamt_1g_base = PAMT_1G_PA,
		.pamt_1g_size = SIZE_4K,
		.pamt_2m_base = PAMT_2M_PA,
		.pamt_2m_size = TDMR_SIZE / SIZE_2M * 16,
		.pamt_4k_base = PAMT_4K_PA,
		.pamt_4k_size = dynamic_pamt ? TDMR_SIZE / 32768 : TDMR_SIZE / 256,
	};
}

void life_offer_tdmrs(struct life *l, const struct tdmr_info *info, unsigned int count)
{
	u64 list[TDX_MAX_TDMRS];

	for (unsigned int i = 0; i < count; i++) {
		list[i] = LIFE_INFO_PA + i * SIZE_4K;
		life_write(l, list[i], &info[i], sizeof(info[i]));
	}
	life_write(l, LIFE_LIST_PA, list, count * sizeof(u64));
}

struct td_params life_td_params(void)
{
	return (struct td_params){
		.xfam = 3,
		.max_vcpus = 2,
		.eptp_controls = TD_EPTP_WB | 3ULL << TD_EPTP_PWL_SHIFT,
		.tsc_frequency = 100,
	};
}

u64 life_call(struct life *l, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8)
{
	l->r = (struct tdx_regs){.rax = rax, .rcx = rcx, .rdx = rdx, .r8 = r8};
	return seamcall(l->lp[lp], &l->r);
}

void life_expect_at(struct life *l, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8, u64 status,
		    const char *file, int line)
{
	u64 got = life_call(l, lp, rax, rcx, rdx, r8);
	const char *name = tdh_leaf_name(rax & 0xFFFF);

	if (got == status && l->r.rax == status)
		return;
	print_error("%s:%d: %s rcx=%#llx rdx=%#llx r8=%#llx: rax %#llx, not %#llx\n", file, line,
		    name ? name : "?", (unsigned long long)rcx, (unsigned long long)rdx,
		    (unsigned long long)r8, (unsigned long long)got, (unsigned long long)status);
	_fail(file, line);
}

void life_must(struct life *l, unsigned int lp, u64 rax, u64 rcx, u64 rdx, u64 r8)
{
	life_expect(l, lp, rax, rcx, rdx, r8, TDX_SUCCESS);
}

void life_module_up(struct life *l)
{
	struct tdmr_info info = life_tdmr_info(l->dynamic_pamt);

	life_must(l, 0, TDH_SYS_INIT, 0, 0, 0);
	for (unsigned int i = 0; i < FIXTURE_LPS; i++)
		life_must(l, i, TDH_SYS_LP_INIT, 0, 0, 0);
	life_offer_tdmrs(l, &info, 1);
	life_must(l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, GLOBAL_HKID | (u64)l->dynamic_pamt << 16);
	life_must(l, PKG0_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	life_must(l, PKG1_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	seam_tdmr_init_all(l->seam);
}

hpa_t life_page(struct life *l)
{
	hpa_t page = l->next_page;
	/* Pairs come from the far end, one 2M block's after the other's. */
	hpa_t pair = PAIR_BASE + (page - TDMR_BASE) / SIZE_2M * 2 * SIZE_4K;

	if (l->dynamic_pamt && IS_ALIGNED(page, SIZE_2M))
		life_must(l, 0, TDH_PHYMEM_PAMT_ADD, page | 1, pair, pair + SIZE_4K);
	l->next_page += SIZE_4K;
	return page;
}

hpa_t life_td(struct life *l, u16 hkid, enum life_stage stage)
{
	struct td_params params = life_td_params();
	hpa_t tdr = life_page(l);

	life_must(l, 0, TDH_MNG_CREATE, tdr, hkid, 0);
	if (stage == LIFE_CREATED)
		return tdr;
	life_must(l, PKG0_LP, TDH_MNG_KEY_CONFIG, tdr, 0, 0);
	life_must(l, PKG1_LP, TDH_MNG_KEY_CONFIG, tdr, 0, 0);
	if (stage == LIFE_KEYS)
		return tdr;
	for (unsigned int i = 0; i < 6; i++)
		life_must(l, 0, TDH_MNG_ADDCX, life_page(l), tdr, 0);
	if (stage == LIFE_TDCX)
		return tdr;
	life_write(l, LIFE_PARAMS_PA, &params, sizeof(params));
	life_must(l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA, 0);
	return tdr;
}

hpa_t life_vcpu(struct life *l, hpa_t tdr, unsigned int pages, int lp)
{
	hpa_t tdvpr = life_page(l);

	life_must(l, 0, TDH_VP_CREATE, tdvpr, tdr, 0);
	for (unsigned int i = 1; i < pages; i++)
		life_must(l, 0, TDH_VP_ADDCX, life_page(l), tdvpr, 0);
	if (lp >= 0)
		life_must(l, (unsigned int)lp, TDH_VP_INIT, tdvpr, 0, 0);
	return tdvpr;
}

void life_release(struct life *l, hpa_t tdr)
{
	life_must(l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0);
	life_must(l, PKG0_LP, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	life_must(l, PKG1_LP, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	life_must(l, 0, TDH_MNG_KEY_FREEID, tdr, 0, 0);
}

u64 life_enter(struct life *l, unsigned int lp, hpa_t tdvpr, const struct guest_ops *ops,
	       void *guest)
{
	l->lp[lp]->guest_ops = ops;
	l->lp[lp]->guest = guest;
	return life_call(l, lp, TDH_VP_ENTER, tdvpr, 0, 0);
}
