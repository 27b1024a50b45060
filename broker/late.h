/* SPDX-License-Identifier: MIT */
/*
 * A store that is late. What a worker has given to it and what is not finished after
 * backpressure_timeout is given up: answers that wait for it say 0x97 (Quota exceeded), and where
 * there is no word for that the connection ends.
 *
 * No answer carries a time of its own: a timer, which runs only while the store has something to
 * do, remembers which position the worker had come to and when. So nothing is added per message,
 * and an answer is given up at most an eighth of the time-out late.
 */
#pragma once

#include "broker/wheel.h"

struct worker;

enum { LATE_MARKS = 8 };

struct late_mark {
    uint64_t position, at; /* everything up to the position was submitted at this time or before */
};

struct late {
    struct timer timer;
    struct late_mark marks[LATE_MARKS]; /* a ring, the oldest first */
    unsigned head, count;
    bool due; /* the timer has fired */
};

void late_init(struct worker *worker);
/* At the end of a turn, when the store has been asked how far it is: time that went by while the
 * worker itself stood still is not held against it. */
void late_watch(struct worker *worker, uint64_t now);
