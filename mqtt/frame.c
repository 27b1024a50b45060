/* SPDX-License-Identifier: MIT */
/*
 * The fixed header, and the table of packet types with the flags each must carry. Pure, any thread.
 * It looks at no byte of a packet's body and does not judge its size: what is too large is the
 * connection's to say.
 */
#include "mqtt/packet.h"

static const struct {
    const char *name;
    uint8_t flags; /* required by 3.1.1 and 5.0 */
} types[16] = {
    [0] = { "reserved", 0 },
    [MQTT_CONNECT] = { "CONNECT", 0 },
    [MQTT_CONNACK] = { "CONNACK", 0 },
    [MQTT_PUBLISH] = { "PUBLISH", 0 },
    [MQTT_PUBACK] = { "PUBACK", 0 },
    [MQTT_PUBREC] = { "PUBREC", 0 },
    [MQTT_PUBREL] = { "PUBREL", 2 },
    [MQTT_PUBCOMP] = { "PUBCOMP", 0 },
    [MQTT_SUBSCRIBE] = { "SUBSCRIBE", 2 },
    [MQTT_SUBACK] = { "SUBACK", 0 },
    [MQTT_UNSUBSCRIBE] = { "UNSUBSCRIBE", 2 },
    [MQTT_UNSUBACK] = { "UNSUBACK", 0 },
    [MQTT_PINGREQ] = { "PINGREQ", 0 },
    [MQTT_PINGRESP] = { "PINGRESP", 0 },
    [MQTT_DISCONNECT] = { "DISCONNECT", 0 },
    [MQTT_AUTH] = { "AUTH", 0 },
};

const char *mqtt_type_name(unsigned type)
{
    return types[type < 16 ? type : 0].name;
}

/*
 * A length spelled with more bytes than it needs is accepted: [MQTT5-1.5.5-1] binds the sender, and
 * small clients of MQTT 3 reserve all four bytes in advance.
 */
enum mqtt_frame_status mqtt_frame_parse_any(struct span in, struct mqtt_frame *ret_frame)
{
    uint32_t body_len = 0;

    for (unsigned i = 1; i < MQTT_MAX_FIXED_HEADER && i < in.len; i++) {
        const uint8_t byte = in.data[i];
        body_len |= (uint32_t)(byte & 0x7F) << (7 * (i - 1));
        if (byte & 0x80)
            continue;
        ret_frame->type = in.data[0] >> 4;
        ret_frame->flags = in.data[0] & 0x0F;
        ret_frame->header_len = (uint8_t)(i + 1);
        ret_frame->body_len = body_len;
        return in.len - (i + 1) >= body_len ? MQTT_FRAME_WHOLE : MQTT_FRAME_HEAD;
    }
    return in.len >= MQTT_MAX_FIXED_HEADER ? MQTT_FRAME_BAD : MQTT_FRAME_SHORT;
}

bool mqtt_flags_valid_any(const struct mqtt_frame *frame, uint8_t version)
{
    const unsigned type = frame->type;
    const unsigned qos = (frame->flags >> 1) & 3u;
    const bool dup = frame->flags & 8;

    if (type == 0 || type > MQTT_AUTH || (type == MQTT_AUTH && version < MQTT_V5))
        return false;
    if (type == MQTT_PUBLISH) /* [MQTT5-3.3.1-2], [MQTT5-3.3.1-4] */
        return qos < 3 && (qos > 0 || !dup);
    /*
     * MQTT 3.1 calls the flags unused, and lets SUBSCRIBE, UNSUBSCRIBE and PUBREL be sent again
     * with DUP.
     */
    if (version == MQTT_V31 && type != MQTT_CONNECT)
        return true;
    return frame->flags == types[type].flags; /* [MQTT5-2.1.3-1] */
}
