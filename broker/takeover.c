/* SPDX-License-Identifier: MIT */
/*
 * See takeover.h. Runs on workers; a session's fields are touched by its owner alone, and what the
 * next owner needs before the hand-over (held deliveries, queued claims) stands in the claim that
 * the session arrives for.
 */
#include "broker/takeover.h"

#include "broker/auth/access.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/session.h"

#include <stdlib.h>

static void post_claim(struct worker *from, struct worker *to, enum mail_kind kind,
                       struct claim *claim)
{
    worker_post(from, to, &(struct mail){ .kind = kind, .target = claim });
}

/* The claimant has its session. It stays offline when the connection has gone meanwhile. */
static void claim_finish(struct claim *claim, struct session *session, bool present, uint64_t now)
{
    struct conn *conn = claim->conn;
    struct worker *worker = claim->worker;
    uint32_t ended_slot = claim->ended_slot;
    free(claim);
    if (conn) {
        conn->claim = NULL;
        conn->ended_slot = ended_slot;
        conn_claimed(conn, session, present, now);
    } else {
        session_detach(worker, session, now);
    }
}

static void ask_the_table(struct claim *claim, uint64_t now)
{
    struct worker *worker = claim->worker;
    bool created;
    struct span client_id = span_of(claim->client_id, claim->client_id_len);
    claim->session = session_table_claim(worker->broker->table, worker, client_id, &created);
    claim->retry = false;
    if (!claim->session) {
        struct conn *conn = claim->conn;
        free(claim);
        conn->claim = NULL;
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for the session", now);
    } else if (created) {
        STAT_ADD(&worker->stats, sessions, 1);
        claim_finish(claim, claim->session, false, now);
    } else {
        post_claim(worker, session_owner(claim->session), MAIL_CLAIM, claim);
    }
}

void claim_start(struct conn *conn, struct span client_id, uint64_t now)
{
    struct claim *claim = calloc(1, sizeof *claim + client_id.len);
    if (!claim) {
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for the claim", now);
        return;
    }
    claim->worker = conn->worker;
    claim->conn = conn;
    claim->clean_start = conn->clean_start;
    claim->client_id_len = (uint32_t)client_id.len;
    memcpy(claim->client_id, client_id.data, client_id.len);
    list_init(&claim->waiting);
    conn->claim = claim;
    ask_the_table(claim, now);
}

void claim_abandon(struct claim *claim)
{
    claim->conn = NULL;
}

/* Nothing that was matched before is still on its way to this worker: the session may go. */
static void hand_over(struct fence *fence, uint64_t now)
{
    struct claim *claim = CONTAINER_OF(fence, struct claim, fence);
    (void)now;
    claim->session->phase = SESSION_ACTIVE;
    list_remove(&claim->session->worker_node);
    post_claim(fence->worker, claim->worker, MAIL_CLAIM_ANSWER, claim);
}

/* Whether the session must not outlive its last connection. */
static bool ends_with_takeover(const struct session *session, const struct claim *claim)
{
    return claim->clean_start || session->expiry == 0;
}

void claim_at_owner(struct worker *worker, struct claim *claim, uint64_t now)
{
    struct session *session = claim->session;
    struct worker *owner = session_owner(session);
    if (owner != worker) {
        post_claim(worker, owner, MAIL_CLAIM, claim);
        return;
    }
    if (session->arriving) {
        list_append(&session->arriving->waiting, &claim->node);
        return;
    }
    if (session->phase == SESSION_ACTIVE && session->conn) {
        STAT_ADD(&worker->stats, takeovers, 1);
        /* [MQTT5-3.1.3-9]: the will's delay is in vain when the new connection ends the session. */
        session->taken_by_clean_start = claim->clean_start;
        conn_end(session->conn, END_TAKEN_OVER, MQTT_SESSION_TAKEN_OVER,
                 "session taken over by another connection", now);
    }
    if (session->phase == SESSION_ACTIVE && ends_with_takeover(session, claim))
        session_end(worker, session, now);
    if (session->phase == SESSION_ENDING) {
        claim->retry = true;
        claim->ended_slot = session->slot;
        post_claim(worker, claim->worker, MAIL_CLAIM_ANSWER, claim);
    } else if (claim->worker == worker) {
        claim_finish(claim, session, true, now);
    } else {
        session_leave(worker, session);
        session->arriving = claim;
        atomic_store_explicit(&session->owner, claim->worker, memory_order_release);
        claim->fence.passed = hand_over;
        claim->fence.position = worker_position(worker); /* the next owner has other positions */
        fence_start(worker, &claim->fence, now);
    }
}

/* Claims that came while the session was on its way, in their order. */
static void serve_waiting_claims(struct worker *worker, struct list *claims, uint64_t now)
{
    struct list *node;
    while ((node = list_take(claims)))
        claim_at_owner(worker, CONTAINER_OF(node, struct claim, node), now);
}

void claim_answered(struct worker *worker, struct claim *claim, uint64_t now)
{
    struct session *session = claim->session;
    if (claim->retry) {
        if (claim->conn)
            ask_the_table(claim, now);
        else
            free(claim);
        return;
    }
    session->arriving = NULL;
    inflight_moved(&session->inflight);
    retained_arrive(worker, session);
    access_adopt(worker, session);
    STAT_ADD(&worker->stats, sessions, 1);
    STAT_ADD(&worker->stats, subscriptions, session->subscription_count);
    for (size_t i = 0; i < claim->held.count; i++)
        session_offer(worker, session, &claim->held.at[i], now);
    free(claim->held.at);

    struct list claims;
    list_init(&claims);
    list_move(&claims, &claim->waiting);
    claim_finish(claim, session, true, now);
    serve_waiting_claims(worker, &claims, now);
}

void takeover_forget(struct session *session)
{
    struct claim *claim = session->arriving;
    for (size_t i = 0; claim && i < claim->held.count; i++)
        delivery_unref(&claim->held.at[i]);
    if (claim)
        free(claim->held.at);
    session->arriving = NULL;
}

void takeover_deliver(struct worker *worker, struct session *session, struct delivery *delivery,
                      uint64_t now)
{
    struct worker *owner = session_owner(session);
    if (owner == worker && session->arriving)
        deliveries_add(&session->arriving->held, delivery);
    else if (owner == worker || session->phase == SESSION_LEAVING)
        session_offer(worker, session, delivery, now);
    else
        worker_post(
            worker, owner,
            &(struct mail){ .kind = MAIL_DELIVERY, .target = session, .delivery = *delivery });
}
