/* SPDX-License-Identifier: MIT */
/*
 * What the operations of store.h do to memory and to the tables. The writer thread alone.
 *
 *   prepare   once per batch: who is done with which message, how far exchanges are
 *   apply     in a transaction: messages by sequence, everything else in the order of the batches,
 *             then the log, then retained messages. It changes no state but the buffers
 *             that it fills, so that it can be done again after a transaction that has failed.
 *   confirm   after the commit: what is written is written
 *
 * Since all that is held is prepared before anything is applied, a message whose receivers were
 * all done meanwhile is never written.
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include <stdlib.h>

enum { SORT_FROM = 16 }; /* receivers of a message from which on they are sorted */

/* ---- prepare ---- */

static int by_slot(const void *a, const void *b)
{
    uint32_t left = ((const struct receiver *)a)->slot, right = ((const struct receiver *)b)->slot;
    return (left > right) - (left < right);
}

/* The publisher's turn may still read the list until it has submitted it. */
static struct receiver *receiver_find(struct stored *stored, uint32_t slot)
{
    if (!stored->sorted && stored->routed && stored->count >= SORT_FROM) {
        qsort(stored->receivers, stored->count, sizeof *stored->receivers, by_slot);
        stored->sorted = true;
    }
    if (stored->sorted)
        return bsearch(&(struct receiver){ .slot = slot }, stored->receivers, stored->count,
                       sizeof *stored->receivers, by_slot);
    for (uint32_t i = 0; i < stored->count; i++)
        if (stored->receivers[i].slot == slot)
            return &stored->receivers[i];
    return NULL;
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = ((const struct unwritten *)a)->sequence;
    uint64_t right = ((const struct unwritten *)b)->sequence;
    return (left > right) - (left < right);
}

static void list_batch(struct lmdb_store *store, const struct store_batch *batch)
{
    if (store->unwritten_count + batch->count > store->unwritten_room) {
        store->unwritten_room = 2 * (store->unwritten_count + batch->count);
        store->unwritten = must_have(
            realloc(store->unwritten, store->unwritten_room * sizeof *store->unwritten));
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct store_op *op = &batch->ops[i];
        if (op->kind == STORE_MESSAGE || op->kind == STORE_ROUTED)
            store->unwritten[store->unwritten_count++] = (struct unwritten){
                .sequence = op->message->stored->sequence, .stored = op->message->stored
            };
    }
}

void unwritten_list(struct lmdb_store *store)
{
    store->unwritten_count = 0;
    for (struct store_batch *batch = store->held; batch; batch = batch->next)
        list_batch(store, batch);
    for (struct store_batch *batch = store->arrived; batch; batch = batch->next)
        list_batch(store, batch);
    if (store->unwritten_count)
        qsort(store->unwritten, store->unwritten_count, sizeof *store->unwritten, by_number);
}

static struct stored *unwritten_find(struct lmdb_store *store, uint64_t sequence)
{
    const struct unwritten key = { .sequence = sequence }, *found = NULL;
    if (store->unwritten_count)
        found = bsearch(&key, store->unwritten, store->unwritten_count, sizeof key, by_number);
    return found ? found->stored : NULL;
}

/* What STORE_DONE means for the disk, in its `state`. */
enum done_means {
    DONE_UNWRITTEN, /* nothing: the message is written without this receiver, or not at all */
    DONE_LOGGED,    /* others are not done: it goes into the log */
    DONE_LAST,      /* the message goes */
};

/* Once it is written its receivers are counted in the tallies alone: who has read it back from the
 * disk has another copy than who has kept it. */
static void prepare_done(struct lmdb_store *store, struct store_op *op)
{
    struct stored *stored = op->message ? op->message->stored : unwritten_find(store, op->number);
    if (stored || op->message) {
        struct receiver *receiver = stored ? receiver_find(stored, op->slot) : NULL;
        if (!receiver || receiver->done) {
            op->kind = STORE_OP_KINDS; /* nothing to do */
            return;
        }
        receiver->done = true;
        op->number = stored->sequence;
        op->state = DONE_UNWRITTEN;
        if (!stored->written) {
            stored->left--;
            return;
        }
    }
    bool alone = stored && !stored->tallied;
    struct tally *tally = alone ? NULL : tallies_find(&store->tallies, op->number);
    if (tally && tally->left > 0)
        tally->left--;
    op->state = tally && tally->left > 0 ? DONE_LOGGED : DONE_LAST;
}

static void prepare_routed(struct lmdb_store *store, struct store_op *op)
{
    (void)store;
    op->message->stored->routed = true; /* also when nobody asked batch_must_wait() */
}

static void set_exchange(struct lmdb_store *store, const struct store_op *op, enum log_kind kind,
                         uint8_t state)
{
    struct stored *stored = op->message ? op->message->stored : NULL;
    exchange_set(store,
                 &(struct log_entry){ .kind = kind,
                                      .state = state,
                                      .packet_id = op->packet_id,
                                      .slot = op->slot,
                                      .group = kind == LOG_OUTBOUND ? (uint32_t)op->number : 0,
                                      .sequence = stored ? stored->sequence : 0 });
}

static void prepare_outbound(struct lmdb_store *store, struct store_op *op)
{
    set_exchange(store, op, LOG_OUTBOUND, op->state);
}

static void prepare_outbound_end(struct lmdb_store *store, struct store_op *op)
{
    set_exchange(store, op, LOG_OUTBOUND, 0);
}

static void prepare_inbound(struct lmdb_store *store, struct store_op *op)
{
    set_exchange(store, op, LOG_INBOUND, 1);
}

static void prepare_inbound_release(struct lmdb_store *store, struct store_op *op)
{
    set_exchange(store, op, LOG_INBOUND, 0);
}

static void prepare_session_end(struct lmdb_store *store, struct store_op *op)
{
    (void)op;
    store->log.suspects++; /* its exchanges are not needed any more */
}

/* ---- apply ---- */

static int put_slot(struct lmdb_store *store, MDB_txn *txn, enum table table,
                    const struct store_op *op)
{
    uint8_t key[4];
    put_u32(key, op->slot);
    return row_put(store, txn, table, span_of(key, sizeof key),
                   span_of(op->record, op->record_len));
}

static int delete_slot(struct lmdb_store *store, MDB_txn *txn, enum table table,
                       const struct store_op *op)
{
    uint8_t key[4];
    put_u32(key, op->slot);
    return row_delete(store, txn, table, span_of(key, sizeof key));
}

static int apply_session(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    return put_slot(store, txn, TABLE_SESSION, op);
}

/* All subscriptions whose keys begin with the slot. */
static int delete_subscriptions(struct lmdb_store *store, MDB_txn *txn, uint32_t slot)
{
    uint8_t first[4];
    MDB_cursor *cursor;
    put_u32(first, slot);
    int rc = mdb_cursor_open(txn, store->dbi[TABLE_SUBSCRIPTION], &cursor);
    if (rc)
        return store_error(rc);
    MDB_val key = val_of(first, sizeof first), value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size >= sizeof first &&
           memcmp(key.mv_data, first, sizeof first) == 0) {
        rc = mdb_cursor_del(cursor, 0);
        key = val_of(first, sizeof first);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

static int apply_session_end(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    int rc = delete_slot(store, txn, TABLE_SESSION, op);
    return rc ? rc : delete_subscriptions(store, txn, op->slot);
}

static struct span subscription_key(struct lmdb_store *store, uint32_t slot, struct span filter,
                                    uint8_t *key)
{
    key_hash(store->meta.seed, filter, put_u32(key, slot));
    return span_of(key, 4 + 16);
}

static int apply_subscribed(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    uint8_t key[ROW_KEY_MAX];
    struct subscription_record record;
    struct span bytes = span_of(op->record, op->record_len);
    CHECK(subscription_record_decode(bytes, &record) == 0); /* the broker has written it */
    return row_put(store, txn, TABLE_SUBSCRIPTION,
                   subscription_key(store, op->slot, record.filter, key), bytes);
}

static int apply_unsubscribed(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    uint8_t key[ROW_KEY_MAX];
    struct span filter = span_of(op->record, op->record_len);
    return row_delete(store, txn, TABLE_SUBSCRIPTION,
                      subscription_key(store, op->slot, filter, key));
}

static int apply_group(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    return put_slot(store, txn, TABLE_GROUP, op);
}

static int apply_group_end(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    return delete_slot(store, txn, TABLE_GROUP, op);
}

static int apply_done_op(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    if (op->state == DONE_LAST && goes_at_once(&store->messages, op->number))
        return row_remove(store, &store->messages, txn, op->number);
    if (op->state != DONE_UNWRITTEN)
        acklog_done_entry(store, op->slot, op->number);
    return 0;
}

static int apply_routed(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op)
{
    struct stored *stored = op->message->stored;
    return stored->unrouted && stored->left == 0
               ? row_remove(store, &store->messages, txn, stored->sequence)
               : 0;
}

/* ---- messages ---- */

static void plan_put(struct lmdb_store *store, const struct store_op *op, bool unrouted)
{
    store->puts = must_have(
        array_grow(store->puts, store->put_count, &store->put_room, sizeof *store->puts));
    store->puts[store->put_count++] = (struct message_put){ .message = op->message,
                                                            .unrouted = unrouted,
                                                            .publisher = op->slot };
}

static void plan_message(struct lmdb_store *store, const struct store_op *op)
{
    if (op->message->stored->left > 0)
        plan_put(store, op, false);
}

static void plan_unrouted(struct lmdb_store *store, const struct store_op *op)
{
    if (!op->message->stored->routed)
        plan_put(store, op, true);
}

static int by_sequence(const void *a, const void *b)
{
    uint64_t left = ((const struct message_put *)a)->message->stored->sequence;
    uint64_t right = ((const struct message_put *)b)->message->stored->sequence;
    return (left > right) - (left < right);
}

/* Straight into the page. Appending is cheaper by a search, and leaves full pages behind. */
static int put_message(struct lmdb_store *store, MDB_txn *txn, const struct message_put *put,
                       uint64_t *highest)
{
    uint8_t key[8];
    uint64_t sequence = put->message->stored->sequence;
    size_t size = ROW_HEAD + message_row_size(put->message, put->unrouted);
    put_u64(key, sequence);
    MDB_val k = val_of(key, sizeof key), value = val_of(NULL, size);
    int rc = MDB_KEYEXIST;
    if (sequence > *highest)
        rc = mdb_put(txn, store->dbi[TABLE_MESSAGE], &k, &value, MDB_RESERVE | MDB_APPEND);
    if (rc == MDB_KEYEXIST) {
        value = val_of(NULL, size);
        rc = mdb_put(txn, store->dbi[TABLE_MESSAGE], &k, &value, MDB_RESERVE);
    }
    if (rc)
        return store_error(rc);
    if (sequence > *highest)
        *highest = sequence;
    pack_count(&store->messages.pack, &store->messages.pack.put, size, put->message->payload_len);
    if (put->message->stored->unrouted) /* in its place */
        pack_count(&store->messages.pack, &store->messages.pack.deleted,
                   ROW_HEAD + message_row_size(put->message, true), put->message->payload_len);
    uint8_t *row = value.mv_data;
    message_row_encode(put->message, put->unrouted, put->publisher, row + ROW_HEAD);
    row_seal(span_of(key, sizeof key), row, size);
    return 0;
}

static int put_messages(struct lmdb_store *store, MDB_txn *txn)
{
    uint64_t highest = store->messages.newest;
    int rc = 0;
    bool in_order = true;
    for (size_t i = 1; i < store->put_count && in_order; i++)
        in_order = by_sequence(&store->puts[i - 1], &store->puts[i]) <= 0;
    if (!in_order)
        qsort(store->puts, store->put_count, sizeof *store->puts, by_sequence);
    for (size_t i = 0; i < store->put_count && rc == 0; i++)
        rc = put_message(store, txn, &store->puts[i], &highest);
    return rc;
}

/* ---- whether there is anything to write ---- */

static bool always(const struct store_op *op)
{
    (void)op;
    return true;
}

static bool is_wanted(const struct store_op *op)
{
    return op->message->stored->left > 0;
}

static bool is_wanted_or_there(const struct store_op *op)
{
    return is_wanted(op) || op->message->stored->unrouted;
}

static bool is_of_disk(const struct store_op *op)
{
    return op->state != DONE_UNWRITTEN;
}

/* ---- all of it ---- */

/* What each kind of operation does, in the three steps; nothing when it is NULL. */
static const struct kind_row {
    void (*prepare)(struct lmdb_store *store, struct store_op *op);
    void (*plan)(struct lmdb_store *store, const struct store_op *op);
    int (*apply)(struct lmdb_store *store, MDB_txn *txn, const struct store_op *op);
    bool (*writes)(
        const struct store_op *op); /* needs a transaction; exchanges say it themselves */
    /* Forgotten when its batch fails. What closes something is kept, for nobody says it again; so is
     * who receives: what is acknowledged later names them. */
    bool is_new;
} kinds[STORE_OP_KINDS + 1] = {
    [STORE_SESSION] = { .apply = apply_session, .writes = always },
    [STORE_SESSION_END] = { .prepare = prepare_session_end,
                            .apply = apply_session_end,
                            .writes = always },
    [STORE_SUBSCRIBED] = { .apply = apply_subscribed, .writes = always, .is_new = true },
    [STORE_UNSUBSCRIBED] = { .apply = apply_unsubscribed, .writes = always },
    [STORE_GROUP] = { .apply = apply_group, .writes = always },
    [STORE_GROUP_END] = { .apply = apply_group_end, .writes = always },
    [STORE_MESSAGE] = { .prepare = prepare_routed,
                        .plan = plan_message,
                        .is_new = true,
                        .writes = is_wanted },
    [STORE_UNROUTED] = { .plan = plan_unrouted, .is_new = true, .writes = always },
    [STORE_ROUTED] = { .prepare = prepare_routed,
                       .plan = plan_message,
                       .apply = apply_routed,
                       .writes = is_wanted_or_there },
    [STORE_DONE] = { .prepare = prepare_done, .apply = apply_done_op, .writes = is_of_disk },
    [STORE_OUTBOUND] = { .prepare = prepare_outbound, .is_new = true },
    [STORE_OUTBOUND_END] = { .prepare = prepare_outbound_end },
    [STORE_INBOUND_QOS2] = { .prepare = prepare_inbound, .is_new = true },
    [STORE_INBOUND_RELEASE] = { .prepare = prepare_inbound_release },
    [STORE_RETAINED] = { .plan = retained_plan, .is_new = true, .writes = always },
};

static bool is_of_exchange(const struct store_op *op)
{
    return op->kind == STORE_OUTBOUND || op->kind == STORE_OUTBOUND_END ||
           op->kind == STORE_INBOUND_QOS2 || op->kind == STORE_INBOUND_RELEASE;
}

static bool is_routing(const struct store_op *op)
{
    return op->kind == STORE_MESSAGE || op->kind == STORE_ROUTED;
}

/* A message of the batch itself is there before what follows it. */
bool batch_must_wait(const struct store_batch *batch)
{
    bool waits = false;
    size_t i = 0;
    for (; i < batch->count && !waits; i++) {
        const struct store_op *op = &batch->ops[i];
        if (is_routing(op))
            op->message->stored->routed = true;
        waits = op->kind == STORE_OUTBOUND && op->message && op->message->stored &&
                !op->message->stored->routed;
    }
    while (waits && i > 0)
        if (is_routing(&batch->ops[--i]))
            batch->ops[i].message->stored->routed = false;
    return waits;
}

void batch_prepare(struct lmdb_store *store, struct store_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (kinds[batch->ops[i].kind].prepare)
            kinds[batch->ops[i].kind].prepare(store, &batch->ops[i]);
}

static void forget_new(struct store_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct store_op *op = &batch->ops[i];
        if (!kinds[op->kind].is_new)
            continue;
        op->kind = STORE_OP_KINDS;
        message_unref(op->message);
        op->message = NULL;
    }
}

/* Exchanges that had begun or gone on have not; but those that had ended have. */
void held_forget(struct lmdb_store *store)
{
    exchanges_revert(store);
    for (struct store_batch *batch = store->held; batch; batch = batch->next) {
        if (!batch->acknowledged)
            forget_new(batch);
        for (size_t i = 0; i < batch->count; i++)
            if (is_of_exchange(&batch->ops[i]))
                kinds[batch->ops[i].kind].prepare(store, &batch->ops[i]);
    }
}

bool held_writes(const struct lmdb_store *store)
{
    for (const struct exchange *exchange = store->exchanges.dirty; exchange;
         exchange = exchange->next_dirty)
        if (exchange->state || exchange->on_disk)
            return true;
    for (struct store_batch *batch = store->held; batch; batch = batch->next)
        for (; batch->spared < batch->count; batch->spared++) {
            const struct store_op *op = &batch->ops[batch->spared];
            if (kinds[op->kind].writes && kinds[op->kind].writes(op))
                return true;
        }
    return false;
}

void held_apply_nothing(struct lmdb_store *store)
{
    store->put_count = store->retained.put_count = 0;
    store->messages.reaped = store->retained.reaper.reaped = 0;
    pack_begin(&store->messages.pack);
    pack_begin(&store->retained.reaper.pack);
    store->log.len = store->log.done_count = 0;
}

int held_apply(struct lmdb_store *store, MDB_txn *txn)
{
    int rc = 0;
    store->put_count = store->retained.put_count = 0;
    pack_begin(&store->messages.pack);
    pack_begin(&store->retained.reaper.pack);
    store->log.len = store->log.done_count = 0;
    for (struct store_batch *batch = store->held; batch; batch = batch->next)
        for (size_t i = 0; i < batch->count; i++)
            if (kinds[batch->ops[i].kind].plan)
                kinds[batch->ops[i].kind].plan(store, &batch->ops[i]);
    rc = put_messages(store, txn);
    for (struct store_batch *batch = store->held; batch && rc == 0; batch = batch->next)
        for (size_t i = 0; i < batch->count && rc == 0; i++)
            if (kinds[batch->ops[i].kind].apply)
                rc = kinds[batch->ops[i].kind].apply(store, txn, &batch->ops[i]);
    if (rc == 0)
        rc = acklog_write(store, txn);
    if (rc == 0 && store->retained.put_count)
        rc = retained_apply(store, txn);
    if (rc == 0)
        rc = reap_apply(store, &store->messages, txn);
    if (rc == 0)
        rc = reap_apply(store, &store->retained.reaper, txn);
    pack_note(store, &store->messages, txn);
    pack_note(store, &store->retained.reaper, txn);
    return rc;
}

static void confirm_done(struct lmdb_store *store, const struct store_op *op)
{
    struct tally *tally = tallies_find(&store->tallies, op->number);
    uint32_t logged = tally ? tally->logged : 0;
    if (op->state == DONE_UNWRITTEN)
        return;
    if (op->state == DONE_LOGGED && tally) { /* it is: others are not done */
        tally->logged++;
        return;
    }
    if (goes_at_once(&store->messages,
                     op->number)) { /* nothing that this depends on has changed yet */
        store->soon_done++;
        store->log.live -= logged;
        store->messages.rows -= store->messages.rows > 0; /* it may never have been there */
    } else {
        reaper_add(&store->messages, op->number, logged + 1);
    }
    tallies_remove(&store->tallies, op->number);
}

static void confirm_routed(struct lmdb_store *store, const struct store_op *op)
{
    struct stored *stored = op->message->stored;
    if (stored->left > 0 || !stored->unrouted)
        return;
    stored->unrouted = false;
    message_on_disk(op->message, false);
    store->messages.rows--;
}

static void confirm_spared(struct lmdb_store *store, const struct store_op *op)
{
    store->offered++;
    if (op->message->stored->left > 0)
        return;
    store->soon_done++;
    atomic_fetch_add_explicit(&store->spared, 1, memory_order_relaxed);
}

static void confirm_put(struct lmdb_store *store, const struct message_put *put)
{
    struct stored *stored = put->message->stored;
    store->messages.rows += !stored->written && !stored->unrouted;
    stored->written = !put->unrouted;
    stored->unrouted = put->unrouted;
    message_on_disk(put->message, true);
    if (stored->written && stored->left > 1) {
        stored->tallied = true;
        tallies_add(&store->tallies,
                    &(struct tally){ .sequence = stored->sequence, .left = stored->left });
    }
    if (stored->sequence > store->messages.newest)
        store->messages.newest = stored->sequence;
}

typedef void confirm_fn(struct lmdb_store *store, const struct store_op *op);

static void confirm_each(struct lmdb_store *store, enum store_op_kind kind, confirm_fn *confirm)
{
    for (struct store_batch *batch = store->held; batch; batch = batch->next)
        for (size_t i = 0; i < batch->count; i++)
            if (batch->ops[i].kind == kind)
                confirm(store, &batch->ops[i]);
}

void held_confirm(struct lmdb_store *store, uint64_t now)
{
    acklog_confirm(store);
    reap_confirm(store, &store->messages);
    reap_confirm(store, &store->retained.reaper);
    pack_confirm(&store->messages.pack);
    confirm_each(store, STORE_DONE, confirm_done);
    confirm_each(store, STORE_ROUTED, confirm_routed);
    confirm_each(store, STORE_MESSAGE, confirm_spared);
    for (size_t i = 0; i < store->put_count; i++)
        confirm_put(store, &store->puts[i]);
    retained_confirm(store, now);
    atomic_fetch_add_explicit(&store->stored_messages, store->put_count, memory_order_relaxed);
    reap_note(store);
}

void apply_done(struct lmdb_store *store)
{
    free(store->puts);
    reaper_done(&store->messages);
    retained_store_done(&store->retained);
    free(store->unwritten);
    tallies_done(&store->tallies);
}
