/* SPDX-License-Identifier: MIT */
/*
 * Reading percentiles off the load generator's histogram. Owns nothing, allocates nothing.
 */
#include "transport/bench_histogram.h"

/* The largest value that falls into the bucket. */
static uint64_t upper_end(unsigned bucket)
{
    if (bucket < 2u << BENCH_HISTOGRAM_BITS)
        return bucket;
    unsigned shift = (bucket >> BENCH_HISTOGRAM_BITS) - 1;
    uint64_t lead = bucket - (shift << BENCH_HISTOGRAM_BITS);
    return (lead << shift) + (((uint64_t)1 << shift) - 1);
}

uint64_t bench_histogram_percentile(const struct bench_histogram *histogram, unsigned millionths)
{
    /* Rounded up: the median of two values is the first, the 99.9th percentile of ten the last. */
    uint64_t whole = histogram->count / 1000000, part = histogram->count % 1000000;
    uint64_t rank = whole * millionths + (part * millionths + 999999) / 1000000;
    uint64_t seen = 0;

    if (histogram->count == 0)
        return 0;
    for (unsigned bucket = 0; bucket < BENCH_HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= rank && seen > 0) {
            uint64_t value = upper_end(bucket);
            return value < histogram->max ? value : histogram->max;
        }
    }
    return histogram->max;
}
