/* SPDX-License-Identifier: MIT */
/*
 * A connection of the load generator. Owns its descriptor and two small buffers that stay unused
 * while the kernel takes everything and packets arrive whole. Never waits once bench_client_go()
 * was called.
 */
#include "transport/bench_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

enum { SETUP_PACKET = 4096, SHAKE_STEPS = 64 };

static bool trouble(const char *what, const char *why)
{
    fprintf(stderr, "noctule bench: %s: %s\n", what, why);
    return false;
}

size_t bench_frame(bool websocket, uint8_t *out, const uint8_t *packet, size_t len)
{
    uint8_t head[BENCH_WIRE_HEAD];
    size_t size = bench_wire_head(websocket, head, len);

    memmove(out + size, packet, len);
    memcpy(out, head, size);
    return size + len;
}

size_t bench_encode_connect(uint8_t *out, const struct bench_target *target, uint32_t number,
                            enum bench_session session)
{
    const unsigned flags = (session == BENCH_CLEAN ? 0x02u : 0) | (target->password ? 0x40u : 0) |
                           (target->user ? 0x80u : 0);
    const uint8_t variable[] = { 0, 4, 'M', 'Q', 'T', 'T', target->version, (uint8_t)flags, 0, 0 };
    char id[40];
    uint8_t payload[BENCH_CONNECT - 64], props[8], packet[BENCH_CONNECT - BENCH_WIRE_HEAD];
    struct mqtt_writer w = { .out = payload, .room = sizeof payload },
                       p = { .out = props, .room = sizeof props };

    if (session == BENCH_RESUME)
        mqtt_put_number_property(&p, MQTT_PROP_SESSION_EXPIRY, UINT32_MAX);
    snprintf(id, sizeof id, "bench-%ld-%u", (long)getpid(), (unsigned)number);
    mqtt_put_string(&w, span_str(id));
    if (target->user)
        mqtt_put_string(&w, span_str(target->user));
    if (target->password)
        mqtt_put_string(&w, span_str(target->password));
    size_t len = mqtt_encode_packet(packet, sizeof packet, MQTT_CONNECT << 4, target->version,
                                    span_of(variable, sizeof variable), span_of(props, p.len),
                                    span_of(payload, w.len));
    return bench_frame(target->websocket, out, packet, len);
}

/* Waits for one packet. Returns its body, and holds what came behind it. */
static bool packet_await(struct bench_client *client, enum mqtt_type type, uint8_t *buf,
                         struct span *ret_body)
{
    struct mqtt_frame frame;
    size_t len = 0;

    for (;;) {
        ssize_t got = bench_wire_recv(&client->wire, buf + len, SETUP_PACKET - len);
        if (got <= 0)
            return trouble(mqtt_type_name(type), got ? strerror(errno) : "connection closed");
        len += (size_t)got;
        if (mqtt_frame_parse(span_of(buf, len), &frame) == MQTT_FRAME_WHOLE)
            break;
        if (len == SETUP_PACKET)
            return trouble(mqtt_type_name(type), "the answer is too large");
    }
    if (frame.type != type)
        return trouble(mqtt_type_name(type), "another packet came instead");
    *ret_body = span_of(buf + frame.header_len, frame.body_len);
    size_t size = frame.header_len + frame.body_len;
    bench_client_hold(client, span_of(buf + size, len - size));
    return true;
}

const char *bench_refusal(uint8_t version, uint8_t code)
{
    static const char *const before_5[] = { /* [MQTT311-3.2.2], table 3.1 */
                                            [1] = "unacceptable protocol version",
                                            [2] = "identifier rejected",
                                            [3] = "server unavailable",
                                            [4] = "bad user name or password",
                                            [5] = "not authorized"
    };
    if (version >= MQTT_V5)
        return mqtt_reason_name((enum mqtt_reason)code);
    return code > 0 && code < sizeof before_5 / sizeof *before_5 ? before_5[code]
                                                                 : "unknown reason";
}

static void connack_read(struct bench_client *client, struct span body, uint8_t version)
{
    struct mqtt_properties props;
    const size_t list = 3; /* flags, reason, a length of one byte: brokers send few properties */

    client->session_present = body.data[0] & 1;
    client->receive_max = UINT16_MAX;
    if (version < MQTT_V5 || body.len <= list || body.data[2] != body.len - list)
        return;
    if (mqtt_properties_decode(span_of(body.data + list, body.len - list), MQTT_CONNACK, &props) ==
            MQTT_SUCCESS &&
        mqtt_has(&props, MQTT_PROP_RECEIVE_MAXIMUM))
        client->receive_max = props.receive_maximum;
}

static bool shake(struct bench_client *client, const struct bench_target *target)
{
    enum bench_wire_state state = BENCH_WIRE_READS;

    /* Blocking: a state that waits is one that has waited, or a time-out. */
    for (unsigned steps = 0; state != BENCH_WIRE_READY && steps < SHAKE_STEPS; steps++) {
        state = bench_wire_shake(&client->wire, target);
        if (state == BENCH_WIRE_FAILED)
            break;
    }
    return state == BENCH_WIRE_READY ||
           trouble(target->tls ? "TLS or WebSocket handshake" : "WebSocket handshake",
                   "the broker does not want it");
}

bool bench_client_dial(struct bench_client *client, const struct bench_target *target)
{
    return bench_wire_open(&client->wire, target, true, NULL) && shake(client, target);
}

bool bench_client_open(struct bench_client *client, const struct bench_target *target,
                       uint32_t number, enum bench_session session)
{
    uint8_t buf[SETUP_PACKET];
    struct span body;

    if (!bench_client_dial(client, target))
        return false;
    size_t len = bench_encode_connect(buf, target, number, session);
    if (bench_wire_send(&client->wire, buf, len) != (ssize_t)len)
        return trouble("CONNECT", strerror(errno));
    if (!packet_await(client, MQTT_CONNACK, buf, &body))
        return false;
    if (body.len < 2 || body.data[1])
        return trouble("the broker refused the connection",
                       body.len < 2 ? "?" : bench_refusal(target->version, body.data[1]));
    connack_read(client, body, target->version);
    return true;
}

bool bench_client_subscribe(struct bench_client *client, uint8_t version, struct span filters)
{
    const uint8_t id[] = { 0, 1 };
    uint8_t packet[SETUP_PACKET + 16 + BENCH_WIRE_HEAD];
    struct span body;
    size_t len = mqtt_encode_packet(packet, SETUP_PACKET + 16, MQTT_SUBSCRIBE << 4 | 2, version,
                                    span_of(id, sizeof id), span_of(NULL, 0), filters);

    if (len > SETUP_PACKET + 16)
        return trouble("SUBSCRIBE", "too large");
    len = bench_frame(client->wire.websocket, packet, packet, len);
    if (bench_wire_send(&client->wire, packet, len) != (ssize_t)len)
        return trouble("SUBSCRIBE", strerror(errno));
    if (!packet_await(client, MQTT_SUBACK, packet, &body))
        return false;
    /* Version 5: a list of properties, whose length is one byte here, before the codes. */
    size_t codes = version < MQTT_V5 ? 2 : body.len > 2 ? 3u + body.data[2] : 3;
    if (codes >= body.len)
        return trouble("SUBACK", "malformed");
    for (; codes < body.len; codes++)
        if (body.data[codes] >= 0x80)
            return trouble("SUBACK", "the broker refused a subscription");
    return true;
}

bool bench_client_go(struct bench_client *client)
{
    return bench_wire_go(&client->wire);
}

void bench_client_done(struct bench_client *client)
{
    bench_wire_close(&client->wire);
    free(client->rest);
    free(client->held);
    client->rest = client->held = NULL;
}

/* Room for `len` bytes; it grows to what is once needed and stays. */
static void make_room(uint8_t **buf, size_t *room, size_t len)
{
    if (len <= *room)
        return;
    size_t larger = *room ? *room : 4096;
    while (larger < len)
        larger *= 2;
    *buf = realloc(*buf, larger);
    if (!*buf)
        abort();
    *room = larger;
}

static void keep(struct bench_client *client, const uint8_t *data, size_t len)
{
    if (client->rest_at) {
        memmove(client->rest, client->rest + client->rest_at, client->rest_len);
        client->rest_at = 0;
    }
    make_room(&client->rest, &client->rest_room, client->rest_len + len);
    memcpy(client->rest + client->rest_len, data, len);
    client->rest_len += len;
}

static bool is_full(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

bool bench_client_send(struct bench_client *client, const uint8_t *data, size_t len)
{
    ssize_t sent = 0;

    if (client->rest_len == 0) {
        sent = bench_wire_send(&client->wire, data, len);
        if (sent < 0 && !is_full())
            return trouble("send", strerror(errno));
        if (sent < 0)
            sent = 0;
    }
    if ((size_t)sent < len)
        keep(client, data + sent, len - (size_t)sent);
    return true;
}

bool bench_client_flush(struct bench_client *client)
{
    if (client->rest_len == 0)
        return true;
    ssize_t sent = bench_wire_send(&client->wire, client->rest + client->rest_at, client->rest_len);
    if (sent < 0)
        return is_full() || trouble("send", strerror(errno));
    client->rest_len -= (size_t)sent;
    client->rest_at = client->rest_len ? client->rest_at + (size_t)sent : 0;
    return true;
}

bool bench_client_read(struct bench_client *client, uint8_t *scratch, struct span *ret_bytes)
{
    size_t held = client->skip ? 0 : client->held_len;

    if (held)
        memcpy(scratch, client->held, held);
    ssize_t got = bench_wire_recv(&client->wire, scratch + held, BENCH_SCRATCH);
    if (got == 0)
        return trouble("the broker closed a connection", "end of stream");
    if (got < 0 && !is_full())
        return trouble("recv", strerror(errno));
    *ret_bytes = span_of(scratch, held + (got > 0 ? (size_t)got : 0));
    if (!client->skip)
        client->held_len = 0;
    return true;
}

void bench_client_hold(struct bench_client *client, struct span rest)
{
    if (rest.len) {
        make_room(&client->held, &client->held_room, rest.len);
        memcpy(client->held, rest.data, rest.len);
    }
    client->held_len = rest.len;
}
