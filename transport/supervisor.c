/* SPDX-License-Identifier: MIT */
/*
 * See supervisor.h. Owns one timer on loop 0. A sign of life is given only when every loop has
 * answered the question of the last time: a broker of which one worker hangs is not alive. Without
 * a service manager all of it does nothing. Runs on the main thread; it decides nothing.
 */
#include "transport/supervisor.h"

#include <stdio.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "broker/log.h"
#include "transport/loop.h"
#include "transport/server.h"

/* Signs of life in the time that the manager allows between two. */
#define SIGNS_PER_PERIOD 3u

/* Whether all loops have taken up the last question; asks the next. */
static bool all_turn(struct server *server, unsigned *ret_hanging)
{
    for (unsigned i = 0; i < server->loop_count; i++)
        if (atomic_load(&server->loops[i].asked)) {
            *ret_hanging = i;
            return false;
        }
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_request(&server->loops[i], &server->loops[i].asked);
    return true;
}

static void on_timer(uv_timer_t *timer)
{
    struct server *server = timer->data;
    struct supervisor *supervisor = &server->supervisor;
    unsigned hanging;
    if (all_turn(server, &hanging)) {
        supervisor->hung = false;
        (void)sd_notify(0, "WATCHDOG=1");
        return;
    }
    if (!supervisor->hung)
        log_emit(LEVEL_ERROR, "Worker %u does not answer: the watchdog gets no sign of life.",
                 hanging);
    supervisor->hung = true;
}

enum err supervisor_ready(struct supervisor *supervisor, struct server *server)
{
    uint64_t period; /* microseconds */
    (void)sd_notify(0, "READY=1");
    if (sd_watchdog_enabled(0, &period) <= 0)
        return ERR_OK;
    uint64_t every = period / SIGNS_PER_PERIOD / 1000;
    every = every ? every : 1;
    if (uv_timer_init(&server->loops[0].uv, &supervisor->timer) ||
        uv_timer_start(&supervisor->timer, on_timer, 0, every))
        return ERR_IO;
    supervisor->timer.data = server;
    return ERR_OK;
}

void supervisor_reloading(void)
{
    struct timespec now;
    char state[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    (void)sd_notify(0, state);
}

void supervisor_reloaded(void)
{
    (void)sd_notify(0, "READY=1");
}

void supervisor_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}
