/* SPDX-License-Identifier: MIT */
/*
 * See queue.h. The ring is given back as soon as the queue is empty: most sessions wait for nothing
 * most of the time, and a queue that was long once must not cost memory for ever. Owner-only.
 */
#include "broker/queue.h"

#include "broker/slab.h"

enum { FIRST_ROOM = 8 };

bool queue_grow(struct queue *queue)
{
    if (queue->room > UINT32_MAX / 2)
        return false;
    uint32_t room = queue->room ? queue->room * 2 : FIRST_ROOM;
    struct delivery *grown = slab_alloc(room * sizeof *grown);
    if (!grown)
        return false;
    uint32_t until_end = queue->room - queue->head;
    if (queue->count) { /* it is full: from the head to the end, then from the start to the head */
        memcpy(grown, queue->ring + queue->head, until_end * sizeof *grown);
        memcpy(grown + until_end, queue->ring, queue->head * sizeof *grown);
    }
    slab_free(queue->ring, queue->room * sizeof *queue->ring);
    queue->ring = grown;
    queue->room = room;
    queue->head = 0;
    return true;
}

bool queue_push_front(struct queue *queue, const struct delivery *delivery)
{
    if (queue->count == queue->room && !queue_grow(queue))
        return false;
    queue->head = (queue->head - 1) & (queue->room - 1);
    *queue_place(queue, 0) = *delivery;
    queue_count_in(queue, delivery);
    return true;
}

void queue_emptied(struct queue *queue)
{
    slab_free(queue->ring, queue->room * sizeof *queue->ring);
    queue->ring = NULL;
    queue->room = queue->head = 0;
}

void queue_mark(struct queue *queue, uint8_t flag)
{
    for (uint32_t i = 0; i < queue->count; i++)
        queue_place(queue, i)->flags |= flag;
}

uint32_t queue_drop(struct queue *queue, uint32_t most)
{
    struct delivery delivery;
    uint32_t dropped = 0;
    while (dropped < most && queue_pop(queue, &delivery)) {
        delivery_unref(&delivery);
        dropped++;
    }
    return dropped;
}

void queue_done(struct queue *queue)
{
    (void)queue_drop(queue, UINT32_MAX);
}
