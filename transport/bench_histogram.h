/* SPDX-License-Identifier: MIT */
/*
 * Latencies of the load generator: a histogram of nanoseconds whose buckets are 1/64 of a power of
 * two wide, so that a percentile is at most 1.6 % too high and recording is one increment. Part of
 * `noctule bench`; one thread.
 *
 *   below 64: a bucket each | 64-127: 64 buckets of 1 | 128-255: 64 buckets of 2 | 256-511: of 4 | …
 */
#pragma once

#include <stdint.h>

enum {
    BENCH_HISTOGRAM_BITS = 6,
    BENCH_HISTOGRAM_BUCKETS = (64 - BENCH_HISTOGRAM_BITS + 1) << BENCH_HISTOGRAM_BITS,
};

struct bench_histogram {
    uint64_t count, max;
    uint64_t buckets[BENCH_HISTOGRAM_BUCKETS];
};

static inline unsigned bench_histogram_bucket(uint64_t value)
{
    if (value >> BENCH_HISTOGRAM_BITS == 0)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - BENCH_HISTOGRAM_BITS;
    return (shift << BENCH_HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

static inline void bench_histogram_add(struct bench_histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[bench_histogram_bucket(value)]++;
    if (value > histogram->max)
        histogram->max = value;
}

/*
 * The smallest bucket's upper end that `millionths` of the values do not exceed
 * (500,000: the median); 0 of an empty histogram, never above `max`.
 */
uint64_t bench_histogram_percentile(const struct bench_histogram *histogram, unsigned millionths);
