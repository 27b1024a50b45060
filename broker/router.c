/* SPDX-License-Identifier: MIT */
/*
 * See router.h. Matching takes this worker's reading lock only when the cache does not know the
 * topic, and lets it go before anything is offered: no lock is
 * held while a connection is flushed. A retained message is set, matched and posted under its
 * shard's lock instead, without any flush.
 */
#include "broker/router.h"

#include "broker/broker_state.h"
#include "broker/locks.h"
#include "broker/match_cache.h"
#include "broker/session.h"

#include <stdlib.h>

enum { QUADRATIC_UP_TO = 16 };

/* ---- matching ---- */

struct found { /* entries of all filters that match, as the tree gives them */
    struct tree_entry *at;
    size_t count, room;
};

static void collect(void *ctx, const struct tree_entry *entry)
{
    struct found *found = ctx;
    if (found->count == found->room) {
        found->room = found->room ? found->room * 2 : 64;
        found->at = realloc(found->at, found->room * sizeof *found->at);
        CHECK(found->at);
    }
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

/* One hit from several subscriptions of one session: highest QoS and all identifiers
 * [MQTT5-3.3.4-2, MQTT5-3.3.4-3]. `skip` leaves out
 * those with No Local. Returns false when nothing is left. */
static bool merge(const struct tree_entry *entries, size_t count, bool skip, struct hit *ret_hit)
{
    uint32_t few[QUADRATIC_UP_TO], *ids = count > QUADRATIC_UP_TO ? malloc(count * sizeof *ids) : few;
    uint32_t id_count = 0;
    struct hit hit = {.target = entries[0].subscriber, .kind = entries[0].kind};
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
    *ret_hit = hit;
    return any;
}

/* The hits of one target: mostly one; two when No Local makes a difference to the publisher
 * itself. */
static uint32_t merge_target(const struct tree_entry *entries, size_t count, struct hit *hits)
{
    bool no_local = false;
    for (size_t i = 0; i < count; i++)
        no_local |= (entries[i].options & MQTT_SUB_NO_LOCAL) != 0;
    (void)merge(entries, count, false, &hits[0]);
    if (!no_local)
        return 1;
    hits[0].condition = HIT_UNLESS_PUBLISHER;
    if (!merge(entries, count, true, &hits[1]))
        return 1;
    hits[1].condition = HIT_IF_PUBLISHER;
    return 2;
}

static struct match_result *merge_all(struct found *found)
{
    struct match_result *result =
        malloc(sizeof *result + found->count * sizeof(struct hit)); /* never more hits than entries */
    CHECK(result);
    result->count = 0;
    gather(found);
    for (size_t first = 0, end; first < found->count; first = end) {
        for (end = first + 1; end < found->count; end++)
            if (found->at[end].subscriber != found->at[first].subscriber)
                break;
        result->count +=
            merge_target(&found->at[first], end - first, &result->hits[result->count]);
    }
    return result;
}

static const struct match_result *match(struct worker *worker, struct span topic)
{
    struct broker *broker = worker->broker;
    uint64_t generation = atomic_load_explicit(&broker->generation, memory_order_acquire);
    const struct match_result *known = match_cache_get(worker->matches, topic, generation);
    if (known)
        return known;
    struct found found = {0};
    lock_take(&worker->reading, RANK_TREE);
    generation = tree_generation(broker->tree);
    tree_match(broker->tree, topic, collect, &found);
    lock_drop(&worker->reading, RANK_TREE);
    struct match_result *result = merge_all(&found);
    free(found.at);
    return match_cache_put(worker->matches, topic, generation, result);
}

/* ---- offering ---- */

void route_offer(struct worker *worker, struct session *session, struct delivery *delivery,
                 uint64_t now)
{
    struct worker *owner = atomic_load_explicit(&session->owner, memory_order_acquire);
    if (owner == worker && !session->arriving)
        session_offer(worker, session, delivery, now);
    else
        worker_post(worker, owner,
                    &(struct mail){
                        .kind = MAIL_DELIVERY, .target = session, .delivery = *delivery});
}

static void offer_group(struct worker *worker, struct group *group, struct message *message,
                        uint64_t now)
{
    struct worker *owner = group_owner(group);
    struct delivery delivery = {.message = message_ref(message),
                                .qos = message->qos,
                                .flags = message->retain ? DELIVERY_RETAIN : 0};
    if (owner == worker)
        group_take_message(worker, group, &delivery, now);
    else
        worker_post(worker, owner,
                    &(struct mail){
                        .kind = MAIL_GROUP_MESSAGE, .target = group, .delivery = delivery});
}

static void offer_session(struct worker *worker, const struct hit *hit, struct message *message,
                          uint64_t now)
{
    uint8_t granted = hit->options & MQTT_SUB_QOS;
    bool upgrade = worker->config->upgrade_outgoing_qos;
    struct delivery delivery = {
        .message = message_ref(message),
        .sub_id = hit->sub_id,
        .qos = upgrade || granted < message->qos ? granted : message->qos,
        .flags = message->retain && (hit->options & MQTT_SUB_RETAIN_AS_PUBLISHED) ? DELIVERY_RETAIN
                                                                                  : 0,
    };
    if (hit->ids) {
        delivery.ids = sub_ids_ref(hit->ids);
        delivery.flags |= DELIVERY_MANY_IDS;
    }
    route_offer(worker, hit->target, &delivery, now);
}

static bool applies(const struct hit *hit, const struct session *publisher)
{
    if (hit->condition == HIT_ALWAYS)
        return true;
    return (hit->condition == HIT_IF_PUBLISHER) == (hit->target == publisher);
}

static uint32_t match_and_offer(struct worker *worker, const struct route *route, uint64_t now)
{
    const struct match_result *result = match(worker, message_topic(route->message));
    for (uint32_t i = 0; i < result->count; i++) {
        const struct hit *hit = &result->hits[i];
        if (hit->kind == TREE_GROUP)
            offer_group(worker, hit->target, route->message, now);
        else if (applies(hit, route->publisher))
            offer_session(worker, hit, route->message, now);
    }
    return result->count;
}

uint32_t route_message(struct worker *worker, const struct route *route, uint64_t now)
{
    if (!route->retained)
        return match_and_offer(worker, route, now);
    /* Set, matched and posted under one lock: whoever fetches the retained message later has
     * everything older in its mailbox. */
    struct retained *retained = worker->broker->retained;
    bool may_flush = worker->may_flush;
    worker->may_flush = false;
    struct retained_shard *shard = retained_lock(retained, message_topic(route->message));
    (void)retained_set(retained, shard, route->message);
    uint32_t hits = match_and_offer(worker, route, now);
    worker_flush_outboxes(worker);
    retained_unlock(shard);
    worker->may_flush = may_flush;
    return hits;
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
        change->result =
            change->remove
                ? tree_remove(broker->tree, change->filter, change->entry.subscriber)
                : tree_insert(broker->tree, change->filter, &change->entry);
    }
    atomic_store_explicit(&broker->generation, tree_generation(broker->tree),
                          memory_order_release);
    for (unsigned i = broker->worker_count; i > 0; i--)
        lock_drop(&broker->workers[i - 1]->reading, RANK_TREE);
}
