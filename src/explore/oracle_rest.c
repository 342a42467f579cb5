/* SPDX-License-Identifier: MIT */
/* What holds when nothing runs, and when all is gone. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "check/invariants.h"
#include "explore/world.h"
#include "seam/sept.h"
#include "tdx/internal.h"
#include "vm/internal.h"

/* ---- bytes -----------------------------------------------------------------------------------*/

/* The first word of a private page as its guest would read it; false: there is none to read. */
static bool private_word(const struct world *w, const struct world_td *td, gfn_t gfn, u64 *word)
{
	enum pg_level level;
	u64 entry = oracle_sept(w, td, gfn, &level);
	pfn_t first = addr_to_fn(ALIGN_DOWN(sept_hpa(entry), level_size(level)));
	pfn_t pfn = first + (gfn & (pages_per_level(level) - 1));

	return sept_state_of(entry)->id == SEPT_MAPPED &&
	       !host_read(w->m.host, fn_to_addr(pfn), td_hkid(vm_td(td->vm)), word, 1);
}

static bool shared_word(const struct world *w, const struct world_td *td, gfn_t gfn, u64 *word)
{
	struct gmem_file *file = vm_file(td->vm);
	enum pg_level level;
	pfn_t pfn;

	*word = 0;
	if (gmem_folio_level(file, gfn) == PG_LEVEL_NONE)
		return true;
	return !gmem_get_pfn(file, gfn, &pfn, &level) &&
	       !host_read(w->m.host, fn_to_addr(pfn), 0, word, 1);
}

static void check_bytes(struct world *w, const struct world_td *td, struct oracle_run *r)
{
	u64 word = 0;
	bool there =
		r->private ? private_word(w, td, r->gfn, &word) : shared_word(w, td, r->gfn, &word);

	if (r->private && there != r->accepted)
		oracle_fail(w, ORACLE_ACCEPTED, "TD %s: at the end gfn 0x%" PRIx64 " %s accepted",
			    td->program->name, r->gfn, there ? "is" : "isn't");
	if (there && !oracle_find_value(w, r, word))
		oracle_fail(w, ORACLE_BYTES,
			    "TD %s: at the end gfn 0x%" PRIx64 " holds 0x%" PRIx64
			    ", not 0x%" PRIx64,
			    td->program->name, r->gfn, word, r->value);
}

/* A folio of 4K in a huge page whose 2M block is private: a conversion has failed, or has been undone. */
static bool is_apart_in_vain(struct gmem_file *file, gfn_t gfn)
{
	gfn_t first = fn_align_down(gfn, PG_LEVEL_2M);

	return gmem_folio_level(file, gfn) == PG_LEVEL_4K &&
	       gmem_leaf_level(file, gfn) > PG_LEVEL_4K && gmem_is_private(file, gfn) &&
	       gmem_is_uniform(file, first, pages_per_level(PG_LEVEL_2M));
}

static void check_td(struct world *w, const struct world_td *td)
{
	struct gmem_file *file = vm_file(td->vm);

	for (u32 i = 0; i < td->nr_runs; i++) {
		struct oracle_run *r = &td->run[i];

		if (gmem_is_private(file, r->gfn) != r->private ||
		    !gmem_is_uniform(file, r->gfn, r->nr))
			oracle_fail(w, ORACLE_ATTRIBUTE,
				    "TD %s: at the end not all of gfns 0x%" PRIx64 " to 0x%" PRIx64
				    " are %s",
				    td->program->name, r->gfn, r->gfn + r->nr - 1,
				    r->private ? "private" : "shared");
		if (is_apart_in_vain(file, r->gfn))
			oracle_fail(w, ORACLE_HALF_DONE,
				    "TD %s: at the end the folio of gfn 0x%" PRIx64
				    " is apart, and no page of it is shared",
				    td->program->name, r->gfn);
		if (r->named && !r->failed)
			check_bytes(w, td, r);
	}
}

/* ---- the machine -----------------------------------------------------------------------------*/
static void put_held(struct world *w)
{
	for (u32 i = 0; w->has_pamt_range && i < PROGRAM_PAMT_PAGES; i++) {
		if (w->held[i])
			tdx_pamt_put(w->m.tdx, w->pamt_range + i);
		w->held[i] = false;
	}
}

static void unpin(struct world_td *td)
{
	for (u32 i = 0; td->vm && i < td->nr_runs; i++) {
		struct oracle_run *r = &td->run[i];

		for (u32 a = 0; a < ARRAY_SIZE(r->pins); a++)
			while (r->pins[a]) {
				gmem_unpin(vm_file(td->vm), r->gfn);
				r->pins[a]--;
			}
	}
}

/* The survivors are to be found as if the dead had never been. */
static void end_dead(struct world *w)
{
	for (u32 i = 0; i < w->program->nr_tds; i++)
		if (w->td[i].vm && w->td[i].dead)
			world_end_td(w, i);
	sync_rcu_barrier();
}

static bool has_pool(const struct world *w)
{
	for (u32 i = 0; i < w->program->nr_tds; i++)
		if (w->td[i].pool)
			return true;
	return false;
}

void oracle_at_rest(struct world *w)
{
	struct vm *vms[PROGRAM_MAX_TDS];
	char why[300] = "";
	struct sched *s;
	u32 nr = 0;

	put_held(w);
	for (u32 i = 0; i < w->program->nr_tds; i++)
		unpin(&w->td[i]);
	/* Tables that promotions took out; check_vms() would wait for them in vain while we look on. */
	sync_rcu_barrier();
	s = oracle_pause();
	for (u32 i = 0; i < w->program->nr_tds; i++) {
		struct world_td *td = &w->td[i];

		if (!td->vm || oracle_td_died(w, td))
			continue;
		vms[nr++] = td->vm;
		check_td(w, td);
	}
	w->out->final_state = oracle_hash(w);
	oracle_resume(s);
	end_dead(w);
	s = oracle_pause();
	/* What is a pool's is found by the files of those that live. */
	if (!w->may_keep && (nr || !has_pool(w)) && check_vms(&w->m, vms, nr, why, sizeof(why)))
		oracle_fail(w, ORACLE_INVARIANT, "%s", why);
	oracle_resume(s);
}

void oracle_all_gone(struct world *w)
{
	struct sched *s = oracle_pause();
	/* Memory that has failed is nobody's. */
	u64 frames = host_frames_used(w->m.host) - sync_load(&w->m.host->used[FRAME_FAILED]);

	oracle_written_back(w);
	if (!w->may_keep && seam_pamt_in_use(w->m.seam))
		oracle_fail(w, ORACLE_LEAK, "the module still has %" PRIu64 " pages",
			    seam_pamt_in_use(w->m.seam));
	if (!w->may_keep && frames != w->frames_before)
		oracle_fail(w, ORACLE_LEAK, "%" PRId64 " frames weren't given back",
			    (s64)(frames - w->frames_before));
	if (!w->may_keep && tdx_dpamt_pages(w->m.tdx))
		oracle_fail(w, ORACLE_LEAK, "%" PRIu64 " pages are still Dynamic PAMT pairs",
			    tdx_dpamt_pages(w->m.tdx));
	oracle_resume(s);
}

/* ---- hash ------------------------------------------------------------------------------------*/
static u64 fold(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
	return hash ^ hash >> 29;
}

static u64 hash_run(const struct world *w, const struct world_td *td, const struct oracle_run *r,
		    u64 hash)
{
	enum pg_level level;
	u64 entry = oracle_sept(w, td, r->gfn, &level);

	hash = fold(hash, r->private | (u64)r->accepted << 1 | (u64)r->failed << 2 |
				  (u64)r->accept_seen << 3 | (u64)r->accepting << 4 |
				  (u64)r->removing << 12 | (u64)r->to_private << 20 |
				  (u64)r->to_shared << 28 | (u64)level << 36 |
				  (u64)sept_state_of(entry)->id << 40 | (u64)r->lost << 48);
	hash = fold(hash, r->value);
	for (u32 i = 0; i < r->nr_alt; i++)
		hash = fold(hash, r->alt[i]);
	hash = fold(hash, mmu_slot_test_guest_inhibit(vm_slot(td->vm), r->gfn, PG_LEVEL_2M));
	return fold(hash, sync_load_quiet(&td->view[r - td->run]));
}

u64 oracle_hash(const struct world *w)
{
	u64 hash = 1;

	for (u32 i = 0; i < w->program->nr_tds; i++) {
		const struct world_td *td = &w->td[i];

		hash = fold(hash, (u64) !!td->vm | (u64)td->dying << 1 | (u64)td->dead << 2);
		for (u32 r = 0; td->vm && !td->dying && r < td->nr_runs; r++)
			hash = hash_run(w, td, &td->run[r], hash);
	}
	for (u32 i = 0; i <= w->program->nr_threads; i++) {
		const struct world_actor *a = &w->actor[i];

		hash = fold(hash, a->op ? a->op->line : 0);
		hash = fold(hash, a->guest.pc);
	}
	return hash;
}
