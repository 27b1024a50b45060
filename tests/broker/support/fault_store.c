/* SPDX-License-Identifier: MIT */
/* See fault_store.h. Keeps the batches to the end, so that a test can look into them. */
#include "tests/broker/support/fault_store.h"

#include "broker/broker_state.h"
#include "broker/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct fault_store *fault_of(struct store *store)
{
    return CONTAINER_OF(store, struct fault_store, store);
}

static void submit(struct store *store, unsigned worker, struct store_batch *batch)
{
    struct fault_store *fault = fault_of(store);
    assert_true(worker < FAULT_WORKERS);
    struct fault_lane *lane = &fault->lanes[worker];
    assert_true(lane->submitted < FAULT_BATCHES);
    assert_int_equal(batch->position, lane->submitted + 1); /* positions have no gap */
    assert_true(batch->count > 0);
    lane->batches[lane->submitted++] = (struct fault_batch){ .batch = batch };
    if (fault->holding)
        return;
    lane->finished = lane->submitted;
    worker_wake(broker_worker(fault->broker, worker));
}

/* Stops before a failed batch, so that its failure is told of it alone. */
static uint64_t collect(struct store *store, unsigned worker, bool *ret_failed)
{
    struct fault_store *fault = fault_of(store);
    struct fault_lane *lane = &fault->lanes[worker];
    *ret_failed = false;
    if (lane->told < lane->finished && lane->batches[lane->told].failed) {
        *ret_failed = true;
        lane->told++;
    } else {
        while (lane->told < lane->finished && !lane->batches[lane->told].failed)
            lane->told++;
    }
    if (lane->told < lane->finished)
        worker_wake(broker_worker(fault->broker, worker));
    return lane->told;
}

static void nothing(struct store *store)
{
    (void)store;
}

static const struct store_ops ops = { .submit = submit, .collect = collect, .free = nothing };

struct fault_store *fault_store_new(void)
{
    struct fault_store *fault = calloc(1, sizeof *fault);
    assert_non_null(fault);
    fault->store = (struct store){ .ops = &ops, .keeps = true };
    fault->holding = true;
    return fault;
}

void fault_store_free(struct fault_store *fault)
{
    for (unsigned w = 0; w < FAULT_WORKERS; w++)
        for (uint64_t i = 0; i < fault->lanes[w].submitted; i++)
            store_batch_free(fault->lanes[w].batches[i].batch);
    free(fault);
}

static void finish(struct fault_store *fault, unsigned worker, uint64_t position, bool failed)
{
    struct fault_lane *lane = &fault->lanes[worker];
    assert_in_range(position, lane->finished + 1, lane->submitted);
    while (lane->finished < position)
        lane->batches[lane->finished++].failed = failed;
    worker_wake(broker_worker(fault->broker, worker));
}

void fault_store_complete(struct fault_store *fault, unsigned worker, uint64_t position)
{
    finish(fault, worker, position, false);
}

void fault_store_fail(struct fault_store *fault, unsigned worker, uint64_t position)
{
    finish(fault, worker, position, true);
}

void fault_store_go_on(struct fault_store *fault)
{
    fault->holding = false;
    for (unsigned w = 0; w < broker_worker_count(fault->broker); w++) {
        fault->lanes[w].finished = fault->lanes[w].submitted;
        worker_wake(broker_worker(fault->broker, w));
    }
}

unsigned fault_store_count(const struct fault_store *fault, enum store_op_kind kind)
{
    unsigned count = 0;
    for (unsigned w = 0; w < FAULT_WORKERS; w++)
        for (uint64_t i = 0; i < fault->lanes[w].submitted; i++)
            for (size_t op = 0; op < fault->lanes[w].batches[i].batch->count; op++)
                count += fault->lanes[w].batches[i].batch->ops[op].kind == kind;
    return count;
}
