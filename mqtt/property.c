/* SPDX-License-Identifier: MIT */
/*
 * The properties of MQTT 5.0: one table, and the walk along a list that it drives. Pure, any
 * thread. Values become views into the packet; whether the broker honours one is not decided here.
 *
 *   list:      property property …    (its length, a variable byte integer, stands before it)
 *   property:  identifier value       (the type of the value is the table's)
 */
#include "mqtt/packet.h"
#include "mqtt/wire.h"

/* What a value must be besides well-formed; anything else is a protocol error. */
enum rule {
    ANY,
    BOOLEAN,  /* 0 or 1 */
    POSITIVE, /* not 0 */
    ALIAS,    /* not 0, and the peer is told MQTT_TOPIC_ALIAS_INVALID */
    TOPIC,    /* a topic name: no wildcard */
};

enum travel { STAYS, TRAVELS }; /* on to subscribers */

struct row {
    const char *name;
    uint32_t in;   /* a bit for each place where it may stand */
    uint32_t many; /* … and where it may stand more than once */
    size_t at;     /* where its value goes in struct mqtt_properties; 0: checked, not kept */
    enum wire_type type;
    enum rule rule;
    enum travel travel;
};

#define IN(packet) (UINT32_C(1) << MQTT_##packet)
#define WILL       IN(PROPERTIES_OF_WILL)
#define MESSAGE    (IN(PUBLISH) | WILL)
#define HANDSHAKE  (IN(CONNECT) | IN(CONNACK))
#define ACKS       (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define ENDINGS    (IN(DISCONNECT) | IN(AUTH))
#define ANYWHERE   (MESSAGE | HANDSHAKE | ACKS | ENDINGS | IN(SUBSCRIBE) | IN(UNSUBSCRIBE))
#define AT(field)  offsetof(struct mqtt_properties, field)

/*
 * MQTT 5.0, table 2-4, and the section on properties of each packet. Wider than a page, because a
 * table is read down its columns.
 */
/* clang-format off */
static const struct row rows[] = {
    /*         name, in, many, at, type, rule, travel */
    [0x01] = { "payload-format-indicator",  MESSAGE,                       0,           AT(payload_format),      WIRE_U8,     BOOLEAN,  TRAVELS },
    [0x02] = { "message-expiry-interval",   MESSAGE,                       0,           AT(message_expiry),      WIRE_U32,    ANY,      STAYS },
    [0x03] = { "content-type",              MESSAGE,                       0,           AT(content_type),        WIRE_STRING, ANY,      TRAVELS },
    [0x08] = { "response-topic",            MESSAGE,                       0,           AT(response_topic),      WIRE_STRING, TOPIC,    TRAVELS },
    [0x09] = { "correlation-data",          MESSAGE,                       0,           AT(correlation_data),    WIRE_BINARY, ANY,      TRAVELS },
    [0x0B] = { "subscription-identifier",   IN(PUBLISH) | IN(SUBSCRIBE),   IN(PUBLISH), AT(subscription_id),     WIRE_VARINT, POSITIVE, STAYS },
    [0x11] = { "session-expiry-interval",   HANDSHAKE | IN(DISCONNECT),    0,           AT(session_expiry),      WIRE_U32,    ANY,      STAYS },
    [0x12] = { "assigned-client-identifier", IN(CONNACK),                  0,           AT(assigned_client_id),  WIRE_STRING, ANY,      STAYS },
    [0x13] = { "server-keep-alive",         IN(CONNACK),                   0,           AT(server_keep_alive),   WIRE_U16,    ANY,      STAYS },
    [0x15] = { "authentication-method",     HANDSHAKE | IN(AUTH),          0,           AT(auth_method),         WIRE_STRING, ANY,      STAYS },
    [0x16] = { "authentication-data",       HANDSHAKE | IN(AUTH),          0,           AT(auth_data),           WIRE_BINARY, ANY,      STAYS },
    [0x17] = { "request-problem-information", IN(CONNECT),                 0,           AT(request_problem),     WIRE_U8,     BOOLEAN,  STAYS },
    [0x18] = { "will-delay-interval",       WILL,                          0,           AT(will_delay),          WIRE_U32,    ANY,      STAYS },
    [0x19] = { "request-response-information", IN(CONNECT),                0,           AT(request_response),    WIRE_U8,     BOOLEAN,  STAYS },
    [0x1A] = { "response-information",      IN(CONNACK),                   0,           0,                       WIRE_STRING, ANY,      STAYS },
    [0x1C] = { "server-reference",          IN(CONNACK) | IN(DISCONNECT),  0,           0,                       WIRE_STRING, ANY,      STAYS },
    [0x1F] = { "reason-string",             IN(CONNACK) | ACKS | ENDINGS,  0,           AT(reason_string),       WIRE_STRING, ANY,      STAYS },
    [0x21] = { "receive-maximum",           HANDSHAKE,                     0,           AT(receive_maximum),     WIRE_U16,    POSITIVE, STAYS },
    [0x22] = { "topic-alias-maximum",       HANDSHAKE,                     0,           AT(topic_alias_maximum), WIRE_U16,    ANY,      STAYS },
    [0x23] = { "topic-alias",               IN(PUBLISH),                   0,           AT(topic_alias),         WIRE_U16,    ALIAS,    STAYS },
    [0x24] = { "maximum-qos",               IN(CONNACK),                   0,           AT(maximum_qos),         WIRE_U8,     BOOLEAN,  STAYS },
    [0x25] = { "retain-available",          IN(CONNACK),                   0,           AT(retain_available),    WIRE_U8,     BOOLEAN,  STAYS },
    [0x26] = { "user-property",             ANYWHERE,                      ANYWHERE,    0,                       WIRE_PAIR,   ANY,      TRAVELS },
    [0x27] = { "maximum-packet-size",       HANDSHAKE,                     0,           AT(maximum_packet_size), WIRE_U32,    POSITIVE, STAYS },
    [0x28] = { "wildcard-subscription-available", IN(CONNACK),             0,           0,                       WIRE_U8,     BOOLEAN,  STAYS },
    [0x29] = { "subscription-identifiers-available", IN(CONNACK),          0,           0,                       WIRE_U8,     BOOLEAN,  STAYS },
    [0x2A] = { "shared-subscription-available", IN(CONNACK),               0,           0,                       WIRE_U8,     BOOLEAN,  STAYS },
};
/* clang-format on */

enum { ROW_COUNT = sizeof rows / sizeof *rows };

/* A value of any type: numbers in one member, bytes in the other (of a user property, its name). */
struct value {
    uint32_t number;
    struct span bytes;
};

/*
 * Identifiers are variable byte integers; all that exist are below 128, so one byte is all there is
 * to read.
 */
static const struct row *row_of(unsigned id)
{
    return id < ROW_COUNT && rows[id].name != NULL ? &rows[id] : NULL;
}

enum wire_type wire_type_of(unsigned property)
{
    const struct row *row = row_of(property);
    return row != NULL ? row->type : WIRE_NONE;
}

const char *mqtt_property_name(unsigned id)
{
    const struct row *row = row_of(id);
    return row != NULL ? row->name : "unknown property";
}

static bool take_value(struct span *in, enum wire_type type, struct value *ret)
{
    struct span second;
    uint16_t two;
    uint8_t one;

    switch (type) {
    case WIRE_U8:
        if (!take_u8(in, &one))
            return false;
        ret->number = one;
        return true;
    case WIRE_U16:
        if (!take_u16(in, &two))
            return false;
        ret->number = two;
        return true;
    case WIRE_U32: return take_u32(in, &ret->number);
    case WIRE_VARINT: return take_varint(in, &ret->number);
    case WIRE_STRING: return take_string(in, &ret->bytes);
    case WIRE_BINARY: return take_binary(in, &ret->bytes);
    case WIRE_PAIR: return take_string(in, &ret->bytes) && take_string(in, &second);
    case WIRE_NONE: break;
    }
    return false;
}

static enum mqtt_reason check_value(enum rule rule, const struct value *value)
{
    bool good = true;

    switch (rule) {
    case ANY: break;
    case BOOLEAN: good = value->number <= 1; break;
    case POSITIVE: good = value->number != 0; break;
    case TOPIC: good = mqtt_topic_name_valid(value->bytes); break; /* [MQTT5-3.3.2-14] */
    case ALIAS:                                                    /* [MQTT5-3.3.2-8] */
        if (value->number == 0)
            return MQTT_TOPIC_ALIAS_INVALID;
        break;
    }
    return good ? MQTT_SUCCESS : MQTT_PROTOCOL_ERROR;
}

static void keep_value(const struct row *row, const struct value *value,
                       struct mqtt_properties *props)
{
    uint8_t *to = (uint8_t *)props + row->at;

    if (row->at == 0)
        return;
    switch (row->type) {
    case WIRE_U8: *to = (uint8_t)value->number; break;
    case WIRE_U16: memcpy(to, &(uint16_t){ (uint16_t)value->number }, sizeof(uint16_t)); break;
    case WIRE_U32:
    case WIRE_VARINT: memcpy(to, &value->number, sizeof value->number); break;
    case WIRE_STRING:
    case WIRE_BINARY: memcpy(to, &value->bytes, sizeof value->bytes); break;
    case WIRE_PAIR:
    case WIRE_NONE: break;
    }
}

static enum mqtt_reason decode_one(struct span *raw, uint32_t here, struct mqtt_properties *props)
{
    const unsigned id = raw->data[0];
    const struct row *row = row_of(id);
    struct value value = { 0 };

    if (row == NULL || !(row->in & here)) /* section 2.2.2.2 */
        return MQTT_MALFORMED_PACKET;
    wire_skip(raw, 1);
    if (!take_value(raw, row->type, &value))
        return MQTT_MALFORMED_PACKET;

    const uint64_t bit = UINT64_C(1) << id;
    const bool again = props->present & bit;
    if (again && !(row->many & here))
        return MQTT_PROTOCOL_ERROR;
    const enum mqtt_reason reason = check_value(row->rule, &value);
    if (reason != MQTT_SUCCESS)
        return reason;
    if (!again)
        keep_value(row, &value, props);
    props->present |= bit;
    return MQTT_SUCCESS;
}

enum mqtt_reason mqtt_properties_decode(struct span raw, unsigned where,
                                        struct mqtt_properties *ret_props)
{
    ret_props->present = 0;
    while (raw.len > 0) {
        const enum mqtt_reason reason = decode_one(&raw, UINT32_C(1) << where, ret_props);
        if (reason != MQTT_SUCCESS)
            return reason;
    }
    return MQTT_SUCCESS;
}

/*
 * Length of the property that a checked list starts with; all that is left if the list was not
 * checked after all.
 */
static size_t property_len(struct span raw)
{
    static const uint8_t fixed[] = {
        [WIRE_U8] = 2, [WIRE_U16] = 3, [WIRE_U32] = 5, [WIRE_PAIR] = 0
    };
    const enum wire_type type = wire_type_of(raw.data[0]);
    struct span rest = raw, bytes;
    uint32_t number;
    bool good = true;

    wire_skip(&rest, 1);
    if (type == WIRE_NONE)
        return raw.len;
    if (fixed[type] != 0)
        return fixed[type] < raw.len ? fixed[type] : raw.len;
    if (type == WIRE_VARINT)
        good = take_varint(&rest, &number);
    else
        good = take_binary(&rest, &bytes) && (type != WIRE_PAIR || take_binary(&rest, &bytes));
    return good ? raw.len - rest.len : raw.len;
}

size_t mqtt_properties_forward(struct span raw, uint8_t *out)
{
    size_t written = 0;

    while (raw.len > 0) {
        const struct row *row = row_of(raw.data[0]);
        const size_t len = property_len(raw);
        if (row != NULL && row->travel == TRAVELS) {
            memcpy(out + written, raw.data, len);
            written += len;
        }
        wire_skip(&raw, len);
    }
    return written;
}
