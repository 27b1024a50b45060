/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets of one configured listener: an address name may stand for several, and "all
 * addresses" is one for IPv4 and one for IPv6. Main thread, except `connections`.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/err.h"
#include "transport/handshakes.h"

struct listener_config;

#define LISTENER_SOCKETS_MAX 8
#define LISTENER_WHY_MAX     512

struct listener {
    unsigned index; /* (i) in the configuration */
    bool unix_socket;
    int sockets[LISTENER_SOCKETS_MAX];
    size_t socket_count; /* 0: closed */
    char *unix_path;     /* to be removed at the end */
    atomic_uint connections;
    struct handshakes handshakes; /* main thread: those that may begin, with TLS */
};

/* Binds and listens. `why` says for the operator what failed and what to do. */
MUST_USE enum err listener_open(struct listener *listener, const struct listener_config *config,
                                unsigned index, char why[LISTENER_WHY_MAX]);
void listener_close(struct listener *listener);

/* "192.0.2.1:51234", "[2001:db8::1]:51234", "local"; to be freed. NULL without memory. */
struct sockaddr;
char *listener_peer_address(const struct sockaddr *address);

/* The other way round, for an address that somebody has told us. */
struct address;
struct sockaddr_storage;
void listener_to_sockaddr(const struct address *from, uint16_t port,
                          struct sockaddr_storage *ret_address);
