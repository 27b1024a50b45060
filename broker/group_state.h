/* SPDX-License-Identifier: MIT */
/*
 * What a shared group consists of, for group.c and group_member.c alone. Several hands touch it,
 * each its own fields: (i) immutable, (L) under groups.lock, (g) the group's worker, (s) the worker
 * that owns the member's session, (a) atomic.
 *
 * How long a membership lives: every delivery that was handed out comes back exactly once, as a
 * credit or as a return, and until then counts as outstanding. When the member has left and nothing
 * is outstanding, nobody can name it any more. How long a group lives: until its last membership
 * has gone and a fence has passed since its entry left the tree.
 */
#pragma once

#include "broker/group.h"
#include "broker/list.h"
#include "broker/queue.h"
#include "broker/worker_state.h"

struct group {
    struct group *next;        /* (L) in the table */
    struct groups *groups;     /* (i) */
    struct worker *owner;      /* (i) */
    uint64_t hash;             /* (i) of share_filter */
    uint32_t joined;           /* (L) members that have not left */
    uint32_t keepers;          /* (L) of them those that the store keeps */
    _Atomic uint32_t slot;     /* (a) of the store, 0 none; set once, under L */
    _Atomic uint32_t keeps;    /* (a) the slot while there is a keeper, else 0; written under L */
    bool dead;                 /* (L) the last one has left, the entry is out of the tree */
    struct list memberships;   /* (L) all that are not freed, membership.group_node */
    struct list free_members;  /* (g) members with free places, the next to serve first */
    uint32_t members, online;  /* (g) that have not left; of them those with a connection */
    struct list leftovers;     /* (g) memberships to be freed, membership.free_node */
    struct queue queue;        /* (g) what nobody has a place for yet */
    struct list busy_node;     /* (g) in worker.busy_groups */
    struct fence fence;        /* (g) */
    uint32_t share_filter_len; /* (i) */
    char share_filter[];       /* (i) "$share/name/filter" */
};

struct membership {
    struct list group_node;      /* (L) */
    struct group *group;         /* (i) */
    struct session *session;     /* (i) not followed once the member has left */
    _Atomic uint64_t terms;      /* (a) subscription identifier << 8 | options */
    struct membership *next;     /* (s) in session.members */
    struct membership **link;    /* (s) what points to this one; NULL: it has left */
    bool keeper;                 /* (s) counts as one of group.keepers */
    struct list credit_node;     /* (s) in worker.credits */
    uint32_t collected;          /* (s) places to be reported at the end of the turn */
    uint32_t taken;              /* (s) deliveries that the session has of it */
    uint32_t reported;           /* (s) places, as the group was told last */
    struct list free_node;       /* (g) in group.free_members or group.leftovers */
    uint32_t places;             /* (g) how many deliveries it takes at once, 0 offline */
    bool online;                 /* (g) */
    uint32_t outstanding;        /* (g) deliveries handed out, neither finished nor returned */
    bool left;                   /* (g) */
    uint8_t verdict;             /* (g) enum acl_verdict of the filter, under `rules` */
    uint32_t rules;              /* (g) their number, see auth/access.h */
    struct principal *principal; /* (g) who it is, one reference */
};

struct groups {
    pthread_mutex_t lock; /* rank 1; never together with the session table's */
    uint64_t seed;        /* (i) */
    struct group **table; /* (L) chained by group.next */
    size_t room, count;   /* (L) room is a power of two */
};

/* The number of a MAIL_GROUP_MEMBER: what happened, and for MEMBER_ONLINE the places above it. */
enum member_change { MEMBER_JOIN, MEMBER_WHO, MEMBER_ONLINE, MEMBER_OFFLINE, MEMBER_LEAVE };
enum { MEMBER_CHANGE_BITS = 3, MEMBER_CHANGE_MASK = (1 << MEMBER_CHANGE_BITS) - 1 };

/* Takes a group that nobody has joined out of the tree and the table, and frees it. */
void group_remove(struct worker *worker, struct group *group);
/* Reports what group_credit() has collected. */
void group_post_credits(struct worker *worker);
/* Frees the leftovers, and the group behind a fence once it is dead and empty. No lock is held. */
void group_bury_leftovers(struct worker *worker, struct group *group, uint64_t now);
