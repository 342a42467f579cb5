/* SPDX-License-Identifier: MIT */
/* The machine: a host with processors, and a module on it that can make TDs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vm/vm.h"

/* The smallest host that leaves what is usable beside its PAMT. */
u64 machine_host_bytes(const struct machine_config *cfg)
{
	const bool dynamic = cfg->dynamic_pamt;
	u64 usable = cfg->memory_bytes, bytes = ALIGN_UP(usable, SIZE_1G);

	while (bytes - tdx_overhead_bytes(bytes, dynamic) < usable)
		bytes += ALIGN_UP(usable + tdx_overhead_bytes(bytes, dynamic) - bytes, SIZE_1G);
	return bytes;
}

static int make_lps(struct machine *m, u32 count)
{
	m->lps = calloc(count, sizeof(struct lp *));
	if (!m->lps)
		return -ENOMEM;
	while (m->nr_lps < count) {
		int err = lp_create(m->host, m->nr_lps, &m->lps[m->nr_lps]);

		if (err)
			return err;
		m->nr_lps++;
	}
	return 0;
}

static void init_all_tdmrs(void *seam)
{
	seam_tdmr_init_all(seam);
}

static int load_module(struct machine *m, const struct machine_config *cfg)
{
	struct tdx_module_config tc = {
		.host = m->host,
		.lps = m->lps,
		.nr_lps = m->nr_lps,
		.dynamic_pamt = cfg->dynamic_pamt,
		.seamcall = cfg->seamcall ? cfg->seamcall : seamcall,
		.tdmr_init_all = init_all_tdmrs,
		.warn = cfg->warn,
		.warn_ctx = cfg->warn_ctx,
	};
	int err = seam_create(m->host, cfg->profile, &m->seam);

	if (err)
		return err;
	for (u32 i = 0; i < m->nr_lps; i++)
		seam_attach_lp(m->seam, m->lps[i]);
	tc.seam = m->seam;
	lp_set_current(m->lps[m->nr_lps - 1]);
	return tdx_bring_up(&tc, &m->tdx);
}

int machine_create(const struct machine_config *cfg, struct machine *m)
{
	struct host_config hc = {
		.memory_bytes = machine_host_bytes(cfg),
		.lps = cfg->lps + 1,
		.planted_bugs = cfg->planted_bugs,
		.vm_memory_attributes = cfg->vm_memory_attributes,
		.memory = cfg->memory,
	};
	int err;

	memset(m, 0, sizeof(*m));
	m->warn = cfg->warn;
	m->warn_ctx = cfg->warn_ctx;
	if (!cfg->memory_bytes)
		return -EINVAL;
	sync_thread_enter();
	err = host_create(&hc, &m->host);
	if (!err)
		err = make_lps(m, hc.lps);
	if (!err && cfg->watch)
		err = cfg->watch(cfg->watcher, m->host);
	if (!err)
		err = load_module(m, cfg);
	if (err)
		machine_destroy(m);
	return err;
}

void machine_destroy(struct machine *m)
{
	if (m->tdx)
		tdx_shut_down(m->tdx);
	lp_set_current(NULL);
	if (m->seam)
		seam_destroy(m->seam);
	for (u32 i = 0; i < m->nr_lps; i++)
		lp_destroy(m->lps[i]);
	free(m->lps);
	if (m->host)
		host_destroy(m->host);
	memset(m, 0, sizeof(*m));
}
