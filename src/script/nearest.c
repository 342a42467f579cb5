/* SPDX-License-Identifier: MIT */
/* Edit distance with a bound, letter case aside. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "script/nearest.h"

#define NEAREST_MAX 39

void nearest_begin(struct nearest *n, const char *word, size_t length)
{
	n->word = word;
	n->length = length;
	n->distance = (unsigned int)(length / 3) + 1;
	n->found[0] = 0;
}

static bool same_letter(char a, char b)
{
	return toupper((unsigned char)a) == toupper((unsigned char)b);
}

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int least = a < b ? a : b;

	return least < c ? least : c;
}

/* Letters changed, left out, put in, or swapped with their neighbour; one each. */
static unsigned int edit_distance(const char *a, size_t la, const char *b, size_t lb)
{
	/* Row i - 2, row i - 1 and row i of the table, in turns. */
	unsigned int rows[3][NEAREST_MAX + 1];

	for (size_t j = 0; j <= lb; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned int *row = rows[i % 3];
		const unsigned int *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= lb; j++) {
			bool same = same_letter(a[i - 1], b[j - 1]);

			row[j] = min3(row[j - 1] + 1, above[j] + 1, above[j - 1] + !same);
			if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
			    same_letter(a[i - 2], b[j - 1]))
				row[j] = min3(row[j], two_above[j - 2] + 1, row[j]);
		}
	}
	return rows[la % 3][lb];
}

void nearest_offer(struct nearest *n, const char *candidate)
{
	size_t length = strlen(candidate);
	unsigned int distance;

	if (n->length > NEAREST_MAX || length > NEAREST_MAX)
		return;
	distance = edit_distance(n->word, n->length, candidate, length);
	if (distance > n->distance || (n->found[0] && distance == n->distance))
		return;
	n->distance = distance;
	snprintf(n->found, sizeof(n->found), "%s", candidate);
}
