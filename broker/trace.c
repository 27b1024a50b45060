/* SPDX-License-Identifier: MIT */
/* See trace.h. */
#include "broker/trace.h"

#include <string.h>

#include "broker/conn_state.h"
#include "broker/delivery.h"
#include "broker/log.h"
#include "broker/message.h"
#include "broker/session.h"

static const char *name_of(const struct conn *conn, char name[LOG_QUOTE_MAX])
{
    const struct session *session = conn->session;
    if (!session)
        return conn->address;
    return log_quote(name, LOG_QUOTE_MAX, session->client_id, session->client_id_len);
}

static bool is_ack(enum mqtt_type type)
{
    return type == MQTT_PUBACK || type == MQTT_PUBREC || type == MQTT_PUBREL ||
           type == MQTT_PUBCOMP;
}

static void received_publish(const char *name, const struct conn *conn,
                             const struct mqtt_frame *frame, struct span body)
{
    struct mqtt_publish publish;
    char topic[LOG_QUOTE_MAX];
    if (mqtt_decode_publish(frame->flags, body, conn->version, &publish) != MQTT_SUCCESS) {
        log_emit(LEVEL_DEBUG, "Received a malformed PUBLISH from %s", name);
        return;
    }
    log_emit(LEVEL_DEBUG, "Received PUBLISH from %s (d%d, q%d, r%d, m%d, '%s', ... (%zu bytes))",
             name, frame->flags >> 3 & 1, publish.qos, publish.retain, publish.id,
             log_quote(topic, sizeof topic, publish.topic.data, publish.topic.len),
             publish.payload.len);
}

void trace_received(const struct conn *conn, const struct mqtt_frame *frame, struct span body)
{
    char buf[LOG_QUOTE_MAX];
    const char *name = name_of(conn, buf);
    enum mqtt_type type = (enum mqtt_type)frame->type;
    struct mqtt_ack ack;
    if (type == MQTT_PUBLISH && conn->version)
        received_publish(name, conn, frame, body);
    else if (is_ack(type) && mqtt_decode_ack(type, body, conn->version, &ack) == MQTT_SUCCESS)
        log_emit(LEVEL_DEBUG, "Received %s from %s (Mid: %d, RC:%d)", mqtt_type_name(type), name,
                 ack.id, ack.reason);
    else
        log_emit(LEVEL_DEBUG, "Received %s from %s", mqtt_type_name(type), name);
}

void trace_sent_publish(const struct conn *conn, const struct delivery *delivery, uint16_t id)
{
    char name[LOG_QUOTE_MAX], topic[LOG_QUOTE_MAX];
    struct span text = message_topic(delivery->message);
    log_emit(LEVEL_DEBUG, "Sending PUBLISH to %s (d%d, q%d, r%d, m%d, '%s', ... (%u bytes))",
             name_of(conn, name), (delivery->flags & DELIVERY_BEGUN) != 0, delivery->qos,
             (delivery->flags & DELIVERY_RETAIN) != 0, id,
             log_quote(topic, sizeof topic, text.data, text.len), delivery->message->payload_len);
}

void trace_sent(const struct conn *conn, enum mqtt_type type, uint16_t id, enum mqtt_reason reason)
{
    char name[LOG_QUOTE_MAX];
    if (is_ack(type))
        log_emit(LEVEL_DEBUG, "Sending %s to %s (m%d, rc%d)", mqtt_type_name(type),
                 name_of(conn, name), id, (int)reason);
    else
        log_emit(LEVEL_DEBUG, "Sending %s to %s", mqtt_type_name(type), name_of(conn, name));
}
