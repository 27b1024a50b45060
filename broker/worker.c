/* SPDX-License-Identifier: MIT */
/*
 * One worker's turn: mail in, timers, and at the end mail out, the store batch, retained slices,
 * and every connection with output flushed. Runs on the worker's thread, but for worker_post_now(),
 * which any thread may call.
 */
#include "broker/worker.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/login.h"
#include "broker/auth/login_state.h"
#include "broker/brake.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/locks.h"
#include "broker/log.h"
#include "broker/paging.h"
#include "broker/session.h"
#include "broker/sys.h"
#include "broker/takeover.h"
#include "broker/will.h"

#include <stdlib.h>

enum {
    BURY_SLICE = 4096,     /* deliveries freed a turn */
    BATCH_ROOM_MIN = 16,   /* operations */
    ENTRY_OVERHEAD = 64,   /* bytes of memory of a queued message beside its own */
    MAILBOX_FULL = 65536,  /* mails at which those who post leave their publishers unread */
    MAILBOX_EMPTY = 8192,  /* and at which they go on */
    MAILBOX_CROWDED = 256, /* messages at which the rest of what they send is put aside, brake.h */
};

static void sent_timer(struct timer *timer, uint64_t now)
{
    (void)now;
    durable_sent_all(CONTAINER_OF(timer, struct worker, sent_timer));
}

struct worker *worker_new(struct broker *broker, unsigned index, uint64_t now)
{
    struct worker *worker = must_have(
        aligned_alloc(CACHE_LINE, (sizeof *worker + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE));
    memset(worker, 0, sizeof *worker);
    pthread_mutex_init(&worker->reading, NULL);
    pthread_mutex_init(&worker->mailbox.lock, NULL);
    worker->broker = broker;
    worker->index = index;
    worker->now = now;
    worker->pages = broker->store->ops->fetch != NULL;
    worker->window_away = broker->env.window ? broker->env.window : WINDOW_AWAY;
    worker->window_slow = broker->env.window ? broker->env.window : WINDOW_SLOW;
    worker->outboxes = must_have(calloc(broker->worker_count, sizeof *worker->outboxes));
    wheel_init(&worker->wheel, now);
    list_init(&worker->conns);
    list_init(&worker->braked);
    list_init(&worker->pressed_here);
    list_init(&worker->ready);
    list_init(&worker->waiting);
    list_init(&worker->fetching);
    list_init(&worker->sessions);
    list_init(&worker->stale);
    list_init(&worker->leaving);
    list_init(&worker->graveyard);
    list_init(&worker->paging);
    list_init(&worker->credits);
    list_init(&worker->busy_groups);
    list_init(&worker->fences);
    list_init(&worker->sent);
    worker->sent_timer.fire = sent_timer;
    worker->batch_room = BATCH_ROOM_MIN;
    late_init(worker);
    worker->matches = match_cache_new(broker->seed);
    return worker;
}

static void drop_mail(struct mail *mail)
{
    if (mail->kind == MAIL_DELIVERY || mail->kind == MAIL_GROUP_MESSAGE ||
        mail->kind == MAIL_GROUP_RETURN)
        delivery_unref(&mail->delivery);
    else if (mail->kind == MAIL_GROUP_MEMBER)
        principal_unref(mail->principal);
    else if (mail->kind == MAIL_CONFIG)
        config_unref(mail->target);
    else if (mail->kind == MAIL_LOGIN)
        login_free(mail->target);
}

static void mails_done(struct mails *mails)
{
    for (size_t i = 0; i < mails->count; i++)
        drop_mail(&mails->at[i]);
    free(mails->at);
}

void worker_free(struct worker *worker)
{
    struct list *node;
    while ((node = list_take(&worker->graveyard)))
        session_free(CONTAINER_OF(node, struct session, worker_node));
    for (unsigned i = 0; i < worker->broker->worker_count; i++)
        mails_done(&worker->outboxes[i]);
    mails_done(&worker->inbox);
    mails_done(&worker->mailbox.mails);
    for (size_t i = 0; i < worker->pending_count; i++)
        message_unref(
            worker->pending[(worker->pending_head + i) & (worker->pending_room - 1)].message);
    free(worker->pending);
    free(worker->outboxes);
    if (worker->batch)
        store_batch_free(worker->batch);
    match_cache_free(worker->matches);
    config_unref(worker->config);
    sys_free(worker);
    pthread_mutex_destroy(&worker->reading);
    pthread_mutex_destroy(&worker->mailbox.lock);
    free(worker);
}

/* A queue shorter than this is within max_queued_messages, and is neither crowded (brake.h) nor paged
 * (paging.h) with one more. */
static uint32_t easy_queue(const struct worker *worker)
{
    uint32_t most = worker->config->max_queued_messages, easy = brake_mark(worker) - 1;
    if (most && most < easy)
        easy = most;
    if (worker->window_slow < easy)
        easy = worker->window_slow;
    return worker->config->max_queued_bytes ? 0 : easy;
}

void worker_set_config(struct worker *worker, struct config *config)
{
    worker->config = config;
    worker->easy_queue = easy_queue(worker);
}

void worker_set_wake(struct worker *worker, worker_wake_fn *wake, void *ctx)
{
    worker->wake = wake;
    worker->wake_ctx = ctx;
}

unsigned worker_index(const struct worker *worker)
{
    return worker->index;
}

unsigned worker_connections(const struct worker *worker)
{
    return atomic_load_explicit(&worker->connections, memory_order_relaxed);
}

/* ---- mail ---- */

void worker_wake(struct worker *worker)
{
    if (!atomic_exchange_explicit(&worker->mailbox.armed, true, memory_order_acq_rel) &&
        worker->wake)
        worker->wake(worker->wake_ctx);
}

void worker_post_now(struct worker *target, const struct mail *mail, size_t count)
{
    size_t messages = 0;
    lock_take(&target->mailbox.lock, RANK_MAILBOX);
    for (size_t i = 0; i < count; i++) {
        mails_add(&target->mailbox.mails, &mail[i]);
        messages += i == 0 || !mail_goes_with(&mail[i], &mail[i - 1]);
    }
    atomic_store(&target->mailbox.count, target->mailbox.mails.count);
    atomic_fetch_add(&target->mailbox.messages, messages);
    lock_drop(&target->mailbox.lock, RANK_MAILBOX);
    worker_wake(target);
}

void worker_flush_outboxes(struct worker *worker)
{
    worker->posted = 0;
    for (unsigned i = 0; i < worker->broker->worker_count; i++) {
        struct mails *outbox = &worker->outboxes[i];
        if (outbox->count == 0)
            continue;
        worker_submit(worker); /* what others do because of this mail is durable after it */
        worker_post_now(worker->broker->workers[i], outbox->at, outbox->count);
        mails_clear(outbox);
        if (atomic_load(&worker->broker->workers[i]->mailbox.count) > MAILBOX_FULL)
            worker->congested = true;
    }
}

/* Whether a mailbox has so many, mails or messages; then its owner wakes everybody up when it has taken
 * it in. */
static bool has_mail(struct mailbox *mailbox, const atomic_size_t *count, size_t many)
{
    if (atomic_load(count) < many)
        return false;
    atomic_store(&mailbox->awaited, true); /* and look again: it may just have been emptied */
    return atomic_load(count) >= many;
}

/* What has to be kept short is what a session gets at once, so messages count: one to fifty sessions
 * of a worker is fifty mails, and their sockets would be written to for every five messages. */
static bool is_crowded(struct mailbox *mailbox)
{
    return has_mail(mailbox, &mailbox->messages, MAILBOX_CROWDED) ||
           has_mail(mailbox, &mailbox->count, MAILBOX_FULL);
}

bool worker_mail_waits(const struct worker *worker)
{
    struct broker *broker = worker->broker;
    for (unsigned i = 0; i < broker->worker_count; i++)
        if (i != worker->index && is_crowded(&broker->workers[i]->mailbox))
            return true;
    return false;
}

/* Publishers go on when the mailboxes of all other workers have become emptier, and the store has
 * caught up. */
static void watch_congestion(struct worker *worker, uint64_t now)
{
    struct broker *broker = worker->broker;
    if (broker->store->ops->behind && broker->store->ops->behind(broker->store)) {
        worker->congested = true;
        return;
    }
    if (!worker->congested)
        return;
    for (unsigned i = 0; i < broker->worker_count; i++) {
        struct mailbox *mailbox = &broker->workers[i]->mailbox;
        if (i != worker->index && has_mail(mailbox, &mailbox->count, MAILBOX_EMPTY))
            return;
    }
    worker->congested = false;
    for (struct list *node = worker->conns.next; node != &worker->conns; node = node->next)
        conn_watch_backlog(CONTAINER_OF(node, struct conn, worker_node), now);
}

static void take_delivery(struct worker *worker, struct mail *mail)
{
    takeover_deliver(worker, mail->target, &mail->delivery, worker->now);
}

static void take_group_message(struct worker *worker, struct mail *mail)
{
    group_take_message(worker, mail->target, &mail->delivery, worker->now);
}

static void take_group_return(struct worker *worker, struct mail *mail)
{
    group_take_return(worker, mail->target, &mail->delivery, worker->now);
}

static void take_group_credit(struct worker *worker, struct mail *mail)
{
    group_take_credit(worker, mail->target, mail->number, worker->now);
}

static void take_group_member(struct worker *worker, struct mail *mail)
{
    group_take_member(worker, mail->target, mail->number, mail->principal);
}

static void take_claim(struct worker *worker, struct mail *mail)
{
    claim_at_owner(worker, mail->target, worker->now);
}

static void take_claim_answer(struct worker *worker, struct mail *mail)
{
    claim_answered(worker, mail->target, worker->now);
}

/* All that was collected for the asking worker stands before the answer in its outbox. */
static void take_fence(struct worker *worker, struct mail *mail)
{
    struct fence *fence = mail->target;
    brake_forget_far(worker); /* one of them may be what is fenced off */
    worker_post(worker, fence->worker,
                &(struct mail){ .kind = MAIL_FENCE_ANSWER, .target = fence });
}

static void take_fence_answer(struct worker *worker, struct mail *mail)
{
    struct fence *fence = mail->target;
    if (--fence->missing > 0)
        return;
    if (fence->position > worker->durable)
        list_append(&worker->fences, &fence->node);
    else
        fence->passed(fence, worker->now);
}

static void take_config(struct worker *worker, struct mail *mail)
{
    config_unref(worker->config);
    worker_set_config(worker, mail->target);
    access_take_rules(worker, mail->number);
    sys_reload(worker);
    if (worker->index == 0) {
        memory_set_limit(&worker->broker->memory, worker->config->memory_limit);
        memory_start(worker);
    }
    logins_review(worker, worker->now);
}

static void take_login(struct worker *worker, struct mail *mail)
{
    login_decided(worker, mail->target, worker->now);
}

/* Connections that become ready meanwhile have their turn next time. */
static void flush_ready(struct worker *worker)
{
    struct list batch, *node;
    list_init(&batch);
    list_move(&batch, &worker->ready);
    while ((node = list_take(&batch))) {
        struct conn *conn = CONTAINER_OF(node, struct conn, ready_node);
        if (!conn->lost && !conn->choked)
            conn->link->ops->flush(conn->link);
    }
}

/*
 * The end, in two steps, so that wills reach those who are still connected: every worker routes the
 * wills of its own connections; the last of them tells all to close.
 */
static void take_stop(struct worker *worker, struct mail *mail)
{
    struct broker *broker = worker->broker;
    (void)mail;
    worker->stopping = true;
    for (struct list *node = worker->conns.next; node != &worker->conns; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, worker_node);
        will_decide(conn, END_SHUTDOWN, worker->now);
        if (conn->session && conn->session->changed)
            (void)durable_session(worker, conn->session, false);
    }
    worker_flush_outboxes(worker);
    if (atomic_fetch_add(&broker->stopped, 1) + 1 < broker->worker_count)
        return;
    for (unsigned i = 0; i < broker->worker_count; i++)
        worker_post_now(broker->workers[i], &(struct mail){ .kind = MAIL_CLOSE }, 1);
}

static void take_close(struct worker *worker, struct mail *mail)
{
    (void)mail;
    flush_ready(worker);
    for (struct list *node = worker->conns.next, *next; node != &worker->conns; node = next) {
        next = node->next;
        conn_stop(CONTAINER_OF(node, struct conn, worker_node), worker->now);
    }
}

static void take_dump(struct worker *worker, struct mail *mail)
{
    (void)mail;
    log_emit(LEVEL_NOTICE,
             "worker %u: %u connections, %lu bytes in, %lu bytes out, store position %lu of %lu",
             worker->index, worker_connections(worker),
             (unsigned long)atomic_load(&worker->stats.bytes_received),
             (unsigned long)atomic_load(&worker->stats.bytes_sent), (unsigned long)worker->durable,
             (unsigned long)worker->submitted);
}

typedef void mail_fn(struct worker *worker, struct mail *mail);

static mail_fn *const handlers[MAIL_KINDS] = {
    [MAIL_DELIVERY] = take_delivery,
    [MAIL_GROUP_MESSAGE] = take_group_message,
    [MAIL_GROUP_RETURN] = take_group_return,
    [MAIL_GROUP_CREDIT] = take_group_credit,
    [MAIL_GROUP_MEMBER] = take_group_member,
    [MAIL_CLAIM] = take_claim,
    [MAIL_CLAIM_ANSWER] = take_claim_answer,
    [MAIL_FENCE] = take_fence,
    [MAIL_FENCE_ANSWER] = take_fence_answer,
    [MAIL_CONFIG] = take_config,
    [MAIL_STOP] = take_stop,
    [MAIL_CLOSE] = take_close,
    [MAIL_DUMP] = take_dump,
    [MAIL_LOGIN] = take_login,
};

void worker_post(struct worker *worker, struct worker *target, const struct mail *mail)
{
    if (target != worker) {
        struct mails *outbox = &worker->outboxes[target->index];
        worker->posted += outbox->count == 0 ||
                          !mail_goes_with(mail, &outbox->at[outbox->count - 1]);
        mails_add(outbox, mail);
        return;
    }
    struct mail own = *mail;
    handlers[own.kind](worker, &own);
}

void worker_take_in(struct worker *worker)
{
    struct mailbox *mailbox = &worker->mailbox;
    atomic_store_explicit(&mailbox->armed, false, memory_order_release);
    lock_take(&mailbox->lock, RANK_MAILBOX);
    for (size_t i = 0; i < mailbox->mails.count; i++)
        mails_add(&worker->inbox, &mailbox->mails.at[i]);
    mails_clear(&mailbox->mails);
    atomic_store(&mailbox->count, 0);
    atomic_store(&mailbox->messages, 0);
    lock_drop(&mailbox->lock, RANK_MAILBOX);
    if (!atomic_load(&mailbox->awaited))
        return;
    atomic_store(&mailbox->awaited, false);
    for (unsigned i = 0; i < worker->broker->worker_count; i++)
        if (i != worker->index)
            worker_wake(worker->broker->workers[i]);
}

/* Early is harmless for a delivery: it only joins a queue, or what is held for a session that
 * arrives. */
void worker_offer_taken(struct worker *worker)
{
    size_t i = worker->inbox_at > worker->inbox_offered ? worker->inbox_at : worker->inbox_offered;
    for (; i < worker->inbox.count; i++) {
        struct mail mail = worker->inbox.at[i];
        if (mail.kind != MAIL_DELIVERY)
            continue;
        worker->inbox.at[i].kind = MAIL_DONE;
        take_delivery(worker, &mail);
    }
    worker->inbox_offered = i;
}

static void handle_inbox(struct worker *worker)
{
    while (worker->inbox_at < worker->inbox.count) {
        struct mail mail = worker->inbox.at[worker->inbox_at++]; /* a handler may take in more */
        if (handlers[mail.kind])
            handlers[mail.kind](worker, &mail);
    }
    mails_clear(&worker->inbox);
    worker->inbox_at = worker->inbox_offered = 0;
}

void worker_receive(struct worker *worker, uint64_t now)
{
    worker->now = now;
    worker_take_in(worker);
    handle_inbox(worker);
}

/* ---- the fence ---- */

void fence_start(struct worker *worker, struct fence *fence, uint64_t now)
{
    (void)now;
    fence->worker = worker;
    fence->missing = worker->broker->worker_count - 1;
    if (fence->missing == 0) {
        list_append(&worker->fences, &fence->node); /* passes at the end of the turn */
        return;
    }
    for (unsigned i = 0; i < worker->broker->worker_count; i++)
        if (i != worker->index)
            worker_post(worker, worker->broker->workers[i],
                        &(struct mail){ .kind = MAIL_FENCE, .target = fence });
}

/* Positions rise, so only the first is looked at; one that may pass earlier than those before it
 * passes with them. */
static struct fence *due_fence(const struct worker *worker)
{
    if (list_empty(&worker->fences))
        return NULL;
    struct fence *fence = CONTAINER_OF(worker->fences.next, struct fence, node);
    return fence->position <= worker->durable ? fence : NULL;
}

static void pass_fences(struct worker *worker, uint64_t now)
{
    struct fence *fence;
    while ((fence = due_fence(worker))) {
        list_remove(&fence->node);
        fence->passed(fence, now);
    }
}

/* ---- sessions that have ended ---- */

void worker_bury(struct worker *worker, struct session *session)
{
    list_append(&worker->graveyard, &session->worker_node);
}

/* A session with millions of messages goes in slices. Returns whether more is left. */
static bool bury_some(struct worker *worker)
{
    if (list_empty(&worker->graveyard))
        return false;
    struct session *session = CONTAINER_OF(worker->graveyard.next, struct session, worker_node);
    if (!session_bury_some(worker, session, BURY_SLICE)) {
        list_remove(&session->worker_node);
        session_free(session);
    }
    return !list_empty(&worker->graveyard);
}

/* ---- the store ---- */

/* Only the few positions that are not durable yet matter; all others are as good as 0. */
uint64_t worker_wait(const struct worker *worker, uint32_t low)
{
    uint64_t newest = worker->batch ? worker->batch->position : worker->submitted;
    uint32_t ahead = low - (uint32_t)worker->durable;
    return ahead > 0 && ahead <= newest - worker->durable ? worker->durable + ahead : 0;
}

/* What it adds to what is not committed, about. */
static size_t cost_of(const struct store_op *op)
{
    static const bool writes_message[STORE_OP_KINDS] = {
        [STORE_MESSAGE] = true,
        [STORE_UNROUTED] = true,
        [STORE_RETAINED] = true,
    };
    return op->record_len + (writes_message[op->kind] ? message_size(op->message) : 0);
}

struct store_op *worker_store_room(struct worker *worker, size_t bytes)
{
    if (!worker->batch) {
        worker->batch = must_have(calloc(1, sizeof *worker->batch));
        worker->batch->position = worker->submitted + 1;
        worker->batch->late = true;
    }
    struct store_batch *batch = worker->batch;
    if (batch->count == batch->room) {
        batch->room = batch->room ? batch->room * 2 : worker->batch_room;
        batch->ops = must_have(realloc(batch->ops, batch->room * sizeof *batch->ops));
    }
    batch->bytes += sizeof *batch->ops + bytes;
    return &batch->ops[batch->count++];
}

static bool record(struct worker *worker, const struct store_op *op)
{
    if (!worker->broker->store->keeps) {
        message_unref(op->message);
        free(op->record);
        return false;
    }
    *worker_store_room(worker, cost_of(op)) = *op;
    return true;
}

uint64_t worker_store_awaits(struct worker *worker)
{
    struct store_batch *batch = worker->batch;
    if (worker->broker->store->late)
        return 0;
    batch->late = false;
    worker->awaited = batch->position;
    return batch->position;
}

uint64_t worker_store(struct worker *worker, const struct store_op *op)
{
    return record(worker, op) ? worker_store_awaits(worker) : 0;
}

void worker_store_late(struct worker *worker, const struct store_op *op)
{
    (void)record(worker, op);
}

uint64_t worker_position(const struct worker *worker)
{
    return worker->awaited;
}

void worker_submit(struct worker *worker)
{
    struct store_batch *batch = worker->batch;
    if (!batch)
        return;
    worker->batch = NULL;
    worker->batch_room = batch->count < BATCH_ROOM_MIN ? BATCH_ROOM_MIN : batch->count;
    worker->submitted = batch->position;
    worker->broker->store->ops->submit(worker->broker->store, worker->index, batch);
}

void worker_route_later(struct worker *worker, const struct pending_route *pending)
{
    if (worker->pending_count == worker->pending_room) {
        size_t room = worker->pending_room ? worker->pending_room * 2 : 64;
        struct pending_route *grown = must_have(calloc(room, sizeof *grown));
        for (size_t i = 0; i < worker->pending_count; i++)
            grown[i] = worker->pending[(worker->pending_head + i) & (worker->pending_room - 1)];
        free(worker->pending);
        worker->pending = grown;
        worker->pending_room = room;
        worker->pending_head = 0;
    }
    size_t at = (worker->pending_head + worker->pending_count++) & (worker->pending_room - 1);
    worker->pending[at] = *pending;
}

void worker_forget_pending(struct worker *worker, const struct session *from, uint64_t after,
                           uint64_t upto)
{
    for (size_t i = 0; i < worker->pending_count; i++) {
        size_t at = (worker->pending_head + i) & (worker->pending_room - 1);
        struct pending_route *pending = &worker->pending[at];
        if (pending->wait <= after || pending->wait > upto || (from && pending->from != from))
            continue;
        if (!pending->message)
            continue;
        (void)id_set_remove(&pending->from->qos2_ids, pending->packet_id);
        if (pending->wait > worker->durable) /* the store may get there: then nobody receives it */
            (void)durable_message(worker, pending->message, true);
        message_unref(pending->message);
        pending->message = NULL;
    }
}

uint64_t worker_pending_wait(const struct worker *worker, const struct session *from,
                             uint16_t packet_id)
{
    for (size_t i = worker->pending_count; i > 0; i--) {
        size_t at = (worker->pending_head + i - 1) & (worker->pending_room - 1);
        const struct pending_route *pending = &worker->pending[at];
        if (pending->message && pending->from == from && pending->packet_id == packet_id)
            return pending->wait;
    }
    return 0;
}

static void route_pending(struct worker *worker, uint64_t now)
{
    while (worker->pending_count) {
        struct pending_route pending = worker->pending[worker->pending_head];
        if (pending.wait > worker->durable)
            return;
        worker->pending_head = (worker->pending_head + 1) & (worker->pending_room - 1);
        worker->pending_count--;
        if (!pending.message)
            continue;
        (void)route_message(worker,
                            &(struct route){ .message = pending.message,
                                             .publisher = pending.from,
                                             .retained = pending.message->retain,
                                             .position = pending.wait },
                            now);
    }
}

void worker_abandon_store(struct worker *worker)
{
    worker->abandoned = true;
    worker->durable = UINT64_MAX;
    for (size_t i = 0; i < worker->pending_count; i++) {
        size_t at = (worker->pending_head + i) & (worker->pending_room - 1);
        message_unref(worker->pending[at].message);
        worker->pending[at].message = NULL;
    }
}

/* The store has not taken what was recorded from `after` on, up to `upto`. */
static void mark_not_stored(struct list *sessions, uint64_t after, uint64_t upto)
{
    for (struct list *node = sessions->next; node != sessions; node = node->next)
        inflight_not_stored(&CONTAINER_OF(node, struct session, worker_node)->inflight, after,
                            upto);
}

/* What the store has finished since the last turn: acknowledgements leave, QoS 2 messages are
 * routed. */
static void collect(struct worker *worker, uint64_t now)
{
    bool failed = false;
    if (worker->durable == worker->submitted || worker->abandoned)
        return;
    uint64_t durable = worker->broker->store->ops->collect(worker->broker->store, worker->index,
                                                           &failed);
    uint64_t before = worker->durable;
    if (durable == before)
        return;
    worker->durable = durable;
    if (failed) {
        worker_forget_pending(worker, NULL, before, durable);
        mark_not_stored(&worker->sessions, before, durable);
        mark_not_stored(&worker->stale, before, durable);
        mark_not_stored(&worker->leaving, before, durable);
    }
    for (struct list *node = worker->waiting.next, *next; node != &worker->waiting; node = next) {
        next = node->next;
        struct conn *conn = CONTAINER_OF(node, struct conn, waiting_node);
        if (failed)
            (void)conn_fail_waiting(conn, before, durable, now);
        conn_durable(conn);
    }
    if (failed)
        STAT_ADD(&worker->stats, store_failures, 1);
    route_pending(worker, now);
}

/* ---- the turn ---- */

void worker_ready(struct worker *worker, struct conn *conn)
{
    if (!list_linked(&conn->ready_node))
        list_append(&worker->ready, &conn->ready_node);
}

/* QoS 0 counts against everything that waits, QoS 1 and 2 only against their own kind: so a flood
 * at QoS 0 never displaces what was promised. */
bool worker_queue_takes(const struct worker *worker, const struct queue *queue,
                        const struct tail *tail, const struct delivery *delivery)
{
    static const struct tail none = { .count = 0 };
    const struct config *config = worker->config;
    tail = tail ? tail : &none;
    uint32_t waiting = queue->count + tail->count;
    if (delivery->qos)
        waiting -= queue->qos0_count + tail->qos0_count;
    uint64_t bytes = queue->bytes + message_size(delivery->message);
    uint64_t held = bytes + tail->held_bytes + tail->count * sizeof *tail->ring;
    return (!config->max_queued_messages || waiting < config->max_queued_messages) &&
           (!config->max_queued_bytes || bytes + tail->bytes <= config->max_queued_bytes) &&
           (memory_level(&worker->broker->memory) == MEMORY_PLENTY ||
            held + (uint64_t)(queue->count + tail->held_count) * ENTRY_OVERHEAD <=
                memory_queue_bytes(&worker->broker->memory));
}

bool worker_finish(struct worker *worker, uint64_t now)
{
    worker->now = now;
    handle_inbox(worker);
    brake_release(worker, now);
    group_work(worker, now);
    worker_flush_outboxes(worker);
    worker_submit(worker);
    collect(worker, now);
    paging_collect(worker);
    late_watch(worker, now);
    bool more = access_work(worker);
    more |= retained_work(worker, now);
    flush_ready(worker);
    group_work(worker, now);
    pass_fences(worker, now); /* a session that is handed over leaves with this turn's mail */
    worker_flush_outboxes(worker);
    worker_submit(worker);
    if (worker->broker->store->late)
        collect(worker, now); /* nothing waits for it, so no turn comes for that alone */
    paging_work(worker);
    watch_congestion(worker, now);
    more |= bury_some(worker);
    message_flush();
    return more || !list_empty(&worker->ready) || worker->batch || due_fence(worker);
}

void worker_tick(struct worker *worker, uint64_t now)
{
    worker->now = now;
    wheel_advance(&worker->wheel, now);
}

void worker_publish(struct worker *worker, struct span topic, struct span payload, uint64_t now)
{
    struct message *message = message_new(&(struct mqtt_publish){ .payload = payload }, topic, now);
    if (!message)
        return;
    (void)route_message(worker, &(struct route){ .message = message, .own = true }, now);
}

uint64_t worker_next_tick(const struct worker *worker)
{
    return wheel_next((struct wheel *)&worker->wheel);
}
