/* SPDX-License-Identifier: MIT */
/*
 * The threads that find out whether a password is right, because that takes long and a worker never
 * waits. A worker submits a login; a thread of the pool decides it and posts it back (MAIL_LOGIN).
 * The threads have a low priority: those who are connected already go first.
 *
 * The queue is bounded in number and bytes; a login whose client has gone is not computed. There is
 * no thread before the first login, so a broker for anybody has none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;
struct login;
struct pool;

/* `threads` 0: nobody computes but pool_work(), for tests. Aborts without memory. */
struct pool *pool_new(struct broker *broker, unsigned threads);
/* Ends the threads; logins that wait are freed. Before the workers are. */
void pool_free(struct pool *pool);

/* Workers. Gives the login away; false, and it stays the caller's, when `queue_max` wait already or
 * no thread can be started. */
bool pool_submit(struct pool *pool, struct login *login, uint32_t queue_max);

/* Whether this user's password is known to be right for what is stored. Whoever has the login. */
bool pool_remembers(struct pool *pool, struct login *login);

/* Decides one login that waits; false when there is none. */
bool pool_work(struct pool *pool);

/* Any thread: how many wait, how many were computed so far, and the memory that this takes now. */
struct pool_figures {
    unsigned waiting;
    uint64_t computed;
    size_t memory;
};
struct pool_figures pool_figures(struct pool *pool);
