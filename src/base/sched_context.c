/* SPDX-License-Identifier: MIT */
/*
 * base/sched: stacks, and going from one to the other. On x86-64 a switch saves the six registers
 * that a call preserves and costs a few nanoseconds; elsewhere ucontext does it by system calls.
 * Sanitizers are told, or they would take every switch for a wild jump of the stack pointer.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/sched_impl.h"

#ifdef SCHED_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned int flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned int flags);
#endif
#ifdef SCHED_ASAN
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void __asan_unpoison_memory_region(const volatile void *p, size_t size);
#endif

/* Lazily populated: what a stack really uses is a few pages, and stays with it. */
#if defined(SCHED_ASAN) || defined(SCHED_TSAN)
#define STACK_BYTES (1U << 20)
#else
#define STACK_BYTES (1U << 18)
#endif
#define GUARD_BYTES (1U << 16)

int sched_context_create(struct sched_context *c)
{
	u8 *base = sched_own_map(GUARD_BYTES + STACK_BYTES, PROT_NONE);

	if (!base)
		return -ENOMEM;
	if (mprotect(base + GUARD_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE)) {
		sched_own_unmap(base, GUARD_BYTES + STACK_BYTES);
		return -ENOMEM;
	}
	c->stack = base + GUARD_BYTES;
	c->stack_bytes = STACK_BYTES;
	return 0;
}

void sched_context_destroy(struct sched_context *c)
{
#ifdef SCHED_TSAN
	if (c->fiber)
		__tsan_destroy_fiber(c->fiber);
#endif
	sched_own_unmap((u8 *)c->stack - GUARD_BYTES, GUARD_BYTES + STACK_BYTES);
}

/*
 * A fiber remembers the functions that were entered and never left, those of a run that was cut short
 * too, and has room for 65536. To make one takes ThreadSanitizer a millisecond.
 */
#define FIBER_STARTS 500

/* For sanitizers nothing is left of what ran on the stack before, and was perhaps cut short. */
static void forget_last_run(struct sched_context *c)
{
#ifdef SCHED_ASAN
	__asan_unpoison_memory_region(c->stack, c->stack_bytes);
#endif
#ifdef SCHED_TSAN
	if (c->fiber && c->starts++ < FIBER_STARTS)
		return;
	if (c->fiber)
		__tsan_destroy_fiber(c->fiber);
	c->fiber = __tsan_create_fiber(0);
	c->starts = 0;
#endif
	(void)c;
}

#ifdef SCHED_UCONTEXT

void sched_context_start(struct sched_context *c, void (*entry)(void))
{
	forget_last_run(c);
	getcontext(&c->uc);
	c->uc.uc_stack.ss_sp = c->stack;
	c->uc.uc_stack.ss_size = c->stack_bytes;
	c->uc.uc_link = NULL;
	makecontext(&c->uc, entry, 0);
}

static void jump(struct sched_context *from, struct sched_context *to)
{
	swapcontext(&from->uc, &to->uc);
}

#else

/* void sched_jump(void **save, void *load) */
__asm__(".text\n"
	".p2align 4\n"
	".type sched_jump, @function\n"
	"sched_jump:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size sched_jump, .-sched_jump\n");
void sched_jump(void **save, void *load) __asm__("sched_jump");

#define SAVED_REGISTERS 6

void sched_context_start(struct sched_context *c, void (*entry)(void))
{
	void **top = (void **)(void *)((u8 *)c->stack + c->stack_bytes);

	forget_last_run(c);
	/* As after a call: the stack pointer is 8 off a multiple of 16, and nobody to return to. */
	*--top = NULL;
	*--top = (void *)(uintptr_t)entry;
	for (int i = 0; i < SAVED_REGISTERS; i++)
		*--top = NULL;
	c->sp = top;
}

static void jump(struct sched_context *from, struct sched_context *to)
{
	sched_jump(&from->sp, to->sp);
}

#endif

void sched_context_here(struct sched_context *c)
{
	c->stack = NULL;
	c->stack_bytes = 0;
#ifdef SCHED_TSAN
	c->fiber = __tsan_get_current_fiber();
#endif
}

void sched_context_entered(struct sched_context *outside)
{
#ifdef SCHED_ASAN
	const void *bottom;
	size_t size;

	/* It says what stack we come from: at the first switch that of the outside. */
	__sanitizer_finish_switch_fiber(NULL, &bottom, &size);
	if (!outside->stack) {
		outside->stack = (void *)(uintptr_t)bottom;
		outside->stack_bytes = size;
	}
#else
	(void)outside;
#endif
}

void sched_context_switch(struct sched_context *from, struct sched_context *to, bool last)
{
#ifndef SCHED_ASAN
	(void)last;
#endif
#ifdef SCHED_TSAN
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
#ifdef SCHED_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#endif
	jump(from, to);
#ifdef SCHED_ASAN
	__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}
