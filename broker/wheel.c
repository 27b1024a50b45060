/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel. One worker owns it; callbacks run on that worker, inside wheel_advance().
 *
 * A due time is a number of ticks, written in digits of six bits. A timer stands on the level of
 * the highest digit in which its tick differs from the wheel's, in the slot of that digit; so it is
 * moved down at most once a level, and every slot in use stands ahead of the wheel's own digit on
 * its level:
 *
 * wheel at 12 07 | timer at 12 31: level 0, slot 31 | timer at 14 02: level 1, slot 14, moved
 * down at 14 00
 *
 * The first slot in use on the lowest level in use is therefore the next thing to happen, and a
 * jump over any time costs only the slots that are in use.
 */
#include "broker/wheel.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct timer) <= 32,
              "there are several timers in every connection and session");
static_assert(WHEEL_SLOTS == 64, "a word of `occupied` has a bit for each slot");

static void push(struct timer **list, struct timer *timer)
{
    timer->next = *list;
    if (timer->next)
        timer->next->link = &timer->next;
    timer->link = list;
    *list = timer;
}

static void unlink_timer(struct timer *timer)
{
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    timer->link = NULL;
}

/* Moves a whole list to a new head, so that what is set meanwhile does not join it. */
static void take(struct timer **from, struct timer **to)
{
    *to = *from;
    if (*to)
        (*to)->link = to;
    *from = NULL;
}

/* Rounded up: never early. */
static uint64_t tick_of(uint64_t due)
{
    return due / WHEEL_TICK_MS + (due % WHEEL_TICK_MS != 0);
}

static unsigned digit(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (level * WHEEL_SLOT_BITS)) % WHEEL_SLOTS;
}

static unsigned lowest_bit(uint64_t word)
{
    return (unsigned)__builtin_ctzll(word);
}

static unsigned highest_bit(uint64_t word)
{
    return 63u - (unsigned)__builtin_clzll(word);
}

void wheel_init(struct wheel *wheel, uint64_t now)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = now / WHEEL_TICK_MS;
}

/* `tick` is the wheel's or later. */
static void place(struct wheel *wheel, struct timer *timer, uint64_t tick)
{
    uint64_t differs = tick ^ wheel->tick;
    unsigned level = differs ? highest_bit(differs) / WHEEL_SLOT_BITS : 0;
    unsigned slot = digit(tick, level);
    push(&wheel->slots[level][slot], timer);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t due)
{
    wheel_cancel(timer);
    timer->due = due;
    uint64_t tick = tick_of(due);
    if (tick <= wheel->tick)
        push(&wheel->overdue, timer);
    else
        place(wheel, timer, tick);
}

void wheel_cancel(struct timer *timer)
{
    if (timer_armed(timer))
        unlink_timer(timer);
}

/* A slot whose time has come. */
struct event {
    uint64_t tick;
    unsigned level, slot;
};

/* The first slot in use; forgets those that cancelling has emptied. False: none. */
static bool next_event(struct wheel *wheel, struct event *ret_event)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        while (wheel->occupied[level]) {
            unsigned slot = lowest_bit(wheel->occupied[level]);
            if (!wheel->slots[level][slot]) {
                wheel->occupied[level] &= wheel->occupied[level] - 1;
                continue;
            }
            unsigned shift = level * WHEEL_SLOT_BITS;
            uint64_t above = wheel->tick >> shift >> WHEEL_SLOT_BITS << WHEEL_SLOT_BITS << shift;
            *ret_event = (struct event){ above | (uint64_t)slot << shift, level, slot };
            return true;
        }
    }
    return false;
}

static size_t fire_all(struct timer **list, uint64_t now)
{
    size_t fired = 0;
    while (*list) {
        struct timer *timer = *list;
        unlink_timer(timer);
        timer->fire(timer, now);
        fired++;
    }
    return fired;
}

/* Level 0: fires the slot. Above: spreads it over the levels below. */
static size_t run_event(struct wheel *wheel, const struct event *event, uint64_t now)
{
    struct timer *list;
    wheel->tick = event->tick;
    wheel->occupied[event->level] &= ~(UINT64_C(1) << event->slot);
    take(&wheel->slots[event->level][event->slot], &list);
    if (event->level == 0)
        return fire_all(&list, now);
    while (list) {
        struct timer *timer = list;
        unlink_timer(timer);
        place(wheel, timer, tick_of(timer->due));
    }
    return 0;
}

size_t wheel_advance(struct wheel *wheel, uint64_t now)
{
    struct timer *overdue;
    take(&wheel->overdue, &overdue);
    size_t fired = fire_all(&overdue, now);

    uint64_t target = now / WHEEL_TICK_MS;
    struct event event;
    while (next_event(wheel, &event) && event.tick <= target)
        fired += run_event(wheel, &event, now);
    if (target > wheel->tick)
        wheel->tick = target;
    return fired;
}

uint64_t wheel_next(struct wheel *wheel)
{
    if (wheel->overdue)
        return wheel->tick * WHEEL_TICK_MS;
    struct event event;
    if (!next_event(wheel, &event))
        return UINT64_MAX;
    return event.tick > UINT64_MAX / WHEEL_TICK_MS ? UINT64_MAX - 1 : event.tick * WHEEL_TICK_MS;
}
