/* SPDX-License-Identifier: MIT */
/*
 * Nodes of the topic tree: their memory (chunks of 1,024, given back when empty), their labels, and the one table of edges. Everything that can fail is asked for in advance (nodes_reserve, label_init), so that a change of the tree that
 * has begun cannot fail. Runs where the tree runs; knows nothing of matching.
 */
#include "mqtt/tree_node.h"

/* Static in here: the library needs no other. */
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { EDGES_MIN = 64 };

/* Stands where the node before the first would be. */
struct chunk {
    void *memory;            /* as malloc gave it; the chunk begins at the next cache line */
    uint32_t next, previous; /* among those with a free node, chunk + 1; 0: none */
    uint32_t free;           /* number of the first freed node, linked by `parent`; 0: none */
    uint16_t fresh;          /* nodes from here on were never used */
    uint16_t used;
};
static_assert(sizeof(struct chunk) <= sizeof(struct tree_node), "it takes the place of a node");

static const size_t chunk_size = (CHUNK_NODES + 1) * sizeof(struct tree_node) + 63;

static size_t edges_size(uint32_t slots)
{
    return slots * sizeof(struct edge);
}

static struct chunk *chunk_of(const struct tree_nodes *nodes, uint32_t index)
{
    return (struct chunk *)(void *)(nodes->chunks[index] - 1);
}

bool nodes_init(struct tree_nodes *nodes, uint64_t seed)
{
    *nodes = (struct tree_nodes){ .budget.limit = SIZE_MAX, .seed = seed };
    if (!nodes_reserve(nodes, 2)) {
        nodes_done(nodes);
        return false;
    }
    node_take(nodes, NODE_NONE,
              (struct label){ 0 }); /* number 0 is nobody's, number 1 the root's */
    node_take(nodes, NODE_NONE, (struct label){ 0 });
    return true;
}

/* A node that lives cannot have both. */
static bool is_free(const struct tree_node *node)
{
    return node->label.len == UINT16_MAX && node->entry_count == UINT32_MAX;
}

static void chunk_done(struct tree_nodes *nodes, uint32_t index)
{
    struct chunk *chunk = chunk_of(nodes, index);
    for (uint32_t i = 0; i < chunk->fresh; i++) {
        struct tree_node *node = nodes->chunks[index] + i;
        if (is_free(node))
            continue;
        entries_done(nodes, node);
        label_done(&node->label, &nodes->budget);
    }
    budget_free(&nodes->budget, chunk->memory, chunk_size);
}

void nodes_done(struct tree_nodes *nodes)
{
    for (uint32_t i = 0; i < nodes->chunk_count; i++) {
        if (nodes->chunks[i])
            chunk_done(nodes, i);
    }
    budget_free(&nodes->budget, nodes->chunks, nodes->chunk_room * sizeof(nodes->chunks[0]));
    if (nodes->edges)
        budget_free(&nodes->budget, nodes->edges, edges_size(nodes->edge_mask + 1));
}

/* ---- memory of nodes ---------------------------------------------------------------------- */

static bool chunk_table_grow(struct tree_nodes *nodes)
{
    uint32_t room = nodes->chunk_room ? nodes->chunk_room * 2 : 8;
    struct tree_node **chunks = budget_alloc(&nodes->budget, room * sizeof(chunks[0]));
    if (!chunks)
        return false;
    if (nodes->chunks)
        memcpy(chunks, nodes->chunks, nodes->chunk_count * sizeof(chunks[0]));
    budget_free(&nodes->budget, nodes->chunks, nodes->chunk_room * sizeof(chunks[0]));
    nodes->chunks = chunks;
    nodes->chunk_room = room;
    return true;
}

/* The place of a new chunk in the table. */
static bool chunk_find_place(struct tree_nodes *nodes, uint32_t *ret_index)
{
    uint32_t index = 0;
    if (nodes->dead_count == 0)
        index = nodes->chunk_count;
    while (index < nodes->chunk_count && nodes->chunks[index])
        index++;
    if (index >= UINT32_MAX / CHUNK_NODES ||
        (index == nodes->chunk_room && !chunk_table_grow(nodes)))
        return false;
    *ret_index = index;
    return true;
}

static void chunk_open(struct tree_nodes *nodes, uint32_t index)
{
    struct chunk *chunk = chunk_of(nodes, index);
    chunk->next = nodes->open;
    chunk->previous = 0;
    if (nodes->open)
        chunk_of(nodes, nodes->open - 1)->previous = index + 1;
    nodes->open = index + 1;
}

static void chunk_close(struct tree_nodes *nodes, uint32_t index)
{
    const struct chunk *chunk = chunk_of(nodes, index);
    if (chunk->previous)
        chunk_of(nodes, chunk->previous - 1)->next = chunk->next;
    else
        nodes->open = chunk->next;
    if (chunk->next)
        chunk_of(nodes, chunk->next - 1)->previous = chunk->previous;
}

static bool chunk_add(struct tree_nodes *nodes)
{
    uint32_t index;
    if (!chunk_find_place(nodes, &index))
        return false;
    void *memory = budget_alloc(&nodes->budget, chunk_size);
    if (!memory)
        return false;
    uint8_t *aligned = (uint8_t *)memory + (-(uintptr_t)memory & 63);
    nodes->chunks[index] = (struct tree_node *)(void *)aligned + 1;
    *chunk_of(nodes, index) = (struct chunk){ .memory = memory };
    if (index == nodes->chunk_count)
        nodes->chunk_count++;
    else
        nodes->dead_count--;
    nodes->free_count += CHUNK_NODES;
    chunk_open(nodes, index);
    return true;
}

/* Its last node was given back. One chunk's worth of free nodes is kept for those who come and go. */
static void chunk_release(struct tree_nodes *nodes, uint32_t index)
{
    if (nodes->free_count < 2 * CHUNK_NODES)
        return;
    chunk_close(nodes, index);
    budget_free(&nodes->budget, chunk_of(nodes, index)->memory, chunk_size);
    nodes->chunks[index] = NULL;
    nodes->dead_count++;
    nodes->free_count -= CHUNK_NODES;
}

static bool edges_resize(struct tree_nodes *nodes, uint32_t slots);

bool nodes_reserve(struct tree_nodes *nodes, uint32_t count)
{
    while (nodes->free_count < count) {
        if (!chunk_add(nodes))
            return false;
    }
    uint32_t slots = nodes->edges ? nodes->edge_mask + 1 : EDGES_MIN;
    while (nodes->edge_count + count > slots - slots / 5)
        slots *= 2;
    return (nodes->edges && slots == nodes->edge_mask + 1) || edges_resize(nodes, slots);
}

uint32_t node_take(struct tree_nodes *nodes, uint32_t parent, struct label label)
{
    uint32_t index = nodes->open - 1;
    struct chunk *chunk = chunk_of(nodes, index);
    uint32_t number = chunk->free;
    if (number != NODE_NONE)
        chunk->free = node_at(nodes, number)->parent;
    else
        number = index * CHUNK_NODES + chunk->fresh++;
    nodes->free_count--;
    if (++chunk->used == CHUNK_NODES)
        chunk_close(nodes, index);
    *node_at(nodes, number) = (struct tree_node){ .parent = parent, .label = label };
    return number;
}

void node_give(struct tree_nodes *nodes, uint32_t number)
{
    uint32_t index = number >> CHUNK_BITS;
    struct chunk *chunk = chunk_of(nodes, index);
    struct tree_node *node = node_at(nodes, number);
    label_done(&node->label, &nodes->budget);
    node->parent = chunk->free;
    node->label.len = UINT16_MAX; /* is_free() */
    node->entry_count = UINT32_MAX;
    chunk->free = number;
    nodes->free_count++;
    if (chunk->used-- == CHUNK_NODES)
        chunk_open(nodes, index);
    if (chunk->used == 0)
        chunk_release(nodes, index);
}

/* ---- labels ------------------------------------------------------------------------------- */

bool label_init(struct label *label, struct span text, struct budget *budget)
{
    label->len = (uint16_t)text.len;
    if (text.len <= LABEL_INLINE) {
        if (text.len)
            memcpy(label->bytes, text.data, text.len);
        return true;
    }
    uint8_t *far = budget_alloc(budget, text.len);
    if (!far)
        return false;
    memcpy(far, text.data, text.len);
    memcpy(label->bytes, &far, sizeof(far));
    return true;
}

void label_done(struct label *label, struct budget *budget)
{
    if (label->len > LABEL_INLINE) {
        uint8_t *far;
        memcpy(&far, label->bytes, sizeof(far));
        budget_free(budget, far, label->len);
    }
    label->len = 0;
}

static struct span first_level(struct span text)
{
    const uint8_t *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
    return span_of(text.data, slash ? (size_t)(slash - text.data) : text.len);
}

static bool begins_with_level(struct span text, struct span level)
{
    return text.len >= level.len &&
           (level.len == 0 || memcmp(text.data, level.data, level.len) == 0) &&
           (text.len == level.len || text.data[level.len] == '/');
}

/* ---- edges -------------------------------------------------------------------------------- */

uint64_t level_hash(const struct tree_nodes *nodes, struct span level)
{
    return XXH3_64bits_withSeed(level.data, level.len, nodes->seed);
}

static uint32_t edge_hash(uint32_t parent, uint64_t hash)
{
    uint64_t mixed = (hash ^ parent) * UINT64_C(0x9fb21c651e98df25);
    return (uint32_t)(mixed >> 32);
}

/* Resizing needs the hashes alone, not the nodes. */
static bool edges_resize(struct tree_nodes *nodes, uint32_t slots)
{
    struct edge *edges = budget_alloc_zeroed(&nodes->budget, edges_size(slots));
    if (!edges)
        return false;
    uint32_t mask = slots - 1;
    for (uint32_t i = 0; nodes->edges && i <= nodes->edge_mask; i++) {
        if (nodes->edges[i].node == NODE_NONE)
            continue;
        uint32_t at = nodes->edges[i].hash & mask;
        while (edges[at].node != NODE_NONE)
            at = (at + 1) & mask;
        edges[at] = nodes->edges[i];
    }
    if (nodes->edges)
        budget_free(&nodes->budget, nodes->edges, edges_size(nodes->edge_mask + 1));
    nodes->edges = edges;
    nodes->edge_mask = mask;
    return true;
}

uint32_t node_plain_child(const struct tree_nodes *nodes, uint32_t parent, struct span level,
                          uint64_t hash)
{
    uint32_t wanted = edge_hash(parent, hash);
    for (uint32_t at = wanted & nodes->edge_mask;; at = (at + 1) & nodes->edge_mask) {
        struct edge edge = nodes->edges[at];
        if (edge.node == NODE_NONE)
            return NODE_NONE;
        if (edge.hash != wanted)
            continue;
        const struct tree_node *node = node_at(nodes, edge.node);
        if (node->parent == parent && begins_with_level(label_text(&node->label), level))
            return edge.node;
    }
}

/* The slot that holds the node. */
static uint32_t edge_of(const struct tree_nodes *nodes, uint32_t number)
{
    const struct tree_node *node = node_at(nodes, number);
    uint64_t hash = level_hash(nodes, first_level(label_text(&node->label)));
    uint32_t at = edge_hash(node->parent, hash) & nodes->edge_mask;
    while (nodes->edges[at].node != number)
        at = (at + 1) & nodes->edge_mask;
    return at;
}

/* '+' or '#' stand alone in their level, so the first byte tells. */
static uint8_t first_byte(const struct tree_node *node)
{
    return node->label.len ? *label_text(&node->label).data : (uint8_t)'/';
}

void node_link(struct tree_nodes *nodes, uint32_t number)
{
    const struct tree_node *node = node_at(nodes, number);
    struct tree_node *parent = node_at(nodes, node->parent);
    switch (first_byte(node)) {
    case '+': parent->plus = number; return;
    case '#': parent->many = number; return;
    default: break;
    }
    uint64_t hash = level_hash(nodes, first_level(label_text(&node->label)));
    struct edge edge = { .node = number, .hash = edge_hash(node->parent, hash) };
    uint32_t at = edge.hash & nodes->edge_mask;
    while (nodes->edges[at].node != NODE_NONE)
        at = (at + 1) & nodes->edge_mask;
    nodes->edges[at] = edge;
    nodes->edge_count++;
    parent->plain++;
}

/* Closes the gap, so that no search stops too early and no tombstones collect. */
static void edge_erase(struct tree_nodes *nodes, uint32_t gap)
{
    uint32_t mask = nodes->edge_mask;
    for (uint32_t at = (gap + 1) & mask; nodes->edges[at].node != NODE_NONE; at = (at + 1) & mask) {
        uint32_t home = nodes->edges[at].hash & mask;
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            nodes->edges[gap] = nodes->edges[at];
            gap = at;
        }
    }
    nodes->edges[gap].node = NODE_NONE;
    nodes->edge_count--;
    if (mask + 1 > EDGES_MIN && nodes->edge_count < (mask + 1) / 8)
        (void)!edges_resize(nodes, (mask + 1) / 2); /* no memory: it stays large */
}

void node_unlink(struct tree_nodes *nodes, uint32_t number)
{
    const struct tree_node *node = node_at(nodes, number);
    struct tree_node *parent = node_at(nodes, node->parent);
    switch (first_byte(node)) {
    case '+': parent->plus = NODE_NONE; return;
    case '#': parent->many = NODE_NONE; return;
    default: break;
    }
    edge_erase(nodes, edge_of(nodes, number));
    parent->plain--;
}

void node_replace(struct tree_nodes *nodes, uint32_t number, uint32_t with)
{
    const struct tree_node *node = node_at(nodes, number);
    if (first_byte(node) == '+')
        node_at(nodes, node->parent)->plus = with;
    else
        nodes->edges[edge_of(nodes, number)].node = with;
}
