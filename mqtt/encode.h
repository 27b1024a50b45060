/* SPDX-License-Identifier: MIT */
/*
 * Encoders: structs in, bytes out, for the packets a server sends (and CONNECT, SUBSCRIBE and
 * PUBLISH, which the load generator and the tests send too). A writer never writes beyond its room;
 * it remembers that it would have.
 */
#pragma once

#include "mqtt/packet.h"

/* Appends to a buffer that the caller owns. `len` goes on counting when the room is used up. */
struct mqtt_writer {
    uint8_t *out;
    size_t room, len;
};

static inline bool mqtt_writer_full(const struct mqtt_writer *w)
{
    return w->len > w->room;
}

void mqtt_put_u8(struct mqtt_writer *w, uint8_t value);
void mqtt_put_u16(struct mqtt_writer *w, uint16_t value);
void mqtt_put_u32(struct mqtt_writer *w, uint32_t value);
void mqtt_put_varint(struct mqtt_writer *w, uint32_t value); /* at most MQTT_MAX_REMAINING */
void mqtt_put_bytes(struct mqtt_writer *w, struct span bytes);
/* Two bytes of length, at most 65,535, then the text. */
void mqtt_put_string(struct mqtt_writer *w, struct span text);
/*
 * A property of a number type (the table knows which), or of a string or binary type. With the
 * wrong one of the two, or a text or number that is too large, the writer counts as full.
 */
void mqtt_put_number_property(struct mqtt_writer *w, enum mqtt_property id, uint32_t value);
void mqtt_put_string_property(struct mqtt_writer *w, enum mqtt_property id, struct span value);

size_t mqtt_varint_size(uint32_t value); /* 1 to 4 */

/*
 * PUBACK, PUBREC, PUBREL, PUBCOMP: 4 bytes, or 5 with a reason other than success at version 5.
 * `out` has room for 8. Returns the bytes written.
 */
static inline size_t mqtt_encode_ack(uint8_t *out, enum mqtt_type type, uint8_t version,
                                     uint16_t id, enum mqtt_reason reason)
{
    const bool long_form = version == MQTT_V5 && reason != MQTT_SUCCESS;

    out[0] = (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 2 : 0)); /* [MQTT5-3.6.1-1] */
    out[1] = long_form ? 3 : 2;
    out[2] = (uint8_t)(id >> 8);
    out[3] = (uint8_t)id;
    if (!long_form)
        return 4;
    out[4] = (uint8_t)reason;
    return 5;
}

/*
 * A whole packet from its first byte (type and flags), its variable header, property list (left out
 * when version < 5) and payload. Returns its size; writes it only if it fits the room.
 */
size_t mqtt_encode_packet(uint8_t *out, size_t room, uint8_t first, uint8_t version,
                          struct span variable, struct span properties, struct span payload);

/* What a server needs to say about one delivery. Spans are borrowed for the call. */
struct mqtt_delivery {
    uint8_t version, qos;
    bool dup, retain;
    bool topic_is_known; /* the alias alone is sent, the topic left empty */
    bool has_expiry;
    uint16_t id;     /* 0 when qos is 0 */
    uint16_t alias;  /* 0 none */
    uint32_t expiry; /* seconds left */
    uint16_t sub_id_count;
    const uint32_t *sub_ids;
    struct span topic, forward /* from mqtt_properties_forward() */, payload;
};

/* Size of the whole PUBLISH in bytes; above MQTT_MAX_REMAINING + 5 it cannot be sent. */
size_t mqtt_publish_size(const struct mqtt_delivery *delivery);

/*
 * Writes the bytes of the PUBLISH from `offset` on, at most `room` of them; returns how many.
 * Offset 0 and room ≥ size write it whole. So a packet larger than the room is sent in steps, with
 * no state but the offset.
 */
size_t mqtt_encode_publish(const struct mqtt_delivery *delivery, size_t offset, uint8_t *out,
                           size_t room);
