/* SPDX-License-Identifier: MIT */
/*
 * See store.h: what every store has in common, the numbers it gives and the memory of what is
 * handed to it. Any thread; owns nothing.
 */
#include "broker/store/store.h"

#include "broker/alloc.h"
#include "broker/delivery.h"
#include "broker/slab.h"

#include <stdlib.h>

void store_batch_free(struct store_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        message_unref(batch->ops[i].message);
        free(batch->ops[i].record);
    }
    free(batch->ops);
    free(batch);
}

struct store_fetch *store_fetch_new(uint32_t count)
{
    struct store_fetch *fetch = must_have(calloc(1, sizeof *fetch + count * sizeof *fetch->items));
    fetch->count = count;
    return fetch;
}

void store_fetch_free(struct store_fetch *fetch)
{
    for (uint32_t i = 0; i < fetch->count; i++)
        message_unref(fetch->items[i].message);
    free(fetch->after);
    free(fetch);
}

uint32_t store_new_slot(struct store *store)
{
    return atomic_fetch_add_explicit(&store->last_slot, 1, memory_order_relaxed) + 1;
}

uint64_t store_new_sequence(struct store *store)
{
    return atomic_fetch_add_explicit(&store->last_sequence, 1, memory_order_relaxed) + 1;
}

/* Where the receivers are when they were known from the beginning: one allocation a message. */
static struct receiver *behind(struct stored *stored)
{
    return (struct receiver *)(stored + 1);
}

struct stored *stored_new(uint64_t sequence, uint64_t accepted, uint32_t count)
{
    size_t size = sizeof(struct stored) + count * sizeof(struct receiver);
    struct stored *stored = slab_alloc(size);
    if (!stored)
        return NULL;
    memset(stored, 0, size);
    *stored = (struct stored){
        .sequence = sequence,
        .accepted = accepted,
        .left = count,
        .count = count,
        .room = count,
        .receivers = behind(stored),
    };
    return stored;
}

bool stored_route(struct stored *stored, uint32_t count)
{
    struct receiver *receivers = count ? calloc(count, sizeof *receivers) : NULL;
    if (count && !receivers)
        return false;
    stored->receivers = receivers;
    stored->left = stored->count = count;
    return true;
}

void stored_free(struct stored *stored)
{
    if (!stored)
        return;
    for (uint32_t i = 0; i < stored->count; i++)
        sub_ids_unref(stored->receivers[i].ids);
    if (stored->receivers != behind(stored))
        free(stored->receivers);
    slab_free(stored, sizeof *stored + stored->room * sizeof *stored->receivers);
}
