/* SPDX-License-Identifier: MIT */
/*
 * Memory that is counted, and refused above a limit, for structures that clients make grow. The owner gives the size
 * back when it frees, so nothing is kept per allocation. No thread, no lock: as its owner.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct budget {
    size_t used;  /* bytes asked for and not given back */
    size_t limit; /* SIZE_MAX: none */
};

static inline void *budget_alloc(struct budget *budget, size_t size)
{
    if (budget->used > budget->limit || size > budget->limit - budget->used)
        return NULL;
    void *memory = malloc(size);
    if (memory)
        budget->used += size;
    return memory;
}

static inline void *budget_alloc_zeroed(struct budget *budget, size_t size)
{
    if (budget->used > budget->limit || size > budget->limit - budget->used)
        return NULL;
    void *memory = calloc(1, size); /* large blocks come zeroed from the kernel, untouched */
    if (memory)
        budget->used += size;
    return memory;
}

static inline void budget_free(struct budget *budget, void *memory, size_t size)
{
    if (!memory)
        return;
    budget->used -= size;
    free(memory);
}
