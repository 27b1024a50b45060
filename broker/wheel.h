/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timer wheel: a worker has hundreds of thousands of timers (keep-alive, connect
 * time-out, expiry, wills), most of which are moved or cancelled before they fire, so setting and
 * cancelling cost a few instructions whatever their number. The wheel owns no memory but its own;
 * timers are embedded in what they belong to.
 *
 * It belongs to one worker, takes no lock and reads no clock: time comes in as milliseconds of any
 * clock that does not run backwards.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WHEEL_TICK_MS = 100, /* the resolution: a timer fires up to this much late, never early */
    WHEEL_SLOT_BITS = 6, /* 64 slots a level */
    WHEEL_LEVELS = 10, /* 60 bits of ticks: every due time that fits into 64 bits of milliseconds */
    WHEEL_SLOTS = 1 << WHEEL_SLOT_BITS,
};

struct timer;

/* The timer is no longer armed when this is called, and may be freed in it. `now` is what
 * wheel_advance() was given. */
typedef void timer_fn(struct timer *timer, uint64_t now);

/* 32 bytes. Zeroed memory with `fire` filled in is a timer that is not armed. While it is armed
 * it must not move. */
struct timer {
    struct timer *next;
    struct timer **link; /* what points to this timer; NULL: not armed */
    uint64_t due;        /* milliseconds */
    timer_fn *fire;
};

/* Must not move while a timer is armed. */
struct wheel {
    uint64_t tick;         /* ticks up to and including this one have fired */
    struct timer *overdue; /* due already when they were set */
    uint64_t
        occupied[WHEEL_LEVELS]; /* a bit a slot; may be set for a slot that a cancel has emptied */
    struct timer *slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now);

/* Arms the timer, or moves it if it is armed. Due now or earlier: it fires at the next
 * wheel_advance(). */
void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t due);

/* Nothing happens if it is not armed. */
void wheel_cancel(struct timer *timer);

static inline bool timer_armed(const struct timer *timer)
{
    return timer->link != NULL;
}

/*
 * Fires everything that is due at `now`, by due time (in any order within a tick). A callback may
 * set and cancel any timer: one that it sets to a time between the tick that is firing and `now`
 * fires in the same call; one that it sets to that tick or an earlier one fires at the next call.
 * Returns how many fired.
 */
size_t wheel_advance(struct wheel *wheel, uint64_t now);

/* When wheel_advance() should be called next: a time that has come already if a timer is overdue,
 * UINT64_MAX if none is armed. May be too early (there is nothing to fire then), never too late. */
uint64_t wheel_next(struct wheel *wheel);
