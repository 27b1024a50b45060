/* SPDX-License-Identifier: MIT */
/*
 * See group.h: the table of groups, and the side of a group that runs where its members' sessions
 * live. It tells the group's worker by mail what happens and touches neither the group's queue nor
 * its order of members.
 */
#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/broker_state.h"
#include "broker/durable.h"
#include "broker/group_state.h"
#include "broker/locks.h"
#include "broker/session.h"
#include "mqtt/topic.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FIRST_BUCKETS = 16 };

/* ---- the table ---- */

struct groups *groups_new(uint64_t seed)
{
    struct groups *groups = must_have(calloc(1, sizeof *groups));
    groups->seed = seed;
    groups->room = FIRST_BUCKETS;
    groups->table = must_have(calloc(groups->room, sizeof(struct group *)));
    CHECK(pthread_mutex_init(&groups->lock, NULL) == 0);
    return groups;
}

static void free_member(struct membership *member)
{
    principal_unref(member->principal);
    free(member);
}

static void free_group(struct group *group)
{
    struct list *node;
    while ((node = list_take(&group->memberships)))
        free_member(CONTAINER_OF(node, struct membership, group_node));
    queue_done(&group->queue);
    free(group);
}

/* The workers do not run any more. */
void groups_free(struct groups *groups)
{
    if (!groups)
        return;
    for (size_t i = 0; i < groups->room; i++)
        for (struct group *group = groups->table[i], *next; group; group = next) {
            next = group->next;
            free_group(group);
        }
    pthread_mutex_destroy(&groups->lock);
    free(groups->table);
    free(groups);
}

static struct group **bucket(const struct groups *groups, uint64_t hash)
{
    return &groups->table[hash & (groups->room - 1)];
}

static void link_group(struct groups *groups, struct group *group)
{
    struct group **head = bucket(groups, group->hash);
    group->next = *head;
    *head = group;
}

/* Without memory the chains just become longer. */
static void grow(struct groups *groups)
{
    struct groups grown = { .room = groups->room * 2 };
    if (!(grown.table = calloc(grown.room, sizeof(struct group *))))
        return;
    for (size_t i = 0; i < groups->room; i++)
        for (struct group *group = groups->table[i], *next; group; group = next) {
            next = group->next;
            link_group(&grown, group);
        }
    free(groups->table);
    groups->table = grown.table;
    groups->room = grown.room;
}

static struct group *find(const struct groups *groups, struct span share_filter, uint64_t hash)
{
    struct group *group = *bucket(groups, hash);
    while (group &&
           (group->dead || group->hash != hash ||
            !span_equal(span_of(group->share_filter, group->share_filter_len), share_filter)))
        group = group->next;
    return group;
}

static struct group *group_new(struct broker *broker, struct span share_filter, uint64_t hash)
{
    struct group *group = calloc(1, sizeof *group + share_filter.len);
    if (!group)
        return NULL;
    group->groups = broker->groups;
    group->hash = hash;
    group->owner = broker->workers[(hash >> 32) % broker->worker_count];
    group->share_filter_len = (uint32_t)share_filter.len;
    memcpy(group->share_filter, share_filter.data, share_filter.len);
    list_init(&group->memberships);
    list_init(&group->free_members);
    list_init(&group->leftovers);
    return group;
}

static void unlink_group(struct groups *groups, struct group *group)
{
    struct group **link = bucket(groups, group->hash);
    while (*link != group)
        link = &(*link)->next;
    *link = group->next;
    groups->count--;
}

/* The tree has one entry a group. It passes QoS and retain flag as published: what a member gets of
 * them, the group decides. Under the groups' lock, so that nobody who joins meanwhile is told that
 * it may publish before the entry is there. */
static bool change_tree(struct worker *worker, struct group *group, bool remove)
{
    struct span name;
    struct filter_change change = {
        .entry = { .subscriber = group,
                   .options = 2 | MQTT_SUB_RETAIN_AS_PUBLISHED,
                   .kind = TREE_GROUP },
        .remove = remove,
    };
    CHECK(mqtt_share_split(span_of(group->share_filter, group->share_filter_len), &name,
                           &change.filter));
    route_change(worker, &change, 1);
    return change.result != TREE_NO_MEMORY;
}

static struct group *find_or_add(struct worker *worker, struct span share_filter)
{
    struct groups *groups = worker->broker->groups;
    uint64_t hash = XXH3_64bits_withSeed(share_filter.data, share_filter.len, groups->seed);
    struct group *group = find(groups, share_filter, hash);
    if (group)
        return group;
    group = group_new(worker->broker, share_filter, hash);
    if (!group)
        return NULL;
    if (!change_tree(worker, group, false)) {
        free(group); /* the tree never had it */
        return NULL;
    }
    if (groups->count >= groups->room)
        grow(groups);
    link_group(groups, group);
    groups->count++;
    return group;
}

/* ---- the members ---- */

static void post_member(struct worker *worker, struct membership *member, uint32_t change)
{
    worker_post(worker, member->group->owner,
                &(struct mail){ .kind = MAIL_GROUP_MEMBER, .target = member, .number = change });
}

/* Whose the session of the member is; before it comes online, and when that changes. */
static void tell_who(struct worker *worker, struct membership *member)
{
    worker_post(worker, member->group->owner,
                &(struct mail){ .kind = MAIL_GROUP_MEMBER,
                                .target = member,
                                .number = MEMBER_WHO,
                                .principal = principal_ref(member->session->principal) });
}

/* ---- the store ---- */

uint32_t group_kept_slot(const struct group *group)
{
    return atomic_load_explicit(&group->keeps, memory_order_relaxed);
}

uint32_t group_member_slot(const struct membership *member)
{
    return atomic_load_explicit(&member->group->slot, memory_order_relaxed);
}

/* The group's entry is put into the tree anew, so that no match of before is used any more. Under
 * the groups' lock. */
static void count_keeper(struct worker *worker, struct membership *member, bool keeps)
{
    struct group *group = member->group;
    uint32_t slot = group_member_slot(member);
    if (member->keeper == keeps)
        return;
    member->keeper = keeps;
    group->keepers += keeps ? 1 : UINT32_MAX;
    if (group->keepers != keeps) /* neither the first one nor the last */
        return;
    if (keeps && !slot) {
        slot = store_new_slot(worker->broker->store);
        atomic_store_explicit(&group->slot, slot, memory_order_relaxed);
        durable_group(worker, slot, span_of(group->share_filter, group->share_filter_len));
    }
    atomic_store_explicit(&group->keeps, keeps ? slot : 0, memory_order_relaxed);
    if (keeps || group->joined > 1) /* the last one to leave takes the entry out of the tree */
        (void)change_tree(worker, group, false);
}

void group_members_keep(struct worker *worker, struct session *session, bool keeps)
{
    struct groups *groups = worker->broker->groups;
    for (struct membership *member = session->members; member; member = member->next) {
        lock_take(&groups->lock, RANK_SESSION_TABLE);
        count_keeper(worker, member, keeps);
        lock_drop(&groups->lock, RANK_SESSION_TABLE);
    }
}

struct group *group_restore(struct worker *worker, uint32_t slot, struct span share_filter)
{
    struct groups *groups = worker->broker->groups;
    lock_take(&groups->lock, RANK_SESSION_TABLE);
    struct group *group = find_or_add(worker, share_filter);
    lock_drop(&groups->lock, RANK_SESSION_TABLE);
    if (group)
        atomic_store(&group->slot, slot);
    return group;
}

struct membership *group_member_of(const struct group *group, const struct session *session)
{
    struct membership *member = session->members;
    while (member && member->group != group)
        member = member->next;
    return member;
}

/* ---- joining and leaving ---- */

static void set_terms(struct membership *member, uint8_t options, uint32_t sub_id)
{
    atomic_store_explicit(&member->terms, (uint64_t)sub_id << 8 | options, memory_order_relaxed);
}

static void link_member(struct session *session, struct membership *member)
{
    member->next = session->members;
    member->link = &session->members;
    if (member->next)
        member->next->link = &member->next;
    session->members = member;
}

static void unlink_member(struct membership *member)
{
    *member->link = member->next;
    if (member->next)
        member->next->link = member->link;
    member->link = NULL;
}

struct membership *group_join(struct worker *worker, struct session *session,
                              struct span share_filter, uint8_t options, uint32_t sub_id,
                              struct membership *old)
{
    struct groups *groups = worker->broker->groups;
    if (old) {
        set_terms(old, options, sub_id);
        return old;
    }
    struct membership *member = calloc(1, sizeof *member);
    if (!member)
        return NULL;
    member->session = session;
    set_terms(member, options, sub_id);

    lock_take(&groups->lock, RANK_SESSION_TABLE);
    struct group *group = find_or_add(worker, share_filter);
    if (group) {
        group->joined++;
        list_append(&group->memberships, &member->group_node);
        member->group = group;
        count_keeper(worker, member, session_kept_slot(session) != 0);
    }
    lock_drop(&groups->lock, RANK_SESSION_TABLE);
    if (!group) {
        free(member);
        return NULL;
    }
    link_member(session, member);
    post_member(worker, member, MEMBER_JOIN);
    tell_who(worker, member);
    return member;
}

static void post_credit(struct worker *worker, struct membership *member)
{
    struct mail mail = { .kind = MAIL_GROUP_CREDIT, .target = member, .number = member->collected };
    struct worker *owner = member->group->owner;
    list_remove(&member->credit_node);
    member->collected = 0;
    worker_post(worker, owner, &mail); /* a member that has left may be gone after it */
}

/* What was collected goes first: nothing of this member may stay in this worker's list when its
 * session moves on. */
static void settle(struct worker *worker, struct membership *member)
{
    if (list_linked(&member->credit_node))
        post_credit(worker, member);
}

void group_leave(struct worker *worker, struct membership *member)
{
    struct group *group = member->group;
    struct groups *groups = worker->broker->groups;
    settle(worker, member);
    unlink_member(member);
    lock_take(&groups->lock, RANK_SESSION_TABLE);
    count_keeper(worker, member, false);
    if (--group->joined == 0) {
        (void)change_tree(worker, group, true);
        group->dead = true;
    }
    lock_drop(&groups->lock, RANK_SESSION_TABLE);
    post_member(worker, member, MEMBER_LEAVE);
}

/* What the window leaves for this group: everything else that the session has begun or queued takes
 * its place first. */
static uint32_t room_for(const struct membership *member, uint32_t window)
{
    const struct session *session = member->session;
    uint32_t others = session->inflight.count + session_waiting(session) - member->taken;
    return others < window ? window - others : 0;
}

void group_member_online(struct worker *worker, struct membership *member, uint32_t window)
{
    member->reported = room_for(member, window);
    post_member(worker, member, member->reported << MEMBER_CHANGE_BITS | MEMBER_ONLINE);
}

void group_members_online(struct worker *worker, struct session *session, uint32_t window)
{
    for (struct membership *member = session->members; member; member = member->next)
        group_member_online(worker, member, window);
}

void group_report_room(struct worker *worker, struct session *session, uint32_t window)
{
    for (struct membership *member = session->members; member; member = member->next)
        if (room_for(member, window) != member->reported)
            group_member_online(worker, member, window);
}

void group_took(struct membership *member)
{
    member->taken++;
}

void group_members_become(struct worker *worker, struct session *session)
{
    for (struct membership *member = session->members; member; member = member->next)
        tell_who(worker, member);
}

void group_members_offline(struct worker *worker, struct session *session)
{
    for (struct membership *member = session->members; member; member = member->next) {
        settle(worker, member);
        post_member(worker, member, MEMBER_OFFLINE);
    }
}

void group_credit(struct worker *worker, struct membership *member, uint32_t places)
{
    CHECK(member->taken >= places);
    member->taken -= places;
    member->collected += places;
    if (!list_linked(&member->credit_node))
        list_append(&worker->credits, &member->credit_node);
}

void group_post_credits(struct worker *worker)
{
    while (!list_empty(&worker->credits))
        post_credit(worker, CONTAINER_OF(worker->credits.next, struct membership, credit_node));
}

void group_return(struct worker *worker, struct delivery *delivery)
{
    struct membership *member = delivery->member;
    CHECK(member->taken > 0);
    member->taken--;
    worker_post(
        worker, member->group->owner,
        &(struct mail){ .kind = MAIL_GROUP_RETURN, .target = member, .delivery = *delivery });
}

struct worker *group_owner(const struct group *group)
{
    return group->owner;
}

/* ---- the end ---- */

static void end_group(struct worker *worker, struct group *group)
{
    struct groups *groups = group->groups;
    lock_take(&groups->lock, RANK_SESSION_TABLE);
    unlink_group(groups, group);
    lock_drop(&groups->lock, RANK_SESSION_TABLE);
    list_remove(&group->busy_node);
    durable_group_end(worker, atomic_load(&group->slot));
    free_group(group);
}

static void bury(struct fence *fence, uint64_t now)
{
    (void)now;
    end_group(fence->worker, CONTAINER_OF(fence, struct group, fence));
}

void group_remove(struct worker *worker, struct group *group)
{
    (void)change_tree(worker, group, true);
    end_group(worker, group);
}

void group_bury_leftovers(struct worker *worker, struct group *group, uint64_t now)
{
    struct groups *groups = group->groups;
    struct list *node;
    if (list_empty(&group->leftovers))
        return;
    lock_take(&groups->lock, RANK_SESSION_TABLE);
    while ((node = list_take(&group->leftovers))) {
        struct membership *member = CONTAINER_OF(node, struct membership, free_node);
        list_remove(&member->group_node);
        free_member(member);
    }
    bool over = group->dead && list_empty(&group->memberships);
    lock_drop(&groups->lock, RANK_SESSION_TABLE);
    if (!over)
        return;
    group->fence.passed = bury; /* messages that were matched before may still be on their way */
    fence_start(worker, &group->fence, now);
}
