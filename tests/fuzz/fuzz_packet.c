/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes frames and every decoder. The first byte chooses the version, the rest is a stream of
 * packets. What a decoder accepts is put together again from what it gave, and must be the same
 * bytes. One thread, no state.
 */
#include <assert.h>
#include <stdlib.h>

#include "mqtt/encode.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy in a block of its own size, so that the sanitizer sees a step beyond its end. */
static uint8_t *copy_of(struct span bytes)
{
    uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);

    assert(copy != NULL);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return copy;
}

static bool is_prefix(const struct mqtt_writer *w, struct span body)
{
    return !mqtt_writer_full(w) && w->len <= body.len && memcmp(w->out, body.data, w->len) == 0;
}

/* Everything up to the properties, and everything after them. */
static void check_connect(struct span body)
{
    struct mqtt_connect c;
    struct mqtt_writer w = { .out = malloc(body.len + 1), .room = body.len };
    const enum mqtt_reason reason = mqtt_decode_connect(body, &c);

    assert(w.out != NULL);
    assert(c.version == 0 || (c.version >= MQTT_V31 && c.version <= MQTT_V5));
    if (reason == MQTT_SUCCESS) {
        mqtt_put_string(&w, span_str(c.version == MQTT_V31 ? "MQIsdp" : "MQTT"));
        mqtt_put_u8(&w, (uint8_t)(c.version | (c.bridge ? 0x80 : 0)));
        assert(is_prefix(&w, body));
        w.len = 0;
        if (c.version == MQTT_V5 && c.has_will) {
            mqtt_put_varint(&w, (uint32_t)c.will.raw_properties.len);
            mqtt_put_bytes(&w, c.will.raw_properties);
        }
        if (c.has_will) {
            mqtt_put_string(&w, c.will.topic);
            mqtt_put_string(&w, c.will.payload);
            assert(mqtt_topic_name_valid(c.will.topic) && c.will.qos <= 2);
        }
        if (c.has_username)
            mqtt_put_string(&w, c.username);
        if (c.has_password)
            mqtt_put_string(&w, c.password);
        assert(!mqtt_writer_full(&w));
        assert(memcmp(w.out, body.data + body.len - w.len, w.len) == 0);
    }
    free(w.out);
}

/*
 * The delivery of a received message, whole and in pieces, must be accepted and carry the same
 * message.
 */
static void check_delivery(const struct mqtt_publish *p, uint8_t version)
{
    uint8_t *forward = malloc(p->raw_properties.len + 1);
    assert(forward != NULL);
    const struct mqtt_delivery delivery = {
        .version = version,
        .qos = p->qos,
        .dup = p->dup,
        .retain = p->retain,
        .id = p->id,
        .alias = p->topic.len == 0 ? 1 : 0,
        .has_expiry = mqtt_has(&p->props, MQTT_PROP_MESSAGE_EXPIRY),
        .expiry = mqtt_has(&p->props, MQTT_PROP_MESSAGE_EXPIRY) ? p->props.message_expiry : 0,
        .topic = p->topic,
        .payload = p->payload,
        .forward = span_of(forward, mqtt_properties_forward(p->raw_properties, forward)),
    };
    const size_t size = mqtt_publish_size(&delivery);
    uint8_t *whole = malloc(size), *pieces = malloc(size);
    struct mqtt_frame frame;
    struct mqtt_publish again;
    size_t sent = 0;

    assert(whole != NULL && pieces != NULL);
    assert(mqtt_encode_publish(&delivery, 0, whole, size) == size);
    while (sent < size) {
        const size_t room = size - sent < 7 ? size - sent : 7;
        sent += mqtt_encode_publish(&delivery, sent, pieces + sent, room);
    }
    assert(memcmp(whole, pieces, size) == 0);
    assert(mqtt_frame_parse(span_of(whole, size), &frame) == MQTT_FRAME_WHOLE);
    assert((size_t)frame.header_len + frame.body_len == size && mqtt_flags_valid(&frame, version));
    const struct span body = span_of(whole + frame.header_len, frame.body_len);
    assert(mqtt_decode_publish(frame.flags, body, version, &again) == MQTT_SUCCESS);
    assert(span_equal(again.topic, p->topic) && span_equal(again.payload, p->payload) &&
           again.id == p->id);
    free(forward);
    free(whole);
    free(pieces);
}

static void check_publish(uint8_t flags, struct span body, uint8_t version)
{
    struct mqtt_publish p;

    if (mqtt_decode_publish(flags, body, version, &p) != MQTT_SUCCESS)
        return;
    assert(p.qos <= 2 && (p.qos > 0) == (p.id != 0) && (p.topic.len > 0 || version == MQTT_V5));
    assert(p.topic.len == 0 || mqtt_topic_name_valid(p.topic));

    const size_t size = 5 + body.len;
    uint8_t *out = malloc(size);
    assert(out != NULL);
    const struct span variable = span_of(body.data, 2 + p.topic.len + (p.qos > 0 ? 2 : 0));
    const size_t written = mqtt_encode_packet(out, size, (uint8_t)(MQTT_PUBLISH << 4 | flags),
                                              version, variable, p.raw_properties, p.payload);
    assert(written <= size && memcmp(out + written - body.len, body.data, body.len) == 0);
    free(out);
    check_delivery(&p, version);
}

static void check_ack(enum mqtt_type type, struct span body, uint8_t version)
{
    struct mqtt_ack ack;
    uint8_t out[8];

    if (mqtt_decode_ack(type, body, version, &ack) != MQTT_SUCCESS)
        return;
    assert(ack.id != 0 && (version == MQTT_V5 || body.len == 2));
    const size_t len = mqtt_encode_ack(out, type, version, ack.id, ack.reason);
    assert(len - 2 <= body.len + 1 && memcmp(out + 2, body.data, len - 2) == 0);
}

static void check_subscribe(enum mqtt_type type, struct span body, uint8_t version)
{
    struct mqtt_subscribe s;
    struct mqtt_subscribe_item item = { .options = 0 };
    unsigned count = 0;
    const enum mqtt_reason reason = type == MQTT_SUBSCRIBE
                                        ? mqtt_decode_subscribe(body, version, &s)
                                        : mqtt_decode_unsubscribe(body, version, &s);

    if (reason != MQTT_SUCCESS)
        return;
    assert(s.items.data + s.items.len == body.data + body.len);
    while (type == MQTT_SUBSCRIBE ? mqtt_next_subscription(&s.items, &item)
                                  : mqtt_next_filter(&s.items, &item.filter)) {
        assert(mqtt_utf8_valid(item.filter) && (item.options & MQTT_SUB_QOS) <= 2);
        count++;
    }
    assert(s.id != 0 && count == s.count && count >= 1 && s.items.len == 0);
}

static void check_body(const struct mqtt_frame *frame, struct span body, uint8_t version)
{
    const enum mqtt_type type = (enum mqtt_type)frame->type;
    struct mqtt_disconnect d;

    switch (type) {
    case MQTT_CONNECT: check_connect(body); break;
    case MQTT_PUBLISH: check_publish(frame->flags, body, version); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: check_ack(type, body, version); break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: check_subscribe(type, body, version); break;
    case MQTT_DISCONNECT:
        if (mqtt_decode_disconnect(body, version, &d) == MQTT_SUCCESS)
            assert(body.len == 0 ? d.reason == MQTT_SUCCESS : (uint8_t)d.reason == body.data[0]);
        break;
    case MQTT_AUTH:
        if (mqtt_decode_auth(body, &d) == MQTT_SUCCESS)
            assert(mqtt_has(&d.props, MQTT_PROP_AUTH_METHOD));
        break;
    case MQTT_CONNACK:
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mqtt_frame frame;

    if (size == 0)
        return 0;
    const uint8_t version = (uint8_t)(MQTT_V31 + data[0] % 3);
    struct span in = span_of(data + 1, size - 1);

    for (enum mqtt_frame_status status;
         (status = mqtt_frame_parse(in, &frame)) >= MQTT_FRAME_HEAD;) {
        if (status == MQTT_FRAME_BAD)
            break;
        assert(frame.header_len >= 2 && frame.header_len <= MQTT_MAX_FIXED_HEADER &&
               frame.header_len <= in.len);
        const size_t left = in.len - frame.header_len;
        assert((left >= frame.body_len) == (status == MQTT_FRAME_WHOLE));
        /* A packet that is cut is decoded all the same: any bytes can be a body. */
        const size_t len = status == MQTT_FRAME_WHOLE ? frame.body_len : left;
        uint8_t *body = copy_of(span_of(in.data + frame.header_len, len));
        check_body(&frame, span_of(body, len), version);
        free(body);
        in = span_of(in.data + frame.header_len + len, left - len);
    }
    return 0;
}
