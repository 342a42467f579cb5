/* SPDX-License-Identifier: MIT */
/* A vCPU of a TD: its pages, its way in, its association with an LP. */
#include <errno.h>
#include <stdlib.h>

#include "tdx/seamcall.h"

/* Metadata of a vCPU: where the hardware finds the tables for shared GPAs. */
#define FIELD_SHARED_EPT_POINTER 0x000000000000203CULL
#define FIELD_WRITE_ALL (~0ULL)

static hpa_t tdvpr(const struct td_vcpu *vcpu)
{
	return fn_to_addr(vcpu->pages[0]);
}

static int give_page(struct td_vcpu *vcpu)
{
	struct tdx_module *m = vcpu->td->module;
	bool first = !vcpu->nr_pages;
	pfn_t pfn;
	u64 status;
	int err = tdx_page_alloc(m, FRAME_TD_CONTROL, &pfn);

	if (err)
		return err;
	status = first ? tdx_call(m, TDH_VP_CREATE, fn_to_addr(pfn), td_tdr_hpa(vcpu->td))
		       : tdx_call(m, TDH_VP_ADDCX, fn_to_addr(pfn), tdvpr(vcpu));
	if (status != TDX_SUCCESS) {
		tdx_page_free(m, FRAME_TD_CONTROL, pfn);
		return -EIO;
	}
	vcpu->pages[vcpu->nr_pages++] = pfn;
	return 0;
}

static int set_shared_root(struct td_vcpu *vcpu)
{
	struct tdx_module *m = vcpu->td->module;
	struct tdx_regs r = {.rcx = tdvpr(vcpu),
			     .rdx = FIELD_SHARED_EPT_POINTER,
			     .r8 = mmu_direct_root(vcpu->td->mmu),
			     .r9 = FIELD_WRITE_ALL};

	return tdx_seamcall_wait(m, TDH_VP_WR, &r) == TDX_SUCCESS ? 0 : -EIO;
}

int td_vcpu_create(struct td *td, u32 index, struct td_vcpu **out)
{
	struct td_vcpu *vcpu;
	int err;

	if (index != td->nr_vcpus || index >= td->max_vcpus)
		return -EINVAL;
	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return -ENOMEM;
	vcpu->td = td;
	vcpu->index = index;
	/* From here on td_destroy() takes back what the module was given. */
	td->vcpus[td->nr_vcpus++] = vcpu;
	for (u32 i = 0; i < TDX_TDVPS_PAGES; i++) {
		err = give_page(vcpu);
		if (err)
			return err;
	}
	if (tdx_call(td->module, TDH_VP_INIT, tdvpr(vcpu), 0) != TDX_SUCCESS)
		return -EIO;
	err = td->mmu ? set_shared_root(vcpu) : 0;
	if (err) {
		/* Only this LP can end the association, without which the key stays for ever. */
		td_vcpu_flush(vcpu);
		return err;
	}
	*out = vcpu;
	return 0;
}

u64 td_vcpu_enter(struct td_vcpu *vcpu, struct tdx_regs *r)
{
	r->rcx = tdvpr(vcpu);
	return tdx_seamcall_enter(vcpu->td->module, r);
}

void td_vcpu_flush(struct td_vcpu *vcpu)
{
	/* NOT_ASSOCIATED is fine; any other refusal shows at VPFLUSHDONE. */
	tdx_call(vcpu->td->module, TDH_VP_FLUSH, tdvpr(vcpu), 0);
	tdx_pamt_drain(vcpu->td->module);
}
