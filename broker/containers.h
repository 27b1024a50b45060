/* SPDX-License-Identifier: MIT */
/*
 * From a member that is embedded in a struct back to that struct, for intrusive lists and
 * timers. No state, no thread.
 */
#pragma once

#include <stddef.h>

/* CONTAINER_OF(timer, struct conn, keepalive): the connection whose `keepalive` the timer is. */
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
