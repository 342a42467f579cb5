/* SPDX-License-Identifier: MIT */
/* The interpreter: statement after statement, on a machine of its own. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "script/seamcall_answer.h"
#include "script/seamcall_machine.h"

struct interpreter {
	const struct seamcall_script *script;
	struct sc_machine *machine;
	struct seamcall_run *run;
	struct seamcall_error *error;
	u32 lp; /* that host calls come from */
	const struct sc_statement *st;
};

static __printf(2, 3) int refuse(struct interpreter *in, const char *fmt, ...)
{
	va_list args;

	in->error->line = in->st->line;
	in->error->column = in->st->column;
	va_start(args, fmt);
	vsnprintf(in->error->text, sizeof(in->error->text), fmt, args);
	va_end(args);
	return -EINVAL;
}

static int refused_call(struct interpreter *in, const char *what, const struct sc_refusal *refusal)
{
	const char *status = tdx_status_name(refusal->status);

	return refuse(in, "found %s answering 0x%llx %s, expected TDX_SUCCESS to bring up %s",
		      refusal->leaf, (unsigned long long)refusal->status, status ? status : "",
		      what);
}

/* ---- registers -------------------------------------------------------------------------------*/

static struct tdx_regs registers(const struct interpreter *in)
{
	const struct sc_statement *st = in->st;
	struct tdx_regs regs = {0};

	if (st->leaf)
		regs.rax = st->leaf->number | (u64)st->version << 16;
	for (u32 i = 0; i < st->regs.count; i++) {
		const struct sc_assign *assign = &in->script->assigns[st->regs.first + i];

		*sc_reg_of(&regs, assign->reg) = assign->value;
	}
	return regs;
}

/* The leaf that @regs call, whatever the line called it; NULL for one that isn't ours. */
static const struct sc_leaf *called_leaf(bool guest, const struct tdx_regs *regs)
{
	return sc_leaf_by_number(guest, regs->rax & 0xFFFF);
}

static const char *called_name(const struct sc_statement *st, const struct sc_leaf *leaf,
			       bool guest)
{
	if (st->leaf)
		return st->leaf->name;
	return leaf ? leaf->name : guest ? "TDCALL" : "SEAMCALL";
}

static void answer_call(struct interpreter *in, const struct sc_cpu *cpu, const char *who,
			const char *what, const struct tdx_regs *regs, u32 outputs)
{
	struct seamcall_answer answer = {.lp = cpu->lp->id,
					 .who = who,
					 .what = what,
					 .is_call = true,
					 .regs = *regs,
					 .outputs = outputs};

	in->run->calls++;
	sc_answer(in->run, in->script, in->st, SC_EXPECT_STATUS, 0, &answer);
}

static void answer_exit(struct interpreter *in, const struct sc_cpu *cpu, const char *who,
			const char *what)
{
	struct seamcall_answer answer = {.lp = cpu->lp->id,
					 .who = who,
					 .what = what,
					 .is_call = true,
					 .exit = true,
					 .regs = cpu->regs,
					 .outputs = sc_exit_outputs(&cpu->regs)};

	in->run->calls++;
	sc_answer(in->run, in->script, in->st, SC_EXPECT_EXIT, 0, &answer);
	/* An external interrupt has got the host's attention. */
	if ((u32)cpu->regs.rax <= TDX_EXIT_EXTERNAL_INTERRUPT)
		lp_take_interrupts(cpu->lp);
}

static void answer_text(struct interpreter *in, const struct sc_cpu *cpu, const char *who,
			const char *what, enum sc_expect_kind came, u64 value, const char *text)
{
	struct seamcall_answer answer = {
		.lp = cpu ? cpu->lp->id : in->lp, .who = who, .what = what, .text = text};

	sc_answer(in->run, in->script, in->st, came, value, &answer);
}

/* ---- vCPUs -----------------------------------------------------------------------------------*/

/*
 * VP.VMCALL is trap-like: what the host gave to VP.ENTER is its answer, which the guest finds when
 * it goes on.
 */
static void show_vmcall_answer(struct interpreter *in, const struct sc_cpu *cpu,
			       const struct sc_vcpu *vcpu)
{
	const struct sc_statement here = {.line = in->st->line};
	struct seamcall_answer answer = {.lp = cpu->lp->id,
					 .who = vcpu->name,
					 .what = "TDG.VP.VMCALL",
					 .is_call = true,
					 .regs = vcpu->regs,
					 .outputs = sc_vmcall_outputs(vcpu->regs.rcx)};

	sc_answer(in->run, in->script, &here, SC_EXPECT_STATUS, 0, &answer);
}

/* VP.ENTER has been called: inside, or the exit or failure that came at once. */
static void after_enter(struct interpreter *in, struct sc_cpu *cpu, struct sc_vcpu *vcpu,
			bool awaited, bool named)
{
	bool failed = tdx_is_error(cpu->regs.rax);

	if (cpu->is_inside && !named) {
		/* A vCPU that the script has no name for has nothing to do inside. */
		sc_cpu_leave(cpu);
		answer_exit(in, cpu, NULL, "TDH.VP.ENTER");
	} else if (cpu->is_inside) {
		if (in->st->expect.kind != SC_EXPECT_NOTHING)
			answer_text(in, cpu, vcpu->name, "TDH.VP.ENTER", SC_EXPECT_OK, 0, "inside");
		if (awaited)
			show_vmcall_answer(in, cpu, vcpu);
	} else if (failed) {
		answer_call(in, cpu, NULL, "TDH.VP.ENTER", &cpu->regs, 0);
	} else {
		answer_exit(in, cpu, named ? vcpu->name : NULL, "TDH.VP.ENTER");
	}
}

static int enter(struct interpreter *in, struct sc_cpu *cpu, struct sc_vcpu *vcpu,
		 const struct tdx_regs *regs)
{
	struct sc_vcpu unnamed = {0};
	struct sc_vcpu *who = vcpu ? vcpu : &unnamed;
	bool awaited = who->awaits_answer;

	if (sc_cpu_enter(cpu, who, regs))
		return refuse(in, "no thread for logical processor %u", cpu->lp->id);
	after_enter(in, cpu, who, awaited, vcpu);
	return 0;
}

static int run_enter(struct interpreter *in)
{
	const struct sc_statement *st = in->st;
	struct sc_vcpu *vcpu = &in->machine->vcpus[st->td][st->vcpu];
	struct sc_cpu *cpu = &in->machine->cpus[st->vcpu];
	struct tdx_regs regs = registers(in);

	if (cpu->is_inside)
		return refuse(in, "found %s inside logical processor %u, expected it to exit first",
			      cpu->vcpu->name, cpu->lp->id);
	regs.rax = TDH_VP_ENTER;
	regs.rcx |= sc_td_tdvpr(st->td, st->vcpu);
	return enter(in, cpu, vcpu, &regs);
}

/* The processor that @vcpu is inside of. */
static struct sc_cpu *cpu_of(struct interpreter *in, const struct sc_vcpu *vcpu)
{
	if (!vcpu->inside)
		refuse(in, "found %s outside, expected 'enter %s' before this", vcpu->name,
		       vcpu->name);
	return vcpu->inside;
}

static int run_exit(struct interpreter *in)
{
	const struct sc_vcpu *vcpu = &in->machine->vcpus[in->st->td][in->st->vcpu];
	struct sc_cpu *cpu = cpu_of(in, vcpu);

	if (!cpu)
		return -EINVAL;
	sc_cpu_leave(cpu);
	answer_exit(in, cpu, vcpu->name, "TDH.VP.ENTER");
	return 0;
}

static int run_guest_call(struct interpreter *in)
{
	struct sc_vcpu *vcpu = &in->machine->vcpus[in->st->td][in->st->vcpu];
	struct sc_cpu *cpu = cpu_of(in, vcpu);
	struct sc_action action = {.kind = SC_ACT_TDCALL};
	struct tdx_regs regs = registers(in);
	const struct sc_leaf *leaf = called_leaf(true, &regs);
	const char *name = called_name(in->st, leaf, true);

	if (!cpu)
		return -EINVAL;
	vcpu->regs = regs;
	sc_cpu_guest(cpu, &action);
	if (action.outcome == SC_OUT_EXIT)
		answer_exit(in, cpu, vcpu->name, name);
	else if (action.outcome == SC_OUT_VE)
		answer_text(in, cpu, vcpu->name, name, SC_EXPECT_VE, 0, "VE");
	else
		answer_call(in, cpu, vcpu->name, name, &vcpu->regs,
			    sc_leaf_outputs(leaf, &regs, &vcpu->regs, in->machine->dpamt));
	return 0;
}

static int run_guest_access(struct interpreter *in)
{
	const struct sc_statement *st = in->st;
	struct sc_vcpu *vcpu = &in->machine->vcpus[st->td][st->vcpu];
	struct sc_cpu *cpu = cpu_of(in, vcpu);
	bool is_read = st->kind == SC_GUEST_READ;
	struct sc_action action = {.kind = is_read ? SC_ACT_READ : SC_ACT_WRITE,
				   .gpa = st->address,
				   .value = st->value};
	const char *what = is_read ? "read" : "write";
	char text[64];

	if (!cpu)
		return -EINVAL;
	sc_cpu_guest(cpu, &action);
	if (action.outcome == SC_OUT_EXIT) {
		answer_exit(in, cpu, vcpu->name, what);
		return 0;
	}
	if (action.outcome == SC_OUT_DONE) {
		snprintf(text, sizeof(text), "0x%llx 0x%llx", (unsigned long long)st->address,
			 (unsigned long long)action.value);
		answer_text(in, cpu, vcpu->name, what, is_read ? SC_EXPECT_VALUE : SC_EXPECT_OK,
			    action.value, text);
		return 0;
	}
	snprintf(text, sizeof(text), "0x%llx %s", (unsigned long long)st->address,
		 action.outcome == SC_OUT_VE ? "VE" : "MC");
	answer_text(in, cpu, vcpu->name, what,
		    action.outcome == SC_OUT_VE ? SC_EXPECT_VE : SC_EXPECT_MC, 0, text);
	return 0;
}

/* ---- host calls ------------------------------------------------------------------------------*/

/* The vCPU of the script whose TDVPR is what @rcx names, or NULL. */
static struct sc_vcpu *vcpu_by_operand(struct interpreter *in, u64 rcx)
{
	hpa_t tdvpr = rcx & TDX_PAGE_INFO_GPA;

	for (u32 td = 0; td < in->script->nr_tds; td++)
		for (u32 i = 0; i < in->script->tds[td].vcpus; i++)
			if (sc_td_tdvpr(td, i) == tdvpr)
				return &in->machine->vcpus[td][i];
	return NULL;
}

static int run_call(struct interpreter *in)
{
	struct sc_cpu *cpu = &in->machine->cpus[in->lp];
	struct tdx_regs regs = registers(in), before = regs;
	const struct sc_leaf *leaf = called_leaf(false, &regs);

	if (cpu->is_inside)
		return refuse(in,
			      "found a host call from logical processor %u, which %s is inside "
			      "of, expected 'lp' to name another",
			      in->lp, cpu->vcpu->name);
	if (leaf && leaf->number == TDH_VP_ENTER) {
		struct sc_vcpu *vcpu = vcpu_by_operand(in, regs.rcx);

		/* One that is inside elsewhere is refused by the module, and stays where it is. */
		return enter(in, cpu, vcpu && !vcpu->inside ? vcpu : NULL, &regs);
	}
	seamcall(cpu->lp, &regs);
	answer_call(in, cpu, NULL, called_name(in->st, leaf, false), &regs,
		    sc_leaf_outputs(leaf, &before, &regs, in->machine->dpamt));
	return 0;
}

/* ---- looking around --------------------------------------------------------------------------*/

static int no_free_lp(struct interpreter *in)
{
	return refuse(in, "found a vCPU inside every logical processor, expected one free");
}

static void print_refusal(FILE *out, const char *what, u64 address, u64 rax)
{
	const char *status = tdx_status_name(rax);

	fprintf(out, "%s 0x%llx rax=0x%llx %s\n", what, (unsigned long long)address,
		(unsigned long long)rax, status ? status : "UNKNOWN_STATUS");
}

static const char *sept_state_name(u64 entry)
{
	static const struct {
		u32 encoding;
		const char *name;
	} states[] = {
#define SEPT_STATE(sym, encoding, ...) {encoding, #sym},
#include "seam/sept_states.def"
#undef SEPT_STATE
	};
	/* D, 53, 54, 55, 56, 6 and 7 of the entry. */
	u32 encoding = (u32)((entry >> 9 & 1) | (entry >> 52 & 0x1E) | (entry >> 1 & 0x60));

	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (states[i].encoding == encoding)
			return states[i].name;
	return "UNKNOWN";
}

/* The OP_STATE field of a TD, read with all the checks that say its control pages are there. */
#define FIELD_OP_STATE 0x9000000000000004ULL

static int run_sept(struct interpreter *in)
{
	const struct sc_statement *st = in->st;
	const struct sc_td_config *td = &in->script->tds[st->td];
	struct lp *lp = sc_machine_free_lp(in->machine);
	struct tdx_regs regs = {.rax = TDH_MNG_RD, .rcx = sc_td_tdr(st->td), .rdx = FIELD_OP_STATE};
	FILE *out = in->run->out;
	u64 entry;

	if (!lp)
		return no_free_lp(in);
	if (!out)
		return 0;
	if (seamcall(lp, &regs) != TDX_SUCCESS) {
		print_refusal(out, "sept", st->address, regs.rax);
		return 0;
	}
	fprintf(out, "sept $%s 0x%llx\n", td->name, (unsigned long long)st->address);
	for (u32 level = td->levels; level; level--) {
		if (!seam_sept_entry(in->machine->seam, sc_td_tdr(st->td), st->address,
				     (enum pg_level)level, &entry)) {
			fprintf(out, "    level=%u no table\n", level - 1);
			break;
		}
		fprintf(out, "    level=%u %s 0x%016llx\n", level - 1, sept_state_name(entry),
			(unsigned long long)entry);
		if (entry & EPT_LEAF)
			break;
	}
	return 0;
}

static const char *pamt_type_name(u64 type)
{
	switch (type) {
	case PT_NDA:
		return "PT_NDA";
	case PT_RSVD:
		return "PT_RSVD";
	case PT_REG:
		return "PT_REG";
	case PT_TDR:
		return "PT_TDR";
	case PT_TDCX:
		return "PT_TDCX";
	case PT_TDVPR:
		return "PT_TDVPR";
	case PT_EPT:
		return "PT_EPT";
	case PT_PAMT:
		return "PT_PAMT";
	default:
		return "PT_UNKNOWN";
	}
}

/* PAMT is the module's: it is asked, as a host asks. */
static int run_pamt(struct interpreter *in)
{
	static const char *const sizes[] = {"4K", "2M", "1G"};
	struct lp *lp = sc_machine_free_lp(in->machine);
	struct tdx_regs regs = {.rax = TDH_PHYMEM_PAGE_RDMD, .rcx = in->st->address & ~0xFFFULL};

	if (!lp)
		return no_free_lp(in);
	if (!in->run->out)
		return 0;
	if (seamcall(lp, &regs) != TDX_SUCCESS) {
		print_refusal(in->run->out, "pamt", in->st->address, regs.rax);
		return 0;
	}
	fprintf(in->run->out, "pamt 0x%llx type=%s size=%s owner=0x%llx BEPOCH=0x%llx\n",
		(unsigned long long)in->st->address, pamt_type_name(regs.rcx & 0xF),
		sizes[regs.r8 > 2 ? 0 : regs.r8], (unsigned long long)regs.rdx,
		(unsigned long long)regs.r9);
	return 0;
}

/*
 * A host's store to a page of the module breaks the page's integrity, and the module's next look at
 * it stops the machine. That end isn't modelled, so the store is refused.
 */
static int run_poke(struct interpreter *in)
{
	struct lp *lp = sc_machine_free_lp(in->machine);
	struct tdx_regs regs = {.rax = TDH_PHYMEM_PAGE_RDMD, .rcx = in->st->address & ~0xFFFULL};

	if (!lp)
		return no_free_lp(in);
	/* Before SYS.TDMR.INIT the module has no page yet. */
	if (seamcall(lp, &regs) == TDX_SUCCESS && regs.rcx != PT_NDA)
		return refuse(in,
			      "found a page of type %s, expected one that the module doesn't use",
			      pamt_type_name(regs.rcx & 0xF));
	host_write(in->machine->host, in->st->address, 0, &in->st->value, 1);
	return 0;
}

static void run_peek(struct interpreter *in)
{
	u64 word = 0;
	int err = host_read(in->machine->host, in->st->address, 0, &word, 1);
	char text[64];

	if (err)
		snprintf(text, sizeof(text), "0x%llx MC", (unsigned long long)in->st->address);
	else
		snprintf(text, sizeof(text), "0x%llx 0x%llx", (unsigned long long)in->st->address,
			 (unsigned long long)word);
	answer_text(in, NULL, NULL, "peek", err ? SC_EXPECT_MC : SC_EXPECT_VALUE, word, text);
}

static int run_hold(struct interpreter *in)
{
	int err = in->st->kind == SC_HOLD ? sc_hold(in->machine, in->st->address, in->st->value)
					  : sc_release(in->machine, in->st->address);

	switch (err) {
	case 0:
		return 0;
	case -EBUSY:
		return refuse(in, "found the page held already, expected it free to hold");
	case -ENOSPC:
		return refuse(in, "found %u pages held, expected no more", SC_MAX_HOLDS);
	case -EAGAIN:
		return no_free_lp(in);
	default:
		return refuse(in,
			      in->st->kind == SC_HOLD
				      ? "found no metadata of that page, expected the module to "
					"be initialised"
				      : "found a page that isn't held, expected 'hold' before");
	}
}

/* ---- statements ------------------------------------------------------------------------------*/

static int run_host(struct interpreter *in)
{
	struct sc_refusal refusal;
	int err = sc_machine_create(&in->script->host, &in->machine, &refusal);

	if (refusal.leaf)
		return refused_call(in, "the module", &refusal);
	if (err == -EINVAL)
		return refuse(in, "found a host that can't be made, expected less memory");
	if (err)
		snprintf(in->error->text, sizeof(in->error->text),
			 "no room for a host of %lluG: %s",
			 (unsigned long long)(in->script->host.memory >> 30), strerror(-err));
	return err;
}

static int run_td(struct interpreter *in)
{
	const struct sc_td_config *td = &in->script->tds[in->st->td];
	struct sc_refusal refusal;
	int err = sc_machine_add_td(in->machine, in->st->td, td, &refusal);

	if (refusal.leaf)
		return refused_call(in, td->name, &refusal);
	if (err)
		return refuse(in,
			      "found vCPUs inside the logical processors that TD %s needs, "
			      "expected them to exit first",
			      td->name);
	return 0;
}

static int run_statement(struct interpreter *in)
{
	struct lp *lp = in->machine ? in->machine->cpus[0].lp : NULL;

	switch (in->st->kind) {
	case SC_INTERRUPT:
	case SC_NMI:
	case SC_CLEAR:
	case SC_MASK:
	case SC_UNMASK:
		lp = in->machine->cpus[in->st->value].lp;
		break;
	default:
		break;
	}
	switch (in->st->kind) {
	case SC_HOST:
		return run_host(in);
	case SC_TD:
		return run_td(in);
	case SC_LP:
		in->lp = (u32)in->st->value;
		return 0;
	case SC_CALL:
		return run_call(in);
	case SC_GUEST_CALL:
		return run_guest_call(in);
	case SC_GUEST_READ:
	case SC_GUEST_WRITE:
		return run_guest_access(in);
	case SC_ENTER:
		return run_enter(in);
	case SC_EXIT:
		return run_exit(in);
	case SC_INTERRUPT:
		lp_interrupt(lp, LP_INTR);
		return 0;
	case SC_NMI:
		lp_interrupt(lp, LP_NMI);
		return 0;
	case SC_CLEAR:
		lp_take_interrupts(lp);
		return 0;
	case SC_MASK:
	case SC_UNMASK:
		lp->intr_masked = in->st->kind == SC_MASK;
		return 0;
	case SC_SEPT:
		return run_sept(in);
	case SC_PAMT:
		return run_pamt(in);
	case SC_PEEK:
		run_peek(in);
		return 0;
	case SC_POKE:
		return run_poke(in);
	case SC_HOLD:
	case SC_RELEASE:
		return run_hold(in);
	}
	return 0;
}

int seamcall_run(const struct seamcall_script *script, struct seamcall_run *run,
		 struct seamcall_error *error)
{
	struct interpreter in = {.script = script, .run = run, .error = error};
	int err = 0;

	*error = (struct seamcall_error){0};
	run->calls = run->expectations = run->failures = 0;
	for (u32 i = 0; !err && i < script->nr_statements; i++) {
		in.st = &script->statements[i];
		err = run_statement(&in);
	}
	if (in.machine)
		sc_machine_destroy(in.machine);
	return err;
}

void seamcall_list(FILE *out)
{
	for (unsigned int i = 0; sc_leaf_at(i); i++) {
		const struct sc_leaf *leaf = sc_leaf_at(i);
		u32 regs = leaf->out_always | leaf->out_success | leaf->out_versioned;

		fprintf(out, "%s %u", leaf->name, leaf->number);
		fprintf(out, leaf->max_version ? " versions 0..%u\n" : " version %u\n",
			leaf->max_version);
		fprintf(out, "    in   %s\n    out  rax", *leaf->operands ? leaf->operands : "-");
		for (unsigned int reg = 0; reg < SC_REG_COUNT; reg++)
			if (regs >> reg & 1)
				fprintf(out, " %s", sc_reg_name(reg));
		fprintf(out, "\n    TDX_ SUCCESS%s%s\n", *leaf->statuses ? " " : "",
			leaf->statuses);
	}
}
