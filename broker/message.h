/* SPDX-License-Identifier: MIT */
/*
 * A message: what was published, made once, immutable, counted, one allocation. Every queue that
 * holds it has a reference.
 *
 *     struct message | topic | forwarded properties | payload
 */
#pragma once

#include "mqtt/packet.h"

#include <stdatomic.h>

struct stored;

struct message {
    atomic_uint refs;     /* (a) */
    uint32_t topic_len;   /* (i) bytes, as the two below */
    uint32_t forward_len; /* (i) */
    uint32_t payload_len; /* (i) */
    uint64_t expires;     /* (i) milliseconds since 1970, 0 never */
    uint8_t qos;          /* (i) as published */
    bool retain;          /* (i) as published */
    struct stored
        *stored;     /* (i) once it is offered: who must get it (store/store.h); owned, NULL */
    uint8_t bytes[]; /* (i) */
};

/* A copy of a checked PUBLISH whose topic is known (`topic`, as an alias leaves the packet's
 * empty), with one reference. NULL: no memory. */
struct message *message_new(const struct mqtt_publish *publish, struct span topic, uint64_t now);
/* The same from a will, whose `expires` is a duration until it is sent (nobody else sees it
 * before); from plain text, for what the broker says itself. */
struct message *message_from_will(const struct mqtt_will *will);
struct message *message_from_text(const char *topic, const char *payload, bool retain);

struct message *message_ref(struct message *message); /* returns its argument */
void message_unref(struct message *message);          /* the last one frees; NULL is fine */

static inline struct span message_topic(const struct message *message)
{
    return span_of(message->bytes, message->topic_len);
}

static inline struct span message_forward(const struct message *message)
{
    return span_of(message->bytes + message->topic_len, message->forward_len);
}

static inline struct span message_payload(const struct message *message)
{
    return span_of(message->bytes + message->topic_len + message->forward_len,
                   message->payload_len);
}

/* Bytes that it counts in a queue: topic, properties and payload. */
static inline uint32_t message_size(const struct message *message)
{
    return message->topic_len + message->forward_len + message->payload_len;
}

static inline bool message_expired(const struct message *message, uint64_t now)
{
    return message->expires && message->expires <= now;
}
