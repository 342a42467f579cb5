/* SPDX-License-Identifier: MIT */
/* The trace reader: parses lines, checks them, and sorts them by vCPU. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/page_set.h"
#include "script/trace_read.h"
#include "script/trace_source.h"

#define FIRST_EVENTS 1024

struct reader {
	const char *path;
	const struct trace_limits *limits;
	char *err;
	size_t err_size;
	struct trace_source *source;
	struct page_set pages;
	struct trace *trace;
	u64 *capacity; /* of trace->events[i] */
	u64 line;
};

/* What one line says. */
struct line_event {
	u64 delta, vcpu, gfn;
	bool write;
};

/* A part of a line, and what it is called in complaints. */
struct field {
	const char *name;
	const char *text;
	size_t length;
};

enum { FIELD_DELTA, FIELD_VCPU, FIELD_ACCESS, FIELD_GFN, NR_FIELDS };

static const char *const field_name[NR_FIELDS] = {"delta", "vcpu", "access", "gfn"};

/* ---- complaints ------------------------------------------------------------------------------*/
static __printf(2, 3) int bad_line(const struct reader *r, const char *fmt, ...)
{
	va_list args;
	int n = snprintf(r->err, r->err_size, "%s: line %" PRIu64 ": ", r->path, r->line);

	if (n < 0 || (size_t)n >= r->err_size)
		return -EINVAL;
	va_start(args, fmt);
	vsnprintf(r->err + n, r->err_size - (size_t)n, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int no_memory(const struct reader *r)
{
	snprintf(r->err, r->err_size, "%s: out of memory", r->path);
	return -ENOMEM;
}

#define QUOTED_SIZE 64
#define QUOTED_BYTES 12

/* What was found, fit for one line of any terminal: quoted, escaped, and not long. */
static const char *quote(char out[QUOTED_SIZE], const char *text, size_t length)
{
	size_t shown = length < QUOTED_BYTES ? length : QUOTED_BYTES, n = 0;

	out[n++] = '\'';
	for (size_t i = 0; i < shown; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c < 0x7f)
			out[n++] = (char)c;
		else
			n += (size_t)snprintf(out + n, QUOTED_SIZE - n, "\\x%02x", c);
	}
	snprintf(out + n, QUOTED_SIZE - n, shown < length ? "...'" : "'");
	return out;
}

static int bad_field(const struct reader *r, const struct field *f, const char *expected)
{
	char quoted[QUOTED_SIZE];

	return bad_line(r, "%s %s (expected %s)", f->name, quote(quoted, f->text, f->length),
			expected);
}

/* ---- one line --------------------------------------------------------------------------------*/
static int digit_value(char c, unsigned int base)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (base == 16 && c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Digits of @base and nothing else, at most @max. */
static int parse_number(const struct reader *r, const struct field *f, unsigned int base, u64 max,
			u64 *value)
{
	const char *what = base == 16 ? "lower-case hex digits" : "decimal digits";
	char limit[64];
	u64 v = 0;

	if (!f->length)
		return bad_field(r, f, what);
	for (size_t i = 0; i < f->length; i++) {
		int d = digit_value(f->text[i], base);

		if (d < 0)
			return bad_field(r, f, what);
		if (v > (max - (u64)d) / base) {
			snprintf(limit, sizeof(limit),
				 base == 16 ? "%" PRIx64 " at most" : "%" PRIu64 " at most", max);
			return bad_field(r, f, limit);
		}
		v = v * base + (u64)d;
	}
	*value = v;
	return 0;
}

/* Cuts the line at its tabs. */
static int cut_fields(const struct reader *r, const char *line, size_t length,
		      struct field f[NR_FIELDS])
{
	const char *end = line + length;
	char quoted[QUOTED_SIZE];

	if (!length)
		return bad_line(r, "empty (expected delta, vcpu, access, gfn)");
	for (u32 i = 0; i < NR_FIELDS; i++) {
		const char *tab = memchr(line, '\t', (size_t)(end - line));
		const char *stop = tab ? tab : end;

		f[i] = (struct field){
			.name = field_name[i], .text = line, .length = (size_t)(stop - line)};
		if (i + 1 < NR_FIELDS && !tab)
			return bad_line(r,
					"ends after %s %s (expected 4 fields parted by tabs; %s "
					"is missing)",
					f[i].name, quote(quoted, f[i].text, f[i].length),
					field_name[i + 1]);
		if (i + 1 == NR_FIELDS && tab)
			return bad_line(r,
					"a fifth field %s after the gfn (expected the end of the "
					"line)",
					quote(quoted, tab + 1, (size_t)(end - tab - 1)));
		if (tab)
			line = tab + 1;
	}
	return 0;
}

static int parse_line(const struct reader *r, const char *line, size_t length, struct line_event *e)
{
	struct field f[NR_FIELDS];
	int err = cut_fields(r, line, length, f);

	if (err)
		return err;
	err = parse_number(r, &f[FIELD_DELTA], 10, UINT64_MAX, &e->delta);
	if (err)
		return err;
	err = parse_number(r, &f[FIELD_VCPU], 10, TRACE_MAX_VCPUS - 1, &e->vcpu);
	if (err)
		return err;
	if (f[FIELD_ACCESS].length != 1 || !strchr("rw", *f[FIELD_ACCESS].text) ||
	    !*f[FIELD_ACCESS].text)
		return bad_field(r, &f[FIELD_ACCESS], "r or w");
	e->write = *f[FIELD_ACCESS].text == 'w';
	return parse_number(r, &f[FIELD_GFN], 16, BIT_ULL(TRACE_GFN_BITS) - 1, &e->gfn);
}

/* What the machine has, and what our counters hold. */
static int check_limits(const struct reader *r, const struct line_event *e)
{
	const struct trace_limits *l = r->limits;
	const struct trace *t = r->trace;

	if (l->nr_vcpus && e->vcpu >= l->nr_vcpus)
		return bad_line(r, "vcpu %" PRIu64 " (expected below %u, the number of vCPUs)",
				e->vcpu, l->nr_vcpus);
	if (l->memory_bytes && e->gfn >= addr_to_fn(l->memory_bytes))
		return bad_line(r,
				"gfn %" PRIx64 " (expected below %" PRIx64 ", the end of "
				"%" PRIu64 " bytes of memory)",
				e->gfn, addr_to_fn(l->memory_bytes), l->memory_bytes);
	if (e->delta > UINT64_MAX - t->instructions)
		return bad_line(r,
				"delta %" PRIu64 " (expected at most %" PRIu64 " more "
				"instructions: their sum overflows)",
				e->delta, UINT64_MAX - t->instructions);
	if (t->nr_events == UINT32_MAX)
		return bad_line(r, "one event too many (expected at most %u)", UINT32_MAX);
	return 0;
}

/* ---- the trace -------------------------------------------------------------------------------*/
static int grow_events(struct reader *r, u64 vcpu)
{
	u64 capacity = r->capacity[vcpu] ? r->capacity[vcpu] * 2 : FIRST_EVENTS;
	struct trace_access *events = realloc(r->trace->events[vcpu], capacity * sizeof(*events));

	if (!events)
		return no_memory(r);
	r->trace->events[vcpu] = events;
	r->capacity[vcpu] = capacity;
	return 0;
}

static int append(struct reader *r, const struct line_event *e)
{
	struct trace *t = r->trace;
	bool follows_write;

	if (t->nr_vcpu_events[e->vcpu] == r->capacity[e->vcpu] && grow_events(r, e->vcpu))
		return -ENOMEM;
	if (page_set_access(&r->pages, e->gfn, e->write, &follows_write))
		return no_memory(r);
	follows_write = follows_write && !e->write;
	t->nr_events++;
	t->instructions += e->delta;
	t->max_gfn = max_u64(t->max_gfn, e->gfn);
	t->reads_after_write += follows_write;
	if (e->vcpu >= t->nr_vcpus)
		t->nr_vcpus = (u32)e->vcpu + 1;
	t->events[e->vcpu][t->nr_vcpu_events[e->vcpu]++] = (struct trace_access){
		.instructions = t->instructions,
		.number = (u32)t->nr_events,
		.gfn_low = (u32)e->gfn,
		.gfn_high = (u16)(e->gfn >> 32),
		.write = e->write,
		.follows_write = follows_write,
	};
	return 0;
}

static int read_events(struct reader *r)
{
	struct line_event e;
	const char *line;
	size_t length;
	int ret;

	while ((ret = trace_source_line(r->source, &line, &length)) > 0) {
		r->line = trace_source_line_number(r->source);
		ret = parse_line(r, line, length, &e);
		if (!ret)
			ret = check_limits(r, &e);
		if (!ret)
			ret = append(r, &e);
		if (ret)
			return ret;
	}
	if (ret)
		return ret;
	if (!r->trace->nr_events) {
		r->line = 1;
		return bad_line(r, "the file is empty (expected at least one event)");
	}
	r->trace->pages_touched = r->pages.touched;
	r->trace->pages_written = r->pages.written;
	return 0;
}

static struct trace *trace_alloc(void)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->events = calloc(TRACE_MAX_VCPUS, sizeof(struct trace_access *));
	t->nr_vcpu_events = calloc(TRACE_MAX_VCPUS, sizeof(*t->nr_vcpu_events));
	if (t->events && t->nr_vcpu_events)
		return t;
	trace_free(t);
	return NULL;
}

void trace_free(struct trace *trace)
{
	if (!trace)
		return;
	for (u32 i = 0; trace->events && i < TRACE_MAX_VCPUS; i++)
		free(trace->events[i]);
	free(trace->events);
	free(trace->nr_vcpu_events);
	free(trace);
}

static int read_all(struct reader *r)
{
	int ret = -ENOMEM;

	r->capacity = calloc(TRACE_MAX_VCPUS, sizeof(*r->capacity));
	r->trace = trace_alloc();
	if (r->capacity && r->trace && !page_set_init(&r->pages)) {
		ret = read_events(r);
		page_set_destroy(&r->pages);
	} else {
		no_memory(r);
	}
	free(r->capacity);
	return ret;
}

static const struct trace_source_form trace_form = {"a trace", "delta, vcpu, access, gfn"};

int trace_read(const char *path, const struct trace_limits *limits, struct trace **out, char *err,
	       size_t err_size)
{
	struct reader r = {.path = path, .limits = limits, .err = err, .err_size = err_size};
	int ret = trace_source_open(path, &trace_form, err, err_size, &r.source);

	if (ret)
		return ret;
	ret = read_all(&r);
	trace_source_close(r.source);
	if (ret) {
		trace_free(r.trace);
		return ret;
	}
	*out = r.trace;
	return 0;
}
