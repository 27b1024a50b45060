/* SPDX-License-Identifier: MIT */
/*
 * What a topic matched, remembered per worker under the tree's generation: a publisher that repeats
 * its topics costs one hash and one comparison. A topic is remembered when it comes for the second
 * time: one that comes once pushes nothing out. Direct-mapped and bounded. Owner-only.
 */
#pragma once

#include "broker/router.h"

enum { MATCH_CACHE_SLOTS = 4096 };

struct match_slot {
    uint8_t *topic; /* owned */
    size_t len;
    uint64_t generation;
    struct match_result *result; /* owned; NULL: empty */
};

struct match_cache {
    uint64_t seed;
    size_t hits;                  /* of all results */
    uint64_t swept;               /* the generation that stale results last made room for */
    struct match_result *passing; /* the last result that is not remembered */
    bool again;                   /* what was not found last had come before */
    uint32_t seen
        [MATCH_CACHE_SLOTS]; /* of each slot, a part of the hash of what was not found there last */
    struct match_slot slots[MATCH_CACHE_SLOTS];
};

static inline const struct match_slot *match_cache_slot(const struct match_cache *cache,
                                                        struct topic_place place)
{
    return &cache->slots[place.slot % MATCH_CACHE_SLOTS];
}

/* The topic at a place, whatever its generation; empty: none. */
static inline struct span match_cache_topic(const struct match_cache *cache,
                                            struct topic_place place)
{
    const struct match_slot *slot = match_cache_slot(cache, place);
    return span_of(slot->topic, slot->len);
}

/* What the topic there matches, or NULL when that is not known any more. */
static inline const struct match_result *match_cache_at(const struct match_cache *cache,
                                                        struct topic_place place,
                                                        uint64_t generation)
{
    const struct match_slot *slot = match_cache_slot(cache, place);
    return slot->generation == generation ? slot->result : NULL;
}

/* The remembered result, or NULL: then match_cache_put() is to follow. Valid until the next
 * match_cache_put(). `place` is looked at first, and set. */
const struct match_result *match_cache_get(struct match_cache *cache, struct span topic,
                                           uint64_t generation, struct topic_place *place);
/* Remembers a result, which it takes over, of the topic that was not found at `place`. What is too
 * large, and what comes for the first time, is kept until the next put and never found. */
const struct match_result *match_cache_put(struct match_cache *cache, struct topic_place place,
                                           struct span topic, uint64_t generation,
                                           struct match_result *result);
void match_result_free(struct match_result *result);
