/* SPDX-License-Identifier: MIT */
/* base/sched: operations and waits in words. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/sched_impl.h"

const char *sched_kind_name(enum sched_kind kind)
{
	static const char *const names[] = {
#define SCHED_KIND(sym, name, writes) [sym] = name,
		SCHED_KINDS
#undef SCHED_KIND
	};

	return names[kind];
}

const char *sched_outcome_name(enum sched_outcome outcome)
{
	static const char *const names[] = {
		[SCHED_DONE] = "done",	       [SCHED_DEADLOCK] = "deadlock",
		[SCHED_LIVELOCK] = "livelock", [SCHED_STEP_LIMIT] = "step limit",
		[SCHED_STOPPED] = "stopped",   [SCHED_FAILED] = "failed",
	};

	return names[outcome];
}

size_t sched_op_text(const struct sched *s, const struct sched_op *op, char *text, size_t size)
{
	const char *kind = sched_kind_name(op->kind), *name;
	int n;

	switch (op->kind) {
	case SCHED_START:
	case SCHED_END:
	case SCHED_JOIN:
		n = snprintf(text, size, "%s %u", kind, op->object);
		break;
	default:
		if (!op->object) {
			n = snprintf(text, size, "%s", kind);
			break;
		}
		name = s->objects.object[op->object].name;
		n = snprintf(text, size, "%s %s#%u", kind, name ? name : "", op->object);
	}
	return (size_t)n;
}

/* ---- who waits for what ----------------------------------------------------------------------*/
static __printf(3, 4) void add(struct sched *s, size_t *n, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (*n < sizeof(s->report))
		*n += (size_t)vsnprintf(s->report + *n, sizeof(s->report) - *n, fmt, args);
	va_end(args);
}

static void add_readers(struct sched *s, size_t *n, const struct sync_rwlock *rw)
{
	for (u32 i = 0; i < s->nr_live; i++) {
		const struct coro *t = s->coro[s->live[i]];

		for (u32 j = 0; j < t->nr_reads; j++) {
			if (t->reads[j] == rw)
				add(s, n, ", read by thread %u", t->number);
		}
	}
}

static void add_section_holders(struct sched *s, size_t *n)
{
	for (u32 i = 0; i < s->nr_live; i++) {
		if (s->coro[s->live[i]]->rcu_section)
			add(s, n, ", thread %u is in a read section", s->live[i]);
	}
}

static void add_reason(struct sched *s, size_t *n, const struct coro *t, const struct sched_op *op)
{
	const struct sync_rwlock *rw = t->gate;
	const struct sync_mutex *m = t->gate;

	switch (op->kind) {
	case SCHED_LOCK:
		if (m->owner)
			add(s, n, ", held by thread %u", m->owner - 1);
		break;
	case SCHED_RDLOCK:
	case SCHED_WRLOCK:
		if (!op->queued)
			break;
		if (rw->writer)
			add(s, n, ", held by thread %u", rw->writer - 1);
		add_readers(s, n, rw);
		if (op->kind == SCHED_RDLOCK && rw->writers_queued)
			add(s, n, ", behind a writer that waits");
		break;
	case SCHED_WAIT:
		if (op->queued)
			add(s, n, t->woken ? ", woken" : ", asleep: nobody has woken it");
		break;
	case SCHED_CALLBACK:
	case SCHED_RCU_BARRIER:
		add(s, n, " (%" PRIu64 " of %" PRIu64 " callbacks have run)", s->callbacks_done,
		    s->callbacks_queued);
		add_section_holders(s, n);
		break;
	case SCHED_RELAX:
		add(s, n, ": turns in a loop, and nobody writes");
		break;
	default:
		break;
	}
}

void sched_report_waits(struct sched *s)
{
	size_t n = 0;

	add(s, &n, "%s after %" PRIu64 " steps\n", sched_outcome_name(s->result.outcome),
	    s->result.steps);
	for (u32 i = 0; i < s->nr_live; i++) {
		u32 number = s->live[i];
		const struct sched_thread *pub = &s->thread[number];
		char text[80];

		if (number == SCHED_RCU_THREAD && s->callbacks_done == s->callbacks_queued)
			continue;
		sched_op_text(s, &pub->op, text, sizeof(text));
		add(s, &n, "thread %u: %s %s", number, pub->enabled ? "before" : "waits:", text);
		if (!pub->enabled)
			add_reason(s, &n, s->coro[number], &pub->op);
		if (pub->mark)
			add(s, &n, " (in %s 0x%" PRIx64 ")", pub->mark, pub->mark_arg);
		add(s, &n, "\n");
	}
}
