/* SPDX-License-Identifier: MIT */
/* See packets.h. */
#include "tests/broker/support/packets.h"

#include "broker/err.h"

#include <string.h>

size_t packets_take(uint8_t *bytes, size_t len, packet_visit_fn *each, void *ctx)
{
    struct mqtt_frame frame;
    enum mqtt_frame_status status;
    size_t at = 0;
    if (len == 0) /* there may be no buffer yet */
        return 0;
    while ((status = mqtt_frame_parse(span_of(bytes + at, len - at), &frame)) == MQTT_FRAME_WHOLE) {
        each(ctx, &frame, span_of(bytes + at + frame.header_len, frame.body_len));
        at += (size_t)frame.header_len + frame.body_len;
    }
    CHECK(status != MQTT_FRAME_BAD);
    if (at > 0)
        memmove(bytes, bytes + at, len - at);
    return len - at;
}

void packets_check_order(struct server_stream *stream, const struct mqtt_frame *frame,
                         struct span body)
{
    static const bool servers[16] = {
        [MQTT_CONNACK] = true,    [MQTT_PUBLISH] = true,  [MQTT_PUBACK] = true,
        [MQTT_PUBREC] = true,     [MQTT_PUBREL] = true,   [MQTT_PUBCOMP] = true,
        [MQTT_SUBACK] = true,     [MQTT_UNSUBACK] = true, [MQTT_PINGRESP] = true,
        [MQTT_DISCONNECT] = true,
    };
    CHECK(servers[frame->type] && mqtt_flags_valid(frame, MQTT_V5));
    CHECK(!stream->ended);
    CHECK(stream->welcomed != (frame->type == MQTT_CONNACK));
    stream->welcomed = true;
    stream->ended = frame->type == MQTT_DISCONNECT ||
                    (frame->type == MQTT_CONNACK && body.data[1] != 0);
}
