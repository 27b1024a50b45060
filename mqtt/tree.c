/* SPDX-License-Identifier: MIT */
/*
 * The topic tree: inserting, removing, finding and matching. What a node is, and the drawing, stand in tree_node.h. It
 * takes no lock (broker/router.c does), keeps no clock, and never follows a subscriber. A change either happens as a
 * whole or not at all: all memory is asked for before the first node is touched.
 */
#include "mqtt/tree.h"

#include "mqtt/topic.h"
#include "mqtt/tree_node.h"

struct tree {
    struct tree_nodes nodes;
    uint64_t generation;
    size_t entry_count;
};

struct tree *tree_new(uint64_t seed)
{
    struct tree *tree = malloc(sizeof(*tree));
    if (!tree)
        return NULL;
    *tree = (struct tree){ .generation = 1 };
    if (!nodes_init(&tree->nodes, seed)) {
        free(tree);
        return NULL;
    }
    return tree;
}

void tree_free(struct tree *tree)
{
    if (!tree)
        return;
    nodes_done(&tree->nodes);
    free(tree);
}

uint64_t tree_generation(const struct tree *tree)
{
    return tree->generation;
}

size_t tree_entry_count(const struct tree *tree)
{
    return tree->entry_count;
}

size_t tree_memory(const struct tree *tree)
{
    return sizeof(*tree) + tree->nodes.budget.used;
}

void tree_limit_memory(struct tree *tree, size_t bytes)
{
    if (bytes != SIZE_MAX)
        bytes = bytes > sizeof(*tree) ? bytes - sizeof(*tree) : 0;
    tree->nodes.budget.limit = bytes;
}

/* ---- the way down by a filter ------------------------------------------------------------- */

/* How far a filter leads. */
struct place {
    uint32_t node;  /* its labels are the filter's first levels */
    size_t at;      /* where the filter's next level begins; filter.len + 1: none is left */
    uint32_t child; /* shares the next level or more, but not all of its label; or NODE_NONE */
    size_t common;  /* bytes of the child's label up to the end of the last level in common */
};

static struct span rest_of(struct span filter, size_t at)
{
    return span_of(filter.data + at, filter.len - at);
}

static size_t level_length(struct span rest)
{
    const uint8_t *slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
    return slash ? (size_t)(slash - rest.data) : rest.len;
}

/* Length of the whole levels that both begin with; the first is known to be the same. */
static size_t common_levels(struct span label, struct span rest)
{
    size_t shorter = label.len < rest.len ? label.len : rest.len;
    size_t same = 0;
    size_t boundary = 0;
    for (; same < shorter && label.data[same] == rest.data[same]; same++) {
        if (label.data[same] == '/')
            boundary = same;
    }
    bool label_ends = same == label.len || label.data[same] == '/';
    bool rest_ends = same == rest.len || rest.data[same] == '/';
    return label_ends && rest_ends ? same : boundary;
}

static uint32_t child_for(const struct tree *tree, uint32_t parent, struct span rest)
{
    const struct tree_node *node = node_at(&tree->nodes, parent);
    if (rest.len && rest.data[0] == '+')
        return node->plus;
    if (rest.len && rest.data[0] == '#')
        return node->many;
    if (node->plain == 0)
        return NODE_NONE;
    struct span level = span_of(rest.data, level_length(rest));
    return node_plain_child(&tree->nodes, parent, level, level_hash(&tree->nodes, level));
}

static struct place descend(const struct tree *tree, struct span filter)
{
    struct place place = { .node = NODE_ROOT };
    while (place.at <= filter.len) {
        struct span rest = rest_of(filter, place.at);
        place.child = child_for(tree, place.node, rest);
        if (place.child == NODE_NONE)
            return place;
        struct span label = label_text(&node_at(&tree->nodes, place.child)->label);
        place.common = common_levels(label, rest);
        if (place.common < label.len)
            return place;
        place.node = place.child;
        place.child = NODE_NONE;
        place.at += label.len + 1;
    }
    return place;
}

/* The node where exactly this filter ends, or NULL. */
static struct tree_node *node_of(const struct tree *tree, struct span filter, uint32_t *ret_number)
{
    struct place place = descend(tree, filter);
    if (place.at <= filter.len)
        return NULL;
    *ret_number = place.node;
    return node_at(&tree->nodes, place.node);
}

const struct tree_entry *tree_find(const struct tree *tree, struct span filter,
                                   const void *subscriber)
{
    uint32_t number;
    const struct tree_node *node = node_of(tree, filter, &number);
    return node ? entry_find(node, subscriber) : NULL;
}

/* ---- inserting ---------------------------------------------------------------------------- */

/* New nodes for a filter that has none: a child is split where the filter leaves it (two labels), or nothing is; a leaf
 * takes the levels that are left (one label), or none are left. */
struct growth {
    bool split, leaf;
    size_t leaf_at;
    struct label upper, lower, rest;
};

static void growth_undo(struct growth *growth, struct budget *budget)
{
    label_done(&growth->upper, budget);
    label_done(&growth->lower, budget);
    label_done(&growth->rest, budget);
}

static bool growth_plan(struct tree *tree, struct span filter, const struct place *place,
                        struct growth *growth)
{
    struct tree_nodes *nodes = &tree->nodes;
    bool ok = nodes_reserve(nodes, 2);
    *growth = (struct growth){ .leaf_at = place->at };
    if (ok && place->child != NODE_NONE) {
        struct span label = label_text(&node_at(nodes, place->child)->label);
        growth->split = true;
        growth->leaf_at += place->common + 1;
        ok = label_init(&growth->upper, span_of(label.data, place->common), &nodes->budget) &&
             label_init(&growth->lower, rest_of(label, place->common + 1), &nodes->budget);
    }
    if (ok && growth->leaf_at <= filter.len) {
        growth->leaf = true;
        ok = label_init(&growth->rest, rest_of(filter, growth->leaf_at), &nodes->budget);
    }
    if (!ok)
        growth_undo(growth, &nodes->budget);
    return ok;
}

/* parent ── child "a/b/c"  becomes  parent ── "a" ── child "b/c". The child keeps its number, so its children stay. */
static uint32_t split(struct tree_nodes *nodes, uint32_t child, const struct growth *growth)
{
    struct tree_node *lower = node_at(nodes, child);
    uint32_t upper = node_take(nodes, lower->parent, growth->upper);
    node_replace(nodes, child, upper);
    label_done(&lower->label, &nodes->budget);
    lower->label = growth->lower;
    lower->parent = upper;
    node_link(nodes, child);
    return upper;
}

static bool grow(struct tree *tree, struct span filter, const struct place *place,
                 const struct tree_entry *entry)
{
    struct growth growth;
    if (!growth_plan(tree, filter, place, &growth))
        return false;
    uint32_t number = growth.split ? split(&tree->nodes, place->child, &growth) : place->node;
    if (growth.leaf) {
        number = node_take(&tree->nodes, number, growth.rest);
        node_link(&tree->nodes, number);
    }
    struct tree_node *node = node_at(&tree->nodes, number);
    node->one = *entry;
    node->entry_count = 1;
    return true;
}

enum tree_change tree_insert(struct tree *tree, struct span filter, const struct tree_entry *entry)
{
    struct place place = descend(tree, filter);
    enum tree_change change;
    if (place.at > filter.len)
        change = entry_put(&tree->nodes, node_at(&tree->nodes, place.node), entry);
    else
        change = grow(tree, filter, &place, entry) ? TREE_FIRST : TREE_NO_MEMORY;
    if (change == TREE_NO_MEMORY)
        return change;
    if (change != TREE_REPLACED)
        tree->entry_count++;
    tree->generation++;
    return change;
}

/* ---- removing ----------------------------------------------------------------------------- */

/* A node that a split has made stays while it has a child, also a single one. */
static void prune(struct tree_nodes *nodes, uint32_t number)
{
    while (number != NODE_ROOT) {
        const struct tree_node *node = node_at(nodes, number);
        if (node->entry_count || node->plain || node->plus || node->many)
            return;
        uint32_t parent = node->parent;
        node_unlink(nodes, number);
        node_give(nodes, number);
        number = parent;
    }
}

enum tree_change tree_remove(struct tree *tree, struct span filter, const void *subscriber)
{
    uint32_t number;
    struct tree_node *node = node_of(tree, filter, &number);
    if (!node)
        return TREE_UNCHANGED;
    enum tree_change change = entry_remove(&tree->nodes, node, subscriber);
    if (change == TREE_UNCHANGED)
        return change;
    if (change == TREE_LAST)
        prune(&tree->nodes, number);
    tree->entry_count--;
    tree->generation++;
    return change;
}

/* ---- matching ----------------------------------------------------------------------------- */

struct level {
    const uint8_t *text;
    uint32_t len;
    uint64_t hash;
};

struct match {
    const struct tree_nodes *nodes;
    tree_match_fn *emit;
    void *ctx;
    bool dollar; /* the topic begins with '$' */
    uint32_t count;
    struct level levels[MQTT_TOPIC_LEVELS_MAX];
};

static bool split_levels(struct match *match, struct span topic)
{
    struct span rest = topic;
    for (;;) {
        if (match->count == MQTT_TOPIC_LEVELS_MAX)
            return false;
        size_t len = level_length(rest);
        match->levels[match->count++] = (struct level){
            .text = rest.data,
            .len = (uint32_t)len,
            .hash = level_hash(match->nodes, span_of(rest.data, len)),
        };
        if (len == rest.len)
            return true;
        rest = rest_of(rest, len + 1);
    }
}

static void emit_entries(const struct match *match, const struct tree_node *node)
{
    const struct tree_entry *entries = node_entries(node);
    for (uint32_t i = 0; i < node->entry_count; i++)
        match->emit(match->ctx, &entries[i]);
}

enum {
    ENDED = UINT32_MAX
}; /* no level to go on from: the label does not match, or it ended in '#' */

/* Compares a label with the topic from `level` on. Returns the level after it, or ENDED. */
static uint32_t follow(const struct match *match, const struct tree_node *node, uint32_t level)
{
    struct span label = label_text(&node->label);
    for (size_t at = 0;; level++) {
        if (at < label.len && label.data[at] == '#') {
            emit_entries(match, node);
            return ENDED;
        }
        if (level == match->count)
            return ENDED;
        if (at < label.len && label.data[at] == '+') {
            at += 1;
        } else {
            const struct level *wanted = &match->levels[level];
            if (label.len - at < wanted->len ||
                memcmp(label.data + at, wanted->text, wanted->len) != 0)
                return ENDED;
            at += wanted->len;
        }
        if (at == label.len)
            return level + 1;
        if (label.data[at++] != '/')
            return ENDED;
    }
}

/* `number` stands for the levels before `level`. The depth of the recursion is at most the number of levels. */
static void match_from(const struct match *match, uint32_t number, uint32_t level)
{
    for (;;) {
        const struct tree_node *node = node_at(match->nodes, number);
        bool wildcards = number != NODE_ROOT || !match->dollar; /* [MQTT5-4.7.2-1] */
        if (node->many && wildcards)
            emit_entries(match, node_at(match->nodes, node->many));
        if (level == match->count) {
            emit_entries(match, node);
            return;
        }
        if (node->plus && wildcards) {
            uint32_t next = follow(match, node_at(match->nodes, node->plus), level);
            if (next != ENDED)
                match_from(match, node->plus, next);
        }
        if (node->plain == 0)
            return;
        const struct level *wanted = &match->levels[level];
        number = node_plain_child(match->nodes, number, span_of(wanted->text, wanted->len),
                                  wanted->hash);
        if (number == NODE_NONE)
            return;
        level = follow(match, node_at(match->nodes, number), level);
        if (level == ENDED)
            return;
    }
}

void tree_match(const struct tree *tree, struct span topic, tree_match_fn *emit, void *ctx)
{
    struct match match; /* the levels are filled in as far as there are any */
    match.nodes = &tree->nodes;
    match.emit = emit;
    match.ctx = ctx;
    match.dollar = topic.len && topic.data[0] == '$';
    match.count = 0;
    if (split_levels(&match, topic))
        match_from(&match, NODE_ROOT, 0);
}
