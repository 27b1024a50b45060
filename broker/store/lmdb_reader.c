/* SPDX-License-Identifier: MIT */
/*
 * The reader thread: messages of clients that come back are read from the file here, for a page
 * that is not in memory stops whoever touches it. It looks into the file through short
 * transactions, a slice each, so that the writer can use again what has become free.
 *
 *   workers ── fetch() ──► open ──► one slice ──► lanes ── fetched()
 *                           ▲           │ the first of it is not written yet
 *                           └───────────┘ again after the next commit
 *
 * Something is missing when it is not there although all that had been submitted when it was asked
 * for is finished. The file may grow or be opened anew only while nobody reads: the lock of the
 * file, which the writer takes for that.
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include "broker/list.h"

#include <stdlib.h>

enum { SLICE_BYTES = 256 * 1024 }; /* of messages with which an answer ends */

static struct lmdb_store *lmdb_of(struct store *store)
{
    return CONTAINER_OF(store, struct lmdb_store, store);
}

/* ---- what workers call ---- */

void reader_fetch(struct store *base, unsigned worker, struct store_fetch *fetch)
{
    struct lmdb_store *store = lmdb_of(base);
    struct reader *reader = &store->reader;
    fetch->worker = worker;
    fetch->next = NULL;
    fetch->after = must_have(calloc(store->options.workers, sizeof *fetch->after));
    for (unsigned i = 0; i < store->options.workers; i++)
        fetch->after[i] = atomic_load(&store->lanes[i].submitted);
    pthread_mutex_lock(&reader->lock);
    *reader->arrived_end = fetch;
    reader->arrived_end = &fetch->next;
    atomic_fetch_add(&reader->open, 1);
    pthread_cond_signal(&reader->work);
    pthread_mutex_unlock(&reader->lock);
}

struct store_fetch *reader_fetched(struct store *base, unsigned worker)
{
    struct lmdb_store *store = lmdb_of(base);
    struct lane *lane = &store->lanes[worker];
    if (!atomic_load_explicit(&lane->answered, memory_order_acquire))
        return NULL;
    pthread_mutex_lock(&store->reader.lock);
    struct store_fetch *fetch = lane->answers;
    lane->answers = fetch->next;
    atomic_store(&lane->answered, lane->answers != NULL);
    pthread_mutex_unlock(&store->reader.lock);
    return fetch;
}

/* ---- reading ---- */

static bool is_over(struct lmdb_store *store, const struct store_fetch *fetch)
{
    for (unsigned i = 0; i < store->options.workers; i++)
        if (atomic_load_explicit(&store->lanes[i].finished, memory_order_acquire) < fetch->after[i])
            return false;
    return true;
}

static struct message *make(const struct message_row *row, const struct receiver_row *receiver,
                            uint64_t sequence)
{
    struct message *message = message_record_decode(row->message);
    struct stored *stored = message ? stored_new(sequence, row->accepted, 1) : NULL;
    if (!stored) {
        message_unref(message);
        return NULL;
    }
    message->stored = stored;
    stored->written = stored->routed = stored->tallied = true;
    message_on_disk(message, true);
    if (receiver_revive(receiver, &stored->receivers[0]))
        return message;
    message_unref(message);
    return NULL;
}

/* Whether the answer is known: the message, or that it cannot be read. `over`: all that it may wait
 * for is finished; `written`: and was written, or given up for good. */
static bool read_item(struct lmdb_store *store, MDB_txn *txn, uint32_t slot, bool over,
                      bool written, struct fetch_item *item)
{
    uint8_t key[8];
    struct span body, in;
    struct message_row row;
    struct receiver_row receiver;
    put_u64(key, item->sequence);
    int rc = row_get(store, txn, TABLE_MESSAGE, span_of(key, sizeof key), &body);
    if (rc)
        return rc != -ENOENT || over;
    if (!message_row_decode(body, &row))
        return true;
    in = row.receivers;
    for (uint32_t i = 0; i < row.count; i++)
        if (take_receiver(&in, &receiver) && receiver.slot == slot) {
            item->message = make(&row, &receiver, item->sequence);
            return true;
        }
    return over && (written || !row.unrouted); /* who receives it may still be to be written */
}

/* Reads as far as it gets; false: the first one is still to come. */
static bool read_slice(struct lmdb_store *store, struct store_fetch *fetch)
{
    MDB_txn *txn;
    bool over = is_over(store, fetch);
    bool written = atomic_load(&store->state) == STORE_WRITES; /* after that, before it reads */
    over = over &&
           (written || !store->store.late); /* acknowledged things wait beside failed ones */
    uint64_t bytes = 0;
    uint32_t i = 0;
    pthread_mutex_lock(&store->file);
    int rc = store->env ? mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn) : ENODEV;
    if (rc == 0) {
        for (; i < fetch->count && bytes < SLICE_BYTES; i++) {
            struct fetch_item *item = &fetch->items[i];
            if (!read_item(store, txn, fetch->slot, over, written, item))
                break;
            bytes += item->message ? message_size(item->message) : 0;
        }
        mdb_txn_abort(txn);
    }
    pthread_mutex_unlock(&store->file);
    if (i > 0)
        fetch->count = i;
    return i > 0;
}

/* ---- the thread ---- */

static void answer(struct lmdb_store *store, struct store_fetch *fetch)
{
    struct lane *lane = &store->lanes[fetch->worker];
    unsigned worker = fetch->worker;
    message_flush(); /* made here, freed by the worker */
    pthread_mutex_lock(&store->reader.lock);
    struct store_fetch **end = &lane->answers;
    while (*end)
        end = &(*end)->next;
    fetch->next = NULL;
    *end = fetch;
    atomic_store_explicit(&lane->answered, true, memory_order_release);
    atomic_fetch_sub(&store->reader.open, 1);
    pthread_mutex_unlock(&store->reader.lock);
    if (store->wake && !atomic_load(&store->stopping))
        store->wake(store->wake_ctx, worker);
}

/* Waits for something to do. False: the end. */
static bool wait_for_requests(struct reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    while (!reader->stopping && !reader->arrived && !(reader->committed && reader->waiting))
        pthread_cond_wait(&reader->work, &reader->lock);
    bool goes_on = !reader->stopping;
    struct store_fetch **end = &reader->waiting;
    while (*end)
        end = &(*end)->next;
    *end = reader->arrived;
    reader->arrived = NULL;
    reader->arrived_end = &reader->arrived;
    reader->committed = false;
    pthread_mutex_unlock(&reader->lock);
    return goes_on;
}

static void *run(void *ctx)
{
    struct lmdb_store *store = ctx;
    struct reader *reader = &store->reader;
    while (wait_for_requests(reader)) {
        struct store_fetch *fetch = reader->waiting, *next;
        struct store_fetch **kept = &reader->waiting;
        for (; fetch; fetch = next) {
            next = fetch->next;
            if (read_slice(store, fetch)) {
                *kept = next;
                answer(store, fetch);
            } else {
                kept = &fetch->next;
            }
        }
    }
    return NULL;
}

void reader_committed(struct lmdb_store *store)
{
    struct reader *reader = &store->reader;
    if (!atomic_load(&reader->open))
        return;
    pthread_mutex_lock(&reader->lock);
    reader->committed = true;
    pthread_cond_signal(&reader->work);
    pthread_mutex_unlock(&reader->lock);
}

/* ---- life ---- */

void reader_init(struct lmdb_store *store)
{
    struct reader *reader = &store->reader;
    pthread_mutex_init(&store->file, NULL);
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->work, NULL);
    reader->arrived_end = &reader->arrived;
}

void reader_start(struct lmdb_store *store)
{
    CHECK(pthread_create(&store->reader.thread, NULL, run, store) == 0);
}

void reader_stop(struct lmdb_store *store)
{
    struct reader *reader = &store->reader;
    pthread_mutex_lock(&reader->lock);
    reader->stopping = true;
    pthread_cond_signal(&reader->work);
    pthread_mutex_unlock(&reader->lock);
    pthread_join(reader->thread, NULL);
}

static void free_all(struct store_fetch *fetch)
{
    for (struct store_fetch *next; fetch; fetch = next) {
        next = fetch->next;
        store_fetch_free(fetch);
    }
}

void reader_done(struct lmdb_store *store)
{
    struct reader *reader = &store->reader;
    free_all(reader->arrived);
    free_all(reader->waiting);
    for (unsigned i = 0; i < store->options.workers; i++)
        free_all(store->lanes[i].answers);
    pthread_mutex_destroy(&store->file);
    pthread_mutex_destroy(&reader->lock);
    pthread_cond_destroy(&reader->work);
}
