/* SPDX-License-Identifier: MIT */
/*
 * Removing rows that nobody needs any more: messages whose last receiver is done, retained ones
 * that were replaced. A client that comes back drains its messages in order, and those of others lie
 * between them; topics are replaced in any order: removing each row at once would write a page for
 * every one. So an old one stays, while the log, or the newer row of its topic, says that it is done
 * with; and when a quarter of all are such, they are removed in the order in which they lie, many from
 * one page. After a crash they are found again. The writer thread alone.
 *
 *   dead:  removed | ── by number ──► | since the sorting
 *                  at                 end                count
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include <stdlib.h>

enum {
    NEW_ONES = 8192,  /* the last rows that were written: their pages are warm */
    DEAD_MIN = 16384, /* so many may stay in any case */
    DEAD_SHARE = 4,   /* and else a quarter of all */
    AT_ONCE = 2048,   /* removed in one transaction */
};

bool goes_at_once(const struct reaper *reaper, uint64_t number)
{
    return number + reaper->young > reaper->newest;
}

void reaper_init(struct reaper *reaper, enum table table, const struct lmdb_store_options *options)
{
    *reaper = (struct reaper){ .table = table,
                               .young = options->young ? options->young : NEW_ONES,
                               .few = options->few ? options->few : DEAD_MIN };
}

void reaper_add(struct reaper *reaper, uint64_t number, uint32_t logged)
{
    reaper->dead = must_have(
        array_grow(reaper->dead, reaper->count, &reaper->room, sizeof *reaper->dead));
    reaper->dead[reaper->count++] = (struct dead_row){ .number = number, .logged = logged };
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = ((const struct dead_row *)a)->number;
    uint64_t right = ((const struct dead_row *)b)->number;
    return (left > right) - (left < right);
}

bool reap_wanted(struct reaper *reaper)
{
    if (reaper->at < reaper->end)
        return true;
    if (reaper->count <= reaper->few || reaper->count <= reaper->rows / DEAD_SHARE)
        return false;
    qsort(reaper->dead, reaper->count, sizeof *reaper->dead, by_number);
    reaper->at = 0;
    reaper->end = reaper->count;
    return true;
}

void reap_note(struct lmdb_store *store)
{
    const struct reaper *reaper = &store->messages;
    uint64_t all = reaper->rows, dead = reaper->count - reaper->at;
    uint64_t needed = all > dead ? all - dead : 0;
    double share = all ? (double)needed / (double)all : 0;
    atomic_store_explicit(&store->messages_now, needed, memory_order_relaxed);
    atomic_store_explicit(&store->payload_now,
                          (uint64_t)((double)reaper->pack.live.payload * share + 0.5),
                          memory_order_relaxed);
}

int reap_apply(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn)
{
    int rc = 0;
    reaper->reaped = 0;
    if (!reap_wanted(reaper))
        return 0;
    size_t left = reaper->end - reaper->at;
    for (size_t count = left < AT_ONCE ? left : AT_ONCE; reaper->reaped < count && rc == 0;
         reaper->reaped++)
        rc = row_remove(store, reaper, txn, reaper->dead[reaper->at + reaper->reaped].number);
    return rc;
}

void reap_confirm(struct lmdb_store *store, struct reaper *reaper)
{
    for (size_t i = 0; i < reaper->reaped; i++)
        store->log.live -= reaper->dead[reaper->at + i].logged;
    reaper->rows -= reaper->reaped;
    reaper->at += reaper->reaped;
    reaper->reaped = 0;
    if (reaper->at < reaper->end || reaper->end == 0)
        return;
    reaper->count -= reaper->end;
    memmove(reaper->dead, reaper->dead + reaper->end, reaper->count * sizeof *reaper->dead);
    reaper->at = reaper->end = 0;
}

void reaper_done(struct reaper *reaper)
{
    free(reaper->dead);
}
