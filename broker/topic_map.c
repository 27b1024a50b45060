/* SPDX-License-Identifier: MIT */
/*
 * A map from topic name to value with three indexes over the same items: a hash table for get and
 * overwrite, a B+ tree (topic_order.h) for scans, a heap (topic_due.h) of those that are due one
 * day. It owns the items and the indexes; topics and
 * values are borrowed. Runs under the lock of whoever owns the map, and calls nobody back but the
 * visitor of a scan.
 *
 * A scan knows only the place where it goes on. For each topic that it meets there, compare() says
 * whether the topic matches, and where the next one that may match can stand; so with the filter
 * "+/x/temp"
 *
 *     d1/a/temp → at d1/x/temp, which matches → past d1 → d2/a/temp → at d2/x/temp …
 */
#include "broker/topic_map.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "broker/topic_due.h"
#include "broker/topic_order.h"
#include "mqtt/budget.h"

enum { SLOTS_MIN = 16 };

struct topic_map {
    struct budget budget;
    uint64_t seed;
    size_t count;
    size_t mask; /* slots - 1 */
    /* Linear probing. A search reads marks, which stand close together, and looks at an item only
     * where its mark is right. */
    struct topic_item **items; /* of each slot; owns them, and the marks' memory behind them */
    uint32_t *marks;           /* of each slot: 32 bits of the hash, or 1; 0 is free */
    struct topic_order order;
    struct topic_due due;
};

static size_t slots_size(size_t mask)
{
    return (mask + 1) * (sizeof(struct topic_item *) + sizeof(uint32_t));
}

static bool slots_new(struct topic_map *map, size_t mask)
{
    struct topic_item **items = budget_alloc_zeroed(&map->budget, slots_size(mask));
    if (!items)
        return false;
    map->items = items;
    map->marks = (uint32_t *)(void *)(items + mask + 1);
    map->mask = mask;
    return true;
}

struct topic_map *topic_map_new(uint64_t seed)
{
    struct topic_map *map = malloc(sizeof(*map));
    if (!map)
        return NULL;
    *map = (struct topic_map){ .budget.limit = SIZE_MAX, .seed = seed };
    topic_due_init(&map->due, &map->budget);
    if (!slots_new(map, SLOTS_MIN - 1) || !topic_order_init(&map->order, &map->budget)) {
        topic_map_free(map);
        return NULL;
    }
    return map;
}

void topic_map_free(struct topic_map *map)
{
    if (!map)
        return;
    for (size_t i = 0; map->items && i <= map->mask; i++)
        free(map->items[i]);
    free(map->items);
    topic_order_done(&map->order);
    topic_due_done(&map->due);
    free(map);
}

size_t topic_map_count(const struct topic_map *map)
{
    return map->count;
}

size_t topic_map_memory(const struct topic_map *map)
{
    return sizeof(*map) + map->budget.used;
}

void topic_map_limit_memory(struct topic_map *map, size_t bytes)
{
    if (bytes != SIZE_MAX)
        bytes = bytes > sizeof(*map) ? bytes - sizeof(*map) : 0;
    map->budget.limit = bytes;
}

/* ---- by the exact topic ------------------------------------------------------------------- */

struct topic_key topic_key(uint64_t seed, struct span topic)
{
    return (struct topic_key){ topic, XXH3_64bits_withSeed(topic.data, topic.len, seed) };
}

static uint32_t mark_of(uint64_t hash)
{
    return (uint32_t)hash ? (uint32_t)hash : 1;
}

/* The slot with the topic, or the free one where it would go. */
static size_t slot_of(const struct topic_map *map, struct topic_key key)
{
    uint32_t mark = mark_of(key.hash);
    size_t at = mark & map->mask;
    while (map->marks[at] &&
           (map->marks[at] != mark || !span_equal(topic_of(map->items[at]), key.topic)))
        at = (at + 1) & map->mask;
    return at;
}

void *topic_map_get(const struct topic_map *map, struct topic_key key)
{
    const struct topic_item *item = map->items[slot_of(map, key)];
    return item ? item->value : NULL;
}

static bool resize(struct topic_map *map, size_t mask)
{
    struct topic_item **items = map->items;
    const uint32_t *marks = map->marks;
    size_t old = map->mask;
    if (!slots_new(map, mask))
        return false;
    for (size_t i = 0; i <= old; i++) {
        if (!marks[i])
            continue;
        size_t at = marks[i] & mask;
        while (map->marks[at])
            at = (at + 1) & mask;
        map->marks[at] = marks[i];
        map->items[at] = items[i];
    }
    budget_free(&map->budget, items, slots_size(old));
    return true;
}

static struct topic_item item_of(struct span topic, void *value)
{
    return (struct topic_item){ .bytes = topic.data, .len = (uint32_t)topic.len, .value = value };
}

/* `slot` is the free one where it would go. */
static bool add(struct topic_map *map, size_t slot, struct topic_key key, void *value)
{
    size_t slots = map->mask + 1;
    if (map->count + 1 > slots - slots / 8) {
        if (!resize(map, slots * 2 - 1))
            return false;
        slot = slot_of(map, key);
    }
    struct topic_item *item = budget_alloc(&map->budget, sizeof(*item));
    if (!item)
        return false;
    *item = item_of(key.topic, value);
    if (!topic_order_insert(&map->order, item)) {
        budget_free(&map->budget, item, sizeof(*item));
        return false;
    }
    map->items[slot] = item;
    map->marks[slot] = mark_of(key.hash);
    map->count++;
    return true;
}

bool topic_map_set(struct topic_map *map, struct topic_key key, void *value, void **ret_old)
{
    size_t slot = slot_of(map, key);
    struct topic_item *item = map->items[slot];
    if (!item) {
        if (!add(map, slot, key, value))
            return false;
        *ret_old = NULL;
        return true;
    }
    *ret_old = item->value;
    if (item->due)
        topic_due_remove(&map->due, item);
    item->bytes = key.topic.data;
    item->value = value;
    return true;
}

/* Closes the gap that a removed item leaves. */
static void erase(struct topic_map *map, size_t gap)
{
    for (size_t at = (gap + 1) & map->mask; map->marks[at]; at = (at + 1) & map->mask) {
        size_t home = map->marks[at] & map->mask;
        if (((at - home) & map->mask) >= ((at - gap) & map->mask)) {
            map->items[gap] = map->items[at];
            map->marks[gap] = map->marks[at];
            gap = at;
        }
    }
    map->items[gap] = NULL;
    map->marks[gap] = 0;
    map->count--;
    if (map->mask >= SLOTS_MIN && map->count < (map->mask + 1) / 8)
        (void)!resize(map, map->mask / 2); /* no memory: it stays large */
}

void *topic_map_remove(struct topic_map *map, struct topic_key key)
{
    size_t slot = slot_of(map, key);
    struct topic_item *item = map->items[slot];
    if (!item)
        return NULL;
    void *value = item->value;
    topic_order_remove(&map->order, item);
    topic_due_remove(&map->due, item);
    erase(map, slot);
    budget_free(&map->budget, item, sizeof(*item));
    return value;
}

bool topic_map_set_due(struct topic_map *map, struct topic_key key, uint64_t when)
{
    struct topic_item *item = map->items[slot_of(map, key)];
    topic_due_remove(&map->due, item);
    return topic_due_add(&map->due, item, when);
}

uint64_t topic_map_next_due(const struct topic_map *map)
{
    return topic_due_when(&map->due);
}

void *topic_map_take_due(struct topic_map *map, uint64_t now)
{
    return topic_due_when(&map->due) <= now
               ? topic_map_remove(map, topic_key(map->seed, topic_of(topic_due_first(&map->due))))
               : NULL;
}

void topic_map_each(const struct topic_map *map, topic_visit_fn *visit, void *ctx)
{
    for (size_t i = 0; i <= map->mask; i++) {
        const struct topic_item *item = map->items[i];
        if (item && !visit(ctx, topic_of(item), item->value))
            return;
    }
}

/* ---- the cursor --------------------------------------------------------------------------- */

void topic_cursor_done(struct topic_cursor *cursor)
{
    free(cursor->topic);
    *cursor = (struct topic_cursor){ 0 };
}

static bool cursor_reserve(struct topic_cursor *cursor, size_t len)
{
    if (len <= cursor->room)
        return true;
    size_t room = len < 64 ? 64 : len + len / 2;
    uint8_t *topic = realloc(cursor->topic, room);
    if (!topic)
        return false;
    cursor->topic = topic;
    cursor->room = room;
    return true;
}

static void cursor_append(struct topic_cursor *cursor, struct span text)
{
    if (text.len)
        memcpy(cursor->topic + cursor->len, text.data, text.len);
    cursor->len += text.len;
}

/* There is room for head and tail. */
static void cursor_set(struct topic_cursor *cursor, enum topic_place_kind kind, struct span head,
                       struct span tail)
{
    cursor->len = 0;
    cursor->place = (uint8_t)kind;
    cursor_append(cursor, head);
    cursor_append(cursor, tail);
}

static struct topic_place cursor_place(const struct topic_cursor *cursor)
{
    return (struct topic_place){ span_of(cursor->topic, cursor->len),
                                 (enum topic_place_kind)cursor->place };
}

/* ---- leaping ------------------------------------------------------------------------------ */

static const struct span nothing = { NULL, 0 };

static size_t level_length(struct span text, size_t at)
{
    const uint8_t *slash = at < text.len ? memchr(text.data + at, '/', text.len - at) : NULL;
    return (slash ? (size_t)(slash - text.data) : text.len) - at;
}

/* The levels of the filter from `at` on, up to its first wildcard; with the '/' before that, unless
 * that is a '#', which matches the level above as well. */
static struct span literal_levels(struct span filter, size_t at)
{
    size_t end = at;
    while (end <= filter.len) {
        if (end < filter.len && filter.data[end] == '#')
            return span_of(filter.data + at, end > at ? end - 1 - at : 0);
        if (end < filter.len && filter.data[end] == '+')
            return span_of(filter.data + at, end - at);
        end += level_length(filter, end) + 1;
    }
    return span_of(filter.data + at, filter.len - at);
}

static int compare_levels(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Nothing more can match below the last level that a '+' matched (after it there is one way only),
 * or at all if there is none. */
static void leap_past(struct topic_cursor *cursor, struct span topic, size_t plus_end)
{
    if (plus_end == SIZE_MAX)
        cursor_set(cursor, PLACE_END, nothing, nothing);
    else
        cursor_set(cursor, PLACE_PAST, span_of(topic.data, plus_end), nothing);
}

/*
 * Does the topic match? And moves the cursor behind it, to the first place where another topic may
 * match. There is room in the cursor for topic, filter and a '/'.
 */
static bool compare(struct span filter, struct span topic, struct topic_cursor *cursor)
{
    size_t plus_end = SIZE_MAX; /* where the last level ends that a '+' matched */
    size_t f = 0;
    for (size_t t = 0;; f++, t++) {
        size_t wanted = level_length(filter, f);
        if (wanted == 1 && filter.data[f] == '#') {
            cursor_set(cursor, PLACE_AFTER, topic, nothing);
            return true;
        }
        if (t > topic.len) { /* too short: what is below it may match */
            cursor_set(cursor, PLACE_AT, topic, span_of("/", 1));
            cursor_append(cursor, literal_levels(filter, f));
            return false;
        }
        size_t found = level_length(topic, t);
        if (wanted == 1 && filter.data[f] == '+') {
            plus_end = t + found;
        } else {
            int order = compare_levels(span_of(topic.data + t, found),
                                       span_of(filter.data + f, wanted));
            if (order < 0)
                cursor_set(cursor, PLACE_AT, span_of(topic.data, t), literal_levels(filter, f));
            else if (order > 0)
                leap_past(cursor, topic, plus_end);
            if (order != 0)
                return false;
        }
        f += wanted;
        t += found;
        if (f == filter.len) {
            leap_past(cursor, topic, plus_end);
            return t == topic.len;
        }
    }
}

/* A filter that begins with a wildcard leaves out all that begins with '$' [MQTT5-4.7.2-1]. */
static bool hidden(struct span filter, struct span topic)
{
    return topic.len && topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#');
}

static const struct span above_dollar = { (const uint8_t *)"%", 1 }; /* the byte after '$' */

/* Of a filter that is a topic and "/#": that topic, all of whose subtree matches; of "#": the empty
 * one. False: of another filter. */
static bool is_subtree(struct span filter, struct span *ret_top)
{
    struct span top = literal_levels(filter, 0);
    size_t behind = top.len + (top.len > 0);
    if (behind + 1 != filter.len || filter.data[behind] != '#')
        return false;
    *ret_top = top;
    return true;
}

static bool in_subtree(struct span top, struct span topic)
{
    if (top.len == 0)
        return topic.data[0] != '$';
    return topic.len >= top.len && memcmp(topic.data, top.data, top.len) == 0 &&
           (topic.len == top.len || topic.data[top.len] == '/');
}

/* Goes on where the cursor stands. Within a subtree there is nothing to compare, and the cursor only
 * follows when the slice ends, to `*ret_last`, for which it has room. */
static enum topic_scan_end scan_slice(const struct topic_map *map, const struct topic_scan *scan,
                                      struct topic_cursor *cursor, struct topic_item **ret_last)
{
    struct span filter = scan->filter, top = nothing;
    bool subtree = is_subtree(filter, &top);
    struct topic_walk walk;
    size_t found = 0;
    struct topic_item *item = topic_order_seek(&map->order, cursor_place(cursor), &walk);
    for (size_t looked_at = 0; item; looked_at++) {
        if (found == scan->max_found || looked_at == scan->max_looked_at)
            return TOPIC_SCAN_MORE;
        if (!cursor_reserve(cursor, item->len + 1 + filter.len))
            return TOPIC_SCAN_NO_MEMORY;
        bool inside = subtree && in_subtree(top, topic_of(item));
        *ret_last = inside ? item : NULL;
        if (!inside && hidden(filter, topic_of(item))) {
            cursor_set(cursor, PLACE_AT, above_dollar, nothing);
        } else if (inside || compare(filter, topic_of(item), cursor)) {
            found++;
            if (!scan->visit(scan->ctx, topic_of(item), item->value))
                return TOPIC_SCAN_MORE;
        }
        item = topic_order_next(&walk);
        if (item && !inside && topic_before(topic_of(item), cursor_place(cursor)))
            item = topic_order_seek(&map->order, cursor_place(cursor), &walk);
    }
    *ret_last = NULL;
    cursor_set(cursor, PLACE_END, nothing, nothing);
    return TOPIC_SCAN_COMPLETE;
}

enum topic_scan_end topic_map_scan(const struct topic_map *map, const struct topic_scan *scan,
                                   struct topic_cursor *cursor)
{
    if (cursor->place == PLACE_START) {
        struct span start = literal_levels(scan->filter, 0);
        if (!cursor_reserve(cursor, start.len))
            return TOPIC_SCAN_NO_MEMORY;
        cursor_set(cursor, PLACE_AT, start, nothing);
    }
    struct topic_item *last = NULL;
    enum topic_scan_end end = scan_slice(map, scan, cursor, &last);
    if (last)
        cursor_set(cursor, PLACE_AFTER, topic_of(last), nothing);
    return end;
}
