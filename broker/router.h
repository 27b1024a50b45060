/* SPDX-License-Identifier: MIT */
/*
 * Routing: from a message to the sessions and groups that want it. Owns the topic tree and its
 * big-reader lock (a reader takes only its own worker's lock, a writer all of them in order), and
 * per worker a cache of match results that the tree's generation keeps honest.
 */
#pragma once

#include "broker/delivery.h"
#include "mqtt/tree.h"

#include <pthread.h>

struct broker;
struct session;
struct worker;

enum tree_kind { TREE_SESSION, TREE_GROUP }; /* tree_entry.kind */

/* Merged by session: one hit per receiver. */
struct hit {
    void *target;        /* a session or a group */
    struct sub_ids *ids; /* several identifiers, else NULL */
    uint32_t sub_id;
    uint32_t slot;   /* of the store: it survives there; 0 it does not */
    uint8_t options; /* highest QoS; RETAIN_AS_PUBLISHED if any has it; ENTRY_ASK if all have it */
    uint8_t kind;    /* enum tree_kind */
    uint8_t condition; /* enum hit_condition */
};
enum hit_condition { HIT_ALWAYS, HIT_UNLESS_PUBLISHER, HIT_IF_PUBLISHER }; /* No Local */

struct match_result {
    uint32_t count;
    uint32_t kept; /* hits with a slot */
    bool plain;    /* every one is a session that gets it as it is: see route_plain() */
    struct hit hits[];
};

/* Who publishes, for No Local: NULL for the broker itself. Only compared. */
struct route {
    struct message *message; /* its reference is given away */
    const struct session *publisher;
    bool retained;                    /* set or clear the retained message as well */
    bool own;                         /* the broker speaks for itself: nothing is stored */
    const struct match_result *match; /* from route_match(), or NULL; not for retained ones */
    uint64_t position;                /* opaque; what a replicated log will say; 0 here */
    uint64_t wait; /* out: the store position at which it is durable, 0 nothing waits */
};

/* Routes a message: sets it retained if asked, offers it to every receiver, and gives the store
 * what must survive. A message that has been stored as unrouted is so no more. Returns how many
 * hits there were (sessions and groups, before No Local). */
uint32_t route_message(struct worker *worker, struct route *route, uint64_t now);

/* Where a publisher's last topic stands in the worker's cache, so that the same topic again needs
 * neither a check nor a hash. */
struct topic_place {
    uint32_t slot; /* any number will do at first */
    bool same;     /* the topic to be matched is known to equal the one there */
};

/* What a topic matches; valid until the worker's next match. With no hits there is nothing to
 * route. `place` is looked at first, and set. */
const struct match_result *route_match(struct worker *worker, struct span topic,
                                       struct topic_place *place);

/*
 * The same for a result that is plain, which most are: sessions alone, none of which the store keeps,
 * that has to be asked about, sets No Local or has several identifiers. Nothing waits for anything.
 * The message's reference is given away.
 */
void route_plain(struct worker *worker, const struct match_result *match, struct message *message,
                 uint64_t now);

/* Offers to a session wherever it is. The delivery is taken over. */
void route_offer(struct worker *worker, struct session *session, struct delivery *delivery,
                 uint64_t now);

/* Changes of the tree, under the writer lock, at most ROUTER_BATCH filters in one hold.
 * `ret_changes` may be NULL. */
enum { ROUTER_BATCH = 64 };
struct filter_change {
    struct span filter; /* without $share */
    struct tree_entry entry;
    bool remove;
    enum tree_change
        result; /* out: TREE_FIRST and TREE_LAST are the events of each distinct filter */
};
void route_change(struct worker *worker, struct filter_change *changes, size_t count);

struct match_cache *match_cache_new(uint64_t seed);
void match_cache_free(struct match_cache *cache);
