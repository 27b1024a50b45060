/* SPDX-License-Identifier: MIT */
/* See fault_store.h. Keeps the batches to the end, so that a test can look into them. */
#include "tests/broker/support/fault_store.h"

#include "broker/broker_state.h"
#include "broker/list.h"
#include "broker/store/lmdb.h"
#include "tests/broker/support/model.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct fault_store *fault_of(struct store *store)
{
    return CONTAINER_OF(store, struct fault_store, store);
}

/* ---- on disk ---- */

/* Nobody repeats these, so a store keeps them although their batch has failed. */
static bool is_kept(const struct store_op *op)
{
    static const bool kept[STORE_OP_KINDS] = {
        [STORE_SESSION] = true, [STORE_SESSION_END] = true,  [STORE_UNSUBSCRIBED] = true,
        [STORE_GROUP] = true,   [STORE_GROUP_END] = true,    [STORE_ROUTED] = true,
        [STORE_DONE] = true,    [STORE_OUTBOUND_END] = true, [STORE_INBOUND_RELEASE] = true,
    };
    return kept[op->kind];
}

static uint64_t no_clock(void)
{
    return 0;
}

static void no_random(void *bytes, size_t len)
{
    memset(bytes, 7, len);
}

static void no_wake(void *ctx, unsigned worker)
{
    (void)ctx, (void)worker;
}

static void open_disk(struct fault_store *fault)
{
    struct lmdb_store_options options = { .path = fault->path,
                                          .workers = 1,
                                          .clock = no_clock,
                                          .random = no_random,
                                          .full_timeout = 30000 };
    assert_int_equal(lmdb_store_open(&options, &fault->disk), 0);
    fault->given = 0;
}

void fault_store_use_disk(struct fault_store *fault)
{
    snprintf(fault->path, sizeof fault->path, "/tmp/noctule-fault-XXXXXX");
    assert_non_null(mkdtemp(fault->path));
    open_disk(fault);
}

static void close_disk(struct fault_store *fault)
{
    if (!fault->disk)
        return;
    fault->disk->ops->stop(fault->disk);
    fault->disk->ops->free(fault->disk);
    fault->disk = NULL;
}

static void remove_disk(const struct fault_store *fault)
{
    char path[512];
    struct dirent *entry;
    DIR *folder = opendir(fault->path);
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof path, "%s/%s", fault->path, entry->d_name);
        (void)unlink(path);
    }
    closedir(folder);
    assert_int_equal(rmdir(fault->path), 0);
}

static void give_to_disk(struct fault_store *fault, const struct store_batch *batch)
{
    struct store_batch *copy = calloc(1, sizeof *copy);
    assert_non_null(copy);
    if (batch->count == 0) { /* submit() has seen to it */
        free(copy);
        return;
    }
    *copy = (struct store_batch){ .position = ++fault->given,
                                  .late = batch->late,
                                  .by_number = batch->by_number,
                                  .count = batch->count,
                                  .room = batch->count,
                                  .bytes = batch->bytes,
                                  .ops = calloc(batch->count, sizeof *copy->ops) };
    assert_non_null(copy->ops);
    for (size_t i = 0; i < batch->count; i++) {
        struct store_op *op = &copy->ops[i];
        *op = batch->ops[i];
        if (op->message)
            message_ref(op->message);
        if (!op->record)
            continue;
        op->record = malloc(op->record_len + 1);
        assert_non_null(op->record);
        memcpy(op->record, batch->ops[i].record, op->record_len);
    }
    fault->disk->ops->submit(fault->disk, 0, copy);
}

static void wake_readers(struct fault_store *fault)
{
    for (struct store_fetch *fetch = fault->fetches; fetch; fetch = fetch->next)
        worker_wake(broker_worker(fault->broker, fetch->worker));
}

static const struct fault_batch *batch_at(const struct fault_store *fault, size_t i)
{
    return &fault->lanes[fault->order[i].worker].batches[fault->order[i].position - 1];
}

static void apply(struct fault_store *fault, const struct fault_batch *next)
{
    for (size_t i = 0; i < next->batch->count; i++)
        if (!next->failed || is_kept(&next->batch->ops[i]))
            model_apply(fault->model, &next->batch->ops[i]);
}

void fault_store_commit(struct fault_store *fault, size_t batches)
{
    assert_true(batches <= fault->order_count);
    for (; fault->committed < batches; fault->committed++) {
        const struct fault_batch *next = batch_at(fault, fault->committed);
        if (next->failed) {
            model_tear(fault->model);
            continue;
        }
        for (; fault->applied < fault->committed; fault->applied++) /* what failed before */
            apply(fault, batch_at(fault, fault->applied));
        apply(fault, next);
        fault->applied++;
        if (fault->disk)
            give_to_disk(fault, next->batch);
    }
    wake_readers(fault);
}

static void commit_upto(struct fault_store *fault, unsigned worker, uint64_t position)
{
    for (size_t i = fault->order_count; i > 0; i--)
        if (fault->order[i - 1].worker == worker && fault->order[i - 1].position == position) {
            if (i > fault->committed)
                fault_store_commit(fault, i);
            return;
        }
}

static int load(struct store *store, const struct store_loader *loader, void *ctx)
{
    struct fault_store *fault = fault_of(store);
    if (!fault->disk)
        return model_load(fault->model, store, loader, ctx);
    int err = fault->disk->ops->load(fault->disk, loader, ctx);
    atomic_store(&store->last_slot, atomic_load(&fault->disk->last_slot));
    atomic_store(&store->last_sequence, atomic_load(&fault->disk->last_sequence));
    if (err == 0)
        lmdb_store_start(fault->disk, no_wake, NULL);
    return err;
}

/* ---- batches ---- */

static void submit(struct store *store, unsigned worker, struct store_batch *batch)
{
    struct fault_store *fault = fault_of(store);
    assert_true(worker < FAULT_WORKERS);
    struct fault_lane *lane = &fault->lanes[worker];
    assert_true(lane->submitted < FAULT_BATCHES);
    assert_int_equal(batch->position, lane->submitted + 1); /* positions have no gap */
    assert_true(batch->count > 0);
    if (fault->dead) {
        lane->finished = ++lane->submitted;
        lane->told = lane->submitted;
        store_batch_free(batch);
        return;
    }
    fault->order[fault->order_count].worker = worker;
    fault->order[fault->order_count++].position = batch->position;
    lane->batches[lane->submitted++] = (struct fault_batch){ .batch = batch };
    if (fault->holding)
        return;
    lane->finished = lane->submitted;
    commit_upto(fault, worker, lane->submitted);
    if (fault->broker)
        worker_wake(broker_worker(fault->broker, worker));
}

/* Stops before a failed batch, so that its failure is told of it alone. */
static uint64_t collect(struct store *store, unsigned worker, bool *ret_failed)
{
    struct fault_store *fault = fault_of(store);
    struct fault_lane *lane = &fault->lanes[worker];
    *ret_failed = false;
    if (fault->dead)
        return lane->submitted;
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

static bool behind(struct store *store)
{
    return fault_of(store)->behind;
}

/* ---- reading back ---- */

static void fetch(struct store *store, unsigned worker, struct store_fetch *fetch)
{
    struct fault_store *fault = fault_of(store);
    struct store_fetch **end = &fault->fetches;
    assert_true(fetch->count > 0 && fetch->slot != 0 && !fetch->next);
    fetch->worker = worker;
    fetch->after = calloc(1, sizeof *fetch->after);
    assert_non_null(fetch->after);
    fetch->after[0] = fault->order_count;
    while (*end)
        end = &(*end)->next;
    *end = fetch;
    fault->reads++;
    if (!fault->dead && !fault->reading_holds)
        worker_wake(broker_worker(fault->broker, worker));
}

/* As the disk answers. */
static void ask_disk(struct fault_store *fault, struct store_fetch *fetch)
{
    struct store_fetch *question = store_fetch_new(fetch->count), *answer;
    question->slot = fetch->slot;
    memcpy(question->items, fetch->items, fetch->count * sizeof *fetch->items);
    fault->disk->ops->fetch(fault->disk, 0, question);
    while (!(answer = fault->disk->ops->fetched(fault->disk, 0)))
        sched_yield();
    fetch->count = answer->count;
    memcpy(fetch->items, answer->items, fetch->count * sizeof *fetch->items);
    answer->count = 0;
    store_fetch_free(answer);
}

static void answer(struct fault_store *fault, struct store_fetch *fetch)
{
    if (fault->slice && fetch->count > fault->slice)
        fetch->count = fault->slice;
    if (fault->disk) {
        ask_disk(fault, fetch);
        return;
    }
    for (uint32_t i = 0; i < fetch->count; i++)
        if (i > 0 && model_is_unrouted(fault->model, fetch->items[i].sequence))
            fetch->count = i;
        else if (fault->damaged)
            fault->damaged--;
        else
            fetch->items[i].message = model_fetch(fault->model, fetch->slot,
                                                  fetch->items[i].sequence);
}

static struct store_fetch *fetched(struct store *store, unsigned worker)
{
    struct fault_store *fault = fault_of(store);
    if (fault->dead || (fault->reading_holds && !fault->readable[worker]))
        return NULL;
    for (struct store_fetch **link = &fault->fetches; *link; link = &(*link)->next) {
        struct store_fetch *fetch = *link;
        if (fetch->worker != worker)
            continue;
        if (fetch->after[0] > fault->committed ||
            (!fault->disk && model_is_unrouted(fault->model, fetch->items[0].sequence)))
            return NULL;
        *link = fetch->next;
        fetch->next = NULL;
        fault->readable[worker] -= fault->reading_holds;
        answer(fault, fetch);
        return fetch;
    }
    return NULL;
}

void fault_store_read(struct fault_store *fault, unsigned worker)
{
    fault->readable[worker]++;
    worker_wake(broker_worker(fault->broker, worker));
}

static void nothing(struct store *store)
{
    (void)store;
}

static const struct store_ops ops = { .submit = submit,
                                      .collect = collect,
                                      .load = load,
                                      .behind = behind,
                                      .fetch = fetch,
                                      .fetched = fetched,
                                      .free = nothing };

struct fault_store *fault_store_new(void)
{
    struct fault_store *fault = calloc(1, sizeof *fault);
    assert_non_null(fault);
    fault->store = (struct store){ .ops = &ops, .keeps = true };
    fault->holding = true;
    fault->model = model_new();
    return fault;
}

struct fault_store *fault_store_crash(struct fault_store *fault, bool all)
{
    struct fault_store *next = fault_store_new();
    if (all)
        fault_store_commit(fault, fault->order_count);
    model_free(next->model);
    next->model = fault->model;
    next->holding = fault->holding;
    next->store.late = fault->store.late;
    next->reading_holds = fault->reading_holds;
    fault->model = NULL;
    fault->dead = true;
    memcpy(next->path, fault->path, sizeof next->path);
    if (fault->disk) {
        close_disk(fault);
        open_disk(next);
    }
    for (unsigned i = 0; i < broker_worker_count(fault->broker); i++)
        worker_wake(broker_worker(fault->broker, i));
    return next;
}

void fault_store_free(struct fault_store *fault)
{
    for (unsigned w = 0; w < FAULT_WORKERS; w++)
        for (uint64_t i = 0; i < fault->lanes[w].submitted; i++)
            if (fault->lanes[w].batches[i].batch)
                store_batch_free(fault->lanes[w].batches[i].batch);
    if (fault->disk) {
        close_disk(fault);
        remove_disk(fault);
    }
    for (struct store_fetch *next; fault->fetches; fault->fetches = next) {
        next = fault->fetches->next;
        store_fetch_free(fault->fetches);
    }
    if (fault->model)
        model_free(fault->model);
    free(fault);
}

static void finish(struct fault_store *fault, unsigned worker, uint64_t position, bool failed)
{
    struct fault_lane *lane = &fault->lanes[worker];
    assert_in_range(position, lane->finished + 1, lane->submitted);
    while (lane->finished < position)
        lane->batches[lane->finished++].failed = failed;
    commit_upto(fault, worker, position);
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

bool fault_store_may_fail(const struct fault_store *fault, unsigned worker)
{
    for (size_t i = 0; i < fault->committed; i++)
        if (fault->order[i].worker == worker &&
            fault->order[i].position > fault->lanes[worker].finished)
            return false;
    return true;
}

void fault_store_go_on(struct fault_store *fault)
{
    fault->holding = fault->reading_holds = false;
    if (!fault->dead)
        fault_store_commit(fault, fault->order_count);
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
            for (size_t op = 0;
                 fault->lanes[w].batches[i].batch && op < fault->lanes[w].batches[i].batch->count;
                 op++)
                count += fault->lanes[w].batches[i].batch->ops[op].kind == kind;
    return count;
}
