/* SPDX-License-Identifier: MIT */
/*
 * Owns the life of the module itself:
 *
 *   SYSINIT_PENDING --SYS.INIT--> SYSINIT_DONE --SYS.LP.INIT on every LP, SYS.CONFIG-->
 *   SYSCONFIG_DONE --SYS.KEY.CONFIG on every package--> SYS_READY --SYS.SHUTDOWN--> SYS_SHUTDOWN
 *
 * sys_mutex is the module's global lock: whoever changes the state holds it, whoever can't get it
 * is SYS_BUSY.
 */
#include "seam/checks.h"
#include "seam/tdmr_config.h"

#define SYS_MAX_VERSION 1

#define CONFIG_HKID 0xFFFFULL
#define CONFIG_DYNAMIC_PAMT BIT_ULL(16)
/* Dynamic PAMT keeps page addresses of 48 bits. */
#define DYNAMIC_PAMT_MAX_HKID_START 48

/* What a leaf does under sys_mutex. */
typedef u64 (*sys_fn)(struct leaf_ctx *ctx);

static u64 with_sys_mutex(struct leaf_ctx *ctx, sys_fn fn)
{
	u64 status;

	if (!try_mutex(&ctx->seam->sys_mutex))
		return TDX_SYS_BUSY;
	status = fn(ctx);
	try_mutex_release(&ctx->seam->sys_mutex);
	return status;
}

/* Release: pairs with the acquire in the dispatcher. */
static void set_state(struct seam *seam, enum sys_state state)
{
	sync_store_release(&seam->sys_state, (u32)state);
}

/* ---- SYS.INIT, SYS.LP.INIT -------------------------------------------------------------------*/

static u64 sys_init(struct leaf_ctx *ctx)
{
	if (ctx->seam->sys_state != SYS_INIT_PENDING)
		return TDX_SYS_INIT_NOT_PENDING;
	if (ctx->r->rcx)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	set_state(ctx->seam, SYS_INIT_DONE);
	return TDX_SUCCESS;
}

u64 seam_tdh_sys_init(struct leaf_ctx *ctx)
{
	if (ctx->version > SYS_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	return with_sys_mutex(ctx, sys_init);
}

static u64 *lp_word(const struct seam *seam, const struct lp *lp)
{
	return &seam->lp_initialized[lp->id / 64];
}

static bool lp_is_initialized(const struct seam *seam, const struct lp *lp)
{
	return sync_load(lp_word(seam, lp)) >> lp->id % 64 & 1;
}

static u64 sys_lp_init(struct leaf_ctx *ctx)
{
	struct seam *seam = ctx->seam;

	if (seam->sys_state != SYS_INIT_DONE)
		return TDX_SYS_LP_INIT_NOT_PENDING;
	if (lp_is_initialized(seam, ctx->lp))
		return TDX_SYS_LP_INIT_DONE;
	sync_fetch_or(lp_word(seam, ctx->lp), BIT_ULL(ctx->lp->id % 64));
	seam->lps_initialized++;
	return TDX_SUCCESS;
}

u64 seam_tdh_sys_lp_init(struct leaf_ctx *ctx)
{
	return with_sys_mutex(ctx, sys_lp_init);
}

/* ---- SYS.CONFIG ------------------------------------------------------------------------------*/

static u64 check_config_operands(const struct leaf_ctx *ctx)
{
	const struct tdx_regs *r = ctx->r;
	u64 hkid = r->r8 & CONFIG_HKID;

	if (check_shared_hpa(ctx, r->rcx, TDX_OPERAND_RCX, 512))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (!r->rdx || r->rdx > TDX_MAX_TDMRS)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	if (r->r8 & ~(CONFIG_HKID | CONFIG_DYNAMIC_PAMT) || hkid < TDX_FIRST_PRIVATE_HKID ||
	    hkid >= SEAM_NR_HKIDS)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_R8);
	if (r->r8 & CONFIG_DYNAMIC_PAMT &&
	    (!ctx->seam->profile->dynamic_pamt || TDX_HKID_START_BIT > DYNAMIC_PAMT_MAX_HKID_START))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_R8);
	return 0;
}

/* Copies what the host's array of pointers leads to: it may change the originals meanwhile. */
static u64 copy_tdmr_info(const struct leaf_ctx *ctx, struct tdmr_info *info, unsigned int count)
{
	u64 address[TDX_MAX_TDMRS];

	if (leaf_read(ctx, ctx->r->rcx & ~HPA_HKID_MASK, address, count))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	for (unsigned int i = 0; i < count; i++) {
		if (check_shared_hpa(ctx, address[i], TDX_OPERAND_TDMR_INFO_PA, 512) ||
		    leaf_read(ctx, address[i] & ~HPA_HKID_MASK, (u64 *)&info[i],
			      sizeof(info[i]) / sizeof(u64)))
			return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_TDMR_INFO_PA);
	}
	return 0;
}

static void set_tdmr(struct seam_tdmr *t, const struct tdmr_info *info)
{
	t->base = info->base;
	t->size = info->size;
	for (u32 level = 0; level < 3; level++)
		tdmr_pamt_area(info, level, &t->pamt_base[level], &t->pamt_size[level]);
	t->nr_reserved = tdmr_reserved_count(info);
	for (u32 i = 0; i < t->nr_reserved; i++) {
		t->reserved[i].base = info->base + info->reserved[i].offset;
		t->reserved[i].size = info->reserved[i].size;
	}
	t->initialized_end = info->base;
}

static u64 sys_config(struct leaf_ctx *ctx)
{
	struct seam *seam = ctx->seam;
	struct tdmr_info info[TDX_MAX_TDMRS];
	struct tdmr_rules rules;
	unsigned int count;
	u64 status;

	if (seam->sys_state != SYS_INIT_DONE || seam->lps_initialized < seam->lps_attached)
		return TDX_SYS_CONFIG_NOT_PENDING;
	status = check_config_operands(ctx);
	if (status)
		return status;
	count = (unsigned int)ctx->r->rdx;
	rules.memory_bytes = seam->host->memory_bytes;
	rules.dynamic_pamt = ctx->r->r8 & CONFIG_DYNAMIC_PAMT;
	status = copy_tdmr_info(ctx, info, count);
	for (unsigned int i = 0; !status && i < count; i++)
		status = tdmr_check(info, i, &rules);
	for (unsigned int i = 0; !status && i < count; i++)
		status = tdmr_check_overlaps(info, i, count);
	if (status)
		return status;

	for (unsigned int i = 0; i < count; i++)
		set_tdmr(&seam->tdmr[i], &info[i]);
	seam->nr_tdmrs = count;
	seam->global_hkid = (u16)(ctx->r->r8 & CONFIG_HKID);
	seam->kot[seam->global_hkid].state = KOT_RESERVED;
	seam->dynamic_pamt = rules.dynamic_pamt;
	set_state(seam, SYS_CONFIG_DONE);
	return TDX_SUCCESS;
}

u64 seam_tdh_sys_config(struct leaf_ctx *ctx)
{
	return with_sys_mutex(ctx, sys_config);
}

/* ---- SYS.KEY.CONFIG --------------------------------------------------------------------------*/

static u64 sys_key_config(struct leaf_ctx *ctx)
{
	struct seam *seam = ctx->seam;

	if (seam->sys_state != SYS_CONFIG_DONE)
		return TDX_SYS_KEY_CONFIG_NOT_PENDING;
	if (seam->package[ctx->lp->package].key_configured)
		return TDX_KEY_CONFIGURED;
	seam->package[ctx->lp->package].key_configured = 1;
	for (u32 i = 0; i < seam->host->nr_packages; i++) {
		if (!seam->package[i].key_configured)
			return TDX_SUCCESS;
	}
	set_state(seam, SYS_READY);
	return TDX_SUCCESS;
}

u64 seam_tdh_sys_key_config(struct leaf_ctx *ctx)
{
	return with_sys_mutex(ctx, sys_key_config);
}

/* ---- the end ---------------------------------------------------------------------------------*/

static u64 sys_shutdown(struct leaf_ctx *ctx)
{
	set_state(ctx->seam, SYS_SHUT_DOWN);
	return TDX_SUCCESS;
}

u64 seam_tdh_sys_shutdown(struct leaf_ctx *ctx)
{
	/* Bits 15:0: the hand-off data version that the next module wants. */
	if (ctx->r->rcx >> 16)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	return with_sys_mutex(ctx, sys_shutdown);
}

u64 seam_tdh_sys_lp_shutdown(struct leaf_ctx *ctx)
{
	(void)ctx;
	return TDX_SUCCESS;
}

/* Takes over from a module that was shut down; there never is one before ours. */
u64 seam_tdh_sys_update(struct leaf_ctx *ctx)
{
	if (ctx->version > SYS_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	return TDX_SYS_STATE_INCORRECT;
}
