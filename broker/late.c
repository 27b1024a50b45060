/* SPDX-License-Identifier: MIT */
/*
 * See late.h. Runs on the worker whose store positions it watches; it decides only when an answer
 * is given up, conn_out.c what is said then.
 */
#include "broker/late.h"

#include "broker/broker_state.h"
#include "broker/config.h"
#include "broker/conn_state.h"
#include "broker/log.h"

/* Closing a connection may end others: each is taken off before it is looked at. */
static unsigned refuse_waiting(struct worker *worker, uint64_t upto, uint64_t now)
{
    struct list batch, *node;
    unsigned refused = 0;
    list_init(&batch);
    list_move(&batch, &worker->waiting);
    while ((node = list_take(&batch))) {
        list_append(&worker->waiting, node);
        refused += conn_fail_waiting(CONTAINER_OF(node, struct conn, waiting_node), worker->durable,
                                     upto, now);
    }
    return refused;
}

static void give_up(struct worker *worker, uint64_t upto, uint64_t now)
{
    unsigned refused = refuse_waiting(worker, upto, now);
    if (refused == 0)
        return;
    STAT_ADD(&worker->stats, late_refused, refused);
    log_emit(LEVEL_WARNING,
             "The store has not finished within %u s: refused %u that waited for it.",
             (unsigned)worker->config->backpressure_timeout, refused);
}

/* The newest position that is not durable although its time is over; 0 none. */
static uint64_t take_overdue(struct late *late, uint64_t durable, uint64_t limit, uint64_t now)
{
    uint64_t overdue = 0;
    while (late->count) {
        const struct late_mark *mark = &late->marks[late->head];
        if (mark->position > durable && mark->at + limit > now)
            break;
        if (mark->position > durable)
            overdue = mark->position;
        late->head = (late->head + 1) % LATE_MARKS;
        late->count--;
    }
    return overdue;
}

static void look(struct worker *worker, uint64_t now)
{
    struct late *late = &worker->late;
    uint64_t limit = (uint64_t)worker->config->backpressure_timeout * 1000;
    uint64_t overdue = take_overdue(late, worker->durable, limit, now), due = now + limit;
    late->due = false;
    if (overdue)
        give_up(worker, overdue, now);
    if (worker->durable == worker->submitted)
        return;
    if (late->count < LATE_MARKS) {
        late->marks[(late->head + late->count) % LATE_MARKS] = (struct late_mark){
            .position = worker->submitted, .at = now
        };
        late->count++;
        due = now + limit / LATE_MARKS;
    }
    uint64_t oldest = late->marks[late->head].at + limit;
    wheel_set(&worker->wheel, &late->timer, due < oldest ? due : oldest);
}

static void late_timer(struct timer *timer, uint64_t now)
{
    (void)now;
    CONTAINER_OF(timer, struct worker, late.timer)->late.due = true; /* worker_finish() follows */
}

void late_init(struct worker *worker)
{
    worker->late.timer.fire = late_timer;
}

void late_watch(struct worker *worker, uint64_t now)
{
    if (worker->late.due ||
        (worker->durable < worker->submitted && !timer_armed(&worker->late.timer)))
        look(worker, now);
}
