/* SPDX-License-Identifier: MIT */
/*
 * What a session has sent at QoS 1 and 2 and what the client has not acknowledged in full: a ring
 * in order of sending. The packet identifier of place n is n mod 65,535 + 1, so an acknowledgement
 * finds its place without a search.
 *
 *        base                    next
 * ────┼──── A ── · ── R ── A ──┼────      A awaits PUBACK, R awaits PUBREC or PUBCOMP, · is free
 *
 * Owner-only.
 */
#pragma once

#include "broker/delivery.h"
#include "broker/err.h"

enum { INFLIGHT_IDENTIFIERS = 65535 };
enum inflight_state { INFLIGHT_FREE, AWAIT_PUBACK, AWAIT_PUBREC, AWAIT_PUBCOMP };

struct inflight_entry {
    struct delivery
        delivery;  /* in AWAIT_PUBCOMP its message is NULL: only the identifier is left */
    uint8_t state; /* enum inflight_state */
    bool
        counts; /* its PUBLISH went out on this connection and takes a place of the receive maximum */
    bool recorded; /* the store has its identifier */
    bool again;    /* how far it is was not stored: it is recorded again before it goes on */
    uint32_t wait; /* low bits of the store position before which nothing of it is sent */
};

struct inflight {
    struct inflight_entry *ring;
    uint64_t base, next; /* places [base, next) are in use or free again */
    uint64_t recorded;   /* QoS 1 identifiers of places before it are in the store or not needed */
    uint32_t room;       /* of the ring; a power of two or 0 */
    uint32_t count;      /* entries that are not free */
    uint32_t window;     /* entries that count */
    uint64_t bytes;      /* message_size() of the messages it holds */
};

/* Makes sure that the next inflight_add() succeeds; false: no identifier or no memory is left. */
MUST_USE bool inflight_grow(struct inflight *inflight); /* when there is no room */
MUST_USE static inline bool inflight_reserve(struct inflight *inflight)
{
    uint64_t used = inflight->next - inflight->base;
    return (used < inflight->room && used < INFLIGHT_IDENTIFIERS) || inflight_grow(inflight);
}

static inline struct inflight_entry *inflight_slot(const struct inflight *inflight, uint64_t place)
{
    return &inflight->ring[place & (inflight->room - 1)];
}

static inline uint16_t inflight_id(uint64_t place)
{
    return (uint16_t)(place % INFLIGHT_IDENTIFIERS + 1);
}

/* Adds an entry at the end (state from its QoS, which is 1 or 2) and takes the delivery over.
 * NULL: no identifier or no memory is left; the delivery stays the caller's. */
static inline struct inflight_entry *inflight_add(struct inflight *inflight,
                                                  const struct delivery *delivery, uint16_t *ret_id)
{
    CHECK(delivery->qos == 1 || delivery->qos == 2);
    if (!inflight_reserve(inflight))
        return NULL;
    struct inflight_entry *entry = inflight_slot(inflight, inflight->next);
    *entry = (struct inflight_entry){ .delivery = *delivery,
                                      .state = delivery->qos == 1 ? AWAIT_PUBACK : AWAIT_PUBREC };
    *ret_id = inflight_id(inflight->next);
    inflight->next++;
    inflight->count++;
    inflight->bytes += message_size(delivery->message);
    return entry;
}
/*
 * Adds an exchange of before a restart behind those that were added before: in the order of
 * sending, with its identifier and state. The delivery (message NULL in AWAIT_PUBCOMP) is taken
 * over. False: the identifier is in use or not valid, or no memory is left.
 */
MUST_USE bool inflight_restore(struct inflight *inflight, const struct delivery *delivery,
                               enum inflight_state state, uint16_t id);
/* The entry that this packet identifier belongs to, NULL if none. */
static inline struct inflight_entry *inflight_find(const struct inflight *inflight, uint16_t id)
{
    uint32_t first = inflight_id(inflight->base);
    uint64_t place = inflight->base + id - first + (id < first ? INFLIGHT_IDENTIFIERS : 0);
    if (id == 0 || place >= inflight->next)
        return NULL;
    struct inflight_entry *entry = inflight_slot(inflight, place);
    return entry->state == INFLIGHT_FREE ? NULL : entry;
}
/* The entry at a place in [base, next); it may be free. */
struct inflight_entry *inflight_at(struct inflight *inflight, uint64_t place);
static inline void inflight_drop_message(struct inflight *inflight, struct inflight_entry *entry)
{
    if (!entry->delivery.message)
        return;
    inflight->bytes -= message_size(entry->delivery.message);
    delivery_unref(
        &entry->delivery); /* the membership of a shared one stays: it waits for its credit */
}

/* Drops the message but keeps the identifier (state AWAIT_PUBCOMP). */
void inflight_release(struct inflight *inflight, struct inflight_entry *entry);
/* The exchange is complete. */
void inflight_emptied(struct inflight *inflight); /* of the next */
static inline void inflight_finish(struct inflight *inflight, struct inflight_entry *entry)
{
    CHECK(entry->state != INFLIGHT_FREE);
    inflight_drop_message(inflight, entry);
    inflight->window -= entry->counts;
    inflight->count--;
    *entry = (struct inflight_entry){ .state = INFLIGHT_FREE };
    /* The ring starts at the oldest open entry again. */
    while (inflight->base < inflight->next &&
           inflight_slot(inflight, inflight->base)->state == INFLIGHT_FREE)
        inflight->base++;
    if (inflight->count == 0)
        inflight_emptied(inflight);
}
/* No entry counts any more: the connection has ended. */
void inflight_disconnected(struct inflight *inflight);
/* Nothing waits for the store: another worker, which counts anew, has it now. */
void inflight_moved(struct inflight *inflight);
/* What waited for the store positions above `after`, up to `upto`, is to be recorded again. */
void inflight_not_stored(struct inflight *inflight, uint64_t after, uint64_t upto);
void inflight_done(struct inflight *inflight);
