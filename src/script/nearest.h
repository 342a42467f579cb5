/* SPDX-License-Identifier: MIT */
/* script: the word that somebody may have meant. */
#ifndef SCRIPT_NEAREST_H
#define SCRIPT_NEAREST_H

#include <stddef.h>

/* A search in progress: offer words, then look at @found. */
struct nearest {
	const char *word;
	size_t length;
	unsigned int distance; /* of @found; words farther than this don't count */
	char found[40];	       /* "" when none is near */
};

/** nearest_begin - look for words like the @length bytes at @word, letter case aside */
void nearest_begin(struct nearest *n, const char *word, size_t length);
void nearest_offer(struct nearest *n, const char *candidate);

#endif
