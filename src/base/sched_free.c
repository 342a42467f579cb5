/* SPDX-License-Identifier: MIT */
/*
 * base/sched: what the C library's free() and realloc() take back is no object any more. All of the
 * program's calls come here (the linker's --wrap), for where malloc() puts the next thing depends on
 * all that happened before in the process, and numbers of objects mustn't.
 */
#include <malloc.h>
#include <stdlib.h>

#include "base/sync.h"

void __real_free(void *p);
void *__real_realloc(void *p, size_t size);
void __wrap_free(void *p);
void *__wrap_realloc(void *p, size_t size);

void __wrap_free(void *p)
{
	if (unlikely(sync_sched) && p)
		sched_forget(p, malloc_usable_size(p));
	__real_free(p);
}

/* Whether it moves depends on the process too: what was in it is new in either case. */
void *__wrap_realloc(void *p, size_t size)
{
	if (unlikely(sync_sched) && p)
		sched_forget(p, malloc_usable_size(p));
	return __real_realloc(p, size);
}
