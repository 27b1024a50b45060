/* SPDX-License-Identifier: MIT */
/*
 * See lmdb.h: the store as workers see it, and its life. submit(), collect() and behind() run on
 * the workers' threads and must not block: what they share with the writer is a stack of batches, a
 * few atomics, and one lock per worker around what is finished and not told.
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_salvage.h"
#include "broker/store/lmdb_state.h"

#include "broker/list.h"
#include "broker/log.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BEHIND_BYTES = 8 * 1024 * 1024, BEHIND_BEFORE_FIRST = 200 /* milliseconds */ };

static struct lmdb_store *lmdb_of(struct store *store)
{
    return CONTAINER_OF(store, struct lmdb_store, store);
}

static void signal_writer(struct lmdb_store *store)
{
    atomic_fetch_add(&store->signal, 1);
    (void)syscall(SYS_futex, &store->signal, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool wakes_up(struct lmdb_store *store, bool late)
{
    int sleep = atomic_load(&store->sleep);
    return sleep == SLEEP_UNTIL_ANY || (sleep == SLEEP_UNTIL_AWAITED && !late) ||
           (sleep != SLEEP_NOT && atomic_load(&store->waiting) >= STORE_EAGER);
}

static void submit(struct store *base, unsigned worker, struct store_batch *batch)
{
    struct lmdb_store *store = lmdb_of(base);
    uint64_t none = 0;
    bool late = batch->late;
    batch->worker = worker;
    batch->told = batch->acknowledged = false;
    atomic_fetch_add(&store->waiting, batch->bytes);
    if (!late && atomic_load(&store->oldest) == 0)
        atomic_compare_exchange_strong(&store->oldest, &none, store->options.clock());
    atomic_store_explicit(&store->lanes[worker].submitted, batch->position, memory_order_relaxed);
    batch->next = atomic_load(&store->submitted);
    while (!atomic_compare_exchange_weak(&store->submitted, &batch->next, batch))
        continue;
    if (wakes_up(store, late))
        signal_writer(store);
}

/* What the worker knows already: with an interval it is told before the commit. */
static void drop_told(struct lane *lane)
{
    size_t known = 0;
    while (known < lane->count && lane->ranges[known].upto <= lane->told)
        known++;
    lane->count -= known;
    if (known && lane->count)
        memmove(lane->ranges, lane->ranges + known, lane->count * sizeof *lane->ranges);
}

static bool has_failed(const struct lane *lane)
{
    for (size_t i = 0; i < lane->count; i++)
        if (lane->ranges[i].failed)
            return true;
    return false;
}

/* With an interval everything is acknowledged at once, but only as long as it is written in time:
 * when that fails, acknowledgements wait as they do without one. */
static uint64_t collect(struct store *base, unsigned worker, bool *ret_failed)
{
    struct lmdb_store *store = lmdb_of(base);
    struct lane *lane = &store->lanes[worker];
    bool more = false;
    *ret_failed = false;
    if (!base->late && atomic_load_explicit(&lane->finished, memory_order_acquire) == lane->told)
        return lane->told;
    pthread_mutex_lock(&lane->lock);
    drop_told(lane);
    if (base->late && atomic_load(&store->state) == STORE_WRITES && !has_failed(lane)) {
        lane->told = atomic_load_explicit(&lane->submitted, memory_order_relaxed);
    } else if (lane->count) {
        lane->told = lane->ranges[0].upto;
        *ret_failed = lane->ranges[0].failed;
        lane->count--;
        memmove(lane->ranges, lane->ranges + 1, lane->count * sizeof *lane->ranges);
        more = lane->count > 0;
    }
    pthread_mutex_unlock(&lane->lock);
    if (more && store->wake)
        store->wake(store->wake_ctx, worker); /* one range at a time */
    return lane->told;
}

static bool behind(struct store *base)
{
    struct lmdb_store *store = lmdb_of(base);
    uint64_t waiting = atomic_load_explicit(&store->waiting, memory_order_relaxed);
    if (waiting == 0)
        return false;
    bool is_behind = waiting > BEHIND_BYTES;
    uint64_t oldest = atomic_load_explicit(&store->oldest, memory_order_relaxed);
    if (!is_behind && oldest && atomic_load(&store->state) != STORE_REFUSES)
        is_behind = store->options.clock() > oldest + atomic_load(&store->patience);
    if (!is_behind)
        return false;
    /* said first, then looked at again: the last of it may just have been committed */
    atomic_store(&store->was_behind, true);
    return atomic_load(&store->waiting) != 0;
}

static void stats(struct store *base, struct store_stats *ret_stats)
{
    struct lmdb_store *store = lmdb_of(base);
    *ret_stats = (struct store_stats){
        .state = (enum store_state)atomic_load(&store->state),
        .commits = atomic_load(&store->commits),
        .written = atomic_load(&store->written),
        .spared = atomic_load(&store->spared),
        .stored = atomic_load(&store->stored_messages),
        .messages = atomic_load(&store->messages_now),
        .payload = atomic_load(&store->payload_now),
        .waiting = atomic_load(&store->waiting),
        .median = atomic_load(&store->median),
    };
}

/* ---- life ---- */

static struct lmdb_store *store_make(const struct lmdb_store_options *options)
{
    struct lmdb_store *store = must_have(calloc(1, sizeof *store));
    store->options = *options;
    snprintf(store->path, sizeof store->path, "%s", options->path);
    store->options.path = store->path;
    snprintf(store->date, sizeof store->date, "%s", options->date ? options->date : "unknown");
    store->options.date = store->date;
    store->folder = store->lock_file = -1;
    store->lanes = must_have(calloc(options->workers, sizeof *store->lanes));
    for (unsigned i = 0; i < options->workers; i++)
        pthread_mutex_init(&store->lanes[i].lock, NULL);
    reader_init(store);
    reaper_init(&store->messages, TABLE_MESSAGE, options);
    reaper_init(&store->retained.reaper, TABLE_RETAINED, options);
    store->held_end = &store->held;
    store->arrived_end = &store->arrived;
    atomic_init(&store->patience, options->interval + BEHIND_BEFORE_FIRST);
    return store;
}

static void store_release(struct lmdb_store *store)
{
    env_close(store);
    reader_done(store);
    folder_close(store);
    for (unsigned i = 0; i < store->options.workers; i++) {
        pthread_mutex_destroy(&store->lanes[i].lock);
        free(store->lanes[i].ranges);
    }
    free(store->lanes);
    acklog_done(store);
    apply_done(store);
    free(store);
}

static int write_last_meta(struct lmdb_store *store)
{
    MDB_txn *txn;
    if (!store->env)
        return -EIO;
    int rc = store_error(mdb_txn_begin(store->env, NULL, 0, &txn));
    if (rc)
        return rc;
    if ((rc = meta_write(store, txn)) == 0)
        return store_error(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return rc;
}

/* What was submitted and could not be written. */
static size_t drop_rest(struct lmdb_store *store)
{
    size_t dropped = 0;
    struct store_batch *lists[] = { store->held, store->arrived, atomic_load(&store->submitted) };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (struct store_batch *batch = lists[i], *next; batch; batch = next) {
            next = batch->next;
            dropped += batch->count;
            store_batch_free(batch);
        }
    return dropped;
}

static void lmdb_stop(struct store *base)
{
    struct lmdb_store *store = lmdb_of(base);
    if (!store->started)
        return;
    atomic_store(&store->stopping, true);
    signal_writer(store);
    reader_stop(store);
    pthread_join(store->thread, NULL);
    store->started = false;
}

static void lmdb_free(struct store *base)
{
    struct lmdb_store *store = lmdb_of(base);
    lmdb_stop(base);
    writer_finish(store);
    size_t dropped = drop_rest(store);
    if (dropped)
        log_emit(LEVEL_ERROR, "The store could not write the last %zu changes.", dropped);
    int rc = write_last_meta(store);
    env_close(store);
    if (rc)
        log_emit(LEVEL_WARNING, "The store could not be closed in full (%s); nothing is lost.",
                 strerror(-rc));
    store_release(store);
}

static const struct store_ops lmdb_ops = {
    .submit = submit,
    .collect = collect,
    .behind = behind,
    .stats = stats,
    .fetch = reader_fetch,
    .fetched = reader_fetched,
    .load = lmdb_load,
    .stop = lmdb_stop,
    .free = lmdb_free,
};

static void explain(const struct lmdb_store *store, int rc)
{
    if (rc == -ENOTSUP)
        log_emit(LEVEL_ERROR, "The store %s was written by a newer version of noctule.",
                 store->path);
    else
        log_emit(LEVEL_ERROR, "The store %s cannot be opened: %s.", store->path, strerror(-rc));
}

int lmdb_store_open(const struct lmdb_store_options *options, struct store **ret_store)
{
    if (strlen(options->path) >= STORE_PATH_MAX)
        return -ENAMETOOLONG;
    struct lmdb_store *store = store_make(options);
    int rc = folder_open(store);
    if (rc == 0) {
        folder_read_ahead(store);
        rc = salvage_if_damaged(store);
        if (rc == 0 && (rc = env_open(store)) == -EBADMSG && (rc = salvage(store)) == 0)
            rc = env_open(store);
        if (rc)
            explain(store, rc);
    }
    if (rc) {
        store_release(store);
        return rc;
    }
    store->store.ops = &lmdb_ops;
    store->store.keeps = true;
    store->store.late = options->interval > 0;
    atomic_init(&store->store.last_slot, store->meta.last_slot);
    atomic_init(&store->store.last_sequence, store->meta.last_sequence);
    *ret_store = &store->store;
    return 0;
}

void lmdb_store_start(struct store *store, void (*wake)(void *ctx, unsigned worker), void *ctx)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    CHECK(lmdb->loaded && !lmdb->started);
    lmdb->wake = wake;
    lmdb->wake_ctx = ctx;
    CHECK(pthread_create(&lmdb->thread, NULL, writer_run, lmdb) == 0);
    reader_start(lmdb);
    lmdb->started = true;
}
