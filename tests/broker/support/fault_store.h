/* SPDX-License-Identifier: MIT */
/*
 * A store that a test turns by hand: it keeps every batch until the test says that it is durable,
 * or that it has failed. Completions are told in the order of a worker's batches, one failed
 * batch at a time; workers in any order. One thread only.
 */
#pragma once

#include "broker/store/store.h"

struct broker;

enum { FAULT_WORKERS = 4, FAULT_BATCHES = 4096 };

struct fault_batch {
    struct store_batch *batch; /* owned */
    bool failed;
};

struct fault_lane {                            /* one a worker */
    struct fault_batch batches[FAULT_BATCHES]; /* by position - 1 */
    uint64_t submitted;                        /* the newest position */
    uint64_t finished;                         /* up to here the test has decided */
    uint64_t told;                             /* up to here the worker knows */
};

struct fault_store {
    struct store store;
    struct broker *broker; /* set after broker_new(): who is woken up */
    bool holding;          /* false: what is submitted is finished at once */
    struct fault_lane lanes[FAULT_WORKERS];
};

/* Aborts the test without memory. It starts holding. */
struct fault_store *fault_store_new(void);
void fault_store_free(struct fault_store *fault);

/* Everything of this worker up to and with the position is durable, or has failed; then the
 * worker is woken up. */
void fault_store_complete(struct fault_store *fault, unsigned worker, uint64_t position);
void fault_store_fail(struct fault_store *fault, unsigned worker, uint64_t position);
/* Everything of all workers is durable, from now on also what is still to come. */
void fault_store_go_on(struct fault_store *fault);

/* How many operations of this kind have been submitted by all workers. */
unsigned fault_store_count(const struct fault_store *fault, enum store_op_kind kind);
