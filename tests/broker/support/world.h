/* SPDX-License-Identifier: MIT */
/*
 * A whole broker in one thread, for tests: workers that are turned by hand, a clock that stands
 * still until a test moves it, and peers whose link is a buffer. What a peer receives is taken
 * apart into packets; PUBLISH packets are kept to be looked at. Every helper ends with a cmocka
 * assertion when something is not as it must be.
 */
#pragma once

#include "broker/broker.h"
#include "broker/broker_state.h"
#include "broker/conn.h"
#include "mqtt/packet.h"

/* Deliveries in memory of a session that is behind, in worlds that begin from now on; 0: as many as
 * in life. */
extern unsigned world_window;

struct world {
    struct broker *broker;
    struct config *config;
    const char *options; /* of a guarded world */
    uint64_t now;
    uint64_t wall_ahead;  /* milliseconds by which the machine's clock differs, modulo 2^64 */
    bool threaded;        /* each worker has a thread that turns it: helpers neither run nor wait */
    atomic_bool *woken;   /* one per worker */
    atomic_uint received; /* PUBLISH packets of all peers */
};

struct received { /* a PUBLISH that a peer was sent */
    uint8_t qos;
    bool dup, retain;
    uint16_t id;     /* 0 at QoS 0 */
    uint32_t sub_id; /* the first one, 0 none */
    unsigned order;  /* among those of all peers */
    char topic[64], payload[64];
};

struct peer {
    struct link link;
    struct world *world;
    struct conn *conn; /* NULL: closed */
    bool closing;      /* the broker has asked for it */
    bool stalled;      /* its socket takes nothing */
    uint8_t *bytes;    /* received, not yet taken apart */
    size_t len, room;
    struct received *publishes;
    size_t count, publish_room, taken; /* taken: of those, by next_publish() */
    unsigned packets[16];              /* by type */
    uint8_t last[16];     /* last reason code by type: CONNACK, SUBACK, PUBACK, DISCONNECT, … */
    bool session_present; /* of the last CONNACK */
};

/* `options`: lines of a configuration file, NULL for the defaults. */
void world_init(struct world *world, unsigned workers, const char *options);
/* The same with a store, which is borrowed; NULL: the memory store. */
void world_init_with(struct world *world, unsigned workers, const char *options,
                     struct store *store);
/* The same at a time, and with what the store has kept of a world before. */
void world_init_again(struct world *world, unsigned workers, const char *options,
                      struct store *store, uint64_t now);
enum { WORLD_BEGINS = 1700000000 }; /* seconds since 1970 */
/* The same with rules for topics, as text of an acl_file; NULL: none. */
void world_init_guarded(struct world *world, unsigned workers, const char *options,
                        const char *rules);
/* A reload: other rules, the options as they were. */
void world_reload_rules(struct world *world, const char *rules);
/* Closes nothing by itself: every peer is gone before. */
void world_done(struct world *world);
/* One turn of one worker; whether it has more to do at once. */
bool world_turn(struct world *world, unsigned index);
/* Turns every worker until none has anything to do. */
void world_run(struct world *world);
/* Moves the clock on, fires what is due, and runs. */
void world_pass(struct world *world, uint64_t milliseconds);

struct connect_options {
    unsigned worker;          /* modulo their number */
    bool resume;              /* no clean start */
    uint32_t expiry;          /* seconds */
    uint16_t receive_maximum; /* 0: the default */
    const char *user;         /* NULL: none */
    const char *will;         /* a topic, NULL: none */
    uint8_t reason;           /* of CONNACK: not 0, and it is closed then */
};

/* CONNECT at version 5, and runs. The peer starts as {0}, or has been disconnected. */
void peer_connect(struct peer *peer, struct world *world, const char *client_id,
                  const struct connect_options *options);
/* A connection on which nothing was sent yet. */
void peer_begin(struct peer *peer, struct world *world, unsigned worker);
void peer_feed(struct peer *peer, struct span bytes); /* without running */
void peer_subscribe(struct peer *peer, const char *filter, uint8_t options, uint32_t sub_id);
void peer_unsubscribe(struct peer *peer, const char *filter);
/* PUBLISH and run; the identifier is 1 above QoS 0. */
void peer_publish(struct peer *peer, const char *topic, const char *payload, uint8_t qos,
                  bool retain);
void peer_ack(struct peer *peer, enum mqtt_type type, uint16_t id, enum mqtt_reason reason);
void peer_disconnect(struct peer *peer); /* DISCONNECT, and gone */
void peer_lose(struct peer *peer);       /* the network goes */
void peer_done(struct peer *peer);       /* frees its buffers; it is gone */

/* The next PUBLISH that was not looked at, NULL none. */
const struct received *peer_next(struct peer *peer);
size_t peer_unseen(const struct peer *peer);
