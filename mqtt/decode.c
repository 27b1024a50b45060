/* SPDX-License-Identifier: MIT */
/*
 * One decoder per packet that a server receives: bytes in, views out. Every byte is a stranger's; a
 * decoder reads none beyond its body and accepts nothing that the specification calls malformed or
 * a protocol error. Pure, any thread, no allocation. mqtt_decode_publish() is the hot path of the
 * whole program.
 *
 * Which of the two errors a fault is, is the specification's choice: what cannot be parsed is
 * malformed, and so is what it says to be; values that parse but are not allowed are protocol
 * errors.
 */
#include "mqtt/packet.h"
#include "mqtt/wire.h"

/* ---- CONNECT: MQTT 5.0 and 3.1.1, section 3.1 ---- */

enum {
    CONNECT_RESERVED = 0x01,
    CONNECT_CLEAN = 0x02,
    CONNECT_WILL = 0x04,
    CONNECT_WILL_QOS = 0x18,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USERNAME = 0x80,
    BRIDGE_BIT = 0x80, /* of the version: "I am a mosquitto bridge" */
};

/* A property list with its length before it. */
static enum mqtt_reason take_properties(struct span *in, unsigned where, struct span *ret_raw,
                                        struct mqtt_properties *ret_props)
{
    uint32_t len;

    if (!take_varint(in, &len) || !take_bytes(in, len, ret_raw))
        return MQTT_MALFORMED_PACKET;
    return mqtt_properties_decode(*ret_raw, where, ret_props);
}

/*
 * [MQTT5-3.1.2-1], [MQTT5-3.1.2-2]: another name or version is refused as unsupported, not as
 * malformed.
 */
static enum mqtt_reason connect_protocol(struct span *in, struct mqtt_connect *ret)
{
    static const struct {
        const char *name;
        uint8_t version;
    } protocols[] = { { "MQIsdp", MQTT_V31 }, { "MQTT", MQTT_V311 }, { "MQTT", MQTT_V5 } };
    struct span name;
    uint8_t version;

    if (!take_binary(in, &name) || !take_u8(in, &version))
        return MQTT_MALFORMED_PACKET;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        if ((version & ~BRIDGE_BIT) != protocols[i].version ||
            !span_equal(name, span_str(protocols[i].name)))
            continue;
        ret->version = protocols[i].version;
        ret->bridge = version & BRIDGE_BIT;
        return MQTT_SUCCESS;
    }
    return MQTT_UNSUPPORTED_PROTOCOL_VERSION;
}

static enum mqtt_reason connect_flags(uint8_t flags, struct mqtt_connect *ret)
{
    ret->clean_start = flags & CONNECT_CLEAN;
    ret->has_will = flags & CONNECT_WILL;
    ret->has_username = flags & CONNECT_USERNAME;
    ret->has_password = flags & CONNECT_PASSWORD;
    ret->will.qos = (uint8_t)((flags & CONNECT_WILL_QOS) >> 3);
    ret->will.retain = flags & CONNECT_WILL_RETAIN;

    if (flags & CONNECT_RESERVED) /* [MQTT5-3.1.2-3] */
        return MQTT_MALFORMED_PACKET;
    if (ret->will.qos > 2) /* [MQTT5-3.1.2-12] */
        return MQTT_MALFORMED_PACKET;
    if (!ret->has_will &&
        (ret->will.qos > 0 || ret->will.retain)) /* [MQTT5-3.1.2-11], [MQTT5-3.1.2-13] */
        return MQTT_MALFORMED_PACKET;
    if (ret->has_password && !ret->has_username && ret->version < MQTT_V5) /* [MQTT311-3.1.2-22] */
        return MQTT_MALFORMED_PACKET;
    return MQTT_SUCCESS;
}

static enum mqtt_reason connect_client_id(struct span *in, struct mqtt_connect *ret)
{
    if (!take_string(in, &ret->client_id)) /* [MQTT5-3.1.3-4] */
        return MQTT_MALFORMED_PACKET;
    if (ret->client_id.len > 0 || ret->version == MQTT_V5)
        return MQTT_SUCCESS;
    /* Never empty in 3.1; in 3.1.1 only with a clean session [MQTT311-3.1.3-8]. */
    if (ret->version == MQTT_V31 || !ret->clean_start)
        return MQTT_CLIENT_IDENTIFIER_NOT_VALID;
    return MQTT_SUCCESS;
}

static enum mqtt_reason connect_will(struct span *in, uint8_t version, struct mqtt_will *ret)
{
    if (version == MQTT_V5) {
        const enum mqtt_reason reason = take_properties(in, MQTT_PROPERTIES_OF_WILL,
                                                        &ret->raw_properties, &ret->props);
        if (reason != MQTT_SUCCESS)
            return reason;
    }
    if (!take_binary(in, &ret->topic) || !take_binary(in, &ret->payload))
        return MQTT_MALFORMED_PACKET;
    return wire_topic_check(ret->topic); /* [MQTT5-3.1.3-11] */
}

static enum mqtt_reason connect_credentials(struct span *in, struct mqtt_connect *ret)
{
    /*
     * MQTT 3.1 lets the packet end before the user name and the password that its flags announce.
     */
    const bool may_end = ret->version == MQTT_V31;

    if (ret->has_username && may_end && in->len == 0)
        ret->has_username = false;
    if (ret->has_username && !take_string(in, &ret->username))
        return MQTT_MALFORMED_PACKET;
    if (ret->has_password && may_end && in->len == 0)
        ret->has_password = false;
    if (ret->has_password && !take_binary(in, &ret->password))
        return MQTT_MALFORMED_PACKET;
    return in->len == 0 ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

enum mqtt_reason mqtt_decode_connect(struct span body, struct mqtt_connect *ret)
{
    struct span raw;
    uint8_t flags;
    enum mqtt_reason reason;

    *ret = (struct mqtt_connect){ 0 };
    if ((reason = connect_protocol(&body, ret)) != MQTT_SUCCESS)
        return reason;
    if (!take_u8(&body, &flags) || !take_u16(&body, &ret->keep_alive))
        return MQTT_MALFORMED_PACKET;
    if ((reason = connect_flags(flags, ret)) != MQTT_SUCCESS)
        return reason;
    if (ret->version == MQTT_V5 &&
        (reason = take_properties(&body, MQTT_CONNECT, &raw, &ret->props)) != MQTT_SUCCESS)
        return reason;
    if (mqtt_has(&ret->props, MQTT_PROP_AUTH_DATA) && !mqtt_has(&ret->props, MQTT_PROP_AUTH_METHOD))
        return MQTT_PROTOCOL_ERROR;
    if ((reason = connect_client_id(&body, ret)) != MQTT_SUCCESS)
        return reason;
    if (ret->has_will && (reason = connect_will(&body, ret->version, &ret->will)) != MQTT_SUCCESS)
        return reason;
    return connect_credentials(&body, ret);
}

/* ---- PUBLISH: section 3.3 ---- */

/* Takes the property list off the front of the payload. */
static enum mqtt_reason publish_properties(struct mqtt_publish *publish)
{
    /* Most lists are empty, and cost one comparison. */
    if (publish->payload.len > 0 && publish->payload.data[0] == 0) {
        wire_skip(&publish->payload, 1);
    } else {
        const enum mqtt_reason reason = take_properties(&publish->payload, MQTT_PUBLISH,
                                                        &publish->raw_properties, &publish->props);
        if (reason != MQTT_SUCCESS)
            return reason;
    }
    if (mqtt_has(&publish->props, MQTT_PROP_SUBSCRIPTION_ID)) /* [MQTT5-3.3.4-6] */
        return MQTT_PROTOCOL_ERROR;
    if (publish->topic.len > 0)
        return publish->same_topic ? MQTT_SUCCESS : wire_topic_check(publish->topic);
    return mqtt_has(&publish->props, MQTT_PROP_TOPIC_ALIAS) ? MQTT_SUCCESS : MQTT_PROTOCOL_ERROR;
}

enum mqtt_reason mqtt_decode_publish(uint8_t flags, struct span body, uint8_t version,
                                     struct mqtt_publish *ret)
{
    return mqtt_decode_next_publish(flags, body, version, span_of(NULL, 0), ret);
}

enum mqtt_reason mqtt_decode_next_publish(uint8_t flags, struct span body, uint8_t version,
                                          struct span last_topic, struct mqtt_publish *ret)
{
    const uint8_t qos = (flags >> 1) & 3;
    const bool dup = flags & 8;

    if (qos == 3 || (qos == 0 && dup) || body.len < 2) /* [MQTT5-3.3.1-4], [MQTT5-3.3.1-2] */
        return MQTT_MALFORMED_PACKET;
    const size_t topic_len = wire_u16(body.data);
    const size_t head_len = 2 + topic_len + (qos > 0 ? 2 : 0);
    if (body.len < head_len)
        return MQTT_MALFORMED_PACKET;

    const uint8_t *topic = body.data + 2;
    ret->qos = qos;
    ret->dup = dup;
    ret->retain = flags & 1;
    ret->id = 0;
    ret->topic = span_of(topic, topic_len);
    ret->same_topic = topic_len > 0 && span_equal(ret->topic, last_topic);
    ret->payload = span_of(body.data + head_len, body.len - head_len);
    ret->raw_properties = span_of(NULL, 0);
    ret->props.present = 0;
    if (qos > 0 && (ret->id = wire_u16(topic + topic_len)) == 0) /* [MQTT5-2.2.1-3] */
        return MQTT_PROTOCOL_ERROR;
    if (version == MQTT_V5)
        return publish_properties(ret);
    return ret->same_topic ? MQTT_SUCCESS : wire_topic_check(ret->topic);
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP: sections 3.4 to 3.7 ---- */

/* A reason code must be one of the packet's table; a client's, one that a client may send. */
struct reason_list {
    size_t count;
    uint8_t codes[16];
};

/* [MQTT5-3.4.2-1], [MQTT5-3.5.2-1] */
static const struct reason_list first_ack_reasons = {
    9,
    { MQTT_SUCCESS, MQTT_NO_MATCHING_SUBSCRIBERS, MQTT_UNSPECIFIED_ERROR,
      MQTT_IMPLEMENTATION_SPECIFIC_ERROR, MQTT_NOT_AUTHORIZED, MQTT_TOPIC_NAME_INVALID,
      MQTT_PACKET_IDENTIFIER_IN_USE, MQTT_QUOTA_EXCEEDED, MQTT_PAYLOAD_FORMAT_INVALID },
};

/* [MQTT5-3.6.2-1], [MQTT5-3.7.2-1] */
static const struct reason_list second_ack_reasons = {
    2, { MQTT_SUCCESS, MQTT_PACKET_IDENTIFIER_NOT_FOUND }
};

/* [MQTT5-3.14.2-1] */
static const struct reason_list disconnect_reasons = {
    14,
    { MQTT_SUCCESS, MQTT_DISCONNECT_WITH_WILL, MQTT_UNSPECIFIED_ERROR, MQTT_MALFORMED_PACKET,
      MQTT_PROTOCOL_ERROR, MQTT_IMPLEMENTATION_SPECIFIC_ERROR, MQTT_TOPIC_NAME_INVALID,
      MQTT_RECEIVE_MAXIMUM_EXCEEDED, MQTT_TOPIC_ALIAS_INVALID, MQTT_PACKET_TOO_LARGE,
      MQTT_MESSAGE_RATE_TOO_HIGH, MQTT_QUOTA_EXCEEDED, MQTT_ADMINISTRATIVE_ACTION,
      MQTT_PAYLOAD_FORMAT_INVALID },
};

/* [MQTT5-3.15.2-1] */
static const struct reason_list auth_reasons = {
    2, { MQTT_CONTINUE_AUTHENTICATION, MQTT_RE_AUTHENTICATE }
};

/*
 * The end that acknowledgements, DISCONNECT and AUTH share: a reason code and a property list,
 * where both, or the list alone, may be left out.
 */
static enum mqtt_reason take_reason(struct span *in, unsigned where, const struct reason_list *list,
                                    enum mqtt_reason *ret_reason, struct mqtt_properties *ret_props)
{
    enum mqtt_reason error = MQTT_SUCCESS;
    struct span raw;
    uint8_t code = MQTT_SUCCESS;

    ret_props->present = 0;
    if (in->len > 0)
        take_u8(in, &code);
    if (in->len > 0)
        error = take_properties(in, where, &raw, ret_props);
    if (error != MQTT_SUCCESS)
        return error;
    if (in->len > 0)
        return MQTT_MALFORMED_PACKET;
    if (memchr(list->codes, code, list->count) == NULL)
        return MQTT_PROTOCOL_ERROR;
    *ret_reason = (enum mqtt_reason)code;
    return MQTT_SUCCESS;
}

enum mqtt_reason mqtt_decode_ack(enum mqtt_type type, struct span body, uint8_t version,
                                 struct mqtt_ack *ret)
{
    const bool first = type == MQTT_PUBACK || type == MQTT_PUBREC;

    if (!take_u16(&body, &ret->id) || (version < MQTT_V5 && body.len > 0))
        return MQTT_MALFORMED_PACKET;
    if (ret->id == 0) /* [MQTT5-2.2.1-5]: no PUBLISH has it */
        return MQTT_PROTOCOL_ERROR;
    ret->reason = MQTT_SUCCESS;
    ret->props.present = 0;
    if (body.len == 0)
        return MQTT_SUCCESS;
    return take_reason(&body, type, first ? &first_ack_reasons : &second_ack_reasons, &ret->reason,
                       &ret->props);
}

/* ---- SUBSCRIBE and UNSUBSCRIBE: sections 3.8 and 3.10 ---- */

/* Packet identifier and properties; `body` is then the list. */
static enum mqtt_reason subscribe_head(struct span *body, enum mqtt_type type, uint8_t version,
                                       struct mqtt_subscribe *ret)
{
    enum mqtt_reason reason;
    struct span raw;

    ret->props.present = 0;
    if (!take_u16(body, &ret->id))
        return MQTT_MALFORMED_PACKET;
    if (version == MQTT_V5 &&
        (reason = take_properties(body, type, &raw, &ret->props)) != MQTT_SUCCESS)
        return reason;
    if (ret->id == 0 || body->len == 0) /* [MQTT5-2.2.1-3]; [MQTT5-3.8.3-2], [MQTT5-3.10.3-2] */
        return MQTT_PROTOCOL_ERROR;
    ret->items = *body;
    ret->count = 0;
    return MQTT_SUCCESS;
}

static enum mqtt_reason check_options(const struct mqtt_subscribe_item *item, uint8_t version)
{
    const unsigned known = MQTT_SUB_QOS | MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED |
                           MQTT_SUB_RETAIN_HANDLING;

    if (version < MQTT_V5) /* [MQTT311-3.8.3-4] */
        return item->options <= 2 ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
    if (item->options & ~known) /* [MQTT5-3.8.3-5] */
        return MQTT_MALFORMED_PACKET;
    if ((item->options & MQTT_SUB_QOS) == MQTT_SUB_QOS ||
        (item->options & MQTT_SUB_RETAIN_HANDLING) == MQTT_SUB_RETAIN_HANDLING)
        return MQTT_PROTOCOL_ERROR;
    if ((item->options & MQTT_SUB_NO_LOCAL) && wire_is_share(item->filter)) /* [MQTT5-3.8.3-4] */
        return MQTT_PROTOCOL_ERROR;
    return MQTT_SUCCESS;
}

enum mqtt_reason mqtt_decode_subscribe(struct span body, uint8_t version,
                                       struct mqtt_subscribe *ret)
{
    enum mqtt_reason reason = subscribe_head(&body, MQTT_SUBSCRIBE, version, ret);
    struct mqtt_subscribe_item item;

    if (reason != MQTT_SUCCESS)
        return reason;
    while (body.len > 0) {
        if (!take_string(&body, &item.filter) ||
            !take_u8(&body, &item.options)) /* [MQTT5-3.8.3-1] */
            return MQTT_MALFORMED_PACKET;
        if ((reason = check_options(&item, version)) != MQTT_SUCCESS)
            return reason;
        ret->count++;
    }
    return MQTT_SUCCESS;
}

enum mqtt_reason mqtt_decode_unsubscribe(struct span body, uint8_t version,
                                         struct mqtt_subscribe *ret)
{
    enum mqtt_reason reason = subscribe_head(&body, MQTT_UNSUBSCRIBE, version, ret);
    struct span filter;

    if (reason != MQTT_SUCCESS)
        return reason;
    while (body.len > 0) {
        if (!take_string(&body, &filter)) /* [MQTT5-3.10.3-1] */
            return MQTT_MALFORMED_PACKET;
        ret->count++;
    }
    return MQTT_SUCCESS;
}

bool mqtt_next_subscription(struct span *items, struct mqtt_subscribe_item *ret_item)
{
    return take_binary(items, &ret_item->filter) && take_u8(items, &ret_item->options);
}

bool mqtt_next_filter(struct span *items, struct span *ret_filter)
{
    return take_binary(items, ret_filter);
}

/* ---- DISCONNECT and AUTH: sections 3.14 and 3.15 ---- */

enum mqtt_reason mqtt_decode_disconnect(struct span body, uint8_t version,
                                        struct mqtt_disconnect *ret)
{
    if (version == MQTT_V5)
        return take_reason(&body, MQTT_DISCONNECT, &disconnect_reasons, &ret->reason, &ret->props);
    ret->reason = MQTT_SUCCESS;
    ret->props.present = 0;
    return body.len == 0 ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET;
}

/* A client has no use for the short form, which means success: only a server says that. */
enum mqtt_reason mqtt_decode_auth(struct span body, struct mqtt_disconnect *ret)
{
    const enum mqtt_reason reason = take_reason(&body, MQTT_AUTH, &auth_reasons, &ret->reason,
                                                &ret->props);

    if (reason == MQTT_SUCCESS && !mqtt_has(&ret->props, MQTT_PROP_AUTH_METHOD))
        return MQTT_PROTOCOL_ERROR;
    return reason;
}
