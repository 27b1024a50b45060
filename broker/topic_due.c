/* SPDX-License-Identifier: MIT */
/* See topic_due.h. item->due is the place in the heap plus one, so that zero means none. */
#include "broker/topic_due.h"

#include "broker/topic_order.h"

#include <string.h>

enum { ROOM_MIN = 16 };

struct topic_due_entry {
    uint64_t when;
    struct topic_item *item;
};

void topic_due_init(struct topic_due *due, struct budget *budget)
{
    *due = (struct topic_due){ .budget = budget };
}

void topic_due_done(struct topic_due *due)
{
    budget_free(due->budget, due->entries, due->room * sizeof *due->entries);
    *due = (struct topic_due){ .budget = due->budget };
}

static bool resize(struct topic_due *due, uint32_t room)
{
    struct topic_due_entry *entries = budget_alloc(due->budget, room * sizeof *entries);
    if (!entries)
        return false;
    if (due->count)
        memcpy(entries, due->entries, due->count * sizeof *entries);
    budget_free(due->budget, due->entries, due->room * sizeof *entries);
    due->entries = entries;
    due->room = room;
    return true;
}

static void put(struct topic_due *due, uint32_t at, struct topic_due_entry entry)
{
    due->entries[at] = entry;
    entry.item->due = at + 1;
}

/* Puts the entry at `at`, or above, where what is not later than it makes way. */
static void rise(struct topic_due *due, uint32_t at, struct topic_due_entry entry)
{
    while (at > 0 && entry.when < due->entries[(at - 1) / 2].when) {
        put(due, at, due->entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(due, at, entry);
}

/* The same, or below. */
static void sink(struct topic_due *due, uint32_t at, struct topic_due_entry entry)
{
    for (uint32_t child; (child = 2 * at + 1) < due->count; at = child) {
        if (child + 1 < due->count && due->entries[child + 1].when < due->entries[child].when)
            child++;
        if (entry.when <= due->entries[child].when)
            break;
        put(due, at, due->entries[child]);
    }
    put(due, at, entry);
}

bool topic_due_add(struct topic_due *due, struct topic_item *item, uint64_t when)
{
    if (due->count == due->room && !resize(due, due->room ? due->room * 2 : ROOM_MIN))
        return false;
    rise(due, due->count++, (struct topic_due_entry){ when, item });
    return true;
}

void topic_due_remove(struct topic_due *due, struct topic_item *item)
{
    if (!item->due)
        return;
    uint32_t at = item->due - 1;
    item->due = 0;
    struct topic_due_entry last = due->entries[--due->count];
    if (at < due->count) { /* the last one takes the place */
        if (at > 0 && last.when < due->entries[(at - 1) / 2].when)
            rise(due, at, last);
        else
            sink(due, at, last);
    }
    if (due->room > ROOM_MIN && due->count < due->room / 4)
        (void)!resize(due, due->room / 2); /* no memory: it stays large */
}

uint64_t topic_due_when(const struct topic_due *due)
{
    return due->count ? due->entries[0].when : UINT64_MAX;
}

struct topic_item *topic_due_first(const struct topic_due *due)
{
    return due->entries[0].item;
}
