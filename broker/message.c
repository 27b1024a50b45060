/* SPDX-License-Identifier: MIT */
/*
 * See message.h. Owns nothing but the messages themselves; any thread may make one, and whichever
 * drops the last reference frees it. It never looks inside properties or payload.
 */
#include "broker/message.h"

#include "broker/err.h"
#include "broker/store/store.h"

#include <stdlib.h>

/* What a publication and a will have in common. */
struct source {
    struct span topic, payload, raw_properties;
    const struct mqtt_properties *props;
    uint8_t qos;
    bool retain;
};

static uint64_t expires_at(const struct mqtt_properties *props, uint64_t now)
{
    if (!mqtt_has(props, MQTT_PROP_MESSAGE_EXPIRY))
        return 0;
    uint64_t at = now + (uint64_t)props->message_expiry * 1000;
    return at ? at : 1; /* 0 would mean never */
}

static struct message *make(const struct source *source, uint64_t now)
{
    size_t topic_len = source->topic.len, payload_len = source->payload.len;
    struct message *message = malloc(sizeof *message + topic_len + source->raw_properties.len +
                                     payload_len);
    if (!message)
        return NULL;
    atomic_init(&message->refs, 1);
    message->topic_len = (uint32_t)topic_len;
    message->payload_len = (uint32_t)payload_len;
    message->forward_len = 0;
    message->expires = expires_at(source->props, now);
    message->qos = source->qos;
    message->retain = source->retain;
    message->stored = NULL;
    uint8_t *at = message->bytes;
    if (topic_len)
        memcpy(at, source->topic.data, topic_len);
    at += topic_len;
    if (source->raw_properties.len) {
        message->forward_len = (uint32_t)mqtt_properties_forward(source->raw_properties, at);
        at += message->forward_len;
    }
    if (payload_len)
        memcpy(at, source->payload.data, payload_len);
    return message;
}

struct message *message_new(const struct mqtt_publish *publish, struct span topic, uint64_t now)
{
    return make(&(struct source){ .topic = topic,
                                  .payload = publish->payload,
                                  .raw_properties = publish->raw_properties,
                                  .props = &publish->props,
                                  .qos = publish->qos,
                                  .retain = publish->retain },
                now);
}

struct message *message_from_will(const struct mqtt_will *will)
{
    return make(&(struct source){ .topic = will->topic,
                                  .payload = will->payload,
                                  .raw_properties = will->raw_properties,
                                  .props = &will->props,
                                  .qos = will->qos,
                                  .retain = will->retain },
                0); /* whoever sends it adds the time */
}

struct message *message_from_text(const char *topic, const char *payload, bool retain)
{
    static const struct mqtt_properties none;
    struct message *message = make(&(struct source){ .topic = span_str(topic),
                                                     .payload = span_str(payload),
                                                     .props = &none,
                                                     .retain = retain },
                                   0);
    CHECK(message); /* no peer chose its size */
    return message;
}

struct message *message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void message_unref(struct message *message)
{
    /* acq_rel: what other holders read happens before the memory is given back */
    if (message && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1) {
        stored_free(message->stored);
        free(message);
    }
}
