/* SPDX-License-Identifier: MIT */
/*
 * A worker as the transport sees it: one thread's share of the broker. The transport gives it a
 * thread, a loop and a clock, and calls:
 *
 *     woken up by another thread ─ worker_receive()      a timer is due ─ worker_tick()
 *     after the loop has read its sockets, and once before it sleeps ─ worker_finish()
 *
 * All of it on the worker's own thread. What it consists of stands in broker/worker_state.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/span.h"

struct worker;

/* How another thread wakes this worker up: writes an eventfd. Called from any thread, at most
 * once until worker_receive(). */
typedef void worker_wake_fn(void *ctx);
void worker_set_wake(struct worker *worker, worker_wake_fn *wake, void *ctx);

/* Wakes the worker up; a store does when it has completed something. Any thread. */
void worker_wake(struct worker *worker);

/* Takes in what other workers have posted. `now` is milliseconds since 1970, and never goes
 * back. */
void worker_receive(struct worker *worker, uint64_t now);

/* Fires the timers that are due. */
void worker_tick(struct worker *worker, uint64_t now);

/*
 * Ends a turn: hands collected messages to other workers, pushes the store batch, and flushes every
 * connection that has output (link->ops->flush). Returns whether there is more to do at once (then
 * do not sleep, call it again next turn).
 */
bool worker_finish(struct worker *worker, uint64_t now);

/* When worker_tick() has something to do: milliseconds since 1970, UINT64_MAX never. */
uint64_t worker_next_tick(const struct worker *worker);

/* Publishes a message of the broker's own, at QoS 0, not retained. */
void worker_publish(struct worker *worker, struct span topic, struct span payload, uint64_t now);

unsigned worker_index(const struct worker *worker);
/* Connections that are on this worker or on their way to it, for whoever hands out the next one.
 * Any thread. */
unsigned worker_connections(const struct worker *worker);
