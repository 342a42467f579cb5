/* SPDX-License-Identifier: MIT */
/*
 * Owns what the module says of itself: SYS.RD, SYS.RDALL, SYS.INFO.
 */
#include "seam/checks.h"
#include "seam/md.h"

struct sys_field {
	u64 id;
	u64 value;
	bool dynamic_pamt; /* only modules that can have Dynamic PAMT */
};

#define ID_FEATURES0 0x0A00000300000008ULL

/* In the order in which they are enumerated. The value of TDX_FEATURES0 is the profile's. */
static const struct sys_field sys_fields[] = {
	{ID_FEATURES0, 0, false},
	{0x9100000100000008ULL, TDX_MAX_TDMRS, false},
	{0x9100000100000009ULL, TDX_MAX_RESERVED_PER_TDMR, false},
	{0x9100000100000010ULL, TDX_PAMT_ENTRY_SIZE, false}, /* 4K */
	{0x9100000100000011ULL, TDX_PAMT_ENTRY_SIZE, false}, /* 2M */
	{0x9100000100000012ULL, TDX_PAMT_ENTRY_SIZE, false}, /* 1G */
	{0x9100000000000013ULL, 1, true},		     /* PAMT_PAGE_BITMAP_ENTRY_BITS */
	{0x9100000000000014ULL, 4, true},		     /* MIN_DYNAMIC_PAMT_NUM_HKID_BITS */
	{0x9800000100000100ULL, TDX_TDCS_PAGES *SIZE_4K, false},
	{0x9800000100000200ULL, TDX_TDVPS_PAGES *SIZE_4K, false},
	{0x1900000300000000ULL, TD_ATTRIBUTES_ALLOWED, false},
	{0x1900000300000001ULL, 0, false}, /* ATTRIBUTES_FIXED1 */
	{0x1900000300000002ULL, TD_XFAM_ALLOWED, false},
	{0x1900000300000003ULL, TD_XFAM_MUST, false},
	{0x9900000100000004ULL, 0, false}, /* NUM_CPUID_CONFIG */
	{0x9900000100000008ULL, TD_MAX_VCPUS, false},
};

static const struct sys_field *fields_end(void)
{
	return sys_fields + ARRAY_SIZE(sys_fields);
}

/* The first field from @f on that this module has. */
static const struct sys_field *first_from(const struct seam *seam, const struct sys_field *f)
{
	while (f < fields_end() && f->dynamic_pamt && !seam->profile->dynamic_pamt)
		f++;
	return f;
}

static u64 id_or_null(const struct sys_field *f)
{
	return f < fields_end() ? f->id : MD_NULL_ID;
}

static u64 value_of(const struct seam *seam, const struct sys_field *f)
{
	return f->id == ID_FEATURES0 ? seam->profile->features0 : f->value;
}

static const struct sys_field *find(const struct seam *seam, u64 id)
{
	const struct sys_field *f = first_from(seam, sys_fields);

	while (f < fields_end() && f->id != id)
		f = first_from(seam, f + 1);
	return f < fields_end() ? f : NULL;
}

u64 seam_tdh_sys_rd(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	const struct sys_field *f;
	u64 id = r->rdx;

	r->r8 = 0;
	if (id == 0 || id == MD_NULL_ID) {
		r->rdx = id_or_null(first_from(ctx->seam, sys_fields));
		return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT;
	}
	f = find(ctx->seam, id);
	if (!f) {
		r->rdx = MD_NULL_ID;
		return TDX_METADATA_FIELD_ID_INCORRECT;
	}
	r->r8 = value_of(ctx->seam, f);
	r->rdx = id_or_null(first_from(ctx->seam, f + 1));
	return TDX_SUCCESS;
}

/*
 * A list of fields in a page of the host's: a header (bits 15:0 bytes used, 31:16 sequences), then
 * an id and a value for each field.
 */
u64 seam_tdh_sys_rdall(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	const struct sys_field *f;
	u64 list[1 + 2 * ARRAY_SIZE(sys_fields)];
	unsigned int words = 1;
	u64 status;

	status = check_shared_hpa(ctx, r->rdx, TDX_OPERAND_RDX, SIZE_4K);
	if (status)
		return status;
	f = first_from(ctx->seam, sys_fields);
	if (r->r8 != 0 && r->r8 != MD_NULL_ID) {
		f = find(ctx->seam, r->r8);
		if (!f)
			return TDX_METADATA_FIELD_ID_INCORRECT;
	}
	for (; f < fields_end(); f = first_from(ctx->seam, f + 1)) {
		list[words++] = f->id;
		list[words++] = value_of(ctx->seam, f);
	}
	list[0] = words * sizeof(u64) | (u64)(words / 2) << 16;
	if (host_write(ctx->host, r->rdx & ~HPA_HKID_MASK, 0, list, words))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	r->r8 = MD_NULL_ID;
	return TDX_SUCCESS;
}

/* ---- SYS.INFO --------------------------------------------------------------------------------*/

/* TDSYSINFO_STRUCT: what is neither here nor reserved is zero. */
struct sys_info {
	u32 attributes;
	u32 vendor_id;
	u32 build_date;
	u16 build_number;
	u16 minor_version, major_version;
	u8 reserved0[14];
	u16 max_tdmrs, max_reserved_per_tdmr, pamt_entry_size;
	u8 reserved1[10];
	u16 tdcs_base_size, reserved2, tdvps_base_size;
	u8 reserved3[10];
	u64 attributes_fixed0, attributes_fixed1, xfam_fixed0, xfam_fixed1;
	u8 reserved4[928];
};

_Static_assert(sizeof(struct sys_info) == 1024, "TDSYSINFO_STRUCT is 1024 bytes");
_Static_assert(offsetof(struct sys_info, max_tdmrs) == 32, "as the host reads it");
_Static_assert(offsetof(struct sys_info, tdcs_base_size) == 48, "as the host reads it");
_Static_assert(offsetof(struct sys_info, attributes_fixed0) == 64, "as the host reads it");

#define VENDOR_ID 0x8086
#define MODULE_MAJOR 1
#define MODULE_MINOR 5
#define CMR_ENTRIES 32
#define CMR_ALIGNMENT 512

struct cmr_info {
	u64 base, size;
};

u64 seam_tdh_sys_info(struct leaf_ctx *ctx)
{
	struct sys_info info = {
		.vendor_id = VENDOR_ID,
		.minor_version = MODULE_MINOR,
		.major_version = MODULE_MAJOR,
		.max_tdmrs = TDX_MAX_TDMRS,
		.max_reserved_per_tdmr = TDX_MAX_RESERVED_PER_TDMR,
		.pamt_entry_size = TDX_PAMT_ENTRY_SIZE,
		.tdcs_base_size = TDX_TDCS_PAGES * SIZE_4K,
		.tdvps_base_size = TDX_TDVPS_PAGES * SIZE_4K,
		.attributes_fixed0 = TD_ATTRIBUTES_ALLOWED,
		.xfam_fixed0 = TD_XFAM_ALLOWED,
		.xfam_fixed1 = TD_XFAM_MUST,
	};
	struct cmr_info cmr[CMR_ENTRIES] = {{0, ctx->host->memory_bytes}};
	struct tdx_regs *r = ctx->r;
	u64 status;

	status = check_shared_hpa(ctx, r->rcx, TDX_OPERAND_RCX, sizeof(info));
	if (!status && r->rdx < sizeof(info))
		status = operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	if (!status)
		status = check_shared_hpa(ctx, r->r8, TDX_OPERAND_R8, CMR_ALIGNMENT);
	if (!status && r->r9 < CMR_ENTRIES)
		status = operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_R9);
	if (status)
		return status;
	if (host_write(ctx->host, r->rcx & ~HPA_HKID_MASK, 0, (u64 *)(void *)&info,
		       sizeof(info) / sizeof(u64)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (host_write(ctx->host, r->r8 & ~HPA_HKID_MASK, 0, (u64 *)cmr,
		       CMR_ENTRIES * (sizeof(cmr[0]) / sizeof(u64))))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_R8);
	r->rdx = sizeof(info);
	r->r9 = CMR_ENTRIES;
	return TDX_SUCCESS;
}
