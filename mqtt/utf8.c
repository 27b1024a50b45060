/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 as MQTT wants it, checked before anything else looks at a string that a peer sent. Pure,
 * any thread; it does not refuse control characters and non-characters, which the specification
 * only advises against.
 */
#include "mqtt/wire.h"

/*
 * Length of the well-formed character of two or more bytes at `at`, 0 if it is none (Unicode 15,
 * table 3-7). The range of the second byte is what keeps out overlong forms, surrogates and code
 * points above U+10FFFF.
 */
static size_t multibyte_len(const uint8_t *at, size_t room)
{
    const uint8_t first = at[0];
    uint8_t low = 0x80, high = 0xBF;
    size_t len;

    if (first >= 0xC2 && first <= 0xDF) {
        len = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        len = 3;
        if (first == 0xE0)
            low = 0xA0;
        if (first == 0xED)
            high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
        len = 4;
        if (first == 0xF0)
            low = 0x90;
        if (first == 0xF4)
            high = 0x8F;
    } else {
        return 0;
    }
    if (room < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool mqtt_utf8_valid(struct span text) /* [MQTT5-1.5.4-1], [MQTT5-1.5.4-2] */
{
    const uint8_t *at = text.data;
    size_t left = text.len;

    while (left > 0) {
        size_t len = 1;
        if (left >= 8 && wire_plain_word(wire_load_word(at)))
            len = 8;
        else if (at[0] >= 0x80)
            len = multibyte_len(at, left);
        else if (at[0] == 0)
            return false;
        if (len == 0)
            return false;
        at += len;
        left -= len;
    }
    return true;
}
