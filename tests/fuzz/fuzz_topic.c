/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes UTF-8, topic names, topic filters and matching: must agree with the slow model of the
 * tests. Input: a filter, a NUL, a topic name. One thread, no state.
 */
#include <assert.h>
#include <stdlib.h>

#include "mqtt/packet.h"
#include "tests/mqtt/topic_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct span text)
{
    assert(mqtt_utf8_valid(text) == model_utf8_valid(text));
    if (text.len > 65535 || !model_utf8_valid(text))
        return;
    assert(mqtt_topic_name_valid(text) == model_name_valid(text));

    struct span name, filter;
    const bool shared = mqtt_share_split(text, &name, &filter);
    if (shared) {
        assert(mqtt_topic_filter_valid(text) ==
               (name.len > 0 && !model_holds(name, "+#") && model_filter_valid(filter)));
        assert(filter.data + filter.len == text.data + text.len);
    } else if (text.len < 7 || memcmp(text.data, "$share/", 7) != 0) {
        assert(mqtt_topic_filter_valid(text) == model_filter_valid(text));
    } else {
        assert(!mqtt_topic_filter_valid(text));
    }
}

/* The quick way through a PUBLISH's topic must say what the plain checks say. */
static void check_publish(struct span topic)
{
    static uint8_t body[2 + 4096];
    struct mqtt_publish publish;
    const size_t len = topic.len < 4096 ? topic.len : 4096;

    topic.len = len;
    body[0] = (uint8_t)(len >> 8);
    body[1] = (uint8_t)len;
    if (len > 0)
        memcpy(body + 2, topic.data, len);
    const enum mqtt_reason want = !model_utf8_valid(topic)   ? MQTT_MALFORMED_PACKET
                                  : !model_name_valid(topic) ? MQTT_TOPIC_NAME_INVALID
                                                             : MQTT_SUCCESS;
    assert(mqtt_decode_publish(0, span_of(body, 2 + len), MQTT_V311, &publish) == want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    const struct span filter = span_of(data, nul != NULL ? (size_t)(nul - data) : size);
    const struct span topic = nul != NULL ? span_of(nul + 1, size - filter.len - 1) : filter;

    check_text(filter);
    check_text(topic);
    check_text(span_of(data, size));
    check_publish(topic);
    if (!model_utf8_valid(filter) || !model_utf8_valid(topic))
        return 0;
    if (!model_filter_valid(filter) || !model_name_valid(topic) || filter.len > 65535 ||
        topic.len > 65535)
        return 0;
    assert(mqtt_filter_matches(filter, topic) == model_matches(filter, topic));
    if (model_name_valid(filter)) {
        assert(mqtt_filter_matches(filter, topic) == span_equal(filter, topic));
        assert(mqtt_filter_matches(topic, filter) == mqtt_filter_matches(filter, topic));
    }
    assert(mqtt_filter_has_wildcard(filter) == !model_name_valid(filter));
    return 0;
}
