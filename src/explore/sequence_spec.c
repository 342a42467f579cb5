/* SPDX-License-Identifier: MIT */
/* The specification of sequences: what operations may answer, and what they do to pages. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/sync.h"
#include "check/invariants.h"
#include "explore/sequence_impl.h"
#include "tdx/internal.h"
#include "vm/internal.h"

static struct seq_page *page_at(struct seq_run *r, u32 td, u32 page)
{
	return &seq_file(r, td)->page[page];
}

static void lose(struct seq_page *p)
{
	p->accepted = false;
	p->small = false;
	p->value = 0;
}

/* ---- ACCEPT ----------------------------------------------------------------------------------*/
static void become_accepted(struct seq_run *r, u32 td, u32 page, enum pg_level level)
{
	struct seq_page *p = page_at(r, td, page);

	if (p->shared || p->failed || p->accepted)
		seq_fail(r, "ACCEPT of page 0x%x succeeded, which is %s", page,
			 p->shared   ? "shared"
			 : p->failed ? "failed memory"
				     : "accepted already: its bytes are gone");
	p->accepted = true;
	p->fresh = false;
	p->small = level == PG_LEVEL_4K;
	p->value = 0;
}

/* A block that nobody has touched is one huge page, unless it is part of a larger one. */
static bool must_be_large(const struct seq_run *r, const struct seq_page *first)
{
	u32 backing = seq_value(r, SEQ_BACKING);

	if (r->injected || r->max_level < PG_LEVEL_2M || backing == GMEM_4K ||
	    backing == GMEM_HUGETLB_1G)
		return false;
	for (u32 i = 0; i < 512; i++)
		if (!first[i].fresh || first[i].shared)
			return false;
	return true;
}

void seq_accepted(struct seq_run *r, u32 td, u32 page, enum pg_level level, u64 status)
{
	struct seq_page *p = page_at(r, td, page);
	u64 class = tdx_status_class(status), nr = pages_per_level(level);

	if (status == TDX_SUCCESS) {
		for (u32 i = 0; i < nr; i++)
			become_accepted(r, td, page + i, level);
		return;
	}
	if (class == TDX_PAGE_ALREADY_ACCEPTED) {
		for (u32 i = 0; i < nr; i++)
			if (!p[i].accepted)
				seq_fail(r,
					 "ACCEPT says that page 0x%x is accepted already, and it "
					 "isn't",
					 page + i);
		return;
	}
	if (class != TDX_PAGE_SIZE_MISMATCH || level == PG_LEVEL_4K)
		seq_fail(r, "ACCEPT of page 0x%x at level %d answers 0x%016" PRIx64, page,
			 (int)level, status);
	if (must_be_large(r, p))
		seq_fail(r, "the block of page 0x%x has never been used, and is mapped small",
			 page);
	for (u32 i = 0; i < nr; i++)
		p[i].fresh = false;
}

/* ---- accesses --------------------------------------------------------------------------------*/
void seq_accessed(struct seq_run *r, u32 td, u32 page, bool write, u64 word)
{
	struct seq_page *p = page_at(r, td, page);

	if (p->failed || (!p->shared && !p->accepted))
		seq_fail(r, "page 0x%x was used, and %s", page,
			 p->failed ? "its memory has failed" : "isn't accepted");
	if (write)
		p->value = word;
	else if (word != p->value)
		seq_fail(r, "page 0x%x holds 0x%" PRIx64 ", not 0x%" PRIx64, page, word, p->value);
}

void seq_guest_stopped(struct seq_run *r, const struct sequence_op *op, int err)
{
	u32 td = r->guest.td, page = seq_page_of(r, op);
	struct vm *vm = r->vm[td];
	const struct seq_page *p;
	int expected = 0;

	if (vm_why_dead(vm))
		seq_fail(r, "TD %c was stopped: %s", 'a' + (int)td, vm_why_dead(vm));
	if (op->kind == SEQ_ACCEPT && op->level & 1 && page / 512 < r->nr_pages / 512)
		page &= ~511U;
	p = page_at(r, td, page);
	if (op->kind == SEQ_STRAY || (op->kind == SEQ_ACCEPT && p->shared))
		expected = -EFAULT;
	else if (op->kind <= SEQ_READ && op->kind != SEQ_FILL && p->failed)
		expected = -EHWPOISON;
	if (err != expected && !(err == -ENOMEM && r->may_fail))
		seq_fail(r, "the vCPU came back with %d (%s) from page 0x%x", err,
			 err < 0 ? strerror(-err) : "stopped", page);
	if (err == -EFAULT && addr_to_fn(vcpu_fault_gpa(vm_vcpu(vm, r->guest.vcpu)) &
					 ~BIT_ULL(vm->shared_bit)) != page)
		seq_fail(r, "a fault of page 0x%x is told as of another one", page);
}

/* ---- ranges ----------------------------------------------------------------------------------*/
static bool to_private(const struct sequence_op *op)
{
	return op->kind == SEQ_UNSHARE || (op->kind == SEQ_CONVERT && op->private & 1);
}

static bool converts(const struct sequence_op *op)
{
	return op->kind == SEQ_SHARE || op->kind == SEQ_UNSHARE || op->kind == SEQ_CONVERT;
}

static bool punches(const struct sequence_op *op)
{
	return op->kind == SEQ_PUNCH || op->kind == SEQ_DISCARD;
}

/* Somebody holds a page that would go. */
static bool is_held(const struct sequence_op *op, const struct seq_page *p)
{
	return p->pins && (punches(op) || (converts(op) && to_private(op) && p->shared));
}

static bool is_failed(struct gmem_file *file, u32 page)
{
	return gmem_folio_level(file, page) != PG_LEVEL_NONE &&
	       gmem_leaf_level(file, page) == PG_LEVEL_NONE;
}

static void change_page(struct seq_run *r, const struct sequence_op *op, u32 td, u32 page)
{
	struct seq_file *f = seq_file(r, td);
	struct seq_page *p = &f->page[page];

	p->fresh = false;
	if (converts(op)) {
		if (p->shared != to_private(op))
			return;
		p->shared = !to_private(op);
		lose(p);
	} else if (punches(op)) {
		lose(p);
		/* New memory comes where all of a huge page has gone. */
		p->failed = p->failed && is_failed(f->file, page);
	} else if (op->kind == SEQ_ZAP) {
		if (!p->shared && seq_owner(r, td, page) == td)
			lose(p);
	} else if (op->kind == SEQ_SPLIT) {
		if (p->accepted && seq_owner(r, td, page) == td)
			p->small = true;
	}
}

void seq_done_range(struct seq_run *r, const struct sequence_op *op, int err)
{
	u32 td = seq_is_guests(op) ? r->guest.td : seq_td(r, op);
	u32 page = seq_page_of(r, op), nr = seq_nr_of(r, op);
	bool held = false;

	for (u32 i = page; i < page + nr; i++)
		held |= is_held(op, page_at(r, td, i));
	if (err != (held ? -EAGAIN : 0) && !(err == -ENOMEM && r->may_fail))
		seq_fail(r, "an operation on pages 0x%x to 0x%x answers %d (%s), and %s", page,
			 page + nr - 1, err, err < 0 ? strerror(-err) : "success",
			 held ? "somebody holds one of them" : "nobody holds any");
	for (u32 i = page; !err && i < page + nr; i++)
		change_page(r, op, td, i);
	seq_touched(r, td, page, nr);
}

/* ---- looking ---------------------------------------------------------------------------------*/
static void check_frame(struct seq_run *r, struct gmem_file *file, u32 page, pfn_t mapped)
{
	enum pg_level level;
	pfn_t pfn = 0;

	if (gmem_folio_level(file, page) == PG_LEVEL_NONE ||
	    gmem_get_pfn(file, page, &pfn, &level) || pfn != mapped)
		seq_fail(r,
			 "page 0x%x is mapped to frame 0x%" PRIx64
			 ", and its file has frame 0x%" PRIx64,
			 page, mapped, pfn);
}

/* In TD @td, which may or may not be the page's owner. */
static void check_private(struct seq_run *r, u32 td, u32 page)
{
	const struct seq_page *p = page_at(r, td, page);
	struct vm *vm = r->vm[td];
	struct mmu_mapping m;
	u64 word = 0;
	pfn_t pfn;

	if (!mmu_lookup(vm_mmu(vm), page, true, &m)) {
		if (p->accepted && seq_owner(r, td, page) == td)
			seq_fail(r, "page 0x%x is accepted, and not mapped", page);
		return;
	}
	pfn = m.pfn + (page - m.gfn);
	if (p->shared || p->failed || seq_owner(r, td, page) != td)
		seq_fail(r, "page 0x%x is mapped as private memory, and %s", page,
			 p->shared   ? "shared"
			 : p->failed ? "has failed"
				     : "another TD's");
	if (m.level > r->max_level || (p->small && !r->loose && m.level > PG_LEVEL_4K))
		seq_fail(r, "page 0x%x is mapped at level %d: that large isn't allowed there", page,
			 (int)m.level);
	check_frame(r, seq_file(r, td)->file, page, pfn);
	if (p->accepted && (host_read(r->m.host, fn_to_addr(pfn), td_hkid(vm_td(vm)), &word, 1) ||
			    word != p->value))
		seq_fail(r, "private page 0x%x holds 0x%" PRIx64 ", not 0x%" PRIx64, page, word,
			 p->value);
}

static void check_shared(struct seq_run *r, u32 td, u32 page)
{
	const struct seq_page *p = page_at(r, td, page);
	struct gmem_file *file = seq_file(r, td)->file;
	struct mmu_mapping m;
	enum pg_level level;
	u64 word = 0;
	pfn_t pfn;

	if (mmu_lookup(vm_mmu(r->vm[td]), page, false, &m)) {
		if (!p->shared || p->failed)
			seq_fail(r, "page 0x%x is mapped as shared memory, and %s", page,
				 p->failed ? "has failed" : "private");
		check_frame(r, file, page, m.pfn + (page - m.gfn));
	}
	if (!p->shared || p->failed || gmem_folio_level(file, page) == PG_LEVEL_NONE)
		return;
	if (gmem_get_pfn(file, page, &pfn, &level))
		seq_fail(r, "shared page 0x%x has a folio and no frame", page);
	if (host_read(r->m.host, fn_to_addr(pfn), 0, &word, 1) || word != p->value)
		seq_fail(r, "shared page 0x%x holds 0x%" PRIx64 ", not 0x%" PRIx64, page, word,
			 p->value);
}

static void check_page(struct seq_run *r, struct seq_file *f, u32 page)
{
	if (gmem_is_private(f->file, page) == f->page[page].shared)
		seq_fail(r, "page 0x%x should be %s by its attribute", page,
			 f->page[page].shared ? "shared" : "private");
	for (u32 td = 0; td < SEQ_MAX_TDS; td++) {
		if (!r->vm[td] || seq_file(r, td) != f)
			continue;
		check_private(r, td, page);
		check_shared(r, td, page);
	}
}

void seq_touched(struct seq_run *r, u32 td, u32 page, u32 nr)
{
	const u32 look[] = {page - 1, page, page + nr / 2, page + nr - 1, page + nr};
	struct seq_file *f = seq_file(r, td);

	if (!f->file)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(look); i++)
		if (look[i] < r->nr_pages && (!i || look[i] != look[i - 1]))
			check_page(r, f, look[i]);
}

/* The program's own references aren't a TD's, which is all that the invariants know of. */
static void put_held(struct seq_run *r)
{
	for (u32 i = 0; i < SEQ_PAMT_PAGES; i++) {
		if (r->held[i])
			tdx_pamt_put(r->m.tdx, r->pamt_range + i);
		r->held[i] = false;
	}
}

void seq_check(struct seq_run *r)
{
	struct vm *vms[SEQ_MAX_TDS];
	char why[300] = "";
	u32 nr = 0;

	r->since_check = 0;
	for (u32 i = 0; i < SEQ_MAX_TDS; i++) {
		if (r->vm[i])
			vms[nr++] = r->vm[i];
		for (u32 page = 0; r->file[i].file && page < r->nr_pages; page++)
			check_page(r, &r->file[i], page);
	}
	put_held(r);
	sync_rcu_barrier();
	/* A pool is found by a VM's file, and what belongs to a pool by the pool. */
	if (!nr && r->pool)
		return;
	if (check_vms(&r->m, vms, nr, why, sizeof(why)))
		seq_fail(r, "%s", why);
}
