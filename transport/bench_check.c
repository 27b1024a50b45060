/* SPDX-License-Identifier: MIT */
/*
 * Order and completeness of what arrives. A number below the expected one fills a gap (then it is
 * out of order) or, when there is none, has come before (doubled). What is lost shows at the end as
 * the difference of sent and heard, so that a loss at the tail counts. Owns its arrays.
 */
#include "transport/bench_check.h"

#include <stdlib.h>

static void *zeroed(size_t count, size_t size)
{
    void *array = calloc(count, size);
    if (!array)
        abort();
    return array;
}

void bench_check_init(struct bench_check *check, enum bench_audience audience, uint32_t publishers,
                      uint32_t subscribers, uint32_t under_way)
{
    size_t tracks = publishers, ring = 64;

    while (ring < (size_t)under_way * 2)
        ring *= 2;
    if (audience != BENCH_OWN && subscribers)
        tracks *= subscribers;
    *check = (struct bench_check){
        .audience = audience,
        .publishers = publishers,
        .subscribers = subscribers,
        .mask = (uint32_t)(ring - 1),
        .tracks = zeroed(tracks, sizeof(struct bench_track)),
        .slots = zeroed(publishers * ring, sizeof(uint32_t)),
    };
}

void bench_check_done(struct bench_check *check)
{
    free(check->tracks);
    free(check->slots);
    check->tracks = NULL;
    check->slots = NULL;
}

/* True when the message is new. */
static bool take_in_order(struct bench_check *check, struct bench_track *track, uint32_t number)
{
    if (number >= track->expected) {
        track->gaps += number - track->expected;
        track->expected = number + 1;
    } else if (track->gaps) {
        track->gaps--;
        check->disordered++;
    } else {
        check->doubled++;
        return false;
    }
    check->heard++;
    return true;
}

/* Gaps are what other members have heard; so a double is found by the number. */
static bool take_in_group(struct bench_check *check, struct bench_track *track, uint32_t *slot,
                          uint32_t number)
{
    if (*slot == number + 1) {
        check->doubled++;
        return false;
    }
    *slot = number + 1;
    if (number < track->expected && !check->any_order)
        check->disordered++;
    else
        track->expected = number + 1;
    check->heard++;
    return true;
}

bool bench_check_take(struct bench_check *check, uint32_t subscriber, uint32_t publisher,
                      uint32_t number)
{
    uint32_t *slot =
        &check->slots[(size_t)publisher * ((size_t)check->mask + 1) + (number & check->mask)];
    size_t track = publisher;

    if (check->audience != BENCH_OWN)
        track += (size_t)subscriber * check->publishers;
    if (check->audience == BENCH_GROUP)
        return take_in_group(check, &check->tracks[track], slot, number);
    if (!take_in_order(check, &check->tracks[track], number))
        return false;
    if (check->audience == BENCH_OWN || check->subscribers <= 1)
        return true;
    if (++*slot < check->subscribers)
        return false;
    *slot = 0;
    return true;
}
