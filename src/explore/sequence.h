/* SPDX-License-Identifier: MIT */
/*
 * explore/sequence: long sequences of operations, one after another, against a flat specification.
 * Where explore_execute() tries every order of a few operations, this tries many operations in the
 * order that stands: tens of thousands a second, each held against what it may answer and against the
 * pages that it touched; now and then all pages, and the invariants of src/check.
 *
 * The specification knows an entry a page of a file (side, bytes, accepted, failed, holders, the level
 * that is allowed) and no more. As nobody else runs, every answer is known beforehand, but for what an
 * injected failure makes of it: then the operation has either been done or changed nothing.
 *
 * Every operation is right in every state: what it comes to, the specification says. So any subset of a
 * sequence is a sequence, which is what makes them short (sequence_shrink()).
 *
 * As text, in one line: what the machine is made of where it isn't the default, a colon, operations
 * between semicolons, each with its failures. Pages count in 4K.
 *
 *	tds=2 promote=now: a.0 accept 0x200 2m; a split 0x210 1 alloc=2; b.1 share 0x3ff 2; b teardown
 */
#ifndef EXPLORE_SEQUENCE_H
#define EXPLORE_SEQUENCE_H

#include "base/bug.h"
#include "base/rng.h"
#include "base/types.h"

/* SEQUENCE_OPTION(symbol, name, values, the default first) */
#define SEQUENCE_OPTIONS                                                                           \
	SEQUENCE_OPTION(SEQ_TDS, "tds", "1 2")                                                     \
	SEQUENCE_OPTION(SEQ_VCPUS, "vcpus", "1 2")                                                 \
	SEQUENCE_OPTION(SEQ_BLOCKS, "blocks", "2 3 4 6")                                           \
	/* pages after the last whole block; not with a pool */                                    \
	SEQUENCE_OPTION(SEQ_TAIL, "tail", "0 100")                                                 \
	SEQUENCE_OPTION(SEQ_FILE, "file", "own one")                                               \
	SEQUENCE_OPTION(SEQ_BACKING, "backing", "thp 4k hugetlb-2m hugetlb-1g")                    \
	SEQUENCE_OPTION(SEQ_PAGES, "pages", "2m 4k 1g")                                            \
	SEQUENCE_OPTION(SEQ_MODULE, "module", "1.5.28 next 1.5.25 1.5.05")                         \
	SEQUENCE_OPTION(SEQ_DPAMT, "dpamt", "on off")                                              \
	SEQUENCE_OPTION(SEQ_PROMOTE, "promote", "off now")                                         \
	SEQUENCE_OPTION(SEQ_ACCEPT_MODE, "accept", "lazy touch")                                   \
	SEQUENCE_OPTION(SEQ_SPLIT_RANGE, "split-range", "ends walk two-walks")                     \
	SEQUENCE_OPTION(SEQ_SPLIT_METADATA, "split-metadata", "page vm-cache prealloc")            \
	SEQUENCE_OPTION(SEQ_DEMOTE_LOCK, "demote-lock", "always retry")                            \
	SEQUENCE_OPTION(SEQ_MAPPING_CHECK, "mapping-check", "mmu tdx trust")                       \
	SEQUENCE_OPTION(SEQ_FOLIO_SPLIT, "folio-split", "nonuniform uniform")                      \
	SEQUENCE_OPTION(SEQ_FOLIO_REFS, "folio-refs", "split counted")                             \
	SEQUENCE_OPTION(SEQ_RESTRUCTURE, "restructure", "prealloc late")                           \
	SEQUENCE_OPTION(SEQ_MAPPING_FORM, "mapping-form", "original folio")                        \
	/* where folios can't fail to split: original, prealloc */                                 \
	SEQUENCE_OPTION(SEQ_CONVERT_ORDER, "convert-order", "split-folio-zap zap-folio folio-zap") \
	SEQUENCE_OPTION(SEQ_VMEMMAP, "vmemmap", "off on")

enum sequence_option {
#define SEQUENCE_OPTION(sym, name, values) sym,
	SEQUENCE_OPTIONS
#undef SEQUENCE_OPTION
		SEQUENCE_OPTION_COUNT,
};

/*
 * SEQUENCE_OP(symbol, word, who, arguments): who is G for a guest's (a.0), H for the host's of a TD (a).
 * Arguments: p a page, n a number of pages, or a number, l a level (4k 2m), s a side.
 * A guest's operations that follow each other on one vCPU are done in one run of it.
 */
#define SEQUENCE_OPS                                                                               \
	SEQUENCE_OP(SEQ_ACCEPT, "accept", G, "pl")                                                 \
	SEQUENCE_OP(SEQ_FILL, "fill", G, "p") /* ACCEPT at 4K of all that is left of a block */    \
	SEQUENCE_OP(SEQ_WRITE, "write", G, "p")                                                    \
	SEQUENCE_OP(SEQ_READ, "read", G, "p")                                                      \
	SEQUENCE_OP(SEQ_STRAY, "stray", G, "p") /* an access as what the page isn't */             \
	SEQUENCE_OP(SEQ_SHARE, "share", G, "pn")                                                   \
	SEQUENCE_OP(SEQ_UNSHARE, "unshare", G, "pn")                                               \
	SEQUENCE_OP(SEQ_DISCARD, "discard", G, "pn")                                               \
	SEQUENCE_OP(SEQ_EXIT, "exit", G, "") /* the run ends; the next operation begins another */ \
	SEQUENCE_OP(SEQ_CONVERT, "convert", H, "pns")                                              \
	SEQUENCE_OP(SEQ_PUNCH, "punch", H, "pn")                                                   \
	SEQUENCE_OP(SEQ_SPLIT, "split", H, "pn")	/* dirty tracking begins */                \
	SEQUENCE_OP(SEQ_TRY_PROMOTE, "promote", H, "p") /* of a block, once */                     \
	SEQUENCE_OP(SEQ_ZAP, "zap", H, "pn")		/* leaves go, the file keeps its memory */ \
	SEQUENCE_OP(SEQ_FAIL, "fail", H, "p")		/* memory failure; the first few count */  \
	SEQUENCE_OP(SEQ_PIN, "pin", H, "p")                                                        \
	SEQUENCE_OP(SEQ_UNPIN, "unpin", H, "p")                                                    \
	SEQUENCE_OP(SEQ_HOST_READ, "host-read", H, "p")                                            \
	SEQUENCE_OP(SEQ_HOST_WRITE, "host-write", H, "p")                                          \
	SEQUENCE_OP(SEQ_KICK, "kick", H, "")                                                       \
	/* Dynamic PAMT reference of page n of a 2M range that nobody else uses */                 \
	SEQUENCE_OP(SEQ_PAMT_GET, "pamt-get", H, "n")                                              \
	SEQUENCE_OP(SEQ_PAMT_PUT, "pamt-put", H, "n")                                              \
	SEQUENCE_OP(SEQ_TEARDOWN, "teardown", H, "")                                               \
	SEQUENCE_OP(SEQ_CREATE, "create", H, "")                                                   \
	SEQUENCE_OP(SEQ_CHECK, "check", H, "") /* all pages, and the invariants */

enum sequence_kind {
#define SEQUENCE_OP(sym, word, who, args) sym,
	SEQUENCE_OPS
#undef SEQUENCE_OP
		SEQUENCE_KIND_COUNT,
};

/* Numbers beyond what the machine has stand for others: any bytes are an operation. */
struct sequence_op {
	u8 kind, td, vcpu;
	u8 level;   /* 0: 4K, 1: 2M */
	u8 private; /* convert: to that side */
	u8 alloc;   /* the n-th allocation that it makes fails (checking builds); 0: none */
	u8 busy;    /* the n-th SEAMCALL on memory or PAMT that it makes finds BUSY; 0: none */
	u16 page, nr;
};

struct sequence {
	u8 option[SEQUENCE_OPTION_COUNT]; /* index of the value */
	struct sequence_op *op;
	u32 nr;
};

struct sequence_outcome {
	bool failed;
	u32 at; /* operation in which it failed; sequence->nr: at the end */
	u64 operations;
	char text[512];
};

struct sequence_machine;

/** sequence_machine_create - what runs of sequences share; NULL: no memory */
struct sequence_machine *sequence_machine_create(void);
void sequence_machine_destroy(struct sequence_machine *m);
/**
 * sequence_run - do @s on a machine of its own, from an empty host to an empty host
 *
 * What crashes crashes the caller.
 * Return: 0 with @out filled; -ENOMEM.
 */
int sequence_run(struct sequence_machine *m, const struct sequence *s, const struct bug_set *bugs,
		 struct sequence_outcome *out);

/* ---- making sequences ------------------------------------------------------------------------*/
/** sequence_random - @nr operations from @seed: the same everywhere. Return: 0 or -ENOMEM */
int sequence_random(struct sequence *s, u64 seed, u32 nr);
/** sequence_from_bytes - any bytes are one: options, then operations of SEQUENCE_OP_BYTES each */
int sequence_from_bytes(struct sequence *s, const u8 *data, size_t size);
#define SEQUENCE_OP_BYTES 7
void sequence_free(struct sequence *s);

/* ---- text ------------------------------------------------------------------------------------*/
/** sequence_print - as snprintf() */
size_t sequence_print(const struct sequence *s, char *text, size_t size);
/**
 * sequence_parse - what that prints
 *
 * Return: 0; -ENOMEM; -EINVAL with the word at *@bad and what was expected in @why.
 */
int sequence_parse(struct sequence *s, const char *text, size_t *bad, char *why, size_t size);

/* ---- shrinking -------------------------------------------------------------------------------*/
/**
 * sequence_shrink - the smallest form of @s that still fails
 * @fails: does it, in the way that is looked for? It may call sequence_run(), here or in another
 *         process
 *
 * Delta debugging: operations first, by halves, quarters and so on; then injections, numbers and
 * options, each to what is simplest. No single operation can be taken out of what is left.
 * Return: how often @fails was asked; -ENOMEM with @s as small as it had become.
 */
int sequence_shrink(struct sequence *s, bool (*fails)(void *ctx, const struct sequence *s),
		    void *ctx);

#endif
