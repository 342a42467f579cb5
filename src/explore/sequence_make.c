/* SPDX-License-Identifier: MIT */
/* Where sequences come from: a seed, or any bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "explore/sequence_impl.h"

static const char *const option_values[] = {
#define SEQUENCE_OPTION(sym, name, values) [sym] = values,
	SEQUENCE_OPTIONS
#undef SEQUENCE_OPTION
};

u32 seq_nr_values(enum sequence_option option)
{
	u32 nr = 1;

	for (const char *c = option_values[option]; *c; c++)
		nr += *c == ' ';
	return nr;
}

u32 seq_pages(const struct sequence *s)
{
	static const u32 blocks[] = {2, 3, 4, SEQ_MAX_BLOCKS};
	u32 pages = blocks[s->option[SEQ_BLOCKS]] * 512;

	return s->option[SEQ_TAIL] && s->option[SEQ_BACKING] < GMEM_HUGETLB_2M
		       ? pages + SEQ_TAIL_PAGES
		       : pages;
}

static int allocate(struct sequence *s, u32 nr)
{
	memset(s, 0, sizeof(*s));
	s->op = calloc(nr ? nr : 1, sizeof(*s->op));
	s->nr = nr;
	return s->op ? 0 : -ENOMEM;
}

void sequence_free(struct sequence *s)
{
	free(s->op);
	memset(s, 0, sizeof(*s));
}

/* ---- from a seed -----------------------------------------------------------------------------*/

/* Of a hundred: what happens often in a guest's life, and what is worth its time. */
static const u8 weights[SEQUENCE_KIND_COUNT] = {
	[SEQ_ACCEPT] = 10,     [SEQ_FILL] = 1,	    [SEQ_WRITE] = 14,	  [SEQ_READ] = 12,
	[SEQ_STRAY] = 2,       [SEQ_SHARE] = 6,	    [SEQ_UNSHARE] = 6,	  [SEQ_DISCARD] = 4,
	[SEQ_EXIT] = 3,	       [SEQ_CONVERT] = 6,   [SEQ_PUNCH] = 4,	  [SEQ_SPLIT] = 4,
	[SEQ_TRY_PROMOTE] = 6, [SEQ_ZAP] = 3,	    [SEQ_FAIL] = 1,	  [SEQ_PIN] = 3,
	[SEQ_UNPIN] = 4,       [SEQ_HOST_READ] = 2, [SEQ_HOST_WRITE] = 3, [SEQ_KICK] = 1,
	[SEQ_PAMT_GET] = 3,    [SEQ_PAMT_PUT] = 2,
};
/* These are rarer than one in a hundred. */
#define ONE_IN_TEARDOWN 400
#define ONE_IN_FILL 2
#define ONE_IN_RESTORE 24
/* Sequences in which things fail, and operations of those. */
#define ONE_IN_INJECTS 3
#define ONE_IN_FAILURE 5

static u8 random_kind(struct rng *rng)
{
	u64 n = rng_below(rng, 100);
	u8 kind = 0;

	if (!rng_below(rng, ONE_IN_TEARDOWN))
		return rng_below(rng, 2) ? SEQ_TEARDOWN : SEQ_CREATE;
	for (; n >= weights[kind]; kind++)
		n -= weights[kind];
	if (kind == SEQ_FILL && rng_below(rng, ONE_IN_FILL))
		return SEQ_WRITE;
	return kind;
}

/* Blocks' ends and middles, and a few neighbours: where ranges meet. */
static u16 random_page(struct rng *rng)
{
	static const u16 spots[] = {0, 1, 2, 3, 255, 256, 257, 300, 509, 510, 511, 511};
	u64 block = rng_below(rng, SEQ_MAX_BLOCKS + 1) * 512;

	if (!rng_below(rng, 4))
		return (u16)(block + rng_below(rng, 512));
	return (u16)(block + spots[rng_below(rng, ARRAY_SIZE(spots))]);
}

static u16 random_nr(struct rng *rng)
{
	u64 n = rng_below(rng, 16);

	if (n < 8)
		return 1;
	if (n < 13)
		return (u16)(2 + rng_below(rng, 3));
	if (n < 15)
		return (u16)(5 + rng_below(rng, 30));
	return (u16)(rng_below(rng, 2) ? 512 : 1 + rng_below(rng, 1100));
}

static void random_options(struct sequence *s, struct rng *rng)
{
	for (u32 i = 0; i < SEQUENCE_OPTION_COUNT; i++)
		s->option[i] = (u8)rng_below(rng, seq_nr_values((enum sequence_option)i));
	/* Without huge pages there is less to go wrong; with 1G there is more to do. */
	if (s->option[SEQ_MODULE] > 1 && rng_below(rng, 4))
		s->option[SEQ_MODULE] = 0;
	if (s->option[SEQ_PAGES] == 1 && rng_below(rng, 4))
		s->option[SEQ_PAGES] = 0;
	if (s->option[SEQ_BACKING] == GMEM_4K && rng_below(rng, 3))
		s->option[SEQ_BACKING] = GMEM_THP;
	if (s->option[SEQ_BACKING] == GMEM_HUGETLB_1G && rng_below(rng, 8))
		s->option[SEQ_BACKING] = GMEM_HUGETLB_2M;
}

static struct sequence_op random_op(u32 pages, struct rng *rng)
{
	return (struct sequence_op){
		.kind = random_kind(rng),
		.td = (u8)rng_below(rng, 2),
		.vcpu = (u8)rng_below(rng, 2),
		.level = rng_below(rng, 3) == 0,
		.private = (u8)rng_below(rng, 2),
		.page = (u16)(random_page(rng) % pages),
		.nr = random_nr(rng),
	};
}

/* A block becomes one huge page again: all private, empty, accepted whole. */
static u32 restore_block(struct sequence_op *op, u32 room, u32 pages, struct rng *rng)
{
	static const u8 kinds[] = {SEQ_UNSHARE, SEQ_DISCARD, SEQ_ACCEPT};
	u32 nr = room < ARRAY_SIZE(kinds) ? room : ARRAY_SIZE(kinds);
	struct sequence_op first = random_op(pages, rng);

	for (u32 i = 0; i < nr; i++) {
		op[i] = first;
		op[i].kind = kinds[i];
		op[i].level = 1;
		op[i].page = first.page & (u16)~511;
		op[i].nr = 512;
	}
	return nr;
}

static void random_failure(struct sequence_op *op, struct rng *rng)
{
	u8 n = (u8)(1 + rng_below(rng, 1 + rng_below(rng, 8)));

	if (rng_below(rng, 2))
		op->alloc = n;
	else
		op->busy = n;
}

int sequence_random(struct sequence *s, u64 seed, u32 nr)
{
	struct rng rng;
	bool injects;
	u32 pages;
	int err = allocate(s, nr);

	if (err)
		return err;
	rng_init(&rng, seed);
	random_options(s, &rng);
	pages = seq_pages(s);
	injects = !rng_below(&rng, ONE_IN_INJECTS);
	for (u32 i = 0; i < nr;) {
		if (!rng_below(&rng, ONE_IN_RESTORE)) {
			i += restore_block(&s->op[i], nr - i, pages, &rng);
			continue;
		}
		s->op[i] = random_op(pages, &rng);
		if (injects && !rng_below(&rng, ONE_IN_FAILURE))
			random_failure(&s->op[i], &rng);
		i++;
	}
	return 0;
}

/* ---- from bytes ------------------------------------------------------------------------------*/

/*
 * kind; td, vcpu, level, side, a failure; its number; page and nr in two bytes each. A byte that isn't
 * a kind is a read.
 */
static struct sequence_op decode(const u8 *b)
{
	struct sequence_op op = {
		.kind = b[0] < SEQUENCE_KIND_COUNT ? b[0] : SEQ_READ,
		.td = b[1] & 1,
		.vcpu = b[1] >> 1 & 1,
		.level = b[1] >> 2 & 1,
		.private = b[1] >> 3 & 1,
		.page = (u16)(b[3] | (b[4] & 0xF) << 8),
		.nr = (u16)(b[5] | (b[6] & 7) << 8),
	};

	if (b[1] >> 4 & 1)
		op.alloc = b[2] & 15;
	else
		op.busy = b[2] & 15;
	return op;
}

int sequence_from_bytes(struct sequence *s, const u8 *data, size_t size)
{
	size_t head = size < SEQUENCE_OPTION_COUNT ? size : SEQUENCE_OPTION_COUNT;
	int err = allocate(s, (u32)((size - head) / SEQUENCE_OP_BYTES));

	if (err)
		return err;
	for (u32 i = 0; i < head; i++)
		s->option[i] = (u8)(data[i] % seq_nr_values((enum sequence_option)i));
	for (u32 i = 0; i < s->nr; i++)
		s->op[i] = decode(data + head + i * SEQUENCE_OP_BYTES);
	return 0;
}
