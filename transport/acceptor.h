/* SPDX-License-Identifier: MIT */
/*
 * Accepts the connections of all listeners on the main thread's loop, before libwebsockets sees
 * them, and gives each to the loop that has the fewest. Limits on who may come in stand here and
 * nowhere else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "broker/err.h"
#include "transport/waiting.h"

struct server;

struct acceptor_socket {
    uv_poll_t poll;
    struct acceptor *acceptor;
    struct listener *listener;
    int fd;
    bool held; /* nobody is taken from it until there is credit for a handshake */
};

struct acceptor {
    struct server *server;
    struct acceptor_socket *sockets;
    size_t socket_count;
    struct waiting_room waiting; /* connections of proxies */
    uv_timer_t resume;           /* ends a pause */
    uv_timer_t refill;           /* looks for credit while a socket is held */
    int spare;                   /* a descriptor kept for when there is none; -1: not even that */
    uint64_t connections;        /* all listeners together, at most */
    unsigned next_loop;          /* where the search for the least loaded begins */
    bool exhausted;              /* no descriptors: said once until it is over */
    bool open;
    uint64_t held_said;    /* when it was last said that handshakes wait */
    uint64_t refused_said; /* when it was last said that a limit is reached */
    uint64_t refused;      /* since then */
};

/* Starts to accept, at most `connections` at a time. */
MUST_USE enum err acceptor_open(struct acceptor *acceptor, struct server *server,
                                uint64_t connections);
/* A proxy has said that the connection comes from this address. `known`: it is the client's; else
 * the proxy speaks for itself. Takes the descriptor over. */
struct listener;
struct sockaddr_storage;
void acceptor_admit(struct acceptor *acceptor, struct listener *listener, int fd,
                    const struct sockaddr_storage *address, bool known);
/* Stops and closes the listening sockets. */
void acceptor_close(struct acceptor *acceptor);
/* After the loop has ended. */
void acceptor_done(struct acceptor *acceptor);
