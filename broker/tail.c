/* SPDX-License-Identifier: MIT */
/*
 * See tail.h. The ring has any length: its end is found by comparing, and it is copied when it grows
 * or has become far too large. Owner-only.
 */
#include "broker/tail.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_ROOM = 8, SHRINK_FROM = 256 };

static_assert(sizeof(uintptr_t) <= sizeof(uint64_t), "a pointer has room in an entry");

static uint64_t *place_of(const struct tail *tail, uint32_t index)
{
    uint64_t place = (uint64_t)tail->head + index;
    return &tail->ring[place < tail->room ? place : place - tail->room];
}

static struct delivery *held_of(uint64_t entry)
{
    return (struct delivery *)(uintptr_t)(entry - 1);
}

static bool is_held(uint64_t entry)
{
    return entry & 1;
}

static bool resize(struct tail *tail, uint32_t room)
{
    uint64_t *ring = malloc(room * sizeof *ring);
    if (!ring)
        return false;
    uint32_t until_end = tail->room - tail->head;
    uint32_t first = tail->count < until_end ? tail->count : until_end;
    if (tail->count) {
        memcpy(ring, tail->ring + tail->head, first * sizeof *ring);
        memcpy(ring + first, tail->ring, (tail->count - first) * sizeof *ring);
    }
    free(tail->ring);
    tail->ring = ring;
    tail->room = room;
    tail->head = 0;
    return true;
}

static bool append(struct tail *tail, uint64_t entry, uint32_t size)
{
    if (tail->count == tail->room) {
        uint32_t more = tail->room / 4 > FIRST_ROOM ? tail->room / 4 : FIRST_ROOM;
        if (tail->room > UINT32_MAX - more || !resize(tail, tail->room + more))
            return false;
    }
    *place_of(tail, tail->count++) = entry;
    tail->bytes += size;
    return true;
}

bool tail_push(struct tail *tail, uint64_t sequence, uint32_t size)
{
    return append(tail, sequence * 2, size);
}

bool tail_push_held(struct tail *tail, const struct delivery *delivery)
{
    struct delivery *held = malloc(sizeof *held);
    uint32_t size = message_size(delivery->message);
    if (!held || !append(tail, (uintptr_t)held + 1, size)) {
        free(held);
        return false;
    }
    *held = *delivery;
    tail->qos0_count += delivery->qos == 0;
    tail->held_count++;
    tail->held_bytes += size;
    return true;
}

uint64_t tail_at(const struct tail *tail, uint32_t place)
{
    uint64_t entry = *place_of(tail, place);
    return is_held(entry) ? 0 : entry / 2;
}

static struct delivery let_go(struct tail *tail, uint64_t entry)
{
    struct delivery delivery = *held_of(entry);
    uint32_t size = message_size(delivery.message);
    free(held_of(entry));
    tail->qos0_count -= delivery.qos == 0;
    tail->held_count--;
    tail->held_bytes -= size;
    tail->bytes -= size;
    return delivery;
}

static void give_room_back(struct tail *tail)
{
    if (tail->count == 0) {
        free(tail->ring);
        tail->ring = NULL;
        tail->room = tail->head = 0;
    } else if (tail->room >= SHRINK_FROM && tail->count < tail->room / 4) {
        (void)resize(tail, tail->room / 2); /* without memory it stays as it is */
    }
}

uint64_t tail_pop(struct tail *tail, struct delivery *ret_delivery)
{
    uint64_t entry = *place_of(tail, 0);
    tail->head = tail->head + 1 == tail->room ? 0 : tail->head + 1;
    tail->count--;
    if (is_held(entry))
        *ret_delivery = let_go(tail, entry);
    give_room_back(tail);
    return is_held(entry) ? 0 : entry / 2;
}

void tail_weigh_off(struct tail *tail, uint32_t size)
{
    tail->bytes = tail->count && tail->bytes > size ? tail->bytes - size : 0;
}

uint32_t tail_average(const struct tail *tail)
{
    uint32_t read_back = tail->count - tail->held_count;
    return read_back ? (uint32_t)((tail->bytes - tail->held_bytes) / read_back) : 0;
}

void tail_drop_qos0(struct tail *tail)
{
    uint32_t kept = 0;
    if (tail->qos0_count == 0)
        return;
    for (uint32_t i = 0; i < tail->count; i++) {
        uint64_t entry = *place_of(tail, i);
        if (is_held(entry) && held_of(entry)->qos == 0) {
            struct delivery delivery = let_go(tail, entry);
            delivery_unref(&delivery);
        } else {
            *place_of(tail, kept++) = entry;
        }
    }
    tail->count = kept;
    give_room_back(tail);
}

void tail_done(struct tail *tail)
{
    for (uint32_t i = 0; i < tail->count; i++) {
        uint64_t entry = *place_of(tail, i);
        if (!is_held(entry))
            continue;
        delivery_unref(held_of(entry));
        free(held_of(entry));
    }
    free(tail->ring);
    *tail = (struct tail){ .count = 0 };
}
