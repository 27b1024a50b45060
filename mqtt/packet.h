/* SPDX-License-Identifier: MIT */
/*
 * Control packets of MQTT 3.1, 3.1.1 and 5.0: frames, and one decoder per packet a server receives.
 * A decoder checks every byte it is given and hands out views: nothing is copied, nothing is
 * allocated, nothing is kept. Encoders stand in mqtt/encode.h.
 */
#pragma once

#include "mqtt/property.h"
#include "mqtt/reason.h"
#include "mqtt/span.h"

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH,
};

/* Protocol versions as CONNECT spells them, without the bridge bit. */
enum { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };

enum { MQTT_MAX_REMAINING = 268435455, MQTT_MAX_FIXED_HEADER = 5 };

const char *mqtt_type_name(unsigned type); /* "PUBLISH"; "reserved" for 0 and above 15 */

enum mqtt_frame_status {
    MQTT_FRAME_SHORT, /* the fixed header is not complete: more bytes, please */
    MQTT_FRAME_HEAD,  /* the fixed header is complete, the packet is not */
    MQTT_FRAME_WHOLE,
    MQTT_FRAME_BAD, /* malformed remaining length: MQTT_MALFORMED_PACKET */
};

struct mqtt_frame {
    uint8_t type, flags; /* high and low nibble of the first byte */
    uint8_t header_len;  /* bytes of the fixed header, 2 to 5 */
    uint32_t body_len;   /* the remaining length */
};

/* Reads the fixed header at the start of `in`. ret_frame is written for HEAD and WHOLE. */
enum mqtt_frame_status mqtt_frame_parse_any(struct span in, struct mqtt_frame *ret_frame);
static inline enum mqtt_frame_status mqtt_frame_parse(struct span in, struct mqtt_frame *ret_frame)
{
    if (in.len < 2 || in.data[1] > 0x7F || in.len - 2 < in.data[1])
        return mqtt_frame_parse_any(in, ret_frame);
    /* most packets: whole, and a length of one byte */
    *ret_frame = (struct mqtt_frame){
        .type = in.data[0] >> 4, .flags = in.data[0] & 0x0F, .header_len = 2, .body_len = in.data[1]
    };
    return MQTT_FRAME_WHOLE;
}

/*
 * Whether a packet of this type may have these flags [MQTT5-2.1.3-1]; PUBLISH: QoS 3 is not
 * allowed, nor DUP with QoS 0 [MQTT5-3.3.1-2]. Types 0 and, below version 5, 15 are never valid.
 */
bool mqtt_flags_valid_any(const struct mqtt_frame *frame, uint8_t version);
static inline bool mqtt_flags_valid(const struct mqtt_frame *frame, uint8_t version)
{
    bool acknowledges = frame->type == MQTT_PUBACK || frame->type == MQTT_PUBREC;
    return (acknowledges && frame->flags == 0) || mqtt_flags_valid_any(frame, version);
}

struct mqtt_will {
    uint8_t qos;
    bool retain;
    struct span topic, payload;
    struct span raw_properties; /* without its length */
    struct mqtt_properties props;
};

struct mqtt_connect {
    uint8_t version;  /* 3, 4 or 5 */
    bool bridge;      /* mosquitto's bridge bit 0x80 was set in the version */
    bool clean_start; /* clean session before version 5 */
    bool has_will, has_username, has_password;
    uint16_t keep_alive; /* seconds, 0 none */
    struct span client_id, username, password;
    struct mqtt_will will;
    struct mqtt_properties props;
};

/*
 * `filter` is checked UTF-8, not yet checked as a topic filter. options: the byte of MQTT 5.0
 * section 3.8.3.1; before version 5 just the QoS.
 */
struct mqtt_subscribe_item {
    struct span filter;
    uint8_t options;
};

enum { /* the subscription options byte */
       MQTT_SUB_QOS = 0x03,
       MQTT_SUB_NO_LOCAL = 0x04,
       MQTT_SUB_RETAIN_AS_PUBLISHED = 0x08,
       MQTT_SUB_RETAIN_HANDLING = 0x30, /* 0x00 always, 0x10 if new, 0x20 never */
};

struct mqtt_subscribe { /* SUBSCRIBE and UNSUBSCRIBE */
    uint16_t id;
    struct span items; /* checked; read with mqtt_next_*() */
    unsigned count;    /* at least 1 */
    struct mqtt_properties props;
};

struct mqtt_publish {
    uint8_t qos;
    bool dup, retain;
    bool same_topic;   /* as mqtt_decode_next_publish() was told */
    uint16_t id;       /* 0 when qos is 0 */
    struct span topic; /* checked as a topic name; empty only with an alias */
    struct span payload;
    struct span raw_properties; /* without its length; empty before version 5 */
    struct mqtt_properties props;
};

struct mqtt_ack { /* PUBACK, PUBREC, PUBREL, PUBCOMP */
    uint16_t id;
    enum mqtt_reason reason; /* MQTT_SUCCESS when left out */
    struct mqtt_properties props;
};

struct mqtt_disconnect { /* DISCONNECT and AUTH */
    enum mqtt_reason reason;
    struct mqtt_properties props;
};

/*
 * Decoders. `body` is the packet without its fixed header, whole. They return MQTT_SUCCESS or what
 * to tell the peer (MALFORMED_PACKET, PROTOCOL_ERROR, UNSUPPORTED_PROTOCOL_VERSION,
 * TOPIC_NAME_INVALID, …); then *ret is undefined, except that mqtt_decode_connect() has set
 * ret->version as soon as it is known (0 before), so that the refusal can be spelled right. They
 * decode what a *client* sends: a PUBLISH with a subscription identifier, say, is a protocol error.
 * Each returns MQTT_PROTOCOL_ERROR for values that the specification calls so (packet identifier 0,
 * receive maximum 0, …).
 */
enum mqtt_reason mqtt_decode_connect(struct span body, struct mqtt_connect *ret);
enum mqtt_reason mqtt_decode_publish(uint8_t flags, struct span body, uint8_t version,
                                     struct mqtt_publish *ret);
/* The same from somebody whose last topic, which has been checked, was `last_topic`: if it is the
 * same again, ret->same_topic is set, and it is not checked again. */
enum mqtt_reason mqtt_decode_next_publish(uint8_t flags, struct span body, uint8_t version,
                                          struct span last_topic, struct mqtt_publish *ret);
/* The packet identifier of an acknowledgement that is nothing more, as most are; 0: decode it. */
static inline uint16_t mqtt_short_ack(struct span body)
{
    unsigned id = body.len == 2 ? (unsigned)body.data[0] << 8 | body.data[1] : 0;
    return (uint16_t)id;
}
enum mqtt_reason mqtt_decode_ack(enum mqtt_type type, struct span body, uint8_t version,
                                 struct mqtt_ack *ret);
enum mqtt_reason mqtt_decode_subscribe(struct span body, uint8_t version,
                                       struct mqtt_subscribe *ret);
enum mqtt_reason mqtt_decode_unsubscribe(struct span body, uint8_t version,
                                         struct mqtt_subscribe *ret);
enum mqtt_reason mqtt_decode_disconnect(struct span body, uint8_t version,
                                        struct mqtt_disconnect *ret);
enum mqtt_reason mqtt_decode_auth(struct span body, struct mqtt_disconnect *ret);

/* Takes the next item off a checked list; false at its end. */
bool mqtt_next_subscription(struct span *items, struct mqtt_subscribe_item *ret_item);
bool mqtt_next_filter(struct span *items, struct span *ret_filter);
