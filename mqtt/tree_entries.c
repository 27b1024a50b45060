/* SPDX-License-Identifier: MIT */
/*
 * The entries of one node of the topic tree. One stands in the node; more stand in a dense array, which is what a match
 * walks; from ENTRIES_INDEXED on the array has an index by subscriber beside it, so that putting and removing cost the
 * same among a million as among ten. Order is not kept: removing moves the last entry into the gap. Runs where the tree
 * runs.
 */
#include "mqtt/tree_node.h"

enum { ROOM_MIN = 4, ENTRIES_INDEXED = 16 };

static size_t list_size(uint32_t room)
{
    return sizeof(struct entry_list) + room * sizeof(struct tree_entry);
}

static size_t index_size(const struct entry_list *list)
{
    return ((size_t)list->index_mask + 1) * sizeof(uint32_t);
}

static void list_free(struct tree_nodes *nodes, struct entry_list *list)
{
    if (list->index)
        budget_free(&nodes->budget, list->index, index_size(list));
    budget_free(&nodes->budget, list, list_size(list->room));
}

static uint32_t subscriber_hash(const void *subscriber)
{
    uint64_t mixed = (uint64_t)(uintptr_t)subscriber * UINT64_C(0x9fb21c651e98df25);
    return (uint32_t)(mixed >> 32); /* a subscriber is an address of ours: nobody chooses it */
}

/* The slot of the index that holds the place of `subscriber`, or the free one where it would go. */
static uint32_t index_slot(const struct entry_list *list, const void *subscriber)
{
    uint32_t at = subscriber_hash(subscriber) & list->index_mask;
    while (list->index[at] != 0 && list->entries[list->index[at] - 1].subscriber != subscriber)
        at = (at + 1) & list->index_mask;
    return at;
}

static void index_erase(struct entry_list *list, uint32_t gap)
{
    uint32_t mask = list->index_mask;
    for (uint32_t at = (gap + 1) & mask; list->index[at] != 0; at = (at + 1) & mask) {
        uint32_t home = subscriber_hash(list->entries[list->index[at] - 1].subscriber) & mask;
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            list->index[gap] = list->index[at];
            gap = at;
        }
    }
    list->index[gap] = 0;
}

/* A list with the same entries and another room, or NULL; the old one stays. */
static struct entry_list *list_copy(struct tree_nodes *nodes, const struct tree_entry *entries,
                                    uint32_t count, uint32_t room)
{
    struct entry_list *list = budget_alloc(&nodes->budget, list_size(room));
    if (!list)
        return NULL;
    *list = (struct entry_list){ .room = room, .index_mask = room * 2 - 1 };
    memcpy(list->entries, entries, count * sizeof(*entries));
    if (room < ENTRIES_INDEXED)
        return list;
    list->index = budget_alloc_zeroed(&nodes->budget, index_size(list));
    if (!list->index) {
        list_free(nodes, list);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        list->index[index_slot(list, entries[i].subscriber)] = i + 1;
    return list;
}

const struct tree_entry *entry_find(const struct tree_node *node, const void *subscriber)
{
    if (node->entry_count > 1 && node->list->index) {
        uint32_t place = node->list->index[index_slot(node->list, subscriber)];
        return place ? &node->list->entries[place - 1] : NULL;
    }
    const struct tree_entry *entries = node_entries(node);
    for (uint32_t i = 0; i < node->entry_count; i++) {
        if (entries[i].subscriber == subscriber)
            return &entries[i];
    }
    return NULL;
}

static bool list_grow(struct tree_nodes *nodes, struct tree_node *node)
{
    uint32_t room = node->entry_count == 1 ? ROOM_MIN : node->list->room * 2;
    if (room > UINT32_MAX / 4)
        return false;
    struct entry_list *list = list_copy(nodes, node_entries(node), node->entry_count, room);
    if (!list)
        return false;
    if (node->entry_count > 1)
        list_free(nodes, node->list);
    node->list = list;
    return true;
}

enum tree_change entry_put(struct tree_nodes *nodes, struct tree_node *node,
                           const struct tree_entry *entry)
{
    struct tree_entry *there = (struct tree_entry *)(uintptr_t)entry_find(node, entry->subscriber);
    if (there) {
        *there = *entry;
        return TREE_REPLACED;
    }
    if (node->entry_count == 0) {
        node->one = *entry;
        node->entry_count = 1;
        return TREE_FIRST;
    }
    if ((node->entry_count == 1 || node->entry_count == node->list->room) &&
        !list_grow(nodes, node))
        return TREE_NO_MEMORY;
    struct entry_list *list = node->list;
    if (list->index)
        list->index[index_slot(list, entry->subscriber)] = node->entry_count + 1;
    list->entries[node->entry_count++] = *entry;
    return TREE_ADDED;
}

/* After a removal: back into the node, or into a smaller list if there is memory for the copy. */
static void list_shrink(struct tree_nodes *nodes, struct tree_node *node)
{
    struct entry_list *list = node->list;
    if (node->entry_count == 1) {
        node->one = list->entries[0];
        list_free(nodes, list);
        return;
    }
    if (list->room <= ROOM_MIN || node->entry_count > list->room / 4)
        return;
    struct entry_list *smaller = list_copy(nodes, list->entries, node->entry_count, list->room / 2);
    if (!smaller)
        return;
    list_free(nodes, list);
    node->list = smaller;
}

enum tree_change entry_remove(struct tree_nodes *nodes, struct tree_node *node,
                              const void *subscriber)
{
    const struct tree_entry *found = entry_find(node, subscriber);
    if (!found)
        return TREE_UNCHANGED;
    if (node->entry_count == 1) {
        node->entry_count = 0;
        return TREE_LAST;
    }
    struct entry_list *list = node->list;
    uint32_t gap = (uint32_t)(found - list->entries);
    uint32_t last = node->entry_count - 1;
    if (list->index) {
        index_erase(list, index_slot(list, subscriber));
        if (gap != last)
            list->index[index_slot(list, list->entries[last].subscriber)] = gap + 1;
    }
    list->entries[gap] = list->entries[last];
    node->entry_count = last;
    list_shrink(nodes, node);
    return TREE_REMOVED;
}

void entries_done(struct tree_nodes *nodes, struct tree_node *node)
{
    if (node->entry_count > 1)
        list_free(nodes, node->list);
    node->entry_count = 0;
}
