/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection: bytes become packets, packets go to their handlers (conn_in.c,
 * conn_connect.c), deadlines are watched, and conn_end() is the one way in which it ends. Runs on
 * the connection's worker; never touches a socket.
 */
#include "broker/conn.h"

#include "broker/auth/access.h"
#include "broker/auth/acl.h"
#include "broker/auth/login.h"
#include "broker/brake.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/log.h"
#include "broker/quota.h"
#include "broker/session.h"
#include "broker/takeover.h"
#include "broker/trace.h"
#include "broker/will.h"

#include <stdlib.h>

enum {
    HELD_MAX = 256 * 1024, /* bytes held while the session is on its way; then it is left unread */
    PARTIAL_FIRST = 1024,  /* first allocation for an incomplete packet; doubled up to the step */
    PARTIAL_STEP = 1024 * 1024,
    PARTIAL_TIGHT = 64 * 1024,   /* what an incomplete packet may take when memory is tight */
    PARTIAL_STRANGER = 8 * 1024, /* what a CONNECT may take as soon as it becomes scarce */
    HELD_STRANGER = 16 * 1024,   /* the same while it is not known who it is */
};

static timer_fn conn_timer;

struct conn *conn_new(struct worker *worker, struct link *link, const struct conn_origin *origin,
                      uint64_t now)
{
    struct conn *conn = calloc(1, sizeof *conn + origin->address.len + 1);
    if (!conn)
        return NULL;
    memcpy(conn->address, origin->address.data, origin->address.len);
    conn->address_len = (uint32_t)origin->address.len;
    if (!conn_take_user(conn, origin->identity)) {
        free(conn);
        return NULL;
    }
    conn->certified = conn->user != NULL;
    conn->link = link;
    conn->worker = worker;
    conn->config = config_ref(worker->config);
    conn->listener = origin->listener;
    conn->max_packet = MQTT_MAX_REMAINING + MQTT_MAX_FIXED_HEADER;
    conn->last_in = now;
    replies_init(&conn->replies);
    conn->timer.fire = conn_timer;
    worker->now = now;
    wheel_set(&worker->wheel, &conn->timer, now + (uint64_t)conn->config->connect_timeout * 1000);
    list_append(&worker->conns, &conn->worker_node);
    atomic_fetch_add_explicit(&worker->connections, 1, memory_order_relaxed);
    STAT_ADD(&worker->stats, connections, 1);
    if (worker->stopping)
        conn_end(conn, END_SHUTDOWN, MQTT_SERVER_SHUTTING_DOWN, "the server shuts down", now);
    return conn;
}

bool conn_take_user(struct conn *conn, struct span user)
{
    if (!user.data)
        return true;
    conn->user = malloc(user.len + 1);
    if (!conn->user)
        return false;
    memcpy(conn->user, user.data, user.len);
    conn->user[user.len] = '\0';
    return true;
}

static void free_aliases(struct topic_alias *aliases, unsigned count)
{
    if (!aliases)
        return;
    for (unsigned i = 0; i < count; i++)
        free(aliases[i].topic);
    free(aliases);
}

void conn_free(struct conn *conn)
{
    if (!conn)
        return;
    if (conn->phase != CONN_CLOSED)
        conn_lost(conn, NULL, conn->worker->now);
    list_remove(&conn->worker_node);
    list_remove(&conn->ready_node);
    list_remove(&conn->waiting_node);
    brake_drop(conn);
    wheel_cancel(&conn->timer);
    atomic_fetch_sub_explicit(&conn->worker->connections, 1, memory_order_relaxed);
    replies_done(&conn->replies);
    unfinished_free(conn->unfinished);
    message_unref(conn->will);
    free_aliases(conn->aliases_in, conn->listener->max_topic_alias);
    free_aliases(conn->aliases_out, conn->aliases_out_max);
    free(conn->partial);
    free(conn->user);
    acl_unref(conn->token_rules);
    principal_unref(conn->principal);
    access_forget(conn);
    config_unref(conn->config);
    free(conn);
}

struct span conn_client_id(const struct conn *conn)
{
    return conn->session ? session_client_id(conn->session) : (struct span){ 0 };
}

/* ---- ending ---- */

/* Everything that stands in the way of an attacker is said in one line that begins the same way, for
 * conf/fail2ban: the address comes before any text that he has chosen. */
static void log_refused(const struct conn *conn, enum mqtt_reason reason, const char *why)
{
    struct conn_names names = { 0 };
    char id[LOG_QUOTE_MAX] = "-", user[LOG_QUOTE_MAX] = "-";
    if (conn->names)
        names = *conn->names;
    else if (conn->login)
        login_names(conn->login, &names);
    if (names.client_id.len)
        log_quote(id, sizeof id, names.client_id.data, names.client_id.len);
    if (names.user.len)
        log_quote(user, sizeof user, names.user.data, names.user.len);
    log_emit(LEVEL_NOTICE, "Refused %s: %s (0x%02X); client %s, user %s", conn->address, why,
             reason, id, user);
}

/* Whether it was refused before it was let in, and why that is its own doing. */
static bool is_refused(const struct conn *conn, enum conn_end end)
{
    return end == END_SERVER && (conn->phase == CONN_NEW || conn->phase == CONN_CLAIMING);
}

static bool is_own_doing(enum mqtt_reason reason)
{
    return reason != MQTT_SERVER_BUSY && reason != MQTT_SERVER_UNAVAILABLE &&
           reason != MQTT_QUOTA_EXCEEDED;
}

static void log_end(const struct conn *conn, enum conn_end end, enum mqtt_reason reason,
                    const char *why)
{
    char name[LOG_QUOTE_MAX] = "<unknown>";
    if (is_refused(conn, end)) {
        log_refused(conn, reason, why);
        return;
    }
    if (!conn->config->connection_messages)
        return;
    if (conn->session)
        log_quote(name, sizeof name, conn->session->client_id, conn->session->client_id_len);
    if (end == END_DISCONNECT || end == END_DISCONNECT_WITH_WILL)
        log_emit(LEVEL_NOTICE, "Client %s [%s] disconnected.", name, conn->address);
    else if (reason == MQTT_SUCCESS)
        log_emit(LEVEL_NOTICE, "Client %s [%s] %s.", name, conn->address, why);
    else
        log_emit(LEVEL_NOTICE, "Client %s [%s] disconnected by the server: %s (0x%02X, %s).", name,
                 conn->address, why, reason, mqtt_reason_name(reason));
}

/* Given to the caller; NULL: there is none. */
static struct partial *take_partial(struct conn *conn)
{
    struct partial *partial = conn->partial;
    conn->partial = NULL;
    return partial;
}

/* What a version 5 client is told; before CONNACK there is nothing that DISCONNECT could end. */
static void say_goodbye(struct conn *conn, enum conn_end end, enum mqtt_reason reason)
{
    if (end == END_DISCONNECT || end == END_DISCONNECT_WITH_WILL || end == END_NETWORK)
        return;
    bool welcomed = conn->connack_sent ||
                    conn->replies.count > 0; /* CONNACK is the first in line */
    if (conn->version != MQTT_V5 || conn->phase != CONN_OPEN || !welcomed)
        return;
    uint8_t *packet = malloc(4);
    if (!packet)
        return;
    size_t len = mqtt_encode_packet(packet, 4, MQTT_DISCONNECT << 4, MQTT_V311,
                                    span_of(&(uint8_t){ (uint8_t)reason }, 1), (struct span){ 0 },
                                    (struct span){ 0 });
    conn_reply_packet(conn, packet, len, MQTT_DISCONNECT, 0);
}

void conn_end(struct conn *conn, enum conn_end end, enum mqtt_reason reason, const char *why,
              uint64_t now)
{
    if (conn->phase == CONN_CLOSED)
        return;
    struct session *session = conn->session;
    log_end(conn, end, reason, why);
    if (is_refused(conn, end) && is_own_doing(reason) && conn->link->ops->refused)
        conn->link->ops->refused(conn->link);
    replies_drop_waiting(conn);
    say_goodbye(conn, end, reason);
    conn->phase = CONN_CLOSED;
    conn->lost = end == END_NETWORK;
    wheel_cancel(&conn->timer);
    brake_drop(conn);
    if (conn->claim) {
        claim_abandon(conn->claim);
        conn->claim = NULL;
    }
    if (conn->login) {
        login_abandon(conn->login);
        conn->login = NULL;
    }
    if (session) {
        session->changed |= session->expiry != conn->session_expiry;
        session->expiry = conn->session_expiry;
        will_decide(conn, end, now);
        session_detach(conn->worker, session, now);
    }
    if (conn->counted)
        STAT_ADD(&conn->worker->stats, clients_connected, -1);
    conn->counted = false;
    quota_forget(conn);
    free(take_partial(conn));
    if (conn->lost)
        return;
    worker_ready(conn->worker, conn);
    conn->link->ops->close(conn->link);
}

void conn_stop(struct conn *conn, uint64_t now)
{
    conn->stopping = true;
    if (!conn_has_output(conn))
        conn_end(conn, END_SHUTDOWN, MQTT_SERVER_SHUTTING_DOWN, "the server shuts down", now);
}

void conn_close(struct conn *conn, enum mqtt_reason reason, const char *why, uint64_t now)
{
    conn_end(conn, END_SERVER, reason, why, now);
}

void conn_lost(struct conn *conn, const char *why, uint64_t now)
{
    conn_end(conn, END_NETWORK, MQTT_SUCCESS, why ? why : "closed its connection", now);
    conn->lost = true;
    list_remove(&conn->ready_node);
}

/* ---- bytes in ---- */

/* Memory for what is not complete may not be had: the larger the less, and soonest for a stranger, so
 * that no crowd of them makes it scarce for those who are let in. */
static bool is_refused_memory(const struct conn *conn, size_t need)
{
    enum memory_level level = memory_level(&conn->worker->broker->memory);
    return (need > PARTIAL_TIGHT && level >= MEMORY_TIGHT) ||
           (conn->phase == CONN_NEW && need > PARTIAL_STRANGER && level >= MEMORY_SHRINKING);
}

/* Appends to the partial packet, which grows as bytes arrive: a length that was only promised
 * allocates nothing. */
static bool keep(struct conn *conn, struct span bytes)
{
    struct partial *partial = conn->partial;
    size_t len = partial ? partial->len : 0, need = len + bytes.len;
    if (!partial || need > partial->room) {
        size_t room = partial ? partial->room : PARTIAL_FIRST;
        if (is_refused_memory(conn, need))
            return false;
        while (room < need) /* a large one moves no bytes when it grows, and need not be doubled */
            room += room < PARTIAL_STEP ? room : PARTIAL_STEP;
        partial = realloc(partial, sizeof *partial + room);
        if (!partial)
            return false;
        partial->room = room;
        conn->partial = partial;
    }
    memcpy(partial->bytes + len, bytes.data, bytes.len);
    partial->len = need;
    return true;
}

static inline void handle_packet(struct conn *conn, const struct mqtt_frame *frame,
                                 struct span body, uint64_t now)
{
    conn->last_in = now;
    STAT_ADD(&conn->worker->stats, packets_received, 1);
    if (log_wants(LEVEL_DEBUG))
        trace_received(conn, frame, body);
    if (conn->phase == CONN_NEW) {
        if (frame->type == MQTT_CONNECT && frame->flags == 0)
            on_connect(conn, body, now);
        else /* [MQTT5-3.1.0-1] */
            conn_close(conn, MQTT_PROTOCOL_ERROR, "its first packet is not CONNECT", now);
        return;
    }
    const struct packet_rule *rule = &packet_rules[frame->type & 15];
    if (frame->type != MQTT_PUBLISH && !mqtt_flags_valid(frame, conn->version)) {
        conn_close(conn, MQTT_MALFORMED_PACKET, "invalid flags in a packet's first byte", now);
        return;
    }
    if (!rule->handle) {
        conn_close(conn, MQTT_PROTOCOL_ERROR,
                   "sent a packet that only a server may send, or a second CONNECT", now);
        return;
    }
    enum mqtt_reason reason = rule->handle(conn, frame, body, now);
    if (reason != MQTT_SUCCESS)
        conn_close(conn, reason, rule->why, now);
}

/* Whether the packet may be taken in at all; else the connection is closed. */
static bool size_allowed(struct conn *conn, const struct mqtt_frame *frame, uint64_t now)
{
    if ((uint64_t)frame->header_len + frame->body_len <= conn->config->max_packet_size)
        return true;
    conn_close(conn, MQTT_PACKET_TOO_LARGE, "sent a packet larger than max_packet_size", now);
    return false;
}

/* Feeds the rest of an incomplete packet; returns how many bytes it took. */
static size_t feed_partial(struct conn *conn, struct span bytes, uint64_t now)
{
    struct mqtt_frame frame;
    size_t taken = 0;
    for (;;) {
        struct span have = partial_bytes(conn->partial);
        size_t want = 1; /* of an incomplete header */
        switch (mqtt_frame_parse(have, &frame)) {
        case MQTT_FRAME_BAD:
            conn_close(conn, MQTT_MALFORMED_PACKET, "malformed remaining length", now);
            return taken;
        case MQTT_FRAME_SHORT: break;
        case MQTT_FRAME_HEAD:
            if (!size_allowed(conn, &frame, now))
                return taken;
            want = frame.header_len + frame.body_len - have.len;
            break;
        case MQTT_FRAME_WHOLE: {
            struct partial *packet = take_partial(conn);
            if (size_allowed(conn, &frame, now))
                handle_packet(conn, &frame,
                              span_of(packet->bytes + frame.header_len, frame.body_len), now);
            free(packet);
            return taken;
        }
        }
        if (want > bytes.len - taken)
            want = bytes.len - taken;
        if (want == 0)
            return taken;
        if (!keep(conn, span_of(bytes.data + taken, want))) {
            conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for its packet", now);
            return taken;
        }
        taken += want;
    }
}

static void hold(struct conn *conn, struct span bytes, uint64_t now)
{
    if (!keep(conn, bytes))
        conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for what it sent", now);
    else if (conn->partial->len > (conn->login ? HELD_STRANGER : HELD_MAX) && !conn->paused) {
        conn->paused = true;
        conn->link->ops->pause(conn->link, true);
    }
}

/* Packets straight from the chunk, until one is incomplete or the connection takes no more. */
static struct span feed_whole(struct conn *conn, struct span rest, uint64_t now)
{
    struct mqtt_frame frame;
    while (rest.len > 0 && conn->phase != CONN_CLOSED && conn->phase != CONN_CLAIMING) {
        enum mqtt_frame_status status = mqtt_frame_parse(rest, &frame);
        if (status != MQTT_FRAME_WHOLE)
            break;
        if (!size_allowed(conn, &frame, now))
            break;
        size_t size = (size_t)frame.header_len + frame.body_len;
        handle_packet(conn, &frame, span_of(rest.data + frame.header_len, frame.body_len), now);
        rest = span_of(rest.data + size, rest.len - size);
        if (brake_wanted(conn->worker) && brake_hold(conn, rest))
            return span_of(NULL, 0);
    }
    return rest;
}

/* What does not begin as CONNECT never will be one; its length, which may promise much, is not waited
 * for [MQTT5-3.1.0-1]. */
static bool begins_as_connect(struct conn *conn, struct span bytes, uint64_t now)
{
    if (conn->partial || bytes.data[0] == MQTT_CONNECT << 4)
        return true;
    conn_close(conn, MQTT_PROTOCOL_ERROR, "its first packet is not CONNECT", now);
    return false;
}

static void feed(struct conn *conn, struct span rest, uint64_t now)
{
    while (rest.len > 0) {
        if (conn->phase == CONN_CLOSED ||
            (conn->phase == CONN_NEW && !begins_as_connect(conn, rest, now)))
            return;
        if (conn->phase == CONN_CLAIMING) {
            hold(conn, rest, now);
            return;
        }
        if (conn->braked) {
            if (!brake_append(conn, rest))
                conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for what it sent", now);
            return;
        }
        if (!conn->partial)
            rest = feed_whole(conn, rest, now);
        if (rest.len == 0 || conn->phase == CONN_CLOSED || conn->phase == CONN_CLAIMING)
            continue;
        size_t taken = feed_partial(conn, rest, now);
        rest = span_of(rest.data + taken, rest.len - taken);
    }
}

/* A connection is left unread only while as many publishes as it may have are unacknowledged
 * because of us. */
void conn_watch_backlog(struct conn *conn, uint64_t now)
{
    bool behind = conn->braked || conn_is_behind(conn) || quota_waits(conn) ||
                  (conn->publishes && conn->worker->congested);
    if (conn->phase != CONN_OPEN || behind == conn->paused)
        return;
    conn->paused = behind;
    if (!behind)
        conn->last_in = now; /* while we did not read, its keep-alive stood still */
    conn->link->ops->pause(conn->link, behind);
    conn_set_timer(conn);
}

void conn_feed(struct conn *conn, struct span bytes, uint64_t now)
{
    conn->worker->now = now;
    STAT_ADD(&conn->worker->stats, bytes_received, bytes.len);
    memory_took_in(conn->worker, bytes.len);
    if (quota_applies(conn))
        quota_feed(conn, bytes, now);
    else if (conn->worker->braked_for_mail > 0 && !conn->braked && brake_behind(conn, bytes))
        conn_watch_backlog(conn, now);
    else
        conn_go_on(conn, bytes, now);
}

void conn_go_on(struct conn *conn, struct span bytes, uint64_t now)
{
    brake_begin(conn->worker);
    feed(conn, bytes, now);
    conn_watch_backlog(conn, now);
}

void conn_feed_held(struct conn *conn, uint64_t now)
{
    struct partial *held = take_partial(conn);
    if (conn->paused) {
        conn->paused = false;
        conn->link->ops->pause(conn->link, false);
    }
    feed(conn, partial_bytes(held), now);
    free(held);
    conn_watch_backlog(conn, now);
}

/* ---- deadlines ---- */

/* 1.5 times the keep-alive [MQTT5-3.1.2-22]. */
static uint64_t keep_alive_ends(const struct conn *conn)
{
    if (conn->keep_alive == 0 || conn->paused)
        return UINT64_MAX;
    return conn->last_in + (uint64_t)conn->keep_alive * 1500;
}

static uint64_t choked_ends(const struct conn *conn)
{
    if (!conn->choked || conn->config->write_timeout == 0)
        return UINT64_MAX;
    return conn->choked_since + (uint64_t)conn->config->write_timeout * 1000;
}

void conn_set_timer(struct conn *conn)
{
    uint64_t due = keep_alive_ends(conn);
    if (choked_ends(conn) < due)
        due = choked_ends(conn);
    if (conn->expires_at && conn->expires_at < due)
        due = conn->expires_at;
    if (quota_ends(conn) < due)
        due = quota_ends(conn);
    if (due == UINT64_MAX)
        wheel_cancel(&conn->timer);
    else
        wheel_set(&conn->worker->wheel, &conn->timer, due);
}

static void conn_timer(struct timer *timer, uint64_t now)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, timer);
    if (conn->login) {
        conn_refuse(conn, MQTT_SERVER_BUSY, "its password was not checked in time", now);
        return;
    }
    if (conn->phase == CONN_NEW || conn->phase == CONN_CLAIMING) {
        conn_close(conn, MQTT_UNSPECIFIED_ERROR, "no CONNECT within the time allowed", now);
        return;
    }
    if (keep_alive_ends(conn) <= now) {
        conn_close(conn, MQTT_KEEP_ALIVE_TIMEOUT, "exceeded its keep-alive time", now);
        return;
    }
    if (conn->expires_at && conn->expires_at <= now) {
        conn_close(conn, MQTT_MAXIMUM_CONNECT_TIME, "its token has expired", now);
        return;
    }
    if (choked_ends(conn) <= now) {
        conn_close(conn, MQTT_UNSPECIFIED_ERROR, "did not read what it was sent", now);
        return;
    }
    if (quota_ends(conn) <= now)
        quota_go_on(conn, now);
    if (conn->phase == CONN_OPEN)
        conn_set_timer(conn);
}

void conn_choked(struct conn *conn, bool choked, uint64_t now)
{
    conn->choked = choked;
    conn->choked_since = choked ? now : 0;
    if (conn->phase != CONN_OPEN)
        return;
    if (!choked)
        worker_ready(conn->worker, conn);
    conn_set_timer(conn);
}
