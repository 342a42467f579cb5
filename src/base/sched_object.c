/* SPDX-License-Identifier: MIT */
/*
 * base/sched: numbers for what threads meet at. An address says nothing in another process, the order
 * in which things first appear in a run does. A table from words of memory to numbers; a run's end
 * empties it by counting runs. Memory that is given back takes its number along: what the allocator
 * puts there next is another object, and whether it reuses the place must not be seen.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sched_impl.h"

#define FIRST_SLOTS 1024

int sched_objects_create(struct sched_objects *o)
{
	memset(o, 0, sizeof(*o));
	o->run = 1;
	o->slots = FIRST_SLOTS;
	o->room = FIRST_SLOTS / 2;
	o->slot = sched_own_calloc(o->slots, sizeof(*o->slot));
	o->object = sched_own_calloc(o->room, sizeof(*o->object));
	if (o->slot && o->object)
		return 0;
	sched_objects_destroy(o);
	return -ENOMEM;
}

void sched_objects_destroy(struct sched_objects *o)
{
	sched_own_free(o->slot);
	sched_own_free(o->object);
	memset(o, 0, sizeof(*o));
}

void sched_objects_clear(struct sched_objects *o)
{
	o->nr = 0;
	o->used = 0;
	if (++o->run == 0) {
		memset(o->slot, 0, o->slots * sizeof(*o->slot));
		o->run = 1;
	}
}

/* The slot of @word, or the free one where it belongs. One is always free. */
static struct sched_slot *find(const struct sched_objects *o, uintptr_t word)
{
	u32 i = (u32)((u64)word * 0x9E3779B97F4A7C15ULL >> 32);

	for (;; i++) {
		struct sched_slot *slot = &o->slot[i & (o->slots - 1)];

		if (slot->run != o->run || slot->word == word)
			return slot;
	}
}

static int grow_slots(struct sched_objects *o)
{
	struct sched_objects bigger = *o;

	bigger.slots = o->slots * 2;
	bigger.slot = sched_own_calloc(bigger.slots, sizeof(*bigger.slot));
	if (!bigger.slot)
		return -ENOMEM;
	for (u32 i = 0; i < o->slots; i++) {
		if (o->slot[i].run == o->run)
			*find(&bigger, o->slot[i].word) = o->slot[i];
	}
	sched_own_free(o->slot);
	*o = bigger;
	return 0;
}

static int grow_objects(struct sched_objects *o)
{
	struct sched_object *more =
		sched_own_realloc(o->object, 2 * (size_t)o->room * sizeof(*more));

	if (!more)
		return -ENOMEM;
	o->object = more;
	o->room *= 2;
	return 0;
}

u32 sched_object_number(struct sched_objects *o, const volatile void *p, const char *name)
{
	uintptr_t word = (uintptr_t)p / sizeof(u64);
	struct sched_slot *slot = find(o, word);

	if (likely(slot->run == o->run && slot->number))
		return slot->number;
	if (slot->run != o->run) {
		if (2 * (o->used + 1) > o->slots) {
			if (grow_slots(o))
				return 0;
			slot = find(o, word);
		}
		o->used++;
		*slot = (struct sched_slot){.word = word, .run = o->run};
	}
	if (o->nr + 1 == o->room && grow_objects(o))
		return 0;
	slot->number = ++o->nr;
	o->object[slot->number] = (struct sched_object){word, name};
	return slot->number;
}

void sched_objects_forget(struct sched_objects *o, const void *p, size_t size)
{
	uintptr_t first = (uintptr_t)p / sizeof(u64), words;

	words = ((uintptr_t)p + size - 1) / sizeof(u64) - first + 1;
	if (!size || !o->nr)
		return;
	if (words <= o->nr) {
		for (uintptr_t word = first; word - first < words; word++) {
			struct sched_slot *slot = find(o, word);

			if (slot->run == o->run)
				slot->number = 0;
		}
		return;
	}
	for (u32 i = 1; i <= o->nr; i++) {
		if (o->object[i].word - first < words) {
			struct sched_slot *slot = find(o, o->object[i].word);

			if (slot->number == i)
				slot->number = 0;
		}
	}
}
