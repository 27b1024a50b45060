/* SPDX-License-Identifier: MIT */
/*
 * The brake on publishers of QoS 1 and 2. One turn can take in many times what a subscriber's window
 * and queue hold, before the acknowledgements that its socket has ready are read: all that is beyond
 * would be dropped, though the subscriber is as fast as can be. So when a receiver's window is full
 * and its queue half full, and it acknowledges briskly, what is left of the publisher's bytes is put
 * aside, and its socket left unread, until that receiver has room again:
 *
 *     conn_feed ─ PUBLISH ─ session_offer ─ brake_offered()          the receiver is pressed
 *          └ brake_hold(): the rest of the chunk ─► worker->braked
 *     end of a turn ─ brake_release(): the receiver has room, or is not brisk any more ─ go on
 *
 * Nobody is waited for who acknowledges slowly or not at all: then the limits of the queue decide, as
 * ever. A receiver on another worker does not brake. Everything runs on the connection's worker.
 */
#pragma once

#include "mqtt/span.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct session;
struct worker;

/* A session that attaches is taken for brisk, for the first slice of time. */
void brake_start(struct session *session);
/* Deliveries in a queue from which on it counts as crowded: what can be sent is sent in mid-turn. */
uint32_t brake_mark(const struct worker *worker);
/* The session is crowded, and waits for acknowledgements. */
void brake_offered(struct worker *worker, struct session *session, uint64_t now);
/* Puts `rest` aside when what was just fed has pressed a receiver. False: feed it. */
bool brake_hold(struct conn *conn, struct span rest);
/* More from a connection that is braked. False: no memory. */
bool brake_append(struct conn *conn, struct span bytes);
/* Goes on with those that need not wait any more. */
void brake_release(struct worker *worker, uint64_t now);
/* Nobody waits for this session any more. */
void brake_forget(struct worker *worker, const struct session *session);
/* The connection is closed: drops what it has sent. */
void brake_drop(struct conn *conn);
