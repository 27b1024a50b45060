/* SPDX-License-Identifier: MIT */
/*
 * The reason codes as words for the log, and as the five refusals that MQTT 3 knows. Two tables;
 * pure, any thread.
 */
#include "mqtt/reason.h"

#include <stddef.h>

static const char *const names[] = {
    [MQTT_SUCCESS] = "success",
    [MQTT_GRANTED_QOS1] = "granted QoS 1",
    [MQTT_GRANTED_QOS2] = "granted QoS 2",
    [MQTT_DISCONNECT_WITH_WILL] = "disconnect with will message",
    [MQTT_NO_MATCHING_SUBSCRIBERS] = "no matching subscribers",
    [MQTT_NO_SUBSCRIPTION_EXISTED] = "no subscription existed",
    [MQTT_CONTINUE_AUTHENTICATION] = "continue authentication",
    [MQTT_RE_AUTHENTICATE] = "re-authenticate",
    [MQTT_UNSPECIFIED_ERROR] = "unspecified error",
    [MQTT_MALFORMED_PACKET] = "malformed packet",
    [MQTT_PROTOCOL_ERROR] = "protocol error",
    [MQTT_IMPLEMENTATION_SPECIFIC_ERROR] = "implementation specific error",
    [MQTT_UNSUPPORTED_PROTOCOL_VERSION] = "unsupported protocol version",
    [MQTT_CLIENT_IDENTIFIER_NOT_VALID] = "client identifier not valid",
    [MQTT_BAD_USER_NAME_OR_PASSWORD] = "bad user name or password",
    [MQTT_NOT_AUTHORIZED] = "not authorized",
    [MQTT_SERVER_UNAVAILABLE] = "server unavailable",
    [MQTT_SERVER_BUSY] = "server busy",
    [MQTT_BANNED] = "banned",
    [MQTT_SERVER_SHUTTING_DOWN] = "server shutting down",
    [MQTT_BAD_AUTHENTICATION_METHOD] = "bad authentication method",
    [MQTT_KEEP_ALIVE_TIMEOUT] = "keep alive timeout",
    [MQTT_SESSION_TAKEN_OVER] = "session taken over",
    [MQTT_TOPIC_FILTER_INVALID] = "topic filter invalid",
    [MQTT_TOPIC_NAME_INVALID] = "topic name invalid",
    [MQTT_PACKET_IDENTIFIER_IN_USE] = "packet identifier in use",
    [MQTT_PACKET_IDENTIFIER_NOT_FOUND] = "packet identifier not found",
    [MQTT_RECEIVE_MAXIMUM_EXCEEDED] = "receive maximum exceeded",
    [MQTT_TOPIC_ALIAS_INVALID] = "topic alias invalid",
    [MQTT_PACKET_TOO_LARGE] = "packet too large",
    [MQTT_MESSAGE_RATE_TOO_HIGH] = "message rate too high",
    [MQTT_QUOTA_EXCEEDED] = "quota exceeded",
    [MQTT_ADMINISTRATIVE_ACTION] = "administrative action",
    [MQTT_PAYLOAD_FORMAT_INVALID] = "payload format invalid",
    [MQTT_RETAIN_NOT_SUPPORTED] = "retain not supported",
    [MQTT_QOS_NOT_SUPPORTED] = "QoS not supported",
    [MQTT_USE_ANOTHER_SERVER] = "use another server",
    [MQTT_SERVER_MOVED] = "server moved",
    [MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED] = "shared subscriptions not supported",
    [MQTT_CONNECTION_RATE_EXCEEDED] = "connection rate exceeded",
    [MQTT_MAXIMUM_CONNECT_TIME] = "maximum connect time",
    [MQTT_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED] = "subscription identifiers not supported",
    [MQTT_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED] = "wildcard subscriptions not supported",
};

enum { REASON_COUNT = sizeof names / sizeof *names };

/* MQTT 3.1.1, table 3.1. What stands in neither group is told as "server unavailable". */
enum code3 { ACCEPTED, BAD_VERSION, BAD_IDENTIFIER, UNAVAILABLE, BAD_CREDENTIALS, NOT_AUTHORIZED };

static const uint8_t code3_of[REASON_COUNT] = {
    [MQTT_UNSUPPORTED_PROTOCOL_VERSION] = BAD_VERSION,
    [MQTT_CLIENT_IDENTIFIER_NOT_VALID] = BAD_IDENTIFIER,
    [MQTT_BAD_USER_NAME_OR_PASSWORD] = BAD_CREDENTIALS,
    [MQTT_NOT_AUTHORIZED] = NOT_AUTHORIZED,
    [MQTT_BANNED] = NOT_AUTHORIZED,
    [MQTT_BAD_AUTHENTICATION_METHOD] = NOT_AUTHORIZED,
    /* The will asks for what this server does not grant. */
    [MQTT_TOPIC_NAME_INVALID] = NOT_AUTHORIZED,
    [MQTT_RETAIN_NOT_SUPPORTED] = NOT_AUTHORIZED,
    [MQTT_QOS_NOT_SUPPORTED] = NOT_AUTHORIZED,
};

const char *mqtt_reason_name(enum mqtt_reason reason)
{
    const unsigned code = reason;
    return code < REASON_COUNT && names[code] != NULL ? names[code] : "unknown reason";
}

uint8_t mqtt_connack_code3(enum mqtt_reason reason)
{
    const unsigned code = reason;
    if (code == MQTT_SUCCESS)
        return ACCEPTED;
    return code < REASON_COUNT && code3_of[code] != 0 ? code3_of[code] : UNAVAILABLE;
}
