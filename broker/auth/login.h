/* SPDX-License-Identifier: MIT */
/*
 * Who a client is. CONNECT waits for this, as it then waits for its session: the connection is in
 * CONN_CLAIMING and holds what arrives. Whoever is let in gets a user name (conn->user) and a client
 * identifier, and goes on to claim its session; who is not is refused with 0x86 or 0x87.
 *
 * Runs on the connection's worker.
 */
#pragma once

#include "mqtt/span.h"

struct conn;
struct mqtt_connect;

/* Decides, or begins to find out, who sent this CONNECT (whose views live for this call only):
 * conn_admitted() or conn_refuse() is called, maybe before this returns. */
void login_start(struct conn *conn, const struct mqtt_connect *connect, uint64_t now);
