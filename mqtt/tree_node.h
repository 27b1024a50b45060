/* SPDX-License-Identifier: MIT */
/*
 * The parts of the topic tree, seen by tree.c alone: nodes and where they live, the edges between them, and the entries
 * of one node. No lock, no thread: as the tree.
 *
 * A node stands for one or more levels of a filter, its label; a filter that shares no level with another below its
 * parent is one node, however many levels it has. Wildcards stand in labels as they stand in filters.
 *
 *        (root) ── "building" ─┬─ "7/+/temp"      building/7/+/temp
 *          │ plus              └─ "#"             building/#
 *          └────── "+/alarm"                      +/alarm
 *
 * No two children of a node begin with the same level. The child that begins with '+' and the child "#" hang on pointers
 * of their own, so that a match finds them without a hash; all others are found in one table for the whole tree, keyed
 * by the parent and the first level. A node goes when its last entry and its last child have gone.
 */
#pragma once

#include "mqtt/budget.h"
#include "mqtt/span.h"
#include "mqtt/tree.h"

#include <assert.h>

enum { LABEL_INLINE = 26 };

/* Text of 1 to 200 levels: in place, or in memory of its own whose address stands in place of it. */
struct label {
    uint16_t len;
    uint8_t bytes[LABEL_INLINE];
};

/* The entries of a node with more than one. Up to ENTRIES_UNINDEXED of them are searched one by one. */
struct entry_list {
    uint32_t room;
    uint32_t index_mask; /* slots of the index - 1 */
    uint32_t *
        index; /* place in `entries` + 1 by the hash of the subscriber, linear probing; NULL: none */
    struct tree_entry entries[];
};

struct tree_node {
    union {
        struct tree_entry one;   /* when entry_count is 1 */
        struct entry_list *list; /* when it is more */
    };
    uint32_t entry_count;
    uint32_t parent; /* of a free node: the next free one */
    uint32_t plain;  /* how many children begin with a plain level */
    uint32_t plus;   /* the child that begins with '+', or 0 */
    uint32_t many;   /* the child "#", or 0 */
    struct label label;
};
static_assert(sizeof(struct tree_node) == 64, "a node is a cache line");

struct edge {
    uint32_t node; /* 0: free slot */
    uint32_t hash;
};

enum { NODE_NONE = 0, NODE_ROOT = 1 };

/* All nodes of a tree. A node is named by a number; its address stays while it lives. */
struct tree_nodes {
    struct budget budget;
    uint64_t seed;
    struct tree_node **chunks; /* the first node of each; NULL: given back */
    uint32_t chunk_count, chunk_room;
    uint32_t dead_count; /* chunks given back */
    uint32_t open;       /* first chunk with a free node, + 1; 0: none */
    uint32_t free_count; /* free nodes in all chunks */
    uint32_t edge_count;
    uint32_t edge_mask; /* slots - 1 */
    struct edge *edges; /* linear probing */
};

bool nodes_init(struct tree_nodes *nodes, uint64_t seed);
void nodes_done(struct tree_nodes *nodes);

enum { CHUNK_BITS = 10, CHUNK_NODES = 1 << CHUNK_BITS };

static inline struct tree_node *node_at(const struct tree_nodes *nodes, uint32_t number)
{
    return nodes->chunks[number >> CHUNK_BITS] + (number & (CHUNK_NODES - 1));
}

/* Makes sure that the next `count` calls of node_take() and node_link() succeed. */
bool nodes_reserve(struct tree_nodes *nodes, uint32_t count);
uint32_t node_take(struct tree_nodes *nodes, uint32_t parent, struct label label);
void node_give(struct tree_nodes *nodes, uint32_t number); /* frees its label, too */

/* ---- labels ---- */

bool label_init(struct label *label, struct span text, struct budget *budget);
void label_done(struct label *label, struct budget *budget);

static inline struct span label_text(const struct label *label)
{
    if (label->len <= LABEL_INLINE)
        return span_of(label->bytes, label->len);
    const uint8_t *far;
    memcpy(&far, label->bytes, sizeof(far));
    return span_of(far, label->len);
}

/* ---- edges ---- */

uint64_t level_hash(const struct tree_nodes *nodes, struct span level);

/* The child that begins with the plain level, or NODE_NONE. */
uint32_t node_plain_child(const struct tree_nodes *nodes, uint32_t parent, struct span level,
                          uint64_t hash);

void node_link(struct tree_nodes *nodes, uint32_t number);   /* to its parent, by its label */
void node_unlink(struct tree_nodes *nodes, uint32_t number); /* before its label changes */
void node_replace(struct tree_nodes *nodes, uint32_t number,
                  uint32_t with); /* begins with the same level */

/* ---- entries ---- */

static inline const struct tree_entry *node_entries(const struct tree_node *node)
{
    return node->entry_count > 1 ? node->list->entries : &node->one;
}

const struct tree_entry *entry_find(const struct tree_node *node, const void *subscriber);
enum tree_change entry_put(struct tree_nodes *nodes, struct tree_node *node,
                           const struct tree_entry *entry);
enum tree_change entry_remove(struct tree_nodes *nodes, struct tree_node *node,
                              const void *subscriber);
void entries_done(struct tree_nodes *nodes, struct tree_node *node);
