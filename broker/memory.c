/* SPDX-License-Identifier: MIT */
/*
 * See memory.h. Owns nothing: what the process uses is told by whoever runs it. Looked at often enough
 * that what is read between two looks is small against the share of the limit between two levels.
 */
#include "broker/memory.h"

#include "broker/broker_state.h"
#include "broker/log.h"

enum {
    LOOK_BYTES = 256 * 1024, /* read by one worker between two looks */
    LOOK_TIME = 100,         /* milliseconds between two looks of worker 0 */
    TRIM_TIME = 1000,        /* milliseconds between two trims */
    SIXTEENTHS = 16,
};

static const struct {
    unsigned from; /* sixteenths of the limit */
    uint64_t queue_bytes;
    const char *meaning;
} levels[] = {
    [MEMORY_PLENTY] = { 0, UINT64_MAX, "all is served again" },
    [MEMORY_SHRINKING] = { 12, 64 * 1024, "long queues do not grow any more" },
    [MEMORY_TIGHT] = { 14, 8 * 1024,
                       "new clients, subscriptions and retained messages are "
                       "refused, and large packets" },
    [MEMORY_OUT] = { 15, 8 * 1024, "publications are refused" },
};

void memory_set_limit(struct memory *memory, uint64_t limit)
{
    atomic_store(&memory->limit, limit);
    memory_look(memory);
}

static void say(enum memory_level level, uint64_t bytes, uint64_t limit)
{
    log_emit(level == MEMORY_PLENTY ? LEVEL_NOTICE : LEVEL_WARNING,
             "memory_limit: %llu of %llu MB are in use: %s.", (unsigned long long)bytes >> 20,
             (unsigned long long)limit >> 20, levels[level].meaning);
}

void memory_look(struct memory *memory)
{
    uint64_t limit = atomic_load_explicit(&memory->limit, memory_order_relaxed);
    uint64_t bytes = memory->used && limit ? memory->used() : 0;
    int level = MEMORY_PLENTY;
    if (memory->used && limit && bytes == 0)
        return; /* it cannot be told just now: that is no plenty */
    while (limit && level < MEMORY_OUT && bytes >= limit / SIXTEENTHS * levels[level + 1].from)
        level++;
    atomic_store_explicit(&memory->bytes, bytes, memory_order_relaxed);
    if (atomic_exchange_explicit(&memory->level, level, memory_order_relaxed) != level)
        say((enum memory_level)level, bytes, limit);
}

void memory_took_in(struct worker *worker, size_t bytes)
{
    worker->unlooked += bytes;
    if (worker->unlooked < LOOK_BYTES)
        return;
    worker->unlooked = 0;
    if (atomic_load_explicit(&worker->broker->memory.limit, memory_order_relaxed))
        memory_look(&worker->broker->memory);
}

uint64_t memory_queue_bytes(const struct memory *memory)
{
    return levels[memory_level(memory)].queue_bytes;
}

/* ---- worker 0 ---- */

static void look_again(struct timer *timer, uint64_t now)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, memory_timer);
    struct memory *memory = &worker->broker->memory;
    memory_look(memory);
    if (memory_level(memory) != MEMORY_PLENTY && memory->trim &&
        now >= memory->trimmed_at + TRIM_TIME) {
        memory->trimmed_at = now;
        memory->trim();
        memory_look(memory);
    }
    if (atomic_load_explicit(&memory->limit, memory_order_relaxed))
        wheel_set(&worker->wheel, &worker->memory_timer, now + LOOK_TIME);
}

void memory_start(struct worker *worker)
{
    worker->memory_timer.fire = look_again;
    if (atomic_load_explicit(&worker->broker->memory.limit, memory_order_relaxed))
        wheel_set(&worker->wheel, &worker->memory_timer, worker->now + LOOK_TIME);
}
