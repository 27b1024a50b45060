/* SPDX-License-Identifier: MIT */
/*
 * What a service manager (systemd, or whoever gave us NOTIFY_SOCKET) is told: that we serve, that we
 * stop, and, when it asked for a watchdog, that every worker still turns. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "broker/err.h"

struct server;

struct supervisor {
    uv_timer_t timer; /* runs only when a watchdog was asked for */
    bool hung;        /* a worker has not answered; said once */
};

/* All listeners serve. A timer on loop 0 from now on, when the manager wants a sign of life. */
MUST_USE enum err supervisor_ready(struct supervisor *supervisor, struct server *server);
void supervisor_reloading(void);
void supervisor_reloaded(void);
void supervisor_stopping(void);
