/* SPDX-License-Identifier: MIT */
/*
 * The tail of a session's queue: deliveries behind those that are in memory, in order, eight bytes
 * each. Of a stored message that is its sequence, for everything else can be read back; another
 * delivery stands there as a pointer to a copy.
 *
 *     queue: delivery │ delivery │ …   then tail: 4711 │ 4712 │ → delivery │ 4720 │ …
 *
 * Owner-only. The bounds are the session's; the tail counts what they are about.
 */
#pragma once

#include "broker/delivery.h"
#include "broker/err.h"

struct tail {
    uint64_t *ring;      /* a sequence times two, or a pointer plus one */
    uint32_t room, head; /* grows by a quarter, so it is never far from full */
    uint32_t count;      /* of deliveries */
    uint32_t qos0_count; /* how many of them are QoS 0 */
    uint32_t held_count; /* how many are in memory */
    uint64_t held_bytes; /* message_size() of those */
    uint64_t bytes;      /* message_size() of all */
};

/* Appends a stored message of this size; false: no memory. */
MUST_USE bool tail_push(struct tail *tail, uint64_t sequence, uint32_t size);
/* Something is about to be appended. */
static inline void tail_prefetch(const struct tail *tail)
{
    uint64_t place = (uint64_t)tail->head + tail->count;
    __builtin_prefetch(&tail->ring[place < tail->room ? place : place - tail->room], 1);
}
/* Appends a delivery as it is, and takes it over; false: no memory, not taken. */
MUST_USE bool tail_push_held(struct tail *tail, const struct delivery *delivery);
/* The sequence at a place, 0 when a delivery in memory stands there. */
uint64_t tail_at(const struct tail *tail, uint32_t place);
/* Takes the first one off, of which there is one. Its sequence; or 0, and then the delivery is the
 * caller's. What the size of a sequence was says tail_weigh_off(). */
uint64_t tail_pop(struct tail *tail, struct delivery *ret_delivery);
/* One that was taken off had this size. */
void tail_weigh_off(struct tail *tail, uint32_t size);
/* The size that one has on an average. */
uint32_t tail_average(const struct tail *tail);
/* Drops what is QoS 0. */
void tail_drop_qos0(struct tail *tail);
/* Drops all without a trace. */
void tail_done(struct tail *tail);
