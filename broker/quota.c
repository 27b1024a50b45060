/* SPDX-License-Identifier: MIT */
/*
 * See quota.h. A rate is kept as the time at which the client would be on time again: each message
 * moves it on by its share of a second, and it never lies more than a second back.
 */
#include "broker/quota.h"

#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/session.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    SECOND = 1000000, /* microseconds */
    LOOK_AGAIN = 20,  /* milliseconds */
};

struct quota {
    uint64_t messages_due, bytes_due; /* microseconds since 1970 */
    uint64_t again_at; /* milliseconds: when to look again at a connection that is braked */
    bool waits;
    uint8_t *held; /* what it has sent beyond its rate; owned */
    size_t len;
};

static const struct config *config_of(const struct conn *conn)
{
    return conn->worker->config;
}

bool quota_applies(const struct conn *conn)
{
    const struct config *config = config_of(conn);
    return config->message_rate || config->byte_rate || conn->quota;
}

static void charge(uint64_t *due, uint64_t units, uint64_t rate, uint64_t now)
{
    if (!rate)
        return;
    uint64_t earliest = now * 1000 - SECOND;
    if (*due < earliest)
        *due = earliest;
    *due += units * SECOND / rate;
}

static uint64_t due_of(const struct conn *conn)
{
    const struct quota *quota = conn->quota;
    const struct config *config = config_of(conn);
    uint64_t messages = config->message_rate ? quota->messages_due : 0;
    uint64_t bytes = config->byte_rate ? quota->bytes_due : 0;
    return messages > bytes ? messages : bytes;
}

bool quota_waits(const struct conn *conn)
{
    return conn->quota && conn->quota->waits;
}

uint64_t quota_ends(const struct conn *conn)
{
    if (!quota_waits(conn))
        return UINT64_MAX;
    uint64_t due = due_of(conn) / 1000 + 1;
    return due > conn->quota->again_at ? due : conn->quota->again_at;
}

void quota_forget(struct conn *conn)
{
    if (conn->quota)
        free(conn->quota->held);
    free(conn->quota);
    conn->quota = NULL;
}

/* ---- what it sends ---- */

static void hold(struct conn *conn, struct span bytes, uint64_t now)
{
    struct quota *quota = conn->quota;
    uint8_t *grown = bytes.len ? realloc(quota->held, quota->len + bytes.len) : quota->held;
    if (bytes.len && !grown) {
        conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for what it sent", now);
        return;
    }
    if (bytes.len)
        memcpy(grown + quota->len, bytes.data, bytes.len);
    quota->held = grown;
    quota->len += bytes.len;
    quota->waits = true;
    conn_watch_backlog(conn, now);
    if (conn->phase == CONN_OPEN)
        conn_set_timer(conn);
}

/* A packet or the rest of one, or what there is of it. */
static size_t next_piece(const struct conn *conn, struct span bytes)
{
    struct mqtt_frame frame;
    struct span begun = partial_bytes(conn->partial);
    enum mqtt_frame_status status = mqtt_frame_parse(begun.len ? begun : bytes, &frame);
    if (status == MQTT_FRAME_SHORT && begun.len)
        return 1; /* its length is not known yet */
    if (status != MQTT_FRAME_HEAD && status != MQTT_FRAME_WHOLE)
        return bytes.len;
    size_t len = frame.header_len + frame.body_len - begun.len;
    return len < bytes.len ? len : bytes.len;
}

static void feed_piece(struct conn *conn, struct span piece, uint64_t now)
{
    struct worker *worker = conn->worker;
    uint64_t before = atomic_load_explicit(&worker->stats.publish_received, memory_order_relaxed);
    conn_go_on(conn, piece, now);
    uint64_t after = atomic_load_explicit(&worker->stats.publish_received, memory_order_relaxed);
    if (!conn->quota) /* it has ended */
        return;
    charge(&conn->quota->messages_due, after - before, worker->config->message_rate, now);
    charge(&conn->quota->bytes_due, piece.len, worker->config->byte_rate, now);
}

void quota_feed(struct conn *conn, struct span bytes, uint64_t now)
{
    if (!conn->quota && !(conn->quota = calloc(1, sizeof *conn->quota))) {
        conn_close(conn, MQTT_QUOTA_EXCEEDED, "no memory for what it sent", now);
        return;
    }
    if (quota_waits(conn)) {
        hold(conn, bytes, now);
        return;
    }
    while (conn->phase == CONN_OPEN) {
        if (conn->braked) /* what is put aside there comes first (brake.h), and is not counted */
            conn->quota->again_at = now + LOOK_AGAIN;
        if (conn->braked || due_of(conn) > now * 1000) {
            hold(conn, bytes, now);
            return;
        }
        if (bytes.len == 0)
            return;
        size_t len = next_piece(conn, bytes);
        feed_piece(conn, span_of(bytes.data, len), now);
        bytes = span_of(bytes.data + len, bytes.len - len);
        if (!conn->quota)
            return;
    }
    if (bytes.len > 0)
        conn_go_on(conn, bytes, now);
}

void quota_go_on(struct conn *conn, uint64_t now)
{
    struct quota *quota = conn->quota;
    uint8_t *held = quota->held;
    size_t len = quota->len;
    quota->held = NULL;
    quota->len = 0;
    quota->waits = false;
    quota_feed(conn, span_of(held, len), now);
    free(held);
    conn_watch_backlog(conn, now);
}

/* ---- what it may have ---- */

bool quota_has_levels(const struct conn *conn, struct span topic)
{
    unsigned levels = 1, most = conn->config->max_topic_levels;
    if (most >= MQTT_TOPIC_LEVELS_MAX || topic.len < most)
        return true;
    for (size_t i = 0; i < topic.len; i++)
        levels += topic.data[i] == '/';
    return levels <= most;
}

bool quota_retains(const struct worker *worker, struct span topic)
{
    struct retained *retained = worker->broker->retained;
    uint64_t most = worker->config->max_retained_messages;
    return !most || retained_count(retained) < most || retained_has(retained, topic);
}

enum mqtt_reason quota_publish(const struct conn *conn, const struct mqtt_publish *publish)
{
    if (!quota_has_levels(conn, publish->topic))
        return MQTT_TOPIC_NAME_INVALID;
    if (publish->retain && publish->payload.len > 0 && !quota_retains(conn->worker, publish->topic))
        return MQTT_QUOTA_EXCEEDED;
    return MQTT_SUCCESS;
}

enum mqtt_reason quota_subscribe(const struct conn *conn, struct span filter, bool is_new)
{
    uint32_t most = config_of(conn)->max_subscriptions;
    if (!quota_has_levels(conn, filter))
        return MQTT_TOPIC_FILTER_INVALID;
    if (is_new && most && conn->session->subscription_count >= most)
        return MQTT_QUOTA_EXCEEDED;
    return MQTT_SUCCESS;
}
