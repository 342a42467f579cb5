/* SPDX-License-Identifier: MIT */
/* septum explore: its table, its failures, its JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/explore.h"

/* Text of any length from something like snprintf(); the caller frees. */
static char *schedule_text(const struct sched_schedule *s)
{
	size_t n = sched_schedule_print(s, NULL, 0);
	char *text = malloc(n + 1);

	if (text)
		sched_schedule_print(s, text, n + 1);
	return text;
}

static const char *method(const struct explore_options *options, const struct explore_result *r)
{
	switch (options->mode) {
	case EXPLORE_PCT:
		return "pct";
	case EXPLORE_REPLAY:
		return "replay";
	case EXPLORE_INJECT:
		return "inject";
	default:
		return r->pct_executions ? "exhaustive, then pct" : "exhaustive";
	}
}

void explore_output_begin(struct explore_output *o)
{
	o->name_width = (int)strlen("program");
	for (u32 i = 0; i < o->command->nr; i++) {
		int n = (int)strlen(o->command->program[i]->program.name);

		o->name_width = n > o->name_width ? n : o->name_width;
	}
	fprintf(o->out, "%-*s  threads  executions      states  complete   seconds  how\n",
		o->name_width, "program");
	fflush(o->out);
}

static void clear_progress(const struct explore_output *o)
{
	if (o->shows_progress)
		fprintf(stderr, "\r%60s\r", "");
}

void explore_output_progress(void *ctx, u32 tasks_done, u64 executions)
{
	const struct explore_output *o = ctx;

	if (o->shows_progress)
		fprintf(stderr, "\r%u of %u programs, %" PRIu64 " executions", tasks_done,
			o->command->nr, executions);
}

/* ---- a failure -------------------------------------------------------------------------------*/
static void put_replay_line(const struct explore_output *o, const struct explore_program *p,
			    const struct explore_failure *f)
{
	const struct explore_command *c = o->command;
	char *schedule = schedule_text(&f->schedule), inject[160];
	char *program = cli_shell_word(p->word);

	explore_injection_print(&f->injection, inject, sizeof(inject));
	fprintf(o->out, "replay: septum explore %s --schedule %s%s%s%s%s\n\n",
		program ? program : "?", schedule ? schedule : "?", c->bug ? " --bug " : "",
		c->bug ? c->bug : "", inject[0] ? " --inject " : "", inject);
	free(program);
	free(schedule);
}

static void put_failure(const struct explore_output *o, const struct explore_program *p,
			const struct explore_report *report)
{
	const struct explore_failure *f = &report->result.failure;
	size_t n = program_print(&p->program, NULL, 0);
	char *text = malloc(n + 1);

	fprintf(o->out, "\nFAILED %s: %s: %s\n", p->program.name, f->oracle, f->text);
	fprintf(o->out, "execution %" PRIu64 ", %u preemption%s\n\n", f->execution, f->preemptions,
		f->preemptions == 1 ? "" : "s");
	if (text) {
		program_print(&p->program, text, n + 1);
		fprintf(o->out, "%s\n", text);
	}
	free(text);
	if (report->picture)
		fprintf(o->out, "%s\n", report->picture);
	put_replay_line(o, p, f);
}

static json_t *failure_row(const struct explore_failure *f)
{
	json_t *row = json_object();
	char *schedule = schedule_text(&f->schedule), inject[160];

	json_object_set_new(row, "oracle", json_string(f->oracle));
	json_object_set_new(row, "schedule", json_string(schedule ? schedule : ""));
	json_object_set_new(row, "text", json_string(f->text));
	json_object_set_new(row, "preemptions", json_integer(f->preemptions));
	json_object_set_new(row, "execution", json_integer((json_int_t)f->execution));
	if (explore_injection_print(&f->injection, inject, sizeof(inject)))
		json_object_set_new(row, "inject", json_string(inject));
	free(schedule);
	return row;
}

static json_t *program_row(const struct explore_output *o, const struct explore_program *p,
			   const struct explore_report *report)
{
	const struct explore_result *r = &report->result;
	json_t *row = json_object(), *failures = json_array();

	json_object_set_new(row, "name", json_string(p->program.name));
	json_object_set_new(row, "threads", json_integer(p->program.nr_threads));
	json_object_set_new(row, "executions", json_integer((json_int_t)r->executions));
	json_object_set_new(row, "states", json_integer((json_int_t)r->states));
	json_object_set_new(row, "final_states", json_integer((json_int_t)r->final_states));
	json_object_set_new(row, "complete", json_boolean(r->complete));
	json_object_set_new(row, "how", json_string(method(&o->command->options, r)));
	json_object_set_new(row, "seconds", json_real(report->seconds));
	json_object_set_new(row, "switches", json_integer((json_int_t)r->switches));
	json_object_set_new(row, "operations", json_integer((json_int_t)r->operations));
	if (r->failed)
		json_array_append_new(failures, failure_row(&r->failure));
	json_object_set_new(row, "failures", failures);
	return row;
}

/* ---- a schedule that doesn't fit -------------------------------------------------------------*/
static const char *thread_name(const struct program *p, u32 thread)
{
	if (thread == SCHED_RCU_THREAD)
		return "rcu";
	if (thread >= SCHED_FIRST_CREATED && thread - SCHED_FIRST_CREATED < p->nr_threads)
		return p->thread[thread - SCHED_FIRST_CREATED].name;
	return thread == SCHED_MAIN_THREAD ? "main" : "no thread of this program";
}

static int refuse_schedule(const struct explore_program *p, const struct explore_result *r)
{
	char enabled[256] = "";
	size_t n = 0;

	for (u32 t = 0; t < 32; t++) {
		if (r->left_enabled >> t & 1 && n < sizeof(enabled))
			n += (size_t)snprintf(enabled + n, sizeof(enabled) - n, "%s%u (%s)",
					      n ? ", " : "", t, thread_name(&p->program, t));
	}
	if (!n)
		snprintf(enabled, sizeof(enabled), "nobody: the program had ended before");
	return cli_error(EXIT_BAD_USE,
			 "explore: %s: choice %u of the schedule, %u@%" PRIu64
			 ", wants %s (%u), which can't go on there: expected %s",
			 p->word, r->left_choice + 1, r->left_at.thread, r->left_at.decision,
			 thread_name(&p->program, r->left_at.thread), r->left_at.thread, enabled);
}

/* Did every kind of injection that was asked for happen, in an execution at least? */
static int check_reached(const struct explore_command *c, const struct explore_program *p,
			 const struct explore_result *r)
{
	const struct explore_injection *in = &c->options.injection;
	const struct {
		const char *word, *what;
		u64 n, most;
	} kinds[] = {
		{"alloc", "allocations", in->fail_alloc, r->reached.allocations},
		{"seamcall", "SEAMCALLs", in->seamcall, r->reached.seamcalls},
		{"interrupt", "SEAMCALLs and TDCALLs", in->interrupt, r->reached.calls},
		{"kick", "kicks", in->delay_kick, r->reached.kicks},
	};

	for (u32 i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].n > kinds[i].most)
			return cli_error(EXIT_BAD_USE,
					 "explore: %s: --inject %s=%" PRIu64
					 " was never reached: the program's threads make %s%" PRIu64
					 " %s",
					 p->word, kinds[i].word, kinds[i].n,
					 r->executions > 1 && kinds[i].most ? "at most " : "",
					 kinds[i].most, kinds[i].what);
	}
	return 0;
}

static int refuse_program(const struct explore_program *p, int error)
{
	if (error == -EIO)
		return cli_error(EXIT_BAD_USE,
				 "explore: %s: its set-up fails: expected a machine "
				 "and TDs that can be made",
				 p->word);
	return cli_error(EXIT_CANT_RUN, "explore: %s: %s", p->word, strerror(-error));
}

/* ---- rows and totals -------------------------------------------------------------------------*/
static void worse(struct explore_totals *t, int status)
{
	t->status = status > t->status ? status : t->status;
}

static void count(struct explore_totals *t, const struct explore_result *r)
{
	t->executions += r->executions;
	t->states += r->states;
	t->switches += r->switches;
	t->decisions += r->decisions;
	t->operations += r->operations;
}

void explore_output_report(void *ctx, u32 task, const struct explore_report *report)
{
	struct explore_output *o = ctx;
	u32 number = o->hunts ? o->program_of[task] : task;
	const struct explore_program *p = o->command->program[number];
	const struct explore_result *r = &report->result;
	struct explore_totals *t = &o->totals;
	int status = 0;

	/* Which others had failed by then is chance. */
	if (o->found)
		return;
	clear_progress(o);
	if (report->error) {
		worse(t, refuse_program(p, report->error));
		return;
	}
	if (r->left) {
		worse(t, refuse_schedule(p, r));
		return;
	}
	if (!r->failed && o->command->options.mode != EXPLORE_INJECT)
		status = check_reached(o->command, p, r);
	if (status) {
		worse(t, status);
		return;
	}
	count(t, r);
	if (o->hunts && !r->failed && !o->last) {
		o->done[number] |= r->complete;
		return;
	}
	o->found = o->hunts && r->failed;
	fprintf(o->out, "%-*s  %7u  %10" PRIu64 "  %10" PRIu64 "  %8s  %8.2f  %s\n", o->name_width,
		p->program.name, p->program.nr_threads, r->executions, r->states,
		r->failed				     ? "FAILED"
		: r->complete				     ? "yes"
		: o->command->options.mode == EXPLORE_INJECT ? "every n"
							     : "no",
		report->seconds, method(&o->command->options, r));
	t->programs++;
	if (r->failed) {
		t->failures++;
		worse(t, EXIT_WRONG);
		put_failure(o, p, report);
	} else if (report->picture) {
		fprintf(o->out, "\n%s\n", report->picture);
	}
	fflush(o->out);
	if (o->rows)
		json_array_append_new(o->rows, program_row(o, p, report));
}

static int write_json(const struct explore_output *o, double a_second)
{
	const struct explore_totals *t = &o->totals;
	json_t *root = json_object();

	json_object_set_new(root, "schema", json_string("septum.explore/1"));
	json_object_set_new(root, "bound", json_integer(o->command->options.bound));
	json_object_set_new(root, "seed", json_integer((json_int_t)o->command->options.seed));
	if (o->command->bug)
		json_object_set_new(root, "bug", json_string(o->command->bug));
	if (o->command->inject)
		json_object_set_new(root, "inject", json_string(o->command->inject));
	if (o->interrupted)
		json_object_set_new(root, "interrupted", json_true());
	json_object_set(root, "programs", o->rows);
	json_object_set_new(root, "executions", json_integer((json_int_t)t->executions));
	json_object_set_new(root, "states", json_integer((json_int_t)t->states));
	json_object_set_new(root, "operations", json_integer((json_int_t)t->operations));
	json_object_set_new(root, "seconds", json_real(t->seconds));
	json_object_set_new(root, "executions_per_second",
			    json_real((double)t->executions * a_second));
	json_object_set_new(root, "switches_per_second", json_real((double)t->switches * a_second));
	json_object_set_new(root, "decisions_per_second",
			    json_real((double)t->decisions * a_second));
	return cli_write_json(root, o->command->json);
}

int explore_output_end(struct explore_output *o, double seconds)
{
	struct explore_totals *t = &o->totals;
	double a_second = seconds > 0 ? 1 / seconds : 0;
	int status;

	t->seconds = seconds;
	clear_progress(o);
	if (t->status >= EXIT_BAD_USE && !t->programs)
		return t->status;
	fputc('\n', o->out);
	if (o->interrupted)
		fprintf(o->out, "interrupted: %u of ", t->programs);
	fprintf(o->out,
		"%u program%s, %" PRIu64 " executions, %" PRIu64 " distinct states, %" PRIu64
		" operations held against the oracle, %.1f s\n"
		"%.0f executions/s, %.0f decisions/s, %.0f switches/s; %u failed\n",
		o->command->nr, o->command->nr == 1 ? "" : "s", t->executions, t->states,
		t->operations, seconds, (double)t->executions * a_second,
		(double)t->decisions * a_second, (double)t->switches * a_second, t->failures);
	status = o->rows ? write_json(o, a_second) : 0;
	return status ? status : t->status;
}
