/* SPDX-License-Identifier: MIT */
/*
 * The handshake budget of a TLS listener (`handshake_rate`): how many connections may begin their
 * handshake now. One costs a thousand times what a message does, and whoever sends a ClientHello has
 * proved nothing; so those beyond the rate wait in the kernel, where they cost nothing, and those who
 * are connected are served. A tenth of a second's worth may begin at once, no more: a worker that
 * computes signatures serves nobody meanwhile. Main thread only; pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "transport/bucket.h"

struct handshakes {
    struct bucket bucket;
};

/* Whether one may begin; rate 0 is no limit. `now` is milliseconds, and never goes back. */
bool handshakes_may_begin(struct handshakes *handshakes, uint32_t rate, uint64_t now);
/* One begins. Without credit nothing is owed. */
void handshakes_begin(struct handshakes *handshakes);
