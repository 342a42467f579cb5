/* SPDX-License-Identifier: MIT */
/*
 * Attributes change: a conversion in place.
 *
 *	checks                       -EINVAL
 *	invalidate_lock
 *	already so everywhere        0
 *	allocate: attributes, parts  -ENOMEM
 *	  and under PREALLOC all that folios need
 *	to private: the host's mappings go; somebody holds a page: -EAGAIN
 *	begin
 *	  the three steps            an error of a client, or -ENOMEM under LATE
 *	  attributes, changed
 *	end
 *
 * The three steps are asking clients to split (prepare and limit, which may fail), restructuring
 * the folios (may fail under LATE, and then has rolled back) and zapping (commit). What their order
 * means, where the attributes as they will be decide on the folios in each:
 *
 *	SPLIT_FOLIO_ZAP   split  folio  zap     a failure leaves small leaves
 *	ZAP_FOLIO         split  zap    folio   one of the folio step comes after the contents went
 *	FOLIO_ZAP         folio  split  zap     folios are put back when a client fails; until it has
 *	                                        split, leaves lie across folios
 *
 * To private nothing but a client can fail, so there the order is the first one's.
 */
#include <errno.h>

#include "gmem/internal.h"

struct conversion {
	struct gmem_file *file;
	u64 index, end;
	bool to_private;
	struct gmem_change change;
	struct gmem_plan plan; /* plan.next: the attributes as they will be */
};

/* What of the range changes sides. */
static int find_parts(struct conversion *c)
{
	struct gmem_attrs *attrs = &c->file->attrs;
	int err = 0;

	for (u64 at = c->index, end; at < c->end && !err; at = end) {
		end = gmem_attrs_run_end(attrs, at, c->end);
		if (gmem_attrs_is_private(attrs, at) != c->to_private)
			err = gmem_change_add(&c->change, at, end);
	}
	return err;
}

/* Where leaves must not stay larger than the folios will be. */
static int find_limits(struct conversion *c)
{
	u64 at = 0, nr;
	enum pg_level level;
	int err = 0;

	if (c->file->cfg.mapping_form != GMEM_FORM_FOLIO || !gmem_plan_splits(&c->plan))
		return 0;
	for (; !err && gmem_plan_limit(&c->plan, &at, &nr, &level); at += nr) {
		struct gmem_part part = {.index = at, .nr = nr, .level = level};

		err = gmem_parts_add(c->file->host, &c->change.limits, part);
	}
	return err;
}

/* The host lets go of what becomes private; somebody may hold a page of it all the same. */
static int take_from_host(struct conversion *c, u64 *held)
{
	const struct gmem_parts *parts = &c->change.parts;
	bool one = bug_planted(&c->file->host->bugs, BUG_HELD_IN_FIRST_PART_ONLY);

	for (u64 i = 0; i < (one ? 1 : parts->nr); i++) {
		u64 index = parts->part[i].index, end = index + parts->part[i].nr;

		gmem_view_unmap(&c->file->view, index, end);
		*held = gmem_folio_first_ref(&c->file->folios, index, end);
		if (*held < end && !bug_planted(&c->file->host->bugs, BUG_HELD_PAGE_CONVERTED))
			return -EAGAIN;
	}
	return 0;
}

static int split_folio_zap(struct conversion *c)
{
	int err = gmem_clients_prepare(&c->change);

	if (!err)
		err = gmem_plan_run(&c->plan);
	if (!err)
		gmem_clients_commit(&c->change);
	return err;
}

static int zap_folio(struct conversion *c)
{
	int err = gmem_clients_prepare(&c->change);

	if (err)
		return err;
	gmem_clients_commit(&c->change);
	return gmem_plan_run(&c->plan);
}

static int folio_zap(struct conversion *c)
{
	int err = gmem_plan_run(&c->plan);

	if (err)
		return err;
	/* Planted: leaves stay across the new folios, and across the ends of what is zapped. */
	if (!bug_planted(&c->file->host->bugs, BUG_GMEM_SPLITS_MAPPED_FOLIO))
		err = gmem_clients_prepare(&c->change);
	if (err)
		gmem_plan_undo(&c->plan);
	else
		gmem_clients_commit(&c->change);
	return err;
}

static int run_steps(struct conversion *c)
{
	if (c->to_private)
		return split_folio_zap(c);
	if (bug_planted(&c->file->host->bugs, BUG_GMEM_SPLITS_MAPPED_FOLIO))
		return folio_zap(c);
	switch (c->file->cfg.convert_order) {
	case GMEM_ORDER_ZAP_FOLIO:
		return zap_folio(c);
	case GMEM_ORDER_FOLIO_ZAP:
		return folio_zap(c);
	default:
		return split_folio_zap(c);
	}
}

/*
 * Nothing is mapped where pages change sides. What they held must not show on the other side: to
 * shared they are zeroed here (hardware leaves what the other key makes of the bytes; zeros are as
 * good, and the same every time), to private by the guest's ACCEPT.
 */
static void change_sides(struct conversion *c)
{
	const struct gmem_parts *parts = &c->change.parts;
	bool one = bug_planted(&c->file->host->bugs, BUG_ZEROED_IN_FIRST_PART_ONLY);
	bool zeroed = c->to_private || bug_planted(&c->file->host->bugs, BUG_SHARED_NOT_ZEROED);

	for (u64 i = 0; !zeroed && i < (one ? 1 : parts->nr); i++)
		gmem_folio_zero(&c->file->folios, parts->part[i].index,
				parts->part[i].index + parts->part[i].nr);
	gmem_attrs_commit(&c->file->attrs, c->plan.next);
	gmem_clients_changed(&c->change);
}

/* Everything is allocated that can be. */
static int convert_prepared(struct conversion *c, u64 *error_index)
{
	const struct bug_set *bugs = &c->file->host->bugs;
	bool changed = bug_planted(bugs, BUG_ATTRIBUTES_BEFORE_ZAP);
	bool ended = bug_planted(bugs, BUG_END_BEFORE_ATTRIBUTES);
	int err = c->to_private ? take_from_host(c, error_index) : 0;

	if (err)
		return err;
	gmem_clients_begin(&c->change);
	if (changed)
		change_sides(c);
	err = run_steps(c);
	if (ended)
		gmem_clients_end(&c->change);
	if (!err && !changed)
		change_sides(c);
	if (!ended)
		gmem_clients_end(&c->change);
	return err;
}

static int convert_planned(struct conversion *c, u64 *error_index)
{
	int err = gmem_plan_prepare(&c->plan);

	if (err)
		return err;
	err = find_limits(c);
	if (!err)
		err = convert_prepared(c, error_index);
	gmem_plan_done(&c->plan);
	return err;
}

static int convert_parts(struct conversion *c, u64 *error_index)
{
	struct gmem_file *file = c->file;
	int err;

	c->plan.next = gmem_attrs_prepare(&file->attrs, c->index, c->end - c->index, c->to_private);
	if (!c->plan.next)
		return -ENOMEM;
	err = convert_planned(c, error_index);
	if (err)
		gmem_attrs_abort(c->plan.next);
	return err;
}

/* invalidate_lock is held for writing, and the range has been checked. */
static int convert(struct gmem_file *file, u64 index, u64 nr, bool to_private, u64 *error_index)
{
	struct conversion c = {
		.file = file,
		.index = index,
		.end = index + nr,
		.to_private = to_private,
		.plan = {.f = &file->folios, .index = index, .end = index + nr},
	};
	int err;

	*error_index = index;
	gmem_change_init(&c.change, file, c.index, c.end);
	err = find_parts(&c);
	if (!err && c.change.parts.nr)
		err = convert_parts(&c, error_index);
	gmem_change_free(&c.change);
	return err;
}

static bool is_argument_good(const struct gmem_file *file, const struct gmem_set_attributes *arg)
{
	u64 reserved = 0;

	for (size_t i = 0; i < ARRAY_SIZE(arg->reserved); i++)
		reserved |= arg->reserved[i];
	return !arg->flags && !reserved && !(arg->attributes & ~GMEM_ATTRIBUTE_PRIVATE) &&
	       arg->size && arg->offset + arg->size > arg->offset &&
	       IS_ALIGNED(arg->offset | arg->size, PAGE_SIZE) &&
	       gmem_has_range(file, addr_to_fn(arg->offset), addr_to_fn(arg->size));
}

int gmem_set_attributes(struct gmem_file *file, struct gmem_set_attributes *arg)
{
	u64 error_index;
	int err;

	if (file->host->vm_memory_attributes)
		return -ENOTTY;
	sync_write_lock(&file->invalidate_lock);
	if (!is_argument_good(file, arg)) {
		sync_write_unlock(&file->invalidate_lock);
		return -EINVAL;
	}
	err = convert(file, addr_to_fn(arg->offset), addr_to_fn(arg->size),
		      arg->attributes & GMEM_ATTRIBUTE_PRIVATE, &error_index);
	sync_write_unlock(&file->invalidate_lock);
	if (err)
		arg->error_offset = fn_to_addr(error_index);
	return err;
}

int gmem_convert(struct gmem_file *file, u64 index, u64 nr, bool to_private)
{
	u64 error_index;
	int err = -EINVAL;

	sync_write_lock(&file->invalidate_lock);
	if (gmem_has_range(file, index, nr))
		err = convert(file, index, nr, to_private, &error_index);
	sync_write_unlock(&file->invalidate_lock);
	return err;
}
