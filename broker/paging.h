/* SPDX-License-Identifier: MIT */
/*
 * Sessions that are far behind keep a window of deliveries in memory; what comes behind it is only
 * numbers (broker/tail.h), and is read back from the store when the client has taken the window.
 *
 *     session_offer ─► queue … full, or there is a tail ─► tail
 *     connected, and the queue is short ─ paging_want() ─ end of the turn: paging_work() ─► the store
 *     the store has read some ─ paging_collect() ─► queue ─ the connection has output
 *
 * As long as there is a tail whatever comes joins it, so the order is kept; but for what comes
 * through a shared group: that was asked for one by one, and may go back to its group. The queues of
 * groups stay in memory. What is asked for stays in the tail until it has come, so a session can
 * move to another worker, or end, at any time. Everything runs on the session's worker.
 */
#pragma once

#include "broker/session.h"
#include "broker/worker_state.h"

enum {
    WINDOW_AWAY = 16,   /* deliveries in memory of a session without a connection */
    WINDOW_SLOW = 1024, /* and of one whose client does not keep up */
};

/* Whether the delivery belongs into the tail. */
static inline bool paging_takes(const struct worker *worker, const struct session *session,
                                const struct delivery *delivery)
{
    if (session_tail(session))
        return !(delivery->flags & DELIVERY_SHARED);
    return session->queue.count >= worker->window_away && worker->pages &&
           (!session->conn || session->queue.count >= worker->window_slow) &&
           (delivery->flags & (DELIVERY_STORED | DELIVERY_SHARED)) == DELIVERY_STORED;
}

/* What waits behind the queue, made if there is none yet; NULL: no memory. */
MUST_USE struct pages *paging_of(struct session *session);
/* Takes the delivery over; false: no memory, not taken. */
MUST_USE bool paging_push(struct session *session, const struct delivery *delivery);

/* The client may take more: its tail is read when this turn ends. */
void paging_want(struct worker *worker, struct session *session);
/* At the end of a turn, when what it has recorded is submitted: asks the store. */
void paging_work(struct worker *worker);
/* Takes what the store has read. */
void paging_collect(struct worker *worker);
/* The session is freed, and what waits in memory with it. */
void paging_done(struct session *session);
/* Whatever is asked for is not wanted any more: it stays in the tail. */
void paging_forget(struct session *session);
/* The first one of the tail leaves for good, unread; false: there is none. */
bool paging_drop_first(struct worker *worker, struct session *session);
