/* SPDX-License-Identifier: MIT */
/*
 * The order of a topic map, seen by topic_map.c alone: a B+ tree of items, sorted level by level.
 * It owns its pages, not the items. No lock, no thread: as the map.
 */
#pragma once

#include "broker/err.h"
#include "mqtt/budget.h"
#include "mqtt/span.h"

struct topic_page;

struct topic_item {
    const uint8_t *bytes; /* the topic: borrowed; may be replaced by the same bytes elsewhere while
                             the item is in the order */
    uint32_t len;
    uint32_t due; /* see topic_due.h; 0 none */
    void *value;
};

static inline struct span topic_of(const struct topic_item *item)
{
    return span_of(item->bytes, item->len);
}

struct topic_order {
    struct topic_page *root;
    unsigned height;       /* pages above the leaves */
    struct budget *budget; /* the map's */
};

/* A gap between items. */
enum topic_place_kind {
    PLACE_START, /* before everything */
    PLACE_AT,    /* before the topic */
    PLACE_AFTER, /* after the topic itself */
    PLACE_PAST,  /* after the topic and all that begins with it and a '/' */
    PLACE_END,   /* after everything */
};

struct topic_place {
    struct span topic;
    enum topic_place_kind kind;
};

/* Where a walk stands; valid until the order changes. */
struct topic_walk {
    const struct topic_page *leaf;
    unsigned index;
};

MUST_USE bool topic_order_init(struct topic_order *order,
                               struct budget *budget); /* false: no memory */
void topic_order_done(struct topic_order *order);

MUST_USE bool topic_order_insert(struct topic_order *order,
                                 struct topic_item *item); /* false: no memory, nothing changed */
void topic_order_remove(struct topic_order *order, const struct topic_item *item); /* it is there */

/* Is the topic before the place? */
bool topic_before(struct span topic, struct topic_place place);

/* The first item that is not before the place, and the next one; NULL: none. */
struct topic_item *topic_order_seek(const struct topic_order *order, struct topic_place place,
                                    struct topic_walk *walk);
struct topic_item *topic_order_next(struct topic_walk *walk);
