/* SPDX-License-Identifier: MIT */
/*
 * See session.h. Limits, the coming and going of connections, and the end of a session. Owner-only,
 * but for session_new() and session_free(), which nobody else can see yet or any more.
 */
#include "broker/session.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/author.h"
#include "broker/brake.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/log.h"
#include "broker/paging.h"
#include "broker/takeover.h"
#include "broker/will.h"

#include <stdlib.h>

static timer_fn session_timer;

struct session *session_new(struct worker *owner, struct span client_id, uint64_t hash)
{
    struct session *session = calloc(1, sizeof *session + client_id.len);
    if (!session)
        return NULL;
    memcpy(session->client_id, client_id.data, client_id.len);
    session->client_id_len = (uint32_t)client_id.len;
    session->hash = hash;
    session->ends_at = UINT64_MAX;
    session->timer.fire = session_timer;
    atomic_init(&session->owner, owner);
    return session;
}

void session_free(struct session *session)
{
    paging_done(session);
    queue_done(&session->queue);
    inflight_done(&session->inflight);
    message_unref(session->will);
    takeover_forget(session);
    session_subscriptions_done(session);
    id_set_done(session->qos2_ids);
    principal_unref(session->principal);
    author_unref(session->author);
    free(session);
}

/* ---- offering ---- */

void session_drop(struct worker *worker, struct session *session, struct delivery *delivery)
{
    STAT_ADD(&worker->stats, publish_dropped, 1);
    STAT_ADD(&worker->stats, queue_dropped, 1);
    if (delivery->flags & DELIVERY_SHARED)
        group_credit(worker, delivery->member, 1);
    durable_done(worker, session->slot, delivery);
    delivery_unref(delivery);
}

bool session_can_drain(const struct session *session)
{
    const struct conn *conn = session->conn;
    const struct delivery *first = queue_first(&session->queue);
    return conn && !conn->choked && conn->connack_sent && first &&
           (first->qos == 0 || session->inflight.window < conn->window);
}

/* Whether the delivery may not be read, and has gone. What came through a group was asked about
 * there. Apart from session_offer(), which is to cost nothing where there are no rules. */
__attribute__((noinline)) static bool deny(struct worker *worker, struct session *session,
                                           struct delivery *delivery)
{
    if (delivery->flags & DELIVERY_SHARED)
        return false;
    if (access_may(worker, session, ACL_READ, message_topic(delivery->message))) {
        delivery->flags &= (uint8_t)~DELIVERY_ASK;
        return false;
    }
    STAT_ADD(&worker->stats, deliveries_denied, 1);
    durable_done(worker, session->slot, delivery);
    delivery_unref(delivery);
    return true;
}

/* Many are waiting, in mid-turn: send now what can be sent, else take in less. */
static void crowded(struct worker *worker, struct session *session, uint64_t now)
{
    if (session_can_drain(session))
        session->conn->link->ops->flush(session->conn->link);
    else if (session->inflight.window > 0)
        brake_offered(worker, session, now);
}

static inline bool keep(struct worker *worker, struct session *session,
                        const struct delivery *delivery)
{
    return paging_takes(worker, session, delivery) ? paging_push(session, delivery)
                                                   : queue_push(&session->queue, delivery);
}

/* A client that is connected and keeps up, and nothing to ask: of all that offer_any() looks at there is
 * nothing. */
static inline bool is_easy(const struct worker *worker, const struct session *session,
                           const struct delivery *delivery)
{
    return session->queue.count < worker->easy_queue && session->conn &&
           session->phase == SESSION_ACTIVE && !worker->guarded && !session_tail(session) &&
           !(delivery->flags & DELIVERY_SHARED) &&
           memory_level(&worker->broker->memory) == MEMORY_PLENTY;
}

__attribute__((noinline)) static void offer_any(struct worker *worker, struct session *session,
                                                struct delivery *delivery, uint64_t now)
{
    if (worker->guarded && !access_is_open(worker, session, delivery) &&
        deny(worker, session, delivery))
        return;
    bool offline = !session->conn;
    if (delivery->flags & DELIVERY_SHARED)
        group_took(delivery->member);
    if (delivery->flags & DELIVERY_SHARED && (offline || session->phase != SESSION_ACTIVE)) {
        group_return(worker, delivery);
        return;
    }
    if (session->phase == SESSION_ENDING ||
        (offline && delivery->qos == 0 && !worker->config->queue_qos0_messages)) {
        durable_done(worker, session->slot, delivery);
        delivery_unref(delivery);
        return;
    }
    /* What came through a group was asked for (credit). */
    bool takes = delivery->flags & DELIVERY_SHARED ||
                 worker_queue_takes(worker, &session->queue, session_tail(session), delivery);
    takes = takes && keep(worker, session, delivery);
    if (!takes)
        session_drop(worker, session, delivery);
    if (offline)
        return;
    worker_ready(worker, session->conn);
    if (session->queue.count >= brake_mark(worker))
        crowded(worker, session, now);
}

void session_offer(struct worker *worker, struct session *session, struct delivery *delivery,
                   uint64_t now)
{
    if (is_easy(worker, session, delivery) && queue_push(&session->queue, delivery))
        worker_ready(worker, session->conn);
    else
        offer_any(worker, session, delivery, now);
}

void session_finish(struct worker *worker, struct session *session, struct inflight_entry *entry,
                    uint16_t id)
{
    session->pace.acknowledged++;
    durable_done(worker, session->slot, &entry->delivery);
    if (entry->recorded)
        durable_outbound_end(worker, session, entry, id);
    if (entry->delivery.flags & DELIVERY_SHARED)
        group_credit(worker, entry->delivery.member, 1);
    inflight_finish(&session->inflight, entry);
}

/* ---- connections come and go ---- */

void session_attach(struct session *session, struct conn *conn, uint64_t now)
{
    struct worker *worker = conn->worker;
    (void)now;
    session->conn = conn;
    session->epoch++;
    brake_start(session);
    session->expiry = conn->session_expiry;
    session->ends_at = UINT64_MAX;
    session->taken_by_clean_start = false;
    wheel_cancel(&session->timer);
    message_unref(session->will); /* back in time: the delayed will is not sent [MQTT5-3.1.3-9] */
    session->will = NULL;
    id_set_mark(session->qos2_ids);
    conn->session = session;
    access_become(worker, session, conn->principal);
    conn->principal = NULL;
    conn->resend = session->inflight.base;
    durable_session_decide(worker, session);
    paging_want(worker, session);
    group_members_online(worker, session, conn->window);
}

/* `beyond`: behind the window. Once the tail has begun everything joins it. */
static bool keep_window(struct worker *worker, struct session *session,
                        const struct delivery *delivery, bool beyond)
{
    bool begins = beyond && worker->pages && delivery->flags & DELIVERY_STORED;
    return begins || (beyond && session_tail(session)) ? paging_push(session, delivery)
                                                       : queue_push(&session->queue, delivery);
}

/* Takes out of the queue what does not wait for the client to come back: QoS 0, and what other
 * members of a group may have. What is more than the window goes into the tail, unless there is one:
 * it comes behind all of this. */
static void clear_queue(struct worker *worker, struct session *session, struct deliveries *shared)
{
    struct tail *tail = session_tail(session);
    bool may_page = !tail && session_kept_slot(session) != 0;
    uint32_t kept = 0;
    if (tail && !worker->config->queue_qos0_messages)
        tail_drop_qos0(tail);
    for (uint32_t left = session->queue.count; left > 0; left--) {
        struct delivery delivery;
        if (!queue_pop(&session->queue, &delivery))
            break;
        if (delivery.flags & DELIVERY_SHARED)
            deliveries_add(shared, &delivery);
        else if (delivery.qos == 0 && !worker->config->queue_qos0_messages)
            delivery_unref(&delivery);
        else if (!keep_window(worker, session, &delivery,
                              may_page && kept++ >= worker->window_away))
            session_drop(worker, session, &delivery);
    }
}

/* Unacknowledged QoS 1 messages of a group go to another member; a QoS 2 delivery that has begun
 * stays with this session [MQTT5-4.8.2-4, MQTT5-4.8.2-5]. One whose identifier only waited for the
 * store has not. */
static bool goes_back(const struct inflight_entry *entry)
{
    bool begun = entry->state == AWAIT_PUBCOMP ||
                 (entry->state == AWAIT_PUBREC && entry->delivery.flags & DELIVERY_BEGUN);
    return entry->state != INFLIGHT_FREE && entry->delivery.flags & DELIVERY_SHARED && !begun;
}

static void give_back(struct worker *worker, struct session *session)
{
    struct deliveries shared = { 0 };
    struct inflight *inflight = &session->inflight;
    for (uint64_t place = inflight->base; place < inflight->next; place++) {
        place = place < inflight->base ? inflight->base : place; /* finishing moves the base */
        if (place == inflight->next)
            break;
        struct inflight_entry *entry = inflight_at(inflight, place);
        if (!goes_back(entry))
            continue;
        struct delivery delivery = delivery_ref(&entry->delivery);
        deliveries_add(&shared, &delivery);
        durable_outbound_end(worker, session, entry, inflight_id(place));
        inflight_finish(inflight, entry);
    }
    clear_queue(worker, session, &shared);
    while (shared.count > 0) /* newest first: each goes to the front of the group's queue */
        group_return(worker, &shared.at[--shared.count]);
    free(shared.at);
}

static uint64_t after_seconds(uint64_t now, uint32_t seconds)
{
    return seconds == SESSION_NEVER_EXPIRES ? UINT64_MAX : now + (uint64_t)seconds * 1000;
}

static void arm(struct worker *worker, struct session *session)
{
    uint64_t due = session->ends_at;
    if (session->will && session->will_at < due)
        due = session->will_at;
    if (due != UINT64_MAX)
        wheel_set(&worker->wheel, &session->timer, due);
}

void session_detach(struct worker *worker, struct session *session, uint64_t now)
{
    if (session->conn) {
        session->conn->session = NULL;
        session->conn = NULL;
    }
    brake_forget(worker, session);
    /* First, so that the groups do not choose this session for what it gives back. */
    group_members_offline(worker, session);
    paging_forget(session);
    give_back(worker, session);
    inflight_disconnected(&session->inflight);
    durable_sent(worker, session);
    durable_session_decide(worker, session);
    session->ends_at = after_seconds(now, session->expiry);
    if (session->expiry == 0) {
        session_end(worker, session, now);
        return;
    }
    (void)durable_session(worker, session, !session->changed);
    session->changed = false;
    arm(worker, session);
}

void session_restore(struct worker *worker, struct session *session,
                     const struct session_record *record, bool fresh)
{
    uint64_t now = worker->now;
    message_unref(session->will);
    session->will = record->will ? message_ref(record->will) : NULL;
    session->will_delay = record->will_delay;
    session->epoch = record->epoch;
    session->expiry = record->expiry;
    session->ends_at = record->ends_at;
    session->will_at = record->will_at;
    if (record->connected) {
        session->ends_at = after_seconds(now, record->expiry);
        session->will_at = now + (uint64_t)record->will_delay * 1000;
    }
    if (record->expiry == 0) /* kept for its will alone, or no more: it ends, as the connection */
        session->ends_at = now;
    durable_session_decide(worker, session);
    if (record->connected && record->expiry)
        (void)durable_session(worker, session, true);
    if (fresh)
        STAT_ADD(&worker->stats, sessions, 1);
    arm(worker, session);
}

static void session_timer(struct timer *timer, uint64_t now)
{
    struct session *session = CONTAINER_OF(timer, struct session, timer);
    struct worker *worker = session_owner(session);
    if (session->ends_at <= now) {
        char name[LOG_QUOTE_MAX];
        log_emit(LEVEL_NOTICE, "Session of %s has expired.",
                 log_quote(name, sizeof name, session->client_id, session->client_id_len));
        STAT_ADD(&worker->stats, clients_expired, 1);
        session_end(worker, session, now);
        return;
    }
    if (session->will && session->will_at <= now) {
        will_send_delayed(worker, session, now);
        (void)durable_session(worker, session, false); /* the will and its end in one batch */
    }
    arm(worker, session);
}

void session_leave(struct worker *worker, struct session *session)
{
    session->phase = SESSION_LEAVING;
    wheel_cancel(&session->timer);
    paging_forget(session);
    list_remove(&session->worker_node);
    list_append(&worker->leaving, &session->worker_node);
    retained_leave(session);
    STAT_ADD(&worker->stats, sessions, -1);
    STAT_ADD(&worker->stats, subscriptions, -(int64_t)session->subscription_count);
}

/* ---- the end ---- */

struct funeral {
    struct fence fence;
    struct session *session;
};

bool session_bury_some(struct worker *worker, struct session *session, uint32_t most)
{
    struct inflight *inflight = &session->inflight;
    struct delivery delivery;
    for (; inflight->count > 0 && most > 0; most--) {
        struct inflight_entry *entry = inflight_at(inflight, inflight->base);
        durable_done(worker, session->slot, &entry->delivery);
        inflight_finish(inflight, entry); /* the base is never free: it moves on */
    }
    for (; most > 0 && queue_pop(&session->queue, &delivery); most--) {
        durable_done(worker, session->slot, &delivery);
        delivery_unref(&delivery);
    }
    while (most > 0 && paging_drop_first(worker, session))
        most--;
    return inflight->count > 0 || session->queue.count > 0 || session_tail(session);
}

static void bury(struct fence *fence, uint64_t now)
{
    struct funeral *funeral = CONTAINER_OF(fence, struct funeral, fence);
    (void)now;
    worker_bury(fence->worker, funeral->session);
    free(funeral);
}

static void unsubscribe_all(struct worker *worker, struct session *session)
{
    struct filter_change changes[ROUTER_BATCH];
    size_t count = 0;
    for (uint32_t i = 0; i < session->subscription_count; i++) {
        struct subscription *subscription = session_subscription_at(session, i);
        struct membership *member = subscription_member(session, subscription);
        if (member) {
            group_leave(worker, member);
            subscription_set_member(session, subscription, NULL);
            STAT_ADD(&worker->stats, shared_subscriptions, -1);
            continue;
        }
        changes[count++] = (struct filter_change){
            .filter = subscription_filter(session, subscription),
            .entry = { .subscriber = session, .kind = TREE_SESSION },
            .remove = true,
        };
        if (count == ROUTER_BATCH) {
            route_change(worker, changes, count);
            count = 0;
        }
    }
    if (count)
        route_change(worker, changes, count);
    STAT_ADD(&worker->stats, subscriptions, -(int64_t)session->subscription_count);
}

/* QoS 2 deliveries of a group that have begun end with the session [MQTT5-4.8.2-5]; the group
 * counts them. */
static void finish_shared(struct worker *worker, struct session *session)
{
    struct inflight *inflight = &session->inflight;
    for (uint64_t place = inflight->base; place < inflight->next; place++) {
        if (place < inflight->base) /* finishing has moved the base */
            continue;
        struct inflight_entry *entry = inflight_at(inflight, place);
        if (entry->state != INFLIGHT_FREE && entry->delivery.flags & DELIVERY_SHARED)
            session_finish(worker, session, entry, inflight_id(place));
    }
}

void session_end(struct worker *worker, struct session *session, uint64_t now)
{
    struct funeral *funeral = must_have(calloc(1, sizeof *funeral));
    CHECK(!session->conn);
    if (session->will)
        will_send_delayed(worker, session, now); /* the session's end is the latest moment */
    session->phase = SESSION_ENDING;
    wheel_cancel(&session->timer);
    paging_forget(session);
    list_remove(&session->worker_node);
    retained_cancel(session, (struct span){ 0 });
    finish_shared(worker, session);
    unsubscribe_all(worker, session);
    session_table_remove(worker->broker->table, session);
    STAT_ADD(&worker->stats, sessions, -1);
    list_remove(&session->sent_node);
    (void)durable_session_end(worker, session->slot);
    funeral->session = session;
    funeral->fence.passed = bury;
    funeral->fence.position = worker_position(worker);
    fence_start(worker, &funeral->fence, now);
}
