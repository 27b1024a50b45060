/* SPDX-License-Identifier: MIT */
/*
 * See group.h: the side of a group that runs on its own worker. It alone decides who gets what, in
 * the order of arrival, round robin over the members that have a place free. The handlers only note
 * what has changed where sessions could be in the middle of something; the queue is handed out at
 * the end of the turn (group_work()), when nobody is.
 */
#include "broker/group.h"

#include "broker/auth/access.h"
#include "broker/broker_state.h"
#include "broker/durable.h"
#include "broker/group_state.h"
#include "broker/locks.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

static bool has_place(const struct membership *member)
{
    return !member->left && member->outstanding < member->places;
}

/* Keeps the list of those who can take something true after any change of a member. */
static void member_changed(struct worker *worker, struct membership *member)
{
    struct group *group = member->group;
    if (has_place(member)) {
        if (!list_linked(&member->free_node))
            list_append(&group->free_members, &member->free_node);
    } else {
        list_remove(&member->free_node);
        if (member->left && member->outstanding == 0)
            list_append(&group->leftovers, &member->free_node);
    }
    if (!list_linked(&group->busy_node))
        list_append(&worker->busy_groups, &group->busy_node);
}

/* ---- handing out ---- */

/* A delivery as the group keeps it: all that depends on the member is still open. */
static void as_published(const struct config *config, struct delivery *delivery)
{
    const struct message *message = delivery->message;
    *delivery = (struct delivery){
        .message = delivery->message,
        .qos = config->upgrade_outgoing_qos ? 2 : message->qos,
        .flags = (uint8_t)((message->retain ? DELIVERY_RETAIN : 0) |
                           (delivery->flags & DELIVERY_STORED)),
    };
}

/* The filter of the group, decided for this member once under these rules. */
static void decide(const struct worker *worker, struct membership *member,
                   const struct acl_client *client)
{
    const struct group *group = member->group;
    struct span name, filter;
    CHECK(mqtt_share_split(span_of(group->share_filter, group->share_filter_len), &name, &filter));
    member->verdict = (uint8_t)acl_allows_filter(access_rules(worker, member->principal), client,
                                                 ACL_READ, filter);
    member->rules = worker->rules;
}

/* Whether a member that has not left may read the message, under the rules that hold here. */
static bool may_read(const struct worker *worker, struct membership *member,
                     const struct message *message)
{
    bool decided = member->rules == worker->rules;
    if (decided && member->verdict != ACL_SOME)
        return member->verdict == ACL_EVERYTHING;
    struct acl_client client = access_client(member->principal, session_client_id(member->session));
    if (!decided)
        decide(worker, member, &client);
    if (member->verdict != ACL_SOME)
        return member->verdict == ACL_EVERYTHING;
    return acl_allows(access_rules(worker, member->principal), &client, ACL_READ,
                      message_topic(message));
}

__attribute__((noinline)) static struct membership *pick_reader(const struct worker *worker,
                                                                const struct group *group,
                                                                const struct message *message)
{
    const struct list *members = &group->free_members;
    for (struct list *node = members->next; node != members; node = node->next) {
        struct membership *member = CONTAINER_OF(node, struct membership, free_node);
        if (may_read(worker, member, message))
            return member;
    }
    return NULL;
}

/* The member whose turn it is of those that have a place and may read it, NULL: none. */
static struct membership *pick(const struct worker *worker, const struct group *group,
                               const struct message *message)
{
    if (list_empty(&group->free_members))
        return NULL;
    if (worker->guarded)
        return pick_reader(worker, group, message);
    return CONTAINER_OF(group->free_members.next, struct membership, free_node);
}

/* Whether nobody who is there may read it, though somebody is: it would only be in the way of
 * others. */
static bool is_unreadable(const struct worker *worker, struct group *group,
                          const struct message *message)
{
    if (!worker->guarded || !group->online)
        return false;
    bool readable = false;
    lock_take(&group->groups->lock, RANK_SESSION_TABLE);
    for (struct list *node = group->memberships.next; node != &group->memberships && !readable;
         node = node->next) {
        struct membership *member = CONTAINER_OF(node, struct membership, group_node);
        readable = member->online && may_read(worker, member, message);
    }
    lock_drop(&group->groups->lock, RANK_SESSION_TABLE);
    return !readable;
}

/* Gives it to the member whose turn it is [MQTT5-4.8.2-3]: the granted QoS is the member's own.
 * The group's delivery is taken over. */
static void hand_out(struct worker *worker, struct membership *member, struct delivery *delivery,
                     uint64_t now)
{
    struct group *group = member->group;
    list_remove(&member->free_node);
    uint64_t terms = atomic_load_explicit(&member->terms, memory_order_relaxed);
    uint8_t granted = terms & MQTT_SUB_QOS;
    uint8_t retain = terms & MQTT_SUB_RETAIN_AS_PUBLISHED ? DELIVERY_RETAIN : 0;
    delivery->qos = delivery->qos < granted ? delivery->qos : granted;
    delivery->flags = (uint8_t)((delivery->flags & (retain | DELIVERY_STORED)) | DELIVERY_SHARED);
    delivery->member = member;
    delivery->sub_id = (uint32_t)(terms >> 8);
    if (++member->outstanding < member->places)
        list_append(&group->free_members, &member->free_node);
    route_offer(worker, member->session, delivery, now);
}

/* A delivery as the group keeps it will never reach anybody. */
static void forget(struct worker *worker, const struct group *group, struct delivery *delivery)
{
    durable_done(worker, atomic_load_explicit(&group->slot, memory_order_relaxed), delivery);
    delivery_unref(delivery);
}

static void deny(struct worker *worker, const struct group *group, struct delivery *delivery)
{
    STAT_ADD(&worker->stats, deliveries_denied, 1);
    forget(worker, group, delivery);
}

static void drop(struct worker *worker, const struct group *group, struct delivery *delivery)
{
    STAT_ADD(&worker->stats, publish_dropped, 1);
    STAT_ADD(&worker->stats, queue_dropped, 1);
    forget(worker, group, delivery);
}

/* Whether anybody would ever get it: a member without a connection is a session that waits for
 * its client. */
static bool is_awaited(const struct config *config, const struct group *group,
                       const struct delivery *delivery)
{
    return group->online || (group->members && (delivery->qos || config->queue_qos0_messages));
}

void group_take_message(struct worker *worker, struct group *group, struct delivery *delivery,
                        uint64_t now)
{
    struct config *config = worker->config;
    as_published(config, delivery);
    struct membership *member = group->queue.count == 0 ? pick(worker, group, delivery->message)
                                                        : NULL;
    if (member)
        hand_out(worker, member, delivery, now);
    else if (is_unreadable(worker, group, delivery->message))
        deny(worker, group, delivery);
    else if (!is_awaited(config, group, delivery))
        forget(worker, group, delivery);
    else if (!worker_queue_takes(worker, &group->queue, NULL, delivery) ||
             !queue_push(&group->queue, delivery))
        drop(worker, group, delivery);
}

bool group_restore_queued(struct worker *worker, struct group *group, struct delivery *delivery)
{
    as_published(worker->config, delivery);
    if (queue_push(&group->queue, delivery))
        return true;
    delivery_unref(delivery);
    return false;
}

void group_restore_taken(struct membership *member)
{
    member->outstanding++;
    group_took(member);
}

void group_restored(struct worker *worker, struct group *group)
{
    struct delivery delivery;
    if (group->joined > 0)
        return;
    while (queue_pop(&group->queue, &delivery))
        forget(worker, group, &delivery);
    group_remove(worker, group);
}

/* Already accepted once, so no bound applies. Handed out later: more of the same may come, each
 * to the front of the one before. */
void group_take_return(struct worker *worker, struct membership *member, struct delivery *delivery,
                       uint64_t now)
{
    struct group *group = member->group;
    (void)now;
    CHECK(member->outstanding > 0);
    member->outstanding--;
    member_changed(worker, member);
    as_published(worker->config, delivery);
    if (!is_awaited(worker->config, group, delivery))
        forget(worker, group, delivery);
    else if (!queue_push_front(&group->queue, delivery))
        drop(worker, group, delivery);
}

void group_take_credit(struct worker *worker, struct membership *member, uint32_t places,
                       uint64_t now)
{
    (void)now;
    CHECK(member->outstanding >= places);
    member->outstanding -= places;
    member_changed(worker, member);
}

/* ---- members ---- */

static void become(struct membership *member, struct principal *principal)
{
    principal_unref(member->principal);
    member->principal = principal;
    member->rules = ACCESS_UNDECIDED;
}

void group_take_member(struct worker *worker, struct membership *member, uint32_t change,
                       struct principal *principal)
{
    struct group *group = member->group;
    bool was_online = member->online;
    switch ((enum member_change)(change & MEMBER_CHANGE_MASK)) {
    case MEMBER_JOIN: group->members++; break;
    case MEMBER_WHO: become(member, principal); break;
    case MEMBER_ONLINE:
        member->places = change >> MEMBER_CHANGE_BITS;
        member->online = true;
        break;
    case MEMBER_OFFLINE:
        member->places = 0;
        member->online = false;
        break;
    case MEMBER_LEAVE:
        member->places = 0;
        member->online = false;
        member->left = true;
        group->members--;
        break;
    }
    group->online += member->online;
    group->online -= was_online;
    member_changed(worker, member);
}

/* ---- the end of the turn ---- */

static void hand_out_queue(struct worker *worker, struct group *group, uint64_t now)
{
    struct delivery delivery;
    while (!list_empty(&group->free_members) && group->queue.count > 0) {
        const struct message *first = queue_first(&group->queue)->message;
        struct membership *member = pick(worker, group, first);
        if (!member && !is_unreadable(worker, group, first))
            break; /* who may read it has no place now */
        (void)queue_pop(&group->queue, &delivery);
        if (!member) {
            deny(worker, group, &delivery);
            continue;
        }
        if (message_expired(delivery.message, now)) { /* [MQTT5-3.3.2-5] */
            STAT_ADD(&worker->stats, expired_dropped, 1);
            STAT_ADD(&worker->stats, publish_dropped, 1);
            forget(worker, group, &delivery);
            continue;
        }
        hand_out(worker, member, &delivery, now);
    }
    while (group->members == 0 && queue_pop(&group->queue, &delivery))
        forget(worker, group, &delivery);
}

void group_work(struct worker *worker, uint64_t now)
{
    struct list busy, *node;
    group_post_credits(worker);
    list_init(&busy);
    list_move(&busy, &worker->busy_groups);
    while ((node = list_take(&busy))) {
        struct group *group = CONTAINER_OF(node, struct group, busy_node);
        hand_out_queue(worker, group, now);
        group_bury_leftovers(worker, group, now);
    }
}
