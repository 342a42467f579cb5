/* SPDX-License-Identifier: MIT */
/*
 * base/rng: a small seeded generator, so that every random choice can be made again from one
 * number. Not for secrets. One generator belongs to one thread.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include "base/types.h"

/* xoshiro256**; the state is never all zero. */
struct rng {
	u64 s[4];
};

static inline u64 rng_rotl(u64 x, unsigned int k)
{
	return x << k | x >> (64 - k);
}

/** rng_init - every @seed, 0 too, starts a sequence of its own (the state is spread by splitmix64) */
static inline void rng_init(struct rng *rng, u64 seed)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rng->s); i++) {
		u64 z = seed += 0x9E3779B97F4A7C15ULL;

		z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
		z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
		rng->s[i] = z ^ z >> 31;
	}
}

static inline u64 rng_u64(struct rng *rng)
{
	u64 *s = rng->s;
	u64 result = rng_rotl(s[1] * 5, 7) * 9;
	u64 t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rng_rotl(s[3], 45);
	return result;
}

/** rng_below - uniform in [0, @bound); @bound is at least 1 */
static inline u64 rng_below(struct rng *rng, u64 bound)
{
	u64 unfair = (0 - bound) % bound; /* 2^64 mod bound values would come once too often */

	for (;;) {
		unsigned __int128 wide = (unsigned __int128)rng_u64(rng) * bound;

		if ((u64)wide >= unfair)
			return (u64)(wide >> 64);
	}
}

#endif
