/* SPDX-License-Identifier: MIT */
/* septum seamcall: reads a script, runs it, and reports. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/seamcall_replay.h"
#include "script/nearest.h"
#include "script/seamcall.h"
#include "script/seamcall_leaves.h"

#define SCRIPT_MAX (256ULL << 20)

struct seamcall_options {
	const char *script;
	const char *replay; /* an event stream instead */
	const char *json;
	bool list;
};

static void help(FILE *out)
{
	fputs("usage: septum seamcall SCRIPT [--json FILE]    run a script (-: standard input)\n"
	      "       septum seamcall --replay FILE [--json FILE]\n"
	      "                                               make the calls of an event stream "
	      "again\n"
	      "       septum seamcall --list                  every leaf: number, registers, "
	      "statuses\n"
	      "\n"
	      "Talks to the software TDX module, one call a line; # starts a comment.\n"
	      "  host memory=4G dpamt=on|off lps=4 profile=1.5.25 [raw]      the machine, first\n"
	      "  td NAME vcpus=1 gpaw=48|52 levels=4|5 debug=on|off sept_ve_disable=1|0\n"
	      "     flexible_pending_ve=0|1 state=created|keys|allocated|initialized|runnable "
	      "[raw]\n"
	      "  lp N                                 later host calls come from this processor\n"
	      "  LEAF [version=N] reg=value ...       a SEAMCALL; SEAMCALL rax=N for any number\n"
	      "  enter NAME.N [reg=value ...]         TDH.VP.ENTER on processor N; stays inside\n"
	      "  NAME.N: LEAF reg=value ...           a TDCALL of the vCPU that is inside\n"
	      "  NAME.N: read GPA | write GPA VALUE   an access of 8 bytes\n"
	      "  exit NAME.N                          an interrupt makes the vCPU exit\n"
	      "  interrupt N | nmi N | clear N        make one pending on processor N; take it "
	      "away\n"
	      "  mask N | unmask N                    the host's RFLAGS.IF on processor N\n"
	      "  sept $NAME GPA | pamt HPA            the walk of an address; a page's metadata\n"
	      "  peek HPA | poke HPA VALUE            memory as the host sees it\n"
	      "  hold HPA [shared] | release HPA      a page as a leaf in the middle holds it, for "
	      "BUSY\n"
	      "A value is a number, a symbol, or a sum: $NAME (TDR; its TDCX pages follow), "
	      "$NAME.N\n"
	      "(TDVPR; its pages follow), $NAME.hkid, $NAME.params, $p0 $p1 ... (free pages), "
	      "$tdmrs.\n"
	      "Behind a call or an access stands what it should answer:\n"
	      "  -> TDX_NAME or TDX_NAME|OPERAND or a number, then reg=value or reg=value/mask\n"
	      "  -> EXIT reg=value ...      -> VALUE (of a read)      -> OK, VE or MC (of an "
	      "access)\n"
	      "\n"
	      "  --json FILE   write one JSON object (- for standard output)\n"
	      "\n"
	      "Exit status: 0 good, 1 an expectation failed or an answer differs, 2 bad usage, a "
	      "bad "
	      "script\n"
	      "or a bad event stream, 4 can't run here.\n",
	      out);
}

static int unknown_option(const char *word)
{
	struct nearest near;

	nearest_begin(&near, word, strlen(word));
	nearest_offer(&near, "--json");
	nearest_offer(&near, "--list");
	nearest_offer(&near, "--replay");
	nearest_offer(&near, "--help");
	return cli_error(EXIT_BAD_USE, "seamcall: unknown option '%s': %s%s", word,
			 near.found[0] ? "did you mean "
				       : "expected --json, --list, --replay or --help",
			 near.found);
}

#define TAKEN 1

/* "NAME FILE" or "NAME=FILE". Return: TAKEN; 0: another word; EXIT_BAD_USE: there's no file. */
static int take_file(int argc, char **argv, int *at, const char *name, const char **file)
{
	size_t n = strlen(name);

	if (strncmp(argv[*at], name, n))
		return 0;
	if (argv[*at][n] == '=') {
		*file = argv[*at] + n + 1;
		return TAKEN;
	}
	if (argv[*at][n])
		return 0;
	if (++*at == argc)
		return cli_error(EXIT_BAD_USE, "seamcall: %s: expected a file", name);
	*file = argv[*at];
	return TAKEN;
}

/* -1: help was asked for and given. */
static int parse_options(int argc, char **argv, struct seamcall_options *options)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		int taken;

		if (!strcmp(word, "--help")) {
			help(stdout);
			return -1;
		}
		taken = take_file(argc, argv, &i, "--json", &options->json);
		if (!taken)
			taken = take_file(argc, argv, &i, "--replay", &options->replay);
		if (taken == EXIT_BAD_USE)
			return taken;
		if (taken)
			continue;
		if (!strcmp(word, "--list")) {
			options->list = true;
		} else if (word[0] == '-' && word[1]) {
			return unknown_option(word);
		} else if (options->script) {
			return cli_error(EXIT_BAD_USE,
					 "seamcall: '%s': expected one SCRIPT, have '%s'", word,
					 options->script);
		} else {
			options->script = word;
		}
	}
	if (options->script && options->replay)
		return cli_error(EXIT_BAD_USE, "seamcall: '%s': expected no SCRIPT with --replay",
				 options->script);
	if (!options->script && !options->replay && !options->list)
		return cli_error(EXIT_BAD_USE,
				 "seamcall: expected a SCRIPT (- for standard input)");
	return 0;
}

/* ---- the text --------------------------------------------------------------------------------*/

static int read_all(FILE *in, char **text, size_t *length)
{
	size_t room = 1 << 16;

	*text = NULL;
	*length = 0;
	for (;;) {
		char *more = realloc(*text, room);

		if (!more)
			return -ENOMEM;
		*text = more;
		*length += fread(*text + *length, 1, room - *length, in);
		if (*length < room)
			return ferror(in) ? -errno : 0;
		if (room >= SCRIPT_MAX)
			return -EFBIG;
		room *= 2;
	}
}

static int read_script(const char *name, char **text, size_t *length)
{
	FILE *in = strcmp(name, "-") ? fopen(name, "r") : stdin;
	int err;

	*text = NULL;
	*length = 0;
	if (!in)
		return cli_error(EXIT_BAD_USE, "seamcall: %s: can't be read: %s", name,
				 strerror(errno));
	err = read_all(in, text, length);
	if (in != stdin)
		fclose(in);
	if (err)
		return cli_error(EXIT_BAD_USE, "seamcall: %s: can't be read: %s", name,
				 strerror(-err));
	return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------*/

static json_t *hex(u64 value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	return json_string(text);
}

/* One answer, a row of "answers". */
static void record(void *ctx, const struct seamcall_answer *answer)
{
	json_t *rows = ctx, *row = json_object(), *regs;
	const u64 *values = (const u64 *)(const void *)&answer->regs;

	json_object_set_new(row, "line", json_integer(answer->line));
	json_object_set_new(row, "lp", json_integer(answer->lp));
	if (answer->who)
		json_object_set_new(row, "vcpu", json_string(answer->who));
	json_object_set_new(row, answer->is_call ? "leaf" : "access", json_string(answer->what));
	if (answer->is_call) {
		if (answer->exit)
			json_object_set_new(row, "exit", json_true());
		else if (answer->status)
			json_object_set_new(row, "status", json_string(answer->status));
		regs = json_object();
		json_object_set_new(regs, "rax", hex(answer->regs.rax));
		for (unsigned int i = SC_RCX; i < SC_REG_COUNT; i++)
			if (answer->outputs >> i & 1)
				json_object_set_new(regs, sc_reg_name(i), hex(values[i]));
		json_object_set_new(row, "registers", regs);
	} else {
		json_object_set_new(row, "outcome", json_string(answer->text));
	}
	if (answer->expected) {
		json_object_set_new(row, "expected", json_string(answer->expected));
		json_object_set_new(row, "agrees", json_boolean(answer->agrees));
	}
	json_array_append_new(rows, row);
}

static int write_report(const char *path, const struct seamcall_run *run, json_t *rows)
{
	json_t *root = json_object();

	json_object_set_new(root, "schema", json_string("septum.seamcall/1"));
	json_object_set_new(root, "script", json_string(run->name));
	json_object_set_new(root, "calls", json_integer((json_int_t)run->calls));
	json_object_set_new(root, "expectations", json_integer((json_int_t)run->expectations));
	json_object_set_new(root, "failures", json_integer((json_int_t)run->failures));
	json_object_set_new(root, "answers", rows);
	return cli_write_json(root, path);
}

/* ---- the run ---------------------------------------------------------------------------------*/

static int complain(const char *name, const struct seamcall_error *error)
{
	if (!error->line)
		return cli_error(EXIT_BAD_USE, "%s: %s", name, error->text);
	return cli_error(EXIT_BAD_USE, "%s:%u:%u: %s", name, error->line, error->column,
			 error->text);
}

static int run_script(const struct seamcall_script *script, const struct seamcall_options *options)
{
	bool json_to_stdout = options->json && !strcmp(options->json, "-");
	json_t *rows = options->json ? json_array() : NULL;
	struct seamcall_run run = {.name = options->script,
				   .out = json_to_stdout ? stderr : stdout,
				   .answer = rows ? record : NULL,
				   .ctx = rows};
	struct seamcall_error error;
	int err = seamcall_run(script, &run, &error), status = 0;

	fflush(run.out);
	if (err) {
		json_decref(rows);
		status = complain(options->script, &error);
		return err == -EINVAL ? status : EXIT_CANT_RUN;
	}
	if (rows)
		status = write_report(options->json, &run, rows);
	if (status)
		return status;
	return run.failures ? EXIT_WRONG : EXIT_GOOD;
}

int cmd_seamcall(int argc, char **argv)
{
	struct seamcall_options options = {0};
	struct seamcall_script *script;
	struct seamcall_error error;
	size_t length;
	char *text;
	int status = parse_options(argc, argv, &options), err;

	if (status)
		return status < 0 ? EXIT_GOOD : status;
	if (options.list) {
		seamcall_list(stdout);
		return EXIT_GOOD;
	}
	if (options.replay)
		return seamcall_replay(options.replay, options.json);
	status = read_script(options.script, &text, &length);
	if (status) {
		free(text);
		return status;
	}
	err = seamcall_parse(text, length, &script, &error);
	free(text);
	if (err) {
		status = complain(options.script, &error);
		return err == -EINVAL ? status : EXIT_CANT_RUN;
	}
	status = run_script(script, &options);
	seamcall_free(script);
	return status;
}
