/* SPDX-License-Identifier: MIT */
/*
 * One connection of the load generator, opened and subscribed while nothing is measured
 * (blocking), then non-blocking. Bytes are read into a scratch buffer that all
 * connections share, and written from one; a connection keeps only what the kernel did not take
 * and the beginning of a packet.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/encode.h"
#include "transport/bench_wire.h"

enum {
    BENCH_CONNECT = 4096, /* a CONNECT in its frame fits */
    BENCH_SCRATCH = 512 * 1024,
    BENCH_PREFIX = 4096, /* what is kept of a packet that is not whole yet */
};

struct bench_client {
    struct bench_wire wire;
    uint32_t index;
    bool is_publisher;
    bool waits_to_write;  /* the loop watches for room */
    bool session_present; /* says the CONNACK */
    uint16_t receive_max; /* what the broker allows; 65,535 when it does not say */
    uint8_t *rest;        /* written when the kernel has room again, from rest_at on */
    size_t rest_at, rest_len, rest_room;
    uint8_t *held; /* the beginning of a packet */
    size_t held_len, held_room;
    uint64_t skip; /* bytes of that packet which are still to come and need not be looked at */
};

enum bench_session {
    BENCH_CLEAN,  /* a new one, of this connection alone */
    BENCH_RESUME, /* is there already, or stays behind: no clean start, and it never expires */
};

/*
 * Writes a CONNECT with a client id made of our pid and `number`, framed if the target wants it, into
 * BENCH_CONNECT bytes; returns its size.
 */
size_t bench_encode_connect(uint8_t *out, const struct bench_target *target, uint32_t number,
                            enum bench_session session);

/* What the broker means when its CONNACK refuses. */
const char *bench_refusal(uint8_t version, uint8_t code);

/* A connection with its handshakes, on which CONNECT is still to be sent. */
bool bench_client_dial(struct bench_client *client, const struct bench_target *target);
/*
 * Connects and waits for the CONNACK; packets that come with it are held. `client` must be zeroed.
 * What went wrong is printed.
 */
bool bench_client_open(struct bench_client *client, const struct bench_target *target,
                       uint32_t number, enum bench_session session);
/* `filters`: each a string with its length, then the options byte. Waits for the SUBACK. */
bool bench_client_subscribe(struct bench_client *client, uint8_t version, struct span filters);
bool bench_client_go(struct bench_client *client); /* non-blocking from here on */
void bench_client_done(struct bench_client *client);

/* Puts a frame around a packet, if the connection has frames; `out` may be `packet`. */
size_t bench_frame(bool websocket, uint8_t *out, const uint8_t *packet, size_t len);

/* Sends packets, in their frames, now or keeps them; false when the connection is lost. */
bool bench_client_send(struct bench_client *client, const uint8_t *data, size_t len);
bool bench_client_flush(struct bench_client *client);

/*
 * Reads what is there into `scratch`, behind what is held (unless bytes are to be skipped: then
 * what is held stays so). False when the connection is lost. The
 * caller takes packets off ret_bytes and gives the remainder back with bench_client_hold().
 */
bool bench_client_read(struct bench_client *client, uint8_t *scratch, struct span *ret_bytes);
void bench_client_hold(struct bench_client *client, struct span rest);
