/* SPDX-License-Identifier: MIT */
/*
 * The topic tree: which subscribers a topic name reaches. It owns filters and their entries; subscribers are opaque pointers
 * that it never follows. It takes no lock: broker/router.c guards it (readers may match at the same time, a writer must be alone).
 * Every insert or removal raises `generation`, so that a cached match can be told to be stale.
 */
#pragma once

#include "mqtt/span.h"

struct tree;

/* One subscription as the tree keeps it: 16 bytes. */
struct tree_entry {
    void *subscriber;
    uint32_t sub_id; /* subscription identifier, 0 none */
    uint8_t options; /* the options byte of SUBSCRIBE */
    uint8_t kind;    /* the caller's: a session, a shared group */
};

enum tree_change {
    TREE_NO_MEMORY = -1,
    TREE_UNCHANGED, /* remove: was not there */
    TREE_FIRST,     /* insert: the first entry of a filter nobody had */
    TREE_ADDED,
    TREE_REPLACED, /* insert: this subscriber had the filter; options and sub_id are the new ones */
    TREE_REMOVED,
    TREE_LAST, /* remove: it was the filter's last entry; the filter is gone */
};

/* `seed` keys the hash tables, so that a client cannot choose colliding levels. NULL: no memory. */
struct tree *tree_new(uint64_t seed);
void tree_free(struct tree *tree);

/* The filter is valid and has no $share prefix. An entry is identified by its filter and its subscriber pointer. */
enum tree_change tree_insert(struct tree *tree, struct span filter, const struct tree_entry *entry);
enum tree_change tree_remove(struct tree *tree, struct span filter, const void *subscriber);

/* The entry of a subscriber at a filter, or NULL. Valid until the next change. */
const struct tree_entry *tree_find(const struct tree *tree, struct span filter,
                                   const void *subscriber);

typedef void tree_match_fn(void *ctx, const struct tree_entry *entry);

/* Calls `emit` for every entry whose filter matches the valid topic name: once per filter, so maybe several times per subscriber. */
void tree_match(const struct tree *tree, struct span topic, tree_match_fn *emit, void *ctx);

uint64_t tree_generation(const struct tree *tree); /* starts at 1 */
size_t tree_entry_count(const struct tree *tree);
size_t tree_memory(const struct tree *tree); /* bytes allocated */

/* What would take tree_memory() above `bytes` fails as if malloc had failed; SIZE_MAX (the default): no limit. */
void tree_limit_memory(struct tree *tree, size_t bytes);
