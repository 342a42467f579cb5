/* SPDX-License-Identifier: MIT */
/*
 * Replay of event streams.
 *
 * VP.ENTER returns only at the TD exit, and what other processors do in between is in the stream in
 * between. So a processor that is entered has a thread of its own, as hardware would; the stream is
 * the one script of all threads, and the turn passes to whoever the next record is for:
 *
 *   work()  on the main thread, on top of a processor's thread, or in a guest's run()
 *     host call         made where the turn is; the processor is outside
 *     enter             on its processor's thread: seamcall() -> run() -> work()
 *     guest, exit, ve   in its processor's run(); exit and ve return from there
 *
 * One thread works at any time, so nothing here needs a lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/lp.h"
#include "host/host.h"
#include "observe/text.h"
#include "script/events_replay.h"
#include "seam/seam.h"

#define TURN_SPINS 200
#define PROGRESS_LINES 65536
/* VP.ENTER's RCX without its flags. */
#define ENTER_TDVPR GENMASK_ULL(51, 12)

/* What the record that a processor is at asks the module for. */
enum awaited {
	AWAITS_NOTHING,
	AWAITS_INSIDE, /* VP.ENTER to let the vCPU in */
	AWAITS_EXIT,
	AWAITS_VE,
};

struct replayer;

struct replay_cpu {
	struct replayer *r;
	struct lp *lp;
	struct sync_thread thread;
	bool has_thread;
	struct sync_waitq wq;
	struct tdx_regs regs; /* of VP.ENTER */
	bool is_inside;
	bool tdcall_exits; /* the guest's TDCALL is to end in a TD exit */
	bool was_let_in;   /* by a call that the stream says was refused */
	enum awaited awaits;
};

/*
 * A guest's registers while its TDG.VP.VMCALL is open: the module writes there at the next VP.ENTER.
 * Found by the vCPU's TDVPR page; kept until the page becomes another vCPU's.
 */
struct open_vmcall {
	struct open_vmcall *next;
	hpa_t tdvpr;
	struct tdx_regs regs;
};

struct replayer {
	struct events_replay *result;
	struct events_reader *reader;
	struct host *host;
	struct seam *seam;
	/* One for each LP; behind them the main thread's, which has no LP. */
	struct replay_cpu *cpus;
	u32 nr_lps;
	struct replay_cpu *turn;    /* store-release by who has it, load-acquire by who waits */
	struct replay_cpu *leaving; /* at the end: who may go */
	struct events_record rec;
	bool has_rec;
	bool ended;
	int error;
	struct open_vmcall *open;
};

/* ---- turns -----------------------------------------------------------------------------------*/

static bool has_turn(void *arg)
{
	struct replay_cpu *cpu = arg;

	return sync_load_acquire(&cpu->r->turn) == cpu; /* pairs with pass_turn() */
}

/* Lets @to work, and waits until the turn comes back. */
static void pass_turn(struct replay_cpu *self, struct replay_cpu *to)
{
	sync_store_release(&self->r->turn, to); /* pairs with has_turn() */
	sync_wake_all(&to->wq);
}

static void wait_for_turn(struct replay_cpu *self)
{
	/* Where there are processors enough it comes back soon. */
	for (u32 i = 0; i < TURN_SPINS; i++) {
		if (has_turn(self))
			return;
		sync_relax();
	}
	sync_wait(&self->wq, has_turn, self);
}

static struct replay_cpu *main_cpu(struct replayer *r)
{
	return &r->cpus[r->nr_lps];
}

/* ---- the end: a difference, a bad record ------------------------------------------------------*/

static void end_with(struct replayer *r, int error)
{
	r->ended = true;
	r->error = r->error ? r->error : error;
}

static __printf(2, 3) void refuse(struct replayer *r, const char *fmt, ...)
{
	char why[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	end_with(r, events_reader_refuse(r->reader, r->rec.line, "%s", why));
}

static void describe_record(const struct events_record *rec, char *buffer)
{
	struct text t = text_in(buffer, EVENTS_TEXT_MAX);

	text_string(&t, "lp=");
	text_decimal(&t, rec->lp);
	text_string(&t, " ");
	if (rec->kind == EVENTS_EXIT || rec->kind == EVENTS_VE) {
		text_leaf(&t, TDH_VP_ENTER, false);
		return;
	}
	text_leaf(&t, rec->in.rax, rec->kind == EVENTS_GUEST);
	text_operands(&t, &rec->in, NULL);
}

static void describe_answer(const struct tdx_regs *out, const struct tdx_regs *base, char *buffer)
{
	struct text t = text_in(buffer, EVENTS_TEXT_MAX);

	text_status(&t, out->rax);
	text_operands(&t, out, base);
}

static void describe_word(const char *word, char *buffer)
{
	struct text t = text_in(buffer, EVENTS_TEXT_MAX);

	text_string(&t, word);
}

/* The current record's answer differs; the caller has filled in expected and found. */
static void differ(struct replayer *r)
{
	r->result->differs = true;
	r->result->line = r->rec.line;
	describe_record(&r->rec, r->result->call);
	end_with(r, 0);
}

/* What answers with registers: those that the call doesn't change aren't shown. */
static bool answers_agree(struct replayer *r, const struct tdx_regs *found)
{
	const struct events_record *rec = &r->rec;
	bool is_call = rec->kind == EVENTS_CALL || rec->kind == EVENTS_GUEST;
	const struct tdx_regs *base = is_call ? &rec->in : NULL;

	if (!memcmp(found, &rec->out, sizeof(*found)))
		return true;
	describe_answer(&rec->out, base, r->result->expected);
	describe_answer(found, base, r->result->found);
	differ(r);
	return false;
}

/* ---- host calls ------------------------------------------------------------------------------*/

/* A "busy" of another call's making. */
static bool is_contended(const struct events_record *rec)
{
	u64 status = rec->out.rax;

	if (!rec->answers || !tdx_is_error(status) || (status >> 40 & 0xFF) != 2)
		return false;
	return rec->kind == EVENTS_GUEST || (rec->kind == EVENTS_CALL && rec->overlap);
}

static void forget_vmcalls(struct replayer *r, hpa_t tdvpr)
{
	struct open_vmcall **at = &r->open;

	while (*at) {
		struct open_vmcall *v = *at;

		if (v->tdvpr != tdvpr) {
			at = &v->next;
			continue;
		}
		*at = v->next;
		free(v);
	}
}

static void make_call(struct replayer *r)
{
	const struct events_record *rec = &r->rec;
	struct replay_cpu *cpu = &r->cpus[rec->lp];
	struct tdx_regs regs = rec->in;

	if (cpu->is_inside) {
		refuse(r, "a host's call, expected none while a vCPU is inside LP %u", rec->lp);
		return;
	}
	r->result->seamcalls++;
	if (rec->interrupt)
		lp_interrupt(cpu->lp, LP_INTR);
	seamcall(cpu->lp, &regs);
	lp_take_interrupts(cpu->lp);
	if (cpu->was_let_in) {
		describe_answer(&rec->out, &rec->in, r->result->expected);
		describe_word("the vCPU is let in", r->result->found);
		differ(r);
		return;
	}
	/* The page is a new vCPU's, of which nothing is open. */
	if (rec->in.rax == TDH_VP_CREATE && regs.rax == TDX_SUCCESS)
		forget_vmcalls(r, rec->in.rcx);
	answers_agree(r, &regs);
}

/*
 * The host writes only to pages that are its own. When one has come back from a TD, the host's first
 * stores make it its own again.
 */
static bool take_page(struct replayer *r, hpa_t hpa)
{
	struct tdx_regs regs = {.rax = TDH_PHYMEM_PAGE_RDMD, .rcx = ALIGN_DOWN(hpa, PAGE_SIZE)};
	pfn_t pfn = addr_to_fn(hpa);

	if (!host_tag(r->host, pfn))
		return true;
	if (seamcall(r->cpus[0].lp, &regs) != TDX_SUCCESS || regs.rcx != PT_NDA)
		return false;
	host_retag(r->host, pfn, PG_LEVEL_4K, 0);
	return true;
}

static void write_memory(struct replayer *r)
{
	const struct events_record *rec = &r->rec;

	if (take_page(r, rec->hpa))
		host_write(r->host, rec->hpa, 0, rec->words, rec->size / sizeof(u64));
	else
		refuse(r,
		       "found address 0x%" PRIx64 ", expected memory that the module doesn't own",
		       rec->hpa);
}

/* ---- a vCPU that is inside -------------------------------------------------------------------*/

/* A TDCALL has completed with @found, or exits (NULL). */
static void check_guest_call(struct replayer *r, const struct tdx_regs *found)
{
	const struct events_record *rec = &r->rec;

	if (found && rec->answers) {
		answers_agree(r, found);
	} else if (found) {
		describe_word("EXIT", r->result->expected);
		describe_answer(found, &rec->in, r->result->found);
		differ(r);
	} else if (rec->answers) {
		describe_answer(&rec->out, &rec->in, r->result->expected);
		describe_word("EXIT", r->result->found);
		differ(r);
	}
}

/* Return: the registers that the module will answer into, or NULL. */
static struct tdx_regs *open_vmcall(struct replayer *r, const struct replay_cpu *cpu)
{
	struct open_vmcall *v = malloc(sizeof(*v));

	if (!v) {
		end_with(r, -ENOMEM);
		return NULL;
	}
	*v = (struct open_vmcall){r->open, cpu->regs.rcx & ENTER_TDVPR, r->rec.in};
	r->open = v;
	return &v->regs;
}

static void make_guest_call(struct replayer *r, struct replay_cpu *cpu)
{
	bool is_vmcall = (r->rec.in.rax & 0xFFFF) == TDG_VP_VMCALL;
	struct tdx_regs local = r->rec.in, *regs = &local;

	if (is_vmcall)
		regs = open_vmcall(r, cpu);
	if (!regs)
		return;
	r->result->tdcalls++;
	if (r->rec.interrupt)
		lp_interrupt(cpu->lp, LP_INTR);
	cpu->tdcall_exits = !tdcall(cpu->lp, regs);
	check_guest_call(r, cpu->tdcall_exits ? NULL : regs);
	if (cpu->tdcall_exits)
		return;
	lp_take_interrupts(cpu->lp);
	if (is_vmcall)
		forget_vmcalls(r, cpu->regs.rcx & ENTER_TDVPR);
}

/* The vCPU is inside: if the guest had a VP.VMCALL open, it has its answer. */
static void check_vmcall_answer(struct replayer *r, struct replay_cpu *cpu)
{
	hpa_t tdvpr = cpu->regs.rcx & ENTER_TDVPR;
	const struct open_vmcall *v = r->open;

	while (v && v->tdvpr != tdvpr)
		v = v->next;
	if (v && !r->rec.answers)
		refuse(r, "no answer, expected -> and what the vCPU's TDG.VP.VMCALL is answered");
	else if (!v && r->rec.answers)
		refuse(r, "an answer, expected none: the vCPU has no TDG.VP.VMCALL open");
	else if (v)
		answers_agree(r, &v->regs);
	forget_vmcalls(r, tdvpr);
}

static void stop_by_interrupt(struct replay_cpu *cpu, u32 kind)
{
	lp_take_interrupts(cpu->lp);
	lp_interrupt(cpu->lp, kind);
	/* A TDCALL that exits has its reason already. */
	if (!cpu->tdcall_exits)
		cpu->lp->exit = (struct lp_exit){.kind = LP_EXIT_INTERRUPT};
}

/* Makes the guest stop as the record says. Return: false when it can't be so. */
static bool stop_guest(struct replayer *r, struct replay_cpu *cpu)
{
	const struct events_record *rec = &r->rec;
	bool by_access = rec->stop == TRACE_STOP_READ || rec->stop == TRACE_STOP_WRITE;

	if (by_access == cpu->tdcall_exits && rec->stop != TRACE_STOP_INTERRUPT &&
	    rec->stop != TRACE_STOP_NMI) {
		refuse(r, cpu->tdcall_exits
				  ? "an access, expected the exit of the guest's TDCALL"
				  : "an exit by a TDCALL, expected one that exits before");
		return false;
	}
	if (by_access) {
		cpu->lp->tlb_hits = rec->served;
		cpu->lp->exit = (struct lp_exit){LP_EXIT_EPT_VIOLATION, rec->gpa,
						 rec->stop == TRACE_STOP_WRITE};
	} else if (rec->stop != TRACE_STOP_TDCALL) {
		stop_by_interrupt(cpu, rec->stop == TRACE_STOP_NMI ? LP_NMI : LP_INTR);
	}
	return true;
}

/* ---- work ------------------------------------------------------------------------------------*/

static void work(struct replay_cpu *self);

/* What VP.ENTER runs. Called once more when the module has delivered a #VE. */
static void guest_run(struct lp *lp, void *guest)
{
	struct replay_cpu *cpu = guest;
	struct replayer *r = cpu->r;

	lp->ve_pending = false;
	switch (cpu->awaits) {
	case AWAITS_NOTHING:
		cpu->was_let_in = true;
		lp->exit = (struct lp_exit){.kind = LP_EXIT_INTERRUPT};
		return;
	case AWAITS_INSIDE:
		cpu->is_inside = true;
		check_vmcall_answer(r, cpu);
		break;
	case AWAITS_EXIT:
		describe_answer(&r->rec.out, NULL, r->result->expected);
		describe_word("#VE", r->result->found);
		differ(r);
		break;
	case AWAITS_VE:
		break;
	}
	r->has_rec = false;
	cpu->awaits = AWAITS_NOTHING;
	work(cpu);
}

static const struct guest_ops replay_ops = {.run = guest_run};

static void enter(struct replayer *r, struct replay_cpu *cpu)
{
	if (cpu->is_inside) {
		refuse(r, "TDH.VP.ENTER, expected none while a vCPU is inside LP %u", r->rec.lp);
		return;
	}
	r->result->seamcalls++;
	cpu->regs = r->rec.in;
	cpu->awaits = AWAITS_INSIDE;
	cpu->tdcall_exits = false;
	seamcall(cpu->lp, &cpu->regs);
	lp_take_interrupts(cpu->lp);
	if (r->ended) {
		/* On the way out of a replay that is over. */
	} else if (!cpu->is_inside) {
		describe_word("the vCPU is let in", r->result->expected);
		describe_answer(&cpu->regs, &r->rec.in, r->result->found);
		differ(r);
	} else if (cpu->awaits == AWAITS_VE) {
		describe_word("#VE", r->result->expected);
		describe_answer(&cpu->regs, NULL, r->result->found);
		differ(r);
	} else {
		answers_agree(r, &cpu->regs);
	}
	cpu->is_inside = false;
	cpu->awaits = AWAITS_NOTHING;
	r->has_rec = false;
}

/* Guest records. Return: true when guest code has to return from run() now. */
static bool act_inside(struct replayer *r, struct replay_cpu *cpu)
{
	bool stops = r->rec.kind != EVENTS_GUEST;

	if (!cpu->is_inside) {
		refuse(r, "what a guest does, expected a vCPU inside LP %u before", r->rec.lp);
		return false;
	}
	if (!stops && cpu->tdcall_exits) {
		refuse(r, "a guest's call, expected the exit of the one before");
		return false;
	}
	if (!stops) {
		make_guest_call(r, cpu);
		r->has_rec = false;
		return false;
	}
	if (!stop_guest(r, cpu))
		return false;
	cpu->awaits = r->rec.kind == EVENTS_VE ? AWAITS_VE : AWAITS_EXIT;
	return true;
}

/* Fetches the next record, if there is none. */
static void fetch(struct replayer *r)
{
	int ret;

	if (r->has_rec || r->ended)
		return;
	ret = events_reader_next(r->reader, &r->rec);
	if (ret <= 0) {
		end_with(r, ret);
		return;
	}
	r->has_rec = true;
	r->result->lines = r->rec.line;
	if (r->result->progress && r->rec.line % PROGRESS_LINES == 0)
		r->result->progress(r->result->ctx, r->rec.line);
}

/* Whose thread the record needs; a host's call may be made on any. */
static struct replay_cpu *worker_of(struct replayer *r, struct replay_cpu *self)
{
	switch (r->rec.kind) {
	case EVENTS_ENTER:
	case EVENTS_EXIT:
	case EVENTS_GUEST:
	case EVENTS_VE:
		return &r->cpus[r->rec.lp];
	default:
		return self;
	}
}

static void processor(void *arg)
{
	struct replay_cpu *cpu = arg;

	lp_set_current(cpu->lp);
	wait_for_turn(cpu);
	work(cpu);
	pass_turn(cpu, main_cpu(cpu->r));
}

static bool start_thread(struct replay_cpu *cpu)
{
	int err;

	if (cpu->has_thread)
		return true;
	err = sync_thread_create(&cpu->thread, processor, cpu);
	cpu->has_thread = !err;
	if (err)
		end_with(cpu->r, err);
	return !err;
}

static void hand_over(struct replay_cpu *self, struct replay_cpu *to)
{
	if (to != main_cpu(self->r) && !start_thread(to))
		return;
	pass_turn(self, to);
	wait_for_turn(self);
}

/* Acts on the current record. Return: true when guest code has to return from run() now. */
static bool act(struct replayer *r, struct replay_cpu *self)
{
	struct replay_cpu *worker = worker_of(r, self);

	if (worker != self) {
		hand_over(self, worker);
		return false;
	}
	switch (r->rec.kind) {
	case EVENTS_ENTER:
		enter(r, self);
		return false;
	case EVENTS_EXIT:
	case EVENTS_GUEST:
	case EVENTS_VE:
		return act_inside(r, self);
	case EVENTS_CALL:
		make_call(r);
		break;
	case EVENTS_MEMORY:
		write_memory(r);
		break;
	case EVENTS_TDMR_INIT_ALL:
		seam_tdmr_init_all(r->seam);
		break;
	}
	r->has_rec = false;
	return false;
}

/* From record to record, until a guest has to stop or all is over. */
static void work(struct replay_cpu *self)
{
	struct replayer *r = self->r;

	for (;;) {
		fetch(r);
		if (!r->ended && is_contended(&r->rec)) {
			r->result->contended++;
			r->has_rec = false;
		} else if (!r->ended) {
			if (act(r, self))
				return;
		} else if (self == main_cpu(r)) {
			return;
		} else if (r->leaving == self) {
			if (self->is_inside)
				stop_by_interrupt(self, LP_INTR);
			return;
		} else {
			hand_over(self, main_cpu(r));
		}
	}
}

/* ---- life ------------------------------------------------------------------------------------*/

static int make_cpus(struct replayer *r)
{
	r->cpus = calloc(r->result->head.nr_lps + 1, sizeof(*r->cpus));
	if (!r->cpus)
		return -ENOMEM;
	for (u32 i = 0; i < r->result->head.nr_lps; i++) {
		struct replay_cpu *cpu = &r->cpus[i];
		int err = lp_create(r->host, i, &cpu->lp);

		if (err)
			return err;
		cpu->r = r;
		cpu->lp->guest_ops = &replay_ops;
		cpu->lp->guest = cpu;
		sync_waitq_init(&cpu->wq);
		seam_attach_lp(r->seam, cpu->lp);
		r->nr_lps++;
	}
	main_cpu(r)->r = r;
	sync_waitq_init(&main_cpu(r)->wq);
	r->turn = main_cpu(r);
	return 0;
}

static int make_machine(struct replayer *r)
{
	const struct events_head *head = &r->result->head;
	struct host_config cfg = {.memory_bytes = head->memory_bytes,
				  .lps = head->nr_lps,
				  .packages = head->nr_packages,
				  .planted_bugs = head->planted_bugs};
	int err = host_create(&cfg, &r->host);

	if (!err)
		err = seam_create(r->host, head->profile, &r->seam);
	return err ? err : make_cpus(r);
}

/* Lets every vCPU that is inside exit, and every thread end. */
static void wind_up(struct replayer *r)
{
	for (u32 i = 0; i < r->nr_lps; i++) {
		struct replay_cpu *cpu = &r->cpus[i];

		if (!cpu->has_thread)
			continue;
		r->leaving = cpu;
		pass_turn(main_cpu(r), cpu);
		wait_for_turn(main_cpu(r));
		sync_thread_join(&cpu->thread);
	}
}

static void destroy(struct replayer *r)
{
	for (u32 i = 0; i < r->nr_lps; i++) {
		sync_waitq_destroy(&r->cpus[i].wq);
		lp_destroy(r->cpus[i].lp);
	}
	if (r->turn)
		sync_waitq_destroy(&main_cpu(r)->wq);
	while (r->open) {
		struct open_vmcall *next = r->open->next;

		free(r->open);
		r->open = next;
	}
	if (r->seam)
		seam_destroy(r->seam);
	if (r->host)
		host_destroy(r->host);
	free(r->cpus);
	events_reader_close(r->reader);
}

int events_replay(const char *path, struct events_replay *replay, char *err, size_t err_size)
{
	struct replayer r = {.result = replay};
	int error = events_reader_open(path, err, err_size, &replay->head, &r.reader);

	if (error)
		return error;
	error = make_machine(&r);
	if (!error) {
		work(main_cpu(&r));
		wind_up(&r);
		error = r.error;
	}
	if (error == -ENOMEM || error == -EAGAIN)
		snprintf(err, err_size, "%s: no room for a host of 0x%" PRIx64 " bytes and %u LPs",
			 path, replay->head.memory_bytes, replay->head.nr_lps);
	destroy(&r);
	return error;
}
