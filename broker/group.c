/* SPDX-License-Identifier: MIT */
/*
 * See group.h: the side of a group that runs on its own worker. It alone decides who gets what, in
 * the order of arrival, round robin over the members that have a place free. The handlers only note
 * what has changed where sessions could be in the middle of something; the queue is handed out at
 * the end of the turn (group_work()), when nobody is.
 */
#include "broker/group.h"

#include "broker/broker_state.h"
#include "broker/durable.h"
#include "broker/group_state.h"
#include "mqtt/packet.h"

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

/* Gives it to the member whose turn it is [MQTT5-4.8.2-3]: the granted QoS is the member's own.
 * The group's delivery is taken over. */
static void hand_out(struct worker *worker, struct group *group, struct delivery *delivery,
                     uint64_t now)
{
    struct membership *member = CONTAINER_OF(list_take(&group->free_members), struct membership,
                                             free_node);
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
    if (group->queue.count == 0 && !list_empty(&group->free_members))
        hand_out(worker, group, delivery, now);
    else if (!is_awaited(config, group, delivery))
        forget(worker, group, delivery);
    else if (!worker_queue_takes(worker, &group->queue, delivery) ||
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

void group_take_member(struct worker *worker, struct membership *member, uint32_t change,
                       uint64_t now)
{
    struct group *group = member->group;
    bool was_online = member->online;
    (void)now;
    switch ((enum member_change)(change & MEMBER_CHANGE_MASK)) {
    case MEMBER_JOIN: group->members++; break;
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
    while (!list_empty(&group->free_members) && queue_pop(&group->queue, &delivery)) {
        if (message_expired(delivery.message, now)) { /* [MQTT5-3.3.2-5] */
            STAT_ADD(&worker->stats, expired_dropped, 1);
            STAT_ADD(&worker->stats, publish_dropped, 1);
            forget(worker, group, &delivery);
            continue;
        }
        hand_out(worker, group, &delivery, now);
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
