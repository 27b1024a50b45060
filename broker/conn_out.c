/* SPDX-License-Identifier: MIT */
/*
 * What leaves a connection, encoded at the moment it can be written: first the rest of a large
 * packet, then the replies whose turn and condition have come, then what must be sent again, then
 * the session's queue. Runs on the connection's worker.
 */
#include "broker/auth/access.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/log.h"
#include "broker/paging.h"
#include "broker/session.h"
#include "broker/slab.h"
#include "broker/trace.h"

#include <stdlib.h>

enum {
    ACK_SIZE_MAX = 8,
    REPLIES_FIRST = 8,
    UNREAD_AT = 100, /* unacknowledged publishes of a version 3 client at which it is left unread */
};

/* ---- the line of replies ---- */

static struct reply *reply_at(const struct reply_line *line, uint32_t i)
{
    return &line->ring[(line->head + i) & (line->room - 1)];
}

void replies_init(struct reply_line *line)
{
    line->ring = &line->one;
    line->room = 1;
    line->head = line->count = line->sent = 0;
}

static void give_ring_back(struct reply_line *line)
{
    if (line->ring != &line->one)
        slab_free(line->ring, line->room * sizeof *line->ring);
}

static bool reply_grow(struct reply_line *line)
{
    uint32_t room = line->room > 1 ? line->room * 2 : REPLIES_FIRST;
    struct reply *grown = slab_alloc(room * sizeof *grown);
    if (!grown)
        return false;
    for (uint32_t i = 0; i < line->count; i++)
        grown[i] = *reply_at(line, i);
    give_ring_back(line);
    line->ring = grown;
    line->room = room;
    line->head = 0;
    return true;
}

static inline void reply_push(struct conn *conn, const struct reply *reply)
{
    struct reply_line *line = &conn->replies;
    if (line->count == line->room && !reply_grow(line)) {
        free(reply->packet);
        conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for its acknowledgements",
                   conn->worker->now);
        return;
    }
    *reply_at(line, line->count++) = *reply;
    if (reply->wait > conn->worker->durable && !list_linked(&conn->waiting_node))
        list_append(&conn->worker->waiting, &conn->waiting_node);
    worker_ready(conn->worker, conn);
}

void conn_reply_ack(struct conn *conn, enum mqtt_type type, uint16_t id, enum mqtt_reason reason,
                    uint64_t wait)
{
    reply_push(conn,
               &(struct reply){
                   .wait = wait, .id = id, .type = (uint8_t)type, .reason = (uint8_t)reason });
}

void conn_reply_packet(struct conn *conn, uint8_t *packet, size_t len, enum mqtt_type type,
                       uint64_t wait)
{
    if (len > conn->max_packet) { /* [MQTT5-3.1.2-24]: without its answer the client is stuck */
        free(packet);
        if (type != MQTT_DISCONNECT)
            conn_close(conn, MQTT_PACKET_TOO_LARGE, "takes no packet as large as its answer",
                       conn->worker->now);
        return;
    }
    reply_push(conn,
               &(struct reply){
                   .wait = wait, .packet = packet, .len = (uint32_t)len, .type = (uint8_t)type });
}

void replies_done(struct reply_line *line)
{
    for (uint32_t i = 0; i < line->count; i++)
        free(reply_at(line, i)->packet);
    give_ring_back(line);
    replies_init(line);
}

void replies_drop_waiting(struct conn *conn)
{
    struct reply_line *line = &conn->replies;
    uint32_t kept = 0;
    while (kept < line->count && reply_at(line, kept)->wait <= conn->worker->durable)
        kept++;
    for (uint32_t i = kept; i < line->count; i++)
        free(reply_at(line, i)->packet);
    line->count = kept;
    list_remove(&conn->waiting_node);
}

/* What has been answered in full no longer counts against the receive maximum we announced
 * [MQTT5-3.3.4-7]. */
static inline void replied(struct conn *conn, const struct reply *reply)
{
    bool ends = reply->type == MQTT_PUBACK || reply->type == MQTT_PUBCOMP ||
                (reply->type == MQTT_PUBREC && reply->reason >= MQTT_UNSPECIFIED_ERROR);
    if (ends && conn->unacknowledged > 0)
        conn->unacknowledged--;
    if (reply->type == MQTT_CONNACK)
        conn->connack_sent = true;
}

static inline size_t reply_encode(struct conn *conn, const struct reply *reply, uint8_t *out)
{
    if (reply->type == MQTT_PINGRESP) {
        out[0] = MQTT_PINGRESP << 4;
        out[1] = 0;
        return 2;
    }
    if (!reply->packet)
        return mqtt_encode_ack(out, (enum mqtt_type)reply->type, conn->version, reply->id,
                               (enum mqtt_reason)reply->reason);
    memcpy(out, reply->packet, reply->len);
    return reply->len;
}

/* Writes the first reply behind what is in `out`; one that is larger than the whole room leaves in
 * parts. False: it is not through yet. */
static inline bool write_first(struct conn *conn, uint8_t *out, size_t room, size_t *len)
{
    struct reply_line *line = &conn->replies;
    const struct reply *reply = reply_at(line, 0);
    size_t size = reply->packet ? reply->len : ACK_SIZE_MAX, space = room - *len;
    if (line->sent == 0 && size <= space) {
        *len += reply_encode(conn, reply, out + *len);
        return true;
    }
    if (!reply->packet || (line->sent == 0 && *len > 0))
        return false; /* there is more room next time */
    size_t left = reply->len - line->sent, part = left < space ? left : space;
    memcpy(out + *len, reply->packet + line->sent, part);
    *len += part;
    line->sent += (uint32_t)part;
    return part == left;
}

static size_t drain_replies(struct conn *conn, uint8_t *out, size_t room)
{
    struct reply_line *line = &conn->replies;
    uint32_t before = line->count;
    size_t len = 0;
    while (line->count > 0) {
        struct reply *reply = reply_at(line, 0);
        if (reply->wait > conn->worker->durable)
            break;
        if (!write_first(conn, out, room, &len)) {
            worker_ready(conn->worker, conn);
            break;
        }
        line->sent = 0;
        if (log_wants(LEVEL_DEBUG))
            trace_sent(conn, (enum mqtt_type)reply->type, reply->id,
                       (enum mqtt_reason)reply->reason);
        replied(conn, reply);
        if (reply->packet)
            free(reply->packet);
        line->head = (line->head + 1) & (line->room - 1);
        line->count--;
    }
    STAT_ADD(&conn->worker->stats, packets_sent, before - line->count);
    if (line->count == 0 && line->room > 1)
        replies_done(line);
    return len;
}

/* ---- the store ---- */

void conn_durable(struct conn *conn)
{
    const struct reply_line *line = &conn->replies;
    bool waits = false;
    for (uint32_t i = line->count; i > 0 && !waits; i--) /* the newest may wait for nothing */
        waits = reply_at(line, i - 1)->wait > conn->worker->durable;
    if (!waits)
        list_remove(&conn->waiting_node);
    worker_ready(conn->worker, conn);
}

/* Makes the answer a refusal; one that cannot say no never leaves. Returns whether it can. */
static bool refuse(struct conn *conn, struct reply *reply)
{
    bool can = conn->version == MQTT_V5 &&
               (reply->type == MQTT_PUBACK || reply->type == MQTT_PUBREC);
    if (reply->type == MQTT_PUBREC && conn->session &&
        id_set_remove(&conn->session->qos2_ids, reply->id))
        /* It may be sent again, as a new message, also when the store gets there in the end. */
        (void)durable_inbound_release(conn->worker, conn->session, reply->id);
    reply->reason = MQTT_QUOTA_EXCEEDED;
    reply->wait = can ? 0 : UINT64_MAX;
    return can;
}

/* Version 5 is told that its message was not accepted. Version 3 has no word for that, and what
 * else waits has none either, so the connection ends. */
unsigned conn_fail_waiting(struct conn *conn, uint64_t after, uint64_t upto, uint64_t now)
{
    struct reply_line *line = &conn->replies;
    unsigned refused = 0;
    bool told = true;
    for (uint32_t i = 0; i < line->count; i++) {
        struct reply *reply = reply_at(line, i);
        if (reply->wait <= after || reply->wait > upto)
            continue;
        refused++;
        told &= refuse(conn, reply);
    }
    if (refused == 0)
        return 0;
    if (conn->session)
        worker_forget_pending(conn->worker, conn->session, after, upto);
    if (told)
        worker_ready(conn->worker, conn);
    else
        conn_close(conn, MQTT_QUOTA_EXCEEDED, "the store did not take what it sent", now);
    return refused;
}

uint64_t conn_pubrec_wait(const struct conn *conn, uint16_t id)
{
    const struct reply_line *line = &conn->replies;
    for (uint32_t i = line->count; i > 0; i--) {
        const struct reply *reply = reply_at(line, i - 1);
        if (reply->type == MQTT_PUBREC && reply->id == id)
            return reply->wait;
    }
    return worker_pending_wait(conn->worker, conn->session, id); /* of an earlier connection */
}

bool conn_is_behind(const struct conn *conn)
{
    const struct reply_line *line = &conn->replies;
    uint32_t limit = UNREAD_AT;
    if (line->count == 0)
        return false;
    bool stuck = conn->choked || reply_at(line, 0)->wait > conn->worker->durable;
    if (conn->version == MQTT_V5 && conn->config->max_inflight_messages)
        limit = conn->config->max_inflight_messages;
    return stuck && line->count >= limit;
}

/* ---- deliveries ---- */

void unfinished_free(struct unfinished *unfinished)
{
    if (!unfinished)
        return;
    message_unref(unfinished->message);
    sub_ids_unref(unfinished->ids);
    free(unfinished);
}

/* The alias of a topic towards this client: *ret_known when it was told before. 0: none. */
static uint16_t alias_for(struct conn *conn, struct span topic, bool *ret_known)
{
    *ret_known = false;
    if (conn->aliases_out_max == 0)
        return 0;
    if (!conn->aliases_out)
        conn->aliases_out = calloc(conn->aliases_out_max, sizeof *conn->aliases_out);
    if (!conn->aliases_out)
        return 0;
    for (uint16_t i = 0; i < conn->aliases_out_count; i++) {
        const struct topic_alias *alias = &conn->aliases_out[i];
        if (span_equal(span_of(alias->topic, alias->len), topic)) {
            *ret_known = true;
            return (uint16_t)(i + 1);
        }
    }
    if (conn->aliases_out_count == conn->aliases_out_max)
        return 0;
    struct topic_alias *alias = &conn->aliases_out[conn->aliases_out_count];
    alias->topic = malloc(topic.len);
    if (!alias->topic)
        return 0;
    memcpy(alias->topic, topic.data, topic.len);
    alias->len = (uint32_t)topic.len;
    return ++conn->aliases_out_count;
}

static uint32_t seconds_left(const struct message *message, uint64_t now)
{
    return message->expires > now ? (uint32_t)((message->expires - now + 999) / 1000) : 0;
}

/* Everything but the alias, which is assigned only to what really goes out. */
static struct mqtt_delivery describe(const struct conn *conn, const struct delivery *delivery,
                                     uint64_t now)
{
    const struct message *message = delivery->message;
    struct mqtt_delivery out = {
        .version = conn->version,
        .qos = delivery->qos,
        .dup = delivery->flags & (DELIVERY_BEGUN | DELIVERY_MAYBE_SENT),
        .retain = delivery->flags & DELIVERY_RETAIN,
        .topic = message_topic(message),
        .payload = message_payload(message),
    };
    if (conn->version != MQTT_V5)
        return out;
    out.forward = message_forward(message);
    out.has_expiry = message->expires != 0;
    out.expiry = out.has_expiry ? seconds_left(message, now) : 0;
    if (delivery->flags & DELIVERY_MANY_IDS) {
        out.sub_ids = delivery->ids->ids;
        out.sub_id_count = (uint16_t)delivery->ids->count;
    } else if (delivery->sub_id) {
        out.sub_ids = &delivery->sub_id;
        out.sub_id_count = 1;
    }
    return out;
}

/* A packet larger than the room: its rest is sent in later calls, from copies of what it needs.
 * False: no memory. */
static bool begin_unfinished(struct conn *conn, const struct mqtt_delivery *out,
                             const struct delivery *delivery, struct mqtt_writer *w)
{
    struct unfinished *rest = calloc(1, sizeof *rest);
    if (!rest)
        return false;
    rest->out = *out;
    rest->message = message_ref(delivery->message);
    rest->size = mqtt_publish_size(out);
    if (delivery->flags & DELIVERY_MANY_IDS) {
        rest->ids = sub_ids_ref(delivery->ids);
    } else if (out->sub_id_count) {
        rest->one_id = delivery->sub_id;
        rest->out.sub_ids = &rest->one_id;
    }
    rest->offset = mqtt_encode_publish(out, 0, w->out + w->len, w->room - w->len);
    w->len += rest->offset;
    conn->unfinished = rest;
    worker_ready(conn->worker, conn);
    return true;
}

static size_t drain_unfinished(struct conn *conn, uint8_t *buf, size_t room)
{
    struct unfinished *rest = conn->unfinished;
    if (!rest)
        return 0;
    size_t len = mqtt_encode_publish(&rest->out, rest->offset, buf, room);
    rest->offset += len;
    if (rest->offset < rest->size) {
        worker_ready(conn->worker, conn);
        return len;
    }
    unfinished_free(rest);
    conn->unfinished = NULL;
    return len;
}

enum sent { SENT, NO_ROOM, TOO_LARGE };

static inline uint8_t first_byte(const struct delivery *delivery)
{
    return (uint8_t)(MQTT_PUBLISH << 4 |
                     (delivery->flags & (DELIVERY_BEGUN | DELIVERY_MAYBE_SENT) ? 8 : 0) |
                     delivery->qos << 1 | (delivery->flags & DELIVERY_RETAIN ? 1 : 0));
}

static inline void put_id(uint8_t *at, uint16_t id)
{
    at[0] = (uint8_t)(id >> 8);
    at[1] = (uint8_t)id;
}

/* A version 5 client gets the same frame with an empty list of properties before the payload, if
 * there is none. Returns its size, or 0. */
__attribute__((noinline)) static size_t copy_frame_v5(const struct conn *conn,
                                                      const struct delivery *delivery, uint16_t id,
                                                      uint8_t *out, size_t room)
{
    const struct message *message = delivery->message;
    bool has_properties = message->forward_len || message->expires || delivery->sub_id ||
                          delivery->flags & DELIVERY_MANY_IDS || conn->aliases_out_max;
    struct span frame = message_frame(message);
    if (has_properties || frame.len + 2 > room || frame.len + 2 > conn->max_packet)
        return 0; /* with the byte more its length may take one more as well */
    struct span payload = message_payload(message);
    const uint8_t *middle = frame.data + message->head_len - 2; /* topic with length, identifier */
    size_t middle_len = (size_t)(payload.data - middle), body_len = middle_len + 1 + payload.len;
    uint8_t *at = out;
    *at++ = first_byte(delivery);
    for (; body_len > 0x7F; body_len >>= 7)
        *at++ = (uint8_t)(body_len | 0x80);
    *at++ = (uint8_t)body_len;
    memcpy(at, middle, middle_len);
    at += middle_len;
    if (delivery->qos > 0)
        put_id(at - 2, id);
    *at++ = 0;
    memcpy(at, payload.data, payload.len);
    return (size_t)(at - out) + payload.len;
}

/* The message's own frame, when that is what this client gets: version 3, and an identifier or none
 * as when it was published. Returns its size, or 0. */
static inline size_t copy_frame(const struct conn *conn, const struct delivery *delivery,
                                uint16_t id, uint8_t *out, size_t room)
{
    const struct message *message = delivery->message;
    struct span frame = message_frame(message);
    if ((delivery->qos > 0) != (message->qos > 0) || frame.len > room ||
        frame.len > conn->max_packet)
        return 0;
    if (conn->version == MQTT_V5)
        return copy_frame_v5(conn, delivery, id, out, room);
    memcpy(out, frame.data, frame.len);
    out[0] = first_byte(delivery);
    if (delivery->qos > 0)
        put_id(out + frame.len - message->payload_len - 2, id);
    return frame.len;
}

/*
 * Encodes one PUBLISH with its packet identifier if the room allows it (or begins it, when it is
 * larger than any room and the buffer is still empty). What is too large for the client is not sent
 * [MQTT5-3.1.2-24].
 */
__attribute__((noinline)) static enum sent encode_publish(struct conn *conn,
                                                          const struct delivery *delivery,
                                                          uint16_t id, struct mqtt_writer *w,
                                                          uint64_t now)
{
    struct mqtt_delivery out = describe(conn, delivery, now);
    size_t room = w->room - w->len;
    size_t with_alias = conn->aliases_out_max ? 3 : 0;
    out.id = id;
    size_t size = mqtt_publish_size(&out);
    if (size > conn->max_packet)
        return TOO_LARGE;
    if (size + with_alias > room && w->len > 0)
        return NO_ROOM;
    if (with_alias && size + with_alias + 2 <= conn->max_packet)
        out.alias = alias_for(conn, out.topic, &out.topic_is_known);
    if (mqtt_publish_size(&out) > room) {
        if (!begin_unfinished(conn, &out, delivery, w))
            return TOO_LARGE;
    } else
        w->len += mqtt_encode_publish(&out, 0, w->out + w->len, room);
    return SENT;
}

static inline enum sent send_publish(struct conn *conn, const struct delivery *delivery,
                                     uint16_t id, struct mqtt_writer *w, uint64_t now)
{
    size_t copied = copy_frame(conn, delivery, id, w->out + w->len, w->room - w->len);
    w->len += copied;
    enum sent sent = copied ? SENT : encode_publish(conn, delivery, id, w, now);
    if (sent != SENT)
        return sent;
    if (log_wants(LEVEL_DEBUG))
        trace_sent_publish(conn, delivery, id);
    STAT_ADD(&conn->worker->stats, packets_sent, 1);
    STAT_ADD(&conn->worker->stats, publish_sent, 1);
    STAT_ADD(&conn->worker->stats, publish_bytes_sent, delivery->message->payload_len);
    return SENT;
}

static void count_drop(struct conn *conn, bool expired)
{
    struct stats *stats = &conn->worker->stats;
    if (expired)
        STAT_ADD(stats, expired_dropped, 1);
    else
        STAT_ADD(stats, too_large_dropped, 1);
    STAT_ADD(stats, publish_dropped, 1);
}

/* A delivery that was not sent and never will be. */
static void drop(struct conn *conn, struct session *session, struct delivery *delivery,
                 bool expired)
{
    count_drop(conn, expired);
    if (delivery->flags & DELIVERY_SHARED)
        group_credit(conn->worker, delivery->member, 1);
    durable_done(conn->worker, session->slot, delivery);
    delivery_unref(delivery);
}

/* Whether a delivery that waited may be read by whom the session belongs to now. */
static bool may_send(const struct conn *conn, const struct session *session,
                     struct delivery *delivery)
{
    if (conn->worker->guarded &&
        !access_may(conn->worker, session, ACL_READ, message_topic(delivery->message))) {
        STAT_ADD(&conn->worker->stats, deliveries_denied, 1);
        return false;
    }
    delivery->flags &= (uint8_t)~DELIVERY_ASK;
    return true;
}

/* Takes the first of the queue off it if it may not be read; one of a group may suit another
 * member. */
__attribute__((noinline)) static bool drop_unreadable(struct conn *conn, struct session *session)
{
    struct delivery delivery;
    if (may_send(conn, session, queue_first(&session->queue)))
        return false;
    if (!queue_pop(&session->queue, &delivery))
        return false; /* which cannot be: there was a first one */
    if (delivery.flags & DELIVERY_SHARED) {
        group_return(conn->worker, &delivery);
        return true;
    }
    durable_done(conn->worker, session->slot, &delivery);
    delivery_unref(&delivery);
    return true;
}

enum progress {
    CAUGHT_UP, /* all that is in flight has been sent on this connection */
    AWAITING,  /* the next one's identifier is not durable yet */
    STOPPED,   /* this turn's output ends here */
};

/*
 * The store did not take how far the exchange at this place is. An identifier that is not known there
 * must not be used: after a crash its message would come a second time, or another one with it would
 * be taken for the same. What is behind it has not been sent either, and is recorded anew as well, so
 * that the store knows the order.
 */
static void record_again(struct conn *conn, struct session *session, uint64_t place)
{
    struct inflight *inflight = &session->inflight;
    bool sent = inflight_at(inflight, place)->state == AWAIT_PUBCOMP;
    for (uint64_t end = sent ? place + 1 : inflight->next; place < end; place++) {
        struct inflight_entry *entry = inflight_at(inflight, place);
        uint16_t id = inflight_id(place);
        if (!entry->recorded || (!sent && entry->state != AWAIT_PUBREC))
            continue;
        if (!entry->again)
            durable_outbound_end(conn->worker, session, entry, id);
        entry->wait = (uint32_t)durable_outbound(conn->worker, session, entry, id);
    }
}

/* Sends what was in flight on an earlier connection, in the order of then [MQTT5-4.4.0-1], and
 * behind it what has got its identifier on this one. One place; `entry` is not free. */
static enum progress send_again(struct conn *conn, struct session *session,
                                struct inflight_entry *entry, struct mqtt_writer *w, uint64_t now)
{
    struct inflight *inflight = &session->inflight;
    struct delivery *delivery = &entry->delivery;
    uint16_t id = inflight_id(conn->resend);
    if (entry->again)
        record_again(conn, session, conn->resend);
    if (worker_wait(conn->worker, entry->wait))
        return AWAITING;
    if (entry->state == AWAIT_PUBCOMP) {
        if (w->room - w->len < ACK_SIZE_MAX)
            return STOPPED;
        w->len += mqtt_encode_ack(w->out + w->len, MQTT_PUBREL, conn->version, id, MQTT_SUCCESS);
        STAT_ADD(&conn->worker->stats, packets_sent, 1);
        return CAUGHT_UP;
    }
    if (!entry->counts && inflight->window >= conn->window)
        return STOPPED;
    if (delivery->flags & DELIVERY_ASK && !may_send(conn, session, delivery)) {
        session_finish(conn->worker, session, entry, id);
        return CAUGHT_UP;
    }
    bool expired = !(delivery->flags & DELIVERY_BEGUN) && message_expired(delivery->message, now);
    enum sent sent = expired ? TOO_LARGE : send_publish(conn, delivery, id, w, now);
    if (sent == NO_ROOM) {
        worker_ready(conn->worker, conn);
        return STOPPED;
    }
    if (sent == TOO_LARGE) {
        count_drop(conn, expired);
        session_finish(conn->worker, session, entry, id);
        return CAUGHT_UP;
    }
    delivery->flags |= DELIVERY_BEGUN;
    inflight->window += !entry->counts;
    entry->counts = true;
    return CAUGHT_UP;
}

static enum progress resend(struct conn *conn, struct session *session, struct mqtt_writer *w,
                            uint64_t now)
{
    struct inflight *inflight = &session->inflight;
    while (conn->resend < inflight->next) {
        if (conn->resend < inflight->base) {
            conn->resend = inflight->base;
            continue;
        }
        struct inflight_entry *entry = inflight_at(inflight, conn->resend);
        enum progress progress = entry->state == INFLIGHT_FREE
                                     ? CAUGHT_UP
                                     : send_again(conn, session, entry, w, now);
        if (progress != CAUGHT_UP)
            return progress;
        conn->resend++;
        if (conn->unfinished)
            return STOPPED;
    }
    return CAUGHT_UP;
}

/* Whether another delivery of QoS 1 or 2 may be in flight. */
static bool window_open(const struct conn *conn, struct inflight *inflight)
{
    const struct memory *memory = &conn->worker->broker->memory;
    uint64_t max_bytes = conn->config->max_inflight_bytes;
    if (memory_level(memory) != MEMORY_PLENTY &&
        (!max_bytes || max_bytes > memory_queue_bytes(memory)))
        max_bytes = memory_queue_bytes(memory);
    return inflight->window < conn->window && inflight_reserve(inflight) &&
           !(max_bytes && inflight->count && inflight->bytes >= max_bytes);
}

/* Moves the first delivery of the queue into the inflight table, where it waits until the store
 * has its identifier. False: it has to wait in the queue. */
static bool stage_first(struct conn *conn, struct session *session)
{
    struct inflight *inflight = &session->inflight;
    struct worker *worker = conn->worker;
    struct delivery delivery;
    uint16_t id;
    if (!window_open(conn, inflight))
        return false;
    durable_sent(worker, session); /* what was sent before comes before it, also after a crash */
    if (!queue_pop(&session->queue, &delivery))
        return false; /* which cannot be: there was a first one */
    struct inflight_entry *entry = inflight_add(inflight, &delivery, &id);
    CHECK(entry); /* inflight_reserve() has made room */
    entry->counts = true;
    inflight->window++;
    entry->wait = (uint32_t)durable_outbound(worker, session, entry, id);
    return true;
}

/* The first of the queue has expired, or is too large for the client. */
__attribute__((noinline)) static void drop_first(struct conn *conn, struct session *session,
                                                 bool expired)
{
    struct delivery delivery;
    if (queue_pop(&session->queue, &delivery))
        drop(conn, session, &delivery, expired);
}

/* It has been sent: from the queue into the inflight table, which has room. */
static inline void move_first(struct conn *conn, struct session *session)
{
    struct inflight *inflight = &session->inflight;
    const struct delivery *first = queue_first(&session->queue);
    uint16_t id;
    struct inflight_entry *entry = inflight_add(inflight, first, &id);
    CHECK(entry); /* inflight_reserve() has made room */
    queue_pass(&session->queue);
    entry->delivery.flags |= DELIVERY_BEGUN;
    entry->counts = true;
    inflight->window++;
    conn->resend = inflight->next;
    if (entry->delivery.flags & DELIVERY_STORED)
        durable_sent_later(conn->worker, session);
}

/* It has been sent, and nobody will acknowledge it. */
static inline void finish_first(struct conn *conn, struct session *session)
{
    struct delivery delivery = *queue_first(&session->queue);
    queue_pass(&session->queue);
    if (delivery.flags & DELIVERY_SHARED)
        group_credit(conn->worker, delivery.member, 1);
    durable_done(conn->worker, session->slot, &delivery);
    delivery_unref(&delivery);
}

/* Takes the first delivery off the queue: it goes out at QoS 0, or into the inflight table.
 * Returns false when this turn's output ends here. */
static inline bool send_first(struct conn *conn, struct session *session, struct mqtt_writer *w,
                              uint64_t now)
{
    struct inflight *inflight = &session->inflight;
    const struct delivery *first = queue_first(&session->queue);
    uint16_t id = 0;

    if (message_expired(first->message, now)) { /* [MQTT5-3.3.2-5] */
        drop_first(conn, session, true);
        return true;
    }
    if (first->qos > 0) {
        if (!window_open(conn, inflight))
            return false;
        id = inflight_id(inflight->next);
    }
    enum sent sent = send_publish(conn, first, id, w, now);
    if (sent == NO_ROOM) {
        worker_ready(conn->worker, conn);
        return false;
    }
    if (sent == TOO_LARGE) {
        drop_first(conn, session, false);
        return true;
    }
    if (first->qos > 0)
        move_first(conn, session);
    else
        finish_first(conn, session);
    return !conn->unfinished;
}

/* What is in flight, then the queue; each delivery in its turn, so that what waits for the store
 * is not overtaken. */
static void drain_session(struct conn *conn, struct session *session, struct mqtt_writer *w,
                          uint64_t now)
{
    enum progress progress;
    const struct delivery *first;
    bool kept = session_kept_slot(session) != 0;
    while ((progress = resend(conn, session, w, now)) != STOPPED) {
        if (progress == AWAITING && !list_linked(&conn->waiting_node))
            list_append(&conn->worker->waiting, &conn->waiting_node);
        if (!(first = queue_first(&session->queue)))
            return;
        if (first->flags & DELIVERY_ASK && drop_unreadable(conn, session))
            continue;
        if (kept && first->qos == 2 && !message_expired(first->message, now)) {
            if (!stage_first(conn, session))
                return;
        } else if (progress == AWAITING || !send_first(conn, session, w, now)) {
            return;
        }
    }
}

/* Whether what comes next is only in flight and waits for the store. */
static bool awaits_store(const struct conn *conn, struct inflight *inflight)
{
    uint64_t place = conn->resend > inflight->base ? conn->resend : inflight->base;
    return place < inflight->next && worker_wait(conn->worker, inflight_at(inflight, place)->wait);
}

bool conn_has_output(const struct conn *conn)
{
    struct session *session = conn->session;
    if (!session || !conn->connack_sent)
        return false;
    const struct delivery *first = queue_first(&session->queue);
    if (!conn->unfinished && awaits_store(conn, &session->inflight))
        return false;
    return conn->unfinished ||
           (first && (first->qos == 0 || session->inflight.window < conn->window));
}

size_t conn_drain(struct conn *conn, uint8_t *buf, size_t room, uint64_t now)
{
    struct mqtt_writer w = { .out = buf, .room = room };
    struct session *session = conn->session;
    w.len = drain_unfinished(conn, buf, room);
    if (!conn->unfinished)
        w.len += drain_replies(conn, buf + w.len, room - w.len);
    /* Nothing behind DISCONNECT: the will of a connection that ends may be for its own session. */
    if (!conn->unfinished && !conn->replies.sent && session && conn->connack_sent &&
        conn->phase == CONN_OPEN)
        drain_session(conn, session, &w, now);
    if (session && session->pages)
        paging_want(conn->worker, session);
    if (session && session->members)
        group_report_room(conn->worker, session, conn->window);
    STAT_ADD(&conn->worker->stats, bytes_sent, w.len);
    if (conn->paused && conn->phase == CONN_OPEN)
        conn_watch_backlog(conn, now);
    if (conn->stopping && conn->phase == CONN_OPEN)
        conn_stop(conn, now);
    return w.len;
}
