/* SPDX-License-Identifier: MIT */
/*
 * The matrix: every leaf that takes a guest physical address, on an entry in every state, at every
 * level that the state can be at, asked for at that level and at every level below.
 *
 * What must come out is put together from two tables below (which leaf may act in which state; what
 * a leaf checks and in which order) and nothing of the module's. States that the module's leaves
 * lead to are reached by calls; migration's are written into the entry.
 *
 * Each cell is looked at three times: while the TD is built, where nothing needs BLOCK or TRACK; at
 * run time; and at run time with a TRACK after the BLOCK.
 */
#include "fixture.h"
#include "seam/internal.h"

#define L(n) (1ULL << (n))

/* ---- the states ------------------------------------------------------------------------------*/

struct state_row {
	const char *name;
	unsigned int encoding, number;
	bool leaf;
	unsigned int rwx; /* what the entry lets the guest do */
	bool reached;	  /* by calls */
	bool tracked;	  /* a change needs TLB tracking at run time */
	u64 host;	  /* leaf numbers that may act */
	u64 guest;	  /* the same, TDCALLs */
};

enum { FREE = 0, REMOVED = 5, NL_BLOCKED = 129, NL_MAPPED = 132 };
enum { BLOCKED = 1, PENDING = 2, PENDING_BLOCKED = 3, MAPPED = 4, EXPORTED_DIRTY = 11 };
enum { PENDING_EXPORTED_DIRTY = 19 };

static const struct state_row states[] = {
	{"FREE", 0x0E, FREE, false, 0, true, false, L(2) | L(3) | L(6) | L(25), 0},
	{"REMOVED", 0x0C, REMOVED, false, 0, false, false, L(6) | L(25), 0},
	{"NL_MAPPED", 0x00, NL_MAPPED, false, 7, true, true, L(3) | L(7) | L(23) | L(25) | L(30),
	 0},
	{"NL_BLOCKED", 0x08, NL_BLOCKED, false, 0, true, true, L(23) | L(25) | L(30) | L(39), 0},
	{"MAPPED", 0x60, MAPPED, true, 7, true, true,
	 L(5) | L(7) | L(12) | L(14) | L(15) | L(16) | L(25) | L(29), L(23) | L(24)},
	{"BLOCKED", 0x68, BLOCKED, true, 0, true, true, L(5) | L(15) | L(25) | L(29) | L(39), 0},
	{"BLOCKEDW", 0x64, 8, true, 5, false, true, L(5) | L(7) | L(12) | L(25) | L(29), L(23)},
	{"EXPORTED_BLOCKEDW", 0x66, 9, true, 5, false, false, L(5) | L(12) | L(25), L(23)},
	{"EXPORTED_DIRTY", 0x63, EXPORTED_DIRTY, true, 7, false, true, L(5) | L(12) | L(14) | L(25),
	 L(23) | L(24)},
	{"EXPORTED_DIRTY_BLOCKEDW", 0x67, 12, true, 5, false, true, L(5) | L(12) | L(25), L(23)},
	{"PENDING", 0x70, PENDING, true, 0, true, true, L(5) | L(7) | L(15) | L(25) | L(29),
	 L(6) | L(23) | L(24)},
	{"PENDING_BLOCKED", 0x78, PENDING_BLOCKED, true, 0, true, true,
	 L(5) | L(15) | L(25) | L(29) | L(39), 0},
	{"PENDING_BLOCKEDW", 0x74, 16, true, 0, false, true, L(5) | L(7) | L(25) | L(29), L(23)},
	{"PENDING_EXPORTED_BLOCKEDW", 0x76, 17, true, 0, false, false, L(5) | L(25), L(23)},
	{"PENDING_EXPORTED_DIRTY", 0x73, PENDING_EXPORTED_DIRTY, true, 0, false, true, L(5) | L(25),
	 L(6) | L(23) | L(24)},
	{"PENDING_EXPORTED_DIRTY_BLOCKEDW", 0x77, 20, true, 0, false, true, L(5) | L(25), L(23)},
};

/* Of entries: a 4-level S-EPT, or a 5-level one, where GPAs have 52 bits. One test at a time. */
static unsigned int nr_levels = 4;
#define ROOT 9 /* the level of the root's entries */

static bool is_blocked(const struct state_row *s)
{
	return s->number == BLOCKED || s->number == PENDING_BLOCKED || s->number == NL_BLOCKED;
}

static bool is_pending(const struct state_row *s)
{
	return s->encoding >> 4 & 1;
}

/* Leaves are at levels 0 to 2, tables hang from 1 up, nothing can be anywhere. */
static bool can_be_at(const struct state_row *s, unsigned int level)
{
	if (s->leaf)
		return level <= 2;
	return level >= 1 || s->number == FREE || s->number == REMOVED;
}

static const struct state_row *state_by_number(unsigned int number)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++) {
		if (states[i].number == number)
			return &states[i];
	}
	fail_msg("no state %u", number);
	return NULL;
}

/* Bits 9, 53 to 56, 6 and 7 from the encoding; RWX and Xu; memory type WB; the page under its key. */
static u64 raw_entry_in(const struct state_row *s, hpa_t hpa)
{
	u64 e = s->encoding;
	u64 raw = 1ULL << 63 | (e & 1) << 9 | (e >> 1 & 0xF) << 53 | (e >> 5 & 3) << 6;

	raw |= s->rwx | (s->rwx ? 0x400 : 0) | (s->leaf ? 0x30 : 0);
	if (s->number == FREE || s->number == REMOVED)
		return raw;
	return raw | hpa | (u64)TD_HKID << 46;
}

/* ---- the leaves ------------------------------------------------------------------------------*/

enum kind {
	HOST_PAGE_INFO,	 /* RCX is page_info, the walk must get to its level */
	HOST_LEAF_FOUND, /* RCX is a GPA, the walk goes to what is present */
	GUEST_LEAF,
	GUEST_ACCESS,
};

struct leaf_row {
	const char *name;
	enum kind kind;
	unsigned int number;
	unsigned int min, max;	   /* levels */
	bool build_time, run_time; /* op_states INITIALIZED, RUNNABLE */
	bool tlb;		   /* BLOCK and TRACK are asked for; UNBLOCK: TRACK alone */
};

static const struct leaf_row leaves[] = {
	{"TDH.MEM.PAGE.ADD", HOST_PAGE_INFO, 2, 0, 0, true, false, false},
	{"TDH.MEM.SEPT.ADD", HOST_PAGE_INFO, 3, 1, ROOT, true, true, false},
	{"TDH.MEM.PAGE.RELOCATE", HOST_PAGE_INFO, 5, 0, 0, true, true, true},
	{"TDH.MEM.PAGE.AUG", HOST_PAGE_INFO, 6, 0, 1, true, true, false},
	{"TDH.MEM.RANGE.BLOCK", HOST_PAGE_INFO, 7, 0, ROOT, true, true, false},
	{"TDH.MEM.PAGE.DEMOTE", HOST_PAGE_INFO, 15, 1, 2, true, true, true},
	{"TDH.MEM.PAGE.PROMOTE", HOST_PAGE_INFO, 23, 1, 2, true, true, true},
	{"TDH.MEM.SEPT.RD", HOST_PAGE_INFO, 25, 0, ROOT, true, true, false},
	{"TDH.MEM.PAGE.REMOVE", HOST_PAGE_INFO, 29, 0, 2, true, true, true},
	{"TDH.MEM.SEPT.REMOVE", HOST_PAGE_INFO, 30, 1, ROOT, true, true, true},
	{"TDH.MEM.RANGE.UNBLOCK", HOST_PAGE_INFO, 39, 0, ROOT, true, true, true},
	{"TDH.MEM.RD", HOST_LEAF_FOUND, 12, 0, 0, true, true, false},
	{"TDH.MEM.WR", HOST_LEAF_FOUND, 14, 0, 0, true, true, false},
	{"TDH.MR.EXTEND", HOST_LEAF_FOUND, 16, 0, 0, true, false, false},
	{"TDG.MEM.PAGE.ACCEPT", GUEST_LEAF, 6, 0, 1, false, true, false},
	{"TDG.MEM.PAGE.ATTR.RD", GUEST_LEAF, 23, 0, 0, false, true, false},
	{"TDG.MEM.PAGE.ATTR.WR", GUEST_LEAF, 24, 0, 2, false, true, false},
	{"guest read", GUEST_ACCESS, 0, 0, 0, false, true, false},
	{"guest write", GUEST_ACCESS, 1, 0, 0, false, true, false},
};

enum phase {
	BUILD_TIME,
	RUN_TIME,
	RUN_TIME_TRACKED,
	NR_PHASES,
};

/* ---- one entry in one state ------------------------------------------------------------------*/

struct world {
	struct fixture f;
	const struct state_row *state;
	unsigned int level;
	enum phase phase;
	u64 *entry;
	u64 raw; /* of *entry, before a call */
};

/* Different places in all four tables. */
#define GPA ((nr_levels == 5 ? 5ULL << 48 : 0) | 1ULL << 39 | 1ULL << 30 | 1ULL << 21 | 1ULL << 12)
#define DATA 0x80000000ULL /* 1G of it */
#define TABLES 0x40100000ULL
#define BAD_PAGE 0x123ULL

static u64 size_of(unsigned int level)
{
	return 0x1000ULL << 9 * level;
}

static u64 page_info(unsigned int level)
{
	return (GPA & ~(size_of(level) - 1)) | level;
}

static struct tdcs *tdcs_of(const struct fixture *f)
{
	return host_ptr(f->host, ((struct tdr *)host_ptr(f->host, f->tdr))->tdcx_pa[0]);
}

static u64 *find_entry(const struct fixture *f, unsigned int level)
{
	u64 *table = host_ptr(f->host, ((struct tdr *)host_ptr(f->host, f->tdr))->tdcx_pa[3]);

	for (unsigned int at = nr_levels - 1; at > level; at--)
		table = host_ptr(f->host, table[GPA >> (12 + 9 * at) & 511] & GENMASK_ULL(45, 12));
	return &table[GPA >> (12 + 9 * level) & 511];
}

static void track(struct fixture *f)
{
	assert_int_equal(fixture_mem(f, TDH_MEM_TRACK, f->tdr, 0, 0), 0);
}

static void add_table(struct fixture *f, unsigned int level)
{
	fixture_ok(f, TDH_MEM_SEPT_ADD, page_info(level), TABLES + level * PAGE_SIZE);
}

static void accept_512(struct fixture *f, struct lp *lp, void *arg)
{
	(void)f;
	(void)arg;
	for (u64 i = 0; i < 512; i++) {
		u64 gpa = (GPA & ~(size_of(2) - 1)) + i * SIZE_2M;
		struct tdx_regs r = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = gpa | 1};

		assert_true(tdcall(lp, &r));
		assert_int_equal(r.rax, 0);
	}
}

/* 512 pages of 2M, made one. */
static void map_1g(struct fixture *f, bool accepted)
{
	add_table(f, 2);
	for (u64 i = 0; i < 512; i++)
		fixture_ok(f, TDH_MEM_PAGE_AUG, ((GPA & ~(size_of(2) - 1)) + i * SIZE_2M) | 1,
			   DATA + i * SIZE_2M);
	if (accepted)
		fixture_enter(f, 0, accept_512, NULL);
	fixture_ok(f, TDH_MEM_RANGE_BLOCK, page_info(2), 0);
	track(f);
	fixture_ok(f, TDH_MEM_PAGE_PROMOTE, page_info(2), 0);
}

static void map_page(struct fixture *f, unsigned int level, bool accepted)
{
	if (level == 2) {
		map_1g(f, accepted);
		return;
	}
	fixture_ok(f, TDH_MEM_PAGE_AUG, page_info(level), DATA);
	if (accepted)
		assert_int_equal(fixture_accept(f, page_info(level)), 0);
}

static void world_create(struct world *w)
{
	const struct state_row *s = w->state;
	struct fixture *f = &w->f;

	fixture_create(f, &(struct fixture_config){.profile = "1.5.25",
						   .wide = nr_levels == 5,
						   .attributes = TD_ATTR_DEBUG |
								 TD_ATTR_SEPT_VE_DISABLE});
	for (unsigned int level = nr_levels - 1; level > w->level; level--)
		add_table(f, level);
	if (s->leaf)
		map_page(f, w->level, !is_pending(s));
	else if (s->number == NL_MAPPED || s->number == NL_BLOCKED)
		add_table(f, w->level);
	if (s->reached && is_blocked(s))
		fixture_ok(f, TDH_MEM_RANGE_BLOCK, page_info(w->level), 0);
	w->entry = find_entry(f, w->level);
	if (!s->reached)
		*w->entry = raw_entry_in(s, s->leaf ? DATA : 0);
	if (w->phase == RUN_TIME_TRACKED)
		track(f);
	if (w->phase == BUILD_TIME)
		tdcs_of(f)->op_state = OP_INITIALIZED;
	w->raw = *w->entry;
	/* What calls have led to is the state that the table says. */
	assert_int_equal(w->raw & ~(GENMASK_ULL(51, 12) | 0x100),
			 raw_entry_in(s, 0) & ~GENMASK_ULL(51, 12));
}

/* ---- what must come out ----------------------------------------------------------------------*/

struct answer {
	u64 rax, rcx, rdx;
	bool any;	    /* only that it isn't a success: nothing more is known */
	bool exits;	    /* a guest's: registers are the TD exit's */
	unsigned int after; /* the state that the entry is in then */
};

static void show_details(struct answer *a, const struct state_row *s, unsigned int level)
{
	u64 raw = raw_entry_in(s, s->leaf ? DATA : 0);

	if (s->number == FREE)
		a->rcx = 1ULL << 63;
	else if (s->leaf)
		a->rcx = (raw & (1ULL << 63 | 0x4FF)) | DATA;
	else
		a->rcx = raw & 0x487;
	a->rdx = level | (u64)s->number << 8;
}

static struct answer failure(u64 status, const struct state_row *s, unsigned int level)
{
	struct answer a = {.rax = status | 1, .after = s->number};

	show_details(&a, s, level);
	return a;
}

/* A leaf that may act and whose TLB conditions hold: what its bad operands give, or its success. */
static struct answer acts(const struct leaf_row *leaf, const struct state_row *s,
			  unsigned int level)
{
	struct answer a = {.after = s->number};

	switch (leaf->number) {
	case TDH_MEM_PAGE_ADD:
		a.rax = TDX_OPERAND_INVALID | 9;
		break;
	case TDH_MEM_SEPT_ADD:
		if (s->number != FREE)
			return failure(TDX_EPT_ENTRY_STATE_INCORRECT, s, level);
		a.rax = TDX_OPERAND_INVALID | 8;
		break;
	case TDH_MEM_PAGE_AUG:
	case TDH_MEM_PAGE_RELOCATE:
	case TDH_MEM_PAGE_DEMOTE:
		a.rax = TDX_OPERAND_INVALID | 8;
		break;
	case TDH_MEM_RANGE_BLOCK:
		a.after = s->number == NL_MAPPED ? NL_BLOCKED
			  : is_pending(s)	 ? PENDING_BLOCKED
						 : BLOCKED;
		break;
	case TDH_MEM_RANGE_UNBLOCK:
		a.after = s->number == NL_BLOCKED ? NL_MAPPED : is_pending(s) ? PENDING : MAPPED;
		break;
	case TDH_MEM_PAGE_PROMOTE:
		return failure(TDX_EPT_INVALID_PROMOTE_CONDITIONS, s, level);
	case TDH_MEM_SEPT_RD:
		show_details(&a, s, level);
		break;
	case TDH_MEM_PAGE_REMOVE:
		a.rcx = DATA;
		a.after = FREE;
		break;
	case TDH_MEM_SEPT_REMOVE:
		a.rcx = TABLES + level * PAGE_SIZE;
		a.after = FREE;
		break;
	default:
		fail_msg("%s has no success here", leaf->name);
	}
	return a;
}

static struct answer host_answer(const struct leaf_row *leaf, const struct state_row *s,
				 unsigned int level, unsigned int asked, enum phase phase)
{
	bool run_time = phase != BUILD_TIME;

	if (!(run_time ? leaf->run_time : leaf->build_time))
		return (struct answer){.rax = TDX_OP_STATE_INCORRECT | (run_time ? 2 : 1),
				       .after = s->number};
	if (asked < leaf->min || (leaf->max != ROOT && asked > leaf->max))
		return (struct answer){.rax = TDX_OPERAND_INVALID | 1, .after = s->number};
	if (asked < level)
		return failure(TDX_EPT_WALK_FAILED, s, level);
	if (leaf->number == TDH_MEM_RANGE_BLOCK && is_blocked(s))
		return failure(TDX_GPA_RANGE_ALREADY_BLOCKED, s, level);
	if (!(s->host >> leaf->number & 1))
		return failure(TDX_EPT_ENTRY_STATE_INCORRECT, s, level);
	if (leaf->tlb && run_time && s->tracked) {
		if (!is_blocked(s))
			return failure(TDX_GPA_RANGE_NOT_BLOCKED, s, level);
		if (phase != RUN_TIME_TRACKED)
			return (struct answer){.rax = TDX_TLB_TRACKING_NOT_DONE | 1,
					       .after = s->number};
	}
	return acts(leaf, s, level);
}

/* MEM.RD, MEM.WR, MR.EXTEND. */
static struct answer found_answer(const struct leaf_row *leaf, const struct state_row *s,
				  unsigned int level, enum phase phase)
{
	struct answer a = {.after = s->number};

	if (phase != BUILD_TIME && !leaf->run_time)
		a.rax = TDX_OP_STATE_INCORRECT | 2;
	else if (!s->leaf || !s->rwx)
		return failure(TDX_EPT_ENTRY_NOT_PRESENT, s, level);
	else if (s->host >> leaf->number & 1)
		return a;
	else if (leaf->number == TDH_MR_EXTEND)
		a.rax = TDX_EPT_ENTRY_NOT_PRESENT;
	else
		return failure(TDX_EPT_ENTRY_STATE_INCORRECT, s, level);
	return a;
}

static struct answer guest_exit(const struct state_row *s, u64 qualification, u64 eeq)
{
	return (struct answer){.rax = 48,
			       .rcx = qualification | s->rwx << 3,
			       .rdx = eeq,
			       .exits = true,
			       .after = s->number};
}

static struct answer accept_answer(const struct state_row *s, unsigned int level,
				   unsigned int asked)
{
	struct answer a = {.after = s->number};
	u64 eeq =
		1 | (u64)asked << 32 | (u64)level << 35 | (u64)s->number << 38 | (u64)s->leaf << 46;

	if (asked > 1)
		a.rax = TDX_OPERAND_INVALID | 1;
	else if (s->leaf && s->rwx)
		a.rax = TDX_PAGE_ALREADY_ACCEPTED | level;
	else if (asked < level)
		return guest_exit(s, 2, eeq);
	else if (!s->leaf && s->number != FREE)
		a.rax = TDX_PAGE_SIZE_MISMATCH | level;
	else if (s->guest >> TDG_MEM_PAGE_ACCEPT & 1)
		a.after = s->number == PENDING ? MAPPED : EXPORTED_DIRTY;
	else
		return guest_exit(s, 2, eeq);
	return a;
}

static struct answer attr_answer(const struct leaf_row *leaf, const struct state_row *s,
				 unsigned int level, unsigned int asked)
{
	struct answer a = {.after = s->number};

	if (asked > leaf->max)
		a.rax = TDX_OPERAND_INVALID | 1;
	else if (!(s->guest >> leaf->number & 1) && leaf->number == TDG_MEM_PAGE_ATTR_RD)
		return guest_exit(s, 0, 0);
	else if (!(s->guest >> leaf->number & 1) || (leaf->number == 24 && asked != level))
		a.any = true;
	else
		a.rcx = (GPA & ~(size_of(level) - 1)) | level | (u64)is_pending(s) << 62;
	return a;
}

static struct answer access_answer(const struct state_row *s, bool write)
{
	struct answer a = {.after = s->number};

	if (s->leaf && (s->rwx & (write ? 2 : 1)))
		return a;
	return guest_exit(s, write ? 2 : 1, s->guest >> TDG_MEM_PAGE_ACCEPT & 1 ? 6 : 0);
}

static struct answer expected(const struct world *w, const struct leaf_row *leaf,
			      unsigned int asked)
{
	const struct state_row *s = w->state;
	unsigned int level = w->level;

	/* Below a table in use the walk goes on, to an entry that nobody has used yet. */
	if (s->number == NL_MAPPED && asked < level) {
		s = state_by_number(FREE);
		level--;
	}
	switch (leaf->kind) {
	case HOST_PAGE_INFO:
		return host_answer(leaf, s, level, asked, w->phase);
	case HOST_LEAF_FOUND:
		return found_answer(leaf, s, level, w->phase);
	case GUEST_ACCESS:
		return access_answer(s, leaf->number);
	default:
		return leaf->number == TDG_MEM_PAGE_ACCEPT ? accept_answer(s, level, asked)
							   : attr_answer(leaf, s, level, asked);
	}
}

/* ---- what comes out --------------------------------------------------------------------------*/

struct guest_access {
	bool write, done;
};

static void access_once(struct fixture *f, struct lp *lp, void *arg)
{
	struct guest_access *a = arg;
	u64 word = 0;

	(void)f;
	a->done = (a->write ? lp_guest_write(lp, GPA, &word, 1)
			    : lp_guest_read(lp, GPA, &word, 1)) == LP_ACCESS_OK;
}

static struct answer guest_call(struct world *w, const struct leaf_row *leaf, unsigned int asked)
{
	struct guest_access access = {.write = leaf->number};
	struct tdx_regs r = {.rax = leaf->number, .rcx = page_info(asked)};

	if (leaf->kind == GUEST_ACCESS) {
		/* A vCPU for reads and one for writes, or a TLB would serve the second. */
		fixture_enter(&w->f, leaf->number, access_once, &access);
		if (access.done)
			return (struct answer){0};
	} else if (fixture_tdcall(&w->f, 0, &r)) {
		if (leaf->number == TDG_MEM_PAGE_ACCEPT) {
			assert_int_equal(r.rcx, page_info(asked));
			r.rcx = 0;
		} else if (r.rax) {
			r.rcx = 0;
		}
		return (struct answer){.rax = r.rax, .rcx = r.rcx};
	}
	assert_int_equal(w->f.r.r8, page_info(asked) & ~0xFFFULL);
	return (struct answer){
		.rax = w->f.r.rax, .rcx = w->f.r.rcx, .rdx = w->f.r.rdx, .exits = true};
}

static struct answer call(struct world *w, const struct leaf_row *leaf, unsigned int asked)
{
	struct fixture *f = &w->f;

	if (leaf->kind == GUEST_LEAF || leaf->kind == GUEST_ACCESS)
		return guest_call(w, leaf, asked);
	f->r = (struct tdx_regs){.rcx = leaf->kind == HOST_LEAF_FOUND ? GPA : page_info(asked),
				 .rdx = f->tdr,
				 .r8 = BAD_PAGE,
				 .r9 = BAD_PAGE,
				 .r12 = BAD_PAGE,
				 .r13 = BAD_PAGE};
	fixture_call(f, leaf->number);
	return (struct answer){.rax = f->r.rax, .rcx = f->r.rcx, .rdx = f->r.rdx};
}

static bool agree(const struct answer *got, const struct answer *want)
{
	if (want->any)
		return got->exits || got->rax;
	return got->rax == want->rax && got->rcx == want->rcx && got->rdx == want->rdx &&
	       got->exits == want->exits;
}

/* Bits that aren't the state: page, A, host priority. */
#define NOT_STATE (GENMASK_ULL(51, 12) | 0x100 | 1ULL << 52)

static void check_cell(struct world *w, const struct leaf_row *leaf, unsigned int asked)
{
	struct answer want = expected(w, leaf, asked), got = call(w, leaf, asked);
	const struct state_row *after = w->state->number == NL_MAPPED && asked < w->level
						? w->state
						: state_by_number(want.after);

	if (!agree(&got, &want))
		fail_msg("%s of level %u, %s at level %u, phase %d: %#llx %#llx %#llx, not %#llx "
			 "%#llx %#llx",
			 leaf->name, asked, w->state->name, w->level, (int)w->phase,
			 (unsigned long long)got.rax, (unsigned long long)got.rcx,
			 (unsigned long long)got.rdx, (unsigned long long)want.rax,
			 (unsigned long long)want.rcx, (unsigned long long)want.rdx);
	if ((*w->entry & ~NOT_STATE) != (raw_entry_in(after, 0) & ~NOT_STATE))
		fail_msg("%s of level %u, %s at level %u, phase %d: leaves %#llx, not %s",
			 leaf->name, asked, w->state->name, w->level, (int)w->phase,
			 (unsigned long long)*w->entry, after->name);
	/* Anything but a look changes more than the entry: begin anew. */
	if (*w->entry != w->raw) {
		fixture_destroy(&w->f);
		world_create(w);
	}
}

static unsigned int levels_asked(const struct leaf_row *leaf, unsigned int level)
{
	if (leaf->kind == HOST_LEAF_FOUND || leaf->kind == GUEST_ACCESS ||
	    (leaf->kind == GUEST_LEAF && leaf->number == TDG_MEM_PAGE_ATTR_RD))
		return 0;
	return level;
}

static unsigned int check_state(struct world *w)
{
	unsigned int cells = 0;

	world_create(w);
	for (const struct leaf_row *leaf = leaves; leaf < leaves + ARRAY_SIZE(leaves); leaf++) {
		bool guest = leaf->kind == GUEST_LEAF || leaf->kind == GUEST_ACCESS;

		if (guest && w->phase == BUILD_TIME)
			continue;
		for (unsigned int asked = 0; asked <= levels_asked(leaf, w->level); asked++) {
			check_cell(w, leaf, asked);
			cells++;
		}
	}
	fixture_destroy(&w->f);
	return cells;
}

static unsigned int nr_cells, nr_state_levels;

static void check_phase(unsigned int levels, enum phase phase)
{
	unsigned int pairs = 0;

	nr_levels = levels;
	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++) {
		for (unsigned int level = 0; level < nr_levels; level++) {
			struct world w = {.state = &states[i], .level = level, .phase = phase};

			if (!can_be_at(&states[i], level))
				continue;
			nr_cells += check_state(&w);
			pairs++;
		}
	}
	nr_state_levels = pairs;
}

/* While the TD is built, every leaf acts wherever the state lets it. */
static void test_build_time(void **state)
{
	(void)state;
	check_phase(4, BUILD_TIME);
}

/* At run time what isn't blocked is NOT_BLOCKED, and what is blocked isn't tracked yet. */
static void test_run_time(void **state)
{
	(void)state;
	check_phase(4, RUN_TIME);
}

/* After a TRACK what is blocked can be changed. */
static void test_run_time_tracked(void **state)
{
	(void)state;
	check_phase(4, RUN_TIME_TRACKED);
}

/* The same with five levels: one more level of tables, and GPAs beyond bit 47. */
static void test_five_levels(void **state)
{
	(void)state;
	check_phase(5, BUILD_TIME);
	check_phase(5, RUN_TIME);
	check_phase(5, RUN_TIME_TRACKED);
}

/* The matrix is as large as it says: no leaf, state or level was left out. */
static void test_size(void **state)
{
	(void)state;
	print_message("%zu leaves x %zu states x %u levels (%u pairs of state and level that can "
		      "be), levels asked for, %d phases, 4 and 5 levels: %u cells\n",
		      ARRAY_SIZE(leaves), ARRAY_SIZE(states), nr_levels, nr_state_levels,
		      (int)NR_PHASES, nr_cells);
	assert_int_equal(ARRAY_SIZE(states), 16);
	/* FREE, REMOVED: 5 levels each; two tables at 4; twelve leaves at 3 */
	assert_int_equal(nr_state_levels, 2 * 5 + 2 * 4 + 12 * 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_time),
		cmocka_unit_test(test_run_time),
		cmocka_unit_test(test_run_time_tracked),
		cmocka_unit_test(test_five_levels),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
