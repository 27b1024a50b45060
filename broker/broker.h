/* SPDX-License-Identifier: MIT */
/*
 * The broker: what all workers share (session table, topic tree, retained messages, groups, store,
 * configuration), and its life: made before the workers' threads start, freed after they have
 * ended.
 */
#pragma once

#include "broker/err.h"
#include "broker/memory.h"
#include "mqtt/span.h"

struct broker;
struct config;
struct store;
struct worker;

struct broker_env {
    void (*random)(void *bytes, size_t len); /* unpredictable bytes; any thread */
    uint64_t now;                            /* milliseconds since 1970 */
    /* Milliseconds since 1970 as the machine's clock shows them, which may be set meanwhile, and which
     * dates of others are compared with; any thread. NULL: the workers' time. */
    uint64_t (*wall_clock)(void);
    const char *version;         /* for $SYS/broker/version */
    unsigned auth_threads;       /* that check passwords; 0: auth/pool.h */
    struct store *store;         /* borrowed; NULL: the memory store */
    unsigned window;             /* deliveries in memory of a session that is behind; 0: paging.h */
    memory_used_fn *memory_used; /* for memory_limit; NULL: there is no limit */
    memory_trim_fn *memory_trim; /* NULL: nothing is ever given back */
};

/* Takes its own reference to the configuration. Aborts without memory. */
struct broker *broker_new(struct config *config, unsigned workers, const struct broker_env *env);
/* Only when no worker runs any more and every connection is freed. */
void broker_free(struct broker *broker);

unsigned broker_worker_count(const struct broker *broker);
struct worker *broker_worker(struct broker *broker, unsigned index);

/* Any thread: every worker closes its connections with 0x8B (wills are sent, see broker/will.h).
 * The transport then waits for its links to close. */
void broker_stop(struct broker *broker);
/* One thread at a time: from now on the live options of `config` hold. Takes its own reference. */
void broker_reload(struct broker *broker, struct config *config);
/* Any thread: how close the process is to memory_limit. */
/* Any thread: clients that are connected and let in. */
uint64_t broker_clients(const struct broker *broker);
enum memory_level broker_memory_level(const struct broker *broker);
/* Any thread: when the certificate of that listener ends, milliseconds since 1970: $SYS says in how
 * many days. */
void broker_tell_certificate(struct broker *broker, unsigned listener, uint64_t expires);
/* Any thread: log what there is (sessions, subscriptions, memory), as SIGUSR1/2 ask. */
void broker_dump(struct broker *broker);
