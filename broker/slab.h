/* SPDX-License-Identifier: MIT */
/*
 * Memory for what comes and goes with every message. Each thread has a slab of its own, made at its
 * first allocation; taking from it and giving back to it is a handful of instructions without a lock
 * or an atomic. What another thread frees goes home to the slab it came from, many at a time: memory
 * that stayed where it is freed would drift from the workers that publishers are on to the workers
 * that subscribers are on.
 *
 *     slab ── class of 96 bytes ── chunk: owner │ block │ block │ …   64 KB, aligned to 64 KB
 *      ▲                             └ free ──────► block ─► block      so a block finds its chunk
 *      └ returned ◄── blocks that other threads have freed
 *
 * Any thread. Blocks larger than SLAB_MAX are malloc's.
 */
#pragma once

#include <stddef.h>

enum { SLAB_MAX = 1024 };

/* `size` bytes, aligned to 16; NULL: no memory. */
void *slab_alloc(size_t size);
/* Gives it back; `size` is what slab_alloc() was asked for. NULL is fine. */
void slab_free(void *block, size_t size);
/* Sends home what this thread has freed of others' memory; called at the end of a turn. */
void slab_flush(void);
