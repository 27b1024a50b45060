/* SPDX-License-Identifier: MIT */
/*
 * See id_set.h. Collisions go to the next slot; a removal moves those that follow back, so that none
 * of them is cut off from its place. At most half of the slots are in use. Clients count
 * identifiers up: a hash that scatters neighbours keeps them from lying in one long row, which each
 * removal would walk along.
 */
#include "broker/id_set.h"

#include "broker/slab.h"

#include <string.h>

enum {
    FIRST_ROOM = 8,
    MARK = 1u << 16,
    NOWHERE = UINT32_MAX,
};

struct id_set {
    uint32_t count, room; /* room is a power of two */
    uint32_t slots[];     /* an identifier each, and its mark; 0 free */
};

static uint32_t home(const struct id_set *set, uint32_t slot)
{
    return (uint16_t)slot * 2654435769u >>
           (32 - __builtin_ctz(set->room)); /* 2^32 / golden ratio */
}

/* Where the identifier is, or the free slot where it would be. There is a free one. */
static uint32_t look(const struct id_set *set, uint16_t id)
{
    uint32_t at = home(set, id);
    while (set->slots[at] && (uint16_t)set->slots[at] != id)
        at = (at + 1) & (set->room - 1);
    return at;
}

static uint32_t find(const struct id_set *set, uint16_t id)
{
    if (!set || id == 0)
        return NOWHERE;
    uint32_t at = look(set, id);
    return set->slots[at] ? at : NOWHERE;
}

bool id_set_has(const struct id_set *set, uint16_t id)
{
    return find(set, id) != NOWHERE;
}

static size_t size_of(uint32_t room)
{
    return sizeof(struct id_set) + room * sizeof(uint32_t);
}

/* The same in twice the room; NULL: no memory. */
static struct id_set *grow(struct id_set *set)
{
    uint32_t room = set ? set->room * 2 : FIRST_ROOM;
    struct id_set *grown = slab_alloc(size_of(room));
    if (!grown)
        return NULL;
    memset(grown, 0, size_of(room));
    grown->room = room;
    for (uint32_t i = 0; set && i < set->room; i++)
        if (set->slots[i])
            grown->slots[look(grown, (uint16_t)set->slots[i])] = set->slots[i];
    grown->count = set ? set->count : 0;
    id_set_done(set);
    return grown;
}

bool id_set_add(struct id_set **set, uint16_t id)
{
    if (!*set || (*set)->count * 2 >= (*set)->room) {
        struct id_set *grown = grow(*set);
        if (!grown)
            return false;
        *set = grown;
    }
    (*set)->slots[look(*set, id)] = id;
    (*set)->count++;
    return true;
}

/* Whether what lies at `at` may move to the gap: its home is not between the two. */
static bool may_move(const struct id_set *set, uint32_t at, uint32_t gap)
{
    uint32_t mask = set->room - 1;
    return ((at - home(set, set->slots[at])) & mask) >= ((at - gap) & mask);
}

static void close_gap(struct id_set *set, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & (set->room - 1); set->slots[at];
         at = (at + 1) & (set->room - 1)) {
        if (!may_move(set, at, gap))
            continue;
        set->slots[gap] = set->slots[at];
        gap = at;
    }
    set->slots[gap] = 0;
}

bool id_set_remove(struct id_set **set, uint16_t id)
{
    uint32_t at = find(*set, id);
    if (at == NOWHERE)
        return false;
    if (--(*set)->count > 0) {
        close_gap(*set, at);
        return true;
    }
    id_set_done(*set);
    *set = NULL;
    return true;
}

void id_set_mark(struct id_set *set)
{
    for (uint32_t i = 0; set && i < set->room; i++)
        if (set->slots[i])
            set->slots[i] |= MARK;
}

bool id_set_unmark(struct id_set *set, uint16_t id)
{
    uint32_t at = find(set, id);
    if (at == NOWHERE || !(set->slots[at] & MARK))
        return false;
    set->slots[at] = id;
    return true;
}

void id_set_done(struct id_set *set)
{
    if (set)
        slab_free(set, size_of(set->room));
}
