/* SPDX-License-Identifier: MIT */
/*
 * Which items of a topic map are due, and the soonest of them, seen by topic_map.c alone: a binary
 * heap of those that have a due time. An item knows its place in it, so that one that is replaced
 * or removed leaves nothing behind. It owns the heap, not the items. No lock, no thread: as the map.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/err.h"
#include "mqtt/budget.h"

struct topic_due_entry;
struct topic_item;

struct topic_due {
    struct topic_due_entry *entries; /* each not before its parent, (i - 1) / 2 */
    uint32_t count, room;
    struct budget *budget; /* the map's */
};

void topic_due_init(struct topic_due *due, struct budget *budget);
void topic_due_done(struct topic_due *due);

/* The item, which has no due time, gets one. False: no memory, it still has none. */
MUST_USE bool topic_due_add(struct topic_due *due, struct topic_item *item, uint64_t when);
void topic_due_remove(struct topic_due *due, struct topic_item *item); /* if it has one */

/* When the soonest is due, UINT64_MAX if none is; and that one. */
uint64_t topic_due_when(const struct topic_due *due);
struct topic_item *topic_due_first(const struct topic_due *due); /* there is one */
