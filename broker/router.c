/* SPDX-License-Identifier: MIT */
/*
 * See router.h. Matching takes this worker's reading lock only when the cache does not know the
 * topic, and lets it go before anything is offered: no lock is held while a connection is flushed.
 * A retained message is set, matched and posted under its shard's lock instead, without any flush.
 */
#include "broker/router.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/author.h"
#include "broker/brake.h"
#include "broker/broker_state.h"
#include "broker/durable.h"
#include "broker/locks.h"
#include "broker/match_cache.h"
#include "broker/session.h"
#include "broker/takeover.h"

#include <assert.h>
#include <stdlib.h>

enum { QUADRATIC_UP_TO = 16 };
static_assert((int)ENTRY_ASK == (int)DELIVERY_ASK, "a mark goes over into a delivery as it is");

/* ---- matching ---- */

struct found { /* entries of all filters that match, as the tree gives them */
    struct tree_entry *at;
    size_t count, room;
};

static void collect(void *ctx, const struct tree_entry *entry)
{
    struct found *found = ctx;
    found->at = must_have(array_grow(found->at, found->count, &found->room, sizeof *entry));
    found->at[found->count++] = *entry;
}

static int by_target(const void *left, const void *right)
{
    const struct tree_entry *a = left, *b = right;
    uintptr_t x = (uintptr_t)a->subscriber, y = (uintptr_t)b->subscriber;
    return (x > y) - (x < y);
}

/* Brings entries of one target together; their order does not matter otherwise. */
static void gather(struct found *found)
{
    if (found->count > QUADRATIC_UP_TO) {
        qsort(found->at, found->count, sizeof *found->at, by_target);
        return;
    }
    for (size_t i = 0; i < found->count; i++) {
        size_t end = i + 1;
        for (size_t j = i + 1; j < found->count; j++) {
            if (found->at[j].subscriber != found->at[i].subscriber)
                continue;
            struct tree_entry swap = found->at[end];
            found->at[end++] = found->at[j];
            found->at[j] = swap;
        }
        i = end - 1;
    }
}

static uint8_t merged_options(uint8_t a, uint8_t b)
{
    unsigned qos = (a & MQTT_SUB_QOS) > (b & MQTT_SUB_QOS) ? a & MQTT_SUB_QOS : b & MQTT_SUB_QOS;
    return (uint8_t)(qos | ((a | b) & MQTT_SUB_RETAIN_AS_PUBLISHED));
}

/* What rules say of the topic through its filters: that nothing may be read, if one says so; that it
 * is open, if none does and one is open. */
static uint8_t merged_mark(const struct tree_entry *entries, size_t count)
{
    uint8_t any = 0, all = ENTRY_ASK;
    for (size_t i = 0; i < count; i++) {
        any |= entries[i].options;
        all &= entries[i].options;
    }
    return any & ENTRY_DENIED ? ENTRY_DENIED : all;
}

/* One hit from several subscriptions of one session: highest QoS and all identifiers
 * [MQTT5-3.3.4-2, MQTT5-3.3.4-3]. `skip` leaves out those with No Local. Returns false when nothing
 * is left. */
static bool merge(const struct tree_entry *entries, size_t count, bool skip, struct hit *ret_hit)
{
    uint32_t few[QUADRATIC_UP_TO],
        *ids = count > QUADRATIC_UP_TO ? malloc(count * sizeof *ids) : few;
    uint32_t id_count = 0;
    struct hit hit = { .target = entries[0].subscriber, .kind = entries[0].kind };
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (skip && (entries[i].options & MQTT_SUB_NO_LOCAL))
            continue;
        any = true;
        hit.options = merged_options(hit.options, entries[i].options);
        if (entries[i].sub_id && ids)
            ids[id_count++] = entries[i].sub_id;
    }
    if (id_count == 1)
        hit.sub_id = ids[0];
    else if (id_count > 1)
        hit.ids = sub_ids_new(ids, id_count); /* without memory the delivery has none */
    if (ids != few)
        free(ids);
    if (any) /* there is room for as many hits as entries, and no more */
        *ret_hit = hit;
    return any;
}

/* The hits of one target: mostly one; two when No Local makes a difference to the publisher
 * itself. */
static uint32_t merge_target(const struct tree_entry *entries, size_t count, struct hit *hits)
{
    bool no_local = false;
    uint8_t mark = merged_mark(entries, count);
    if (mark == ENTRY_DENIED)
        return 0;
    for (size_t i = 0; i < count; i++)
        no_local |= (entries[i].options & MQTT_SUB_NO_LOCAL) != 0;
    (void)merge(entries, count, false, &hits[0]);
    hits[0].options |= mark;
    if (!no_local)
        return 1;
    hits[0].condition = HIT_UNLESS_PUBLISHER;
    if (!merge(entries, count, true, &hits[1]))
        return 1;
    hits[1].options |= mark;
    hits[1].condition = HIT_IF_PUBLISHER;
    return 2;
}

/* Which of them the store keeps, and whether there is anything special about them. One that changes
 * its mind later has left the tree, or entered it anew, so the generation tells. */
static void find_kept(struct match_result *result)
{
    result->kept = 0;
    result->plain = true;
    for (uint32_t i = 0; i < result->count; i++) {
        struct hit *hit = &result->hits[i];
        hit->slot = hit->kind == TREE_GROUP ? group_kept_slot(hit->target)
                                            : session_kept_slot(hit->target);
        result->kept += hit->slot != 0;
        result->plain &= hit->kind == TREE_SESSION && !hit->slot && !hit->ids &&
                         hit->condition == HIT_ALWAYS && !(hit->options & ENTRY_ASK);
    }
}

static struct match_result *merge_all(struct found *found)
{
    struct match_result *result = must_have(malloc(
        sizeof *result + found->count * sizeof(struct hit))); /* never more hits than entries */
    result->count = 0;
    gather(found);
    for (size_t first = 0, end; first < found->count; first = end) {
        for (end = first + 1; end < found->count; end++)
            if (found->at[end].subscriber != found->at[first].subscriber)
                break;
        result->count += merge_target(&found->at[first], end - first, &result->hits[result->count]);
    }
    find_kept(result);
    return result;
}

const struct match_result *route_match(struct worker *worker, struct span topic,
                                       struct topic_place *place)
{
    struct broker *broker = worker->broker;
    uint64_t generation = atomic_load_explicit(&broker->generation, memory_order_acquire);
    const struct match_result *known = match_cache_get(worker->matches, topic, generation, place);
    if (known)
        return known;
    struct found found = { 0 };
    lock_take(&worker->reading, RANK_TREE);
    generation = tree_generation(broker->tree);
    tree_match(broker->tree, topic, collect, &found);
    lock_drop(&worker->reading, RANK_TREE);
    struct match_result *result = merge_all(&found);
    free(found.at);
    return match_cache_put(worker->matches, *place, topic, generation, result);
}

/* ---- offering ---- */

void route_offer(struct worker *worker, struct session *session, struct delivery *delivery,
                 uint64_t now)
{
    struct worker *owner = session_owner(session);
    if (owner == worker && !session->arriving)
        session_offer(worker, session, delivery, now);
    else
        worker_post(
            worker, owner,
            &(struct mail){ .kind = MAIL_DELIVERY, .target = session, .delivery = *delivery });
}

/* What goes out: never more than was granted, and more than was published only where the
 * configuration wants it. A group decides for its members later. */
static uint8_t effective_qos(const struct worker *worker, const struct hit *hit,
                             const struct message *message)
{
    uint8_t granted = hit->kind == TREE_GROUP ? 2 : hit->options & MQTT_SUB_QOS;
    return worker->config->upgrade_outgoing_qos || granted < message->qos ? granted : message->qos;
}

/* With a reference that is counted already. A group is offered the message as it was published. */
static struct delivery delivery_of(const struct worker *worker, const struct hit *hit,
                                   struct message *message)
{
    bool group = hit->kind == TREE_GROUP;
    bool retain = message->retain && (group || hit->options & MQTT_SUB_RETAIN_AS_PUBLISHED);
    struct delivery delivery = { .message = message,
                                 .sub_id = hit->sub_id,
                                 .qos = group ? message->qos : effective_qos(worker, hit, message),
                                 .flags = (uint8_t)((retain ? DELIVERY_RETAIN : 0) |
                                                    (group ? 0 : hit->options & ENTRY_ASK)) };
    if (hit->ids && !group) {
        delivery.ids = sub_ids_ref(hit->ids);
        delivery.flags |= DELIVERY_MANY_IDS;
    }
    return delivery;
}

static bool applies(const struct hit *hit, const struct session *publisher)
{
    if (hit->kind == TREE_GROUP || hit->condition == HIT_ALWAYS)
        return true;
    return (hit->condition == HIT_IF_PUBLISHER) == (hit->target == publisher);
}

/* ---- what must survive ---- */

static bool is_kept(const struct worker *worker, const struct route *route, const struct hit *hit)
{
    return hit->slot && effective_qos(worker, hit, route->message) > 0 &&
           applies(hit, route->publisher);
}

static void write_receiver(const struct worker *worker, const struct hit *hit,
                           const struct message *message, struct receiver *receiver)
{
    *receiver = (struct receiver){
        .slot = hit->slot,
        .sub_id = hit->sub_id,
        .ids = hit->ids ? sub_ids_ref(hit->ids) : NULL,
        .qos = effective_qos(worker, hit, message),
        .retain = message->retain && (hit->options & MQTT_SUB_RETAIN_AS_PUBLISHED),
    };
}

/* Writes down who must get the message, before the first of them can see it. Returns whether there
 * is anybody. */
static bool write_receivers(struct worker *worker, const struct route *route,
                            const struct match_result *result)
{
    struct message *message = route->message;
    uint32_t count = 0;
    for (uint32_t i = 0; i < result->count; i++)
        count += is_kept(worker, route, &result->hits[i]);
    if (count == 0)
        return false;
    if (message->stored)
        CHECK(stored_route(message->stored, count));
    else
        message->stored = stored_new(store_new_sequence(worker->broker->store), worker->now, count);
    CHECK(message->stored); /* as many as there are hits, which have been allocated before */
    count = 0;
    for (uint32_t i = 0; i < result->count; i++)
        if (is_kept(worker, route, &result->hits[i]))
            write_receiver(worker, &result->hits[i], message, &message->stored->receivers[count++]);
    return true;
}

/* ---- offering to all ---- */

/* Gives the delivery to its receiver, or puts it aside in `own` when that is of this worker. */
static void offer_to(struct worker *worker, const struct hit *hit, struct delivery *delivery,
                     struct mails *own)
{
    bool group = hit->kind == TREE_GROUP;
    struct worker *owner = group ? group_owner(hit->target) : session_owner(hit->target);
    if (owner == worker && !own && !group) {
        takeover_deliver(worker, hit->target, delivery, worker->now);
        return;
    }
    if (owner != worker && !group && delivery->qos > 0)
        brake_posted(worker, hit->target);
    struct mail mail = { .kind = group ? MAIL_GROUP_MESSAGE : MAIL_DELIVERY,
                         .target = hit->target,
                         .delivery = *delivery };
    if (owner == worker && own)
        mails_add(own, &mail);
    else
        worker_post(worker, owner, &mail);
}

void route_plain(struct worker *worker, const struct match_result *match, struct message *message,
                 uint64_t now)
{
    message_ref_many(message, match->count - 1); /* one for each */
    for (uint32_t i = 0; i < match->count; i++) {
        const struct hit *hit = &match->hits[i];
        struct session *session = hit->target;
        struct delivery delivery = { .message = message,
                                     .sub_id = hit->sub_id,
                                     .qos = effective_qos(worker, hit, message) };
        if (session_owner(session) == worker && !session->arriving)
            session_offer(worker, session, &delivery, now);
        else
            offer_to(worker, hit, &delivery, NULL);
    }
}

/* Offers to every receiver; those of this worker are put aside instead when `own` is given. */
static uint32_t offer_to_all(struct worker *worker, struct route *route, struct mails *own)
{
    struct topic_place place = { 0 };
    struct message *message = route->message;
    const struct match_result *result = route->match && !route->retained
                                            ? route->match
                                            : route_match(worker, message_topic(message), &place);
    uint32_t count = result->count, left = count;
    bool unrouted = message->stored != NULL;
    bool kept = result->kept > 0 && !route->own && write_receivers(worker, route, result);
    if (kept || unrouted)
        route->wait = durable_message(worker, message, unrouted);
    if (count == 0)
        message_unref(message);
    else
        message_ref_many(message, count - 1); /* one for each, as far as they get it */
    for (uint32_t i = 0; i < count; i++) {
        const struct hit *hit = &result->hits[i];
        if (!applies(hit, route->publisher))
            continue;
        struct delivery delivery = delivery_of(worker, hit, message);
        if (kept && is_kept(worker, route, hit))
            delivery.flags |= DELIVERY_STORED;
        left--;
        offer_to(worker, hit, &delivery, own);
    }
    for (; left > 0; left--) /* those for whom it is not */
        message_unref(message);
    return count;
}

/*
 * Set, matched and posted to other workers under the shard's lock, so that every mailbox has the
 * values of a topic in their order. What other workers set earlier, and have posted to this one, is
 * offered before this message is offered to this worker's own sessions: they too end on the stored
 * value.
 */
static uint32_t route_retained(struct worker *worker, struct route *route)
{
    struct retained *retained = worker->broker->retained;
    struct mails own = { 0 };
    struct message *message = message_ref(route->message);
    if (worker->guarded && route->publisher && !message->author)
        message->author = author_of((struct session *)route->publisher);
    struct topic_key key = retained_key(retained, message_topic(message));
    struct retained_shard *shard = retained_lock(retained, key);
    uint64_t number = retained_set(retained, shard, key, message);
    if (number && message->expires)
        retained_expire_at(worker, message->expires);
    uint32_t hits = offer_to_all(worker, route, &own);
    if (number && !route->own)
        route->wait = durable_retained(worker, message, number);
    worker_flush_outboxes(worker);
    worker_take_in(worker);
    retained_unlock(shard);

    worker_offer_taken(worker);
    for (size_t i = 0; i < own.count; i++)
        worker_post(worker, worker, &own.at[i]);
    free(own.at);
    message_unref(message);
    return hits;
}

uint32_t route_message(struct worker *worker, struct route *route, uint64_t now)
{
    (void)now;
    route->wait = 0;
    return route->retained ? route_retained(worker, route) : offer_to_all(worker, route, NULL);
}

/* ---- changes ---- */

void route_change(struct worker *worker, struct filter_change *changes, size_t count)
{
    struct broker *broker = worker->broker;
    CHECK(count <= ROUTER_BATCH);
    for (unsigned i = 0; i < broker->worker_count; i++)
        lock_take(&broker->workers[i]->reading, RANK_TREE);
    for (size_t i = 0; i < count; i++) {
        struct filter_change *change = &changes[i];
        change->result = change->remove
                             ? tree_remove(broker->tree, change->filter, change->entry.subscriber)
                             : tree_insert(broker->tree, change->filter, &change->entry);
    }
    atomic_store_explicit(&broker->generation, tree_generation(broker->tree), memory_order_release);
    for (unsigned i = broker->worker_count; i > 0; i--)
        lock_drop(&broker->workers[i - 1]->reading, RANK_TREE);
}
