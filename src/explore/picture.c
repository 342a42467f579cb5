/* SPDX-License-Identifier: MIT */
/*
 * explore/picture: one execution as lanes, a column a thread of the program and one for the others.
 * Lines are written as the execution goes, so that one that crashes has a picture too:
 *
 *    at  2 a.0                           3 host                         others: 0 main, 1 rcu
 *    15  [ read 0x200000
 *    15  ...before load #17
 *    40                                  [ punch a 0x200000 4K
 *    52                                  TDH.MEM.RANGE.BLOCK SUCCESS
 *    58                                  waits: lock mmu.lock#3
 *    71  ! in read 0x200000
 *     !  stale-translation: ...
 *
 * Threads have the numbers that schedules name. A line stands at the decision in whose step it came; main
 * makes its last steps alone, without any. What a thread was about to do when another one went first
 * stands behind "...before". A failure stands in the lane of the thread whose step it is, but for one of
 * all threads, such as a deadlock. The picture ends with `finally`: how TDs and machine are ended is the
 * same in all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "explore/search_impl.h"
#include "observe/text.h"
#include "septum/abi.h"

#define PICTURE_WIDTH 100
#define PICTURE_LEFT 6
#define PICTURE_MOST 44
#define PICTURE_LEAST 22
#define PICTURE_LINES 400 /* of an execution that doesn't end more aren't wanted */
#define PICTURE_THREADS (SCHED_FIRST_CREATED + PROGRAM_MAX_THREADS)

/* Shared with the process of an execution that crashes: who failed, and where, is told after it. */
struct picture {
	struct search_lenient replay;
	const struct explore_runner *runner;
	const struct program *program;
	FILE *out;
	u32 columns, width;
	u32 thread;				      /* makes the step */
	u64 decision;				      /* of that step, or the last one before */
	const struct program_op *op[PICTURE_THREADS]; /* that it is in; NULL: none */
	bool over;				      /* what comes now ends TDs and machine */
	u32 lines;
};

static u32 column_of(const struct picture *p, u32 thread)
{
	u32 column = thread - SCHED_FIRST_CREATED;

	return thread >= SCHED_FIRST_CREATED && column < p->program->nr_threads ? column
										: p->columns - 1;
}

static void __printf(3, 4) line(struct picture *p, u32 thread, const char *fmt, ...)
{
	u32 column = column_of(p, thread);
	char text[256];
	va_list args;

	if ((thread == SCHED_MAIN_THREAD && !p->decision) || p->over) /* set-up, and the end */
		return;
	if (++p->lines > PICTURE_LINES) {
		if (p->lines == PICTURE_LINES + 1)
			fprintf(p->out, "%*s  and so on\n", PICTURE_LEFT - 2, "...");
		return;
	}
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(p->out, "%*" PRIu64 "%*s  %.*s\n", PICTURE_LEFT - 2, p->decision,
		(int)(column * p->width), "",
		column + 1 == p->columns ? (int)sizeof(text) : (int)p->width - 1, text);
	fflush(p->out);
}

struct who {
	char text[16];
};

/* Who of the last column makes a line: "main: "; nothing where a column is one thread's. */
static struct who who_else(const struct picture *p, u32 thread)
{
	struct who who = {""};

	if (thread == SCHED_MAIN_THREAD)
		return (struct who){"main: "};
	if (thread == SCHED_RCU_THREAD)
		return (struct who){"rcu: "};
	if (column_of(p, thread) + 1 == p->columns)
		snprintf(who.text, sizeof(who.text), "%u: ", thread);
	return who;
}

/* ---- the operations --------------------------------------------------------------------------*/
static const struct program_op *find_op(const struct program_op *op, u32 nr, u64 line)
{
	for (u32 i = 0; i < nr; i++) {
		if (op[i].line == line)
			return &op[i];
	}
	return NULL;
}

static const struct program_op *op_at(const struct program *program, u64 at)
{
	const struct program_op *op = find_op(program->setup, program->nr_setup, at);

	for (u32 i = 0; i < program->nr_threads && !op; i++)
		op = find_op(program->thread[i].op, program->thread[i].nr_ops, at);
	return op ? op : find_op(program->finally, program->nr_finally, at);
}

static void on_mark(void *ctx, u32 thread, const char *name, u64 arg)
{
	struct picture *p = ctx;
	bool begins = !strcmp(name, EXPLORE_MARK_BEGIN), ends = !strcmp(name, EXPLORE_MARK_END);
	const struct program_op *op = begins || ends ? op_at(p->program, arg) : NULL;
	char text[128] = "";

	p->thread = thread;
	if (!strcmp(name, EXPLORE_MARK_REST)) {
		p->over = true;
		return;
	}
	if (op)
		program_print_op(p->program, op, text, sizeof(text));
	if ((begins || ends) && thread < PICTURE_THREADS)
		p->op[thread] = begins ? op : NULL;
	if (op || begins || ends)
		line(p, thread, "%s%s %s", who_else(p, thread).text, begins ? "[" : "]", text);
	else if (strncmp(name, "TDH.", 4) && strcmp(name, "entry")) /* told by trace points */
		line(p, thread, "%s%s %" PRIu64, who_else(p, thread).text, name, arg);
}

/* ---- what the machine does -------------------------------------------------------------------*/
static void put_call(struct picture *p, const struct trace_seamcall *call, bool guest)
{
	char name[96], status[96];
	struct text t = text_in(name, sizeof(name));

	text_leaf(&t, call->in->rax, guest);
	t = text_in(status, sizeof(status));
	if (call->out)
		text_status(&t, call->out->rax);
	else
		text_string(&t, "left");
	line(p, p->thread, "%s%s %s", who_else(p, p->thread).text, name,
	     strncmp(status, "TDX_", 4) ? status : status + strlen("TDX_"));
}

static void on_event(void *ctx, enum trace_point point, const void *event)
{
	const struct trace_spte *e = event;
	struct picture *p = ctx;

	/* Main goes on without a decision when it is alone. */
	p->thread = sched_running();
	switch (point) {
	case TRACE_SEAMCALL:
		put_call(p, event, false);
		return;
	case TRACE_TDCALL:
		put_call(p, event, true);
		return;
	case TRACE_SPTE_CHANGED:
		line(p, p->thread, "%sentry %s 0x%" PRIx64 " %s: %" PRIx64 " to %" PRIx64,
		     who_else(p, p->thread).text, e->mirror ? "of" : "of shared", e->gfn,
		     e->level == PG_LEVEL_4K   ? "4k"
		     : e->level == PG_LEVEL_2M ? "2m"
		     : e->level == PG_LEVEL_1G ? "1g"
					       : "table",
		     e->old_spte, e->new_spte);
		return;
	default:
		return;
	}
}

/* ---- who goes on -----------------------------------------------------------------------------*/
static void put_switch(struct picture *p, const struct sched_view *v)
{
	const struct sched_thread *left = &v->thread[v->running];
	char op[96] = "";

	if (v->running == SCHED_MAIN_THREAD || (v->running == SCHED_RCU_THREAD && !left->enabled))
		return;
	if (p->runner->sched)
		sched_op_text(p->runner->sched, &left->op, op, sizeof(op));
	if (left->ended)
		line(p, v->running, "%sends", who_else(p, v->running).text);
	else
		line(p, v->running, "%s%s %s", who_else(p, v->running).text,
		     left->enabled ? "...before" : "waits:", op);
}

static int choose(void *ctx, const struct sched_view *v)
{
	struct picture *p = ctx;
	int choice = search_lenient.choose(&p->replay, v);

	p->decision = v->decision;
	if (v->decision && (u32)choice != v->running)
		put_switch(p, v);
	p->thread = (u32)choice;
	return choice;
}

static const struct sched_policy picture_policy = {.choose = choose, .mark = on_mark};

static void put_header(struct picture *p)
{
	fprintf(p->out, "%*s", PICTURE_LEFT - 2, "at");
	fputs("  ", p->out);
	for (u32 i = 0; i < p->program->nr_threads; i++) {
		char who[40];

		snprintf(who, sizeof(who), "%u %s", SCHED_FIRST_CREATED + i,
			 p->program->thread[i].name);
		fprintf(p->out, "%-*s", (int)p->width, who);
	}
	fprintf(p->out, "others: %u main, %u rcu\n", SCHED_MAIN_THREAD, SCHED_RCU_THREAD);
}

/* ---- the failure -----------------------------------------------------------------------------*/
static bool is_everybodys(const char *oracle)
{
	return !strcmp(oracle, "deadlock") || !strcmp(oracle, "livelock") ||
	       !strcmp(oracle, "lost-wakeup");
}

static void put_failure(struct picture *p, const struct explore_outcome *out)
{
	const struct program_op *op = p->thread < PICTURE_THREADS ? p->op[p->thread] : NULL;
	char text[128];

	if (!is_everybodys(out->oracle)) {
		snprintf(text, sizeof(text), p->over ? "at the end" : "between operations");
		if (op) {
			memcpy(text, "in ", sizeof("in "));
			program_print_op(p->program, op, text + 3, sizeof(text) - 3);
		}
		p->lines = 0;
		p->over = false;
		line(p, p->thread, "%s! %s", who_else(p, p->thread).text, text);
	}
	fprintf(p->out, "%*s  %s: %s\n", PICTURE_LEFT - 2, "!", out->oracle, out->text);
}

int search_picture(const struct explore_runner *runner, const struct program *program,
		   const struct explore_options *options, const struct sched_schedule *schedule,
		   FILE *out)
{
	struct picture *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct trace_listener listener = {.fn = on_event, .ctx = p};
	const struct explore_setup setup = {.program = program,
					    .planted_bugs = options->planted_bugs,
					    .injection = options->injection,
					    .max_steps = options->max_steps,
					    .listener = &listener};
	struct explore_outcome outcome;
	u32 width = (PICTURE_WIDTH - PICTURE_LEFT) / program->nr_threads;
	int err;

	if (p == MAP_FAILED)
		return -ENOMEM;
	*p = (struct picture){.replay = {.schedule = schedule},
			      .runner = runner,
			      .program = program,
			      .out = out,
			      .columns = program->nr_threads + 1,
			      .width = width < PICTURE_LEAST  ? PICTURE_LEAST
				       : width > PICTURE_MOST ? PICTURE_MOST
							      : width};
	put_header(p);
	err = runner->execute(runner->ctx, &setup, &picture_policy, p, NULL, &outcome);
	if (!err && outcome.failed)
		put_failure(p, &outcome);
	munmap(p, sizeof(*p));
	return err;
}
