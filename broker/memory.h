/* SPDX-License-Identifier: MIT */
/*
 * `memory_limit`: how close the process is to it, and what that forbids. The level rises with what
 * the process uses and falls by itself; whoever is about to keep something for a peer asks for it:
 *
 *     share of the limit   level      what it forbids, beside what the level before does
 *     below 3/4            PLENTY     nothing
 *     from 3/4             SHRINKING  queues of more than 64 KB: the newest message is dropped; and as
 *                                     much on its way to a client; a CONNECT that is not complete at 8 KB
 *     from 7/8             TIGHT      new clients, subscriptions and retained messages; queues of
 *                                     more than 8 KB; packets that are not complete at 64 KB
 *     from 15/16           OUT        publications
 *
 * So those who take most are refused first, and a client that reads what it is sent is served as
 * ever. A client that has a session may come at any level, and take what waits in it: else what
 * waits for those who were away would keep them away. Every refusal is counted and told to the peer where MQTT has a word for it.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct worker;

enum memory_level { MEMORY_PLENTY, MEMORY_SHRINKING, MEMORY_TIGHT, MEMORY_OUT };

typedef uint64_t memory_used_fn(void); /* bytes in use, 0: that cannot be told now; any thread */
typedef void memory_trim_fn(void);     /* gives back what is free; may take milliseconds */

/* (i) immutable, (a) atomic, (0) worker 0 */
struct memory {
    memory_used_fn *used;   /* (i) NULL: nobody looks, there is always plenty */
    memory_trim_fn *trim;   /* (i) NULL: nothing to give back */
    _Atomic uint64_t limit; /* (a) bytes, 0 none */
    _Atomic uint64_t bytes; /* (a) in use, as last seen */
    atomic_int level;       /* (a) enum memory_level */
    uint64_t trimmed_at;    /* (0) milliseconds */
};

static inline enum memory_level memory_level(const struct memory *memory)
{
    return (enum memory_level)atomic_load_explicit(&memory->level, memory_order_relaxed);
}

/* Of memory_limit, which may change at any time. Any thread. */
void memory_set_limit(struct memory *memory, uint64_t limit);
/* Looks again. Any thread. */
void memory_look(struct memory *memory);
/* A worker has read so many bytes: looks again after each 256 KB. */
void memory_took_in(struct worker *worker, size_t bytes);
/* Worker 0 looks every tenth of a second as well, and trims what a flood has left behind. */
void memory_start(struct worker *worker);

/* How much a queue may hold at this level, in bytes of messages and their overhead. */
uint64_t memory_queue_bytes(const struct memory *memory);
