/* SPDX-License-Identifier: MIT */
/*
 * See locks.h. Owns one word per thread: which ranks the thread holds. Any thread; it knows no
 * lock by name and makes none.
 */
#include "broker/locks.h"

#include "broker/err.h"

#include <sched.h>

static _Thread_local unsigned ranks;      /* bit r: a lock of rank r is held */
static _Thread_local unsigned tree_locks; /* a writer of the tree holds those of all workers */

static void yield(void)
{
#ifdef NOCTULE_YIELD
    sched_yield();
#endif
}

void lock_take(pthread_mutex_t *lock, enum lock_rank rank)
{
    unsigned same = rank == RANK_TREE ? 1
                                      : 0; /* those of its own rank are in order of their index */
    CHECK(ranks >> ((unsigned)rank + same) == 0);
    yield();
    CHECK(pthread_mutex_lock(lock) == 0);
    ranks |= 1u << rank;
    tree_locks += same;
    yield();
}

void lock_drop(pthread_mutex_t *lock, enum lock_rank rank)
{
    CHECK(ranks & 1u << rank);
    if (rank != RANK_TREE || --tree_locks == 0)
        ranks &= ~(1u << rank);
    yield();
    CHECK(pthread_mutex_unlock(lock) == 0);
    yield();
}
