/* SPDX-License-Identifier: MIT */
/*
 * See record.h. Whatever is read is checked as if a stranger had sent it: a checksum finds what a
 * disk has damaged, not what somebody has written on purpose. Owns nothing; any thread.
 *
 *   message:       1 | qos (2 bits), retain (bit 2) | topic length 2 | properties length 4
 *                  | payload length 4 | expires 8 | topic | properties | payload
 *   session:       1 | connected (bit 0), will (bit 1), owned (bit 2), named (bit 3), restricted (bit 4)
 *                  | client id length 2 | epoch 8 | expiry 4 | ends at 8 | will delay 4 | will at 8
 *                  | client id | owner: port 2, user length 2, user | restricted: length 4, topics
 *                  | will: a message
 *   topic:         access 1 | filter length 2 | filter
 *   subscription:  1 | options | identifier 4 | filter
 *   author:        1 | owned (bit 0), named (bit 1), restricted (bit 2) | port 2 | client id length 2
 *                  | user length 2 | client id | user | topics
 *
 * Each begins with its version and ends exactly where its last part does.
 */
#include "broker/store/record.h"

#include "broker/message.h"
#include "broker/store/bytes.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    VERSION = 1,
    MESSAGE_HEAD = 1 + 1 + 2 + 4 + 4 + 8,
    SESSION_HEAD = 1 + 1 + 2 + 8 + 4 + 8 + 4 + 8,
    SUBSCRIPTION_HEAD = 1 + 1 + 4,
    AUTHOR_HEAD = 1 + 1 + 2 + 2 + 2,
    NAME_MAX_BYTES = 65535, /* of a topic, a filter, a client identifier */
};

enum { MESSAGE_QOS = 3, MESSAGE_RETAIN = 4, MESSAGE_FLAGS = 7 };
enum {
    SESSION_CONNECTED = 1,
    SESSION_WILL = 2,
    SESSION_OWNED = 4,
    SESSION_NAMED = 8,
    SESSION_RESTRICTED = 16,
    SESSION_FLAGS = 31,
    OWNER_HEAD = 2 + 2,
    TOPICS_HEAD = 4,
    TOPIC_HEAD = 1 + 2,
    TOPIC_ACCESS = 3, /* the highest */
};
enum { AUTHOR_OWNED = 1, AUTHOR_NAMED = 2, AUTHOR_RESTRICTED = 4, AUTHOR_FLAGS = 7 };

/* ---- messages ---- */

size_t message_record_size(const struct message *message)
{
    return MESSAGE_HEAD + (size_t)message->topic_len + message->forward_len + message->payload_len;
}

uint32_t message_record_holds(size_t len)
{
    return len > MESSAGE_HEAD ? (uint32_t)(len - MESSAGE_HEAD) : 0;
}

void message_record_encode(const struct message *message, uint8_t *out)
{
    uint8_t flags = (uint8_t)(message->qos | (message->retain ? MESSAGE_RETAIN : 0));
    out = put_u8(out, VERSION);
    out = put_u8(out, flags);
    out = put_u16(out, (uint16_t)message->topic_len);
    out = put_u32(out, message->forward_len);
    out = put_u32(out, message->payload_len);
    out = put_u64(out, message->expires);
    out = put_span(out, message_topic(message));
    out = put_span(out, message_forward(message));
    put_span(out, message_payload(message));
}

/* Only what is forwarded may stand there; the sender of a delivery adds the others. */
static bool forward_valid(struct span forward)
{
    const uint64_t travels = UINT64_C(1) << MQTT_PROP_PAYLOAD_FORMAT |
                             UINT64_C(1) << MQTT_PROP_CONTENT_TYPE |
                             UINT64_C(1) << MQTT_PROP_RESPONSE_TOPIC |
                             UINT64_C(1) << MQTT_PROP_CORRELATION_DATA |
                             UINT64_C(1) << MQTT_PROP_USER_PROPERTY;
    struct mqtt_properties props;
    return mqtt_properties_decode(forward, MQTT_PUBLISH, &props) == MQTT_SUCCESS &&
           (props.present & ~travels) == 0;
}

static bool take_message(struct span in, struct message_parts *ret)
{
    uint8_t version, flags;
    uint16_t topic_len;
    uint32_t forward_len, payload_len;
    struct message_parts parts = { .expires = 0 };
    if (!take_u8(&in, &version) || version != VERSION || !take_u8(&in, &flags) ||
        !take_u16(&in, &topic_len) || !take_u32(&in, &forward_len) ||
        !take_u32(&in, &payload_len) || !take_u64(&in, &parts.expires))
        return false;
    size_t all = in.len;
    if (!take_span(&in, topic_len, &parts.topic) || !take_span(&in, forward_len, &parts.forward) ||
        !take_span(&in, payload_len, &parts.payload) || in.len != 0)
        return false;
    if ((flags & ~MESSAGE_FLAGS) || (flags & MESSAGE_QOS) > 2 || all > MQTT_MAX_REMAINING ||
        !mqtt_utf8_valid(parts.topic) || !mqtt_topic_name_valid(parts.topic) ||
        !forward_valid(parts.forward))
        return false;
    parts.qos = flags & MESSAGE_QOS;
    parts.retain = (flags & MESSAGE_RETAIN) != 0;
    *ret = parts;
    return true;
}

uint32_t message_record_payload(struct span bytes)
{
    struct span before;
    uint32_t len;
    return take_span(&bytes, 1 + 1 + 2 + 4, &before) && take_u32(&bytes, &len) ? len : 0;
}

bool message_record_valid(struct span bytes)
{
    struct message_parts parts;
    return take_message(bytes, &parts);
}

struct message *message_record_decode(struct span bytes)
{
    struct message_parts parts;
    if (!take_message(bytes, &parts)) {
        errno = EBADMSG;
        return NULL;
    }
    struct message *message = message_from_parts(&parts);
    if (!message)
        errno = ENOMEM;
    return message;
}

bool message_record_topic(struct span bytes, struct span *ret_topic, bool *ret_empty)
{
    struct span head;
    uint16_t topic_len;
    uint32_t forward_len, payload_len;
    if (!take_span(&bytes, 2, &head) || !take_u16(&bytes, &topic_len) ||
        !take_u32(&bytes, &forward_len) || !take_u32(&bytes, &payload_len) ||
        !take_span(&bytes, 8, &head) || !take_span(&bytes, topic_len, ret_topic))
        return false;
    *ret_empty = payload_len == 0;
    return true;
}

/* ---- sessions ---- */

size_t session_topic_size(struct span filter)
{
    return TOPIC_HEAD + filter.len;
}

uint8_t *session_topic_put(uint8_t *at, unsigned access, struct span filter)
{
    CHECK(filter.len <= NAME_MAX_BYTES);
    at = put_u8(at, (uint8_t)access);
    at = put_u16(at, (uint16_t)filter.len);
    return put_span(at, filter);
}

bool session_topic_take(struct span *topics, unsigned *ret_access, struct span *ret_filter)
{
    uint8_t access;
    uint16_t len;
    if (!take_u8(topics, &access) || !take_u16(topics, &len) || !take_span(topics, len, ret_filter))
        return false;
    *ret_access = access;
    return true;
}

/* Whether they end where the last of them does, and each is a rule. */
static bool topics_valid(struct span topics)
{
    struct span filter, share, rest;
    unsigned access;
    while (topics.len) {
        if (!session_topic_take(&topics, &access, &filter) || access < 1 || access > TOPIC_ACCESS ||
            !mqtt_utf8_valid(filter) || !mqtt_topic_filter_valid(filter) ||
            mqtt_share_split(filter, &share, &rest))
            return false;
    }
    return true;
}

static uint8_t flags_of(const struct session_record *record)
{
    unsigned flags = (record->connected ? SESSION_CONNECTED : 0) |
                     (record->will ? SESSION_WILL : 0);
    if (record->owned)
        flags |= SESSION_OWNED | (record->named ? SESSION_NAMED : 0) |
                 (record->restricted ? SESSION_RESTRICTED : 0);
    return (uint8_t)flags;
}

static size_t owner_size(const struct session_record *record)
{
    size_t topics = record->restricted ? TOPICS_HEAD + record->topics.len : 0;
    return record->owned ? OWNER_HEAD + record->user.len + topics : 0;
}

static uint8_t *put_owner(uint8_t *at, const struct session_record *record)
{
    at = put_u16(at, record->port);
    at = put_u16(at, (uint16_t)record->user.len);
    at = put_span(at, record->user);
    if (!record->restricted)
        return at;
    at = put_u32(at, (uint32_t)record->topics.len);
    return put_span(at, record->topics);
}

uint8_t *session_record_encode(const struct session_record *record, size_t *ret_len)
{
    CHECK(record->client_id.len <= NAME_MAX_BYTES && record->user.len <= NAME_MAX_BYTES);
    size_t will_len = record->will ? message_record_size(record->will) : 0;
    size_t len = SESSION_HEAD + record->client_id.len + owner_size(record) + will_len;
    uint8_t *bytes = malloc(len), *at = bytes;
    if (!bytes)
        return NULL;
    at = put_u8(at, VERSION);
    at = put_u8(at, flags_of(record));
    at = put_u16(at, (uint16_t)record->client_id.len);
    at = put_u64(at, record->epoch);
    at = put_u32(at, record->expiry);
    at = put_u64(at, record->ends_at);
    at = put_u32(at, record->will_delay);
    at = put_u64(at, record->will_at);
    at = put_span(at, record->client_id);
    if (record->owned)
        at = put_owner(at, record);
    if (record->will)
        message_record_encode(record->will, at);
    *ret_len = len;
    return bytes;
}

static bool take_owner(struct span *bytes, uint8_t flags, struct session_record *record)
{
    uint16_t user_len;
    uint32_t topics_len;
    record->owned = (flags & SESSION_OWNED) != 0;
    record->named = (flags & SESSION_NAMED) != 0;
    record->restricted = (flags & SESSION_RESTRICTED) != 0;
    if (!record->owned)
        return !record->named && !record->restricted;
    if (!take_u16(bytes, &record->port) || !take_u16(bytes, &user_len) ||
        !take_span(bytes, user_len, &record->user) || (!record->named && user_len > 0) ||
        !mqtt_utf8_valid(record->user))
        return false;
    return !record->restricted ||
           (take_u32(bytes, &topics_len) && take_span(bytes, topics_len, &record->topics) &&
            topics_valid(record->topics));
}

int session_record_decode(struct span bytes, struct session_record *ret_record)
{
    uint8_t version, flags;
    uint16_t id_len;
    struct session_record record = { .will = NULL };
    if (!take_u8(&bytes, &version) || version != VERSION || !take_u8(&bytes, &flags) ||
        (flags & ~SESSION_FLAGS) || !take_u16(&bytes, &id_len) ||
        !take_u64(&bytes, &record.epoch) || !take_u32(&bytes, &record.expiry) ||
        !take_u64(&bytes, &record.ends_at) || !take_u32(&bytes, &record.will_delay) ||
        !take_u64(&bytes, &record.will_at) || !take_span(&bytes, id_len, &record.client_id) ||
        id_len == 0 || !mqtt_utf8_valid(record.client_id) || !take_owner(&bytes, flags, &record))
        return -EBADMSG;
    record.connected = (flags & SESSION_CONNECTED) != 0;
    if (flags & SESSION_WILL) {
        record.will = message_record_decode(bytes);
        if (!record.will)
            return -errno;
    } else if (bytes.len != 0) {
        return -EBADMSG;
    }
    *ret_record = record;
    return 0;
}

/* ---- subscriptions ---- */

uint8_t *subscription_record_encode(const struct subscription_record *record, size_t *ret_len)
{
    uint8_t *bytes = malloc(SUBSCRIPTION_HEAD + record->filter.len), *at = bytes;
    if (!bytes)
        return NULL;
    at = put_u8(at, VERSION);
    at = put_u8(at, record->options);
    at = put_u32(at, record->sub_id);
    put_span(at, record->filter);
    *ret_len = SUBSCRIPTION_HEAD + record->filter.len;
    return bytes;
}

int subscription_record_decode(struct span bytes, struct subscription_record *ret_record)
{
    const uint8_t options = MQTT_SUB_QOS | MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED |
                            MQTT_SUB_RETAIN_HANDLING;
    uint8_t version;
    struct subscription_record record;
    if (!take_u8(&bytes, &version) || version != VERSION || !take_u8(&bytes, &record.options) ||
        !take_u32(&bytes, &record.sub_id))
        return -EBADMSG;
    record.filter = bytes;
    if ((record.options & ~options) || (record.options & MQTT_SUB_QOS) > 2 ||
        (record.options & MQTT_SUB_RETAIN_HANDLING) == MQTT_SUB_RETAIN_HANDLING ||
        record.sub_id > MQTT_MAX_REMAINING || !mqtt_utf8_valid(record.filter) ||
        !mqtt_topic_filter_valid(record.filter))
        return -EBADMSG;
    *ret_record = record;
    return 0;
}

/* ---- authors ---- */

uint8_t *author_record_encode(const struct author_record *record, size_t *ret_len)
{
    CHECK(record->client_id.len <= NAME_MAX_BYTES && record->user.len <= NAME_MAX_BYTES);
    size_t len = AUTHOR_HEAD + record->client_id.len + record->user.len + record->topics.len;
    uint8_t *bytes = malloc(len), *at = bytes;
    if (!bytes)
        return NULL;
    at = put_u8(at, VERSION);
    at = put_u8(at, (uint8_t)((record->owned ? AUTHOR_OWNED : 0) |
                              (record->owned && record->named ? AUTHOR_NAMED : 0) |
                              (record->owned && record->restricted ? AUTHOR_RESTRICTED : 0)));
    at = put_u16(at, record->port);
    at = put_u16(at, (uint16_t)record->client_id.len);
    at = put_u16(at, (uint16_t)record->user.len);
    put_span(put_span(put_span(at, record->client_id), record->user), record->topics);
    *ret_len = len;
    return bytes;
}

bool author_record_decode(struct span bytes, struct author_record *ret_record)
{
    uint8_t version, flags;
    uint16_t id_len, user_len;
    struct author_record record;
    if (!take_u8(&bytes, &version) || version != VERSION || !take_u8(&bytes, &flags) ||
        !take_u16(&bytes, &record.port) || !take_u16(&bytes, &id_len) ||
        !take_u16(&bytes, &user_len) || !take_span(&bytes, id_len, &record.client_id) ||
        !take_span(&bytes, user_len, &record.user))
        return false;
    record.topics = bytes;
    record.owned = flags & AUTHOR_OWNED;
    record.named = flags & AUTHOR_NAMED;
    record.restricted = flags & AUTHOR_RESTRICTED;
    if ((flags & ~AUTHOR_FLAGS) || (flags && !record.owned) || (user_len && !record.named) ||
        (bytes.len && !record.restricted) || !mqtt_utf8_valid(record.client_id) ||
        !mqtt_utf8_valid(record.user) || !topics_valid(record.topics))
        return false;
    *ret_record = record;
    return true;
}
