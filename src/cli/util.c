/* SPDX-License-Identifier: MIT */
/* What every subcommand shares: complaints, words to numbers, JSON output. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

int cli_error(int status, const char *fmt, ...)
{
	va_list args;

	fputs("septum: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

static int parse_digits(const char *word, int base, u64 *value, const char **end)
{
	char *stop;

	/* strtoull would take blanks and a sign. */
	if (*word < '0' || *word > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(word, &stop, base);
	*end = stop;
	return errno ? -EINVAL : 0;
}

int cli_parse_u64(const char *word, u64 *value)
{
	bool hex = word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
	const char *end;

	if (hex && !word[2])
		return -EINVAL;
	if (parse_digits(word, hex ? 16 : 10, value, &end) || *end)
		return -EINVAL;
	return 0;
}

int cli_parse_size(const char *word, u64 *bytes)
{
	static const char suffixes[] = "KMGT";
	const char *end, *suffix;
	unsigned int shift;
	u64 value;

	if (parse_digits(word, 10, &value, &end))
		return -EINVAL;
	if (!*end) {
		*bytes = value;
		return 0;
	}
	suffix = strchr(suffixes, *end);
	if (!suffix || end[1])
		return -EINVAL;
	shift = 10 * (unsigned int)(suffix - suffixes + 1);
	if (value > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes = value << shift;
	return 0;
}

#define NEAREST_MAX 32

/* Levenshtein distance, for words of at most NEAREST_MAX letters. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[NEAREST_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	for (unsigned int j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= la; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= lb; j++) {
			unsigned int change = diagonal + (a[i - 1] != b[j - 1]);
			unsigned int best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = change < best ? change : best;
		}
	}
	return row[lb];
}

const char *cli_nearest(const char *word, const char *const *words)
{
	size_t length = strlen(word);
	unsigned int best = (unsigned int)(length / 3) + 1;
	const char *found = NULL;

	if (length > NEAREST_MAX)
		return NULL;
	for (; *words; words++) {
		unsigned int d;

		if (strlen(*words) > NEAREST_MAX)
			continue;
		d = distance(word, *words);
		if (d <= best && (!found || d < best)) {
			best = d;
			found = *words;
		}
	}
	return found;
}

int cli_write_json(json_t *root, const char *path)
{
	FILE *out = strcmp(path, "-") ? fopen(path, "w") : stdout;
	int bad;

	if (!out) {
		json_decref(root);
		return cli_error(EXIT_BAD_USE, "--json %s: can't be written: %s", path,
				 strerror(errno));
	}
	bad = json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) ||
	      fputc('\n', out) < 0;
	json_decref(root);
	bad |= out == stdout ? fflush(out) : fclose(out);
	if (bad)
		return cli_error(EXIT_CANT_RUN, "--json %s: writing failed", path);
	return 0;
}
