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
    if (is_brisk(&session->pace, now))
        worker->pressed = session;
}

/* Half of the mark: what goes on is to be worth a turn. */
static bool has_room(struct worker *worker, struct session *session, uint64_t now)
{
    if (session_can_drain(session))
        session->conn->link->ops->flush(session->conn->link);
    return session->queue.count <= brake_mark(worker) / 2 || !is_brisk(&session->pace, now);
}

/* ---- the publisher ---- */

static void put(struct worker *worker, struct braked *braked)
{
    braked->session = worker->pressed;
    braked->conn->braked = braked;
    worker->pressed = NULL;
    worker->braked_bytes += braked->len;
    list_append(&worker->braked, &braked->node);
}

static void take(struct worker *worker, struct braked *braked)
{
    braked->conn->braked = NULL;
    worker->braked_bytes -= braked->len;
    list_remove(&braked->node);
}

bool brake_hold(struct conn *conn, struct span rest)
{
    struct worker *worker = conn->worker;
    struct braked *again = worker->releasing;
    if (again && again->conn == conn) { /* its bytes are these */
        again->at = again->len - rest.len;
        put(worker, again);
        return true;
    }
    struct braked *braked = NULL;
    if (worker->braked_bytes + rest.len <= HELD_MAX)
        braked = malloc(sizeof *braked + rest.len);
    if (!braked) {
        worker->pressed = NULL;
        return false;
    }
    *braked = (struct braked){ .conn = conn, .len = rest.len };
    memcpy(braked->bytes, rest.data, rest.len);
    put(worker, braked);
    return true;
}

bool brake_append(struct conn *conn, struct span bytes)
{
    struct worker *worker = conn->worker;
    struct braked *braked = conn->braked;
    struct session *session = braked->session;
    take(worker, braked);
    struct braked *grown = realloc(braked, sizeof *braked + braked->len + bytes.len);
    if (!grown) {
        free(braked);
        return false;
    }
    memcpy(grown->bytes + grown->len, bytes.data, bytes.len);
    grown->len += bytes.len;
    put(worker, grown);
    grown->session = session;
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

void brake_forget(struct worker *worker, const struct session *session)
{
    for (struct list *node = worker->braked.next; node != &worker->braked; node = node->next) {
        struct braked *braked = CONTAINER_OF(node, struct braked, node);
        if (braked->session == session)
            braked->session = NULL;
    }
    if (worker->pressed == session)
        worker->pressed = NULL;
}

static void nothing(struct timer *timer, uint64_t now)
{
    (void)timer, (void)now; /* the turn that it causes looks again */
}

void brake_release(struct worker *worker, uint64_t now)
{
    struct list batch, *node;
    if (list_empty(&worker->braked))
        return;
    list_init(&batch);
    list_move(&batch, &worker->braked);
    while ((node = list_take(&batch))) {
        struct braked *braked = CONTAINER_OF(node, struct braked, node);
        list_append(&worker->braked, node);
        if (braked->session && !has_room(worker, braked->session, now))
            continue;
        take(worker, braked);
        worker->releasing = braked;
        worker->pressed = NULL;
        struct conn *conn = braked->conn;
        conn_go_on(conn, span_of(braked->bytes + braked->at, braked->len - braked->at), now);
        worker->releasing = NULL;
        if (conn->braked != braked)
            free(braked);
    }
    worker->brake_timer.fire = nothing;
    if (!list_empty(&worker->braked))
        wheel_set(&worker->wheel, &worker->brake_timer, now + SLICE);
}
