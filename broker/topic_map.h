/* SPDX-License-Identifier: MIT */
/*
 * An ordered map from topic name to an opaque value, for retained messages: get and overwrite by
 * the exact topic are a hash lookup; a scan visits the topics that a filter matches, in slices, and
 * leaps over ranges that cannot match.
 *
 * The order is level by level: bytes are compared with '/' below every other byte, so that "a",
 * "a/b" and "a/b/c" stand together and before "a!". The map owns its index; the values, and the
 * topics that it borrows from them, belong to the caller. No lock, no thread of its own: the
 * retained store guards each shard.
 */
#pragma once

#include "broker/err.h"
#include "mqtt/span.h"

struct topic_map;

/* A topic with its hash, which whoever looks it up more than once carries along. */
struct topic_key {
    struct span topic;
    uint64_t hash; /* of one seed for all keys of a map; its low bits are the map's */
};
struct topic_key topic_key(uint64_t seed, struct span topic);

/* `seed` is that of the keys. NULL: no memory. */
MUST_USE struct topic_map *topic_map_new(uint64_t seed);
void topic_map_free(struct topic_map *map); /* leaves the values alone */

/* NULL: none. */
void *topic_map_get(const struct topic_map *map, struct topic_key key);

/*
 * Puts `value` (not NULL) at a valid topic name, which is borrowed, from the value as a rule: its
 * bytes must stay until the value is removed or replaced. On success `*ret_old` is the value that
 * was replaced, or NULL, and the map does not refer to the old one's topic any more. False: no
 * memory, nothing has changed (never when the topic is there).
 */
MUST_USE bool topic_map_set(struct topic_map *map, struct topic_key key, void *value,
                            void **ret_old);

/* Returns the value that was there, or NULL. */
void *topic_map_remove(struct topic_map *map, struct topic_key key);

/*
 * What is there only for a time. topic_map_set() and topic_map_remove() forget when a topic was due.
 * set_due: the topic, which is there, is due at `when` (of any clock); false: no memory, it never
 * is. next_due: when the soonest is, UINT64_MAX: none ever. take_due: removes the soonest, if it is
 * due at `now`, and returns its value; NULL: there is none.
 */
MUST_USE bool topic_map_set_due(struct topic_map *map, struct topic_key key, uint64_t when);
uint64_t topic_map_next_due(const struct topic_map *map);
void *topic_map_take_due(struct topic_map *map, uint64_t now);

size_t topic_map_count(const struct topic_map *map);
size_t topic_map_memory(
    const struct topic_map *map); /* bytes allocated, values and topics not included */

/* What would take topic_map_memory() above `bytes` fails as if malloc had failed; SIZE_MAX (the
 * default): no limit. */
void topic_map_limit_memory(struct topic_map *map, size_t bytes);

/* Where a scan continues: a copy, so the map may change between slices. Zeroed: at the
 * beginning. */
struct topic_cursor {
    uint8_t *topic; /* owned */
    size_t len, room;
    uint8_t place; /* what `topic` stands for: see topic_map.c */
};

void topic_cursor_done(struct topic_cursor *cursor); /* frees the copy and zeroes it */

/* Must not change the map. False: end this slice; the topic counts as visited. */
typedef bool topic_visit_fn(void *ctx, struct span topic, void *value);

/* One slice of a scan. */
struct topic_scan {
    struct span filter;   /* valid, without $share; the same in every slice */
    size_t max_found;     /* topics visited in this slice; at least 1 */
    size_t max_looked_at; /* topics compared in this slice, matching or not; at least 1 */
    topic_visit_fn *visit;
    void *ctx;
};

enum topic_scan_end {
    TOPIC_SCAN_NO_MEMORY =
        -1, /* for the cursor's copy; the cursor stands after what was visited, so it may be tried again */
    TOPIC_SCAN_COMPLETE, /* everything that matches has been visited */
    TOPIC_SCAN_MORE,     /* call again with the same cursor */
};

/*
 * Visits topics that match, in order, from where the cursor stands, and moves the cursor. A topic
 * that stays in the map from the first slice to the last is visited exactly once; one that comes or
 * goes meanwhile, at most once. Topics that begin with '$' do not match a filter that begins with a
 * wildcard [MQTT5-4.7.2-1].
 */
MUST_USE enum topic_scan_end topic_map_scan(const struct topic_map *map,
                                            const struct topic_scan *scan,
                                            struct topic_cursor *cursor);

/* Visits everything, in no order, until the visitor returns false. It may free the values when
 * topic_map_free() is all that follows. */
void topic_map_each(const struct topic_map *map, topic_visit_fn *visit, void *ctx);
