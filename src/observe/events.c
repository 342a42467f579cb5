/* SPDX-License-Identifier: MIT */
/*
 * observe/events: from trace points to lines, in the order of the calls' places.
 *
 * An event comes when its call has returned, which may be after the events of calls that have later
 * places. So events wait in a list, sorted by place, until no running call can have an earlier one:
 * until the oldest call that runs began after that place was taken.
 *
 * What a call reads from memory is collected by its processor, whose thread alone touches it, and
 * goes out with the call.
 */
#include "observe/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "observe/file.h"
#include "observe/text.h"

/* Bytes of memory in one line, and what a run of zeros is worth breaking a run of bytes for. */
#define MEM_LINE_BYTES 1024
#define MEM_LINE_MAX (64 + MEM_LINE_BYTES * 4)
#define MEM_WORD 8

struct event {
	struct event *earlier, *later;
	u64 place;
	const char *kind;
	u32 lp;
	u64 overlap; /* calls that it met */
	size_t head; /* of text: whole lines that come before */
	size_t length;
	char text[];
};

struct read_memory {
	char *text;
	size_t length;
};

struct events {
	struct trace_order order; /* its lock is the stream's */
	struct event *first, *last;
	struct out_file *file;
	u64 lines;
	int error; /* the first, of collecting; the file keeps its own */
	u32 nr_lps;
	struct read_memory *memory; /* by LP */
};

/* ---- out -------------------------------------------------------------------------------------*/

static void put_text(struct events *e, const char *buffer, const struct text *t)
{
	out_file_put(e->file, buffer, (size_t)(t->at - buffer));
}

static u64 count_lines(const char *s, size_t n)
{
	u64 lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += s[i] == '\n';
	return lines;
}

static void put_event(struct events *e, const struct event *ev)
{
	char buffer[128];
	struct text t = text_in(buffer, sizeof(buffer));

	out_file_put(e->file, ev->text, ev->head);
	text_string(&t, ev->kind);
	text_string(&t, " lp=");
	text_decimal(&t, ev->lp);
	if (ev->overlap) {
		text_string(&t, " overlap=");
		text_decimal(&t, ev->overlap);
	}
	put_text(e, buffer, &t);
	out_file_put(e->file, ev->text + ev->head, ev->length - ev->head);
	out_file_put(e->file, "\n", 1);
	e->lines += 1 + count_lines(ev->text, ev->head);
}

/* Under the stream's lock: writes what nothing can come before any more. */
static void put_settled(struct events *e)
{
	u64 settled = e->order.oldest ? e->order.oldest->begun : UINT64_MAX;

	while (e->first && e->first->place <= settled) {
		struct event *ev = e->first;

		put_event(e, ev);
		e->first = ev->later;
		if (e->first)
			e->first->earlier = NULL;
		else
			e->last = NULL;
		free(ev);
	}
}

/* ---- in --------------------------------------------------------------------------------------*/

static void insert(struct events *e, struct event *ev)
{
	struct event *before = e->last;

	while (before && before->place > ev->place)
		before = before->earlier;
	ev->earlier = before;
	ev->later = before ? before->later : e->first;
	if (before)
		before->later = ev;
	else
		e->first = ev;
	if (ev->later)
		ev->later->earlier = ev;
	else
		e->last = ev;
}

static void add(struct events *e, const char *kind, const struct trace_seamcall *call,
		const char *text, const struct text *end)
{
	struct read_memory *memory = &e->memory[call->lp];
	size_t head = memory->length, length = head + (size_t)(end->at - text);
	struct event *ev = malloc(sizeof(*ev) + length);

	if (ev) {
		ev->kind = kind;
		ev->lp = call->lp;
		ev->head = head;
		ev->length = length;
		if (head)
			memcpy(ev->text, memory->text, head);
		memcpy(ev->text + head, text, length - head);
	}
	free(memory->text);
	*memory = (struct read_memory){NULL, 0};

	sync_mutex_lock(&e->order.lock);
	if (ev) {
		ev->place = call->call->place;
		ev->overlap = trace_call_end(call->call);
		insert(e, ev);
	} else {
		trace_call_end(call->call);
		e->error = e->error ? e->error : -ENOMEM;
	}
	put_settled(e);
	sync_mutex_unlock(&e->order.lock);
}

/* ---- lines -----------------------------------------------------------------------------------*/

static void write_call(struct text *t, const struct trace_seamcall *call, bool guest)
{
	text_string(t, " ");
	text_leaf(t, call->in->rax, guest);
	text_operands(t, call->in, NULL);
	text_string(t, " -> ");
}

static void write_answer(struct text *t, const struct tdx_regs *out, const struct tdx_regs *base)
{
	text_status(t, out->rax);
	text_operands(t, out, base);
}

static bool was_interrupted(u64 status)
{
	u64 class = tdx_status_class(status);

	return class == TDX_INTERRUPTED_RESTARTABLE || class == TDX_INTERRUPTED_RESUMABLE;
}

static void write_stop(struct text *t, const struct trace_call *call)
{
	switch (call->stop) {
	case TRACE_STOP_READ:
	case TRACE_STOP_WRITE:
		text_string(t, call->stop == TRACE_STOP_READ ? " read=" : " write=");
		text_hex(t, call->gpa);
		text_string(t, " served=");
		text_decimal(t, call->served);
		break;
	case TRACE_STOP_TDCALL:
		text_string(t, " tdcall");
		break;
	case TRACE_STOP_NMI:
		text_string(t, " nmi");
		break;
	default:
		text_string(t, " interrupt");
	}
}

static void on_seamcall(struct events *e, const struct trace_seamcall *call)
{
	char buffer[TEXT_CALL_MAX];
	struct text t = text_in(buffer, sizeof(buffer));
	bool exits = call->call->stop != TRACE_STOP_NONE;

	if (exits) {
		write_stop(&t, call->call);
		text_string(&t, " -> ");
		write_answer(&t, call->out, NULL);
	} else {
		if (was_interrupted(call->out->rax))
			text_string(&t, " interrupt");
		write_call(&t, call, false);
		write_answer(&t, call->out, call->in);
	}
	add(e, exits ? "exit" : "call", call, buffer, &t);
}

static void on_enter(struct events *e, const struct trace_seamcall *call)
{
	char buffer[TEXT_CALL_MAX];
	struct text t = text_in(buffer, sizeof(buffer));

	text_string(&t, " ");
	text_leaf(&t, call->in->rax, false);
	text_operands(&t, call->in, NULL);
	if (call->out) {
		text_string(&t, " -> ");
		write_answer(&t, call->out, NULL);
	}
	add(e, "enter", call, buffer, &t);
}

static void on_tdcall(struct events *e, const struct trace_seamcall *call)
{
	char buffer[TEXT_CALL_MAX];
	struct text t = text_in(buffer, sizeof(buffer));

	if (call->call->stop == TRACE_STOP_INTERRUPT)
		text_string(&t, " interrupt");
	write_call(&t, call, true);
	if (call->call->stop != TRACE_STOP_NONE)
		text_string(&t, "EXIT");
	else
		write_answer(&t, call->out, call->in);
	add(e, "guest", call, buffer, &t);
}

static void on_ve(struct events *e, const struct trace_seamcall *call)
{
	char buffer[TEXT_CALL_MAX];
	struct text t = text_in(buffer, sizeof(buffer));

	write_stop(&t, call->call);
	add(e, "ve", call, buffer, &t);
}

/* ---- memory ----------------------------------------------------------------------------------*/

static bool is_zero(const u8 *bytes)
{
	u64 word;

	memcpy(&word, bytes, sizeof(word));
	return !word;
}

/* One line: the bytes that aren't zero, in runs of whole words, each with its offset. */
static void write_memory(struct text *t, hpa_t hpa, const u8 *bytes, u32 size)
{
	bool in_run = false;

	text_string(t, "mem ");
	text_hex(t, hpa);
	text_string(t, " ");
	text_decimal(t, size);
	for (u32 i = 0; i < size; i += MEM_WORD) {
		if (is_zero(bytes + i)) {
			in_run = false;
			continue;
		}
		if (!in_run) {
			text_string(t, " ");
			text_hex(t, i);
			text_string(t, ":");
		}
		in_run = true;
		text_bytes(t, bytes + i, MEM_WORD);
	}
	text_string(t, "\n");
}

static int grow(struct read_memory *memory, size_t by)
{
	char *more = realloc(memory->text, memory->length + by);

	if (!more)
		return -ENOMEM;
	memory->text = more;
	return 0;
}

static void on_memory(struct events *e, const struct trace_memory *m)
{
	struct read_memory *memory = &e->memory[m->lp];
	const u8 *bytes = m->bytes;

	for (u32 done = 0; done < m->size; done += MEM_LINE_BYTES) {
		struct text t;

		if (grow(memory, MEM_LINE_MAX)) {
			sync_mutex_lock(&e->order.lock);
			e->error = e->error ? e->error : -ENOMEM;
			sync_mutex_unlock(&e->order.lock);
			return;
		}
		t = text_in(memory->text + memory->length, MEM_LINE_MAX);
		write_memory(&t, m->hpa + done, bytes + done,
			     (u32)min_u64(m->size - done, MEM_LINE_BYTES));
		memory->length = (size_t)(t.at - memory->text);
	}
}

static void on_tdmr_init_all(struct events *e)
{
	static const char line[] = "tdmr-init-all\n";

	sync_mutex_lock(&e->order.lock);
	put_settled(e);
	out_file_put(e->file, line, sizeof(line) - 1);
	e->lines++;
	sync_mutex_unlock(&e->order.lock);
}

static void on_event(void *ctx, enum trace_point point, const void *event)
{
	struct events *e = ctx;

	switch (point) {
	case TRACE_SEAMCALL:
		on_seamcall(e, event);
		break;
	case TRACE_VP_ENTER:
		on_enter(e, event);
		break;
	case TRACE_TDCALL:
		on_tdcall(e, event);
		break;
	case TRACE_GUEST_VE:
		on_ve(e, event);
		break;
	case TRACE_MODULE_READ:
		on_memory(e, event);
		break;
	case TRACE_TDMR_INIT_ALL:
		on_tdmr_init_all(e);
		break;
	case TRACE_SPTE_CHANGED:
	case TRACE_POINT_COUNT:
		break;
	}
}

/* ---- life ------------------------------------------------------------------------------------*/

int events_open(const char *path, struct events **out)
{
	struct events *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = out_file_open(path, &e->file);
	if (err) {
		free(e);
		return err;
	}
	sync_mutex_init(&e->order.lock, LOCK_OBSERVE);
	*out = e;
	return 0;
}

static void write_bugs(struct text *t, const struct bug_set *planted)
{
	bool first = true;

	for (unsigned int bug = 0; bug < BUG_COUNT; bug++) {
		if (!bug_set_has(planted, (enum planted_bug)bug))
			continue;
		text_string(t, first ? " bugs=" : ",");
		text_string(t, bug_name((enum planted_bug)bug));
		first = false;
	}
}

static void write_head(struct events *e, const struct events_machine *m)
{
	char buffer[512];
	struct text t = text_in(buffer, sizeof(buffer));

	text_string(&t, "septum-events ");
	text_decimal(&t, EVENTS_VERSION);
	text_string(&t, "\nmachine memory=");
	text_hex(&t, m->memory_bytes);
	text_string(&t, " lps=");
	text_decimal(&t, m->nr_lps);
	text_string(&t, " packages=");
	text_decimal(&t, m->nr_packages);
	text_string(&t, " profile=");
	text_string(&t, m->profile);
	text_string(&t, m->dynamic_pamt ? " dpamt=on" : " dpamt=off");
	text_string(&t, " hkid-start=");
	text_decimal(&t, TDX_HKID_START_BIT);
	text_string(&t, " hkid-bits=");
	text_decimal(&t, TDX_HKID_BITS);
	text_string(&t, " private-hkid=");
	text_decimal(&t, TDX_FIRST_PRIVATE_HKID);
	write_bugs(&t, &m->planted_bugs);
	text_string(&t, "\n");
	put_text(e, buffer, &t);
	e->lines += 2;
}

int events_listen(struct events *e, const struct events_machine *machine, struct tracer *t)
{
	struct trace_listener listener = {.fn = on_event, .ctx = e};
	int err;

	e->memory = calloc(machine->nr_lps, sizeof(*e->memory));
	if (!e->memory)
		return -ENOMEM;
	e->nr_lps = machine->nr_lps;
	err = trace_listen(t, &listener);
	if (err)
		return err;
	t->order = &e->order;
	write_head(e, machine);
	return 0;
}

int events_close(struct events *e)
{
	char buffer[64];
	struct text t = text_in(buffer, sizeof(buffer));
	int error, file_error;

	put_settled(e);
	text_string(&t, "end ");
	text_decimal(&t, e->lines);
	text_string(&t, "\n");
	put_text(e, buffer, &t);
	error = e->error;
	file_error = out_file_close(e->file);
	for (u32 i = 0; i < e->nr_lps; i++)
		free(e->memory[i].text);
	free(e->memory);
	sync_mutex_destroy(&e->order.lock);
	free(e);
	return file_error ? file_error : error;
}
