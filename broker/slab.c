/* SPDX-License-Identifier: MIT */
/*
 * See slab.h. A slab belongs to its thread and lives as long as the process, for a block may come home
 * after its thread has ended; a chunk goes back to the system when all of its blocks are free, but for
 * a few that are kept. Under the address sanitizer (SLAB_PLAIN) every block is malloc's, so that it sees
 * what is used after it was freed.
 */
#include "broker/slab.h"

#include "broker/alloc.h"
#include "broker/err.h"
#include "broker/list.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    CHUNK = 65536,
    STEP = 32, /* classes are multiples of it */
    CLASSES = SLAB_MAX / STEP + 1,
    SPARE_MAX = 16, /* empty chunks that are kept, 1 MB */
    AWAY_MAX = 64,  /* blocks that go home together, at most */
};

struct block {
    struct block *next;
};

struct chunk {
    struct slab *owner; /* (i) all else is the owner's thread's */
    struct list node;   /* in the slab's list of its class, while it has room */
    struct block *free;
    uint32_t size;               /* of a block */
    uint32_t used, fresh, count; /* blocks: in use, taken at least once, in all */
    _Alignas(64) uint8_t blocks[];
};

struct slab {
    struct list open[CLASSES]; /* (o) chunks with room */
    struct list spare;         /* (o) empty chunks, of no class */
    unsigned spare_count;      /* (o) */

    struct slab *home;                             /* (o) whose blocks `away` are */
    struct block *away, *away_last;                /* (o) others' blocks that were freed here */
    unsigned away_count;                           /* (o) */
    _Alignas(64) _Atomic(struct block *) returned; /* (a) ours that were freed elsewhere */
};

static _Thread_local struct slab *mine;

static struct chunk *chunk_of(void *block)
{
    return (struct chunk *)(void *)((char *)block - (uintptr_t)block % CHUNK);
}

static struct slab *slab_of_thread(void)
{
    if (mine)
        return mine;
    mine = must_have(aligned_alloc(_Alignof(struct slab), sizeof *mine));
    *mine = (struct slab){ .home = NULL };
    for (unsigned i = 0; i < CLASSES; i++)
        list_init(&mine->open[i]);
    list_init(&mine->spare);
    return mine;
}

/* ---- giving back ---- */

static void emptied(struct slab *slab, struct chunk *chunk)
{
    list_remove(&chunk->node);
    if (slab->spare_count == SPARE_MAX) {
        free(chunk);
        return;
    }
    list_append(&slab->spare, &chunk->node);
    slab->spare_count++;
}

static inline void give_back(struct slab *slab, struct chunk *chunk, struct block *block)
{
    block->next = chunk->free;
    chunk->free = block;
    struct list *open = &slab->open[chunk->size / STEP];
    if (chunk->used-- == chunk->count)
        list_append(open, &chunk->node);
    else if (chunk->used == 0 && open->next != open->prev) /* one stays: a message comes and goes */
        emptied(slab, chunk);
}

/* What others have sent home. */
static void take_returned(struct slab *slab)
{
    struct block *next;
    if (!atomic_load_explicit(&slab->returned, memory_order_relaxed))
        return;
    struct block *block = atomic_exchange_explicit(&slab->returned, NULL, memory_order_acquire);
    for (; block; block = next) {
        next = block->next;
        give_back(slab, chunk_of(block), block);
    }
}

static void send_home(struct slab *slab)
{
    _Atomic(struct block *) *returned = &slab->home->returned;
    struct block *head = atomic_load_explicit(returned, memory_order_relaxed);
    do
        slab->away_last->next = head;
    while (!atomic_compare_exchange_weak_explicit(returned, &head, slab->away, memory_order_release,
                                                  memory_order_relaxed));
    slab->away_count = 0;
}

static void free_other(struct slab *slab, struct slab *home, struct block *block)
{
    if (slab->away_count > 0 && slab->home != home)
        send_home(slab);
    if (slab->away_count == 0)
        slab->away_last = block;
    else
        block->next = slab->away;
    slab->away = block;
    slab->home = home;
    if (++slab->away_count == AWAY_MAX)
        send_home(slab);
}

#ifdef SLAB_PLAIN
static const bool plain = true;
#else
static const bool plain = false;
#endif

void slab_free(void *block, size_t size)
{
    if (!block)
        return;
    if (plain || size > SLAB_MAX) {
        free(block);
        return;
    }
    struct chunk *chunk = chunk_of(block);
    if (chunk->owner == mine)
        give_back(mine, chunk, block);
    else
        free_other(slab_of_thread(), chunk->owner, block);
}

void slab_flush(void)
{
    if (!mine)
        return;
    if (mine->away_count > 0)
        send_home(mine);
    take_returned(mine);
}

/* ---- taking ---- */

/* A chunk with room, first in its list; NULL: no memory. */
static struct chunk *chunk_with_room(struct slab *slab, size_t class)
{
    struct list *open = &slab->open[class], *spare;
    take_returned(slab);
    if (!list_empty(open))
        return CONTAINER_OF(open->next, struct chunk, node);
    if ((spare = list_take(&slab->spare)))
        slab->spare_count--;
    struct chunk *chunk = spare ? CONTAINER_OF(spare, struct chunk, node)
                                : aligned_alloc(CHUNK, CHUNK);
    if (!chunk)
        return NULL;
    uint32_t size = (uint32_t) class * STEP;
    *chunk = (struct chunk){ .owner = slab, .size = size };
    chunk->count = (uint32_t)(CHUNK - sizeof *chunk) / size;
    list_append(open, &chunk->node);
    return chunk;
}

static inline struct block *take(struct chunk *chunk)
{
    struct block *block = chunk->free;
    if (block) {
        chunk->free = block->next;
        __builtin_prefetch(chunk->free, 1);
    } else {
        block = (struct block *)(void *)(chunk->blocks + (size_t)chunk->fresh++ * chunk->size);
    }
    if (++chunk->used == chunk->count)
        list_remove(&chunk->node);
    return block;
}

static void *alloc_first(size_t size)
{
    struct chunk *chunk = chunk_with_room(slab_of_thread(), (size + STEP - 1) / STEP);
    return chunk ? take(chunk) : NULL;
}

void *slab_alloc(size_t size)
{
    if (plain || size > SLAB_MAX)
        return malloc(size);
    size += size == 0;
    struct slab *slab = mine;
    const struct list *open = slab ? &slab->open[(size + STEP - 1) / STEP] : NULL;
    if (!open || list_empty(open))
        return alloc_first(size);
    return take(CONTAINER_OF(open->next, struct chunk, node));
}
