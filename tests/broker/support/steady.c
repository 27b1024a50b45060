/* SPDX-License-Identifier: MIT */
/* See steady.h. One thread. */
#include "tests/broker/support/steady.h"

#include "broker/list.h"
#include "mqtt/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROOM = 65536, IDENTIFIERS = 65536 };

struct steady_line {
    struct link link;
    struct steady_line *next;
    struct steady *steady; /* NULL: abandoned */
    struct world *world;
    struct conn *conn;
    bool closing;
    size_t len;
    uint8_t bytes[ROOM]; /* what has come and was not taken yet */
};

static struct steady_line *lines; /* all of them */

/* ---- the link ---- */

static void flush(struct link *link)
{
    struct steady_line *line = CONTAINER_OF(link, struct steady_line, link);
    size_t len;
    do {
        if (ROOM - line->len < 1024)
            return; /* its socket is full */
        len = conn_drain(line->conn, line->bytes + line->len, ROOM - line->len, line->world->now);
        line->len += len;
    } while (len > 0);
}

static void close_link(struct link *link)
{
    CONTAINER_OF(link, struct steady_line, link)->closing = true;
}

static void pause_link(struct link *link, bool paused)
{
    (void)link, (void)paused;
}

static const struct link_ops ops = { .flush = flush, .close = close_link, .pause = pause_link };

static void free_line(struct steady_line *line)
{
    struct steady_line **at = &lines;
    while (*at != line)
        at = &(*at)->next;
    *at = line->next;
    conn_free(line->conn);
    free(line);
}

static void hang_up(struct steady *steady)
{
    if (steady->line) {
        steady->line->steady = NULL;
        steady->ends++;
    }
    steady->line = NULL;
    steady->welcome = false;
    steady->todo_count = 0;
}

void steady_reap(void)
{
    for (struct steady_line *line = lines, *next; line; line = next) {
        next = line->next;
        if (!line->closing)
            continue;
        if (line->steady)
            hang_up(line->steady);
        free_line(line);
    }
}

void steady_lose(struct steady *steady)
{
    struct steady_line *line = steady->line;
    hang_up(steady);
    if (line)
        free_line(line);
}

void steady_crash(struct steady *steady)
{
    hang_up(steady);
}

void steady_reap_all(void)
{
    while (lines)
        free_line(lines);
}

/* ---- packets ---- */

static void put(struct steady *steady, uint8_t first, struct span variable, struct span props,
                struct span payload)
{
    uint8_t out[256];
    size_t len = mqtt_encode_packet(out, sizeof out, first, MQTT_V5, variable, props, payload);
    assert_true(len <= sizeof out);
    conn_feed(steady->line->conn, span_of(out, len), steady->world->now);
}

static void put_ack(struct steady *steady, enum mqtt_type type, uint16_t id)
{
    uint8_t out[8];
    conn_feed(steady->line->conn,
              span_of(out, mqtt_encode_ack(out, type, MQTT_V5, id, MQTT_SUCCESS)),
              steady->world->now);
}

static void put_publish(struct steady *steady, struct steady_message *message)
{
    char topic[16], payload[16];
    uint8_t variable[64];
    struct mqtt_writer v = { .out = variable, .room = sizeof variable };
    snprintf(topic, sizeof topic, "%c/%s", message->retain ? 'r' : 't', steady->name);
    snprintf(payload, sizeof payload, "%s.%d.%d", steady->name, (int)(message - steady->sent),
             message->qos);
    mqtt_put_string(&v, span_str(topic));
    mqtt_put_u16(&v, message->id);
    put(steady,
        (uint8_t)(MQTT_PUBLISH << 4 | (message->tried ? 8 : 0) | message->qos << 1 |
                  message->retain),
        span_of(variable, v.len), (struct span){ 0 }, span_str(payload));
    message->tried = true;
    message->state = STEADY_SENDING;
}

static void put_subscribe(struct steady *steady)
{
    uint8_t payload[64];
    struct mqtt_writer p = { .out = payload, .room = sizeof payload };
    mqtt_put_string(&p, span_str(steady->filter));
    mqtt_put_u8(&p, steady->granted);
    put(steady, MQTT_SUBSCRIBE << 4 | 2, span_of("\0\1", 2), (struct span){ 0 },
        span_of(payload, p.len));
}

void steady_connect(struct steady *steady, unsigned worker)
{
    struct world *world = steady->world;
    const uint8_t flags = (uint8_t)((steady->clean ? 0x02 : 0) | (steady->will ? 0x14 : 0));
    uint8_t props[16], variable[] = { 0, 4, 'M', 'Q', 'T', 'T', 5, flags, 0, 0 }, payload[32];
    struct mqtt_writer p = { .out = props, .room = sizeof props },
                       c = { .out = payload, .room = sizeof payload };
    struct steady_line *line = calloc(1, sizeof *line);
    assert_non_null(line);
    hang_up(steady);
    *line = (struct steady_line){
        .link.ops = &ops, .next = lines, .steady = steady, .world = world
    };
    lines = line;
    steady->line = line;
    line->conn = conn_new(broker_worker(world->broker, worker), &line->link,
                          &(struct conn_origin){ .listener = &world->config->listeners[0],
                                                 .address = span_str("test") },
                          world->now);
    assert_non_null(line->conn);
    if (!steady->clean)
        mqtt_put_number_property(&p, MQTT_PROP_SESSION_EXPIRY, 0xFFFFFFFF);
    if (steady->window)
        mqtt_put_number_property(&p, MQTT_PROP_RECEIVE_MAXIMUM, steady->window);
    mqtt_put_string(&c, span_str(steady->name));
    if (steady->will) {
        char topic[8];
        snprintf(topic, sizeof topic, "w/%s", steady->name);
        mqtt_put_u8(&c, 0); /* no properties */
        mqtt_put_string(&c, span_str(topic));
        mqtt_put_string(&c, span_str("gone"));
    }
    put(steady, MQTT_CONNECT << 4, span_of(variable, sizeof variable), span_of(props, p.len),
        span_of(payload, c.len));
}

void steady_disconnect(struct steady *steady)
{
    if (!steady->line || !steady->welcome)
        return;
    conn_feed(steady->line->conn, span_of("\xe0\0", 2), steady->world->now);
    hang_up(steady);
}

/* ---- what comes ---- */

/* All that was not finished, in the order in which it was sent [MQTT5-4.4.0-1]. */
static void send_again(struct steady *steady)
{
    for (unsigned i = steady->first_open; i < steady->sent_count; i++) {
        struct steady_message *message = &steady->sent[i];
        if (message->state == STEADY_SENDING)
            put_publish(steady, message);
        else if (message->state == STEADY_RELEASING)
            put_ack(steady, MQTT_PUBREL, message->id);
    }
}

/* A clean session ends with its connection: what was not acknowledged is given up. */
static void forget(struct steady *steady)
{
    for (unsigned i = steady->first_open; i < steady->sent_count; i++)
        if (steady->sent[i].state != STEADY_DONE)
            steady->sent[i].state = STEADY_GIVEN_UP;
    memset(steady->inbound, 0, IDENTIFIERS);
    steady->subscribed = false;
}

static void on_connack(struct steady *steady, struct span body)
{
    assert_int_equal(body.data[1], MQTT_SUCCESS);
    bool present = body.data[0] & 1;
    assert_false(present && steady->clean);
    if (!present && !steady->clean && steady->known)
        fail_msg("the session of %s is not there any more", steady->name);
    steady->welcome = true;
    steady->known = true;
    if (steady->clean)
        forget(steady);
    if (steady->filter && !steady->subscribed)
        put_subscribe(steady);
    send_again(steady);
}

static struct steady_message *sent_with(struct steady *steady, uint16_t id)
{
    for (unsigned i = steady->first_open; i < steady->sent_count; i++)
        if (steady->sent[i].id == id &&
            (steady->sent[i].state == STEADY_SENDING || steady->sent[i].state == STEADY_RELEASING))
            return &steady->sent[i];
    return NULL;
}

static void later(struct steady *steady, uint8_t type, uint16_t id)
{
    assert_true(steady->todo_count < sizeof steady->todo / sizeof *steady->todo);
    steady->todo[steady->todo_count].type = type;
    steady->todo[steady->todo_count++].id = id;
}

static void take_in(struct steady *steady, const struct mqtt_publish *publish)
{
    if (publish->topic.data[0] == 'w') {
        steady->wills++;
        return;
    }
    char text[32] = "", name = 0;
    int number = 0, qos = 0;
    assert_true(publish->payload.len < sizeof text);
    memcpy(text, publish->payload.data, publish->payload.len);
    assert_int_equal(sscanf(text, "%c.%d.%d", &name, &number, &qos), 3);
    unsigned from = (unsigned)(name - 'p');
    assert_true(from < STEADY_PUBLISHERS && number >= 0 && number < STEADY_SENT);
    if (publish->retain) {
        steady->last_retained[from] = number;
        return;
    }
    uint8_t *got = &steady->got[from][number];
    if (*got && publish->qos == 2)
        fail_msg("%s has got %s twice, at QoS %u as %u%s", steady->name, text, publish->qos,
                 publish->id, publish->dup ? " with DUP" : "");
    if (!*got && steady->ordered >> from & 1 && steady->last[from][qos] > number)
        fail_msg("%s has got %s after %d", steady->name, text, steady->last[from][qos]);
    if (!*got)
        steady->last[from][qos] = number;
    *got = *got < 255 ? (uint8_t)(*got + 1) : 255;
}

static void on_publish(struct steady *steady, uint8_t flags, struct span body)
{
    struct mqtt_publish publish;
    assert_int_equal(mqtt_decode_publish(flags, body, MQTT_V5, &publish), MQTT_SUCCESS);
    if (publish.qos == 2 && steady->inbound[publish.id]) {
        later(steady, MQTT_PUBREC, publish.id);
        return;
    }
    take_in(steady, &publish);
    if (publish.qos == 1)
        later(steady, MQTT_PUBACK, publish.id);
    if (publish.qos == 2) {
        steady->inbound[publish.id] = true;
        later(steady, MQTT_PUBREC, publish.id);
    }
}

static void on_answer(struct steady *steady, unsigned type, struct span body)
{
    struct mqtt_ack ack;
    assert_int_equal(mqtt_decode_ack((enum mqtt_type)type, body, MQTT_V5, &ack), MQTT_SUCCESS);
    if (type == MQTT_PUBREL) {
        steady->inbound[ack.id] = false;
        later(steady, MQTT_PUBCOMP, ack.id);
        return;
    }
    struct steady_message *message = sent_with(steady, ack.id);
    assert_non_null(message);
    bool refused = ack.reason >= MQTT_UNSPECIFIED_ERROR && type != MQTT_PUBCOMP;
    assert_true(!refused || (steady->refusable && ack.reason == MQTT_QUOTA_EXCEEDED));
    message->acked = !refused;
    if (refused) {
        message->state = STEADY_GIVEN_UP;
    } else if (type == MQTT_PUBREC) {
        message->state = STEADY_RELEASING;
        later(steady, MQTT_PUBREL, ack.id);
    } else {
        assert_int_equal(type, message->qos == 1 ? MQTT_PUBACK : MQTT_PUBCOMP);
        message->state = STEADY_DONE;
    }
    while (steady->first_open < steady->sent_count &&
           steady->sent[steady->first_open].state >= STEADY_DONE)
        steady->first_open++;
}

bool steady_receive(struct steady *steady)
{
    struct steady_line *line = steady->line;
    struct mqtt_frame frame;
    if (!line || mqtt_frame_parse(span_of(line->bytes, line->len), &frame) != MQTT_FRAME_WHOLE)
        return false;
    size_t size = (size_t)frame.header_len + frame.body_len;
    uint8_t *packet = malloc(size);
    assert_non_null(packet);
    memcpy(packet, line->bytes, size);
    line->len -= size;
    memmove(line->bytes, line->bytes + size, line->len);
    struct span body = span_of(packet + frame.header_len, frame.body_len);
    switch (frame.type) {
    case MQTT_CONNACK: on_connack(steady, body); break;
    case MQTT_SUBACK:
        assert_int_equal(packet[size - 1], steady->granted);
        steady->subscribed = true;
        break;
    case MQTT_PUBLISH: on_publish(steady, frame.flags, body); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: on_answer(steady, frame.type, body); break;
    case MQTT_DISCONNECT: assert_true(steady->refusable); break;
    default: fail_msg("%s has got a packet of type %u", steady->name, frame.type);
    }
    free(packet);
    return true;
}

bool steady_answer(struct steady *steady)
{
    if (!steady->line || steady->todo_count == 0)
        return false;
    uint8_t type = steady->todo[0].type;
    uint16_t id = steady->todo[0].id;
    memmove(steady->todo, steady->todo + 1, --steady->todo_count * sizeof *steady->todo);
    put_ack(steady, (enum mqtt_type)type, id);
    return true;
}

/* ---- publishing ---- */

void steady_publish(struct steady *steady, uint8_t qos, bool retain)
{
    if (!steady->welcome || steady->sent_count == STEADY_SENT)
        return;
    for (unsigned i = 0; i < STEADY_IDS; i++) {
        uint16_t id = steady->last_id = (uint16_t)(steady->last_id % STEADY_IDS + 1);
        if (sent_with(steady, id))
            continue;
        struct steady_message *message = &steady->sent[steady->sent_count++];
        *message = (struct steady_message){ .id = id, .qos = qos, .retain = retain };
        put_publish(steady, message);
        return;
    }
}

bool steady_quiet(const struct steady *steady)
{
    for (unsigned i = steady->first_open; i < steady->sent_count; i++)
        if (steady->sent[i].state < STEADY_DONE)
            return false;
    return steady->welcome && steady->todo_count == 0 && steady->line && steady->line->len == 0 &&
           (!steady->filter || steady->subscribed);
}

/* ---- its life ---- */

void steady_init(struct steady *steady, struct world *world)
{
    steady->world = world;
    steady->inbound = calloc(IDENTIFIERS, sizeof *steady->inbound);
    assert_non_null(steady->inbound);
    for (unsigned i = 0; i < STEADY_PUBLISHERS; i++) {
        steady->got[i] = calloc(STEADY_SENT, 1);
        assert_non_null(steady->got[i]);
        steady->last_retained[i] = steady->last[i][0] = steady->last[i][1] = steady->last[i][2] =
            -1;
    }
}

void steady_done(struct steady *steady)
{
    steady_lose(steady);
    for (unsigned i = 0; i < STEADY_PUBLISHERS; i++)
        free(steady->got[i]);
    free(steady->inbound);
}
