/* SPDX-License-Identifier: MIT */
/*
 * See paging.h. It decides what is asked for and where it goes; limits are the session's, and what is
 * recorded stands in durable.c. Runs on the session's worker.
 */
#include "broker/paging.h"

#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/log.h"

#include <stdlib.h>

enum {
    SLICE = 256,      /* messages that are asked for at once */
    LOOK = 4 * SLICE, /* places that are looked at for them */
    SHORT = 128,      /* deliveries in the queue with which more is asked for */
    SHORT_BYTES = 256 * 1024,
};

struct pages *paging_of(struct session *session)
{
    if (!session->pages)
        session->pages = calloc(1, sizeof *session->pages);
    if (session->pages)
        session->pages->session = session;
    return session->pages;
}

bool paging_push(struct session *session, const struct delivery *delivery)
{
    struct delivery own = *delivery;
    struct pages *pages = paging_of(session);
    if (!pages)
        return false;
    if (!(delivery->flags & DELIVERY_STORED))
        return tail_push_held(&pages->tail, delivery);
    if (!tail_push(&pages->tail, delivery->message->stored->sequence,
                   message_size(delivery->message)))
        return false;
    delivery_unref(&own);
    return true;
}

/* ---- asking ---- */

static bool is_short(const struct worker *worker, const struct session *session)
{
    return session->queue.count < SHORT && session->queue.count < worker->window_slow &&
           session->queue.bytes < SHORT_BYTES;
}

void paging_want(struct worker *worker, struct session *session)
{
    struct pages *pages = session->pages;
    if (session_tail(session) && !pages->fetch && !list_linked(&pages->node) &&
        is_short(worker, session))
        list_append(&worker->paging, &pages->node);
}

/* Into the queue; without memory it is dropped. */
static void put(struct worker *worker, struct session *session, struct delivery *delivery)
{
    if (worker->guarded)
        delivery->flags |= DELIVERY_ASK; /* it may have waited under other rules */
    if (queue_push(&session->queue, delivery))
        return;
    session_drop(worker, session, delivery);
}

/* What is in memory at the front of the tail need not be read. */
static void put_held(struct worker *worker, struct session *session)
{
    struct tail *tail = &session->pages->tail;
    struct delivery delivery;
    while (tail->count && is_short(worker, session) && tail_at(tail, 0) == 0) {
        (void)tail_pop(tail, &delivery);
        put(worker, session, &delivery);
    }
}

static struct store_fetch *ask(struct session *session)
{
    const struct tail *tail = &session->pages->tail;
    struct store_fetch *fetch = store_fetch_new(tail->count < SLICE ? tail->count : SLICE);
    uint32_t count = 0;
    for (uint32_t place = 0; place < tail->count && place < LOOK && count < fetch->count; place++) {
        uint64_t sequence = tail_at(tail, place);
        if (sequence)
            fetch->items[count++].sequence = sequence;
    }
    fetch->count = count;
    fetch->slot = session->slot;
    fetch->ctx = session;
    return fetch;
}

void paging_work(struct worker *worker)
{
    struct store *store = worker->broker->store;
    struct list *node;
    while ((node = list_take(&worker->paging))) {
        struct pages *pages = CONTAINER_OF(node, struct pages, node);
        struct session *session = pages->session;
        if (!session->conn || pages->fetch)
            continue;
        put_held(worker, session);
        if (session->queue.count)
            worker_ready(worker, session->conn);
        if (pages->tail.count == pages->tail.held_count || !is_short(worker, session))
            continue;
        pages->fetch = ask(session);
        worker->fetches++;
        store->ops->fetch(store, worker->index, pages->fetch);
    }
}

void paging_forget(struct session *session)
{
    struct pages *pages = session->pages;
    if (!pages)
        return;
    list_remove(&pages->node);
    if (pages->fetch)
        pages->fetch->ctx = NULL;
    pages->fetch = NULL;
}

void paging_done(struct session *session)
{
    paging_forget(session);
    if (session->pages)
        tail_done(&session->pages->tail);
    free(session->pages);
    session->pages = NULL;
}

/* ---- taking ---- */

static struct delivery delivery_of(const struct session *session, struct message *message)
{
    const struct stored *stored = message->stored;
    struct delivery delivery = durable_delivery(message, &stored->receivers[0]);
    if (delivery.qos == 1 && stored->sequence <= session->pages->maybe_sent)
        delivery.flags |= DELIVERY_MAYBE_SENT;
    return delivery;
}

/* Nothing can be done: it is counted, and not waited for. */
static void lose(struct worker *worker, struct session *session, uint64_t sequence)
{
    STAT_ADD(&worker->stats, publish_dropped, 1);
    STAT_ADD(&worker->stats, unreadable_dropped, 1);
    durable_done_number(worker, session->slot, sequence);
}

/* Moves the tail up to this item into the queue. */
static bool take_item(struct worker *worker, struct session *session, struct fetch_item *item)
{
    struct tail *tail = &session->pages->tail;
    struct delivery delivery;
    uint64_t sequence;
    do {
        CHECK(tail->count);
        uint32_t average = tail_average(tail);
        sequence = tail_pop(tail, &delivery);
        if (sequence)
            tail_weigh_off(tail, item->message ? message_size(item->message) : average);
        else
            put(worker, session, &delivery);
    } while (!sequence);
    CHECK(sequence == item->sequence);
    if (!item->message) {
        lose(worker, session, sequence);
        return false;
    }
    delivery = delivery_of(session, item->message);
    item->message = NULL;
    put(worker, session, &delivery);
    return true;
}

static void take(struct worker *worker, struct session *session, struct store_fetch *fetch)
{
    uint32_t lost = 0;
    char name[LOG_QUOTE_MAX];
    session->pages->fetch = NULL;
    for (uint32_t i = 0; i < fetch->count; i++)
        lost += !take_item(worker, session, &fetch->items[i]);
    if (lost)
        log_emit(LEVEL_ERROR, "%u messages for %s could not be read back from the store.", lost,
                 log_quote(name, sizeof name, session->client_id, session->client_id_len));
    paging_want(worker, session); /* it may all have been lost */
    worker_ready(worker, session->conn);
}

void paging_collect(struct worker *worker)
{
    struct store *store = worker->broker->store;
    struct store_fetch *fetch;
    while (worker->fetches && (fetch = store->ops->fetched(store, worker->index))) {
        worker->fetches--;
        if (fetch->ctx)
            take(worker, fetch->ctx, fetch);
        store_fetch_free(fetch);
    }
}

/* ---- the end ---- */

bool paging_drop_first(struct worker *worker, struct session *session)
{
    struct tail *tail = session_tail(session);
    struct delivery delivery;
    if (!tail)
        return false;
    uint64_t sequence = tail_pop(tail, &delivery);
    if (sequence) {
        durable_done_number(worker, session->slot, sequence);
    } else {
        durable_done(worker, session->slot, &delivery);
        delivery_unref(&delivery);
    }
    return true;
}
