/* SPDX-License-Identifier: MIT */
/*
 * Clocks and meters of the load generator: time, processor time and memory, of ourselves and (from
 * /proc) of the broker.
 */
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t bench_now(void) /* nanoseconds, monotonic */
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t bench_own_cpu(void);                /* nanoseconds */
uint64_t bench_process_cpu(uint32_t pid);    /* nanoseconds of all its threads; 0: not known */
uint64_t bench_process_memory(uint32_t pid); /* resident bytes; 0: not known */
