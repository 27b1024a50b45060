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

/* What only the functions below need: makes more room; gives the ring back. */
MUST_USE bool queue_grow(struct queue *queue);
void queue_emptied(struct queue *queue);

static inline struct delivery *queue_place(const struct queue *queue, uint32_t index)
{
    return &queue->ring[(queue->head + index) & (queue->room - 1)];
}

static inline void queue_count_in(struct queue *queue, const struct delivery *delivery)
{
    queue->count++;
    queue->qos0_count += delivery->qos == 0;
    queue->bytes += message_size(delivery->message);
}

/* Takes the delivery over; false: no memory, not taken. */
MUST_USE static inline bool queue_push(struct queue *queue, const struct delivery *delivery)
{
    if (queue->count == queue->room && !queue_grow(queue))
        return false;
    *queue_place(queue, queue->count) = *delivery;
    queue_count_in(queue, delivery);
    return true;
}

/* The same at the other end. */
MUST_USE bool queue_push_front(struct queue *queue, const struct delivery *delivery);

/* NULL: empty. */
static inline struct delivery *queue_first(const struct queue *queue)
{
    return queue->count ? queue_place(queue, 0) : NULL;
}

/* Takes the first one, which there is, off without a copy: what it holds is the caller's now. */
static inline void queue_pass(struct queue *queue)
{
    const struct delivery *first = queue_place(queue, 0);
    queue->head = (queue->head + 1) & (queue->room - 1);
    queue->qos0_count -= first->qos == 0;
    queue->bytes -= message_size(first->message);
    if (--queue->count == 0)
        queue_emptied(queue);
}

/* Gives the first one away; false: empty. */
static inline bool queue_pop(struct queue *queue, struct delivery *ret_delivery)
{
    if (queue->count == 0)
        return false;
    *ret_delivery = *queue_place(queue, 0);
    queue_pass(queue);
    return true;
}

void queue_mark(struct queue *queue, uint8_t flag); /* sets a flag of all its deliveries */
/* Drops at most `most` deliveries from the front; returns how many it dropped. */
uint32_t queue_drop(struct queue *queue, uint32_t most);
void queue_done(struct queue *queue); /* drops all and frees the ring */
