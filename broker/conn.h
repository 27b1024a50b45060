/* SPDX-License-Identifier: MIT */
/*
 * A connection as the transport sees it: bytes in, bytes out. Everything here runs on the worker
 * that owns the connection. What it consists of stands in broker/conn_state.h.
 */
#pragma once

#include "broker/link.h"
#include "mqtt/reason.h"
#include "mqtt/span.h"

struct conn;
struct listener_config;
struct worker;

struct conn_origin {
    const struct listener_config
        *listener;        /* whose options hold until CONNECT; borrowed until conn_free() */
    struct span identity; /* user name that its certificate proves; data NULL: none; copied */
    struct span address;  /* "192.0.2.1:51234", "[2001:db8::1]:51234", "local"; copied */
};

/* A connection that has yet to send CONNECT; its deadline starts now. `link` is borrowed until
 * conn_free(). NULL: no memory, or the listener's max_connections is reached: close the socket. */
struct conn *conn_new(struct worker *worker, struct link *link, const struct conn_origin *origin,
                      uint64_t now);

/* Bytes from the peer, any number of packets and parts of packets. Never frees the connection;
 * after it is closed, bytes are ignored. */
void conn_feed(struct conn *conn, struct span bytes, uint64_t now);

/*
 * Writes the next bytes for the peer into `buf`, at most `room`, and returns how many; 0 when there
 * is nothing (yet). Encodes straight from the session's queue: there is no other output buffer. May
 * stop inside a packet and go on there next time. room is at least 1,024.
 */
size_t conn_drain(struct conn *conn, uint8_t *buf, size_t room, uint64_t now);

/* Ends a connection from the broker's side: tells a version 5 peer `reason`, logs `why` once,
 * decides the will, lets the session go, and calls link->ops->close(). The only way a connection
 * ends; a second call does nothing. */
void conn_close(struct conn *conn, enum mqtt_reason reason, const char *why, uint64_t now);

/* The peer or the network ended it (`why` for the log, NULL: the peer closed it); nothing can be
 * sent any more. Then call conn_free(). */
void conn_lost(struct conn *conn, const char *why, uint64_t now);

/* The transport's remainder makes no progress since write_timeout etc.: the transport tells when it
 * is choked and when not, so that the broker can time it. */
void conn_choked(struct conn *conn, bool choked, uint64_t now);

void conn_free(struct conn *conn); /* accepts NULL; calls conn_lost() first if nobody did */

/* The client identifier for logs, empty before CONNECT. */
struct span conn_client_id(const struct conn *conn);
