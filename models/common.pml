/* SPDX-License-Identifier: MIT */
/*
 * What the models share: named properties, and locks that know their place in the one order.
 *
 * A property's name has to survive the preprocessor, since spin shows a violated assertion as its
 * text. It is a variable that nobody sets, and no part of the state.
 */
#define PROPERTY(name, condition) assert((condition) || name)

hidden byte lock_order;

/* Every process that locks has a local `held`: the innermost class that it holds, 0 for none. */
#define MAY_WAIT_FOR(class) PROPERTY(lock_order, held < class)

inline mutex_lock(lock, class)
{
	atomic { !lock -> MAY_WAIT_FOR(class); lock = true; held = class }
}

inline mutex_unlock(lock, outer)
{
	atomic { lock = false; held = outer }
}

/* base/sync's rwlock: a reader that comes while a writer waits stays behind it. */
typedef rwlock {
	byte readers;
	byte waiting;
	bool writer
}

inline read_lock(lock, class)
{
	atomic { !lock.writer && !lock.waiting -> MAY_WAIT_FOR(class); lock.readers++; held = class }
}

inline read_unlock(lock, outer)
{
	atomic { lock.readers--; held = outer }
}

inline write_lock(lock, class)
{
	atomic { MAY_WAIT_FOR(class); lock.waiting++ }
	atomic { !lock.writer && !lock.readers -> lock.writer = true; lock.waiting--; held = class }
}

inline write_unlock(lock, outer)
{
	atomic { lock.writer = false; held = outer }
}
