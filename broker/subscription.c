/* SPDX-License-Identifier: MIT */
/*
 * See subscription.h. The text of what was removed stays as a gap until the gaps are half of it; the
 * array grows by a quarter once it is long, so that little of it is empty. Runs on the session's owner.
 */
#include "broker/subscription.h"

#include "broker/session.h"
#include "mqtt/topic.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    INDEX_FROM = 32, /* below, looking at each is as fast */
    GAPS_MIN = 256,  /* bytes of gaps that are not worth a copy */
};

struct subscriptions {
    struct subscription *at;
    uint8_t *text;
    uint32_t *index;
    uint32_t room;       /* of `at`; how many are in use says session->subscription_count */
    uint32_t index_room; /* a power of two, or 0 */
    uint32_t text_len, text_room;
    uint32_t gaps; /* bytes of the text that nobody needs */
};

static const uint8_t *text_of(const struct session *session,
                              const struct subscription *subscription)
{
    return session->subscriptions->text + subscription->text;
}

struct span subscription_filter(const struct session *session,
                                const struct subscription *subscription)
{
    return span_of(text_of(session, subscription), subscription->len);
}

struct subscription *session_subscription_at(const struct session *session, uint32_t place)
{
    CHECK(place < session->subscription_count);
    return &session->subscriptions->at[place];
}

/* ---- members of groups ---- */

static bool is_shared(struct span filter)
{
    struct span name, plain;
    return mqtt_share_split(filter, &name, &plain);
}

/* Bytes of text that a filter takes. */
static uint32_t text_size(struct span filter)
{
    return (uint32_t)(filter.len + (is_shared(filter) ? sizeof(struct membership *) : 0));
}

struct membership *subscription_member(const struct session *session,
                                       const struct subscription *subscription)
{
    struct membership *member;
    if (!is_shared(subscription_filter(session, subscription)))
        return NULL;
    memcpy(&member, text_of(session, subscription) - sizeof member, sizeof member);
    return member;
}

void subscription_set_member(struct session *session, const struct subscription *subscription,
                             struct membership *member)
{
    CHECK(is_shared(subscription_filter(session, subscription)));
    memcpy(session->subscriptions->text + subscription->text - sizeof member, &member,
           sizeof member);
}

/* ---- the index ---- */

static uint32_t bucket_of(const struct session *session, struct span filter)
{
    uint64_t hash = XXH3_64bits_withSeed(filter.data, filter.len, session->hash);
    return (uint32_t)hash & (session->subscriptions->index_room - 1);
}

static uint32_t bucket_at(const struct session *session, uint32_t place)
{
    return bucket_of(session, subscription_filter(session, &session->subscriptions->at[place]));
}

static uint32_t next_bucket(const struct subscriptions *all, uint32_t bucket)
{
    return (bucket + 1) & (all->index_room - 1);
}

static void index_put(struct session *session, uint32_t place)
{
    struct subscriptions *all = session->subscriptions;
    uint32_t bucket = bucket_at(session, place);
    while (all->index[bucket])
        bucket = next_bucket(all, bucket);
    all->index[bucket] = place + 1;
}

/* Makes the index at most half full. Without memory there is none, and each is looked at. */
static void index_rebuild(struct session *session)
{
    struct subscriptions *all = session->subscriptions;
    uint32_t room = INDEX_FROM * 2;
    free(all->index);
    all->index = NULL;
    all->index_room = 0;
    while (room < session->subscription_count * 2)
        room *= 2;
    all->index = calloc(room, sizeof *all->index);
    if (!all->index)
        return;
    all->index_room = room;
    for (uint32_t i = 0; i < session->subscription_count; i++)
        index_put(session, i);
}

static uint32_t index_bucket(const struct session *session, uint32_t place)
{
    const struct subscriptions *all = session->subscriptions;
    uint32_t bucket = bucket_at(session, place);
    while (all->index[bucket] != place + 1)
        bucket = next_bucket(all, bucket);
    return bucket;
}

/* Frees a bucket and moves up what was pushed past it. */
static void index_free(struct session *session, uint32_t bucket)
{
    struct subscriptions *all = session->subscriptions;
    uint32_t mask = all->index_room - 1, hole = bucket;
    for (uint32_t at = next_bucket(all, bucket); all->index[at]; at = next_bucket(all, at)) {
        uint32_t wanted = bucket_at(session, all->index[at] - 1);
        if (((at - wanted) & mask) >= ((at - hole) & mask)) {
            all->index[hole] = all->index[at];
            hole = at;
        }
    }
    all->index[hole] = 0;
}

/* ---- finding ---- */

struct subscription *session_subscription(struct session *session, struct span filter)
{
    struct subscriptions *all = session->subscriptions;
    if (!all)
        return NULL;
    if (!all->index) {
        for (uint32_t i = 0; i < session->subscription_count; i++)
            if (span_equal(subscription_filter(session, &all->at[i]), filter))
                return &all->at[i];
        return NULL;
    }
    for (uint32_t bucket = bucket_of(session, filter); all->index[bucket];
         bucket = next_bucket(all, bucket)) {
        struct subscription *found = &all->at[all->index[bucket] - 1];
        if (span_equal(subscription_filter(session, found), filter))
            return found;
    }
    return NULL;
}

/* ---- adding and removing ---- */

/* Room for one more, and for its text; what is there stays as it is without memory. */
static bool reserve(struct subscriptions *all, uint32_t count, uint32_t text)
{
    if (!all->at || count == all->room) {
        uint32_t room = count + (count < 8 ? 1 : count / 4);
        struct subscription *grown = realloc(all->at, room * sizeof *grown);
        if (!grown)
            return false;
        all->at = grown;
        all->room = room;
    }
    if (all->text && text <= all->text_room - all->text_len)
        return true;
    uint64_t room = (uint64_t)all->text_len + text + all->text_len / 8;
    uint8_t *grown = room <= UINT32_MAX ? realloc(all->text, room) : NULL;
    if (!grown)
        return false;
    all->text = grown;
    all->text_room = (uint32_t)room;
    return true;
}

struct subscription *session_subscription_add(struct session *session, struct span filter)
{
    uint32_t size = text_size(filter), place = session->subscription_count;
    if (!session->subscriptions)
        session->subscriptions = calloc(1, sizeof *session->subscriptions);
    struct subscriptions *all = session->subscriptions;
    if (!all || !reserve(all, place, size))
        return NULL;
    uint8_t *text = all->text + all->text_len + (size - filter.len);
    memset(all->text + all->text_len, 0, size - filter.len); /* no membership yet */
    memcpy(text, filter.data, filter.len);
    all->at[place] = (struct subscription){ .text = (uint32_t)(text - all->text),
                                            .len = (uint16_t)filter.len };
    all->text_len += size;
    session->subscription_count++;
    if (session->subscription_count * 2 > all->index_room &&
        session->subscription_count >= INDEX_FROM)
        index_rebuild(session);
    else if (all->index)
        index_put(session, place);
    return &all->at[place];
}

/* Closes the gaps, if there is memory for the copy. */
static void close_gaps(struct session *session)
{
    struct subscriptions *all = session->subscriptions;
    uint32_t len = 0, room = all->text_len - all->gaps;
    uint8_t *text = malloc(room);
    if (!text)
        return;
    for (uint32_t i = 0; i < session->subscription_count; i++) {
        struct subscription *subscription = &all->at[i];
        uint32_t size = text_size(subscription_filter(session, subscription));
        uint32_t before = size - subscription->len;
        memcpy(text + len, text_of(session, subscription) - before, size);
        subscription->text = len + before;
        len += size;
    }
    free(all->text);
    all->text = text;
    all->text_len = all->text_room = room;
    all->gaps = 0;
}

void session_subscription_remove(struct session *session, struct subscription *subscription)
{
    struct subscriptions *all = session->subscriptions;
    uint32_t place = (uint32_t)(subscription - all->at);
    uint32_t last = session->subscription_count - 1;
    all->gaps += text_size(subscription_filter(session, subscription));
    if (all->index) {
        index_free(session, index_bucket(session, place));
        if (last != place) /* the last one moves into its place */
            all->index[index_bucket(session, last)] = place + 1;
    }
    *subscription = all->at[last];
    session->subscription_count--;
    session->decided = 0; /* one that is not decided yet may have moved forward */
    if (session->subscription_count == 0)
        session_subscriptions_done(session);
    else if (all->gaps > GAPS_MIN && all->gaps > all->text_len / 2)
        close_gaps(session);
}

void session_subscriptions_done(struct session *session)
{
    struct subscriptions *all = session->subscriptions;
    if (!all)
        return;
    free(all->at);
    free(all->text);
    free(all->index);
    free(all);
    session->subscriptions = NULL;
    session->subscription_count = 0;
}
