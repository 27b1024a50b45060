/* SPDX-License-Identifier: MIT */
/*
 * Shared subscriptions [MQTT5-4.8.2]: a group is one $share name and filter. It belongs to one
 * worker (by hash), which alone touches its queue and members; the tree has one entry for it.
 * Members' workers tell it how many places each connected member has free (credit), it hands
 * messages out against them, and takes back what a leaving member had not acknowledged.
 */
#pragma once

#include "broker/delivery.h"

struct broker;
struct group;
struct groups;
struct membership;
struct principal;
struct session;
struct worker;

struct groups *groups_new(uint64_t seed); /* aborts without memory */
void groups_free(struct groups *groups);

/* ---- on the worker that owns the session ---- */

/* Joins (or changes the options of) the group of a valid $share filter. Returns the membership,
 * which the session's subscription keeps until group_leave(); NULL: no memory. When it joins, the
 * group's entry goes into the tree if it is the first. */
struct membership *group_join(struct worker *worker, struct session *session,
                              struct span share_filter, uint8_t options, uint32_t sub_id,
                              struct membership *old);
/* Leaves: unsubscribed, or the session ends. The pointer is not used any more by the caller.
 * Deliveries that carry it are to be given back first (group_return()), or are finished or given
 * back later: each exactly once. */
void group_leave(struct worker *worker, struct membership *member);
/* The member's connection came or went. `window`: how many messages it may have unacknowledged,
 * whatever they came through. */
void group_member_online(struct worker *worker, struct membership *member, uint32_t window);
/* The same of all memberships of a session. */
void group_members_online(struct worker *worker, struct session *session, uint32_t window);
void group_members_offline(struct worker *worker, struct session *session);
/* The session belongs to somebody else now. */
void group_members_become(struct worker *worker, struct session *session);
/* Tells the groups of a session with a connection when they have another number of its places than
 * before, because of what it has besides. */
void group_report_room(struct worker *worker, struct session *session, uint32_t window);
/* A delivery has come to the member's session: until group_credit() or group_return() it is one of
 * those that the group has counted itself. */
void group_took(struct membership *member);
/* A delivery of this membership is finished (acknowledged, written at QoS 0, dropped): its place
 * is free. Collected per turn. */
void group_credit(struct worker *worker, struct membership *member, uint32_t places);
/* A delivery goes back to the group (taken over), to its front. */
void group_return(struct worker *worker, struct delivery *delivery);

/* ---- mail handlers, on the worker that owns the group ---- */
void group_take_message(struct worker *worker, struct group *group, struct delivery *delivery,
                        uint64_t now);
void group_take_return(struct worker *worker, struct membership *member, struct delivery *delivery,
                       uint64_t now);
void group_take_credit(struct worker *worker, struct membership *member, uint32_t places,
                       uint64_t now);
/* `principal`, given away: with MEMBER_WHO, whose the member is; else NULL. */
void group_take_member(struct worker *worker, struct membership *member, uint32_t change,
                       struct principal *principal);

/* Reports collected credit and hands out what waits, for all groups of this worker that
 * something has changed for. Called by worker_finish(). */
void group_work(struct worker *worker, uint64_t now);

struct worker *group_owner(const struct group *group); /* any thread */

/* ---- the store ---- */

/* The group's slot while it has a member that the store keeps, else 0. Any thread. */
uint32_t group_kept_slot(const struct group *group);
/* The slot of a member's group, whose deliveries are recorded under it; 0: it never had one. */
uint32_t group_member_slot(const struct membership *member);
/* While the broker starts: a group without members yet (NULL: no memory), the membership of a
 * session (NULL: none), a message that waits in the group (taken over; false: no memory), one that
 * a member has begun, and the end of it: a group that nobody has joined goes. */
struct group *group_restore(struct worker *worker, uint32_t slot, struct span share_filter);
struct membership *group_member_of(const struct group *group, const struct session *session);
bool group_restore_queued(struct worker *worker, struct group *group, struct delivery *delivery);
void group_restore_taken(struct membership *member);
void group_restored(struct worker *worker, struct group *group);
/* The session is kept beyond its connection from now on, or no more. On its worker. */
void group_members_keep(struct worker *worker, struct session *session, bool keeps);
