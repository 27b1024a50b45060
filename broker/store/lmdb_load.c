/* SPDX-License-Identifier: MIT */
/*
 * Reads all that is kept, once, before the workers run: the log first, because it says what became
 * of the messages; then everything in the order that store.h promises. What names a session that is
 * not there is left out and removed. Every row has been checked before (lmdb_salvage.c). The starting thread; nothing else uses the store yet.
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include "broker/delivery.h"
#include "broker/inflight.h"
#include "broker/list.h"
#include "broker/log.h"

#include <stdlib.h>

enum { REMOVE_SLICE = 10000 }; /* rows in one transaction */

/* A receiver that is done with a message, as the log says. */
struct done {
    uint64_t sequence;
    uint32_t slot;
};

/* A row that nobody needs any more. */
struct leftover {
    enum table table;
    uint8_t len;
    uint8_t key[ROW_KEY_MAX];
};

struct load {
    struct lmdb_store *store;
    const struct store_loader *loader;
    void *ctx;
    MDB_txn *txn;
    struct done *dones; /* by sequence and slot, once they are sorted */
    size_t done_count, done_room, done_at;
    struct exchange **exchanges; /* outbound, by sequence */
    size_t exchange_count, exchange_at;
    struct loaded_outbound *outbound; /* of one message */
    struct loaded_message message;    /* the one that is loaded, */
    struct message_row row;           /* its row, */
    struct loaded_receiver *receivers;
    size_t receiver_room;
    struct message *body; /* and itself, once somebody has asked for it; owned */
    uint8_t *slots;       /* a bit for each session and group that is there */
    uint32_t slot_max;
    struct leftover *leftovers;
    size_t leftover_count, leftover_room;
    uint64_t messages, sessions, subscriptions, retained;
};

static void saw_slot(struct load *load, uint32_t slot)
{
    if (slot > atomic_load(&load->store->store.last_slot))
        atomic_store(&load->store->store.last_slot, slot);
}

static void saw_sequence(struct load *load, uint64_t sequence)
{
    if (sequence > atomic_load(&load->store->store.last_sequence))
        atomic_store(&load->store->store.last_sequence, sequence);
}

static bool is_known(const struct load *load, uint32_t slot)
{
    return load->slots && slot <= load->slot_max && (load->slots[slot / 8] >> slot % 8 & 1);
}

static bool set_known(struct load *load, uint32_t slot)
{
    saw_slot(load, slot);
    if (!load->slots || slot > load->slot_max) {
        uint32_t max = slot < UINT32_MAX / 2 ? slot * 2 | 1023 : UINT32_MAX;
        uint8_t *slots = calloc(1, (size_t)max / 8 + 1);
        if (!slots)
            return false;
        if (load->slots)
            memcpy(slots, load->slots, (size_t)load->slot_max / 8 + 1);
        free(load->slots);
        load->slots = slots;
        load->slot_max = max;
    }
    load->slots[slot / 8] |= (uint8_t)(1 << slot % 8);
    return true;
}

static int leave_out(struct load *load, enum table table, struct span key)
{
    struct leftover *grown = array_grow(load->leftovers, load->leftover_count, &load->leftover_room,
                                        sizeof *grown);
    if (!grown)
        return -ENOMEM;
    load->leftovers = grown;
    struct leftover *leftover = &load->leftovers[load->leftover_count++];
    leftover->table = table;
    leftover->len = (uint8_t)(key.len < ROW_KEY_MAX ? key.len : ROW_KEY_MAX);
    memcpy(leftover->key, key.data, leftover->len);
    return 0;
}

/* ---- the walk over a table ---- */

typedef int row_fn(struct load *load, struct span key, struct span body);

static int walk(struct load *load, enum table table, size_t key_len, row_fn *fn)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    struct span body;
    int rc = mdb_cursor_open(load->txn, load->store->dbi[table], &cursor);
    if (rc)
        return store_error(rc);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        int result = -EBADMSG;
        if (key.mv_size == key_len && row_open_again(span_val(value), &body))
            result = fn(load, span_val(key), body);
        if (result) {
            mdb_cursor_close(cursor);
            return result;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

/* ---- the log ---- */

static int add_done(struct load *load, const struct log_entry *entry)
{
    struct done *grown = array_grow(load->dones, load->done_count, &load->done_room, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    load->dones = grown;
    load->dones[load->done_count++] = (struct done){ .sequence = entry->sequence,
                                                     .slot = entry->slot };
    return 0;
}

static int load_log(struct load *load, struct span key, struct span body)
{
    struct log_entry entry;
    uint64_t number = key_number(key, 8);
    load->store->log.next = number + 1;
    if (body.len % LOG_ENTRY)
        return -EBADMSG;
    while (body.len) {
        if (!take_log_entry(&body, &entry))
            return -EBADMSG;
        load->store->log.entries++;
        saw_slot(load, entry.slot);
        saw_sequence(load, entry.sequence);
        if (entry.kind != LOG_DONE)
            exchange_loaded(load->store, &entry, number);
        else if (add_done(load, &entry) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int by_sequence_and_slot(const void *a, const void *b)
{
    const struct done *left = a, *right = b;
    if (left->sequence != right->sequence)
        return left->sequence < right->sequence ? -1 : 1;
    return (left->slot > right->slot) - (left->slot < right->slot);
}

/* By sequence; those without a message come first, by slot and in the order of sending. */
static int by_message(const void *a, const void *b)
{
    const struct exchange *left = *(struct exchange *const *)a,
                          *right = *(struct exchange *const *)b;
    if (left->sequence != right->sequence)
        return left->sequence < right->sequence ? -1 : 1;
    if (left->slot != right->slot)
        return left->slot < right->slot ? -1 : 1;
    return (left->order > right->order) - (left->order < right->order);
}

static int list_exchanges(struct load *load, enum log_kind kind)
{
    const struct exchanges *all = &load->store->exchanges;
    struct exchange **list = realloc(load->exchanges, (all->count + 1) * sizeof *list);
    if (!list)
        return -ENOMEM;
    load->exchanges = list;
    load->exchange_count = load->exchange_at = 0;
    for (size_t i = 0; i < all->room; i++)
        for (struct exchange *exchange = all->table[i]; exchange; exchange = exchange->next)
            if (exchange->kind == kind)
                list[load->exchange_count++] = exchange;
    if (load->exchange_count)
        qsort(list, load->exchange_count, sizeof *list, by_message);
    return 0;
}

static int read_log(struct load *load)
{
    load->store->log.next = 1;
    int rc = walk(load, TABLE_LOG, 8, load_log);
    if (rc == 0 && load->done_count)
        qsort(load->dones, load->done_count, sizeof *load->dones, by_sequence_and_slot);
    return rc;
}

/* ---- receivers ---- */

static int load_group(struct load *load, struct span key, struct span body)
{
    uint32_t slot = (uint32_t)key_number(key, 4);
    if (!group_row_valid(body))
        return -EBADMSG;
    return set_known(load, slot) && load->loader->group(load->ctx, slot, body) ? 0 : -ENOMEM;
}

static int load_session(struct load *load, struct span key, struct span body)
{
    uint32_t slot = (uint32_t)key_number(key, 4);
    struct session_record record;
    int rc = session_record_decode(body, &record);
    if (rc)
        return rc;
    load->sessions++;
    if (!set_known(load, slot) || !load->loader->session(load->ctx, slot, &record))
        rc = -ENOMEM;
    message_unref(record.will);
    return rc;
}

static int load_subscription(struct load *load, struct span key, struct span body)
{
    uint32_t slot = (uint32_t)key_number(key, 4);
    struct subscription_record record;
    int rc = subscription_record_decode(body, &record);
    if (rc)
        return rc;
    saw_slot(load, slot);
    if (!is_known(load, slot))
        return leave_out(load, TABLE_SUBSCRIPTION, key);
    load->subscriptions++;
    return load->loader->subscription(load->ctx, slot, &record) ? 0 : -ENOMEM;
}

static int load_inbound(struct load *load)
{
    int rc = list_exchanges(load, LOG_INBOUND);
    for (size_t i = 0; i < load->exchange_count && rc == 0; i++) {
        const struct exchange *exchange = load->exchanges[i];
        if (is_known(load, exchange->slot) &&
            !load->loader->inbound(load->ctx, exchange->slot, exchange->packet_id))
            rc = -ENOMEM;
    }
    return rc;
}

/* ---- messages ---- */

/* Those that are done with this message: from the returned place to done_at of the sorted list. */
static size_t dones_of(struct load *load, uint64_t sequence)
{
    while (load->done_at < load->done_count && load->dones[load->done_at].sequence < sequence)
        load->done_at++;
    size_t first = load->done_at;
    while (load->done_at < load->done_count && load->dones[load->done_at].sequence == sequence)
        load->done_at++;
    return first;
}

static bool is_done(const struct load *load, size_t first, uint64_t sequence, uint32_t slot)
{
    const struct done key = { .sequence = sequence, .slot = slot };
    return load->done_at > first && bsearch(&key, &load->dones[first], load->done_at - first,
                                            sizeof *load->dones, by_sequence_and_slot);
}

/* The receivers that are there and not done; how many are done beside the message. */
static int load_receivers(struct load *load, uint32_t *ret_logged)
{
    struct loaded_message *message = &load->message;
    struct span in = load->row.receivers;
    struct receiver_row receiver;
    size_t first = dones_of(load, message->sequence);
    *ret_logged = (uint32_t)(load->done_at - first);
    if (load->row.count > load->receiver_room) {
        size_t room = 2 * (size_t)load->row.count;
        struct loaded_receiver *grown = realloc(load->receivers, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        load->receivers = grown;
        load->receiver_room = room;
    }
    message->count = 0;
    message->receivers = load->receivers;
    for (uint32_t i = 0; i < load->row.count; i++) {
        (void)take_receiver(&in, &receiver); /* has been checked */
        saw_slot(load, receiver.slot);
        if (is_known(load, receiver.slot) &&
            !is_done(load, first, message->sequence, receiver.slot))
            load->receivers[message->count++] = (struct loaded_receiver){ .slot = receiver.slot,
                                                                          .qos = receiver.qos };
    }
    return 0;
}

/* The message of a row, which has been checked, with room for so many receivers. */
static struct message *revive(const struct message_row *row, uint64_t sequence, uint32_t count)
{
    struct message *message = message_record_decode(row->message);
    if (!message)
        return NULL;
    message->stored = stored_new(sequence, row->accepted, count);
    if (message->stored)
        return message;
    message_unref(message);
    errno = ENOMEM;
    return NULL;
}

static struct message *load_body(struct loaded_message *loaded)
{
    struct load *load = CONTAINER_OF(loaded, struct load, message);
    struct span in = load->row.receivers;
    struct receiver_row row;
    if (load->body)
        return load->body;
    struct message *message = revive(&load->row, loaded->sequence, loaded->count);
    if (!message)
        return NULL;
    struct stored *stored = message->stored;
    stored->written = stored->routed = stored->tallied = true;
    message_on_disk(message, true);
    for (uint32_t i = 0; i < loaded->count && take_receiver(&in, &row);) {
        if (row.slot != loaded->receivers[i].slot)
            continue;
        if (!receiver_revive(&row, &stored->receivers[i++])) {
            message_unref(message);
            errno = ENOMEM;
            return NULL;
        }
    }
    return load->body = message;
}

static void describe(const struct exchange *exchange, struct loaded_outbound *ret)
{
    *ret = (struct loaded_outbound){ .slot = exchange->slot,
                                     .group = exchange->group,
                                     .packet_id = exchange->packet_id,
                                     .state = exchange->state,
                                     .order = exchange->order };
}

static bool waits_for(const struct loaded_message *message, uint32_t slot)
{
    for (uint32_t i = 0; i < message->count; i++)
        if (message->receivers[i].slot == slot)
            return true;
    return false;
}

/* An exchange whose message is not needed any more: at QoS 2 the client may have it and still keep
 * its identifier, which PUBREL makes it forget; at QoS 1 there is nothing to say. */
static void release(struct exchange *exchange)
{
    exchange->sequence = 0;
    if (exchange->state == AWAIT_PUBREC)
        exchange->state = AWAIT_PUBCOMP;
}

/* The exchanges of this message into load->outbound; how many there are. */
static size_t outbound_of(struct load *load)
{
    const struct loaded_message *message = &load->message;
    size_t count = 0;
    for (; load->exchange_at < load->exchange_count; load->exchange_at++) {
        struct exchange *exchange = load->exchanges[load->exchange_at];
        if (exchange->sequence > message->sequence)
            break;
        if (exchange->sequence == message->sequence && is_known(load, exchange->slot) &&
            waits_for(message, exchange->group ? exchange->group : exchange->slot))
            describe(exchange, &load->outbound[count++]);
        else
            release(exchange);
    }
    return count;
}

/* Several receivers, or traces in the log: see tally.h. */
static void tally(struct load *load, uint32_t logged)
{
    const struct loaded_message *message = &load->message;
    load->store->log.live += logged;
    if (message->count > 1 || logged)
        tallies_add(&load->store->tallies, &(struct tally){ .sequence = message->sequence,
                                                            .left = message->count,
                                                            .logged = logged });
}

static int load_unrouted(struct load *load, uint64_t sequence)
{
    uint32_t publisher = load->row.publisher;
    struct message *message = revive(&load->row, sequence, 0);
    if (!message)
        return -errno;
    message->stored->unrouted = true;
    message_on_disk(message, true);
    bool taken = load->loader->unrouted(load->ctx, message,
                                        is_known(load, publisher) ? publisher : 0);
    message_unref(message);
    return taken ? 0 : -ENOMEM;
}

static void count_in(struct load *load, struct span body)
{
    struct reaper *reaper = &load->store->messages;
    reaper->rows++;
    pack_count(&reaper->pack, &reaper->pack.live, ROW_HEAD + body.len,
               message_record_payload(load->row.message));
}

static int load_message(struct load *load, struct span key, struct span body)
{
    uint64_t sequence = key_number(key, 8);
    uint32_t logged;
    saw_sequence(load, sequence);
    load->store->messages.newest = sequence;
    if (!message_row_decode(body, &load->row))
        return -EBADMSG;
    saw_slot(load, load->row.publisher);
    if (load->row.unrouted) {
        count_in(load, body);
        return load_unrouted(load, sequence);
    }
    load->message = (struct loaded_message){ .sequence = sequence,
                                             .size = message_record_holds(load->row.message.len),
                                             .body = load_body };
    int rc = load_receivers(load, &logged);
    if (rc)
        return rc;
    if (load->message.count == 0)
        return leave_out(load, TABLE_MESSAGE, key);
    count_in(load, body);
    load->messages++;
    tally(load, logged);
    size_t count = outbound_of(load);
    if (!load->loader->message(load->ctx, &load->message, load->outbound, count))
        rc = -ENOMEM;
    message_unref(load->body);
    load->body = NULL;
    return rc;
}

/* The sorted list begins with exchanges that have no message. */
static int load_messages(struct load *load)
{
    int rc = list_exchanges(load, LOG_OUTBOUND);
    if (rc)
        return rc;
    load->outbound = calloc(load->exchange_count + 1, sizeof *load->outbound);
    if (!load->outbound)
        return -ENOMEM;
    while (load->exchange_at < load->exchange_count &&
           load->exchanges[load->exchange_at]->sequence == 0)
        load->exchange_at++;
    rc = walk(load, TABLE_MESSAGE, 8, load_message);
    for (; load->exchange_at < load->exchange_count; load->exchange_at++)
        release(load->exchanges[load->exchange_at]);
    return rc;
}

static int load_outbound(struct load *load)
{
    int rc = list_exchanges(load, LOG_OUTBOUND);
    for (size_t i = 0; i < load->exchange_count && rc == 0; i++) {
        struct loaded_outbound outbound;
        describe(load->exchanges[i], &outbound);
        if (load->exchanges[i]->sequence)
            break;
        if (outbound.state == AWAIT_PUBCOMP && is_known(load, outbound.slot) &&
            !load->loader->outbound(load->ctx, &outbound))
            rc = -ENOMEM;
    }
    return rc;
}

/* ---- retained messages ---- */

/* First of all which row is each topic's. */
static int index_retained(struct load *load, struct span key, struct span body)
{
    struct retained_row row;
    uint64_t number = key_number(key, 8);
    if (number == 0 || number > RETAINED_NUMBER || !retained_row_decode(body, &row))
        return -EBADMSG;
    struct reaper *reaper = &load->store->retained.reaper;
    retained_loaded(load->store, &row, number);
    pack_count(&reaper->pack, &reaper->pack.live, ROW_HEAD + body.len, 0);
    return 0;
}

static int load_retained(struct load *load, struct span key, struct span body)
{
    struct retained_row row;
    const struct lmdb_store *store = load->store;
    uint64_t number = key_number(key, 8);
    if (!retained_row_decode(body, &row) ||
        !retained_index_has(&store->retained.index, store->meta.seed, row.topic, number))
        return 0;
    struct message *message = message_record_decode(row.message);
    if (!message)
        return -errno;
    load->retained += !row.cleared;
    bool taken = load->loader->retained(load->ctx, message, number, row.author);
    message_unref(message);
    return taken ? 0 : -ENOMEM;
}

/* ---- all of it ---- */

static int remove_slice(struct load *load, size_t from, size_t count)
{
    MDB_txn *txn;
    int rc = store_error(mdb_txn_begin(load->store->env, NULL, 0, &txn));
    if (rc)
        return rc;
    for (size_t i = from; i < from + count && rc == 0; i++) {
        const struct leftover *leftover = &load->leftovers[i];
        rc = row_delete(load->store, txn, leftover->table, span_of(leftover->key, leftover->len));
    }
    if (rc == 0)
        return store_error(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return rc;
}

/* Not being able to is no reason not to start: it is tried again next time. */
static void remove_leftovers(struct load *load)
{
    int rc = 0;
    for (size_t from = 0; from < load->leftover_count && rc == 0; from += REMOVE_SLICE) {
        size_t left = load->leftover_count - from;
        rc = remove_slice(load, from, left < REMOVE_SLICE ? left : REMOVE_SLICE);
    }
    if (rc)
        log_emit(LEVEL_WARNING, "The store could not remove what nobody needs: %s.", strerror(-rc));
    else if (load->leftover_count)
        log_emit(LEVEL_INFORMATION, "The store removed %zu records that nobody needs.",
                 load->leftover_count);
}

static int read_all(struct load *load)
{
    int rc;
    if ((rc = read_log(load)) || (rc = walk(load, TABLE_GROUP, 4, load_group)) ||
        (rc = walk(load, TABLE_SESSION, 4, load_session)) ||
        (rc = walk(load, TABLE_SUBSCRIPTION, 4 + 16, load_subscription)) ||
        (rc = load_inbound(load)) || (rc = load_messages(load)) || (rc = load_outbound(load)) ||
        (rc = walk(load, TABLE_RETAINED, 8, index_retained)) ||
        (rc = walk(load, TABLE_RETAINED, 8, load_retained)))
        return rc;
    return load->loader->end(load->ctx) ? 0 : -ENOMEM;
}

int lmdb_load(struct store *base, const struct store_loader *loader, void *ctx)
{
    struct lmdb_store *store = CONTAINER_OF(base, struct lmdb_store, store);
    struct load load = { .store = store, .loader = loader, .ctx = ctx };
    int rc = retained_upgrade(store);
    if (rc == 0)
        rc = store_error(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &load.txn));
    if (rc)
        return rc;
    rc = read_all(&load);
    mdb_txn_abort(load.txn);
    store->log.live += store->exchanges.count;
    if (rc == 0) {
        remove_leftovers(&load);
        log_emit(LEVEL_DEBUG,
                 "The store has %lu sessions, %lu subscriptions, %lu queued and %lu retained "
                 "messages.",
                 (unsigned long)load.sessions, (unsigned long)load.subscriptions,
                 (unsigned long)load.messages, (unsigned long)load.retained);
        store->loaded = true;
        reap_note(store);
    }
    free(load.dones);
    free(load.exchanges);
    free(load.outbound);
    free(load.receivers);
    free(load.slots);
    free(load.leftovers);
    return rc;
}
