/* SPDX-License-Identifier: MIT */
/*
 * Counters of one worker: written by its owner alone, read by whoever adds them up for $SYS,
 * hence atomic but relaxed: an ordinary add costs a load, an add and a store.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* clang-format off */
#define STATS(ROW) \
    ROW(bytes_received) ROW(bytes_sent) ROW(packets_received) ROW(packets_sent) \
    ROW(publish_received) ROW(publish_sent) ROW(publish_bytes_received) \
    ROW(publish_bytes_sent) ROW(publish_dropped) ROW(queue_dropped) ROW(too_large_dropped) \
    ROW(expired_dropped) ROW(unreadable_dropped) ROW(publish_denied) ROW(deliveries_denied) ROW(connections) ROW(connects) ROW(refused) \
    ROW(clients_connected) ROW(clients_expired) ROW(sessions) ROW(subscriptions) \
    ROW(shared_subscriptions) ROW(takeovers) \
    ROW(wills_sent) ROW(store_failures) ROW(late_refused)
/* clang-format on */

struct stats {
#define STATS_FIELD(name) _Atomic uint64_t name;
    STATS(STATS_FIELD)
#undef STATS_FIELD
};

/* Gauges go down with a negative `n` (modulo 2^64: only the sum over all workers has a meaning). */
#define STAT_ADD(stats, name, n)                                                                   \
    atomic_store_explicit(&(stats)->name,                                                          \
                          atomic_load_explicit(&(stats)->name, memory_order_relaxed) +             \
                              (uint64_t)(n),                                                       \
                          memory_order_relaxed)
