/* SPDX-License-Identifier: MIT */
/* What memory files hold, each counted once however many slots it stands behind; and their pools. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "check/internal.h"
#include "gmem/internal.h"
#include "vm/internal.h"

struct file_list {
	struct gmem_file **file;
	u32 nr;
};

static void add_file(struct file_list *list, struct gmem_file *file)
{
	for (u32 i = 0; i < list->nr; i++)
		if (list->file[i] == file)
			return;
	list->file[list->nr++] = file;
}

static int collect(struct file_list *list, struct vm *const *vms, u32 nr_vms)
{
	u32 nr_slots = 0;

	for (u32 i = 0; i < nr_vms; i++)
		nr_slots += vms[i]->nr_slots;
	list->file = calloc(2 * nr_slots + 1, sizeof(struct gmem_file *));
	if (!list->file)
		return -ENOMEM;
	for (u32 i = 0; i < nr_vms; i++)
		for (u32 s = 0; s < vms[i]->nr_slots; s++) {
			add_file(list, vms[i]->slots[s].file);
			add_file(list, vms[i]->slots[s].shared);
		}
	return 0;
}

/* The pool of file number @nr, unless an earlier file has it, too. */
static struct hugetlb_pool *new_pool(const struct file_list *list, u32 nr)
{
	struct hugetlb_pool *pool = list->file[nr]->cfg.pool;

	for (u32 i = 0; i < nr; i++)
		if (list->file[i]->cfg.pool == pool)
			return NULL;
	return pool;
}

/* Descriptor pages that aren't saved now, of a pool that saves them; 64 descriptors a page. */
static u64 vmemmap_frames(const struct hugetlb_stats *s)
{
	u64 all = s->total * (pages_per_level(s->level) / 64 - 1);

	if (!s->vmemmap_saved_bytes && !s->vmemmap_restored)
		return 0;
	return all - s->vmemmap_saved_bytes / PAGE_SIZE;
}

static int check_pool(struct check *c, const struct file_list *list, struct hugetlb_pool *pool)
{
	struct hugetlb_stats s = hugetlb_stats(pool);
	u64 held = 0, in_use = s.total - s.free - s.broken;

	for (u32 i = 0; i < list->nr; i++)
		if (list->file[i]->cfg.pool == pool)
			held += gmem_stats(list->file[i]).huge_pages;
	c->frames[FRAME_HUGETLB] += s.free * pages_per_level(s.level);
	c->frames[FRAME_VMEMMAP] += vmemmap_frames(&s);
	if (s.free + s.broken > s.total || s.reserved > s.free)
		return check_broken(c, 9,
				    "a pool of %" PRIu64 " pages has %" PRIu64 " free, %" PRIu64
				    " reserved and %" PRIu64 " broken",
				    s.total, s.free, s.reserved, s.broken);
	if (held != in_use)
		return check_broken(c, 9,
				    "%" PRIu64
				    " pages of a pool are in use, but files hold %" PRIu64,
				    in_use, held);
	return 0;
}

int check_files(struct check *c, struct vm *const *vms, u32 nr_vms)
{
	struct file_list list = {0};
	int broken = collect(&list, vms, nr_vms);

	for (u32 i = 0; i < list.nr && !broken; i++) {
		struct hugetlb_pool *pool = new_pool(&list, i);

		c->frames[FRAME_GUEST] += gmem_frames(list.file[i]);
		if (pool)
			broken = check_pool(c, &list, pool);
	}
	free(list.file);
	return broken;
}
