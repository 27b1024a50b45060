/* SPDX-License-Identifier: MIT */
/* See handshakes.h. Owns nothing. */
#include "transport/handshakes.h"

enum {
    ONE = 1000,
    BURSTS_A_SECOND = 10,
    FULL_AFTER = 1000, /* milliseconds in which any bucket fills up */
};

bool handshakes_may_begin(struct handshakes *handshakes, uint32_t rate, uint64_t now)
{
    uint64_t most = (uint64_t)rate * ONE / BURSTS_A_SECOND, passed = now - handshakes->credit_at;
    if (!rate)
        return true;
    if (most < ONE)
        most = ONE;
    handshakes->credit += passed < FULL_AFTER ? passed * rate : most;
    if (handshakes->credit > most)
        handshakes->credit = most;
    handshakes->credit_at = now;
    return handshakes->credit >= ONE;
}

void handshakes_begin(struct handshakes *handshakes)
{
    handshakes->credit -= handshakes->credit < ONE ? handshakes->credit : ONE;
}
