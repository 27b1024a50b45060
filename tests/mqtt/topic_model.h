/* SPDX-License-Identifier: MIT */
/*
 * UTF-8, topics and matching as the specification words them, level by level and without any haste:
 * what the tests and the fuzz target compare the codec with. Pure.
 */
#pragma once

#include "mqtt/topic.h"

/*
 * The code point at the start of `text` and its length, or 0 when it is not the shortest form of an
 * allowed one.
 */
static inline size_t model_character(struct span text, uint32_t *ret)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t first = text.data[0];
    const size_t len = first < 0x80       ? 1
                       : first >> 5 == 6  ? 2
                       : first >> 4 == 14 ? 3
                       : first >> 3 == 30 ? 4
                                          : 0;

    if (len == 0 || len > text.len)
        return 0;
    uint32_t value = len == 1 ? first : first & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (text.data[i] >> 6 != 2)
            return 0;
        value = value << 6 | (text.data[i] & 0x3F);
    }
    *ret = value;
    if (value == 0 || value < least[len] || value > 0x10FFFF ||
        (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    return len;
}

static inline bool model_utf8_valid(struct span text)
{
    uint32_t value;

    while (text.len > 0) {
        const size_t len = model_character(text, &value);
        if (len == 0)
            return false;
        text = span_of(text.data + len, text.len - len);
    }
    return true;
}

/* Takes the first level off; false when it was the last. */
static inline bool model_level(struct span *text, struct span *ret_level)
{
    const uint8_t *slash = text->len > 0 ? memchr(text->data, '/', text->len) : NULL;

    if (slash == NULL) {
        *ret_level = *text;
        *text = span_of(NULL, 0);
        return false;
    }
    *ret_level = span_of(text->data, (size_t)(slash - text->data));
    *text = span_of(slash + 1, text->len - ret_level->len - 1);
    return true;
}

static inline bool model_holds(struct span text, const char *bytes)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != 0 && strchr(bytes, text.data[i]) != NULL)
            return true;
    return false;
}

static inline bool model_filter_valid(struct span filter)
{
    unsigned levels = 0;
    bool more = true;

    if (filter.len == 0)
        return false;
    while (more) {
        struct span level;
        more = model_level(&filter, &level);
        levels++;
        if (model_holds(level, "+#") && level.len > 1)
            return false;
        if (model_holds(level, "#") && more)
            return false;
    }
    return levels <= MQTT_TOPIC_LEVELS_MAX;
}

static inline bool model_name_valid(struct span topic)
{
    return model_filter_valid(topic) && !model_holds(topic, "+#");
}

static inline bool model_matches_from(struct span filter, bool filter_more, struct span topic,
                                      bool topic_more)
{
    struct span want, have;

    if (!filter_more && !topic_more)
        return true;
    if (!filter_more)
        return false;
    filter_more = model_level(&filter, &want);
    if (span_equal(want, span_str("#")))
        return true; /* the parent level as well */
    if (!topic_more)
        return false;
    topic_more = model_level(&topic, &have);
    if (!span_equal(want, span_str("+")) && !span_equal(want, have))
        return false;
    return model_matches_from(filter, filter_more, topic, topic_more);
}

static inline bool model_matches(struct span filter, struct span topic)
{
    if (topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#'))
        return false;
    return model_matches_from(filter, true, topic, true);
}
