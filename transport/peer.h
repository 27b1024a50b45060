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

/* What the kernel would not take of a raw connection's output. */
struct peer_rest {
    uint32_t len, at; /* what is before `at` has gone meanwhile */
    uint8_t bytes[];
};

/* There is one for every connection, most of which do nothing: what cannot be needed at the same
 * time stands in one place. */
struct peer {
    struct link link; /* first: what the broker knows */
    struct loop *loop;
    struct lws *wsi;   /* NULL before it is adopted and after it is closed */
    struct conn *conn; /* NULL before it may speak MQTT and after it may no longer */

    struct tls_place *place;   /* what it is made on; NULL: no TLS */
    struct listener *listener; /* whose connections it counts among */
    struct gate_entry *gate;   /* the same by its address; NULL: nobody counts */
    struct config *config;     /* our reference */
    char *address;             /* "192.0.2.1:51234"; NULL once the broker has it */
    const char *why; /* a literal: before it speaks MQTT, what TLS said last; then how it ended;
                        NULL: it was closed, by the other side */

    struct list place_in_life; /* the loop's list of those that have been handed over, are new, have
                                  shown a certificate, or are being closed */
    struct list in_care;       /* loop->care */

    uint64_t deadline;      /* while it is being closed */
    struct peer_rest *rest; /* NULL: nothing */
    union {
        int fd;        /* before the library has it */
        uint32_t room; /* then: how much to drain at once; less for a slow reader */
    };

    bool adopted : 1; /* the library has its descriptor */
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

/* What its listener is configured to be, as it was when it came. */
const struct listener_config *peer_listener(const struct peer *peer);

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
/* After a reload: ends the connections of those whose certificate is revoked now. */
void peers_review(struct loop *loop);
/* Kills those that have not begun to speak MQTT. */
void peers_drop_new(struct loop *loop);

/* What the vhosts are made of. */
struct lws_protocols;
const struct lws_protocols *peer_protocols(void);

/* The connection whose TLS handshake libwebsockets begins inside peer_adopt(), on this thread. */
struct peer *peer_being_adopted(void);
