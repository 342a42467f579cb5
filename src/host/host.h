/* SPDX-License-Identifier: MIT */
/*
 * host: the machine's physical memory, and the root object that everything hangs from.
 *
 * Owns one reserved, lazily populated range of address space: physical address 0 is its first
 * byte, so a frame number is an index. Beside it, as lazy: a dirty bit a frame and the key-id tags.
 *
 * Guarantees:
 *  1. A frame never written reads as zero and uses no memory; neither does its bookkeeping.
 *     Creating a host costs the same for 1 GiB and for 16 TiB.
 *  2. A frame is dirty from the first write on until it is known to be zero again; zeroing skips
 *     frames that aren't dirty.
 *  3. Memory under a key id (see "content" below) never shows one key's bytes to another.
 *  4. Allocation is 4K, 2M or 1G, naturally aligned; frees coalesce by themselves: when all is free
 *     every 1G block is whole again.
 *
 * Lock: host.alloc_lock (innermost) guards the allocator. Tags and dirty bits are atomics: the
 * frame's user orders them, the module by its PAMT locks and the guest by its S-EPT entry.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "base/bug.h"
#include "base/sync.h"
#include "base/trace.h"
#include "base/types.h"

struct frame_allocator;
struct host_memory;

/* What a frame was allocated for; accounting, and the leak report at the end. */
enum frame_use {
	FRAME_MIRROR_TABLE, /* mirror page tables */
	FRAME_DIRECT_TABLE, /* the shared EPT */
	FRAME_SEPT_TABLE,   /* given to the module as S-EPT pages */
	FRAME_TD_CONTROL,   /* TDR, TDCX, TDVPR */
	FRAME_PAMT,	    /* PAMT areas, Dynamic PAMT pairs */
	FRAME_GUEST,	    /* folios of guest memory files */
	FRAME_HUGETLB,	    /* in a pool of huge pages, and not in use */
	FRAME_VMEMMAP,	    /* descriptors of huge pages that are taken apart */
	FRAME_FAILED,	    /* memory failed: never to be used again */
	FRAME_OTHER,	    /* TDMR and TD_PARAMS buffers, shared guest memory */
	FRAME_USE_COUNT,
};

const char *frame_use_name(enum frame_use use);

struct host_config {
	u64 memory_bytes; /* multiple of 1G */
	u32 lps;	  /* logical processors, all in package 0 unless packages says more */
	u32 packages;	  /* 0 means 1 */
	struct bug_set planted_bugs;
	bool vm_memory_attributes;
	struct host_memory *memory; /* where the host lies; NULL: in memory of its own */
};

/*
 * Where in the process memory lies says nothing about its 2M blocks: what goes by an address's low
 * bits (the hash of base/trace.c) comes out the same in every process.
 */
#define HOST_ALIGN SIZE_2M

struct host {
	u8 *memory; /* physical address 0; at a multiple of HOST_ALIGN */
	struct host_memory *lies_in;
	u64 memory_bytes;
	u64 nr_frames;
	u32 nr_lps;
	u32 nr_packages;
	struct frame_allocator *allocator;
	u64 *dirty;  /* a bit per frame */
	u16 *tag_2m; /* enum tag bits; TAG_MIXED means: look at tag_4k */
	u16 *tag_4k;
	/*
	 * Some frame has been poisoned since the host began. Until then, which is nearly always, all
	 * that a key's owner wrote is as he left it, and nobody needs to look at tags to know.
	 */
	u32 ever_poisoned;
	void **private; /* a word per frame for its user, as struct page's: mmu's table descriptors */
	struct bug_set bugs;
	/*
	 * KVM's module parameter: attributes belong to VMs, and files have no say. Constant.
	 */
	bool vm_memory_attributes;
	struct tracer tracer;
	u64 used[FRAME_USE_COUNT]; /* 4K frames in use, by purpose; statistics */
	u64 zeroing_ns; /* time host_zero() spent writing frames that were dirty; statistics */
	u64 first_touch_ns; /* time spent in the first write to clean frames by host_write(); statistics */
	u64 fail_alloc_at; /* host_fail_alloc_at(); atomic */
};

/**
 * host_create - reserve the physical range of @cfg and set up an empty machine
 *
 * Return: 0; -EINVAL for a size that isn't a multiple of 1G, or more than the memory of @cfg holds; -ENOMEM
 * when the address range can't be reserved.
 */
int host_create(const struct host_config *cfg, struct host **out);
void host_destroy(struct host *host);

/**
 * host_memory_fit - memory for hosts of up to @bytes, one after another
 *
 * @memory: NULL, or what an earlier call left there: becomes another if it is too small. Between two
 * hosts alone. A host begins in it as in memory never used, whatever has become of the one before: it
 * has ended, or was left in the middle of anything and will never run again.
 * A build that looks for accesses to freed memory (AddressSanitizer) leaves NULL there.
 * Return: 0; -EINVAL for what can't be a host's size; -ENOMEM: @memory is as before.
 */
int host_memory_fit(struct host_memory **memory, u64 bytes);
/** host_memory_destroy - no host is in it; NULL is fine */
void host_memory_destroy(struct host_memory *memory);
/**
 * host_keep - the @index-th block of @bytes that isn't made as new between hosts
 *
 * For what is dear to clear and easy to outdate. All blocks have one size, in all hosts of one memory.
 * @kept: an earlier host had it, and what it left is there; otherwise it is zero.
 * Return: NULL if @host's memory doesn't outlive it, or has no room.
 */
void *host_keep(struct host *host, u64 index, u64 bytes, bool *kept);

/* ---- frames ----------------------------------------------------------------------------------*/

/**
 * host_alloc - take a free block of @level (4K, 2M or 1G) for @use
 *
 * Its content is undefined (see host_zero()), its key-id tag is 0: who gave it to a private key
 * retags it before it is freed (checking builds abort on a frame freed with a private tag, and all
 * builds on one that isn't allocated).
 * Return: 0 and the first frame in @pfn, or -ENOMEM.
 */
int host_alloc(struct host *host, enum pg_level level, enum frame_use use, pfn_t *pfn);
void host_free(struct host *host, pfn_t pfn, enum pg_level level, enum frame_use use);
/** host_divide - the 2M block at @pfn is 512 blocks of 4K from now on, each freed by itself */
void host_divide(struct host *host, pfn_t pfn);
/** host_change_use - @frames that are allocated for @from are for @to from now on */
void host_change_use(struct host *host, u64 frames, enum frame_use from, enum frame_use to);
/**
 * host_fail_alloc_at - the @n-th allocation from now on fails, once; 0: none does
 *
 * Counts host_alloc(), and memory beside it whose owner asks host_alloc_fails(). Checking builds only,
 * elsewhere nothing fails.
 */
void host_fail_alloc_at(struct host *host, u64 n);
/** host_alloc_fails - count one allocation; true if it is the one that must fail */
bool host_alloc_fails(struct host *host);
/**
 * host_reserve - take the 2M-aligned range [@pfn, @pfn + @count), all of it free, for @use
 *
 * For what must lie at a fixed place (PAMT areas). Costs O(1G blocks touched).
 * Return: 0; -EINVAL for an empty range, one that isn't 2M-aligned or not all memory; -EBUSY when
 * a part is in use: then nothing was taken.
 */
int host_reserve(struct host *host, pfn_t pfn, u64 count, enum frame_use use);
/** host_unreserve - give the very range back that one host_reserve() took */
void host_unreserve(struct host *host, pfn_t pfn, u64 count, enum frame_use use);
/** host_frames_used - 4K frames in use for any purpose */
u64 host_frames_used(const struct host *host);

/* ---- content --------------------------------------------------------------------------------
 * A frame's tag is the key id that its bytes are encrypted under (0: the host's, or any shared
 * one), and whether a foreign write has broken its integrity. Tags are kept for a whole 2M block
 * while they are uniform.
 */
#define TAG_HKID 0x00FF
#define TAG_POISONED 0x4000 /* a write under another key id: the owner's next read is a #MC */
#define TAG_BREAKING 0x2000 /* tag_2m only, with the tag that all frames still have */
#define TAG_MIXED 0x8000    /* tag_2m only */

/* What a host read of private memory gives, instead of the bytes. */
#define HOST_PRIVATE_PATTERN 0xFFFFFFFFFFFFFFFFULL

/** host_ptr - the bytes at @hpa, without any check; for the owner of the frame only */
static inline void *host_ptr(const struct host *host, hpa_t hpa)
{
	return host->memory + hpa;
}

static inline void *host_frame_ptr(const struct host *host, pfn_t pfn)
{
	return host->memory + (pfn << PAGE_SHIFT);
}

/**
 * host_read / host_write - @n aligned u64 words inside one frame, under @hkid
 *
 * Words move as relaxed atomics, as a guest's racing accesses do. A read under key id 0 of a
 * private frame gives HOST_PRIVATE_PATTERN; a read under a private key id of a frame that has
 * another tag is a machine check, and so is a read by its owner of a frame that is poisoned. A write
 * under a foreign key id poisons the frame: its bytes are lost for good, so none is stored (what the
 * module keeps in host frames can't be forged through here). A later write by the owner doesn't heal
 * it, only host_zero() and host_retag() do.
 * A frame that isn't dirty reads as zero without being touched. The first write to a frame counts
 * in host->first_touch_ns.
 * Return: 0, or (host_read) -EHWPOISON for a machine check.
 */
int host_read(struct host *host, hpa_t hpa, u16 hkid, u64 *words, unsigned int n);
int host_write(struct host *host, hpa_t hpa, u16 hkid, const u64 *words, unsigned int n);

/** host_frame_dirty - note that the owner writes frame @pfn through host_ptr() */
void host_frame_dirty(struct host *host, pfn_t pfn);
bool host_frame_is_dirty(const struct host *host, pfn_t pfn);
/**
 * host_zero - give the block at @pfn zero content under @hkid, by full-line stores
 *
 * Frames that aren't dirty are not written. Clears poison; frames are clean afterwards. Time goes
 * to host->zeroing_ns if anything was written.
 */
void host_zero(struct host *host, pfn_t pfn, enum pg_level level, u16 hkid);
/**
 * host_retag - give the block at @pfn the key id @hkid, and leave its bytes as they are
 *
 * For memory whose content nobody may rely on. Clears poison, as full-line stores would.
 */
void host_retag(struct host *host, pfn_t pfn, enum pg_level level, u16 hkid);
/** host_poison - the memory of frame @pfn has failed: a machine check to whoever reads it */
void host_poison(struct host *host, pfn_t pfn);
/** host_tag - the frame's key id and TAG_POISONED; never TAG_MIXED */
static inline u16 host_tag(const struct host *host, pfn_t pfn)
{
	/* Pairs with the release of TAG_MIXED in tag_of_frame(): the words are filled. */
	u16 tag = sync_load_acquire(&host->tag_2m[pfn / PTRS_PER_TABLE]);

	if (tag & TAG_MIXED)
		return sync_load(&host->tag_4k[pfn]);
	return tag & (u16)~TAG_BREAKING;
}
/**
 * host_first_dirty - first dirty frame in [@pfn, @end), or @end; skips clean memory by the word
 *
 * For audits of sparse areas (PAMT) that would otherwise cost their full size.
 */
pfn_t host_first_dirty(const struct host *host, pfn_t pfn, pfn_t end);

/** host_now_ns - monotonic time; statistics only */
u64 host_now_ns(void);
/** host_ticks - a clock without a unit at half the price: for what is timed millions of times */
static inline u64 host_ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return host_now_ns();
#endif
}

#endif
