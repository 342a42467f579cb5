/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the module at its registers. An input is a state to begin in and a program of calls:
 *
 *   two bytes     which module, which TD, how far its life has come (see choose())
 *   then steps    a SEAMCALL from some LP, VP.ENTER with steps of the guest inside, an interrupt,
 *                 a write of the host's
 *
 * Operands are drawn to what means something (the TD's pages, free ones, GPAs, their neighbours), or
 * are eight bytes as they come. After each call the oracles look (oracle.h).
 *
 * One thread does it all: while a guest is inside, its steps include calls from other LPs, which
 * then meet the locks that VP.ENTER holds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_target.h"
#include "oracle.h"
#include "seam/md.h"

#define MAX_STEPS 200
#define GUEST_REGS 8

struct fuzz {
	struct fuzz_machine m;
	const u8 *at, *end;
	u32 steps;
	u32 inside;		     /* VP.ENTERs that are running */
	u32 guest_left[MACHINE_LPS]; /* steps that the guest on this LP may still do */
	bool guest_ran;
	/* Registers of VP.VMCALL stay the guest's until the VP.ENTER after it. */
	struct tdx_regs guest_regs[GUEST_REGS];
	u32 next_regs;
};

/* ---- input -----------------------------------------------------------------------------------*/
static u8 next_byte(struct fuzz *f)
{
	return f->at < f->end ? *f->at++ : 0;
}

static u64 next_raw(struct fuzz *f)
{
	u64 value = 0;

	for (unsigned int i = 0; i < sizeof(value); i++)
		value = value << 8 | next_byte(f);
	return value;
}

static hpa_t place(const struct fuzz *f, unsigned int i)
{
	const hpa_t places[] = {
		f->m.tdr,
		f->m.tdvpr[0],
		f->m.tdvpr[1],
		FREE_PAGES,
		FREE_PAGES + PAGE_SIZE,
		FREE_PAGES + 2 * PAGE_SIZE,
		FREE_PAGES + 3 * PAGE_SIZE,
		DATA_BLOCK,
		DATA_BLOCK + PAGE_SIZE,
		DATA_BLOCK + 8 * PAGE_SIZE,
		HUGE_BLOCKS,
		HUGE_BLOCKS + SIZE_2M,
		FREE_BLOCKS,
		FREE_BLOCKS + SIZE_2M,
		PAIR_BLOCK,
		PAIR_BLOCK + 8 * PAGE_SIZE,
		PAIR_BLOCK + 9 * PAGE_SIZE,
		CONTROL_BLOCK + PAGE_SIZE, /* TDCX */
		CONTROL_BLOCK + 4 * PAGE_SIZE,
		CONTROL_BLOCK + 8 * PAGE_SIZE,
		CONTROL_BLOCK + 19 * PAGE_SIZE, /* S-EPT */
		CONTROL_BLOCK + 20 * PAGE_SIZE,
		CONTROL_BLOCK + 21 * PAGE_SIZE,
		f->m.next_page,
		f->m.next_page + PAGE_SIZE,
		LIST_PA,
		INFO_PA,
		PARAMS_PA,
		SOURCE_PA,
		SPARE_PA,
		TDMR0_BASE - PAGE_SIZE,
		TDMR0_BASE + SIZE_1G - PAGE_SIZE,
		TDMR0_BASE + SIZE_1G,
		TDMR1_BASE,
		MACHINE_BYTES - 2 * PAGE_SIZE,
		MACHINE_BYTES - PAGE_SIZE, /* reserved */
		MACHINE_BYTES,
		BIT_ULL(TDX_HKID_START_BIT) - PAGE_SIZE,
		BIT_ULL(52) - PAGE_SIZE,
		0,
	};

	return places[i % ARRAY_SIZE(places)];
}

/* What may come with an address: a level, flags, a key id, a neighbour. */
static u64 decorated(u64 value, u8 how)
{
	static const u64 high[8] = {0,
				    BIT_ULL(63),
				    BIT_ULL(62),
				    BIT_ULL(52),
				    (u64)TD_HKID << TDX_HKID_START_BIT,
				    1ULL << TDX_HKID_START_BIT,
				    BIT_ULL(47),
				    BIT_ULL(51)};

	value |= (how & 7) | high[how >> 3 & 7];
	switch (how >> 6) {
	case 1:
		return value + SIZE_2M;
	case 2:
		return value - PAGE_SIZE;
	case 3:
		return value + 8;
	default:
		return value;
	}
}

static gpa_t guest_address(unsigned int i)
{
	static const gpa_t gpas[] = {0,
				     PAGE_SIZE,
				     2 * PAGE_SIZE,
				     5 * PAGE_SIZE,
				     511 * PAGE_SIZE,
				     SIZE_2M,
				     SIZE_2M + PAGE_SIZE,
				     2 * SIZE_2M,
				     3 * SIZE_2M,
				     SIZE_1G,
				     SIZE_1G + SIZE_2M,
				     512 * SIZE_1G,
				     BIT_ULL(46),
				     BIT_ULL(47),
				     BIT_ULL(48),
				     BIT_ULL(51)};

	return gpas[i % ARRAY_SIZE(gpas)];
}

/* Metadata of a TD, of a vCPU, of the module. */
static u64 field_id(u8 i)
{
	static const u64 ids[] = {
		MD_TDR_FATAL,
		MD_TDR_CHLDCNT,
		MD_TDCS_NUM_VCPUS,
		MD_TDCS_OP_STATE,
		MD_TDCS_ATTRIBUTES,
		MD_TDCS_EPTP,
		MD_TDCS_TD_CTLS,
		MD_TDCS_TD_EPOCH,
		MD_VMCS_SHARED_EPT_POINTER,
		MD_VMCS_SHARED_EPT_POINTER + 1,
		0x0A00000300000008, /* TDX_FEATURES0 */
	};

	return ids[i % ARRAY_SIZE(ids)];
}

/* An operand: what it is about, and how it is written. */
static u64 next_value(struct fuzz *f)
{
	u8 what = next_byte(f), how;

	if (what == 0xFF)
		return next_raw(f);
	how = next_byte(f);
	if (what < 0x80)
		return decorated(place(f, what), how);
	if (what < 0xD0)
		return decorated(guest_address(what), how);
	if (what < 0xE0)
		return how;
	if (what < 0xE8)
		return TDX_NULL_PA - how;
	if (what < 0xF0)
		return field_id(how);
	return 1ULL << (how & 63);
}

/* ---- calls -----------------------------------------------------------------------------------*/
static unsigned int next_leaf(struct fuzz *f, bool guest)
{
	static const u8 host_leaves[] = {
#define TDH_LEAF(sym, number, name) number,
#include "septum/tdh_leaves.def"
#undef TDH_LEAF
	};
	static const u8 guest_leaves[] = {
#define TDG_LEAF(sym, number, name) number,
#include "septum/tdg_leaves.def"
#undef TDG_LEAF
	};
	u8 i = next_byte(f);

	return guest ? guest_leaves[i % sizeof(guest_leaves)]
		     : host_leaves[i % sizeof(host_leaves)];
}

/*
 * The registers of a call. One byte says which are given: bits 2:0 how many of RCX, RDX, R8 in this
 * order (the rest: 0), bit 3 a version, bit 4 all of RAX, bit 5 all of R9 to R15.
 */
static struct tdx_regs next_regs(struct fuzz *f, bool guest)
{
	struct tdx_regs r = {.rax = next_leaf(f, guest)};
	u64 *const operand[] = {&r.rcx, &r.rdx, &r.r8, &r.r12, &r.r13, &r.r9, &r.r10};
	u64 *const rest[] = {&r.r9, &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15};
	u8 given = next_byte(f);

	for (unsigned int i = 0; i < (given & 7); i++)
		*operand[i] = next_value(f);
	if (given & 0x08)
		r.rax |= (u64)next_byte(f) << 16;
	if (given & 0x10)
		r.rax = next_raw(f);
	if (given & 0x20) {
		for (unsigned int i = 0; i < ARRAY_SIZE(rest); i++)
			*rest[i] = next_value(f);
	}
	return r;
}

static const char *leaf_name(u64 rax, bool guest)
{
	const char *name = guest ? tdg_leaf_name(rax & 0xFFFF) : tdh_leaf_name(rax & 0xFFFF);

	return name ? name : "an unknown leaf";
}

static void print_call(const struct fuzz *f, const char *name, u32 lp, const struct tdx_regs *in)
{
	if (!getenv("FUZZ_VERBOSE"))
		return;
	fprintf(stderr,
		"%*slp %u %s rax=%#llx rcx=%#llx rdx=%#llx r8=%#llx r9=%#llx r12=%#llx r13=%#llx\n",
		(int)f->inside * 2, "", lp, name, (unsigned long long)in->rax,
		(unsigned long long)in->rcx, (unsigned long long)in->rdx,
		(unsigned long long)in->r8, (unsigned long long)in->r9, (unsigned long long)in->r12,
		(unsigned long long)in->r13);
}

static void print_answer(const struct fuzz *f, u64 status)
{
	if (getenv("FUZZ_VERBOSE"))
		fprintf(stderr, "%*s-> %#llx\n", (int)f->inside * 2, "",
			(unsigned long long)status);
}

/* An LP that is outside, @i or one after it; NULL when all are inside. */
static struct lp *free_lp(struct fuzz *f, unsigned int i)
{
	for (unsigned int n = 0; n < MACHINE_LPS; n++) {
		struct lp *lp = f->m.lp[(i + n) % MACHINE_LPS];

		if (!lp->vcpu)
			return lp;
	}
	return NULL;
}

static hpa_t offered_page(const struct tdx_regs *in)
{
	return (in->rax & 0xFFFF) == TDH_MEM_PAGE_DEMOTE ? in->r8 : TDX_NULL_PA;
}

static void host_call(struct fuzz *f, struct lp *lp, struct tdx_regs r)
{
	const struct tdx_regs in = r;
	const char *name = leaf_name(in.rax, false);
	struct oracle_view before;
	bool outer_ran = f->guest_ran;
	u64 status;

	print_call(f, name, lp->id, &in);
	oracle_look(&f->m, &before);
	f->guest_ran = false;
	status = seamcall(lp, &r);
	print_answer(f, status);
	if (status != r.rax)
		fuzz_fail("%s: RAX %#llx isn't the status %#llx", name, (unsigned long long)r.rax,
			  (unsigned long long)status);
	oracle_check_status(name, status);
	if (tdx_is_error(status) && !f->guest_ran)
		oracle_check_unchanged(&f->m, &before, name, status, offered_page(&in));
	f->guest_ran |= outer_ran;
	if (!f->inside)
		oracle_check_locks(&f->m, name);
}

static void host_step(struct fuzz *f)
{
	struct lp *lp = free_lp(f, next_byte(f));
	struct tdx_regs r = next_regs(f, false);

	if (lp)
		host_call(f, lp, r);
}

/* ---- guests ----------------------------------------------------------------------------------*/
/* Return: the guest goes on. */
static bool guest_call(struct fuzz *f, struct lp *lp)
{
	struct tdx_regs *r = &f->guest_regs[f->next_regs++ % GUEST_REGS];
	struct oracle_view before;
	const char *name;

	*r = next_regs(f, true);
	name = leaf_name(r->rax, true);
	print_call(f, name, lp->id, r);
	oracle_look(&f->m, &before);
	if (!tdcall(lp, r)) {
		print_answer(f, lp->exit.kind);
		if (lp->exit.kind != LP_EXIT_TDCALL)
			fuzz_fail("%s exited without saying so", name);
		return false;
	}
	print_answer(f, r->rax);
	oracle_check_status(name, r->rax);
	if (tdx_is_error(r->rax))
		oracle_check_unchanged(&f->m, &before, name, r->rax, TDX_NULL_PA);
	return true;
}

static bool guest_access(struct fuzz *f, struct lp *lp)
{
	u8 where = next_byte(f);
	gpa_t gpa = guest_address(where >> 1) | (where & 1 ? 8 : 0);
	u64 word = 0x5EED;

	return (next_byte(f) & 1 ? lp_guest_write(lp, gpa, &word, 1)
				 : lp_guest_read(lp, gpa, &word, 1)) != LP_ACCESS_EXIT;
}

static bool guest_step(struct fuzz *f, struct lp *lp)
{
	switch (next_byte(f) & 3) {
	case 0:
		return guest_access(f, lp);
	case 1:
		host_step(f);
		return lp_guest_poll(lp) != LP_ACCESS_EXIT;
	default:
		return guest_call(f, lp);
	}
}

static void guest_run(struct lp *lp, void *guest)
{
	struct fuzz *f = guest;
	bool goes_on = true;

	f->guest_ran = true;
	f->inside++;
	while (goes_on && f->guest_left[lp->id] && f->at < f->end) {
		f->guest_left[lp->id]--;
		goes_on = guest_step(f, lp);
	}
	f->inside--;
	if (goes_on)
		lp->exit.kind = LP_EXIT_INTERRUPT;
}

static const struct guest_ops guest_ops = {.run = guest_run};

static void enter_step(struct fuzz *f)
{
	u8 how = next_byte(f);
	unsigned int vcpu = how & 1;
	struct tdx_regs r = {.rax = TDH_VP_ENTER, .rcx = f->m.tdvpr[vcpu]};

	if (f->m.lp[vcpu]->vcpu)
		return;
	f->guest_left[vcpu] = how >> 1 & 0x1F;
	host_call(f, f->m.lp[vcpu], r);
}

/* ---- the rest of the world -------------------------------------------------------------------*/
static void interrupt_step(struct fuzz *f)
{
	u8 how = next_byte(f);
	struct lp *lp = f->m.lp[how & 3];

	switch (how >> 2 & 3) {
	case 0:
		lp_interrupt(lp, LP_INTR);
		break;
	case 1:
		lp_interrupt(lp, LP_NMI);
		break;
	case 2:
		lp_take_interrupts(lp);
		break;
	default:
		lp->intr_masked = how >> 4 & 1;
	}
}

/*
 * The host writes eight bytes: into its own buffers, or over what the module has. PAMT areas apart,
 * which the model doesn't encrypt.
 */
static void poke_step(struct fuzz *f)
{
	u8 where = next_byte(f);
	hpa_t hpa = place(f, where) & ~(PAGE_SIZE - 1);
	u64 word = next_value(f);

	hpa |= (next_byte(f) * sizeof(u64)) & (PAGE_SIZE - 1);
	if (hpa < MACHINE_BYTES)
		host_write(f->m.host, hpa, 0, &word, 1);
}

static void step(struct fuzz *f)
{
	u8 kind = next_byte(f) & 0xF;

	if (kind < 10)
		host_step(f);
	else if (kind < 13)
		enter_step(f);
	else if (kind < 14)
		interrupt_step(f);
	else
		poke_step(f);
}

/*
 * First byte: bits 3:0 the stage, 7:4 the profile. Second byte: Dynamic PAMT, wide, debug,
 * SEPT_VE_DISABLE, flexible #VE.
 */
static struct machine_choice choose(struct fuzz *f)
{
	u8 first = next_byte(f), second = next_byte(f);
	struct machine_choice c = {
		.profile = seam_profile_at(0),
		.stage = (first & 0xF) % STAGE_COUNT,
		.wide = second & 2,
		.attributes = (second & 4 ? TD_ATTR_DEBUG : 0) |
			      (second & 8 ? TD_ATTR_SEPT_VE_DISABLE : 0),
		.flexible_ve = second & 16,
	};

	for (unsigned int i = first >> 4; i > 0; i--) {
		if (seam_profile_at(i)) {
			c.profile = seam_profile_at(i);
			break;
		}
	}
	c.dynamic_pamt = (second & 1) && c.profile->dynamic_pamt;
	return c;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz f = {.at = data, .end = data + size};
	struct machine_choice choice = choose(&f);

	fuzz_machine_create(&f.m, &choice);
	oracle_prepare(&f.m);
	for (unsigned int i = 0; i < MACHINE_LPS; i++) {
		f.m.lp[i]->guest_ops = &guest_ops;
		f.m.lp[i]->guest = &f;
	}
	while (f.at < f.end && f.steps++ < MAX_STEPS)
		step(&f);
	seam_pamt_in_use(f.m.seam);
	fuzz_machine_destroy(&f.m);
	return 0;
}
