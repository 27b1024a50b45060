/* SPDX-License-Identifier: MIT */
/*
 * See queue.h. The ring is given back as soon as the queue is empty: most sessions wait for nothing
 * most of the time, and a queue that was long once must not cost memory for ever. Owner-only.
 */
#include "broker/queue.h"

#include <stdlib.h>

enum { FIRST_ROOM = 8 };

static struct delivery *place(const struct queue *queue, uint32_t index)
{
    return &queue->ring[(queue->head + index) & (queue->room - 1)];
}

static bool make_room(struct queue *queue)
{
    if (queue->count < queue->room)
        return true;
    if (queue->room > UINT32_MAX / 2)
        return false;
    uint32_t room = queue->room ? queue->room * 2 : FIRST_ROOM;
    struct delivery *grown = malloc(room * sizeof *grown);
    if (!grown)
        return false;
    uint32_t until_end = queue->room - queue->head;
    if (queue->count) { /* it is full: from the head to the end, then from the start to the head */
        memcpy(grown, queue->ring + queue->head, until_end * sizeof *grown);
        memcpy(grown + until_end, queue->ring, queue->head * sizeof *grown);
    }
    free(queue->ring);
    queue->ring = grown;
    queue->room = room;
    queue->head = 0;
    return true;
}

static void count_in(struct queue *queue, const struct delivery *delivery)
{
    queue->count++;
    queue->qos0_count += delivery->qos == 0;
    queue->bytes += message_size(delivery->message);
}

bool queue_push(struct queue *queue, const struct delivery *delivery)
{
    if (!make_room(queue))
        return false;
    *place(queue, queue->count) = *delivery;
    count_in(queue, delivery);
    return true;
}

bool queue_push_front(struct queue *queue, const struct delivery *delivery)
{
    if (!make_room(queue))
        return false;
    queue->head = (queue->head - 1) & (queue->room - 1);
    *place(queue, 0) = *delivery;
    count_in(queue, delivery);
    return true;
}

bool queue_pop(struct queue *queue, struct delivery *ret_delivery)
{
    if (queue->count == 0)
        return false;
    struct delivery delivery = *place(queue, 0);
    queue->head = (queue->head + 1) & (queue->room - 1);
    queue->count--;
    queue->qos0_count -= delivery.qos == 0;
    queue->bytes -= message_size(delivery.message);
    if (queue->count == 0) {
        free(queue->ring);
        queue->ring = NULL;
        queue->room = queue->head = 0;
    }
    *ret_delivery = delivery;
    return true;
}

struct delivery *queue_first(struct queue *queue)
{
    return queue->count ? place(queue, 0) : NULL;
}

void queue_mark(struct queue *queue, uint8_t flag)
{
    for (uint32_t i = 0; i < queue->count; i++)
        place(queue, i)->flags |= flag;
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
