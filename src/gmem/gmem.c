/* SPDX-License-Identifier: MIT */
/*
 * A guest memory file: which folio backs an index, who is bound to it, and what happens when a part
 * of it goes away.
 *
 * One word a 2M block says what backs the block:
 *
 *	empty ----> one 2M folio ----------------> empty
 *	  \                      (all punched)     ^
 *	   `------> table of 4K folios -------------'
 *
 * Words and table entries are published with release by an allocator that holds the block's
 * gmem.folio_lock, and read with acquire by everybody. They go away only under
 * gmem.invalidate_lock held for writing; a table that a reader may still look into is freed through
 * RCU.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/sync.h"
#include "gmem/attr.h"
#include "gmem/gmem.h"

#define BLOCK_PAGES PTRS_PER_TABLE
#define CHUNK_PAGES (BLOCK_PAGES * 512ULL) /* 1G: the unit in which empty parts are skipped */
#define NR_FOLIO_LOCKS 16

/* A folio in a word: FOLIO_PRESENT and its pfn. In a block's word, a clear bit means a table. */
#define FOLIO_PRESENT 1ULL

struct folio_table {
	u64 folio[BLOCK_PAGES]; /* 0: none */
	struct sync_rcu_head rcu;
};

struct gmem_binding {
	const struct gmem_client_ops *ops; /* NULL: nobody is bound */
	void *client;
	u64 index, nr;
};

struct gmem_file {
	struct host *host;
	u64 nr_pages;
	enum gmem_backing backing;
	struct sync_rwlock invalidate_lock;
	struct gmem_attrs attrs;
	struct gmem_binding binding;
	u64 frames;	/* atomic */
	u64 *block;	/* a word per 2M block; lazily mapped */
	u8 *chunk_used; /* per chunk: some block of it has had a folio; only ever set, atomic */
	/* By block number, so that vCPUs that fault in different blocks rarely meet. */
	struct sync_mutex folio_lock[NR_FOLIO_LOCKS];
};

static u64 nr_blocks(u64 nr_pages)
{
	return (nr_pages + BLOCK_PAGES - 1) / BLOCK_PAGES;
}

static u64 nr_chunks(u64 nr_pages)
{
	return (nr_pages + CHUNK_PAGES - 1) / CHUNK_PAGES;
}

static u64 folio_word(pfn_t pfn)
{
	return pfn << 1 | FOLIO_PRESENT;
}

static pfn_t folio_pfn(u64 word)
{
	return word >> 1;
}

static struct folio_table *word_table(u64 word)
{
	return (struct folio_table *)word;
}

/* A range that isn't empty and ends inside the file, without overflow. */
static bool is_in_file(const struct gmem_file *file, u64 index, u64 nr)
{
	return nr && nr <= file->nr_pages && index <= file->nr_pages - nr;
}

/* ---- life ------------------------------------------------------------------------------------*/
int gmem_create(struct host *host, u64 size, enum gmem_backing backing, struct gmem_file **out)
{
	struct gmem_file *file;
	u64 nr_pages = addr_to_fn(size);

	if (!size || !IS_ALIGNED(size, PAGE_SIZE))
		return -EINVAL;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->host = host;
	file->nr_pages = nr_pages;
	file->backing = backing;
	if (gmem_attrs_init(&file->attrs, nr_pages, true))
		goto free_file;
	file->chunk_used = calloc(nr_chunks(nr_pages), sizeof(*file->chunk_used));
	if (!file->chunk_used)
		goto free_attrs;
	file->block = mmap(NULL, nr_blocks(nr_pages) * sizeof(*file->block), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (file->block == MAP_FAILED)
		goto free_chunks;
	sync_rwlock_init(&file->invalidate_lock, LOCK_GMEM_INVALIDATE);
	for (u32 i = 0; i < NR_FOLIO_LOCKS; i++)
		sync_mutex_init(&file->folio_lock[i], LOCK_GMEM_FOLIO);
	*out = file;
	return 0;

free_chunks:
	free(file->chunk_used);
free_attrs:
	gmem_attrs_destroy(&file->attrs);
free_file:
	free(file);
	return -ENOMEM;
}

u64 gmem_size(const struct gmem_file *file)
{
	return fn_to_addr(file->nr_pages);
}

u64 gmem_frames(const struct gmem_file *file)
{
	return sync_load(&file->frames);
}

/* ---- folios ----------------------------------------------------------------------------------*/

/* Pairs with the releases of publish(). Inside an RCU section, or with a lock that stops punches. */
static bool lookup(const struct gmem_file *file, u64 index, pfn_t *pfn, enum pg_level *level)
{
	u64 word = sync_load_acquire(&file->block[index / BLOCK_PAGES]), folio;

	if (word & FOLIO_PRESENT) {
		*pfn = folio_pfn(word) + index % BLOCK_PAGES;
		*level = PG_LEVEL_2M;
		return true;
	}
	if (!word)
		return false;
	folio = sync_load_acquire(&word_table(word)->folio[index % BLOCK_PAGES]);
	if (!folio)
		return false;
	*pfn = folio_pfn(folio);
	*level = PG_LEVEL_4K;
	return true;
}

/* A reader that sees @value through its acquire in lookup() sees what it points to. */
static void publish(u64 *word, u64 value)
{
	sync_store_release(word, value);
}

static void account(struct gmem_file *file, u64 index, enum pg_level level)
{
	sync_store(&file->chunk_used[index / CHUNK_PAGES], 1);
	sync_fetch_add(&file->frames, pages_per_level(level));
}

enum pg_level gmem_folio_level(struct gmem_file *file, u64 index)
{
	enum pg_level level = PG_LEVEL_NONE;
	pfn_t pfn;

	if (index >= file->nr_pages)
		return PG_LEVEL_NONE;
	sync_rcu_read_lock();
	if (!lookup(file, index, &pfn, &level))
		level = PG_LEVEL_NONE;
	sync_rcu_read_unlock();
	return level;
}

static bool may_be_huge(const struct gmem_file *file, u64 index)
{
	return file->backing == GMEM_THP &&
	       fn_align_down(index, PG_LEVEL_2M) + BLOCK_PAGES <= file->nr_pages;
}

/*
 * A new folio holds what its frames held. Private pages are zeroed by the guest's ACCEPT, or when
 * they become shared; those of [@index, @end) that are shared already have to be zeroed now.
 * Attributes don't change: invalidate_lock is held for reading.
 */
static void zero_shared(struct gmem_file *file, u64 index, u64 end, pfn_t pfn)
{
	for (u64 at = index, run_end; at < end; at = run_end) {
		run_end = gmem_attrs_run_end(&file->attrs, at, end);
		if (gmem_attrs_is_private(&file->attrs, at))
			continue;
		for (u64 i = at; i < run_end; i++)
			host_zero(file->host, pfn + (i - index), PG_LEVEL_4K, 0);
	}
}

static int allocate_small(struct gmem_file *file, u64 index, pfn_t *pfn)
{
	u64 *block = &file->block[index / BLOCK_PAGES];
	struct folio_table *table = word_table(sync_load(block));
	int err = host_alloc(file->host, PG_LEVEL_4K, FRAME_GUEST, pfn);

	if (err)
		return err;
	if (!table) {
		table = calloc(1, sizeof(*table));
		if (!table) {
			host_free(file->host, *pfn, PG_LEVEL_4K, FRAME_GUEST);
			return -ENOMEM;
		}
		publish(block, (u64)table);
	}
	zero_shared(file, index, index + 1, *pfn);
	account(file, index, PG_LEVEL_4K);
	publish(&table->folio[index % BLOCK_PAGES], folio_word(*pfn));
	return 0;
}

/* The block's folio_lock is held, and @index has no folio. */
static int allocate(struct gmem_file *file, u64 index, pfn_t *pfn, enum pg_level *level)
{
	u64 *block = &file->block[index / BLOCK_PAGES];
	pfn_t first;

	if (!sync_load(block) && may_be_huge(file, index) &&
	    !host_alloc(file->host, PG_LEVEL_2M, FRAME_GUEST, &first)) {
		u64 start = fn_align_down(index, PG_LEVEL_2M);

		zero_shared(file, start, start + BLOCK_PAGES, first);
		account(file, index, PG_LEVEL_2M);
		publish(block, folio_word(first));
		*pfn = first + index % BLOCK_PAGES;
		*level = PG_LEVEL_2M;
		return 0;
	}
	*level = PG_LEVEL_4K;
	return allocate_small(file, index, pfn);
}

int gmem_get_pfn(struct gmem_file *file, u64 index, pfn_t *pfn, enum pg_level *level)
{
	struct sync_mutex *lock;
	bool found;
	int err = 0;

	if (index >= file->nr_pages)
		return -EINVAL;
	sync_rcu_read_lock();
	found = lookup(file, index, pfn, level);
	sync_rcu_read_unlock();
	if (likely(found))
		return 0;

	lock = &file->folio_lock[index / BLOCK_PAGES % NR_FOLIO_LOCKS];
	/* Without this a folio could be born across the end of a hole that is being punched. */
	sync_read_lock(&file->invalidate_lock);
	sync_mutex_lock(lock);
	if (!lookup(file, index, pfn, level))
		err = allocate(file, index, pfn, level);
	sync_mutex_unlock(lock);
	sync_read_unlock(&file->invalidate_lock);
	return err;
}

/* ---- taking folios away: invalidate_lock held for writing, or nobody else is left --------------*/
static void table_free_rcu(struct sync_rcu_head *head)
{
	free(container_of(head, struct folio_table, rcu));
}

static void drop_huge(struct gmem_file *file, u64 *block)
{
	pfn_t pfn = folio_pfn(sync_load(block));

	sync_store(block, 0);
	host_free(file->host, pfn, PG_LEVEL_2M, FRAME_GUEST);
	sync_fetch_sub(&file->frames, BLOCK_PAGES);
}

static void drop_small(struct gmem_file *file, struct folio_table *table, u64 first, u64 last)
{
	for (u64 i = first; i <= last; i++) {
		u64 folio = sync_load(&table->folio[i]);

		if (!folio)
			continue;
		sync_store(&table->folio[i], 0);
		host_free(file->host, folio_pfn(folio), PG_LEVEL_4K, FRAME_GUEST);
		sync_fetch_sub(&file->frames, 1);
	}
}

static bool is_whole_block(u64 index, u64 end)
{
	return index % BLOCK_PAGES == 0 && end % BLOCK_PAGES == 0;
}

/* Pages [@index, @end) of the 2M folio in @word: all of it at once, since a tag is kept for 2M. */
static void zero_in_huge(struct gmem_file *file, u64 word, u64 index, u64 end)
{
	pfn_t first = folio_pfn(word);

	if (is_whole_block(index, end)) {
		host_zero(file->host, first, PG_LEVEL_2M, 0);
		return;
	}
	for (; index < end; index++)
		host_zero(file->host, first + index % BLOCK_PAGES, PG_LEVEL_4K, 0);
}

/* Both act on the part [@index, @end) of one block, whose word isn't empty. */
static void zero_in_block(struct gmem_file *file, u64 index, u64 end)
{
	u64 word = sync_load(&file->block[index / BLOCK_PAGES]);

	if (word & FOLIO_PRESENT) {
		zero_in_huge(file, word, index, end);
		return;
	}
	for (; index < end; index++) {
		u64 folio = sync_load(&word_table(word)->folio[index % BLOCK_PAGES]);

		if (folio)
			host_zero(file->host, folio_pfn(folio), PG_LEVEL_4K, 0);
	}
}

static void drop_in_block(struct gmem_file *file, u64 index, u64 end)
{
	u64 *block = &file->block[index / BLOCK_PAGES];
	u64 word = sync_load(block);

	if (word & FOLIO_PRESENT) {
		if (is_whole_block(index, end))
			drop_huge(file, block);
		else
			zero_in_huge(file, word, index, end);
		return;
	}
	drop_small(file, word_table(word), index % BLOCK_PAGES, (end - 1) % BLOCK_PAGES);
	/* Without its table the block may get a 2M folio when it is used again. */
	if (index % BLOCK_PAGES == 0 && (end % BLOCK_PAGES == 0 || end == file->nr_pages)) {
		sync_store(block, 0);
		sync_rcu_call(&word_table(word)->rcu, table_free_rcu);
	}
}

/* Calls @fn for the part of each block in use that lies in [@index, @end). */
static void for_each_block(struct gmem_file *file, u64 index, u64 end,
			   void (*fn)(struct gmem_file *file, u64 index, u64 end))
{
	u64 next;

	for (; index < end; index = next) {
		if (!sync_load(&file->chunk_used[index / CHUNK_PAGES])) {
			next = ALIGN_DOWN(index, CHUNK_PAGES) + CHUNK_PAGES;
			continue;
		}
		next = min_u64(fn_align_down(index, PG_LEVEL_2M) + BLOCK_PAGES, end);
		if (sync_load(&file->block[index / BLOCK_PAGES]))
			fn(file, index, next);
	}
}

/* ---- holes -----------------------------------------------------------------------------------*/

/* The part of [@index, @index + @nr) that somebody is bound to; NULL if there is none. */
static const struct gmem_binding *binding_of(const struct gmem_file *file, u64 *index, u64 *nr)
{
	const struct gmem_binding *b = &file->binding;
	u64 start = max_u64(*index, b->index), end = min_u64(*index + *nr, b->index + b->nr);

	if (!b->ops || start >= end)
		return NULL;
	*index = start;
	*nr = end - start;
	return b;
}

/* The clients' side of a hole: mappings are gone when this returns 0. */
static int unmap_clients(const struct gmem_binding *b, u64 index, u64 nr)
{
	int err = b->ops->prepare(b->client, index, nr);

	if (!err)
		b->ops->commit(b->client, index, nr);
	return err;
}

int gmem_punch_hole(struct gmem_file *file, u64 index, u64 nr)
{
	const struct gmem_binding *b;
	u64 at = index, count = nr;
	int err = 0;

	if (!is_in_file(file, index, nr))
		return -EINVAL;
	sync_write_lock(&file->invalidate_lock);
	b = binding_of(file, &at, &count);
	if (b) {
		b->ops->begin(b->client, at, count);
		err = unmap_clients(b, at, count);
	}
	if (!err)
		for_each_block(file, index, index + nr, drop_in_block);
	if (b)
		b->ops->end(b->client, at, count);
	sync_write_unlock(&file->invalidate_lock);
	return err;
}

/* ---- conversion ------------------------------------------------------------------------------*/
struct conversion {
	struct gmem_file *file;
	u64 index, end;
	bool to_private;
	struct gmem_attr_set *next; /* the attributes as they will be */
};

/* The next run at @*at or after that changes sides; false if there is none. */
static bool next_run(const struct conversion *c, u64 *at, u64 *run_end)
{
	struct gmem_attrs *attrs = &c->file->attrs;

	for (; *at < c->end; *at = *run_end) {
		*run_end = gmem_attrs_run_end(attrs, *at, c->end);
		if (gmem_attrs_is_private(attrs, *at) != c->to_private)
			return true;
	}
	return false;
}

static int prepare_runs(const struct conversion *c)
{
	int err = 0;

	for (u64 at = c->index, end; !err && next_run(c, &at, &end); at = end) {
		u64 index = at, nr = end - at;
		const struct gmem_binding *b = binding_of(c->file, &index, &nr);

		if (b)
			err = b->ops->prepare(b->client, index, nr);
	}
	return err;
}

/*
 * From here on nothing fails. What the pages held must not show on the other side: to shared they
 * are zeroed here (hardware leaves what the other key makes of the bytes; zeros are as good, and
 * the same every time), to private by the guest's ACCEPT.
 */
static void commit_runs(const struct conversion *c)
{
	for (u64 at = c->index, end; next_run(c, &at, &end); at = end) {
		u64 index = at, nr = end - at;
		const struct gmem_binding *b = binding_of(c->file, &index, &nr);

		if (b)
			b->ops->commit(b->client, index, nr);
		if (!c->to_private)
			for_each_block(c->file, at, end, zero_in_block);
	}
	gmem_attrs_commit(&c->file->attrs, c->next);
}

static int convert(const struct conversion *c)
{
	u64 index = c->index, nr = c->end - c->index;
	const struct gmem_binding *b = binding_of(c->file, &index, &nr);
	int err;

	if (b)
		b->ops->begin(b->client, index, nr);
	err = prepare_runs(c);
	if (err)
		gmem_attrs_abort(c->next);
	else
		commit_runs(c);
	if (b)
		b->ops->end(b->client, index, nr);
	return err;
}

/* Before the point of no return, and before any client hears of it. */
static struct gmem_attr_set *prepare_attrs(struct gmem_file *file, u64 index, u64 nr, bool private)
{
	if (host_alloc_fails(file->host))
		return NULL;
	return gmem_attrs_prepare(&file->attrs, index, nr, private);
}

int gmem_convert(struct gmem_file *file, u64 index, u64 nr, bool to_private)
{
	struct conversion c = {
		.file = file, .index = index, .end = index + nr, .to_private = to_private};
	u64 at = index, run_end;
	int err = 0;

	if (!is_in_file(file, index, nr))
		return -EINVAL;
	sync_write_lock(&file->invalidate_lock);
	if (next_run(&c, &at, &run_end)) {
		c.next = prepare_attrs(file, index, nr, to_private);
		err = c.next ? convert(&c) : -ENOMEM;
	}
	sync_write_unlock(&file->invalidate_lock);
	return err;
}

void gmem_destroy(struct gmem_file *file)
{
	for_each_block(file, 0, file->nr_pages, drop_in_block);
	for (u32 i = 0; i < NR_FOLIO_LOCKS; i++)
		sync_mutex_destroy(&file->folio_lock[i]);
	sync_rwlock_destroy(&file->invalidate_lock);
	munmap(file->block, nr_blocks(file->nr_pages) * sizeof(*file->block));
	free(file->chunk_used);
	gmem_attrs_destroy(&file->attrs);
	free(file);
}

/* ---- bindings and attributes -----------------------------------------------------------------*/
int gmem_bind(struct gmem_file *file, u64 index, u64 nr, const struct gmem_client_ops *ops,
	      void *client)
{
	int err = -EBUSY;

	if (!is_in_file(file, index, nr))
		return -EINVAL;
	sync_write_lock(&file->invalidate_lock);
	if (!file->binding.ops) {
		file->binding = (struct gmem_binding){
			.ops = ops, .client = client, .index = index, .nr = nr};
		err = 0;
	}
	sync_write_unlock(&file->invalidate_lock);
	return err;
}

void gmem_unbind(struct gmem_file *file, void *client)
{
	sync_write_lock(&file->invalidate_lock);
	if (file->binding.ops && file->binding.client == client)
		file->binding = (struct gmem_binding){0};
	sync_write_unlock(&file->invalidate_lock);
}

bool gmem_is_private(struct gmem_file *file, u64 index)
{
	return index < file->nr_pages && gmem_attrs_is_private(&file->attrs, index);
}

bool gmem_is_uniform(struct gmem_file *file, u64 index, u64 nr)
{
	return is_in_file(file, index, nr) && gmem_attrs_is_uniform(&file->attrs, index, nr);
}

u64 gmem_nr_ranges(struct gmem_file *file)
{
	return gmem_attrs_nr_ranges(&file->attrs);
}

int gmem_set_private(struct gmem_file *file, u64 index, u64 nr, bool private)
{
	struct gmem_attr_set *next;
	int err = 0;

	if (!is_in_file(file, index, nr))
		return -EINVAL;
	sync_write_lock(&file->invalidate_lock);
	if (file->binding.ops) {
		err = -EBUSY;
	} else {
		next = prepare_attrs(file, index, nr, private);
		if (next)
			gmem_attrs_commit(&file->attrs, next);
		else
			err = -ENOMEM;
	}
	sync_write_unlock(&file->invalidate_lock);
	return err;
}
