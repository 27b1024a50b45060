/* SPDX-License-Identifier: MIT */
/*
 * The lock order, in one place. A thread may take a lock only while it holds none of the same or
 * a higher rank:
 *
 *     1  session table       broker/session_table.c
 *        or table of groups  broker/group_member.c, never both
 *     2  retained shard      broker/retained.c
 *     3  tree (reader locks of the workers, in the order of their index)   broker/router.c
 *     4  mailbox             broker/worker.c
 *     5  auth                broker/auth/: the queue of logins, remembered passwords; both leaves
 *
 * No lock is held across I/O, a store call or a hash computation of a password. lock_take() and
 * lock_drop() keep a thread-local mask of the ranks held and CHECK the order, which costs a few
 * instructions; under NOCTULE_YIELD they also yield, so that races show.
 */
#pragma once

#include <pthread.h>

enum lock_rank { RANK_SESSION_TABLE = 1, RANK_RETAINED, RANK_TREE, RANK_MAILBOX, RANK_AUTH };

void lock_take(pthread_mutex_t *lock, enum lock_rank rank);
void lock_drop(pthread_mutex_t *lock, enum lock_rank rank);
