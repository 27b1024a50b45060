/* SPDX-License-Identifier: MIT */
/*
 * What a topic matched, remembered per worker under the tree's generation: a publisher that repeats
 * its topics costs one hash and one comparison. A topic is remembered when it comes for the second
 * time: one that comes once pushes nothing out. Direct-mapped and bounded. Owner-only.
 */
#pragma once

#include "broker/router.h"

/* The remembered result, or NULL: then match_cache_put() is to follow. Valid until the next
 * match_cache_put(). `place` is looked at first, and set. */
const struct match_result *match_cache_get(struct match_cache *cache, struct span topic,
                                           uint64_t generation, struct topic_place *place);
/* Remembers a result, which it takes over, of the topic that was not found at `place`. What is too
 * large, and what comes for the first time, is kept until the next put and never found. */
const struct match_result *match_cache_put(struct match_cache *cache, struct topic_place place,
                                           struct span topic, uint64_t generation,
                                           struct match_result *result);
/* The topic at a place, whatever its generation; empty: none. */
struct span match_cache_topic(const struct match_cache *cache, struct topic_place place);
void match_result_free(struct match_result *result);
