/* SPDX-License-Identifier: MIT */
/*
 * Removing messages whose last receiver is done. A client that comes back drains its messages in
 * order, and those of others lie between them: removing each at once would write a page for every
 * message. So an old one stays, with an entry in the log that says that it is done with, and when a
 * quarter of all are such, they are removed in the order in which they lie, many from one page. After
 * a crash the log says it again. The writer thread alone.
 *
 *   dead:  removed | ── by sequence ──► | since the sorting
 *                  reap_at              reap_end          dead_count
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include <stdlib.h>

enum {
    NEW_ONES = 8192,  /* the last messages that were written: their pages are warm */
    DEAD_MIN = 16384, /* so many may stay in any case */
    DEAD_SHARE = 4,   /* and else a quarter of all */
    AT_ONCE = 2048,   /* removed in one transaction */
};

bool goes_at_once(const struct lmdb_store *store, uint64_t sequence)
{
    return sequence + NEW_ONES > store->last_message;
}

void dead_add(struct lmdb_store *store, uint64_t sequence, uint32_t logged)
{
    store->dead = must_have(
        array_grow(store->dead, store->dead_count, &store->dead_room, sizeof *store->dead));
    store->dead[store->dead_count++] = (struct dead_message){ .sequence = sequence,
                                                              .logged = logged };
}

static int by_sequence(const void *a, const void *b)
{
    uint64_t left = ((const struct dead_message *)a)->sequence;
    uint64_t right = ((const struct dead_message *)b)->sequence;
    return (left > right) - (left < right);
}

bool reap_wanted(struct lmdb_store *store)
{
    if (store->reap_at < store->reap_end)
        return true;
    if (store->dead_count <= DEAD_MIN || store->dead_count <= store->messages / DEAD_SHARE)
        return false;
    qsort(store->dead, store->dead_count, sizeof *store->dead, by_sequence);
    store->reap_at = 0;
    store->reap_end = store->dead_count;
    return true;
}

void reap_note(struct lmdb_store *store)
{
    uint64_t all = store->messages, dead = store->dead_count - store->reap_at;
    uint64_t needed = all > dead ? all - dead : 0;
    double share = all ? (double)needed / (double)all : 0;
    atomic_store_explicit(&store->messages_now, needed, memory_order_relaxed);
    atomic_store_explicit(&store->payload_now,
                          (uint64_t)((double)store->pack.live.payload * share + 0.5),
                          memory_order_relaxed);
}

int reap_apply(struct lmdb_store *store, MDB_txn *txn)
{
    int rc = 0;
    store->reaped = 0;
    if (!reap_wanted(store))
        return 0;
    size_t left = store->reap_end - store->reap_at;
    for (size_t count = left < AT_ONCE ? left : AT_ONCE; store->reaped < count && rc == 0;
         store->reaped++)
        rc = message_delete(store, txn, store->dead[store->reap_at + store->reaped].sequence);
    return rc;
}

void reap_confirm(struct lmdb_store *store)
{
    for (size_t i = 0; i < store->reaped; i++)
        store->log.live -= store->dead[store->reap_at + i].logged;
    store->messages -= store->reaped;
    store->reap_at += store->reaped;
    store->reaped = 0;
    if (store->reap_at < store->reap_end || store->reap_end == 0)
        return;
    store->dead_count -= store->reap_end;
    memmove(store->dead, store->dead + store->reap_end, store->dead_count * sizeof *store->dead);
    store->reap_at = store->reap_end = 0;
}
