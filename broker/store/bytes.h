/* SPDX-License-Identifier: MIT */
/*
 * Numbers as the store writes them: most significant byte first, so that keys sort as their numbers
 * do. A take_*() shortens `in` and returns true, or returns false when the bytes are not there; a
 * put_*() returns the byte behind what it wrote. Pure, any thread; for broker/store/ alone.
 */
#pragma once

#include "mqtt/span.h"

static inline uint8_t *put_u8(uint8_t *at, uint8_t value)
{
    *at = value;
    return at + 1;
}

static inline uint8_t *put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static inline uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    return put_u16(put_u16(at, (uint16_t)(value >> 16)), (uint16_t)value);
}

static inline uint8_t *put_u64(uint8_t *at, uint64_t value)
{
    return put_u32(put_u32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

static inline uint8_t *put_span(uint8_t *at, struct span bytes)
{
    if (bytes.len)
        memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static inline bool take_span(struct span *in, size_t len, struct span *ret)
{
    if (in->len < len)
        return false;
    *ret = span_of(in->data, len);
    in->data = len ? in->data + len : in->data; /* no arithmetic on a NULL of an empty span */
    in->len -= len;
    return true;
}

static inline bool take_number(struct span *in, size_t len, uint64_t *ret)
{
    struct span bytes;
    if (!take_span(in, len, &bytes))
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | bytes.data[i];
    *ret = value;
    return true;
}

static inline bool take_u8(struct span *in, uint8_t *ret)
{
    uint64_t value;
    if (!take_number(in, 1, &value))
        return false;
    *ret = (uint8_t)value;
    return true;
}

static inline bool take_u16(struct span *in, uint16_t *ret)
{
    uint64_t value;
    if (!take_number(in, 2, &value))
        return false;
    *ret = (uint16_t)value;
    return true;
}

static inline bool take_u32(struct span *in, uint32_t *ret)
{
    uint64_t value;
    if (!take_number(in, 4, &value))
        return false;
    *ret = (uint32_t)value;
    return true;
}

static inline bool take_u64(struct span *in, uint64_t *ret)
{
    return take_number(in, 8, ret);
}
