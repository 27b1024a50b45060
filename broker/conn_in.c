/* SPDX-License-Identifier: MIT */
/*
 * What a client sends after CONNECT, one handler a packet type. A handler reads as the list of
 * rules that hold, in the order that makes them true, and returns what the connection is closed
 * with, or MQTT_SUCCESS. Runs on the connection's worker.
 */
#include "broker/auth/access.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/log.h"
#include "broker/match_cache.h"
#include "broker/quota.h"
#include "broker/session.h"
#include "mqtt/topic.h"

#include <stdlib.h>

/* ---- PUBLISH ---- */

/* Sets the topic from its alias, or the alias from the topic [MQTT5-3.3.2-8 to -12]. */
static enum mqtt_reason resolve_alias(struct conn *conn, struct mqtt_publish *publish)
{
    uint16_t max = conn->listener->max_topic_alias;
    if (!mqtt_has(&publish->props, MQTT_PROP_TOPIC_ALIAS))
        return MQTT_SUCCESS;
    uint16_t number = publish->props.topic_alias;
    if (number == 0 || number > max)
        return MQTT_TOPIC_ALIAS_INVALID;
    if (!conn->aliases_in) {
        conn->aliases_in = calloc(max, sizeof *conn->aliases_in);
        if (!conn->aliases_in)
            return MQTT_QUOTA_EXCEEDED;
    }
    struct topic_alias *alias = &conn->aliases_in[number - 1];
    if (publish->topic.len == 0) {
        publish->topic = span_of(alias->topic, alias->len);
        return alias->topic ? MQTT_SUCCESS : MQTT_PROTOCOL_ERROR;
    }
    uint8_t *copy = malloc(publish->topic.len);
    if (!copy)
        return MQTT_QUOTA_EXCEEDED;
    memcpy(copy, publish->topic.data, publish->topic.len);
    free(alias->topic);
    *alias = (struct topic_alias){ .topic = copy, .len = (uint32_t)publish->topic.len };
    return MQTT_SUCCESS;
}

/* The broker's own topics, which nobody else may publish to [MQTT5-4.7.2-1]. */
bool topic_is_ours(struct span topic)
{
    static const char prefix[] = "$SYS";
    size_t len = sizeof prefix - 1;
    return topic.len >= len && memcmp(topic.data, prefix, len) == 0 &&
           (topic.len == len || topic.data[len] == '/');
}

static enum memory_level memory_of(const struct conn *conn)
{
    return memory_level(&conn->worker->broker->memory);
}

/* What ends the connection. */
static enum mqtt_reason check_publish(struct conn *conn, const struct mqtt_publish *publish)
{
    uint32_t receive_max = conn->config->max_inflight_messages;
    if (publish->qos > conn->listener->max_qos)
        return MQTT_QOS_NOT_SUPPORTED; /* [MQTT5-3.2.2-11] */
    if (publish->retain && !conn->config->retain_available)
        return MQTT_RETAIN_NOT_SUPPORTED; /* [MQTT5-3.2.2-14] */
    if (conn->version == MQTT_V5 && publish->qos > 0 && receive_max &&
        conn->unacknowledged >= receive_max)
        return MQTT_RECEIVE_MAXIMUM_EXCEEDED; /* [MQTT5-3.3.4-7] */
    if (conn->version != MQTT_V5 && publish->qos > 0 && memory_of(conn) == MEMORY_OUT)
        return MQTT_QUOTA_EXCEEDED; /* it has no word for "not now", and must not believe it taken */
    return MQTT_SUCCESS;
}

/* What is answered in the acknowledgement, and the message is not taken. */
static enum mqtt_reason refuse_publish(struct conn *conn, const struct mqtt_publish *publish)
{
    const struct config *config = conn->config;
    if (topic_is_ours(publish->topic) ||
        (conn->worker->guarded && !access_may_publish(conn, publish->topic)))
        return MQTT_NOT_AUTHORIZED;
    if (config->message_size_limit && publish->payload.len > config->message_size_limit)
        return MQTT_QUOTA_EXCEEDED;
    if (config->check_payload_format && mqtt_has(&publish->props, MQTT_PROP_PAYLOAD_FORMAT) &&
        publish->props.payload_format == 1 && !mqtt_utf8_valid(publish->payload))
        return MQTT_PAYLOAD_FORMAT_INVALID;
    enum mqtt_reason reason;
    if ((publish->retain || config->max_topic_levels < MQTT_TOPIC_LEVELS_MAX) &&
        (reason = quota_publish(conn, publish)))
        return reason;
    bool clears = publish->retain && publish->payload.len == 0; /* that frees memory */
    if (!clears && memory_of(conn) >= (publish->retain ? MEMORY_TIGHT : MEMORY_OUT))
        return MQTT_QUOTA_EXCEEDED;
    return MQTT_SUCCESS;
}

/* One that is retained, must survive or has receivers of a special kind: routes it at once, or after
 * the identifier is stored. Returns the reason for the acknowledgement and the position that it
 * waits for. */
__attribute__((noinline)) static enum mqtt_reason accept_special(struct conn *conn,
                                                                 const struct mqtt_publish *publish,
                                                                 struct message *message,
                                                                 const struct match_result *match,
                                                                 uint64_t now, uint64_t *ret_wait)
{
    struct worker *worker = conn->worker;
    struct session *session = conn->session;
    if (publish->qos == 2 && session_kept_slot(session))
        *ret_wait = durable_inbound(worker, session, publish->id);
    if (*ret_wait) {
        durable_unrouted(worker, session, publish->id, message);
        worker_route_later(worker, &(struct pending_route){ .wait = *ret_wait,
                                                            .message = message,
                                                            .from = session,
                                                            .packet_id = publish->id });
        return MQTT_SUCCESS;
    }
    struct route route = {
        .message = message, .publisher = session, .retained = publish->retain, .match = match
    };
    uint32_t hits = route_message(worker, &route, now);
    *ret_wait = route.wait;
    return hits == 0 && conn->version == MQTT_V5 ? MQTT_NO_MATCHING_SUBSCRIBERS : MQTT_SUCCESS;
}

/* What the topic matches: mostly what it did the last time. */
static inline const struct match_result *match_of(struct conn *conn, struct span topic)
{
    struct worker *worker = conn->worker;
    uint64_t generation = atomic_load_explicit(&worker->broker->generation, memory_order_acquire);
    const struct match_result *last = match_cache_at(worker->matches, conn->last_topic, generation);
    return conn->last_topic.same && last ? last : route_match(worker, topic, &conn->last_topic);
}

/* The same for all; most need neither the store nor a second look at their receivers. */
static inline enum mqtt_reason accept_publish(struct conn *conn, const struct mqtt_publish *publish,
                                              uint64_t now, uint64_t *ret_wait)
{
    const struct match_result *match = NULL;
    *ret_wait = 0;
    if (!publish->retain && (publish->qos < 2 || !session_kept_slot(conn->session))) {
        match = match_of(conn, publish->topic);
        if (match->count == 0) /* what nobody wants is not made a message of */
            return conn->version == MQTT_V5 ? MQTT_NO_MATCHING_SUBSCRIBERS : MQTT_SUCCESS;
    }
    struct message *message = message_new(publish, publish->topic, now);
    if (!message)
        return MQTT_QUOTA_EXCEEDED;
    if (!match || !match->plain)
        return accept_special(conn, publish, message, match, now, ret_wait);
    route_plain(conn->worker, match, message, now);
    return MQTT_SUCCESS;
}

static void publish_refused(struct conn *conn, const struct mqtt_publish *publish,
                            enum mqtt_reason reason)
{
    char topic[LOG_QUOTE_MAX];
    STAT_ADD(&conn->worker->stats, publish_dropped, 1);
    if (reason == MQTT_NOT_AUTHORIZED) {
        STAT_ADD(&conn->worker->stats, publish_denied, 1);
        access_log_refusal(conn, ACL_WRITE, publish->topic);
    } else if (access_is_news(conn, reason)) {
        char name[LOG_QUOTE_MAX];
        struct span id = conn_client_id(conn);
        log_emit(LEVEL_NOTICE, "Client %s [%s]: what it publishes is refused: %s.",
                 log_quote(name, sizeof name, id.data, id.len), conn->address,
                 mqtt_reason_name(reason));
    }
    log_emit(LEVEL_DEBUG, "PUBLISH from %s to %s refused: %s.", conn->address,
             log_quote(topic, sizeof topic, publish->topic.data, publish->topic.len),
             mqtt_reason_name(reason));
}

/* Whether the QoS 2 message is here already: then it is only answered. */
static bool answer_again(struct conn *conn, const struct mqtt_publish *publish)
{
    struct session *session = conn->session;
    if (!id_set_has(session->qos2_ids, publish->id))
        return false;
    /* To the client it is a PUBLISH that takes a place until PUBCOMP [MQTT5-3.3.4-7]. */
    conn->unacknowledged += id_set_unmark(session->qos2_ids, publish->id);
    /* Sent again: the same answer, after what the first waits for [MQTT5-4.3.3-10]. */
    conn_reply_ack(conn, MQTT_PUBREC, publish->id, MQTT_SUCCESS,
                   conn_pubrec_wait(conn, publish->id));
    return true;
}

/* What the acknowledgement of a refused message says. Version 3 has no word for it: taken and
 * dropped, as mosquitto does, so at QoS 2 its identifier is in use until PUBREL. False: no memory. */
static bool refuse_with(struct conn *conn, const struct mqtt_publish *publish,
                        enum mqtt_reason *reason)
{
    struct session *session = conn->session;
    publish_refused(conn, publish, *reason);
    if (publish->qos < 2)
        return true;
    if (conn->version == MQTT_V5) {
        (void)id_set_remove(&session->qos2_ids, publish->id);
        return true;
    }
    *reason = MQTT_SUCCESS;
    return id_set_has(session->qos2_ids, publish->id) ||
           id_set_add(&session->qos2_ids, publish->id);
}

static enum mqtt_reason on_publish(struct conn *conn, const struct mqtt_frame *frame,
                                   struct span body, uint64_t now)
{
    struct worker *worker = conn->worker;
    struct mqtt_publish publish;
    enum mqtt_reason reason;
    uint64_t wait = 0;
    struct span last = match_cache_topic(worker->matches, conn->last_topic);
    if ((reason = mqtt_decode_next_publish(frame->flags, body, conn->version, last, &publish)) ||
        (reason = resolve_alias(conn, &publish)) || (reason = check_publish(conn, &publish)))
        return reason;
    conn->last_topic.same = publish.same_topic;
    conn->publishes = true;
    STAT_ADD(&worker->stats, publish_received, 1);
    STAT_ADD(&worker->stats, publish_bytes_received, publish.payload.len);
    reason = refuse_publish(conn, &publish);
    if (publish.qos == 2) {
        if (answer_again(conn, &publish))
            return MQTT_SUCCESS;
        if (!reason && !id_set_add(&conn->session->qos2_ids, publish.id))
            return MQTT_QUOTA_EXCEEDED;
    }
    if (!reason)
        reason = accept_publish(conn, &publish, now, &wait);
    if (reason >= MQTT_UNSPECIFIED_ERROR && !refuse_with(conn, &publish, &reason))
        return MQTT_QUOTA_EXCEEDED;
    if (publish.qos == 0)
        return MQTT_SUCCESS;
    conn->unacknowledged++;
    conn_reply_ack(conn, publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish.id, reason, wait);
    return MQTT_SUCCESS;
}

/* ---- acknowledgements ---- */

enum move { REJECT, FINISH, RELEASE, RELEASE_AGAIN };

/* What an acknowledgement does to an exchange; zero is a packet that has no business here. */
static const enum move moves[4][16] = {
    [AWAIT_PUBACK] = { [MQTT_PUBACK] = FINISH },
    [AWAIT_PUBREC] = { [MQTT_PUBREC] = RELEASE },
    [AWAIT_PUBCOMP] = { [MQTT_PUBREC] = RELEASE_AGAIN, [MQTT_PUBCOMP] = FINISH },
};

/* The client has the message: from now on only its identifier is kept, and PUBREL leaves when
 * that is durable [MQTT5-4.3.3-4]. */
static void release(struct conn *conn, struct inflight_entry *entry, uint16_t id)
{
    struct session *session = conn->session;
    durable_done(conn->worker, session->slot, &entry->delivery);
    inflight_release(&session->inflight, entry);
    uint64_t wait = durable_outbound(conn->worker, session, entry, id);
    entry->wait = (uint32_t)wait;
    conn_reply_ack(conn, MQTT_PUBREL, id, MQTT_SUCCESS, wait);
}

/* Its PUBREC has come before: behind the first PUBREL, or before that, when the store did not take the
 * first PUBREC. */
static void release_again(struct conn *conn, struct inflight_entry *entry, uint16_t id)
{
    if (entry->again)
        entry->wait = (uint32_t)durable_outbound(conn->worker, conn->session, entry, id);
    conn_reply_ack(conn, MQTT_PUBREL, id, MQTT_SUCCESS, worker_wait(conn->worker, entry->wait));
}

static void acknowledged(struct conn *conn, enum mqtt_type type, uint16_t id,
                         enum mqtt_reason reason)
{
    struct session *session = conn->session;
    struct inflight_entry *entry = inflight_find(&session->inflight, id);
    enum move move = entry ? moves[entry->state][type] : REJECT;
    if (move == RELEASE && reason >= MQTT_UNSPECIFIED_ERROR)
        move = FINISH; /* an error PUBREC ends the exchange [MQTT5-4.3.3-4] */
    switch (move) {
    case REJECT:
        if (type == MQTT_PUBREC) /* [MQTT5-4.3.3-5]: the client learns that nobody waits for it */
            conn_reply_ack(
                conn, MQTT_PUBREL, id,
                conn->version == MQTT_V5 ? MQTT_PACKET_IDENTIFIER_NOT_FOUND : MQTT_SUCCESS, 0);
        break;
    case FINISH: session_finish(conn->worker, session, entry, id); break;
    case RELEASE: release(conn, entry, id); break;
    case RELEASE_AGAIN: release_again(conn, entry, id); break;
    }
    worker_ready(conn->worker, conn); /* the window may have opened */
}

/* One that says why, or that is not valid. */
__attribute__((noinline)) static enum mqtt_reason on_long_ack(struct conn *conn,
                                                              enum mqtt_type type, struct span body)
{
    struct mqtt_ack ack;
    enum mqtt_reason reason = mqtt_decode_ack(type, body, conn->version, &ack);
    if (!reason)
        acknowledged(conn, type, ack.id, ack.reason);
    return reason;
}

/* PUBACK, PUBREC and PUBCOMP: the client's part of what we deliver to it. */
static enum mqtt_reason on_ack(struct conn *conn, const struct mqtt_frame *frame, struct span body,
                               uint64_t now)
{
    enum mqtt_type type = (enum mqtt_type)frame->type;
    uint16_t id = mqtt_short_ack(body);
    (void)now;
    if (id == 0)
        return on_long_ack(conn, type, body);
    acknowledged(conn, type, id, MQTT_SUCCESS);
    return MQTT_SUCCESS;
}

static enum mqtt_reason on_pubrel(struct conn *conn, const struct mqtt_frame *frame,
                                  struct span body, uint64_t now)
{
    struct mqtt_ack ack;
    uint64_t wait = 0;
    (void)frame, (void)now;
    enum mqtt_reason reason = mqtt_decode_ack(MQTT_PUBREL, body, conn->version, &ack);
    if (reason)
        return reason;
    bool known = id_set_remove(&conn->session->qos2_ids, ack.id);
    if (known)
        wait = durable_inbound_release(conn->worker, conn->session, ack.id);
    else if (session_kept_slot(conn->session)) /* sent again: the first may not be durable yet */
        wait = worker_position(conn->worker);
    reason = known || conn->version != MQTT_V5 ? MQTT_SUCCESS : MQTT_PACKET_IDENTIFIER_NOT_FOUND;
    conn_reply_ack(conn, MQTT_PUBCOMP, ack.id, reason, wait);
    return MQTT_SUCCESS;
}

/* ---- SUBSCRIBE ---- */

static void log_subscribe(const struct conn *conn, enum log_level level, struct span filter,
                          unsigned options)
{
    char name[LOG_QUOTE_MAX], text[LOG_QUOTE_MAX];
    if (!log_wants(level))
        return;
    struct span id = conn_client_id(conn);
    log_emit(level, "Client %s %u %s", log_quote(name, sizeof name, id.data, id.len), options,
             log_quote(text, sizeof text, filter.data, filter.len));
}

static bool wants_retained(const struct subscription *subscription, bool is_new)
{
    unsigned handling = subscription->options & MQTT_SUB_RETAIN_HANDLING;
    return handling == 0x00 || (handling == 0x10 && is_new);
}

static void log_subscription_refused(struct conn *conn, struct span filter, enum mqtt_reason reason)
{
    char name[LOG_QUOTE_MAX], text[LOG_QUOTE_MAX];
    struct span id = conn_client_id(conn);
    if (access_is_news(conn, reason))
        log_emit(LEVEL_NOTICE, "Client %s [%s] may not subscribe to %s: %s.",
                 log_quote(name, sizeof name, id.data, id.len), conn->address,
                 log_quote(text, sizeof text, filter.data, filter.len), mqtt_reason_name(reason));
}

/* What the rules say of the filter; the same for the members of a group, whom it asks then. */
static uint8_t mark_of(const struct conn *conn, struct span plain)
{
    return conn->worker->guarded ? access_mark(conn->worker, conn->session, plain) : 0;
}

/* Makes or replaces one subscription. Returns what SUBACK says of it. */
static enum mqtt_reason subscribe_one(struct conn *conn, const struct mqtt_subscribe_item *item,
                                      uint32_t sub_id)
{
    struct worker *worker = conn->worker;
    struct session *session = conn->session;
    struct span share, plain = item->filter;
    if (!mqtt_topic_filter_valid(item->filter))
        return MQTT_TOPIC_FILTER_INVALID;
    bool shared = mqtt_share_split(item->filter, &share, &plain);
    uint8_t options = item->options, mark = mark_of(conn, plain);
    if (mark == ENTRY_DENIED && worker->config->acl_subscribe_check) {
        access_log_refusal(conn, ACL_READ, plain);
        return MQTT_NOT_AUTHORIZED;
    }
    if ((options & MQTT_SUB_QOS) > conn->listener->max_qos)
        options = (uint8_t)((options & ~MQTT_SUB_QOS) | conn->listener->max_qos);
    if (conn->bridge) /* mosquitto's bridges: own messages not returned, retain kept */
        options |= MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED;
    struct subscription *subscription = session_subscription(session, item->filter);
    bool is_new = !subscription;
    enum mqtt_reason refused = quota_subscribe(conn, plain, is_new);
    if (refused) {
        log_subscription_refused(conn, plain, refused);
        return refused;
    }
    if (is_new && memory_of(conn) >= MEMORY_TIGHT)
        return MQTT_QUOTA_EXCEEDED;
    if (is_new && !(subscription = session_subscription_add(session, item->filter)))
        return MQTT_QUOTA_EXCEEDED;
    subscription->options = options;
    subscription->sub_id = sub_id;
    subscription->mark = mark;
    if (shared) {
        struct membership *before = subscription_member(session, subscription);
        struct membership *member = group_join(worker, session, item->filter, options, sub_id,
                                               before);
        if (member && !before)
            group_member_online(worker, member, conn->window);
        subscription_set_member(session, subscription, member);
        if (!member) {
            session_subscription_remove(session, subscription);
            return MQTT_QUOTA_EXCEEDED;
        }
    } else {
        struct filter_change change = { .filter = plain,
                                        .entry = { .subscriber = session,
                                                   .sub_id = sub_id,
                                                   .options = options | mark,
                                                   .kind = TREE_SESSION } };
        route_change(worker, &change, 1);
        if (change.result == TREE_NO_MEMORY) {
            session_subscription_remove(session, subscription);
            return MQTT_QUOTA_EXCEEDED;
        }
    }
    if (is_new) {
        STAT_ADD(&worker->stats, subscriptions, 1);
        STAT_ADD(&worker->stats, shared_subscriptions, shared);
    }
    (void)durable_subscribed(worker, session, subscription);
    if (!shared && mark != ENTRY_DENIED && wants_retained(subscription, is_new))
        retained_fetch(worker, session, plain, options | mark, sub_id);
    log_subscribe(conn, LEVEL_SUBSCRIBE, item->filter, options & MQTT_SUB_QOS);
    return (enum mqtt_reason)(options & MQTT_SUB_QOS);
}

/* The answer to a list: packet identifier, properties, one reason code an item. */
static void reply_list(struct conn *conn, enum mqtt_type type, uint16_t id, const uint8_t *codes,
                       size_t count, uint64_t wait)
{
    uint8_t variable[2] = { (uint8_t)(id >> 8), (uint8_t)id };
    size_t room = count + 16;
    uint8_t *packet = malloc(room);
    if (!packet) {
        conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for its SUBACK", conn->worker->now);
        return;
    }
    size_t len = mqtt_encode_packet(packet, room, (uint8_t)(type << 4), conn->version,
                                    span_of(variable, 2), (struct span){ 0 },
                                    span_of(codes, count));
    conn_reply_packet(conn, packet, len, type, wait);
}

/* What SUBACK and UNSUBACK wait for: what they say has just been recorded, or by a packet before. */
static uint64_t subscriptions_wait(const struct conn *conn)
{
    return session_kept_slot(conn->session) ? worker_position(conn->worker) : 0;
}

static enum mqtt_reason on_subscribe(struct conn *conn, const struct mqtt_frame *frame,
                                     struct span body, uint64_t now)
{
    struct mqtt_subscribe subscribe;
    struct mqtt_subscribe_item item;
    (void)frame, (void)now;
    enum mqtt_reason reason = mqtt_decode_subscribe(body, conn->version, &subscribe);
    if (reason)
        return reason;
    uint32_t sub_id = mqtt_has(&subscribe.props, MQTT_PROP_SUBSCRIPTION_ID)
                          ? subscribe.props.subscription_id
                          : 0;
    uint8_t *codes = malloc(subscribe.count);
    if (!codes)
        return MQTT_QUOTA_EXCEEDED;
    for (unsigned i = 0; mqtt_next_subscription(&subscribe.items, &item); i++) {
        reason = subscribe_one(conn, &item, sub_id);
        if (conn->version < MQTT_V5 && reason >= MQTT_UNSPECIFIED_ERROR)
            reason = MQTT_UNSPECIFIED_ERROR; /* the one failure 3.1.1 has [MQTT311-3.9.3-2] */
        codes[i] = (uint8_t)reason;
    }
    reply_list(conn, MQTT_SUBACK, subscribe.id, codes, subscribe.count, subscriptions_wait(conn));
    free(codes);
    return MQTT_SUCCESS;
}

static enum mqtt_reason unsubscribe_one(struct conn *conn, struct span filter)
{
    struct worker *worker = conn->worker;
    struct session *session = conn->session;
    struct subscription *subscription = session_subscription(session, filter);
    if (!subscription)
        return mqtt_topic_filter_valid(filter) ? MQTT_NO_SUBSCRIPTION_EXISTED
                                               : MQTT_TOPIC_FILTER_INVALID;
    struct membership *member = subscription_member(session, subscription);
    if (member) {
        group_leave(worker, member);
        STAT_ADD(&worker->stats, shared_subscriptions, -1);
    } else {
        struct filter_change change = { .filter = filter,
                                        .entry = { .subscriber = session, .kind = TREE_SESSION },
                                        .remove = true };
        route_change(worker, &change, 1);
        retained_cancel(session, filter);
    }
    (void)durable_unsubscribed(worker, session, filter);
    STAT_ADD(&worker->stats, subscriptions, -1);
    log_subscribe(conn, LEVEL_UNSUBSCRIBE, filter, 0);
    session_subscription_remove(session, subscription);
    return MQTT_SUCCESS;
}

static enum mqtt_reason on_unsubscribe(struct conn *conn, const struct mqtt_frame *frame,
                                       struct span body, uint64_t now)
{
    struct mqtt_subscribe list;
    struct span filter;
    (void)frame, (void)now;
    enum mqtt_reason reason = mqtt_decode_unsubscribe(body, conn->version, &list);
    if (reason)
        return reason;
    uint8_t *codes = malloc(list.count);
    if (!codes)
        return MQTT_QUOTA_EXCEEDED;
    for (unsigned i = 0; mqtt_next_filter(&list.items, &filter); i++)
        codes[i] = (uint8_t)unsubscribe_one(conn, filter);
    size_t count = conn->version == MQTT_V5 ? list.count
                                            : 0; /* UNSUBACK of version 3 has no payload */
    reply_list(conn, MQTT_UNSUBACK, list.id, codes, count, subscriptions_wait(conn));
    free(codes);
    return MQTT_SUCCESS;
}

/* ---- the rest ---- */

static enum mqtt_reason on_pingreq(struct conn *conn, const struct mqtt_frame *frame,
                                   struct span body, uint64_t now)
{
    (void)frame, (void)now;
    if (body.len > 0)
        return MQTT_MALFORMED_PACKET;
    conn_reply_ack(conn, MQTT_PINGRESP, 0, MQTT_SUCCESS, 0);
    return MQTT_SUCCESS;
}

static enum mqtt_reason on_disconnect(struct conn *conn, const struct mqtt_frame *frame,
                                      struct span body, uint64_t now)
{
    struct mqtt_disconnect bye;
    (void)frame;
    enum mqtt_reason reason = mqtt_decode_disconnect(body, conn->version, &bye);
    if (reason)
        return reason;
    if (mqtt_has(&bye.props, MQTT_PROP_SESSION_EXPIRY)) {
        uint32_t expiry = bye.props.session_expiry,
                 limit = conn->config->persistent_client_expiration;
        if (conn->asked_expiry == 0 && expiry != 0)
            return MQTT_PROTOCOL_ERROR; /* section 3.14.2.2.2 */
        conn->session_expiry = limit && expiry > limit ? limit : expiry;
    }
    enum conn_end end = bye.reason == MQTT_SUCCESS ? END_DISCONNECT : END_DISCONNECT_WITH_WILL;
    conn_end(conn, end, MQTT_SUCCESS, "disconnected", now);
    return MQTT_SUCCESS;
}

static enum mqtt_reason on_auth(struct conn *conn, const struct mqtt_frame *frame, struct span body,
                                uint64_t now)
{
    struct mqtt_disconnect auth;
    (void)frame, (void)now;
    enum mqtt_reason reason = conn->version == MQTT_V5 ? mqtt_decode_auth(body, &auth)
                                                       : MQTT_PROTOCOL_ERROR;
    return reason ? reason : MQTT_PROTOCOL_ERROR; /* CONNECT had no method [MQTT5-4.12.0-7] */
}

const struct packet_rule packet_rules[16] = {
    [MQTT_PUBLISH] = { on_publish, "its PUBLISH is not acceptable" },
    [MQTT_PUBACK] = { on_ack, "its acknowledgement is not valid" },
    [MQTT_PUBREC] = { on_ack, "its acknowledgement is not valid" },
    [MQTT_PUBREL] = { on_pubrel, "its PUBREL is not valid" },
    [MQTT_PUBCOMP] = { on_ack, "its acknowledgement is not valid" },
    [MQTT_SUBSCRIBE] = { on_subscribe, "its SUBSCRIBE is not valid" },
    [MQTT_UNSUBSCRIBE] = { on_unsubscribe, "its UNSUBSCRIBE is not valid" },
    [MQTT_PINGREQ] = { on_pingreq, "its PINGREQ has a body" },
    [MQTT_DISCONNECT] = { on_disconnect, "its DISCONNECT is not valid" },
    [MQTT_AUTH] = { on_auth, "sent AUTH, no authentication method is in use" },
};
