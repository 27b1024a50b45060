/* SPDX-License-Identifier: MIT */
/*
 * A delivery: one message on its way to one session, with what the matching subscriptions made of
 * it. It travels by value: from the router through a mailbox into a session's queue and inflight
 * table. Whoever holds it holds a reference to its message (and to its list of identifiers).
 */
#pragma once

#include "broker/message.h"

struct membership;

/* Several subscription identifiers for one delivery; one alone stands in the delivery itself. */
struct sub_ids {
    atomic_uint refs; /* (a) */
    uint32_t count;   /* (i) */
    uint32_t ids[];   /* (i) */
};

enum {
    DELIVERY_RETAIN = 1,      /* the retain flag goes out set */
    DELIVERY_SHARED = 2,      /* `member` is set: it came through a shared group */
    DELIVERY_MANY_IDS = 4,    /* `ids` is set */
    DELIVERY_BEGUN = 8,       /* sent at least once: never expires again, DUP when sent again */
    DELIVERY_MAYBE_SENT = 32, /* by a broker that has crashed since: DUP, but it expires */
    DELIVERY_STORED = 16,     /* its receiver is one of message->stored, and not done */
    DELIVERY_ASK = 64, /* whether the client may read it is not known yet, see auth/access.h */
};

struct delivery { /* 24 bytes */
    struct message *message;
    union {
        struct sub_ids *ids;       /* DELIVERY_MANY_IDS, else unused */
        struct membership *member; /* DELIVERY_SHARED: whose credit it uses */
    };
    uint32_t sub_id; /* 0 none */
    uint8_t qos;     /* effective: what goes out */
    uint8_t flags;
};

struct sub_ids *sub_ids_new(const uint32_t *ids, uint32_t count); /* NULL: no memory */
struct sub_ids *sub_ids_ref(struct sub_ids *ids);
void sub_ids_unref(struct sub_ids *ids);

/* Another holder of the same delivery / the end of one. Neither touches the membership. */
struct delivery delivery_ref(const struct delivery *delivery);
void delivery_unref_ids(struct delivery *delivery); /* of delivery_unref() */
static inline void delivery_unref(struct delivery *delivery)
{
    message_unref(delivery->message);
    delivery->message = NULL;
    if (delivery->flags & DELIVERY_MANY_IDS)
        delivery_unref_ids(delivery);
}
