/* SPDX-License-Identifier: MIT */
/*
 * See message.h. Owns nothing but the messages themselves; any thread may make one, and whichever
 * drops the last reference frees it. It never looks inside properties or payload.
 */
#include "broker/message.h"

#include "broker/alloc.h"
#include "broker/auth/author.h"
#include "broker/err.h"
#include "broker/slab.h"
#include "broker/store/store.h"

/* Made less freed (modulo 2^64): of all threads, and of this one since its last message_flush(). */
static _Atomic uint64_t all_messages, all_bytes;
static _Thread_local struct {
    uint64_t messages, bytes;
} own;

static void count(const struct message *message, uint64_t n)
{
    own.messages += n;
    own.bytes += n * message->payload_len;
}

static uint64_t expires_at(const struct mqtt_properties *props, uint64_t now)
{
    if (!mqtt_has(props, MQTT_PROP_MESSAGE_EXPIRY))
        return 0;
    uint64_t at = now + (uint64_t)props->message_expiry * 1000;
    return at ? at : 1; /* 0 would mean never */
}

/* The frame's first bytes, up to the topic. */
static size_t put_head(uint8_t *out, uint8_t qos, size_t body_len, size_t topic_len)
{
    uint8_t *at = out;
    *at++ = (uint8_t)(MQTT_PUBLISH << 4 | qos << 1);
    for (; body_len > 0x7F; body_len >>= 7)
        *at++ = (uint8_t)(body_len | 0x80);
    *at++ = (uint8_t)body_len;
    *at++ = (uint8_t)(topic_len >> 8);
    *at++ = (uint8_t)topic_len;
    return (size_t)(at - out);
}

/* Topic, identifier and payload: mostly as they lie in the packet that they came in. */
static inline void put_body(uint8_t *at, const struct message_parts *parts)
{
    const uint8_t *topic = parts->topic.data;
    size_t topic_len = parts->topic.len, id_len = parts->qos ? 2 : 0;
    if (topic && topic + topic_len + id_len == parts->payload.data) {
        memcpy(at, topic, topic_len + id_len + parts->payload.len);
        return;
    }
    if (topic)
        memcpy(at, topic, topic_len);
    if (id_len)
        at[topic_len] = at[topic_len + 1] = 0;
    if (parts->payload.len)
        memcpy(at + topic_len + id_len, parts->payload.data, parts->payload.len);
}

/* `forward_max`: room for the properties, which the caller writes. NULL: no memory. Always inline, as
 * what is built on it: the parts stay in registers, 30 instructions a message less. */
__attribute__((always_inline)) static inline struct message *make(const struct message_parts *parts,
                                                                  size_t forward_max)
{
    size_t topic_len = parts->topic.len, payload_len = parts->payload.len;
    size_t id_len = parts->qos ? 2 : 0, body_len = 2 + topic_len + id_len + payload_len;
    size_t size = sizeof(struct message) + MQTT_MAX_FIXED_HEADER + body_len + forward_max;
    if (body_len > MQTT_MAX_REMAINING)
        return NULL; /* with the topic that an alias stood for it is more than a packet can be */
    struct message *message = slab_alloc(size);
    if (!message)
        return NULL;
    atomic_init(&message->refs, 1);
    message->topic_len = (uint32_t)topic_len;
    message->payload_len = (uint32_t)payload_len;
    message->forward_len = 0;
    message->size = (uint32_t)size;
    message->expires = parts->expires;
    message->qos = parts->qos;
    message->retain = parts->retain;
    message->waits = false;
    message->stored = NULL;
    message->author = NULL;
    message->head_len = (uint8_t)put_head(message->bytes, parts->qos, body_len, topic_len);
    put_body(message->bytes + message->head_len, parts);
    count(message, 1);
    return message;
}

static uint8_t *forward_at(struct message *message)
{
    return message->bytes + message_frame(message).len;
}

struct message *message_from_parts(const struct message_parts *parts)
{
    struct message *message = make(parts, parts->forward.len);
    if (!message)
        return NULL;
    message->forward_len = (uint32_t)parts->forward.len;
    if (parts->forward.len)
        memcpy(forward_at(message), parts->forward.data, parts->forward.len);
    return message;
}

/* The same with properties as they came. */
__attribute__((always_inline)) static inline struct message *from_packet(
    const struct message_parts *parts, struct span properties)
{
    struct message *message = make(parts, properties.len);
    if (message && properties.len)
        message->forward_len = (uint32_t)mqtt_properties_forward(properties, forward_at(message));
    return message;
}

struct message *message_new(const struct mqtt_publish *publish, struct span topic, uint64_t now)
{
    return from_packet(&(struct message_parts){ .topic = topic,
                                                .payload = publish->payload,
                                                .expires = expires_at(&publish->props, now),
                                                .qos = publish->qos,
                                                .retain = publish->retain },
                       publish->raw_properties);
}

struct message *message_from_will(const struct mqtt_will *will)
{
    struct message *message = from_packet(
        &(struct message_parts){
            .topic = will->topic,
            .payload = will->payload,
            .expires = expires_at(&will->props, 0), /* its sender adds the time */
            .qos = will->qos,
            .retain = will->retain },
        will->raw_properties);
    if (message) {
        message->waits = true;
        count(message, UINT64_MAX);
    }
    return message;
}

void message_will_is_sent(struct message *will)
{
    will->waits = false;
    count(will, 1);
}

struct message *message_from_text(const char *topic, const char *payload, bool retain)
{
    return must_have(message_from_parts(&(struct message_parts){
        .topic = span_str(topic), .payload = span_str(payload), .retain = retain }));
}

struct message *message_copy(const struct message *message)
{
    return message_from_parts(&(struct message_parts){ .topic = message_topic(message),
                                                       .payload = message_payload(message),
                                                       .forward = message_forward(message),
                                                       .expires = message->expires,
                                                       .qos = message->qos,
                                                       .retain = message->retain });
}

struct message *message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void message_free(struct message *message)
{
    if (!message->waits && !(message->stored && message->stored->on_disk))
        count(message, UINT64_MAX);
    if (message->stored)
        stored_free(message->stored);
    if (message->author)
        author_unref(message->author);
    slab_free(message, message->size);
}

/* ---- how many there are ---- */

void message_on_disk(struct message *message, bool on_disk)
{
    if (message->stored->on_disk != on_disk)
        count(message, on_disk ? UINT64_MAX : 1);
    message->stored->on_disk = on_disk;
}

void message_flush(void)
{
    slab_flush();
    if (!own.messages && !own.bytes)
        return;
    atomic_fetch_add_explicit(&all_messages, own.messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&all_bytes, own.bytes, memory_order_relaxed);
    own.messages = own.bytes = 0;
}

uint64_t message_count(void)
{
    return atomic_load_explicit(&all_messages, memory_order_relaxed) + own.messages;
}

uint64_t message_payload_bytes(void)
{
    return atomic_load_explicit(&all_bytes, memory_order_relaxed) + own.bytes;
}
