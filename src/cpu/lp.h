/* SPDX-License-Identifier: MIT */
/*
 * cpu: logical processors. A software TLB, the EPT walker, pending interrupts, and memory access
 * under a key id.
 *
 * An LP is driven by one thread at a time. Guest code runs on it through guest_ops, called by
 * VP.ENTER; it reaches memory only by lp_guest_read/write(), and must return from run() when one of
 * them says so. What it was doing starts again at the next run().
 *
 * Guarantees:
 *  1. A translation stays in the TLB until VP.ENTER drops it (lp_tlb_flush()) or the slot is needed
 *     for another: neither BLOCK, REMOVE nor TRACK touch it. A missing shoot-down shows.
 *  2. A pending interrupt stops guest code at its next access. The host's mask (intr_masked) is
 *     the module's to look at, by lp_interrupted(); guest code it doesn't protect.
 */
#ifndef CPU_LP_H
#define CPU_LP_H

#include "base/types.h"
#include "host/host.h"

struct lp;

/* Filled by whoever runs guest code; registered with the LP before VP.ENTER. */
struct guest_ops {
	/*
	 * Runs guest code until it must leave. Looks at lp->ve first: VE_INJECTED means a #VE is
	 * delivered now. Returns the VMX exit reason's cause, see lp->exit.
	 */
	void (*run)(struct lp *lp, void *guest);
};

/* Why guest code left run(). */
enum lp_exit_kind {
	LP_EXIT_NONE,
	LP_EXIT_INTERRUPT, /* a pending interrupt */
	LP_EXIT_EPT_VIOLATION, /* exit.gpa, exit.write: no translation; the module decides what follows */
	LP_EXIT_TDCALL,	       /* a TDCALL that exits; the module has filled in the rest */
};

struct lp_exit {
	enum lp_exit_kind kind;
	gpa_t gpa; /* with the shared bit, if it was set */
	bool write;
};

/* The translation context that VP.ENTER loads. */
struct ept_context {
	u64 asid;	   /* tags TLB entries: never 0, never the same for two TDs that live */
	hpa_t sept_root;   /* table page of the S-EPT's top level */
	hpa_t shared_root; /* root of the shared EPT, 0 if none */
	u32 levels;	   /* page-walk length of both: 4 or 5 */
	u32 shared_bit;	   /* bit number of SHARED in a GPA: 47 or 51 */
	u16 hkid;	   /* of the TD: private memory is reached under it */
};

#define TLB_4K_ENTRIES 2048
#define TLB_2M_ENTRIES 2048
#define TLB_1G_ENTRIES 64

struct tlb_entry {
	u64 asid; /* 0: empty */
	u64 fn;	  /* gpa >> level_shift, shared bit included */
	pfn_t pfn;
	/* Flushes of this LP before it was filled: no LP lives for 2^47 of them. */
	u64 filled : 47;
	u64 writable : 1;
	u64 hkid : 16;
};

/*
 * When an asid was flushed last: what was filled before is gone, though its slot still says otherwise.
 * One asid has the word; what the former one left is dropped from the slots before it goes.
 */
#define TLB_FLUSH_WORDS 64

struct tlb_flush {
	u64 asid;  /* 0: nobody's */
	u64 since; /* its entries hold if they were filled at this count of flushes, or later */
};

struct lp {
	struct host *host;
	u32 id;
	u32 package;
	bool kept; /* lies in memory that outlives the host */

	/* Pending interrupts, LP_INTR | LP_NMI. Set by any thread, pairs with lp_interrupted(). */
	u32 pending;
	bool intr_masked; /* host RFLAGS.IF == 0: LP_INTR doesn't count */

	const struct guest_ops *guest_ops;
	void *guest;
	struct lp_exit exit;
	bool ve_pending; /* a #VE is delivered at the next run() */
	struct ept_context ept;

	void *module; /* the seam that this LP can enter; seam's own */
	void *vcpu;   /* seam's own: what is inside, NULL outside */

	u64 tlb_hits, tlb_misses; /* statistics, owner only */
	u64 tlb_flushes;	  /* so far: the clock that entries are stamped with */
	u64 tlb_since;		  /* what is older was another LP's: holds for no asid */
	struct tlb_flush tlb_flush[TLB_FLUSH_WORDS]; /* by a hash of the asid */
	struct tlb_entry tlb_4k[TLB_4K_ENTRIES];
	struct tlb_entry tlb_2m[TLB_2M_ENTRIES];
	struct tlb_entry tlb_1g[TLB_1G_ENTRIES];
};

#define LP_INTR 0x1u
#define LP_NMI 0x2u

int lp_create(struct host *host, u32 id, struct lp **out);
void lp_destroy(struct lp *lp);

/* The LP that the calling thread drives; host code makes its SEAMCALLs there. */
static inline struct lp *lp_current(void)
{
	return sync_local();
}

static inline void lp_set_current(struct lp *lp)
{
	sync_set_local(lp);
}

/* ---- interrupts ------------------------------------------------------------------------------*/
/** lp_interrupt - make @kind pending on @lp; any thread, any time */
void lp_interrupt(struct lp *lp, u32 kind);
/** lp_take_interrupts - the host takes what is pending; returns it */
u32 lp_take_interrupts(struct lp *lp);
/** lp_interrupted - something is pending that the mask doesn't stop (an NMI is never stopped) */
bool lp_interrupted(const struct lp *lp);

/* ---- guest accesses --------------------------------------------------------------------------*/
enum lp_access {
	LP_ACCESS_OK,
	LP_ACCESS_EXIT, /* lp->exit says why: guest code must return from run() now */
	LP_ACCESS_MC,	/* machine check: the bytes are lost, or under another key */
};

/**
 * lp_guest_read / lp_guest_write - @n aligned u64 words inside one 4K page at @gpa
 *
 * Translates through the TLB, else by a walk that fills it. Checks for a pending interrupt first.
 */
enum lp_access lp_guest_read(struct lp *lp, gpa_t gpa, u64 *words, unsigned int n);
enum lp_access lp_guest_write(struct lp *lp, gpa_t gpa, const u64 *words, unsigned int n);
/** lp_guest_poll - what a guest instruction that touches no memory does: EXIT if interrupted */
enum lp_access lp_guest_poll(struct lp *lp);

/* ---- translation -----------------------------------------------------------------------------*/
struct ept_translation {
	pfn_t pfn; /* of the 4K page asked for, without key id */
	enum pg_level level;
	u16 hkid;
	bool writable;
};

/**
 * ept_walk - walk the tables of lp->ept as the hardware does; false on an EPT violation
 *
 * The whole GPA indexes the tables: in the shared EPT the frame of a shared GPA is found with its
 * shared bit set. Key-id bits of entries are the TD's in the S-EPT; shared memory has key id 0.
 */
bool ept_walk(const struct lp *lp, gpa_t gpa, bool write, struct ept_translation *out);
/** lp_tlb_flush - drop what the TLB holds for @asid, however much; VP.ENTER only */
void lp_tlb_flush(struct lp *lp, u64 asid);
/** lp_tlb_is_stale - the TLB has a translation of @gpa that the tables no longer give */
bool lp_tlb_is_stale(const struct lp *lp, gpa_t gpa);

/* Bits of an EPT entry that the walker looks at; the rest of the format is its owner's. */
#define EPT_READ BIT_ULL(0)
#define EPT_WRITE BIT_ULL(1)
#define EPT_EXEC BIT_ULL(2)
#define EPT_RWX (EPT_READ | EPT_WRITE | EPT_EXEC)
#define EPT_LEAF BIT_ULL(7) /* ignored at the last level */
#define EPT_PFN_MASK GENMASK_ULL(51, 12)

#endif
