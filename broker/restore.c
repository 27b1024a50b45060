/* SPDX-License-Identifier: MIT */
/*
 * See restore.h. Runs on the starting thread alone, so it touches what belongs to workers. What the
 * store gives is input: what does not fit together (a receiver that nobody knows, two sessions of
 * one client, an exchange without an end) is given up and recorded as done, never trusted.
 *
 * Exchanges are collected and put into the sessions at the end, in the order of sending; everything
 * else is put where it belongs at once, so queues have the order of the messages' numbers. Of what
 * waits for a session only the number is kept, if the store can read it back (paging.h).
 */
#include "broker/restore.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/author.h"
#include "broker/broker_state.h"
#include "broker/durable.h"
#include "broker/group.h"
#include "broker/log.h"
#include "broker/paging.h"
#include "broker/session.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

/* Whose slot it is; by open addressing, free where slot is 0. Groups have a table of their own: it is
 * small, so it is asked first. */
struct holder {
    uint32_t slot;
    bool connected; /* a session that had a connection when the broker ended */
    struct session *session;
    struct group *group;
};

struct holders {
    struct holder *table;
    size_t count, room; /* room is a power of two */
};

/*
 * A number on its way into a session's tail. There may be millions, for a hundred thousand sessions
 * in turn, and each touches memory that has not been touched for long: so whatever the next step
 * needs is asked for some numbers before.
 *
 *   number_add() ─ AHEAD others ─► its holder ─ AHEAD others ─► its session ─► its pages ─► its tail
 */
enum { AHEAD = 8, ON_THE_WAY = 64 };

struct number {
    uint64_t sequence;
    uint32_t slot, size;
    uint8_t qos;
    const struct holder *holder; /* once it is looked up; NULL: nobody */
};

struct numbers {
    struct number ring[ON_THE_WAY];
    uint64_t added, done; /* those between are on their way */
};

struct exchange {
    struct session *session;
    uint64_t order;
    uint32_t distance; /* of the identifier from the session's first one */
    uint16_t packet_id;
    uint8_t state;
    struct delivery delivery;
};

struct late_route {
    struct message *message;
    struct session *from; /* NULL: it has ended */
};

struct restore {
    struct broker *broker;
    struct holders sessions, groups;
    struct numbers numbers;
    struct exchange *exchanges;
    size_t exchange_count, exchange_room;
    struct late_route *routes;
    size_t route_count, route_room;
    size_t session_count, messages, retained;
    uint8_t *author_bytes; /* the last author's record */
    size_t author_len;
    struct author *author; /* and itself, a reference; NULL */
};

/* ---- who has a slot ---- */

static size_t first_place(uint32_t slot, size_t room)
{
    return (slot * UINT32_C(2654435761)) & (room - 1);
}

static struct holder *holder_place(const struct holders *holders, uint32_t slot)
{
    size_t at = first_place(slot, holders->room);
    while (holders->table[at].slot && holders->table[at].slot != slot)
        at = (at + 1) & (holders->room - 1);
    return &holders->table[at];
}

static bool holder_add(struct holders *holders, const struct holder *holder)
{
    if (holders->count * 2 >= holders->room) {
        struct holders grown = { .count = holders->count,
                                 .room = holders->room ? holders->room * 2 : 64 };
        grown.table = calloc(grown.room, sizeof *grown.table);
        if (!grown.table)
            return false;
        for (size_t i = 0; i < holders->room; i++)
            if (holders->table[i].slot)
                *holder_place(&grown, holders->table[i].slot) = holders->table[i];
        free(holders->table);
        *holders = grown;
    }
    *holder_place(holders, holder->slot) = *holder;
    holders->count++;
    return true;
}

static const struct holder *holder_find(const struct holders *holders, uint32_t slot)
{
    if (slot == 0 || holders->count == 0)
        return NULL;
    const struct holder *holder = holder_place(holders, slot);
    return holder->slot == slot ? holder : NULL;
}

/* NULL: nobody, or not any more. */
static const struct holder *holder_of(const struct restore *restore, uint32_t slot)
{
    const struct holder *holder = holder_find(&restore->groups, slot);
    if (holder)
        return holder;
    holder = holder_find(&restore->sessions, slot);
    return holder && holder->session->slot == slot ? holder : NULL;
}

static struct session *session_of(const struct restore *restore, uint32_t slot)
{
    const struct holder *holder = holder_of(restore, slot);
    return holder ? holder->session : NULL;
}

/* For what belongs to nobody. */
static struct worker *any_worker(const struct restore *restore)
{
    return restore->broker->workers[0];
}

/* ---- groups, sessions, subscriptions ---- */

static bool take_group(void *ctx, uint32_t slot, struct span share_filter)
{
    struct restore *restore = ctx;
    struct span name, filter;
    if (!mqtt_topic_filter_valid(share_filter) || !mqtt_share_split(share_filter, &name, &filter)) {
        durable_group_end(any_worker(restore), slot);
        return true;
    }
    struct group *group = group_restore(any_worker(restore), slot, share_filter);
    return group && holder_add(&restore->groups, &(struct holder){ .slot = slot, .group = group });
}

static bool take_session(void *ctx, uint32_t slot, const struct session_record *record)
{
    struct restore *restore = ctx;
    struct broker *broker = restore->broker;
    struct worker *worker = broker->workers[slot % broker->worker_count];
    bool created;
    struct session *session = session_table_claim(broker->table, worker, record->client_id,
                                                  &created);
    if (!session)
        return false;
    if (created)
        restore->session_count++;
    else /* the newer one counts */
        (void)durable_session_end(worker, session->slot);
    session->slot = slot;
    if (!access_restore(session_owner(session), session, record))
        return false;
    session_restore(session_owner(session), session, record, created);
    return holder_add(
        &restore->sessions,
        &(struct holder){ .slot = slot, .session = session, .connected = record->connected });
}

static bool join(struct session *session, struct subscription *subscription, struct span filter)
{
    struct worker *worker = session_owner(session);
    struct membership *member = group_join(worker, session, filter, subscription->options,
                                           subscription->sub_id, NULL);
    subscription_set_member(session, subscription, member);
    if (member)
        STAT_ADD(&worker->stats, shared_subscriptions, 1);
    return member != NULL;
}

static bool take_subscription(void *ctx, uint32_t slot, const struct subscription_record *record)
{
    struct restore *restore = ctx;
    struct session *session = session_of(restore, slot);
    struct span share, plain = record->filter;
    if (!session || !mqtt_topic_filter_valid(record->filter) ||
        session_subscription(session, record->filter))
        return true;
    struct worker *worker = session_owner(session);
    struct subscription *subscription = session_subscription_add(session, record->filter);
    if (!subscription)
        return false;
    subscription->options = record->options;
    subscription->sub_id = record->sub_id;
    STAT_ADD(&worker->stats, subscriptions, 1);
    if (mqtt_share_split(record->filter, &share, &plain))
        return join(session, subscription, record->filter);
    subscription->mark = access_mark(worker, session, plain);
    struct filter_change change = { .filter = plain,
                                    .entry = { .subscriber = session,
                                               .sub_id = record->sub_id,
                                               .options = record->options | subscription->mark,
                                               .kind = TREE_SESSION } };
    route_change(worker, &change, 1);
    return change.result != TREE_NO_MEMORY;
}

static bool take_inbound(void *ctx, uint32_t slot, uint16_t packet_id)
{
    struct session *session = session_of(ctx, slot);
    if (!session || packet_id == 0 || id_set_has(session->qos2_ids, packet_id))
        return true;
    return id_set_add(&session->qos2_ids, packet_id);
}

/* ---- messages ---- */

/* The exchanges of one message, by receiver. */
struct begun {
    uint32_t receiver;
    bool used;
    const struct loaded_outbound *outbound;
};

static int by_receiver(const void *left, const void *right)
{
    const struct begun *a = left, *b = right;
    return (a->receiver > b->receiver) - (a->receiver < b->receiver);
}

/* Sorted, owned by the caller; NULL: no memory, or there is none. */
static struct begun *sort_begun(const struct loaded_outbound *outbound, size_t count)
{
    struct begun *begun = count ? calloc(count, sizeof *begun) : NULL;
    if (!begun)
        return NULL;
    for (size_t i = 0; i < count; i++)
        begun[i] = (struct begun){ .receiver = outbound[i].group ? outbound[i].group
                                                                 : outbound[i].slot,
                                   .outbound = &outbound[i] };
    qsort(begun, count, sizeof *begun, by_receiver);
    return begun;
}

/* How far the exchange with this receiver has come; NULL: it has not begun. */
static const struct loaded_outbound *take_begun(struct begun *begun, size_t count, uint32_t slot)
{
    struct begun key = { .receiver = slot };
    struct begun *found = count ? bsearch(&key, begun, count, sizeof *begun, by_receiver) : NULL;
    if (!found || found->used)
        return NULL;
    found->used = true;
    return found->outbound;
}

/* Takes the delivery over. */
static bool add_exchange(struct restore *restore, struct session *session,
                         const struct loaded_outbound *outbound, struct delivery *delivery)
{
    struct exchange *grown = array_grow(restore->exchanges, restore->exchange_count,
                                        &restore->exchange_room, sizeof *grown);
    if (!grown) {
        delivery_unref(delivery);
        return false;
    }
    restore->exchanges = grown;
    restore->exchanges[restore->exchange_count++] = (struct exchange){
        .session = session,
        .order = outbound->order,
        .packet_id = outbound->packet_id,
        .state = outbound->state,
        .delivery = *delivery,
    };
    return true;
}

/* Nothing is left of the exchange: the message goes another way, or has gone. */
static void give_up(struct restore *restore, const struct loaded_outbound *outbound)
{
    worker_store_late(any_worker(restore), &(struct store_op){ .kind = STORE_OUTBOUND_END,
                                                               .slot = outbound->slot,
                                                               .packet_id = outbound->packet_id });
}

/* Only the identifier is left: PUBREL frees it, whether the client has the message or not. */
static bool take_outbound(void *ctx, const struct loaded_outbound *outbound)
{
    struct restore *restore = ctx;
    struct session *session = session_of(restore, outbound->slot);
    struct loaded_outbound released = *outbound;
    struct delivery none = { .message = NULL };
    if (!session || outbound->state == AWAIT_PUBACK) {
        give_up(restore, outbound);
        return true;
    }
    released.state = AWAIT_PUBCOMP;
    return add_exchange(restore, session, &released, &none);
}

/* ---- numbers ---- */

static struct number *number_at(struct numbers *numbers, uint64_t place)
{
    return &numbers->ring[place % ON_THE_WAY];
}

/* It is read when the client comes back. */
static bool number_give(struct restore *restore, const struct number *number)
{
    const struct holder *holder = number->holder;
    if (!holder || holder->session->slot != number->slot) { /* it has ended: see take_receiver() */
        durable_done_number(any_worker(restore), number->slot, number->sequence);
        return true;
    }
    struct pages *pages = paging_of(holder->session);
    if (!pages)
        return false;
    if (number->qos == 1 && holder->connected) /* it may have been sent in the last second */
        pages->maybe_sent = number->sequence;
    return tail_push(&pages->tail, number->sequence, number->size);
}

/* One step for each that has come so far. */
static bool numbers_step(struct restore *restore)
{
    struct numbers *numbers = &restore->numbers;
    const struct holders *sessions = &restore->sessions;
    uint64_t at = numbers->added;
    struct number *number = number_at(numbers, at);
    if (sessions->count)
        __builtin_prefetch(&sessions->table[first_place(number->slot, sessions->room)]);
    if (at >= AHEAD) {
        number = number_at(numbers, at - AHEAD);
        number->holder = holder_find(sessions, number->slot);
        if (number->holder) {
            __builtin_prefetch(&number->holder->session->slot);
            __builtin_prefetch(&number->holder->session->pages);
        }
    }
    if (at >= 2 * AHEAD && (number = number_at(numbers, at - 2 * AHEAD))->holder)
        __builtin_prefetch(number->holder->session->pages);
    if (at >= 3 * AHEAD && (number = number_at(numbers, at - 3 * AHEAD))->holder &&
        session_tail(number->holder->session))
        tail_prefetch(session_tail(number->holder->session));
    numbers->added++;
    if (at < 4 * AHEAD)
        return true;
    numbers->done++;
    return number_give(restore, number_at(numbers, at - 4 * AHEAD));
}

static bool number_add(struct restore *restore, const struct loaded_message *message,
                       const struct loaded_receiver *receiver)
{
    *number_at(&restore->numbers,
               restore->numbers.added) = (struct number){ .sequence = message->sequence,
                                                          .size = message->size,
                                                          .slot = receiver->slot,
                                                          .qos = receiver->qos };
    return numbers_step(restore);
}

/* Those that are still on their way. */
static bool numbers_end(struct restore *restore)
{
    struct numbers *numbers = &restore->numbers;
    for (; numbers->done < numbers->added; numbers->done++) {
        struct number *number = number_at(numbers, numbers->done);
        number->holder = holder_find(&restore->sessions, number->slot);
        if (!number_give(restore, number))
            return false;
    }
    return true;
}

/* ---- messages, one by one ---- */

static bool give_to_session(struct restore *restore, const struct holder *holder,
                            const struct loaded_outbound *outbound, struct delivery *delivery)
{
    struct session *session = holder->session;
    if (outbound) {
        delivery->qos = outbound->state == AWAIT_PUBACK ? 1 : 2;
        delivery->flags |= DELIVERY_BEGUN;
        return add_exchange(restore, session, outbound, delivery);
    }
    if (delivery->qos == 1 && holder->connected) /* it may have been sent in the last second */
        delivery->flags |= DELIVERY_MAYBE_SENT;
    if (queue_push(&session->queue, delivery))
        return true;
    delivery_unref(delivery);
    return false;
}

/* What a member has begun at QoS 2 stays with it, everything else is for the one whose turn it is
 * [MQTT5-4.8.2-4, MQTT5-4.8.2-5]. */
static bool give_to_group(struct restore *restore, const struct holder *holder,
                          const struct loaded_outbound *outbound, struct delivery *delivery)
{
    struct session *session = outbound ? session_of(restore, outbound->slot) : NULL;
    struct membership *member = session ? group_member_of(holder->group, session) : NULL;
    if (!member || outbound->state != AWAIT_PUBREC)
        return group_restore_queued(any_worker(restore), holder->group, delivery) &&
               (!outbound || take_outbound(restore, outbound));
    group_restore_taken(member);
    delivery->member = member;
    delivery->qos = 2;
    delivery->flags |= DELIVERY_SHARED | DELIVERY_BEGUN;
    return add_exchange(restore, session, outbound, delivery);
}

static bool give(struct restore *restore, const struct holder *holder, struct message *message,
                 uint32_t index, const struct loaded_outbound *outbound)
{
    struct delivery delivery = durable_delivery(message_ref(message),
                                                &message->stored->receivers[index]);
    return holder->session ? give_to_session(restore, holder, outbound, &delivery)
                           : give_to_group(restore, holder, outbound, &delivery);
}

static bool take_receiver(struct restore *restore, struct loaded_message *loaded, uint32_t index,
                          const struct loaded_outbound *outbound)
{
    const struct loaded_receiver *receiver = &loaded->receivers[index];
    bool released = outbound && outbound->state != AWAIT_PUBACK && outbound->state != AWAIT_PUBREC;
    bool valid = receiver->qos == 1 || receiver->qos == 2;
    if (valid && !outbound && any_worker(restore)->pages &&
        !holder_find(&restore->groups, receiver->slot))
        return number_add(restore, loaded, receiver);
    const struct holder *holder = holder_of(restore, receiver->slot);
    if (holder && valid && !released) {
        struct message *message = loaded->body(loaded);
        if (message)
            return give(restore, holder, message, index, outbound);
        if (errno != EBADMSG)
            return false;
    }
    /* It has ended, and the broker before it had told of every message that went with it. Or the
     * message is damaged. */
    durable_done_number(any_worker(restore), receiver->slot, loaded->sequence);
    return !outbound || take_outbound(restore, outbound);
}

static bool take_message(void *ctx, struct loaded_message *message,
                         const struct loaded_outbound *outbound, size_t outbound_count)
{
    struct restore *restore = ctx;
    struct begun *begun = sort_begun(outbound, outbound_count);
    bool taken = begun || outbound_count == 0;
    restore->messages++;
    for (uint32_t i = 0; taken && i < message->count; i++)
        taken = take_receiver(restore, message, i,
                              take_begun(begun, outbound_count, message->receivers[i].slot));
    for (size_t i = 0; taken && i < outbound_count; i++)
        if (!begun[i].used) /* its receiver is done */
            taken = take_outbound(restore, begun[i].outbound);
    free(begun);
    return taken;
}

static bool take_unrouted(void *ctx, struct message *message, uint32_t slot)
{
    struct restore *restore = ctx;
    struct late_route *grown = array_grow(restore->routes, restore->route_count,
                                          &restore->route_room, sizeof *grown);
    if (!grown)
        return false;
    restore->routes = grown;
    restore->routes[restore->route_count++] = (struct late_route){
        .message = message_ref(message), .from = session_of(restore, slot)
    };
    return true;
}

/* Who has published it, if that matters. Many messages have the same author, and mostly close
 * together. NULL: not known. */
static struct author *author_of_record(struct restore *restore, struct span record)
{
    const struct worker *worker = restore->broker->workers[0];
    if (record.len == 0 || !worker->guarded || !worker->config->check_retain_source)
        return NULL;
    if (!span_equal(span_of(restore->author_bytes, restore->author_len), record)) {
        author_unref(restore->author);
        free(restore->author_bytes);
        restore->author = author_restore(worker, record);
        restore->author_bytes = must_have(malloc(record.len));
        memcpy(restore->author_bytes, record.data, record.len);
        restore->author_len = record.len;
    }
    return author_ref(restore->author);
}

static bool take_retained(void *ctx, struct message *message, uint64_t number, struct span author)
{
    struct restore *restore = ctx;
    message->author = author_of_record(restore, author);
    restore->retained += message->payload_len > 0;
    return retained_restore(restore->broker->retained, message, number);
}

/* ---- the end ---- */

static int by_order(const void *left, const void *right)
{
    const struct exchange *a = left, *b = right;
    uintptr_t x = (uintptr_t)a->session, y = (uintptr_t)b->session;
    if (x != y)
        return x < y ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static int by_distance(const void *left, const void *right)
{
    const struct exchange *a = left, *b = right;
    return (a->distance > b->distance) - (a->distance < b->distance);
}

/*
 * One session's exchanges. The oldest one has the first place; the identifiers of the others say
 * how far behind it they were, as they were given one after the other.
 */
static bool restore_exchanges(struct exchange *exchanges, size_t count)
{
    struct session *session = exchanges[0].session;
    for (size_t i = 0; i < count; i++) {
        int distance = exchanges[i].packet_id - exchanges[0].packet_id;
        exchanges[i].distance = (uint32_t)(distance < 0 ? distance + UINT16_MAX : distance);
    }
    qsort(exchanges, count, sizeof *exchanges, by_distance);
    for (size_t i = 0; i < count; i++) {
        struct exchange *exchange = &exchanges[i];
        bool restored = inflight_restore(&session->inflight, &exchange->delivery,
                                         (enum inflight_state)exchange->state, exchange->packet_id);
        /* An identifier that is in use twice: the message is sent anew. */
        if (!restored && exchange->delivery.message &&
            !queue_push(&session->queue, &exchange->delivery))
            return false;
        exchange->delivery = (struct delivery){ .message = NULL };
    }
    return true;
}

static bool restore_all_exchanges(struct restore *restore)
{
    struct exchange *all = restore->exchanges;
    if (restore->exchange_count)
        qsort(all, restore->exchange_count, sizeof *all, by_order);
    for (size_t first = 0, end; first < restore->exchange_count; first = end) {
        for (end = first + 1; end < restore->exchange_count; end++)
            if (all[end].session != all[first].session)
                break;
        if (!restore_exchanges(&all[first], end - first))
            return false;
    }
    return true;
}

static void route_rest(struct restore *restore)
{
    for (size_t i = 0; i < restore->route_count; i++) {
        struct late_route *late = &restore->routes[i];
        struct worker *worker = late->from ? session_owner(late->from) : any_worker(restore);
        struct route route = { .message = late->message,
                               .publisher = late->from,
                               .retained = late->message->retain };
        late->message = NULL; /* given away */
        (void)route_message(worker, &route, worker->now);
    }
}

static bool take_end(void *ctx)
{
    struct restore *restore = ctx;
    if (!numbers_end(restore) || !restore_all_exchanges(restore))
        return false;
    for (size_t i = 0; i < restore->groups.room; i++)
        if (restore->groups.table[i].slot)
            group_restored(any_worker(restore), restore->groups.table[i].group);
    return true;
}

static void done(struct restore *restore)
{
    for (size_t i = 0; i < restore->exchange_count; i++)
        delivery_unref(&restore->exchanges[i].delivery);
    for (size_t i = 0; i < restore->route_count; i++)
        message_unref(restore->routes[i].message);
    free(restore->exchanges);
    free(restore->routes);
    free(restore->sessions.table);
    free(restore->groups.table);
    author_unref(restore->author);
    free(restore->author_bytes);
}

int broker_restore(struct broker *broker)
{
    static const struct store_loader loader = {
        .group = take_group,
        .session = take_session,
        .subscription = take_subscription,
        .inbound = take_inbound,
        .message = take_message,
        .unrouted = take_unrouted,
        .outbound = take_outbound,
        .retained = take_retained,
        .end = take_end,
    };
    struct restore restore = { .broker = broker };
    if (!broker->store->ops->load)
        return 0;
    int err = broker->store->ops->load(broker->store, &loader, &restore);
    if (!err) {
        broker_settle(broker); /* groups know their members now */
        route_rest(&restore);
        broker_settle(broker);
    }
    done(&restore);
    if (err)
        return err;
    log_emit(LEVEL_NOTICE, "Restored %zu sessions, %zu messages for them, %zu retained messages.",
             restore.session_count, restore.messages, restore.retained);
    return 0;
}
