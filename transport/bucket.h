/* SPDX-License-Identifier: MIT */
/*
 * A token bucket: what a rate allows now. It fills up while time passes, and holds no more than its owner
 * says. No clock, no lock: the owner has both.
 */
#pragma once

#include <stdint.h>

enum {
    BUCKET_ONE = 1000,        /* credit for one */
    BUCKET_FULL_AFTER = 1000, /* milliseconds, in which any bucket fills up */
};

struct bucket {
    uint64_t credit; /* thousandths of what is counted */
    uint64_t at;     /* milliseconds: when that was true */
};

/* `rate` a second; at most `most`, which is no more than the rate brings in BUCKET_FULL_AFTER or
 * BUCKET_ONE. */
static inline void bucket_fill(struct bucket *bucket, uint32_t rate, uint64_t most, uint64_t now)
{
    uint64_t passed = now - bucket->at;
    bucket->credit += passed < BUCKET_FULL_AFTER ? passed * rate : most;
    if (bucket->credit > most)
        bucket->credit = most;
    bucket->at = now;
}
