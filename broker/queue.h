/* SPDX-License-Identifier: MIT */
/*
 * A queue of deliveries: a ring that grows by doubling and allocates nothing while empty.
 * Owner-only. The bounds are the session's; the queue counts what they are about.
 */
#pragma once

#include "broker/delivery.h"
#include "broker/err.h"

struct queue {
    struct delivery *ring;
    uint32_t room, head, count; /* room is a power of two or 0 */
    uint32_t qos0_count;        /* how many of them are QoS 0 */
    uint64_t bytes;             /* message_size() of all */
};

MUST_USE bool queue_push(
    struct queue *queue,
    const struct delivery *delivery); /* takes it over; false: no memory, not taken */
MUST_USE bool queue_push_front(struct queue *queue,
                               const struct delivery *delivery); /* the same at the other end */
bool queue_pop(struct queue *queue,
               struct delivery *ret_delivery);      /* gives it away; false: empty */
struct delivery *queue_first(struct queue *queue);  /* NULL: empty */
void queue_mark(struct queue *queue, uint8_t flag); /* sets a flag of all its deliveries */
/* Drops at most `most` deliveries from the front; returns how many it dropped. */
uint32_t queue_drop(struct queue *queue, uint32_t most);
void queue_done(struct queue *queue); /* drops all and frees the ring */
