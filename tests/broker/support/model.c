/* SPDX-License-Identifier: MIT */
/* See model.h. Messages are kept as bytes, so that nothing of the broker before is shared with the
 * one that is loaded. One thread. */
#include "tests/broker/support/model.h"

#include "broker/delivery.h"
#include "broker/inflight.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row { /* of any table */
    uint32_t slot;
    uint16_t packet_id;
    uint8_t state;
    uint64_t number, order;
    uint8_t *bytes; /* owned */
    size_t len;
};

struct table {
    struct row *at;
    size_t count, room;
};

struct kept_receiver {
    struct receiver receiver;
    uint32_t *ids; /* owned */
    uint32_t id_count;
};

struct kept_message {
    uint64_t sequence, accepted;
    bool there, routed; /* there: not only its receivers that are done already */
    uint32_t publisher, count;
    struct kept_receiver *receivers;
    uint8_t *bytes;
    size_t len;
    uint32_t *early; /* receivers that were done before it was there */
    uint32_t early_count;
};

struct model {
    struct table sessions, subscriptions, groups, inbound, outbound, retained;
    struct kept_message *messages; /* in any order */
    size_t message_count, message_room;
    uint64_t orders;
    uint32_t last_slot;
    uint64_t last_sequence;
    bool torn;
};

struct model *model_new(void)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    return model;
}

void model_tear(struct model *model)
{
    model->torn = true;
}

/* ---- tables ---- */

static uint8_t *copy_of(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    assert_non_null(copy);
    if (bytes && len)
        memcpy(copy, bytes, len);
    return copy;
}

static struct row *add(struct table *table, uint32_t slot, const uint8_t *bytes, size_t len)
{
    if (table->count == table->room) {
        table->room = table->room ? table->room * 2 : 16;
        table->at = realloc(table->at, table->room * sizeof *table->at);
        assert_non_null(table->at);
    }
    struct row *row = &table->at[table->count++];
    *row = (struct row){ .slot = slot, .bytes = copy_of(bytes, len), .len = len };
    return row;
}

static void take_out(struct table *table, struct row *row)
{
    size_t at = (size_t)(row - table->at);
    free(row->bytes);
    memmove(row, row + 1, (--table->count - at) * sizeof *row);
}

static struct row *by_slot(const struct table *table, uint32_t slot)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->at[i].slot == slot)
            return &table->at[i];
    return NULL;
}

static struct row *by_id(const struct table *table, uint32_t slot, uint16_t id)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->at[i].slot == slot && table->at[i].packet_id == id)
            return &table->at[i];
    return NULL;
}

static void drop_slot(struct table *table, uint32_t slot)
{
    for (struct row *row; (row = by_slot(table, slot));)
        take_out(table, row);
}

static void table_done(struct table *table)
{
    while (table->count)
        take_out(table, &table->at[table->count - 1]);
    free(table->at);
}

static void replace(struct table *table, const struct store_op *op)
{
    drop_slot(table, op->slot);
    (void)add(table, op->slot, op->record, op->record_len);
}

/* ---- subscriptions ---- */

static struct row *find_subscription(struct model *model, uint32_t slot, struct span filter)
{
    struct subscription_record record;
    for (size_t i = 0; i < model->subscriptions.count; i++) {
        struct row *row = &model->subscriptions.at[i];
        assert_int_equal(subscription_record_decode(span_of(row->bytes, row->len), &record), 0);
        if (row->slot == slot && span_equal(record.filter, filter))
            return row;
    }
    return NULL;
}

static void subscribed(struct model *model, const struct store_op *op)
{
    struct subscription_record record;
    assert_int_equal(subscription_record_decode(span_of(op->record, op->record_len), &record), 0);
    assert_true(model->torn || by_slot(&model->sessions, op->slot));
    struct row *row = find_subscription(model, op->slot, record.filter);
    if (row)
        take_out(&model->subscriptions, row);
    (void)add(&model->subscriptions, op->slot, op->record, op->record_len);
}

/* ---- messages ---- */

static void message_done(struct model *model, struct kept_message *kept)
{
    for (uint32_t i = 0; i < kept->count; i++)
        free(kept->receivers[i].ids);
    free(kept->receivers);
    free(kept->early);
    free(kept->bytes);
    *kept = model->messages[--model->message_count];
}

void model_free(struct model *model)
{
    while (model->message_count)
        message_done(model, &model->messages[model->message_count - 1]);
    table_done(&model->sessions);
    table_done(&model->subscriptions);
    table_done(&model->groups);
    table_done(&model->inbound);
    table_done(&model->outbound);
    table_done(&model->retained);
    free(model->messages);
    free(model);
}

static struct kept_message *find_message(struct model *model, uint64_t sequence)
{
    for (size_t i = model->message_count; i > 0; i--)
        if (model->messages[i - 1].sequence == sequence)
            return &model->messages[i - 1];
    return NULL;
}

static struct kept_message *find_or_add(struct model *model, const struct message *message)
{
    assert_non_null(message->stored);
    struct kept_message *kept = find_message(model, message->stored->sequence);
    if (kept)
        return kept;
    if (model->message_count == model->message_room) {
        model->message_room = model->message_room ? model->message_room * 2 : 16;
        model->messages = realloc(model->messages, model->message_room * sizeof *kept);
        assert_non_null(model->messages);
    }
    kept = &model->messages[model->message_count++];
    *kept = (struct kept_message){ .sequence = message->stored->sequence,
                                   .accepted = message->stored->accepted };
    if (model->last_sequence < kept->sequence)
        model->last_sequence = kept->sequence;
    return kept;
}

static void keep_bytes(struct kept_message *kept, const struct message *message)
{
    assert_false(kept->there); /* recorded once */
    kept->there = true;
    kept->len = message_record_size(message);
    kept->bytes = malloc(kept->len);
    assert_non_null(kept->bytes);
    message_record_encode(message, kept->bytes);
}

static bool is_early(const struct kept_message *kept, uint32_t slot)
{
    for (uint32_t i = 0; i < kept->early_count; i++)
        if (kept->early[i] == slot)
            return true;
    return false;
}

static void keep_receivers(struct kept_message *kept, const struct stored *stored)
{
    kept->routed = true;
    kept->count = stored->count;
    kept->receivers = calloc(stored->count + 1, sizeof *kept->receivers);
    assert_non_null(kept->receivers);
    for (uint32_t i = 0; i < stored->count; i++) {
        struct kept_receiver *to = &kept->receivers[i];
        const struct receiver *from = &stored->receivers[i];
        assert_true(from->slot != 0 && (from->qos == 1 || from->qos == 2));
        to->receiver = *from;
        to->receiver.ids = NULL;
        to->receiver.done = is_early(kept, from->slot);
        if (!from->ids)
            continue;
        to->id_count = from->ids->count;
        to->ids = calloc(to->id_count, sizeof *to->ids);
        assert_non_null(to->ids);
        memcpy(to->ids, from->ids->ids, to->id_count * sizeof *to->ids);
    }
}

static void drop_when_done(struct model *model, struct kept_message *kept)
{
    for (uint32_t i = 0; i < kept->count; i++)
        if (!kept->receivers[i].receiver.done)
            return;
    if (kept->routed)
        message_done(model, kept);
}

static void done(struct model *model, const struct store_op *op)
{
    struct kept_message *kept = op->message ? find_or_add(model, op->message)
                                            : find_message(model, op->number);
    assert_true(kept || model->torn);
    if (!kept)
        return;
    if (!kept->routed) {
        kept->early = realloc(kept->early, (kept->early_count + 1) * sizeof *kept->early);
        assert_non_null(kept->early);
        kept->early[kept->early_count++] = op->slot;
        return;
    }
    for (uint32_t i = 0; i < kept->count; i++) {
        struct receiver *receiver = &kept->receivers[i].receiver;
        if (receiver->slot == op->slot && !receiver->done) {
            receiver->done = true;
            drop_when_done(model, kept);
            return;
        }
    }
    if (!model->torn)
        fail_msg("slot %u is done twice, or never was a receiver", op->slot);
}

/* ---- operations ---- */

static void outbound(struct model *model, const struct store_op *op)
{
    struct row *row = by_id(&model->outbound, op->slot, op->packet_id);
    assert_true(model->torn || by_slot(&model->sessions, op->slot));
    if (!row) {
        row = add(&model->outbound, op->slot, NULL, 0);
        row->packet_id = op->packet_id;
        row->order = ++model->orders;
    }
    row->state = op->state;
    row->number = op->message ? op->message->stored->sequence : 0;
    if (row->number > model->last_sequence) /* though its message may never have been stored */
        model->last_sequence = row->number;
    row->bytes[0] = 0;
    free(row->bytes);
    row->bytes = copy_of((const uint8_t *)&op->number, sizeof op->number); /* the group's slot */
    row->len = sizeof op->number;
}

static void retained(struct model *model, const struct store_op *op)
{
    struct span topic = message_topic(op->message);
    for (size_t i = 0; i < model->retained.count; i++) {
        struct row *row = &model->retained.at[i];
        struct message *old = message_record_decode(span_of(row->bytes, row->len));
        assert_non_null(old);
        bool same = span_equal(message_topic(old), topic);
        message_unref(old);
        if (!same)
            continue;
        if (row->number > op->number)
            return;
        take_out(&model->retained, row);
        break;
    }
    struct row *row = add(&model->retained, 0, NULL, message_record_size(op->message));
    row->number = op->number;
    free(row->bytes);
    row->bytes = malloc(row->len);
    assert_non_null(row->bytes);
    message_record_encode(op->message, row->bytes);
}

static void inbound(struct model *model, const struct store_op *op, bool in_use)
{
    struct row *row = by_id(&model->inbound, op->slot, op->packet_id);
    if (row)
        take_out(&model->inbound, row);
    if (in_use)
        add(&model->inbound, op->slot, NULL, 0)->packet_id = op->packet_id;
}

static void end_session(struct model *model, uint32_t slot)
{
    drop_slot(&model->sessions, slot);
    drop_slot(&model->subscriptions, slot);
    drop_slot(&model->inbound, slot);
    drop_slot(&model->outbound, slot);
}

void model_apply(struct model *model, const struct store_op *op)
{
    struct kept_message *kept;
    struct row *row;
    if (model->last_slot < op->slot)
        model->last_slot = op->slot;
    switch (op->kind) {
    case STORE_SESSION: replace(&model->sessions, op); break;
    case STORE_SESSION_END: end_session(model, op->slot); break;
    case STORE_SUBSCRIBED: subscribed(model, op); break;
    case STORE_UNSUBSCRIBED:
        row = find_subscription(model, op->slot, span_of(op->record, op->record_len));
        if (row)
            take_out(&model->subscriptions, row);
        break;
    case STORE_GROUP: replace(&model->groups, op); break;
    case STORE_GROUP_END: drop_slot(&model->groups, op->slot); break;
    case STORE_MESSAGE:
    case STORE_UNROUTED:
        kept = find_or_add(model, op->message);
        keep_bytes(kept, op->message);
        kept->publisher = op->slot;
        if (op->kind == STORE_MESSAGE) {
            keep_receivers(kept, op->message->stored);
            drop_when_done(model, kept);
        }
        break;
    case STORE_ROUTED:
        kept = find_or_add(model, op->message);
        keep_receivers(kept, op->message->stored);
        drop_when_done(model, kept);
        break;
    case STORE_DONE: done(model, op); break;
    case STORE_OUTBOUND: outbound(model, op); break;
    case STORE_OUTBOUND_END:
        row = by_id(&model->outbound, op->slot, op->packet_id);
        if (row)
            take_out(&model->outbound, row);
        break;
    case STORE_INBOUND_QOS2: inbound(model, op, true); break;
    case STORE_INBOUND_RELEASE: inbound(model, op, false); break;
    case STORE_RETAINED: retained(model, op); break;
    case STORE_OP_KINDS: fail();
    }
}

/* ---- loading ---- */

static struct loaded_outbound describe(const struct row *row)
{
    uint64_t group = 0;
    memcpy(&group, row->bytes, sizeof group);
    return (struct loaded_outbound){ .slot = row->slot,
                                     .group = (uint32_t)group,
                                     .packet_id = row->packet_id,
                                     .state = row->state,
                                     .order = row->order };
}

static struct message *revive(const struct kept_message *kept)
{
    struct message *message = message_record_decode(span_of(kept->bytes, kept->len));
    assert_non_null(message);
    message->stored = stored_new(kept->sequence, kept->accepted, kept->count);
    assert_non_null(message->stored);
    message->stored->left = message->stored->count = 0;
    for (uint32_t i = 0; i < kept->count; i++) {
        const struct kept_receiver *from = &kept->receivers[i];
        if (from->receiver.done)
            continue;
        struct receiver *receiver = &message->stored->receivers[message->stored->count++];
        message->stored->left++;
        *receiver = from->receiver;
        if (from->ids)
            receiver->ids = sub_ids_new(from->ids, from->id_count);
    }
    message->stored->routed = kept->routed;
    message->stored->written = message->stored->tallied = true;
    return message;
}

bool model_is_unrouted(struct model *model, uint64_t sequence)
{
    const struct kept_message *kept = find_message(model, sequence);
    return kept && kept->there && !kept->routed;
}

struct message *model_fetch(struct model *model, uint32_t slot, uint64_t sequence)
{
    struct kept_message *kept = find_message(model, sequence);
    if (!kept || !kept->there || !kept->routed)
        return NULL;
    struct message *message = revive(kept);
    struct stored *stored = message->stored;
    struct receiver mine = { .slot = 0 };
    for (uint32_t i = 0; i < stored->count; i++)
        if (stored->receivers[i].slot == slot)
            mine = stored->receivers[i];
        else
            sub_ids_unref(stored->receivers[i].ids);
    stored->count = stored->left = 1;
    stored->receivers[0] = mine;
    if (mine.slot)
        return message;
    message_unref(message);
    return NULL;
}

struct loading {
    struct loaded_message loaded;
    struct message *message;
};

static struct message *body_of(struct loaded_message *loaded)
{
    return ((struct loading *)(void *)loaded)->message; /* its first member */
}

static bool load_message(struct model *model, const struct kept_message *kept,
                         const struct store_loader *loader, void *ctx)
{
    struct loading loading = { .loaded = { .sequence = kept->sequence, .body = body_of },
                               .message = revive(kept) };
    struct message *message = loading.message;
    struct loaded_receiver *receivers = calloc(kept->count + 1, sizeof *receivers);
    assert_non_null(receivers);
    loading.loaded.size = message_size(message);
    loading.loaded.receivers = receivers;
    loading.loaded.count = message->stored->count;
    for (uint32_t i = 0; i < message->stored->count; i++)
        receivers[i] = (struct loaded_receiver){ .slot = message->stored->receivers[i].slot,
                                                 .qos = message->stored->receivers[i].qos };
    struct loaded_outbound *found = calloc(model->outbound.count + 1, sizeof *found);
    size_t count = 0;
    assert_non_null(found);
    for (size_t i = 0; i < model->outbound.count; i++)
        if (model->outbound.at[i].number == kept->sequence)
            found[count++] = describe(&model->outbound.at[i]);
    assert_true(model->torn || kept->routed ||
                count == 0); /* it was routed before anybody was sent it */
    bool taken = kept->routed ? loader->message(ctx, &loading.loaded, found, count)
                              : loader->unrouted(ctx, message, kept->publisher);
    free(found);
    free(receivers);
    message_unref(message);
    return taken;
}

static int by_sequence(const void *left, const void *right)
{
    const struct kept_message *a = left, *b = right;
    return (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

static bool load_sessions(struct model *model, const struct store_loader *loader, void *ctx)
{
    bool taken = true;
    struct session_record session;
    struct subscription_record subscription;
    for (size_t i = 0; i < model->sessions.count && taken; i++) {
        const struct row *row = &model->sessions.at[i];
        assert_int_equal(session_record_decode(span_of(row->bytes, row->len), &session), 0);
        taken = loader->session(ctx, row->slot, &session);
        message_unref(session.will);
    }
    for (size_t i = 0; i < model->subscriptions.count && taken; i++) {
        const struct row *row = &model->subscriptions.at[i];
        assert_int_equal(subscription_record_decode(span_of(row->bytes, row->len), &subscription),
                         0);
        taken = loader->subscription(ctx, row->slot, &subscription);
    }
    for (size_t i = 0; i < model->inbound.count && taken; i++)
        taken = loader->inbound(ctx, model->inbound.at[i].slot, model->inbound.at[i].packet_id);
    return taken;
}

int model_load(struct model *model, struct store *store, const struct store_loader *loader,
               void *ctx)
{
    bool taken = true;
    atomic_store(&store->last_slot, model->last_slot);
    atomic_store(&store->last_sequence, model->last_sequence);
    for (size_t i = 0; i < model->groups.count && taken; i++)
        taken = loader->group(ctx, model->groups.at[i].slot,
                              span_of(model->groups.at[i].bytes, model->groups.at[i].len));
    taken = taken && load_sessions(model, loader, ctx);
    if (model->message_count)
        qsort(model->messages, model->message_count, sizeof *model->messages, by_sequence);
    for (size_t i = 0; i < model->message_count && taken; i++)
        if (model->messages[i].there)
            taken = load_message(model, &model->messages[i], loader, ctx);
    for (size_t i = 0; i < model->outbound.count && taken; i++) {
        struct loaded_outbound outbound = describe(&model->outbound.at[i]);
        const struct kept_message *kept = find_message(model, model->outbound.at[i].number);
        if (!kept || !kept->there)
            taken = loader->outbound(ctx, &outbound);
    }
    for (size_t i = 0; i < model->retained.count && taken; i++) {
        const struct row *row = &model->retained.at[i];
        struct message *message = message_record_decode(span_of(row->bytes, row->len));
        assert_non_null(message);
        taken = loader->retained(ctx, message, row->number, (struct span){ 0 });
        message_unref(message);
    }
    return taken && loader->end(ctx) ? 0 : -ENOMEM;
}

/* ---- what is in it ---- */

size_t model_messages(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->message_count; i++)
        count += model->messages[i].there;
    return count;
}

size_t model_sessions(const struct model *model)
{
    return model->sessions.count;
}

size_t model_exchanges(const struct model *model)
{
    return model->outbound.count;
}

size_t model_retained(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->retained.count; i++) {
        struct message *message = message_record_decode(
            span_of(model->retained.at[i].bytes, model->retained.at[i].len));
        assert_non_null(message);
        count += message->payload_len > 0;
        message_unref(message);
    }
    return count;
}

void model_print(const struct model *model)
{
    for (size_t i = 0; i < model->message_count; i++) {
        const struct kept_message *kept = &model->messages[i];
        struct message *message = kept->there
                                      ? message_record_decode(span_of(kept->bytes, kept->len))
                                      : NULL;
        if (!message)
            continue;
        struct span topic = message_topic(message), payload = message_payload(message);
        fprintf(stderr, "message %lu, %s: %.*s = %.*s, QoS %u, for", (unsigned long)kept->sequence,
                kept->routed ? "routed" : "unrouted", (int)topic.len, (const char *)topic.data,
                (int)payload.len, (const char *)payload.data, message->qos);
        for (uint32_t r = 0; r < kept->count; r++)
            fprintf(stderr, " %u%s", kept->receivers[r].receiver.slot,
                    kept->receivers[r].receiver.done ? "(done)" : "");
        fprintf(stderr, "\n");
        message_unref(message);
    }
    for (size_t i = 0; i < model->sessions.count; i++) {
        struct session_record record;
        const struct row *row = &model->sessions.at[i];
        if (session_record_decode(span_of(row->bytes, row->len), &record) == 0)
            fprintf(stderr, "slot %u: %.*s\n", row->slot, (int)record.client_id.len,
                    (const char *)record.client_id.data);
    }
    for (size_t i = 0; i < model->groups.count; i++)
        fprintf(stderr, "slot %u: %.*s\n", model->groups.at[i].slot, (int)model->groups.at[i].len,
                (const char *)model->groups.at[i].bytes);
    for (size_t i = 0; i < model->outbound.count; i++)
        fprintf(stderr, "slot %u: identifier %u in state %u, of message %lu\n",
                model->outbound.at[i].slot, model->outbound.at[i].packet_id,
                model->outbound.at[i].state, (unsigned long)model->outbound.at[i].number);
}
