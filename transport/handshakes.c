/* SPDX-License-Identifier: MIT */
/* See handshakes.h. Owns nothing. */
#include "transport/handshakes.h"

enum { BURSTS_A_SECOND = 10 };

bool handshakes_may_begin(struct handshakes *handshakes, uint32_t rate, uint64_t now)
{
    uint64_t most = (uint64_t)rate * BUCKET_ONE / BURSTS_A_SECOND;
    if (!rate)
        return true;
    bucket_fill(&handshakes->bucket, rate, most < BUCKET_ONE ? BUCKET_ONE : most, now);
    return handshakes->bucket.credit >= BUCKET_ONE;
}

void handshakes_begin(struct handshakes *handshakes)
{
    handshakes->bucket.credit -= handshakes->bucket.credit < BUCKET_ONE ? handshakes->bucket.credit
                                                                        : BUCKET_ONE;
}
