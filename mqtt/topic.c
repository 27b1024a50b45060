/* SPDX-License-Identifier: MIT */
/*
 * Topic names and topic filters as text: what is valid, and one filter against one name. Pure, any
 * thread, no allocation. The matcher that a publish goes through is the topic tree; the one here is
 * for the odd single filter, and the yardstick that the tree is tested against.
 */
#include "mqtt/wire.h"

enum { TOPIC_MAX = 65535 };

/* '#' is 0x23 and '+' is 0x2B: bit 3 set, they are the same byte. */
static inline bool is_wildcard(uint8_t byte)
{
    return (byte | 0x08) == '+';
}

/* Eight bytes of ASCII with no NUL and no wildcard. */
static inline bool name_word(uint64_t word)
{
    const uint64_t pluses = 0x2B2B2B2B2B2B2B2B, bit3 = 0x0808080808080808;
    return wire_plain_word(word) && wire_plain_word((word | bit3) ^ pluses);
}

/*
 * Nearly every topic name there is: short ASCII. False means only that the slower way has to look.
 */
static bool is_plain_name(struct span topic)
{
    if (topic.len == 0 || topic.len >= MQTT_TOPIC_LEVELS_MAX) /* too short for too many levels */
        return false;
    if (topic.len < 8) {
        for (size_t i = 0; i < topic.len; i++)
            if (topic.data[i] == 0 || topic.data[i] >= 0x80 || is_wildcard(topic.data[i]))
                return false;
        return true;
    }
    for (size_t i = 0; i + 8 < topic.len; i += 8)
        if (!name_word(wire_load_word(topic.data + i)))
            return false;
    return name_word(wire_load_word(topic.data + topic.len - 8));
}

enum mqtt_reason wire_topic_check(struct span topic)
{
    if (is_plain_name(topic))
        return MQTT_SUCCESS;
    if (!mqtt_utf8_valid(topic))
        return MQTT_MALFORMED_PACKET;
    return mqtt_topic_name_valid(topic) ? MQTT_SUCCESS : MQTT_TOPIC_NAME_INVALID;
}

bool mqtt_topic_name_valid(struct span topic)
{
    unsigned levels = 1;

    if (topic.len == 0 || topic.len > TOPIC_MAX) /* [MQTT5-4.7.3-1], [MQTT5-4.7.3-3] */
        return false;
    for (size_t i = 0; i < topic.len; i++) {
        if (is_wildcard(topic.data[i])) /* [MQTT5-3.3.2-2] */
            return false;
        levels += topic.data[i] == '/';
    }
    return levels <= MQTT_TOPIC_LEVELS_MAX;
}

/* A filter without a $share prefix. */
static bool plain_filter_valid(struct span filter)
{
    unsigned levels = 1;

    if (filter.len == 0)
        return false;
    for (size_t i = 0; i < filter.len; i++) {
        const uint8_t byte = filter.data[i];
        levels += byte == '/';
        if (!is_wildcard(byte))
            continue;
        if (i > 0 && filter.data[i - 1] != '/') /* [MQTT5-4.7.1-1], [MQTT5-4.7.1-2] */
            return false;
        const bool last = i + 1 == filter.len;
        if (byte == '#' ? !last : !last && filter.data[i + 1] != '/')
            return false;
    }
    return levels <= MQTT_TOPIC_LEVELS_MAX;
}

bool mqtt_topic_filter_valid(struct span filter)
{
    struct span name, rest;

    if (filter.len > TOPIC_MAX)
        return false;
    if (!wire_is_share(filter))
        return plain_filter_valid(filter);
    /* [MQTT5-4.8.2-1], [MQTT5-4.8.2-2] */
    return mqtt_share_split(filter, &name, &rest) && name.len > 0 &&
           !mqtt_filter_has_wildcard(name) && plain_filter_valid(rest);
}

bool mqtt_share_split(struct span filter, struct span *ret_name, struct span *ret_filter)
{
    if (!wire_is_share(filter))
        return false;

    const uint8_t *name = filter.data + WIRE_SHARE_PREFIX;
    const size_t len = filter.len - WIRE_SHARE_PREFIX;
    const uint8_t *slash = len > 0 ? memchr(name, '/', len) : NULL;
    if (slash == NULL)
        return false;
    const size_t name_len = (size_t)(slash - name);
    *ret_name = span_of(name, name_len);
    *ret_filter = span_of(slash + 1, len - name_len - 1);
    return true;
}

bool mqtt_filter_has_wildcard(struct span filter)
{
    for (size_t i = 0; i < filter.len; i++)
        if (is_wildcard(filter.data[i]))
            return true;
    return false;
}

bool mqtt_filter_matches(struct span filter, struct span topic)
{
    const uint8_t *f = filter.data, *const f_end = f + filter.len;
    const uint8_t *t = topic.data, *const t_end = t + topic.len;

    if (filter.len == 0 || topic.len == 0)
        return false;
    if (*t == '$' && is_wildcard(*f)) /* [MQTT5-4.7.2-1] */
        return false;
    for (;;) { /* once per level; both stand at its start */
        if (f < f_end && *f == '#')
            return true;
        if (f < f_end && *f == '+') {
            f++;
            while (t < t_end && *t != '/')
                t++;
        } else {
            while (f < f_end && t < t_end && *f != '/' && *f == *t)
                f++, t++;
        }
        if (t == t_end) /* "a/#" matches "a" as well */
            return f == f_end || (f_end - f == 2 && f[0] == '/' && f[1] == '#');
        if (f == f_end || *f != '/' || *t != '/')
            return false;
        f++, t++;
    }
}
