/* SPDX-License-Identifier: MIT */
/*
 * CONNECT: what is asked is checked, who asks is found out (auth/login.c), the session is claimed
 * (takeover.c), and CONNACK says what was granted. Between the first and the last the connection is
 * CONN_CLAIMING and holds what arrives.
 */
#include "broker/auth/access.h"
#include "broker/auth/login.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/log.h"
#include "broker/quota.h"
#include "broker/session.h"
#include "broker/session_table.h"
#include "broker/takeover.h"

#include <stdlib.h>

enum { CONNACK_ROOM = 512 };

static void log_connect(const struct conn *conn, struct span client_id)
{
    /* mosquitto's numbers, for those who read its log with programs */
    static const int protocols[] = { [MQTT_V31] = 1, [MQTT_V311] = 2, [MQTT_V5] = 5 };
    char name[LOG_QUOTE_MAX], user[LOG_QUOTE_MAX] = "";
    if (!conn->config->connection_messages)
        return;
    if (conn->user)
        log_quote(user, sizeof user, conn->user, strlen(conn->user));
    log_emit(LEVEL_NOTICE, "New client connected from %s as %s (p%d, c%d, k%d%s%s%s).",
             conn->address, log_quote(name, sizeof name, client_id.data, client_id.len),
             protocols[conn->version], conn->clean_start, conn->keep_alive,
             conn->user ? ", u'" : "", user, conn->user ? "'" : "");
}

static void send_connack(struct conn *conn, bool present, enum mqtt_reason reason,
                         struct span properties, uint64_t wait)
{
    uint8_t code = conn->version == MQTT_V5 ? (uint8_t)reason : mqtt_connack_code3(reason);
    uint8_t variable[2] = { present && conn->version >= MQTT_V311, code };
    size_t room = properties.len + 16;
    uint8_t *packet = malloc(room);
    if (!packet)
        return;
    size_t len = mqtt_encode_packet(packet, room, MQTT_CONNACK << 4, conn->version,
                                    span_of(variable, 2), properties, (struct span){ 0 });
    conn_reply_packet(conn, packet, len, MQTT_CONNACK, wait);
}

void conn_refuse(struct conn *conn, enum mqtt_reason reason, const char *why, uint64_t now)
{
    STAT_ADD(&conn->worker->stats, refused, 1);
    if (conn->version)
        send_connack(conn, false, reason, (struct span){ 0 }, 0);
    conn_close(conn, reason, why, now);
}

/* ---- what is asked ---- */

struct demand {
    enum mqtt_reason reason;
    const char *why;
};

static bool version_accepted(const struct conn *conn)
{
    static const uint32_t bits[] = {
        [MQTT_V31] = ACCEPT_MQTT_31, [MQTT_V311] = ACCEPT_MQTT_311, [MQTT_V5] = ACCEPT_MQTT_5
    };
    return conn->listener->accept_protocol_versions & bits[conn->version];
}

/* The rules for CONNECT, in the order in which they are told. */
static struct demand check_connect(const struct conn *conn, const struct mqtt_connect *connect)
{
    const struct listener_config *listener = conn->listener;
    if (!version_accepted(conn))
        return (struct demand){ MQTT_UNSUPPORTED_PROTOCOL_VERSION,
                                "its protocol version is not accepted here" };
    if (mqtt_has(&connect->props, MQTT_PROP_AUTH_METHOD)) /* [MQTT5-4.12.0-1] */
        return (struct demand){ MQTT_BAD_AUTHENTICATION_METHOD,
                                "asks for an authentication method, none is configured" };
    if (connect->client_id.len == 0 && !listener->allow_zero_length_clientid)
        return (struct demand){ MQTT_CLIENT_IDENTIFIER_NOT_VALID, "has no client identifier" };
    if (connect->client_id.len == 0 && connect->version < MQTT_V5 && !connect->clean_start)
        return (struct demand){ MQTT_CLIENT_IDENTIFIER_NOT_VALID, /* [MQTT311-3.1.3-8] */
                                "wants a persistent session without a client identifier" };
    if (connect->has_will && !quota_has_levels(conn, connect->will.topic))
        return (struct demand){ MQTT_TOPIC_NAME_INVALID, "its will's topic has too many levels" };
    if (connect->has_will && topic_is_ours(connect->will.topic))
        return (struct demand){ MQTT_NOT_AUTHORIZED, "its will is for the broker's own topics" };
    if (connect->has_will && connect->will.qos > listener->max_qos)
        return (struct demand){ MQTT_QOS_NOT_SUPPORTED, "its will's QoS is above max_qos" };
    if (connect->has_will && connect->will.retain && !conn->config->retain_available)
        return (struct demand){ MQTT_RETAIN_NOT_SUPPORTED, "its will wants to be retained" };
    return (struct demand){ MQTT_SUCCESS, NULL };
}

static uint32_t granted_expiry(const struct conn *conn, const struct mqtt_connect *connect)
{
    uint32_t limit = conn->config->persistent_client_expiration;
    uint32_t wanted = connect->clean_start ? 0 : SESSION_NEVER_EXPIRES;
    if (conn->version == MQTT_V5)
        wanted = mqtt_has(&connect->props, MQTT_PROP_SESSION_EXPIRY) ? connect->props.session_expiry
                                                                     : 0;
    return limit && wanted > limit ? limit : wanted;
}

static uint32_t smaller_unless_zero(uint32_t limit, uint32_t value)
{
    return limit && limit < value ? limit : value;
}

static void take_limits(struct conn *conn, const struct mqtt_connect *connect)
{
    const struct mqtt_properties *props = &connect->props;
    uint32_t window = mqtt_has(props, MQTT_PROP_RECEIVE_MAXIMUM) ? props->receive_maximum : 65535;
    uint32_t aliases = mqtt_has(props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM) ? props->topic_alias_maximum
                                                                      : 0;
    uint16_t longest = conn->config->max_keepalive;

    conn->window = smaller_unless_zero(conn->config->max_inflight_messages, window);
    if (mqtt_has(props, MQTT_PROP_MAXIMUM_PACKET_SIZE) &&
        props->maximum_packet_size < conn->max_packet) /* which is what a packet can be at all */
        conn->max_packet = props->maximum_packet_size;
    conn->aliases_out_max = aliases < conn->listener->max_topic_alias_broker
                                ? (uint16_t)aliases
                                : conn->listener->max_topic_alias_broker;
    conn->problem_information = !mqtt_has(props, MQTT_PROP_REQUEST_PROBLEM) ||
                                props->request_problem;
    conn->session_expiry = granted_expiry(conn, connect);
    conn->keep_alive = connect->keep_alive;
    if (conn->version == MQTT_V5 && longest &&
        (conn->keep_alive == 0 || conn->keep_alive > longest))
        conn->keep_alive = longest;
    conn->asked_keep_alive = connect->keep_alive;
    conn->asked_expiry = mqtt_has(props, MQTT_PROP_SESSION_EXPIRY) ? props->session_expiry : 0;
}

static bool take_will(struct conn *conn, const struct mqtt_connect *connect)
{
    if (!connect->has_will)
        return true;
    conn->will = message_from_will(&connect->will);
    conn->will_delay = mqtt_has(&connect->will.props, MQTT_PROP_WILL_DELAY)
                           ? connect->will.props.will_delay
                           : 0;
    return conn->will != NULL;
}

/* What was reloaded since the connection was accepted holds for it as well. */
void conn_take_config(struct conn *conn)
{
    struct config *config = config_ref(conn->worker->config);
    config_unref(conn->config);
    conn->config = config;
    conn->listener = &config->listeners[conn->listener->index];
}

/* How a CONNECT that does not decode is answered; 0: not at all, as version 3 has no code for what
 * is malformed [MQTT311-3.1.4-1]. */
static uint8_t version_of_refusal(uint8_t version, enum mqtt_reason reason)
{
    bool has_code = reason == MQTT_UNSUPPORTED_PROTOCOL_VERSION ||
                    reason == MQTT_CLIENT_IDENTIFIER_NOT_VALID;
    if (version == MQTT_V5)
        return MQTT_V5;
    return has_code ? MQTT_V311 : 0;
}

static void consider(struct conn *conn, const struct mqtt_connect *connect, uint64_t now)
{
    conn->bridge = connect->bridge;
    conn->clean_start = connect->clean_start;
    struct demand demand = check_connect(conn, connect);
    if (demand.reason != MQTT_SUCCESS) {
        conn_refuse(conn, demand.reason, demand.why, now);
        return;
    }
    take_limits(conn, connect);
    if (!take_will(conn, connect)) {
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for its will", now);
        return;
    }
    conn->phase = CONN_CLAIMING;
    login_start(conn, connect, now);
}

void on_connect(struct conn *conn, struct span body, uint64_t now)
{
    struct mqtt_connect connect;
    enum mqtt_reason reason = mqtt_decode_connect(body, &connect);
    conn->version = connect.version;
    if (reason != MQTT_SUCCESS) {
        conn->version = version_of_refusal(conn->version, reason);
        conn_refuse(conn, reason, "its CONNECT is not valid", now);
        return;
    }
    conn_take_config(conn);
    struct conn_names names = { connect.client_id, connect.username };
    conn->names = &names;
    consider(conn, &connect, now);
    conn->names = NULL;
}

/* Whoever has a session may come and take what waits in it: that is what makes room. */
static bool is_too_much(const struct conn *conn, struct span client_id)
{
    struct broker *broker = conn->worker->broker;
    return memory_level(&broker->memory) >= MEMORY_TIGHT &&
           !session_table_has(broker->table, client_id);
}

void conn_admitted(struct conn *conn, struct span client_id, uint64_t now)
{
    if (is_too_much(conn, client_id)) {
        conn_refuse(conn, MQTT_SERVER_BUSY, "memory_limit is nearly reached", now);
        return;
    }
    const struct identity identity = { .user = conn->user,
                                       .listener = conn->listener->index,
                                       .any_listener = !conn->config->per_listener_settings,
                                       .own = conn->token_rules };
    if (!principal_new(&identity, &conn->principal)) {
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for its user name", now);
        return;
    }
    claim_start(conn, client_id, now);
}

/* ---- what is granted ---- */

/* Only what differs from what the client would assume. */
static struct span connack_properties(struct conn *conn, uint8_t *room_for_512)
{
    struct mqtt_writer w = { .out = room_for_512, .room = CONNACK_ROOM };
    const struct config *config = conn->config;
    if (conn->version != MQTT_V5)
        return (struct span){ 0 };
    if (conn->session_expiry != conn->asked_expiry)
        mqtt_put_number_property(&w, MQTT_PROP_SESSION_EXPIRY, conn->session_expiry);
    if (config->max_inflight_messages && config->max_inflight_messages < 65535)
        mqtt_put_number_property(&w, MQTT_PROP_RECEIVE_MAXIMUM, config->max_inflight_messages);
    if (conn->listener->max_qos < 2)
        mqtt_put_number_property(&w, MQTT_PROP_MAXIMUM_QOS, conn->listener->max_qos);
    if (!config->retain_available)
        mqtt_put_number_property(&w, MQTT_PROP_RETAIN_AVAILABLE, 0);
    mqtt_put_number_property(&w, MQTT_PROP_MAXIMUM_PACKET_SIZE, config->max_packet_size);
    if (conn->assigned)
        mqtt_put_string_property(&w, MQTT_PROP_ASSIGNED_CLIENT_ID, conn_client_id(conn));
    if (conn->listener->max_topic_alias)
        mqtt_put_number_property(&w, MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
                                 conn->listener->max_topic_alias);
    if (conn->keep_alive != conn->asked_keep_alive)
        mqtt_put_number_property(&w, MQTT_PROP_SERVER_KEEP_ALIVE, conn->keep_alive);
    return span_of(room_for_512, w.len);
}

/* What a CONNECT changes of what is kept. Returns the position for CONNACK. The deletion is told
 * again: the position of another worker, which has told it first, is of no use here. */
static uint64_t store_connect(struct conn *conn, struct session *session)
{
    uint64_t ended = durable_session_end(conn->worker, conn->ended_slot);
    uint64_t wait = durable_session(conn->worker, session, false);
    return wait ? wait : ended;
}

void conn_claimed(struct conn *conn, struct session *session, bool present, uint64_t now)
{
    uint8_t properties[CONNACK_ROOM];
    session_attach(session, conn, now);
    conn->phase = CONN_OPEN;
    conn->counted = true;
    STAT_ADD(&conn->worker->stats, clients_connected, 1);
    STAT_ADD(&conn->worker->stats, connects, 1);
    log_connect(conn, session_client_id(session));
    uint64_t wait = store_connect(conn, session);
    send_connack(conn, present, MQTT_SUCCESS, connack_properties(conn, properties), wait);
    if (conn->phase == CONN_CLOSED) /* CONNACK is larger than the client takes */
        return;
    conn_set_timer(conn);
    conn_feed_held(conn, now);
}
