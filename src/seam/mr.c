/* SPDX-License-Identifier: MIT */
/* MRTD: the running hash, TDH.MR.EXTEND, TDH.MR.FINALIZE. */
#include "seam/mr.h"

#include <string.h>

#include "seam/checks.h"

/* What each step adds to the hash: its leaf's name, the GPA at byte 16, zeros up to here. */
#define MR_RECORD 128
#define MR_RECORD_GPA 16

void mrtd_init(struct tdcs *tdcs)
{
	SHA384_Init(&tdcs->mrtd_hash);
}

static void extend_record(struct tdcs *tdcs, const char *name, gpa_t gpa)
{
	u8 record[MR_RECORD] = {0};

	memcpy(record, name, strlen(name));
	memcpy(record + MR_RECORD_GPA, &gpa, sizeof(gpa));
	SHA384_Update(&tdcs->mrtd_hash, record, sizeof(record));
}

void mrtd_extend_page_add(struct tdcs *tdcs, gpa_t gpa)
{
	extend_record(tdcs, "MEM.PAGE.ADD", gpa);
}

void mrtd_extend_chunk(struct tdcs *tdcs, gpa_t gpa, const void *chunk)
{
	extend_record(tdcs, "MR.EXTEND", gpa);
	SHA384_Update(&tdcs->mrtd_hash, chunk, MR_CHUNK);
}

void mrtd_finalize(struct tdcs *tdcs)
{
	SHA384_Final(tdcs->mrtd, &tdcs->mrtd_hash);
}

u64 seam_tdh_mr_extend(struct leaf_ctx *ctx)
{
	gpa_t gpa = ctx->r->rcx;
	u64 tdr = ctx->r->rdx;
	u64 words[MR_CHUNK / sizeof(u64)];
	u64 status;

	ctx->r->rcx = 0;
	ctx->r->rdx = 0;
	status = check_tdr(ctx, tdr, TDX_OPERAND_RDX, MODE_EXCLUSIVE);
	if (!status)
		status = check_td_state_unlocked(ctx);
	if (status)
		return status;
	if (!IS_ALIGNED(gpa, MR_CHUNK) || !check_gpa_private(ctx->tdcs, gpa))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	ctx->gpa = gpa;
	/* No locks below: the TDR is held exclusive, so nobody else is in the tree. */
	if (!sept_walk_to_present(ctx)) {
		sept_details(ctx);
		return operand_status(TDX_EPT_ENTRY_NOT_PRESENT, TDX_OPERAND_RCX);
	}
	if (!(ctx->state->host_leaves >> ctx->leaf & 1))
		return TDX_EPT_ENTRY_NOT_PRESENT;

	/* Poisoned memory would stop the machine here; the model measures what it reads as. */
	memset(words, 0, sizeof(words));
	(void)host_read(ctx->host, sept_leaf_address(ctx), ctx->tdr->hkid, words,
			ARRAY_SIZE(words));
	mrtd_extend_chunk(ctx->tdcs, gpa, words);
	return TDX_SUCCESS;
}

u64 seam_tdh_mr_finalize(struct leaf_ctx *ctx)
{
	u64 status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE);

	if (!status)
		status = check_td_state_unlocked(ctx);
	if (status)
		return status;
	if (!sync_load(&ctx->tdcs->num_vcpus))
		return TDX_NO_VCPUS;

	mrtd_finalize(ctx->tdcs);
	sync_store_release(&ctx->tdcs->op_state, OP_RUNNABLE);
	return TDX_SUCCESS;
}
