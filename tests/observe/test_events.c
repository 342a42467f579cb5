/* SPDX-License-Identifier: MIT */
/* The stream's text, and the order of its lines, with calls made up: no module is behind them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/bug.h"
#include "observe/events.h"
#include "septum/abi.h"

#define TEXT_MAX (1 << 20)

/* A stream that is being written. */
struct stream {
	char path[64];
	struct tracer tracer;
	struct events *events;
};

static const struct events_machine machine = {.memory_bytes = SIZE_1G,
					      .nr_lps = 3,
					      .nr_packages = 1,
					      .profile = "1.5.28",
					      .dynamic_pamt = true};

#define HEAD                                                                                \
	"septum-events 1\n"                                                                 \
	"machine memory=0x40000000 lps=3 packages=1 profile=1.5.28 dpamt=on hkid-start=46 " \
	"hkid-bits=6 private-hkid=32\n"

static void open_stream(struct stream *s, const char *name)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->path, sizeof(s->path), "/tmp/test-events-%d-%s", (int)getpid(), name);
	assert_int_equal(events_open(s->path, &s->events), 0);
	assert_int_equal(events_listen(s->events, &machine, &s->tracer), 0);
}

static size_t read_file(const char *path, char *text)
{
	FILE *in = fopen(path, "r");
	size_t n;

	assert_non_null(in);
	n = fread(text, 1, TEXT_MAX - 1, in);
	fclose(in);
	text[n] = '\0';
	return n;
}

/* The whole file is HEAD and @expected. */
static void close_stream(struct stream *s, const char *expected)
{
	char *text = malloc(TEXT_MAX), *wanted = malloc(TEXT_MAX);

	assert_int_equal(events_close(s->events), 0);
	read_file(s->path, text);
	snprintf(wanted, TEXT_MAX, "%s%s", HEAD, expected);
	assert_string_equal(text, wanted);
	free(text);
	free(wanted);
	unlink(s->path);
}

/* One call from begin to end, that nobody else meets. */
static void fire(struct stream *s, enum trace_point point, u32 lp, struct trace_call *how,
		 const struct tdx_regs *in, const struct tdx_regs *out)
{
	struct trace_call call;
	struct trace_seamcall event = {.lp = lp, .in = in, .out = out, .call = &call};

	trace_call_begin(&s->tracer, &call);
	if (how) {
		call.stop = how->stop;
		call.gpa = how->gpa;
		call.served = how->served;
	}
	trace_step_begin(&call);
	trace_step_end(&call);
	trace_fire(&s->tracer, point, &event);
}

static void fire_call(struct stream *s, u32 lp, struct tdx_regs in, struct tdx_regs out)
{
	fire(s, TRACE_SEAMCALL, lp, NULL, &in, &out);
}

/* ---- text ------------------------------------------------------------------------------------*/

/* A call shows the registers that aren't 0, its answer those that have changed; a status by name. */
static void host_calls(void **state)
{
	struct stream s;

	(void)state;
	open_stream(&s, "calls");
	fire_call(&s, 2, (struct tdx_regs){.rax = TDH_SYS_INIT}, (struct tdx_regs){0});
	fire_call(&s, 0, (struct tdx_regs){.rax = TDH_MEM_PAGE_AUG, .rcx = 0x200001, .r8 = ~0ULL},
		  (struct tdx_regs){.rax = TDX_EPT_WALK_FAILED | 1, .rdx = 0x102, .r8 = ~0ULL});
	fire_call(&s, 1, (struct tdx_regs){.rax = TDH_MNG_RD | 1 << 16, .r15 = 1},
		  (struct tdx_regs){.rax = 0x1234567800000000, .r15 = 1});
	fire_call(&s, 1, (struct tdx_regs){.rax = 63}, (struct tdx_regs){.rax = TDX_SYS_BUSY});
	fire_call(&s, 1, (struct tdx_regs){.rax = TDH_MEM_TRACK | 1 << 24},
		  (struct tdx_regs){.rax = TDX_OPERAND_INVALID});
	fire_call(&s, 1, (struct tdx_regs){.rax = TDH_MEM_PAGE_DEMOTE},
		  (struct tdx_regs){.rax = TDX_INTERRUPTED_RESTARTABLE});
	close_stream(&s, "call lp=2 TDH.SYS.INIT -> TDX_SUCCESS\n"
			 "call lp=0 TDH.MEM.PAGE.AUG rcx=0x200001 r8=0xffffffffffffffff -> "
			 "TDX_EPT_WALK_FAILED|0x1 rcx=0x0 rdx=0x102\n"
			 "call lp=1 TDH.MNG.RD version=1 r15=0x1 -> 0x1234567800000000\n"
			 "call lp=1 SEAMCALL rax=0x3f -> TDX_SYS_BUSY\n"
			 "call lp=1 SEAMCALL rax=0x1000026 -> TDX_OPERAND_INVALID\n"
			 "call lp=1 interrupt TDH.MEM.PAGE.DEMOTE -> TDX_INTERRUPTED_RESTARTABLE\n"
			 "end 8\n");
}

/* A vCPU's stay is a line for the way in, one for each thing the guest does, and one for the exit. */
static void guest_lines(void **state)
{
	const struct tdx_regs enter = {.rax = TDH_VP_ENTER, .rcx = 0x5000, .r10 = 9};
	const struct tdx_regs answer = {.r10 = 9, .r11 = 1};
	const struct tdx_regs accept = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = 0x1000};
	const struct tdx_regs success = {.rcx = 0x1000};
	const struct tdx_regs exit = {.rax = 48, .rcx = 2, .r8 = 0x1000};
	struct trace_call tdcall = {.stop = TRACE_STOP_TDCALL};
	struct trace_call interrupt = {.stop = TRACE_STOP_INTERRUPT};
	struct trace_call nmi = {.stop = TRACE_STOP_NMI};
	struct trace_call read = {.stop = TRACE_STOP_READ, .gpa = 0x7008, .served = 12};
	struct trace_call write = {.stop = TRACE_STOP_WRITE, .gpa = 0x8000};
	struct stream s;

	(void)state;
	open_stream(&s, "guest");
	fire(&s, TRACE_VP_ENTER, 1, NULL, &enter, NULL);
	fire(&s, TRACE_VP_ENTER, 1, NULL, &enter, &answer);
	fire(&s, TRACE_TDCALL, 1, NULL, &accept, &success);
	fire(&s, TRACE_TDCALL, 1, &tdcall, &accept, &accept);
	fire(&s, TRACE_TDCALL, 1, &interrupt, &accept, &accept);
	fire(&s, TRACE_GUEST_VE, 1, &read, NULL, NULL);
	fire(&s, TRACE_SEAMCALL, 1, &write, &enter, &exit);
	fire(&s, TRACE_SEAMCALL, 1, &tdcall, &enter, &exit);
	fire(&s, TRACE_SEAMCALL, 1, &interrupt, &enter, &(struct tdx_regs){.rax = 1});
	fire(&s, TRACE_SEAMCALL, 1, &nmi, &enter, &(struct tdx_regs){.r9 = 0x80000202});
	close_stream(&s, "enter lp=1 TDH.VP.ENTER rcx=0x5000 r10=0x9\n"
			 "enter lp=1 TDH.VP.ENTER rcx=0x5000 r10=0x9 -> TDX_SUCCESS r10=0x9 "
			 "r11=0x1\n"
			 "guest lp=1 TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> TDX_SUCCESS\n"
			 "guest lp=1 TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> EXIT\n"
			 "guest lp=1 interrupt TDG.MEM.PAGE.ACCEPT rcx=0x1000 -> EXIT\n"
			 "ve lp=1 read=0x7008 served=12\n"
			 "exit lp=1 write=0x8000 served=0 -> TDX_SUCCESS|0x30 rcx=0x2 r8=0x1000\n"
			 "exit lp=1 tdcall -> TDX_SUCCESS|0x30 rcx=0x2 r8=0x1000\n"
			 "exit lp=1 interrupt -> TDX_SUCCESS|0x1\n"
			 "exit lp=1 nmi -> TDX_SUCCESS r9=0x80000202\n"
			 "end 12\n");
}

/* What a leaf reads goes before its call, of its own processor only, a KiB a line, without zeros. */
static void memory_lines(void **state)
{
	u64 words[256] = {[1] = 0x0102030405060708, [2] = 1, [200] = 0xff};
	struct trace_memory m = {.lp = 1, .hpa = 0x4000, .bytes = words, .size = sizeof(words)};
	struct stream s;

	(void)state;
	open_stream(&s, "memory");
	trace_fire(&s.tracer, TRACE_MODULE_READ, &m);
	trace_fire(&s.tracer, TRACE_TDMR_INIT_ALL, NULL);
	fire_call(&s, 0, (struct tdx_regs){.rax = TDH_SYS_INIT}, (struct tdx_regs){0});
	fire_call(&s, 1, (struct tdx_regs){.rax = TDH_SYS_CONFIG}, (struct tdx_regs){0});
	fire_call(&s, 1, (struct tdx_regs){.rax = TDH_SYS_CONFIG}, (struct tdx_regs){0});
	close_stream(&s, "tdmr-init-all\n"
			 "call lp=0 TDH.SYS.INIT -> TDX_SUCCESS\n"
			 "mem 0x4000 1024 0x8:08070605040302010100000000000000\n"
			 "mem 0x4400 1024 0x240:ff00000000000000\n"
			 "call lp=1 TDH.SYS.CONFIG -> TDX_SUCCESS\n"
			 "call lp=1 TDH.SYS.CONFIG -> TDX_SUCCESS\n"
			 "end 8\n");
}

#ifdef SEPTUM_CHECK
/* The head names the bugs that were planted: they change what the module answers. */
static void planted_bugs(void **state)
{
	struct events_machine m = machine;
	struct stream s = {.path = ""};
	char text[512];

	(void)state;
	snprintf(s.path, sizeof(s.path), "/tmp/test-events-%d-bugs", (int)getpid());
	bug_set_add(&m.planted_bugs, BUG_SKIP_KICK);
	bug_set_add(&m.planted_bugs, BUG_STALE_TLB);
	assert_int_equal(events_open(s.path, &s.events), 0);
	assert_int_equal(events_listen(s.events, &m, &s.tracer), 0);
	assert_int_equal(events_close(s.events), 0);
	read_file(s.path, text);
	assert_non_null(strstr(text, " private-hkid=32 bugs=stale-tlb,skip-kick\nend 2\n"));
	unlink(s.path);
}
#endif

/* ---- order -----------------------------------------------------------------------------------*/

struct pending {
	struct trace_call call;
	struct tdx_regs in, out;
	u32 lp;
};

static void begin(struct stream *s, struct pending *p, u32 lp)
{
	*p = (struct pending){.lp = lp, .in = {.rax = TDH_MEM_TRACK}};
	trace_call_begin(&s->tracer, &p->call);
}

static void take_place(struct pending *p)
{
	trace_step_begin(&p->call);
	trace_step_end(&p->call);
}

static void finish(struct stream *s, struct pending *p)
{
	struct trace_seamcall event = {.lp = p->lp, .in = &p->in, .out = &p->out, .call = &p->call};

	trace_fire(&s->tracer, TRACE_SEAMCALL, &event);
}

/* Lines stand in the order in which the calls took effect, not in that of their returns. */
static void order_of_places(void **state)
{
	struct pending a, b, c;
	struct stream s;

	(void)state;
	open_stream(&s, "order");
	begin(&s, &a, 0);
	begin(&s, &b, 1);
	take_place(&b);
	take_place(&a);
	finish(&s, &a);
	begin(&s, &c, 2);
	take_place(&c);
	finish(&s, &c);
	finish(&s, &b);
	close_stream(&s, "call lp=1 overlap=2 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=0 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=2 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "end 5\n");
}

/* Of several steps the last one counts. */
static void last_step_counts(void **state)
{
	struct pending a, b;
	struct stream s;

	(void)state;
	open_stream(&s, "steps");
	begin(&s, &a, 0);
	begin(&s, &b, 1);
	take_place(&a);
	take_place(&b);
	take_place(&a);
	finish(&s, &a);
	finish(&s, &b);
	close_stream(&s, "call lp=1 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=0 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "end 4\n");
}

/*
 * A call that got below a place before it was cut off, and ends after that, goes right before the cut;
 * and before the last one, if the place was open again in between.
 */
static void before_the_cut(void **state)
{
	struct pending a, b, c, d;
	struct stream s;
	int where, elsewhere;

	(void)state;
	open_stream(&s, "cut");
	begin(&s, &a, 0);
	take_place(&a);
	begin(&s, &b, 1);
	trace_step_begin(&b.call);
	trace_step_end_cut(&b.call, &where);
	finish(&s, &b);
	begin(&s, &c, 2);
	take_place(&c);
	finish(&s, &c);
	begin(&s, &b, 1);
	trace_step_begin(&b.call);
	trace_step_end_cut(&b.call, &where);
	finish(&s, &b);
	begin(&s, &d, 2);
	take_place(&d);
	trace_step_begin(&d.call);
	trace_step_end_before_cut(&d.call, &elsewhere);
	finish(&s, &d);
	trace_step_begin(&a.call);
	trace_step_end_before_cut(&a.call, &where);
	finish(&s, &a);
	close_stream(&s, "call lp=1 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=2 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=0 overlap=4 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=1 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=2 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "end 7\n");
}

/* overlap counts every other call that ran at some moment between begin and end, and no other. */
static void overlaps(void **state)
{
	struct pending a, b, c;
	struct stream s;

	(void)state;
	open_stream(&s, "overlap");
	begin(&s, &a, 0);
	for (int i = 0; i < 3; i++) {
		begin(&s, &b, 1);
		take_place(&b);
		finish(&s, &b);
	}
	take_place(&a);
	finish(&s, &a);
	begin(&s, &c, 2);
	take_place(&c);
	finish(&s, &c);
	close_stream(&s, "call lp=1 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=1 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=1 overlap=1 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=0 overlap=3 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "call lp=2 TDH.MEM.TRACK -> TDX_SUCCESS\n"
			 "end 7\n");
}

struct many {
	struct stream *s;
	u32 lp;
	u64 *shared; /* changed in steps, read into the line */
};

#define MANY 5000

/* Each call takes the next number in a step, and shows it. */
static void make_many(void *arg)
{
	struct many *m = arg;
	struct pending p;

	for (int i = 0; i < MANY; i++) {
		begin(m->s, &p, m->lp);
		trace_step_begin(&p.call);
		p.out.r8 = ++*m->shared;
		trace_step_end(&p.call);
		finish(m->s, &p);
	}
}

/* With three threads at it, every line's number is that of the line before and one. */
static void order_of_threads(void **state)
{
	struct sync_thread threads[3];
	struct many many[3];
	char *text = malloc(4 * TEXT_MAX), *at;
	struct stream s;
	u64 shared = 0;
	FILE *in;

	(void)state;
	open_stream(&s, "threads");
	for (u32 i = 0; i < 3; i++) {
		many[i] = (struct many){&s, i, &shared};
		assert_int_equal(sync_thread_create(&threads[i], make_many, &many[i]), 0);
	}
	for (u32 i = 0; i < 3; i++)
		sync_thread_join(&threads[i]);
	assert_int_equal(events_close(s.events), 0);
	in = fopen(s.path, "r");
	assert_non_null(in);
	text[fread(text, 1, 4 * TEXT_MAX - 1, in)] = '\0';
	fclose(in);
	at = text;
	for (u64 i = 1; i <= 3 * MANY; i++) {
		at = strstr(at, "r8=0x");
		assert_non_null(at);
		at += 3;
		assert_int_equal(strtoull(at, NULL, 16), i);
	}
	assert_null(strstr(at, "r8="));
	free(text);
	unlink(s.path);
}

/* ---- the file --------------------------------------------------------------------------------*/

/* A name that ends in .zst gets the same bytes, compressed. */
static void compressed(void **state)
{
	char *text = malloc(TEXT_MAX), *packed = malloc(TEXT_MAX), *plain = malloc(TEXT_MAX);
	struct stream s;
	size_t n, unpacked;

	(void)state;
	for (int zst = 0; zst <= 1; zst++) {
		open_stream(&s, zst ? "packed.zst" : "plain");
		for (u64 i = 0; i < 8000; i++)
			fire_call(&s, 0, (struct tdx_regs){.rax = TDH_MEM_TRACK, .rcx = i},
				  (struct tdx_regs){.rcx = i * i});
		assert_int_equal(events_close(s.events), 0);
		n = read_file(s.path, zst ? packed : plain);
		unlink(s.path);
	}
	unpacked = ZSTD_decompress(text, TEXT_MAX, packed, n);
	assert_false(ZSTD_isError(unpacked));
	assert_int_equal(unpacked, strlen(plain));
	assert_true(unpacked > 300 * 1024);
	assert_memory_equal(text, plain, unpacked);
	free(text);
	free(packed);
	free(plain);
}

/* A file that can't be made is told at once. */
static void unwritable(void **state)
{
	struct events *e;

	(void)state;
	assert_int_equal(events_open("/nonexistent/events.txt", &e), -ENOENT);
	assert_int_equal(events_open("/tmp", &e), -EISDIR);
}

/* A disk that is full is told at the end, whatever was written before and behind it. */
static void full_disk(void **state)
{
	char link[64];

	(void)state;
	snprintf(link, sizeof(link), "/tmp/test-events-%d-full.zst", (int)getpid());
	assert_int_equal(symlink("/dev/full", link), 0);
	for (int zst = 0; zst <= 1; zst++) {
		struct stream s = {.path = ""};

		assert_int_equal(events_open(zst ? link : "/dev/full", &s.events), 0);
		assert_int_equal(events_listen(s.events, &machine, &s.tracer), 0);
		for (u64 i = 0; i < 20000; i++)
			fire_call(&s, 0, (struct tdx_regs){.rax = TDH_MEM_TRACK, .rcx = i * i * i},
				  (struct tdx_regs){0});
		assert_int_equal(events_close(s.events), -ENOSPC);
	}
	unlink(link);
}

/* A tracer that has no room for one more listener says so, and keeps no order. */
static void no_room_to_listen(void **state)
{
	struct tracer t = {.count = TRACE_MAX_LISTENERS};
	struct events *e;

	(void)state;
	assert_int_equal(events_open("/dev/null", &e), 0);
	assert_int_equal(events_listen(e, &machine, &t), -ENOSPC);
	assert_null(t.order);
	assert_int_equal(events_close(e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_calls),	     cmocka_unit_test(guest_lines),
		cmocka_unit_test(memory_lines),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(planted_bugs),
#endif
		cmocka_unit_test(order_of_places),   cmocka_unit_test(last_step_counts),
		cmocka_unit_test(before_the_cut),    cmocka_unit_test(overlaps),
		cmocka_unit_test(order_of_threads),  cmocka_unit_test(compressed),
		cmocka_unit_test(unwritable),	     cmocka_unit_test(full_disk),
		cmocka_unit_test(no_room_to_listen),
	};

	sync_thread_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
