/* SPDX-License-Identifier: MIT */
/*
 * The subscriptions of a session, found by their filter: a plain array, and from some number on an
 * index beside it, so that a client with a hundred thousand filters costs no more for each of them.
 * Runs on the session's owner.
 *
 *     index: open addressing, place of the subscription + 1, 0 free        subscriptions: [0] [1] [2] …
 */
#include "broker/session.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { INDEX_FROM = 32 }; /* below, looking at each is as fast */

static uint32_t bucket_of(const struct session *session, struct span filter)
{
    uint64_t hash = XXH3_64bits_withSeed(filter.data, filter.len, session->hash);
    return (uint32_t)hash & (session->index_room - 1);
}

static struct span filter_of(const struct subscription *subscription)
{
    return span_of(subscription->filter, subscription->len);
}

static uint32_t next_bucket(const struct session *session, uint32_t bucket)
{
    return (bucket + 1) & (session->index_room - 1);
}

static void index_put(struct session *session, uint32_t place)
{
    uint32_t bucket = bucket_of(session, filter_of(&session->subscriptions[place]));
    while (session->index[bucket])
        bucket = next_bucket(session, bucket);
    session->index[bucket] = place + 1;
}

/* Makes the index at most half full. Without memory there is none, and each is looked at. */
static void index_rebuild(struct session *session)
{
    uint32_t room = INDEX_FROM * 2;
    free(session->index);
    session->index = NULL;
    session->index_room = 0;
    while (room < session->subscription_count * 2)
        room *= 2;
    if (session->subscription_count < INDEX_FROM)
        return;
    session->index = calloc(room * 2, sizeof *session->index);
    if (!session->index)
        return;
    session->index_room = room * 2;
    for (uint32_t i = 0; i < session->subscription_count; i++)
        index_put(session, i);
}

static uint32_t index_bucket(const struct session *session, uint32_t place)
{
    uint32_t bucket = bucket_of(session, filter_of(&session->subscriptions[place]));
    while (session->index[bucket] != place + 1)
        bucket = next_bucket(session, bucket);
    return bucket;
}

/* Frees a bucket and moves up what was pushed past it. */
static void index_free(struct session *session, uint32_t bucket)
{
    uint32_t mask = session->index_room - 1, hole = bucket;
    for (uint32_t at = next_bucket(session, bucket); session->index[at];
         at = next_bucket(session, at)) {
        uint32_t place = session->index[at] - 1;
        uint32_t wanted = bucket_of(session, filter_of(&session->subscriptions[place]));
        if (((at - wanted) & mask) >= ((at - hole) & mask)) {
            session->index[hole] = session->index[at];
            hole = at;
        }
    }
    session->index[hole] = 0;
}

struct subscription *session_subscription(struct session *session, struct span filter)
{
    if (!session->index) {
        for (uint32_t i = 0; i < session->subscription_count; i++)
            if (span_equal(filter_of(&session->subscriptions[i]), filter))
                return &session->subscriptions[i];
        return NULL;
    }
    for (uint32_t bucket = bucket_of(session, filter); session->index[bucket];
         bucket = next_bucket(session, bucket)) {
        struct subscription *found = &session->subscriptions[session->index[bucket] - 1];
        if (span_equal(filter_of(found), filter))
            return found;
    }
    return NULL;
}

struct subscription *session_subscription_add(struct session *session, struct span filter)
{
    if (session->subscription_count == session->subscription_room) {
        uint32_t room = session->subscription_room ? session->subscription_room * 2 : 1;
        struct subscription *grown = realloc(session->subscriptions, room * sizeof *grown);
        if (!grown)
            return NULL;
        session->subscriptions = grown;
        session->subscription_room = room;
    }
    char *copy = malloc(filter.len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, filter.data, filter.len);
    copy[filter.len] = '\0';
    uint32_t place = session->subscription_count++;
    session->subscriptions[place] = (struct subscription){ .filter = copy,
                                                           .len = (uint32_t)filter.len };
    if (session->subscription_count * 2 > session->index_room &&
        session->subscription_count >= INDEX_FROM)
        index_rebuild(session);
    else if (session->index)
        index_put(session, place);
    return &session->subscriptions[place];
}

void session_subscription_remove(struct session *session, struct subscription *subscription)
{
    uint32_t place = (uint32_t)(subscription - session->subscriptions);
    uint32_t last = session->subscription_count - 1;
    if (session->index) {
        index_free(session, index_bucket(session, place));
        if (last != place) /* the last one moves into its place */
            session->index[index_bucket(session, last)] = place + 1;
    }
    free(subscription->filter);
    *subscription = session->subscriptions[last];
    session->subscription_count--;
    session->decided = 0; /* one that is not decided yet may have moved forward */
}
