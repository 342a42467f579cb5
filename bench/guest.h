/* SPDX-License-Identifier: MIT */
/* bench/guest: what benchmarks have a guest do to its memory, on the calling thread. */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include "vm/vm.h"

/* Of vCPU 0 of a VM: what it asked last is answered there when it runs again. Zeroed at first. */
struct bench_guest {
	gfn_t next, end;
	enum pg_level level;
	bool read; /* else accept */
	struct tdx_regs call;
};

/** bench_guest_accept - accepts [@gfn, @end) at @level, page by page. Return: vcpu_run()'s */
int bench_guest_accept(struct bench_guest *g, struct machine *m, struct vm *vm, gfn_t gfn,
		       gfn_t end, enum pg_level level);
/** bench_guest_read - reads a word of the page at @gfn. Return: vcpu_run()'s */
int bench_guest_read(struct bench_guest *g, struct machine *m, struct vm *vm, gfn_t gfn);

#endif
