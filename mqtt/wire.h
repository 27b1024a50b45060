/* SPDX-License-Identifier: MIT */
/*
 * What the files of this folder share among themselves: the data types of MQTT 5.0, section 1.5,
 * taken off the front of a span, and the wire type of a property. Nothing outside mqtt/ includes
 * it.
 *
 * A take_*() shortens `in` by what it read and returns true, or returns false when the bytes are
 * not there or are not what the type allows (then `in` and the results are undefined). Its caller
 * turns false into MQTT_MALFORMED_PACKET.
 */
#pragma once

#include "mqtt/property.h"
#include "mqtt/topic.h"

enum wire_type {
    WIRE_NONE,
    WIRE_U8,
    WIRE_U16,
    WIRE_U32,
    WIRE_VARINT,
    WIRE_STRING,
    WIRE_BINARY,
    WIRE_PAIR
};

/* WIRE_NONE for an identifier that the specification lacks. */
enum wire_type wire_type_of(unsigned property);

/*
 * UTF-8 and topic name in one pass: MQTT_MALFORMED_PACKET for bad UTF-8, MQTT_TOPIC_NAME_INVALID
 * for what mqtt_topic_name_valid() refuses.
 */
enum mqtt_reason wire_topic_check(struct span topic);

enum { WIRE_SHARE_PREFIX = sizeof "$share/" - 1 };

static inline bool wire_is_share(struct span filter)
{
    return filter.len >= WIRE_SHARE_PREFIX &&
           memcmp(filter.data, "$share/", WIRE_SHARE_PREFIX) == 0;
}

/* All eight bytes of a word are plain ASCII and none is NUL. */
static inline bool wire_plain_word(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    return ((word | (word - ones)) & highs) == 0;
}

static inline uint64_t wire_load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint16_t wire_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void wire_skip(struct span *in, size_t len)
{
    in->data += len;
    in->len -= len;
}

static inline bool take_u8(struct span *in, uint8_t *ret)
{
    if (in->len < 1)
        return false;
    *ret = in->data[0];
    wire_skip(in, 1);
    return true;
}

static inline bool take_u16(struct span *in, uint16_t *ret)
{
    if (in->len < 2)
        return false;
    *ret = wire_u16(in->data);
    wire_skip(in, 2);
    return true;
}

static inline bool take_u32(struct span *in, uint32_t *ret)
{
    if (in->len < 4)
        return false;
    *ret = (uint32_t)wire_u16(in->data) << 16 | wire_u16(in->data + 2);
    wire_skip(in, 4);
    return true;
}

/* At most four bytes, and no more than the value needs [MQTT5-1.5.5-1]. */
static inline bool take_varint(struct span *in, uint32_t *ret)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4 && i < in->len; i++) {
        const uint8_t byte = in->data[i];
        value |= (uint32_t)(byte & 0x7F) << (7 * i);
        if (byte & 0x80)
            continue;
        *ret = value;
        wire_skip(in, i + 1);
        return i == 0 || byte != 0;
    }
    return false;
}

static inline bool take_bytes(struct span *in, size_t len, struct span *ret)
{
    if (in->len < len)
        return false;
    *ret = span_of(in->data, len);
    wire_skip(in, len);
    return true;
}

/* Binary data: two bytes of length, then the bytes. */
static inline bool take_binary(struct span *in, struct span *ret)
{
    uint16_t len;
    return take_u16(in, &len) && take_bytes(in, len, ret);
}

static inline bool take_string(struct span *in, struct span *ret)
{
    return take_binary(in, ret) && mqtt_utf8_valid(*ret);
}
