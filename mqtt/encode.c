/* SPDX-License-Identifier: MIT */
/*
 * Encoders. Pure, any thread; they write only into the room they are given and trust their
 * arguments, which are ours and not a peer's. mqtt_encode_publish() runs once per delivery: the
 * whole-packet case is a few stores and three copies.
 * A PUBLISH is:
 *
 *   head          type and flags, remaining length, length of the topic
 *   topic
 *   middle        packet identifier, length of the properties, message expiry, topic alias
 *   subscription identifiers
 *   forward       the publisher's properties
 *   payload
 */
#include "mqtt/encode.h"
#include "mqtt/wire.h"

enum { HEAD_MAX = 7, MIDDLE_MAX = 14 };

/* ---- raw stores: each returns where the next one goes ---- */

static inline uint8_t *store_u8(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)value;
    return to + 1;
}

static inline uint8_t *store_u16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return to + 2;
}

static inline uint8_t *store_u32(uint8_t *to, uint32_t value)
{
    return store_u16(store_u16(to, value >> 16), value & 0xFFFF);
}

static inline uint8_t *store_varint(uint8_t *to, uint32_t value)
{
    while (value > 0x7F) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    return store_u8(to, value);
}

static inline uint8_t *store_bytes(uint8_t *to, struct span bytes)
{
    if (bytes.len > 0) /* memcpy() must not see NULL */
        memcpy(to, bytes.data, bytes.len);
    return to + bytes.len;
}

static inline size_t varint_size(size_t value)
{
    return value <= 0x7F ? 1 : value <= 0x3FFF ? 2 : value <= 0x1FFFFF ? 3 : 4;
}

size_t mqtt_varint_size(uint32_t value)
{
    return varint_size(value);
}

/* ---- the writer ---- */

/* Room for `len` bytes more, or NULL; counts them in any case. */
static uint8_t *extend(struct mqtt_writer *w, size_t len)
{
    const size_t at = w->len;

    w->len += len;
    return w->len <= w->room ? w->out + at : NULL;
}

/*
 * A caller asked for what cannot be encoded: the writer says full, so that the packet is not sent.
 */
static void spoil(struct mqtt_writer *w)
{
    if (!mqtt_writer_full(w))
        w->len = w->room + 1;
}

void mqtt_put_u8(struct mqtt_writer *w, uint8_t value)
{
    uint8_t *to = extend(w, 1);
    if (to != NULL)
        store_u8(to, value);
}

void mqtt_put_u16(struct mqtt_writer *w, uint16_t value)
{
    uint8_t *to = extend(w, 2);
    if (to != NULL)
        store_u16(to, value);
}

void mqtt_put_u32(struct mqtt_writer *w, uint32_t value)
{
    uint8_t *to = extend(w, 4);
    if (to != NULL)
        store_u32(to, value);
}

void mqtt_put_varint(struct mqtt_writer *w, uint32_t value)
{
    if (value > MQTT_MAX_REMAINING) {
        spoil(w);
        return;
    }
    uint8_t *to = extend(w, varint_size(value));
    if (to != NULL)
        store_varint(to, value);
}

void mqtt_put_bytes(struct mqtt_writer *w, struct span bytes)
{
    uint8_t *to = extend(w, bytes.len);
    if (to != NULL)
        store_bytes(to, bytes);
}

void mqtt_put_string(struct mqtt_writer *w, struct span text)
{
    if (text.len > UINT16_MAX) {
        spoil(w);
        return;
    }
    mqtt_put_u16(w, (uint16_t)text.len);
    mqtt_put_bytes(w, text);
}

void mqtt_put_number_property(struct mqtt_writer *w, enum mqtt_property id, uint32_t value)
{
    mqtt_put_u8(w, (uint8_t)id);
    switch (wire_type_of(id)) {
    case WIRE_U8: mqtt_put_u8(w, (uint8_t)value); break;
    case WIRE_U16: mqtt_put_u16(w, (uint16_t)value); break;
    case WIRE_U32: mqtt_put_u32(w, value); break;
    case WIRE_VARINT: mqtt_put_varint(w, value); break;
    case WIRE_STRING:
    case WIRE_BINARY:
    case WIRE_PAIR:
    case WIRE_NONE: spoil(w); break;
    }
}

void mqtt_put_string_property(struct mqtt_writer *w, enum mqtt_property id, struct span value)
{
    const enum wire_type type = wire_type_of(id);

    mqtt_put_u8(w, (uint8_t)id);
    if (type == WIRE_STRING || type == WIRE_BINARY)
        mqtt_put_string(w, value);
    else
        spoil(w);
}

/* ---- whole packets ---- */

size_t mqtt_encode_packet(uint8_t *out, size_t room, uint8_t first, uint8_t version,
                          struct span variable, struct span properties, struct span payload)
{
    const unsigned type = first >> 4;
    const bool has_list = version == MQTT_V5 && type != MQTT_PINGREQ && type != MQTT_PINGRESP;
    const size_t list_len = has_list ? varint_size(properties.len) + properties.len : 0;
    const size_t body_len = variable.len + list_len + payload.len;
    const size_t size = 1 + varint_size(body_len) + body_len;

    if (body_len > MQTT_MAX_REMAINING || size > room)
        return size;
    out = store_varint(store_u8(out, first), (uint32_t)body_len);
    out = store_bytes(out, variable);
    if (has_list)
        out = store_bytes(store_varint(out, (uint32_t)properties.len), properties);
    store_bytes(out, payload);
    return size;
}

/* ---- PUBLISH ---- */

/* The lengths that stand in a PUBLISH. */
struct lengths {
    size_t topic, properties, body, size;
};

static inline struct lengths measure(const struct mqtt_delivery *d)
{
    struct lengths len = { .topic = d->topic_is_known ? 0 : d->topic.len };

    len.body = 2 + len.topic + (d->qos > 0 ? 2 : 0) + d->payload.len;
    if (d->version == MQTT_V5) {
        len.properties = d->forward.len + (d->has_expiry ? 5 : 0) + (d->alias != 0 ? 3 : 0);
        for (unsigned i = 0; i < d->sub_id_count; i++)
            len.properties += 1 + varint_size(d->sub_ids[i]);
        len.body += varint_size(len.properties) + len.properties;
    }
    len.size = 1 + varint_size(len.body) + len.body;
    return len;
}

size_t mqtt_publish_size(const struct mqtt_delivery *delivery)
{
    return measure(delivery).size;
}

static inline uint8_t *store_head(uint8_t *to, const struct mqtt_delivery *d,
                                  const struct lengths *len)
{
    to = store_u8(to, (unsigned)MQTT_PUBLISH << 4 | (unsigned)d->dup << 3 | (unsigned)d->qos << 1 |
                          d->retain);
    to = store_varint(to, (uint32_t)len->body);
    return store_u16(to, (unsigned)len->topic);
}

static inline uint8_t *store_middle(uint8_t *to, const struct mqtt_delivery *d,
                                    const struct lengths *len)
{
    if (d->qos > 0)
        to = store_u16(to, d->id);
    if (d->version != MQTT_V5)
        return to;
    to = store_varint(to, (uint32_t)len->properties);
    if (d->has_expiry)
        to = store_u32(store_u8(to, MQTT_PROP_MESSAGE_EXPIRY), d->expiry);
    if (d->alias != 0)
        to = store_u16(store_u8(to, MQTT_PROP_TOPIC_ALIAS), d->alias);
    return to;
}

static inline uint8_t *store_sub_id(uint8_t *to, uint32_t sub_id)
{
    return store_varint(store_u8(to, MQTT_PROP_SUBSCRIPTION_ID), sub_id);
}

static void store_whole(uint8_t *to, const struct mqtt_delivery *d, const struct lengths *len)
{
    to = store_head(to, d, len);
    to = store_bytes(to, span_of(d->topic.data, len->topic));
    to = store_middle(to, d, len);
    if (d->version == MQTT_V5) {
        for (unsigned i = 0; i < d->sub_id_count; i++)
            to = store_sub_id(to, d->sub_ids[i]);
        to = store_bytes(to, d->forward);
    }
    store_bytes(to, d->payload);
}

/* The stretch of the packet that the caller has asked for. */
struct window {
    uint8_t *out;
    size_t skip, room, written;
};

static void show(struct window *window, const uint8_t *data, size_t len)
{
    if (window->skip >= len) {
        window->skip -= len;
        return;
    }
    data += window->skip;
    len -= window->skip;
    window->skip = 0;
    if (len > window->room - window->written)
        len = window->room - window->written;
    store_bytes(window->out + window->written, span_of(data, len));
    window->written += len;
}

static size_t store_window(struct window window, const struct mqtt_delivery *d,
                           const struct lengths *len)
{
    uint8_t piece[HEAD_MAX > MIDDLE_MAX ? HEAD_MAX : MIDDLE_MAX];

    show(&window, piece, (size_t)(store_head(piece, d, len) - piece));
    show(&window, d->topic.data, len->topic);
    show(&window, piece, (size_t)(store_middle(piece, d, len) - piece));
    if (d->version == MQTT_V5) {
        for (unsigned i = 0; i < d->sub_id_count; i++)
            show(&window, piece, (size_t)(store_sub_id(piece, d->sub_ids[i]) - piece));
        show(&window, d->forward.data, d->forward.len);
    }
    show(&window, d->payload.data, d->payload.len);
    return window.written;
}

size_t mqtt_encode_publish(const struct mqtt_delivery *delivery, size_t offset, uint8_t *out,
                           size_t room)
{
    const struct lengths len = measure(delivery);

    if (offset == 0 && len.size <= room) {
        store_whole(out, delivery, &len);
        return len.size;
    }
    if (len.body > MQTT_MAX_REMAINING)
        return 0;
    return store_window((struct window){ .out = out, .skip = offset, .room = room }, delivery,
                        &len);
}
