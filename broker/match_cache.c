/* SPDX-License-Identifier: MIT */
/* See match_cache.h. */
#include "broker/match_cache.h"

#include "broker/alloc.h"
#include "broker/err.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    TOPIC_MAX = 1024,        /* longer topics are not remembered */
    HITS_MAX = 65536,        /* nor larger results */
    TOTAL_HITS_MAX = 262144, /* of all slots: about 8 MB */
};

struct match_cache *match_cache_new(uint64_t seed)
{
    struct match_cache *cache = must_have(calloc(1, sizeof *cache));
    cache->seed = seed;
    return cache;
}

void match_result_free(struct match_result *result)
{
    if (!result)
        return;
    for (uint32_t i = 0; i < result->count; i++)
        sub_ids_unref(result->hits[i].ids);
    free(result);
}

static void clear(struct match_cache *cache, struct match_slot *slot)
{
    if (!slot->result)
        return;
    cache->hits -= slot->result->count;
    match_result_free(slot->result);
    free(slot->topic);
    *slot = (struct match_slot){ 0 };
}

void match_cache_free(struct match_cache *cache)
{
    for (size_t i = 0; i < MATCH_CACHE_SLOTS; i++)
        clear(cache, &cache->slots[i]);
    match_result_free(cache->passing);
    free(cache);
}

const struct match_result *match_cache_get(struct match_cache *cache, struct span topic,
                                           uint64_t generation, struct topic_place *place)
{
    if (!place->same && !span_equal(match_cache_topic(cache, *place), topic)) {
        uint64_t hash = XXH3_64bits_withSeed(topic.data, topic.len, cache->seed);
        uint32_t mark = (uint32_t)(hash >> 32);
        place->slot = (uint32_t)(hash % MATCH_CACHE_SLOTS);
        if (!span_equal(match_cache_topic(cache, *place), topic)) {
            cache->again = cache->seen[place->slot] == mark;
            cache->seen[place->slot] = mark;
            return NULL;
        }
    }
    const struct match_result *known = match_cache_at(cache, *place, generation);
    if (!known)
        cache->again = true;
    return known;
}

/* Once a generation, so that a cache full of results that are still right costs nothing. */
static void sweep(struct match_cache *cache, uint64_t generation)
{
    if (cache->swept == generation)
        return;
    cache->swept = generation;
    for (size_t i = 0; i < MATCH_CACHE_SLOTS; i++)
        if (cache->slots[i].generation != generation)
            clear(cache, &cache->slots[i]);
}

const struct match_result *match_cache_put(struct match_cache *cache, struct topic_place place,
                                           struct span topic, uint64_t generation,
                                           struct match_result *result)
{
    struct match_slot *slot = &cache->slots[place.slot % MATCH_CACHE_SLOTS];
    uint8_t *copy = NULL;
    match_result_free(cache->passing);
    cache->passing = NULL;
    if (!cache->again) {
        cache->passing = result;
        return result;
    }
    clear(cache, slot);
    if (cache->hits + result->count > TOTAL_HITS_MAX)
        sweep(cache, generation);
    if (topic.len <= TOPIC_MAX && result->count <= HITS_MAX &&
        cache->hits + result->count <= TOTAL_HITS_MAX)
        copy = malloc(topic.len);
    if (!copy) {
        cache->passing = result;
        return result;
    }
    memcpy(copy, topic.data, topic.len);
    *slot = (struct match_slot){ copy, topic.len, generation, result };
    cache->hits += result->count;
    return result;
}
