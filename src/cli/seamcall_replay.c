/* SPDX-License-Identifier: MIT */
/* Reports what a replay of an event stream came to, for people and as septum.replay/1. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/seamcall_replay.h"
#include "script/events_replay.h"
#include "seam/seam.h"

static void show_progress(void *ctx, u64 line)
{
	(void)ctx;
	fprintf(stderr, "\rreplay: line %" PRIu64, line);
}

static json_t *number(u64 value)
{
	return json_integer((json_int_t)value);
}

static json_t *replay_json(const char *path, const struct events_replay *r)
{
	json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:b}", "schema", "septum.replay/1",
				 "events", path, "lines", number(r->lines), "seamcalls",
				 number(r->seamcalls), "tdcalls", number(r->tdcalls), "contended",
				 number(r->contended), "differs", r->differs);

	if (r->differs)
		json_object_set_new(root, "difference",
				    json_pack("{s:o, s:s, s:s, s:s}", "line", number(r->line),
					      "call", r->call, "expected", r->expected, "found",
					      r->found));
	return root;
}

static void report(FILE *out, const char *path, const struct events_replay *r)
{
	fprintf(out, "%s: module %s%s, Dynamic PAMT %s, a host of %" PRIu64 " MiB, %u LPs\n", path,
		r->head.profile->name, r->head.profile->is_real ? "" : " (not a real module)",
		r->head.dynamic_pamt ? "on" : "off", r->head.memory_bytes >> 20, r->head.nr_lps);
	fprintf(out,
		"  SEAMCALLs made again           %12" PRIu64 "\n"
		"  TDCALLs made again             %12" PRIu64 "\n"
		"  contended, not made again      %12" PRIu64 "   busy beside another call\n",
		r->seamcalls, r->tdcalls, r->contended);
	if (!r->differs) {
		fputs("every answer is the same\n", out);
		return;
	}
	fprintf(out,
		"DIFFERENT at line %" PRIu64 ": %s\n"
		"  expected %s\n"
		"  found    %s\n",
		r->line, r->call, r->expected, r->found);
}

/* On the heap, for its texts. */
static int replay_and_report(struct events_replay *r, const char *path, const char *json)
{
	bool shows = isatty(STDERR_FILENO);
	char err[512];
	int error, status = EXIT_GOOD;

	r->progress = shows ? show_progress : NULL;
	error = events_replay(path, r, err, sizeof(err));
	if (shows)
		fputs("\r                              \r", stderr);
	if (error == -ENOMEM || error == -EAGAIN)
		return cli_error(EXIT_CANT_RUN, "seamcall: %s", err);
	if (error)
		return cli_error(EXIT_BAD_USE, "seamcall: %s", err);
	report(json ? stderr : stdout, path, r);
	if (json)
		status = cli_write_json(replay_json(path, r), json);
	return r->differs ? EXIT_WRONG : status;
}

int seamcall_replay(const char *path, const char *json)
{
	struct events_replay *r = calloc(1, sizeof(*r));
	int status;

	if (!r)
		return cli_error(EXIT_CANT_RUN, "seamcall: %s: out of memory", path);
	status = replay_and_report(r, path, json);
	free(r);
	return status;
}
