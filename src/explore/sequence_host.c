/* SPDX-License-Identifier: MIT */
/* What the host does in a sequence: a VMM's ioctls, its accesses, the kernel's own works, whole TDs. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/sync.h"
#include "explore/sequence_impl.h"
#include "tdx/internal.h"
#include "vm/internal.h"

/* ---- TDs -------------------------------------------------------------------------------------*/
static int make_file(struct seq_run *r, struct seq_file *f)
{
	bool plain = !seq_value(r, SEQ_MAPPING_FORM) && !seq_value(r, SEQ_RESTRUCTURE);
	bool is_1g = seq_value(r, SEQ_BACKING) == GMEM_HUGETLB_1G;
	const struct gmem_config cfg = {
		.size = is_1g ? SIZE_1G : fn_to_addr(r->nr_pages),
		.backing = (enum gmem_backing)seq_value(r, SEQ_BACKING),
		.pool = r->pool,
		.folio_split = (enum gmem_folio_split)seq_value(r, SEQ_FOLIO_SPLIT),
		.folio_refs = (enum gmem_folio_refs)seq_value(r, SEQ_FOLIO_REFS),
		.restructure = (enum gmem_restructure)seq_value(r, SEQ_RESTRUCTURE),
		.mapping_form = (enum gmem_mapping_form)seq_value(r, SEQ_MAPPING_FORM),
		/* The others lose what they say if folios fail to split. */
		.convert_order = plain ? (enum gmem_convert_order)seq_value(r, SEQ_CONVERT_ORDER)
				       : GMEM_ORDER_SPLIT_FOLIO_ZAP,
	};
	int err = gmem_create(r->m.host, &cfg, &f->file);

	if (err) {
		f->file = NULL;
		return err;
	}
	for (u32 i = 0; i < r->nr_pages; i++)
		f->page[i] = (struct seq_page){.fresh = true};
	return 0;
}

static void end_file(struct seq_run *r, struct seq_file *f)
{
	for (u32 i = 0; i < r->nr_pages; i++)
		for (; f->page[i].pins; f->page[i].pins--)
			gmem_unpin(f->file, i);
	gmem_release(f->file);
	f->file = NULL;
}

static bool is_used(struct seq_run *r, const struct seq_file *f)
{
	for (u32 td = 0; td < SEQ_MAX_TDS; td++)
		if (r->vm[td] && seq_file(r, td) == f)
			return true;
	return false;
}

static int make_vm(struct seq_run *r, u32 td)
{
	struct seq_file *f = seq_file(r, td);
	const struct vm_slot_config slot = {
		.npages = addr_to_fn(gmem_size(f->file)),
		.file = f->file,
	};
	const struct vm_config vc = {
		.split_where = (enum mmu_split_where)seq_value(r, SEQ_SPLIT_RANGE),
		.split_metadata = (enum mmu_split_metadata)seq_value(r, SEQ_SPLIT_METADATA),
		.demote_lock = (enum td_demote_lock)seq_value(r, SEQ_DEMOTE_LOCK),
		.promote = seq_value(r, SEQ_PROMOTE) ? VM_PROMOTE_NOW : VM_PROMOTE_OFF,
		.slots = &slot,
		.nr_slots = 1,
		.mapping_check = (enum vm_mapping_check)seq_value(r, SEQ_MAPPING_CHECK),
		.nr_vcpus = seq_value(r, SEQ_VCPUS) + 1,
		.first_lp = td * SEQ_MAX_VCPUS,
		.max_level = r->max_level,
		.gpaw = 48,
		.sept_ve_disable = !seq_value(r, SEQ_ACCEPT_MODE),
	};

	return vm_create(&r->m, &vc, &r->vm[td]);
}

void seq_create(struct seq_run *r, u32 td)
{
	struct seq_file *f = seq_file(r, td);
	int err = 0;

	if (r->vm[td])
		return;
	if (!f->file)
		err = make_file(r, f);
	if (!err) {
		err = make_vm(r, td);
		if (err)
			r->vm[td] = NULL;
	}
	if (err && !(err == -ENOMEM && r->may_fail))
		seq_fail(r, "TD %c can't be made: %s", 'a' + (int)td, strerror(-err));
	if (f->file && !is_used(r, f))
		end_file(r, f);
}

void seq_teardown(struct seq_run *r, u32 td)
{
	struct seq_file *f = seq_file(r, td);

	if (!r->vm[td])
		return;
	vm_destroy(r->vm[td]);
	r->vm[td] = NULL;
	if (!is_used(r, f)) {
		end_file(r, f);
		return;
	}
	/* The other one's memory, and what is shared, stays. */
	for (u32 i = 0; i < r->nr_pages; i++) {
		struct seq_page *p = &f->page[i];

		if (p->shared || seq_owner(r, td, i) != td)
			continue;
		p->accepted = false;
		p->small = false;
		p->value = 0;
	}
}

/* ---- ranges ----------------------------------------------------------------------------------*/

/* Leaves go, as when a memory slot is moved; what backs them stays. */
static int zap(struct vm *vm, gfn_t start, gfn_t end)
{
	const struct gmem_client_ops *ops = &vm_gmem_ops;
	struct vm_slot *slot = &vm->slots[0];
	gfn_t first = ALIGN_DOWN(start, pages_per_level(PG_LEVEL_1G));
	gfn_t last = ALIGN_UP(end, pages_per_level(PG_LEVEL_1G));
	int err;

	ops->begin(slot, first, last - first);
	err = ops->prepare(slot, start, end - start);
	if (!err)
		ops->commit(slot, start, end - start);
	ops->end(slot, first, last - first);
	return err;
}

/* Dirty tracking has begun, and nobody has come since. */
static void check_split(struct seq_run *r, u32 td, u32 page, u32 nr)
{
	for (u32 at = page, next; at < page + nr; at = next) {
		next = (at & ~511U) + 512;
		for (int private = 0; private < 2; private ++) {
			struct mmu_mapping m;

			if (mmu_lookup(vm_mmu(r->vm[td]), at, private, &m) && m.level > PG_LEVEL_4K)
				seq_fail(r, "page 0x%x is mapped at level %d after a split", at,
					 (int)m.level);
		}
	}
}

static void host_range(struct seq_run *r, const struct sequence_op *op, u32 td)
{
	u32 page = seq_page_of(r, op), nr = seq_nr_of(r, op);
	struct gmem_file *file = seq_file(r, td)->file;
	int err;

	switch (op->kind) {
	case SEQ_CONVERT:
		err = gmem_convert(file, page, nr, op->private & 1);
		break;
	case SEQ_PUNCH:
		err = gmem_punch_hole(file, page, nr);
		break;
	case SEQ_SPLIT:
		err = vm_track_dirty(r->vm[td], page, nr);
		break;
	default:
		err = zap(r->vm[td], page, page + nr);
	}
	seq_disarm(r);
	r->may_fail = op->alloc || r->hit_busy;
	if (op->kind == SEQ_SPLIT && !err)
		check_split(r, td, page, nr);
	seq_done_range(r, op, err);
}

/* ---- promotion -------------------------------------------------------------------------------*/

/* All of it is there and alike: nothing keeps it from being one leaf. */
static bool must_be_promoted(struct seq_run *r, u32 td, u32 first)
{
	struct seq_file *f = seq_file(r, td);
	struct mmu_mapping m;

	if (r->may_fail || r->max_level < PG_LEVEL_2M ||
	    gmem_leaf_level(f->file, first) < PG_LEVEL_2M ||
	    !mmu_lookup(vm_mmu(r->vm[td]), first, true, &m) || m.level != PG_LEVEL_4K)
		return false;
	for (u32 i = first; i < first + 512; i++)
		if (!f->page[i].accepted)
			return false;
	return true;
}

static void check_promoted(struct seq_run *r, u32 td, u32 first)
{
	struct seq_page *p = &seq_file(r, td)->page[first];
	struct mmu_mapping m;

	for (u32 i = 0; i < 512; i++) {
		if (p[i].shared || p[i].failed || p[i].accepted != p->accepted)
			seq_fail(r, "block 0x%x was promoted, and page 0x%x isn't like the others",
				 first, first + i);
		p[i].small = false;
	}
	if (!mmu_lookup(vm_mmu(r->vm[td]), first, true, &m) || m.level < PG_LEVEL_2M)
		seq_fail(r, "block 0x%x was promoted, and isn't mapped large", first);
}

static void promote(struct seq_run *r, const struct sequence_op *op, u32 td)
{
	u32 page = seq_page_of(r, op), first = page & ~511U;
	bool must;
	int err;

	td = seq_owner(r, td, page);
	if (first + 512 > r->nr_pages || !r->vm[td] || r->max_level < PG_LEVEL_2M)
		return;
	must = must_be_promoted(r, td, first);
	err = vm_promote_try(r->vm[td], first, PG_LEVEL_2M);
	if (!err)
		check_promoted(r, td, first);
	else if (err != -EAGAIN && err != -ENOENT && !(err == -ENOMEM && r->may_fail))
		seq_fail(r, "promotion of block 0x%x answers %d (%s)", first, err, strerror(-err));
	else if (must && !r->may_fail)
		seq_fail(r, "promotion of block 0x%x is refused (%d)", first, err);
	seq_touched(r, td, first, 512);
}

/* ---- pages -----------------------------------------------------------------------------------*/
static void fail_page(struct seq_run *r, const struct sequence_op *op, u32 td)
{
	u32 page = seq_page_of(r, op);
	struct seq_file *f = seq_file(r, td);
	struct seq_page *p = &f->page[page];
	bool is_backed = gmem_folio_level(f->file, page) != PG_LEVEL_NONE;
	int err;

	if (r->failures >= SEQ_MAX_FAILURES - (seq_value(r, SEQ_BACKING) == GMEM_HUGETLB_1G) ||
	    p->failed)
		return;
	err = vm_memory_failure(r->vm[td], fn_to_addr(page));
	if (err)
		seq_fail(r, "memory failure of page 0x%x answers %d (%s)", page, err,
			 strerror(-err));
	r->failures += is_backed;
	p->failed = is_backed;
	if (is_backed) {
		p->accepted = false;
		p->small = false;
		p->fresh = false;
	}
	seq_touched(r, td, page, 1);
}

/* Why the host may not use the page. */
static int refusal(const struct seq_page *p)
{
	return !p->shared ? -EFAULT : p->failed ? -EHWPOISON : 0;
}

static void expect(struct seq_run *r, const struct seq_page *p, u32 page, int err)
{
	if (err != refusal(p) && !(err == -ENOMEM && r->may_fail))
		seq_fail(r, "the host's use of page 0x%x answers %d (%s)", page, err,
			 err < 0 ? strerror(-err) : "success");
}

static void host_page(struct seq_run *r, const struct sequence_op *op, u32 td)
{
	u32 page = seq_page_of(r, op);
	struct seq_file *f = seq_file(r, td);
	struct seq_page *p = &f->page[page];
	u64 word = r->value + 1;
	int err;

	if (op->kind == SEQ_PIN) {
		if (p->pins == SEQ_MAX_PINS)
			return;
		err = gmem_pin(f->file, page);
		p->pins = (u8)(p->pins + !err);
	} else if (op->kind == SEQ_HOST_WRITE) {
		err = gmem_host_write(f->file, fn_to_addr(page), &word, 1);
		if (!err)
			p->value = r->value = word;
	} else {
		err = gmem_host_read(f->file, fn_to_addr(page), &word, 1);
		if (!err && word != p->value)
			seq_fail(r, "the host finds 0x%" PRIx64 " in page 0x%x, not 0x%" PRIx64,
				 word, page, p->value);
	}
	expect(r, p, page, err);
	seq_touched(r, td, page, 1);
}

static void unpin(struct seq_run *r, const struct sequence_op *op, u32 td)
{
	u32 page = seq_page_of(r, op);
	struct seq_page *p = &seq_file(r, td)->page[page];

	if (!p->pins)
		return;
	gmem_unpin(seq_file(r, td)->file, page);
	p->pins--;
	seq_touched(r, td, page, 1);
}

/* ---- Dynamic PAMT ----------------------------------------------------------------------------*/
static void pamt(struct seq_run *r, const struct sequence_op *op)
{
	u32 n = op->nr % SEQ_PAMT_PAGES, held = 0;
	int err = 0;

	if (op->kind == SEQ_PAMT_GET && !r->held[n]) {
		err = tdx_pamt_get(r->m.tdx, r->pamt_range + n);
		r->held[n] = !err;
	} else if (op->kind == SEQ_PAMT_PUT && r->held[n]) {
		tdx_pamt_put(r->m.tdx, r->pamt_range + n);
		r->held[n] = false;
	}
	if (err && !(err == -ENOMEM && r->may_fail))
		seq_fail(r, "a Dynamic PAMT reference can't be had: %s", strerror(-err));
	for (u32 i = 0; i < SEQ_PAMT_PAGES; i++)
		held += r->held[i];
	if (r->m.tdx->dynamic_pamt && tdx_pamt_refs(r->m.tdx, r->pamt_range) != held)
		seq_fail(r, "%u pages of a 2M range are held, and %u counted", held,
			 tdx_pamt_refs(r->m.tdx, r->pamt_range));
}

/* ---- all of them -----------------------------------------------------------------------------*/
void seq_host_op(struct seq_run *r, const struct sequence_op *op)
{
	u32 td = seq_td(r, op);

	if (op->kind == SEQ_CREATE) {
		seq_create(r, td);
		return;
	}
	if (op->kind == SEQ_PAMT_GET || op->kind == SEQ_PAMT_PUT) {
		pamt(r, op);
		return;
	}
	if (op->kind == SEQ_CHECK) {
		seq_check(r);
		return;
	}
	if (!r->vm[td])
		return;
	switch (op->kind) {
	case SEQ_TRY_PROMOTE:
		promote(r, op, td);
		break;
	case SEQ_FAIL:
		fail_page(r, op, td);
		break;
	case SEQ_PIN:
	case SEQ_HOST_READ:
	case SEQ_HOST_WRITE:
		host_page(r, op, td);
		break;
	case SEQ_UNPIN:
		unpin(r, op, td);
		break;
	case SEQ_KICK:
		vcpu_kick(vm_vcpu(r->vm[td], op->vcpu % (seq_value(r, SEQ_VCPUS) + 1)));
		break;
	case SEQ_TEARDOWN:
		seq_teardown(r, td);
		break;
	default:
		host_range(r, op, td);
	}
}
