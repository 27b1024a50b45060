/* SPDX-License-Identifier: MIT */
/*
 * What a fake link received, taken apart into packets: the one way for the tests that look at
 * packets and for the fuzz targets that only check them. It owns nothing.
 */
#pragma once

#include "mqtt/packet.h"

#include <stdbool.h>

typedef void packet_visit_fn(void *ctx, const struct mqtt_frame *frame, struct span body);

/* Calls `each` for every whole packet, in order, and moves what is left to the front. Returns how
 * many bytes that is. Ends the program when the bytes are no packets. */
size_t packets_take(uint8_t *bytes, size_t len, packet_visit_fn *each, void *ctx);

/* What has come so far on a connection. Zeroed: nothing. */
struct server_stream {
    bool welcomed, ended;
};

/* Ends the program when a server must not send this packet, or not now: CONNACK comes first and
 * once, nothing comes after a refusal or DISCONNECT. */
void packets_check_order(struct server_stream *stream, const struct mqtt_frame *frame,
                         struct span body);
