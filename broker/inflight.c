/* SPDX-License-Identifier: MIT */
/*
 * See inflight.h. An entry that is finished in the middle leaves a free place behind, so the oldest
 * entry that is still open keeps the ring as long as it is; 65,535 places later no identifier is
 * left and nothing more is sent until it moves. Owner-only.
 */
#include "broker/inflight.h"

#include <stdlib.h>

enum {
    FIRST_ROOM = 8,
    KEPT_ROOM = 64, /* a larger ring is given back when nothing is under way */
};

struct inflight_entry *inflight_at(struct inflight *inflight, uint64_t place)
{
    CHECK(place >= inflight->base && place < inflight->next);
    return inflight_slot(inflight, place);
}

bool inflight_grow(struct inflight *inflight)
{
    if (inflight->next - inflight->base == INFLIGHT_IDENTIFIERS)
        return false;
    struct inflight grown = *inflight;
    grown.room = inflight->room ? inflight->room * 2 : FIRST_ROOM;
    grown.ring = malloc(grown.room * sizeof *grown.ring);
    if (!grown.ring)
        return false;
    for (uint64_t place = inflight->base; place < inflight->next; place++)
        *inflight_slot(&grown, place) = *inflight_slot(inflight, place);
    free(inflight->ring);
    *inflight = grown;
    return true;
}

bool inflight_restore(struct inflight *inflight, const struct delivery *delivery,
                      enum inflight_state state, uint16_t id)
{
    if (id == 0)
        return false;
    if (inflight->count == 0)
        inflight->base = inflight->next = id - 1u;
    uint64_t gap = (id - 1u + INFLIGHT_IDENTIFIERS - inflight->next % INFLIGHT_IDENTIFIERS) %
                   INFLIGHT_IDENTIFIERS;
    if (inflight->next + gap - inflight->base >= INFLIGHT_IDENTIFIERS)
        return false;
    for (uint64_t place = inflight->next + gap; inflight->next <= place; inflight->next++) {
        if (!inflight_reserve(inflight))
            return false;
        *inflight_slot(inflight,
                       inflight->next) = (struct inflight_entry){ .state = INFLIGHT_FREE };
    }
    *inflight_slot(inflight, inflight->next - 1) = (struct inflight_entry){ .delivery = *delivery,
                                                                            .state = (uint8_t)state,
                                                                            .recorded = true };
    inflight->recorded = inflight->next;
    inflight->count++;
    inflight->bytes += delivery->message ? message_size(delivery->message) : 0;
    return true;
}

void inflight_release(struct inflight *inflight, struct inflight_entry *entry)
{
    CHECK(entry->state == AWAIT_PUBREC || entry->state == AWAIT_PUBCOMP);
    inflight_drop_message(inflight, entry);
    entry->state = AWAIT_PUBCOMP;
}

void inflight_emptied(struct inflight *inflight)
{
    if (inflight->room <= KEPT_ROOM)
        return;
    free(inflight->ring);
    inflight->ring = NULL;
    inflight->room = 0;
}

void inflight_disconnected(struct inflight *inflight)
{
    for (uint64_t place = inflight->base; place < inflight->next; place++)
        inflight_slot(inflight, place)->counts = false;
    inflight->window = 0;
}

void inflight_moved(struct inflight *inflight)
{
    for (uint64_t place = inflight->base; place < inflight->next; place++)
        inflight_slot(inflight, place)->wait = 0;
}

void inflight_not_stored(struct inflight *inflight, uint64_t after, uint64_t upto)
{
    for (uint64_t place = inflight->base; place < inflight->next; place++) {
        struct inflight_entry *entry = inflight_slot(inflight, place);
        uint32_t ahead = entry->wait - (uint32_t)after;
        if ((entry->state == AWAIT_PUBREC || entry->state == AWAIT_PUBCOMP) && entry->recorded &&
            ahead > 0 && ahead <= upto - after)
            entry->again = true;
    }
}

void inflight_done(struct inflight *inflight)
{
    for (uint64_t place = inflight->base; place < inflight->next; place++)
        if (inflight_slot(inflight, place)->state != INFLIGHT_FREE)
            inflight_drop_message(inflight, inflight_slot(inflight, place));
    free(inflight->ring);
    *inflight = (struct inflight){ 0 };
}
