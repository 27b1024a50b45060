/* SPDX-License-Identifier: MIT */
/*
 * See supervisor.h. Owns one timer on loop 0. A sign of life is given only when every loop has
 * answered the question of the last time: a broker of which one worker hangs is not alive. Without
 * a service manager all of it does nothing. Runs on the main thread; it decides nothing.
 *
 * The protocol is sd_notify(3)'s: a datagram of text to the socket that NOTIFY_SOCKET names. It is
 * spoken here because libsystemd would bring five compression and cipher libraries along, into a
 * process that strangers talk to.
 */
#include "transport/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/log.h"
#include "transport/loop.h"
#include "transport/server.h"

/* Signs of life in the time that the manager allows between two. */
#define SIGNS_PER_PERIOD 3u

/* A name that begins with @ is one of the abstract name space. A manager that does not listen is no
 * concern of ours. */
static void notify(const char *state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *name = getenv("NOTIFY_SOCKET");
    size_t len = name ? strlen(name) : 0;
    if (len < 2 || len > sizeof address.sun_path || (*name != '/' && *name != '@'))
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    memcpy(address.sun_path, name, len);
    if (*name == '@')
        address.sun_path[0] = '\0';
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
    close(fd);
}

/* The time between two signs of life that the manager allows this process, in microseconds; 0: it
 * wants none. */
static uint64_t watchdog_period(void)
{
    const char *period = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!period || (pid && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    return strtoull(period, NULL, 10);
}

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
        notify("WATCHDOG=1");
        return;
    }
    if (!supervisor->hung)
        log_emit(LEVEL_ERROR, "Worker %u does not answer: the watchdog gets no sign of life.",
                 hanging);
    supervisor->hung = true;
}

enum err supervisor_ready(struct supervisor *supervisor, struct server *server)
{
    notify("READY=1");
    uint64_t period = watchdog_period();
    if (!period)
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
    notify(state);
}

void supervisor_reloaded(void)
{
    notify("READY=1");
}

void supervisor_stopping(void)
{
    notify("STOPPING=1");
}
