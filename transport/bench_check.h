/* SPDX-License-Identifier: MIT */
/*
 * The judge of a run: every message carries its publisher and number, and here each arrival is
 * held against what must come next. No allocation after the start.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "transport/bench.h"

struct bench_track {
    uint32_t expected; /* the number that comes next */
    uint32_t gaps;     /* numbers below it that have not come */
};

struct bench_check {
    enum bench_audience audience;
    bool any_order; /* messages of different topics: nothing is said about their order */
    uint32_t publishers, subscribers;
    uint32_t mask;              /* of the ring of one publisher in `slots` */
    struct bench_track *tracks; /* [subscriber][publisher]; BENCH_OWN: [publisher] */
    uint32_t *slots; /* by number: how many heard it; in a group: the number heard, + 1 */
    uint64_t heard, doubled, disordered;
};

/* `under_way`: how far apart the oldest and the newest number under way can be. */
void bench_check_init(struct bench_check *check, enum bench_audience audience, uint32_t publishers,
                      uint32_t subscribers, uint32_t under_way);
void bench_check_done(struct bench_check *check);

/* A message has arrived; true when by now all have heard it who should. */
bool bench_check_take(struct bench_check *check, uint32_t subscriber, uint32_t publisher,
                      uint32_t number);
