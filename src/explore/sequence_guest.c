/* SPDX-License-Identifier: MIT */
/*
 * The guest of a sequence: it knows which of its memory is shared and what it has accepted, which is
 * what the specification says. Functions that return false ask to leave the guest, and go on with the
 * same operation when it is entered again.
 */
#include <inttypes.h>
#include <errno.h>

#include "explore/sequence_impl.h"
#include "septum/abi.h"
#include "vm/internal.h"

#define MAX_BUSY 1000 /* nobody else runs: who is at the entry can't be for long */

static u32 nr_vcpus(const struct seq_run *r)
{
	return seq_value(r, SEQ_VCPUS) + 1;
}

static struct seq_page *page_at(struct seq_run *r, u32 page)
{
	return &seq_file(r, r->guest.td)->page[page];
}

/* ---- ACCEPT ----------------------------------------------------------------------------------*/
static bool accept(struct seq_run *r, struct lp *lp, u32 page, enum pg_level level)
{
	for (u32 i = 0; i < MAX_BUSY; i++) {
		struct tdx_regs regs = {
			.rax = TDG_MEM_PAGE_ACCEPT,
			.rcx = tdx_page_info(fn_to_addr(page), (unsigned int)level - PG_LEVEL_4K),
		};

		if (lp_guest_poll(lp) != LP_ACCESS_OK || !tdcall(lp, &regs))
			return false;
		if (tdx_status_class(regs.rax) != TDX_OPERAND_BUSY) {
			seq_accepted(r, r->guest.td, page, level, regs.rax);
			return true;
		}
		sync_relax();
	}
	seq_fail(r, "ACCEPT of page 0x%x stays busy", page);
}

static bool perform_accept(struct seq_run *r, struct lp *lp, const struct sequence_op *op)
{
	u32 page = seq_page_of(r, op);

	/* The last pages are no block. */
	if (op->level & 1 && page / 512 < r->nr_pages / 512)
		return accept(r, lp, page & ~511U, PG_LEVEL_2M);
	return accept(r, lp, page, PG_LEVEL_4K);
}

static bool perform_fill(struct seq_run *r, struct lp *lp, const struct sequence_op *op)
{
	u32 first = seq_page_of(r, op) & ~511U;

	for (; r->guest.cursor < 512 && first + r->guest.cursor < r->nr_pages; r->guest.cursor++) {
		const struct seq_page *p = page_at(r, first + r->guest.cursor);

		if (!p->shared && !p->accepted && !p->failed &&
		    !accept(r, lp, first + r->guest.cursor, PG_LEVEL_4K))
			return false;
	}
	return true;
}

/* ---- accesses --------------------------------------------------------------------------------*/
static bool access_word(struct seq_run *r, struct lp *lp, u32 page, bool shared, bool write)
{
	gpa_t gpa = fn_to_addr(page);
	u64 word = r->value + 1;
	enum lp_access access;

	if (shared)
		gpa |= BIT_ULL(r->vm[r->guest.td]->shared_bit);
	access = write ? lp_guest_write(lp, gpa, &word, 1) : lp_guest_read(lp, gpa, &word, 1);
	if (access == LP_ACCESS_EXIT)
		return false;
	if (access == LP_ACCESS_MC)
		seq_fail(r, "an access to page 0x%x is a machine check", page);
	if (write)
		r->value = word;
	if (shared != page_at(r, page)->shared)
		seq_fail(r, "page 0x%x could be used as %s memory", page,
			 shared ? "shared" : "private");
	seq_accessed(r, r->guest.td, page, write, word);
	return true;
}

static bool perform_access(struct seq_run *r, struct lp *lp, const struct sequence_op *op)
{
	u32 page = seq_page_of(r, op);
	const struct seq_page *p = page_at(r, page);

	if (op->kind == SEQ_STRAY)
		return access_word(r, lp, page, !p->shared, false);
	/* Without #VE an access to what isn't accepted is the end of a TD. */
	if (!p->shared && !p->accepted && !seq_value(r, SEQ_ACCEPT_MODE) &&
	    !accept(r, lp, page, PG_LEVEL_4K))
		return false;
	return access_word(r, lp, page, p->shared, op->kind == SEQ_WRITE);
}

/* A #VE: the page is pending. It is accepted, and the access tried again. */
static bool handle_ve(struct seq_run *r, struct lp *lp)
{
	struct seq_guest *g = &r->guest;

	if (lp->ve_pending) {
		struct tdx_regs regs = {.rax = TDG_VP_VEINFO_GET};

		lp->ve_pending = false;
		tdcall(lp, &regs);
		g->ve_gpa = regs.r9;
		g->in_ve = true;
		if (!seq_value(r, SEQ_ACCEPT_MODE))
			seq_fail(r, "a #VE, and the TD has them disabled");
	}
	if (g->in_ve && !accept(r, lp, (u32)addr_to_fn(g->ve_gpa), PG_LEVEL_4K))
		return false;
	g->in_ve = false;
	return true;
}

/* ---- hypercalls ------------------------------------------------------------------------------*/

/* Return: the answer is in guest.call */
static bool hypercall(struct seq_run *r, struct lp *lp, u64 vendor, u64 number, u64 r12, u64 r13)
{
	struct seq_guest *g = &r->guest;

	if (g->called) {
		g->called = false;
		return true;
	}
	g->called = true;
	g->call = vm_hypercall(vendor, number, r12, r13);
	tdcall(lp, &g->call);
	return false;
}

static bool perform_map_gpa(struct seq_run *r, struct lp *lp, const struct sequence_op *op)
{
	u64 shared = op->kind == SEQ_SHARE ? BIT_ULL(r->vm[r->guest.td]->shared_bit) : 0;
	gpa_t gpa = fn_to_addr(seq_page_of(r, op)) | shared;

	if (!hypercall(r, lp, 0, VM_HC_MAP_GPA, gpa, fn_to_addr(seq_nr_of(r, op))))
		return false;
	if (r->guest.call.r10 == VM_HC_RETRY) {
		if (r->guest.call.r11 != gpa)
			seq_fail(r, "MapGPA is to be retried from 0x%" PRIx64 ", not 0x%" PRIx64,
				 r->guest.call.r11, gpa);
		/* It doesn't say which of the two it was. */
		seq_done_range(r, op, r->may_fail ? -ENOMEM : -EAGAIN);
	} else if (r->guest.call.r10) {
		seq_fail(r, "MapGPA answers 0x%" PRIx64, r->guest.call.r10);
	} else {
		seq_done_range(r, op, 0);
	}
	return true;
}

static bool perform_discard(struct seq_run *r, struct lp *lp, const struct sequence_op *op)
{
	if (!hypercall(r, lp, VM_HC_VENDOR, VM_HC_DISCARD, fn_to_addr(seq_page_of(r, op)),
		       fn_to_addr(seq_nr_of(r, op))))
		return false;
	seq_done_range(r, op, (int)(s64)r->guest.call.r10);
	return true;
}

/* ---- the operations --------------------------------------------------------------------------*/
static bool perform(struct seq_run *r, struct lp *lp, const struct sequence_op *op)
{
	switch (op->kind) {
	case SEQ_ACCEPT:
		return perform_accept(r, lp, op);
	case SEQ_FILL:
		return perform_fill(r, lp, op);
	case SEQ_SHARE:
	case SEQ_UNSHARE:
		return perform_map_gpa(r, lp, op);
	case SEQ_DISCARD:
		return perform_discard(r, lp, op);
	default:
		return perform_access(r, lp, op);
	}
}

static bool is_ours(struct seq_run *r, const struct sequence_op *op)
{
	return op->kind < SEQ_EXIT && seq_guest_td(r, op) == r->guest.td &&
	       op->vcpu % nr_vcpus(r) == r->guest.vcpu;
}

static void begin(struct seq_run *r)
{
	r->guest.called = false;
	r->guest.in_ve = false;
	r->guest.cursor = 0;
	seq_arm(r, &r->s->op[r->at]);
}

static void run_guest(struct lp *lp, void *guest)
{
	struct seq_run *r = guest;

	if (!handle_ve(r, lp))
		return;
	do {
		const struct sequence_op *op = &r->s->op[r->at];

		if (!perform(r, lp, op))
			return;
		seq_disarm(r);
		if (op->kind <= SEQ_STRAY)
			seq_touched(r, r->guest.td, seq_page_of(r, op), 1);
		r->at++;
		if (r->at < r->s->nr && is_ours(r, &r->s->op[r->at]))
			begin(r);
		else
			break;
	} while (true);
	r->guest.called = false;
	hypercall(r, lp, VM_HC_VENDOR, VM_HC_STOP, 0, 0);
}

static const struct guest_ops guest_ops = {.run = run_guest};

void seq_guest_ops(struct seq_run *r)
{
	const struct sequence_op *op = &r->s->op[r->at];
	u32 td = seq_guest_td(r, op);
	int err;

	/* An exit is over when a run is; and there is nobody in a TD that is gone. */
	if (op->kind == SEQ_EXIT || !r->vm[td]) {
		r->at++;
		return;
	}
	r->guest.td = td;
	r->guest.vcpu = op->vcpu % nr_vcpus(r);
	begin(r);
	err = vcpu_run(vm_vcpu(r->vm[td], r->guest.vcpu), &guest_ops, r);
	if (!err)
		return;
	op = &r->s->op[r->at];
	seq_guest_stopped(r, op, err);
	seq_disarm(r);
	seq_touched(r, td, seq_page_of(r, op), 1);
	r->at++;
}
