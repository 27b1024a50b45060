/* SPDX-License-Identifier: MIT */
/*
 * An intrusive doubly linked list: the node lives in what it links, so that linking never
 * allocates. Owner-only, no lock.
 */
#pragma once

#include "broker/containers.h"

#include <stdbool.h>

struct list {
    struct list *prev, *next; /* a head points to itself when empty; an unlinked node has NULL */
};

static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_linked(const struct list *node)
{
    return node->next != NULL;
}

static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Nothing happens if the node is on no list. */
static inline void list_remove(struct list *node)
{
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

/* Takes the first node off, or returns NULL. */
static inline struct list *list_take(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return NULL;
    list_remove(node); /* NOLINT(clang-analyzer-unix.Malloc): it forgets that removal unlinks */
    return node;
}

/* Moves everything to the end of another list. */
static inline void list_move(struct list *to, struct list *from)
{
    struct list *node;
    while ((node = list_take(from)))
        list_append(to, node);
}
