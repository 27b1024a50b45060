/* SPDX-License-Identifier: MIT */
/*
 * `log_type debug`: a line for every packet, in mosquitto's words. Whoever handles or sends packets
 * asks log_wants(LEVEL_DEBUG) first, so that nothing but one load is spent on it otherwise. Owner of the
 * connection; changes nothing.
 */
#pragma once

#include "mqtt/packet.h"

struct conn;
struct delivery;

/* Before it is handled: the packet may turn out to be malformed. */
void trace_received(const struct conn *conn, const struct mqtt_frame *frame, struct span body);
void trace_sent_publish(const struct conn *conn, const struct delivery *delivery, uint16_t id);
/* Any other packet. `id` and `reason` are those of an acknowledgement. */
void trace_sent(const struct conn *conn, enum mqtt_type type, uint16_t id, enum mqtt_reason reason);
