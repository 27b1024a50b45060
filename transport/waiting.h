/* SPDX-License-Identifier: MIT */
/*
 * Connections from proxies, until they have said whom they speak for (broker/proxy.h). That stands
 * in front of everything else, TLS included, so it is read here, before libwebsockets has the
 * connection, and not a byte more. Main thread only.
 */
#pragma once

#include <sys/socket.h>
#include <uv.h>

#include "broker/list.h"

struct acceptor;
struct listener;

struct waiting_room {
    struct list waiting; /* struct waiting, the one that came first in front */
    unsigned count;
    uv_timer_t tick; /* while there is any */
    struct acceptor *acceptor;
};

int waiting_room_init(struct waiting_room *room, struct acceptor *acceptor, uv_loop_t *uv);
/* Takes the descriptor over. When the header is there, acceptor_admit() gets it. */
void waiting_room_enter(struct waiting_room *room, struct listener *listener, int fd,
                        const struct sockaddr_storage *proxy);
/* Closes all, and the timer. */
void waiting_room_close(struct waiting_room *room);
