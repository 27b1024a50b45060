/* SPDX-License-Identifier: MIT */
/*
 * What the broker gives to the store: one function a happening, each on the worker that owns what
 * it is about. They return the position to wait for, 0 when nothing waits. With a store that keeps
 * nothing they do nothing.
 */
#pragma once

#include "broker/delivery.h"
#include "mqtt/span.h"

struct inflight_entry;
struct receiver;
struct session;
struct subscription;
struct worker;

/* Takes over what the session's expiry says about that; gives it a slot when it needs one. */
void durable_session_decide(struct worker *worker, struct session *session);
/* The session as it is now: its expiry, whether it is connected, its will. Nothing without a slot.
 * `late`: soon, but nobody waits. */
uint64_t durable_session(struct worker *worker, struct session *session, bool late);
uint64_t durable_session_end(struct worker *worker, uint32_t slot);
uint64_t durable_subscribed(struct worker *worker, const struct session *session,
                            const struct subscription *subscription);
uint64_t durable_unsubscribed(struct worker *worker, const struct session *session,
                              struct span filter);

/* A shared group has got a slot; it is gone. Nobody waits for either: who has subscribed waits for
 * a later one of the same batch. */
void durable_group(struct worker *worker, uint32_t slot, struct span share_filter);
void durable_group_end(struct worker *worker, uint32_t slot);

/* A packet identifier of a received QoS 2 message is in use; it is free again. */
uint64_t durable_inbound(struct worker *worker, const struct session *session, uint16_t id);
uint64_t durable_inbound_release(struct worker *worker, const struct session *session, uint16_t id);
/* A received message that is routed when it is durable. Gives it its number. */
void durable_unrouted(struct worker *worker, const struct session *session, uint16_t id,
                      struct message *message);
/* It is known who receives it: message->stored says so. `unrouted`: it has been recorded before. */
uint64_t durable_message(struct worker *worker, struct message *message, bool unrouted);
/* A stored message on its way to one of its receivers again, as it was written down for it. Takes the
 * reference over. */
struct delivery durable_delivery(struct message *message, const struct receiver *receiver);
/* The session is about to be given a retained message: to survive, it becomes a message of its own
 * with this one receiver. Without memory it does not survive. */
void durable_adopt(struct worker *worker, const struct session *session, struct delivery *delivery);
uint64_t durable_retained(struct worker *worker, struct message *message, uint64_t number);
/* The retained message of a topic has expired: nobody waits for that, and without memory the next
 * start removes it. */
void durable_retained_expired(struct worker *worker, struct span topic, uint64_t number);

/* The delivery leaves its session, or the queue of its group, for good: `slot` (a session's own
 * deliveries; a shared one's is its group's) needs its message no more. Late, and once: takes
 * DELIVERY_STORED off. */
void durable_record_done(struct worker *worker, uint32_t slot, struct delivery *delivery);
static inline void durable_done(struct worker *worker, uint32_t slot, struct delivery *delivery)
{
    if (delivery->flags & DELIVERY_STORED)
        durable_record_done(worker, slot, delivery);
}

/* The same for one that is only a number. */
void durable_done_number(struct worker *worker, uint32_t slot, uint64_t sequence);

/* The exchange of this packet identifier has come to the entry's state. */
uint64_t durable_outbound(struct worker *worker, const struct session *session,
                          struct inflight_entry *entry, uint16_t id);
/* The exchange is over. Late. */
void durable_outbound_end(struct worker *worker, const struct session *session,
                          struct inflight_entry *entry, uint16_t id);
/* QoS 1 was sent: its identifier is recorded when it is still open a second later, or when the
 * connection ends (durable_sent()), before anything of QoS 2 that was sent after it. */
void durable_sent_later(struct worker *worker, struct session *session);
void durable_sent(struct worker *worker, struct session *session);
/* For all sessions of this worker that have sent something. */
void durable_sent_all(struct worker *worker);
