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
 * ever. A receiver on another worker says by a flag that it is pressed, and its owner wakes the others
 * up when it is so no more; they forget it with the fence that comes before its end. All else belongs
 * to the worker of the connection, or of the session. A chunk is put aside as well until another worker
 * has taken in its mail, when a crowd of it waits there.
 */
#pragma once

#include "broker/worker_state.h"

struct conn;
struct session;

/* A session that attaches is taken for brisk, for the first slice of time. */
void brake_start(struct session *session);
/* Deliveries in a queue from which on it counts as crowded: what can be sent is sent in mid-turn. */
uint32_t brake_mark(const struct worker *worker);
/* The session is crowded, and waits for acknowledgements. */
void brake_offered(struct worker *worker, struct session *session, uint64_t now);
/* The session, on another worker, is to get a delivery of QoS 1 or 2. */
void brake_posted(struct worker *worker, struct session *session);
/* What is fed from here on has pressed nobody yet. */
void brake_begin(struct worker *worker);
/* Puts `rest` aside, when brake_wanted() after a packet. False: feed it. */
bool brake_hold(struct conn *conn, struct span rest);
/* Puts a new chunk of a publisher behind those that wait for the mail to be taken in: else they would
 * wait for ever. False: feed it. */
bool brake_behind(struct conn *conn, struct span bytes);
/* More from a connection that is braked. False: no memory. */
bool brake_append(struct conn *conn, struct span bytes);
/* Goes on with those that need not wait any more. */
void brake_release(struct worker *worker, uint64_t now);
/* Nobody waits for this session any more. */
void brake_forget(struct worker *worker, struct session *session);
/* Nor for any of another worker. */
void brake_forget_far(struct worker *worker);
/* The connection is closed: drops what it has sent. */
void brake_drop(struct conn *conn);

enum { BRAKE_POSTED_MAX = 128 }; /* messages whose mails are handed over in mid-turn */
void brake_hand_over(struct worker *worker);

/* Whether what was fed has pressed a receiver, or made another worker's mailbox crowded. */
static inline bool brake_wanted(struct worker *worker)
{
    if (worker->posted >= BRAKE_POSTED_MAX)
        brake_hand_over(worker);
    return worker->pressed || worker->mail_waits;
}
