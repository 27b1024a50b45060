/* SPDX-License-Identifier: MIT */
/*
 * What happens to a message after it was written, and how far the exchange of each packet
 * identifier is, goes into a log, one record a commit: appending costs a page or two for a
 * thousand entries, where a row for each would cost a page each. The writer thread alone.
 *
 *   acklog:  record 17 | record 18 | … | record 93      read in this order when the store is loaded
 *            └─ the sweep: what is still needed of the oldest moves to the end
 *
 * An entry that a client is done with a message is needed as long as the message is there; one
 * about an exchange until a later one says more, which `exchanges` knows. An ending is needed only
 * as long as something older about the same exchange is in the log; since the sweep begins with the
 * oldest, that is never the case once it comes to it.
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include <stdlib.h>

enum {
    SWEEP_SLACK = 16384, /* entries that are not needed and do not matter */
    SWEEP_SLICE = 16384, /* entries looked at in one transaction */
    TABLE_ROOM = 256,    /* exchanges to begin with; a power of two */
};

/* ---- exchanges ---- */

static size_t place_of(const struct exchanges *exchanges, uint8_t kind, uint32_t slot,
                       uint16_t packet_id)
{
    uint64_t key = (uint64_t)slot << 24 | (uint64_t)packet_id << 8 | kind;
    return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (exchanges->room - 1);
}

static struct exchange **link_of(struct exchanges *exchanges, uint8_t kind, uint32_t slot,
                                 uint16_t packet_id)
{
    struct exchange **link = &exchanges->table[place_of(exchanges, kind, slot, packet_id)];
    while (*link &&
           ((*link)->slot != slot || (*link)->packet_id != packet_id || (*link)->kind != kind))
        link = &(*link)->next;
    return link;
}

static void grow(struct exchanges *exchanges)
{
    struct exchange **old = exchanges->table;
    size_t old_room = exchanges->room;
    exchanges->room = old_room ? old_room * 2 : TABLE_ROOM;
    exchanges->table = must_have(calloc(exchanges->room, sizeof *exchanges->table));
    for (size_t i = 0; i < old_room; i++)
        for (struct exchange *exchange = old[i], *next; exchange; exchange = next) {
            next = exchange->next;
            struct exchange **head = &exchanges->table[place_of(
                exchanges, exchange->kind, exchange->slot, exchange->packet_id)];
            exchange->next = *head;
            *head = exchange;
        }
    free(old);
}

struct exchange *exchange_find(struct exchanges *exchanges, enum log_kind kind, uint32_t slot,
                               uint16_t packet_id)
{
    return exchanges->count ? *link_of(exchanges, (uint8_t)kind, slot, packet_id) : NULL;
}

static struct exchange *find_or_add(struct exchanges *exchanges, const struct log_entry *entry)
{
    if (exchanges->count >= exchanges->room)
        grow(exchanges);
    struct exchange **link = link_of(exchanges, (uint8_t)entry->kind, entry->slot,
                                     entry->packet_id);
    if (*link)
        return *link;
    struct exchange *exchange = must_have(calloc(1, sizeof *exchange));
    exchange->kind = (uint8_t)entry->kind;
    exchange->slot = entry->slot;
    exchange->packet_id = entry->packet_id;
    exchanges->count++;
    return *link = exchange;
}

static void forget(struct exchanges *exchanges, struct exchange *exchange)
{
    struct exchange **link = link_of(exchanges, exchange->kind, exchange->slot,
                                     exchange->packet_id);
    *link = exchange->next;
    exchanges->count--;
    free(exchange);
}

static void note_disk(struct exchange *exchange)
{
    exchange->on_disk = true;
    exchange->disk_state = exchange->state;
    exchange->disk_group = exchange->group;
    exchange->disk_sequence = exchange->sequence;
}

/* The exchange is as far as the entry says. What happens to one identifier between two commits
 * becomes one entry. An exchange keeps its place in the order of sending until it ends. */
void exchange_set(struct lmdb_store *store, const struct log_entry *entry)
{
    struct exchanges *exchanges = &store->exchanges;
    struct exchange *exchange = find_or_add(exchanges, entry);
    if (exchange->state == 0)
        exchange->order = ++exchanges->last_order;
    exchange->state = entry->state;
    exchange->group = entry->group;
    exchange->sequence = entry->sequence;
    if (exchange->dirty)
        return;
    exchange->dirty = true;
    exchange->next_dirty = NULL;
    if (!exchanges->dirty)
        exchanges->dirty_end = &exchanges->dirty;
    *exchanges->dirty_end = exchange;
    exchanges->dirty_end = &exchange->next_dirty;
}

void exchange_loaded(struct lmdb_store *store, const struct log_entry *entry, uint64_t number)
{
    struct exchanges *exchanges = &store->exchanges;
    struct exchange *exchange;
    if (entry->order > exchanges->last_order)
        exchanges->last_order = entry->order;
    if (entry->state == 0) {
        exchange = exchange_find(exchanges, entry->kind, entry->slot, entry->packet_id);
        if (exchange)
            forget(exchanges, exchange);
        return;
    }
    exchange = find_or_add(exchanges, entry);
    exchange->state = entry->state;
    exchange->group = entry->group;
    exchange->sequence = entry->sequence;
    exchange->order = entry->order;
    exchange->number = number;
    note_disk(exchange);
}

void exchanges_revert(struct lmdb_store *store)
{
    for (struct exchange *exchange = store->exchanges.dirty; exchange;
         exchange = exchange->next_dirty) {
        exchange->state = exchange->on_disk ? exchange->disk_state : 0;
        exchange->group = exchange->disk_group;
        exchange->sequence = exchange->disk_sequence;
    }
}

/* ---- one record ---- */

static void add_entry(struct log_state *log, const struct log_entry *entry)
{
    if (log->len == 0)
        log->len = ROW_HEAD;
    if (log->len + LOG_ENTRY > log->room) {
        log->room = log->room ? log->room * 2 : 4096;
        log->bytes = must_have(realloc(log->bytes, log->room));
    }
    log_entry_encode(entry, log->bytes + log->len);
    log->len += LOG_ENTRY;
}

void acklog_done_entry(struct lmdb_store *store, uint32_t slot, uint64_t sequence)
{
    add_entry(&store->log,
              &(struct log_entry){ .kind = LOG_DONE, .slot = slot, .sequence = sequence });
    store->log.done_count++;
}

static void add_exchange(struct log_state *log, const struct exchange *exchange)
{
    add_entry(log, &(struct log_entry){ .kind = (enum log_kind)exchange->kind,
                                        .state = exchange->state,
                                        .packet_id = exchange->packet_id,
                                        .slot = exchange->slot,
                                        .group = exchange->group,
                                        .sequence = exchange->sequence,
                                        .order = exchange->order });
}

static int put_record(struct lmdb_store *store, MDB_txn *txn)
{
    struct log_state *log = &store->log;
    uint8_t key[8];
    put_u64(key, log->next);
    row_seal(span_of(key, sizeof key), log->bytes, log->len);
    MDB_val k = val_of(key, sizeof key), value = val_of(log->bytes, log->len);
    return store_error(mdb_put(txn, store->dbi[TABLE_LOG], &k, &value, 0));
}

/* What was added since held_apply() began, and what the exchanges have come to. One that began and
 * ended since the last commit leaves no trace. */
int acklog_write(struct lmdb_store *store, MDB_txn *txn)
{
    for (struct exchange *exchange = store->exchanges.dirty; exchange;
         exchange = exchange->next_dirty)
        if (exchange->state || exchange->on_disk)
            add_exchange(&store->log, exchange);
    return store->log.len ? put_record(store, txn) : 0;
}

static size_t entry_count(const struct log_state *log)
{
    return log->len ? (log->len - ROW_HEAD) / LOG_ENTRY : 0;
}

void acklog_confirm(struct lmdb_store *store)
{
    struct log_state *log = &store->log;
    struct exchange *exchange = store->exchanges.dirty, *next;
    store->exchanges.dirty = NULL;
    for (; exchange; exchange = next) {
        next = exchange->next_dirty;
        exchange->dirty = false;
        log->live += (exchange->state != 0) - (uint64_t)exchange->on_disk;
        exchange->number = log->next;
        if (exchange->state == 0)
            forget(&store->exchanges, exchange);
        else
            note_disk(exchange);
    }
    log->live += log->done_count;
    log->entries += entry_count(log);
    if (log->len)
        log->next++;
    log->len = 0;
    log->done_count = 0;
}

/* ---- the sweep ---- */

bool acklog_wants_sweep(struct lmdb_store *store)
{
    struct log_state *log = &store->log;
    if (log->sweep_until == 0 && (log->entries > 2 * log->live + SWEEP_SLACK ||
                                  log->suspects > log->entries / 2 + SWEEP_SLACK)) {
        log->sweep_until = log->next;
        log->suspects = 0;
    }
    return log->sweep_until != 0;
}

static int is_there(struct lmdb_store *store, MDB_txn *txn, enum table table, uint64_t number,
                    size_t len)
{
    uint8_t key[8];
    put_u64(key, len == 4 ? number << 32 : number);
    MDB_val k = val_of(key, len), value;
    int rc = mdb_get(txn, store->dbi[table], &k, &value);
    return rc == 0 ? 1 : rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

struct sweep {
    MDB_txn *txn;
    size_t looked_at, dropped;
    uint64_t number; /* of the record that is looked at */
    /* exchanges of sessions that are gone, and those that move */
    struct exchange **gone, **moved;
    size_t gone_count, moved_count;
};

/* Adds the entry to the record that is put together, if it is needed. */
static int sweep_entry(struct lmdb_store *store, struct sweep *sweep, const struct log_entry *entry)
{
    sweep->looked_at++;
    if (entry->kind == LOG_DONE) {
        int there = is_there(store, sweep->txn, TABLE_MESSAGE, entry->sequence, 8);
        if (there > 0)
            add_entry(&store->log, entry);
        return there < 0 ? there : 0;
    }
    struct exchange *exchange = exchange_find(&store->exchanges, entry->kind, entry->slot,
                                              entry->packet_id);
    if (!exchange || !exchange->on_disk || exchange->number != sweep->number || entry->state == 0)
        return 0;
    int there = is_there(store, sweep->txn, TABLE_SESSION, entry->slot, 4);
    if (there < 0)
        return there;
    if (there) {
        add_exchange(&store->log, exchange);
        sweep->moved[sweep->moved_count++] = exchange;
    } else {
        exchange->on_disk = false; /* a second entry about it does not count */
        sweep->gone[sweep->gone_count++] = exchange;
    }
    return 0;
}

static int sweep_record(struct lmdb_store *store, struct sweep *sweep, struct span key,
                        struct span row)
{
    struct span body;
    struct log_entry entry;
    if (!row_open(key, row, &body))
        return 0; /* damaged since it was loaded: it goes */
    size_t count = body.len / LOG_ENTRY;
    struct exchange **gone = realloc(sweep->gone, (sweep->gone_count + count + 1) * sizeof *gone);
    sweep->gone = gone ? gone : sweep->gone;
    struct exchange **moved = realloc(sweep->moved,
                                      (sweep->moved_count + count + 1) * sizeof *moved);
    sweep->moved = moved ? moved : sweep->moved;
    CHECK(gone && moved);
    while (body.len && take_log_entry(&body, &entry)) {
        int rc = sweep_entry(store, sweep, &entry);
        if (rc)
            return rc;
    }
    return 0;
}

static int sweep_slice(struct lmdb_store *store, struct sweep *sweep, MDB_cursor *cursor)
{
    MDB_val key, value;
    int rc = 0;
    while (sweep->looked_at < SWEEP_SLICE && rc == 0) {
        rc = store_error(mdb_cursor_get(cursor, &key, &value, MDB_FIRST));
        if (rc)
            return rc;
        sweep->number = key_number(span_val(key), 8);
        if (sweep->number >= store->log.sweep_until)
            return -ENOENT;
        rc = sweep_record(store, sweep, span_val(key), span_val(value));
        if (rc == 0)
            rc = store_error(mdb_cursor_del(cursor, 0));
    }
    return rc;
}

static void sweep_confirm(struct lmdb_store *store, struct sweep *sweep)
{
    struct log_state *log = &store->log;
    for (size_t i = 0; i < sweep->moved_count; i++)
        sweep->moved[i]->number = log->next;
    for (size_t i = 0; i < sweep->gone_count; i++)
        forget(&store->exchanges, sweep->gone[i]);
    log->live -= sweep->gone_count;
    log->entries -= sweep->looked_at - entry_count(log);
    if (log->len)
        log->next++;
}

/* Only while nothing is held: what exchanges say must be what the disk says. */
int acklog_sweep(struct lmdb_store *store)
{
    struct log_state *log = &store->log;
    struct sweep sweep = { .txn = NULL };
    MDB_cursor *cursor;
    bool end = false;
    int rc = store_error(mdb_txn_begin(store->env, NULL, 0, &sweep.txn));
    if (rc)
        return rc;
    rc = store_error(mdb_cursor_open(sweep.txn, store->dbi[TABLE_LOG], &cursor));
    if (rc == 0) {
        rc = sweep_slice(store, &sweep, cursor);
        mdb_cursor_close(cursor);
        end = rc == -ENOENT;
        if (end)
            rc = 0;
    }
    if (rc == 0 && log->len)
        rc = put_record(store, sweep.txn);
    if (rc == 0)
        rc = store_error(mdb_txn_commit(sweep.txn));
    else
        mdb_txn_abort(sweep.txn);
    if (rc == 0)
        sweep_confirm(store, &sweep);
    else
        for (size_t i = 0; i < sweep.gone_count; i++)
            sweep.gone[i]->on_disk = true;
    if (end || rc)
        log->sweep_until = 0;
    log->len = 0;
    free(sweep.gone);
    free(sweep.moved);
    return rc;
}

void acklog_done(struct lmdb_store *store)
{
    struct exchanges *exchanges = &store->exchanges;
    for (size_t i = 0; i < exchanges->room; i++)
        for (struct exchange *exchange = exchanges->table[i], *next; exchange; exchange = next) {
            next = exchange->next;
            free(exchange);
        }
    free(exchanges->table);
    free(store->log.bytes);
}
