/* SPDX-License-Identifier: MIT */
/*
 * See delivery.h: the references that a delivery holds. Any thread. A membership is only pointed
 * to, its group counts what is under way.
 */
#include "broker/delivery.h"

#include <stdlib.h>

struct sub_ids *sub_ids_new(const uint32_t *ids, uint32_t count)
{
    struct sub_ids *list = malloc(sizeof *list + count * sizeof *ids);
    if (!list)
        return NULL;
    atomic_init(&list->refs, 1);
    list->count = count;
    memcpy(list->ids, ids, count * sizeof *ids);
    return list;
}

struct sub_ids *sub_ids_ref(struct sub_ids *ids)
{
    atomic_fetch_add_explicit(&ids->refs, 1, memory_order_relaxed);
    return ids;
}

void sub_ids_unref(struct sub_ids *ids)
{
    if (ids && atomic_fetch_sub_explicit(&ids->refs, 1, memory_order_acq_rel) == 1)
        free(ids);
}

struct delivery delivery_ref(const struct delivery *delivery)
{
    if (delivery->message)
        message_ref(delivery->message);
    if (delivery->flags & DELIVERY_MANY_IDS)
        sub_ids_ref(delivery->ids);
    return *delivery;
}

void delivery_unref_ids(struct delivery *delivery)
{
    sub_ids_unref(delivery->ids);
    delivery->ids = NULL;
    delivery->flags &= (uint8_t)~DELIVERY_MANY_IDS;
}
