/* SPDX-License-Identifier: MIT */
/*
 * What is known about the addresses that connections come from: how many there are of each, how
 * fast new ones come, how often one was refused. It decides before anything is spent on a
 * connection. An address is an IPv4 address, or the first 64 bits of an IPv6 one, which is what one
 * customer has. Any thread; one lock, a leaf, taken twice a connection while any limit is set.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct gate_entry;
struct sockaddr;

struct gate {
    pthread_mutex_t lock;
    struct gate_entry **buckets; /* (L) chained; `room` is a power of two */
    size_t room, count;          /* (L) */
    uint64_t seed;               /* (i) */
    uint64_t swept;              /* (L) when entries that say nothing were last thrown away */
};

/* False without memory. */
bool gate_init(struct gate *gate, uint64_t seed);
void gate_done(struct gate *gate);

/*
 * A connection from this address comes. NULL: it may, and counts until gate_leave(); else why not, a
 * literal that names the option. Without limits, and for Unix sockets, nothing is kept and
 * `ret_entry` is NULL. `ret_say`: whether that is worth a line in the log, at most one a second and
 * address.
 */
const char *gate_enter(struct gate *gate, const struct sockaddr *address,
                       const struct config *config, uint64_t now, struct gate_entry **ret_entry,
                       bool *ret_say);
/* Accepts NULL. */
void gate_leave(struct gate *gate, struct gate_entry *entry);
/* It was refused: by a wrong password, say. True when that was once too often: nobody from there is
 * let in for ban_time seconds. Accepts NULL. */
bool gate_fail(struct gate *gate, struct gate_entry *entry, const struct config *config,
               uint64_t now);
