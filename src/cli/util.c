/* SPDX-License-Identifier: MIT */
/* What every subcommand shares: complaints, words to numbers, JSON output. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "script/nearest.h"

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

const char *cli_nearest(const char *word, const char *const *words)
{
	struct nearest near;

	nearest_begin(&near, word, strlen(word));
	for (size_t i = 0; words[i]; i++)
		nearest_offer(&near, words[i]);
	for (size_t i = 0; words[i]; i++)
		if (!strcmp(words[i], near.found))
			return words[i];
	return NULL;
}

char *cli_shell_word(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "@%_+=:,./-";
	char *quoted, *at;

	if (*word && !word[strspn(word, plain)])
		return strdup(word);
	/* A quote becomes four characters. */
	quoted = malloc(4 * strlen(word) + sizeof("''"));
	if (!quoted)
		return NULL;
	at = quoted;
	*at++ = '\'';
	for (; *word; word++) {
		if (*word == '\'')
			at = stpcpy(at, "'\\''");
		else
			*at++ = *word;
	}
	stpcpy(at, "'");
	return quoted;
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
	if (out == stdout && ferror(stdout))
		return 0;
	if (bad)
		return cli_error(EXIT_CANT_RUN, "--json %s: writing failed", path);
	return 0;
}

/* Of a pipe: a write that fails says so once only, and it may be long ago. */
static bool reader_is_gone(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

int cli_end(int status)
{
	int err;

	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	err = errno;
	if (err == EPIPE || reader_is_gone())
		return status;
	return cli_error(EXIT_CANT_RUN, "standard output: what was printed is lost%s%s",
			 err ? ": " : "", err ? strerror(err) : "");
}
