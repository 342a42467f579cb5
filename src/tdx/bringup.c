/* SPDX-License-Identifier: MIT */
/*
 * Bring-up: from a loaded module to one that can make TDs. One TDMR covers all memory of the host;
 * the PAMT areas lie at its top, in a reserved area of that TDMR.
 */
#include <errno.h>
#include <stdlib.h>

#include "tdx/seamcall.h"

/* Metadata fields for SYS.RD. */
#define FIELD_FEATURES0 0x0A00000300000008ULL
#define FIELD_PAMT_4K_ENTRY_SIZE 0x9100000100000010ULL
#define FIELD_TDCS_BASE_SIZE 0x9800000100000100ULL
#define FIELD_TDVPS_BASE_SIZE 0x9800000100000200ULL

#define SYS_CONFIG_DYNAMIC_PAMT (1ULL << 16)
/* Of the buffer for SYS.CONFIG: an array of pointers, then what it points to. */
#define TDMR_INFO_OFFSET 512

struct pamt_sizes {
	u64 size_1g, size_2m, size_4k;
};

static struct pamt_sizes pamt_sizes(u64 host_bytes, bool dynamic_pamt)
{
	/* Dynamic PAMT keeps a bit a page instead of an entry. */
	u64 bytes_4k = dynamic_pamt ? host_bytes / PAGE_SIZE / 8
				    : host_bytes / PAGE_SIZE * TDX_PAMT_ENTRY_SIZE;

	return (struct pamt_sizes){
		.size_1g = ALIGN_UP(host_bytes / SIZE_1G * TDX_PAMT_ENTRY_SIZE, PAGE_SIZE),
		.size_2m = ALIGN_UP(host_bytes / SIZE_2M * TDX_PAMT_ENTRY_SIZE, PAGE_SIZE),
		.size_4k = ALIGN_UP(bytes_4k, PAGE_SIZE),
	};
}

static u64 pamt_total(const struct pamt_sizes *s)
{
	return s->size_1g + s->size_2m + s->size_4k;
}

u64 tdx_overhead_bytes(u64 host_bytes, bool dynamic_pamt)
{
	struct pamt_sizes s = pamt_sizes(host_bytes, dynamic_pamt);

	return ALIGN_UP(pamt_total(&s), SIZE_2M);
}

u64 tdx_pamt_static_bytes(const struct tdx_module *m)
{
	return m->pamt_bytes;
}

bool tdx_huge_pages_ok(const struct tdx_module *m)
{
	return m->features0 & TDX_FEATURES0_ENHANCED_DEMOTE_INTERRUPTIBILITY;
}

bool tdx_splits_unblocked(const struct tdx_module *m)
{
	return m->features0 & TDX_FEATURES0_NON_BLOCKING_RESIZE;
}

static int sys_rd(struct tdx_module *m, u64 field, u64 *value)
{
	struct tdx_regs r = {.rdx = field};

	if (tdx_seamcall_wait(m, TDH_SYS_RD, &r) != TDX_SUCCESS)
		return -EIO;
	*value = r.r8;
	return 0;
}

/* What we take as constant must be what the module enumerates. */
static int read_geometry(struct tdx_module *m)
{
	static const struct {
		u64 field, expected;
	} fixed[] = {
		{FIELD_PAMT_4K_ENTRY_SIZE, TDX_PAMT_ENTRY_SIZE},
		{FIELD_TDCS_BASE_SIZE, TDX_TDCS_PAGES * PAGE_SIZE},
		{FIELD_TDVPS_BASE_SIZE, TDX_TDVPS_PAGES * PAGE_SIZE},
	};
	u64 value;

	if (sys_rd(m, FIELD_FEATURES0, &m->features0))
		return -EIO;
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		if (sys_rd(m, fixed[i].field, &value) || value != fixed[i].expected)
			return -EIO;
	if (m->dynamic_pamt && !(m->features0 & TDX_FEATURES0_DYNAMIC_PAMT))
		return -EIO;
	return 0;
}

static int lp_init_all(struct tdx_module *m)
{
	struct lp *self = lp_current();
	int err = 0;

	for (u32 i = 0; i < m->nr_lps && !err; i++) {
		lp_set_current(m->lps[i]);
		if (tdx_call(m, TDH_SYS_LP_INIT, 0, 0) != TDX_SUCCESS)
			err = -EIO;
	}
	lp_set_current(self);
	return err;
}

static int key_config_all(struct tdx_module *m)
{
	struct lp *self = lp_current();
	u64 done = 0;
	int err = 0;

	for (u32 i = 0; i < m->nr_lps && !err; i++) {
		if (done & BIT_ULL(m->lps[i]->package))
			continue;
		done |= BIT_ULL(m->lps[i]->package);
		lp_set_current(m->lps[i]);
		if (tdx_call(m, TDH_SYS_KEY_CONFIG, 0, 0) != TDX_SUCCESS)
			err = -EIO;
	}
	lp_set_current(self);
	return err;
}

static struct tdmr_info describe_memory(const struct tdx_module *m)
{
	struct pamt_sizes s = pamt_sizes(m->host->memory_bytes, m->dynamic_pamt);
	hpa_t base = fn_to_addr(m->pamt_pfn);

	return (struct tdmr_info){
		.base = 0,
		.size = m->host->memory_bytes,
		.pamt_1g_base = base,
		.pamt_1g_size = s.size_1g,
		.pamt_2m_base = base + s.size_1g,
		.pamt_2m_size = s.size_2m,
		.pamt_4k_base = base + s.size_1g + s.size_2m,
		.pamt_4k_size = s.size_4k,
		.reserved = {{.offset = base, .size = fn_to_addr(m->pamt_frames)}},
	};
}

static int sys_config(struct tdx_module *m)
{
	struct tdx_regs r = {.rdx = 1, .r8 = TDX_GLOBAL_HKID};
	struct tdmr_info *info;
	u64 *pointers, status;
	pfn_t buffer;
	int err = host_alloc(m->host, PG_LEVEL_4K, FRAME_OTHER, &buffer);

	if (err)
		return err;
	host_frame_dirty(m->host, buffer);
	pointers = host_frame_ptr(m->host, buffer);
	pointers[0] = fn_to_addr(buffer) + TDMR_INFO_OFFSET;
	info = host_ptr(m->host, pointers[0]);
	*info = describe_memory(m);
	if (m->dynamic_pamt)
		r.r8 |= SYS_CONFIG_DYNAMIC_PAMT;
	r.rcx = fn_to_addr(buffer);
	status = tdx_seamcall_wait(m, TDH_SYS_CONFIG, &r);
	host_free(m->host, buffer, PG_LEVEL_4K, FRAME_OTHER);
	return status == TDX_SUCCESS ? 0 : -EIO;
}

/* Each call does some MBs; the last one says that there is no more. */
static int tdmr_init(struct tdx_module *m)
{
	for (;;) {
		u64 status = tdx_call(m, TDH_SYS_TDMR_INIT, 0, 0);

		if (status == TDX_TDMR_ALREADY_INITIALIZED)
			return 0;
		if (status != TDX_SUCCESS)
			return -EIO;
	}
}

static int bring_up(struct tdx_module *m, const struct tdx_module_config *cfg)
{
	int err;

	if (tdx_call(m, TDH_SYS_INIT, 0, 0) != TDX_SUCCESS || lp_init_all(m))
		return -EIO;
	err = read_geometry(m);
	if (!err)
		err = sys_config(m);
	if (!err)
		err = key_config_all(m);
	if (err)
		return err;
	if (!cfg->tdmr_init_all)
		return tdmr_init(m);
	cfg->tdmr_init_all(cfg->seam);
	return 0;
}

static int reserve_pamt(struct tdx_module *m)
{
	struct pamt_sizes s = pamt_sizes(m->host->memory_bytes, m->dynamic_pamt);
	u64 frames = addr_to_fn(tdx_overhead_bytes(m->host->memory_bytes, m->dynamic_pamt));
	int err;

	if (frames >= m->host->nr_frames)
		return -ENOMEM;
	err = host_reserve(m->host, m->host->nr_frames - frames, frames, FRAME_PAMT);
	if (err)
		return err;
	m->pamt_pfn = m->host->nr_frames - frames;
	m->pamt_frames = frames;
	m->pamt_bytes = pamt_total(&s);
	return 0;
}

static int alloc_per_lp(struct tdx_module *m)
{
	void *array;

	for (u32 i = 0; i < m->nr_lps; i++)
		if (m->lps[i]->id >= m->nr_per_lp)
			m->nr_per_lp = m->lps[i]->id + 1;
	if (posix_memalign(&array, 64, m->nr_per_lp * sizeof(*m->per_lp)))
		return -ENOMEM;
	m->per_lp = array;
	for (u32 i = 0; i < m->nr_per_lp; i++)
		m->per_lp[i] = (struct tdx_lp){.nr_spare = 0};
	return 0;
}

int tdx_bring_up(const struct tdx_module_config *cfg, struct tdx_module **out)
{
	struct tdx_module *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->host = cfg->host;
	m->seamcall = cfg->seamcall;
	m->lps = cfg->lps;
	m->nr_lps = cfg->nr_lps;
	m->dynamic_pamt = cfg->dynamic_pamt;
	m->warn = cfg->warn;
	m->warn_ctx = cfg->warn_ctx;
	sync_mutex_init(&m->hkid_lock, LOCK_TDX_HKID);
	sync_mutex_init(&m->pamt_lock, LOCK_DPAMT);
	err = alloc_per_lp(m);
	if (!err)
		err = tdx_dpamt_init(m);
	if (!err)
		err = reserve_pamt(m);
	if (!err)
		err = bring_up(m, cfg);
	if (err) {
		tdx_shut_down(m);
		return err;
	}
	*out = m;
	return 0;
}

void tdx_warn(const struct tdx_module *m, const char *what)
{
	if (m->warn)
		m->warn(m->warn_ctx, what);
}

void tdx_shut_down(struct tdx_module *m)
{
	if (m->pamt_frames)
		host_unreserve(m->host, m->pamt_pfn, m->pamt_frames, FRAME_PAMT);
	tdx_dpamt_exit(m);
	sync_mutex_destroy(&m->pamt_lock);
	sync_mutex_destroy(&m->hkid_lock);
	free(m->per_lp);
	free(m);
}
