/* SPDX-License-Identifier: MIT */
/*
 * A message: what was published, made once, immutable, counted, one allocation. Every queue that
 * holds it has a reference. It keeps the PUBLISH as a version 3 client gets it at the message's own
 * QoS, so that such a delivery is one copy and a patched identifier:
 *
 *     struct message | frame: header, topic, identifier if QoS > 0, payload | forwarded properties
 */
#pragma once

#include "mqtt/packet.h"

#include <stdatomic.h>

struct author;
struct stored;

struct message {
    atomic_uint refs;     /* (a) */
    uint32_t topic_len;   /* (i) bytes, as the two below */
    uint32_t forward_len; /* (i) */
    uint32_t payload_len; /* (i) */
    uint64_t expires;     /* (i) milliseconds since 1970, 0 never */
    uint32_t size;        /* (i) of the allocation */
    uint8_t head_len;     /* (i) of the frame, up to its topic */
    uint8_t qos;          /* (i) as published */
    bool retain;          /* (i) as published */
    bool waits;           /* a will that is not sent: not in message_count(); whoever holds it */
    struct stored
        *stored; /* (i) once it is offered: who must get it (store/store.h); owned, NULL */
    struct author *author; /* (i) once it is retained: who has published it; owned, NULL */
    uint8_t bytes[];       /* (i) */
};

/* What a message is made of. */
struct message_parts {
    struct span topic, payload;
    struct span forward; /* from mqtt_properties_forward() */
    uint64_t expires;
    uint8_t qos;
    bool retain;
};

/* Each with one reference; NULL: no memory. */
struct message *message_from_parts(const struct message_parts *parts);
/* A copy of a checked PUBLISH whose topic is known (`topic`, as an alias leaves the packet's
 * empty). */
struct message *message_new(const struct mqtt_publish *publish, struct span topic, uint64_t now);
/* The same from a will, whose `expires` is a duration until it is sent (nobody else sees it
 * before); from plain text, for what the broker says itself: never NULL. */
struct message *message_from_will(const struct mqtt_will *will);
struct message *message_from_text(const char *topic, const char *payload, bool retain);

/* The will is sent: from now on it counts as a message. */
void message_will_is_sent(struct message *will);

/* Another one of the same bytes, which nobody else has seen, with one reference. NULL: no memory. */
struct message *message_copy(const struct message *message);

struct message *message_ref(struct message *message); /* returns its argument */
static inline void message_ref_many(struct message *message, uint32_t count)
{
    if (count > 0)
        atomic_fetch_add_explicit(&message->refs, count, memory_order_relaxed);
}

void message_free(struct message *message); /* the end of message_unref() */
/* The last one frees; NULL is fine. */
static inline void message_unref(struct message *message)
{
    /* Alone, nobody else can take a reference. Both orders: what other holders have read happens
     * before the memory is given back. */
    if (message && (atomic_load_explicit(&message->refs, memory_order_acquire) == 1 ||
                    atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1))
        message_free(message);
}

/* How many messages there are in memory alone, retained, queued or in flight, each once however many
 * hold it, and the bytes of their payload. Any thread; what another thread has made or freed since its last
 * message_flush() is not in it yet. */
uint64_t message_count(void);
uint64_t message_payload_bytes(void);
/* (store) From now on the store counts it (struct store_stats), or no longer. */
void message_on_disk(struct message *message, bool on_disk);
/* At the end of a turn of any thread that makes or frees messages. */
void message_flush(void);

static inline struct span message_topic(const struct message *message)
{
    return span_of(message->bytes + message->head_len, message->topic_len);
}

static inline struct span message_payload(const struct message *message)
{
    size_t before = (size_t)message->head_len + message->topic_len + (message->qos ? 2 : 0);
    return span_of(message->bytes + before, message->payload_len);
}

static inline struct span message_frame(const struct message *message)
{
    struct span payload = message_payload(message);
    return span_of(message->bytes, (size_t)(payload.data - message->bytes) + payload.len);
}

static inline struct span message_forward(const struct message *message)
{
    struct span payload = message_payload(message);
    return span_of(payload.data + payload.len, message->forward_len);
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
