/* SPDX-License-Identifier: MIT */
/*
 * base: integer names, page-size and range arithmetic. Pure; includes nothing of ours.
 */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

typedef u64 gpa_t; /* guest physical address, bytes */
typedef u64 gfn_t; /* guest frame number, 4 KiB units; never carries the shared bit */
typedef u64 hpa_t; /* host physical address, bytes, without key id */
typedef u64 pfn_t; /* host frame number, 4 KiB units */

#define PAGE_SHIFT 12
#define PAGE_SIZE (1ULL << PAGE_SHIFT)
#define PTRS_PER_TABLE 512
#define SIZE_4K (1ULL << 12)
#define SIZE_2M (1ULL << 21)
#define SIZE_1G (1ULL << 30)

/* Kernel levels: the TDX module counts one less (tdx_level() in tdx). */
enum pg_level {
	PG_LEVEL_NONE,
	PG_LEVEL_4K,
	PG_LEVEL_2M,
	PG_LEVEL_1G,
	PG_LEVEL_512G,
	PG_LEVEL_256T,
	PG_LEVEL_NUM,
};

#define PG_LEVEL_MAX_LEAF PG_LEVEL_1G

#define BIT_ULL(n) (1ULL << (n))
/* Bits h..l set, both included. */
#define GENMASK_ULL(h, l) ((~0ULL >> (63 - (h))) & (~0ULL << (l)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define ALIGN_DOWN(x, a) ((x) & ~((u64)(a)-1))
#define ALIGN_UP(x, a) ALIGN_DOWN((x) + (u64)(a)-1, a)
#define IS_ALIGNED(x, a) (((x) & ((u64)(a)-1)) == 0)
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define __printf(a, b) __attribute__((format(printf, a, b)))

static inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

static inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

/** level_shift - bits of address that a leaf at @level covers: 12, 21, 30, ... */
static inline unsigned int level_shift(enum pg_level level)
{
	return 12 + 9 * ((unsigned int)level - 1);
}

/** level_size - bytes that a leaf at @level covers */
static inline u64 level_size(enum pg_level level)
{
	return 1ULL << level_shift(level);
}

/** pages_per_level - 4K frames that a leaf at @level covers: 1, 512, 262144 */
static inline u64 pages_per_level(enum pg_level level)
{
	return 1ULL << (level_shift(level) - PAGE_SHIFT);
}

/** level_index - index of the entry that maps frame @fn in a table at @level */
static inline unsigned int level_index(u64 fn, enum pg_level level)
{
	return (unsigned int)(fn >> (level_shift(level) - PAGE_SHIFT)) & (PTRS_PER_TABLE - 1);
}

/** fn_align_down - first frame of the @level block that holds frame @fn */
static inline u64 fn_align_down(u64 fn, enum pg_level level)
{
	return ALIGN_DOWN(fn, pages_per_level(level));
}

static inline u64 fn_to_addr(u64 fn)
{
	return fn << PAGE_SHIFT;
}

static inline u64 addr_to_fn(u64 addr)
{
	return addr >> PAGE_SHIFT;
}

#endif
