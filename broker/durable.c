/* SPDX-License-Identifier: MIT */
/*
 * See durable.h: from the broker's structs to operations of the store. It decides nothing but what
 * needs a slot and what may be late; it owns nothing, the batch of the worker's turn does.
 */
#include "broker/durable.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/author.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/session.h"
#include "broker/store/bytes.h"

#include <stdlib.h>

enum { SENT_LATE = 1000 }; /* milliseconds until an open QoS 1 identifier is recorded */

/* ---- sessions ---- */

/* A clean session has one only for a will that is to be retained. */
static bool needs_slot(const struct session *session)
{
    const struct conn *conn = session->conn;
    return session->expiry > 0 || (conn && conn->will && conn->will->retain);
}

void durable_session_decide(struct worker *worker, struct session *session)
{
    struct store *store = worker->broker->store;
    if (!store->keeps)
        return;
    if (!session->slot && needs_slot(session))
        session->slot = store_new_slot(store);
    uint32_t keeps = session->expiry > 0 ? session->slot : 0;
    if (atomic_exchange_explicit(&session->keeps, keeps, memory_order_relaxed) == keeps)
        return;
    group_members_keep(worker, session, keeps != 0);
}

static struct session_record describe(const struct session *session, uint8_t **ret_topics)
{
    const struct conn *conn = session->conn;
    struct session_record record = {
        .client_id = session_client_id(session),
        .epoch = session->epoch,
        .expiry = session->expiry,
        .connected = conn != NULL,
        .ends_at = session->ends_at,
        .will = session->will,
        .will_delay = session->will_delay,
        .will_at = session->will_at,
    };
    access_describe(session, &record, ret_topics);
    if (conn && conn->will) {
        record.will = conn->will;
        record.will_delay = conn->will_delay;
        record.will_at = 0;
    }
    return record;
}

static uint64_t give(struct worker *worker, const struct store_op *op, bool late)
{
    if (!late)
        return worker_store(worker, op);
    worker_store_late(worker, op);
    return 0;
}

uint64_t durable_session(struct worker *worker, struct session *session, bool late)
{
    struct store_op op = { .kind = STORE_SESSION, .slot = session->slot };
    uint8_t *topics;
    if (!session->slot)
        return 0;
    struct session_record record = describe(session, &topics);
    op.record = must_have(
        session_record_encode(&record, &op.record_len)); /* bounded by CONNECT's limits */
    free(topics);
    return give(worker, &op, late);
}

uint64_t durable_session_end(struct worker *worker, uint32_t slot)
{
    if (!slot)
        return 0;
    return worker_store(worker, &(struct store_op){ .kind = STORE_SESSION_END, .slot = slot });
}

uint64_t durable_subscribed(struct worker *worker, const struct session *session,
                            const struct subscription *subscription)
{
    struct store_op op = { .kind = STORE_SUBSCRIBED, .slot = session->slot };
    struct subscription_record record = {
        .filter = subscription_filter(session, subscription),
        .sub_id = subscription->sub_id,
        .options = subscription->options,
    };
    if (!session_kept_slot(session))
        return 0;
    op.record = must_have(subscription_record_encode(&record, &op.record_len));
    return worker_store(worker, &op);
}

static struct store_op filter_op(enum store_op_kind kind, uint32_t slot, struct span filter)
{
    struct store_op op = { .kind = kind, .slot = slot, .record = must_have(malloc(filter.len)) };
    memcpy(op.record, filter.data, filter.len);
    op.record_len = filter.len;
    return op;
}

uint64_t durable_unsubscribed(struct worker *worker, const struct session *session,
                              struct span filter)
{
    if (!session_kept_slot(session))
        return 0;
    struct store_op op = filter_op(STORE_UNSUBSCRIBED, session->slot, filter);
    return worker_store(worker, &op);
}

void durable_group(struct worker *worker, uint32_t slot, struct span share_filter)
{
    struct store_op op = filter_op(STORE_GROUP, slot, share_filter);
    (void)worker_store(worker, &op);
}

void durable_group_end(struct worker *worker, uint32_t slot)
{
    if (slot)
        worker_store_late(worker, &(struct store_op){ .kind = STORE_GROUP_END, .slot = slot });
}

/* ---- received ---- */

uint64_t durable_inbound(struct worker *worker, const struct session *session, uint16_t id)
{
    if (!session_kept_slot(session))
        return 0;
    return worker_store(
        worker,
        &(struct store_op){ .kind = STORE_INBOUND_QOS2, .slot = session->slot, .packet_id = id });
}

uint64_t durable_inbound_release(struct worker *worker, const struct session *session, uint16_t id)
{
    if (!session_kept_slot(session))
        return 0;
    return worker_store(worker, &(struct store_op){ .kind = STORE_INBOUND_RELEASE,
                                                    .slot = session->slot,
                                                    .packet_id = id });
}

void durable_unrouted(struct worker *worker, const struct session *session, uint16_t id,
                      struct message *message)
{
    message->stored = must_have(
        stored_new(store_new_sequence(worker->broker->store), worker->now, 0));
    (void)worker_store(worker, &(struct store_op){ .kind = STORE_UNROUTED,
                                                   .slot = session->slot,
                                                   .packet_id = id,
                                                   .message = message_ref(message) });
}

uint64_t durable_message(struct worker *worker, struct message *message, bool unrouted)
{
    *worker_store_room(worker, unrouted ? 0 : message_size(message)) = (struct store_op){
        .kind = unrouted ? STORE_ROUTED : STORE_MESSAGE, .message = message_ref(message)
    };
    return worker_store_awaits(worker);
}

struct delivery durable_delivery(struct message *message, const struct receiver *receiver)
{
    struct delivery delivery = {
        .message = message,
        .sub_id = receiver->sub_id,
        .qos = receiver->qos,
        .flags = (uint8_t)(DELIVERY_STORED | (receiver->retain ? DELIVERY_RETAIN : 0)),
    };
    if (receiver->ids) {
        delivery.ids = sub_ids_ref(receiver->ids);
        delivery.flags |= DELIVERY_MANY_IDS;
    }
    return delivery;
}

void durable_adopt(struct worker *worker, const struct session *session, struct delivery *delivery)
{
    uint32_t slot = session_kept_slot(session);
    if (!slot || delivery->qos == 0)
        return;
    struct message *copy = message_copy(delivery->message);
    if (!copy)
        return;
    copy->stored = stored_new(store_new_sequence(worker->broker->store), worker->now, 1);
    if (!copy->stored) {
        message_unref(copy);
        return;
    }
    copy->stored->receivers[0] = (struct receiver){
        .slot = slot, .sub_id = delivery->sub_id, .qos = delivery->qos, .retain = true
    };
    message_unref(delivery->message);
    delivery->message = copy;
    delivery->flags |= DELIVERY_STORED;
    worker_store_late(worker,
                      &(struct store_op){ .kind = STORE_MESSAGE, .message = message_ref(copy) });
}

uint64_t durable_retained(struct worker *worker, struct message *message, uint64_t number)
{
    struct store_op op = { .kind = STORE_RETAINED, .number = number };
    if (!worker->broker->store->keeps)
        return 0;
    if (message->author && message->payload_len > 0) {
        struct span author = author_record(message->author);
        op.record = must_have(malloc(author.len + 1)); /* never an empty allocation */
        op.record_len = author.len;
        put_span(op.record, author);
    }
    op.message = message_ref(message);
    return worker_store(worker, &op);
}

void durable_retained_expired(struct worker *worker, struct span topic, uint64_t number)
{
    if (!worker->broker->store->keeps)
        return;
    struct message *cleared = message_from_parts(
        &(struct message_parts){ .topic = topic, .retain = true });
    if (cleared)
        worker_store_late(
            worker,
            &(struct store_op){ .kind = STORE_RETAINED, .number = number, .message = cleared });
}

/* ---- delivered ---- */

void durable_record_done(struct worker *worker, uint32_t slot, struct delivery *delivery)
{
    if (delivery->flags & DELIVERY_SHARED)
        slot = group_member_slot(delivery->member);
    delivery->flags &= (uint8_t)~DELIVERY_STORED;
    *worker_store_room(worker, 0) = (struct store_op){ .kind = STORE_DONE,
                                                       .slot = slot,
                                                       .message = message_ref(delivery->message) };
}

void durable_done_number(struct worker *worker, uint32_t slot, uint64_t sequence)
{
    worker_store_late(worker,
                      &(struct store_op){ .kind = STORE_DONE, .slot = slot, .number = sequence });
    if (worker->batch)
        worker->batch->by_number = true;
}

static struct store_op outbound(const struct session *session, struct inflight_entry *entry,
                                uint16_t id)
{
    struct delivery *delivery = &entry->delivery;
    struct store_op op = {
        .kind = STORE_OUTBOUND, .slot = session->slot, .packet_id = id, .state = AWAIT_PUBCOMP
    };
    /* Of a message that is not kept only the identifier is: PUBREL frees it in any case. */
    if (delivery->flags & DELIVERY_STORED) {
        op.state = entry->state;
        op.message = message_ref(delivery->message);
        if (delivery->flags & DELIVERY_SHARED)
            op.number = group_member_slot(delivery->member);
    }
    entry->recorded = true;
    entry->again = false;
    return op;
}

uint64_t durable_outbound(struct worker *worker, const struct session *session,
                          struct inflight_entry *entry, uint16_t id)
{
    if (!session_kept_slot(session))
        return 0;
    struct store_op op = outbound(session, entry, id);
    return worker_store(worker, &op);
}

void durable_outbound_end(struct worker *worker, const struct session *session,
                          struct inflight_entry *entry, uint16_t id)
{
    if (!entry->recorded)
        return;
    entry->recorded = false;
    worker_store_late(
        worker,
        &(struct store_op){ .kind = STORE_OUTBOUND_END, .slot = session->slot, .packet_id = id });
}

void durable_sent_later(struct worker *worker, struct session *session)
{
    if (list_linked(&session->sent_node) || !session_kept_slot(session))
        return;
    list_append(&worker->sent, &session->sent_node);
    if (!timer_armed(&worker->sent_timer))
        wheel_set(&worker->wheel, &worker->sent_timer, worker->now + SENT_LATE);
}

void durable_sent(struct worker *worker, struct session *session)
{
    struct inflight *inflight = &session->inflight;
    uint64_t place = inflight->recorded > inflight->base ? inflight->recorded : inflight->base;
    list_remove(&session->sent_node);
    if (!session_kept_slot(session))
        return;
    for (; place < inflight->next; place++) {
        struct inflight_entry *entry = inflight_at(inflight, place);
        if (entry->state != AWAIT_PUBACK || entry->recorded ||
            !(entry->delivery.flags & DELIVERY_STORED))
            continue;
        struct store_op op = outbound(session, entry, inflight_id(place));
        worker_store_late(worker, &op);
    }
    inflight->recorded = inflight->next;
}

void durable_sent_all(struct worker *worker)
{
    while (!list_empty(&worker->sent))
        durable_sent(worker, CONTAINER_OF(worker->sent.next, struct session, sent_node));
}
