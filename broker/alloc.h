/* SPDX-License-Identifier: MIT */
/*
 * Memory that the broker cannot go on without, and arrays that grow as they are filled. Only for what no
 * peer chose the size of: where one did, the allocation may fail and is answered with a reason code. No
 * state, any thread.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "broker/err.h"

/* Gives back what it got; the process ends with a line that says why when that is NULL. */
static inline void *must_have(void *memory)
{
    if (memory)
        return memory;
    fputs("noctule: out of memory\n", stderr);
    abort();
}

/*
 * Room for one element more behind the `count` of an array of malloc(), whose `*room` doubles when it is used
 * up. Returns the array, which may have moved; NULL without memory, and then all is as it was. `size` is
 * that of an element, in bytes. The caller frees the array.
 */
MUST_USE static inline void *array_grow(void *at, size_t count, size_t *room, size_t size)
{
    enum { FIRST_ROOM = 16 };
    if (count < *room)
        return at;
    size_t more = *room ? *room * 2 : FIRST_ROOM;
    at = realloc(at, more * size);
    if (at)
        *room = more;
    return at;
}
