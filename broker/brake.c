/* SPDX-License-Identifier: MIT */
/* See brake.h. What is put aside is bounded for a worker: beyond that nobody is braked. */
#include "broker/brake.h"

#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/session.h"

#include <stdlib.h>

enum {
    SLICE = 50,                  /* milliseconds */
    BRISK = 1000,                /* acknowledgements in a slice */
    CROWDED = 500,               /* deliveries in a queue, or half of max_queued_messages */
    HELD_MAX = 16 * 1024 * 1024, /* bytes that are put aside, of all connections */
};

/* What a connection has sent and nobody has looked at. */
struct braked {
    struct list node; /* worker->braked */
    struct conn *conn;
    struct session *session; /* the receiver; NULL: gone */
    bool far;                /* it is another worker's: only its flag may be looked at */
    bool mail;               /* other workers have to take in their mail first */
    size_t at, len;          /* of `bytes`: the next, and all */
    uint8_t bytes[];
};

/* ---- the receiver ---- */

void brake_start(struct session *session)
{
    session->pace = (struct pace){ .acknowledged = BRISK };
}

static bool is_brisk(struct pace *pace, uint64_t now)
{
    if (now >= pace->slice_ends) {
        pace->brisk = pace->acknowledged >= BRISK;
        pace->acknowledged = 0;
        pace->slice_ends = now + SLICE;
    }
    return pace->brisk || pace->acknowledged >= BRISK;
}

uint32_t brake_mark(const struct worker *worker)
{
    uint32_t half = worker->config->max_queued_messages / 2;
    return half > 0 && half < CROWDED ? half : CROWDED;
}

void brake_offered(struct worker *worker, struct session *session, uint64_t now)
{
    if (!is_brisk(&session->pace, now))
        return;
    worker->pressed = session;
    worker->pressed_far = false;
    if (worker->broker->worker_count == 1 || list_linked(&session->pressed_node))
        return;
    list_append(&worker->pressed_here, &session->pressed_node);
    atomic_store_explicit(&session->pressed, true, memory_order_relaxed);
}

void brake_posted(struct worker *worker, struct session *session)
{
    if (!atomic_load_explicit(&session->pressed, memory_order_relaxed))
        return;
    worker->pressed = session;
    worker->pressed_far = true;
}

/* Publishers on other workers go on. */
static void relieve(struct worker *worker, struct session *session)
{
    if (!list_linked(&session->pressed_node))
        return;
    list_remove(&session->pressed_node);
    atomic_store(&session->pressed, false);
    for (unsigned i = 0; i < worker->broker->worker_count; i++)
        if (i != worker->index)
            worker_wake(worker->broker->workers[i]);
}

/* Half of the mark: what goes on is to be worth a turn. */
static bool has_room(struct worker *worker, struct session *session, uint64_t now)
{
    if (session_can_drain(session))
        session->conn->link->ops->flush(session->conn->link);
    return session->queue.count <= brake_mark(worker) / 2 || !is_brisk(&session->pace, now);
}

/* ---- the publisher ---- */

void brake_begin(struct worker *worker)
{
    worker->pressed = NULL;
    if (worker->mail_waits) /* what somebody before has found out holds for all who follow */
        worker->mail_waits = worker_mail_waits(worker);
}

void brake_hand_over(struct worker *worker)
{
    worker_flush_outboxes(worker);
    worker->mail_waits = worker_mail_waits(worker);
}

static void put(struct worker *worker, struct braked *braked)
{
    braked->session = worker->pressed;
    braked->far = worker->pressed_far;
    braked->mail = worker->mail_waits;
    braked->conn->braked = braked;
    brake_begin(worker);
    worker->braked_bytes += braked->len;
    worker->braked_for_mail += braked->mail;
    list_append(&worker->braked, &braked->node);
}

static void take(struct worker *worker, struct braked *braked)
{
    braked->conn->braked = NULL;
    worker->braked_bytes -= braked->len;
    worker->braked_for_mail -= braked->mail;
    list_remove(&braked->node);
}

bool brake_hold(struct conn *conn, struct span rest)
{
    struct worker *worker = conn->worker;
    struct braked *again = worker->releasing;
    if (conn->phase != CONN_OPEN)
        return false;
    if (again && again->conn == conn) { /* its bytes are these */
        again->at = again->len - rest.len;
        put(worker, again);
        return true;
    }
    struct braked *braked = NULL;
    if (worker->braked_bytes + rest.len <= HELD_MAX)
        braked = malloc(sizeof *braked + rest.len);
    if (!braked) {
        brake_begin(worker);
        return false;
    }
    *braked = (struct braked){ .conn = conn, .len = rest.len };
    memcpy(braked->bytes, rest.data, rest.len);
    put(worker, braked);
    return true;
}

bool brake_behind(struct conn *conn, struct span bytes)
{
    struct worker *worker = conn->worker;
    if (!conn->publishes)
        return false;
    worker->mail_waits = true;
    return brake_hold(conn, bytes);
}

bool brake_append(struct conn *conn, struct span bytes)
{
    struct worker *worker = conn->worker;
    struct braked *braked = conn->braked;
    const struct braked before = *braked;
    take(worker, braked);
    struct braked *grown = realloc(braked, sizeof *braked + braked->len + bytes.len);
    if (!grown) {
        free(braked);
        return false;
    }
    memcpy(grown->bytes + grown->len, bytes.data, bytes.len);
    grown->len += bytes.len;
    worker->pressed = before.session;
    worker->pressed_far = before.far;
    worker->mail_waits |= before.mail;
    put(worker, grown);
    return true;
}

void brake_drop(struct conn *conn)
{
    struct braked *braked = conn->braked;
    if (!braked)
        return;
    take(conn->worker, braked);
    if (conn->worker->releasing != braked)
        free(braked);
}

void brake_forget(struct worker *worker, struct session *session)
{
    relieve(worker, session);
    for (struct list *node = worker->braked.next; node != &worker->braked; node = node->next) {
        struct braked *braked = CONTAINER_OF(node, struct braked, node);
        if (braked->session == session)
            braked->session = NULL;
    }
    if (worker->pressed == session)
        worker->pressed = NULL;
}

void brake_forget_far(struct worker *worker)
{
    for (struct list *node = worker->braked.next; node != &worker->braked; node = node->next) {
        struct braked *braked = CONTAINER_OF(node, struct braked, node);
        if (braked->far)
            braked->session = NULL;
    }
}

static bool must_wait(struct worker *worker, const struct braked *braked, uint64_t now)
{
    if (braked->mail && worker_mail_waits(worker))
        return true;
    if (!braked->session)
        return false;
    if (braked->far)
        return atomic_load(&braked->session->pressed);
    return !has_room(worker, braked->session, now);
}

static void nothing(struct timer *timer, uint64_t now)
{
    (void)timer, (void)now; /* the turn that it causes looks again */
}

void brake_release(struct worker *worker, uint64_t now)
{
    struct list batch, *node, *next;
    for (node = worker->pressed_here.next; node != &worker->pressed_here; node = next) {
        struct session *session = CONTAINER_OF(node, struct session, pressed_node);
        next = node->next;
        if (has_room(worker, session, now))
            relieve(worker, session);
    }
    list_init(&batch);
    list_move(&batch, &worker->braked);
    while ((node = list_take(&batch))) {
        struct braked *braked = CONTAINER_OF(node, struct braked, node);
        list_append(&worker->braked, node);
        if (must_wait(worker, braked, now))
            continue;
        take(worker, braked);
        worker->releasing = braked;
        struct conn *conn = braked->conn;
        conn_go_on(conn, span_of(braked->bytes + braked->at, braked->len - braked->at), now);
        worker->releasing = NULL;
        if (conn->braked != braked)
            free(braked);
    }
    worker->brake_timer.fire = nothing;
    if (!list_empty(&worker->braked) || !list_empty(&worker->pressed_here))
        wheel_set(&worker->wheel, &worker->brake_timer, now + SLICE);
}
