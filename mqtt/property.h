/* SPDX-License-Identifier: MIT */
/*
 * The properties of MQTT 5.0 (section 2.2.2), decoded by one table: identifier, type, packets it
 * may stand in, how often. Values are views into the packet. User properties are checked but not
 * collected: who forwards them copies the raw bytes (mqtt_properties_forward()).
 */
#pragma once

#include "mqtt/reason.h"
#include "mqtt/span.h"

/* Property identifiers; each is also the number of its bit in `present`. */
enum mqtt_property {
    MQTT_PROP_PAYLOAD_FORMAT = 0x01,
    MQTT_PROP_MESSAGE_EXPIRY = 0x02,
    MQTT_PROP_CONTENT_TYPE = 0x03,
    MQTT_PROP_RESPONSE_TOPIC = 0x08,
    MQTT_PROP_CORRELATION_DATA = 0x09,
    MQTT_PROP_SUBSCRIPTION_ID = 0x0B,
    MQTT_PROP_SESSION_EXPIRY = 0x11,
    MQTT_PROP_ASSIGNED_CLIENT_ID = 0x12,
    MQTT_PROP_SERVER_KEEP_ALIVE = 0x13,
    MQTT_PROP_AUTH_METHOD = 0x15,
    MQTT_PROP_AUTH_DATA = 0x16,
    MQTT_PROP_REQUEST_PROBLEM = 0x17,
    MQTT_PROP_WILL_DELAY = 0x18,
    MQTT_PROP_REQUEST_RESPONSE = 0x19,
    MQTT_PROP_RESPONSE_INFORMATION = 0x1A,
    MQTT_PROP_SERVER_REFERENCE = 0x1C,
    MQTT_PROP_REASON_STRING = 0x1F,
    MQTT_PROP_RECEIVE_MAXIMUM = 0x21,
    MQTT_PROP_TOPIC_ALIAS_MAXIMUM = 0x22,
    MQTT_PROP_TOPIC_ALIAS = 0x23,
    MQTT_PROP_MAXIMUM_QOS = 0x24,
    MQTT_PROP_RETAIN_AVAILABLE = 0x25,
    MQTT_PROP_USER_PROPERTY = 0x26,
    MQTT_PROP_MAXIMUM_PACKET_SIZE = 0x27,
    MQTT_PROP_WILDCARD_AVAILABLE = 0x28,
    MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    MQTT_PROP_SHARED_AVAILABLE = 0x2A,
};

/* Where a property list stands: the packet type (1 to 15), or the will's list inside CONNECT. */
enum { MQTT_PROPERTIES_OF_WILL = 16 };

/* What a decoded list holds. A field has a meaning only when its bit in `present` is set. */
struct mqtt_properties {
    uint64_t present;                                    /* 1 << identifier */
    uint32_t message_expiry, session_expiry, will_delay; /* seconds */
    uint32_t maximum_packet_size;
    uint32_t subscription_id; /* the first one, 1 to 268,435,455 */
    uint16_t receive_maximum, topic_alias_maximum, topic_alias, server_keep_alive;
    uint8_t payload_format, request_problem, request_response;
    uint8_t maximum_qos, retain_available;
    struct span content_type, response_topic, correlation_data;
    struct span auth_method, auth_data, reason_string, assigned_client_id;
};

static inline bool mqtt_has(const struct mqtt_properties *props, enum mqtt_property id)
{
    return (props->present >> id) & 1;
}

/* "topic-alias"; "unknown property" for an identifier that the specification lacks. */
const char *mqtt_property_name(unsigned id);

/*
 * Decodes a property list without its length: `raw` is exactly the list's bytes. `where` is the
 * packet type or MQTT_PROPERTIES_OF_WILL. Returns MQTT_SUCCESS, MQTT_MALFORMED_PACKET (an unknown
 * identifier, one that may not stand here, bytes missing, bad UTF-8), MQTT_PROTOCOL_ERROR (twice,
 * or a value out of range) or MQTT_TOPIC_ALIAS_INVALID (topic alias 0). Source: MQTT 5.0, section
 * 2.2.2 and the property sections of each packet.
 */
enum mqtt_reason mqtt_properties_decode(struct span raw, unsigned where,
                                        struct mqtt_properties *ret_props);

/*
 * Copies the properties of a checked PUBLISH or will list that travel on to subscribers, in their
 * order: payload format, content type, response topic, correlation data, user properties
 * [MQTT5-3.3.2-4] and following. Message expiry, topic alias, subscription identifiers and will
 * delay stay behind; the sender of a delivery adds its own. `out` has room for raw.len bytes.
 * Returns the bytes written.
 */
size_t mqtt_properties_forward(struct span raw, uint8_t *out);
