/* SPDX-License-Identifier: MIT */
/*
 * What one client may have and how fast it may send: message_rate and byte_rate, subscriptions,
 * levels of topics, and the retained messages of all. Who sends faster is not told and loses nothing:
 * what is left of a chunk is put aside and the socket left unread, until the client is on time again;
 * meanwhile its keep-alive stands still. A second's worth may come at once. Everything runs on the
 * connection's worker.
 */
#pragma once

#include "mqtt/packet.h"

struct conn;
struct worker;

/* Whether what it sends goes through quota_feed(): one test a chunk. */
bool quota_applies(const struct conn *conn);
void quota_feed(struct conn *conn, struct span bytes, uint64_t now);
/* Whether it is left unread because of its rate, and until when (milliseconds; UINT64_MAX: not). */
bool quota_waits(const struct conn *conn);
uint64_t quota_ends(const struct conn *conn);
/* That has come: goes on with what was put aside. */
void quota_go_on(struct conn *conn, uint64_t now);
void quota_forget(struct conn *conn); /* the connection has ended */

/* What a message is refused with for its topic's levels, or as one retained message too many. */
enum mqtt_reason quota_publish(const struct conn *conn, const struct mqtt_publish *publish);
/* Whether the topic may have a retained message, as far as their number goes. Any thread. */
bool quota_retains(const struct worker *worker, struct span topic);
/* The same of a subscription. `is_new`: it would be one more. */
enum mqtt_reason quota_subscribe(const struct conn *conn, struct span filter, bool is_new);
bool quota_has_levels(const struct conn *conn, struct span topic);
