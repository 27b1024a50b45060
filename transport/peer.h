/* SPDX-License-Identifier: MIT */
/*
 * One connection between the socket and the broker. It begins when it is accepted (main thread),
 * is given to a loop, and from then on only that loop's thread touches it:
 *
 *     peer_new ─ loop_post ─ peer_adopt ─┬ raw: adopted or first bytes after TLS ┐
 *                                        └ WebSocket: upgrade done ──────────────┴ conn_new ─ conn_feed, conn_drain …
 *     … link close ─ flush ─ shut ─ libwebsockets closes ─ conn_free ─ libwebsockets destroys ─ peer_free
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/link.h"
#include "transport/loop.h"

struct config;
struct conn;
struct gate_entry;
struct listener;
struct listener_config;
struct lws;
struct tls_place;

struct peer {
    struct link link; /* first: what the broker knows */
    struct loop *loop;
    struct lws *wsi;   /* NULL before it is adopted and after it is closed */
    struct conn *conn; /* NULL before it may speak MQTT and after it may no longer */

    struct tls_place *place;   /* what it is made on; NULL: no TLS */
    struct listener *listener; /* whose connections it counts among */
    struct gate_entry *gate;   /* the same by its address; NULL: nobody counts */
    struct config *config;     /* our reference: `listener_config` is part of it */
    const struct listener_config *listener_config;
    char *address;     /* "192.0.2.1:51234"; NULL once the broker has it */
    const char *alert; /* what TLS said last, a literal */
    const char *why;   /* how it ended, a literal; NULL: the other side closed it */

    struct list in_all, in_care, in_closing; /* loop->peers, ->care, ->closing */
    struct peer *queue_next;                 /* in the queue of handed over peers */

    uint64_t deadline; /* while in `closing` */
    uint8_t *rest;     /* raw: what the kernel would not take; NULL: nothing */
    uint32_t rest_len, rest_at;
    uint32_t room; /* how much to drain at once: less for a slow reader */
    int fd;        /* -1 once the library has it */

    bool websocket : 1;
    bool tls : 1;
    bool bound : 1;   /* the library will call us when it destroys it */
    bool reading : 1; /* the library reads its socket */
    bool paused : 1;  /* the broker does not want input */
    bool choked : 1;  /* there is a remainder: ours, or for a WebSocket the library's */
    bool failed : 1;  /* a write failed: to be killed at the end of the turn */
    bool ending : 1;  /* the broker has finished with it */
    bool counted : 1; /* it counts against max_connections */
    bool shut : 1;    /* nothing may be written any more */
};

/* Takes over the descriptor and the address, also when it fails (then both are gone). Takes its own
 * reference to the configuration and counts itself in the listener and the loop. NULL without
 * memory. */
struct peer *peer_new(int fd, char *address, struct loop *loop, struct listener *listener,
                      struct config *config);
/* Only before peer_adopt(). */
void peer_free(struct peer *peer);
/* Hands it to libwebsockets. It may be gone afterwards. */
void peer_adopt(struct peer *peer);

/* At the end of a turn: whatever could not be done inside a call of the broker or the library.
 * Returns whether the broker may have got work by it. */
bool peers_care(struct loop *loop);
/* Kills the closing peers that took too long; returns whether any is left. */
bool peers_expire(struct loop *loop);
/* Kills those that have not begun to speak MQTT. */
void peers_drop_new(struct loop *loop);

/* What the vhosts are made of. */
struct lws_protocols;
const struct lws_protocols *peer_protocols(void);

/* The connection whose TLS handshake libwebsockets begins inside peer_adopt(), on this thread. */
struct peer *peer_being_adopted(void);
